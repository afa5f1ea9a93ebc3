"""Hostile packed files: no header, ratio or nesting takes more memory than it may, and the file is named."""

from __future__ import annotations

import gzip
import io
import os
import struct
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from scipy.io import loadmat, savemat

from unshuffle.data import Images, bottom_up, bounded
from unshuffle.data.bounded import gunzip, parse_json, read_bounded, read_npz
from unshuffle.data.mat_files import read_mat
from unshuffle.data.named import CIFAR10, MNIST, VQA2, NSynth
from unshuffle.data.named.layout import Tree
from unshuffle.data.named.mnist import read_idx
from unshuffle.data.retrieval import read_ground_truth

LONG = bool(os.environ.get("UNSHUFFLE_LONG"))
HUGE = 0xFFFFFFFF


def idx(shape: tuple[int, ...], content: bytes) -> bytes:
    return struct.pack(">HBB", 0, 8, len(shape)) + struct.pack(f">{len(shape)}I", *shape) + content


# ------------------------------------------------------------------------------------------------------------------ idx


@pytest.mark.errors
@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize(
    "content",
    [
        idx((2, 2), b"12345"), idx((2, 2), b"123"), idx((HUGE, HUGE, HUGE), b"1"), idx((1 << 29,), b"1"),
        idx((4,), bytes(1 << 24)), b"", b"\0\0\x08", idx((1,) * 200, b""), b"\0\0\x08\xff" + b"\xff" * 20,
    ],
)  # fmt: skip
def test_an_idx_file_that_is_not_as_large_as_it_says_is_refused_by_name(packed, content):
    name = "train-images-idx3-ubyte" + (".gz" if packed else "")

    with pytest.raises(ValueError, match=name):
        read_idx(gzip.compress(content) if packed else content, name)


@pytest.mark.errors
def test_a_gzip_bomb_is_unpacked_no_further_than_its_header_says():
    """64 MiB behind a header that says four bytes, below a limit of memory that they would break."""
    bomb = gzip.compress(idx((4,), bytes(1 << 26)))
    seen = []

    class Counting(gzip.GzipFile):
        def read(self, size: int | None = -1) -> bytes:
            seen.append(size)
            return super().read(size)

    original, gzip.GzipFile = gzip.GzipFile, Counting  # type: ignore[misc]
    try:
        with pytest.raises(ValueError, match="no idx file of bytes"):
            read_idx(bomb, "labels.gz")
    finally:
        gzip.GzipFile = original  # type: ignore[misc]
    assert seen == [4, 4, 5]


@pytest.mark.errors
def test_a_flipped_byte_of_a_gzipped_idx_file_is_refused():
    whole = gzip.compress(idx((300,), bytes(range(250)) + bytes(50)))
    assert len(read_idx(whole, "a.gz")) == 300
    refused = 0
    for place in range(10, len(whole)):
        content = bytearray(whole)
        content[place] ^= 16
        try:
            assert read_idx(bytes(content), "a.gz").tobytes() == bytes(range(250)) + bytes(50)
        except ValueError:
            refused += 1
    assert refused > 0.9 * (len(whole) - 10)


# ------------------------------------------------------------------------------------------------------------------ npz


def npz(name: str, content: bytes, *, declared: int | None = None) -> io.BytesIO:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"{name}.npy", content)
    data = bytearray(buffer.getvalue())
    if declared is not None:
        struct.pack_into("<I", data, data.index(b"PK\x01\x02") + 24, declared)
    return io.BytesIO(data)


def npy(shape: str, content: bytes, kind: str = "|u1") -> bytes:
    head = f"{{'descr': {kind!r}, 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head.encode() + content


def test_a_right_array_is_read_as_numpy_reads_it():
    buffer = io.BytesIO()
    arrays = {
        "a": np.arange(12.0).reshape(3, 4),
        "b": np.asfortranarray(np.eye(3)),
        "c": np.int64(7),
        "d": np.empty((0, 2)),
    }
    np.savez_compressed(buffer, **arrays)

    found = read_npz(buffer, arrays)

    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)
    assert found["a"].flags.writeable


@pytest.mark.errors
@pytest.mark.parametrize(
    ("file", "words"),
    [
        (npz("x", npy("(1000000000000,)", b"1")), "'x' says it is"),
        (npz("x", npy("(-1,)", b"1")), "'x' says it is"),
        (npz("x", npy("(2,)", b"123")), "'x' says it is"),
        (npz("x", npy("(1,)", b"12345678", "|O")), "holds objects"),
        (npz("x", npy("(" * 5000, b"")), "."),
        (npz("x", b"nothing"), "magic"),
        (npz("y", npy("(1,)", b"1")), "there is no array .*x.npy"),
        (npz("x", npy("(1,)", b"1"), declared=1 << 31), "'x' would unpack to 2,147,483,648 bytes"),
        (npz("x", npy("(1,)", b"1"), declared=1 << 22), "'x' would unpack to 4,194,304 bytes"),
        (io.BytesIO(b"no zip"), "not a zip"),
    ],
)
def test_an_array_that_is_not_as_large_as_it_says_is_refused(file, words):
    with pytest.raises(ValueError, match=words):
        read_npz(file, ["x"])


@pytest.mark.errors
def test_data_sets_name_the_array_file(tmp_path):
    (tmp_path / "mnist.npz").write_bytes(npz("x_train", npy("(9999999999, 28, 28)", b"1")).getvalue())

    with pytest.raises(
        ValueError, match=r"the .npz must hold plain arrays x_train, y_train; it does not \('x_train' say"
    ):
        MNIST().open(tmp_path, Images(size=28))


# --------------------------------------------------------------------------------------------------------------- MATLAB


def element(kind: int, data: bytes) -> bytes:
    return struct.pack("<II", kind, len(data)) + data + bytes(-len(data) % 8)


def matrix(kind: int, shape: tuple[int, ...], name: str, *rest: bytes) -> bytes:
    parts = [element(6, struct.pack("<II", kind, 0)), element(5, struct.pack(f"<{len(shape)}i", *shape))]
    return element(14, b"".join([*parts, element(1, name.encode()), *rest]))


def mat_file(*elements: bytes, packed: bool = False) -> io.BytesIO:
    head = b"MATLAB 5.0 MAT-file".ljust(124) + struct.pack("<H", 0x0100) + b"IM"
    made = [struct.pack("<II", 15, len(z)) + z for z in map(zlib.compress, elements)] if packed else elements
    return io.BytesIO(head + b"".join(made))


def nested(depth: int) -> bytes:
    inner = matrix(9, (1, 1), "", element(2, b"1"))
    for _ in range(depth):
        inner = matrix(1, (1, 1), "", inner)
    return matrix(1, (1, 1), "x", inner)


@pytest.mark.parametrize("packed", [True, False])
def test_a_right_matlab_file_is_read_as_scipy_reads_it(packed):
    rows = np.zeros((1, 3), dtype=[("fname", object), ("class", object)])
    for place, row in enumerate(rows[0]):
        row["fname"], row["class"] = f"{place}.jpg", place + 1
    column = np.empty((2, 1), dtype=object)
    column[:, 0] = ["ant", "b" * 3000]
    values = {
        "rows": rows, "names": column, "X": np.arange(24, dtype=np.uint8).reshape(2, 3, 4),
        "big": np.random.default_rng(0).random((70, 300)),
        "c": np.array([1 + 2j]), "text": "words", "empty": np.zeros((0, 3)), "flag": np.array([True]),
    }  # fmt: skip
    buffer = io.BytesIO()
    savemat(buffer, values, do_compression=packed)

    found = read_mat(buffer, list(values), "a.mat")

    buffer.seek(0)
    expected = loadmat(buffer)
    for name in values:
        assert found[name].dtype == expected[name].dtype
        assert repr(found[name].tolist()) == repr(expected[name].tolist())


@pytest.mark.errors
@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize(
    "content",
    [
        matrix(1, (1 << 30, 1), "x"),  # cells: eight bytes each before one is read
        matrix(1, (0x7FFFFFFF, 0x7FFFFFFF), "x"),
        matrix(2, (1 << 30, 1), "x", element(5, struct.pack("<i", 32)), element(1, b"")),
        matrix(2, (1 << 20, 1), "x", element(5, struct.pack("<i", 32)), element(1, bytes(32 * 64))),
        matrix(9, (1 << 30, 8), "x", element(2, b"1")),
        matrix(9, (-1, -1), "x", element(2, b"1")),
        matrix(9, (1, 1), "x", struct.pack("<II", 2, HUGE)),
        matrix(1, (1, 1), "x", struct.pack("<II", 14, HUGE)),
        matrix(1, (1, 1), "x", struct.pack("<II", 2, 0)),
        matrix(9, (1, 1), "x", element(19, b"1")),  # types beyond the table of scipy, which does not look
        matrix(9, (1, 1), "x", element(30_000, b"1")),
        matrix(1, (1, 1), "x", matrix(9, (1, 1), "", element(8, b"1"))),
        matrix(5, (1, 1), "x", element(5, bytes(4)), element(5, bytes(8)), element(9, bytes(8))),
        matrix(17, (1, 1), "x", element(1, b"MCOS")),
        matrix(9, (1, 1), "y", element(2, b"1")),
        struct.pack("<II", 14, HUGE),
        nested(100),
        nested(5_000),
    ],
)
def test_a_matlab_file_whose_sizes_cannot_be_right_is_refused_by_name(packed, content):
    with pytest.raises(ValueError, match=r"labels\.mat has no table 'x' to be read"):
        read_mat(mat_file(content, packed=packed), ["x"], "labels.mat")


@pytest.mark.errors
def test_a_packed_matlab_variable_is_read_up_to_the_limit():
    bomb = matrix(9, (1 << 22, 1), "x", element(2, bytes(1 << 22)))

    assert read_mat(mat_file(bomb, packed=True), ["x"], "a.mat")["x"].shape == (1 << 22, 1)
    with pytest.raises(ValueError, match="at most 1,048,576 are read"):
        read_mat(mat_file(bomb, packed=True), ["x"], "a.mat", 1 << 20)
    assert read_mat(mat_file(bomb, matrix(9, (1, 1), "y", element(2, b"7")), packed=True), ["y"], "a.mat")["y"] == ord(
        "7"
    )


def test_no_flipped_byte_of_a_matlab_file_takes_much_memory_or_time(tmp_path):
    """In a process of its own, below a limit of memory; every file is read or refused with a ValueError."""
    code = f"""
import io, resource
import numpy as np
from scipy.io import savemat
from unshuffle.data.mat_files import read_mat
column = np.empty((3, 1), dtype=object)
column[:, 0] = ["a", "b", "c"]
rng, refused = np.random.default_rng(0), 0
read_mat((lambda b: (savemat(b, dict(x=column)), b)[1])(io.BytesIO()), ["x"], "a.mat")
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (1 << 28),) * 2)
tries = {400 if LONG else 60}
for k in range(tries):
    buffer = io.BytesIO()
    savemat(buffer, dict(x=column, n=np.arange(5.0), s=dict(p=1, q="w")), do_compression=bool(k % 2))
    data = bytearray(buffer.getvalue())
    for place in rng.integers(128, len(data), 2):
        data[place] = rng.integers(256)
    try:
        read_mat(io.BytesIO(data), ["x", "s"], "a.mat")
    except ValueError as error:
        assert "a.mat" in str(error)
        refused += 1
print(refused)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)

    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 10


# ----------------------------------------------------------------------------------------------- JSON, lists, tables


@pytest.mark.errors
@pytest.mark.parametrize("text", ["[" * 200_000, '{"a":' * 200_000, "[" * 200_000 + "]" * 200_000, "{", "\ud800", ""])
def test_json_that_cannot_be_read_is_a_value_error_with_the_name(text):
    with pytest.raises(ValueError, match=r"a\.json cannot be read as JSON"):
        parse_json(text.encode("utf-8", "surrogatepass") if len(text) < 9 else text, "a.json")


@pytest.mark.errors
def test_data_sets_name_the_json_that_is_nested_too_deeply(tmp_path):
    deep = "[" * 100_000
    part = tmp_path / "nsynth-train"
    (part / "audio").mkdir(parents=True)
    (part / "audio" / "a.wav").write_bytes(b"")
    (part / "examples.json").write_text(deep)
    (tmp_path / "v2_OpenEnded_mscoco_train2014_questions.json").write_text(deep)
    (tmp_path / "v2_mscoco_train2014_annotations.json").write_text(deep)
    (tmp_path / "gnd.json.gz").write_bytes(gzip.compress(deep.encode()))
    bottom_up.convert([_table(tmp_path)], tmp_path / "features")

    with pytest.raises(ValueError, match=r"examples\.json of .* nested too deeply"):
        NSynth().open(tmp_path, None)
    with pytest.raises(ValueError, match=r"questions\.json .*nested too deeply"):
        VQA2(occurrences=1).settle(tmp_path)
    with pytest.raises(ValueError, match=r"gnd\.json\.gz' is no ground truth .*nested too deeply"):
        read_ground_truth(tmp_path / "gnd.json.gz")


def _table(folder: Path, *lines: bytes) -> Path:
    from base64 import b64encode

    numbers = [b64encode(np.ones(size, "<f4").tobytes()) for size in (4, 2)]
    good = b"\t".join([b"7", b"10", b"10", b"1", *numbers])
    (folder / "t.tsv").write_bytes(b"\n".join([*lines, good]) + b"\n")
    return folder / "t.tsv"


@pytest.mark.errors
def test_sizes_are_compared_before_a_file_is_read(tmp_path, monkeypatch):
    with open(tmp_path / "data_batch_1.bin", "wb") as file:
        file.truncate(bounded.LARGEST + 3073)  # a hole: nothing is on the disk

    with pytest.raises(ValueError, match=r"data_batch_1\.bin has 1,073,744,897 bytes; .* at most 1,073,741,824"):
        CIFAR10().open(tmp_path, Images(size=32))
    with pytest.raises(ValueError, match=r"a\.txt has 5 bytes"):
        read_bounded(io.BytesIO(b"12345"), "a.txt", 4)
    assert read_bounded(io.BytesIO(b"12345"), "a.txt", 5) == b"12345"
    with pytest.raises(ValueError, match=r"a\.gz unpacks to more than 1,000 bytes"):
        gunzip(gzip.compress(bytes(1001)), "a.gz", 1000)
    assert gunzip(gzip.compress(bytes(1000)), "a.gz", 1000) == bytes(1000)


def test_a_text_of_a_tree_is_bounded_too(tmp_path):
    with open(tmp_path / "list.txt", "wb") as file:
        file.truncate(bounded.LARGEST + 1)

    with pytest.raises(ValueError, match=r"list\.txt has 1,073,741,825 bytes"):
        Tree(tmp_path, (".txt",), name="X", shape="list.txt").text("list.txt")


def test_lines_of_a_table_of_features_that_are_too_long_or_infinite_are_skipped(tmp_path, monkeypatch):
    monkeypatch.setattr(bottom_up, "LONGEST", 4096)
    table = _table(
        tmp_path, b"1" * 50_000, b"inf\t1\t1\t1\t\t", b"nan\t1\t1\t1\t\t", b"1\t1\t1\t1e300\t\t", b"", b"x" * 4096
    )

    done = bottom_up.convert([table], tmp_path / "features")

    assert (done.pictures, len(done.skipped)) == (1, 6)
    assert done.skipped[0].reason == "a line of 4,096 bytes or more"
    assert done.skipped[-1].name == "t.tsv, line 6"
    assert bottom_up.BottomUp(tmp_path / "features")[7][1].tolist() == [[1.0, 1.0]]


@pytest.mark.errors
@pytest.mark.parametrize(
    "arrays", [{"width": np.float64(3)}, {"starts": np.array([0.5])}, {"counts": np.array([1, 2])}, {"shards": None}]
)
def test_an_index_of_features_that_is_damaged_is_refused_by_name(arrays, tmp_path):
    good = {"pictures": np.array([7]), "shards": np.array([0]), "starts": np.array([0]), "counts": np.array([1])}
    made = {name: array for name, array in (good | {"width": np.int64(6)} | arrays).items() if array is not None}
    np.savez(tmp_path / "index.npz", **made)
    if arrays.keys() == {"width"}:
        assert bottom_up.BottomUp(tmp_path).width == 3
        return

    with pytest.raises(ValueError, match=r"index\.npz is damaged"):
        bottom_up.BottomUp(tmp_path)
