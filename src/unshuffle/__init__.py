"""unshuffle: learning from order.

Operators (:mod:`unshuffle.ops`) and losses (:mod:`unshuffle.losses`) need PyTorch alone and are imported
with the package. Training, loading and the recipes need the ``train`` extra and are imported on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from unshuffle import losses, ops, permutations

if TYPE_CHECKING:
    from unshuffle import recipes
    from unshuffle.evals.encoder import load
    from unshuffle.train.engine import fit
    from unshuffle.train.machine import Machine

__version__ = "0.1.0"
__all__ = ["Machine", "__version__", "fit", "load", "losses", "ops", "permutations", "recipes"]

_LAZY = {
    "fit": "unshuffle.train.engine",
    "Machine": "unshuffle.train.machine",
    "load": "unshuffle.evals.encoder",
    "recipes": "unshuffle.recipes",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'unshuffle' has no attribute {name!r}")
    try:
        module = importlib.import_module(_LAZY[name])
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] == "unshuffle":
            raise
        raise ImportError(
            f"unshuffle.{name} needs {error.name!r}, which the operators do not: pip install 'unshuffle[train]'"
        ) from error
    return module if name == "recipes" else getattr(module, name)


def __dir__() -> list[str]:
    return sorted(__all__)
