"""Frames of video files by their number: no frame is decoded that is not needed for one that was asked for.

By torchcodec, or by PyAV where torchcodec cannot be loaded (it needs FFmpeg's libraries); both give the same frames.
GIF, WebP and APNG are decoded by Pillow.
"""

from __future__ import annotations

import functools
import os
import re
from bisect import bisect_right
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import torch
from torch import Tensor

from unshuffle._check import Explained
from unshuffle.data.animations import animation_frames, animation_header, is_animation

LARGE = 64 << 20
"""Bytes from which on a header's own count of frames is believed when sizes are chosen; frames are always counted."""

NEARLY = 0.9
"""Part of a stream's packets that must give frames; a damaged end gives fewer."""
_UNTIMED = (b"\x00\x00\x01\xba", b"\x00\x00\x01\xb3", b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", b"FLV\x01")
"""How MPEG program streams and plain MPEG video, ASF and FLV begin."""

Pick = Callable[[int], list[int]]


class NoDecoder(Explained):
    """There is nothing here to decode videos with."""


class Header(NamedTuple):
    """What there is to know of a video without decoding it: pixels and frames."""

    width: int
    height: int
    frames: int


def read_header(file: BinaryIO) -> Header:
    """Size and number of frames.

    Raises:
        ValueError: the file holds no video that can be read.
        NoDecoder: neither torchcodec nor av is there.
    """
    if is_animation(file):
        return Header(*animation_header(file))
    if decoder() == "av" or _must_be_counted(file):
        return _av_header(file)
    return _torchcodec_header(file)


def read_frames(file: BinaryIO, pick: Pick, *, background: int = 255) -> Tensor:
    """Decodes some frames, upright.

    Args:
        file: a video file in any container, or a GIF, animated WebP or APNG.
        pick: from the number of frames to the ascending numbers of those to decode; what it raises is passed on.
        background: gray level behind transparent pixels of animations.

    Returns:
        (frames, 3, height, width) uint8.

    Raises:
        ValueError: the file holds no video that can be read, or a frame is damaged.
        NoDecoder: neither torchcodec nor av is there.
    """
    if is_animation(file):
        return animation_frames(file, pick, background)
    counted = _must_be_counted(file)
    if decoder() == "av" or counted:
        return _av_frames(file, pick, counted=counted)
    return _torchcodec_frames(file, pick)


@functools.cache
def decoder() -> str:
    """Which library decodes here, ``torchcodec`` or ``av``.

    Raises:
        NoDecoder: neither can be imported; what to do is said.
    """
    reasons = []
    for name, load in (("torchcodec", _import_torchcodec), ("av", _import_av)):
        try:
            load()
            return name
        except (ImportError, OSError, RuntimeError) as error:  # noqa: PERF203  (torchcodec without FFmpeg raises any)
            reasons.append(f"{name}: {(str(error).strip().splitlines() or [''])[0]}")
    raise NoDecoder(
        f"videos need a decoder: pip install av, or pip install torchcodec and FFmpeg. Tried {'; '.join(reasons)}."
    )


def _import_torchcodec() -> Any:
    from torchcodec import decoders

    return decoders


def _import_av() -> Any:
    import av

    return av


# --------------------------------------------------------------------------------------------------------- torchcodec


def _torchcodec_header(file: BinaryIO) -> Header:
    library = _import_torchcodec()
    with _explained("not a video that can be read"):
        # The count of a large file by its own word: the other way is to read it all.
        quick = library.VideoDecoder(file, seek_mode="approximate") if _size(file) >= LARGE else None
        if quick is None or not quick.metadata.num_frames_from_header:
            file.seek(0)
            quick = library.VideoDecoder(file)
    found = quick.metadata
    return Header(int(found.width or 0), int(found.height or 0), int(found.num_frames or 0))


def _torchcodec_frames(file: BinaryIO, pick: Pick) -> Tensor:
    library = _import_torchcodec()
    with _explained("not a video that can be read"):
        # Never by approximate seeking, which computes times from a mean rate: wrong frames where it varies.
        opened = library.VideoDecoder(file)
    numbers = pick(int(opened.metadata.num_frames or 0))
    with _explained("damaged"):
        return opened.get_frames_at(numbers).data


def _size(file: BinaryIO) -> int:
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    return size


# ----------------------------------------------------------------------------------------------------------------- av


def _must_be_counted(file: BinaryIO) -> bool:
    """Whether it is an AVI, an MPEG program or transport stream, an ASF or an FLV, without a reliable time per frame.

    In these FFmpeg lands one or more frames beside the one sought, above all where there are B-frames, so frames are
    counted from the first one on.

    Raises:
        ValueError: it holds none, and PyAV is not there to count them.
    """
    start = file.read(189)
    file.seek(0)
    is_avi, is_transport = start[:4] == b"RIFF" and start[8:12] == b"AVI ", start[::188] == b"GG"
    if not (is_avi or is_transport or start.startswith(_UNTIMED)):
        return False
    try:
        _import_av()
    except ImportError as error:
        raise ValueError(
            "frames of AVI, MPEG streams, ASF and FLV can be counted by PyAV only: pip install av"
        ) from error
    return True


def _av_header(file: BinaryIO) -> Header:
    large = _size(file) >= LARGE  # before it is opened: the library would not know that its place has moved
    with _av_opened(file) as (container, stream):
        with _explained("damaged"):
            count = stream.frames if large and stream.frames else len(_index(container))
        return Header(stream.codec_context.width, stream.codec_context.height, count)


def _av_frames(file: BinaryIO, pick: Pick, *, counted: bool = False) -> Tensor:
    with _av_opened(file) as (container, stream):
        with _explained("damaged"):
            index = _index(container)
        numbers = pick(len(index))
        # Without a time on every packet frames can only be counted.
        if not counted and None not in index.times:
            with _explained("damaged"):
                frames = [_upright(frame) for frame in _sought(container, stream, index, numbers)]
        else:
            with _explained("damaged"):
                frames, total = _counted(container, stream, numbers)
            if len(frames) < len(numbers) and total >= NEARLY * len(index):  # packets that hold no frame of their own
                numbers = pick(total)
                with _explained("damaged"):
                    container.seek(0)
                    frames, _ = _counted(container, stream, numbers)
    if len(frames) < len(numbers):
        raise ValueError(f"damaged: {len(frames)} of the {len(numbers)} frames wanted can be decoded")
    return torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2).contiguous()


class _Index(NamedTuple):
    """When each frame is shown, ascending, and when those are that can be decoded without others."""

    times: list[Any]  # int, or None where packets have none
    keys: list[int]

    def __len__(self) -> int:
        return len(self.times)


def _index(container: Any) -> _Index:
    """Reads all packets, and decodes none. Those of zero length end a stream; discarded ones are cut off by an edit."""
    packets = [p for p in container.demux(container.streams.video[0]) if p.size and not p.is_discard]
    container.seek(0)
    times = [packet.pts for packet in packets]
    keys = sorted(packet.pts for packet in packets if packet.is_keyframe and packet.pts is not None)
    return _Index(times if None in times else sorted(times), keys)


def _sought(container: Any, stream: Any, index: _Index, numbers: list[int]) -> Iterator[Any]:
    """The frames, each decoded from the last key frame before it, or on from the frame before."""
    frames, reached = None, 0
    for number in numbers:
        wanted = index.times[number]
        key = index.keys[max(0, bisect_right(index.keys, wanted) - 1)] if index.keys else index.times[0]
        if frames is None or reached < key:
            container.seek(key, stream=stream)
            frames = container.decode(stream)
        for frame in frames:
            reached = frame.pts
            if reached >= wanted:
                yield frame
                break


def _counted(container: Any, stream: Any, numbers: list[int]) -> tuple[list[np.ndarray], int]:
    """The frames, all decoded from the first one on, and how many were decoded."""
    wanted, found, total = set(numbers), [], 0
    for total, frame in enumerate(container.decode(stream), start=1):
        if total - 1 in wanted:
            found.append(_upright(frame))
        if total - 1 == numbers[-1]:
            break
    return found, total


def _upright(frame: Any) -> np.ndarray:
    """(height, width, 3), turned as a camera's note in the file says."""
    return np.rot90(frame.to_ndarray(format="rgb24"), k=round(frame.rotation / 90))


@contextmanager
def _av_opened(file: BinaryIO) -> Iterator[tuple[Any, Any]]:
    file.seek(0)
    with _explained("not a video that can be read"):
        container = _import_av().open(file)
    with container:
        if not container.streams.video:
            raise ValueError("it holds no video")
        stream = container.streams.video[0]
        stream.thread_type = "NONE"  # as torchcodec has it: starting threads costs more than they save on a few frames
        yield container, stream


@contextmanager
def _explained(what: str) -> Iterator[None]:
    """Errors of the libraries, which are of many types, as a ValueError of one short line."""
    try:
        yield
    except Exception as error:
        nothing = "best video stream is unknown" in str(error)  # torchcodec, of a file that has none
        raise ValueError("it holds no video" if nothing else f"{what}: {_told(error)}") from error


def _told(error: Exception) -> str:
    """What went wrong, without the place in the library and without the file's path."""
    line = getattr(error, "strerror", None) or (str(error).strip().splitlines() or [""])[0]
    return re.sub(r"^.*\.cpp:\d+, ", "", line).rstrip(". ") or type(error).__name__
