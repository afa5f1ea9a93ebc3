"""How samples get their labels anew: by balanced transport of log-probabilities, or by k-means of features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, NamedTuple, Protocol, runtime_checkable

import torch
import torch.distributed as dist
from torch import Tensor

from unshuffle._ranges import Many, MaybeMany, NonNegative, Positive, Range, Size
from unshuffle.methods.kmeans import kmeans, whitened
from unshuffle.ops import transport
from unshuffle.ops.balanced_rounding import whole_sizes
from unshuffle.values import register

FORBIDDEN = -1e30
"""Stands for an offset of minus infinity, which no checkpoint may hold."""


class Look(NamedTuple):
    """What a network makes of this process's samples, and what the last labels of this head came from.

    ``views`` are the features of each view, in the same blocks of rows, of n in all; ``log_probabilities`` is (n, K),
    where the network computes; ``offsets`` (K,) those of the last round, zeros at first.
    """

    views: Sequence[Sequence[Tensor]]
    log_probabilities: Tensor
    offsets: Tensor
    generator: torch.Generator
    group: dist.ProcessGroup | None


class Labelled(NamedTuple):
    """New labels (n,), offsets (K,) that lead to them, how many iterations they took, and how much mass lies wrong."""

    labels: Tensor
    offsets: Tensor
    iterations: int
    error: float


@runtime_checkable
class Labelling(Protocol):
    """A way to label samples."""

    @property
    def restarts(self) -> bool:
        """Whether a new labelling has nothing to do with the numbers of the last one, so that its head begins anew."""
        ...

    @property
    def even(self) -> bool:
        """Whether clusters are drawn alike often in training, whatever their sizes."""
        ...

    def check(self, classes: tuple[int, ...]) -> None:
        """Refuses heads that it cannot label."""
        ...

    def sizes(self, samples: int, classes: int) -> Tensor:
        """How many samples have each of the first labels."""
        ...

    def label(self, look: Look) -> Labelled:
        """Labels of this process's samples."""
        ...

    def predict(self, log_probabilities: Tensor, offsets: Tensor) -> Tensor:
        """Labels of samples that had no part in the labelling."""
        ...


@register
@dataclass(frozen=True)
class Balanced:
    """Labels that fit the log-probabilities best while every cluster receives its share.

    Source: Asano, Rupprecht & Vedaldi 2020 (SeLa), equations 6 to 8; its code begins every round anew
    (``--labelling.no-warm-start``) and has a power of 10 on CIFAR.
    """

    power: Positive = 25.0
    """Lambda: large is near the hard assignment, and takes more iterations."""
    tolerance: NonNegative = 1e-3
    """Share of the mass that may lie in a wrong cluster, whatever the number of samples."""
    max_iters: MaybeMany = 1000
    """Iterations a round and head, at the most."""
    warm_start: bool = True
    """Begin at the offsets of the last round, as the paper proposes: saves most iterations where log-probabilities have
    hardly moved since, and on average few between distant rounds that look at random views."""
    accelerate: bool = False
    """Extrapolate from the latest iterations: the same plan within the tolerance, several times sooner. Where rounding
    differs, as between one process and two, offsets within the tolerance do, too. Off: the very steps of the paper."""
    equal_sizes: bool = False
    """Make the sizes of the clusters exact, over all processes; otherwise those of the labels are nearly so."""
    frequencies: tuple[Annotated[float, Range(0, 1_000_000_000)], ...] = ()
    """What each cluster receives, where that is known: proportions. None: all alike."""

    def __post_init__(self) -> None:
        if self.frequencies and not sum(self.frequencies):
            raise ValueError(
                f"Balanced: `frequencies` must be 0 or more and not all 0; got {self.frequencies}. Leave them out "
                "for clusters of one size."
            )

    restarts = False
    even = False

    def check(self, classes: tuple[int, ...]) -> None:
        """Refuses frequencies of another number of clusters than a head has."""
        if self.frequencies and set(classes) != {len(self.frequencies)}:
            raise ValueError(
                f"Balanced: `frequencies` must hold one number a cluster, for heads of {classes} clusters; got "
                f"{len(self.frequencies)}."
            )

    def sizes(self, samples: int, classes: int) -> Tensor:
        """The shares of the clusters, to whole numbers."""
        shares = torch.tensor(self.frequencies or (1.0,) * classes, dtype=torch.float64)
        return whole_sizes(samples, shares / shares.sum())

    def label(self, look: Look) -> Labelled:
        """Solves the transport problem of all processes' samples."""
        found = transport(
            look.log_probabilities, power=self.power, tolerance=self.tolerance, max_iters=self.max_iters,
            class_marginals=torch.tensor(self.frequencies, dtype=torch.float64) if self.frequencies else None,
            start=look.offsets if self.warm_start else None, equal_sizes=self.equal_sizes,
            accelerate=self.accelerate, process_group=look.group,
        )  # fmt: skip
        return Labelled(found.labels, found.class_offsets.clamp(min=FORBIDDEN), found.iterations, found.error)

    def predict(self, log_probabilities: Tensor, offsets: Tensor) -> Tensor:
        """The cluster to which the last round's offsets would give each sample."""
        return (self.power * log_probabilities + offsets).argmax(-1)


@register
@dataclass(frozen=True)
class Clustered:
    """Labels by k-means of the features, whitened: the baseline.

    Source: DeepCluster (Caron et al. 2018), section 3 and its code: 256 principal components, whitened, of length 1;
    clusters are drawn alike often in training, and the head begins anew after every round.
    """

    components: Size = 256
    """Principal components of the features."""
    iterations: Many = 20
    """Moves of the centres."""
    even: bool = True
    """Draw samples for training inversely to the size of their cluster."""

    restarts = True

    def check(self, classes: tuple[int, ...]) -> None:
        """Takes any."""

    def sizes(self, samples: int, classes: int) -> Tensor:
        """All alike, as nothing is known at first."""
        return whole_sizes(samples, torch.full((classes,), 1 / classes, dtype=torch.float64))

    def label(self, look: Look) -> Labelled:
        """Clusters the features of all processes' samples."""
        first, *others = look.views
        blocks = [torch.stack(views).mean(0) for views in zip(first, *others)] if others else first
        seen, group = look.log_probabilities, look.group
        rows = whitened(blocks, self.components, group=group, device=seen.device)
        labels = kmeans(rows, seen.shape[1], iterations=self.iterations, generator=look.generator, group=group)
        return Labelled(labels, torch.zeros_like(look.offsets), self.iterations, 0.0)

    def predict(self, log_probabilities: Tensor, offsets: Tensor) -> Tensor:
        """The most probable cluster."""
        return log_probabilities.argmax(-1)
