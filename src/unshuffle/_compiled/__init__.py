"""Hot loops in C behind a door: plain C11 on raw pointers, one shared library a folder, loaded with ctypes.

A folder that holds C (:mod:`unshuffle.ops._native`, :mod:`unshuffle.data._native`) names the functions and calls them;
what such folders share lies here: how a library is found, checked, called and switched off, and the headers for
threads and lanes. A library knows nothing of Python or PyTorch, so one build serves every version of both. Where it is
missing (no compiler when the package was built) everything works without, in PyTorch, more slowly.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor
from torch.autograd import forward_ad

HEADERS = Path(__file__).parent
NAME = "libunshuffle.native.so"  # on every platform; the second dot says that it is no module
_ITEMS_PER_THREAD = 8192  # below this a thread costs more than it saves

enabled = os.environ.get("UNSHUFFLE_NATIVE", "1") != "0"


def fingerprint(folder: Path) -> str:
    """What the sources of a folder's library hash to; a library that says otherwise is stale, and not loaded."""
    digest = hashlib.sha256()
    for path in (*sorted(folder.glob("*.[ch]")), *sorted(HEADERS.glob("*.h"))):
        digest.update(path.read_bytes().replace(b"\r\n", b"\n"))
    return digest.hexdigest()[:16]


def load(path: Path, folder: Path, signatures: Mapping[str, tuple[type, ...]]) -> ctypes.CDLL | None:
    """The library of a folder's sources, or None, with a warning where there is one that does not fit."""
    if not path.exists():
        return None
    try:
        library = ctypes.CDLL(str(path))
        library.unshuffle_fingerprint.restype = ctypes.c_char_p
        if library.unshuffle_fingerprint().decode() != fingerprint(folder):
            raise OSError("it was built from other sources")
    except (OSError, AttributeError) as error:
        warnings.warn(
            f"unshuffle: {path} is not used ({error}); its work is done in PyTorch, more slowly. Install again.",
            stacklevel=3,
        )
        return None
    for name, arguments in signatures.items():
        getattr(library, name).argtypes = arguments
    return library


@contextmanager
def disabled() -> Iterator[None]:
    """Inside, everything takes its PyTorch path."""
    global enabled
    before, enabled = enabled, False
    try:
        yield
    finally:
        enabled = before


def traced() -> bool:
    """Whether this is being compiled or recorded (``torch.compile``, ``make_fx``): what C writes would not be seen."""
    return torch.compiler.is_compiling() or torch._C._len_torch_dispatch_stack() > 0


def transformed() -> bool:
    """Whether this is being traced, or is inside a transform of ``torch.func``: nothing may depend on the numbers."""
    return traced() or torch._C._are_functorch_transforms_active()


def plain(values: Tensor) -> bool:
    """Whether doors are open, and ``values`` may go through one: plain CPU data, eager, outside transforms."""
    return (
        enabled
        and not transformed()
        and values.is_cpu
        and type(values) in (Tensor, torch.nn.Parameter)
        and not torch._C._functorch.is_legacy_batchedtensor(values)  # pyright: ignore[reportAttributeAccessIssue]
        and forward_ad._current_level < 0
    )


def threads_for(work: int) -> int:
    """As many threads as ``work``, in items, is worth."""
    return min(torch.get_num_threads(), 1 + work // _ITEMS_PER_THREAD) if work > _ITEMS_PER_THREAD else 1
