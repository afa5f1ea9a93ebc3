"""A 2-D map of an embedding: near points were near in the embedding too."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from sklearn.preprocessing import StandardScaler

from unshuffle.evals.pictures import write_arrays
from unshuffle.types import Figure


def map_figure(
    folder: Path,
    features: np.ndarray,
    labels: np.ndarray,
    *,
    name: str,
    title: str,
    names: Sequence[str] = (),
    continuous: bool = False,
    most: int = 500,
    seed: int = 0,
) -> Figure:
    """Writes ``figures/NAME.npz``: a t-SNE of at most ``most`` rows (van der Maaten & Hinton 2008), with their labels.

    Args:
        folder: the run's.
        features: (N, d).
        labels: (N,) integers, or values where ``continuous``.
        name: of the file.
        title: of the picture.
        names: of the classes.
        continuous: colour by value and not by class.
        most: rows drawn at random where there are more.
        seed: of that draw and of the layout.
    """
    rows = np.random.default_rng(seed).permutation(len(features))[:most]
    arrays = {
        "xy": _layout(features[rows], seed).astype(np.float32),
        "label": labels[rows],
        "names": np.array(list(names), dtype=str),
        "continuous": np.array(continuous),
    }
    caption = f"t-SNE of {len(rows)} held-out samples, coloured by {'value' if continuous else 'class'}."
    return Figure("map", write_arrays(folder, name, arrays), title, caption)


def _layout(features: np.ndarray, seed: int) -> np.ndarray:
    """Places (n, 2) for the rows of features (n, d); a handful of rows lies along its principal axes."""
    flat = StandardScaler().fit_transform(features)
    if not flat.any():  # one row, or a collapsed embedding: all in one place
        return np.zeros((len(flat), 2))
    flat = PCA(min(50, *flat.shape), random_state=seed).fit_transform(flat)
    if len(flat) <= 5 or flat.shape[1] == 1:
        return np.pad(flat, ((0, 0), (0, 1)))[:, :2]
    perplexity = min(30.0, max(2.0, (len(flat) - 1) / 3))
    return TSNE(perplexity=perplexity, init="pca", random_state=seed).fit_transform(flat)
