"""What happens between steps: a method that asks for it looks at all samples again.

Such a method has ``refresh_due(progress)``, whether it is to be asked before the step at that share of all steps, and
``refresh(progress, sweep)``, which returns numbers to log and leaves ``labels`` (heads, N) behind. Both are functions
of the method's state, which is in every checkpoint, and of the step: so a run that was stopped goes on with the same
rounds. It may also say by ``sampling()`` how likely each sample is to be drawn until the next round.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, cast

import torch
from lightning.fabric import Fabric
from torch import nn
from torch.utils.data import DataLoader, Dataset

from unshuffle import _dist
from unshuffle._check import Explained
from unshuffle.data.loaders import (
    Batches,
    Loaded,
    SkipLog,
    TooManyUnreadable,
    mix,
    seed_everything,
    sweep_loader,
    training_loader,
)
from unshuffle.train.parts import places
from unshuffle.train.progress import Reporter
from unshuffle.train.signals import StopFlag
from unshuffle.train.together import share_failure
from unshuffle.train.watch import here
from unshuffle.types import Raw


class GaveUp(Explained):
    """A signal interrupted the wait for a batch, of which nothing has been used."""


class LostWorker(Explained):
    """A process that read samples ended; the message says what to do."""


class RunBatches:
    """The batches of one run, and the rounds between them.

    Args:
        fabric: where to compute.
        method: what is trained.
        transform: makes its batches.
        dataset: the samples to be trained on.
        skipped: notes those that cannot be read.
        batch_size: samples at a time, over all processes.
        seed: of everything.
        workers: processes that read samples.
        tell: called with the steps done and what a round logs.
        reporter: shown how far a round has looked at the samples.
        stop: may interrupt the wait for a batch.
    """

    def __init__(
        self,
        fabric: Fabric,
        method: nn.Module,
        transform: Any,
        dataset: Dataset,
        skipped: SkipLog,
        *,
        batch_size: int,
        seed: int,
        workers: int,
        tell: Callable[[int, dict[str, float]], None],
        reporter: Reporter,
        stop: StopFlag,
    ) -> None:
        self.fabric, self.method, self.transform, self.dataset = fabric, cast(Any, method), transform, dataset
        self.skipped, self.batch_size, self.seed, self.workers = skipped, batch_size, seed, workers
        self.tell, self.reporter, self.asked, self.step = tell, reporter, hasattr(method, "refresh"), -1
        self.stop = stop

    def between_rounds(self, first: int, total: int) -> Iterator[tuple[int, Loaded | Exception]]:
        """What is read for each step after the first ones, of so many in all, and its number, counted from 1.

        Where reading fails, the last one is the error: :class:`GaveUp` where a signal interrupted the wait.
        """
        while first < total:
            self.make_round(first, total)
            following = self._following(first, total)
            yield from enumerate(self._read(self._loader(first, following)), start=first + 1)
            first = following

    def make_round(self, step: int, total: int) -> None:
        """Makes the round that is due before a step, counted from 0, or after all of them; none where none is."""
        if not self.asked or not self.method.refresh_due(step / total):
            return
        self.step = step
        here.at = f"labelling before step {step + 1}"
        for buffer in self.method.buffers():
            # As before a step: the running statistics of all processes are those of the one that writes.
            _dist.send_first(buffer)
        seed_everything(mix(self.seed, step, self.fabric.global_rank, 2))
        with self.fabric.autocast():
            logs = self.method.refresh(step / total, self._sweep)
        self.tell(step, logs)

    def _read(self, loader: DataLoader) -> Iterator[Loaded | Exception]:
        """What a loader yields, or the error with which it ends: all processes must hear of that in the same place."""
        try:
            batches = iter(loader)
            while True:
                with self.stop.reading():
                    loaded = next(batches, None)
                if loaded is None:
                    return
                yield loaded
        except KeyboardInterrupt:
            yield GaveUp("a signal interrupted the wait for samples")
        except Exception as error:
            yield _explained(error)

    def _following(self, step: int, total: int) -> int:
        """The step before which the next round will be due; all steps where none is."""
        if not self.asked:
            return total
        return next((s for s in range(step + 1, total) if self.method.refresh_due(s / total)), total)

    def _loader(self, first: int, last: int) -> DataLoader:
        weights = self.method.sampling() if hasattr(self.method, "sampling") else None
        batches = Batches(
            len(cast(list, self.dataset)), batch_size=self.batch_size, seed=self.seed, first=first, last=last,
            rank=self.fabric.global_rank, processes=self.fabric.world_size,
            weights=None if weights is None else weights[places(self.dataset)[0]],
        )  # fmt: skip
        on_gpu = self.fabric.device.type == "cuda"
        return training_loader(self.dataset, batches, workers=self.workers, pin_memory=on_gpu)

    def _sweep(self, view: int | None) -> Iterator[Any]:
        """This process's share of the samples, once, in order: in a random form, or (None) in their plain one."""
        loader = sweep_loader(
            self.dataset, batch_size=self.batch_size, rank=self.fabric.global_rank, processes=self.fabric.world_size,
            workers=self.workers, seed=mix(self.seed, self.step, view or 0),
        )  # fmt: skip
        failure, read, norms = None, 0, self._norms_wait()
        for k, loaded in enumerate(self._read(loader)):
            if isinstance(loaded, Exception):
                failure = loaded
                if norms:
                    share_failure(failure, self.fabric.device)
                break
            try:
                self.skipped.add(loaded.skipped)
            except TooManyUnreadable as error:  # told when all processes are through: none may wait for another
                failure = error
            if norms:  # it waits for the batches of all processes: none may lack one
                empty = f"batch {k + 1} of a sweep has no readable sample. {self.skipped.summary()}"
                share_failure(ValueError(empty) if loaded.raw is None else failure, self.fabric.device)
            if loaded.raw is not None:
                read += len(loaded.raw.items)
                raw = Raw(*(None if t is None else t.to(self.fabric.device) for t in loaded.raw))  # type: ignore[arg-type]
                yield self._made(raw, view, k)
            here.at = f"labelling before step {self.step + 1}, batch {k + 1} of view {1 + (view or 0)}"
            self.reporter.advance(self.step, {f"labelling, view {1 + (view or 0)}": (k + 1) / len(loader)})
        if not read and failure is None:
            failure = ValueError(f"a process could read none of its samples. {self.skipped.summary()}")
        share_failure(failure, self.fabric.device)

    def _norms_wait(self) -> bool:
        """Whether each batch of a sweep is exchanged with other processes by batch norms."""
        return self.fabric.world_size > 1 and any(isinstance(m, nn.SyncBatchNorm) for m in self.method.modules())

    def _made(self, raw: Raw, view: int | None, k: int) -> Any:
        if view is None:
            return self.transform.plain(raw)
        seed = mix(self.seed, self.step, self.fabric.global_rank, view, k)
        return self.transform(raw, torch.Generator().manual_seed(seed))


def _explained(error: Exception) -> Exception:
    """A worker that was killed, most often as the memory was full, in words."""
    if isinstance(error, RuntimeError) and "DataLoader worker" in str(error):
        lost = LostWorker(
            "a process that reads samples was ended from outside, most often because the memory was full. Go on with "
            f"--resume RUN, with fewer --workers. ({str(error).splitlines()[0]})"
        )
        lost.__cause__ = error
        return lost
    return error
