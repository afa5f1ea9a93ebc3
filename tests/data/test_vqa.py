"""VQA v2 and bottom-up features, on tiny files in their real layout: what is read, and what damaged lines come to."""

from __future__ import annotations

import base64
import json
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from unshuffle import values
from unshuffle.data.bottom_up import INDEX, BottomUp, convert
from unshuffle.data.loaders import Unreadable, ordered_loader
from unshuffle.data.named import VQA2

WIDE, HIGH, FEATURES = 640, 480, 6


def cell(array: np.ndarray) -> str:
    return base64.b64encode(np.asarray(array, "<f4").tobytes()).decode()


def found(number: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Boxes in pixels and features of a picture."""
    rng = np.random.default_rng(number)
    corner = rng.random((count, 2)) * (300, 200)
    return np.concatenate([corner, corner + 50], 1).astype("<f4"), rng.random((count, FEATURES)).astype("<f4")


def line(number: int, count: int) -> str:
    boxes, features = found(number, count)
    return "\t".join([str(number), str(WIDE), str(HIGH), str(count), cell(boxes), cell(features)])


def table(path: Path, lines: Sequence[str]) -> Path:
    path.write_text("".join(f"{one}\n" for one in lines))
    return path


PICTURES = {9: 3, 25: 5, 30: 2, 42: 1}
"""Picture to how many objects were found in it."""


def asked(number: int, picture: int, text: str, kind: str, answers: Sequence[str]) -> tuple[dict, dict]:
    """An entry of the questions and one of the annotations, with the fields of the real files."""
    usual = max(answers, key=list(answers).count)
    given = [{"answer": a, "answer_confidence": "yes", "answer_id": k + 1} for k, a in enumerate(answers)]
    return {"image_id": picture, "question": text, "question_id": number}, {
        "question_type": " ".join(text.split()[:2]).lower(), "multiple_choice_answer": usual, "answers": given,
        "image_id": picture, "answer_type": kind, "question_id": number,
    }  # fmt: skip


QUESTIONS = {
    "train": [
        asked(9000, 9, "Is this a cat?", "yes/no", ["yes"] * 9 + ["no"]),
        asked(25000, 25, "How many dogs are there?", "number", ["2"] * 5 + ["two"] * 2 + ["3"] * 3),
        asked(25001, 25, "Is it raining?", "yes/no", ["no"] * 8 + ["yes"] * 2),
        asked(30000, 30, "What is the man's name?", "other", ["bob"] * 10),
        asked(77000, 77, "Is there a picture?", "yes/no", ["no"] * 10),
    ],
    "val": [
        asked(42000, 42, "Is it a dog?", "yes/no", ["yes"] * 10),
        asked(42001, 42, "How many zebras?", "number", ["2"] * 10),
    ],
}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder like that of VQA v2; picture 77 has no features."""
    folder = tmp_path_factory.mktemp("vqa2")
    for part, entries in QUESTIONS.items():
        head: dict[str, Any] = {"info": {"version": "2.0"}, "data_subtype": f"{part}2014", "license": {}}
        questions = head | {"task_type": "Open-Ended", "questions": [q for q, _ in entries]}
        (folder / f"v2_OpenEnded_mscoco_{part}2014_questions.json").write_text(json.dumps(questions))
        annotations = head | {"annotations": [a for _, a in entries]}
        (folder / f"v2_mscoco_{part}2014_annotations.json").write_text(json.dumps(annotations))
    lines = [line(number, count) for number, count in PICTURES.items()]
    parts = table(folder / "a.tsv.0", lines[:2]), table(folder / "a.tsv.1", lines[1:])  # 25 is in both
    convert(parts, folder / "features", together=2)
    return folder


LOW = VQA2(occurrences=1)


def test_converted_objects_are_those_of_the_table(root):
    scenes = BottomUp(root / "features")

    assert (len(scenes), scenes.most, scenes.width) == (4, 5, 4 + FEATURES)
    for number, count in PICTURES.items():
        boxes, features = scenes[number]
        expected = found(number, count)
        np.testing.assert_allclose(boxes, expected[0] / [WIDE, HIGH, WIDE, HIGH], rtol=1e-6)
        np.testing.assert_array_equal(features, expected[1])
    assert sorted(path.name for path in (root / "features").glob("*.npy")) == ["objects-00000.npy", "objects-00001.npy"]


def test_features_stay_on_the_disk_and_every_process_opens_its_own(root):
    scenes = BottomUp(root / "features")
    before = scenes[9][1]

    again = pickle.loads(pickle.dumps(scenes))

    assert isinstance(before.base, np.memmap)
    assert again._open == {}
    np.testing.assert_array_equal(again[9][1], before)


GOOD = line(5, 2)
DAMAGED = {
    "cut short": GOOD[:40],
    "cut in the features": GOOD[:-7],
    "no base64": "\t".join([*GOOD.split("\t")[:5], "§§§§"]),
    "fewer boxes than it says": GOOD.replace("\t2\t", "\t3\t", 1),
    "no boxes": GOOD.replace("\t2\t", "\t0\t", 1),
    "no number": GOOD.replace("5", "five", 1),
    "no size": GOOD.replace(str(WIDE), "0", 1),
    "not finite": "\t".join([*GOOD.split("\t")[:5], cell(np.full((2, FEATURES), np.nan))]),
    "another width": "\t".join([*GOOD.split("\t")[:5], cell(np.zeros((2, FEATURES + 1)))]),
    "empty": "",
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_a_damaged_line_is_skipped_told_and_counted(damage, tmp_path):
    said = []

    report = convert(
        [table(tmp_path / "a.tsv", [line(1, 2), DAMAGED[damage], line(2, 1)])], tmp_path / "f", say=said.append
    )

    assert (report.pictures, report.objects) == (2, 3)
    assert [skipped.name for skipped in report.skipped] == ["a.tsv, line 2"]
    assert len(said) == 1
    assert said[0].startswith("skipped a.tsv, line 2: ")
    assert 5 not in BottomUp(tmp_path / "f")


@pytest.mark.errors
def test_features_that_are_not_there_say_what_to_do(tmp_path):
    with pytest.raises(ValueError, match=r"not one line of .*a.tsv could be read. The first: a.tsv, line 1"):
        convert([table(tmp_path / "a.tsv", ["nothing"])], tmp_path / "f")
    with pytest.raises(FileNotFoundError, match=r"no converted features in .*Write them once"):
        BottomUp(tmp_path / "f")
    (tmp_path / "f" / INDEX).write_bytes(b"PK nothing")
    with pytest.raises(ValueError, match="is damaged"):
        BottomUp(tmp_path / "f")


def test_sizes_words_and_answers_are_taken_from_the_data(root):
    settled, (told,) = LOW.settle(root)

    assert (settled.objects, settled.features) == (5, FEATURES)
    assert set(settled.answers) == {"yes", "no", "2", "bob"}
    assert {"zebras", "'s", "man"} <= set(settled.vocabulary)
    assert told == f"4 pictures of at most 5 objects; {len(settled.vocabulary)} words, 4 answers"
    assert settled.item_shape == (1, 1, 1 + 14 + 5 * (4 + FEATURES))
    assert values.from_json(json.loads(json.dumps(values.to_json(settled)))) == settled
    assert settled.settle(root) == (settled, [])


@pytest.mark.parametrize(("occurrences", "known"), [(2, {"yes", "no", "2"}), (1, {"yes", "no", "2", "bob"})])
def test_an_answer_is_known_by_how_many_questions_have_it(root, occurrences, known):
    """As the usual answer, in both parts, and once a question however many people gave it."""
    assert set(VQA2(occurrences=occurrences).settle(root)[0].answers) == known


def test_questions_have_their_words_objects_and_shares_of_answers(root):
    data = LOW.open(root)
    answers = data.answers

    assert len(data) == 5
    row, target = data[1]  # type: ignore[misc]
    read = data.ask.prepare(row.unsqueeze(0))
    words = [data.source.vocabulary[n - 1] for n in read.words[0].tolist() if n]
    assert words == ["how", "many", "dogs", "are", "there"]
    np.testing.assert_array_equal(read.objects[0].numpy(), found(25, 5)[1])
    assert read.present.all()
    # seven of ten mean 2; "3" is known to nobody
    assert {answers[i]: round(float(target[i]), 6) for i in target.nonzero().flatten().tolist()} == {"2": 1.0}
    expected = {"no": 1.0, "yes": 0.6}
    assert {answers[i]: round(float(s), 6) for i, s in enumerate(data[2][1]) if s} == expected  # type: ignore[index]


def test_kinds_are_those_of_the_annotations(root):
    data = LOW.open(root)

    assert [data.asking.kind_names[kind] for kind in data.asking.kinds] == [
        "yes/no",
        "number",
        "yes/no",
        "other",
        "yes/no",
    ]
    assert data.name == "VQA v2"


def test_a_question_about_a_picture_without_features_is_skipped(root):
    (loaded,) = ordered_loader(LOW.open(root), batch_size=8)

    assert [tuple(skipped) for skipped in loaded.skipped] == [("question 4", "picture 77 has no features")]
    assert loaded.raw is not None
    assert loaded.raw.items.shape == (4, *LOW.settle(root)[0].item_shape)


def test_a_file_of_features_that_is_cut_short_costs_its_own_questions(root, tmp_path):
    features = tmp_path / "features"
    features.mkdir()
    for path in (root / "features").iterdir():
        (features / path.name).write_bytes(path.read_bytes())
    cut = features / "objects-00001.npy"
    cut.write_bytes(cut.read_bytes()[:-8])
    for path in root.glob("*.json"):
        (tmp_path / path.name).write_bytes(path.read_bytes())

    data = LOW.open(tmp_path)

    assert isinstance(data[3], Unreadable)  # of picture 30
    assert not isinstance(data[0], Unreadable)


def test_the_validation_part_keeps_the_answers_that_training_knew(root):
    train = VQA2(occurrences=2).open(root)
    val = train.source.tested().open(root)

    assert val.source.split == "val"
    assert tuple(val.answers) == tuple(train.answers)
    assert len(val) == 2
    assert val.source.tested() is None


def test_a_question_in_words_is_a_row(root):
    data = LOW.open(root)
    boxes, features = found(25, 5)

    row = data.source.as_item(("How many dogs are there?", boxes / [WIDE, HIGH, WIDE, HIGH], features))

    torch.testing.assert_close(row, data[1][0])


@pytest.mark.errors
def test_files_that_are_missing_or_damaged_say_so(root, tmp_path):
    with pytest.raises(FileNotFoundError, match="no converted features"):
        LOW.settle(tmp_path)
    table(tmp_path / "a.tsv", [GOOD])
    convert([tmp_path / "a.tsv"], tmp_path / "features")
    with pytest.raises(FileNotFoundError, match=r"v2_OpenEnded_mscoco_train2014_questions.json is missing. Expected"):
        LOW.settle(tmp_path)
    for path in root.glob("*train*.json"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "v2_mscoco_train2014_annotations.json").write_text('{"annotations": [{}]}')
    with pytest.raises(ValueError, match="cannot be read as VQA v2's annotations"):
        LOW.open(tmp_path)
    with pytest.raises(ValueError, match="no answer is that of 50 questions"):
        VQA2(occurrences=50).settle(root)
