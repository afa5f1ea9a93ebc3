"""Every example in a docstring runs and prints what it says."""

import doctest
import importlib
import pkgutil

import pytest

import unshuffle

MODULES = ["unshuffle"] + [
    module.name
    for module in pkgutil.walk_packages(unshuffle.__path__, "unshuffle.")
    if not module.name.startswith("unshuffle.cli") and not module.name.endswith("__main__")
]


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name):
    module = importlib.import_module(name)

    failed, _ = doctest.testmod(module, optionflags=doctest.NORMALIZE_WHITESPACE)

    assert failed == 0


def test_there_are_examples():
    """That the finder looks behind the decorators of jaxtyping and functools too."""
    finder = doctest.DocTestFinder()
    found = {t.name for name in MODULES for t in finder.find(importlib.import_module(name)) if t.examples}

    assert {"unshuffle.permutations.sample", "unshuffle.losses.fenchel_young.fenchel_young"} <= found
    assert any(name.startswith("unshuffle.ops.") for name in found)
