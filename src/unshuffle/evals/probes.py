"""What a frozen representation is worth to a simple learner: linear models and a small perceptron on top of it.

Every probe standardises the features with the training rows' statistics and chooses its regularisation by
cross-validation on the training rows alone, so that no representation is helped or hurt by its scale. The test rows
meet nothing but the finished predictor.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from jaxtyping import Num, Shaped
from sklearn.linear_model import RidgeCV
from threadpoolctl import threadpool_limits

from unshuffle import _check
from unshuffle.evals import logistic, perceptron
from unshuffle.evals.choosing import Fit, Job, Kind, choose

RIDGE_ALPHAS = tuple(np.logspace(-1, 6, 15))
LOGISTIC_STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
LOGISTIC_DEFAULT = 1.0
MLP_ALPHAS = (0.1, 1.0, 10.0)
MLP_DEFAULT = 1.0
MLP_STEPS = 500
MLP_BATCH = 64


def linear_probe(
    features: Num[np.ndarray, "n d"],
    targets: Shaped[np.ndarray, "n"],
    test_features: Num[np.ndarray, "m d"],
    *,
    task: Kind,
    seed: int = 0,
    folds: int = 3,
) -> Shaped[np.ndarray, "m"]:
    """Predicts the targets of new rows by a regularised linear model of frozen features.

    Regression is ridge regression, its penalty chosen among ``RIDGE_ALPHAS`` by the closed form of leave-one-out.
    Classification is multinomial logistic regression with an L2 penalty, scikit-learn's C chosen among
    ``LOGISTIC_STRENGTHS`` by accuracy over stratified folds; of equals, the one nearest to ``LOGISTIC_DEFAULT`` wins,
    which is also taken where no class has two rows and nothing can be held out.

    Args:
        features: (n, d) of the labelled rows. Columns that are constant there count as zero everywhere.
        targets: (n,) classes of any kind, or numbers.
        test_features: (m, d) of the rows to predict.
        task: ``"classification"`` or ``"regression"``.
        seed: of the division into folds.
        folds: how many; at least 2. Fewer where there are fewer rows.

    Returns:
        (m,) predictions: members of ``targets``, or floats.

    Raises:
        ValueError: shapes do not fit, a number is not finite, there are no rows, or an option is not accepted.

    Example:
        >>> features, names = np.array([[0.0], [1.0], [4.0], [5.0]]), np.array(["low", "low", "high", "high"])
        >>> linear_probe(features, names, np.array([[-1.0], [9.0]]), task="classification").tolist()
        ['low', 'high']
    """
    _refuse("linear_probe", features, targets, test_features, task, folds)
    if (targets == targets[0]).all():
        return np.full(len(test_features), targets[0])
    features, test_features = standardise(features, test_features)
    with one_thread():
        if task == "regression":
            return np.asarray(RidgeCV(RIDGE_ALPHAS).fit(features, targets).predict(test_features))
        features, test_features = (
            rows.astype(np.float32) for rows in logistic.onto_principal_axes(features, test_features)
        )
        strength = choose(
            _logistic_path, features, targets, LOGISTIC_STRENGTHS,
            default=LOGISTIC_DEFAULT, task=task, seed=seed, folds=folds,
        )  # fmt: skip
        return _logistic_path([Job(features, targets, test_features)], [strength], tolerance=3e-4)[0][0]


def mlp_probe(
    features: Num[np.ndarray, "n d"],
    targets: Shaped[np.ndarray, "n"],
    test_features: Num[np.ndarray, "m d"],
    *,
    task: Kind,
    seed: int = 0,
    folds: int = 3,
    hidden: tuple[int, ...] = (256, 256),
    device: str = "cpu",
) -> Shaped[np.ndarray, "m"]:
    """Predicts the targets of new rows by a three-layer perceptron on frozen features.

    Two hidden layers of rectified units, trained by Adam on the cross-entropy or on the squared error of standardised
    targets. The length is fixed in advance, ``MLP_STEPS`` steps of ``MLP_BATCH`` rows, because a few labels leave none
    for early stopping; what is adapted is the L2 penalty, chosen among ``MLP_ALPHAS`` by the same folds as the linear
    probe, ``MLP_DEFAULT`` where nothing can be held out. Where there are twice as many columns as rows, or more, rows
    are turned into the span of the labelled ones first, which leaves their inner products as they were. The paper
    names neither sizes nor training of its perceptron; these are ours.

    Args:
        features: (n, d) of the labelled rows. Columns that are constant there count as zero everywhere.
        targets: (n,) classes of any kind, or numbers.
        test_features: (m, d) of the rows to predict.
        task: ``"classification"`` or ``"regression"``.
        seed: of the division into folds, the first weights and the batches.
        folds: how many; at least 2. Fewer where there are fewer rows.
        hidden: units of each hidden layer, one layer at least.
        device: where the nets are trained, such as ``"cuda"``; the CPU computes on one thread, the same every time.

    Returns:
        (m,) predictions: members of ``targets``, or floats.

    Raises:
        ValueError: shapes do not fit, a number is not finite, there are no rows, or an option is not accepted.

    Example:
        >>> corners = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]] * 8)
        >>> mlp_probe(corners, np.array([0, 1, 1, 0] * 8), corners[:4], task="classification")
        array([0, 1, 1, 0])

    Source: Shuffle to Learn, section 4, downstream task.
    """
    _refuse("mlp_probe", features, targets, test_features, task, folds)
    if (targets == targets[0]).all():
        return np.full(len(test_features), targets[0])
    features, test_features = standardise(features, test_features)
    if features.shape[1] >= 2 * len(features):
        features, test_features = _within_span(features, test_features)
    features, test_features = features.astype(np.float32), test_features.astype(np.float32)
    classes, codes = np.unique(targets, return_inverse=True) if task == "classification" else (None, targets)

    def fit(jobs: Sequence[Job], alphas: Sequence[float]) -> list[list[np.ndarray]]:
        return perceptron.fit_predict(
            jobs, alphas, classes=None if classes is None else len(classes), hidden=hidden, steps=MLP_STEPS,
            batch=MLP_BATCH, seed=seed, device=device,
        )  # fmt: skip

    path = fit if task == "classification" else _numbers(fit)
    with one_thread():
        alpha = choose(
            path, features, codes, MLP_ALPHAS, default=MLP_DEFAULT, task=task, seed=seed, folds=folds
        )  # fmt: skip
        answers = path([Job(features, codes, test_features)], [alpha])[0][0]
    return answers if classes is None else classes[answers]


def _logistic_path(
    jobs: Sequence[Job], strengths: Sequence[float], *, tolerance: float = 3e-3
) -> list[list[np.ndarray]]:
    """Fits one strength after the other, each starting where the last ended; enough digits to tell them apart."""
    return [_strengths(job, strengths, tolerance) for job in jobs]


def _strengths(job: Job, strengths: Sequence[float], tolerance: float) -> list[np.ndarray]:
    classes, codes = np.unique(job.targets, return_inverse=True)
    weights, predictions = None, []
    for strength in strengths:
        weights = logistic.fit(job.features, codes, strength=strength, start=weights, tolerance=tolerance)
        predictions.append(classes[logistic.predict(weights, job.others)])
    return predictions


def _numbers(fit: Fit) -> Fit:
    """Learns numbers at mean 0 and deviation 1 of the rows at hand, and predicts them in their own unit."""

    def scaled(jobs: Sequence[Job], settings: Sequence[float]) -> list[list[np.ndarray]]:
        units = [(job.targets.mean(), job.targets.std() or 1.0) for job in jobs]
        ready = [job._replace(targets=(job.targets - c) / s) for job, (c, s) in zip(jobs, units)]
        return [[p * s + c for p in rows] for rows, (c, s) in zip(fit(ready, settings), units)]

    return scaled


@contextmanager
def one_thread() -> Iterator[None]:
    """Hundreds of small matrix products: more threads would mostly wait for each other.

    With two threads on two cores that had other work too, the linear probe took up to fifty times longer.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1, user_api="blas"):
            yield
    finally:
        torch.set_num_threads(before)


def _within_span(features: np.ndarray, test_features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Turns rows of more columns than rows into at most as many columns, keeping all inner products.

    The net loses nothing it could learn from, and its widest layer shrinks from d inputs to n: several times cheaper
    with a hundred labels. The principal axes are turned once more, at random: on axes of very unlike spread Adam, which
    moves every weight alike, would do something else than on standardised columns.
    """
    turned, others = logistic.onto_principal_axes(features, test_features)
    rank = turned.shape[1]
    turn = np.linalg.qr(np.random.default_rng(0).standard_normal((rank, rank)))[0]
    return turned @ turn, others @ turn


def standardise(features: np.ndarray, test_features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Training rows get mean 0 and deviation 1 in every column that varies there, and 0 in the others.

    Test rows are held to the range of the training rows and once that range to either side: a column that hardly moved
    among them, such as a unit that was almost always off, must not decide alone.
    """
    features, test_features = features.astype(np.float64), test_features.astype(np.float64)
    centre, spread = features.mean(0), features.std(0)
    # The deviation of a constant column may be rounding noise; its range is exactly zero.
    spread[(np.ptp(features, axis=0) == 0) | (spread == 0)] = np.inf
    reach = np.ptp(features, axis=0)
    within = np.clip(test_features, features.min(0) - reach, features.max(0) + reach)
    return (features - centre) / spread, (within - centre) / spread


def _refuse(
    function: str, features: np.ndarray, targets: np.ndarray, test_features: np.ndarray, task: str, folds: int
) -> None:
    _check.one_of(function, "task", task, ("classification", "regression"))
    refuse_misfits(function, features, targets, test_features)
    if task == "regression":
        _refuse_infinite(function, "targets", targets[:, None])
    if folds < 2:
        raise ValueError(f"{function}: `folds` must be at least 2; got {folds}.")


def refuse_misfits(function: str, features: np.ndarray, targets: np.ndarray, test_features: np.ndarray) -> None:
    """Refuses rows and targets that do not fit each other, no rows at all, and features that are not finite."""
    if features.ndim != 2 or test_features.ndim != 2 or features.shape[1] != test_features.shape[1]:
        raise ValueError(
            f"{function}: `features` and `test_features` must be (n, d) and (m, d) with one d; got "
            f"{features.shape} and {test_features.shape}. Flatten each sample to one row first."
        )
    if len(features) == 0 or targets.shape != (len(features),):
        raise ValueError(
            f"{function}: `targets` must hold one entry for each of at least one row of `features`; got "
            f"{targets.shape} for {len(features)} rows."
        )
    _refuse_infinite(function, "features", features)
    _refuse_infinite(function, "test_features", test_features)


def _refuse_infinite(function: str, name: str, rows: np.ndarray) -> None:
    finite = np.isfinite(rows).all(1)
    if not finite.all():
        raise ValueError(f"{function}: `{name}` must be finite; row {finite.argmin()} holds NaN or infinity.")
