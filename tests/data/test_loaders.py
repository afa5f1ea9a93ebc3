"""The order of samples is a function of (seed, step), and what a sample draws of (seed, epoch, index): nothing else."""

import random
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch.utils.data import Dataset, Subset

from unshuffle.data import Arrays
from unshuffle.data.loaders import (
    Batches,
    Loaded,
    Reader,
    SkipLog,
    TooManyUnreadable,
    Unreadable,
    as_item,
    collate,
    mix,
    ordered_loader,
    training_loader,
)


class Drawing(Dataset):
    """Every sample draws from PyTorch, numpy and Python; every fourth cannot be read."""

    def __len__(self) -> int:
        return 20

    def __getitem__(self, index: int) -> object:
        if index % 4 == 3:
            return Unreadable(f"sample {index}", "damaged")
        item = torch.stack([torch.rand(2, 2), torch.from_numpy(np.random.rand(2, 2)).float()])  # noqa: NPY002
        return item + random.random(), float(index)


class Listed(Dataset):
    """What it was given."""

    def __init__(self, *samples: object) -> None:
        self.samples = samples

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> object:
        return self.samples[index]


def steps(
    size: int, batch_size: int, first: int, last: int, *, seed: int = 0, rank: int = 0, processes: int = 1
) -> list:
    return list(Batches(size, batch_size=batch_size, seed=seed, first=first, last=last, rank=rank, processes=processes))


# ------------------------------------------------------------------------------------------------------------- batches


@given(size=st.integers(4, 30), batch=st.integers(1, 4), skipped=st.integers(0, 20), seed=st.integers(0, 2**40))
def test_starting_at_step_k_yields_what_skipping_k_yields(size, batch, skipped, seed):
    whole = steps(size, batch, 0, 25, seed=seed)

    assert steps(size, batch, skipped, 25, seed=seed) == whole[skipped:]
    assert len(whole) == len(Batches(size, batch_size=batch, seed=seed, first=0, last=25)) == 25


@given(batches=st.integers(1, 6), batch=st.integers(1, 5), left=st.integers(0, 4), seed=st.integers(0, 2**31))
def test_every_epoch_is_a_permutation_without_its_incomplete_last_batch(batches, batch, left, seed):
    size = batches * batch + min(left, batch - 1)
    whole = steps(size, batch, 0, 3 * batches, seed=seed)

    for epoch in range(3):
        keys = [key for step in whole[epoch * batches : (epoch + 1) * batches] for key in step]
        assert {e for e, _ in keys} == {epoch}
        indices = [i for _, i in keys]
        assert len(set(indices)) == len(indices) == batches * batch
        assert set(indices) <= set(range(size))


def test_epochs_and_seeds_are_shuffled_differently():
    whole = [i for step in steps(50, 10, 0, 10) for _, i in step]

    assert whole[:50] != whole[50:]
    assert whole[:50] != [i for step in steps(50, 10, 0, 5, seed=1) for _, i in step]


def test_the_samples_left_out_change_from_epoch_to_epoch():
    seen = {i for step in steps(10, 4, 0, 20) for _, i in step}

    assert seen == set(range(10))


@given(processes=st.integers(1, 4), batch=st.integers(4, 9), seed=st.integers(0, 2**31))
def test_processes_share_each_batch_without_overlap(processes, batch, seed):
    common = steps(30, batch, 0, 6, seed=seed)
    shares = [steps(30, batch, 0, 6, seed=seed, rank=r, processes=processes) for r in range(processes)]

    for k, whole in enumerate(common):
        parts = [key for share in shares for key in share[k]]
        assert sorted(parts) == sorted(whole)
        assert all(share[k] for share in shares)  # nobody is left without a sample


# --------------------------------------------------------------------------------------------------------------- draws


@pytest.mark.parametrize("workers", [0, 2])
def test_what_a_sample_draws_depends_on_seed_epoch_and_index_alone(workers):
    """Another order of reading, another batch size, other processes: the same sample."""
    reader = Reader(Drawing(), seed=5)
    batches = Batches(20, batch_size=7, seed=5, first=1, last=4)
    loader = training_loader(Drawing(), batches, workers=workers)

    seen = 0
    for keys, loaded in zip(batches, loader):
        readable = [key for key in keys if key[1] % 4 != 3]
        assert loaded.raw.index.tolist() == [i for _, i in readable]
        for key, item, label in zip(readable, *loaded.raw[::2]):
            alone = reader[key]
            assert not isinstance(alone, Unreadable)
            assert item.equal(alone[0])
            assert label == key[1]
            seen += 1
    assert seen > 10


def test_other_epochs_seeds_and_samples_draw_otherwise():
    draws = [Reader(Drawing(), seed)[epoch, index] for seed in (0, 1) for epoch in (0, 1) for index in (0, 1)]

    values = [float(v) for d in draws if not isinstance(d, Unreadable) for v in d[0].flatten()]
    assert len(set(values)) == len(values) == 8 * 8


@pytest.mark.parametrize("workers", [0, 2])
def test_the_ordered_loader_gives_every_sample_once_in_order(workers):
    loaded = list(ordered_loader(Drawing(), batch_size=6, workers=workers))

    assert [i for part in loaded for i in part.raw.index.tolist()] == [i for i in range(20) if i % 4 != 3]
    assert [s.name for part in loaded for s in part.skipped] == [f"sample {i}" for i in range(3, 20, 4)]


@pytest.mark.parametrize("numbers", [((5,), (5, 0)), ((0, 1), (1, 0)), ((0, 1), (2**32,)), ((1, 2, 3), (1, 2, 4))])
def test_different_numbers_give_different_seeds(numbers):
    one, other = numbers

    assert mix(*one) == mix(*one)
    assert mix(*one) != mix(*other)
    assert 0 <= mix(*one) < 2**63


@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=4))
def test_any_64_bit_numbers_make_a_seed_that_pytorch_takes(numbers):
    torch.Generator().manual_seed(mix(*numbers))


# ------------------------------------------------------------------------------------------------------------- collate


def sample(index: int, shape: tuple[int, ...] = (1, 2, 2), label: float | None = None) -> tuple:
    return torch.full(shape, float(index)), index, None if label is None else torch.tensor(label)


def test_readable_samples_are_stacked_and_the_others_listed():
    bad = Unreadable("b", "damaged")

    raw, skipped = collate([sample(4, label=1.0), bad, sample(9, label=2.0)])

    assert raw is not None
    assert raw.items[:, 0, 0, 0].tolist() == [4, 9]
    assert raw.index.tolist() == [4, 9]
    assert raw.label is not None
    assert raw.label.tolist() == [1, 2]
    assert skipped == [bad]


def test_labels_may_be_missing_altogether():
    raw = collate([sample(0), sample(1)]).raw

    assert raw is not None
    assert raw.label is None


def test_a_batch_of_which_nothing_can_be_read_is_none():
    bad = [Unreadable("a", "damaged"), Unreadable("b", "gone")]

    assert collate(list(bad)) == Loaded(None, bad)


@pytest.mark.errors
def test_samples_of_different_shapes_are_refused_with_the_shapes():
    with pytest.raises(ValueError, match=r"must have one shape; got \(1, 2, 2\) and \(1, 2, 3\)"):
        collate([sample(0), sample(1, (1, 2, 3)), sample(2)])


@pytest.mark.errors
def test_labels_for_some_samples_only_are_refused():
    with pytest.raises(ValueError, match="some samples have a label and some have none"):
        collate([sample(0), sample(1, label=1.0)])


@pytest.mark.errors
@pytest.mark.parametrize("label", ["cat", {"box": 1}])
def test_labels_that_are_no_numbers_are_refused(label):
    with pytest.raises(TypeError, match=rf"a label must be a number.*; got {type(label).__name__}. Number the classes"):
        Reader(Listed((torch.zeros(1, 2, 2), label)), 0)[0, 0]


# --------------------------------------------------------------------------------------------------------------- items


def test_tensors_are_taken_as_they_are_and_two_axes_are_grey():
    item = torch.arange(24, dtype=torch.uint8).reshape(2, 3, 4)

    assert as_item(item) is item
    assert as_item(item[0]).equal(item[:1])


def test_arrays_have_their_channels_last():
    array = np.arange(24, dtype=np.float32).reshape(3, 4, 2)

    assert as_item(array).shape == (2, 3, 4)
    assert as_item(array)[1].tolist() == array[..., 1].tolist()
    assert as_item(array[..., 0]).shape == (1, 3, 4)
    assert as_item(array[::-1]).flatten()[0] == array[2, 0, 0]  # a reversed view


@pytest.mark.parametrize(("mode", "channels"), [("RGB", 3), ("L", 1), ("RGBA", 3), ("LA", 1), ("1", 1), ("CMYK", 3)])
def test_pil_images_are_gray_or_rgb(mode, channels):
    item = as_item(Image.new(mode, (5, 4)))

    assert item.shape == (channels, 4, 5)
    assert item.dtype == torch.uint8


def test_palette_images_become_colours():
    red = Image.new("RGB", (5, 4), (200, 10, 20)).convert("P", palette=Image.Palette.ADAPTIVE)

    assert as_item(red)[:, 0, 0].tolist() == [200, 10, 20]


def test_items_that_cannot_be_written_to_draw_no_warning():
    array = np.zeros((3, 3), np.uint8)
    array.flags.writeable = False

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        as_item(array)


@pytest.mark.errors
def test_other_items_are_refused():
    with pytest.raises(TypeError, match="must be a tensor, an array or a PIL image; got dict"):
        as_item({"image": 1})
    with pytest.raises(ValueError, match=r"must be \(C, H, W\) or \(H, W\); got shape \(3,\)"):
        as_item(torch.zeros(3))


@pytest.mark.parametrize(
    ("given_sample", "label"),
    [
        (torch.ones(1, 2, 2), None),
        ((torch.ones(1, 2, 2),), None),
        ((torch.ones(1, 2, 2), 3), 3),
        ([torch.ones(1, 2, 2), 3, "more"], 3),
        ((torch.ones(1, 2, 2), None), None),
        ((np.ones((2, 2)), np.int64(3)), 3),
    ],
)
def test_data_sets_may_give_items_alone_pairs_or_more(given_sample, label):
    read = Reader(Listed(given_sample), 0)[0, 0]

    assert not isinstance(read, Unreadable)
    assert read[0].shape == (1, 2, 2)
    assert (None if read[2] is None else int(read[2])) == label


def test_labels_of_mixed_number_types_are_stacked():
    raw = collate([Reader(Listed((torch.ones(1, 2, 2), v)), 0)[0, 0] for v in (1, 2.5)]).raw

    assert raw is not None
    assert raw.label is not None
    assert raw.label.tolist() == [1, 2.5]


# ------------------------------------------------------------------------------------------------------------- skipping


def unreadable(*names: str) -> list[Unreadable]:
    return [Unreadable(n, "damaged") for n in names]


def test_every_unreadable_sample_is_told_once():
    told: list[str] = []
    log = SkipLog(limit=5, say=told.append)

    log.add(unreadable("a", "b"))
    log.add(unreadable("b", "c"))

    assert told == ["skipped a: damaged", "skipped b: damaged", "skipped c: damaged"]
    assert log.summary() == "3 unreadable: a (damaged); b (damaged); c (damaged)."


def test_the_summary_names_the_first_three():
    log = SkipLog()
    assert log.summary() == "Nothing was skipped."

    log.add(unreadable("a", "b", "c", "d", "e"))

    assert log.summary() == "5 unreadable: a (damaged); b (damaged); c (damaged); and 2 more."


def test_the_limit_may_be_reached_and_not_passed():
    log = SkipLog(limit=2)
    log.add(unreadable("a", "b"))
    log.add(unreadable("a", "b"))  # the next epoch

    with pytest.raises(TooManyUnreadable, match=r"3 unreadable: a .*The limit is 2 \(--max-unreadable\)"):
        log.add(unreadable("c"))


def test_no_unreadable_sample_is_allowed_at_a_limit_of_0():
    SkipLog(limit=0).add([])
    with pytest.raises(TooManyUnreadable):
        SkipLog(limit=0).add(unreadable("a"))


def test_arrays_load_as_they_lie():
    items = torch.arange(20, dtype=torch.uint8).reshape(5, 1, 2, 2)
    raws = [part.raw for part in ordered_loader(Arrays(items, torch.arange(5)), batch_size=2)]

    assert torch.cat([r.items for r in raws]).equal(items)
    assert torch.cat([r.label for r in raws]).tolist() == [0, 1, 2, 3, 4]


def test_a_part_of_a_data_set_keeps_the_places_of_the_whole():
    whole = Arrays(torch.arange(6).reshape(6, 1, 1, 1))

    (loaded,) = ordered_loader(torch.utils.data.Subset(whole, [5, 1, 3]), batch_size=8)

    assert loaded.raw.index.tolist() == [5, 1, 3] == loaded.raw.items.flatten().tolist()


@pytest.mark.parametrize("labels", [None, torch.arange(9)])
@pytest.mark.parametrize("part", [None, [7, 2, 5, 0, 8]])
def test_a_batch_that_is_read_at_once_is_that_of_its_samples(labels, part):
    data = Arrays(torch.arange(9 * 12).reshape(9, 3, 2, 2).byte(), labels)
    whole = data if part is None else Subset(data, part)
    keys = [(0, 3), (2, 0), (1, 4)]

    at_once = collate(Reader(whole, seed=1).__getitems__(keys))
    one_by_one = collate([Reader(whole, seed=1)[key] for key in keys])

    assert isinstance(Reader(whole, seed=1).__getitems__(keys), Loaded)
    assert at_once.raw is not None
    assert one_by_one.raw is not None
    for a, b in zip(at_once.raw, one_by_one.raw):
        assert (a is None and b is None) or (a.equal(b) and a.dtype == b.dtype)


def test_a_data_set_of_ones_own_that_changes_its_samples_is_read_one_by_one():
    class Brighter(Arrays):
        def __getitem__(self, index):
            item, label = super().__getitem__(index)
            return item + 1, label

    reader = Reader(Brighter(torch.zeros(4, 1, 2, 2)), seed=0)

    read = collate(reader.__getitems__([(0, 1), (0, 2)]))

    assert read.raw is not None
    assert (read.raw.items == 1).all()
