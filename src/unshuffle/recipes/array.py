"""Recipes of Shuffle to Learn for arrays: slices along any axis."""

from __future__ import annotations

from unshuffle.data.series import Series
from unshuffle.data.slices import Slices
from unshuffle.recipes.shuffle import ShuffleRecipe
from unshuffle.train.optim import AdamW


def shuffle_array() -> ShuffleRecipe:
    """Shuffle to Learn on arrays (.npy, .npz, Parquet columns of lists): slices along time, or any other axis.

    Run:   unshuffle train shuffle-array --data series.npz --patches.axis time --out runs/a
    """
    return ShuffleRecipe(source=Series(), patches=Slices("time"), dropout=0.2, optim=AdamW(lr=1e-3), epochs=50)
