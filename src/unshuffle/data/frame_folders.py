"""Clips that are folders of numbered frames: ``clip_0001/frame_000.jpg``, in a folder, a zip or tars."""

from __future__ import annotations

from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from torch import Tensor

from unshuffle._check import Explained
from unshuffle.data.animations import stacked
from unshuffle.data.files import FileDataset, Files, reason
from unshuffle.data.image_files import read_image
from unshuffle.data.image_modes import upright_rgb
from unshuffle.data.labels import by_nature, found_labels
from unshuffle.data.loaders import Unreadable


class FrameFolders:
    """The folders that hold images, each a clip whose frames are in the order of the numbers in their names.

    ``names`` are the folders' paths. ``strays`` are images that lie in no folder, which are left out.

    Args:
        images: the image files.
    """

    def __init__(self, images: Files) -> None:
        self.images, self.left_out = images, getattr(images, "left_out", None)
        folders: dict[str, list[int]] = {}
        for place, name in enumerate(images.names):
            folders.setdefault(name.rpartition("/")[0], []).append(place)
        self.strays = [images.names[place] for place in folders.pop("", [])]
        self.names = list(folders)
        self.frames = [sorted(places, key=lambda k: by_nature(images.names[k])) for places in folders.values()]

    def __len__(self) -> int:
        return len(self.names)

    def path(self, index: int) -> Path | None:
        """The folder itself, where it is one on disk."""
        first = self.images.path(self.frames[index][0])
        return None if first is None else first.parent

    def open(self, index: int) -> BinaryIO:
        """The first frame's bytes."""
        return self.images.open(self.frames[index][0])

    def read(self, index: int, numbers: list[int], *, background: int) -> Tensor:
        """Some frames of a clip as uint8 (frames, 3, height, width).

        Raises:
            ValueError: one cannot be read, which is named, or they have several sizes.
        """
        return stacked([self._frame(self.frames[index][number], background) for number in numbers])

    def _frame(self, place: int, background: int) -> np.ndarray:
        try:
            with self.images.open(place) as file:
                return np.array(read_image(file, lambda image: upright_rgb(image, background=background)))
        except Exception as error:  # decoders raise anything
            name = self.images.names[place].rpartition("/")[2]
            raise ValueError(f"frame {name}: {reason(error)}") from error

    def size(self, index: int) -> tuple[int, int]:
        """Width and height of the first frame.

        Raises:
            ValueError: it cannot be read.
        """
        with self.open(index) as file:
            return read_image(file, lambda image: image.size)


class FrameFolderClips(FileDataset):
    """Folders of frames as samples: what cannot be read comes back as :class:`Unreadable`.

    Args:
        folders: where the frames lie.
        source: a :class:`~unshuffle.data.video.Clips`.
        name: what tables call the data set.
    """

    def __init__(self, folders: FrameFolders, source: Any, *, name: str) -> None:
        super().__init__(folders, source.decode, source, found_labels(folders), name=name)
        self.folders = folders

    def __getitem__(self, index: int) -> tuple[Tensor, Any] | Unreadable:
        folders, source = self.folders, self.source
        try:
            numbers = source.pick(len(folders.frames[index]))
            item = source.squares(folders.read(index, numbers, background=source.background))
        except (ModuleNotFoundError, Explained):
            raise
        except Exception as error:
            return Unreadable(self.names[index], reason(error))
        return item, None if self.labels is None else self.labels[index]
