"""The same files in every place where files may lie."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

PLACES = ("folder", "zip", "packed zip", "tar", "shards")


def hold(place: str, folder: Path, content: Mapping[str, bytes]) -> Path:
    """Puts the content, name to bytes, into a place below ``folder`` and says where that is."""
    folder.mkdir(parents=True, exist_ok=True)
    if place == "folder":
        for name, data in content.items():
            (folder / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / "photos" / name).write_bytes(data)
        return folder / "photos"
    if place in ("zip", "packed zip"):
        method = zipfile.ZIP_STORED if place == "zip" else zipfile.ZIP_DEFLATED
        with zipfile.ZipFile(folder / "photos.zip", "w", method) as archive:
            for name, data in content.items():
                archive.writestr(name, data)
        return folder / "photos.zip"
    if place == "tar":
        return tar(folder / "photos.tar", content)
    half = len(content) // 2
    (folder / "photos").mkdir()
    tar(folder / "photos" / "0.tar", dict(list(content.items())[:half]))
    tar(folder / "photos" / "1.tar", dict(list(content.items())[half:]))
    return folder / "photos"


def tar(path: Path, content: Mapping[str, bytes], mode: str = "w") -> Path:
    """Writes a tar, compressed where ``mode`` says so."""
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, data in content.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return path
