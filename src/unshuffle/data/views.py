"""Views of an image: crops that were mirrored, recoloured, greyed, blurred and solarised by chance.

Whole batches of bytes are changed at once, where they lie, and each image in its own way. What happens is drawn first
(:meth:`View.draw`), as numbers that any other implementation can be given too, and then done
(:func:`unshuffle.data.draws.made`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from unshuffle._ranges import Few, Finite, Fraction, Positive
from unshuffle.data import _native
from unshuffle.data.blur import Blur
from unshuffle.data.colour import ColourJitter
from unshuffle.data.crops import Crop
from unshuffle.data.draws import Draws, joined, made, made_in_c
from unshuffle.data.patching import image_shape
from unshuffle.data.resample import filtered, scaling
from unshuffle.types import Raw, Views
from unshuffle.values import register

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
AT_ONCE = (1 << 28, 1 << 19)
"""Values of views that are computed at a time: as many as fit, and on a CPU as many as its cache is good for."""
SHORT_SIDE = 256 / 224  # of an image of which the middle is taken, in sides of that


@register
@dataclass(frozen=True)
class View:
    """How one view of an image is made, in this order.

    Source: SimCLR (Chen et al. 2020), appendix A; DINO (Caron et al. 2021), section 3.2 and its code.
    """

    crop: Crop = Crop()
    """Which part of it."""
    jitter: ColourJitter = ColourJitter()
    """How its colours change."""
    grey: Fraction = 0.2
    """How often it loses its colours."""
    blur: Blur = Blur()
    """How it is blurred."""
    solarise: Fraction = 0.0
    """How often the upper half of the brightnesses of each channel is turned into a negative."""

    def draw(self, count: int, height: int, width: int, generator: torch.Generator) -> Draws:
        """What happens to ``count`` images of this size, each on its own."""
        boxes = self.crop.draw(count, height, width, generator)
        colours = self.jitter.draw(count, generator)
        uniform = torch.rand(2, count, generator=generator, device=generator.device)
        sigma = self.blur.draw(count, generator)
        return Draws(boxes, colours, uniform[0] < self.grey, sigma, uniform[1] < self.solarise)


@register
@dataclass(frozen=True)
class MultiView:
    """Several views of every image, normalised; those that may be positives first."""

    recipes: tuple[View, ...]
    """How each is made; several may be alike."""
    positives: Few
    """How many of them, from the first on, may be positives of the others: the global ones."""
    mean: tuple[Finite, ...] = IMAGENET_MEAN
    """What is subtracted from pixels from 0 to 1, one number a channel."""
    std: tuple[Positive, ...] = IMAGENET_STD
    """What they are divided by then."""

    def __post_init__(self) -> None:
        if not 1 <= self.positives <= len(self.recipes):
            raise ValueError(
                f"MultiView: `positives` must be from 1 to {len(self.recipes)}, the number of views; "
                f"got {self.positives}."
            )
        if len(self.mean) != len(self.std):
            raise ValueError(f"MultiView: `mean` and `std` must be of one length; got {self.mean} and {self.std}.")

    @property
    def views(self) -> int:
        """How many views an image has."""
        return len(self.recipes)

    def shape(self, item_shape: tuple[int, ...]) -> tuple[int, int, int]:
        """Shape of the first view of an image (C, H, W), which is also that of the deterministic form.

        Raises:
            ValueError: it is no image, or has another number of channels than there are means.
        """
        channels, _, _ = image_shape("MultiView", item_shape)
        if channels not in (1, 3) or channels != len(self.mean):
            raise ValueError(
                f"MultiView: images must have {len(self.mean)} channels (1 or 3), one for each `mean`; got {channels}."
            )
        return channels, self.recipes[0].crop.size, self.recipes[0].crop.size

    @torch.no_grad()
    def __call__(self, raw: Raw, generator: torch.Generator) -> Views:
        """All views of a batch of bytes (B, C, H, W), drawn from ``generator``, which need not be on its device."""
        self._refuse(raw.items)
        count, height, width = len(raw.items), *raw.items.shape[-2:]
        drawn = [recipe.draw(count, height, width, generator) for recipe in self.recipes]
        views: list[Tensor] = []
        for size, alike in groupby(zip(self.recipes, drawn), key=lambda pair: pair[0].crop.size):
            views += self._together(raw.items, [draws for _, draws in alike], size)
        return Views(tuple(views), raw.index, raw.label)

    def _together(self, items: Tensor, drawn: list[Draws], size: int) -> Sequence[Tensor]:
        """Several views of one size: what a call costs is paid once, and on a CPU a part fits its cache."""
        draws, count = joined(drawn), len(items) * len(drawn)
        if _native.takes(items):
            return made_in_c(items, draws, size, *self._line()).tensor_split(len(drawn))
        views = torch.empty(count, items.shape[1], size, size, device=items.device)
        source = torch.arange(len(items), device=items.device).repeat(len(drawn))
        step = max(1, AT_ONCE[items.device.type == "cpu"] // (items.shape[1] * size * size))
        for begin in range(0, count, step):
            rows = slice(begin, begin + step)
            part = made(items.index_select(0, source[rows]), draws.of(rows), size)
            self._normalise(part, out=views[rows])
        return views.tensor_split(len(drawn))

    @torch.no_grad()
    def prepare(self, items: UInt8[Tensor, "batch c h w"]) -> Float[Tensor, "batch c size size"]:
        """The deterministic form: the middle of the image, whose short side is 256/224 of it; small ones as they are.

        An image that has the size of a view is normalised and nothing else.
        """
        self._refuse(items)
        size = self.recipes[0].crop.size
        images = items.float()
        if images.shape[-2:] != (size, size):
            images = _middle(_scaled(images, round(SHORT_SIDE * size)), size)
        return self._normalise(images, out=images)

    def plain(self, raw: Raw) -> Views:
        """The deterministic form of a batch: one view of each image."""
        return Views((self.prepare(raw.items),), raw.index, raw.label)

    def _refuse(self, items: Tensor) -> None:
        if items.dtype != torch.uint8:
            raise TypeError(f"MultiView: `items` must be pixels from 0 to 255 in uint8; got {items.dtype}.")
        self.shape(tuple(items.shape[1:]))

    def _normalise(self, images: Tensor, *, out: Tensor) -> Tensor:
        offset, scale = (numbers.to(images.device)[:, None, None] for numbers in self._line())
        return torch.sub(images, offset, out=out).mul_(scale)

    def _line(self) -> tuple[Tensor, Tensor]:
        """What is subtracted from levels from 0 to 255, and what the rest is multiplied by, for each channel."""
        return 255 * torch.tensor(self.mean), 1 / (255 * torch.tensor(self.std))


def _scaled(images: Tensor, short: int) -> Tensor:
    """Images with a short side of so many pixels."""
    height, width = images.shape[-2:]
    factor = short / min(height, width)
    size = (short, int(width * factor)) if height < width else (int(height * factor), short)
    whole = torch.zeros(2, len(images), dtype=torch.long, device=images.device)
    columns = scaling(whole[0], whole[1] + width, width, size[1])
    rows = scaling(whole[0], whole[1] + height, height, size[0])
    return filtered(images, rows, columns, clip=255)


def _middle(images: Tensor, size: int) -> Tensor:
    top, left = (round((length - size) / 2) for length in images.shape[-2:])
    return images[..., top : top + size, left : left + size]


def simclr_views(size: int = 224, views: int = 2, *, strength: float = 1.0, blur: float = 0.5) -> MultiView:
    """SimCLR's views: all drawn alike.

    Args:
        size: pixels a side.
        views: how many.
        strength: of the changes of colour; SimCLR has 1 on ImageNet and 0.5 on CIFAR-10.
        blur: how often views are blurred; SimCLR has 0.5 on ImageNet and 0 on CIFAR-10.

    Example:
        >>> simclr_views(32, 3).views
        3

    Source: Chen et al., "A Simple Framework for Contrastive Learning of Visual Representations", ICML 2020, appendix A
    and B.9.
    """
    jitter = ColourJitter(0.8 * strength, 0.8 * strength, 0.8 * strength, 0.2 * strength)
    view = View(Crop(size, area=(0.08, 1.0)), jitter, blur=Blur(blur))
    return MultiView((view,) * views, positives=views)


def dino_views(size: int = 224, views: int = 2) -> MultiView:
    """DINO's views as GroCo takes them: by turns always blurred, and seldom blurred but solarised at times.

    Args:
        size: pixels a side.
        views: how many.

    Example:
        >>> [view.blur.chance for view in dino_views(views=3).recipes]
        [1.0, 0.1, 1.0]

    Source: Shvetsova et al., "Learning by Sorting", 2023, section 4.1 and appendix; Caron et al., "Emerging
    Properties in Self-Supervised Vision Transformers", ICCV 2021.
    """
    crop = Crop(size, area=(0.14, 1.0))
    pair = View(crop, blur=Blur(1.0)), View(crop, blur=Blur(0.1), solarise=0.2)
    return MultiView(tuple(pair[number % 2] for number in range(views)), positives=views)


def dino_multi_crop(size: int = 224, small: int = 96, *, views: int = 2, crops: int = 6) -> MultiView:
    """DINO's views, which are the positives, and small crops of small parts: 2 x 224 and 6 x 96 pixels.

    Args:
        size: pixels a side of the global views.
        small: pixels a side of the others.
        views: how many global ones.
        crops: how many others.

    Example:
        >>> many = dino_multi_crop()
        >>> many.views, many.positives
        (8, 2)

    Source: as :func:`dino_views`; the crops are SwAV's (Caron et al. 2020).
    """
    local = View(Crop(small, area=(0.05, 0.14)), blur=Blur(0.5))
    pair = dino_views(size, views)
    return MultiView(pair.recipes + (local,) * crops, positives=views)
