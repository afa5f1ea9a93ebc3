"""unshuffle: learning from order.

Operators (:mod:`unshuffle.ops`) and losses (:mod:`unshuffle.losses`) need PyTorch, numpy, scipy and jaxtyping alone.
Training, loading and the recipes need the ``train`` extra. Everything is imported on first use, so that
``unshuffle --help`` does not wait for PyTorch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from unshuffle import losses, ops, permutations, recipes
    from unshuffle.evals.encoder import load
    from unshuffle.methods.permopt import GridOptimizer, LinearAssigner, PermutationOptimizer
    from unshuffle.train.engine import fit
    from unshuffle.train.machine import Machine

__version__ = "0.1.0"
__all__ = [
    "GridOptimizer",
    "LinearAssigner",
    "Machine",
    "PermutationOptimizer",
    "__version__",
    "fit",
    "load",
    "losses",
    "ops",
    "permutations",
    "recipes",
]

_MODULES = ("losses", "ops", "permutations", "recipes")
_NAMES = {
    "GridOptimizer": "unshuffle.methods.permopt",
    "LinearAssigner": "unshuffle.methods.permopt",
    "Machine": "unshuffle.train.machine",
    "PermutationOptimizer": "unshuffle.methods.permopt",
    "fit": "unshuffle.train.engine",
    "load": "unshuffle.evals.encoder",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES and name not in _NAMES:
        raise AttributeError(f"module 'unshuffle' has no attribute {name!r}")
    try:
        if name in _MODULES:
            return importlib.import_module(f"unshuffle.{name}")
        return getattr(importlib.import_module(_NAMES[name]), name)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] == "unshuffle":
            raise
        raise ImportError(
            f"unshuffle.{name} needs {error.name!r}, which the operators do not: pip install 'unshuffle[train]'"
        ) from error


def __dir__() -> list[str]:
    return sorted(__all__)
