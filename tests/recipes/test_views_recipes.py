"""The experiments on views are those of the paper and of its code."""

from dataclasses import replace

import pytest
import torch

from unshuffle import recipes
from unshuffle.losses import GroupOrder, InfoNCE
from unshuffle.nets import Projector
from unshuffle.recipes import ViewsRecipe
from unshuffle.train.cosine import CosineLARS, CosineSGD
from unshuffle.types import Raw


def recipe(name: str) -> ViewsRecipe:
    made = recipes.ALL[name]()
    assert isinstance(made, ViewsRecipe)
    return made


SIZES = {"2views": [224] * 2, "3views": [224] * 3, "4views": [224] * 4, "multicrop": [224] * 2 + [96] * 6}


@pytest.mark.parametrize("kind", SIZES)
@pytest.mark.parametrize("method", ["groco", "simclr"])
def test_experiments_on_imagenet_differ_in_their_views_alone(method, kind):
    whole, made = recipe(f"{method}_imagenet_2views"), recipe(f"{method}_imagenet_{kind}")

    assert [view.crop.size for view in made.views.recipes] == SIZES[kind]
    assert made.views.positives == min(len(SIZES[kind]), 2 if kind == "multicrop" else 4)
    assert replace(made, views=whole.views) == whole


def test_groco_is_trained_as_the_paper_says():
    made = recipe("groco_imagenet_2views")

    assert made.loss == GroupOrder()
    assert (made.loss.inverse_temperature, made.loss.negatives.count, made.loss.negatives.views) == (1.0, 10, "all")
    assert made.loss.stop_gradient
    assert made.projector == Projector(2048, 2048, 3)
    assert (made.batch_size, made.epochs) == (1024, 100)
    assert isinstance(made.optim, CosineSGD)
    assert made.optim.peak(made.batch_size, made.epochs) == 24.0
    assert (made.optim.weight_decay, made.optim.momentum, made.optim.warmup) == (1e-6, 0.9, 10.0)
    assert made.views.recipes[0].crop.area == (0.14, 1.0)


def test_the_baseline_is_trained_as_its_configuration_says():
    made = recipe("simclr_imagenet_2views")

    assert made.loss == InfoNCE(temperature=0.1)
    assert made.projector == Projector(2048, 128, 3)
    assert isinstance(made.optim, CosineLARS)
    assert made.optim.peak(made.batch_size, made.epochs) == pytest.approx(2.4)
    assert (made.optim.weight_decay, made.optim.trust) == (1e-6, 1e-3)
    assert made.views.recipes[0].crop.area == (0.08, 1.0)


def test_the_network_of_the_experiments_has_two_thousand_features_and_as_many_in_a_projection():
    """ResNet-50, as large as torchvision's less its last layer, and a projector beside it."""
    net = recipe("groco_imagenet_2views").build((3, 320, 320)).net

    count = sum(parameter.numel() for parameter in net.backbone.parameters())
    assert count == 25_557_032 - (2048 * 1000 + 1000)
    assert [layer.out_features for layer in net.projector if isinstance(layer, torch.nn.Linear)] == [2048] * 3
    assert all(block[-1].bn3.weight.abs().max() == 0 for block in (net.backbone.layer1, net.backbone.layer4))


@pytest.mark.parametrize("name", ["groco_cifar10", "simclr_cifar10"])
def test_small_images_are_never_blurred(name):
    made = recipe(name)

    assert all(view.blur.chance == 0 for view in made.views.recipes)
    batch = made.views(Raw(torch.zeros(3, 3, 32, 32, dtype=torch.uint8), torch.arange(3)), torch.Generator())
    assert [tuple(view.shape) for view in batch.views] == [(3, 3, 32, 32)] * 2


@pytest.mark.errors
def test_values_that_make_no_sense_say_so():
    with pytest.raises(ValueError, match=r"ViewsRecipe: `parts` must be from 1 .*; got 0"):
        replace(recipes.groco(), parts=0)
    with pytest.raises(ValueError, match=r"ViewsRecipe: `knn_every` must be from 0 .*; got -1"):
        replace(recipes.groco(), knn_every=-1)
