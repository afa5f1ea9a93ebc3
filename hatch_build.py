"""Compiles the C libraries into the wheel, where a C compiler is found; without one the wheel is pure Python.

They touch neither Python nor PyTorch, so the wheel is ``py3-none-<platform>``: one for all versions of both.
``CC`` names the compiler; ``UNSHUFFLE_BUILD_NATIVE`` is 0 (never), 1 (or fail), or unset (if it can be done);
``UNSHUFFLE_CFLAGS`` is added to the flags.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

FOLDERS = [Path("src/unshuffle/ops/_native"), Path("src/unshuffle/data/_native")]
HEADERS = Path(__file__).resolve().parent / "src/unshuffle/_compiled"  # what they share
NAME = "libunshuffle.native.so"
FLAGS = [
    "-std=c11",
    "-O3",
    "-fPIC",
    "-shared",
    "-fvisibility=hidden",
    "-fopenmp-simd",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-ffp-contract=fast",
]


class NativeBuildHook(BuildHookInterface):
    """Builds each folder's ``libunshuffle.native.so`` before the wheel, editable or not, is packed."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compiles, and tags the wheel for this platform if that worked."""
        wanted = os.environ.get("UNSHUFFLE_BUILD_NATIVE", "")
        libraries = {Path(self.root) / folder: Path(self.root) / folder / NAME for folder in FOLDERS}
        if self.target_name != "wheel":
            return
        for library in libraries.values():
            library.unlink(missing_ok=True)
        if wanted == "0":
            return
        for folder, library in libraries.items():
            problem = compile_library(folder, library)
            if problem and wanted == "1":
                raise RuntimeError(f"unshuffle: the C library was not built: {problem}")
            if problem:
                self.app.display_warning(f"unshuffle: no C library, PyTorch does its work, more slowly: {problem}")
                return
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{_platform()}"
        build_data["artifacts"] += [str(folder / NAME) for folder in FOLDERS]


def compile_library(folder: Path, library: Path, extra: list[str] | None = None, command: str = "") -> str | None:
    """Compiles all C files of ``folder`` with ``command`` (by default ``CC``); returns what went wrong, or None."""
    compiler = (
        shlex.split(command or os.environ.get("CC", ""))
        or [found for name in ("cc", "gcc", "clang") if (found := shutil.which(name))][:1]
    )
    if not compiler:
        return "no C compiler (cc, gcc or clang) was found"
    flags = [
        *FLAGS,
        f"-I{HEADERS}",
        f'-DUNSHUFFLE_FINGERPRINT="{_fingerprint(folder)}"',
        *shlex.split(os.environ.get("UNSHUFFLE_CFLAGS", "")),
        *(extra or []),
    ]
    sources = sorted(map(str, folder.glob("*.c")))
    libraries = [] if sys.platform == "win32" else ["-lm", "-lpthread"]
    try:
        done = subprocess.run(
            [*compiler, *flags, "-o", str(library), *sources, *libraries], capture_output=True, text=True
        )
    except OSError as error:
        return str(error)
    return None if done.returncode == 0 else done.stderr.strip()[-2000:]


def _fingerprint(folder: Path) -> str:
    """The same as ``unshuffle._compiled.fingerprint``, which cannot be imported before the package is built."""
    digest = hashlib.sha256()
    for path in (*sorted(folder.glob("*.[ch]")), *sorted(HEADERS.glob("*.h"))):
        digest.update(path.read_bytes().replace(b"\r\n", b"\n"))
    return digest.hexdigest()[:16]


def _platform() -> str:
    return sysconfig.get_platform().replace("-", "_").replace(".", "_")
