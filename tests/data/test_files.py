"""Files are named, counted and read alike, whether they lie in a folder, a zip, a tar or shards."""

from __future__ import annotations

import io
import multiprocessing
import os
import pickle
import struct
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from held import PLACES, hold, tar
from PIL import Image
from torch.utils.data import DataLoader

from unshuffle.data import ImageFolder, Images, zip_entries
from unshuffle.data.files import FileDataset, called, find
from unshuffle.data.labels import Labels
from unshuffle.data.loaders import Unreadable, ordered_loader

CONTENT = {f"{kind}/{i:02}.bin": bytes([k * 20 + i]) * (500 + i) for k, kind in enumerate("ab") for i in range(20)}


def look(root: Path | str, suffixes: tuple[str, ...] = (".bin",)):
    return find(root, suffixes, what="sample")


def read(files, index: int) -> bytes:
    with files.open(index) as file:
        return file.read()


def first_byte(file, name: str) -> torch.Tensor:
    """A decoder: as grey as the file's last byte, read in three parts."""
    file.seek(-1, os.SEEK_END)
    last = file.read(1)
    file.seek(0)
    assert file.read(1) == last
    return torch.tensor([[last[0]]])


def picture(seed: int = 0) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (20, 24, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "png")
    return buffer.getvalue()


# ----------------------------------------------------------------------------------------------------- alike everywhere


@pytest.mark.parametrize("place", PLACES)
def test_names_and_bytes_are_those_that_were_put_in(place, tmp_path):
    files = look(hold(place, tmp_path, CONTENT))

    assert [name.removeprefix("0.tar/").removeprefix("1.tar/") for name in files.names] == list(CONTENT)
    assert [read(files, i) for i in range(len(files))] == list(CONTENT.values())


@pytest.mark.parametrize("place", PLACES)
def test_a_file_is_read_from_any_place_in_it_and_never_beyond_its_end(place, tmp_path):
    content = {name: bytes(range(256)) for name in ("a.bin", "b.bin", "c.bin")}
    files = look(hold(place, tmp_path, content))

    with files.open(1) as file:
        assert file.seek(-6, os.SEEK_END) == 250
        assert file.read(100) == bytes(range(250, 256))
        assert file.seek(10) == file.tell() == 10
        assert file.read(3) == bytes([10, 11, 12])
        assert file.seek(2, os.SEEK_CUR) == 15
        assert file.read(1) == bytes([15])
        assert (file.seek(1000), file.read()) == (1000, b"")


@pytest.mark.parametrize("place", PLACES)
def test_two_handles_on_one_file_do_not_move_each_other(place, tmp_path):
    files = look(hold(place, tmp_path, CONTENT | {"c/long.bin": bytes(range(256)) * 100}))

    with files.open(len(files) - 1) as one, files.open(len(files) - 1) as two:
        assert one.read(5) == two.read(5) == bytes(range(5))
        assert one.read() == two.read()


# A process that is spawned has its own imports, out of reach of the jaxtyping hook.
@pytest.mark.parametrize("start", ["fork", pytest.param("spawn", marks=pytest.mark.once)])
@pytest.mark.parametrize("place", PLACES)
def test_workers_read_side_by_side_without_sharing_a_position(place, start, tmp_path):
    if start == "spawn" and place in ("folder", "zip", "shards"):
        pytest.skip("starting processes takes its time; the others show the same")
    root = hold(place, tmp_path, CONTENT)
    data = FileDataset(look(root), first_byte, None, Labels((), None), name="bytes")
    loader = ordered_loader(data, batch_size=4, workers=2)
    loader = DataLoader(
        loader.dataset, batch_sampler=loader.batch_sampler, num_workers=2, collate_fn=loader.collate_fn,
        multiprocessing_context=multiprocessing.get_context(start),
    )  # fmt: skip

    seen = torch.cat([batch.raw.items.flatten() for batch in loader])

    assert seen.tolist() == [data_[0] for data_ in CONTENT.values()]


@pytest.mark.parametrize("place", PLACES)
def test_files_can_be_pickled(place, tmp_path):
    files = pickle.loads(pickle.dumps(look(hold(place, tmp_path, CONTENT))))

    assert read(files, 7) == list(CONTENT.values())[7]


@pytest.mark.parametrize("place", PLACES)
def test_hidden_files_other_files_and_ways_out_are_passed_over(place, tmp_path):
    content = dict.fromkeys(["b.bin", "a.BIN", ".h.bin", ".t/a.bin", "x/.c/a.bin", "__MACOSX/._a.bin", "n.txt"], b"1")
    if place != "folder":
        content["../../out.bin"] = b"1"
    content["z/last.bin"] = b"1"

    names = [name.rpartition(".tar/")[2] for name in look(hold(place, tmp_path, content)).names]

    assert sorted(names) == ["a.BIN", "b.bin", "z/last.bin"]


@pytest.mark.parametrize("place", PLACES)
def test_the_order_is_that_of_a_listing_folder_by_folder(place, tmp_path):
    names = ["b.bin", "a-b/x.bin", "a/z.bin", "a.bin", "a/b/c.bin"]

    files = look(hold(place, tmp_path, dict.fromkeys(names, b"1")))

    expected = ["a/b/c.bin", "a/z.bin", "a-b/x.bin", "a.bin", "b.bin"]
    assert sorted((n.rpartition(".tar/")[2] for n in files.names), key=expected.index) == expected
    if place != "shards":
        assert files.names == expected


def test_only_a_folder_has_files_of_its_own(tmp_path):
    given = {place: look(hold(place, tmp_path / place, CONTENT)).path(3) for place in PLACES}

    assert given.pop("folder") == tmp_path / "folder" / "photos" / "a" / "03.bin"
    assert set(given.values()) == {None}


@pytest.mark.parametrize("place", PLACES)
def test_images_and_their_labels_come_from_anywhere(place, tmp_path):
    content = {f"{kind}/{i}.png": picture(i) for kind in ("cat", "dog") for i in range(2)}
    content["dog/torn.png"] = content["dog/1.png"][:200]

    data = ImageFolder(hold(place, tmp_path, content), Images(size=16))

    assert (data.classes, data.labels, data.name) == (("cat", "dog"), [0, 0, 1, 1, 1], "photos")
    assert torch.equal(data[0][0], Images(size=16).prepare(Image.open(io.BytesIO(picture(0)))))
    assert isinstance(data[4], Unreadable)
    assert data[4].name.endswith("dog/torn.png")


@pytest.mark.errors
@pytest.mark.parametrize("place", PLACES)
def test_a_place_without_samples_says_what_was_looked_for(place, tmp_path):
    root = hold(place, tmp_path, {"a.txt": b"1", "b.txt": b"2"})

    with pytest.raises(FileNotFoundError, match=r"no sample in '.*': looked for .bin, .dat in it"):
        look(root, (".bin", ".dat"))


# ----------------------------------------------------------------------------------------------------------------- zips


@pytest.mark.errors
def test_a_zip_without_its_end_and_no_zip_at_all_are_refused(tmp_path):
    path = hold("zip", tmp_path, CONTENT)
    path.write_bytes(path.read_bytes()[:1000])

    with pytest.raises(ValueError, match=r"photos.zip' is damaged, or no zip .*; make or fetch it again"):
        look(path)


def why(path: Path) -> str:
    """Why the one file of an archive cannot be read."""
    sample = FileDataset(look(path), lambda file, name: torch.tensor([list(file.read())]), None, Labels((), None),
                         name="one")[0]  # fmt: skip
    assert isinstance(sample, Unreadable), sample
    assert str(path) not in sample.reason
    return sample.reason


def test_a_damaged_entry_is_unreadable_by_its_checksum(tmp_path):
    path = hold("packed zip", tmp_path, {"a.bin": os.urandom(1000)})
    data = bytearray(path.read_bytes())
    data[500] ^= 1
    path.write_bytes(data)

    assert "CRC" in why(path) or "invalid" in why(path)


def test_an_encrypted_entry_is_unreadable_and_the_reason_says_so(tmp_path):
    path = hold("zip", tmp_path, {"a.bin": b"secret"})
    data = bytearray(path.read_bytes())
    data[6] |= 1
    data[data.index(b"PK\x01\x02") + 8] |= 1  # the flags in the list
    path.write_bytes(data)

    assert why(path) == "encrypted; unpack the zip with its password first"


def test_an_entry_that_would_unpack_to_more_than_the_limit_is_unreadable(tmp_path, monkeypatch):
    monkeypatch.setattr(zip_entries, "LARGEST", 1000)

    assert "2,000 bytes once unpacked; at most 1,000" in why(hold("packed zip", tmp_path, {"a.bin": bytes(2000)}))
    assert read(look(hold("zip", tmp_path / "stored", {"a.bin": bytes(2000)})), 0) == bytes(2000)


def test_an_entry_that_lies_about_its_size_unpacks_no_further(tmp_path):
    """A bomb: a gigabyte, said to be a hundred bytes."""
    path = hold("packed zip", tmp_path, {"a.bin": bytes(1 << 24)})
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\x01\x02") + 24 :][:4] = b"...."
    struct.pack_into("<I", data, data.index(b"PK\x01\x02") + 24, 100)
    path.write_bytes(data)

    assert "CRC" in why(path)  # of the hundred bytes that were unpacked


def test_a_packing_that_is_not_read_is_named(tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("a.bin", b"1" * 100)

    assert "packed by method 12" in why(path)


def test_no_damage_to_a_zip_ever_raises_while_reading(tmp_path):
    """Bytes changed anywhere: the archive is refused, or its samples are read or Unreadable."""
    chance = np.random.default_rng(0)
    whole = hold("packed zip", tmp_path, {f"{i}.png": picture(i) for i in range(3)}).read_bytes()
    path, refused = tmp_path / "torn.zip", 0
    for _ in range(150):
        content = bytearray(whole)
        for place in chance.integers(0, len(whole), 5):
            content[place] = chance.integers(256)
        for place in chance.integers(len(whole) - 250, len(whole), 2):
            content[place] = chance.integers(256)
        path.write_bytes(content)
        try:
            data = ImageFolder(path, Images(size=16))
        except (ValueError, FileNotFoundError):
            refused += 1
            continue
        assert all(isinstance(data[i], Unreadable) or data[i][0].shape == (3, 16, 16) for i in range(len(data)))
    assert 0 < refused < 150


# ----------------------------------------------------------------------------------------------------------------- tars


@pytest.mark.errors
@pytest.mark.parametrize("kind", ["gz", "bz2", "xz"])
def test_a_compressed_tar_is_refused_with_what_to_do(kind, tmp_path):
    path = tar(tmp_path / f"a.tar.{kind}", CONTENT, f"w:{kind}")

    with pytest.raises(ValueError, match=r"it is compressed, .* Uncompress it to a plain .tar, or unpack it to a fol"):
        look(path)


@pytest.mark.errors
def test_a_tar_that_was_cut_short_and_no_tar_at_all_are_refused(tmp_path):
    path = hold("tar", tmp_path, CONTENT)
    path.write_bytes(path.read_bytes()[: 512 * 3 + 100])
    with pytest.raises(ValueError, match=r"photos.tar' is cut short, or no tar .*; make or fetch it again"):
        look(path)
    path.write_bytes(b"no tar at all" * 100)
    with pytest.raises(ValueError, match="is cut short, or no tar"):
        look(path)


def test_entries_that_are_no_plain_files_are_passed_over(tmp_path):
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as archive:
        for name, kind in (("f.bin", tarfile.DIRTYPE), ("l.bin", tarfile.SYMTYPE), ("d.bin", tarfile.FIFOTYPE)):
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = kind, "/etc/passwd"
            archive.addfile(entry)
        entry = tarfile.TarInfo("./x/./real.bin")
        entry.size = 3
        archive.addfile(entry, io.BytesIO(b"yes"))

    files = look(path)

    assert (files.names, read(files, 0)) == (["x/real.bin"], b"yes")


def test_of_one_name_in_a_tar_the_last_counts_as_tar_itself_has_it(tmp_path):
    path = tar(tmp_path / "a.tar", {"a.bin": b"old"})
    tar(path, {"a.bin": b"new"}, "a")

    files = look(path)

    assert (files.names, read(files, 0)) == (["a.bin"], b"new")


def test_shards_may_hold_files_of_one_name(tmp_path):
    for shard in ("0", "1"):
        tar(tmp_path / f"{shard}.tar", {"a.bin": shard.encode()})

    files = look(tmp_path)

    assert files.names == ["0.tar/a.bin", "1.tar/a.bin"]
    assert [read(files, i) for i in range(2)] == [b"0", b"1"]


def test_a_pattern_of_shards_takes_those_alone(tmp_path):
    for name in ("train-0", "train-1", "val-0"):
        tar(tmp_path / f"{name}.tar", {"a.bin": b"1"})

    assert look(tmp_path / "train-*.tar").names == ["train-0.tar/a.bin", "train-1.tar/a.bin"]


def test_where_samples_lie_beside_a_tar_it_is_no_shard(tmp_path):
    tar(tmp_path / "all.tar", {"b.bin": b"1"})
    (tmp_path / "a.bin").write_bytes(b"1")

    assert look(tmp_path).names == ["a.bin"]


def test_the_name_of_an_archive_is_told_without_its_suffix(tmp_path):
    (tmp_path / "birds.v2").mkdir()

    assert [called(tmp_path / name) for name in ("a.zip", "b.tar", "birds.v2")] == ["a", "b", "birds.v2"]


def test_no_damage_to_a_tar_ever_raises_while_reading(tmp_path):
    chance = np.random.default_rng(0)
    whole = hold("tar", tmp_path, {f"{i}.png": picture(i) for i in range(3)}).read_bytes()
    path, refused = tmp_path / "torn.tar", 0
    for _ in range(150):
        content = bytearray(whole)
        content[chance.integers(0, 400)] = chance.integers(256)
        for place in chance.integers(0, len(whole), 5):
            content[place] = chance.integers(256)
        path.write_bytes(content)
        try:
            data = ImageFolder(path, Images(size=16))
        except (ValueError, FileNotFoundError):
            refused += 1
            continue
        assert all(isinstance(data[i], Unreadable) or data[i][0].shape == (3, 16, 16) for i in range(len(data)))
    assert refused > 0


def test_a_decoder_that_is_not_installed_is_no_fault_of_the_files(tmp_path):
    def decode(file, name):
        raise ModuleNotFoundError("No module named 'soundfile'", name="soundfile")

    data = FileDataset(look(hold("zip", tmp_path, CONTENT)), decode, None, Labels((), None), name="x")

    with pytest.raises(ModuleNotFoundError):
        data[0]


def test_pictures_that_ask_for_a_real_file_are_read_from_archives_too(tmp_path):
    """libtiff would rather have a file's number than its bytes."""
    buffer = io.BytesIO()
    Image.open(io.BytesIO(picture())).save(buffer, "tiff", compression="tiff_lzw")
    content = {"a.tif": buffer.getvalue()}

    items = [ImageFolder(hold(p, tmp_path / p, content), Images(size=16))[0][0] for p in ("folder", "zip", "tar")]

    assert torch.equal(items[0], items[1])
    assert torch.equal(items[0], items[2])


@pytest.mark.parametrize("place", ["zip", "tar"])
def test_an_archive_that_was_written_anew_is_listed_anew(place, tmp_path):
    look(hold(place, tmp_path, {"a.bin": b"1"}))

    files = look(hold(place, tmp_path, {"a.bin": b"2", "b.bin": b"3"}))

    assert [read(files, i) for i in range(len(files))] == [b"2", b"3"]
