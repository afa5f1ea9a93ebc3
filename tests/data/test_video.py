"""Clips in files: which frames are taken, by either decoder; sizes chosen; and all ways in which a file can be bad."""

import struct
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from moving import CODECS, brightening, write_clip
from unshuffle.data import Clips, frames
from unshuffle.data.loaders import Unreadable, ordered_loader

pytest.importorskip("av")
SMALL = Clips(frames=5, size=16)


def needs_torchcodec() -> None:
    """Skips where torchcodec, or FFmpeg's libraries, are missing."""
    try:
        frames._import_torchcodec()
    except (ImportError, OSError, RuntimeError):
        pytest.skip("torchcodec cannot be loaded here")


@pytest.fixture(params=["torchcodec", "av"])
def either_decoder(request, monkeypatch) -> str:
    """The test runs once with each library; the other one is out of sight."""
    if request.param == "av":
        monkeypatch.setitem(sys.modules, "torchcodec", None)
    else:
        needs_torchcodec()
    frames.decoder.cache_clear()
    yield request.param
    frames.decoder.cache_clear()


def levels(clip: torch.Tensor) -> list[float]:
    """The number that each frame of :func:`brightening` tells."""
    return (clip.float().mean((1, 2, 3)) / 4).tolist()


def read(path: Path, source: Clips = SMALL) -> torch.Tensor:
    sample = source.open(path.parent)[0]
    assert not isinstance(sample, Unreadable), sample
    return sample[0]


def refusal(path: Path, source: Clips = SMALL) -> str:
    """Why the one clip of a folder cannot be read."""
    sample = source.open(path.parent)[0]
    assert isinstance(sample, Unreadable)
    assert sample.name == path.name
    assert str(path.parent) not in sample.reason
    assert len(sample.reason) < 120
    return sample.reason


# --------------------------------------------------------------------------------------------------------- which frames


@pytest.mark.parametrize("suffix", CODECS)
def test_the_middle_frame_of_each_stretch_is_taken(suffix, tmp_path, either_decoder):
    assert frames.decoder() == either_decoder

    clip = read(write_clip(tmp_path / f"clip.{suffix}", brightening(50)))

    assert (clip.shape, clip.dtype) == ((5, 3, 16, 16), torch.uint8)
    assert levels(clip) == pytest.approx([5, 15, 25, 35, 45], abs=0.5)


def test_both_decoders_give_the_same_frames(tmp_path, monkeypatch):
    needs_torchcodec()
    rng = np.random.default_rng(0)
    path = write_clip(tmp_path / "clip.mp4", rng.integers(0, 256, (40, 36, 52, 3), dtype=np.uint8))
    frames.decoder.cache_clear()
    first = read(path)
    monkeypatch.setitem(sys.modules, "torchcodec", None)
    frames.decoder.cache_clear()

    assert frames.decoder() == "av"
    assert (read(path).int() - first.int()).abs().max() <= 1

    frames.decoder.cache_clear()


@pytest.mark.parametrize("count", [5, 6, 7, 23, 60])
def test_frames_are_distinct_in_their_order_and_symmetric_in_time(count):
    picked = SMALL.pick(count)

    assert sorted(set(picked)) == picked
    assert picked[0] >= 0
    assert picked[-1] < count
    assert abs(picked[0] - (count - 1 - picked[-1])) <= 1


def test_a_clip_of_exactly_the_frames_wanted_is_taken_whole(tmp_path):
    assert levels(read(write_clip(tmp_path / "a.mkv", brightening(5)))) == pytest.approx([0, 1, 2, 3, 4], abs=0.5)


def test_no_more_is_decoded_than_from_the_last_key_frame_on(tmp_path):
    """Frames 2, 3 and 57 of 60 with a key frame every 12: 4 from the first on, and 10 from frame 48 on."""
    path = write_clip(tmp_path / "a.mp4", brightening(60))
    decoded = []
    with open(path, "rb") as file, frames._av_opened(file) as (container, stream):
        index = frames._index(container)
        watched = Watched(container, decoded)
        found = list(frames._sought(watched, stream, index, [2, 3, 57]))

    assert [float(f.to_ndarray(format="rgb24").mean()) / 4 for f in found] == pytest.approx([2, 3, 57], abs=0.5)
    assert len(index) == 60
    assert len(index.keys) == 5
    assert len(decoded) == 4 + 10


class Watched:
    """A container that notes the frames it decodes."""

    def __init__(self, container, decoded):
        self.seek, self._container, self._decoded = container.seek, container, decoded

    def decode(self, stream):
        for frame in self._container.decode(stream):
            self._decoded.append(frame.pts)
            yield frame


# -------------------------------------------------------------------------------------------- sizes, and what is chosen


def test_the_short_side_is_scaled_and_the_middle_kept(tmp_path):
    picture = np.zeros((6, 32, 64, 3), dtype=np.uint8)
    picture[:, :, 16:48] = 200  # the middle square

    clip = read(write_clip(tmp_path / "a.mp4", picture)).float()

    assert clip.shape[-2:] == (16, 16)
    assert clip[..., 2:-2].min() > 190


def test_a_clip_taken_with_the_camera_on_its_side_is_turned_upright(tmp_path, either_decoder):
    """The note of a quarter turn is written into the file by hand."""
    picture = np.zeros((6, 32, 48, 3), dtype=np.uint8)
    picture[:, :, :24] = 200  # the left half; turned, the upper or the lower one
    path = write_clip(tmp_path / "a.mp4", picture)
    data = bytearray(path.read_bytes())
    matrix = data.index(b"tkhd") + 44
    data[matrix : matrix + 36] = struct.pack(">9i", 0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30)
    path.write_bytes(data)

    clip = read(path).float().mean((0, 1))

    assert clip[:6].mean() > 180  # clockwise: left becomes upper
    assert clip[-6:].mean() < 20


def test_size_and_number_of_frames_are_chosen_from_the_data_and_told(tmp_path):
    for k, (count, height) in enumerate([(12, 48), (14, 40), (30, 100)] * 4):
        write_clip(tmp_path / f"{k}.mp4", brightening(count, height=height, width=120))
    (tmp_path / "broken.mp4").write_bytes(b"no video")

    settled, told = Clips(frames=None).settle(tmp_path)

    assert settled == Clips(frames=12, size=48)
    assert told == [
        "frames: 12; the clips have 12 to 30 (12 of 13 files looked at)",
        "size: 48 pixels; the clips' short sides have 40 to 100",
    ]
    assert settled.settle(tmp_path) == (settled, [])
    assert Clips(frames=None).open(tmp_path).source == settled


def test_large_clips_are_made_small_enough_for_a_processor(tmp_path):
    write_clip(tmp_path / "a.mp4", brightening(50, height=240, width=320))

    assert Clips(frames=None).settle(tmp_path)[0] == Clips(frames=20, size=64)


def test_clips_in_memory_become_items_as_those_in_files(tmp_path):
    data = brightening(50)
    item = SMALL.as_item(torch.from_numpy(data).permute(0, 3, 1, 2))

    assert levels(item) == pytest.approx([5, 15, 25, 35, 45])
    assert item.shape == SMALL.item_shape


# ---------------------------------------------------------------------------------------------------- files and batches


def test_labels_names_and_order_are_those_of_the_files(tmp_path):
    for name in ("left/1.mp4", "left/0.mkv", "right/0.webm", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / "notes.txt").write_text("no clip")
        if not name.endswith("txt"):
            write_clip(tmp_path / name, brightening(8))

    data = SMALL.open(tmp_path)

    assert data.names == ["left/0.mkv", "left/1.mp4", "right/0.webm"]
    assert (data.classes, data.labels, data.name) == (("left", "right"), [0, 0, 1], tmp_path.name)


@pytest.mark.parametrize("packing", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_clips_in_a_zip_are_read_as_those_in_a_folder(packing, tmp_path, either_decoder):
    path = write_clip(tmp_path / "clips" / "a.mp4", brightening(40))
    with zipfile.ZipFile(tmp_path / "clips.zip", "w", packing) as archive:
        archive.write(path, "a.mp4")

    assert SMALL.open(tmp_path / "clips.zip")[0][0].equal(read(path))


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_of_clips_are_whole_and_the_bad_ones_named(workers, tmp_path):
    for k in range(3):
        write_clip(tmp_path / f"{k}.mp4", brightening(10 + k))
    (tmp_path / "bad.mp4").write_bytes(b"no video at all")

    (loaded,) = ordered_loader(SMALL.open(tmp_path), batch_size=8, workers=workers)

    assert loaded.raw.items.shape == (3, 5, 3, 16, 16)
    assert [one.name for one in loaded.skipped] == ["bad.mp4"]


# ------------------------------------------------------------------------------------------------------------ bad files


def test_a_file_that_is_no_video_is_named_with_the_reason(tmp_path, either_decoder):
    path = tmp_path / "bad.mp4"
    path.write_bytes(b"no video at all" * 100)
    assert refusal(path).startswith("not a video that can be read: ")
    path.write_bytes(b"")
    assert refusal(path).startswith("not a video that can be read: ")


def test_a_file_that_is_cut_short_is_named(tmp_path, either_decoder):
    path = write_clip(tmp_path / "cut.mp4", brightening(50))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    assert refusal(path).startswith("not a video that can be read: ")


def test_a_file_with_sound_only_is_named(tmp_path, either_decoder):
    av = pytest.importorskip("av")
    with av.open(str(tmp_path / "sound.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=16000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 16000), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 16000
        container.mux([*stream.encode(frame), *stream.encode()])

    assert refusal(tmp_path / "sound.mp4") == "it holds no video"


def test_a_clip_with_fewer_frames_than_wanted_is_named(tmp_path, either_decoder):
    """Repeating frames would leave their order open."""
    assert refusal(write_clip(tmp_path / "short.mp4", brightening(4))) == "4 frames; at least 5 needed"


def test_a_clip_of_too_few_pixels_is_named(tmp_path):
    path = write_clip(tmp_path / "tiny.mp4", brightening(8, height=12, width=40))

    assert refusal(path) == "40 x 12 pixels; at least 16 x 16 needed"


def test_damage_inside_a_file_never_ends_the_run(tmp_path, either_decoder):
    path = write_clip(tmp_path / "a.mkv", np.random.default_rng(0).integers(0, 256, (30, 32, 32, 3), dtype=np.uint8))
    whole, rng = path.read_bytes(), np.random.default_rng(1)
    for _ in range(20):
        data = np.frombuffer(whole, np.uint8).copy()
        data[rng.integers(200, len(data), 40)] = rng.integers(0, 256, 40)
        path.write_bytes(data.tobytes())
        sample = SMALL.open(tmp_path)[0]
        assert isinstance(sample, Unreadable) or sample[0].shape == (5, 3, 16, 16)


@pytest.mark.errors
def test_without_any_decoder_the_job_stops_and_says_what_to_install(tmp_path, monkeypatch):
    path = write_clip(tmp_path / "a.mp4", brightening(8))
    for name in ("torchcodec", "av"):
        monkeypatch.setitem(sys.modules, name, None)
    frames.decoder.cache_clear()
    try:
        with pytest.raises(frames.NoDecoder, match="videos need a decoder: pip install av, or pip install torchcodec"):
            SMALL.open(path.parent)
    finally:
        frames.decoder.cache_clear()


@pytest.mark.errors
def test_a_folder_without_clips_says_what_was_looked_for(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no clip in .*: looked for \.mp4, \.webm, "):
        SMALL.open(tmp_path)
    (tmp_path / "a.mp4").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"not one of the 1 clips looked at could be read: a\.mp4 \(not a video"):
        Clips().settle(tmp_path)


@pytest.mark.errors
@pytest.mark.parametrize(
    ("make", "kind", "text"),
    [
        (lambda: Clips(frames=1), ValueError, "`frames` must be from 2 .*; got 1"),
        (lambda: Clips(size=0), ValueError, "`size` must be from 1 .*; got 0"),
        (lambda: Clips().item_shape, ValueError, "must be known by now; `settle` chooses them"),
        (lambda: SMALL.as_item("clip.mp4"), TypeError, "must be a tensor or an array; got str"),
        (lambda: SMALL.as_item(np.zeros((9, 8, 8, 3))), ValueError, r"must be uint8 \(frames, 3, height, width\)"),
        (lambda: SMALL.as_item(torch.zeros(3, 3, 32, 32).byte()), ValueError, "3 frames; at least 5 needed"),
    ],
)
def test_wrong_values_are_refused_with_what_is_accepted(make, kind, text):
    with pytest.raises(kind, match=text):
        make()
