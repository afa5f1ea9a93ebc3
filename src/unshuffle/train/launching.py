"""The processes of a job, started by Lightning."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from lightning.fabric import Fabric
from lightning.fabric.strategies.ddp import DDPStrategy
from lightning.fabric.strategies.launchers import subprocess_script
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.fabric.utilities.imports import _IS_INTERACTIVE

from unshuffle.train import watch
from unshuffle.train.machine import Machine
from unshuffle.train.together import part_at_exit

PATIENCE = timedelta(days=1)
"""Of PyTorch's own collectives, which end a process with a trace: :mod:`unshuffle.train.watch` comes first."""


def launched(machine: Machine) -> Fabric:
    """All processes of the job, started.

    Raises:
        ValueError: this computer has no such device.
        Lost: a process did not start in time.
    """
    several = machine.devices * machine.nodes > 1 and not _IS_INTERACTIVE
    try:
        fabric = Fabric(
            accelerator=machine.device, devices=machine.devices, num_nodes=machine.nodes, precision=machine.precision,
            strategy=_Strategy(machine.timeout) if several else "auto",
        )  # fmt: skip
    except (MisconfigurationException, ImportError, RuntimeError, ValueError, TypeError) as error:
        asked = f"--device {machine.device} --devices {machine.devices} --precision {machine.precision}"
        raise ValueError(f"{asked} cannot be had here: {error}") from error
    fabric.launch()
    part_at_exit()
    return fabric


class _Strategy(DDPStrategy):
    """Averages gradients; waits for all processes by name, and leaves it to the watch to end what is left."""

    def __init__(self, minutes: float) -> None:
        super().__init__(timeout=PATIENCE)
        self.minutes = minutes

    def _configure_launcher(self) -> None:
        super()._configure_launcher()
        # Lightning's own observer kills the first process, which then cannot say what happened.
        if hasattr(subprocess_script, "_launch_process_observer"):
            subprocess_script._launch_process_observer = _observe

    def _setup_distributed(self) -> None:
        self._set_world_ranks()
        env: Any = self.cluster_environment
        watch.gather(
            env.main_address, env.main_port, rank=self.global_rank, processes=self.num_processes * self.num_nodes,
            minutes=self.minutes,
        )  # fmt: skip
        super()._setup_distributed()


def _observe(children: list[Any]) -> None:
    watch.children = children
