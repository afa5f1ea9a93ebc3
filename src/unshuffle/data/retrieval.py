"""Pictures to be found again: the ground truth of revisited Oxford and Paris, and the pictures it names."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from unshuffle import _check
from unshuffle.data.bounded import gunzip, parse_json, read_bounded
from unshuffle.data.files import Files, find, reason
from unshuffle.data.image import Images
from unshuffle.data.image_files import SUFFIXES, read_image
from unshuffle.data.loaders import Unreadable
from unshuffle.data.match import composed

LARGEST = 1 << 28
"""Bytes of a ground truth, unpacked."""
KINDS = ("easy", "hard", "junk")
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class GroundTruth:
    """Which pictures show what each query shows.

    Source: Radenović et al., "Revisiting Oxford and Paris: Large-Scale Image Retrieval Benchmarking", CVPR 2018.
    """

    images: tuple[str, ...]
    """Names of the pictures to search among, without suffix."""
    queries: tuple[str, ...]
    """Names of the pictures to search for."""
    boxes: tuple[Box, ...]
    """Of each query the part that is meant: left, top, right, bottom in pixels."""
    easy: tuple[np.ndarray, ...]
    """Of each query the numbers of the pictures that clearly show it."""
    hard: tuple[np.ndarray, ...]
    """Those that show it, but hardly recognisably."""
    junk: tuple[np.ndarray, ...]
    """Those of which nothing is to be said."""


def read_ground_truth(path: str | Path) -> GroundTruth:
    """Reads ``gnd_roxford5k`` or ``gnd_rparis6k`` as ``.json`` or ``.json.gz``.

    It is the object of the authors' ``gnd_*.pkl`` in JSON: ``imlist``, ``qimlist`` and for each query in ``gnd`` a
    ``bbx`` and the lists ``easy``, ``hard`` and ``junk``.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is a pickle, which could run code, or damaged.
    """
    path = Path(path)
    if path.suffix.lower() in (".pkl", ".pickle"):
        raise ValueError(
            f"{str(path)!r} is a pickle, which is never loaded as it can run code; give the same object as JSON "
            "(imlist, qimlist, gnd)."
        )
    with open(path, "rb") as file:
        content = read_bounded(file, path.name, LARGEST)
    try:
        plain = gunzip(content, path.name, LARGEST) if content[:2] == b"\x1f\x8b" else content
        return _checked(parse_json(plain, path.name))
    except (ValueError, KeyError, TypeError, IndexError, OverflowError) as error:
        kind = type(error.__cause__ or error).__name__
        raise ValueError(
            f"{str(path)!r} is no ground truth of revisited Oxford or Paris ({kind}: {error}): "
            "expected JSON with imlist, qimlist and gnd, a bbx, easy, hard and junk for each query."
        ) from error


def _checked(told: dict[str, Any]) -> GroundTruth:
    images, queries, known = tuple(map(str, told["imlist"])), tuple(map(str, told["qimlist"])), told["gnd"]
    if len(known) != len(queries) or not queries:
        raise ValueError(f"{len(queries)} queries and {len(known)} answers")
    for what, names in (("imlist", images), ("qimlist", queries)):
        if len(set(names)) < len(names):
            raise ValueError(f"{next(name for name in names if names.count(name) > 1)!r} stands in {what} twice")
    left, top, right, bottom = (tuple(float(one["bbx"][side]) for one in known) for side in range(4))
    if not np.isfinite([left, top, right, bottom]).all():
        raise ValueError("a side of a bbx is no finite number")
    lists = {kind: tuple(_numbers(one[kind], kind) for one in known) for kind in KINDS}
    for kind, numbers in lists.items():
        if any(len(n) and (n.min() < 0 or n.max() >= len(images)) for n in numbers):
            raise ValueError(f"a number in {kind} is no picture's: there are {len(images)}")
    return GroundTruth(images, queries, tuple(zip(left, top, right, bottom)), **lists)


def _numbers(told: Any, kind: str) -> np.ndarray:
    """Numbers of pictures, (k,); fractions and booleans are none."""
    numbers = np.array(told).reshape(-1)
    if numbers.size and numbers.dtype.kind not in "iu":
        raise ValueError(f"{kind} must hold whole numbers; got {told!r:.60}")
    return numbers.astype(np.int64)


class Pictures(Dataset):
    """Named pictures below a folder or in an archive, whole or a part of each, as uint8 (3, h, w).

    Args:
        root: see :func:`~unshuffle.data.files.find`.
        names: of the files, without folders and suffixes, in the order wanted.
        source: how a picture becomes an item, where all are to be of one size.
        boxes: of each the part to keep, (left, top, right, bottom); None: all.
        longest: pixels of the longer side, to which larger pictures are reduced, whole; None: as ``source`` does.

    Raises:
        FileNotFoundError: there is no such folder, or a picture is missing.
        ValueError: several files have one of the names.
    """

    def __init__(
        self,
        root: str | Path,
        names: tuple[str, ...],
        source: Images,
        *,
        boxes: tuple[Box, ...] | None = None,
        longest: int | None = None,
    ) -> None:
        if longest is not None:
            _check.positive("Pictures", "longest", longest)
        self.files = find(root, SUFFIXES, what="image")
        self.places = _places(self.files, names, str(root))
        self.names, self.source, self.boxes, self.longest = names, source, boxes, longest

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Tensor | Unreadable:
        try:
            box = None if self.boxes is None else self.boxes[index]
            with self.files.open(self.places[index]) as file:
                return read_image(file, lambda image: self._item(image, box), max_pixels=self.source.max_pixels)
        except Exception as error:  # decoders raise anything
            return Unreadable(self.names[index], reason(error))

    def _item(self, image: Image.Image, box: Box | None) -> Tensor:
        if box is not None:
            image = image.crop(tuple(round(side) for side in box))  # type: ignore[arg-type]
        if self.longest is None:
            return self.source.prepare(image)
        whole = self.source.rgb(image)
        whole.thumbnail((self.longest, self.longest), Image.Resampling.LANCZOS)
        grey = np.array(whole.convert("L"))[..., None] if self.source.grey else np.array(whole)
        return torch.from_numpy(grey).permute(2, 0, 1).contiguous()


def _places(files: Files, names: tuple[str, ...], root: str) -> list[int]:
    """The file of each name."""
    by_stem: dict[str, list[int]] = {}
    for place, name in enumerate(files.names):
        by_stem.setdefault(composed(Path(name).stem), []).append(place)
    asked, names = names, tuple(map(composed, names))
    missing = [told for told, name in zip(asked, names) if name not in by_stem]
    if missing:
        raise FileNotFoundError(
            f"{root!r} lacks {len(missing)} of {len(names)} pictures that the ground truth names, {missing[0]!r} "
            "first: give the folder of all images, such as oxford5k/jpg."
        )
    for name in names:
        if len(by_stem[name]) > 1:
            several = " and ".join(files.names[place] for place in by_stem[name][:2])
            raise ValueError(f"{root!r} holds several pictures named {name!r}: {several}. Give the folder of one.")
    return [by_stem[name][0] for name in names]
