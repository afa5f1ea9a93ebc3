"""Linear probes on every convolutional layer of a frozen network, all trained at once on one stream of crops."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.utils.data import Dataset

from unshuffle import _check
from unshuffle.data.corners import CropCount, fixed_crops, random_crops
from unshuffle.data.loaders import Batches, SkipLog, mix, ordered_loader, training_loader
from unshuffle.evals.encoder import Encoder
from unshuffle.evals.metrics import top_accuracy
from unshuffle.evals.results import Stamp
from unshuffle.nets.absorb import absorbed
from unshuffle.nets.taps import taps
from unshuffle.types import Result

MOST = 9600
"""Numbers that are left of a layer: AlexNet's 10 × 10 × 96, 6 × 6 × 256, 5 × 5 × 384 (twice) and 6 × 6 × 256."""
INITIAL_SPREAD = 0.01  # of a probe's weights


@dataclass(frozen=True)
class Schedule:
    """How the probes are trained: SGD with momentum 0.9, its rate divided at some epochs.

    Source: SeLa, appendix A.1 (36 epochs from 0.01, divided by five at 5, 15 and 25); batches and decay are the code's.
    """

    epochs: int = 36
    """Passes over the labelled part."""
    batch_size: int = 192
    """Pictures of a step."""
    rate: float = 0.01
    """Learning rate at the start."""
    drops: tuple[int, ...] = (5, 15, 25)
    """Epochs at which the rate is divided."""
    divisor: float = 5.0
    """By what."""
    decay: float = 1e-5
    """L2 penalty."""

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "rate", "divisor"):
            _check.positive("Schedule", name, getattr(self, name))
        _check.not_negative("Schedule", "decay", self.decay)

    def steps(self, rows: int) -> int:
        """Steps that so many rows take."""
        return self.epochs * (rows // min(self.batch_size, rows))

    def rate_at(self, epoch: int) -> float:
        """The learning rate of an epoch, counted from 0.

        Example:
            >>> [round(Schedule().rate_at(epoch), 6) for epoch in (4, 5, 15, 25)]
            [0.01, 0.002, 0.0004, 8e-05]
        """
        return self.rate / self.divisor ** sum(epoch >= drop for drop in self.drops)


class LayerMaps:
    """A frozen network, batch norms absorbed, that tells what each of its layers sees.

    Args:
        encoder: of pictures.
        most: how many numbers may be left of a layer.

    Raises:
        ValueError: the network has no layers that :func:`~unshuffle.nets.taps.taps` knows.
    """

    def __init__(self, encoder: Encoder, *, most: int = MOST) -> None:
        self.net, self.encoder, self.most = absorbed(encoder.net), encoder, most
        self.places = taps(self.net)
        if not self.places:
            raise ValueError(f"layers: a {type(encoder.net).__name__} has no convolutions that could be probed.")

    @torch.no_grad()
    def __call__(self, items: Tensor) -> dict[str, Float[Tensor, "batch nc s t"]]:
        """What each layer makes of raw items (B, C, H, W), pooled: by name, where the network computes."""
        seen: dict[str, Tensor] = {}

        def noting(name: str) -> Callable[..., None]:
            # Of a module that is used again the first output counts; what a hook returns would take its place.
            def note(module: nn.Module, inputs: Any, output: Tensor) -> None:
                seen.setdefault(name, output)

            return note

        handles = [place.register_forward_hook(noting(name)) for name, place in self.places.items()]
        try:
            self.net.embed(self.encoder.prepare(items))  # type: ignore[operator]
        finally:
            for handle in handles:
                handle.remove()
        return {name: pooled(maps.float(), len(items), most=self.most) for name, maps in seen.items()}


def pooled(maps: Float[Tensor, "maps c h w"], count: int, *, most: int = MOST) -> Float[Tensor, "batch nc s t"]:
    """Maps reduced to at most ``most`` numbers a sample by adaptive max-pooling to a square.

    Args:
        maps: (B, c, h, w); or (B n, c, h, w) of samples that are cut into n patches, sample by sample.
        count: B.
        most: the square is as large as this and the map allow. At 9600 AlexNet's five layers on pictures of 224 pixels
            keep 9600, 9216, 9600, 9600 and 9216 numbers.

    Returns:
        (B, n c, h', w'): the channels of all patches, one patch after the other.

    Example:
        >>> [pooled(torch.zeros(1, c, s, s), 1).numel() for c, s in ((96, 55), (256, 27), (384, 13), (256, 13))]
        [9600, 9216, 9600, 9216]

    Source: Zhang, Isola & Efros, "Split-Brain Autoencoders", CVPR 2017; SeLa, appendix A.1.
    """
    wide = maps.shape[1] * maps.shape[0] // max(1, count)
    side = max(1, math.isqrt(most // wide))
    size = tuple(min(side, length) for length in maps.shape[-2:])
    return nn.functional.adaptive_max_pool2d(maps, size).reshape(count, -1, *size)


class LayerScores(NamedTuple):
    """What the probes said of the rows of the test part that could be read: which those are, their classes (m,), by
    layer the mean of the scores of their crops, (m, classes); and how many labelled pictures they learnt from."""

    index: Int[np.ndarray, "m"]  # pyright: ignore[reportIncompatibleMethodOverride]  (tuple.index is not missed)
    classes: Int[np.ndarray, "m"]
    scores: dict[str, Float[np.ndarray, "m k"]]
    learnt: int


def probe_layers(
    encoder: Encoder,
    train: Dataset,
    test: Dataset,
    *,
    num_classes: int,
    schedule: Schedule = Schedule(),
    crops: Sequence[CropCount] = (1,),
    seed: int = 0,
    workers: int = 0,
    skipped: SkipLog | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> dict[int, LayerScores]:
    """Trains a linear classifier on each layer of a frozen network, and asks them about the test part.

    Every step one batch of pictures is cropped at random (224/256 of the short side, mirrored half of the time) and
    goes through the network once; each layer's maps are pooled, their channels normalised without learnt scales, and
    given to that layer's classifier. The network itself, batch norms absorbed, does not change.

    Args:
        encoder: of pictures.
        train: labelled pictures to learn from, with classes from 0.
        test: labelled pictures to be tested on.
        num_classes: how many classes there are.
        schedule: of the training.
        crops: of the test pictures, 1 (the middle) or 10 (corners, middle, and their mirror images): the scores of a
            picture's crops are averaged. Several numbers are several answers of the same probes.
        seed: of first weights, batches and crops.
        workers: processes that read pictures.
        skipped: counts unreadable pictures.
        progress: called with (done, total) steps of the training.

    Returns:
        By number of crops what the probes say.

    Raises:
        ValueError: the network has no layers to probe, the data are no pictures, or too few of them.
        TooManyUnreadable: more than ``skipped`` allows.

    Source: SeLa, section 4.1 and appendix A.1; normalisation before the classifier as in its code.
    """
    size = _view_side(encoder)
    maps, skipped = LayerMaps(encoder), skipped if skipped is not None else SkipLog()
    batch_size = min(schedule.batch_size, len(cast(list, train)))
    if batch_size < 2:
        raise ValueError("probe_layers: at least two labelled pictures are needed.")
    probes: dict[str, _Probe] = {}
    learnt: set[int] = set()
    per_epoch = len(cast(list, train)) // batch_size
    batches = Batches(
        len(cast(list, train)), batch_size=batch_size, seed=seed, first=0, last=schedule.epochs * per_epoch
    )
    for step, loaded in enumerate(training_loader(train, batches, workers=workers)):
        skipped.add(loaded.skipped)
        if loaded.raw is not None and len(loaded.raw.items) > 1:
            generator = torch.Generator().manual_seed(mix(seed, step))
            seen = maps(random_crops(loaded.raw.items, size, generator))
            probes = probes or _probes(seen, num_classes, schedule, seed)
            targets = _classes(loaded.raw.label, num_classes)
            learnt.update(loaded.raw.index.tolist())
            for name, probe in probes.items():
                probe.learn(seen[name], targets, schedule.rate_at(step // per_epoch))
        if progress is not None:
            progress(step + 1, len(batches))
    if not probes:
        raise ValueError(f"probe_layers: not one labelled picture could be read. {skipped.summary()}")
    return {
        count: LayerScores(*_asked(maps, probes, test, size, count, num_classes, workers, skipped), len(learnt))
        for count in crops
    }


def layer_results(
    found: Mapping[int, LayerScores], mark: Stamp, *, layer: str, question: str, seed: int
) -> list[Result]:
    """The accuracy of every layer's probe, and its top-5 accuracy where there are more than five classes.

    Args:
        found: by :func:`probe_layers`.
        mark: the shared fields of the results.
        layer: whose layers, such as ``pretrained``; the results' own are ``pretrained conv1`` and so on.
        question: what the classes are.
        seed: of the probes.
    """
    results = []
    for crops, (_, classes, scores, learnt) in found.items():
        task = f"{question}, probes of layers, {crops} crop{'s'[: crops > 1]}"
        for name, given in scores.items():
            told = {"accuracy": top_accuracy(given, classes, within=1)}
            if given.shape[1] > 5:
                told["top-5 accuracy"] = top_accuracy(given, classes, within=5)
            results += [
                Result(task, metric, value, learnt, seed, layer=f"{layer} {name}", **mark._asdict())
                for metric, value in told.items()
            ]
    return results


class _Probe:
    """One linear classifier: normalised input, SGD."""

    def __init__(self, maps: Tensor, num_classes: int, schedule: Schedule, generator: torch.Generator) -> None:
        linear = nn.Linear(maps[0].numel(), num_classes)
        with torch.no_grad():
            linear.weight.copy_(INITIAL_SPREAD * torch.randn(linear.weight.shape, generator=generator))
            linear.bias.zero_()
        norm = nn.BatchNorm2d(maps.shape[1], affine=False)
        self.layers = nn.Sequential(norm, nn.Flatten(), linear).to(maps.device)
        self.optimiser = torch.optim.SGD(
            self.layers.parameters(), schedule.rate, momentum=0.9, weight_decay=schedule.decay
        )

    def learn(self, maps: Tensor, targets: Tensor, rate: float) -> None:
        """One step."""
        self.layers.train()
        self.optimiser.param_groups[0]["lr"] = rate
        self.optimiser.zero_grad()
        nn.functional.cross_entropy(self.layers(maps), targets.to(maps.device)).backward()
        self.optimiser.step()

    @torch.no_grad()
    def scores(self, maps: Tensor) -> Tensor:
        """Probabilities of the classes."""
        return self.layers.eval()(maps).softmax(-1).cpu()


def _probes(seen: Mapping[str, Tensor], num_classes: int, schedule: Schedule, seed: int) -> dict[str, _Probe]:
    generator = torch.Generator().manual_seed(mix(seed))
    return {name: _Probe(maps, num_classes, schedule, generator) for name, maps in seen.items()}


def _asked(
    maps: LayerMaps,
    probes: Mapping[str, _Probe],
    test: Dataset,
    size: int,
    crops: CropCount,
    num_classes: int,
    workers: int,
    skipped: SkipLog,
) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """What the trained probes say of the test part: rows, classes and scores."""
    index, classes, scores = [], [], {name: [] for name in probes}
    for raw in _read(test, workers, skipped):
        views = [maps(view) for view in fixed_crops(raw.items, size, crops)]
        for name, probe in probes.items():
            scores[name].append(torch.stack([probe.scores(view[name]) for view in views]).mean(0))
        index.append(raw.index)
        classes.append(_classes(raw.label, num_classes))
    if not index:
        raise ValueError(f"probe_layers: not one picture of the test part could be read. {skipped.summary()}")
    by_layer = {name: torch.cat(parts).numpy() for name, parts in scores.items()}
    return torch.cat(index).numpy(), torch.cat(classes).numpy(), by_layer


def _read(dataset: Dataset, workers: int, skipped: SkipLog) -> Iterator[Any]:
    for loaded in ordered_loader(dataset, batch_size=64, workers=workers):
        skipped.add(loaded.skipped)
        if loaded.raw is not None:
            yield loaded.raw


def _classes(labels: Tensor | None, num_classes: int) -> Tensor:
    if labels is None or labels.ndim != 1 or labels.is_floating_point():
        raise ValueError("probe_layers: each picture needs one class, a whole number from 0.")
    if not 0 <= int(labels.min()) <= int(labels.max()) < num_classes:
        raise ValueError(
            f"probe_layers: classes must be from 0 to {num_classes - 1}; got {int(labels.min())} to "
            f"{int(labels.max())}."
        )
    return labels.long()


def _view_side(encoder: Encoder) -> int:
    """Pixels a side of the crops: of the view that the network was trained on, or of the pictures as they were read."""
    shape = encoder.item_shape
    if len(shape) != 3 or shape[0] not in (1, 3) or min(shape[1:]) < 2:  # series have one row
        raise ValueError(f"--suite layers: layers are probed on pictures, not on samples {shape}.")
    view: Any = getattr(encoder.transform, "shape", None)  # transforms of whole pictures know their views' shape
    return min(shape[1:]) if view is None else view(shape)[-1]
