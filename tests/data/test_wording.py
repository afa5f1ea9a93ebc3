"""Words as numbers, and answers as VQA's evaluation compares them."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from unshuffle.data.wording import (
    CONTRACTIONS,
    agreement,
    encode,
    numbered,
    read_vectors,
    same_answer,
    tokens,
    vocabulary,
)


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("What color is the man's hat?", ["what", "color", "is", "the", "man", "'s", "hat"]),
        ("red: how many, 2 or 3?", ["red", "how", "many", "2", "or", "3"]),
        ("", []),
    ],
)
def test_questions_are_split_into_words(question, expected):
    assert tokens(question) == expected


def test_words_are_numbered_from_1_filled_up_in_front_and_cut_at_the_end():
    words = vocabulary(["Is it red?", "is IT blue"])
    numbers = numbered(words)

    assert words == ("blue", "is", "it", "red")
    assert encode("it is red", numbers, 5).tolist() == [0, 0, 3, 2, 4]
    assert encode("it is red", numbers, 2).tolist() == [3, 2]
    assert encode("is it green", numbers, 3).tolist() == [2, 3, len(words) + 1]


@pytest.mark.parametrize(
    ("answer", "same"),
    [
        ("Yes.", "yes"),
        ("  a DOG ", "dog"),
        ("the two dogs", "2 dogs"),
        ("none", "0"),
        ("100,978", "100978"),
        ("1.5", "1.5"),
        ("3 p.m.", "3 pm"),
        ("dont know", "don't know"),
        ("isn't", "isn't"),
        ("2:50 pm", "2:50 pm"),
        ("girl's", "girl's"),
        ("black/white", "black white"),
        ("yes!!", "yes"),
        ("a-frame", "frame"),
        ("", ""),
    ],
)
def test_answers_are_compared_as_the_evaluation_says(answer, same):
    """The examples of its page among them: the dot of a decimal, a comma between digits, colons and apostrophes."""
    assert same_answer(answer) == same
    assert same_answer(same) == same


def test_contractions_are_found_without_their_apostrophe_and_are_no_other_words():
    assert all("'" not in bare and bare == word.replace("'", "") for bare, word in CONTRACTIONS.items())
    assert not {"its", "well", "were", "ill", "id", "hell", "shell", "wed"} & set(CONTRACTIONS)


def left_out(answers: list[str], answer: str) -> float:
    """The oracle: the mean over all ways of leaving one person out, counted one by one."""
    groups = list(combinations(answers, len(answers) - 1))
    return sum(min(group.count(answer) / 3, 1.0) for group in groups) / len(groups)


@pytest.mark.parametrize("agreeing", range(1, 11))
def test_agreement_is_the_mean_over_leaving_one_person_out(agreeing):
    answers = ["red"] * agreeing + [f"other {k}" for k in range(10 - agreeing)]

    shares = agreement(answers)

    assert shares["red"] == pytest.approx(left_out(answers, "red"))
    assert shares["red"] == [0.3, 0.6, 0.9, 1.0][min(agreeing, 4) - 1]


def test_answers_that_mean_the_same_agree():
    assert agreement(["2", "two", "Two.", "the two"] + ["4"] * 6) == {"2": 1.0, "4": 1.0}


def test_word_vectors_are_read_for_known_words_only(tmp_path):
    (tmp_path / "glove.txt").write_text("the 1 2\ncat 0.5 -1e-1\n. 7\nsplit word 1 2\n")

    vectors, known = read_vectors(tmp_path / "glove.txt", ["cat", "unheard-of", "the"], 2)

    np.testing.assert_allclose(vectors, [[0.5, -0.1], [0, 0], [1, 2]])
    assert known.tolist() == [True, False, True]


@pytest.mark.errors
@pytest.mark.parametrize("line", ["cat 1 2 3", "cat 1", "cat one two"])
def test_vectors_of_another_length_say_so(line, tmp_path):
    (tmp_path / "glove.txt").write_text(line + "\n")

    with pytest.raises(ValueError, match="the vector of 'cat' is not 2 numbers"):
        read_vectors(tmp_path / "glove.txt", ["cat"], 2)
