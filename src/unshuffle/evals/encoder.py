"""A trained encoder: raw input in, one vector a sample out. Saved as safetensors beside a JSON description."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

import unshuffle.data
import unshuffle.nets  # noqa: F401  (the two register the values that a description may name)
from unshuffle import values
from unshuffle._files import write_atomically
from unshuffle.data.image import Images
from unshuffle.data.loaders import as_item
from unshuffle.losses import Objective

WEIGHTS, DESCRIPTION = "encoder.safetensors", "encoder.json"


class Transform(Protocol):
    """The deterministic side of a transform."""

    def prepare(self, items: Tensor) -> Tensor:
        """Raw items to what the network takes."""
        ...


class Encoder(nn.Module):
    """A network with the transform that feeds it.

    Args:
        net: a module with ``embed``.
        transform: makes the network's input of raw items, without randomness.
        item_shape: (C, H, W) of the raw items it was trained on.
        source: how image files become such items, where they came from files.
        objective: what the network's scores mean; None for an encoder that only embeds.
        net_value: the frozen value that builds ``net`` again; None for a network of one's own.
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
    ) -> None:
        super().__init__()
        self.net, self.transform, self.item_shape = net, transform, tuple(item_shape)
        self.source, self.objective, self.net_value = source, objective, net_value

    @torch.no_grad()
    def embed(self, items: Tensor | np.ndarray | Sequence[Any], *, batch_size: int = 256) -> Tensor:
        """Embeds raw items.

        Args:
            items: (B, C, H, W), in the type and range that it was trained on (uint8 for images), or a list of tensors,
                arrays or PIL images; pictures are scaled and cropped as in training.
            batch_size: how many at a time.

        Returns:
            (B, d) float32 on the CPU.

        Raises:
            ValueError: the items have another shape than the training data had.
        """
        self.eval()
        device = next(self.net.parameters()).device
        stacked = self._stack(items)
        parts = [stacked[i : i + batch_size].to(device) for i in range(0, len(stacked), batch_size)]
        out = [self.net.embed(self.transform.prepare(p)).float().cpu() for p in parts]  # type: ignore[operator]
        return torch.cat(out) if out else torch.zeros(0, 0)

    def _stack(self, items: Tensor | np.ndarray | Sequence[Any]) -> Tensor:
        if not isinstance(items, (Tensor, np.ndarray)):
            items = torch.stack([self._one(i) for i in items]) if len(items) else torch.zeros(0, *self.item_shape)
        stacked = torch.as_tensor(items)
        if tuple(stacked.shape[1:]) != self.item_shape:
            raise ValueError(
                f"embed: `items` must be (B, {', '.join(map(str, self.item_shape))}), as in training; "
                f"got {tuple(stacked.shape)}. For pictures of any size give a list of PIL images."
            )
        return stacked

    def _one(self, item: Any) -> Tensor:
        if hasattr(item, "getbands") and self.source is not None:
            return self.source.prepare(item)
        return as_item(item)

    def open(self, root: str | Path) -> Any:
        """The images below ``root``, read as in training.

        Raises:
            ValueError: it was not trained on image files, so it does not know how to read any.
        """
        if not isinstance(self.source, Images):
            raise ValueError("this encoder was not trained on image files; embed arrays with it from Python.")
        return self.source.open(root)

    @torch.no_grad()
    def order(self, inputs: Tensor) -> Tensor:
        """The ranks (B, n) that the network predicts for shuffled patches, or for sets, (B, n, ...).

        Raises:
            ValueError: this encoder has no objective, so its scores mean nothing.
        """
        if self.objective is None:
            raise ValueError("order: this encoder was saved without an objective; it can embed only.")
        self.eval()
        device = next(self.net.parameters()).device
        return self.objective.predict(self.net(inputs.to(device)).float(), inputs.shape[1]).cpu()

    def untrained(self, inputs: Tensor, *, seed: int) -> Encoder:
        """The same network with random weights, its batch-norm statistics set to those of ``inputs`` (raw items).

        Raises:
            ValueError: it was trained with a network of one's own, of which no fresh copy can be built.
        """
        if self.net_value is None:
            raise ValueError("untrained: a network of one's own cannot be built afresh.")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            net = self.net_value.build()
        calibrate(net, self.transform.prepare(inputs))
        return Encoder(net, self.transform, self.item_shape, source=self.source, net_value=self.net_value)

    def save(self, folder: str | Path) -> None:
        """Writes ``encoder.safetensors`` and ``encoder.json`` into ``folder``, each whole or not at all."""
        folder = Path(folder)
        description = {
            "format": 1,
            "item_shape": list(self.item_shape),
            "transform": values.to_json(self.transform),
            "source": values.to_json(self.source),
            "objective": values.to_json(self.objective),
            "net": values.to_json(self.net_value),
        }
        weights = {k: v.detach().cpu().contiguous() for k, v in self.net.state_dict().items()}
        write_atomically(folder / WEIGHTS, lambda file: file.write(save_tensors(weights)))
        text = json.dumps(description, indent=2).encode()
        write_atomically(folder / DESCRIPTION, lambda file: file.write(text))


def load(folder: str | Path, *, net: nn.Module | None = None, device: str | torch.device = "cpu") -> Encoder:
    """Loads a trained encoder; nothing in the folder is run.

    Args:
        folder: a run's folder (``runs/a``).
        net: the network, for a run that was trained with a network of one's own; else it is built from the description.
        device: where to put it.

    Raises:
        FileNotFoundError: the folder holds no encoder.
        ValueError: the files are damaged, do not fit each other, or need ``net``.

    Example:
        ``unshuffle.load("runs/a").embed(images)``
    """
    folder = Path(folder)
    if not (folder / DESCRIPTION).is_file() or not (folder / WEIGHTS).is_file():
        raise FileNotFoundError(
            f"no encoder in {str(folder)!r}: expected {DESCRIPTION} and {WEIGHTS}, which training writes at its end."
        )
    try:
        description = json.loads((folder / DESCRIPTION).read_text())
        parts = {k: values.from_json(description[k]) for k in ("transform", "source", "objective", "net")}
        shape = tuple(int(s) for s in description["item_shape"])
        if net is None and parts["net"] is None:
            raise ValueError("it was trained with a network of its user's own: give that as `net`")
        built = parts["net"].build() if net is None else net
        built.load_state_dict(load_tensors((folder / WEIGHTS).read_bytes()))
    except (ValueError, KeyError, TypeError, RuntimeError, AttributeError, SafetensorError) as error:
        raise ValueError(f"the encoder in {str(folder)!r} cannot be loaded: {error}") from error
    encoder = Encoder(
        built, parts["transform"], shape, source=parts["source"], objective=parts["objective"], net_value=parts["net"]
    )
    return encoder.to(device).eval()


@torch.no_grad()
def calibrate(net: nn.Module, inputs: Tensor, *, batch_size: int = 128) -> None:
    """Sets the statistics of all batch-norm layers to those of ``inputs``: what an untrained network needs to be fair.

    A fresh network's running statistics are zeros and ones; its embedding would be judged on a scale it never has.

    Args:
        net: a module with ``embed``; changed in place and left in evaluation mode.
        inputs: prepared inputs, unlabelled.
        batch_size: samples at a time; the statistics are plain averages over batches.
    """
    norms = [m for m in net.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    momenta = [m.momentum for m in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # cumulative average
    net.train()
    for start in range(0, len(inputs) - 1, batch_size):
        net.embed(inputs[start : start + batch_size])  # type: ignore[operator]
    for norm, momentum in zip(norms, momenta):
        norm.momentum = momentum
    net.eval()
