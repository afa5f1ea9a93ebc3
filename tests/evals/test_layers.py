"""Probes of layers: the paper's sizes and timetable, crops that are parts of the picture, classifiers that learn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.utils.data import TensorDataset

from unshuffle.data import simclr_views
from unshuffle.data.corners import fixed_crops, random_crops
from unshuffle.data.loaders import SkipLog, Unreadable
from unshuffle.data.tones import TonedViews
from unshuffle.evals.encoder import Encoder
from unshuffle.evals.layers import LayerMaps, Schedule, layer_results, pooled, probe_layers
from unshuffle.evals.results import stamp
from unshuffle.nets import HeadsNet, ProjectedNet, Projector, SmallConv
from unshuffle.nets.taps import taps


@pytest.fixture
def encoder() -> Encoder:
    """Untrained, of pictures of 16 pixels that it sees as they are."""
    torch.manual_seed(0)
    value = ProjectedNet(SmallConv(4), (3, 16, 16), Projector(hidden=8, features=4))
    return Encoder(value.build(), simclr_views(16), (3, 16, 16), net_value=value).eval()


def tinted(count: int, *, seed: int) -> TensorDataset:
    """Noise of 16 pixels a side, redder in class 1."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 2
    items = rng.integers(0, 200, (count, 3, 16, 16))
    items[:, 0] += 40 * labels[:, None, None]
    return TensorDataset(torch.from_numpy(items.astype(np.uint8)), torch.from_numpy(labels))


def numbered(side: int) -> torch.Tensor:
    """One picture whose pixels tell their row, their column, and nothing."""
    places = torch.arange(side, dtype=torch.uint8)
    rows, columns = torch.meshgrid(places, places, indexing="ij")
    return torch.stack([rows, columns, torch.zeros_like(rows)])[None]


def test_ten_crops_are_corners_and_middle_and_their_mirror_images():
    picture = numbered(64)  # crops of 56 pixels
    crops = fixed_crops(picture, 56, 10)

    for crop, (top, left) in zip(crops, [(0, 0), (0, 8), (8, 0), (8, 8), (4, 4)]):
        assert torch.equal(crop, picture[..., top : top + 56, left : left + 56])
    for crop, mirrored in zip(crops[:5], crops[5:], strict=True):
        assert torch.equal(crop.flip(-1), mirrored)
    (middle,) = fixed_crops(picture, 56, 1)
    assert torch.equal(middle, crops[4])


def test_random_crops_reach_every_place_and_are_mirrored_half_of_the_time():
    picture = numbered(16)  # crops of 14 pixels: nine places
    crops = random_crops(picture.expand(400, -1, -1, -1), 14, torch.Generator().manual_seed(0))

    mirrored = crops[:, 1, 0, 0] > crops[:, 1, 0, -1]
    straight = torch.where(mirrored[:, None, None, None], crops.flip(-1), crops)
    places = [(int(crop[0, 0, 0]), int(crop[1, 0, 0])) for crop in straight]
    assert set(places) == {(row, column) for row in range(3) for column in range(3)}
    for crop, (top, left) in zip(straight, places):
        assert torch.equal(crop, picture[0, :, top : top + 14, left : left + 14])
    assert 0.4 < mirrored.float().mean() < 0.6


@pytest.mark.parametrize("transform", [simclr_views(16, 1), TonedViews(simclr_views(16, 1))], ids=["plain", "toned"])
def test_crops_are_as_large_as_the_views_that_the_network_learnt_from(transform, monkeypatch):
    """And no larger: the network's own form of a picture, which cuts to the views' size, finds nothing left to cut."""
    torch.manual_seed(0)
    net = HeadsNet(SmallConv(4), (3, 16, 16), (2,)).build()
    encoder, seen = Encoder(net, transform, (3, 20, 20)).eval(), []
    original = Encoder.prepare

    def noted(self, items):
        seen.append(tuple(items.shape[-2:]))
        return original(self, items)

    monkeypatch.setattr(Encoder, "prepare", noted)
    pictures = TensorDataset(torch.zeros(4, 3, 20, 20, dtype=torch.uint8), torch.arange(4) % 2)

    probe_layers(encoder, pictures, pictures, num_classes=2, schedule=Schedule(epochs=1), crops=(1, 10))

    assert set(seen) == {(16, 16)}


def test_the_layers_of_alexnet_keep_as_many_numbers_as_in_the_paper():
    shapes = [(96, 55), (256, 27), (384, 13), (384, 13), (256, 13)]
    kept = [pooled(torch.zeros(1, channels, side, side), 1).numel() for channels, side in shapes]
    assert kept == [9600, 9216, 9600, 9600, 9216]


def test_pooling_takes_the_largest_and_puts_patches_side_by_side():
    maps = torch.arange(2 * 2 * 16.0).reshape(4, 1, 4, 4)  # two samples of two patches

    kept = pooled(maps, 2, most=8)

    assert kept.shape == (2, 2, 2, 2)
    assert kept[0].flatten().tolist() == [5, 7, 13, 15, 21, 23, 29, 31]
    assert pooled(maps, 2, most=10**6).shape == (2, 2, 4, 4)  # never larger than it is


def test_the_rate_falls_when_the_paper_says():
    rates = [Schedule().rate_at(epoch) for epoch in range(Schedule().epochs)]
    steps = [epoch for epoch in range(1, 36) if rates[epoch] != rates[epoch - 1]]
    assert (len(rates), rates[0], steps) == (36, 0.01, [5, 15, 25])
    assert rates[-1] == pytest.approx(0.01 / 125)


def test_maps_are_those_of_the_network_as_it_embeds(encoder):
    items = torch.stack([tinted(4, seed=0)[i][0] for i in range(4)])
    seen = {}
    handles = [
        place.register_forward_hook(lambda module, inputs, output, name=name: seen.update({name: output.clone()}))
        for name, place in taps(encoder.net).items()
    ]
    encoder.embed(items)
    for handle in handles:  # else the copy would have them too
        handle.remove()

    maps = LayerMaps(encoder, most=10**6)(items)

    assert list(maps) == list(seen) == ["conv1", "conv2", "conv3", "conv4", "conv5"]
    for name, whole in seen.items():
        torch.testing.assert_close(maps[name], whole, rtol=1e-4, atol=1e-5)


def test_probes_learn_and_the_network_does_not_change(encoder):
    before = {name: value.clone() for name, value in encoder.net.state_dict().items()}
    schedule = Schedule(epochs=6, batch_size=16)
    said = []

    found = probe_layers(
        encoder, tinted(96, seed=0), tinted(40, seed=1), num_classes=2, schedule=schedule, crops=(1, 10),
        progress=lambda done, total: said.append((done, total)),
    )  # fmt: skip

    results = layer_results(
        found, stamp("tints", "test", "a"), layer="pretrained", question="class", seed=0
    )  # fmt: skip
    told = {(r.task, r.layer): r.value for r in results}
    assert told["class, probes of layers, 1 crop", "pretrained conv1"] > 0.9
    assert told["class, probes of layers, 10 crops", "pretrained conv1"] > 0.9
    assert len(told) == len(results) == 10  # two classes have no top 5
    assert {result.n for result in results} == {96}
    assert said[-1] == (schedule.steps(96), schedule.steps(96)) == (36, 36)
    for name, value in encoder.net.state_dict().items():
        assert torch.equal(value, before[name])
    np.testing.assert_allclose(found[10].scores["conv2"].sum(1), 1, rtol=1e-5)  # means of probabilities
    assert found[1].classes.tolist() == [i % 2 for i in range(40)]


def test_pictures_that_cannot_be_read_do_not_count_as_learnt_from(encoder):
    class Torn(TensorDataset):
        def __getitem__(self, index):
            return Unreadable(f"{index}.png", "torn") if index in (1, 5) else super().__getitem__(index)

    skipped = SkipLog()
    torn = Torn(*tinted(40, seed=0).tensors)

    found = probe_layers(
        encoder, torn, tinted(8, seed=1), num_classes=2, schedule=Schedule(epochs=3, batch_size=10), skipped=skipped
    )

    assert (found[1].learnt, len(skipped.reasons)) == (38, 2)


@pytest.mark.errors
def test_what_cannot_be_probed_is_told(encoder):
    with pytest.raises(ValueError, match="classes must be from 0 to 0; got 0 to 1"):
        probe_layers(encoder, tinted(8, seed=0), tinted(8, seed=1), num_classes=1, schedule=Schedule(epochs=1))
    with pytest.raises(ValueError, match="at least two labelled pictures"):
        probe_layers(encoder, tinted(1, seed=0), tinted(8, seed=1), num_classes=2)
    encoder.item_shape = (1, 1, 400)
    with pytest.raises(ValueError, match="layers are probed on pictures"):
        probe_layers(encoder, tinted(8, seed=0), tinted(8, seed=1), num_classes=2)
    with pytest.raises(ValueError, match="`count` must be 1 or 10; got 5"):
        fixed_crops(numbered(8), 8, 5)  # type: ignore[arg-type]
