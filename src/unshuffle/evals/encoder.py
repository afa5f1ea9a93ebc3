"""A trained encoder: raw input in, one vector a sample out. Saved as safetensors beside a JSON description."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, cast, runtime_checkable

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

import unshuffle.data
import unshuffle.methods
import unshuffle.nets
from unshuffle import _check, values
from unshuffle._files import check_file, read_at_most, write_atomically
from unshuffle.data.loaders import as_item
from unshuffle.data.named import Layout, labelled
from unshuffle.data.sources import Source
from unshuffle.evals import described
from unshuffle.losses import MatrixObjective, Objective

WEIGHTS, DESCRIPTION = "encoder.safetensors", "encoder.json"
FORMAT = 1
KEYS = {"checksum", "format", "weights", "item_shape", "transform", "source", "objective", "net", "own_backbone"}
LARGEST = 1 << 24
"""Bytes of an ``encoder.json``, at the most."""
AT_ONCE = 1 << 24
"""Values of raw items that are embedded at a time, at the most."""


@runtime_checkable
class Transform(Protocol):
    """The deterministic side of a transform."""

    def prepare(self, items: Tensor) -> Any:
        """Raw items to what the network takes: a tensor, or a tuple of them that moves as one (``to``)."""
        ...


class Encoder(nn.Module):
    """A network with the transform that feeds it.

    Args:
        net: a module with ``embed``.
        transform: makes the network's input of raw items, without randomness.
        item_shape: of the raw items it was trained on, (C, H, W) of images.
        source: how files become such items, where they came from files; anything else is forgotten.
        objective: what the network's scores mean; None for an encoder that only embeds.
        net_value: the frozen value that builds ``net`` again; None for a network of one's own.
        own_backbone: ``net_value`` builds it around a backbone of one's own, which only its owner can make.
    """

    def __init__(
        self,
        net: nn.Module,
        transform: Transform,
        item_shape: tuple[int, ...],
        *,
        source: Any = None,
        objective: Objective | None = None,
        net_value: Any = None,
        own_backbone: bool = False,
    ) -> None:
        super().__init__()
        self.net, self.transform, self.item_shape = net, transform, tuple(item_shape)
        # A data set of one's own may call anything `source`, and it could not be saved.
        self.source: Source | None = source if values.is_registered(source) else None
        self.objective, self.net_value, self.own_backbone = objective, net_value, own_backbone

    @torch.no_grad()
    def embed(self, items: Tensor | np.ndarray | Iterable[Any], *, batch_size: int = 256) -> Tensor:
        """Embeds raw items.

        Args:
            items: (B, C, H, W), in the type and range that it was trained on (uint8 for images), or a list of tensors,
                arrays or PIL images; pictures are scaled and cropped as in training. Where it was trained on sounds:
                waveforms (B, samples) of the trained rate and length, in [-1, 1], or a list of waveforms (samples,) of
                any lengths, which are cut or filled up as in training. Axes of length 1 in front may be left out.
            batch_size: how many at a time, at the most; large ones are taken in smaller parts.

        Returns:
            (B, d) float32 on the CPU.

        Raises:
            TypeError: they are no batch and no list, or a sample is neither a tensor, nor an array, nor a PIL image.
            ValueError: the items have another shape than the training data had.
        """
        return self._vectors(self.net.embed, items, batch_size)  # type: ignore[arg-type]

    @torch.no_grad()
    def project(self, items: Tensor | np.ndarray | Sequence[Any], *, batch_size: int = 256) -> Tensor:
        """What training compared: :meth:`embed` and then the projector; arguments and errors are those of ``embed``.

        Raises:
            ValueError: the network has no projector.
        """
        if not self.can_project:
            raise ValueError("project: this encoder was trained without a projector; it can embed only.")
        return self._vectors(self.net.project, items, batch_size)  # type: ignore[arg-type]

    @property
    def can_project(self) -> bool:
        """Whether training compared something else than the embedding."""
        return callable(getattr(self.net, "project", None))

    @property
    def can_label(self) -> bool:
        """Whether the network has heads that tell pseudo-classes."""
        return callable(getattr(self.net, "logits", None))

    @torch.no_grad()
    def labels(self, items: Tensor | np.ndarray | Sequence[Any], *, batch_size: int = 256) -> Tensor:
        """The likeliest pseudo-class by each head, (B, heads) int64; arguments and errors are those of ``embed``.

        Raises:
            ValueError: the network has no heads.
        """
        heads = self._heads()
        return self._rows(
            lambda inputs: torch.stack([scores.argmax(-1) for scores in heads(inputs)], 1), items, batch_size
        )

    def _heads(self) -> Callable[[Any], Sequence[Tensor]]:
        if not self.can_label:
            raise ValueError("labels: this encoder was trained without pseudo-classes; it can embed only.")
        return self.net.logits  # type: ignore[return-value]

    def _vectors(
        self, net: Callable[[Any], Tensor], items: Tensor | np.ndarray | Sequence[Any], batch_size: int
    ) -> Tensor:
        return self._rows(net, items, batch_size).float()

    def _rows(
        self, net: Callable[[Any], Tensor], items: Tensor | np.ndarray | Sequence[Any], batch_size: int
    ) -> Tensor:
        _check.positive("embed", "batch_size", batch_size)
        self.eval()
        stacked = self._stack(items)
        # Where there are none, one of zeros is embedded and left out again: the answer is as wide as any other.
        fed = stacked if len(stacked) else stacked.new_zeros(1, *self.item_shape)
        parts = [net(self.prepare(part)) for part in fed.split(self.at_once(batch_size))]
        return torch.cat([part.cpu() for part in parts])[: len(stacked)]

    def at_once(self, batch_size: int) -> int:
        """How many items to compute with at a time, so that even clips of many frames fit into the memory."""
        return max(1, min(batch_size, AT_ONCE // math.prod(self.item_shape)))

    def prepare(self, items: Tensor) -> Any:
        """Raw items (B, ...) as the network takes them, where it computes: a tensor, or a tuple of them."""
        return self.transform.prepare(items.to(self._weight.device)).to(self._weight)

    def raw(self, items: Tensor) -> Tensor:
        """Raw items (B, ...) as they are cut, where the network computes: spectrograms of waveforms, or as they are."""
        make = getattr(self.transform, "raw", None)
        return items if make is None else make(items.to(self._weight.device))

    @property
    def _weight(self) -> Tensor:
        """Any weight: it tells where the network computes, and in which precision."""
        return next(self.net.parameters())

    def _stack(self, items: Tensor | np.ndarray | Sequence[Any]) -> Tensor:
        _refuse_one_sample(items)
        if isinstance(items, (Tensor, np.ndarray)):
            shape = self._filled(tuple(items.shape))
            self._refuse(shape)
            return torch.as_tensor(items).reshape(shape)
        ready = [self._one(item) for item in items]
        for item in ready:
            self._refuse((len(ready), *item.shape))
        return torch.stack(ready) if ready else torch.zeros(0, *self.item_shape)

    def _one(self, item: Any) -> Tensor:
        return as_item(item) if self.source is None else self.source.as_item(item)

    def _filled(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of a batch with the axes of length 1 that were left out before an item's others."""
        left_out = self.item_shape[: len(self.item_shape) + 1 - len(shape)]
        return (*shape[:1], *left_out, *shape[1:]) if set(left_out) == {1} else shape

    def _refuse(self, shape: tuple[int, ...]) -> None:
        """Refuses a batch of another shape than the training data had."""
        if shape[1:] != self.item_shape:
            wanted = ", ".join(map(str, self.item_shape))
            hint = "" if self.source is None else f" {self.source.any_size}"
            if shape == self.item_shape:
                hint = f" One sample is given as a batch of one, items[None].{hint}"
            raise ValueError(f"embed: `items` must be (B, {wanted}), as in training; got {shape}.{hint}")

    @property
    def reads_files(self) -> bool:
        """Whether it was trained on files, and knows how to read others."""
        return self.source is not None and not isinstance(self.source, unshuffle.data.SELF_CONTAINED)

    def open(self, root: str | Path, layout: Layout | None = None) -> Any:
        """The samples below ``root``, read as in training.

        Args:
            root: a folder or an archive.
            layout: which files are samples, and what their labels are; None: all are, and sub-folders are classes.

        Raises:
            ValueError: it was not trained on files, so it does not know how to read any.
        """
        if self.source is None or not self.reads_files:
            wanted = ", ".join(map(str, self.item_shape))
            raise ValueError(
                "this encoder was not trained on files, and does not know how to read any; embed arrays with it from "
                f"Python: unshuffle.load(RUN).embed(items), (B, {wanted})."
            )
        return (self.source if layout is None else labelled(self.source, layout)).open(root)

    @torch.no_grad()
    def order(self, inputs: Tensor) -> Tensor:
        """The ranks (B, n) that the network predicts for shuffled patches, or for sets, (B, n, ...).

        Raises:
            ValueError: this encoder has no objective, so its scores mean nothing.
        """
        if self.objective is None:
            raise ValueError("order: this encoder was saved without an objective; it can embed only.")
        self.eval()
        return self.objective.predict(self.net(inputs.to(self._weight)).float(), inputs.shape[1]).cpu()

    @torch.no_grad()
    def matrix(self, inputs: Tensor) -> Tensor:
        """The soft permutations (B, n, n) that the network predicts for shuffled patches, or for sets, (B, n, ...).

        Raises:
            ValueError: it was trained with another objective than one on permutation matrices.
        """
        if not isinstance(self.objective, MatrixObjective):
            raise ValueError("matrix: this encoder was not trained to predict permutation matrices.")
        self.eval()
        return self.objective.matrix(self.net(inputs.to(self._weight)).float()).cpu()

    @property
    def can_be_rebuilt(self) -> bool:
        """Whether a fresh copy of the network can be built without its owner's code."""
        return self.net_value is not None and not self.own_backbone

    def untrained(self, inputs: Tensor, *, seed: int) -> Encoder:
        """The same network with random weights, its batch-norm statistics set to those of ``inputs`` (raw items).

        Raises:
            ValueError: it was trained with a network of one's own, of which no fresh copy can be built.
        """
        if not self.can_be_rebuilt:
            raise ValueError("untrained: a network of one's own cannot be built afresh.")
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)  # torch.manual_seed would seed the accelerators as well
            net = self.net_value.build().to(self._weight)
        calibrate(net, inputs, prepare=self.prepare)
        return Encoder(net, self.transform, self.item_shape, source=self.source, net_value=self.net_value)

    def save(self, folder: str | Path) -> None:
        """Writes ``encoder.safetensors`` and ``encoder.json`` into ``folder``, each whole or not at all.

        The second holds checksums of both, which :func:`load` compares.

        Raises:
            UnsafePath: one of them is a link, or no regular file; nothing was written.
            OSError: the disk is full, or the folder cannot be written.
        """
        folder = Path(folder)
        for name in (WEIGHTS, DESCRIPTION):
            check_file(folder / name)
        # Cloned: the format knows no weights that share their memory, and a network of one's own may tie some.
        weights = {k: v.detach().cpu().contiguous().clone() for k, v in self.net.state_dict().items()}
        packed = save_tensors(weights)
        description = {
            "format": FORMAT,
            "weights": _checksum(packed),
            "item_shape": list(self.item_shape),
            "transform": values.to_json(self.transform),
            "source": values.to_json(self.source),
            "objective": values.to_json(self.objective),
            "net": values.to_json(self.net_value),
            "own_backbone": self.own_backbone,
        }
        write_atomically(folder / WEIGHTS, lambda file: file.write(packed))
        text = json.dumps({"checksum": values.checksum(description), **description}, indent=2).encode()
        write_atomically(folder / DESCRIPTION, lambda file: file.write(text))


def _refuse_one_sample(items: Any) -> None:
    """Refuses what is neither a batch nor a list of samples.

    Raises:
        TypeError: it is one picture, one path, or nothing that could be gone through.
    """
    if isinstance(items, Tensor) or (isinstance(items, np.ndarray) and items.dtype != object):
        return
    if hasattr(items, "getbands"):
        given = "one PIL image: give a list of one, [image]"
    elif isinstance(items, (str, bytes, Path)):
        given = f"{items!r:.80}: to embed files, open them, or call encoder.open(folder) or unshuffle embed"
    elif isinstance(items, np.ndarray):
        given = "an array of objects: give a list"
    elif isinstance(items, Mapping) or not isinstance(items, Iterable):
        given = type(items).__name__
    else:
        return
    raise TypeError(
        "embed: `items` must be a batch (a tensor or an array with the samples along its first axis), or a list of "
        f"tensors, arrays or PIL images; got {given}."
    )


def load(folder: str | Path, *, net: nn.Module | None = None, device: str | torch.device = "cpu") -> Encoder:
    """Loads a trained encoder; nothing in the folder is run.

    Args:
        folder: a run's folder (``runs/a``).
        net: the same module that training was given as ``net``, with any weights; only for a run that was given one.
        device: where to put it.

    Raises:
        FileNotFoundError: the folder holds no encoder.
        ValueError: the files are damaged, do not fit each other, or need ``net``.

    Example:
        ``unshuffle.load("runs/a").embed(images)``
    """
    if not isinstance(folder, (str, os.PathLike)):
        raise TypeError(f"load: `folder` must be the path of a run or an encoder; got {type(folder).__name__}.")
    folder = Path(folder)
    if not (folder / DESCRIPTION).is_file() or not (folder / WEIGHTS).is_file():
        raise FileNotFoundError(
            f"no encoder in {str(folder)!r}: expected {DESCRIPTION} and {WEIGHTS}, which training writes at its end."
        )
    try:
        encoder = _read(folder, net)
    except KeyError as error:
        raise ValueError(f"the encoder in {str(folder)!r} cannot be loaded: {DESCRIPTION} lacks {error}.") from error
    except (
        ValueError,
        TypeError,
        RuntimeError,
        AttributeError,
        ArithmeticError,
        MemoryError,
        SafetensorError,
    ) as error:
        raise ValueError(f"the encoder in {str(folder)!r} cannot be loaded: {error}") from error
    return encoder.to(device).eval()


def _read(folder: Path, net: nn.Module | None) -> Encoder:
    """The encoder that the two files describe, with whatever error a damaged one leads to."""
    description = values.parse(read_at_most(folder / DESCRIPTION, LARGEST))
    if not isinstance(description, dict):
        raise ValueError(f"{DESCRIPTION} holds no JSON object.")
    if description["format"] != FORMAT:
        raise ValueError(f"its format is {description['format']}, and this version of unshuffle knows {FORMAT}.")
    if unknown := description.keys() - KEYS:
        raise ValueError(
            f"{DESCRIPTION} is damaged: it holds {sorted(unknown)[0]!r:.80}, which nothing there is called."
        )
    values.check_sum({k: v for k, v in description.items() if k != "checksum"}, description.get("checksum"))
    transform, source, objective, value = (
        values.from_json(description[part]) for part in ("transform", "source", "objective", "net")
    )
    for name, part, fits in (
        ("transform", transform, isinstance(transform, Transform)),
        ("source", source, source is None or callable(getattr(source, "open", None))),
        ("objective", objective, isinstance(objective, Objective | None)),
        ("own_backbone", description["own_backbone"], isinstance(description["own_backbone"], bool)),
    ):
        if not fits:
            raise ValueError(f"its `{name}` is a {type(part).__name__}, which is something else.")
    own = description["own_backbone"] or value is None
    if own != (net is not None):
        whose = "a network of its user's own: give that as `net`" if own else "no network of one's own: leave `net` out"
        raise ValueError(f"it was trained with {whose}.")
    shape = described.item_shape(description["item_shape"])
    packed = (folder / WEIGHTS).read_bytes()
    # Encoders of earlier versions have no checksums.
    if description.get("weights") not in (None, _checksum(packed)):
        raise ValueError(f"{WEIGHTS} is damaged, or not of the same save as {DESCRIPTION}: its checksum is another.")
    weights = load_tensors(packed)
    value = described.without_downloads(value)
    if value is None:
        built = cast(nn.Module, net)
        built.load_state_dict(weights)
    else:
        built = described.build(value, net, weights)
    return Encoder(built, transform, shape, source=source, objective=objective, net_value=value, own_backbone=own)


def _checksum(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()


@torch.no_grad()
def calibrate(
    net: nn.Module, inputs: Tensor, *, batch_size: int = 128, prepare: Callable[[Tensor], Tensor] | None = None
) -> None:
    """Sets the statistics of all batch-norm layers to those of ``inputs``: what an untrained network needs to be fair.

    A fresh network's running statistics are zeros and ones; its embedding would be judged on a scale it never has.

    Args:
        net: a module with ``embed``; changed in place and left in evaluation mode.
        inputs: unlabelled; two at least.
        batch_size: the most at a time; the statistics are plain averages over batches of equal size.
        prepare: makes the network's input of a batch; None where they are that.

    Raises:
        ValueError: there are fewer than two inputs, of which no deviation can be had.
    """
    if len(inputs) < 2:
        raise ValueError(f"calibrate: batch-norm statistics need at least 2 samples; got {len(inputs)}.")
    norms = [m for m in net.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    net.eval()  # the statistics are those of an embedding, without dropout
    for norm in norms:
        norm.reset_running_stats()
        norm.train().momentum = None  # cumulative average
    for part in inputs.tensor_split(-(-len(inputs) // batch_size)):
        net.embed(part if prepare is None else prepare(part))  # type: ignore[operator]
    for norm, momentum in zip(norms, momenta):
        norm.eval().momentum = momentum
