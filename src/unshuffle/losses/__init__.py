"""What a soft order costs, one value a sample.

``fenchel_young`` and the objectives of :mod:`unshuffle.losses.permutation` take scores (B, n) and true ranks (B, n),
those of :mod:`unshuffle.losses.permutation_matrix` scores (B, n * n); the rank correlations take any target that has an
order. Objectives over views (:mod:`unshuffle.losses.contrastive`) take embeddings (m, B, d).
"""

from unshuffle.losses.contrastive import GroupOrder, InfoNCE, Triplet, ViewsObjective
from unshuffle.losses.fenchel_young import fenchel_young, sampled_fenchel_young
from unshuffle.losses.group_order import full_order, group_order
from unshuffle.losses.permutation import (
    FastSoftRanking,
    FixedPermutations,
    Objective,
    PairwiseLogistic,
    PerturbedFenchelYoung,
    RankMSE,
)
from unshuffle.losses.permutation_matrix import AuthorsSinkhorn, MatrixObjective, NaiveSigmoid, SinkhornCrossEntropy
from unshuffle.losses.rank_correlation import soft_kendall, soft_spearman
from unshuffle.losses.similarities import Negatives

__all__ = [
    "AuthorsSinkhorn",
    "FastSoftRanking",
    "FixedPermutations",
    "GroupOrder",
    "InfoNCE",
    "MatrixObjective",
    "NaiveSigmoid",
    "Negatives",
    "Objective",
    "PairwiseLogistic",
    "PerturbedFenchelYoung",
    "RankMSE",
    "SinkhornCrossEntropy",
    "Triplet",
    "ViewsObjective",
    "fenchel_young",
    "full_order",
    "group_order",
    "sampled_fenchel_young",
    "soft_kendall",
    "soft_spearman",
]
