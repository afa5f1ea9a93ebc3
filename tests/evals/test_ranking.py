"""Any number of images in order: by scores of single ones, and by windows of an encoder of sequences."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from unshuffle.data import Arrays, Grid, Jitter
from unshuffle.data.loaders import SkipLog, Unreadable
from unshuffle.data.sets import OrderedSets
from unshuffle.data.shuffle import Shuffle
from unshuffle.evals.encoder import Encoder
from unshuffle.evals.ranking import ordered_by_windows, put_in_order, sheet_of
from unshuffle.losses import PerturbedFenchelYoung, SinkhornCrossEntropy
from unshuffle.nets import ContextFreeNet, ItemNet, SiameseNet, SmallConv


def scorer(jitter: Jitter = Jitter()) -> Encoder:
    value = ItemNet(SmallConv(4), jitter.shape((1, 8, 8)), hidden=6)
    transform = OrderedSets(4, jitter=jitter)
    return Encoder(value.build(), transform, (1, 8, 8), objective=PerturbedFenchelYoung(), net_value=value)


def sequencer(length: int = 4) -> Encoder:
    """Windows are put in order by the brightness of their pictures, as if that had been learnt."""
    value = SiameseNet(SmallConv(4), length, (1, 8, 8), length * length, 6, 8)
    net = value.build()
    net.patch, net.backbone = nn.Sequential(nn.Flatten(), Mean()), nn.Identity()
    net.aggregate, net.score = nn.Identity(), nn.Module()
    net.score.forward = partial(_positions, length)  # type: ignore[method-assign]
    net.weight = nn.Parameter(torch.zeros(1))
    return Encoder(net, OrderedSets(length), (1, 8, 8), objective=SinkhornCrossEntropy(), net_value=value)


class Mean(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean(1, keepdim=True)


def _positions(length: int, brightness: torch.Tensor) -> torch.Tensor:
    return 60 * (brightness.unsqueeze(-1) * torch.arange(length)).flatten(1)


def shades(count: int, seed: int = 0) -> torch.Tensor:
    """Pictures of one shade each, in no order."""
    levels = torch.randperm(256, generator=torch.Generator().manual_seed(seed))[:count]
    return levels[:, None, None, None].expand(-1, 1, 8, 8).byte().contiguous()


def test_scores_of_single_images_rise_along_the_order_and_are_those_of_the_net():
    encoder, items = scorer(), torch.randint(256, (30, 1, 8, 8), generator=torch.Generator().manual_seed(1)).byte()

    found = put_in_order(encoder, Arrays(items), batch_size=7)

    with torch.no_grad():
        alone = encoder.net(encoder.prepare(items).unsqueeze(1)).squeeze(1).numpy()
    np.testing.assert_allclose(found.scores, alone[found.index], rtol=1e-4, atol=1e-5)
    assert (np.diff(found.scores) >= 0).all()
    assert sorted(found.index) == list(range(30))


@pytest.mark.parametrize("count", [1, 3, 4, 50])
def test_windows_put_any_number_of_images_in_the_order_of_single_windows(count):
    items = shades(count)

    found = put_in_order(sequencer(), Arrays(items))

    assert items[found.index, 0, 0, 0].tolist() == sorted(items[:, 0, 0, 0].tolist())
    assert "windows of 4; the order keeps " in found.how


def test_the_order_of_files_does_not_change_what_windows_say(rng):
    """Also where windows contradict each other: bit for bit."""
    encoder = Encoder(
        SiameseNet(SmallConv(4), 4, (1, 8, 8), 16, 6, 8).build().eval(), OrderedSets(4), (1, 8, 8),
        objective=SinkhornCrossEntropy(),
    )  # fmt: skip
    features = torch.randn(25, 6, generator=rng).numpy()
    moved = torch.randperm(25, generator=rng).numpy()

    found = ordered_by_windows(encoder, features, seed=0)
    again = ordered_by_windows(encoder, features[moved], seed=0)

    assert found.kept < 0.9
    assert np.array_equal(again.scores, found.scores[moved])
    assert np.array_equal(moved[again.order], found.order)


def test_embeddings_are_judged_as_their_images_are(rng):
    net = SiameseNet(SmallConv(4), 3, (1, 8, 8), 9, 6, 8).build().eval()
    images = torch.rand(2, 3, 1, 8, 8, generator=rng)

    torch.testing.assert_close(net.judge(net.embed(images.flatten(0, 1)).unflatten(0, (2, 3))), net(images))


class Damaged(Arrays):
    def __getitem__(self, index: int):
        return Unreadable(f"{index}.png", "cut short") if index in (0, 3) else super().__getitem__(index)


def test_what_cannot_be_read_is_left_out_and_counted():
    skipped = SkipLog()

    found = put_in_order(scorer(), Damaged(shades(9)), skipped=skipped)

    assert sorted(found.index) == [1, 2, 4, 5, 6, 7, 8]
    assert skipped.reasons == {"0.png": "cut short", "3.png": "cut short"}


@pytest.mark.parametrize("encoder", [scorer(Jitter(crop=2)), sequencer()], ids=["scores", "windows"])
def test_a_sheet_shows_images_from_all_over_the_order_with_their_maps(encoder):
    data = Arrays(shades(40))
    ordered = put_in_order(encoder, data)

    sheet = sheet_of(encoder, data, ordered, most=7, heat=True)

    assert sheet.places.tolist() == [0, 6, 13, 20, 26, 32, 39]
    torch.testing.assert_close(sheet.pictures, encoder.prepare(data.items[ordered.index[sheet.places].copy()]))
    assert sheet.heat is not None
    assert sheet.heat.shape == (7, *sheet.pictures.shape[-2:])
    # A network without training may have no live unit at an image: its map is 0 everywhere.
    assert sheet.heat.max() in (pytest.approx(1), pytest.approx(0))
    assert sheet_of(encoder, data, ordered, most=7, heat=False).heat is None


@pytest.mark.errors
def test_an_encoder_of_patches_is_refused():
    grid = Grid(2, 2, gap=0)
    net = ContextFreeNet(SmallConv(4), 4, (1, 4, 4), 4, 6, 8).build()

    with pytest.raises(ValueError, match="has not learnt to put whole images in order"):
        put_in_order(Encoder(net, Shuffle(grid), (1, 8, 8), objective=PerturbedFenchelYoung()), Arrays(shades(9)))
