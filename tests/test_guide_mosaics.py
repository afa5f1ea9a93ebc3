"""The programs of the guide to sorting and mosaics run as they are printed, and end in what their comments say."""

import re
from pathlib import Path

import torch

GUIDE = Path(__file__).resolve().parents[1] / "docs" / "guides" / "mosaics.md"


def test_the_programs_do_what_their_comments_say(capsys):
    modules, sorting = re.findall(r"^```python\n(.*?)^```", GUIDE.read_text(), re.DOTALL | re.MULTILINE)
    found: dict = {}

    with torch.random.fork_rng():
        exec(compile(modules, "modules", "exec"), found)
        exec(compile(sorting, "sorting", "exec"), {})

    assert found["sequence"].shape == (8, 10, 32)
    assert found["mosaic"].shape == (8, 6, 3, 16, 16)
    assert found["permutation"].shape == (8, 6, 6)
    assert "tensor(1.)" in sorting
    assert capsys.readouterr().out == "tensor(1.)\n"
