"""Shift of the tests' seeds: ``UNSHUFFLE_TEST_SEED=n`` adds n to every seed that a test sets.

A claim that holds for one seed only is a claim about that seed. With another base the same tests draw other numbers,
hypothesis other examples. Only seeds set in files of this folder are shifted: a seed that is given to the package, and
one that the package sets itself, stay what they are. Without the variable nothing is changed.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

BASE = int(os.environ.get("UNSHUFFLE_TEST_SEED") or 0)
_FOLDER = str(Path(__file__).resolve().parent) + os.sep
_shifting = True


def shift() -> None:
    """Have seeds that are set in this folder mean others, unless the base is 0."""
    if BASE:
        torch.Generator = _Generator
        torch.manual_seed, np.random.default_rng = _shifted(torch.manual_seed), _shifted(np.random.default_rng)


def keep(kept: bool) -> None:
    """Leave seeds as they are, or shift them again."""
    global _shifting
    _shifting = not kept


def _shifted(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda seed=None: function(_by_caller(seed))


class _Generator(torch.Generator):
    def manual_seed(self, seed: int) -> torch.Generator:
        return super().manual_seed(_by_caller(seed))


def _by_caller(seed: Any) -> Any:
    """The seed, shifted if it is a number and the caller of the caller is a file of this folder."""
    from_a_test = sys._getframe(2).f_code.co_filename.startswith(_FOLDER)
    if not (_shifting and from_a_test):
        return seed
    if isinstance(seed, list):
        return [*seed, BASE]
    return seed + BASE if isinstance(seed, int) else seed
