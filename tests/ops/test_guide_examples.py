"""The programs of the guide to ranking run as they are printed, and learn what their last lines say."""

import re
from pathlib import Path

import pytest
import torch

PAGE = Path(__file__).resolve().parents[2] / "docs" / "guides" / "ranking.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)
HEADINGS = re.findall(r"^## (.*)$", PAGE.read_text(), re.MULTILINE)


def test_every_recipe_has_one_program():
    assert len(BLOCKS) == len(HEADINGS) == 4


@pytest.mark.parametrize("program", BLOCKS, ids=HEADINGS)
def test_the_program_learns_beyond_the_bound_it_names(program, capsys):
    (bound,) = re.findall(r"# above ([\d.]+)\n\Z", program)
    names: dict[str, float] = {}
    if "sklearn" in program:
        pytest.importorskip("sklearn")

    with torch.random.fork_rng():
        exec(compile(program, str(PAGE), "exec"), names)

    assert names["before"] < float(bound) - 0.2
    assert names["after"] > float(bound)
    assert capsys.readouterr().out.endswith(f"{names['before']:.2f} -> {names['after']:.2f}\n")
