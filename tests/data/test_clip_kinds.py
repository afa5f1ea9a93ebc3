"""Clips of every kind against the number that each frame tells: containers with B-frames, animations, folders."""

import io
import shutil
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from unshuffle.data import Clips, frames
from unshuffle.data.frame_folders import FrameFolderClips
from unshuffle.data.loaders import Unreadable

pytestmark = pytest.mark.untyped

COUNT = 40


def coded(count: int = COUNT) -> np.ndarray:
    """Frame k shows k in binary, a stripe a bit: compression cannot change it."""
    bits = np.arange(count)[:, None] >> np.arange(6) & 1
    stripes = np.repeat(np.where(bits, 230, 20).astype(np.uint8), 16, axis=1)
    return np.broadcast_to(stripes[:, None, :, None], (count, 48, 96, 3)).copy()


def numbers(clip: torch.Tensor) -> list[int]:
    """The number that each frame (3, 48, 96) tells."""
    middle = clip.float().mean((1, 2))[:, 8::16] > 125
    return (middle.long() * 2 ** torch.arange(6)).sum(1).tolist()


def item(data, index: int = 0) -> torch.Tensor:
    sample = data[index]
    assert not isinstance(sample, Unreadable), sample
    return sample[0]


def encoded(path: Path, codec: str, between: int) -> bytes:
    """A video with so many B-frames between others."""
    av = pytest.importorskip("av")
    options = {"bf": str(between)} if codec == "libx264" else {}
    with av.open(str(path), "w") as container:
        try:
            stream = container.add_stream(codec, rate=25, options=options)
        except (av.error.FFmpegError, ValueError):
            pytest.skip(f"no {codec} here")
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = 96, 48, "yuv420p", 12
        stream.codec_context.max_b_frames = between
        for frame in coded():
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return path.read_bytes()


@pytest.fixture(params=["torchcodec", "av"])
def either_decoder(request, monkeypatch) -> Iterator[str]:
    """The test runs once with each library first."""
    if request.param == "av":
        monkeypatch.setitem(sys.modules, "torchcodec", None)
    else:
        try:
            frames._import_torchcodec()
        except (ImportError, OSError, RuntimeError):
            pytest.skip("torchcodec cannot be loaded here")
    frames.decoder.cache_clear()
    yield request.param
    frames.decoder.cache_clear()


@pytest.mark.parametrize("between", [0, 2])
@pytest.mark.parametrize(
    ("suffix", "codec"),
    [("avi", "mpeg4"), ("avi", "libx264"), ("avi", "mpeg2video"), ("mp4", "libx264"), ("mkv", "libx264"),
     ("mkv", "mpeg4"), ("mov", "mpeg4"), ("mpg", "mpeg2video"), ("ts", "libx264"), ("asf", "mpeg4"),
     ("flv", "libx264")],
)  # fmt: skip
@pytest.mark.parametrize("wanted", [range(COUNT), [1, 13, 14, 39], [39]], ids=["all", "some", "last"])
def test_the_frame_of_a_number_is_that_one_with_b_frames_too(suffix, codec, between, wanted, tmp_path, either_decoder):
    content = encoded(tmp_path / f"a.{suffix}", codec, between)

    clip = frames.read_frames(io.BytesIO(content), lambda count: [k for k in wanted if k < count])

    assert numbers(clip) == list(wanted)
    assert frames.read_header(io.BytesIO(content)) == frames.Header(96, 48, COUNT)


@pytest.mark.parametrize("suffix", ["mp4", "mov", "mkv"])
def test_frames_at_a_varying_rate_are_right_in_large_files_too(suffix, tmp_path, monkeypatch, either_decoder):
    monkeypatch.setattr(frames, "LARGE", 0)  # every file is a large one
    av = pytest.importorskip("av")
    with av.open(str(tmp_path / f"a.{suffix}"), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 48, "yuv420p"
        stream.codec_context.time_base, at = Fraction(1, 100), 0
        for k, picture in enumerate(coded()):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = at, Fraction(1, 100)
            at += 2 if k % 3 else 11
            container.mux(stream.encode(frame))
        container.mux(stream.encode())

    with open(tmp_path / f"a.{suffix}", "rb") as file:
        assert numbers(frames.read_frames(file, lambda count: [1, 7, 13, 25, 39])) == [1, 7, 13, 25, 39]


def test_an_avi_is_counted_even_where_torchcodec_is_there(tmp_path, monkeypatch):
    content = encoded(tmp_path / "a.avi", "mpeg4", 2)
    monkeypatch.setattr(frames, "decoder", lambda: "torchcodec")

    assert numbers(frames.read_frames(io.BytesIO(content), lambda count: [5, 38])) == [5, 38]
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(ValueError, match="pip install av"):
        frames.read_frames(io.BytesIO(content), lambda count: [5, 38])


# ----------------------------------------------------------------------------------------------------------- animations


def animated(path: Path, count: int = COUNT) -> Path:
    first, *rest = (Image.fromarray(frame) for frame in coded(count))
    kind = {"apng": "PNG"}.get(path.suffix[1:], path.suffix[1:].upper())
    options = {"lossless": True} if kind == "WEBP" else {}
    first.save(path, kind, save_all=True, append_images=rest, duration=[40 + k for k in range(count)], **options)
    return path


@pytest.mark.parametrize("suffix", ["gif", "webp", "apng"])
def test_animated_images_are_clips(suffix, tmp_path):
    animated(tmp_path / f"a.{suffix}")

    source, told = Clips(frames=8).settle(tmp_path)
    clip = item(source.open(tmp_path))

    assert (source.frames, source.size) == (8, 48)
    assert told[0] == "frames: 8; the clips have 40 to 40 (1 of 1 files looked at)"
    with open(tmp_path / f"a.{suffix}", "rb") as file:
        assert numbers(frames.read_frames(file, source.pick)) == [2, 7, 12, 17, 22, 27, 32, 37]
    assert clip.shape == (8, 3, 48, 48)


@pytest.mark.parametrize("kind", ["PNG", "GIF"])
def test_transparent_pixels_of_animations_show_the_background(kind, tmp_path):
    pixels = np.zeros((3, 32, 32, 4), np.uint8)
    pixels[:, :16] = (200, 0, 0, 255)
    pixels[1, :16] = (199, 0, 0, 255)
    first, *rest = (Image.fromarray(frame) for frame in pixels)
    first.save(tmp_path / "a.gif", kind, save_all=True, append_images=rest, duration=40)

    clip = item(Clips(frames=3, size=32, background=90).open(tmp_path))

    assert clip[:, :, 20:].unique().tolist() == [90]
    assert clip[:, 0, 4, 4].tolist() == [200, 199, 200]


def test_a_still_image_beside_animations_is_named(tmp_path):
    animated(tmp_path / "a.gif")
    Image.fromarray(coded(1)[0]).save(tmp_path / "b.gif")

    sample = Clips(frames=8, size=48).open(tmp_path)[1]

    assert sample == Unreadable("b.gif", "1 frames; at least 8 needed")


# --------------------------------------------------------------------------------------------------- folders of frames


def folders(root: Path, suffix: str = "png", start: int = 1) -> Path:
    """Two classes of a clip each; names count without leading zeros."""
    for name, frames_ in (("walk/clip_1", coded()), ("run/clip_2", coded(30))):
        (root / name).mkdir(parents=True)
        for k, frame in enumerate(frames_, start):
            Image.fromarray(frame).save(root / name / f"frame_{k}.{suffix}", lossless=True)
    return root


def in_zip(root: Path) -> Path:
    archive = root.with_suffix(".zip")
    with zipfile.ZipFile(archive, "w") as out:
        for path in folders(root).rglob("*.png"):
            out.write(path, path.relative_to(root))
    return archive


def in_tar(root: Path) -> Path:
    archive = root.with_suffix(".tar")
    with tarfile.open(archive, "w") as out:
        out.add(folders(root), ".")
    return archive


@pytest.mark.parametrize("layout", [folders, in_zip, in_tar, lambda root: folders(root, "webp")])
def test_folders_of_numbered_frames_are_clips_in_the_order_of_their_numbers(layout, tmp_path):
    root = layout(tmp_path / "clips")

    source, told = Clips().settle(root)
    data = source.open(root)

    assert (data.names, data.classes, data.labels) == (["run/clip_2", "walk/clip_1"], ("run", "walk"), [0, 1])
    assert "the clips have 30 to 40 (2 of 2 folders looked at)" in told[0]
    assert item(data, 1).shape == (20, 3, 48, 48)
    assert isinstance(data, FrameFolderClips)
    shown = data.folders.read(1, source.pick(40), background=255)
    assert numbers(shown) == [2 * k + 1 for k in range(20)]


def test_images_in_no_folder_are_left_out_and_told(tmp_path):
    root = folders(tmp_path / "clips")
    shutil.copy(root / "run/clip_2/frame_1.png", root / "cover.png")

    data, told = Clips(size=48).open(root), Clips(size=48).settle(root)[1]

    assert len(data) == 2
    assert told[-1] == "left out: 1 images in no folder, 'cover.png' first"


def test_a_damaged_frame_and_frames_of_several_sizes_are_named(tmp_path):
    root = folders(tmp_path / "clips")
    (root / "run/clip_2/frame_30.png").write_bytes(b"nothing")
    Image.new("RGB", (50, 50)).save(root / "walk/clip_1/frame_40.png")

    data = Clips(frames=30, size=48).open(root)

    assert data[0] == Unreadable("run/clip_2", "frame frame_30.png: not an image that can be identified")
    sample = Clips(frames=40, size=48).open(root)[1]
    assert isinstance(sample, Unreadable)
    assert "several sizes: " in sample.reason


def test_too_few_frames_are_named_and_a_flat_folder_of_images_is_no_clip(tmp_path):
    root = folders(tmp_path / "clips")

    assert Clips(frames=35, size=48).open(root)[0] == Unreadable("run/clip_2", "30 frames; at least 35 needed")
    with pytest.raises(FileNotFoundError, match="no clip in"):
        Clips().open(root / "run/clip_2")
