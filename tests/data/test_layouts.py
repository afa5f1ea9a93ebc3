"""Layouts as people have them: links, files beside class folders, split folders, labels in shards. Nothing is lost."""

from __future__ import annotations

import io
import os
import socket
import stat
import tarfile
import zipfile
from pathlib import Path

import pytest
from held import tar

from unshuffle.data import walk
from unshuffle.data.class_folders import folder_classes
from unshuffle.data.files import FileDataset, find, rows_with_class
from unshuffle.data.labels import FoundLabels, folder_labels, found_labels


def look(root: Path | str):
    return find(root, (".bin",), what="sample")


def contents(files) -> dict[str, bytes]:
    found = {}
    for index, name in enumerate(files.names):
        with files.open(index) as file:
            found[name] = file.read()
    return found


def put(folder: Path, *names: str) -> Path:
    """Files that hold their own names."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())
    return folder


def linked_tar(path: Path, files: dict[str, bytes], links: dict[str, tuple[bytes, str]], last: str = "") -> Path:
    """A tar of files, then links of a type to a target, then perhaps one more file."""
    with tarfile.open(path, "w") as archive:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
        for name, (kind, target) in links.items():
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = kind, target
            archive.addfile(entry)
        if last:
            entry = tarfile.TarInfo(last)
            entry.size = 4
            archive.addfile(entry, io.BytesIO(b"last"))
    return path


def linked_zip(path: Path, files: dict[str, bytes], links: dict[str, str]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
        for name, target in links.items():
            entry = zipfile.ZipInfo(name)
            entry.create_system, entry.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
            archive.writestr(entry, target)
    return path


# ----------------------------------------------------------------------------------------------------- links in folders


def test_linked_class_folders_and_files_are_samples_inside_the_root_and_outside(tmp_path):
    root = put(tmp_path / "some", "dog/1.bin")
    put(tmp_path / "all", "cat/1.bin", "cat/deep/2.bin", "one.bin")
    (root / "cat").symlink_to(tmp_path / "all" / "cat")
    (root / "dog" / "2.bin").symlink_to("../../all/one.bin")

    files = look(root)

    assert contents(files) == {
        "cat/1.bin": b"cat/1.bin", "cat/deep/2.bin": b"cat/deep/2.bin", "dog/1.bin": b"dog/1.bin",
        "dog/2.bin": b"one.bin",
    }  # fmt: skip
    assert (folder_labels(files.names).classes, files.left_out.messages()) == (("cat", "dog"), [])


def test_a_folder_of_nothing_but_links_is_read(tmp_path):
    put(tmp_path / "all", "cat/1.bin", "dog/1.bin", "emu/1.bin")
    (tmp_path / "subset").mkdir()
    for name in ("cat", "emu"):
        (tmp_path / "subset" / name).symlink_to(tmp_path / "all" / name)

    assert look(tmp_path / "subset").names == ["cat/1.bin", "emu/1.bin"]


def test_loops_and_links_that_lead_nowhere_are_named_and_the_rest_is_read(tmp_path):
    root = put(tmp_path / "root", "cat/1.bin", "dog/1.bin")
    (root / "cat" / "up").symlink_to("..")
    (root / "self").symlink_to("self")
    (root / "gone").symlink_to(tmp_path / "unmounted" / "gone")
    (root / "dog" / "2.bin").symlink_to("nothing.bin")
    (root / ".hidden").symlink_to("nowhere")

    files = look(root)

    assert files.names == ["cat/1.bin", "dog/1.bin"]
    (line,) = files.left_out.messages()
    assert set(line.removeprefix("left out: ").split("; ")) == {
        "2 links that loop (self, cat/up)", "2 links that lead nowhere (gone, dog/2.bin)",
    } or set(line.removeprefix("left out: ").split("; ")) == {
        "2 links that loop (cat/up, self)", "2 links that lead nowhere (dog/2.bin, gone)",
    }  # fmt: skip


def test_a_folder_with_two_names_counts_for_both_and_that_is_said(tmp_path):
    root = put(tmp_path / "root", "cat/1.bin", "dog/1.bin")
    (root / "best").symlink_to("cat")

    files = look(root)

    assert files.names == ["best/1.bin", "cat/1.bin", "dog/1.bin"]
    (line,) = files.left_out.messages()
    assert line.startswith("note: 1 folder has several names, its files count for each (")


def test_links_across_each_other_end(tmp_path, monkeypatch):
    monkeypatch.setattr(walk, "MOST_NAMES", 4)
    root = put(tmp_path / "root", "0/x.bin")
    for level in range(1, 12):  # two links each: 2,048 ways to the file
        (root / str(level)).mkdir()
        for name in ("a", "b"):
            (root / str(level) / name).symlink_to(f"../{level - 1}")

    files = look(root)

    assert 0 < len(files) < 100
    assert "entered too often" in files.left_out.messages()[0]


def test_fifos_and_sockets_are_named_and_never_opened(tmp_path):
    root = put(tmp_path / "root", "a.bin")
    os.mkfifo(root / "pipe.bin")
    os.mkfifo(root / "notes")
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(root / "s.bin"))
        (root / "linked.bin").symlink_to("pipe.bin")

        files = look(root)

    assert files.names == ["a.bin"]
    assert "3 entries that are no regular files" in files.left_out.messages()[0]


@pytest.mark.errors
def test_an_archive_that_is_a_fifo_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "a.tar")

    with pytest.raises(ValueError, match=r"a.tar' is no regular file"):
        look(tmp_path / "a.tar")
    with pytest.raises(FileNotFoundError, match="no sample in"):
        look(tmp_path)


def test_a_folder_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    root = put(tmp_path / "root", "a/1.bin", "b/1.bin")
    real = os.scandir

    def scandir(path):
        if Path(path).name == "b":
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    files = look(root)

    assert files.names == ["a/1.bin"]
    assert files.left_out.messages() == ["left out: 1 folder that cannot be read (b: Permission denied)"]


def test_folders_below_each_other_by_the_thousand_are_read(tmp_path):
    folders = [tmp_path / "/".join("d" * depth) for depth in range(1, 1200)]
    try:
        for folder in folders:
            folder.mkdir()
        (folders[-1] / "deep.bin").write_bytes(b"1")

        assert len(look(tmp_path)) == 1
    finally:  # pytest would not get them away
        (folders[-1] / "deep.bin").unlink(missing_ok=True)
        for folder in reversed(folders):
            folder.rmdir()


def test_archives_beside_the_files_are_named(tmp_path):
    put(tmp_path, "a.bin", "rest.zip", "more.tar.gz", "in/other.zip")

    assert look(tmp_path).left_out.messages() == ["left out: 2 archives beside the files (more.tar.gz, rest.zip)"]


def test_a_compressed_shard_beside_others_is_named(tmp_path):
    tar(tmp_path / "0.tar", {"a.bin": b"1"})
    tar(tmp_path / "1.tar.gz", {"b.bin": b"1"}, "w:gz")

    files = look(tmp_path)

    assert files.names == ["0.tar/a.bin"]
    assert files.left_out.messages() == ["left out: 1 archive beside the files (1.tar.gz)"]


# ---------------------------------------------------------------------------------------------------- links in archives

LINKS = {
    "p/b/hard.bin": (tarfile.LNKTYPE, "p/a/1.bin"),
    "p/b/again.bin": (tarfile.LNKTYPE, "./p/b/hard.bin"),
    "p/b/soft.bin": (tarfile.SYMTYPE, "../a/2.bin"),
    "p/c": (tarfile.SYMTYPE, "a"),
    "p/other.bin": (tarfile.SYMTYPE, ".store/x"),
}
FILES = {"p/a/1.bin": b"one", "p/a/2.bin": b"two", "p/.store/x": b"kept elsewhere"}
EXPECTED = {
    "p/a/1.bin": b"one", "p/a/2.bin": b"two", "p/b/soft.bin": b"two", "p/c/1.bin": b"one", "p/c/2.bin": b"two",
    "p/other.bin": b"kept elsewhere",
}  # fmt: skip


def test_hard_and_symbolic_links_in_a_tar_are_samples(tmp_path):
    files = look(linked_tar(tmp_path / "a.tar", FILES, LINKS))

    assert contents(files) == EXPECTED | {"p/b/hard.bin": b"one", "p/b/again.bin": b"one"}


def test_symbolic_links_in_a_zip_are_samples(tmp_path):
    links = {name: target for name, (kind, target) in LINKS.items() if kind == tarfile.SYMTYPE}

    assert contents(look(linked_zip(tmp_path / "a.zip", FILES, links))) == EXPECTED


def test_a_tar_gives_what_its_unpacked_folder_gives(tmp_path):
    root = put(tmp_path / "root", "cat/1.bin", "cat/2.bin", "dog/3.bin")
    os.link(root / "cat" / "1.bin", root / "dog" / "1.bin")
    (root / "emu").symlink_to("dog")
    (root / "loop").symlink_to("../root")
    (root / "dog" / "4.bin").symlink_to("/etc/hostname.bin")
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        archive.add(root, arcname=".")

    folder, packed = look(root), look(tmp_path / "a.tar")

    assert contents(folder) == contents(packed)
    assert len(folder) == 6
    assert folder.left_out.counts.keys() != packed.left_out.counts.keys()  # the last link leads out of the tar


def test_a_hard_link_keeps_what_its_target_was_when_it_was_written(tmp_path):
    path = linked_tar(tmp_path / "a.tar", {"a.bin": b"old"}, {"b.bin": (tarfile.LNKTYPE, "a.bin")}, last="a.bin")

    files = look(path)

    assert contents(files) == {"a.bin": b"last", "b.bin": b"old"}
    assert files.left_out.messages() == ["left out: 1 entry replaced by a later one of its name (a.bin)"]


@pytest.mark.parametrize("make", ["tar", "zip"])
def test_no_link_of_an_archive_leads_out_of_it(make, tmp_path):
    put(tmp_path, "secret.bin")
    targets = {
        "a.bin": str(tmp_path / "secret.bin"), "b.bin": "../secret.bin", "c/d.bin": "../../secret.bin",
        "e.bin": "c/../../secret.bin",
    }  # fmt: skip
    files = {"ok.bin": b"1", "c/ok.bin": b"1"}
    if make == "tar":
        path = linked_tar(tmp_path / "a.tar", files, {k: (tarfile.SYMTYPE, v) for k, v in targets.items()})
    else:
        path = linked_zip(tmp_path / "a.zip", files, targets)

    found = look(path)

    assert sorted(found.names) == ["c/ok.bin", "ok.bin"]
    assert "4 links to outside the archive" in found.left_out.messages()[0]


def test_links_of_a_tar_that_loop_or_lead_nowhere_are_named(tmp_path):
    links = {
        "a/up": (tarfile.SYMTYPE, ".."), "x.bin": (tarfile.SYMTYPE, "y.bin"), "y.bin": (tarfile.SYMTYPE, "x.bin"),
        "n.bin": (tarfile.SYMTYPE, "nothing"), "h.bin": (tarfile.LNKTYPE, "nothing"),
    }  # fmt: skip

    files = look(linked_tar(tmp_path / "a.tar", {"a/1.bin": b"1"}, links))

    assert files.names == ["a/1.bin"]
    (line,) = files.left_out.messages()
    assert "3 links that loop" in line
    assert "2 links that lead nowhere" in line


def test_sparse_special_and_escaping_entries_of_a_tar_are_named(tmp_path):
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        for name, kind, extra in (
            ("f.bin", tarfile.FIFOTYPE, {}), ("../out.bin", tarfile.REGTYPE, {}), ("ok.bin", tarfile.REGTYPE, {}),
            ("s.bin", tarfile.REGTYPE, {"GNU.sparse.size": "512", "GNU.sparse.map": "0,0"}),
        ):  # fmt: skip
            entry = tarfile.TarInfo(name)
            entry.type, entry.pax_headers = kind, extra
            archive.addfile(entry, io.BytesIO())

    files = look(path)

    assert files.names == ["ok.bin"]
    (line,) = files.left_out.messages()
    assert "1 entry that is no regular file (f.bin)" in line
    assert "1 entry whose name leads outside the archive (../out.bin)" in line
    assert "1 sparse entry of a tar (s.bin)" in line


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_names_that_come_twice_in_a_zip_are_named_and_the_last_counts(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name, data in (("a.bin", "old"), ("./a.bin", "new"), ("A.bin", "other"), ("n.txt", "1"), ("n.txt", "2")):
            archive.writestr(name, data)

    files = look(tmp_path / "a.zip")

    assert contents(files) == {"A.bin": b"other", "a.bin": b"new"}
    assert files.left_out.messages() == ["left out: 1 entry replaced by a later one of its name (a.bin)"]


def test_shards_of_one_name_in_two_folders_are_all_read(tmp_path):
    for part in ("x", "y"):
        (tmp_path / part).mkdir()
        tar(tmp_path / part / "0.tar", {"a.bin": part.encode()})

    assert contents(look(tmp_path / "*" / "0.tar")) == {"x+0.tar/a.bin": b"x", "y+0.tar/a.bin": b"y"}


@pytest.mark.errors
def test_a_pattern_of_several_zips_is_refused(tmp_path):
    for name in ("a.zip", "b.zip"):
        linked_zip(tmp_path / name, {"a.bin": b"1"}, {})

    with pytest.raises(ValueError, match="matches several zips, of which one can be read"):
        look(tmp_path / "*.zip")


# -------------------------------------------------------------------------------------------------------- class folders


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["cat/1.bin", "cover.bin", "dog/1.bin"], ["cat", None, "dog"]),
        (["all/cat/1.bin", "all/cover.bin", "all/dog/1.bin", "x.bin"], ["cat", None, "dog", None]),
        (["train/cat/1.bin", "train/dog/1.bin", "val/cat/2.bin"], ["cat", "dog", "cat"]),
        (["d/Train/cat/1.bin", "d/test/2.bin", "d/Train/dog/1.bin"], ["cat", None, "dog"]),
        (["train/x/cat/1.bin", "validation/x/dog/1.bin"], ["cat", "dog"]),
        (["train/1.bin", "val/2.bin"], [None, None]),
        (["train/1.bin", "bus/2.bin"], ["train", "bus"]),
        (["train/test/1.bin", "val/dev/2.bin"], ["test", "dev"]),
        (["0.tar/train/cat/1.bin", "1.tar/val/dog/1.bin"], ["cat", "dog"]),
        (["a.bin", "cat/b.bin"], [None, None]),
    ],
)
def test_a_class_is_found_among_strays_and_below_split_folders(names, words):
    assert folder_classes(names).words == words


@pytest.mark.parametrize(
    ("names", "depth", "words"),
    [
        (["a/abbey/1.bin", "a/arch/2.bin", "b/bar/3.bin"], 2, ["a/abbey", "a/arch", "b/bar"]),
        (["p/a/abbey/1.bin", "p/a/arch/2.bin", "p/b/bar/3.bin"], 3, ["a/abbey", "a/arch", "b/bar"]),
        (["train/a/abbey/1.bin", "val/b/bar/1.bin"], 2, ["a/abbey", "b/bar"]),
        (["a/abbey/1.bin", "b/bar/deep/3.bin", "c/4.bin", "5.bin"], 2, ["a/abbey", "b/bar", None, None]),
        (["x/cat/1.bin", "x/dog/1.bin"], 2, ["cat", "dog"]),
        (["x/cat/1.bin", "x/dog/1.bin"], 1, [None, None]),
        (["x/cat/1.bin", "x/dog/1.bin"], 3, [None, None]),
    ],
)
def test_the_depth_of_the_class_folder_can_be_given(names, depth, words):
    assert folder_classes(names, depth).words == words


def test_strays_split_folders_and_doubtful_ones_are_said_in_a_line_each():
    strays = folder_classes(["cat/1.bin", "dog/1.bin", *(f"{i}.bin" for i in range(5))]).messages
    splits = folder_classes(["train/cat/1.bin", "val/dog/1.bin"]).messages
    doubtful = folder_classes(["train/1.bin", "val/1.bin", "extras/1.bin"]).messages

    assert strays == ["no label: 5 of 7 files are in no class folder (0.bin, 1.bin, 2.bin, …)"]
    assert splits[0].startswith("train, val are split folders: all are read, and classes are the folders below them")
    assert doubtful == ["train, val are read as classes, because of extras beside them"]


def test_files_without_a_class_have_the_label_minus_one_and_can_be_told_apart():
    labels = folder_labels(["cat/1.bin", "cover.bin", "dog/1.bin"])

    assert labels == FoundLabels(("cat", "dog"), [0, -1, 1])


def test_the_rows_with_a_class_are_those_of_the_part(tmp_path):
    from torch.utils.data import Subset

    files = look(put(tmp_path, "cat/1.bin", "cover.bin", "dog/1.bin"))
    data = FileDataset(files, lambda file, name: None, None, found_labels(files), name="x")  # type: ignore[arg-type]

    assert data.names == ["cat/1.bin", "cover.bin", "dog/1.bin"]
    assert rows_with_class(data) == [0, 2]
    assert rows_with_class(Subset(data, [1, 2])) == [1]
    assert rows_with_class(Subset(Subset(data, [1, 2, 0]), [1, 2])) is None
    assert data.messages == ["no label: 1 of 3 files are in no class folder (cover.bin)"]


# ----------------------------------------------------------------------------------------------------- labels in shards


def test_cls_entries_of_shards_are_labels_in_the_order_of_numbers(tmp_path):
    content = {f"{i:03}.{kind}": data for i in range(4) for kind, data in (("bin", b"x"), ("cls", b"%d\n" % (12 - i)))}
    tar(tmp_path / "0.tar", dict(list(content.items())[:4]))
    tar(tmp_path / "1.tar", dict(list(content.items())[4:]))

    labels = found_labels(look(tmp_path))

    assert labels == FoundLabels(("9", "10", "11", "12"), [3, 2, 1, 0])
    assert labels.messages == ("labels: from the .cls entries of the tars, 4 classes",)


@pytest.mark.parametrize(
    ("suffix", "texts", "classes"),
    [
        ("cls", ["cat", "dog"], ("cat", "dog")),
        ("json", ['{"label": "cat", "width": 3}', '{"label": "dog"}'], ("cat", "dog")),
        ("json", ['{"class": 7}', '{"class": 10}'], ("7", "10")),
        ("json", ['{"label": 1, "class": "x"}', '{"label": 2, "class": "x"}'], ("1", "2")),
        ("json", ['{"width": 1}', '{"width": 2}'], ()),
        ("json", ["[1]", "3"], ()),
        ("json", ['{"label": [1, 2]}', '{"label": [3]}'], ()),
        ("txt", ["cat", " dog\n"], ("cat", "dog")),
        ("txt", ["a cat on a mat", "dog"], ()),
        ("md", ["cat", "dog"], ()),
    ],
)
def test_what_describes_a_sample_is_a_label_or_is_none(suffix, texts, classes, tmp_path):
    content = {"0.bin": b"1", f"0.{suffix}": texts[0].encode(), "1.x.bin": b"1", f"1.{suffix}": texts[1].encode()}

    labels = found_labels(look(tar(tmp_path / "a.tar", content)))

    assert labels == FoundLabels(classes, [0, 1] if classes else None)


def test_cls_entries_are_believed_before_folders_and_texts_after_them(tmp_path):
    files = {"a/0.bin": b"1", "b/1.bin": b"1"}
    numbers = look(tar(tmp_path / "a.tar", files | {"a/0.cls": b"5", "b/1.cls": b"5"}))
    texts = look(tar(tmp_path / "b.tar", files | {"a/0.txt": b"x", "b/1.txt": b"x"}))

    assert found_labels(numbers) == FoundLabels(("5",), [0, 0])
    assert found_labels(numbers).messages[-1] == "the 2 folders are no classes then"
    assert found_labels(texts) == FoundLabels(("a", "b"), [0, 1])


def test_a_sample_without_a_description_is_named(tmp_path):
    content = {"0.bin": b"1", "0.cls": b"1", "1.bin": b"1", "2.bin": b"1", "2.cls": b"2", "9.cls": b"3"}

    labels = found_labels(look(tar(tmp_path / "a.tar", content)))

    assert labels == FoundLabels(("1", "2"), [0, -1, 1])
    assert labels.messages[1] == "no label: 1 of 3 files (1.bin)"


@pytest.mark.errors
@pytest.mark.parametrize(
    ("suffix", "content", "words"),
    [
        ("cls", b"", "'1.cls' is no label: it must hold one number or name on one line; got ''"),
        ("cls", b"1\n2", "'1.cls' is no label: it must hold one number or name on one line"),
        ("cls", b"\xff\xfe", "'1.cls' is no label: it is not UTF-8"),
        ("cls", b"1" * 2000, "'1.cls' has 2,000 bytes; as a label it may have 1,024"),
        ("json", b"{", "'1.json' cannot be read as JSON"),
        ("json", b"[" * 100_000, "'1.json' cannot be read as JSON: RecursionError"),
        ("json", b'{"label": {"x": 1}}', "'1.json': 'label' must be a whole number or a name"),
        ("json", b'{"label": true}', "'1.json': 'label' must be a whole number or a name"),
        ("json", b'{"label": 1}' + b" " * (1 << 20), r"'1.json' has 1,048,588 bytes; as a label it may have 1,048,576"),
    ],
)
def test_a_description_that_does_not_fit_the_others_is_refused_by_name(suffix, content, words, tmp_path):
    good = b'{"label": 1}' if suffix == "json" else b"1"
    path = tar(tmp_path / "a.tar", {"0.bin": b"1", f"0.{suffix}": good, "1.bin": b"1", f"1.{suffix}": content})

    with pytest.raises(ValueError, match=words):
        found_labels(look(path))
