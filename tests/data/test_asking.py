"""A question as one row and back; and the drawn scenes, whose answers are found again from their objects."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from unshuffle import values
from unshuffle.data import Ask, SortOfClevr
from unshuffle.data.loaders import Unreadable, ordered_loader
from unshuffle.data.sort_of_clevr import ANSWERS, COLOURS, QUESTIONS, RADIUS, write
from unshuffle.data.wording import tokens
from unshuffle.types import Raw


@given(words=st.integers(1, 5), most=st.integers(1, 6), features=st.integers(1, 7), data=st.data())
def test_a_row_holds_what_was_packed(words, most, features, data):
    n = data.draw(st.integers(1, most))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**31)))
    ask, numbers = Ask(words, most, features), rng.integers(0, 2**24, words, dtype=np.int32)
    boxes, objects = rng.random((n, 4), np.float32), rng.random((n, features), np.float32)

    row = ask.pack(numbers, boxes, objects)
    read = ask.prepare(row.unsqueeze(0))

    assert row.shape == (1, 1, ask.length)
    assert read.words[0].tolist() == numbers.tolist()
    assert read.present[0].tolist() == [True] * n + [False] * (most - n)
    assert read.boxes[0, :n].equal(torch.from_numpy(boxes))
    assert read.objects[0, :n].equal(torch.from_numpy(objects))
    assert (read.boxes[0, n:] == 0).all()
    assert (read.objects[0, n:] == 0).all()


@pytest.mark.parametrize(
    ("boxes", "objects", "reason"),
    [
        (np.zeros((0, 4)), np.zeros((0, 2)), "0 objects; there must be 1 to 3"),
        (np.zeros((4, 4)), np.zeros((4, 2)), "4 objects; there must be 1 to 3"),
        (np.zeros((2, 4)), np.zeros((1, 2)), "are not"),
        (np.zeros((2, 4)), np.full((2, 2), np.nan), "NaN or infinite"),
    ],
)
@pytest.mark.errors
def test_what_cannot_be_a_row_says_why(boxes, objects, reason):
    with pytest.raises(ValueError, match=reason):
        Ask(1, 3, 2).pack(np.zeros(1, np.int32), boxes, objects)


@pytest.mark.errors
def test_rows_without_answers_cannot_be_learnt_from():
    with pytest.raises(ValueError, match="carry no answers to learn from"):
        Ask(1, 1, 1)(Raw(torch.zeros(2, 1, 1, 7), torch.arange(2)), torch.Generator())


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    path = tmp_path_factory.mktemp("scenes") / "scenes.npz"
    write(path, images=60, questions=36, seed=3)
    return path


def told(objects: np.ndarray, colour: int, kind: int) -> str:
    """The oracle: an answer read from the objects as the file has them, by plain loops."""
    (mine,) = [o for o in objects if o[4] == colour]
    others = [o for o in objects if o[4] != colour]
    shape = {0: "square", 1: "circle"}

    def distance(o: np.ndarray) -> float:
        return float((o[0] - mine[0]) ** 2 + (o[1] - mine[1]) ** 2)

    if kind == 0:
        return shape[mine[3]]
    if kind in (1, 2):
        return "yes" if mine[kind - 1] < 0.5 else "no"
    if kind == 5:
        return str(sum(o[3] == mine[3] for o in objects))
    return shape[(min if kind == 3 else max)(others, key=distance)[3]]


def test_answers_are_those_of_the_scenes(scenes):
    with np.load(scenes) as arrays:
        asked = zip(arrays["q_image"], arrays["q_colour"], arrays["q_type"], arrays["answer"])
        for image, colour, kind, answer in asked:
            assert ANSWERS[answer] == told(arrays["objects"][image], colour, kind)
        assert {len(set(o[:, 4])) for o in arrays["objects"]} == {6}


def test_objects_do_not_touch_and_lie_within(scenes):
    with np.load(scenes) as arrays:
        centres = arrays["objects"][..., :2]
    gaps = np.linalg.norm(centres[:, :, None] - centres[:, None], axis=-1) + np.eye(6)

    assert gaps.min() > 2 * RADIUS
    assert centres.min() >= RADIUS
    assert centres.max() <= 1 - RADIUS


def test_a_question_is_about_its_own_scene(scenes):
    data = SortOfClevr().open(scenes)
    with np.load(scenes) as arrays:
        rows = np.flatnonzero(arrays["split"] == "train")
        expected = {name: arrays[name][rows] for name in ("q_image", "q_colour", "q_type", "answer")}
        objects = arrays["objects"]

    assert len(data) == len(rows)
    for place in range(0, len(data), 97):
        row, target = data[place]
        read = data.ask.prepare(row.unsqueeze(0))
        picture = objects[expected["q_image"][place]]
        assert target.nonzero().flatten().tolist() == [expected["answer"][place]]
        assert read.objects[0, :, : len(COLOURS)].argmax(-1).tolist() == picture[:, 4].tolist()
        torch.testing.assert_close(read.boxes[0, :, :2] + RADIUS, torch.from_numpy(picture[:, :2]))
        text = f"{COLOURS[expected['q_colour'][place]]} {QUESTIONS[expected['q_type'][place]]}"
        words = [data.source.vocabulary[n - 1] for n in read.words[0].tolist() if n]
        assert words == tokens(text)


def test_no_scene_is_in_both_parts_and_the_test_part_keeps_the_words(scenes):
    train = SortOfClevr().open(scenes)
    test = train.source.tested().open(scenes)

    assert not set(train.asking.pictures) & set(test.asking.pictures)
    assert len(test) == len(train) // 4
    assert (test.source.vocabulary, test.source.answers) == (train.source.vocabulary, train.source.answers)
    assert test.source.tested() is None


def test_a_question_in_words_is_a_row(scenes):
    source, _ = SortOfClevr().settle(scenes)
    data = source.open(scenes)
    with np.load(scenes) as arrays:
        objects, colour, kind = arrays["objects"][0], arrays["q_colour"][0], arrays["q_type"][0]

    row = source.as_item((f"{COLOURS[colour]}: {QUESTIONS[kind]}", objects))

    assert row.equal(data[0][0])


def test_the_settled_source_travels_as_json(scenes):
    source, (line,) = SortOfClevr().settle(scenes)

    assert values.from_json(json.loads(json.dumps(values.to_json(source)))) == source
    assert line == "24 words, 10 answers"
    assert source.item_shape == (1, 1, 1 + 8 + 6 * (4 + 11))


def test_a_broken_picture_is_skipped_and_told(scenes):
    data = SortOfClevr().open(scenes)
    data.scenes.objects = data.scenes.objects.copy()  # type: ignore[attr-defined]
    data.scenes.objects[int(data.asking.pictures[0]), :, 0] = np.nan  # type: ignore[attr-defined]

    assert isinstance(data[0], Unreadable)
    loaded = next(iter(ordered_loader(data, batch_size=40)))
    assert len(loaded.skipped) == 36
    assert loaded.raw is not None
    assert len(loaded.raw.items) == 4


@pytest.mark.errors
def test_other_files_are_refused(tmp_path):
    np.savez(tmp_path / "other.npz", x=np.zeros(3))
    (tmp_path / "text.npz").write_text("no zip")

    for name in ("other.npz", "text.npz"):
        with pytest.raises(ValueError, match="no file of sort-of-CLEVR questions"):
            SortOfClevr().settle(tmp_path / name)
    with pytest.raises(FileNotFoundError):
        SortOfClevr().settle(tmp_path / "missing.npz")


def test_answers_of_another_file_go_by_name(tmp_path):
    """A file that lists its answers in another order means the same; one with others is refused."""
    write(tmp_path / "a.npz", images=4, questions=12)
    with np.load(tmp_path / "a.npz") as file:
        arrays: dict[str, Any] = dict(file)
    source, _ = SortOfClevr().settle(tmp_path / "a.npz")
    count = len(arrays["answers"])
    turned = arrays | {"answers": arrays["answers"][::-1], "answer": count - 1 - arrays["answer"]}
    np.savez(tmp_path / "turned.npz", **turned)
    np.savez(tmp_path / "others.npz", **arrays | {"answers": np.array([f"{name}!" for name in arrays["answers"]])})

    first: Any = source.open(tmp_path / "a.npz")
    second: Any = source.open(tmp_path / "turned.npz")

    assert all(first[k][1].equal(second[k][1]) for k in range(len(first)))
    with pytest.raises(ValueError, match="is none that was learnt"):
        source.open(tmp_path / "others.npz")


@pytest.mark.parametrize("field", ["q_colour", "q_type", "answer", "split"])
@pytest.mark.parametrize("spoil", [lambda a: a[1:], lambda a: a - 1, lambda a: a + 99, lambda a: a + 0.5])
def test_a_file_whose_numbers_name_nothing_is_refused(field, spoil, tmp_path):
    write(tmp_path / "a.npz", images=4, questions=36)
    with np.load(tmp_path / "a.npz") as file:
        arrays: dict[str, Any] = dict(file)
    arrays[field] = arrays[field][1:] if field == "split" else spoil(arrays[field])
    np.savez(tmp_path / "b.npz", **arrays)

    with pytest.raises(ValueError, match=f"b.npz': `{field}` must "):
        SortOfClevr().settle(tmp_path / "b.npz")
