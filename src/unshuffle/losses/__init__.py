"""What a soft order costs, one value a sample.

``fenchel_young`` and the objectives of :mod:`unshuffle.losses.permutation` take scores (B, n) and true ranks (B, n);
the rank correlations take any target that has an order.
"""

from unshuffle.losses.fenchel_young import fenchel_young, sampled_fenchel_young
from unshuffle.losses.permutation import (
    FastSoftRanking,
    FixedPermutations,
    Objective,
    PerturbedFenchelYoung,
    RankMSE,
)
from unshuffle.losses.rank_correlation import soft_kendall, soft_spearman

__all__ = [
    "FastSoftRanking",
    "FixedPermutations",
    "Objective",
    "PerturbedFenchelYoung",
    "RankMSE",
    "fenchel_young",
    "sampled_fenchel_young",
    "soft_kendall",
    "soft_spearman",
]
