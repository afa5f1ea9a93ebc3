"""The processes of a job, started by Lightning."""

from __future__ import annotations

from lightning.fabric import Fabric
from lightning.fabric.utilities.exceptions import MisconfigurationException

from unshuffle.train.machine import Machine
from unshuffle.train.together import part_at_exit


def launched(machine: Machine) -> Fabric:
    """All processes of the job, started.

    Raises:
        ValueError: this computer has no such device.
    """
    try:
        fabric = Fabric(
            accelerator=machine.device, devices=machine.devices, num_nodes=machine.nodes, precision=machine.precision
        )
    except (MisconfigurationException, RuntimeError, ValueError, TypeError) as error:
        asked = f"--device {machine.device} --devices {machine.devices} --precision {machine.precision}"
        raise ValueError(f"{asked} cannot be had here: {error}") from error
    fabric.launch()
    part_at_exit()
    return fabric
