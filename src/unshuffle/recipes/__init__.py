"""Recipes: one function per experiment, each returning a frozen value that says everything that decides the result.

``ALL`` maps the name that the command line knows to its function. A user's recipe is a method, or method-modality
(``shuffle``, ``shuffle-audio``, ``shuffle-audio-grid``); a paper's, and the demo's, is method_data_variant, as written.
"""

from collections.abc import Callable

from unshuffle.recipes.array import shuffle_array
from unshuffle.recipes.audio import (
    shuffle_audio,
    shuffle_audio_grid,
    shuffle_audio_linear,
    shuffle_audio_time,
    shuffle_nsynth_fixed,
    shuffle_nsynth_grid,
    shuffle_nsynth_mse,
    shuffle_nsynth_perturbed,
    shuffle_nsynth_soft,
    shuffle_nsynth_time,
)
from unshuffle.recipes.order import OrderRecipe, order_digits
from unshuffle.recipes.shuffle import (
    ShuffleRecipe,
    shuffle,
    shuffle_imagenet_cfn2016,
    shuffle_imagenet_perturbed,
    shuffle_imagenet_resnet,
    shuffle_notes_fixed,
    shuffle_notes_mse,
    shuffle_notes_perturbed,
    shuffle_notes_sampled,
    shuffle_notes_soft,
    shuffle_resnet,
    shuffle_timm,
)
from unshuffle.recipes.video import (
    shuffle_ssv2_fixed,
    shuffle_ssv2_mse,
    shuffle_ssv2_perturbed,
    shuffle_ssv2_soft,
    shuffle_video,
)

AnyRecipe = ShuffleRecipe | OrderRecipe

_USERS = (
    shuffle,
    shuffle_resnet,
    shuffle_timm,
    shuffle_audio,
    shuffle_audio_time,
    shuffle_audio_grid,
    shuffle_audio_linear,
    shuffle_video,
    shuffle_array,
)
_EXPERIMENTS = (
    shuffle_imagenet_perturbed,
    shuffle_imagenet_cfn2016,
    shuffle_imagenet_resnet,
    shuffle_nsynth_perturbed,
    shuffle_nsynth_soft,
    shuffle_nsynth_mse,
    shuffle_nsynth_fixed,
    shuffle_nsynth_time,
    shuffle_nsynth_grid,
    shuffle_ssv2_perturbed,
    shuffle_ssv2_soft,
    shuffle_ssv2_mse,
    shuffle_ssv2_fixed,
    shuffle_notes_perturbed,
    shuffle_notes_sampled,
    shuffle_notes_soft,
    shuffle_notes_mse,
    shuffle_notes_fixed,
    order_digits,
)

ALL: dict[str, Callable[[], AnyRecipe]] = {function.__name__.replace("_", "-"): function for function in _USERS}
ALL |= {function.__name__: function for function in _EXPERIMENTS}

__all__ = [
    "ALL",
    "AnyRecipe",
    "OrderRecipe",
    "ShuffleRecipe",
    "order_digits",
    "shuffle",
    "shuffle_array",
    "shuffle_audio",
    "shuffle_audio_grid",
    "shuffle_audio_linear",
    "shuffle_audio_time",
    "shuffle_imagenet_cfn2016",
    "shuffle_imagenet_perturbed",
    "shuffle_imagenet_resnet",
    "shuffle_notes_fixed",
    "shuffle_notes_mse",
    "shuffle_notes_perturbed",
    "shuffle_notes_sampled",
    "shuffle_notes_soft",
    "shuffle_nsynth_fixed",
    "shuffle_nsynth_grid",
    "shuffle_nsynth_mse",
    "shuffle_nsynth_perturbed",
    "shuffle_nsynth_soft",
    "shuffle_nsynth_time",
    "shuffle_resnet",
    "shuffle_ssv2_fixed",
    "shuffle_ssv2_mse",
    "shuffle_ssv2_perturbed",
    "shuffle_ssv2_soft",
    "shuffle_timm",
    "shuffle_video",
]
