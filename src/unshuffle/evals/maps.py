"""A 2-D map of an embedding: near points were near in the embedding too."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from sklearn.preprocessing import StandardScaler

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
    flat = StandardScaler().fit_transform(features[rows])
    flat = PCA(min(50, *flat.shape), random_state=seed).fit_transform(flat)
    perplexity = min(30.0, max(2.0, (len(rows) - 1) / 3))
    xy = (
        TSNE(perplexity=perplexity, init="pca", random_state=seed).fit_transform(flat) if len(rows) > 5 else flat[:, :2]
    )
    path = folder / "figures" / f"{name}.npz"
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(
        path,
        xy=xy.astype(np.float32),
        label=labels[rows],
        names=np.array(list(names), dtype=str),
        continuous=continuous,
    )
    caption = f"t-SNE of {len(rows)} held-out samples, coloured by {'value' if continuous else 'class'}."
    return Figure("map", path.name, title, caption)
