"""How well orders are predicted: DeepPermNet's metrics of permutation matrices and of rankings, one value a sample.

Rankings and relevances are (..., n), matrices (..., n, n) with items on rows and positions on columns. All values are
those of single samples, in float64; take ``.mean()`` over samples.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Real
from torch import Tensor

from unshuffle import _check, permutations
from unshuffle._pairs import PairCounts, count_pairs, widened, with_nan
from unshuffle.data.loaders import mix
from unshuffle.evals.encoder import Encoder
from unshuffle.evals.results import Stamp
from unshuffle.losses import MatrixObjective
from unshuffle.ops import assign
from unshuffle.types import Result


class Answers(NamedTuple):
    """Predicted hard ranks (B, n), and the soft matrices (B, n, n) behind them, of networks that predict such."""

    ranks: Tensor
    soft: Tensor | None


def answers(encoder: Encoder, inputs: Float[Tensor, "batch n *item"], *, batch_size: int = 256) -> Answers:
    """Puts shuffled patches or sets in order.

    Args:
        encoder: a trained one with an objective.
        inputs: as its network takes them.
        batch_size: items or samples at a time, at the most.
    """
    parts = inputs.split(encoder.at_once(max(1, batch_size // inputs.shape[1])))
    if not isinstance(encoder.objective, MatrixObjective):
        return Answers(torch.cat([encoder.order(part) for part in parts]), None)
    soft = torch.cat([encoder.matrix(part) for part in parts])
    return Answers((assign(soft) + 1).to(soft.dtype), soft)


def matrix_similarity(
    predicted: Real[Tensor, "*batch n n"], true: Real[Tensor, "*batch n n"]
) -> Float[Tensor, "*batch"]:
    """Share of equal entries of two hard permutation matrices: the paper's Hamming similarity (HS).

    Most entries of any two permutation matrices are zeros, so the figure is high: two random ones of 8 items agree in
    0.78 of them. :func:`unshuffle.permutations.hamming_similarity` counts positions instead.

    Example:
        >>> matrix_similarity(torch.eye(4), torch.eye(4)[[0, 1, 3, 2]])
        tensor(0.7500, dtype=torch.float64)

    Source: DeepPermNet, section 4.1.
    """
    _check.same_shape("matrix_similarity", "predicted", predicted, "true", true)
    return (predicted == true).double().mean((-2, -1))


def normalization_error(soft: Float[Tensor, "*batch n n"]) -> Float[Tensor, "*batch"]:
    """Mean distance from 1 of the sums of all rows and columns of a soft permutation matrix: the paper's NE.

    Example:
        >>> normalization_error(torch.tensor([[0.5, 0.5], [0.5, 0.7]]))
        tensor(0.1000, dtype=torch.float64)

    Source: DeepPermNet, section 4.1 (l1 normalisation error).
    """
    _check.floating("normalization_error", "soft", soft)
    soft = soft.float() if soft.itemsize < 4 else soft
    sums = torch.cat([soft.sum(-1), soft.sum(-2)], -1).double()
    return (sums - 1).abs().mean(-1)


def row_argmax(soft: Float[Tensor, "*batch n n"]) -> Float[Tensor, "*batch n n"]:
    """Puts every item at its own likeliest position, whoever else is there: the answer of the authors' code.

    It may be no permutation; see :func:`is_permutation`. The nearest one is what
    :func:`unshuffle.ops.assignment.assign` gives.

    Example:
        >>> row_argmax(torch.tensor([[0.6, 0.4], [0.7, 0.3]]))
        tensor([[1., 0.],
                [1., 0.]])
    """
    _check.floating("row_argmax", "soft", soft)
    n = soft.shape[-1]
    return torch.nn.functional.one_hot(soft.argmax(-1), n).to(soft.dtype)


def is_permutation(hard: Real[Tensor, "*batch n n"]) -> Bool[Tensor, "*batch"]:
    """Whether a matrix of zeros and ones has exactly one in each row and column.

    Example:
        >>> is_permutation(torch.stack([torch.eye(2), torch.tensor([[1.0, 0.0], [1.0, 0.0]])]))
        tensor([ True, False])
    """
    binary = ((hard == 0) | (hard == 1)).all(-1).all(-1)
    return binary & (hard.sum(-1) == 1).all(-1) & (hard.sum(-2) == 1).all(-1)


def pairwise_accuracy(predicted: Real[Tensor, "*batch n"], true: Real[Tensor, "*batch n"]) -> Float[Tensor, "*batch"]:
    """Share of the pairs of items that are put the right way round; a pair that is truly tied is right either way.

    Args:
        predicted: ranks or scores that rise as ``true`` should; two that tie where ``true`` does not are wrong.
        true: ranks, labels or relevances of the same n >= 2 items, of any real dtype.

    Returns:
        One value a sample; NaN where either ranking holds NaN.

    Example:
        >>> pairwise_accuracy(torch.tensor([1.0, 3.0, 2.0]), torch.tensor([1.0, 2.5, 2.5]))
        tensor(1., dtype=torch.float64)

    Source: DeepPermNet, section 4.2 (all pairs of each sequence); the rule for ties is ours.
    """
    counts = _pairs("pairwise_accuracy", predicted, true)
    return with_nan((counts.concordant + counts.tied_second).double() / counts.total, counts)


def strict_pairwise_accuracy(
    predicted: Real[Tensor, "*batch n"], true: Real[Tensor, "*batch n"]
) -> Float[Tensor, "*batch"]:
    """As :func:`pairwise_accuracy`, but a pair that is truly tied is right only if the prediction ties too.

    The authors call it with relevances by position, (the sequence as recovered, the sequence in order): there a
    prediction ties where two items of one relevance come to stand.

    Example:
        >>> strict_pairwise_accuracy(torch.tensor([1.0, 3.0, 2.0]), torch.tensor([1.0, 2.5, 2.5]))
        tensor(0.6667, dtype=torch.float64)

    Source: the evaluation of DeepPermNet's code.
    """
    counts = _pairs("strict_pairwise_accuracy", predicted, true)
    return with_nan((counts.concordant + counts.tied_both).double() / counts.total, counts)


def strict_kendall_tau(predicted: Real[Tensor, "*batch n"], true: Real[Tensor, "*batch n"]) -> Float[Tensor, "*batch"]:
    """Right pairs minus wrong ones over all pairs, ties as in :func:`strict_pairwise_accuracy`: the paper's KT.

    Without ties it is Kendall's tau, that of :func:`unshuffle.permutations.kendall_tau`.

    Example:
        >>> strict_kendall_tau(torch.tensor([1.0, 3.0, 2.0]), torch.tensor([1.0, 2.0, 3.0]))
        tensor(0.3333, dtype=torch.float64)

    Source: DeepPermNet, section 4.1, (c+ - c-) / (l (l - 1) / 2).
    """
    return 2 * strict_pairwise_accuracy(predicted, true) - 1


def ndcg(scores: Real[Tensor, "*batch n"], relevance: Real[Tensor, "*batch n"]) -> Float[Tensor, "*batch"]:
    r"""Normalised discounted cumulative gain of all n items, the strongest first, with exponential gains.

    .. math:: \frac{\sum_k (2^{r_k} - 1) / \log_2(k + 1)}{\text{the same in the best order}}

    where :math:`r_k` is the relevance of the item with the k-th largest score, of tied ones the later.

    Args:
        scores: (..., n), larger for items that are to come first.
        relevance: (..., n), 0 or more and not all 0. NaN in either gives NaN.

    Example:
        >>> ndcg(torch.tensor([0.1, 0.9, 0.5]), torch.tensor([1.0, 2.0, 3.0]))
        tensor(0.8428, dtype=torch.float64)

    Source: Järvelin & Kekäläinen 2002; the evaluation of DeepPermNet's code (k = n), which gives the relevances of the
    recovered sequence as scores.
    """
    _check.real("ndcg", "scores", scores)
    _check.real("ndcg", "relevance", relevance)
    _check.same_shape("ndcg", "scores", scores, "relevance", relevance)
    best, said = (_discounted(values, relevance) for values in (relevance, scores))
    return (said / best).masked_fill(scores.isnan().any(-1), torch.nan)


def in_order(values: Real[Tensor, "*batch n"], ranks: Float[Tensor, "*batch n"]) -> Real[Tensor, "*batch n"]:
    """What belongs to the items, in the order of their hard ranks: the recovered sequence, X = P' X~ (equation 6).

    Example:
        >>> in_order(torch.tensor([30, 10, 20]), torch.tensor([3.0, 1.0, 2.0]))
        tensor([10, 20, 30])
    """
    _check.same_shape("in_order", "values", values, "ranks", ranks)
    return values.gather(-1, ranks.argsort(-1))


def resolve_ties(true: Float[Tensor, "*batch n"], predicted: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch n"]:
    """Hard ranks that respect ``true`` and are nearest to ``predicted``: tied items stand as they are predicted.

    Example:
        >>> resolve_ties(torch.tensor([2.5, 1.0, 2.5]), torch.tensor([2.0, 3.0, 1.0]))
        tensor([3., 1., 2.])
    """
    _check.same_shape("resolve_ties", "predicted", predicted, "true", true)
    # In float64: neither half precision nor float32 holds n * 2n + n exactly for every n.
    return permutations.to_ranks(true.double() * (2 * true.shape[-1]) + predicted.double()).to(true.dtype)


def ordering_results(
    answers: Answers, true: Float[Tensor, "batch n"], stamp: Stamp, *, layer: str, seed: int
) -> list[Result]:
    """Kendall's tau, pairwise accuracy and matrix similarity of predicted orders, each beside that of random ones.

    Tied items may stand in either order. Of soft matrices also the normalisation error, and what the answer of the
    authors' code (``row by row``) is worth: its similarity, and how often it is a permutation at all.

    Args:
        answers: what was predicted.
        true: ranks, tied items sharing their average.
        stamp: of the measurement.
        layer: whose orders these are.
        seed: of the random orders.
    """
    # Of a seed of their own: the puzzles themselves may have been drawn from the plain one.
    generator = torch.Generator().manual_seed(mix(seed, 1))
    guessed = permutations.sample(*true.shape, generator=generator).to(true) + 1
    found: list[tuple[str, str, str, Tensor]] = []
    for name, ranks in ((layer, answers.ranks), ("chance", guessed)):
        matrix, settled = (permutations.rank_matrix(r) for r in (ranks, resolve_ties(true, ranks)))
        found += [
            ("order: Kendall tau", "tau", name, permutations.kendall_tau(ranks, true)),
            ("order: pairs", "accuracy", name, pairwise_accuracy(ranks, true)),
            ("order: entries of the matrix", "similarity", name, matrix_similarity(matrix, settled)),
        ]
    if (soft := answers.soft) is not None:
        alone = row_argmax(soft)
        settled = permutations.rank_matrix(resolve_ties(true, soft.argmax(-1) + 1.0))
        found += [
            ("order: entries of the matrix", "similarity", f"{layer}, row by row", matrix_similarity(alone, settled)),
            ("order: permutations among answers", "share", f"{layer}, row by row", is_permutation(alone).double()),
            ("order: sums of rows and columns", "error", layer, normalization_error(soft)),
        ]
    return [
        Result(task, metric, float(value.double().nanmean()), len(true), seed, layer=name, **stamp._asdict())
        for task, metric, name, value in found
        if not value.isnan().all()
    ]


def _pairs(function: str, predicted: Tensor, true: Tensor) -> PairCounts:
    """The pairs of both rankings, of which there must be one at least."""
    _check.real(function, "predicted", predicted)
    _check.real(function, "true", true)
    if true.shape[-1] < 2:
        raise ValueError(f"{function}: there must be two items or more, to make a pair; got {tuple(true.shape)}.")
    _check.same_shape(function, "predicted", predicted, "true", true)
    return count_pairs(predicted, true)


def _discounted(scores: Tensor, relevance: Tensor) -> Tensor:
    order = widened(scores).argsort(dim=-1, stable=True).flip(-1)
    gains = torch.exp2(relevance.double().gather(-1, order)) - 1
    return (gains / torch.log2(torch.arange(2.0, gains.shape[-1] + 2, dtype=gains.dtype, device=gains.device))).sum(-1)
