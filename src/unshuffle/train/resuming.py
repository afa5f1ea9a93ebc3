"""Checks before a run goes on: the data and the machine must be those that the run began with."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Dataset, Subset

from unshuffle._check import Explained
from unshuffle._interrupts import is_first
from unshuffle.train import folder, manifest
from unshuffle.train.manifest import Change, DataChanged, Reordered

Facts = dict[str, Any]
"""What decides the last bits of a sum: threads, processes, device, precision, PyTorch, instruction set."""


class OtherMachine(Explained):
    """The checkpoint was made on another kind of machine, or with other settings; the message names them."""


def whole(training: Dataset) -> Dataset:
    """The data set that the indices of training samples refer to; see :func:`~unshuffle.train.parts.places`."""
    return training.dataset if isinstance(training, Subset) else training


def as_stored(run: str | Path, dataset: Dataset, training: Dataset) -> Dataset:
    """The data set in the order that the run began with; checked by the first process, which alone asks for sizes.

    Args:
        run: the run's folder.
        dataset: the data.
        training: the part of it to train on.

    Raises:
        DataChanged: samples are missing, new, or of another size, or have other labels.
        BadManifest: the run's list of samples is damaged.
    """
    if is_first():
        manifest.read(run)  # whole: a list that was cut short may still begin as it did
    change = changed(run, whole(training), sizes=is_first())
    if change is None:
        return dataset
    if change:
        raise DataChanged(
            f"the data have changed since the run began: {change}; {int((change.rows >= 0).sum())} of "
            f"{len(change.rows)} samples are the same. To go on, give back the same data (--data FOLDER, if they were "
            "moved); to train on the new data, start a new run."
        )
    if whole(training) is not dataset:
        raise DataChanged("the samples come in another order than when the run began; give them in that order.")
    return Reordered(dataset, change.rows.tolist())


def changed(run: str | Path, dataset: Dataset, *, sizes: bool = True) -> Change | None:
    """What differs between a run's list of samples and a data set.

    None where all is equal, and where nothing can be compared by name: there is no list, or either has no names.
    """
    head = manifest.read_head(run)
    if head is None:
        return None
    now = manifest.describe(dataset, sizes=sizes)
    if now.digest() == head.digest:
        return None
    stored = manifest.read(run)
    assert stored is not None
    if stored.names is None or now.names is None:
        return None
    change = manifest.compare(stored, now)
    return change if change or change.moved else None


def same_shape(run: str | Path, shape: tuple[int, ...]) -> None:
    """Refuses items of another shape than the run began with.

    Raises:
        DataChanged: they have another.
    """
    stored = manifest.read_head(run)
    if stored is not None and stored.shape not in (None, shape):
        raise DataChanged(
            f"the data have changed: samples of shape {shape}, {stored.shape} when the run began. To go on, give back "
            "the same data; to train on the new data, start a new run."
        )


def record(run: Path, dataset: Dataset, shape: tuple[int, ...], *, resume: bool) -> None:
    """Writes the run's list of samples; one that goes on has it already, or a checkpoint that was made without it."""
    if not resume or not ((run / manifest.FILE).exists() or folder.checkpoint(run).exists()):
        manifest.write(run, manifest.describe(dataset, shape=shape))


def facts(device: torch.device, processes: int, precision: str) -> Facts:
    """This machine, as far as it decides the last bits of what is computed."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    capability = torch.backends.cpu.get_cpu_capability()
    return {
        "threads": torch.get_num_threads(), "processes": processes, "device": name, "precision": precision,
        "torch": str(torch.__version__), "instructions": f"{platform.machine()} {capability}",
    }  # fmt: skip


def difference(before: Facts, now: Facts) -> str:
    """For example ``threads: 4, now 2; torch: 2.6.0, now 2.7.1``; "" where all is equal."""
    return "; ".join(f"{key}: {before[key]}, now {now.get(key)}" for key in before if before[key] != now.get(key))


def recognized(
    known: list[Facts], now: Facts, *, step: int, left: int, allowed: bool, command: str
) -> tuple[list[Facts], str]:
    """The machines of a run with the present one, and a sentence where that is another; see :func:`facts`.

    Args:
        known: those of the checkpoint, each with the ``step`` from which it was used.
        now: this one.
        step: of the checkpoint.
        left: steps still to do: where there are none, the machine does not matter.
        allowed: whether another machine may go on.
        command: goes on with the run.

    Raises:
        OtherMachine: it is another, and that is not allowed.
    """
    differs = difference({key: value for key, value in known[-1].items() if key != "step"}, now)
    if not differs or not left:
        return known, ""
    if not allowed:
        raise OtherMachine(
            f"this is not the machine of the checkpoint ({differs}): the run would not end bit for bit like one that "
            "was never stopped. Give back what it had, or go on all the same: "
            f"{command} --allow-different-machine"
        )
    return [*known, now | {"step": step}], f"Goes on from step {step} on another machine ({differs})."
