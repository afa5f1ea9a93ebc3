"""Files of any name go through every command, and their names come back from every table."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from unshuffle import recipes
from unshuffle._names import encodable, escape_name, unescape_name
from unshuffle.cli import main
from unshuffle.data import Grid, Images
from unshuffle.evals import supersede
from unshuffle.evals.encoder import Encoder
from unshuffle.evals.results import stamp
from unshuffle.nets import SmallConv
from unshuffle.types import Result

NAMES = [
    b"caf\xe9.png", b"\xff\xfe.png", b"new\nline.png", b"tab\t.png", b"\x1b[31mred.png", b"bell\x07.png", b"-rf.png",
    b"=1+1.png", b"+1.png", b"@cmd.png", b"quote\"'.png", b"comma, .png", b"semi;colon.png", b"back\\slash.png",
    b" blank .png", b"<b>&amp;.png", b"$\\frac{$.png", b"%s%n{}.png", b"x" * 240 + b".png", "猫.png".encode(),
    "고양이.png".encode(), "😀.png".encode(), "\u202egnp.exe.png".encode(), "e\u0301.png".encode(), "é.png".encode(),
    "\u2028line.png".encode(), b"#hash.png", b"~.png", b"*.png", b"NA.png", b"nan.png", b"\xed\xb3\xa9.png",
]  # fmt: skip


def made(count: int, seed: int) -> list[bytes]:
    """Names of random bytes."""
    rng, found = np.random.default_rng(seed), set()
    while len(found) < count:
        raw = rng.integers(1, 256, rng.integers(1, 40), dtype=np.uint8).tobytes().replace(b"/", b"_").lstrip(b".")
        found.add((raw or b"x") + b".png")
    return sorted(found)


def unsafe(text: str) -> bool:
    """Whether a line or a terminal would be broken by it, or read the other way round."""
    return any(
        unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") or "override" in unicodedata.name(c, "").lower()
        for c in text
    )


@pytest.fixture(scope="module")
def names() -> list[bytes]:
    return [*NAMES, *made(300 if os.environ.get("UNSHUFFLE_LONG") else 10, 0)]


@pytest.fixture(scope="module")
def folder(names, tmp_path_factory) -> Path:
    root, rng = tmp_path_factory.mktemp("any") / "names", np.random.default_rng(0)
    root.mkdir()
    for name in names:
        path = os.path.join(os.fsencode(root), name)
        try:
            with open(path, "wb") as file:
                Image.fromarray(rng.integers(0, 256, (20, 20, 3), dtype=np.uint8)).save(file, format="PNG")
        except OSError:
            pytest.skip("this file system takes no such names")
    return root


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """An untrained encoder; all commands below treat it as they would a trained one."""
    return saved(tmp_path_factory.mktemp("run"), recipes.shuffle(), Images(size=16))


@pytest.fixture(scope="module")
def order_run(tmp_path_factory) -> Path:
    return saved(tmp_path_factory.mktemp("order"), recipes.order(), Images(size=16))


def saved(place: Path, recipe, source: Images) -> Path:
    from dataclasses import replace

    small = {"backbone": SmallConv(4)} | ({"patches": Grid(2, 2)} if hasattr(recipe, "patches") else {})
    plan = replace(recipe, **small).build(source.item_shape)
    Encoder(
        plan.net, plan.transform, source.item_shape, source=source, objective=plan.objective, net_value=plan.net_value
    ).save(place)
    return place


def command(*arguments: object, **environment: str) -> subprocess.CompletedProcess:
    call = "import sys; from unshuffle.cli import main; sys.exit(main(sys.argv[1:]))"
    return subprocess.run(
        [sys.executable, "-c", call, *map(str, arguments)], capture_output=True, timeout=300,
        env=os.environ | environment,
    )  # fmt: skip


def on_disk(names: list[bytes]) -> set[str]:
    return set(map(os.fsdecode, names))


@pytest.mark.parametrize("ending", [".parquet", ".csv", ".npz", ".npy"])
def test_every_name_is_embedded_and_comes_back(ending, folder, names, run, tmp_path):
    from unshuffle.data.label_rows import read_rows
    from unshuffle.data.match import match_rows

    out = tmp_path / f"f{ending}"
    assert main(["embed", str(run), "--data", str(folder), "--out", str(out)]) == 0

    if ending == ".npy":
        written = out.with_name("f.names.txt").read_text().removesuffix("\n").split("\n")
    elif ending == ".npz":
        written = np.load(out)["name"].tolist()
    else:
        written = read_rows(out).names
        listed = sorted(on_disk(names))
        rows = match_rows(listed, written, "t")
        assert [unescape_name(written[row]) for row in rows if row is not None] == listed
    assert set(map(unescape_name, written)) == on_disk(names)
    assert not any(unsafe(name) for name in written)


@pytest.mark.parametrize(
    "environment",
    [{}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, {"PYTHONIOENCODING": "ascii:strict"}],
)
def test_order_and_search_take_every_name_on_any_terminal(environment, folder, names, run, order_run, tmp_path):
    shutil.copytree(folder, tmp_path / "names")
    done = command("order", order_run, tmp_path / "names", "--out", tmp_path / "o", "--no-saliency", **environment)
    assert done.returncode == 0, done.stderr.decode(errors="replace")[-500:]
    with open(tmp_path / "o" / "order.csv", newline="", encoding="utf-8") as file:
        written = [row["file"] for row in csv.DictReader(file)]
    if "LC_ALL" not in environment:
        assert set(map(unescape_name, written)) == on_disk(names)

    query = os.path.join(os.fsencode(tmp_path / "names"), NAMES[0])
    done = command(
        "search", run, os.fsdecode(query), "--index", tmp_path / "names", "--count", 50, "--out", tmp_path / "s.png",
        **environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode(errors="replace")[-500:]
    assert b"Warning" not in done.stderr
    assert b"\x1b[31m" not in done.stdout
    Image.open(tmp_path / "s.png").verify()


def test_no_two_names_are_escaped_to_the_same_and_each_comes_back(names):
    known = list(map(os.fsdecode, [*names, *made(2000, 1)]))
    known += [escape_name(name) for name in known]  # a name may look like an escape

    assert all(unescape_name(escape_name(name)) == name for name in known)
    assert len({escape_name(name) for name in known}) == len(set(known))
    assert all(escape_name(name).encode() and not unsafe(escape_name(name)) for name in known)
    assert all(encodable(name).encode() for name in known)


def test_results_of_data_of_any_name_are_written_and_read(tmp_path):
    mark = stamp("caf\udce9", "test", "run\udcff")
    for value in (0.5, 0.7):  # the second takes the place of the first
        supersede(tmp_path, [Result("probe", "accuracy", value, 10, 0, *mark[:2], "layer", *mark[2:])])

    (line,) = (tmp_path / "results.jsonl").read_text(encoding="utf-8").splitlines()

    assert json.loads(line)["data"] == r"caf\xe9"
    assert json.loads(line)["value"] == 0.7


def test_labels_of_names_of_any_kind_are_exported(tmp_path, names):
    import torch

    from unshuffle.cli.labels import _write, table
    from unshuffle.data.relabelled import read_heads

    known = list(map(os.fsdecode, names))
    labels = torch.arange(len(known))[None]
    for out in (tmp_path / "l.csv", tmp_path / "l.parquet"):
        _write(out, table(known, labels, torch.ones(1, len(known))))

        assert read_heads(out, known).labels[:, 0].tolist() == list(range(len(known)))
