"""Sounds in files: decoded by libsndfile or PyAV, mixed to one channel, brought to one sample rate and one length."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, BinaryIO, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor

from unshuffle._ranges import MaybeFew, NonNegative, Range
from unshuffle.data import waves
from unshuffle.data.files import FileDataset, Files, called, find, reason
from unshuffle.data.labels import found_labels
from unshuffle.values import register

SUFFIXES = (
    ".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".au", ".m4a", ".m4b", ".aac", ".wma", ".aifc",
    ".caf", ".w64", ".rf64", ".snd", ".mp2", ".ac3", ".amr", ".mka",
)  # fmt: skip
LOOKED_AT = 200
"""Files whose headers tell rate and length, where these are to be chosen."""
LONGEST = 10.0
"""Seconds of a sound that are chosen at the most; longer ones are a choice of one's own."""


@register
@dataclass(frozen=True)
class Sounds:
    """How sound files become samples: one channel, ``rate`` samples a second, the middle ``seconds`` of each.

    Channels are averaged, or one of them is taken; where they cancel each other out the sound is refused. What is
    shorter gets silence at both ends, and of what is longer no more than the middle is read. Items are waveforms
    (1, 1, samples), float32 in [-1, 1].
    """

    rate: Annotated[int, Range(*waves.RATES)] | None = None
    """Samples a second; None: the commonest rate among the files."""
    seconds: Annotated[float, Range(0, 100_000, open_low=True)] | None = None
    """Length of a sample; None: the median of the files, 10 at the most."""
    silence: NonNegative = 1e-4
    """Sounds of which no sample is louder than this (full scale is 1) are skipped and counted as unreadable."""
    channel: MaybeFew | None = None
    """The channel to take, from 0; None: the mean of all."""

    noun: ClassVar[str] = "sound"
    any_size: ClassVar[str] = "For sounds of any length give a list of waveforms (samples,)."

    @property
    def item_shape(self) -> tuple[int, int, int]:
        """(1, 1, samples).

        Raises:
            ValueError: rate or length are still to be chosen.
        """
        if self.rate is None or self.seconds is None:
            raise ValueError("Sounds: `rate` and `seconds` must be known by now; `settle` chooses them from a folder.")
        return 1, 1, max(1, round(self.rate * self.seconds))

    def settle(self, root: str | Path) -> tuple[Sounds, list[str]]:
        """Chooses rate and length, where they are open, from the headers of at most 200 files below ``root``.

        Returns:
            The same source with nothing left open, and a line for each choice.

        Raises:
            FileNotFoundError: there are no sounds.
            ValueError: not one of the headers can be read.
        """
        return self._settle(find(root, SUFFIXES, what=self.noun))

    def _settle(self, files: Files) -> tuple[Sounds, list[str]]:
        waves.decoder()  # here, where it stops the job; missing it would make every file unreadable
        if self.rate is not None and self.seconds is not None:
            return self, []
        headers, total = _headers(files)
        settled, told = self, []
        if self.rate is None:
            rate, count = Counter(header.rate for header in headers).most_common(1)[0]
            settled = replace(settled, rate=rate)
            told.append(f"sample rate: {rate} Hz, that of {count} of the {len(headers)} files looked at (of {total})")
        if self.seconds is None:
            lengths = np.array([header.seconds for header in headers])
            seconds = float(min(max(round(float(np.median(lengths)), 2), 0.05), LONGEST))
            settled = replace(settled, seconds=seconds)
            told.append(f"length: {seconds:g} s; these files have {lengths.min():.2f} to {lengths.max():.2f} s")
        return settled, told

    def open(self, root: str | Path) -> FileDataset:
        """The sounds below ``root`` as a data set; what is still to be chosen is chosen from them."""
        files = find(root, SUFFIXES, what=self.noun)
        settled, _ = self._settle(files)
        return FileDataset(files, settled.decode, settled, found_labels(files), name=called(root))

    def decode(self, file: BinaryIO, name: str = "") -> Tensor:
        """One file as a waveform (1, 1, samples).

        Raises:
            ValueError: it is no sound, it is damaged, empty or silent, or its rate is beyond all reason.
        """
        with waves.quietly(name), waves.opened(file) as sound:
            wave = waves.read_middle(sound, self._wanted(sound.samplerate), channel=self.channel)
            wave = waves.resampled(wave, sound.samplerate, self._rate)
        wave = waves.centred(wave, self.item_shape[-1])
        if not np.isfinite(wave).all():
            raise ValueError("it holds numbers that are not finite")
        if np.abs(wave).max() <= self.silence:
            raise ValueError(f"silent: nothing in it is louder than {self.silence:g} of full scale")
        return torch.from_numpy(wave).reshape(self.item_shape)

    def as_item(self, wave: Any) -> Tensor:
        """A waveform of any length that is in memory, (samples,) or (1, samples), as an item: cut or filled up.

        Its rate cannot be seen, and must be ``rate``.

        Raises:
            TypeError: it is neither a tensor nor an array.
            ValueError: it has several channels, or no samples.
        """
        if not isinstance(wave, (Tensor, np.ndarray)):
            raise TypeError(f"a sound must be a tensor or an array of samples; got {type(wave).__name__}.")
        array = np.asarray(wave.detach().cpu() if isinstance(wave, Tensor) else wave)
        if array.size == 0 or array.size != array.shape[-1]:
            raise ValueError(
                f"a sound must be (samples,), of one channel; got shape {tuple(array.shape)}. Average its channels."
            )
        if not np.issubdtype(array.dtype, np.floating):
            raise ValueError(f"a sound must be floating point, in [-1, 1]; got {array.dtype}. Divide by full scale.")
        return torch.from_numpy(waves.centred(array.reshape(-1).astype(np.float32), self.item_shape[-1])).reshape(
            self.item_shape
        )

    @property
    def _rate(self) -> int:
        self.item_shape  # noqa: B018  (refuses a source that is not settled)
        assert self.rate is not None
        return self.rate

    def _wanted(self, rate: int) -> int:
        """How many samples of a file of this rate make an item."""
        return -(-self.item_shape[-1] * rate // self._rate)


class _Header(NamedTuple):
    """What a file says of itself."""

    rate: int
    seconds: float


def _headers(files: Files) -> tuple[list[_Header], int]:
    """The headers of at most :data:`LOOKED_AT` files, evenly spaced, and how many files there are."""
    places = np.linspace(0, len(files) - 1, min(LOOKED_AT, len(files))).round().astype(int).tolist()
    looked = [_header(files, place) for place in places]
    headers = [found for found in looked if isinstance(found, _Header)]
    if not headers:
        told = "; ".join(why for why in looked[:3] if isinstance(why, str))
        raise ValueError(f"not one of the {len(places)} sounds looked at could be read: {told}.")
    return headers, len(files)


def _header(files: Files, place: int) -> _Header | str:
    """What a file says of itself, or its name and why it says nothing."""
    name = files.names[place]
    try:
        with waves.quietly(name), files.open(place) as file, waves.opened(file) as sound:
            if length := waves.length(sound):
                return _Header(sound.samplerate, length / sound.samplerate)
            return f"{name} (its length is not known)"
    except (ValueError, OSError, RuntimeError) as error:
        return f"{name} ({reason(error)})"
