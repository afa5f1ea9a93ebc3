"""Small sound files, made as they are needed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

soundfile = pytest.importorskip("soundfile")


def tone(hertz: float = 440.0, *, seconds: float = 0.5, rate: int = 8000, level: float = 0.5) -> np.ndarray:
    """A pure tone, (samples,)."""
    return (level * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def put(path: Path, wave: np.ndarray | None = None, rate: int = 8000) -> Path:
    """Writes a wave in the format of the path's suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    kind = {".oga": {"format": "OGG"}, ".aif": {"format": "AIFF"}, ".opus": {"format": "OGG", "subtype": "OPUS"}}.get(
        path.suffix.lower(), {}
    )
    soundfile.write(path, tone(rate=rate) if wave is None else wave, rate, **kind)
    return path
