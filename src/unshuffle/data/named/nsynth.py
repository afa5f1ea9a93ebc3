"""NSynth: single notes of instruments."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

from unshuffle import _check
from unshuffle.data.files import FileDataset
from unshuffle.data.labels import Labels, numbered
from unshuffle.data.named.layout import Tree
from unshuffle.values import register

SPLITS = ("train", "valid", "test")
FAMILIES = (
    "bass", "brass", "flute", "guitar", "keyboard", "mallet", "organ", "reed", "string", "synth_lead", "vocal",
)  # fmt: skip
SHAPE = "nsynth-train/examples.json and nsynth-train/audio/*.wav, and so on for valid and test"


@register
@dataclass(frozen=True)
class NSynth:
    """Notes of 4 s at 16 kHz, with instrument, family and pitch.

    Layout: ``nsynth-{train,valid,test}/examples.json`` and ``…/audio/*.wav``, as the archives ``json/wav`` unpack. One
    of these folders alone will do, and so will an archive that was uncompressed to a plain ``.tar``.
    Size: 289,205 + 12,678 + 4,096 notes, 1,006 instruments; about 24 GB, 1 GB and 0.4 GB compressed.
    Licence: CC BY 4.0. From: https://magenta.tensorflow.org/datasets/nsynth

    The instruments of ``valid`` and ``test`` are none of those of ``train``: to tell instruments apart, a part is
    divided at random. Pitch is a MIDI number to be estimated and no class, as in Shuffle to Learn.

    Source: Engel et al., "Neural Audio Synthesis of Musical Notes with WaveNet Autoencoders", ICML 2017.
    """

    split: Literal["train", "valid", "test"] = "train"
    """Which part."""
    target: Literal["family", "instrument", "pitch"] = "family"
    """What the labels are: 11 families, the instrument by name, or the pitch as a number."""

    noun: ClassVar[str] = "sound"

    def __post_init__(self) -> None:
        _check.one_of("NSynth", "split", self.split, SPLITS)
        _check.one_of("NSynth", "target", self.target, ("family", "instrument", "pitch"))

    def tested(self) -> NSynth | None:
        """``test``; None for instruments, of which the parts share none."""
        return None if self.target == "instrument" or self.split == "test" else replace(self, split="test")

    def open(self, root: str | Path, items: Any) -> FileDataset:
        """The notes of this part.

        Raises:
            FileNotFoundError: this part is not there.
            ValueError: ``examples.json`` is damaged.
        """
        tree = Tree(root, (".wav", ".json"), name="NSynth", shape=SHAPE)
        base = tree.base("examples.json", within=self._within(Path(root)))
        notes = tree.json(f"{base}examples.json")
        try:
            keys = sorted(notes)
            labels = self._labels([notes[key] for key in keys])
        except (TypeError, KeyError) as error:
            raise ValueError(f"{base}examples.json is not that of NSynth: {error!r} is missing.") from error
        return tree.dataset([f"{base}audio/{key}.wav" for key in keys], base, items, labels)

    def _within(self, root: Path) -> list[str]:
        """Where this part may lie below the root, which may be the part itself where its name tells of no other."""
        other = any(split in root.name for split in SPLITS if split != self.split) and self.split not in root.name
        below = [f"nsynth-{self.split}/", f"{self.split}/"]
        return below if other else [*below, ""]

    def _labels(self, notes: list[dict[str, Any]]) -> Labels:
        if self.target == "pitch":
            return Labels((), [int(note["pitch"]) for note in notes])
        if self.target == "instrument":
            return numbered([str(note["instrument_str"]) for note in notes])
        return Labels(FAMILIES, [int(note["instrument_family"]) for note in notes])
