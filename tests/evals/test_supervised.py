"""The network of an encoder, trained end to end on labels: what it learns, starts from, and leaves alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from unshuffle.data.sets import OrderedSets
from unshuffle.evals import Stamp, Task, compare, linear_probe
from unshuffle.evals.encoder import Encoder
from unshuffle.evals.supervised import Labeller, Supervised
from unshuffle.nets import ItemNet, SmallConv

STAMP = Stamp("stripes", "test", "none", "pytest", "a machine", "2026-11-21")


def stripes(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Pictures of lying and standing stripes, mixed, and the share of the lying ones."""
    rng = np.random.default_rng(seed)
    share, place = rng.random((count, 1, 1, 1)), np.arange(16) * np.pi / 2
    lying = np.sin(place[:, None] + rng.uniform(0, 6, (count, 1, 1, 1)))
    standing = np.sin(place + rng.uniform(0, 6, (count, 1, 1, 1)))
    mixed = share * lying + (1 - share) * standing + 0.1 * rng.standard_normal((count, 3, 16, 16))
    return np.clip(mixed * 60 + 128, 0, 255).astype(np.uint8), share.ravel()


def short(encoder: Encoder, **options) -> Supervised:
    """A learner of a second."""
    return replace(Supervised(encoder, rates=(3e-3,), steps=60, batch_size=32), **options)


@pytest.fixture(scope="module")
def parts():
    """Training and test items and shares."""
    return *stripes(120, 0), *stripes(100, 1)


# ------------------------------------------------------------------------------------------------------------ learning


@pytest.mark.parametrize("augment", [False, True])
def test_classes_are_learned_from_fresh_weights(encoder, parts, augment):
    items, share, others, truth = parts
    names = np.array(["standing", "lying"])

    answers = short(encoder, augment=augment)(items, names[(share > 0.5).astype(int)], others, task="classification")

    assert (answers == names[(truth > 0.5).astype(int)]).mean() > 0.85


def test_numbers_are_learned_in_their_own_unit(encoder, parts):
    items, share, others, truth = parts

    answers = short(encoder)(items, 1000 * share + 5000, others, task="regression")

    assert np.square(answers - (1000 * truth + 5000)).mean() < 0.3 * (1000 * truth).var()


def test_a_rate_that_learns_is_chosen_among_some_that_do_not(encoder, parts):
    items, share, others, truth = parts
    learner = short(encoder, rates=(1e-9, 3e-3), steps=40, folds=2)

    answers = learner(items, share, others, task="regression")

    assert np.square(answers - truth).mean() < 0.5 * truth.var()


def test_the_same_seed_gives_the_same_answers_and_another_seed_others(encoder, parts):
    items, share, others, _ = parts
    learner = short(encoder, rates=(1e-3, 3e-3), steps=8, augment=True, folds=2)

    first, again, other = (learner(items[:40], share[:40], others, task="regression", seed=s) for s in (4, 4, 5))

    assert (first == again).all()
    assert not np.allclose(first, other)


def test_the_global_generators_are_left_as_they_were(encoder, parts):
    items, share, others, _ = parts
    state = torch.get_rng_state()

    short(encoder, steps=3, augment=True)(items, share, others, task="regression")

    assert torch.equal(torch.get_rng_state(), state)


# ---------------------------------------------------------------------------------------- what it begins and ends with


def starts(learner: Supervised, monkeypatch, parts) -> Labeller:
    """The network before its first step."""
    seen: list[Labeller] = []
    monkeypatch.setattr(Supervised, "_train", lambda self, labeller, *rest: seen.append(labeller))
    items, share, others, _ = parts
    learner(items, share, others, task="regression")
    return seen[-1]


def test_fine_tuning_begins_with_the_encoders_weights(encoder, parts, monkeypatch):
    net = starts(short(encoder, fine_tune=True), monkeypatch, parts).net

    assert net is not encoder.net
    assert all(torch.equal(v, encoder.net.state_dict()[k]) for k, v in net.state_dict().items())


def test_without_it_the_weights_are_fresh_and_of_the_same_shapes(encoder, parts, monkeypatch):
    labeller = starts(short(encoder), monkeypatch, parts)
    own = encoder.net.state_dict()

    fresh = labeller.net.state_dict()

    assert {k: v.shape for k, v in fresh.items()} == {k: v.shape for k, v in own.items()}
    assert not torch.equal(fresh["backbone.0.weight"], own["backbone.0.weight"])
    assert labeller.label[0].p == encoder.net_value.dropout
    assert labeller.label[1].in_features == encoder.net_value.hidden


@pytest.mark.parametrize("fine_tune", [False, True])
def test_the_encoder_itself_is_not_trained(encoder, images, parts, fine_tune):
    items, share, others, _ = parts
    before = encoder.embed(images)

    short(encoder, fine_tune=fine_tune, steps=3)(items, share, others, task="regression")

    assert torch.equal(encoder.embed(images), before)


def test_weights_that_were_frozen_are_tuned_too(encoder, parts):
    items, share, others, _ = parts
    learner = short(encoder, fine_tune=True, steps=20)
    expected = learner(items, share, others, task="regression")

    encoder.requires_grad_(False)

    assert (learner(items, share, others, task="regression") == expected).all()


# ----------------------------------------------------------------------------------------------------------- its input


def test_the_network_sees_patches_in_their_order(encoder, images):
    learner = short(encoder)

    seen = learner._prepared(images, torch.Generator())

    assert torch.equal(seen, encoder.prepare(images))


def test_augmented_patches_are_crops_of_training_in_their_order(encoder, images):
    """Without jitter they are the patches of the plain form, whatever the permutation was."""
    still = replace(encoder.transform, patches=replace(encoder.transform.patches, jitter=False))
    plain = Encoder(encoder.net, still, encoder.item_shape, net_value=encoder.net_value)

    seen = short(plain, augment=True)._prepared(images, torch.Generator().manual_seed(0))
    moved = short(encoder, augment=True)._prepared(images, torch.Generator().manual_seed(0))

    assert torch.equal(seen, plain.prepare(images))
    assert not torch.equal(moved, encoder.prepare(images))


def test_single_items_of_an_ordering_encoder_are_learned_too(parts):
    items, share, others, truth = parts
    value = ItemNet(SmallConv(4), (3, 16, 16), hidden=12)
    encoder = Encoder(value.build(), OrderedSets(), (3, 16, 16), net_value=value)

    answers = short(encoder)(items, share, others, task="regression")

    assert np.square(answers - truth).mean() < 0.5 * truth.var()


# --------------------------------------------------------------------------------------------------------- odd numbers


@pytest.mark.parametrize("task", ["classification", "regression"])
@pytest.mark.parametrize("n", [1, 2, 3])
def test_a_handful_of_labels_is_enough(encoder, parts, task, n):
    items, _, others, _ = parts
    learner = short(encoder, steps=2, rates=(1e-3, 3e-3))

    answers = learner(items[:n], np.array([0, 1, 1])[:n], others, task=task)

    assert answers.shape == (100,)
    assert np.isfinite(answers).all()


def test_one_class_alone_is_predicted_for_all(encoder, parts):
    items, _, others, _ = parts

    assert set(short(encoder)(items, np.full(120, "lying"), others, task="classification")) == {"lying"}


def test_it_stands_beside_probes_in_a_comparison(encoder, parts):
    """Same task, same labels: results that one table, and one figure, can hold."""
    items, share, others, truth = parts
    task = Task("lying", "classification", (share > 0.5).astype(int), (truth > 0.5).astype(int))
    rows = {"frozen": tuple(encoder.embed(part).numpy() for part in (items, others))}
    options = {"draws": 2, "stamp": STAMP}

    frozen = compare(rows, [task], [20, 40], probe=linear_probe, **options)
    learner = short(encoder, steps=2)
    both = frozen + compare({"supervised": (items, others)}, [task], [20, 40], probe=learner, **options)

    assert [(r.n, r.seed) for r in both[:4]] == [(r.n, r.seed) for r in both[4:]]
    assert {r.layer for r in both} == {"frozen", "supervised"}


# -------------------------------------------------------------------------------------------------------------- errors


@pytest.mark.errors
@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"steps": 0}, "`steps` must be positive; got 0"),
        ({"batch_size": 0}, "`batch_size` must be positive; got 0"),
        ({"rates": ()}, r"`rates` must hold positive learning rates; got \(\)"),
        ({"rates": (0.0,)}, "`rates` must hold positive learning rates"),
        ({"folds": 1}, "`folds` must be at least 2; got 1"),
    ],
)
def test_options_that_do_not_fit_are_named(encoder, options, told):
    with pytest.raises(ValueError, match=f"Supervised: {told}"):
        Supervised(encoder, **options)


@pytest.mark.errors
def test_what_an_encoder_cannot_do_is_told_at_once(encoder):
    own = Encoder(encoder.net, encoder.transform, encoder.item_shape)
    with pytest.raises(ValueError, match="cannot be built afresh; give `fine_tune=True`"):
        Supervised(own)
    assert Supervised(own, fine_tune=True).fine_tune
    with pytest.raises(ValueError, match="no random crops; leave `augment` off"):
        Supervised(Encoder(nn.Linear(1, 1), OrderedSets(), (1, 2, 2)), fine_tune=True, augment=True)


@pytest.mark.errors
@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"items": np.zeros((60, 12))}, r"must be raw items, \(n, 3, 16, 16\) .* got \(60, 12\)"),
        ({"test_items": np.zeros((2, 3, 16, 17))}, r"got .* and \(2, 3, 16, 17\)"),
        ({"targets": np.zeros(59)}, r"`targets` must hold one entry .* got \(59,\) for 60 rows"),
        ({"task": "ranking"}, "`task` must be one of 'classification', 'regression'; got 'ranking'"),
    ],
)
def test_arguments_that_do_not_fit_are_named(encoder, change, told):
    items = np.zeros((60, 3, 16, 16), np.uint8)
    given = {"items": items, "targets": np.arange(60) % 2, "test_items": items, "task": "classification", **change}
    with pytest.raises(ValueError, match=f"Supervised: .*{told}"):
        short(encoder)(given["items"], given["targets"], given["test_items"], task=given["task"])
