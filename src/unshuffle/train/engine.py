"""Fits a method to a data set.

Everything random in a step is seeded from (seed, step, process), and the batches are a function of (seed, step): so the
state of a run is its weights, its optimiser and its step, and a run that was killed and resumed ends bit for bit like
one that was not.
"""

from __future__ import annotations

import math
import shlex
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, NoReturn, cast

import torch
from lightning.fabric import Fabric
from torch import nn
from torch.utils.data import Dataset

from unshuffle._check import Explained
from unshuffle.data.loaders import (
    Loaded,
    SkipLog,
    mix,
    seed_everything,
)
from unshuffle.evals import labellings
from unshuffle.evals.described import without_downloads
from unshuffle.evals.encoder import Encoder
from unshuffle.train import checkpoints, folder, manifest, online, resuming
from unshuffle.train.holdout import held_out_logs
from unshuffle.train.journal import Journal
from unshuffle.train.launching import launched
from unshuffle.train.lock import RunLock
from unshuffle.train.machine import Machine
from unshuffle.train.optim import RATE, schedule
from unshuffle.train.parts import as_read, item_shape, places, source_of, split
from unshuffle.train.plan import Plan, Recipe, check, enough
from unshuffle.train.progress import Reporter, Silent, Terminal
from unshuffle.train.refused import Before
from unshuffle.train.rounds import GaveUp, RunBatches
from unshuffle.train.signals import StopFlag
from unshuffle.train.together import agree, everywhere, on_leader, share_failure
from unshuffle.train.watch import Watch, here
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
    allow_different_machine: bool = False,
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
        allow_different_machine: go on although threads, processes, device, precision, PyTorch or the processor's
            instruction set are others than the checkpoint's: the run then ends with slightly other weights.
        data: where the data came from, for ``recipe.json``.
        title: heading of the report.
        progress: who is told how it goes; None for the terminal.

    Returns:
        The trained encoder, which is also in the run's folder.

    Raises:
        RunError: ``out`` holds a run already (or none, with ``resume``), or the data have changed since it began.
        OtherMachine: the machine is another than the checkpoint's.
        ValueError: the data do not fit the recipe.
        Lost: of several processes one has ended, or stands still for longer than ``machine.timeout``.
        Diverged: the loss became NaN or infinite.
        Stopped: Ctrl-C or SIGTERM.
        TooManyUnreadable: more samples than allowed cannot be read.
        OSError: the disk is full.

    Example:
        ``unshuffle.fit(unshuffle.recipes.shuffle(), dataset, out="runs/a").embed(images)``
    """
    return train(
        recipe, dataset, out=out, machine=machine, net=net, resume=resume,
        allow_different_machine=allow_different_machine, data=data, title=title, progress=progress,
    ).encoder  # fmt: skip


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
    allow_different_machine: bool = False,
    data: str | None = None,
    title: str = "",
    progress: Reporter | None = None,
    again: str = "",
) -> Trained:
    """Does what :func:`fit` does, and tells the run's folder too; ``again`` are flags that go on with it."""
    reporter = progress if progress is not None else Terminal()
    check(recipe)
    source = source_of(dataset)
    recipe = as_read(recipe, source)
    training, held_out = split(dataset, recipe.holdout, seed=recipe.seed)
    if resume:
        dataset = resuming.as_stored(folder.reopen(out), dataset, training)
        training, held_out = split(dataset, recipe.holdout, seed=recipe.seed)
    enough(recipe.batch_size, len(cast(list, training)), machine.devices * machine.nodes)
    shape = item_shape(training)
    if resume:
        resuming.same_shape(cast(Path, out), shape)
    seed_everything(mix(recipe.seed, 0))
    # A checkpoint holds all weights: nothing that a recipe, perhaps a stranger's, names is downloaded for them.
    plan = (without_downloads(recipe) if resume and folder.has_checkpoint(out) else recipe).build(shape, net)
    if hasattr(plan.method, "begin"):
        cast(Any, plan.method).begin(*places(training), mix(recipe.seed, 2))
    encoder = Encoder(
        plan.net, plan.transform, shape, source=source, objective=plan.objective, net_value=plan.net_value,
        own_backbone=net is not None,
    )  # fmt: skip
    before = Before(out)
    fabric = launched(machine)

    lock = RunLock()  # held by the first process, for all

    def opened() -> Path:
        if resume:
            return folder.reopen(out, lock=lock)
        return folder.create(out, recipe, machine, data=data, title=title, lock=lock)

    try:
        with Watch(fabric.global_rank, fabric.world_size, minutes=machine.timeout) as watch:
            place = cast(Path, everywhere(on_leader(opened, fabric.device))[0])
            if lock.missing:
                reporter.say(lock.missing)
            watch.advice = f"Go on with: {_command(place, again)}"
            try:
                on_leader(lambda: resuming.record(place, resuming.whole(training), shape, resume=resume), fabric.device)
                run = _Run(fabric, recipe, plan, encoder, place, machine, reporter)
                run.again, run.any_machine = again, allow_different_machine
                run.train(training, held_out, resume=resume)
            except KeyboardInterrupt as stop:
                if isinstance(stop, Stopped):
                    raise
                raise Stopped(f"stopped at once; go on with: {_command(place, again)}") from stop
            except (ValueError, Explained) as error:
                if fabric.is_global_zero and not (resume or isinstance(error, Diverged)):
                    before.restore(place)
                raise
    finally:
        lock.release()
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
        self.again, self.any_machine = "", False
        head = manifest.read_head(place)
        self.manifest = None if head is None else head.digest
        self.machines = [resuming.facts(fabric.device, fabric.world_size, machine.precision) | {"step": 0}]

    def train(self, training: Dataset, held_out: Dataset | None, *, resume: bool) -> None:
        """Runs the steps that are left, then writes the encoder."""
        self.samples = len(cast(list, training))
        batch_size = self._batch_size()
        self.rate = schedule(self.recipe, batch_size)
        per_epoch = self.samples // batch_size
        total = self.recipe.epochs * per_epoch
        if resume:
            self._restore(total)
            on_leader(lambda: labellings.cut(self.place, upto=self.first), self.fabric.device)
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
            with StopFlag() as self.stop:
                self._steps(training, total, per_epoch, held_out)
        finally:
            self.reporter.stop()
            if self.journal is not None:
                self.journal.close()

    def _steps(self, training: Dataset, total: int, per_epoch: int, held_out: Dataset | None) -> None:
        def tell(step: int, logs: dict[str, float]) -> None:
            # In the row of the step that comes next, so that both are cut back together.
            self._log(min(step + 1, total), min(step, total - 1) // per_epoch, "labels", logs, None)
            labels = cast(Any, self.plan.method).labels
            with self.stop.protected():
                on_leader(lambda: labellings.write(self.place, step, labels), self.fabric.device)

        batches = RunBatches(
            self.fabric, self.plan.method, self.plan.transform, training, self.skipped, batch_size=self._batch_size(),
            seed=self.recipe.seed, workers=self.machine.workers, tell=tell, reporter=self.reporter,
            stop=self.stop,
        )  # fmt: skip
        logs: dict[str, float] = {}
        here.at = f"reading the samples of step {self.first + 1}"
        for done, loaded in batches.between_rounds(self.first, total):
            try:
                raw, stopping, due = self._readable(loaded, done, least=2)
            except GaveUp:
                self._give_up(done - 1, total, batches.step)
            here.at = f"computing step {done}"
            tensors = self._step(done - 1, total, raw)
            epoch = (done - 1) // per_epoch
            if done % self.machine.log_every == 0 or done == total:
                logs = self._averaged(tensors)
                self._log(done, epoch, "train", logs, self.rate(done - 1, total))
            self.reporter.advance(done, logs)
            if held_out is not None and done % per_epoch == 0:
                here.at = f"evaluating held-out samples after step {done}"
                self._evaluate(training, held_out, done, epoch)
            if done == total:
                batches.make_round(done, total)
            if self.fabric.world_size == 1:  # several processes have agreed before the step
                stopping, due = self._wishes()
            with self.stop.protected():
                if due or stopping or done == total:
                    self._write(done, "last")
                    self.saved = time.monotonic()
                if stopping and done < total:
                    raise Stopped(f"stopped after step {done} of {total}; {self._go_on()}")
            here.at = f"reading the samples of step {done + 1}"

    def _wishes(self) -> tuple[bool, bool]:
        """Whether this process wants to stop, and whether it wants to save."""
        return self.stop.raised, time.monotonic() - self.saved >= self.machine.save_every

    def _give_up(self, done: int, total: int, round_made: int) -> NoReturn:
        """Stops before a step of which nothing was made, with the steps before it saved.

        Where a round was made in between, its row would be lost: the last checkpoint is as good.
        """
        if done in (self.first, round_made):
            raise Stopped(f"stopped before step {done + 1} of {total}; {self._go_on()}")
        with self.stop.protected():
            self._write(done, "last")
            raise Stopped(f"stopped after step {done} of {total}; {self._go_on()}")

    def _step(self, step: int, total: int, raw: Raw) -> dict[str, torch.Tensor]:
        """One optimisation step, a function of the weights, the optimiser's state, (seed, step, process) and data."""
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

    def _readable(self, loaded: Loaded | Exception, done: int, *, least: int) -> tuple[Raw, bool, bool]:
        """The batch on the device, and whether any process wants to stop or to save.

        Unreadable samples are noted; all processes stop if one has too few left, or could not read at all.
        """
        error = None
        try:
            raw = self._enough(loaded, done, least)
        except Exception as failure:
            error, raw = failure, None
        # GaveUp is no failure but a wish, so that all processes save before they stop.
        gave_up = isinstance(error, GaveUp)
        gave_up, stopping, due = agree(None if gave_up else error, (gave_up, *self._wishes()), self.fabric.device)
        if gave_up:
            raise GaveUp
        assert raw is not None
        return self._on_device(raw), stopping, due

    def _enough(self, loaded: Loaded | Exception, done: int, least: int) -> Raw:
        if isinstance(loaded, Exception):
            raise loaded
        self.skipped.add(loaded.skipped)
        if loaded.raw is None or len(loaded.raw.items) < least:
            summary = self.skipped.summary()
            raise ValueError(f"step {done} is left with fewer than {least} readable samples. {summary}")
        return loaded.raw

    def _on_device(self, raw: Raw) -> Raw:
        return Raw(*(None if t is None else t.to(self.fabric.device) for t in raw))  # type: ignore[arg-type]

    def _evaluate(self, training: Dataset, held_out: Dataset, done: int, epoch: int) -> None:
        """The method's own logs on held-out samples, by the first process: others could read other ones, or fewer."""
        found = on_leader(lambda: self._held_out_logs(training, held_out, epoch), self.fabric.device)
        means = everywhere(found)[0]
        if not means:
            return
        self._log(done, epoch, "holdout", means, None)
        if means["loss"] < self.best:
            self.best = means["loss"]
            self._write(done, "best")

    def _held_out_logs(self, training: Dataset, held_out: Dataset, epoch: int) -> dict[str, float]:
        means = held_out_logs(
            self.method, self.recipe, self.plan, held_out, skipped=self.skipped, on_device=self._on_device
        )
        return means and means | self._neighbours(training, held_out, epoch)

    def _neighbours(self, training: Dataset, held_out: Dataset, epoch: int) -> dict[str, float]:
        """What the representation is worth by now; nothing between times, and where the data have no classes."""
        every = getattr(self.recipe, "knn_every", 0)
        if not every or (epoch + 1) % every:
            return {}
        share = online.neighbours(self.encoder, training, held_out)
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

    def _write(self, done: int, name: str) -> None:
        """Writes a checkpoint, unless a weight or a running statistic is no longer a number."""
        method = self.plan.method.state_dict()
        bad = not all(bool(torch.isfinite(t).all()) for t in method.values() if t.is_floating_point())
        share_failure(
            self._diverged(f"a weight is no longer a number after step {done}") if bad else None, self.fabric.device
        )
        state = {
            "method": method, "optimizer": self.optimizer.state_dict(), "step": done, "best": self.best,
            "samples": self.samples, "seconds": time.monotonic() - self.began, "machines": self.machines,
            "manifest": self.manifest,
        }  # fmt: skip

        def save() -> None:
            cast(Journal, self.journal).sync()  # a run goes on after the rows that its checkpoint counts on
            checkpoints.save(folder.checkpoint(self.place, name), state)

        on_leader(save, self.fabric.device)

    def _restore(self, total: int) -> None:
        """Loads the last checkpoint, or the one before it where that is damaged; nothing where there is none."""
        newest = on_leader(lambda: checkpoints.newest(self.place / folder.CHECKPOINTS), self.fabric.device)
        path, words = cast(checkpoints.Newest, everywhere(newest)[0])
        if words:
            self.reporter.say(words)
        if path is None:
            return
        state, error = {}, None
        try:
            state = checkpoints.load(path)
        except (OSError, checkpoints.BadCheckpoint) as failure:
            error = failure
        share_failure(error, self.fabric.device)
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
        if state.get("manifest", self.manifest) != self.manifest:
            raise manifest.BadManifest(f"{self.place / manifest.FILE} is not the list of samples of {path}.")
        if self.manifest is None:
            self.reporter.say("This run keeps no list of its samples: only their number was compared.")
        known = state.get("machines") or self.machines
        self.machines, told = resuming.recognized(
            known, self.machines[-1], step=self.first, left=total - self.first, allowed=self.any_machine,
            command=self._command(),
        )  # fmt: skip
        if told:
            self.reporter.say(told)

    def _batch_size(self) -> int:
        """Samples in a step, over all processes."""
        return min(self.recipe.batch_size, self.samples)

    def _go_on(self) -> str:
        return f"go on with: {self._command()}"

    def _command(self) -> str:
        return _command(self.place, self.again)

    def _diverged(self, what: str) -> Diverged:
        path = folder.checkpoint(self.place)
        kept = f"the last good checkpoint is {path}" if path.exists() else "no checkpoint had been written yet"
        return Diverged(f"{what}; {kept}. Try a smaller learning rate (--optim.lr), or look at the data.")


def _command(place: Path, again: str) -> str:
    return f"unshuffle train --resume {shlex.quote(str(place))}{again}"
