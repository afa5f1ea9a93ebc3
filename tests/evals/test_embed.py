"""A data set becomes rows of features, in its own order, without what cannot be read."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset

from unshuffle.data.arrays import Arrays
from unshuffle.data.loaders import SkipLog, TooManyUnreadable, Unreadable
from unshuffle.evals.embed import embed_dataset, raw_features, spectrogram_features


class Torn(Dataset):
    """Sample i is all i and its label 10 i; those in ``bad`` cannot be read."""

    def __init__(self, size: int, bad: set[int]) -> None:
        self.size, self.bad = size, bad

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int):
        if index in self.bad:
            return Unreadable(f"{index}.png", "torn")
        return torch.full((1, 2, 2), float(index)), 10 * index


def mean(items: torch.Tensor) -> torch.Tensor:
    return items.flatten(1).mean(1, keepdim=True)


@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_rows_stand_in_the_order_of_the_data_without_what_cannot_be_read(batch_size):
    log, told = SkipLog(), []
    data = Torn(11, {0, 4, 5, 10})
    kept = np.array([1, 2, 3, 6, 7, 8, 9])

    got = embed_dataset(
        {"once": mean, "twice": lambda items: 2 * mean(items)}, data, batch_size=batch_size, skipped=log,
        progress=lambda done, total: told.append((done, total)),
    )  # fmt: skip

    assert got.index.tolist() == kept.tolist()
    assert got.vectors["once"][:, 0].tolist() == kept.tolist()
    assert got.vectors["twice"][:, 0].tolist() == (2 * kept).tolist()
    assert got.labels is not None
    assert got.labels.tolist() == (10 * kept).tolist()
    assert log.reasons == dict.fromkeys(("0.png", "4.png", "5.png", "10.png"), "torn")
    assert told[-1] == (11, 11)
    assert [done for done, _ in told] == sorted(done for done, _ in told)


def test_every_sample_is_read_once_for_all_embedders():
    class Counting(Torn):
        reads = 0

        def __getitem__(self, index: int):
            self.reads += 1
            return super().__getitem__(index)

    data = Counting(9, set())
    embed_dataset({"a": mean, "b": mean, "c": mean}, data, batch_size=4)

    assert data.reads == 9


def test_data_without_labels_have_none():
    assert embed_dataset({"mean": mean}, Arrays(np.zeros((3, 1, 2, 2)))).labels is None


@pytest.mark.parametrize("workers", [0, 1])
def test_workers_change_nothing(workers):
    data = Arrays(np.random.default_rng(0).integers(0, 256, (20, 1, 4, 4), dtype=np.uint8), np.arange(20))

    got = embed_dataset({"raw": raw_features}, data, batch_size=6, workers=workers)

    assert np.array_equal(got.vectors["raw"], data.items.flatten(1).numpy())
    assert np.array_equal(got.index, np.arange(20))


@pytest.mark.errors
def test_data_of_which_nothing_can_be_read_are_told_with_names_and_reasons():
    with pytest.raises(ValueError, match=r"not one of 4 samples could be read\. 4 unreadable: 0\.png \(torn\)"):
        embed_dataset({"mean": mean}, Torn(4, {0, 1, 2, 3}))


@pytest.mark.errors
def test_the_limit_of_unreadable_samples_holds():
    with pytest.raises(TooManyUnreadable, match="The limit is 1"):
        embed_dataset({"mean": mean}, Torn(9, {0, 1}), skipped=SkipLog(1))


@pytest.mark.errors
def test_a_batch_size_of_nothing_is_refused():
    with pytest.raises(ValueError, match="`batch_size` must be positive; got 0"):
        embed_dataset({"mean": mean}, Torn(3, set()), batch_size=0)


# --------------------------------------------------------------------------------------------------------- raw features


@pytest.mark.parametrize("shape", [(1, 64, 64), (3, 36, 36), (7,), (2, 2000)])
def test_up_to_4096_values_are_kept_as_they_are(shape):
    items = torch.randint(0, 256, (5, *shape), dtype=torch.uint8)

    assert torch.equal(raw_features(items), items.flatten(1).float())


def test_larger_pictures_are_averaged_in_blocks():
    items = torch.randint(0, 256, (2, 3, 64, 96), dtype=torch.uint8)
    blocks = items.float().reshape(2, 3, 32, 2, 32, 3).mean((3, 5))  # 2 x 3 pixels each

    torch.testing.assert_close(raw_features(items), blocks.flatten(1))


def test_a_side_that_is_short_already_is_not_stretched():
    assert raw_features(torch.zeros(2, 1, 8, 1000)).shape == (2, 8 * 32)


@pytest.mark.parametrize(("bands", "frames", "kept"), [(80, 51, 51), (80, 101, 51), (4096, 10, 1), (5000, 3, 1)])
def test_spectrograms_keep_every_band_and_their_frames_are_averaged(bands, frames, kept):
    pictures = torch.rand(2, 1, bands, frames, generator=torch.Generator().manual_seed(0))

    features = spectrogram_features(pictures)

    assert features.shape == (2, bands * kept)
    per_band = features.reshape(2, bands, kept).mean(-1)
    torch.testing.assert_close(per_band, pictures[:, 0].mean(-1), atol=0.05 if kept > 1 else 1e-5, rtol=0)
    assert kept < frames or torch.equal(features, pictures.flatten(1))


@pytest.mark.parametrize(
    ("shape", "features"),
    [((3, 32, 32), 3072), ((3, 96, 96), 3072), ((6, 1, 100), 600), ((4, 1, 9000), 4096), ((20, 3, 64, 64), 3840)],
)
def test_the_raw_input_of_clips_and_long_series_keeps_as_much_as_a_picture(shape, features):
    items = torch.rand(2, *shape)

    assert raw_features(items).shape == (2, features)
    torch.testing.assert_close(raw_features(items).mean(1), items.flatten(1).mean(1), rtol=0.01, atol=0.01)
