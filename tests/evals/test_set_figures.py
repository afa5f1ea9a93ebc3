"""Scores of single items, and sets drawn by them."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image

from unshuffle.data.sets import OrderedSets
from unshuffle.evals.encoder import Encoder
from unshuffle.evals.sets import item_scores, sets_figure
from unshuffle.losses import PerturbedFenchelYoung
from unshuffle.methods import LearnToOrder
from unshuffle.nets import ItemNet, SmallConv
from unshuffle.report.figures import draw


@pytest.fixture
def scorer() -> Encoder:
    value = ItemNet(SmallConv(4), (1, 8, 8), hidden=6)
    return Encoder(value.build(), OrderedSets(), (1, 8, 8), objective=PerturbedFenchelYoung(), net_value=value)


@pytest.mark.parametrize("batch_size", [1, 7, 512])
def test_a_score_is_what_the_method_gives_the_item_alone(scorer, batch_size):
    items = torch.randint(0, 256, (20, 1, 8, 8), dtype=torch.uint8)

    scores = item_scores(scorer.train(), items, batch_size=batch_size)

    method = LearnToOrder(scorer.net, scorer.objective).eval()
    with torch.no_grad():
        expected = method.score(items.float() / 255)
    np.testing.assert_allclose(scores, expected.numpy(), rtol=1e-4, atol=1e-5)
    assert scores.shape == (20,)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_picture_of_sets_holds_what_the_report_draws(tmp_path, channels):
    items = torch.randint(0, 256, (32, channels, 8, 6), dtype=torch.uint8)
    scores, values = np.linspace(1, 0, 32), np.arange(32) % 10

    figure = sets_figure(tmp_path, items, scores, values, size=5, count=4)

    with np.load(tmp_path / "figures" / figure.file, allow_pickle=False) as archive:
        arrays = dict(archive)
    assert (figure.kind, figure.file) == ("sets", "sets.npz")
    assert set(arrays) == {"images", "scores", "truth"}
    assert arrays["images"].shape == (4, 5, 8, 6, 3) if channels == 3 else (4, 5, 8, 6)
    pixels = items[7].movedim(0, -1).numpy() / np.float32(255)  # the third item of the second set
    np.testing.assert_allclose(arrays["images"][1, 2], pixels if channels == 3 else pixels[..., 0], rtol=1e-6)
    assert arrays["scores"][1, 2] == scores[7]
    assert arrays["truth"][1, 2] == 7
    png = np.asarray(Image.open(io.BytesIO(draw("sets", arrays))).convert("RGBA"))
    assert min(png.shape[:2]) > 100
    assert png.std((0, 1)).max() > 10


def test_fewer_items_than_asked_for_give_fewer_sets(tmp_path):
    sets_figure(tmp_path, torch.zeros(13, 1, 4, 4), np.zeros(13), np.zeros(13), size=5, count=6)

    with np.load(tmp_path / "figures" / "sets.npz") as arrays:
        assert arrays["images"].shape == (2, 5, 4, 4)
