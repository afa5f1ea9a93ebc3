"""Representations side by side: same labels, same probe, same test rows for each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import product
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

import numpy as np

from unshuffle.evals.metrics import mean_auc, score
from unshuffle.evals.probes import linear_probe
from unshuffle.evals.results import Stamp
from unshuffle.types import Result


class Task(NamedTuple):
    """Something to predict: ``train`` is (n,) and ``test`` (m,), the targets of both parts of the data.

    Where samples have several labels they are (n, k) and (m, k), of 1 (there), 0 (not there) and -1 (not judged).
    """

    name: str
    kind: Literal["classification", "regression", "multilabel"]
    train: np.ndarray
    test: np.ndarray


@runtime_checkable
class Probe(Protocol):
    """A learner: on frozen features, as :func:`~unshuffle.evals.probes.linear_probe`, or on raw items.

    The latter is :class:`~unshuffle.evals.supervised.Supervised`.
    """

    def __call__(
        self,
        features: np.ndarray,
        targets: np.ndarray,
        test_features: np.ndarray,
        /,
        *,
        task: Any,  # a Task's kind; not every probe can learn every one
        seed: int,
    ) -> np.ndarray: ...


class Subset(NamedTuple):
    """The labelled rows of one draw: ``n`` of them, (n,) ``indices``."""

    n: int
    draw: int
    indices: np.ndarray


def label_subsets(
    size: int, counts: Sequence[int], *, draws: int, seed: int, classes: np.ndarray | None = None
) -> list[Subset]:
    """Draws the rows whose labels a probe may see.

    Every draw of every count is fresh, and depends on nothing but (seed, count, draw). A count that is not below
    ``size`` means all rows, once.

    Args:
        size: how many rows there are.
        counts: how many labels to give, in the order wanted.
        draws: how often each count is drawn.
        seed: of all draws.
        classes: (size,) class of each row, to draw as many rows of each as of any other; None draws regardless.

    Returns:
        The subsets, count after count, rows without repetition.

    Raises:
        ValueError: a count, ``size`` or ``draws`` is not positive.

    Example:
        >>> [(n, draw, len(rows)) for n, draw, rows in label_subsets(10, [4, 10], draws=2, seed=0)]
        [(4, 0, 4), (4, 1, 4), (10, 0, 10)]
    """
    if size < 1 or draws < 1 or any(count < 1 for count in counts):
        raise ValueError(
            f"label_subsets: `size`, `draws` and each of `counts` must be at least 1; got {size}, {draws} and "
            f"{list(counts)}."
        )
    subsets = []
    for count in dict.fromkeys(min(count, size) for count in counts):
        if count == size:
            subsets.append(Subset(size, 0, np.arange(size)))
            continue
        for draw in range(draws):
            rng = np.random.default_rng([seed, count, draw])
            chosen = rng.choice(size, count, replace=False) if classes is None else _balanced(classes, count, rng)
            subsets.append(Subset(count, draw, chosen))
    return subsets


def _balanced(classes: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """``count`` rows, dealt to the classes in turn: their numbers differ by one at the most, while each has enough."""
    order = rng.permutation(len(classes))
    names, place = np.unique(classes[order], return_inverse=True)
    turn = np.empty(len(order), dtype=np.int64)
    for k in range(len(names)):
        turn[place == k] = np.arange((place == k).sum())
    return order[np.argsort(turn, kind="stable")][:count]


def compare(
    representations: Mapping[str, tuple[np.ndarray, np.ndarray]],
    tasks: Sequence[Task],
    counts: Sequence[int],
    *,
    draws: int = 5,
    seed: int = 0,
    probe: Probe = linear_probe,
    balanced: bool = False,
    stamp: Stamp,
    progress: Callable[[str], None] | None = None,
) -> list[Result]:
    """Scores every representation on every task with every number of labels.

    Args:
        representations: name -> (n, d) training and (m, d) test features, rows in one order throughout; raw items,
            (n, ...) and (m, ...), for a probe that learns from those.
        tasks: what to predict from them.
        counts: numbers of labels; see :func:`label_subsets`, whose subsets all representations share.
        draws: how often each number of labels is drawn.
        seed: of the draws and of the probe, which gets ``seed + draw``.
        probe: the learner.
        balanced: draw as many labels of each class as of any other, in classification tasks.
        stamp: the shared fields of the results.
        progress: is told, before each fit, what is fitted.

    Returns:
        One result for each task, subset and representation, in this nesting, and for tasks with several labels two, the
        mean over classes and the spread; ``layer`` is the representation's name and ``seed`` the draw.

    Raises:
        ValueError: representations and tasks do not agree on the numbers of rows.

    Example:
        >>> from unshuffle.evals.results import stamp
        >>> rows = np.array([[0.0], [0.1], [0.9], [1.0]])
        >>> high = Task("high", "classification", np.array([0, 0, 1, 1]), np.array([0, 1]))
        >>> results = compare({"raw": (rows, rows[[0, 3]])}, [high], [4], stamp=stamp("toy", "test", "none"))
        >>> [(r.task, r.layer, r.n, r.metric, r.value) for r in results]
        [('high', 'raw', 4, 'accuracy', 1.0)]
    """
    size = _rows(representations, tasks)
    drawn = {
        task.name: label_subsets(
            size, counts, draws=draws, seed=seed,
            classes=task.train if balanced and task.kind == "classification" else None,
        )
        for task in tasks
    }  # fmt: skip
    cells = ((task, subset) for task in tasks for subset in drawn[task.name])
    results = []
    for (task, subset), (name, (train, test)) in product(cells, representations.items()):
        if progress is not None:
            progress(f"{task.name}: {name}, {subset.n} labels, draw {subset.draw + 1}")
        rows = subset.indices
        predictions = probe(train[rows], task.train[rows], test, task=task.kind, seed=seed + subset.draw)
        results += [
            Result(task.name, metric, value, subset.n, subset.draw, layer=name, **stamp._asdict())
            for metric, value in _measured(task, predictions)
        ]
    return results


def _measured(task: Task, predictions: np.ndarray) -> list[tuple[str, float]]:
    """The figures of one prediction, by their names."""
    if task.kind != "multilabel":
        return [score(task.kind, predictions, task.test)]
    area = mean_auc(predictions, task.test)
    return [("mean AUC", area.mean), (f"spread of AUC over {area.classes} classes", area.spread)]


def _rows(representations: Mapping[str, tuple[np.ndarray, np.ndarray]], tasks: Sequence[Task]) -> int:
    """The number of training rows, on which all agree."""
    sizes = {f"representation {name!r}": (len(train), len(test)) for name, (train, test) in representations.items()}
    sizes |= {f"task {task.name!r}": (len(task.train), len(task.test)) for task in tasks}
    if len(set(sizes.values())) != 1:
        told = ", ".join(f"{name} {train} and {test}" for name, (train, test) in sizes.items()) or "none"
        raise ValueError(
            f"compare: `representations` and `tasks` must have the same numbers of training and test rows; got {told}."
        )
    return next(iter(sizes.values()))[0]
