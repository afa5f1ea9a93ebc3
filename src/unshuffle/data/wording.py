"""Questions and answers in words: tokens, vocabularies, word vectors, and when two answers are the same."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

ARTICLES = ("a", "an", "the")
_DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
NUMBERS = {"none": "0"} | {word: str(number) for number, word in enumerate(_DIGITS)}
_CONTRACTED = """
ain't aren't can't could've couldn't didn't doesn't don't hadn't hasn't haven't he'd he's how'd how'll how's i'd've i'm
i've isn't it'd it'll let's ma'am might've mightn't must've mustn't needn't o'clock oughtn't shan't she's should've
shouldn't somebody's someone's something's that'd that's there'd there're there's they'd they'll they're they've 'twas
wasn't we've weren't what'll what're what's what've when's where'd where's where've who'd who'll who's who've why'll
why're why's won't would've wouldn't y'all you'd you'll you're you've
"""
CONTRACTIONS = {word.replace("'", ""): word for word in _CONTRACTED.split()}
"""As they are written without their apostrophes. Those that are other words so (its, well, were) are left out."""
_PUNCTUATION = re.escape(';/[]"{}()=+\\_-><@`,?!')


def tokens(question: str) -> list[str]:
    """Words of a question in lower case; a possessive ``'s`` is a word.

    Example:
        >>> tokens("What's on the cat's head?")
        ['what', "'s", 'on', 'the', 'cat', "'s", 'head']
    """
    return re.sub(r"[,?.!;:\"]", " ", question.lower()).replace("'s", " 's").split()


def vocabulary(questions: Iterable[str]) -> tuple[str, ...]:
    """All words of all questions, sorted."""
    return tuple(sorted({word for question in questions for word in tokens(question)}))


def encode(question: str, numbers: Mapping[str, int], length: int) -> np.ndarray:
    """The first ``length`` words of a question as numbers, (length,) int32, filled up with 0 in front.

    ``numbers`` begin at 1; a word that is not there is ``len(numbers) + 1``.

    Example:
        >>> encode("is it red", {"is": 1, "it": 2}, 4).tolist()
        [0, 1, 2, 3]
    """
    known = [numbers.get(word, len(numbers) + 1) for word in tokens(question)[:length]]
    return np.array([0] * (length - len(known)) + known, dtype=np.int32)


def numbered(words: Sequence[str]) -> dict[str, int]:
    """Word to its number, from 1."""
    return {word: number for number, word in enumerate(words, start=1)}


def same_answer(answer: str) -> str:
    """An answer as VQA's evaluation compares it: two are the same if this makes them equal.

    Lower case, number words as digits, no articles, no punctuation (but in numbers, and apostrophes and colons),
    contractions with their apostrophe.

    Example:
        >>> same_answer("The Two dogs."), same_answer("dont know"), same_answer("1,000")
        ('2 dogs', "don't know", '1000')

    Source: https://visualqa.org/evaluation.html, "Evaluation Code".
    """
    text = re.sub(r"(?<=\d),(?=\d)", "", answer.strip().lower())
    text = re.sub(rf"[{_PUNCTUATION}]", " ", text)
    text = re.sub(r"\.(?!\d)", "", text)
    words = [NUMBERS.get(word, word) for word in text.split()]
    return " ".join(CONTRACTIONS.get(word, word) for word in words if word not in ARTICLES)


def agreement(answers: Sequence[str]) -> dict[str, float]:
    r"""How far each answer that people gave is right, 0 to 1: three who agree make it wholly so.

    The mean, over all ways of leaving one person out, of :math:`\min(k / 3, 1)` for k others who gave it.

    Args:
        answers: what each person answered (ten of them, in VQA).

    Example:
        >>> agreement(["2", "two", "3"] + ["a dog"] * 7)
        {'2': 0.6, '3': 0.3, 'dog': 1.0}

    Source: Antol et al., "VQA: Visual Question Answering", ICCV 2015, as its evaluation code has it.
    """
    counts, people = Counter(map(same_answer, answers)), len(answers)

    def share(k: int) -> float:
        return (k * min((k - 1) / 3, 1.0) + (people - k) * min(k / 3, 1.0)) / people

    return {answer: round(share(k), 6) for answer, k in counts.items()}


def read_vectors(path: str | Path, words: Sequence[str], length: int) -> tuple[np.ndarray, np.ndarray]:
    """Word vectors from a text file, a word and its numbers a line, as GloVe is distributed.

    Args:
        path: the file.
        words: those wanted.
        length: numbers a vector must have.

    Returns:
        (words, length) float32, and (words,) bool: which words the file holds. The others' rows are 0.

    Raises:
        ValueError: a wanted word's line has another length or holds no numbers.
    """
    place = {word: number for number, word in enumerate(words)}
    vectors, known = np.zeros((len(words), length), np.float32), np.zeros(len(words), bool)
    with open(path, encoding="utf-8", errors="replace") as file:
        for line in file:
            word, _, rest = line.rstrip().partition(" ")
            if (row := place.get(word)) is None:
                continue
            try:
                vectors[row] = np.array(rest.split(), np.float32).reshape(length)
            except ValueError as error:
                raise ValueError(
                    f"{str(path)!r}: the vector of {word!r} is not {length} numbers ({error}); give a file of "
                    f"{length}-dimensional vectors, or set the recipe's `word_features` to their length."
                ) from error
            known[row] = True
    return vectors, known
