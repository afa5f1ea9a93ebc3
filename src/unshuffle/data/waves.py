"""Sound files as waves: opened, read in the middle and no further, resampled, cut to a length.

Decoding is libsndfile's, or PyAV's where libsndfile does not know the format; what is written here is the way around
two habits of its MP3 decoder.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias

import numpy as np

from unshuffle.data.compressed_audio import CompressedSound, may_be_compressed, opened_by_av
from unshuffle.data.wave_headers import SafeFile, with_known_size

if TYPE_CHECKING:
    import soundfile

    Sound: TypeAlias = soundfile.SoundFile | CompressedSound

RATES = (1000, 768_000)
"""Samples a second that a file may have; a damaged header may say anything."""
CANCELED = 0.02
"""Loudness of a mean below which channels cancel out, relative to the loudest channel over their number."""
_RUN_UP = 16_384


def decoder() -> Any:
    """The library that decodes.

    Raises:
        ModuleNotFoundError: it is not installed.
        OSError: it is, but without libsndfile.
    """
    import soundfile

    return soundfile


@contextmanager
def opened(file: BinaryIO) -> Iterator[Sound]:
    """A sound file, open, with errors that say what is wrong with it and not where."""
    library = decoder()
    try:
        with _opened(library, file) as sound:
            if not RATES[0] <= sound.samplerate <= RATES[1]:
                raise ValueError(f"{sound.samplerate} samples a second; from {RATES[0]} to {RATES[1]} can be")
            yield sound
    except library.LibsndfileError as error:
        raise ValueError(f"not a sound that can be read: {error.error_string.rstrip('.')}") from error


@contextmanager
def _opened(library: Any, file: BinaryIO) -> Iterator[Sound]:
    """By libsndfile, or by PyAV what libsndfile does not open."""
    try:
        sound = library.SoundFile(SafeFile(with_known_size(file)))
    except library.LibsndfileError:
        if not may_be_compressed(file):
            raise
        with opened_by_av(file) as other:
            yield other
            return
    with sound:
        yield sound


def length(sound: Sound) -> int:
    """Samples, as the header has it; 0 where it does not know (streams are written so)."""
    return sound.frames if 0 < sound.frames < 2**40 else 0


def read_middle(sound: Sound, wanted: int, *, channel: int | None = None) -> np.ndarray:
    """At most ``wanted`` samples out of the middle, one channel, float32; no more than these are read.

    Args:
        sound: opened.
        wanted: how many samples.
        channel: the one to take, from 0; None: their mean.

    Raises:
        ValueError: the file ends before what its header promises, lacks the channel, or its channels cancel out.
    """
    whole = length(sound)
    start = max(0, (whole - wanted) // 2)
    # After a jump the frames of an MP3 lack what earlier ones hold for them, and sound wrong for a while.
    run_up = min(start, _RUN_UP) if sound.format in ("MP3", "MPEG") else 0
    if start:
        sound.seek(start - run_up)
    wave = _one_channel(sound.read(run_up + wanted, dtype="float32", always_2d=True)[run_up:], channel)
    expected = min(whole, wanted)
    if len(wave) < max(1, round(0.9 * expected)):  # an MP3's own count may be a little off
        raise ValueError(f"cut short: {len(wave)} of {expected} samples" if whole else "it holds no samples")
    return wave


def _one_channel(samples: np.ndarray, channel: int | None) -> np.ndarray:
    """One channel of (samples, channels), or their mean."""
    count = samples.shape[1]
    if channel is not None:
        if channel >= count:
            raise ValueError(f"it has {count} channels, counted from 0, and none of number {channel}")
        return np.ascontiguousarray(samples[:, channel])
    wave = samples.mean(axis=1)
    if count > 1 and len(wave):
        loudest, mean = float(np.einsum("ij,ij->j", samples, samples).max()), float(wave @ wave)
        if mean < (CANCELED / count) ** 2 * loudest:
            raise ValueError("its channels cancel each other out when averaged; take one of them (--source.channel 0)")
    return wave


def resampled(wave: np.ndarray, rate: int, wanted: int) -> np.ndarray:
    """The wave at another rate. Odd ratios are rounded by a millionth or so, or their filters would be huge."""
    if rate == wanted:
        return wave
    from scipy.signal import resample_poly

    ratio = Fraction(wanted, rate).limit_denominator(1000)
    return resample_poly(wave, ratio.numerator, ratio.denominator).astype(np.float32)


def centred(wave: np.ndarray, samples: int) -> np.ndarray:
    """The middle of a wave, or the wave in the middle of silence."""
    start = (len(wave) - samples) // 2
    if start >= 0:
        return np.ascontiguousarray(wave[start : start + samples])
    return np.pad(wave, (-start, samples - len(wave) + start))


_one_at_a_time = threading.Lock()


@contextmanager
def quietly(name: str) -> Iterator[None]:
    """Keeps libmpg123 from writing to the terminal, which it does after every jump in a sound MP3.

    It writes past Python, so the process's own stderr is led away for the moment.
    """
    if not name.lower().endswith(".mp3"):
        yield
        return
    with _one_at_a_time, open(os.devnull, "wb") as nowhere:
        kept = os.dup(2)
        try:
            os.dup2(nowhere.fileno(), 2)
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
