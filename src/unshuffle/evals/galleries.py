"""What each pseudo-class holds: pictures of some of its samples, with the classes that these really are of."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, Num
from torch.utils.data import Dataset

from unshuffle.evals.clustering import cluster_entropies, commonest, contingency
from unshuffle.evals.neighbourhoods import pictures_of
from unshuffle.evals.pictures import write_arrays
from unshuffle.evals.unlabelled import tightness
from unshuffle.types import Figure

LEAST = 3
"""Samples of a pseudo-class that is chosen for what it holds: a single one is always pure, and close to itself."""


class PseudoClasses(NamedTuple):
    """The pseudo-classes in use, ascending: their numbers, sizes, and what tells how alike their samples are.

    ``entropy`` (in nats), ``top`` (the commonest class) and ``share`` (of that class) are NaN and -1 where the classes
    are not known; ``tight`` is the mean cosine similarity of two samples, NaN where it was not measured. All (R,).
    """

    number: Int[np.ndarray, "R"]
    size: Int[np.ndarray, "R"]
    entropy: Float[np.ndarray, "R"]
    top: Int[np.ndarray, "R"]
    share: Float[np.ndarray, "R"]
    tight: Float[np.ndarray, "R"]

    def purest(self, count: int) -> Int[np.ndarray, "k"]:
        """Numbers of those of the lowest entropy, or, where classes are not known, of the most alike samples."""
        score = -self.tight if np.isnan(self.entropy).all() else self.entropy
        order = np.argsort(np.where(self.size >= LEAST, score, np.inf), kind="stable")
        return self.number[order[:count]]

    def as_alike_as(self, others: PseudoClasses) -> PseudoClasses:
        """These, as tight as those of the same numbers among others; NaN where there is none."""
        tight = dict(zip(others.number.tolist(), others.tight.tolist()))
        return self._replace(tight=np.array([tight.get(number, np.nan) for number in self.number.tolist()]))

    def drawn(self, count: int, *, seed: int = 0) -> Int[np.ndarray, "k"]:
        """Numbers of some, drawn at random, ascending."""
        return np.sort(np.random.default_rng(seed).permutation(self.number)[:count])


def pseudo_classes(
    labels: Int[np.ndarray, "n"],
    *,
    truth: Int[np.ndarray, "n"] | None = None,
    features: Num[np.ndarray, "n d"] | None = None,
) -> PseudoClasses:
    """Describes the pseudo-classes of some samples.

    Args:
        labels: (n,) pseudo-classes.
        truth: (n,) classes, where they are known.
        features: (n, d), to tell how alike the samples of a pseudo-class are; not needed where classes are known.

    Raises:
        ValueError: the shapes do not fit, or there are no samples.
    """
    number, size = np.unique(labels, return_counts=True)
    nothing = np.full(len(number), np.nan)
    tight = nothing if features is None else tightness(features, labels)
    if truth is None:
        return PseudoClasses(number, size, nothing, np.full(len(number), -1), nothing, tight)
    table = contingency(labels, truth)
    return PseudoClasses(number, size, cluster_entropies(table), *commonest(table), tight)


def gallery_figure(
    folder: Path,
    dataset: Dataset,
    labels: Int[np.ndarray, "n"],
    chosen: Sequence[int] | np.ndarray,
    *,
    index: Int[np.ndarray, "n"],
    about: PseudoClasses,
    name: str,
    title: str,
    truth: Int[np.ndarray, "n"] | None = None,
    classes: Sequence[str] = (),
    shown: int = 9,
    seed: int = 0,
) -> Figure:
    """Writes ``figures/NAME.npz``: some samples of each chosen pseudo-class, drawn at random.

    Args:
        folder: the run's.
        dataset: of pictures, the whole or a part of it.
        labels: (n,) pseudo-classes.
        chosen: numbers of those to show.
        index: (n,) which samples of the whole data set the labels are of.
        about: what the titles tell of them.
        name: of the file.
        title: of the picture.
        truth: (n,) classes, where they are known: the colours of the frames.
        classes: their names.
        shown: samples of each pseudo-class, at the most.
        seed: of the draw.

    Source: SeLa, figures A.5 to A.8.
    """
    rng = np.random.default_rng(seed)
    rows = [rng.permutation(np.flatnonzero(labels == number))[:shown] for number in chosen]
    there = np.arange(shown) < np.array([len(part) for part in rows])[:, None]
    flat = np.concatenate(rows)
    pictures, readable = pictures_of(dataset, index[flat])
    images = np.zeros((*there.shape, *pictures.shape[1:]), np.float32)
    images[there] = pictures
    known = np.full(there.shape, -1, np.int64)
    if truth is not None:
        known[there] = truth[flat]
    there[there] = readable
    arrays = {
        "images": images,
        "there": there,
        "label": known,
        "titles": np.array([_title(about, number, classes) for number in chosen], dtype=str),
        "names": np.array([str(name) for name in classes], dtype=str),
    }
    frames = "" if truth is None else " A frame's colour is the true class, which training did not see."
    told = "how alike they are" if truth is None else "the entropy of their true classes, and the commonest of these"
    caption = f"Up to {shown} samples of each, drawn at random; above: its number, how many it holds, {told}.{frames}"
    return Figure("gallery", write_arrays(folder, name, arrays), title, caption)


def _title(about: PseudoClasses, number: int, classes: Sequence[str]) -> str:
    """The number of a pseudo-class and its size; in a second line what is known of it."""
    (row,) = np.flatnonzero(about.number == number)
    size = int(about.size[row])
    told = [f"{number}: {size:,} sample{'s'[: size != 1]}"]
    if not np.isnan(about.entropy[row]):
        top = int(about.top[row])
        name = classes[top] if 0 <= top < len(classes) else str(top)
        told.append(f"{about.entropy[row]:.2f} nats, {about.share[row]:.0%} {name}")
    elif not np.isnan(about.tight[row]):
        told.append(f"mean cosine {about.tight[row]:.2f}")
    return "\n".join(told)
