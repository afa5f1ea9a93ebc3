"""Every command on runs of every kind: it works, or it is refused in words that say what the run is for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from small import pictures

from unshuffle import recipes
from unshuffle.data import Clips, Grid, Images, Packaged, Series, SortOfClevr, Sounds, Tiles
from unshuffle.evals.encoder import Encoder
from unshuffle.nets import SmallConv
from unshuffle.train import folder
from unshuffle.train.machine import Machine

SMALL: dict[str, Any] = {"backbone": SmallConv(4)}
SOUNDS = Sounds(rate=4000, seconds=0.5)
QUESTIONS = SortOfClevr(vocabulary=("how", "many"), answers=("yes", "no"))
KINDS: dict[str, Any] = {
    "shuffle": replace(recipes.shuffle(), patches=Grid(2, 2), source=Images(size=16), **SMALL),
    "shuffle-audio": replace(recipes.shuffle_audio(), source=SOUNDS, **SMALL),
    "shuffle-audio-grid": replace(recipes.shuffle_audio_grid(), source=SOUNDS, **SMALL),
    "shuffle-video": replace(recipes.shuffle_video(), source=Clips(frames=6, size=24), **SMALL),
    "shuffle-array": replace(recipes.shuffle_array(), source=Series(shape=(2, 1, 60)), **SMALL),
    "shuffle_notes_mse": recipes.shuffle_notes_mse(),
    "sort-numbers": recipes.sort_numbers(),
    "mosaic": replace(recipes.mosaic(), source=Images(size=24)),
    "deepperm": replace(recipes.deepperm(), **SMALL),
    "order": replace(recipes.order(), **SMALL),
    "deepperm-order": replace(recipes.deepperm_order(), **SMALL),
    "order_digits": recipes.order_digits(),
    "deepperm_digits": recipes.deepperm_digits(),
    "groco": replace(recipes.groco(), source=Images(size=16), **SMALL),
    "sela": replace(recipes.sela(), clusters=(4,), **SMALL),
    "supervised": replace(recipes.supervised(), classes=(3,), **SMALL),
    "clevr_ban": replace(recipes.clevr_ban(), source=QUESTIONS),
}
FILES = {"shuffle", "deepperm", "order", "deepperm-order", "groco", "sela", "supervised"}
"""Those that embed files of images."""
WORKS = {
    "embed": FILES,
    "search": FILES,
    "order": {"order", "deepperm-order"},
    "solve": {"shuffle", "mosaic", "deepperm"},
    "labels": set(),
}
WORDS = {
    "sort-numbers": "This run learnt to sort numbers: unshuffle eval RUN",
    "mosaic": "This run learnt to put mosaics together: unshuffle solve RUN PICTURE",
    "clevr_ban": "This run learnt to answer questions about pictures: unshuffle eval RUN",
}
FROM_PYTHON = {"shuffle_notes_mse", "order_digits", "deepperm_digits"}
"""Those of data that come with the package: they embed arrays, and no files."""


def untrained(recipe: Any) -> Encoder:
    source = getattr(recipe.source, "items", recipe.source)  # a layout is none of an encoder's concern
    shape = tuple(source.open().items.shape[1:]) if isinstance(source, Packaged) else source.item_shape
    plan = recipe.build(shape)
    return Encoder(
        plan.net, plan.transform, shape, source=source, objective=plan.objective, net_value=plan.net_value
    )  # fmt: skip


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    """Untrained runs of every kind."""
    root = tmp_path_factory.mktemp("runs")
    for name, recipe in KINDS.items():
        folder.create(root / name, recipe, Machine(device="cpu"), data=None, title=name)
        untrained(recipe).save(root / name)
    return root


@pytest.mark.parametrize("command", [*WORKS, "labels"])
@pytest.mark.parametrize("name", KINDS)
def test_a_command_works_or_is_refused_in_words(name, command, runs, tmp_path, call):
    photos = pictures(tmp_path / "photos", 5)
    Image.fromarray(np.zeros((36, 36, 3), np.uint8)).save(tmp_path / "puzzle.png")
    flags = {
        "embed": ("--data", photos, "--out", tmp_path / "f.csv"),
        "search": (photos / "00.png", "--index", photos, "--out", tmp_path / "f.png"),
        "order": (photos, "--out", tmp_path / "sorted", "--sheet", 2),
        "solve": (tmp_path / "puzzle.png", "--out", tmp_path / "solved.png"),
        "labels": ("--out", tmp_path / "l.csv"),
    }[command]

    done = call(command, runs / name, *flags)

    assert (done.status == 0) == (name in WORKS.get(command, ())), done
    if done.status:
        assert done.status == 1
        assert done.err.startswith(f"unshuffle {command}: "), done
        if command != "labels":
            assert WORDS.get(name, "") in done.err


SUITES = ["probes", "neighbours", "retrieval", "transfer", "clustering", "layers"]
MISFITS = [(name, suite) for name in KINDS if name not in FILES for suite in SUITES]


@pytest.mark.parametrize(
    ("name", "suite"), [pair for pair in MISFITS if pair not in {("sort-numbers", "probes"), ("mosaic", "probes")}]
)
def test_a_suite_that_does_not_suit_a_run_is_refused_in_words(name, suite, runs, tmp_path, call):
    photos = pictures(tmp_path / "photos" / "cat", 5).parent

    done = call("eval", runs / name, "--data", photos, "--suite", suite, "--kmeans", "2", "--galleries", "0")

    assert done.status == 1, done
    assert done.err.startswith("unshuffle eval: "), done
    assert done.err.count("\n") == 1
    if suite != "probes":
        assert WORDS.get(name, "") in done.err
    if name in FROM_PYTHON:
        assert "unshuffle.load(RUN).embed(items)" in done.err


@pytest.mark.parametrize("name", sorted(FILES))
def test_what_embeds_images_is_measured_by_probes_and_not_by_retrieval_without_its_truth(name, runs, tmp_path, call):
    for seed, label in enumerate(("cat", "dog")):
        pictures(tmp_path / "photos" / label, 4, side=24, seed=seed)
    few = ("--probes", "knn", "--labels", "4", "--draws", "1")

    measured = call("eval", runs / name, "--data", tmp_path / "photos", *few)
    refused = call("eval", runs / name, "--data", tmp_path / "photos", "--suite", "retrieval")

    assert measured.status == 0, measured
    assert refused.status == 1
    assert "--suite retrieval: give --ground-truth" in refused.err


@pytest.mark.parametrize("name", [name for name in KINDS if name != "sort-numbers"])
def test_data_that_are_missing_are_asked_for_where_there_can_be_any(name, runs, call):
    done = call("eval", runs / name)

    assert done.status == 1, done
    assert ("--data" in done.err) == (name not in FROM_PYTHON)
    assert ("no files that this run could be measured on" in done.err) == (name in FROM_PYTHON)


@pytest.mark.parametrize("name", sorted(FROM_PYTHON))
@pytest.mark.parametrize("command", ["order", "solve"])
def test_a_run_without_files_is_not_sent_to_commands_that_need_files(name, command, runs, tmp_path, call):
    photos = pictures(tmp_path / "photos", 2)

    done = call(command, runs / name, photos if command == "order" else photos / "00.png", "--out", tmp_path / "x.png")

    assert done.status == 1
    assert "unshuffle.load(RUN).embed(items)" in done.err
    assert "unshuffle order RUN FOLDER" not in done.err
    assert "unshuffle embed" not in done.err


def test_labels_of_a_finished_run_without_its_checkpoint_are_not_waited_for(runs, tmp_path, call):
    done = call("labels", runs / "sela", "--out", tmp_path / "l.csv")

    assert done.status == 1
    assert "it was removed, and held the labels; train again." in done.err


@pytest.mark.parametrize("name", ["shuffle", "groco"])
@pytest.mark.parametrize("ending", [".parquet", ".csv", ".npy", ".npz", ".NPZ"])
def test_embed_writes_what_the_ending_says(ending, name, runs, tmp_path, call):
    from unshuffle.data.labels import Labels, labels_of

    for seed, label in enumerate(("cat", "dog")):
        pictures(tmp_path / "photos" / label, 2, seed=seed)
    out = tmp_path / "new" / f"f{ending}"

    assert call("embed", runs / name, "--data", tmp_path / "photos", "--out", out).status == 0

    names = ["cat/00.png", "cat/01.png", "dog/00.png", "dog/01.png"]
    if ending in (".parquet", ".csv"):
        assert labels_of(names, out) == Labels(("cat", "dog"), [0, 0, 1, 1])
    elif ending == ".npy":
        assert len(np.load(out)) == 4
        assert out.with_name("f.names.txt").read_text().splitlines() == names
    else:
        with np.load(out) as arrays:
            assert arrays["name"].tolist() == names
            assert arrays["label"].tolist() == ["cat", "cat", "dog", "dog"]
            assert arrays["features"].dtype == np.float32


@pytest.mark.parametrize(
    ("command", "out", "words"),
    [
        ("embed", "x.txt", "must be a .parquet or a .csv or a .npy or a .npz file"),
        ("embed", "x", "must be a .parquet"),
        ("embed", "file/x.csv", "is no folder; give another place"),
        ("embed", "folder.csv", "is a folder; give a file in it"),
        ("embed", "x" * 245 + ".csv", "longer than 240 bytes"),
        ("search", "x.gif", "must be a .png file"),
        ("search", "file/x.png", "is no folder"),
        ("order", "file", "is no folder"),
        ("order", "file/deep", "is no folder"),
        ("solve", "x.txt", "must be a picture"),
        ("solve", "x.hdf5", "must be a picture"),
        ("solve", "file/x.png", "is no folder"),
        ("labels", "x.xlsx", "must be a .parquet or a .csv file"),
        ("labels", "file/x.csv", "is no folder"),
    ],
)
def test_an_output_that_cannot_be_written_is_refused_before_the_run_is_read(command, out, words, tmp_path, call):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder.csv").mkdir()
    photos = pictures(tmp_path / "photos", 2)
    given = {"embed": ("--data", photos), "search": (photos / "00.png", "--index", photos), "order": (photos,)}
    given["solve"] = (photos / "00.png",)

    done = call(command, tmp_path / "no run", *given.get(command, ()), "--out", tmp_path / out)

    assert done.status == 1
    assert words in done.err
    assert not list(tmp_path.glob("**/*.part"))


def test_tiles_are_known_to_be_pieces_of_images():
    """A grid on spectrograms is no puzzle that a picture could be."""
    from unshuffle.evals.fits import solves_images

    recipe = KINDS["shuffle-audio-grid"]

    assert isinstance(recipe.patches, (Grid, Tiles))
    assert not solves_images(untrained(recipe))
    assert solves_images(untrained(KINDS["shuffle"]))
