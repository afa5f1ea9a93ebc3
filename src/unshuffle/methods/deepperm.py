"""DeepPermNet: predict the matrix of the permutation that shuffled a sample, or a sequence of whole images."""

from __future__ import annotations

from torch import Tensor, nn

from unshuffle.losses import MatrixObjective
from unshuffle.methods.base import ranking_step
from unshuffle.types import Sets, Shuffled, Step


class DeepPermNet(nn.Module):
    """A score for every item at every position, from all items together; a layer makes a soft permutation of them.

    Args:
        net: a module from items (B, n, ...) to scores (B, n * n), with ``embed`` beside ``forward``.
        objective: the layer and its cost.

    Source: Santa Cruz, Fernando, Cherian & Gould, "DeepPermNet: Visual Permutation Learning", CVPR 2017, section 3.
    """

    def __init__(self, net: nn.Module, objective: MatrixObjective) -> None:
        super().__init__()
        self.net, self.objective = net, objective

    def step(self, batch: Shuffled | Sets) -> Step:
        """The loss of one batch of patches or of sets, which may hold ties, and how well it was put in order.

        Raises:
            ValueError: there is a single sequence, and the network normalises over a batch.
        """
        items = batch.patches if isinstance(batch, Shuffled) else batch.items
        if self.training and len(items) < 2 and any(isinstance(m, nn.BatchNorm1d) for m in self.net.modules()):
            raise ValueError(
                "DeepPermNet: `batch` must hold at least two sequences, over which the network normalises; got one of "
                f"{items.shape[1]} items. Give more items, or shorter sequences."
            )
        return ranking_step(self.net(items), batch.ranks, self.objective)

    def order(self, items: Tensor) -> Tensor:
        """The predicted ranks (B, n) of items (B, n, ...): those of the nearest permutation."""
        return self.objective.predict(self.net(items).float(), items.shape[1])

    def embed(self, items: Tensor) -> Tensor:
        """What the network says of prepared items: of patches (B, n, ...) in order, or of single images (B, ...)."""
        return self.net.embed(items)  # type: ignore[operator]
