"""Resumable state on disk: written whole or not at all, checked and read without running anything.

A checkpoint is the ZIP archive that PyTorch writes, in which every record has its CRC-32. PyTorch does not look at
these when it reads, so that a flipped bit would load as another weight; :func:`load` does.

The checkpoint that :func:`save` replaces is kept: ``previous.pt`` beside ``last.pt``.
"""

from __future__ import annotations

import errno
import os
import pickle
import secrets
import struct
import warnings
import zipfile
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import torch

from unshuffle._check import Explained
from unshuffle._files import check_file, make_subfolder, sync_folder, write_atomically

LAST, PREVIOUS, DAMAGED = "last.pt", "previous.pt", "last.damaged.pt"
_AT_ONCE = 1 << 20


class BadCheckpoint(Explained):
    """A checkpoint that cannot be used: damaged, or not one of ours."""


class Damaged(BadCheckpoint):
    """A checkpoint whose content is not what was written."""


class Newest(NamedTuple):
    """The checkpoint to go on from; ``path`` is None where there is none, ``words`` say if the newest was damaged."""

    path: Path | None
    words: str = ""


def save(path: Path, state: dict[str, Any]) -> None:
    """Writes a state of tensors and plain values; of ``last.pt``, the file before stays as ``previous.pt``.

    Raises:
        UnsafePath: the file or its folder is a link; nothing was written.
        OSError: the disk is full, or the folder cannot be written.
    """
    make_subfolder(path.parent)

    def write(file: Any) -> None:
        torch.save(state, file)
        if path.name == LAST:
            file.flush()
            os.fsync(file.fileno())
            _keep(path)

    try:
        write_atomically(path, write)
    except RuntimeError as error:  # PyTorch's writer reports a failed write as its own failure to close the archive
        if isinstance(error.__context__, OSError):
            raise error.__context__ from error
        raise


def _keep(last: Path) -> None:
    """Makes ``last.pt`` the previous checkpoint too, before it is replaced."""
    previous = last.with_name(PREVIOUS)
    if check_file(last) is None or (check_file(previous) is not None and os.path.samefile(last, previous)):
        return  # the second: a process was killed between here and the replacement
    link = last.with_name(f".unshuffle-{secrets.token_hex(16)}.part")
    try:
        os.link(last, link)
    except OSError:  # a file system without hard links: for a moment there is a previous checkpoint only
        os.replace(last, previous)
        return
    os.replace(link, previous)


def newest(folder: Path) -> Newest:
    """The checkpoint that a run goes on from: ``last.pt``, or ``previous.pt`` where that is damaged or missing.

    A damaged ``last.pt`` is moved to ``last.damaged.pt``, so that it does not become the previous one.

    Args:
        folder: with the checkpoints.

    Raises:
        Damaged: the newest is damaged and there is no other that is whole.
        UnsafePath: one of them is a link.
    """
    last, previous = folder / LAST, folder / PREVIOUS
    for path in (last, previous):  # both will be written
        check_file(path)
    if not last.exists():
        if not previous.exists():
            return Newest(None)
        check(previous)
        return Newest(previous, f"{last} is missing: going on from {previous}, the checkpoint before it.")
    try:
        check(last)
    except Damaged as error:
        try:
            check(previous)
        except (Damaged, OSError):
            raise error from None
        check_file(folder / DAMAGED)
        os.replace(last, folder / DAMAGED)
        sync_folder(folder)
        why = f"{last} is damaged ({error.__cause__ or 'its checksum is wrong'})"
        return Newest(
            previous, f"{why} and was moved to {DAMAGED}: going on from {previous}, the checkpoint before it."
        )
    return Newest(last)


def load(path: Path) -> dict[str, Any]:
    """Reads a state; tensors and plain values only, so a file from a stranger cannot run code.

    Raises:
        BadCheckpoint: it is damaged, or holds anything else.
        OSError: there is none, or it may not be read.
    """
    check(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PyTorch wonders about the version of what is no pickle at all
            state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        why = "is damaged, or holds something else than tensors and plain values"
        raise BadCheckpoint(_refusal(path, why)) from error
    except Exception as error:  # of a damaged file PyTorch raises anything: RuntimeError, OSError, struct.error, …
        raise _damaged(path) from error
    if not isinstance(state, dict) or not {"method", "optimizer", "step"} <= set(state):
        raise BadCheckpoint(_refusal(path, "lacks method, optimizer or step"))
    return state


def check(path: Path) -> None:
    """Reads a checkpoint once and compares every record with its checksum.

    Raises:
        Damaged: a record is not what was written, or this is no such archive, or only a part of one.
        OSError: there is none, or it may not be read.
    """
    with open(path, "rb") as file:
        try:
            _check_records(file, os.fstat(file.fileno()).st_size)
        except OSError as error:
            if error.errno != errno.EINVAL:  # of a damaged archive: a place before its start
                error.filename = str(path)
                raise
            raise _damaged(path) from error
        except (zipfile.BadZipFile, zlib.error, ValueError, EOFError, RuntimeError, struct.error) as error:
            raise _damaged(path) from error


def _damaged(path: Path) -> Damaged:
    return Damaged(_refusal(path, "is damaged, or no archive as PyTorch writes them"))


def _check_records(file: Any, size: int) -> None:
    with zipfile.ZipFile(file) as archive:
        records = archive.infolist()
        if any(record.compress_type != zipfile.ZIP_STORED for record in records):
            raise ValueError("a record is compressed, which PyTorch's never are")
        if any(record.is_dir() or record.external_attr & 0x10 for record in records):
            raise ValueError("a record is marked as a folder, which PyTorch would read as nothing")
        if sum(record.file_size for record in records) > size:
            raise ValueError("its records are larger than the file")
        for record in records:
            with archive.open(record) as content:
                while content.read(_AT_ONCE):  # at a record's end its checksum is compared
                    pass


def _is_whole(path: Path) -> bool:
    try:
        check(path)
    except (OSError, BadCheckpoint):
        return False
    return True


def _refusal(path: Path, why: str) -> str:
    previous = path.with_name(PREVIOUS)
    if path.name == LAST and _is_whole(previous):
        advice = (
            f"The checkpoint before it is {previous}: delete {LAST}, and unshuffle train --resume goes on from there"
        )
    else:
        advice = "Put a good copy in its place (best.pt, if it is whole), or delete it to begin again"
    return f"{path} is no checkpoint of unshuffle, or no longer one: it {why}. Nothing in it was run. {advice}."
