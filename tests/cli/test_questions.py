"""From drawn scenes to a network that answers, and what it is worth: the whole way by commands."""

from __future__ import annotations

import json
import shlex

import unshuffle
from unshuffle.cli import main
from unshuffle.data.sort_of_clevr import QUESTIONS, write


def test_questions_are_learnt_and_judged_by_kind(tmp_path, capsys):
    write(tmp_path / "scenes.npz", images=12, questions=36)
    (tmp_path / "vectors.txt").write_text("red 1 2 3\nits 4 5 6\n")
    small = shlex.split(
        "--hidden 6 --glimpses 1 --rank 1 --word-features 3 --reading.units 4 --batch-size 64 --epochs 1 --device cpu"
    )
    where = ["--data", str(tmp_path / "scenes.npz")]

    vectors = ["--vectors", str(tmp_path / "vectors.txt")]
    trained = main(["train", "clevr_ban_po_u", *where, "--out", str(tmp_path / "run"), *small, *vectors])
    judged = main(["eval", str(tmp_path / "run"), *where])

    assert trained == judged == 0
    printed = capsys.readouterr().out
    assert "24 words, 10 answers" in printed
    lines = [json.loads(line) for line in (tmp_path / "run" / "results.jsonl").read_text().splitlines()]
    assert {line["layer"] for line in lines} == {"trained", "best constant"}
    assert {line["task"] for line in lines} == {"answers: all", *(f"answers: {kind}" for kind in QUESTIONS)}
    assert {line["split"] for line in lines} == {"test"}
    encoder = unshuffle.load(tmp_path / "run")
    assert encoder.source.split == "train"  # type: ignore[union-attr]
    question = ("red: shape", [[0.5, 0.5, 0.05, 1, 0], [0.2, 0.2, 0.05, 0, 3]])
    assert encoder.embed([question]).shape == (1, 6)
