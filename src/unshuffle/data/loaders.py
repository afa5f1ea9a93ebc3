"""From any data set to batches of :class:`Raw`, so that the order of samples is a function and not a state.

The batch of a step depends on (seed, step) alone, and what a data set draws while it reads a sample on (seed, epoch,
index): a run that is stopped anywhere and goes on sees the same data as one that was never stopped.
"""

from __future__ import annotations

import random
import signal
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple, Protocol, cast, runtime_checkable

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler, Subset

from unshuffle._check import Explained
from unshuffle._names import escape_name
from unshuffle.types import Raw


class Unreadable(NamedTuple):
    """A sample that could not be read: what it is called, and why."""

    name: str
    reason: str


class Loaded(NamedTuple):
    """What a loader yields: a batch (None where not one sample of it could be read) and what was skipped."""

    raw: Raw | None
    skipped: list[Unreadable]


class Batches(Sampler):
    """The samples of each step, as (epoch, index) pairs: a function of (seed, step).

    Every epoch is a fresh permutation of the data, of which the incomplete last batch is left out; or, with ``weights``
    (one a sample, 0 or more), as many samples drawn with replacement in proportion to these. Each process takes every
    ``processes``-th sample of the common batch.
    """

    def __init__(
        self,
        size: int,
        *,
        batch_size: int,
        seed: int,
        first: int,
        last: int,
        rank: int = 0,
        processes: int = 1,
        weights: Tensor | None = None,
    ) -> None:
        assert processes <= batch_size <= size, (size, batch_size, processes)
        assert weights is None or weights.shape == (size,), weights
        self.size, self.batch_size, self.seed, self.weights = size, batch_size, seed, weights
        self.first, self.last, self.rank, self.processes = first, last, rank, processes

    def __len__(self) -> int:
        return self.last - self.first

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        per_epoch, order, current = self.size // self.batch_size, [], -1
        for step in range(self.first, self.last):
            epoch, k = divmod(step, per_epoch)
            if epoch != current:
                current, order = epoch, self._order(epoch)
            batch = order[k * self.batch_size : (k + 1) * self.batch_size]
            yield [(epoch, i) for i in batch[self.rank :: self.processes]]

    def _order(self, epoch: int) -> list[int]:
        generator = torch.Generator().manual_seed(mix(self.seed, epoch))
        if self.weights is None:
            return torch.randperm(self.size, generator=generator).tolist()
        return torch.multinomial(self.weights, self.size, replacement=True, generator=generator).tolist()


@runtime_checkable
class InMemory(Protocol):
    """A data set of which a whole batch can be had at once: the same samples as one by one, and nothing is drawn."""

    as_they_are: bool
    """Whether that is so for this one."""

    def take(self, rows: list[int]) -> tuple[Tensor, Tensor | None]:
        """Items (B, C, H, W) and labels (B,), where there are any."""
        ...


class Reader(Dataset):
    """Wraps a data set: reads item ``index`` as if it were the first thing drawn from (seed, epoch, index).

    The index that travels on is the sample's place in the whole data set, also where a part of it is read.
    """

    def __init__(self, dataset: Dataset, seed: int) -> None:
        self.dataset, self.seed = dataset, seed

    def __getitem__(self, key: tuple[int, int]) -> tuple[Tensor, int, Tensor | None] | Unreadable:
        epoch, index = key
        place = self.dataset.indices[index] if isinstance(self.dataset, Subset) else index
        seed_host(mix(self.seed, epoch, place))
        sample = self.dataset[index]
        if isinstance(sample, Unreadable):
            return sample
        item, label = _split(sample)
        return as_item(item), place, None if label is None else _as_label(label)

    def __getitems__(self, keys: list[tuple[int, int]]) -> Loaded | list[Any]:
        """A batch: at once where the samples lie in memory and nothing is drawn, else one sample after the other."""
        rows, held = [index for _, index in keys], self.dataset
        while type(held) is Subset:
            rows, held = [held.indices[row] for row in rows], held.dataset
        if not (isinstance(held, InMemory) and held.as_they_are):
            return [self[key] for key in keys]
        places = rows if not isinstance(self.dataset, Subset) else [self.dataset.indices[index] for _, index in keys]
        items, labels = held.take(rows)
        return Loaded(Raw(items, torch.tensor(places), labels), [])


def training_loader(dataset: Dataset, batches: Batches, *, workers: int = 0, pin_memory: bool = False) -> DataLoader:
    """Yields :class:`Loaded` for every step of ``batches``."""
    reader = Reader(dataset, batches.seed)
    return DataLoader(
        reader, batch_sampler=batches, num_workers=workers, collate_fn=collate, pin_memory=pin_memory,
        worker_init_fn=_outlive_signals, generator=torch.Generator().manual_seed(batches.seed),
    )  # fmt: skip


def _outlive_signals(worker: int) -> None:
    """Ctrl-C reaches every process of a terminal; a worker must live until the training process has saved."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)


def ordered_loader(dataset: Dataset, *, batch_size: int, workers: int = 0, seed: int = 0) -> DataLoader:
    """Yields :class:`Loaded` for every sample once, in order."""
    size = len(cast(Sequence, dataset))
    batches = [[(0, i) for i in range(start, min(start + batch_size, size))] for start in range(0, size, batch_size)]
    return DataLoader(
        Reader(dataset, seed), batch_sampler=batches, num_workers=workers, collate_fn=collate,
        worker_init_fn=_outlive_signals, generator=torch.Generator().manual_seed(seed),
    )  # fmt: skip


def sweep_loader(
    dataset: Dataset, *, batch_size: int, rank: int = 0, processes: int = 1, workers: int = 0, seed: int = 0
) -> DataLoader:
    """Yields :class:`Loaded` for every sample of a process's share once, in order, in batches as equal as can be.

    Shares are neighbouring samples; those of two processes differ by one at the most, and so do two batches: none is so
    small that its statistics mean nothing. All processes have as many batches, as some wait for each other in each.
    """
    size = len(cast(Sequence, dataset))
    share, largest = range(size * rank // processes, size * (rank + 1) // processes), -(-size // processes)
    pieces = -(-largest // max(1, batch_size // processes))
    ends = [len(share) * k // pieces for k in range(pieces + 1)]
    batches = [[(0, i) for i in share[start:end]] for start, end in pairwise(ends)]
    return DataLoader(
        Reader(dataset, seed), batch_sampler=batches, num_workers=workers, collate_fn=collate,
        worker_init_fn=_outlive_signals, generator=torch.Generator().manual_seed(seed),
    )  # fmt: skip


def collate(samples: Loaded | list[tuple[Tensor, int, Tensor | None] | Unreadable]) -> Loaded:
    """Stacks what could be read and lists what could not; what was read at once stays as it is.

    Raises:
        ValueError: samples of different shapes, or only some with a label.
    """
    if isinstance(samples, Loaded):
        return samples
    skipped = [s for s in samples if isinstance(s, Unreadable)]
    read = [s for s in samples if not isinstance(s, Unreadable)]
    if not read:
        return Loaded(None, skipped)
    items, index, labels = zip(*read)
    if len(shapes := {tuple(i.shape) for i in items}) > 1:
        raise ValueError(f"samples of one data set must have one shape; got {' and '.join(map(str, sorted(shapes)))}.")
    known = [label for label in labels if label is not None]
    if known and len(known) < len(labels):
        raise ValueError("some samples have a label and some have none; give all of them one, or none.")
    return Loaded(Raw(torch.stack(items), torch.tensor(index), torch.stack(known) if known else None), skipped)


def as_item(item: Any) -> Tensor:
    """One sample as (C, H, W): tensors as they are (a 2-D one is grey), arrays and PIL images with channels last.

    PIL images become gray or RGB of 8 bits, transparent pixels white; images of floats stay floats.

    Raises:
        TypeError: it is none of these.
        ValueError: it has too few axes, or a PIL image holds integers of unknown range.
    """
    if hasattr(item, "getbands") and item.mode != "F":
        from unshuffle.data.image_modes import gray_or_rgb

        item = gray_or_rgb(item)
    if isinstance(item, Tensor):
        tensor = item
    elif isinstance(item, np.ndarray) or hasattr(item, "getbands"):
        tensor = torch.from_numpy(np.array(item))
        tensor = tensor.permute(2, 0, 1).contiguous() if tensor.ndim == 3 else tensor
    else:
        raise TypeError(f"a sample must be a tensor, an array or a PIL image; got {type(item).__name__}.")
    if tensor.ndim < 2:
        raise ValueError(f"a sample must be (C, H, W) or (H, W); got shape {tuple(tensor.shape)}.")
    return tensor.unsqueeze(0) if tensor.ndim == 2 else tensor


def _as_label(label: Any) -> Tensor:
    try:
        return torch.as_tensor(label)
    except (TypeError, ValueError, RuntimeError):
        raise TypeError(
            f"a label must be a number, or an array of numbers; got {type(label).__name__}. Number the classes, or "
            "give items without labels."
        ) from None


def _split(sample: Any) -> tuple[Any, Any]:
    """Parts (item, label); a data set may give items alone."""
    if isinstance(sample, (tuple, list)):
        item, *rest = sample
        return item, rest[0] if rest else None
    return sample, None


def mix(*numbers: int) -> int:
    """One 63-bit seed from several 64-bit numbers; different tuples give unrelated seeds."""
    # Two words a number, and how many: SeedSequence alone takes (5,) for (5, 0), and (2**32,) for (0, 1).
    words = [word for n in numbers for word in (n & 0xFFFFFFFF, n >> 32 & 0xFFFFFFFF)]
    return int(np.random.SeedSequence([len(numbers), *words]).generate_state(1, np.uint64)[0] >> np.uint64(1))


def seed_everything(seed: int) -> None:
    """Seeds PyTorch on all devices, numpy and Python alike."""
    torch.manual_seed(seed)
    seed_host(seed)


def seed_host(seed: int) -> None:
    """Seeds what a data set may draw from while it reads a sample: asking no device is cheap."""
    torch.default_generator.manual_seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002  (users' data sets draw from it)
    random.seed(seed)


class TooManyUnreadable(Explained):
    """More samples could not be read than the caller allows."""


class SkipLog:
    """Counts unreadable samples by name, tells each once, and stops the job past a limit.

    Args:
        limit: how many may be skipped.
        say: told one line for each.
    """

    def __init__(self, limit: int = 100, say: Callable[[str], None] | None = None) -> None:
        self.limit, self.say = limit, say
        self.reasons: dict[str, str] = {}

    def add(self, skipped: list[Unreadable]) -> None:
        """Takes note of a batch's unreadable samples.

        Raises:
            TooManyUnreadable: that makes more than ``limit``.
        """
        for name, reason in skipped:
            if name in self.reasons:
                continue
            self.reasons[name] = reason
            if self.say is not None:
                self.say(f"skipped {escape_name(name)}: {reason}")
        if len(self.reasons) > self.limit:
            raise TooManyUnreadable(f"{self.summary()} The limit is {self.limit} (--max-unreadable).")

    def summary(self) -> str:
        """How many were skipped, and the first few by name."""
        if not self.reasons:
            return "Nothing was skipped."
        first = "; ".join(f"{escape_name(n)} ({r})" for n, r in list(self.reasons.items())[:3])
        more = f"; and {len(self.reasons) - 3} more" if len(self.reasons) > 3 else ""
        return f"{len(self.reasons)} unreadable: {first}{more}."
