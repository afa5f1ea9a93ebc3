"""Tones are those of Pillow."""

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps

from unshuffle.data.tones import Tone, TonedViews, equalised, sharpened, stretched
from unshuffle.data.views import simclr_views
from unshuffle.types import Raw


def pictures() -> torch.Tensor:
    """Dull ones, bright ones, a flat one, one of two levels, in three channels of different ranges."""
    rng = np.random.default_rng(0)
    drawn = np.stack(
        [rng.normal(mean, spread, (3, 20, 17)) for mean, spread in ((90, 20), (200, 60), (30, 5), (128, 80))]
    )
    made = torch.from_numpy(drawn.clip(0, 255).astype(np.uint8))
    made[2, 0] = 77
    made[3, 1] = torch.where(made[3, 1] > 128, 200, 40)
    return made


def by_pillow(change) -> torch.Tensor:
    ready = [change(Image.fromarray(image.permute(1, 2, 0).numpy())) for image in pictures()]
    return torch.stack([torch.from_numpy(np.array(image)).permute(2, 0, 1) for image in ready])


def test_equalised_pictures_are_pillows():
    assert equalised(pictures()).equal(by_pillow(ImageOps.equalize))


def test_stretched_pictures_are_pillows():
    difference = stretched(pictures()).int() - by_pillow(ImageOps.autocontrast).int()
    assert difference.abs().max() <= 1  # its table rounds products of doubles in another order
    assert (difference == 0).float().mean() > 0.98


@pytest.mark.parametrize("factor", [0.0, 0.5, 1.0, 2.0])
def test_sharpened_pictures_are_pillows_within_a_level(factor):
    theirs = by_pillow(lambda image: ImageEnhance.Sharpness(image).enhance(factor))

    assert (sharpened(pictures(), factor).int() - theirs.int()).abs().max() <= 1


def test_changes_come_as_often_as_asked():
    drawn = Tone(0.6).draw(6000, torch.Generator().manual_seed(0))

    shares = torch.tensor([(drawn == kind).float().mean() for kind in (-1, 0, 1, 2)])
    torch.testing.assert_close(shares, torch.tensor([0.4, 0.2, 0.2, 0.2]), atol=0.02, rtol=0)


def test_each_picture_has_its_own_change():
    changed = Tone().apply(pictures(), torch.tensor([-1, 0, 1, 2]))

    assert changed[0].equal(pictures()[0])
    assert changed[1].equal(equalised(pictures())[1])
    assert changed[2].equal(stretched(pictures())[2])
    assert changed[3].equal(sharpened(pictures(), 2.0)[3])


def test_views_are_made_of_changed_pictures_and_embeddings_are_not():
    views, raw = simclr_views(16, 1), Raw(pictures()[..., :16, :16], torch.arange(4))
    toned = TonedViews(views, Tone(1.0))

    made = toned(raw, torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(0)
    which = Tone(1.0).draw(4, generator)

    assert made.views[0].equal(views(raw._replace(items=Tone().apply(raw.items, which)), generator).views[0])
    assert toned.prepare(raw.items).equal(views.prepare(raw.items))
    assert toned.shape((3, 20, 17)) == views.shape((3, 20, 17)) == made.views[0].shape[1:]
