"""``unshuffle eval --suite clustering`` and ``layers`` on small pictures."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from small import pictures
from torch import nn

from unshuffle.evals import labellings
from unshuffle.evals.encoder import Encoder


@pytest.fixture
def run(trained, tmp_path) -> Path:
    """A copy, to write into."""
    return Path(shutil.copytree(trained, tmp_path / "a"))


@pytest.fixture
def headed(monkeypatch) -> None:
    """Lets encoders have two heads: of three pseudo-classes by brightness, and of two."""

    def logits(encoder: Encoder):
        def scores(inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
            bright = inputs.flatten(1).mean(1, keepdim=True)
            centres = torch.linspace(-0.02, 0.02, 3) + bright.mean()
            return -((bright - centres) ** 2), torch.cat([bright, -bright], 1)

        return scores

    monkeypatch.setattr(nn.Module, "logits", property(logits), raising=False)


def lines(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "results.jsonl").read_text().splitlines()]


def figures(run: Path) -> dict[str, dict]:
    return {line["file"]: line for line in lines(run) if line["record"] == "figure"}


def test_an_encoder_without_heads_is_told_by_kmeans(run, classes, call):
    done = call(
        "eval", run, "--data", classes, "--test", classes, "--suite", "clustering", "--galleries", "2", "--most", "14"
    )

    assert done.status == 0, done.err
    results = [line for line in lines(run) if line["record"] == "result"]
    assert {r["n"] for r in results} == {14}
    assert {r["layer"] for r in results} == {"raw, K-means", "random, K-means", "pretrained, K-means"}
    assert {r["metric"] for r in results if r["task"] == "clusters and classes"} == {
        "NMI", "adjusted NMI", "adjusted Rand index", "purity", "entropy of a cluster (nats)",
    }  # fmt: skip
    assert all(1 <= r["value"] <= 2.0001 for r in results if r["metric"] == "effective number of clusters")
    assert {"gallery-purest-measured.npz", "gallery-random-measured.npz", "filters.npz"} == set(figures(run))
    assert "could not be drawn" not in (run / "report.html").read_text()


def test_pseudo_classes_have_galleries_and_a_history(run, classes, call, headed):
    truth = np.repeat([0, 1], 8)
    labellings.write(run, 0, np.stack([np.arange(16) % 3] * 2))
    labellings.write(run, 7, np.stack([truth + 1, truth]))

    done = call(
        "eval", run, "--data", classes, "--suite", "clustering", "--kmeans", "0", "--galleries", "2", "--head", "2"
    )

    assert done.status == 0, done.err
    told = {(r["task"], r["metric"], r["split"]): r for r in lines(run) if r["record"] == "result"}
    assert told["clusters and classes", "NMI", "training"]["value"] == 1
    assert told["clusters and classes", "entropy of a cluster (nats)", "training"]["value"] == 0
    assert {r["layer"] for r in told.values()} == {"head 2"}
    assert told["labels over time", "NMI of the last two labellings", "training"]["value"] < 0.2
    with np.load(run / "figures" / "labellings.npz") as drawn:
        assert drawn["step"].tolist() == [0, 7]
        assert np.isnan(drawn["consecutive"][0])
        assert drawn["classes"][1] == 1
        assert (drawn["entropies"][1] == 0).all()
    with np.load(run / "figures" / "gallery-purest-training.npz") as drawn:
        assert drawn["titles"].tolist() == ["0: 8 samples\n0.00 nats, 100% cat", "1: 8 samples\n0.00 nats, 100% dog"]
        assert drawn["there"].sum(1).tolist() == [8, 8]
        assert (drawn["label"][drawn["there"]].reshape(2, 8) == [[0], [1]]).all()
    assert figures(run)["labellings.npz"]["kind"] == "labellings"
    page = (run / "report.html").read_text()
    assert "Labels over time" in page
    assert "Pseudo-classes: lowest entropy, as the network says, all samples" in page
    assert "could not be drawn" not in page


def test_photos_without_any_classes_are_told_what_can_be(run, tmp_path, call, headed):
    photos = pictures(tmp_path / "photos", 30)
    done = call("eval", run, "--data", photos, "--suite", "clustering", "--galleries", "2")

    assert done.status == 0, done.err
    results = [line for line in lines(run) if line["record"] == "result"]
    assert {r["task"] for r in results} == {"clusters alone"}
    assert {r["layer"] for r in results} >= {"head 1", "pretrained, K-means"}
    agreement = [r["value"] for r in results if r["metric"] == "neighbours' agreement"]
    assert all(0 <= value <= 1 for value in agreement)
    with np.load(run / "figures" / "gallery-purest-measured.npz") as drawn:
        assert (drawn["label"] == -1).all()
        assert all("cosine" in title for title in drawn["titles"])
    assert "could not be drawn" not in (run / "report.html").read_text()


@pytest.mark.errors
@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ([], "--kmeans: give a number of clusters"),
        (["--head", "0"], "--head must be from 1 to 1,024; got 0"),
    ],
)
def test_what_cannot_be_clustered_is_told(flags, words, run, photos, call):
    done = call("eval", run, "--data", photos, "--suite", "clustering", *flags)
    assert done.status == (2 if flags else 1)
    assert words in " ".join(done.err.split())


@pytest.mark.errors
def test_a_head_that_is_not_there_is_told(run, classes, call, headed):
    done = call("eval", run, "--data", classes, "--suite", "clustering", "--head", "3")
    assert done.status == 1
    assert "--head must be from 1 to 2" in " ".join(done.err.split())


@pytest.mark.errors
def test_data_that_have_changed_since_are_told(run, classes, call, headed):
    labellings.write(run, 0, np.zeros((1, 15), int))
    done = call("eval", run, "--data", classes, "--suite", "clustering", "--kmeans", "0")
    assert done.status == 1
    assert "has changed: it holds 16 samples, and the run labelled 15" in " ".join(done.err.split())


def test_layers_are_probed_beside_those_of_the_untrained_network(run, classes, call):
    done = call("eval", run, "--data", classes, "--suite", "layers", "--probe-epochs", "1", "--crops", "1", "10")

    assert done.status == 0, done.err
    results = [line for line in lines(run) if line["record"] == "result"]
    assert {r["task"] for r in results} == {"class, probes of layers, 1 crop", "class, probes of layers, 10 crops"}
    assert {r["layer"] for r in results} == {
        f"{which} conv{number}" for which in ("random", "pretrained") for number in range(1, 6)
    }
    assert list(figures(run)) == ["filters.npz"]


def test_neighbours_are_looked_up_on_few_axes(run, classes, call):
    done = call("eval", run, "--data", classes, "--suite", "neighbours", "--k", "3", "--pca", "2")
    assert done.status == 0, done.err
    assert {r["task"] for r in lines(run) if r["record"] == "result"} == {"class, 2 axes, 3 neighbours"}
