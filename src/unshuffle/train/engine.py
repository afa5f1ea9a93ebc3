"""Fits a method to a data set. The only file that knows Lightning.

Everything random in a step is seeded from (seed, step, process), and the batches are a function of (seed, step): so the
state of a run is its weights, its optimiser and its step, and a run that was killed and resumed ends bit for bit like
one that was not.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, Protocol, cast

import torch
from lightning.fabric import Fabric
from torch import nn
from torch.utils.data import DataLoader, Dataset, Subset

from unshuffle._check import Explained
from unshuffle.data.loaders import (
    Batches,
    Loaded,
    SkipLog,
    Unreadable,
    as_item,
    mix,
    ordered_loader,
    seed_everything,
    training_loader,
)
from unshuffle.evals.encoder import Encoder
from unshuffle.losses import Objective
from unshuffle.train import checkpoints, folder
from unshuffle.train.machine import Machine
from unshuffle.train.metrics import Metrics
from unshuffle.train.progress import Reporter, Silent, Terminal
from unshuffle.train.signals import StopFlag
from unshuffle.types import Raw, Step


class Plan(NamedTuple):
    """What a recipe builds for items of one shape: a method, the transform that feeds it, its encoder's network."""

    method: nn.Module
    transform: Any
    net: nn.Module
    net_value: Any
    objective: Objective


class Recipe(Protocol):
    """A frozen value that says everything that decides what is learned."""

    @property
    def optim(self) -> Any:
        """An optimiser with ``build`` and ``rate``."""
        ...

    @property
    def batch_size(self) -> int:
        """Samples in a step, over all processes."""
        ...

    @property
    def epochs(self) -> int:
        """Passes over the data."""
        ...

    @property
    def holdout(self) -> float:
        """Share of the data that is kept out of training, to see whether the task generalises."""
        ...

    @property
    def seed(self) -> int:
        """Of everything."""
        ...

    def build(self, item_shape: tuple[int, ...], net: nn.Module | None = None) -> Plan:
        """Builds the method for items of this shape; ``net`` is a backbone of the user's own."""
        ...


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
    training, held_out = _split(dataset, recipe)
    shape = _item_shape(training)
    seed_everything(mix(recipe.seed, 0))
    plan = recipe.build(shape, net)
    encoder = Encoder(
        plan.net, plan.transform, shape, source=getattr(dataset, "source", None), objective=plan.objective,
        net_value=None if net is not None else plan.net_value,
    )  # fmt: skip
    fabric = Fabric(
        accelerator=machine.device, devices=machine.devices, num_nodes=machine.nodes, precision=machine.precision
    )
    fabric.launch()
    place = None
    if fabric.is_global_zero:
        place = folder.reopen(out) if resume else folder.create(out, recipe, machine, data=data, title=title)
    place = Path(fabric.broadcast(str(place)))
    run = _Run(fabric, recipe, plan, encoder, place, machine, reporter if fabric.is_global_zero else Silent())
    run.train(training, held_out)
    return Trained(place, encoder.cpu().eval(), fabric.is_global_zero)


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
        self.place, self.machine, self.reporter = place, machine, reporter
        method = plan.method
        if fabric.world_size > 1 and fabric.device.type == "cuda":
            method = nn.SyncBatchNorm.convert_sync_batchnorm(method)
        self.method, self.optimizer = fabric.setup(method, recipe.optim.build(method))
        self.method.mark_forward_method("step")
        self.best = math.inf
        self.first = self._restore()
        self.metrics = Metrics(place / "metrics.csv", upto=self.first)
        self.board = _board(place, self.first) if fabric.is_global_zero else None
        self.skipped = SkipLog(machine.max_unreadable, reporter.say)
        self.began = self.saved = time.monotonic()

    def train(self, training: Dataset, held_out: Dataset | None) -> None:
        """Runs the steps that are left, then writes the encoder."""
        size = len(cast(list, training))
        batch_size = min(self.recipe.batch_size, size)
        per_epoch = size // batch_size
        total = self.recipe.epochs * per_epoch
        batches = Batches(
            size, batch_size=batch_size, seed=self.recipe.seed, first=self.first, last=total,
            rank=self.fabric.global_rank, processes=self.fabric.world_size,
        )  # fmt: skip
        loader = training_loader(
            training, batches, workers=self.machine.workers, pin_memory=self.fabric.device.type == "cuda"
        )
        self.reporter.start("training", total, self.first)
        try:
            with StopFlag() as stop:
                self._steps(loader, total, per_epoch, held_out, stop)
        finally:
            self.reporter.stop()
            if self.board is not None:
                self.board.close()
        if self.fabric.is_global_zero:
            if self.skipped.reasons:
                self.reporter.say(self.skipped.summary())
            self.encoder.save(self.place)

    def _steps(self, loader: DataLoader, total: int, per_epoch: int, held_out: Dataset | None, stop: StopFlag) -> None:
        for done, loaded in enumerate(loader, start=self.first + 1):
            tensors = self._step(done - 1, total, loaded)
            epoch = (done - 1) // per_epoch
            if done % self.machine.log_every == 0 or done == total:
                logs = {k: float(v) for k, v in tensors.items()}
                self._log(done, epoch, "train", logs, self.recipe.optim.rate(done - 1, total))
                self.reporter.advance(done, logs)
            if held_out is not None and done % per_epoch == 0:
                self._evaluate(held_out, done, epoch)
            stopping = self._agree(stop.raised, done) and done < total
            due = self._agree(time.monotonic() - self.saved >= self.machine.save_every, done)
            if stopping or due or done == total:
                self._save(done)
            if stopping:
                raise Stopped(
                    f"stopped after step {done} of {total}; go on with: unshuffle train --resume {self.place}"
                )

    def _step(self, step: int, total: int, loaded: Loaded) -> dict[str, torch.Tensor]:
        """One optimisation step, a function of the weights, the optimiser's state, (seed, step, process) and data."""
        raw = self._readable(loaded, step)
        seed = mix(self.recipe.seed, step, self.fabric.global_rank)
        seed_everything(seed)
        batch = self.plan.transform(raw, torch.Generator().manual_seed(mix(seed, 1)))
        for group in self.optimizer.param_groups:
            group["lr"] = self.recipe.optim.rate(step, total)
        self.method.train()
        result: Step = self.method.step(batch)
        if not torch.isfinite(result.loss):
            raise self._diverged(f"the loss of step {step + 1} is {result.loss.item()}")
        self.fabric.backward(result.loss)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        if hasattr(self.plan.method, "after_step"):
            cast(Callable[[], None], self.plan.method.after_step)()
        return result.logs

    def _readable(self, loaded: Loaded, step: int) -> Raw:
        """The batch on the device, after unreadable samples were noted."""
        self.skipped.add(loaded.skipped)
        if loaded.raw is None or len(loaded.raw.items) < 2:
            raise ValueError(f"step {step + 1} is left with fewer than two readable samples. {self.skipped.summary()}")
        return Raw(*(None if t is None else t.to(self.fabric.device) for t in loaded.raw))  # type: ignore[arg-type]

    @torch.no_grad()
    def _evaluate(self, held_out: Dataset, done: int, epoch: int) -> None:
        """The method's own logs on held-out samples, shuffled in the same way every time."""
        self.method.eval()
        sums: dict[str, float] = {}
        count = 0
        for k, loaded in enumerate(ordered_loader(held_out, batch_size=self.recipe.batch_size)):
            self.skipped.add(loaded.skipped)
            if loaded.raw is None:
                continue
            raw = Raw(*(None if t is None else t.to(self.fabric.device) for t in loaded.raw))  # type: ignore[arg-type]
            seed_everything(mix(self.recipe.seed, k))
            result = self.method.step(self.plan.transform(raw, torch.Generator().manual_seed(mix(self.recipe.seed, k))))
            for key, value in result.logs.items():
                sums[key] = sums.get(key, 0.0) + float(value) * len(raw.items)
            count += len(raw.items)
        means = {k: v / max(1, count) for k, v in sums.items()}
        self._log(done, epoch, "holdout", means, None)
        if means and means["loss"] < self.best:
            self.best = means["loss"]
            self._write(done, "best")

    def _log(self, done: int, epoch: int, split: str, logs: dict[str, float], rate: float | None) -> None:
        if not self.fabric.is_global_zero:
            return
        self.metrics.write(done, epoch, split, time.monotonic() - self.began, rate, logs)
        if self.board is not None:
            for key, value in logs.items():
                self.board.add_scalar(f"{split}/{key}", value, done)

    def _agree(self, wish: bool, done: int) -> bool:
        """Whether any process wishes it; several processes ask each other every tenth step only."""
        if self.fabric.world_size == 1:
            return wish
        if done % 10:
            return False
        flag = torch.tensor(float(wish), device=self.fabric.device)
        return bool(cast(torch.Tensor, self.fabric.all_reduce(flag, reduce_op="sum")) > 0)

    def _save(self, done: int) -> None:
        if not all(bool(torch.isfinite(p).all()) for p in self.plan.method.parameters()):
            raise self._diverged(f"a weight is no longer a number after step {done}")
        self._write(done, "last")
        self.saved = time.monotonic()

    def _write(self, done: int, name: str) -> None:
        if self.fabric.is_global_zero:
            state = {"method": self.plan.method.state_dict(), "optimizer": self.optimizer.state_dict()}
            checkpoints.save(folder.checkpoint(self.place, name), {**state, "step": done, "best": self.best})

    def _restore(self) -> int:
        """Loads the last checkpoint, if there is one; returns the number of steps that are done."""
        path = folder.checkpoint(self.place)
        if not path.exists():
            return 0
        state = checkpoints.load(path)
        try:
            self.plan.method.load_state_dict(state["method"])
            self.optimizer.load_state_dict(state["optimizer"])
        except (RuntimeError, ValueError, KeyError) as error:
            raise checkpoints.BadCheckpoint(f"{path} does not fit this recipe: {error}") from error
        self.best = float(state["best"])
        return int(state["step"])

    def _diverged(self, what: str) -> Diverged:
        path = folder.checkpoint(self.place)
        kept = f"the last good checkpoint is {path}" if path.exists() else "no checkpoint had been written yet"
        return Diverged(f"{what}; {kept}. Try a smaller learning rate (--optim.lr), or look at the data.")


def _split(dataset: Dataset, recipe: Recipe) -> tuple[Dataset, Dataset | None]:
    """Keeps a share of the samples out of training, the same ones for the same seed; none of a tiny data set."""
    size = len(cast(list, dataset))
    held = int(recipe.holdout * size)
    if size < 2:
        raise ValueError(f"training needs at least two samples; the data set has {size}.")
    if held < 2:
        return dataset, None
    order = torch.randperm(size, generator=torch.Generator().manual_seed(mix(recipe.seed, 1))).tolist()
    return Subset(dataset, sorted(order[held:])), Subset(dataset, sorted(order[:held]))


def _item_shape(dataset: Dataset) -> tuple[int, ...]:
    """Shape of the first sample that can be read."""
    bad: list[Unreadable] = []
    for index in range(min(len(cast(list, dataset)), 1000)):
        sample = dataset[index]
        if not isinstance(sample, Unreadable):
            return tuple(as_item(sample[0] if isinstance(sample, (tuple, list)) else sample).shape)
        bad.append(sample)
    log = SkipLog(limit=len(bad))
    log.add(bad)
    raise ValueError(f"not one sample could be read. {log.summary()}")


def _board(place: Path, first: int) -> Any:
    """TensorBoard's writer, where it is installed; events of later steps than ``first`` are dropped."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(place / "tensorboard"), purge_step=first + 1 if first else None)
