"""Self-labelling: a classifier of labels that it gives its samples itself, round after round."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import ClassVar, NamedTuple, TypeAlias, cast

import torch
import torch.distributed as dist
from jaxtyping import Float, Int
from torch import Tensor, nn

from unshuffle import _dist
from unshuffle.methods.labelling import Labelled, Labelling, Look
from unshuffle.methods.learn_labels import at_least_single, labelled_step
from unshuffle.methods.rounds import Rounds
from unshuffle.nets.headed import Headed, restart
from unshuffle.types import Step, Views

Sweep: TypeAlias = Callable[[int | None], Iterator[Views]]
"""``sweep(k)``: this process's share of the samples once, in order, in the k-th random view of a round; ``sweep(None)``
in their plain form."""


class Seen(NamedTuple):
    """What a network saw in a round: ``places`` (n,) of this process's samples in the whole, and their features.

    There is a list a view, of blocks (b, d) of neighbouring samples: the same blocks in all views. They lie in the
    memory of the host, as a device would not hold those of a large data set.
    """

    places: Tensor
    views: Sequence[Sequence[Tensor]]


class SelfLabel(nn.Module):
    """Alternates two steps on one objective: a network learns labels, and labels follow what the network says.

    The objective is the cross-entropy of the labels, added up over the heads. A step of training lowers it in the
    weights; a round of labelling lowers it in the labels, of which every cluster gets its share.

    Buffers: ``labels`` (heads, N) int32, the label of each sample of the data set by its index, -1 for none;
    ``confidences`` alike, the probability of that label when it was given, 0 in a labelling whose numbers no head knows
    yet; ``offsets``, (K,) of each head, one after
    the other; ``rounds_done``.

    Args:
        net: trunk and heads.
        labelling: how labels are found.
        rounds: when.
        mean_of_heads: average over the heads, as the code does; the paper adds up.

    Source: Asano, Rupprecht & Vedaldi, "Self-labelling via simultaneous clustering and representation learning", ICLR
    2020, section 3.
    """

    journal_columns: ClassVar[tuple[str, ...]] = (
        "loss", "label_accuracy", "objective_before", "objective_after", "iterations", "error", "changed",
    )  # fmt: skip
    """Of the rows that steps and rounds log."""
    known_everywhere: ClassVar[tuple[str, ...]] = ("labels", "confidences", "offsets", "rounds_done")
    """Buffers that all processes hold alike."""

    def __init__(self, net: Headed, labelling: Labelling, rounds: Rounds, *, mean_of_heads: bool = False) -> None:
        super().__init__()
        labelling.check(net.classes)
        self.net, self.labelling, self.rounds, self.mean_of_heads = net, labelling, rounds, mean_of_heads
        heads = len(net.classes)
        self.register_buffer("labels", torch.empty(heads, 0, dtype=torch.int32))
        self.register_buffer("confidences", torch.empty(heads, 0))
        self.register_buffer("offsets", torch.zeros(sum(net.classes), dtype=torch.float64))
        self.register_buffer("rounds_done", torch.tensor(0))
        self.labels: Tensor
        self.confidences: Tensor
        self.offsets: Tensor
        self.rounds_done: Tensor

    # ------------------------------------------------------------------------------------------------------- learning

    def begin(self, places: Int[Tensor, "n"], total: int, seed: int) -> None:
        """Gives the samples to be trained on their first labels: balanced, and by chance.

        Args:
            places: their indices.
            total: samples of the whole data set.
            seed: of the draw.

        Raises:
            ValueError: they are fewer than the clusters of a head.
        """
        if max(self.net.classes) > len(places):
            raise ValueError(
                f"SelfLabel: a head may have as many clusters as there are samples to train on, {len(places)}; got "
                f"{max(self.net.classes)}. Give fewer (--clusters), or more samples."
            )
        generator = torch.Generator().manual_seed(seed)
        self.labels = torch.full((len(self.net.classes), total), -1, dtype=torch.int32)
        self.confidences = torch.zeros(self.labels.shape)
        for head, classes in enumerate(self.net.classes):
            sorted_labels = torch.arange(classes).repeat_interleave(self.labelling.sizes(len(places), classes))
            self.labels[head, places] = sorted_labels[torch.randperm(len(places), generator=generator)].int()

    def step(self, batch: Views) -> Step:
        """The cross-entropy of one batch's labels, and the share of them that the network gives itself.

        A sample without a label, held out or not read in the last round, has the one that the clusters of that round
        would have given it.
        """
        labels_of = partial(self._labels, batch.index)
        return labelled_step(self.net, batch.views[0], labels_of, mean_of_heads=self.mean_of_heads)

    def embed(self, images: Float[Tensor, "batch c h w"]) -> Float[Tensor, "batch d"]:
        """What all heads see."""
        return self.net.embed(images)

    def _labels(self, index: Tensor, scores: tuple[Tensor, ...]) -> Tensor:
        labels = self.labels[:, index].long()
        if bool((labels >= 0).all()):
            return labels
        parts = self.offsets.split(self.net.classes)
        would_be = torch.stack(
            [self.labelling.predict(s.detach().log_softmax(-1), part) for s, part in zip(scores, parts)]
        )
        return torch.where(labels >= 0, labels, would_be)

    def sampling(self) -> Float[Tensor, "N"] | None:
        """How likely each sample is to be drawn for training: inverse to its cluster's size. None: all alike."""
        if not self.labelling.even:
            return None
        weights = torch.zeros(self.labels.shape[1], dtype=torch.float64)
        for labels in self.labels.long().cpu():
            known = labels[labels >= 0]
            weights[labels >= 0] += 1 / known.bincount()[known]
        return weights

    # ------------------------------------------------------------------------------------------------------ labelling

    def refresh_due(self, progress: float) -> bool:
        """Whether a round is to be made before the step at ``progress``, from 0 to 1, the share of steps done."""
        return self._due(progress) > int(self.rounds_done)

    def _due(self, progress: float) -> int:
        return sum(time <= progress for time in self.rounds.times)

    @torch.no_grad()
    def refresh(self, progress: float, sweep: Sweep) -> dict[str, float]:
        """Labels all samples anew, and tells how it went.

        ``objective_before`` and ``objective_after``: the loss of the old labels and of the new ones, of the same
        log-probabilities of all samples. ``iterations``: of the labelling, a head. ``error``: the largest share of mass
        in a wrong cluster. ``changed``: labels that are others than before. Samples that are not read have no label.

        Where a new labelling has nothing to do with the numbers of the last one, there is no ``objective_after``; and
        after the last step, when no head could learn other clusters, the labels are what the heads say.
        """
        number, due, count = int(self.rounds_done), self._due(progress), len(self.net.classes)
        # Rounds may lie closer than steps: those of one step are made together, so that no head's turn is passed over.
        turns = range(number, max(due, number + 1)) if self.rounds.in_turn else range(count)
        heads = sorted({turn % count for turn in turns})
        self.net.train(self.rounds.as_trained)
        seen = self._looked_at(sweep)
        anew = self.labelling.restarts and progress < 1
        logs = [self._relabel(head, number, seen, anew=anew) for head in heads]
        self.rounds_done.fill_(due)
        means = {key: sum(log[key] for log in logs) / len(logs) for key in logs[0]}
        several = 1 if self.mean_of_heads else len(self.net.classes)
        means |= {key: means[key] * several for key in means if key.startswith("objective")}
        return means | {"error": max(log["error"] for log in logs)}

    def _looked_at(self, sweep: Sweep) -> Seen:
        """What the network sees of this process's samples, in each view."""
        weight = next(self.net.parameters())
        index, views = None, []
        for kind in range(self.rounds.views) if self.rounds.views else (None,):
            seen = [(batch.index, self.net.embed(batch.views[0].to(weight)).cpu()) for batch in sweep(kind)]
            views.append([features for _, features in seen])
            before, index = index, torch.cat([rows for rows, _ in seen])
            if before is not None and not before.equal(index):
                raise ValueError(
                    f"SelfLabel: {len(before)} samples could be read in one view of a round and {len(index)}, or "
                    "others, in the next; see that the data stay where they are, and go on with --resume."
                )
        assert index is not None
        return Seen(index, views)

    def _relabel(self, head: int, number: int, seen: Seen, *, anew: bool) -> dict[str, float]:
        """One head's round; where its labels are numbered anew, it begins anew, too."""
        draw, offsets = number * len(self.net.classes) + head, self.offsets.split(self.net.classes)[head]
        generator, layer = torch.Generator().manual_seed(draw), cast(nn.Linear, self.net.heads[head])
        log_p = _log_probabilities(layer, seen)
        look = Look(seen.views, log_p, offsets, generator, _dist.everyone())
        learnt = self.labelling.restarts and not anew
        found = (
            Labelled(self.labelling.predict(log_p, offsets), offsets, 0, 0.0) if learnt else self.labelling.label(look)
        )
        logs = _told(log_p, self.labels[head, seen.places].long(), found.labels, look.group)
        confidences = _chosen(log_p, found.labels).neg().exp()
        self._keep(head, seen.places, found.labels, confidences.zero_() if anew else confidences)
        offsets.copy_(found.offsets)
        if anew:
            del logs["objective_after"]
            _begin_anew(layer, draw)
        return logs | {"iterations": float(found.iterations), "error": found.error}

    def _keep(self, head: int, index: Tensor, labels: Tensor, confidences: Tensor) -> None:
        """The labels of all processes' samples, in every process; none of a sample that was not read."""
        places, _ = _dist.gather_rows(index)
        for buffer, values, nothing in ((self.labels, labels, -1), (self.confidences, confidences, 0)):
            everyones, _ = _dist.gather_rows(values)
            buffer[head] = nothing
            buffer[head, places] = everyones.to(buffer)


def _begin_anew(head: nn.Linear, seed: int) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        fresh = nn.Linear(head.in_features, head.out_features)
        restart(fresh)
    head.load_state_dict(fresh.state_dict())


def _log_probabilities(head: nn.Linear, seen: Seen) -> Float[Tensor, "n classes"]:
    """Those of one head, averaged over the views: the one matrix of this size in a round."""
    dtype, first = torch.promote_types(head.weight.dtype, torch.float32), 0
    log_p = torch.empty(len(seen.places), head.out_features, dtype=dtype, device=head.weight.device)
    for blocks in zip(*seen.views):
        rows = log_p[first : first + len(blocks[0])]
        each = [at_least_single(head(block.to(rows.device))).log_softmax(-1) for block in blocks]
        rows.copy_(torch.stack(each).mean(0) if len(each) > 1 else each[0])
        first += len(rows)
    return log_p


def _told(log_p: Tensor, old: Tensor, new: Tensor, group: dist.ProcessGroup | None) -> dict[str, float]:
    """What a round changed, of all processes' samples: of the old labels, those that there were."""
    known = (old >= 0).to(log_p)
    before, changed = _chosen(log_p, old.clamp(min=0)) * known, (old != new) * known
    sums = torch.stack([before, changed, known, _chosen(log_p, new), torch.ones_like(known)]).double().sum(1)
    cost, others, had, after, count = _dist.group_total(sums, group).tolist()
    return {"objective_before": cost / max(had, 1), "objective_after": after / count, "changed": others / max(had, 1)}


def _chosen(log_probabilities: Tensor, labels: Tensor) -> Tensor:
    """What each label costs: its negated log-probability."""
    return -log_probabilities.gather(1, labels[:, None].to(log_probabilities.device)).squeeze(1)
