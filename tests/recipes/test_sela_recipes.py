"""The experiments of self-labelling and of its baselines are set as the papers say."""

from __future__ import annotations

import pytest

from unshuffle import recipes
from unshuffle.methods import Balanced, Clustered
from unshuffle.train.milestones import StepSGD


def drops(recipe) -> list[int]:
    """Epochs after which the rate falls."""
    rates = [recipe.optim.rate(epoch, recipe.epochs) for epoch in range(recipe.epochs)]
    return [epoch for epoch in range(1, recipe.epochs) if rates[epoch] < rates[epoch - 1]]


def test_alexnet_learns_imagenet_as_the_paper_says():
    recipe = recipes.sela_imagenet_alexnet()

    assert recipe.classes == (3000,) * 10
    assert (recipe.epochs, recipe.batch_size, recipe.optim.lr, drops(recipe)) == (400, 256, 0.05, [150, 300, 350])
    assert recipe.labelling.power == 25
    assert recipe.rounds.count == 100
    assert recipe.hidden == (4096, 4096)
    assert not recipe.mean_of_heads


def test_cifar_is_learnt_as_the_code_does():
    recipe = recipes.sela_cifar10()

    assert recipe.classes == (128,) * 10
    assert (recipe.epochs, recipe.batch_size, recipe.optim.lr, drops(recipe)) == (400, 128, 0.03, [160, 240, 320])
    assert isinstance(recipe.labelling, Balanced)
    assert recipe.labelling.power == 10
    assert (recipe.rounds.count, recipe.rounds.spacing, recipe.rounds.in_turn) == (400, "even", True)


@pytest.mark.parametrize("name", ["", "_cifar10", "_imagenet_alexnet"])
def test_the_baseline_differs_in_labels_and_keeps_its_rate(name):
    """Its head begins anew after each round, which a rate that has fallen would not teach."""
    ours, baseline = getattr(recipes, f"sela{name}")(), getattr(recipes, f"kmeans{name}")()

    assert isinstance(baseline.labelling, Clustered)
    assert len(baseline.classes) == 1
    assert isinstance(baseline.optim, StepSGD)
    assert (drops(baseline), baseline.optim.lr) == ([], ours.optim.lr)
    for same in ("source", "views", "backbone", "hidden", "dropout", "batch_size", "epochs"):
        assert getattr(baseline, same) == getattr(ours, same)


def test_labels_of_another_network_are_learnt_for_ninety_epochs():
    recipe = recipes.supervised_imagenet_alexnet()

    assert (recipe.epochs, recipe.optim.lr, recipe.rotations, recipe.tone.chance) == (90, 0.05, False, 0.0)
    assert recipes.supervised_imagenet_alexnet_rot().rotations
    assert recipes.supervised_imagenet_alexnet_rot_more().tone.chance == 0.5
