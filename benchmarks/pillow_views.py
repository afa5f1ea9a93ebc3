"""The pipeline of SimCLR's and DINO's views in Pillow, image by image, as torchvision calls it; the draws are given."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image, ImageEnhance, ImageFilter, ImageOps
from torch import Tensor

from unshuffle.data.draws import Draws

ENHANCERS = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)
HUE = 3


class Numbers:
    """The draws of a batch as plain numbers, which Pillow takes."""

    def __init__(self, draws: Draws) -> None:
        self.boxes = list(zip(*(part.tolist() for part in draws.boxes)))
        self.factors, self.orders, self.changed = (part.tolist() for part in draws.colours)
        self.grey, self.sigma, self.solarised = (part.tolist() for part in draws[2:])


def picture(pixels: Tensor) -> Image.Image:
    """Pixels (C, H, W) as Pillow's image."""
    return Image.fromarray(pixels.permute(1, 2, 0).squeeze(-1).numpy())


def view(image: Image.Image, drawn: Numbers, k: int, size: int) -> Image.Image:
    """Image k of a batch, changed as was drawn for it."""
    image = recoloured(cropped(image, drawn, k, size), drawn, k)
    if drawn.grey[k] and image.mode == "RGB":
        image = image.convert("L").convert("RGB")
    if drawn.sigma[k] > 0:
        image = image.filter(ImageFilter.GaussianBlur(drawn.sigma[k]))
    return ImageOps.solarize(image, threshold=128) if drawn.solarised[k] else image


def cropped(image: Image.Image, drawn: Numbers, k: int, size: int) -> Image.Image:
    """The crop, scaled; perhaps its mirror image."""
    top, left, height, width, mirrored = drawn.boxes[k]
    image = image.crop((left, top, left + width, top + height)).resize((size, size), Image.Resampling.BICUBIC)
    return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if mirrored else image


def recoloured(image: Image.Image, drawn: Numbers, k: int) -> Image.Image:
    """ColorJitter: four changes in the order drawn."""
    if not drawn.changed[k]:
        return image
    for which in drawn.orders[k]:
        factor = drawn.factors[k][which]
        image = turned(image, factor) if which == HUE else ENHANCERS[which](image).enhance(factor)
    return image


def turned(image: Image.Image, turns: float) -> Image.Image:
    """torchvision's adjust_hue: bytes of hue, which wrap around."""
    if image.mode == "L":
        return image
    hue, saturation, value = image.convert("HSV").split()
    moved = np.array(hue, dtype=np.uint8)
    moved += np.array(int(turns * 255) % 256, dtype=np.uint8)
    return Image.merge("HSV", (Image.fromarray(moved), saturation, value)).convert("RGB")


def normalised(image: Image.Image, mean: Tensor, std: Tensor) -> Tensor:
    """ToTensor and Normalize."""
    pixels = torch.from_numpy(np.array(image))
    return pixels.permute(2, 0, 1).contiguous().float().div(255).sub_(mean).div_(std)
