"""Makes the notes that come with the package (``src/unshuffle/data/assets/notes.npz``) from rendered audio.

Input: a zip of audio files with a ``metadata.csv`` (columns file, program, family, family_name, pitch, split), as
rendered with fluidsynth 2.3.1 from the FluidR3 General MIDI soundfont (Debian's fluid-soundfont-gm 3.1, MIT licence):
16 random (pitch 36-83, velocity 50/75/100/127) notes of each of the 128 programs, held for 3 s of 4 s, no reverb and no
chorus, mono, 16 kHz; silent notes are left out; one note in five is test.

Each note becomes 80 mel bands (30-8000 Hz) x 30 frames (Hann windows of 2048 samples, evenly spaced over the 4 s), in
decibels from -60 to 50, as 8 bits.

Run: python scripts/make_notes.py notes.zip src/unshuffle/data/assets/notes.npz       (needs numpy and soundfile)
"""

from __future__ import annotations

import csv
import io
import sys
import zipfile

import numpy as np
import soundfile

RATE, SECONDS, WINDOW, FRAMES, BANDS = 16_000, 4, 2048, 30, 80
LOWEST_HZ, HIGHEST_HZ, QUIETEST_DB, LOUDEST_DB = 30.0, 8000.0, -60.0, 50.0


def mel_filters() -> np.ndarray:
    """Triangular filters of equal width on the mel scale (HTK's formula), (BANDS, WINDOW // 2 + 1)."""
    low, high = (2595 * np.log10(1 + f / 700) for f in (LOWEST_HZ, HIGHEST_HZ))
    corners = 700 * (10 ** (np.linspace(low, high, BANDS + 2) / 2595) - 1)
    hertz = np.linspace(0, RATE / 2, WINDOW // 2 + 1)
    rising = (hertz - corners[:-2, None]) / np.diff(corners)[:-1, None]
    falling = (corners[2:, None] - hertz) / np.diff(corners)[1:, None]
    return np.maximum(0, np.minimum(rising, falling))


def spectrogram(wave: np.ndarray, filters: np.ndarray) -> np.ndarray:
    """Log-mel spectrogram of one note, uint8 (BANDS, FRAMES)."""
    length = RATE * SECONDS
    padded = np.pad(wave[:length], (WINDOW // 2, WINDOW // 2 + length - len(wave[:length])))
    starts = np.linspace(0, length, FRAMES).astype(int)
    frames = np.stack([padded[s : s + WINDOW] for s in starts]) * np.hanning(WINDOW + 1)[:-1]
    decibels = 10 * np.log10(filters @ (np.abs(np.fft.rfft(frames)) ** 2).T + 1e-10)
    return np.round(np.clip((decibels - QUIETEST_DB) / (LOUDEST_DB - QUIETEST_DB), 0, 1) * 255).astype(np.uint8)


def main(source: str, target: str) -> None:
    """Reads the zip, writes the npz."""
    filters = mel_filters()
    with zipfile.ZipFile(source) as archive:
        rows = list(csv.DictReader(io.StringIO(archive.read("metadata.csv").decode())))
        waves = (soundfile.read(io.BytesIO(archive.read(r["file"])), dtype="float64") for r in rows)
        notes = [spectrogram(wave, filters) for wave, rate in waves if rate == RATE]
    assert len(notes) == len(rows), "a note has another sampling rate"
    families = sorted({(int(r["family"]), r["family_name"]) for r in rows})
    np.savez_compressed(
        target,
        spectrograms=np.stack(notes),
        pitch=np.array([int(r["pitch"]) for r in rows], np.uint8),
        family=np.array([int(r["family"]) for r in rows], np.uint8),
        instrument=np.array([int(r["program"]) for r in rows], np.uint8),
        test=np.array([r["split"] == "test" for r in rows]),
        family_names=np.array([name for _, name in families]),
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
