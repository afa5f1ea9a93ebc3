"""Series in every layout: the same samples from each, shapes chosen, lengths made equal on request, bad ones named."""

import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from unshuffle.data import Series
from unshuffle.data.files import FileDataset
from unshuffle.data.loaders import Unreadable, ordered_loader
from unshuffle.data.series import SeriesTable
from unshuffle.data.tables import Lists, read_table

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")


def samples(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape)


def npy(root: Path, x: np.ndarray, y: np.ndarray | None = None) -> Path:
    np.save(root / "data.npy", x)
    return root / "data.npy"


def npz(root: Path, x: np.ndarray, y: np.ndarray | None = None) -> Path:
    np.savez(root / "data.npz", x=x, **({} if y is None else {"y": y}))
    return root / "data.npz"


def packed(root: Path, x: np.ndarray, y: np.ndarray | None = None) -> Path:
    np.savez_compressed(root / "data.npz", series=x, **({} if y is None else {"label": y}))
    return root / "data.npz"


def parquet(root: Path, x: np.ndarray, y: np.ndarray | None = None) -> Path:
    columns = {"data": x.tolist()} | ({} if y is None else {"label": y.tolist()})
    pq.write_table(pa.table(columns), root / "data.parquet")
    return root / "data.parquet"


def folder(root: Path, x: np.ndarray, y: np.ndarray | None = None) -> Path:
    for k, sample in enumerate(x):
        place = root / "data" / ("" if y is None else str(y[k]))
        place.mkdir(parents=True, exist_ok=True)
        np.save(place / f"{k:03}.npy", sample)
    return root / "data"


def archive(root: Path, x: np.ndarray, y: np.ndarray | None = None) -> Path:
    with zipfile.ZipFile(root / "data.zip", "w") as out:
        for path in sorted(folder(root, x, y).rglob("*.npy")):
            out.write(path, str(path.relative_to(root / "data")))
    return root / "data.zip"


LAYOUTS = [npy, npz, packed, parquet, folder, archive]
every_layout = pytest.mark.parametrize("layout", LAYOUTS, ids=lambda f: f.__name__)


def items(data) -> torch.Tensor:
    return torch.stack([data[i][0] for i in range(len(data))])


def refusal(data, index: int = 0) -> str:
    sample = data[index]
    assert isinstance(sample, Unreadable), sample
    assert sample.name == data.names[index]
    return sample.reason


# --------------------------------------------------------------------------------------------------- layouts and shapes


@every_layout
@pytest.mark.parametrize(
    ("shape", "item"),
    [((20,), (1, 1, 20)), ((3, 20), (3, 1, 20)), ((3, 4, 20), (3, 4, 20)), ((5, 3, 4, 6), (5, 3, 4, 6))],
)
def test_every_layout_gives_the_same_items(layout, shape, item, tmp_path):
    x = samples(7, *shape)

    data = Series().open(layout(tmp_path, x))

    assert isinstance(data, SeriesTable | FileDataset)
    assert data.source == Series(shape=item)
    assert len(data) == len(data.names) == 7
    assert items(data).dtype == torch.float32
    torch.testing.assert_close(items(data), torch.from_numpy(x).float().reshape(7, *item))


@every_layout
def test_labels_are_read_from_wherever_the_layout_has_them(layout, tmp_path):
    y = np.array(["walk", "run", "walk", "rest"])

    data = Series().open(layout(tmp_path, samples(4, 2, 10), y))

    if layout is npy:
        assert (data.classes, data.labels) == ((), None)
        return
    assert data.classes == ("rest", "run", "walk")
    assert sorted(data.labels) == [0, 1, 2, 2]  # a folder lies class after class
    assert sorted(data[i][1] for i in range(4)) == [0, 1, 2, 2]


def test_whole_numbers_are_classes_in_their_order_and_real_numbers_are_labels_themselves(tmp_path):
    assert Series().open(npz(tmp_path, samples(3, 9), np.array([10, 9, 10]))).classes == ("9", "10")
    data = Series().open(npz(tmp_path, samples(3, 9), np.array([0.5, 0.25, 0.1])))
    assert (data.classes, data[1][1]) == ((), 0.25)


def test_bytes_stay_bytes_and_other_numbers_become_floats(tmp_path):
    x = samples(2, 3, 9)
    assert Series().open(npz(tmp_path, (x * 50).astype(np.uint8)))[0][0].dtype == torch.uint8
    for kind in ("int16", "bool", "float16", "float64", ">f4"):
        assert Series().open(npz(tmp_path, (x * 50).astype(kind)))[0][0].dtype == torch.float32


def test_a_large_npy_is_mapped_and_not_read(tmp_path):
    table = read_table(npy(tmp_path, samples(100, 30)))

    assert isinstance(table.rows, np.memmap)


@pytest.mark.parametrize(
    ("time", "expected"), [(None, [[1, 2, 3], [4, 5, 6]]), (1, [[1, 2, 3], [4, 5, 6]]), (0, [[1, 4], [2, 5], [3, 6]])]
)
def test_the_axis_of_time_may_be_named(time, expected, tmp_path):
    x = np.array([[[1, 2, 3], [4, 5, 6]]])

    assert Series(time=time).open(npz(tmp_path, x))[0][0][:, 0].tolist() == expected


def test_the_samples_may_be_named(tmp_path):
    np.savez(tmp_path / "a.npz", train=samples(3, 9), test=samples(2, 8), kind=np.array([1, 2, 3]))

    data = Series(key="train", labels="kind").open(tmp_path / "a.npz")

    assert (len(data), data.classes, data.source.item_shape) == (3, ("1", "2", "3"), (1, 1, 9))


def test_what_was_chosen_is_told(tmp_path):
    path = npz(tmp_path, samples(30, 6, 100), np.arange(30) % 4)

    settled, told = Series().settle(path)

    assert settled == Series(shape=(6, 1, 100))
    assert told == [
        "items: 6 x 1 x 100, channels x rows x time (30 of 30 looked at)",
        "samples: 'x', labels: 'y', 4 classes",
    ]
    assert settled.settle(path) == (settled, [])


@pytest.mark.parametrize("workers", [0, 2])
@every_layout
def test_batches_are_read_in_other_processes_too(layout, workers, tmp_path):
    x = samples(6, 2, 10)
    x[3, 1, 4] = np.nan

    (loaded,) = ordered_loader(Series().open(layout(tmp_path, x)), batch_size=8, workers=workers)

    assert loaded.raw.items.shape == (5, 2, 1, 10)
    assert [(len(s.name) > 0, s.reason) for s in loaded.skipped] == [
        (True, "it holds NaN or infinite values, the first at entry 4 of its time")
    ]


# -------------------------------------------------------------------------------------------------------------- lengths


def ragged_folder(root: Path) -> Path:
    (root / "data").mkdir()
    for k, length in enumerate((10, 12, 12, 15)):
        np.save(root / "data" / f"{k}.npy", np.arange(length))
    return root / "data"


def ragged_parquet(root: Path) -> Path:
    pq.write_table(pa.table({"x": [list(range(length)) for length in (10, 12, 12, 15)]}), root / "a.parquet")
    return root / "a.parquet"


ragged = pytest.mark.parametrize("layout", [ragged_folder, ragged_parquet])


@ragged
def test_cropping_keeps_the_middle_of_the_shortest_length(layout, tmp_path):
    data = Series(lengths="crop").open(layout(tmp_path))

    assert items(data).flatten(1)[:, 0].tolist() == [0, 1, 1, 2]
    assert items(data).shape == (4, 1, 1, 10)


@ragged
def test_padding_repeats_the_outermost_entries_up_to_the_longest_length(layout, tmp_path):
    data = Series(lengths="pad").open(layout(tmp_path))

    assert items(data).shape == (4, 1, 1, 15)
    assert items(data)[0].flatten().tolist() == [0, 0, 0, *range(10), 9, 9]


@ragged
def test_a_length_of_ones_own_is_kept_to(layout, tmp_path):
    path = layout(tmp_path)
    assert items(Series(lengths="pad", length=12).open(path)).shape == (4, 1, 1, 12)
    data = Series(length=12).open(path)
    assert refusal(data, 0) == "10 entries long; 12 needed"
    assert refusal(data, 3) == "15 entries long; 12 needed"
    assert data[1][0].shape == (1, 1, 12)


@pytest.mark.errors
@ragged
def test_samples_of_several_lengths_are_refused_with_what_to_do(layout, tmp_path):
    with pytest.raises(ValueError, match=r"10 to 15 entries long: crop .* \(--source\.lengths crop\), pad"):
        Series().open(layout(tmp_path))


def test_lists_of_lists_are_channels_also_where_their_lengths_differ(tmp_path):
    rows = [[[1.0, 2, 3], [4, 5, 6]], [[1, 2], [3, 4]], None, [[1, 2], [3]], [[1, None, 3], [4, 5, 6]]]
    pq.write_table(pa.table({"x": rows}), tmp_path / "a.parquet")

    data = Series(lengths="crop", length=2).open(tmp_path / "a.parquet")

    assert isinstance(data.rows, Lists)
    assert data[0][0][:, 0].tolist() == [[1, 2], [4, 5]]
    assert data[1][0][:, 0].tolist() == [[1, 2], [3, 4]]
    assert [refusal(data, k) for k in (2, 3, 4)] == [
        "it is null", "its channels have different lengths",
        "it holds NaN or infinite values, the first at entry 1 of its time",
    ]  # fmt: skip


# ----------------------------------------------------------------------------------------------- bad samples, bad files


def test_a_sample_of_another_shape_is_named(tmp_path):
    path = folder(tmp_path, samples(5, 3, 20))
    np.save(path / "000.npy", samples(2, 20))
    np.save(path / "001.npy", samples(3, 4, 5, 6, 7))
    np.save(path / "002.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    np.save(path / "003.npy", samples(3, 20) * 1j)
    (path / "004.npy").write_bytes(b"no array")
    np.save(path / "005.npy", samples(3, 20))

    data = Series(shape=(3, 1, 20)).open(path)

    assert refusal(data, 0) == "an item of shape (2, 1, 20); the others are (3, 1, 20)"
    assert refusal(data, 1) == "a sample must have one to four axes and none empty; got shape (3, 4, 5, 6, 7)"
    assert "allow_pickle=False" in refusal(data, 2)
    assert refusal(data, 3) == "its entries are complex128; real numbers are needed"
    assert refusal(data, 4)
    assert data[5][0].shape == (3, 1, 20)


def test_an_array_of_objects_is_never_unpickled(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (pytest.fail, ("it was run",))

    bombs = np.array([Bomb(), Bomb()], dtype=object)
    np.save(tmp_path / "a.npy", bombs, allow_pickle=True)
    np.savez(tmp_path / "b.npz", x=samples(2, 9), y=bombs)
    (tmp_path / "c").mkdir()
    np.save(tmp_path / "c" / "a.npy", bombs, allow_pickle=True)

    for root in ("a.npy", "b.npz", "c"):
        with pytest.raises(ValueError, match=r"c(annot|ould) be read"):
            Series().open(tmp_path / root)


@pytest.mark.errors
@pytest.mark.parametrize("name", ["a.npy", "a.npz", "a.parquet"])
def test_a_damaged_table_says_so(name, tmp_path):
    for data in (b"", b"nothing of the kind" * 50):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(ValueError, match=rf"{name}' cannot be read: "):
            Series().open(tmp_path / name)


@pytest.mark.errors
def test_a_table_that_is_cut_short_says_so(tmp_path):
    for layout in (npy, npz, parquet):
        path = layout(tmp_path, samples(50, 30))
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        with pytest.raises(ValueError, match="cannot be read: "):
            Series().open(path)


@pytest.mark.errors
@pytest.mark.parametrize(
    ("arrays", "options", "text"),
    [
        (
            {"a": samples(3, 9), "b": samples(3, 9)},
            {},
            r"several arrays .*--source\.key.*a, b",
        ),
        ({"a": np.arange(3)}, {}, r"no arrays that could be the samples"),
        ({"x": samples(3, 9)}, {"key": "z"}, "has no 'z'; it has x"),
        ({"x": samples(3, 9)}, {"labels": "z"}, "has no labels 'z'; it has x"),
        ({"x": samples(3, 9), "y": np.arange(2)}, {}, r"labels of shape \(2,\) for 3 samples; give one a sample"),
        ({"x": samples(3, 9)}, {"time": 4}, "`time` is axis 4, and a sample has 1; name one from 0 to 0"),
        ({"x": np.arange(3)}, {"key": "x"}, r"'x' must be \(samples, ...\), one sample a row; got shape \(3,\)"),
    ],
)
def test_what_is_open_is_asked_for(arrays, options, text, tmp_path):
    np.savez(tmp_path / "a.npz", **arrays)

    with pytest.raises(ValueError, match=text):
        Series(**options).open(tmp_path / "a.npz")


@pytest.mark.errors
def test_wrong_places_and_values_are_refused_with_what_is_accepted(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no file .*b\.npz': give a \.npy, \.npz, .*, or a folder of"):
        Series().open(tmp_path / "b.npz")
    with pytest.raises(FileNotFoundError, match=r"no array in .*: looked for \.npy"):
        Series().open(tmp_path)
    with pytest.raises(ValueError, match="is a single array without names; leave `key` 'x' out"):
        Series(key="x").open(npy(tmp_path, samples(3, 9)))
    with pytest.raises(ValueError, match="`lengths` must be one of 'refuse', 'crop', 'pad'; got 'cut'"):
        Series(lengths="cut")
    with pytest.raises(ValueError, match=r"`length` must be from 1 .*; got 0"):
        Series(length=0)
    with pytest.raises(ValueError, match="`shape` must be known by now"):
        Series().item_shape  # noqa: B018
    pq.write_table(pa.table({"a": ["x"], "b": [1.0]}), tmp_path / "a.parquet")
    with pytest.raises(ValueError, match="no column of lists"):
        Series().open(tmp_path / "a.parquet")
