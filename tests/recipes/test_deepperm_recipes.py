"""The paper's settings, where they are stated, and those of its code where they are not."""

from dataclasses import replace

import pytest

from unshuffle import recipes
from unshuffle.losses import AuthorsSinkhorn, NaiveSigmoid, SinkhornCrossEntropy
from unshuffle.nets import CFN2016

IMAGENET = 1_281_167


def test_the_papers_recipe_has_its_patches_steps_and_rates():
    recipe = recipes.deepperm_imagenet_sinkhorn()
    total = IMAGENET // recipe.batch_size * recipe.epochs

    assert (recipe.batch_size, recipe.backbone) == (256, CFN2016())
    assert recipe.patches.patch_shape(recipe.source.item_shape) == (3, 64, 64)
    assert total == pytest.approx(400_000, rel=2e-3)
    assert [recipe.optim.rate(step, total) for step in (0, 99_000, 101_000, 399_000)] == pytest.approx(
        [1e-3, 1e-3, 1e-4, 1e-6]
    )


def test_the_authors_patches_move_by_up_to_eleven_pixels_in_cells_of_75():
    patches = recipes.deepperm_imagenet_sinkhorn().patches

    assert (patches.gap, 225 // patches.columns, patches.jitter, patches.normalize) == (11, 75, True, False)


def test_the_users_recipe_cuts_images_of_128_pixels():
    """Into nine cells of 42 and, as its text says, sixteen of 32."""
    recipe = recipes.deepperm()
    finer = type(recipe.patches)(4, 4, gap=4)

    assert recipe.patches.patch_shape(recipe.source.item_shape) == (3, 36, 36)
    assert finer.patch_shape(recipe.source.item_shape) == (3, 28, 28)


@pytest.mark.parametrize("name", ["deepperm_osr_sinkhorn", "deepperm_pubfig_sinkhorn"])
def test_relative_attributes_have_the_papers_sequences_crops_steps_and_rates(name):
    """240 images to train on make 30 sequences of eight a step, where the paper has 32."""
    recipe = recipes.ALL[name]()

    assert (recipe.length, recipe.batch_size // recipe.length, recipe.epochs) == (8, 30, 25_000)
    assert recipe.jitter.shape(recipe.source.item_shape) == (3, 227, 227)
    assert recipe.optim.lr * recipe.optim.backbone_rate == pytest.approx(1e-5)
    assert [recipe.optim.rate(step, 25_000) for step in (9_999, 10_001, 20_001)] == pytest.approx([1e-4, 1e-5, 1e-6])


@pytest.mark.parametrize("data", ["osr", "pubfig"])
def test_layers_on_sequences_are_compared_alike(data):
    ours, authors, naive = (recipes.ALL[f"deepperm_{data}_{name}"]() for name in ("sinkhorn", "authors", "naive"))

    assert replace(authors, loss=ours.loss) == replace(naive, loss=ours.loss) == ours
    assert len({type(r.loss) for r in (ours, authors, naive)}) == 3


def test_the_papers_comparison_differs_in_the_layer_alone():
    ours, authors, naive = (recipes.ALL[f"deepperm_imagenet_{name}"]() for name in ("sinkhorn", "authors", "naive"))

    assert [type(r.loss) for r in (ours, authors, naive)] == [SinkhornCrossEntropy, AuthorsSinkhorn, NaiveSigmoid]
    assert replace(authors, loss=ours.loss) == replace(naive, loss=ours.loss) == ours
