"""Balanced labels: entropic transport of samples to classes (Sinkhorn-Knopp), for matrices of any size.

Labels that suit a classifier best are worth nothing when all samples may have the same one. Prescribing what every
class receives makes the choice a transport problem, whose smoothed form has one number a class for an answer: an offset
that is added to the class's scores. All that an iteration needs is what each class receives under the offsets so far,
one read of the matrix; no second matrix is made, and everything is done on logarithms.

Source: Asano, Rupprecht & Vedaldi, "Self-labelling via simultaneous clustering and representation learning", ICLR 2020,
section 3.1; Cuturi, "Sinkhorn Distances", NeurIPS 2013.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
import torch.distributed as dist
from jaxtyping import Float, Int
from torch import Tensor

from unshuffle import _check
from unshuffle.ops.anderson import Anderson
from unshuffle.ops.balanced_rounding import round_exactly
from unshuffle.ops.shares import Samples

_HISTORY = 5
"""Of how many changes an accelerated one is made."""
_FURTHEST = 20.0
"""By how much of a logarithm extrapolation may move an offset: far beyond, a class receives no mass that has digits."""


@dataclass(frozen=True, eq=False)
class Transport:
    """What :func:`transport` found."""

    labels: Int[Tensor, "N"] = field(repr=False)
    """The class of each sample; -1 for a sample of weight 0."""
    class_offsets: Float[Tensor, "K"] = field(repr=False)
    """float64, the largest 0; minus infinity for a class of marginal 0. ``start`` takes them."""
    sample_offsets: Float[Tensor, "N"] = field(repr=False)
    """float64: the plan is exp(power * log_probabilities + class_offsets + sample_offsets.unsqueeze(-1))."""
    iterations: int
    """How often the offsets were changed."""
    error: float
    """The share of the plan's mass that is in a wrong class, from 0 to 1; every sample's own is exact."""
    class_error: float
    """By how much the class that is furthest from its share misses it, in parts of this share."""
    converged: bool
    """Whether both errors are within their tolerances."""
    _samples: Samples = field(repr=False)

    def plan(self, chunk: int = 0) -> Float[Tensor, "n K"]:
        """The plan, of total 1: rows sum to the samples' marginals, columns nearly to those of the classes.

        Args:
            chunk: which of the chunks, where the matrix was given in chunks; it is read again.

        Returns:
            (N, K), or the rows of the chunk; in the dtype of the matrix, half precision in float32. The result holds on
            to the matrix for this: keep ``labels`` alone to let it go.
        """
        return self._samples.plan(chunk, self.class_offsets)

    def sizes(self) -> Int[Tensor, "K"]:
        """How many samples have each label, in this process."""
        return self.labels[self.labels >= 0].bincount(minlength=len(self.class_offsets))


@torch.no_grad()
def transport(
    log_probabilities: Float[Tensor, "N K"] | Sequence[Tensor],
    *,
    power: float = 25.0,
    tolerance: float = 1e-3,
    class_tolerance: float = math.inf,
    max_iters: int = 1000,
    accelerate: bool = False,
    sample_marginals: Float[Tensor, "N"] | None = None,
    class_marginals: Float[Tensor, "K"] | None = None,
    start: Float[Tensor, "K"] | None = None,
    equal_sizes: bool = False,
    spare_memory: bool = False,
    process_group: dist.ProcessGroup | None = None,
) -> Transport:
    r"""Labels samples so that the labels fit them well and every class receives its share.

    Maximises, over plans whose rows sum to the samples' marginals and whose columns sum to those of the classes,

    .. math:: \sum_{ik} Q_{ik} \, \lambda \log p_{ik} + H(Q)

    and labels each sample with the class to which it gives most. Nothing is differentiated.

    Args:
        log_probabilities: (N, K) real scores of N samples for K classes; larger is a better fit. Logarithms of
            probabilities, or any numbers that differ from these by one constant a row. Minus infinity forbids a class
            to a sample. Or a sequence of chunks of rows, (n, K) each, that is read from its first to its last chunk
            once an iteration: ``__getitem__`` may load a chunk from disk. A memory-mapped matrix needs no chunks.
        power: :math:`\lambda > 0`. Large is near the hard assignment, and needs more iterations.
        tolerance: iterates until no more than this share of the mass is in a wrong class,
        class_tolerance: and until no class receives more or less than its share by more than this part of it.
        max_iters: changes the offsets no more than this often, 0 or more.
        accelerate: whether each change is made of the latest ones (:mod:`unshuffle.ops.anderson`): another way to the
            same plan, several times shorter where many classes share samples. Otherwise the changes are Sinkhorn's.
        sample_marginals: (N,) weights of the samples, 0 or more; only their proportions count. A sample of weight 0
            gets label -1, and what lies in its row does not matter. Equal by default.
        class_marginals: (K,) what the classes receive, 0 or more; only their proportions count. Equal by default.
        start: (K,) ``class_offsets`` of an earlier result for similar scores.
        equal_sizes: whether the labels have exactly the sizes N * ``class_marginals``, rounded to whole numbers by the
            largest remainders: for equal marginals, sizes that differ by 1 at most. The sum of power * log-probability
            over all labels is then within 0.01 N of the best for these sizes. The plan stays what it is. In a
            ``process_group`` the sizes are those of all processes' labels together; of each size a process gets a part
            near what the plan gives its rows, and its labels are within 0.01 a row of the best for its parts.
        spare_memory: whether exponentials are computed again in every iteration, so that nothing of the matrix's size
            is made. Otherwise they are kept, where a library in C works on a matrix that is whole: faster, for the
            memory of a second matrix.
        process_group: the processes that hold one share of the rows each (perhaps of 0 rows), and call this together
            with the same options. Labels are those of this process's rows.

    Returns:
        A :class:`Transport`. With ``spare_memory``, or a matrix in chunks, memory above the matrix is O(N + K) and a
        few blocks of rows.

    Raises:
        TypeError: ``log_probabilities`` is not floating point.
        ValueError: a row holds NaN or plus infinity, or nothing but minus infinity; a class that is to receive mass is
            minus infinity in every row; marginals are negative, all 0, or not as many as rows or classes; no labels
            have the sizes asked for, or ``sample_marginals`` are given with ``equal_sizes``.

    Example:
        >>> import torch
        >>> scores = torch.tensor([[3.0, 0.0], [2.0, 0.0], [1.0, 0.0], [0.5, 0.0]])
        >>> scores.argmax(-1), transport(scores.log_softmax(-1)).labels
        (tensor([0, 0, 0, 0]), tensor([0, 0, 1, 1]))

    Source: Asano, Rupprecht & Vedaldi, "Self-labelling via simultaneous clustering and representation learning", ICLR
    2020, equations 6 to 8. Their iteration changes the classes' factors, then the samples'; this one is the same with
    the samples' first. The stopping rule is ours.
    """
    max_iters = _check_options(power, tolerance, class_tolerance, max_iters)
    for name, choice in (("accelerate", accelerate), ("equal_sizes", equal_sizes), ("spare_memory", spare_memory)):
        _check.flag("transport", name, choice)
    _check_numbers(sample_marginals=sample_marginals, class_marginals=class_marginals, start=start)
    if equal_sizes and sample_marginals is not None:
        raise ValueError(
            "transport: `equal_sizes` counts samples, so all weigh the same; leave `sample_marginals` out."
        )
    keeps = not spare_memory and max_iters > 1
    samples = Samples("transport", log_probabilities, float(power), sample_marginals, process_group, keeps_shares=keeps)
    target = _shares(class_marginals, samples.classes)
    offsets = _first_offsets(start, target)
    path = Anderson(target, history=_HISTORY if accelerate else 0, furthest=_FURTHEST)
    iterations = 0
    while iterations < max_iters:
        log_shares = samples.log_shares(offsets)
        if not samples.total or _errors(log_shares, target).within(tolerance, class_tolerance):
            break
        offsets = _balance(offsets, log_shares, target, path)
        iterations += 1
    log_shares = samples.log_shares(offsets, labels=True)
    samples.forget_shares()
    errors = _errors(log_shares, target) if samples.total else _Errors(0.0, 0.0)  # no samples, none wrong
    return Transport(
        labels=round_exactly(samples, offsets, target).to(samples.device) if equal_sizes else samples.labels(),
        class_offsets=offsets.to(samples.device),
        sample_offsets=samples.sample_offsets(),
        iterations=iterations,
        error=errors.mass,
        class_error=errors.classes,
        converged=errors.within(tolerance, class_tolerance),
        _samples=samples,
    )


def _check_options(power: float, tolerance: float, class_tolerance: float, max_iters: int) -> int:
    _check.positive("transport", "power", power)
    if power == math.inf:
        raise ValueError("transport: `power` must be finite; got inf. Take a large one, such as 1e4.")
    _check.not_negative("transport", "tolerance", tolerance)
    _check.not_negative("transport", "class_tolerance", class_tolerance)
    return _check.count("transport", "max_iters", max_iters, least=0, most=sys.maxsize)


def _check_numbers(**given: Tensor | None) -> None:
    for name, value in given.items():
        if value is not None:
            _check.real("transport", name, value)


def _shares(class_marginals: Tensor | None, classes: int) -> Tensor:
    """What the classes are to receive, of 1 in all."""
    if class_marginals is None:
        return torch.full((classes,), 1 / classes, dtype=torch.float64)
    marginals = class_marginals.to("cpu", torch.float64)
    total = float(marginals.sum())
    if marginals.shape != (classes,) or not (bool((marginals >= 0).all()) and 0 < total < math.inf):
        raise ValueError(
            f"transport: `class_marginals` must hold one number for each of the {classes} classes, 0 or more and not "
            f"all 0; got the shape {tuple(marginals.shape)} and a sum of {total}."
        )
    return marginals / total


def _first_offsets(start: Tensor | None, target: Tensor) -> Tensor:
    offsets = torch.zeros_like(target) if start is None else start.to("cpu", torch.float64)
    if offsets.shape != target.shape or not bool(offsets[target > 0].isfinite().all()):
        raise ValueError(
            f"transport: `start` must hold a finite number for each of the {int((target > 0).sum())} classes that "
            f"receive something, of {len(target)}; got the shape {tuple(offsets.shape)}. Pass the `class_offsets` of "
            f"an earlier result, or leave it out."
        )
    return _from_largest(offsets.masked_fill(target == 0, -math.inf))


class _Errors(NamedTuple):
    """How far what classes receive is from what they should."""

    mass: float
    """Total variation: the share of the mass that would move."""
    classes: float
    """The largest relative error of a class."""

    def within(self, mass: float, classes: float) -> bool:
        return self.mass <= mass and self.classes <= classes


def _errors(log_shares: Tensor, target: Tensor) -> _Errors:
    missed, shares = (log_shares.exp() - target).abs(), target > 0
    return _Errors(0.5 * float(missed.sum()), float((missed[shares] / target[shares]).max()))


def _balance(offsets: Tensor, log_shares: Tensor, target: Tensor, path: Anderson) -> Tensor:
    """The next offsets: for Sinkhorn, those under which each class receives its share if no sample shared out anew."""
    receives = target > 0
    missing = torch.where(receives, target.log() - log_shares, 0.0)
    # Kullback and Leibler's divergence is what a step of Sinkhorn's gains of the objective, and never grows along them.
    # Both sum to one; written like this it has digits left where all is nearly balanced.
    divergence = float(target @ (torch.expm1(-missing) + missing))
    following = path.step(torch.where(receives, offsets, 0.0), missing, divergence)
    return _from_largest(following.masked_fill(~receives, -math.inf))


def _from_largest(offsets: Tensor) -> Tensor:
    """Only differences of offsets count; small numbers are exact ones."""
    return offsets - offsets.max()
