"""Any number of images in the order that an encoder has learnt, weak to strong."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, cast

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Subset

from unshuffle import permutations
from unshuffle.data.loaders import SkipLog
from unshuffle.data.sets import OrderedSets
from unshuffle.evals.embed import embed_dataset
from unshuffle.evals.encoder import Encoder
from unshuffle.evals.fits import purpose
from unshuffle.evals.judge import spread_items
from unshuffle.evals.merging import Judge, Merged, chances, merge
from unshuffle.evals.saliency import saliency, smoothed
from unshuffle.evals.sets import item_scores
from unshuffle.losses import MatrixObjective
from unshuffle.nets import ItemScorer
from unshuffle.nets.siamese import Siamese

_WINDOWS_AT_ONCE = 512


class Ordered(NamedTuple):
    """Samples weak to strong: (N,) their places in the data set, (N,) their scores, which rise.

    ``how`` says in a sentence what the scores are.
    """

    index: np.ndarray  # pyright: ignore[reportIncompatibleMethodOverride]  (tuple.index is not missed)
    scores: np.ndarray
    how: str


def put_in_order(
    encoder: Encoder,
    dataset: Dataset,
    *,
    seed: int = 0,
    batch_size: int = 256,
    workers: int = 0,
    skipped: SkipLog | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Ordered:
    """Orders all samples of a data set, however many; equal ones stand as they do in the data set.

    An encoder that scores single items is asked for each once. One that orders sequences of a fixed length is asked
    about windows of that length, which are merged (:func:`~unshuffle.evals.merging.merge`); every image goes through
    the branches once.

    Args:
        encoder: trained on ordered sets.
        dataset: gives items, or (item, label) pairs, of which labels are not looked at.
        seed: of the windows.
        batch_size: samples at a time.
        workers: processes that read samples.
        skipped: counts unreadable samples.
        progress: called with (done, total) while samples are read.

    Raises:
        ValueError: the encoder was trained on something else, or not one sample can be read.
    """
    refuse_others(encoder)
    scored = isinstance(encoder.net, ItemScorer)

    def seen(items: Tensor) -> Tensor:
        size = encoder.at_once(batch_size)
        if scored:
            return torch.from_numpy(item_scores(encoder, items, batch_size=size))[:, None]
        return encoder.embed(items, batch_size=size)

    found = embed_dataset(
        {"seen": seen}, dataset, batch_size=batch_size, workers=workers, skipped=skipped, progress=progress
    )
    if scored:
        scores = found.vectors["seen"][:, 0]
        order, how = scores.argsort(kind="stable"), "Scores are those of single images."
    else:
        merged = ordered_by_windows(encoder, found.vectors["seen"], seed=seed)
        scores, order, how = merged.scores, merged.order, _told(merged, encoder)
    return Ordered(found.index[order], scores[order], how)


def refuse_others(encoder: Encoder) -> None:
    """Refuses encoders that put no whole samples in order.

    Raises:
        ValueError: it is one.
    """
    both = isinstance(encoder.net, ItemScorer) or (
        isinstance(encoder.net, Siamese) and isinstance(encoder.objective, MatrixObjective)
    )
    if not (both and isinstance(encoder.transform, OrderedSets)):
        raise ValueError(
            "this run has not learnt to put whole images in order. Train one that does: unshuffle train order --data "
            f"FOLDER, with sub-folders weak to strong. {purpose(encoder)}"
        )


def ordered_by_windows(encoder: Encoder, features: np.ndarray, *, seed: int) -> Merged:
    """The ranking of embedded images (N, d) by an encoder of sequences.

    The answer does not depend on the order of the rows: items are numbered by what their features say.
    """
    rows = np.lexsort(features.T[::-1])
    judge = _judge(encoder, torch.from_numpy(features[rows]))
    found = merge(judge, len(rows), cast(OrderedSets, encoder.transform).size, seed=seed)
    scores = np.empty(len(rows))
    scores[rows] = found.scores
    return found._replace(scores=scores, order=rows[found.order])


def _told(merged: Merged, encoder: Encoder) -> str:
    kept = f"the order keeps {merged.kept:.0%} of what they say of pairs"
    return f"Scores are merged from {merged.windows} windows of {cast(OrderedSets, encoder.transform).size}; {kept}."


def _judge(encoder: Encoder, features: Tensor) -> Judge:
    """What the encoder says of windows of embedded images."""
    net, objective = encoder.net, encoder.objective
    assert isinstance(net, Siamese)
    assert isinstance(objective, MatrixObjective)
    weight = next(net.parameters())
    net.eval()

    @torch.no_grad()
    def judge(windows: np.ndarray) -> np.ndarray:
        parts = torch.from_numpy(windows).split(_WINDOWS_AT_ONCE)
        soft = [objective.matrix(net.judge(features[part].to(weight)).float()).double().cpu() for part in parts]
        return chances(torch.cat(soft).numpy())

    return judge


class Sheet(NamedTuple):
    """What a contact sheet shows, weak to strong: pictures (k, C, H, W) in [0, 1] as the network sees them, their
    places in the order, and maps (k, H, W) of what moves the answer."""

    pictures: Tensor
    places: np.ndarray
    heat: np.ndarray | None


def sheet_of(encoder: Encoder, dataset: Dataset, ordered: Ordered, *, most: int, heat: bool) -> Sheet:
    """At most ``most`` samples, evenly spaced over the order.

    Args:
        encoder: the one that ordered them.
        dataset: the samples.
        ordered: their order.
        most: see above.
        heat: map what moves the network's answer too; windows of a network of sequences follow the order.
    """
    places = np.linspace(0, len(ordered.index) - 1, min(most, len(ordered.index))).round().astype(int)
    items = encoder.prepare(spread_items(Subset(dataset, ordered.index[places].tolist()), most)).cpu()
    return Sheet(items, places, smoothed(_heat(encoder, items).numpy()) if heat else None)


def _heat(encoder: Encoder, items: Tensor) -> Tensor:
    """One map an item, of which each is seen once."""
    length = 1 if isinstance(encoder.net, ItemScorer) else cast(OrderedSets, encoder.transform).size
    places = torch.arange(-(-len(items) // length) * length).remainder(len(items)).reshape(-1, length)
    shuffled = permutations.sample(*places.shape, generator=torch.Generator().manual_seed(0))
    maps = [
        saliency(encoder, items[row[perm]][None])[0][permutations.invert(perm)] for row, perm in zip(places, shuffled)
    ]
    return torch.cat(maps)[: len(items)]
