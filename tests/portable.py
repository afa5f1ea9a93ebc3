"""Runs tests as another machine would: fewer instructions, another compiler for the C libraries, other seeds.

    python tests/portable.py [--compiler clang] [--seed 1000] -- PYTEST_ARGUMENTS

PyTorch's kernels are held to what every x86-64 has. The package is copied, its C libraries compiled with warnings as
errors; Clang compiles no versions for larger instruction sets. The installed package stays as it is.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[1]
LOWERED = {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41", "MKL_ENABLE_INSTRUCTIONS": "SSE4_2"}
WARNINGS = {
    "gcc": ["-Wall", "-Wextra", "-Werror"],
    "clang": ["-Wall", "-Wextra", "-Werror", "-Wno-pass-failed"],  # a loop that is not vectorized is no fault
}


def build_hook() -> ModuleType:
    """The module that compiles the libraries, which is not in the package."""
    spec = importlib.util.spec_from_file_location("hatch_build", ROOT / "hatch_build.py")
    assert spec is not None
    assert spec.loader is not None
    hook = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(hook)
    return hook


def compile_libraries(compiler: str, source: Path) -> None:
    """Compile the libraries of the package in ``source`` in place."""
    hook = build_hook()
    for folder in (source / path.relative_to("src") for path in hook.FOLDERS):
        problem = hook.compile_library(folder, folder / hook.NAME, WARNINGS[compiler], compiler)
        if problem:
            sys.exit(f"portable: {compiler} did not compile {folder.parent.name}: {problem}")


def main(arguments: argparse.Namespace) -> int:
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "src"
        shutil.copytree(ROOT / "src", source, ignore=shutil.ignore_patterns("__pycache__", "*.native.so"))
        compile_libraries(arguments.compiler, source)
        environment = {
            **os.environ,
            **LOWERED,
            "PYTHONPATH": str(source),
            "UNSHUFFLE_TEST_SEED": str(arguments.seed),
            "TORCHINDUCTOR_CACHE_DIR": str(Path(folder) / "inductor"),  # what was compiled for this processor stays out
        }
        return subprocess.run([sys.executable, "-m", "pytest", *arguments.rest], env=environment, cwd=ROOT).returncode


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--compiler", choices=WARNINGS, default="clang" if shutil.which("clang") else "gcc")
    parser.add_argument("--seed", type=int, default=1000, help="what is added to the seeds of the tests")
    parser.add_argument("rest", nargs="*", help="handed to pytest")
    sys.exit(main(parser.parse_args()))
