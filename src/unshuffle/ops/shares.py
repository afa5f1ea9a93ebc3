"""Samples and classes of a transport problem: one read of the matrix tells what every class receives.

:meth:`Samples.log_shares` is all that Sinkhorn's iteration needs of the matrix, and the only place that reads it: in C
for plain CPU tensors, in PyTorch block by block for everything else. What is kept between two reads is one number a
sample and, where there is memory to spare for a gain of speed, the exponentials of a read before.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor

from unshuffle import _check
from unshuffle._dist import group_logsumexp, group_total
from unshuffle.ops import _native

Matrix = Tensor | Sequence[Tensor]

_BLOCK_ROWS = 1024  # as in _native/transport.c
# Bytes of the matrix that PyTorch works on at a time: what stays in a cache, and what fills a GPU.
_BYTES_AT_A_TIME = {"cpu": 2**19, "cuda": 2**26}
_BYTES_TO_COPY = 2**24
# Logarithms below which a share is as good as 0: smaller ones are no normal numbers, and very slow.
_FAINTEST = {torch.float32: -85.0, torch.float64: -700.0}
# A class that receives less than this in all may have lost such shares.
_LEAST = 1e-28
_LANES = 16  # rows of kept exponentials are filled up to a multiple of this, as in _native/transport.c
_FURTHEST = 20.0  # by how much offsets may move, in all, before exponentials are made anew: 1e-27 becomes 5e-19


class _Kept(NamedTuple):
    """What is kept of each row of a chunk, or of some of them."""

    levels: Tensor
    """log sum exp(power * row + offsets), float64. C keeps those of an earlier read, as long as they are near."""
    tops: Tensor
    """The largest number, where C knows the level."""
    labels: Tensor | None
    """The class of the largest share, or -1."""
    shares: Tensor | None = None
    """Exponentials of an earlier read; the levels are then those that these are relative to."""

    def rows(self, first: int, last: int) -> _Kept:
        labels, shares = (None if kept is None else kept[first:last] for kept in (self.labels, self.shares))
        return _Kept(self.levels[first:last], self.tops[first:last], labels, shares)


class Samples:
    """The rows of the matrix, whole or in chunks, and what is kept of every sample between two reads."""

    def __init__(
        self,
        function: str,
        matrix: Matrix,
        power: float,
        weights: Tensor | None,
        group: dist.ProcessGroup | None,
        *,
        keeps_shares: bool,
    ) -> None:
        self.function, self.power, self.group = function, power, group
        if not isinstance(matrix, Tensor) and (isinstance(matrix, str | bytes) or not hasattr(matrix, "__len__")):
            raise TypeError(
                f"{function}: `log_probabilities` must be a torch.Tensor, or a sequence of them; "
                f"got {type(matrix).__name__}."
            )
        self.chunks = [matrix] if isinstance(matrix, Tensor) else matrix
        if not len(self.chunks):
            raise ValueError(f"{function}: `log_probabilities` must hold at least one chunk, of 0 rows or more; got 0.")
        first = self.chunks[0]
        _check.floating(function, "log_probabilities" if isinstance(matrix, Tensor) else "log_probabilities[0]", first)
        if first.ndim != 2 or first.shape[1] == 0:
            raise ValueError(
                f"{function}: `log_probabilities` must be samples and classes, (N, K) with K of 1 or more; "
                f"got {tuple(first.shape)}."
            )
        self.classes, self.dtype, self.device = first.shape[1], first.dtype, first.device
        self.total = 1.0  # of the weights, over all processes
        self.weights = None if weights is None else self._normalized(weights)
        self.kept: list[_Kept] = []
        self.keeps_shares = keeps_shares and isinstance(matrix, Tensor) and self._lies_in_place(first, halves=False)
        self.offsets_of_shares: Tensor | None = None
        """Those for which the kept exponentials were made; None: they are not to be used."""
        self.masses = torch.zeros(self.classes, dtype=torch.float64)
        """What the rows of this process gave to the classes at the last read."""

    def _normalized(self, weights: Tensor) -> Tensor:
        weights = weights.detach().to(self.device, torch.float64)
        total = group_total(weights.sum(), self.group)
        if weights.ndim != 1 or not (bool((weights >= 0).all()) and 0 < float(total) < math.inf):
            raise ValueError(
                f"{self.function}: `sample_marginals` must be one number a row, 0 or more, and not all 0; "
                f"got the shape {tuple(weights.shape)} and a sum of {float(total)}."
            )
        return weights / total

    # ------------------------------------------------------------------------------------------- what classes receive

    def log_shares(self, offsets: Tensor, *, labels: bool = False) -> Tensor:
        """Log of the share of all weight that each class receives where every sample shares out its own weight.

        Sample i gives to class k in proportion to exp(power * row[i, k] + offsets[k]).

        Args:
            offsets: (K,) float64 on the CPU, the largest about 0; minus infinity for a class that receives nothing.
            labels: whether to note the class to which each sample gives most.
        """
        masses = self._read(offsets, labels=labels)
        if self.weights is None:
            self.total = float(masses[-1])
        shares = masses[:-1] / self.total
        log_shares = shares.log()
        faint = ((shares < _LEAST) & (offsets > -math.inf)).nonzero().squeeze(-1)
        if len(faint):
            log_shares[faint] = self._faint_log_shares(offsets, faint)
        return log_shares

    def _read(self, offsets: Tensor, *, labels: bool) -> Tensor:
        """What all processes' rows give to the classes, and then how many rows there are."""
        masses = torch.zeros(self.classes, dtype=torch.float64, device=self.device)
        moved = self._moved(offsets) if self.keeps_shares else None
        factors = None if moved is None else (moved - moved.min()).exp()
        first, bad = 0, []
        for number, chunk in enumerate(map(self.chunk, range(len(self.chunks)))):
            kept = self._keep(number, len(chunk), labels)
            for begin, block in self.blocks(chunk, halves=True):
                end = begin + len(block)
                weights = None if self.weights is None else self.weights[first + begin : first + end]
                if weights is not None and len(weights) < len(block):
                    self._refuse_weights(first + len(chunk))
                job = (block, self.power, offsets, weights, masses, kept.rows(begin, end))
                found = _add_in_c(*job, factors) if _native.takes(block, halves=True) else _add_in_pytorch(*job)
                bad.append((number, begin, found))
            first += len(chunk)
        if self.weights is not None and first != len(self.weights):
            self._refuse_weights(first)
        if labels and moved is not None:
            self.kept[0].levels.add_(float(moved.min()))
        if self.keeps_shares:
            self.offsets_of_shares = None if labels else offsets if moved is None else self.offsets_of_shares
        return self._together(masses, first, [(n, begin + int(row)) for n, begin, row in bad if int(row) >= 0], offsets)

    def _keep(self, number: int, rows: int, labels: bool) -> _Kept:
        """Room for what is kept of a chunk's rows, made when it is first read."""
        if len(self.kept) == number:
            levels = torch.full((rows,), math.nan, dtype=torch.float64, device=self.device)
            tops = levels.new_empty(rows, dtype=torch.promote_types(self.dtype, torch.float32))
            padded = -(-self.classes // _LANES) * _LANES
            shares = tops.new_empty(rows, padded) if self.keeps_shares else None
            self.kept.append(_Kept(levels, tops, None, shares))
        if labels:
            nowhere = torch.full((rows,), -1, dtype=torch.int64, device=self.device)
            self.kept[number] = self.kept[number]._replace(labels=nowhere)
        return self.kept[number]

    def _moved(self, offsets: Tensor) -> Tensor | None:
        """By how much offsets have moved since exponentials were kept; None where these are to be made anew."""
        if self.offsets_of_shares is None:
            return None
        moved = torch.where(offsets > -math.inf, offsets - self.offsets_of_shares, 0.0)
        return moved if float(moved.max() - moved.min()) <= _FURTHEST else None

    def forget_shares(self) -> None:
        """From here on every read computes everything anew."""
        self.keeps_shares = False
        self.kept = [kept._replace(shares=None) for kept in self.kept]

    def _together(self, masses: Tensor, rows: int, bad: list[tuple[int, int]], offsets: Tensor) -> Tensor:
        """Sums over the processes; all of them fail where one has found a row that no sample may have."""
        self.masses = masses.cpu()
        ends = torch.tensor([rows, len(bad)], dtype=torch.float64, device=self.device)
        summed = group_total(torch.cat([masses, ends]), self.group).cpu()
        if bad:
            self._refuse_row(*bad[0], offsets)
        if summed[-1] > 0:
            raise ValueError(f"{self.function}: another process of `process_group` was given a row that it refuses.")
        return summed[:-1]

    def _faint_log_shares(self, offsets: Tensor, faint: Tensor) -> Tensor:
        """The same of a few classes, whose shares are too small for anything but logarithms."""
        self.forget_shares()
        for kept in self.kept:
            kept.levels.fill_(math.nan)
        self._read(offsets, labels=False)  # the levels are now those of these offsets
        columns, first = faint.to(self.device), 0
        local = torch.full((len(faint),), -math.inf, dtype=torch.float64, device=self.device)
        for number, chunk in enumerate(map(self.chunk, range(len(self.chunks)))):
            step = max(1, _BYTES_AT_A_TIME["cpu"] // (8 * len(faint)))
            for begin in range(0, len(chunk), step):
                worth = self.power * chunk[begin : begin + step, columns].double()
                worth -= self.kept[number].levels[begin : begin + step].unsqueeze(-1)
                if self.weights is not None:
                    weights = self.weights[first + begin : first + begin + len(worth)].unsqueeze(-1)
                    worth = torch.where(weights > 0, worth + weights.log(), -math.inf)
                local = torch.logaddexp(local, worth.logsumexp(0))
            first += len(chunk)
        log_masses = group_logsumexp(local, self.group).cpu() + offsets[faint]
        if bool((log_masses == -math.inf).any()):
            lost = int(faint[log_masses == -math.inf][0])
            raise ValueError(
                f"{self.function}: class {lost} is -inf in every row, but its marginal is not 0. "
                f"Give it 0 in `class_marginals`, or allow it to a sample."
            )
        return log_masses - math.log(self.total)

    # ------------------------------------------------------------------------------------------------------- the plan

    def starts(self) -> list[int]:
        """Which row of all is the first of each chunk of this process, and how many there are."""
        return [0, *accumulate(len(kept.levels) for kept in self.kept)]

    def marginals(self) -> list[Tensor]:
        """For each chunk, the share of all weight that every row has."""
        if self.weights is not None:
            return list(self.weights.split([len(kept.levels) for kept in self.kept]))
        return [torch.full_like(kept.levels, 1 / max(self.total, 1.0)) for kept in self.kept]

    def labels(self) -> Tensor:
        """As of the last read, which was to note them."""
        return torch.cat([kept.labels for kept in self.kept if kept.labels is not None])

    def sample_offsets(self) -> Tensor:
        """Log of what makes every row of the plan sum to its marginal, as of the last read with labels."""
        offsets = torch.cat(self.marginals()).log_()
        nothing = offsets == -math.inf
        for part, kept in zip(offsets.split([len(kept.levels) for kept in self.kept]), self.kept):
            part.sub_(kept.levels)
        return offsets.masked_fill_(nothing, -math.inf)

    def plan(self, number: int, offsets: Tensor) -> Tensor:
        """A chunk's rows of the plan: every sample's own weight, shared out."""
        chunk, marginals = self.chunk(number), self.marginals()[number].unsqueeze(-1)
        plan = torch.empty(chunk.shape, dtype=torch.promote_types(chunk.dtype, torch.float32), device=chunk.device)
        step = max(1, _BYTES_TO_COPY // (8 * self.classes))
        for rows, given, weights in zip(plan.split(step), chunk.split(step), marginals.split(step)):
            worth = (self.power * given.double() + offsets).masked_fill(weights == 0, 0.0)
            rows.copy_(worth.softmax(-1) * weights)
        return plan

    # ------------------------------------------------------------------------------------------------- rows in blocks

    def chunk(self, number: int) -> Tensor:
        """Reads a chunk. What was made for the first read of it must fit all others."""
        chunk = self.chunks[number]
        rows = len(self.kept[number].levels) if number < len(self.kept) else len(chunk)
        wanted = (rows, self.classes), self.dtype, self.device
        if (tuple(chunk.shape), chunk.dtype, chunk.device) != wanted:
            raise ValueError(
                f"{self.function}: `log_probabilities[{number}]` must have the classes, dtype and device of the "
                f"first chunk and the rows of its first read, {wanted}; got {tuple(chunk.shape)}, {chunk.dtype}, "
                f"{chunk.device}."
            )
        return chunk.detach()

    def blocks(self, chunk: Tensor, *, halves: bool = False) -> Iterator[tuple[int, Tensor]]:
        """Rows as they lie where C can read them there, else small copies; in no less than single precision.

        With ``halves``, numbers of 16 bits stay what they are: whoever takes the rows widens them.
        """
        widens = chunk.dtype not in _FAINTEST and not halves
        wide = 8 if chunk.dtype == torch.float64 else 4
        if self._lies_in_place(chunk, halves=halves):
            step = _native.MOST_ITEMS // self.classes
        else:
            size = (
                _BYTES_TO_COPY
                if _runs_in_c(chunk)
                else _BYTES_AT_A_TIME.get(chunk.device.type, _BYTES_AT_A_TIME["cpu"])
            )
            step = size // (wide * self.classes)
        step = step // _BLOCK_ROWS * _BLOCK_ROWS or max(1, step)
        for begin in range(0, len(chunk), step):
            block = chunk[begin : begin + step]
            block = block.float() if widens else block
            yield begin, block if block.stride(1) == 1 else block.contiguous()

    def _lies_in_place(self, chunk: Tensor, *, halves: bool) -> bool:
        """Whether C can read the rows where they are."""
        kinds = _native.KINDS if halves else _FAINTEST
        return chunk.dtype in kinds and _runs_in_c(chunk) and (chunk.stride(1) == 1 or self.classes == 1)

    # --------------------------------------------------------------------------------------------------------- errors

    def _refuse_weights(self, rows: int) -> None:
        given = 0 if self.weights is None else len(self.weights)
        raise ValueError(
            f"{self.function}: `sample_marginals` must hold one number for each of the {rows} rows; got {given}."
        )

    def _refuse_row(self, number: int, row: int, offsets: Tensor) -> None:
        values = self.chunks[number][row].double().cpu()
        place = f"row {row}" if len(self.chunks) == 1 else f"row {row} of chunk {number}"
        if values.isnan().any():
            problem = "holds NaN"
        elif (values == math.inf).any():
            problem = "holds +inf"
        elif (values == -math.inf).all():
            problem = "holds nothing but -inf, so that it may go to no class"
        else:
            problem = f"is -inf for each of the {int((offsets > -math.inf).sum())} classes whose marginal is not 0"
        raise ValueError(f"{self.function}: {place} {problem}. Leave it out, or give it 0 in `sample_marginals`.")


def _runs_in_c(chunk: Tensor) -> bool:
    return chunk.is_cpu and _native.available() and not _native.transformed()


def _add_in_c(
    block: Tensor,
    power: float,
    offsets: Tensor,
    weights: Tensor | None,
    masses: Tensor,
    kept: _Kept,
    factors: Tensor | None,
) -> int:
    """Adds what the rows give to ``masses``, and notes what is kept of them; returns the first bad row, or -1."""
    bad = torch.empty(1, dtype=torch.int64, device="cpu")
    rows = (block.data_ptr(), *block.shape, block.stride(0), _native.KINDS[block.dtype])
    places = (offsets, weights, masses, kept.levels, kept.tops, kept.labels, kept.shares, factors, bad)
    pointers = (None if place is None else place.data_ptr() for place in places)
    _native.call("unshuffle_transport", *rows, power, *pointers, work=block.numel())
    return int(bad)


def _add_in_pytorch(
    block: Tensor, power: float, offsets: Tensor, weights: Tensor | None, masses: Tensor, kept: _Kept
) -> Tensor:
    """The same in PyTorch, which looks for every level anew; without waiting for the device."""
    block = block.to(torch.promote_types(block.dtype, torch.float32))
    if weights is not None:
        block = block.masked_fill((weights == 0).unsqueeze(-1), 0.0)
    top = block.amax(-1, keepdim=True)
    there = offsets.to(block.device)
    offset = there.to(block.dtype)
    rest = torch.where(offset.isinf(), 0.0, there - offset).to(block.dtype)
    shares = (block - top).mul_(power).add_(offset).add_(rest)
    most = shares.amax(-1, keepdim=True)
    total = shares.sub_(most).clamp_min_(_FAINTEST[block.dtype]).exp_().sum(-1, keepdim=True)
    wrong = ~(top.isfinite() & most.isfinite() & total.isfinite()).squeeze(-1)
    kept.levels.copy_((power * top.double() + most.double() + total.double().log()).squeeze(-1))
    if kept.labels is not None:
        best = shares.argmax(-1)
        kept.labels.copy_(best if weights is None else torch.where(weights > 0, best, -1))
    shares.div_(total)
    if weights is not None:
        shares.mul_(weights.unsqueeze(-1).to(block.dtype))
    masses.add_(shares.sum(0).double())
    return torch.where(wrong.any(), wrong.int().argmax(), -1)
