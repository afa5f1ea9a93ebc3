"""Damaged archives: every flipped bit of a header and every cut is refused, or all samples are still accounted for."""

from __future__ import annotations

import io
import os
import struct
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from unshuffle.data.files import FileDataset, find
from unshuffle.data.labels import Labels
from unshuffle.data.loaders import Unreadable

LONG = bool(os.environ.get("UNSHUFFLE_LONG"))
NAMES = [f"{kind}/{i}.bin" for kind in ("ape", "nut") for i in range(4)]
CONTENT = {name: bytes([k]) * (300 * k) for k, name in enumerate(NAMES)}


def write_tar(path: Path, form: int = tarfile.USTAR_FORMAT) -> Path:
    with tarfile.open(path, "w", format=form) as archive:
        for name, data in CONTENT.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return path


def write_zip(path: Path, method: int) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("readme.txt", b"about")
        for name, data in CONTENT.items():
            archive.writestr(name, data)
    return path


def outcome(path: Path) -> str:
    """``refused``; ``whole``; ``named`` where what is missing is counted, by name; ``lost`` where a sample is gone."""
    try:
        files = find(path, (".bin",), what="sample")
    except (ValueError, FileNotFoundError):
        return "refused"
    decode = lambda file, name: torch.frombuffer(bytearray(file.read() + b"."), dtype=torch.uint8)  # noqa: E731
    data = FileDataset(files, decode, None, Labels((), None), name="bytes")
    samples = [data[i] for i in range(len(data))]
    right = {
        name
        for name, sample in zip(files.names, samples)
        if not isinstance(sample, Unreadable) and bytes(sample[0].numpy())[:-1] == CONTENT.get(name)
    }
    bad = sum(isinstance(sample, Unreadable) for sample in samples)
    wrong = len(samples) - bad - len(right)
    if wrong:
        return "wrong"
    if right == set(CONTENT):
        return "whole"
    return "named" if len(right) + bad + sum(files.left_out.counts.values()) >= len(CONTENT) else "lost"


def tried(path: Path, damaged: list[bytes]) -> dict[str, int]:
    """How often each outcome came about."""
    found: dict[str, int] = {}
    for content in damaged:
        path.write_bytes(content)
        result = outcome(path)
        found[result] = found.get(result, 0) + 1
    return found


def flipped(whole: bytes, bits: list[int]) -> list[bytes]:
    made = []
    for bit in bits:
        content = bytearray(whole)
        content[bit // 8] ^= 1 << bit % 8
        made.append(bytes(content))
    return made


def chosen(bits: list[int], count: int) -> list[int]:
    """All of them in the long form, else some at random, always the same."""
    if LONG or len(bits) <= count:
        return bits
    return np.random.default_rng(0).choice(bits, count, replace=False).tolist()


def headers(path: Path) -> list[int]:
    """First bytes of the blocks of a tar that are no data."""
    with tarfile.open(path) as archive:
        return [entry.offset for entry in archive]


# ----------------------------------------------------------------------------------------------------------------- tars


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT])
def test_no_flipped_bit_in_a_header_of_a_tar_loses_a_sample(form, tmp_path):
    whole = write_tar(tmp_path / "whole.tar", form)
    bits = [8 * start + bit for start in headers(whole) for bit in range(8 * 512)]

    found = tried(tmp_path / "a.tar", flipped(whole.read_bytes(), chosen(bits, 300)))

    assert set(found) <= {"refused", "whole"}
    assert found["refused"] > 0.9 * sum(found.values())


def test_no_flipped_bit_in_the_end_of_a_tar_loses_a_sample(tmp_path):
    whole = write_tar(tmp_path / "whole.tar")
    size, end = whole.stat().st_size, tarfile_end(whole)

    found = tried(tmp_path / "a.tar", flipped(whole.read_bytes(), chosen(list(range(8 * end, 8 * size)), 100)))

    assert set(found) == {"refused"}


def tarfile_end(path: Path) -> int:
    """Where the two blocks of zeros begin."""
    with tarfile.open(path) as archive:
        last = archive.getmembers()[-1]
    return last.offset_data + -(-last.size // 512) * 512


def test_a_tar_that_is_cut_at_any_block_is_refused_or_whole(tmp_path):
    whole = write_tar(tmp_path / "whole.tar").read_bytes()
    end = tarfile_end(tmp_path / "whole.tar")

    found = {cut: tried(tmp_path / "a.tar", [whole[:cut]]) for cut in range(0, len(whole) + 1, 512)}

    assert all(set(result) == {"refused"} for cut, result in found.items() if cut < end + 1024)
    assert all(set(result) == {"whole"} for cut, result in found.items() if cut >= end + 1024)


@pytest.mark.errors
def test_the_byte_of_the_damage_is_named(tmp_path):
    path = write_tar(tmp_path / "a.tar")
    starts, whole = headers(path), path.read_bytes()

    path.write_bytes(whole[: starts[3]])
    with pytest.raises(ValueError, match=rf"a.tar' is cut short: at byte {starts[3]:,} it ends without"):
        find(path, (".bin",), what="sample")
    path.write_bytes(flipped(whole, [8 * starts[3] + 9])[0])
    with pytest.raises(ValueError, match=rf"a.tar' is damaged: no valid header at byte {starts[3]:,};"):
        find(path, (".bin",), what="sample")
    path.write_bytes(whole[: starts[3] + 512 + 100])
    with pytest.raises(ValueError, match=r"a.tar' is cut short, or no tar \(unexpected end of data, byte [\d,]+\)"):
        find(path, (".bin",), what="sample")


@pytest.mark.errors
def test_joined_tars_and_a_hole_of_zeros_are_refused(tmp_path):
    path = write_tar(tmp_path / "a.tar")
    starts, whole = headers(path), path.read_bytes()

    for content in (whole + whole, whole[: starts[2]] + bytes(starts[4] - starts[2]) + whole[starts[4] :]):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"goes on after its end at byte .*, or several tars were joined"):
            find(path, (".bin",), what="sample")
    with open(path, "wb") as file:  # space that a download reserved, and never filled
        file.write(whole[: starts[5]])
        file.truncate(1 << 26)
    with pytest.raises(ValueError, match=rf"goes on after its end at byte {starts[5]:,}"):
        find(path, (".bin",), what="sample")


# ----------------------------------------------------------------------------------------------------------------- zips


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_no_flipped_bit_in_the_list_of_a_zip_loses_a_sample(method, tmp_path):
    whole = write_zip(tmp_path / "whole.zip", method)
    with zipfile.ZipFile(whole) as archive:
        start = archive.start_dir
    bits = list(range(8 * start, 8 * whole.stat().st_size))

    found = tried(tmp_path / "a.zip", flipped(whole.read_bytes(), chosen(bits, 400)))

    assert set(found) <= {"refused", "whole", "named"}


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_no_flipped_bit_in_the_entries_of_a_zip_gives_wrong_bytes(method, tmp_path):
    whole = write_zip(tmp_path / "whole.zip", method)
    with zipfile.ZipFile(whole) as archive:
        bits = list(range(8 * archive.start_dir))

    found = tried(tmp_path / "a.zip", flipped(whole.read_bytes(), chosen(bits, 300)))

    assert set(found) <= {"refused", "whole", "named"}
    assert found["named"] > 0


def test_a_zip_that_is_cut_anywhere_is_refused(tmp_path):
    whole = write_zip(tmp_path / "whole.zip", zipfile.ZIP_DEFLATED).read_bytes()

    cuts = chosen(list(range(len(whole))), 200)

    assert set(tried(tmp_path / "a.zip", [whole[:cut] for cut in cuts])) == {"refused"}


@pytest.mark.errors
def test_entries_that_overlap_and_a_wrong_count_are_refused(tmp_path):
    path = write_zip(tmp_path / "a.zip", zipfile.ZIP_STORED)
    whole = path.read_bytes()
    first = whole.index(b"PK\x01\x02")
    second = whole.index(b"PK\x01\x02", first + 1)
    double = bytearray(whole)
    struct.pack_into("<I", double, second + 42, 0)  # the second entry begins where the first does
    count = bytearray(whole)
    count[whole.rindex(b"PK\x05\x06") + 10] += 1

    for content, words in ((double, "overlaps what follows it"), (count, "holds 9 entries, and 10 by its end")):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=words):
            find(path, (".bin",), what="sample")
