"""Calls the C libraries at random under address and undefined-behaviour sanitizers, and checks what must always hold.

Not collected by pytest: ``make fuzz``, or

    python tests/fuzz_native [--seconds 20] [--seed 0]

The parent compiles the libraries with sanitizers and starts itself again with libasan preloaded. The child knows numpy
and ctypes only (PyTorch under a sanitizer is slow and noisy) and hands in what the loader may: any strides that are not
negative, any mask, any numbers, in memory of exactly the size needed. Every file beside this one draws the calls of one
kind of operator, and says in ``CALLED`` which functions these are.
"""

from __future__ import annotations

import argparse
import ast
import ctypes
import importlib.util
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import assignment
import network
import numpy as np
import ranks
import sinkhorn
import transport
from memory import Memory

import views

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ROOT / "src/unshuffle"
SANITIZERS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer", "-g", "-O1"]
KINDS = {"ops": (ranks, network, assignment, sinkhorn, transport), "data": (views,)}
"""What calls the library of which folder."""


def load(path: Path, folder: str) -> ctypes.CDLL:
    """The library with the loader's own signatures, read from its source: importing it would import PyTorch."""
    wanted = {"_pointer", "_ROWS", "_SIGNATURES"}
    names: dict[str, Any] = {"ctypes": ctypes}
    for statement in ast.parse((SOURCES / folder / "_native/__init__.py").read_text()).body:
        if isinstance(statement, ast.Assign):
            assigned = {node.id for node in ast.walk(statement.targets[0]) if isinstance(node, ast.Name)}
            if assigned & wanted:
                exec(compile(ast.Module([statement], []), "loader", "exec"), names)
    library = ctypes.CDLL(str(path))
    for name, arguments in names["_SIGNATURES"].items():
        getattr(library, name).argtypes = arguments
    called = set().union(*(kind.CALLED for kind in KINDS[folder]))
    assert set(names["_SIGNATURES"]) == called, "these files do not call what the loader does"
    return library


def run(libraries: Path, seconds: float, seed: int) -> None:
    loaded = {folder: load(libraries / f"{folder}.so", folder) for folder in KINDS}
    draws = [(loaded[folder], draw) for folder, kinds in KINDS.items() for kind in kinds for draw in kind.DRAWS]
    memory = Memory()
    start, cases = time.monotonic(), 0
    while time.monotonic() - start < seconds:
        try:
            library, draw = draws[cases % len(draws)]
            draw(library, np.random.default_rng([seed, cases]), memory)
        except BaseException:
            print(f"fuzz: case {cases} of seed {seed}", file=sys.stderr)
            raise
        memory.clear()
        cases += 1
    print(f"fuzz: {cases} cases in {seconds:.0f} s (seed {seed}), nothing found")


def compile_libraries(libraries: Path) -> None:
    spec = importlib.util.spec_from_file_location("hatch_build", ROOT / "hatch_build.py")
    assert spec is not None
    assert spec.loader is not None
    hook = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(hook)
    os.environ["CC"] = "gcc"  # its libasan is the one that is preloaded
    for folder in KINDS:
        problem = hook.compile_library(SOURCES / folder / "_native", libraries / f"{folder}.so", extra=SANITIZERS)
        if problem:
            sys.exit(f"fuzz: the library of {folder} was not built: {problem}")


def main(arguments: argparse.Namespace) -> int:
    if arguments.libraries:
        run(arguments.libraries, arguments.seconds, arguments.seed)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        compile_libraries(Path(folder))
        found = subprocess.run(["gcc", "-print-file-name=libasan.so"], capture_output=True, text=True, check=True)
        environment = {
            **os.environ,
            "LD_PRELOAD": found.stdout.strip(),
            "ASAN_OPTIONS": "detect_leaks=0",  # Python's own
            "UBSAN_OPTIONS": "print_stacktrace=1",
            "OMP_NUM_THREADS": "1",
        }
        return subprocess.run([sys.executable, *sys.argv, "--libraries", folder], env=environment).returncode


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--libraries", type=Path, help=argparse.SUPPRESS)
    sys.exit(main(parser.parse_args()))
