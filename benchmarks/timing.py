"""How benchmarks measure: interleaved rounds, medians, the memory of one call, and what machine it was."""

from __future__ import annotations

import ctypes
import gc
import os
import platform
import statistics
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from time import perf_counter

Call = Callable[[], object]

_SAMPLE = 2e-3  # seconds: far above the clock's own error
_FEWEST_ROUNDS = 5
_STATUS, _CLEAR_REFS = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def interleaved(calls: Mapping[str, Call], *, seconds: float, repeats: int) -> dict[str, list[float]]:
    """Times calls in rounds, each once a round, so that whatever disturbs the machine disturbs all of them.

    Args:
        calls: what to time, by name. Every second round takes them in the opposite order.
        seconds: rounds stop after this long (but there are at least five).
        repeats: the most rounds.

    Returns:
        By name, seconds per call: one number a round, the mean over as many calls as fill two milliseconds.
    """
    loops = {name: _loops(call) for name, call in calls.items()}
    samples: dict[str, list[float]] = {name: [] for name in calls}
    collects = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        end = perf_counter() + seconds
        for turn in range(repeats):
            if turn >= _FEWEST_ROUNDS and perf_counter() > end:
                break
            for name in list(calls)[:: -1 if turn % 2 else 1]:
                samples[name].append(_seconds(calls[name], loops[name]))
    finally:
        if collects:
            gc.enable()
    return samples


def _loops(call: Call) -> int:
    """How many calls fill a sample; also warms up, with the fewest calls where one is long."""
    first = _seconds(call, 1)
    if first > 10 * _SAMPLE:
        return 1
    return max(1, round(_SAMPLE / min(_seconds(call, 1) for _ in range(3))))


def _seconds(call: Call, loops: int) -> float:
    start = perf_counter()
    for _ in range(loops):
        call()
    return (perf_counter() - start) / loops


def quartiles(values: list[float]) -> list[float]:
    """The lower quartile, the median and the upper quartile."""
    return statistics.quantiles(values, n=4, method="inclusive")


def peak_memory(call: Call) -> int | None:
    """Bytes that one call needs at its peak beyond what is resident before it; None off Linux with glibc.

    Meaningful for large calls only: small ones live on pages that the allocator keeps.
    """
    try:
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)  # what earlier calls freed is resident still, and would be used again
        _CLEAR_REFS.write_text("5")  # the peak starts again from what is resident now
        before = _resident("VmHWM")
        call()
        return max(0, _resident("VmHWM") - before)
    except (OSError, AttributeError, StopIteration):
        return None


def _resident(field: str) -> int:
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) * 1024


def machine() -> dict[str, object]:
    """The processor, its cores open to this process, the system and the Python."""
    affinity = getattr(os, "sched_getaffinity", None)
    return {
        "cpu": _processor(),
        "cores": len(affinity(0)) if affinity else os.cpu_count(),
        "os": _system(),
        "python": platform.python_version(),
    }


def _processor() -> str:
    try:
        facts = dict(
            [part.strip() for part in line.split(":", 1)]
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if ":" in line
        )
        family = f"family {facts['cpu family']} model {facts['model']}"
        return f"{facts['model name']} ({family}, {'AVX-512' if 'avx512f' in facts['flags'] else 'no AVX-512'})"
    except (OSError, KeyError):
        return platform.processor() or platform.machine()


def _system() -> str:
    try:
        name = platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        name = platform.system()
    return f"{name}, {platform.machine()}"


def versions(*packages: str) -> dict[str, str]:
    """Installed versions, of those that are."""
    found = ((package, _version(package)) for package in packages)
    return {package: version for package, version in found if version}


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""
