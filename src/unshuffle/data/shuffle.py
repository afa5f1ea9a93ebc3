"""The transform of Shuffle to Learn: from raw samples to shuffled patches."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int, Num
from torch import Tensor

from unshuffle import permutations
from unshuffle.data.mosaic import Tiles
from unshuffle.data.patching import Bands, Grid
from unshuffle.data.slices import Slices
from unshuffle.data.spectrogram import LogLinear, LogMel
from unshuffle.permutations import SpreadOut
from unshuffle.types import Raw, Shuffled
from unshuffle.values import register


@register
@dataclass(frozen=True)
class Shuffle:
    """Cuts, draws a permutation for each sample, shuffles its patches."""

    patches: Grid | Bands | Slices | Tiles = Grid()
    """How to cut."""
    choices: SpreadOut | None = None
    """None: all n! permutations, uniformly. A fixed set: uniformly from it."""
    front: LogMel | LogLinear | None = None
    """What is made of raw items before they are cut: spectrograms of waveforms; None: nothing."""

    def __call__(self, raw: Raw, generator: torch.Generator) -> Shuffled:
        """Makes one shuffled sample of each raw one; the draws come from ``generator`` (on the CPU)."""
        patches = self.patches.cut(self.raw(raw.items), generator)
        perm = self.draw(len(patches), generator).to(patches.device)
        return Shuffled(permutations.apply(patches, perm), (perm + 1).to(patches.dtype), raw.index, raw.label)

    def prepare(self, items: Num[Tensor, "batch *shape"]) -> Float[Tensor, "batch n *patch"]:
        """The deterministic form: patches from the middle of their cells, in order."""
        return self.patches.cut(self.raw(items))

    def raw(self, items: Num[Tensor, "batch *shape"]) -> Num[Tensor, "batch *cut"]:
        """What is cut: the input that every embedding must beat."""
        return items if self.front is None else self.front(items)

    def draw(self, batch: int, generator: torch.Generator) -> Int[Tensor, "{batch} n"]:
        """One permutation for each sample, as in training."""
        if self.choices is None:
            return permutations.sample(batch, self.patches.count, generator=generator)
        every = self.choices.build(self.patches.count)
        return every[torch.randint(len(every), (batch,), generator=generator)]
