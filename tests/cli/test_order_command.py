"""``unshuffle order``: learn an order from a folder, put new photos in it. This is the learning test of the recipes."""

from __future__ import annotations

import csv
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.stats import kendalltau

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "guides" / "order.md"
SCORES = shlex.split("--epochs 12 --batch-size 24 --length 4 --hidden 16")
SEQUENCES = shlex.split("--epochs 60 --batch-size 32 --length 4 --image-features 16 --hidden 32 --dropout 0")
SMALL = shlex.split(
    "--source.items.size 16 --jitter.crop 2 --backbone.width 4 --optim.lr 1e-2 --holdout 0 --device cpu"
)


def shade(path: Path, level: int, rng: np.random.Generator) -> None:
    """A noisy picture of about this brightness."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = (level + rng.integers(-15, 16, (18, 18, 3))).clip(0, 255)
    Image.fromarray(pixels.astype(np.uint8)).save(path)


@pytest.fixture(scope="module")
def shades(tmp_path_factory) -> dict[str, Path]:
    """Photos to learn from, dark to light in four folders, and new ones named by their brightness."""
    rng, place = np.random.default_rng(0), tmp_path_factory.mktemp("shades")
    for number, level in enumerate((30, 90, 150, 210)):
        for i in range(8):
            shade(place / "ranked" / f"{9 + number}-level" / f"{i}.png", level + int(rng.integers(-15, 16)), rng)
    for level in range(20, 240, 10):
        shade(place / "new" / f"{level * 7 % 230:03}" / f"{level:03}.png", level, rng)
    (place / "new" / "000" / "broken.png").parent.mkdir(exist_ok=True)
    (place / "new" / "000" / "broken.png").write_bytes(b"no picture")
    return {"ranked": place / "ranked", "new": place / "new"}


def rows(out: Path) -> list[dict[str, str]]:
    with open(out / "order.csv", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize(("recipe", "flags"), [("order", SCORES), ("deepperm-order", SEQUENCES)])
def test_new_photos_are_put_in_the_order_that_was_learnt(recipe, flags, shades, tmp_path, call):
    """The folders 9-, 10-, 11- and 12-level are weak to strong as numbers are."""
    run, out = tmp_path / "run", tmp_path / "deep" / "sorted"
    done = call("train", recipe, "--data", shades["ranked"], "--out", run, *flags, *SMALL)
    assert done.status == 0, done.err
    assert f"or: unshuffle order {run} FOLDER" in done.out

    done = call("order", run, shades["new"], "--out", out, "--sheet", "5")

    assert done.status == 0, done.err
    assert "22 images, weak to strong, in " in done.out
    assert "1 unreadable: 000/broken.png (not an image that can be identified)" in " ".join(done.out.split())
    found = rows(out)
    assert [int(row["rank"]) for row in found] == list(range(1, 23))
    assert (np.diff([float(row["score"]) for row in found]) >= 0).all()
    levels = [int(Path(row["file"]).stem) for row in found]
    assert kendalltau(levels, range(22)).statistic > (0.9 if recipe == "order" else 0.8)
    assert ("windows of 4" in done.out) == (recipe == "deepperm-order")
    assert min(Image.open(out / "sheet.png").size) > 200


@pytest.mark.once
def test_the_program_of_the_guide_sorts_new_photos(tmp_path, monkeypatch, capsys):
    (program,) = re.findall(r"^```python\n(.*?)^```", GUIDE.read_text(), re.DOTALL | re.MULTILINE)
    monkeypatch.chdir(tmp_path)

    exec(compile(program, "order.md", "exec"), {})

    shown = [int(row["file"][:3]) for row in rows(tmp_path / "sorted")]
    assert len(shown) > 10
    assert kendalltau(shown, range(len(shown))).statistic > 0.9


def test_no_sheet_is_drawn_where_none_is_wanted(shades, tmp_path, call):
    run, out = tmp_path / "run", tmp_path / "sorted"
    short = ["--epochs", "1", *SCORES[2:], *SMALL]
    assert call("train", "order", "--data", shades["ranked"], "--out", run, *short).status == 0

    assert call("order", run, shades["new"], "--out", out, "--sheet", "0").status == 0
    first = (out / "order.csv").read_bytes()
    assert call("order", run, shades["new"], "--out", out, "--sheet", "1", "--no-saliency").status == 0

    assert (out / "order.csv").read_bytes() == first
    assert sorted(path.name for path in out.iterdir()) == ["order.csv", "sheet.png"]


def test_a_table_of_dates_trains_and_measures_an_order(shades, tmp_path, call):
    table = tmp_path / "dates.csv"
    names = sorted(path for path in shades["new"].rglob("*.png") if path.stem != "broken")
    dates = [f"{path.name},{2000 + int(path.stem)}-03-01" for path in names]
    table.write_text("\n".join(["file,taken", "000/broken.png,2020-01-01", *dates]))
    flags = ("--data", shades["new"], "--label-table", table)

    assert call("train", "order", *flags, "--out", tmp_path / "run", *SCORES, *SMALL).status == 0
    done = call("eval", tmp_path / "run", *flags, "--labels", "8", "--draws", "1", "--probes", "linear")

    assert done.status == 0, done.err
    assert "order: Kendall tau" in done.out


@pytest.mark.errors
@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--target", "open"], "--target needs --dataset or --class-orders"),
        (["--class-orders", "none.json"], "no orders 'none.json'"),
        (["--dataset", "osr", "--class-orders", "none.json"], "leave --class-orders out"),
        (["--length", "40"], "a batch of 32 makes no set of 40"),
    ],
)
def test_flags_that_do_not_fit_are_told(flags, words, shades, tmp_path, call):
    done = call("train", "order", "--data", shades["ranked"], "--out", tmp_path / "run", *SMALL, *flags)

    assert done.status == 1
    assert words in " ".join(done.err.split())


@pytest.mark.errors
def test_a_run_on_patches_puts_no_photos_in_order(trained, shades, call):
    done = call("order", trained, shades["new"])

    assert done.status == 1
    assert "has not learnt to put whole images in order" in " ".join(done.err.split())
