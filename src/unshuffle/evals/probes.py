"""What a frozen representation is worth to a simple learner: linear models and a small perceptron on top of it.

Every probe standardises the features with the training rows' statistics and chooses its regularisation by
cross-validation on the training rows alone, so that no representation is helped or hurt by its scale. The test rows
meet nothing but the finished predictor.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Literal, TypeAlias

import numpy as np
from jaxtyping import Num, Shaped
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import RidgeCV
from sklearn.neural_network import MLPClassifier, MLPRegressor
from threadpoolctl import threadpool_limits

from unshuffle import _check
from unshuffle.evals import logistic
from unshuffle.evals.metrics import score

Kind: TypeAlias = Literal["classification", "regression"]
# (training features, training targets, strengths, other features) -> predictions of the others, one set a strength
_Path: TypeAlias = Callable[[np.ndarray, np.ndarray, Sequence[float], np.ndarray], list[np.ndarray]]

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
    features, test_features = _standardise(features, test_features)
    with _one_thread():
        if task == "regression":
            return np.asarray(RidgeCV(RIDGE_ALPHAS).fit(features, targets).predict(test_features))
        features, test_features = (
            rows.astype(np.float32) for rows in logistic.onto_principal_axes(features, test_features)
        )
        strength = _choose(_logistic_path, features, targets, LOGISTIC_STRENGTHS, LOGISTIC_DEFAULT, task, seed, folds)
        return _logistic_path(features, targets, [strength], test_features, tolerance=3e-4)[0]


def mlp_probe(
    features: Num[np.ndarray, "n d"],
    targets: Shaped[np.ndarray, "n"],
    test_features: Num[np.ndarray, "m d"],
    *,
    task: Kind,
    seed: int = 0,
    folds: int = 3,
    hidden: tuple[int, ...] = (256, 256),
) -> Shaped[np.ndarray, "m"]:
    """Predicts the targets of new rows by a three-layer perceptron on frozen features.

    Two hidden layers of rectified units, trained by Adam on the cross-entropy or on the squared error of standardised
    targets. The length is fixed in advance, ``MLP_STEPS`` steps of ``MLP_BATCH`` rows (it ends earlier only where the
    training loss has stood still for ten epochs), because a few labels leave none for early stopping; what is adapted
    is the L2 penalty, chosen among ``MLP_ALPHAS`` by the same folds as the linear probe, ``MLP_DEFAULT`` where nothing
    can be held out. The paper names neither sizes nor training of its perceptron; these are ours.

    Args:
        features: (n, d) of the labelled rows. Columns that are constant there count as zero everywhere.
        targets: (n,) classes of any kind, or numbers.
        test_features: (m, d) of the rows to predict.
        task: ``"classification"`` or ``"regression"``.
        seed: of the division into folds, the first weights and the batches.
        folds: how many; at least 2. Fewer where there are fewer rows.
        hidden: units of each hidden layer.

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
    features, test_features = (x.astype(np.float32) for x in _standardise(features, test_features))

    def path(rows: np.ndarray, known: np.ndarray, alphas: Sequence[float], others: np.ndarray) -> list[np.ndarray]:
        return [_perceptron(rows, known, others, task, alpha, seed, hidden) for alpha in alphas]

    with _one_thread():
        alpha = _choose(path, features, targets, MLP_ALPHAS, MLP_DEFAULT, task, seed, folds)
        return path(features, targets, [alpha], test_features)[0]


def _choose(
    path: _Path,
    features: np.ndarray,
    targets: np.ndarray,
    strengths: tuple[float, ...],
    default: float,
    task: Kind,
    seed: int,
    folds: int,
) -> float:
    """The strength that predicts held-out rows best; of equals, the one nearest to the default."""
    if task == "classification" and len(np.unique(targets)) == len(targets):
        return default
    fold_of = _deal(targets, task, min(folds, len(targets)), seed)
    gains = np.zeros(len(strengths))
    for fold in range(fold_of.max() + 1):
        held = fold_of == fold
        predictions = path(features[~held], targets[~held], strengths, features[held])
        gains += [_gain(task, predicted, targets[held]) for predicted in predictions]
    distance = np.abs(np.log(np.array(strengths) / default))
    return strengths[int(np.lexsort((distance, -gains))[0])]


def _deal(targets: np.ndarray, task: Kind, folds: int, seed: int) -> np.ndarray:
    """Deals the rows round and round to the folds, in random order, class after class."""
    order = np.random.default_rng(seed).permutation(len(targets))
    if task == "classification":
        order = order[np.argsort(targets[order], kind="stable")]
    fold_of = np.empty(len(targets), dtype=int)
    fold_of[order] = np.arange(len(targets)) % folds
    return fold_of


def _gain(task: Kind, predictions: np.ndarray, targets: np.ndarray) -> float:
    metric, value = score(task, predictions, targets)
    return len(targets) * (value if metric == "accuracy" else -value)


def _logistic_path(
    features: np.ndarray,
    targets: np.ndarray,
    strengths: Sequence[float],
    others: np.ndarray,
    *,
    tolerance: float = 3e-3,
) -> list[np.ndarray]:
    """Fits one strength after the other, each starting where the last ended; enough digits to tell them apart."""
    classes, codes = np.unique(targets, return_inverse=True)
    weights, predictions = None, []
    for strength in strengths:
        weights = logistic.fit(features, codes, strength=strength, start=weights, tolerance=tolerance)
        predictions.append(classes[logistic.predict(weights, others)])
    return predictions


def _perceptron(
    features: np.ndarray,
    targets: np.ndarray,
    others: np.ndarray,
    task: Kind,
    alpha: float,
    seed: int,
    hidden: tuple[int, ...],
) -> np.ndarray:
    if task == "classification" and (targets == targets[0]).all():
        return np.full(len(others), targets[0])
    batch = min(MLP_BATCH, len(features))
    epochs = -(-MLP_STEPS * batch // len(features))
    model = MLPClassifier if task == "classification" else MLPRegressor
    net = model(
        hidden_layer_sizes=hidden,
        alpha=alpha,
        batch_size=batch,  # pyright: ignore[reportArgumentType]  (the stub knows the default, "auto", alone)
        max_iter=epochs,
        random_state=seed,
    )
    centre, spread = (targets.mean(), targets.std() or 1.0) if task == "regression" else (0, 1)
    with warnings.catch_warnings():
        # The length is fixed on purpose.
        warnings.simplefilter("ignore", ConvergenceWarning)
        net.fit(features, targets if task == "classification" else (targets - centre) / spread)
    predictions = np.asarray(net.predict(others))
    return predictions if task == "classification" else predictions * spread + centre


def _one_thread() -> threadpool_limits:
    """Hundreds of small matrix products: more threads would mostly wait for each other.

    With two threads on two cores that had other work too, the linear probe took up to fifty times longer.
    """
    return threadpool_limits(1, user_api="blas")


def _standardise(features: np.ndarray, test_features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
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
    numbers = {"features": features, "test_features": test_features}
    if task == "regression":
        numbers["targets"] = targets[:, None]
    for name, rows in numbers.items():
        finite = np.isfinite(rows).all(1)
        if not finite.all():
            raise ValueError(f"{function}: `{name}` must be finite; row {finite.argmin()} holds NaN or infinity.")
    if folds < 2:
        raise ValueError(f"{function}: `folds` must be at least 2; got {folds}.")
