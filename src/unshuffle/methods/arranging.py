"""Learning to arrange: sets whose right order is told, or only what is to be seen in them once they are in order."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from unshuffle import _dist, permutations
from unshuffle.methods.arrangers import Arranger, nearest
from unshuffle.methods.neighbours import Chances, NeighbourOptimizer
from unshuffle.types import Raw, Shuffled, Step


class LearnToArrange(nn.Module):
    """Arranges shuffled items so that they are what they were: the squared error of the softly arranged items.

    Args:
        net: what arranges.

    Source: Zhang et al. 2019 (Permutation-Optimisation), sections 4.1 and 4.2.
    """

    def __init__(self, net: Arranger) -> None:
        super().__init__()
        self.net = net

    def step(self, batch: Shuffled) -> Step:
        """The loss of one batch, over all values of all items, and how well its items were placed."""
        arranged = self.net(batch.patches)
        truth = permutations.apply(batch.patches, batch.ranks.argsort(dim=-1, stable=True))
        error = (arranged.sequence.float() - truth.float()).square().flatten(1).mean(1)
        loss = _dist.global_mean(error)
        return Step(loss, {"loss": loss.detach(), **placed(self.net, arranged.permutation, batch.ranks)})

    def embed(self, items: Tensor) -> Tensor:
        """(B, n, ...) sets to (B, d), the same for every order of their items."""
        return self.net.embed(items)


class LearnNeighbours(nn.Module):
    """Learns which tile continues which, by cross-entropies; the squared error of a whole mosaic says little of each.

    Every tile is asked, for each of its four sides, which of the others is its neighbour there, or that none is; and,
    by itself, where it stands. Placing them is part of no loss: it answers all of these questions at once.

    Args:
        net: arranges by neighbours.

    Raises:
        TypeError: it arranges in another way.
    """

    def __init__(self, net: Arranger) -> None:
        super().__init__()
        if not isinstance(net.place, NeighbourOptimizer):
            raise TypeError(
                f"LearnNeighbours: `net` must place tiles by a NeighbourOptimizer; got {type(net.place).__name__}. "
                "Train others by LearnToArrange."
            )
        self.net, self.place = net, net.place

    def step(self, batch: Shuffled) -> Step:
        """The loss of one batch: the mean over sides, and a quarter of that of places; and how tiles were placed."""
        seen = self.net.see(batch.patches)
        position = batch.ranks.long() - 1
        loss = _dist.global_mean(neighbour_entropy(self.place.chances(seen), position, self.place.shape))
        with torch.no_grad():
            permutation = self.place.permutation(seen.detach())
        return Step(loss, {"loss": loss.detach(), **placed(self.net, permutation, batch.ranks)})

    def embed(self, items: Tensor) -> Tensor:
        """(B, n, C, h, w) tiles to (B, d), the same for every order of them."""
        return self.net.embed(items)


def neighbour_entropy(chances: Chances, position: Tensor, shape: tuple[int, int]) -> Tensor:
    """Minus the log-probability of the right neighbours, and a quarter of that of the right places; the mean, (B,)."""
    n = position.shape[-1]
    place = torch.arange(n, device=position.device).reshape(shape)
    nobody = nn.functional.pad(place, (1, 1, 1, 1), value=n)
    beyond = {"next": (nobody[2:, 1:-1], nobody[1:-1, 2:]), "previous": (nobody[:-2, 1:-1], nobody[1:-1, :-2])}
    # Which tile stands at each place; at none, number n.
    standing = nn.functional.pad(position.argsort(-1), (0, 1), value=n)
    found = -chances.places.gather(-1, position.unsqueeze(-1)).squeeze(-1) / 4
    for side, places in beyond.items():
        for axis, there in enumerate(places):
            right = standing.gather(-1, there.flatten()[position])
            said = getattr(chances, side)[:, axis]
            found = found - said.gather(-1, right.unsqueeze(-1)).squeeze(-1) / 4
    return found.mean(-1)


class ArrangeToClassify(nn.Module):
    """Arranges tiles so that a fixed classifier knows the image; nobody says where a tile belongs.

    Args:
        net: what arranges; it alone is learnt.
        classifier: from images to scores of classes, trained on whole images; its weights stay.
        rows: tiles from top to bottom.
        columns: tiles from left to right.
        moving_statistics: let the classifier's batch-norm statistics follow the mosaics while training, as the
            authors' code does; off, it stays the one that was trained.

    Source: Zhang et al. 2019 (Permutation-Optimisation), section 4.3 and appendix F.3.
    """

    def __init__(
        self, net: Arranger, classifier: nn.Module, rows: int, columns: int, *, moving_statistics: bool = False
    ) -> None:
        super().__init__()
        self.net, self.classifier = net, classifier.requires_grad_(False)
        self.rows, self.columns, self.moving_statistics = rows, columns, moving_statistics
        self.train()

    def train(self, mode: bool = True) -> ArrangeToClassify:
        """As any module's; the classifier stays in evaluation."""
        super().train(mode)
        self.classifier.train(mode and self.moving_statistics)
        return self

    def step(self, batch: Shuffled) -> Step:
        """The cross-entropy of the softly arranged images.

        Raises:
            ValueError: the samples carry no label.
        """
        if batch.label is None:
            raise ValueError("ArrangeToClassify: the samples carry no label to be classified by; give (item, label).")
        arranged = self.net(batch.patches)
        scores = self.classifier(permutations.lay_out(arranged.sequence, self.rows, self.columns)).float()
        return _classified(scores, batch.label, placed(self.net, arranged.permutation, batch.ranks))

    def embed(self, items: Tensor) -> Tensor:
        """(B, n, C, h, w) tiles to (B, d), the same for every order of them."""
        return self.net.embed(items)


class LearnToClassify(nn.Module):
    """Classifies whole images: what :class:`ArrangeToClassify` begins with.

    Args:
        net: from images (B, C, H, W) to scores, with ``embed`` beside ``forward``.
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def step(self, batch: Raw) -> Step:
        """The cross-entropy of one batch.

        Raises:
            ValueError: the samples carry no label.
        """
        if batch.label is None:
            raise ValueError("LearnToClassify: the samples carry no label; give (item, label) pairs.")
        return _classified(self.net(batch.items).float(), batch.label, {})

    def embed(self, items: Tensor) -> Tensor:
        """(B, C, H, W) images to (B, d), the layer before the scores."""
        return self.net.embed(items)  # type: ignore[operator]


def placed(net: Arranger, permutation: Tensor, ranks: Tensor) -> dict[str, Tensor]:
    """Shares of items, and of sets, in their right places once all are hard; and the learnt step size."""
    right = permutations.partial_ranks((nearest(permutation) + 1).to(ranks.dtype), ranks)
    logs = {"partial_ranks": right.mean(), "exact_order": (right == 1).float().mean()}
    return logs if net.step_size is None else {**logs, "step_size": net.step_size}


def _classified(scores: Tensor, label: Tensor, logs: dict[str, Tensor]) -> Step:
    label = label.long()  # -1: a sample without a class counts nothing
    loss = _dist.global_mean(nn.functional.cross_entropy(scores, label, ignore_index=-1, reduction="none"))
    with torch.no_grad():
        right = (scores.argmax(-1) == label).float().sum() / (label >= 0).sum().clamp(min=1)
    return Step(loss, {"loss": loss.detach(), "accuracy": right, **logs})
