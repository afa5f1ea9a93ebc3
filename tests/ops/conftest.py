"""Both ways through an operator: the loops in C and plain PyTorch."""

from collections.abc import Iterator
from contextlib import nullcontext

import pytest

from unshuffle.ops import _native


@pytest.fixture(params=["native", "pytorch"])
def path(request: pytest.FixtureRequest) -> Iterator[str]:
    """The test runs once on each path."""
    if request.param == "native" and not _native.available():
        pytest.skip("the library in C was not built here")
    with nullcontext() if request.param == "native" else _native.disabled():
        yield request.param
