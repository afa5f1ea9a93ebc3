"""Recipes of number sorting."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from torch import nn

from unshuffle._ranges import Epochs, Few, FractionBelowOne, MaybeFew, Minibatch, Seed, Size
from unshuffle.data.numbers import Numbers, Sorting
from unshuffle.methods.arrangers import Model, NumberNet
from unshuffle.methods.arranging import LearnToArrange
from unshuffle.ops.descent import Update
from unshuffle.train.engine import Plan
from unshuffle.train.optim import Adam, AdamW
from unshuffle.values import register


@register
@dataclass(frozen=True)
class SortRecipe:
    """Everything that decides how sorting is learnt."""

    source: Numbers = Numbers()
    """Which sets are drawn; no file is needed."""
    model: Model = "po-u"
    """What orders: po-u and po-la optimise a permutation (from a uniform start, and a linear one), lin-assign maps each
    number to its place. Only po-u sorts sets of other sizes than it was trained on."""
    hidden: Size = 16
    """Units of the network that compares two numbers (of lin-assign: that sees one)."""
    steps: MaybeFew = 6
    """Of the inner optimisation."""
    iterations: Few = 4
    """Rounds of each Sinkhorn normalisation."""
    update: Update = "alternative"
    """Of the inner optimisation: alternative moves logits by the gradient of the permutation itself (the paper's);
    proper goes through Sinkhorn; projected moves the permutation and projects it back (its appendix D)."""
    optim: AdamW | Adam = Adam(lr=0.03)
    """How the weights move."""
    batch_size: Minibatch = 64
    """Sets in a step."""
    epochs: Epochs = 1
    """Times that so many sets are drawn."""
    holdout: FractionBelowOne = 0.02
    """Share of the sets kept out of training."""
    seed: Seed = 0
    """Of everything."""

    def __post_init__(self) -> None:
        if self.model == "po-u" and not self.steps:
            raise ValueError(f"{type(self).__name__}: `steps` must be from 1 where `model` is po-u; got 0.")

    def settle(self, root: str | Path) -> tuple[SortRecipe, list[str]]:
        """Itself: nothing is left open."""
        return self, []

    def build(self, item_shape: tuple[int, ...], net: nn.Module | None = None) -> Plan:
        """The method for items (1, 1, n).

        Raises:
            ValueError: a network of one's own was given, for which there is no place.
        """
        refuse_own("SortRecipe", net)
        value = NumberNet(self.model, item_shape[-1], self.hidden, self.steps, self.iterations, self.update)
        arranger = value.build()
        return Plan(LearnToArrange(arranger), Sorting(), arranger, value, None)


def refuse_own(recipe: str, net: nn.Module | None) -> None:
    """Refuses a network of one's own where a recipe has no place for one."""
    if net is not None:
        raise ValueError(
            f"{recipe}: takes no network of one's own. Put unshuffle.methods.PermutationOptimizer or GridOptimizer "
            "behind it instead, and train the two as any module."
        )


def sort_numbers() -> SortRecipe:
    """Sorting numbers by a comparison that is learnt: exact far outside what was trained on.

    Trained on sets of ten numbers from [0, 1]; ``unshuffle eval`` sorts sets of many sizes from seven intervals. Longer
    is not better: the step size of the inner optimisation goes on growing, and then suits sets of ten alone.

    Run:   unshuffle train sort-numbers --out runs/sort
    """
    return SortRecipe()


def sort_numbers_po_u() -> SortRecipe:
    """The paper's experiment: PO-U on 2¹⁸ sets of ten numbers, batches of 512, ``--source.size`` for other sizes.

    Paper: section 4.1: sets of 5 to 1024 numbers sorted without a mistake, from all seven intervals.
    Ours:  the tables of docs/reproduce.md, with fewer steps.
    Costs: minutes of one core up to 15 numbers; above that, fewer and smaller batches do.
    Run:   unshuffle train sort_numbers_po_u --out runs/sort
    """
    return SortRecipe(source=Numbers(sets=2**18), optim=Adam(lr=0.1), batch_size=512, holdout=0.0)


def sort_numbers_lin_assign() -> SortRecipe:
    """As ``sort_numbers_po_u``, with a linear assignment after one hidden layer of 32 units (Mena et al. 2018)."""
    return replace(sort_numbers_po_u(), model="lin-assign", hidden=32, optim=Adam(lr=1e-2))
