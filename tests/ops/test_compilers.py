"""Two compilers make the same libraries: without a warning, with the same answers, and without masked reads."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import matrix_contract
import pytest
import torch
from contract import CASES
from oracles import numbers
from torch import Tensor

from unshuffle import _compiled
from unshuffle.data import _native as views_native
from unshuffle.ops import _native
from unshuffle.ops.transport import transport

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))
import portable  # noqa: E402

DOORS = {"ops": _native, "data": views_native}

# A compiler that nobody has tried may warn where these do not: no reason for a test to fail on a fresh machine.
pytestmark = [
    pytest.mark.once,
    pytest.mark.skipif(os.environ.get("UNSHUFFLE_NEED_COMPILERS") != "1", reason="UNSHUFFLE_NEED_COMPILERS is not 1"),
]


def compiled_by(compiler: str, folder: Path, *flags: str) -> Path:
    """Both libraries, warnings being errors, in ``folder``."""
    hook, flags = portable.build_hook(), (*portable.WARNINGS[compiler], *flags)
    for name, door in DOORS.items():
        problem = hook.compile_library(door.FOLDER, folder / f"{name}.so", [*flags], compiler)
        assert problem is None, problem
    return folder


@pytest.fixture(scope="module")
def by_clang(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compiled_by("clang", tmp_path_factory.mktemp("clang"))


def test_gcc_gives_no_warning_and_masks_no_read(tmp_path):
    """GCC 12 masks reads of several rows with the condition of the first: no read may hang on a condition."""
    compiled_by("gcc", tmp_path, "-fdump-tree-optimized", "-dumpdir", f"{tmp_path}/")

    dumps = list(tmp_path.glob("*.optimized"))
    assert dumps
    for dump in dumps:
        assert not re.findall(r"\.MASK_LOAD[^;]*;", dump.read_text()), dump.name


CALLS: dict[str, Callable[[Tensor], Tensor]] = {
    **{case.name: case for case in CASES},
    **{
        f"{case.name}, masked": partial(case, mask=numbers(5, 9, seed=1) < 0.6)
        for case in CASES
        if "mask" not in case.lacks
    },
}
MATRIX_CALLS: dict[str, Callable[[Tensor], Tensor]] = {
    **{case.name: case for case in matrix_contract.CASES},
    **{
        f"{case.name}, padded": partial(case, mask=(torch.arange(9) < 6)[:, None] & (torch.arange(9) < 7))
        for case in matrix_contract.CASES
        if "mask" not in case.lacks
    },
    "transport": lambda scores: transport(scores.reshape(-1, 9)).plan(),
    "infinities": lambda scores: matrix_contract.CASES[0](scores.index_fill(-1, torch.tensor([2, 4]), -torch.inf)),
}


def answers(call: Callable[[Tensor], Tensor], values: Tensor) -> list[Tensor]:
    values = values.clone().requires_grad_()
    answer = call(values)
    if not answer.requires_grad:
        return [answer]
    return [answer.detach(), *torch.autograd.grad(answer, values, numbers(*answer.shape, seed=5).to(answer.dtype))]


@pytest.mark.skipif(not _native.available(), reason="the library in C was not built here")
@pytest.mark.parametrize(
    ("call", "shape"),
    [pytest.param(call, (5, 9), id=name) for name, call in CALLS.items()]
    + [pytest.param(call, (5, 9, 9), id=name) for name, call in MATRIX_CALLS.items()],
)
def test_the_library_of_clang_gives_the_same_answers(call, shape, by_clang, monkeypatch):
    expected = answers(call, numbers(*shape, seed=3))

    monkeypatch.setattr(_native, "_load", partial(_native._load, by_clang / "ops.so"))
    assert _native.available()
    found = answers(call, numbers(*shape, seed=3))

    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


def test_both_libraries_of_clang_fit_their_sources(by_clang):
    for name, door in DOORS.items():
        assert _compiled.load(by_clang / f"{name}.so", door.FOLDER, door._SIGNATURES) is not None
