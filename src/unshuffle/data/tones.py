"""Heavier changes of brightness before views are made: equalised, stretched or sharpened, as Pillow does them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from unshuffle._ranges import Fraction, NonNegative
from unshuffle.data.views import MultiView
from unshuffle.types import Raw, Views
from unshuffle.values import register

LEVELS = 256
SMOOTH = ((1, 1, 1), (1, 5, 1), (1, 1, 1))
"""Pillow's, of which the sum is 13."""


@register
@dataclass(frozen=True)
class Tone:
    """One of three changes, each alike likely: equalised, stretched to the full range, or sharpened.

    Source: SeLa, appendix A.1, "+ more aug.": randomly one of equalize, autocontrast and sharpening. How often and how
    strongly, the paper does not say.
    """

    chance: Fraction = 0.5
    """How often any of them happens."""
    sharpness: NonNegative = 2.0
    """Of a sharpened picture: 1 is none, 2 doubles what smoothing would take away."""

    def draw(self, count: int, generator: torch.Generator) -> Int[Tensor, "count"]:
        """Which change each picture gets, 0, 1 or 2, as above; -1 for none."""
        happens, which = torch.rand(2, count, generator=generator, device=generator.device)
        return torch.where(happens < self.chance, (3 * which).long(), -1)

    def apply(self, images: UInt8[Tensor, "batch c h w"], which: Int[Tensor, "batch"]) -> UInt8[Tensor, "batch c h w"]:
        """The pictures with their changes; those of -1 as they are."""
        images, which = images.clone(), which.to(images.device)
        for kind, change in enumerate((equalised, stretched, self._sharpened)):
            rows = (which == kind).nonzero()[:, 0]
            if len(rows):
                images[rows] = change(images[rows])
        return images

    def _sharpened(self, images: Tensor) -> Tensor:
        return sharpened(images, self.sharpness)


@register
@dataclass(frozen=True)
class TonedViews:
    """Views of images whose tone was changed first."""

    views: MultiView
    """How an image is changed then."""
    tone: Tone = Tone()
    """What happens before."""

    def shape(self, item_shape: tuple[int, ...]) -> tuple[int, int, int]:
        """Shape of the first view of an image (C, H, W): a tone changes no size."""
        return self.views.shape(item_shape)

    def __call__(self, raw: Raw, generator: torch.Generator) -> Views:
        """All views of a batch of bytes, drawn from ``generator``."""
        items = self.tone.apply(raw.items, self.tone.draw(len(raw.items), generator))
        return self.views(raw._replace(items=items), generator)

    def prepare(self, items: UInt8[Tensor, "batch c h w"]) -> Float[Tensor, "batch c size size"]:
        """The deterministic form: nothing is changed."""
        return self.views.prepare(items)


def equalised(images: UInt8[Tensor, "batch c h w"]) -> UInt8[Tensor, "batch c h w"]:
    """Levels of each channel moved so that all are about alike frequent: Pillow's ``ImageOps.equalize``."""
    levels = images.flatten(2).long()
    count, channels = levels.shape[:2]
    which = torch.arange(count * channels, device=images.device).view(count, channels, 1)
    counts = torch.bincount((which * LEVELS + levels).flatten(), minlength=count * channels * LEVELS)
    counts = counts.view(count, channels, LEVELS)
    highest = counts.gather(2, levels.amax(2, keepdim=True))
    step = (counts.sum(2, keepdim=True) - highest) // (LEVELS - 1)
    moved = ((step // 2 + counts.cumsum(2) - counts) // step.clamp(min=1)).clamp(max=LEVELS - 1)
    table = torch.where(step > 0, moved, torch.arange(LEVELS, device=images.device))
    return table.gather(2, levels).view(images.shape).to(torch.uint8)


def stretched(images: UInt8[Tensor, "batch c h w"]) -> UInt8[Tensor, "batch c h w"]:
    """Each channel from its least to its greatest level drawn out to 0 to 255: Pillow's ``ImageOps.autocontrast``."""
    numbers = images.double()
    least, most = numbers.amin((2, 3), keepdim=True), numbers.amax((2, 3), keepdim=True)
    scale = (LEVELS - 1) / (most - least).clamp(min=1)
    drawn_out = (numbers * scale - least * scale).clamp(0, LEVELS - 1).floor()
    return torch.where(most > least, drawn_out, numbers).to(torch.uint8)


def sharpened(images: UInt8[Tensor, "batch c h w"], factor: float) -> UInt8[Tensor, "batch c h w"]:
    """What smoothing takes away, times a factor: Pillow's ``ImageEnhance.Sharpness``, within a level.

    The outermost pixels stay as they are, as they do there.
    """
    numbers = images.float()
    smooth = numbers.clone()
    if min(images.shape[-2:]) > 2:
        kernel = torch.tensor(SMOOTH, dtype=torch.float32, device=images.device) / 13
        inner = torch.nn.functional.conv2d(numbers.flatten(0, 1).unsqueeze(1), kernel[None, None])
        smooth[..., 1:-1, 1:-1] = (inner + 0.5).floor().view(*images.shape[:2], *inner.shape[-2:])
    return (smooth + factor * (numbers - smooth)).clamp(0, LEVELS - 1).to(torch.uint8)
