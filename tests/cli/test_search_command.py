"""``unshuffle search``: what lies nearest to pictures of one's own."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from small import pictures

from unshuffle.evals.encoder import load


@pytest.fixture
def queries(tmp_path) -> list[Path]:
    """Two pictures that are not in the index."""
    return sorted(pictures(tmp_path / "mine", 2, seed=9).iterdir())


def named(out: str) -> list[list[str]]:
    """What was found, query by query."""
    parts = re.split(r"^nearest to .*:$", out, flags=re.MULTILINE)[1:]
    return [re.findall(r"^ +\d+ +-?\d\.\d+  (\S+)$", part, re.MULTILINE) for part in parts]


def test_the_nearest_pictures_are_told_and_shown(trained, classes, queries, tmp_path, call):
    out = tmp_path / "deep" / "found.png"
    done = call("search", trained, *queries, "--index", classes, "--count", "5", "--out", out)

    assert done.status == 0, done.err
    encoder = load(trained)
    bank = encoder.open(classes)
    rows, mine = (
        vectors / vectors.norm(dim=1, keepdim=True)
        for vectors in (
            encoder.embed([bank[i][0] for i in range(len(bank))]),
            encoder.embed([bank.source.prepare(Image.open(path)) for path in queries]),
        )
    )
    nearest = (mine @ rows.T).topk(5, 1).indices
    assert named(done.out) == [[bank.names[i] for i in row] for row in nearest.tolist()]
    picture = Image.open(out)
    assert picture.width > 2 * picture.height > 200
    assert np.asarray(picture.convert("L")).std() > 10


def test_a_query_does_not_find_itself(trained, classes, tmp_path, call):
    query = classes / "cat" / "03.png"
    done = call("search", trained, "--index", classes, query, "--count", "20", "--out", tmp_path / "found.png")

    assert done.status == 0, done.err
    (found,) = named(done.out)
    assert len(found) == len(set(found)) == 15
    assert "cat/03.png" not in found


@pytest.mark.errors
@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ([], "give a QUERY"),
        (["nowhere.png"], "no file 'nowhere.png'"),
        (["{query}", "--count", "0"], "--count must be from 1 to 10,000; got 0"),
        (["{query}", "--out", "found.gif"], "must be a .png"),
        (["{torn}"], "torn.png cannot be read: not an image that can be identified"),
        (["{query}", "--index", "{alone}"], "holds the query alone"),
    ],
)
def test_what_cannot_be_searched_is_told(flags, words, trained, classes, queries, tmp_path, call):
    (tmp_path / "torn.png").write_bytes(b"no picture")
    (tmp_path / "alone").mkdir()
    alone = tmp_path / "alone" / "one.png"
    alone.write_bytes(queries[0].read_bytes())
    query = alone if "{alone}" in flags else queries[0]
    names = {"query": query, "torn": tmp_path / "torn.png", "alone": tmp_path / "alone"}
    done = call("search", trained, "--index", classes, *(flag.format(**names) for flag in flags))

    assert done.status == (2 if "--count" in flags else 1)
    assert words in " ".join(done.err.split())
