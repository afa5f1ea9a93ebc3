"""Sounds that libsndfile does not read (AAC in M4A, WMA, AMR, AC-3 and the rest of FFmpeg's formats), by PyAV."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

import numpy as np

from unshuffle.data.wave_headers import SafeFile

COUNTED = 30
"""Seconds below which samples are counted by decoding: encoders add some at both ends, which packets count too."""


MOST_CHANNELS = 1024
"""Channels that a file may have; a damaged header may say anything."""
_STARTS = (b"\x1a\x45\xdf\xa3", b"\x30\x26\xb2\x75", b"\x0b\x77", b"#!AMR", b"caff", b"ID3", b"OggS", b"RIFF", b"FORM")
"""How Matroska, ASF (WMA), AC-3, AMR, CAF, tagged AAC, and variants of Ogg, WAV and AIFF begin."""


def may_be_compressed(file: BinaryIO) -> bool:
    """Whether a file that libsndfile does not open begins as one that FFmpeg may know."""
    file.seek(0)
    start = file.read(8)
    frame = len(start) > 1 and start[0] == 0xFF and start[1] & 0xE0 == 0xE0  # of MPEG audio, ADTS among it
    return start[4:] == b"ftyp" or start.startswith(_STARTS) or frame


class CompressedSound:
    """A sound with as much of :class:`soundfile.SoundFile` as is needed here.

    Args:
        container: opened by PyAV.

    Raises:
        ValueError: it holds no sound.
    """

    format = "FFMPEG"

    def __init__(self, container: Any) -> None:
        if not container.streams.audio:
            raise ValueError("it holds no sound")
        self._container, self._stream = container, container.streams.audio[0]
        first = next(iter(container.decode(self._stream)), None)
        if first is None:
            raise ValueError("it holds no samples")
        self.samplerate: int = first.sample_rate  # of the header only half, where a codec doubles it
        self.frames = self._count()
        self._start = 0

    def seek(self, frames: int) -> int:
        """Where reading begins."""
        self._start = frames
        return frames

    def read(self, frames: int, **_: Any) -> np.ndarray:
        """At most so many samples of all channels from there on, (samples, channels) float32."""
        parts, have, at = [], 0, 0
        for block in self._blocks():
            part = block[max(0, self._start - at) :][: frames - have]
            at, have = at + len(block), have + len(part)
            parts.append(part)
            if have == frames:
                break
        return np.concatenate(parts) if parts else np.zeros((0, 1), np.float32)

    def _count(self) -> int:
        """Samples: by the packets, or where that is not exact enough by decoding."""
        self._container.seek(0)
        unit = float(self._stream.time_base or 0)
        seconds = sum((packet.duration or 0) * unit for packet in self._container.demux(self._stream))
        if seconds > COUNTED:
            return round(seconds * self.samplerate)
        return sum(len(block) for block in self._blocks())

    def _blocks(self) -> Iterator[np.ndarray]:
        """All samples, block after block."""
        from av.audio.resampler import AudioResampler

        self._container.seek(0)
        packed = AudioResampler(format="flt", rate=self.samplerate)  # PyAV reads no more than 8 planes safely
        for frame in self._container.decode(self._stream):
            if frame.layout.nb_channels > MOST_CHANNELS:
                raise ValueError(f"{frame.layout.nb_channels} channels; at most {MOST_CHANNELS} can be")
            for block in packed.resample(frame):
                yield block.to_ndarray().reshape(-1, block.layout.nb_channels)


@contextmanager
def opened_by_av(file: BinaryIO) -> Iterator[CompressedSound]:
    """Open a sound with PyAV.

    Raises:
        ValueError: PyAV is not installed, or the file holds no sound or is damaged.
    """
    try:
        import av
        from av.error import FFmpegError
    except ImportError as error:
        raise ValueError("libsndfile does not read it; pip install av, or convert it to WAV or FLAC") from error
    try:
        with av.open(SafeFile(file)) as container:
            yield CompressedSound(container)
    except (FFmpegError, OSError, EOFError) as error:
        told = getattr(error, "strerror", None) or str(error)
        raise ValueError(f"not a sound that can be read: {told.rstrip('.')}") from error
