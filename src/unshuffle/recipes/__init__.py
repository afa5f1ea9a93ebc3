"""Recipes: one function per experiment, each returning a frozen value that says everything that decides the result.

``ALL`` maps the name that the command line knows to its function.
"""

from collections.abc import Callable

from unshuffle.recipes.order import OrderRecipe, order_digits
from unshuffle.recipes.shuffle import (
    ShuffleRecipe,
    shuffle,
    shuffle_imagenet_perturbed,
    shuffle_notes_fixed,
    shuffle_notes_mse,
    shuffle_notes_perturbed,
    shuffle_notes_sampled,
    shuffle_notes_soft,
)

AnyRecipe = ShuffleRecipe | OrderRecipe

ALL: dict[str, Callable[[], AnyRecipe]] = {
    function.__name__: function
    for function in (
        shuffle,
        shuffle_imagenet_perturbed,
        shuffle_notes_perturbed,
        shuffle_notes_sampled,
        shuffle_notes_soft,
        shuffle_notes_mse,
        shuffle_notes_fixed,
        order_digits,
    )
}

__all__ = [
    "ALL",
    "AnyRecipe",
    "OrderRecipe",
    "ShuffleRecipe",
    "order_digits",
    "shuffle",
    "shuffle_imagenet_perturbed",
    "shuffle_notes_fixed",
    "shuffle_notes_mse",
    "shuffle_notes_perturbed",
    "shuffle_notes_sampled",
    "shuffle_notes_soft",
]
