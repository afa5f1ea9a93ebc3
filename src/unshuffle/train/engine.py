"""Fits a method to a data set.

Everything random in a step is seeded from (seed, step, process), and the batches are a function of (seed, step): so the
state of a run is its weights, its optimiser and its step, and a run that was killed and resumed ends bit for bit like
one that was not.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from lightning.fabric import Fabric
from torch import nn
from torch.utils.data import Dataset

from unshuffle import _dist
from unshuffle._check import Explained
from unshuffle.data.loaders import (
    Loaded,
    SkipLog,
    TooManyUnreadable,
    mix,
    ordered_loader,
    seed_everything,
)
from unshuffle.evals import labellings
from unshuffle.evals.encoder import Encoder
from unshuffle.train import checkpoints, folder, online
from unshuffle.train.journal import Journal
from unshuffle.train.launching import launched
from unshuffle.train.machine import Machine
from unshuffle.train.optim import RATE, schedule
from unshuffle.train.parts import as_read, item_shape, places, source_of, split
from unshuffle.train.plan import Plan, Recipe, check, enough
from unshuffle.train.progress import Reporter, Silent, Terminal
from unshuffle.train.refused import Before
from unshuffle.train.rounds import RunBatches
from unshuffle.train.signals import StopFlag
from unshuffle.train.together import everywhere, on_leader, share_failure
from unshuffle.types import Raw, Step


class Diverged(Explained):
    """The loss is no longer a number; the message names the step and the last good checkpoint."""


class Stopped(KeyboardInterrupt):
    """The user stopped the run; everything is saved and the message says how to go on."""


def fit(
    recipe: Recipe,
    dataset: Dataset,
    *,
    out: str | Path | None = None,
    machine: Machine = Machine(),
    net: nn.Module | None = None,
    resume: bool = False,
    data: str | None = None,
    title: str = "",
    progress: Reporter | None = None,
) -> Encoder:
    """Trains a recipe on any data set and returns the encoder.

    Args:
        recipe: for example ``unshuffle.recipes.shuffle()``.
        dataset: gives items, or (item, label) pairs: uint8 tensors (C, H, W), arrays (H, W[, C]) or PIL images, all of
            one size.
        out: folder of the run; None makes a new one below ``runs/``.
        machine: hardware and bookkeeping.
        net: a backbone of one's own, from (B, C, h, w) to (B, ...), in place of the recipe's.
        resume: go on with the run in ``out`` from its last checkpoint.
        data: where the data came from, for ``recipe.json``.
        title: heading of the report.
        progress: who is told how it goes; None for the terminal.

    Returns:
        The trained encoder, which is also in the run's folder.

    Raises:
        RunError: ``out`` holds a run already (or none, with ``resume``).
        ValueError: the data do not fit the recipe.
        Diverged: the loss became NaN or infinite.
        Stopped: Ctrl-C or SIGTERM.
        TooManyUnreadable: more samples than allowed cannot be read.
        OSError: the disk is full.

    Example:
        ``unshuffle.fit(unshuffle.recipes.shuffle(), dataset, out="runs/a").embed(images)``
    """
    return train(
        recipe, dataset, out=out, machine=machine, net=net, resume=resume, data=data, title=title, progress=progress
    ).encoder


class Trained(NamedTuple):
    """A finished run: its folder, its encoder, and whether this process is the one that writes."""

    folder: Path
    encoder: Encoder
    leader: bool


def train(
    recipe: Recipe,
    dataset: Dataset,
    *,
    out: str | Path | None,
    machine: Machine,
    net: nn.Module | None = None,
    resume: bool = False,
    data: str | None = None,
    title: str = "",
    progress: Reporter | None = None,
) -> Trained:
    """Does what :func:`fit` does, and tells the run's folder too."""
    reporter = progress if progress is not None else Terminal()
    check(recipe)
    source = source_of(dataset)
    recipe = as_read(recipe, source)
    training, held_out = split(dataset, recipe.holdout, seed=recipe.seed)
    enough(recipe.batch_size, len(cast(list, training)), machine.devices * machine.nodes)
    shape = item_shape(training)
    seed_everything(mix(recipe.seed, 0))
    plan = recipe.build(shape, net)
    if hasattr(plan.method, "begin"):
        cast(Any, plan.method).begin(*places(training), mix(recipe.seed, 2))
    encoder = Encoder(
        plan.net, plan.transform, shape, source=source, objective=plan.objective, net_value=plan.net_value,
        own_backbone=net is not None,
    )  # fmt: skip
    before = Before(out)
    fabric = launched(machine)

    def opened() -> Path:
        return folder.reopen(out) if resume else folder.create(out, recipe, machine, data=data, title=title)

    place = cast(Path, everywhere(on_leader(opened, fabric.device))[0])
    try:
        run = _Run(fabric, recipe, plan, encoder, place, machine, reporter)
        run.train(training, held_out, resume=resume)
    except (ValueError, Explained) as error:
        if fabric.is_global_zero and not (resume or isinstance(error, Diverged)):
            before.restore(place)
        raise
    return Trained(place, encoder, fabric.is_global_zero)


class _Steps(nn.Module):
    """A method whose ``step`` is its ``forward``, where Lightning converts precision and averages gradients."""

    def __init__(self, method: nn.Module) -> None:
        super().__init__()
        self.method = method
        # DistributedDataParallel would send these to all processes before every step.
        alike = getattr(method, "known_everywhere", ())
        self._ddp_params_and_buffers_to_ignore = [f"method.{name}" for name in alike]

    def forward(self, batch: Any) -> Step:
        return cast(Any, self.method).step(batch)


class _Run:
    """One training job: its parts, and the loop."""

    def __init__(
        self,
        fabric: Fabric,
        recipe: Recipe,
        plan: Plan,
        encoder: Encoder,
        place: Path,
        machine: Machine,
        reporter: Reporter,
    ) -> None:
        self.fabric, self.recipe, self.plan, self.encoder = fabric, recipe, plan, encoder
        self.place, self.machine = place, machine
        self.reporter = reporter if fabric.is_global_zero else Silent()
        self.skipped = SkipLog(machine.max_unreadable, reporter.say)
        method: nn.Module = _Steps(plan.method)
        if fabric.world_size > 1 and fabric.device.type == "cuda" and machine.sync_norms:
            method = nn.SyncBatchNorm.convert_sync_batchnorm(method)
        self.method, self.optimizer = fabric.setup(method, recipe.optim.build(plan.method))
        self.first, self.best, self.spent = 0, math.inf, 0.0

    def train(self, training: Dataset, held_out: Dataset | None, *, resume: bool) -> None:
        """Runs the steps that are left, then writes the encoder."""
        self.samples = len(cast(list, training))
        batch_size = self._batch_size()
        self.rate = schedule(self.recipe, batch_size)
        if resume:
            self._restore()
            on_leader(lambda: labellings.cut(self.place, upto=self.first), self.fabric.device)
        per_epoch = self.samples // batch_size
        total = self.recipe.epochs * per_epoch
        self._record(training, total, per_epoch, held_out)
        for reasons in everywhere(self.skipped.reasons):
            self.skipped.reasons |= reasons
        if self.skipped.reasons:
            self.reporter.say(self.skipped.summary())
        self.encoder.cpu().float().eval()  # as it will be loaded, whatever it was trained in
        on_leader(lambda: self.encoder.save(self.place), self.fabric.device)

    def _record(self, training: Dataset, total: int, per_epoch: int, held_out: Dataset | None) -> None:
        """Runs the steps with journal, progress and signals around them."""
        also = (online.COLUMN,) if getattr(self.recipe, "knn_every", 0) else ()
        also += getattr(self.plan.method, "journal_columns", ())
        self.journal = on_leader(lambda: Journal(self.place, upto=self.first, also=also), self.fabric.device)
        self.saved = time.monotonic()
        self.began = self.saved - self.spent
        self.reporter.start("training", total, self.first)
        try:
            with StopFlag() as stop:
                self._steps(training, total, per_epoch, held_out, stop)
        except KeyboardInterrupt as error:
            if isinstance(error, Stopped):
                raise
            raise Stopped(f"stopped at once; {self._go_on()}") from error
        finally:
            self.reporter.stop()
            if self.journal is not None:
                self.journal.close()

    def _steps(
        self, training: Dataset, total: int, per_epoch: int, held_out: Dataset | None, stop: StopFlag
    ) -> None:  # fmt: skip
        def tell(step: int, logs: dict[str, float]) -> None:
            # In the row of the step that comes next, so that both are cut back together.
            self._log(min(step + 1, total), min(step, total - 1) // per_epoch, "labels", logs, None)
            labels = cast(Any, self.plan.method).labels
            on_leader(lambda: labellings.write(self.place, step, labels), self.fabric.device)

        batches = RunBatches(
            self.fabric, self.plan.method, self.plan.transform, training, self.skipped, batch_size=self._batch_size(),
            seed=self.recipe.seed, workers=self.machine.workers, tell=tell, reporter=self.reporter,
        )  # fmt: skip
        logs: dict[str, float] = {}
        for done, loaded in batches.between_rounds(self.first, total):
            tensors = self._step(done - 1, total, loaded)
            epoch = (done - 1) // per_epoch
            if done % self.machine.log_every == 0 or done == total:
                logs = self._averaged(tensors)
                self._log(done, epoch, "train", logs, self.rate(done - 1, total))
            self.reporter.advance(done, logs)
            if held_out is not None and done % per_epoch == 0:
                self._evaluate(training, held_out, done, epoch)
            if done == total:
                batches.make_round(done, total)
            stopping = self._agree(stop.raised, done) and done < total
            due = self._agree(time.monotonic() - self.saved >= self.machine.save_every, done)
            if stopping or due or done == total:
                self._write(done, "last")
                self.saved = time.monotonic()
            if stopping:
                raise Stopped(f"stopped after step {done} of {total}; {self._go_on()}")

    def _step(self, step: int, total: int, loaded: Loaded) -> dict[str, torch.Tensor]:
        """One optimisation step, a function of the weights, the optimiser's state, (seed, step, process) and data."""
        raw = cast(Raw, self._readable(loaded, step + 1, least=2))
        seed = mix(self.recipe.seed, step, self.fabric.global_rank)
        seed_everything(seed)
        batch = self.plan.transform(raw, torch.Generator().manual_seed(mix(seed, 1)))
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate(step, total) * group.get(RATE, 1.0)
        self.method.train()
        result: Step = self.method(batch)
        bad = not torch.isfinite(result.loss)
        share_failure(
            self._diverged(f"the loss of step {step + 1} is {result.loss.item()}") if bad else None, self.fabric.device
        )
        self.fabric.backward(result.loss)
        if clip := getattr(self.recipe.optim, "clip", 0.0):
            # A gradient that is not finite shows in the next loss, which says so.
            self.fabric.clip_gradients(self.method, self.optimizer, max_norm=clip, error_if_nonfinite=False)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        if hasattr(self.plan.method, "after_step"):
            cast(Callable[[], None], self.plan.method.after_step)()
        return {"loss": result.loss.detach(), **result.logs}

    def _readable(self, loaded: Loaded, done: int, *, least: int) -> Raw | None:
        """The batch on the device, after unreadable samples were noted. All processes stop if one has too few left."""
        error = None
        try:
            self.skipped.add(loaded.skipped)
            if least > (0 if loaded.raw is None else len(loaded.raw.items)):
                summary = self.skipped.summary()
                raise ValueError(f"step {done} is left with fewer than {least} readable samples. {summary}")
        except (ValueError, TooManyUnreadable) as failure:
            error = failure
        share_failure(error, self.fabric.device)
        if loaded.raw is None:
            return None
        return Raw(*(None if t is None else t.to(self.fabric.device) for t in loaded.raw))  # type: ignore[arg-type]

    @torch.no_grad()
    def _evaluate(self, training: Dataset, held_out: Dataset, done: int, epoch: int) -> None:
        """The method's own logs on held-out samples, shuffled in the same way every time."""
        self.method.eval()
        sums: dict[str, float] = {}
        count = 0
        for k, loaded in enumerate(ordered_loader(held_out, batch_size=self.recipe.batch_size)):
            raw = self._readable(loaded, done, least=0)
            if raw is None or len(raw.items) < self.plan.least:
                continue
            seed_everything(mix(self.recipe.seed, k))
            batch = self.plan.transform(raw, torch.Generator().manual_seed(mix(self.recipe.seed, k)))
            with _dist.alone():  # every process evaluates all samples: none is another's
                result = self.method(batch)
            for key, value in {"loss": result.loss, **result.logs}.items():
                sums[key] = sums.get(key, 0.0) + float(value) * len(raw.items)
            count += len(raw.items)
        if not count:
            return
        means = {k: v / count for k, v in sums.items()} | self._neighbours(training, held_out, epoch)
        self._log(done, epoch, "holdout", means, None)
        if means["loss"] < self.best:
            self.best = means["loss"]
            self._write(done, "best")

    def _neighbours(self, training: Dataset, held_out: Dataset, epoch: int) -> dict[str, float]:
        """What the representation is worth by now; nothing between times, and where the data have no classes."""
        every = getattr(self.recipe, "knn_every", 0)
        if not every or (epoch + 1) % every:
            return {}
        found = on_leader(lambda: online.neighbours(self.encoder, training, held_out), self.fabric.device)
        share = everywhere(found)[0]
        return {} if share is None else {online.COLUMN: share}

    def _averaged(self, tensors: dict[str, torch.Tensor]) -> dict[str, float]:
        """The logs of a step, averaged over all processes."""
        values = torch.stack([v.detach().float() for v in tensors.values()])
        return dict(zip(tensors, cast(torch.Tensor, self.fabric.all_reduce(values, reduce_op="mean")).tolist()))

    def _log(self, done: int, epoch: int, split: str, logs: dict[str, float], rate: float | None) -> None:
        seconds = time.monotonic() - self.began
        on_leader(
            lambda: cast(Journal, self.journal).write(done, epoch, split, seconds, rate, logs), self.fabric.device
        )

    def _agree(self, wish: bool, done: int) -> bool:
        """Whether any process wishes it; several processes ask each other every tenth step only."""
        if self.fabric.world_size == 1:
            return wish
        if done % 10:
            return False
        flag = torch.tensor(float(wish), device=self.fabric.device)
        return bool(cast(torch.Tensor, self.fabric.all_reduce(flag, reduce_op="sum")) > 0)

    def _write(self, done: int, name: str) -> None:
        """Writes a checkpoint, unless a weight or a running statistic is no longer a number."""
        method = self.plan.method.state_dict()
        bad = not all(bool(torch.isfinite(t).all()) for t in method.values() if t.is_floating_point())
        share_failure(
            self._diverged(f"a weight is no longer a number after step {done}") if bad else None, self.fabric.device
        )
        state = {
            "method": method, "optimizer": self.optimizer.state_dict(), "step": done, "best": self.best,
            "samples": self.samples, "seconds": time.monotonic() - self.began,
        }  # fmt: skip
        on_leader(lambda: checkpoints.save(folder.checkpoint(self.place, name), state), self.fabric.device)

    def _restore(self) -> None:
        """Loads the last checkpoint, if there is one."""
        path = folder.checkpoint(self.place)
        if not path.exists():
            return
        state = checkpoints.load(path)
        try:
            self.plan.method.load_state_dict(state["method"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.first, samples = int(state["step"]), int(state["samples"])
            self.best, self.spent = float(state["best"]), float(state["seconds"])
        except (RuntimeError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise checkpoints.BadCheckpoint(f"{path} does not fit this recipe: {error}") from error
        if samples != self.samples:
            raise folder.RunError(
                f"the data have changed: {self.samples} samples to train on, {samples} when the run began. To go on, "
                "give back the same data; to train on the new data, start a new run."
            )

    def _batch_size(self) -> int:
        """Samples in a step, over all processes."""
        return min(self.recipe.batch_size, self.samples)

    def _go_on(self) -> str:
        return f"go on with: unshuffle train --resume {self.place}"

    def _diverged(self, what: str) -> Diverged:
        path = folder.checkpoint(self.place)
        kept = f"the last good checkpoint is {path}" if path.exists() else "no checkpoint had been written yet"
        return Diverged(f"{what}; {kept}. Try a smaller learning rate (--optim.lr), or look at the data.")
