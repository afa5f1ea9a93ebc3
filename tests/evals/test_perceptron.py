"""Nets trained side by side are the nets they would be alone, and as good as scikit-learn's."""

import warnings
from itertools import product

import numpy as np
import pytest
import torch
from sklearn.datasets import load_diabetes, load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier, MLPRegressor

from unshuffle.evals import perceptron, probes
from unshuffle.evals.choosing import Job
from unshuffle.evals.perceptron import fit_predict, row_order

SMALL = {"classes": None, "hidden": (7, 5), "steps": 30, "batch": 8, "seed": 3}


def job(seed: int, n: int = 20) -> Job:
    rng = np.random.default_rng(seed)
    features, others = rng.standard_normal((2, n, 6)).astype(np.float32)
    return Job(features, features[:, 0] * features[:, 1], others[:9])


def test_a_net_among_others_is_the_net_it_would_be_alone():
    """Each of the six by its own penalty, and the first job's by its own rows."""
    penalties = [0.01, 1.0, 100.0]

    together = fit_predict([job(0), job(1)], penalties, **SMALL)

    for k, penalty in enumerate(penalties):
        alone = fit_predict([job(0)], [penalty], **SMALL)[0][0]
        np.testing.assert_allclose(together[0][k], alone, rtol=1e-4, atol=1e-5)
    assert not np.allclose(together[0][0], together[0][2], atol=0.01)
    assert not np.allclose(together[0][0], together[1][0], atol=0.01)


def test_every_net_gets_the_gradient_of_its_own_loss_and_penalty(rng):
    """Against the formula, net by net."""
    nets = perceptron._Nets(2, 3, (4, 6, 5, 2), rng, "cpu")
    x, y = torch.randn(2, 8, 4, generator=rng), torch.randint(2, (2, 8), generator=rng)
    decay = torch.tensor([0.1, 1.0, 10.0]) / 8

    perceptron._loss(nets(x), y, 2).backward()
    nets.penalise(decay)

    for j, a in product(range(2), range(3)):
        net, place = 3 * j + a, (j, slice(None), slice(6 * a, 6 * a + 6))
        own = [nets.weights[0][place], nets.weights[1][net], nets.weights[2][net]]
        biases = [nets.biases[0][place], nets.biases[1][net], nets.biases[2][net]]
        own = [w.detach().clone().requires_grad_() for w in own]
        hidden = x[j]
        for k, (weight, bias) in enumerate(zip(own, biases)):
            hidden = (hidden.relu() if k else hidden) @ weight + bias.detach()
        penalty = decay[a] / 2 * sum(w.square().sum() for w in own)
        (torch.nn.functional.cross_entropy(hidden, y[j]) + penalty).backward()
        grads = [nets.weights[0].grad[place], nets.weights[1].grad[net], nets.weights[2].grad[net]]
        for mine, grad in zip(own, grads):
            torch.testing.assert_close(grad, mine.grad)


def test_all_nets_begin_with_the_same_weights():
    nets = perceptron._Nets(2, 3, (4, 6, 2), torch.Generator().manual_seed(0), "cpu")

    assert torch.equal(nets.weights[0], nets.weights[0][:1, :, :6].repeat(2, 1, 3))
    assert torch.equal(nets.weights[1], nets.weights[1][:1].expand(6, -1, -1))
    assert 0.9 < nets.weights[0].abs().max() / (6 / 10) ** 0.5 <= 1  # Glorot & Bengio's bound


@pytest.mark.parametrize(("size", "rows", "steps"), [(10, 4, 20), (5, 8, 3), (64, 64, 2), (1, 2, 3)])
def test_every_row_is_seen_as_often_as_any_other_give_or_take_once(size, rows, steps):
    order = row_order(size, rows, steps, torch.Generator().manual_seed(0))

    counts = torch.bincount(order.flatten(), minlength=size)
    assert order.shape == (steps, rows)
    assert counts.max() - counts.min() <= 1


def test_rows_are_seen_in_another_order_every_time():
    first, second = row_order(10, 10, 2, torch.Generator().manual_seed(0))

    assert not torch.equal(first, second)


def test_jobs_may_differ_in_size():
    answers = fit_predict([job(0, n=20), job(1, n=21), job(2, n=5)], [1.0], **SMALL)

    assert [len(rows[0]) for rows in answers] == [9, 9, 5]


@pytest.fixture(scope="module")
def standardised():
    """Features and targets of two real data sets, train and test; numbers at mean 0 and deviation 1."""
    found = {}
    for task, data in (("classification", load_digits()), ("regression", load_diabetes())):
        order = np.random.default_rng(0).permutation(len(data.target))
        train, test = order[:250], order[250:]
        x, t = (rows.astype(np.float32) for rows in probes.standardise(data.data[train], data.data[test]))
        y = data.target if task == "classification" else (data.target - data.target.mean()) / data.target.std()
        found[task] = (x, y[train], t, y[test])
    return found


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_predictions_are_as_good_as_scikit_learns_with_the_same_settings(standardised, task):
    x, y, t, truth = standardised[task]
    model = MLPClassifier if task == "classification" else MLPRegressor
    options = {"hidden_layer_sizes": (64, 64), "alpha": 1.0, "batch_size": 50, "max_iter": 40, "n_iter_no_change": 40}

    def gain(predictions):
        return (predictions == truth).mean() if task == "classification" else -np.square(predictions - truth).mean()

    ours, theirs = [], []
    for seed in range(3):
        classes = 10 if task == "classification" else None
        answers = fit_predict([Job(x, y, t)], [1.0], classes=classes, hidden=(64, 64), steps=200, batch=50, seed=seed)
        ours.append(gain(answers[0][0]))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # the length is fixed on purpose
            theirs.append(gain(model(random_state=seed, **options).fit(x, y).predict(t)))

    # Over three seeds either spreads by about a hundredth (accuracy) or two (squared error, of a variance of one).
    assert np.mean(ours) > np.mean(theirs) - (0.015 if task == "classification" else 0.05)
    assert gain(np.full(len(truth), 0)) < np.mean(ours) - 0.3  # and both have learned something
