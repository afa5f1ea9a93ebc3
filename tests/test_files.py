"""Files are written whole or not at all, with the permissions that they should have, and never through a link."""

import os
import stat
import threading

import pytest

from unshuffle import _files
from unshuffle._files import UnsafePath, make_folder, make_room, make_subfolder, remove_leftovers, write_atomically

NEW = b"what is written"


def write(path):
    write_atomically(path, lambda file: file.write(NEW))


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_a_new_file_has_the_permissions_that_the_umask_leaves(mask, tmp_path):
    before = os.umask(mask)
    try:
        write(tmp_path / "new")
    finally:
        os.umask(before)
    assert mode(tmp_path / "new") == 0o666 & ~mask


@pytest.mark.parametrize("bits", [0o600, 0o640, 0o664, 0o755])
def test_a_file_that_is_replaced_keeps_its_permissions(bits, tmp_path):
    (tmp_path / "old").write_text("old")
    (tmp_path / "old").chmod(bits)
    write(tmp_path / "old")
    assert (mode(tmp_path / "old"), (tmp_path / "old").read_bytes()) == (bits, NEW)


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path):
    (tmp_path / "old").write_text("old")
    with pytest.raises(RuntimeError, match="half way"):
        write_atomically(tmp_path / "old", fail)
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("old", "old")]


def fail(file):
    file.write(b"half")
    raise RuntimeError("half way")


def test_a_name_as_long_as_the_system_allows_can_be_written(tmp_path):
    write(tmp_path / ("n" * 255))
    assert (tmp_path / ("n" * 255)).read_bytes() == NEW


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="reads the name behind a file's number")
def test_the_folder_of_a_new_name_is_synced_and_so_is_that_of_a_new_folder(tmp_path, monkeypatch):
    synced, whole = [], os.fsync
    monkeypatch.setattr(os, "fsync", lambda file: (synced.append(os.readlink(f"/proc/self/fd/{file}")), whole(file)))
    make_folder(tmp_path / "a/b")
    write(tmp_path / "a/b/file")
    assert synced[:2] == [str(tmp_path), str(tmp_path / "a")]
    assert synced[2].startswith(str(tmp_path / "a/b/.unshuffle-"))
    assert synced[3:] == [str(tmp_path / "a/b")]


@pytest.mark.parametrize("target", ["there", "nowhere"])
def test_a_link_is_refused_whether_it_leads_anywhere_or_not(target, tmp_path):
    (tmp_path / "there").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / target)
    for action in (write, make_room, make_subfolder, lambda path: _files.no_follow(str(path), os.O_WRONLY)):
        with pytest.raises(UnsafePath, match=r"link is a symbolic link.*Delete the link"):
            action(tmp_path / "link")
    assert (tmp_path / "there").read_text() == "mine"
    assert not (tmp_path / "nowhere").exists()


def test_what_is_no_regular_file_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    for name in ("pipe", "folder"):
        with pytest.raises(
            UnsafePath, match=rf"{name} is a (folder|device or pipe), and a file is to be written there"
        ):
            write(tmp_path / name)
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UnsafePath, match="file is a file, and a folder is to be written there"):
        make_subfolder(tmp_path / "file")


def test_folders_that_a_user_names_may_be_links(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "runs").symlink_to(tmp_path / "disk")
    make_subfolder(tmp_path / "runs/a/labels")
    write(tmp_path / "runs/a/file")
    make_room(tmp_path / "runs/b/file")
    assert sorted(p.name for p in (tmp_path / "disk").rglob("*")) == ["a", "b", "file", "labels"]


def test_leftovers_of_ours_are_deleted_and_nothing_else(tmp_path):
    ours, others = f".unshuffle-{'0' * 32}.part", ["last.pt.part", ".unshuffle-0.part", f".unshuffle-{'0' * 32}.pt"]
    for name in (ours, *others):
        (tmp_path / name).write_text("")
    (tmp_path / f".unshuffle-{'1' * 32}.part").symlink_to(tmp_path / others[0])
    (tmp_path / f".unshuffle-{'2' * 32}.part").mkdir()
    remove_leftovers(tmp_path, age=3600)
    assert (tmp_path / ours).exists()  # its writer may be alive
    remove_leftovers(tmp_path)
    assert not (tmp_path / ours).exists()
    assert len(list(tmp_path.iterdir())) == 5
    remove_leftovers(tmp_path / "nowhere")


def test_writers_at_the_same_time_never_mix(tmp_path):
    def work(letter):
        for _ in range(50):
            write_atomically(tmp_path / "file", lambda file: [file.write(letter * 1000) for _ in range(20)])
            assert len(set((tmp_path / "file").read_bytes())) == 1

    threads = [threading.Thread(target=work, args=(letter,)) for letter in (b"a", b"b", b"c")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    content = (tmp_path / "file").read_bytes()
    assert len(content) == 20_000
    assert len(set(content)) == 1
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
