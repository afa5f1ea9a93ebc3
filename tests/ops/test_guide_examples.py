"""The programs of the guides run as they are printed, and learn what their last lines say."""

import re
from pathlib import Path

import pytest
import torch

GUIDES = Path(__file__).resolve().parents[2] / "docs" / "guides"
COUNTS = {"ranking.md": 4, "matching.md": 3}


def programs(page: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", (GUIDES / page).read_text(), re.DOTALL | re.MULTILINE)


def headings(page: str) -> list[str]:
    return re.findall(r"^## (.*)$", (GUIDES / page).read_text(), re.MULTILINE)


PROGRAMS = [
    pytest.param(page, program, id=heading)
    for page in COUNTS
    for program, heading in zip(programs(page), headings(page))
]


@pytest.mark.parametrize("page", COUNTS)
def test_every_recipe_has_one_program(page):
    assert len(programs(page)) == len(headings(page)) == COUNTS[page]


@pytest.mark.once
@pytest.mark.parametrize(("page", "program"), PROGRAMS)
def test_the_program_learns_beyond_the_bound_it_names(page, program, capsys):
    (bound,) = re.findall(r"# above ([\d.]+)\n\Z", program)
    names: dict[str, float] = {}
    if "sklearn" in program:
        pytest.importorskip("sklearn")

    with torch.random.fork_rng():
        exec(compile(program, page, "exec"), names)

    assert names["before"] < float(bound) - 0.2
    assert names["after"] > float(bound)
    assert capsys.readouterr().out.endswith(f"{names['before']:.2f} -> {names['after']:.2f}\n")
