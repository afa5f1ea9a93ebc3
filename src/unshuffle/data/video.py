"""Clips in files and folders: frames sampled uniformly over each clip, and none decoded but those."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, BinaryIO, ClassVar

import numpy as np
import torch
from torch import Tensor

from unshuffle._ranges import Pixels, Range
from unshuffle.data import animations, image_files
from unshuffle.data import frames as reading
from unshuffle.data.files import FileDataset, Files, called, find
from unshuffle.data.frame_folders import FrameFolderClips, FrameFolders
from unshuffle.data.labels import found_labels
from unshuffle.values import register

VIDEOS = (".mp4", ".webm", ".mkv", ".avi", ".mov", ".mpg", ".mpeg", ".m4v")
SUFFIXES = VIDEOS + animations.SUFFIXES
LOOKED_AT = 200
"""Files whose headers tell sizes and lengths, where these are to be chosen."""
LARGEST, MOST = 64, 20
"""Pixels a side and frames that are chosen at the most: a processor can train on these."""


@register
@dataclass(frozen=True)
class Clips:
    """How video files become samples: ``frames`` of each, evenly spaced, the short side scaled, the middle square kept.

    Items are (frames, 3, size, size) uint8. A clip is divided into as many equal stretches as frames are wanted, and
    the middle frame of each is taken. GIF, animated WebP and APNG are clips, too; where there is neither these nor a
    video, a clip is a folder of images, in the order of the numbers in their names.

    Source: Shuffle to Learn, section 3.2 (20 frames, sampled uniformly).
    """

    frames: Annotated[int, Range(2, 65_536)] | None = 20
    """Frames of a clip; clips with fewer are skipped and counted. None: 20, or what nine of ten files have."""
    size: Pixels | None = None
    """Pixels a side of a frame. None: 64, or the short side of the median file where that is smaller."""
    smallest: Pixels = 16
    """Clips with fewer pixels than this on a side are skipped and counted as unreadable."""
    background: Annotated[int, Range(0, 255)] = 255
    """Gray level behind transparent pixels of GIF, WebP, APNG and frames, from 0 (black) to 255 (white)."""

    noun: ClassVar[str] = "clip"
    any_size: ClassVar[str] = "For clips of any size and length give a list of tensors (frames, 3, height, width)."

    @property
    def item_shape(self) -> tuple[int, int, int, int]:
        """(frames, 3, size, size).

        Raises:
            ValueError: number or size are still to be chosen.
        """
        if self.frames is None or self.size is None:
            raise ValueError("Clips: `frames` and `size` must be known by now; `settle` chooses them from a folder.")
        return self.frames, 3, self.size, self.size

    def settle(self, root: str | Path) -> tuple[Clips, list[str]]:
        """Chooses number and size of frames, where they are open, from the headers of at most 200 files.

        Returns:
            The same source with nothing left open, and a line for each choice.

        Raises:
            FileNotFoundError: there are no clips.
            ValueError: not one of the headers can be read.
            NoDecoder: there is nothing to read them with.
        """
        return self._settle(_found(root))

    def _settle(self, files: Files | FrameFolders) -> tuple[Clips, list[str]]:
        if isinstance(files, FrameFolders):
            strays = files.strays
            told = [f"left out: {len(strays)} images in no folder, {strays[0]!r} first"] if strays else []
        else:
            told = []
            if any(name.lower().endswith(VIDEOS) for name in files.names):
                reading.decoder()  # here, where it stops the job; missing it would make every file unreadable
        settled, more = self._chosen(files)
        return settled, more + told

    def _chosen(self, files: Files | FrameFolders) -> tuple[Clips, list[str]]:
        if self.frames is not None and self.size is not None:
            return self, []
        headers, what = _headers(files), "folders" if isinstance(files, FrameFolders) else "files"
        looked, settled, told = f"({len(headers)} of {len(files)} {what} looked at)", self, []
        counts = np.array([header.frames for header in headers])
        between = f"the clips have {counts.min()} to {counts.max()} {looked}"
        if self.frames is None:
            settled = replace(settled, frames=int(np.clip(np.quantile(counts, 0.1, method="lower"), 2, MOST)))
        told.append(f"frames: {settled.frames}; {between}")
        if self.size is None:
            sides = np.array([min(header.width, header.height) for header in headers])
            median = int(np.quantile(sides, 0.5, method="lower"))
            settled = replace(settled, size=max(self.smallest, min(LARGEST, median - median % 8)))
            told.append(f"size: {settled.size} pixels; the clips' short sides have {sides.min()} to {sides.max()}")
        return settled, told

    def open(self, root: str | Path) -> FileDataset:
        """The clips below ``root`` as a data set; what is still to be chosen is chosen from them."""
        files = _found(root)
        settled, _ = self._settle(files)
        if isinstance(files, FrameFolders):
            return FrameFolderClips(files, settled, name=called(root))
        return FileDataset(files, settled.decode, settled, found_labels(files), name=called(root))

    def decode(self, file: BinaryIO, name: str = "") -> Tensor:
        """One file as uint8 (frames, 3, size, size).

        Raises:
            ValueError: it is no video, too short, too small, or damaged.
        """
        return self.squares(reading.read_frames(file, self.pick, background=self.background))

    def as_item(self, clip: Any) -> Tensor:
        """A clip of any length and size that is in memory, (frames, 3, height, width) uint8, as an item.

        Raises:
            TypeError: it is neither a tensor nor an array.
            ValueError: it has other axes, is not uint8, or is too short or too small.
        """
        if not isinstance(clip, (Tensor, np.ndarray)):
            raise TypeError(f"a clip must be a tensor or an array; got {type(clip).__name__}.")
        frames = torch.as_tensor(clip)
        if frames.ndim != 4 or frames.shape[1] != 3 or frames.dtype != torch.uint8:
            raise ValueError(
                f"a clip must be uint8 (frames, 3, height, width); got {frames.dtype} of shape {tuple(frames.shape)}."
            )
        return self.squares(frames[self.pick(len(frames))])

    def pick(self, count: int) -> list[int]:
        """Which frames of a clip of ``count`` are taken.

        Raises:
            ValueError: it has fewer than are wanted.

        Example:
            >>> Clips(frames=4, size=64).pick(4), Clips(frames=4, size=64).pick(40)
            ([0, 1, 2, 3], [5, 15, 25, 35])
        """
        wanted = self.item_shape[0]
        if count < wanted:
            raise ValueError(f"{count} frames; at least {wanted} needed")
        return [(2 * k + 1) * count // (2 * wanted) for k in range(wanted)]

    def squares(self, frames: Tensor) -> Tensor:
        """The middle square of each frame of a clip (frames, 3, height, width), scaled.

        Raises:
            ValueError: there are too few pixels.
        """
        height, width = frames.shape[-2:]
        if min(height, width) < self.smallest:
            raise ValueError(f"{width} x {height} pixels; at least {self.smallest} x {self.smallest} needed")
        side, size = min(height, width), self.item_shape[-1]
        top, left = (height - side) // 2, (width - side) // 2
        square = frames[..., top : top + side, left : left + side]
        if side == size:
            return square.contiguous()
        return torch.nn.functional.interpolate(square, (size, size), mode="bicubic", antialias=True)


def _found(root: str | Path) -> Files | FrameFolders:
    """The clips below ``root``: video files and animations, or else folders of frames.

    Raises:
        FileNotFoundError: there are neither.
    """
    try:
        files = find(root, SUFFIXES, what="clip")
    except FileNotFoundError:
        folders = _frame_folders(root)
        if folders is None:
            raise
        return folders
    if any(name.lower().endswith(VIDEOS) for name in files.names) or any(map(partial(_moves, files), range(3))):
        return files
    return _frame_folders(root) or files  # GIF and WebP of one frame each are the frames of clips


def _frame_folders(root: str | Path) -> FrameFolders | None:
    """Folders of images below ``root``; None where there is none."""
    try:
        folders = FrameFolders(find(root, image_files.SUFFIXES, what="image"))
    except FileNotFoundError:
        return None
    return folders if len(folders) else None


def _moves(files: Files, place: int) -> bool:
    """Whether an animation has more than one frame; those that cannot be read have none."""
    if place >= len(files):
        return False
    try:
        with files.open(place) as file:
            return reading.read_header(file).frames > 1
    except Exception:  # decoders raise anything
        return False


def _header(files: Files | FrameFolders, place: int) -> reading.Header:
    if isinstance(files, FrameFolders):
        return reading.Header(*files.size(place), len(files.frames[place]))
    with files.open(place) as file:
        return reading.read_header(file)


def _headers(files: Files | FrameFolders) -> list[reading.Header]:
    """The headers of at most :data:`LOOKED_AT` files, evenly spaced, of those that can be read."""
    places = np.linspace(0, len(files) - 1, min(LOOKED_AT, len(files))).round().astype(int).tolist()
    headers, reasons = [], []
    for place in places:
        try:
            headers.append(_header(files, place))
        except (ValueError, OSError) as error:  # noqa: PERF203  (each file may be a bad one)
            reasons.append(f"{files.names[place]} ({error})")
    headers = [header for header in headers if header.frames and header.width and header.height]
    if not headers:
        told = "; ".join(reasons[:3]) or "all are empty"
        raise ValueError(f"not one of the {len(places)} clips looked at could be read: {told}.")
    return headers
