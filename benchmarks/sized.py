"""How large cells of images are: the usual size, and others that have theirs in their names."""

from __future__ import annotations

import argparse
from typing import NamedTuple


class Size(NamedTuple):
    """How large the cells are, and what they run on."""

    images: int
    asked: int
    epochs: int
    width: int
    device: str = "cpu"
    precision: str = "bf16-mixed"

    def mark(self, usual: Size) -> str:
        """What a cell's name has at its end; nothing at the usual size."""
        if self[:4] == usual[:4]:
            return ""
        return f" @ {self.images} images, {self.epochs} epochs, width {self.width}"


def options(parser: argparse.ArgumentParser, usual: Size, *, width: str) -> None:
    """The options that say a size; ``width`` is told of one of them."""
    parser.add_argument("--images", type=int, default=usual.images, help="to learn from, without and with labels")
    parser.add_argument("--asked", type=int, default=usual.asked, help="images that are classified")
    parser.add_argument("--epochs", type=int, default=usual.epochs)
    parser.add_argument("--width", type=int, default=usual.width, help=width)
    parser.add_argument("--device", default=usual.device)
    parser.add_argument("--precision", default=usual.precision, help="32-true where the machine is slow in bfloat16")


def given(arguments: argparse.Namespace) -> Size:
    """The size that the options say."""
    return Size(*(getattr(arguments, name) for name in Size._fields))
