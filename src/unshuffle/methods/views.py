"""Learning from views: what shows the same image lies together, what shows another lies apart."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from unshuffle import _check, _dist
from unshuffle.losses import ViewsObjective
from unshuffle.types import Step, Views


class LearnFromViews(nn.Module):
    """Projects several views of each image and compares every one with those of all images of the batch.

    Every view goes through the network by itself and has batch statistics of its own, as in the code of GroCo.

    Args:
        net: a module with ``project``, from images to what is compared, and ``embed``, from images to what is kept.
        objective: what the comparison costs, such as :class:`unshuffle.losses.GroupOrder`.
        positives: how many views, the first ones, are to be found again: the global ones of a multi-crop. None: all.
        parts: in how many pieces a batch goes through the network. What is kept for the backward pass is then that of
            one piece and the projections; the network computes every piece twice, and the loss is still that of the
            whole batch. Batch norm sees one piece at a time.

    Source: GroCo, section 3.1 and figure 2; parts: Gao et al., "Scaling Deep Contrastive Learning Batch Size under
    Memory Limited Setup", RepL4NLP 2021.
    """

    least = 2
    """Images that a batch must have: of one alone nothing is a negative."""

    def __init__(
        self, net: nn.Module, objective: ViewsObjective, *, positives: int | None = None, parts: int = 1
    ) -> None:
        super().__init__()
        _check.positive("LearnFromViews", "parts", parts)
        self.net, self.objective, self.positives, self.parts = net, objective, positives, parts

    def step(self, batch: Views) -> Step:
        """The loss of one batch, in single precision whatever the network computes in, and how well views match.

        ``matched``: share of the images whose first view is nearer to its second than any other image's second is.
        ``alignment``: cosine between these two.
        """
        anchors = torch.stack([self._projected(view) for view in batch.views])
        candidates, first = _dist.gather_rows(anchors, dim=1)
        loss = _dist.global_mean(self.objective.loss(anchors, candidates, first=first, positives=self.positives))
        return Step(loss, {"loss": loss.detach(), **_matching(anchors[0], candidates[1], first)})

    def embed(self, images: Float[Tensor, "batch c h w"]) -> Float[Tensor, "batch d"]:
        """Representations, without the projector."""
        return self.net.embed(images)  # type: ignore[operator]

    def _projected(self, view: Tensor) -> Tensor:
        if self.parts == 1 or not torch.is_grad_enabled():
            return self.net.project(view)  # type: ignore[operator]
        pieces = view.tensor_split(min(self.parts, max(1, len(view) // 2)))  # batch norm needs two samples
        return torch.cat([self._twice(piece) for piece in pieces])

    def _twice(self, piece: Tensor) -> Tensor:
        """The projections of a piece, of which nothing is kept: the backward pass computes them again."""
        made = checkpoint(self.net.project, piece, use_reentrant=False, context_fn=self._contexts)
        assert isinstance(made, Tensor)
        return made

    def _contexts(self) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        """Running statistics move in the first computation, not in the second."""
        return nullcontext(), _still(self.net)


@contextmanager
def _still(net: nn.Module) -> Iterator[None]:
    """Keeps running statistics of batch norms as they are."""
    norms = [m for m in net.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.track_running_stats]
    before = [(norm.momentum, norm.num_batches_tracked.clone()) for norm in norms]  # type: ignore[union-attr]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, (momentum, count) in zip(norms, before):
            norm.momentum = momentum
            norm.num_batches_tracked.copy_(count)  # type: ignore[union-attr]


@torch.no_grad()
def _matching(views: Tensor, others: Tensor, first: int) -> dict[str, Tensor]:
    """How well the first views (b, d) find the second ones among those of all images (n, d)."""
    own = torch.arange(first, first + len(views), device=views.device)
    with torch.autocast(views.device.type, enabled=False):
        similar = nn.functional.normalize(views.float()) @ nn.functional.normalize(others.float()).T
    return {
        "matched": (similar.argmax(1) == own).float().mean(),
        "alignment": similar.gather(1, own.unsqueeze(1)).mean(),
    }
