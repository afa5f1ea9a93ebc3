"""Series far from zero, padded with NaN, in text files, and with labels in every form."""

from pathlib import Path

import numpy as np
import pytest
import torch

from unshuffle.data import Series, Slices
from unshuffle.data.loaders import Unreadable
from unshuffle.data.slices import scale_channels
from unshuffle.data.tables import read_table

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")
TIME = np.arange(200)
SINE = np.sin(TIME / 5)


def saved(root: Path, x: np.ndarray, name: str = "a.npy") -> Path:
    np.save(root / name, x)
    return root / name


def read(data, index: int = 0) -> np.ndarray:
    sample = data[index]
    assert not isinstance(sample, Unreadable), sample
    return sample[0].double().numpy()


def refusal(data, index: int = 0) -> str:
    sample = data[index]
    assert isinstance(sample, Unreadable), sample
    return sample.reason


# ----------------------------------------------------------------------------------------------------------- precision


@pytest.mark.parametrize("layout", ["npy", "npz", "parquet", "folder"])
@pytest.mark.parametrize("offset", [1e6, -1e8, 1e12])
def test_a_signal_on_a_large_offset_keeps_its_shape_and_the_choice_is_told(offset, layout, tmp_path):
    x = np.tile(offset + SINE, (4, 2, 1))
    root = tmp_path / f"a.{layout}"
    if layout == "npy":
        np.save(root, x)
    elif layout == "npz":
        np.savez(root, x=x)
    elif layout == "parquet":
        pq.write_table(pa.table({"x": x.tolist()}), root)
    else:
        root.mkdir()
        for k, sample in enumerate(x):
            np.save(root / f"{k}.npy", sample)

    source, told = Series().settle(root)
    item = read(source.open(root))[0, 0]

    assert source.center is True
    assert any(line.startswith("center:") for line in told)
    np.testing.assert_allclose(item, SINE - SINE.mean(), atol=2e-4 * max(1, abs(offset) / 1e12))


@pytest.mark.parametrize("kind", ["int64", "uint64", "int32", "uint32"])
def test_integers_lose_nothing_before_their_mean_is_subtracted(kind, tmp_path):
    base = {"int64": 1_700_000_000_000_000_000, "uint64": 2**63 + 2**40, "int32": -(2**31), "uint32": 2**32 - 500}[kind]
    x = np.array([[base + 2 * k for k in range(100)]] * 3, dtype=kind)

    item = read(Series().open(saved(tmp_path, x))).ravel()

    np.testing.assert_array_equal(item, 2 * np.arange(100) - 99)


def test_values_that_float32_holds_well_enough_stay_bit_for_bit(tmp_path):
    x = np.stack([3e4 + SINE, SINE, 1e8 * SINE, np.full(200, 0.1), np.full(200, 1e9)])

    source, told = Series().settle(saved(tmp_path, x[None]))

    assert source.center is None
    assert len(told) == 2
    np.testing.assert_array_equal(read(source.open(tmp_path / "a.npy"))[:, 0], x.astype(np.float32))


def test_a_constant_channel_beside_a_lossy_one_becomes_zero(tmp_path):
    x = np.stack([1e8 + SINE, np.full(200, 0.1) + 1e-17, np.full(200, 1e8)])

    item = read(Series().open(saved(tmp_path, x[None])))

    assert not item[1:].any()


def test_a_lossy_sample_that_was_not_expected_is_refused_with_what_to_do(tmp_path):
    data = Series(shape=(1, 1, 200)).open(saved(tmp_path, (1e8 + SINE)[None]))

    assert "--source.center True" in refusal(data)
    assert "--source.center True" in refusal(Series(center=False).open(tmp_path / "a.npy"))


def test_a_clip_of_floats_is_centered_by_channel(tmp_path):
    x = 1e8 + SINE[:160].reshape(5, 2, 4, 4) + np.array([0, 1000])[None, :, None, None]

    item = read(Series().open(saved(tmp_path, x[None])))

    expected = SINE[:160].reshape(5, 2, 4, 4)
    np.testing.assert_allclose(item, expected - expected.mean((0, 2, 3), keepdims=True), atol=1e-6)


@pytest.mark.parametrize("kind", [torch.float64, torch.int64])
def test_arrays_in_memory_survive_where_slices_are_normalized_and_are_refused_where_not(kind):
    """The second item has no offset, and is what it would be by itself."""
    wave = torch.from_numpy(np.round(1000 * SINE)).reshape(1, 1, 200)
    items = torch.stack([wave + 10**12, wave, wave]).to(kind)
    slices = Slices(number=10, jitter=False)

    cut = slices.cut(items)

    assert torch.equal(cut[1], slices.cut(items[1:2])[0])
    torch.testing.assert_close(cut[0], cut[1], atol=1e-4, rtol=1e-4)
    with pytest.raises(ValueError, match="normalize"):
        Slices(number=10, jitter=False, normalize=False).cut(items)
    assert torch.equal(scale_channels(items[1:].float()), scale_channels(items[1:].float()))


# ------------------------------------------------------------------------------------------------------ NaN and lengths


def padded() -> np.ndarray:
    x = np.stack([np.stack([TIME, TIME + 0.5])] * 4)
    x[1, :, 150:] = np.nan
    x[2, :, 180:] = np.nan
    return x


def test_nan_at_the_end_is_padding_and_its_lengths_are_those_of_the_rest(tmp_path):
    path = saved(tmp_path, padded())

    with pytest.raises(ValueError, match="150 to 200 entries long: crop"):
        Series().open(path)
    cropped = Series(lengths="crop").open(path)
    assert [read(cropped, k).shape[-1] for k in range(4)] == [150] * 4
    np.testing.assert_array_equal(read(cropped, 2)[0, 0], np.arange(15, 165))
    filled = Series(lengths="pad").open(path)
    np.testing.assert_array_equal(read(filled, 2)[0, 0], np.clip(np.arange(-10, 190), 0, 179))


def test_padding_in_the_files_of_a_folder_and_along_another_axis_is_trimmed(tmp_path):
    for k, sample in enumerate(padded()):
        saved(tmp_path, sample.T, f"{k}.npy")

    data = Series(time=0, lengths="crop").open(tmp_path)

    np.testing.assert_array_equal(read(data, 1)[1, 0], np.arange(150) + 0.5)


@pytest.mark.parametrize(
    ("where", "text"),
    [((0, 7), "entry 7"), ((1, 199), "entry 199"), ((slice(None), slice(0, 3)), "entry 0"), ((), "nothing but NaN")],
    ids=["inside", "end of one channel", "begin", "everywhere"],
)
def test_nan_anywhere_else_makes_a_sample_unreadable_with_its_place(where, text, tmp_path):
    x = np.stack([np.stack([SINE, SINE])] * 3)
    x[1][where] = np.nan

    data = Series().open(saved(tmp_path, x))

    assert text in refusal(data, 1)
    assert read(data, 2).shape == (2, 1, 200)


def test_values_beyond_float32_are_refused(tmp_path):
    assert refusal(Series().open(saved(tmp_path, 1e300 * SINE[None]))) == "its values are too large for float32"


# -------------------------------------------------------------------------------------------------------------- labels


@pytest.mark.parametrize(
    ("labels", "classes", "numbers"),
    [
        (np.array([1.0, 2.0, 1.0]), ("1", "2"), [0, 1, 0]),
        (np.array([[3], [1], [3]]), ("1", "3"), [1, 0, 1]),
        (np.array([[0.5], [0.25], [1.0]]), (), [0.5, 0.25, 1.0]),
        (np.eye(3)[[2, 0, 1]], ("0", "1", "2"), [2, 0, 1]),
        (np.eye(3, dtype=bool)[[2, 0, 2]], ("0", "1", "2"), [2, 0, 2]),
        (np.array([b"walk", b"run", b"walk"]), ("run", "walk"), [1, 0, 1]),
        (np.array(["é".encode(), b"a", b"a"]), ("a", "é"), [1, 0, 0]),
        (np.array([-1.0, 1.0, -1.0], np.float32), ("-1", "1"), [0, 1, 0]),
        (np.array([10.0, 9.0, 10.0]), ("9", "10"), [1, 0, 1]),
        (np.array([np.nan] * 3), (), None),
        (np.array([[1, 1], [0, 1], [1, 0]]), (), None),
    ],
)
def test_labels_of_every_form_are_classes_or_numbers(labels, classes, numbers, tmp_path):
    np.savez(tmp_path / "a.npz", x=np.zeros((3, 9)), y=labels)

    data = Series().open(tmp_path / "a.npz")

    assert data.classes == classes
    assert (None if data.labels is None else list(data.labels)) == numbers


@pytest.mark.errors
@pytest.mark.parametrize("missing", [np.nan, None, np.inf])
def test_a_label_that_is_missing_is_named(missing, tmp_path):
    values = [1.0, missing, 2.0]
    pq.write_table(pa.table({"x": [[1.0, 2.0]] * 3, "y": values}), tmp_path / "a.parquet")

    with pytest.raises(ValueError, match="sample 1"):
        Series().open(tmp_path / "a.parquet")


def test_text_and_bytes_in_parquet_are_classes(tmp_path):
    for values in (["b", "a", "b"], [b"b", b"a", b"b"]):
        pq.write_table(pa.table({"x": [[1.0, 2.0]] * 3, "y": values}), tmp_path / "a.parquet")
        data = Series().open(tmp_path / "a.parquet")
        assert (data.classes, data.labels) == (("a", "b"), [1, 0, 1])


# ---------------------------------------------------------------------------------------------------------- text files


def written(root: Path, name: str, text: str) -> Path:
    (root / name).write_text(text, encoding="utf-8")
    return root / name


def test_a_tsv_of_the_ucr_archive_is_read_with_its_classes_and_padding(tmp_path):
    path = written(tmp_path, "Two_TRAIN.tsv", "1.0000000e+00\t0.5\t1.5\t2.5\n-1\t3\t4\tNaN\n1\t-1e-3\t0\t7\n")

    data = Series(lengths="pad").open(path)

    assert (data.classes, data.labels) == (("-1", "1"), [1, 0, 1])
    assert [read(data, k).ravel().tolist() for k in (0, 1)] == [[0.5, 1.5, 2.5], [3, 3, 4]]
    assert data.name == "Two_TRAIN"


def test_a_tsv_with_words_for_classes_and_lines_of_several_lengths(tmp_path):
    path = written(tmp_path, "a.tsv", "\ufeffcat\t1\t2\t3\r\ndog\t4\t5\r\n\r\n")

    data = Series(lengths="crop").open(path)

    assert (data.classes, data.labels) == (("cat", "dog"), [0, 1])
    assert [read(data, k).ravel().tolist() for k in (0, 1)] == [[1, 2], [4, 5]]


HEAD = "# of a watch\n@problemName Steps\n@timeStamps false\n@univariate false\n@classLabel true walk run\n@data\n"


def test_a_ts_file_is_read_with_channels_missing_values_and_classes(tmp_path):
    path = written(tmp_path, "a.ts", HEAD + "1,2,3:4,5,6:walk\n7,8,9:0,1,?:run\n7,8,?:0,1,?:run\n")

    data = Series(length=3, lengths="pad").open(path)

    assert (data.classes, data.labels) == (("run", "walk"), [1, 0, 0])
    assert read(data, 0)[:, 0].tolist() == [[1, 2, 3], [4, 5, 6]]
    assert "entry 2" in refusal(data, 1)
    assert read(data, 2)[:, 0].tolist() == [[7, 7, 8], [0, 0, 1]]


def test_a_ts_file_of_regression_or_without_labels(tmp_path):
    target = written(tmp_path, "a.ts", "@targetLabel true\n@DATA\n1,2,3:0.5\n4,5,6:1.5\n")
    none = written(tmp_path, "b.ts", "@classLabel false\n@data\n1,2,3\n4,5,6\n")

    data = Series().open(target)
    assert (data.classes, np.asarray(data.labels).tolist(), data[1][1]) == ((), [0.5, 1.5], 1.5)
    assert Series().open(none).labels is None
    assert read_table(none).rows.tolist() == [[1, 2, 3], [4, 5, 6]]  # type: ignore[attr-defined]


@pytest.mark.errors
@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("a.tsv", "1\t2\t3\n1\t2\tx\n", "line 2: value 2 is 'x'"),
        ("a.tsv", "1,2,3\n", "line 1 has one cell"),
        ("a.tsv", "", "no samples"),
        ("a.ts", HEAD + "1,2:3,4:swim\n", "line 7 has the class 'swim'"),
        ("a.ts", HEAD + "1,2\n", "line 7 has no label"),
        ("a.ts", HEAD + "1,b:walk\n", "line 7: value 2 is 'b'"),
        ("a.ts", "@timeStamps true\n@data\n(0,1),(1,2)\n", "time stamps"),
        ("a.ts", "1,2,3\n", "line 1: expected a header line"),
        ("a.ts", "@problemName a\n", "no line @data"),
    ],
)
def test_malformed_text_is_refused_with_its_line(name, text, told, tmp_path):
    with pytest.raises(ValueError, match=told):
        Series().open(written(tmp_path, name, text))
