"""Whom an anchor is compared with: its positives, and which of the other images' views.

Similarities are one product of matrices, of as many anchors at a time as keep it small; those that count are read out
of it. Their derivative is a weighted sum of as many vectors an anchor: neither is a second product of matrices needed,
nor are these vectors ever gathered.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from unshuffle import _check
from unshuffle._ranges import Many
from unshuffle.values import register

Choice = Literal["strongest", "random"]
Among = Literal["all", "same"]

_MOST_SIMILARITIES = 2**21  # at a time; with more, products are no faster

# Similarities of some anchors with their positives (rows, K) and negatives (rows, N), to one value an anchor.
Cost = Callable[[Tensor, Tensor], Tensor]


@register
@dataclass(frozen=True)
class Negatives:
    """Which views of the other images an anchor is compared with.

    Source: GroCo, section 3.3.2 ("Number of Negatives"), Tables 6c and 7c.
    """

    count: Many | None = 10
    """How many an anchor; fewer where there are not so many. None: all of them."""
    choice: Choice = "strongest"
    """The most similar ones, or random ones, drawn anew for each anchor from PyTorch's own generator."""
    views: Among = "all"
    """Of all m views, m (B - 1) candidates, as the papers write; or of the anchor's own, B - 1, as GroCo's code."""

    def __post_init__(self) -> None:
        _check.one_of("Negatives", "choice", self.choice, get_args(Choice))
        _check.one_of("Negatives", "views", self.views, get_args(Among))


def costs_of_anchors(
    anchors: Tensor,
    candidates: Tensor,
    cost: Cost,
    *,
    first: int,
    near: list[list[int]],
    negatives: Negatives,
    stop_gradient: bool,
) -> Tensor:
    """One value an anchor, (m, b), in single precision at least, inside autocast too.

    Args:
        anchors: (m, b, d) embeddings; their length does not matter.
        candidates: (m, n, d). With ``stop_gradient`` they are held: an anchor moves, what it is compared with does not.
        cost: what becomes of an anchor's cosines.
        first: anchor ``[v, i]`` is a view of candidate image ``first + i``.
        near: ``near[v]`` are the views that anchors of view v are to be near.
        negatives: which of the other images' views they are to be far from.
        stop_gradient: whether the candidates are held.
    """
    n = candidates.shape[1]
    with torch.autocast(anchors.device.type, enabled=False):
        moving, others = _wide(anchors, candidates, unit=negatives.count is None)
        others = (others.detach() if stop_gradient else others).flatten(0, 1)
        read = _ReadAll(negatives, n, others) if negatives.count is None else _ReadSome(negatives, n, others)
        costs = [cost(*read(part, own, view, near[view])) for view, part, own in _parts(moving, n, first)]
        if not costs:  # a process without images takes part in what others exchange
            return moving.sum(-1) + 0 * others.sum()
        return torch.cat(costs).reshape(anchors.shape[:2])


def _wide(anchors: Tensor, candidates: Tensor, *, unit: bool) -> tuple[Tensor, Tensor]:
    """Both in single precision at least, and, where all similarities count, as unit vectors; twins stay twins."""
    dtype = torch.promote_types(anchors.dtype, torch.float32)
    both = [vectors.to(dtype) for vectors in ([anchors] if candidates is anchors else [anchors, candidates])]
    if unit:
        both = [torch.nn.functional.normalize(vectors, dim=-1) for vectors in both]
    return both[0], both[-1]


def _parts(anchors: Tensor, n: int, first: int) -> Iterator[tuple[int, Tensor, Tensor]]:
    """As many anchors of one view at a time as there is room for: the view, (rows, d), and (rows, m) own columns."""
    m, b, _ = anchors.shape
    together = max(1, _MOST_SIMILARITIES // (m * n))
    starts = [(view, start) for view in range(m) for start in range(0, b, together)]
    parts = anchors.flatten(0, 1).split([min(together, b - start) for _, start in starts])
    for (view, start), part in zip(starts, parts):
        images = torch.arange(start, start + len(part), device=part.device) + first
        yield view, part, images.unsqueeze(-1) + n * torch.arange(m, device=part.device)


class _ReadAll:
    """Cosines of unit vectors with all candidates; minus infinity stands for those that are no negatives."""

    def __init__(self, negatives: Negatives, n: int, candidates: Tensor) -> None:
        self.pool, self.candidates = _Pool(negatives.views, n), candidates

    def __call__(self, anchors: Tensor, own: Tensor, view: int, near: list[int]) -> tuple[Tensor, Tensor]:
        cosines = anchors @ self.candidates.T
        columns, hidden = self.pool.of(view, own)
        rows = torch.arange(len(own), device=own.device).unsqueeze(-1)
        positives = cosines[rows, own[:, near]]  # `gather` would remember what is written over now
        return positives, cosines[:, columns].scatter_(-1, hidden, -torch.inf)


class _ReadSome:
    """Cosines with the positives and with the negatives that are chosen; only they are divided by lengths."""

    def __init__(self, negatives: Negatives, n: int, candidates: Tensor) -> None:
        self.negatives, self.pool, self.candidates = negatives, _Pool(negatives.views, n), candidates
        self.lengths = _lengths(candidates)

    def __call__(self, anchors: Tensor, own: Tensor, view: int, near: list[int]) -> tuple[Tensor, Tensor]:
        products = anchors.detach() @ self.candidates.detach().T
        columns = torch.cat([own[:, near], self._chosen(products, own, view)], -1)
        read = _Read.apply(anchors, self.candidates, products, columns)
        assert isinstance(read, Tensor)  # `apply` has no return type
        cosines = read / (_lengths(anchors).unsqueeze(-1) * self.lengths[columns])
        return cosines[:, : len(near)], cosines[:, len(near) :]

    def _chosen(self, products: Tensor, own: Tensor, view: int) -> Tensor:
        """The columns of the negatives, in the order of the batch, which says nothing of their distances."""
        columns, hidden = self.pool.of(view, own)
        among = products[:, columns]
        strongest = self.negatives.choice == "strongest"
        ranked = among / self.lengths[columns].detach() if strongest else torch.rand_like(among)
        assert self.negatives.count is not None
        count = min(self.negatives.count, ranked.shape[1] - hidden.shape[1])
        best = ranked.scatter_(-1, hidden, -torch.inf).topk(count, sorted=False).indices
        return best.sort(-1).values + columns.start


class _Pool(NamedTuple):
    """Where the candidates for negatives are: in all n columns of every view, or in those of one."""

    views: Among
    n: int

    def of(self, view: int, own: Tensor) -> tuple[slice, Tensor]:
        """The columns, and (rows, ...) which of these hold views of the anchor's own image."""
        if self.views == "all":
            return slice(0, own.shape[1] * self.n), own
        return slice(view * self.n, (view + 1) * self.n), own[:, :1]


class _Read(torch.autograd.Function):
    """Some products of rows of two matrices, read where they are known; twice differentiable."""

    @staticmethod
    def forward(ctx, left: Tensor, right: Tensor, products: Tensor, columns: Tensor) -> Tensor:
        ctx.save_for_backward(left, right, columns)
        return products.gather(-1, columns)

    @staticmethod
    def backward(ctx, slope: Tensor):  # pyright: ignore[reportIncompatibleMethodOverride]
        left, right, columns = ctx.saved_tensors
        by_left, by_right = ctx.needs_input_grad[:2]
        sums = torch.nn.functional.embedding_bag
        first = sums(columns, right, per_sample_weights=slope, mode="sum") if by_left else None
        if not by_right:
            return first, None, None, None
        # The other way round: by whom each row on the right was read.
        order = columns.flatten().argsort()
        counts = torch.bincount(columns.flatten(), minlength=len(right))
        readers, weights = order // columns.shape[1], slope.flatten()[order]
        starts = counts.cumsum(0) - counts
        return first, sums(readers, left, starts, per_sample_weights=weights, mode="sum"), None, None


def _lengths(vectors: Tensor) -> Tensor:
    return torch.linalg.vector_norm(vectors, dim=-1).clamp_min(1e-12)  # as in F.normalize


def positive_views(
    function: str, anchors: Tensor, candidates: Tensor, first: int, positives: int | None
) -> list[list[int]]:
    """The views that each view's anchors are to be near: the first ``positives`` (all, when None) but their own.

    Raises:
        TypeError: embeddings are not floating point.
        ValueError: the shapes do not fit, or an anchor has no positive.
    """
    _check.floating(function, "anchors", anchors)
    _check.floating(function, "candidates", candidates)
    for name, views in (("anchors", anchors), ("candidates", candidates)):
        if views.ndim != 3:
            raise ValueError(f"{function}: `{name}` must be (views, images, d); got {tuple(views.shape)}.")
    first = _check.count(function, "first", first, least=0)
    positives = positives if positives is None else _check.count(function, "positives", positives, least=0)
    m, b, d = anchors.shape
    if candidates.shape[::2] != (m, d) or not 0 <= first <= candidates.shape[1] - b:
        raise ValueError(
            f"{function}: `candidates` must be (m, n, d) with the m = {m} views and d = {d} numbers of `anchors`, and "
            f"hold images `first` to `first` + b of {b} anchors; got {tuple(candidates.shape)} and first = {first}."
        )
    count = m if positives is None else positives
    if not 2 <= count <= m:
        raise ValueError(
            f"{function}: an anchor needs another view of its image: `positives` must be 2 or more, and at most the "
            f"{m} views there are; got {count}."
        )
    return [[other for other in range(count) if other != view] for view in range(m)]
