"""Sounds with wrong headers, several channels, and formats that libsndfile does not know."""

import io
import struct
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from sounds import soundfile

from unshuffle.data.audio import SUFFIXES, Sounds
from unshuffle.data.loaders import Unreadable

pytestmark = pytest.mark.untyped

RATE = 16000
SOURCE = Sounds(rate=RATE, seconds=1.0)
WAVE = (0.5 * np.sin(2 * np.pi * np.cumsum(np.linspace(200, 3000, RATE)) / RATE)).astype(np.float32)


def written(kind: str = "WAV", subtype: str = "PCM_16", channels: int = 1) -> bytearray:
    buffer = io.BytesIO()
    soundfile.write(buffer, np.repeat(WAVE[:, None], channels, 1), RATE, format=kind, subtype=subtype)
    return bytearray(buffer.getvalue())


def claiming(content: bytearray, size: int, *, whole: int | None = None) -> bytes:
    """A WAV whose header claims other sizes."""
    place = content.find(b"data")
    content[place + 4 : place + 8] = struct.pack("<I", size)
    if whole is not None:
        content[4:8] = struct.pack("<I", whole)
    return bytes(content)


def decoded(content: bytes, source: Sounds = SOURCE) -> np.ndarray:
    return source.decode(io.BytesIO(content), "a.wav").flatten().numpy()


def refusal(content: bytes, source: Sounds = SOURCE) -> str:
    with pytest.raises(ValueError, match=r".") as error:
        source.decode(io.BytesIO(content), "a.wav")
    return str(error.value)


# -------------------------------------------------------------------------------------------------------------- headers


@pytest.mark.parametrize("size", [0, 1_000_000, 0x7FFFFFFF, 0xFFFFFFFF])
@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "FLOAT", "ULAW"])
@pytest.mark.parametrize("kind", ["WAV", "WAVEX"])
def test_a_wav_with_a_wrong_size_is_read_to_its_end(kind, subtype, size):
    content = written(kind, subtype)

    assert np.abs(decoded(claiming(content, size, whole=size)) - WAVE).max() < 0.03
    assert np.abs(decoded(claiming(content, size)) - WAVE).max() < 0.03


def test_a_header_without_sizes_may_have_chunks_before_the_data_and_several_channels():
    content = bytes(written(channels=2))
    place = content.find(b"data")
    comment = b"LIST" + struct.pack("<I", 5) + b"INFOx\0"  # an odd size, padded

    for head in (content[:place], content[:place] + comment):
        stopped = claiming(bytearray(head + content[place:]), 0, whole=0)
        assert np.abs(decoded(stopped) - WAVE).max() < 1e-3
        assert np.abs(decoded(stopped + b"\1") - WAVE).max() < 1e-3  # half a sample


def test_an_rf64_without_sizes_and_an_au_without_one_are_read():
    large, sun = written("RF64"), written("AU")
    place = large.find(b"ds64")
    large[place + 8 : place + 32] = bytes(24)
    sun[8:12] = bytes(4)

    assert np.abs(decoded(bytes(large)) - WAVE).max() < 1e-3
    assert np.abs(decoded(bytes(sun)) - WAVE).max() < 1e-3


def test_a_wav_that_is_empty_holds_no_samples():
    content = written()
    empty = claiming(content[: content.find(b"data") + 8], 0, whole=36)

    assert refusal(empty) == "it holds no samples"
    assert refusal(empty + b"LIST" + struct.pack("<I", 4) + b"INFO") == "it holds no samples"


def test_the_middle_of_a_long_wav_without_a_size_is_its_middle(tmp_path):
    (tmp_path / "a.wav").write_bytes(claiming(written(), 0, whole=0))

    source, _ = Sounds().settle(tmp_path)

    assert (source.rate, source.seconds) == (RATE, 1.0)
    quarter = Sounds(rate=RATE, seconds=0.25).open(tmp_path)[0]
    assert not isinstance(quarter, Unreadable)
    assert np.abs(quarter[0].flatten().numpy() - WAVE[6000:10000]).max() < 1e-3


# ------------------------------------------------------------------------------------------------------------- channels


def stereo(left: np.ndarray, right: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, np.stack([left, right], 1), RATE, format="WAV", subtype="FLOAT")
    return buffer.getvalue()


def test_channels_that_cancel_out_are_named_and_one_can_be_taken():
    noise = np.random.default_rng(0).normal(size=RATE).astype(np.float32) * 1e-4
    opposite = stereo(WAVE, noise - WAVE)

    assert "cancel each other out" in refusal(opposite)
    assert "--source.channel" in refusal(stereo(WAVE, -WAVE))
    for number, expected in enumerate((WAVE, noise - WAVE)):
        np.testing.assert_array_equal(decoded(opposite, Sounds(rate=RATE, seconds=1.0, channel=number)), expected)


def test_other_channels_are_averaged_and_silence_stays_silence():
    half = stereo(WAVE, np.zeros_like(WAVE))

    np.testing.assert_array_equal(decoded(half), WAVE / 2)
    np.testing.assert_allclose(decoded(stereo(WAVE, -0.9 * WAVE)), 0.05 * WAVE, atol=1e-6)
    assert refusal(stereo(0 * WAVE, 0 * WAVE)).startswith("silent")


@pytest.mark.errors
def test_a_channel_that_is_not_there_is_refused():
    assert "2 channels" in refusal(stereo(WAVE, WAVE), Sounds(rate=RATE, seconds=1.0, channel=2))
    with pytest.raises(ValueError, match="channel"):
        Sounds(channel=-1)


# -------------------------------------------------------------------------------------------------------------- formats

CODECS = {"m4a": "aac", "aac": "aac", "wma": "wmav2", "ac3": "ac3", "mka": "libopus", "m4b": "alac"}
FULL = 48000
SWEEP = (0.5 * np.sin(2 * np.pi * np.cumsum(np.linspace(200, 3000, 2 * FULL)) / FULL)).astype(np.float32)


def compressed(path: Path, seconds: float = 2.0) -> Path:
    av = pytest.importorskip("av")
    kind = {"m4a": "ipod", "m4b": "ipod", "aac": "adts", "wma": "asf", "mka": "matroska"}.get(path.suffix[1:])
    with av.open(str(path), "w", format=kind) as container:
        stream = container.add_stream(CODECS[path.suffix[1:]], rate=FULL)
        stream.layout, stream.bit_rate = "stereo", 160_000
        samples = np.stack([SWEEP, SWEEP])[:, : round(seconds * FULL)]
        fifo = av.AudioFifo()
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples), format="fltp", layout="stereo")
        frame.sample_rate = FULL
        fifo.write(frame)
        resampler = av.AudioResampler(format=stream.format.name, layout="stereo", rate=FULL)
        while (part := fifo.read(stream.codec_context.frame_size or 1024, partial=True)) is not None:
            for one in resampler.resample(part):
                container.mux(stream.encode(one))
        container.mux(stream.encode())
    return path


def likeness(got: np.ndarray, expected: np.ndarray, *, delay: int) -> float:
    """The largest correlation at delays of at most so many samples."""
    inner = expected[delay : len(expected) - delay]
    return max(
        float(np.corrcoef(got[delay + k : len(got) - delay + k], inner)[0, 1]) for k in range(-delay, delay + 1, 4)
    )


@pytest.mark.parametrize("seconds", [2.0, 0.1])
@pytest.mark.parametrize("suffix", CODECS)
def test_formats_of_ffmpeg_are_read_by_pyav(suffix, seconds, tmp_path):
    path = compressed(tmp_path / f"a.{suffix}", seconds)
    source = Sounds(rate=FULL, seconds=seconds / 2)

    data = source.open(tmp_path)
    settled, _ = Sounds().settle(tmp_path)

    assert f".{suffix}" in SUFFIXES
    assert (len(data), settled.rate) == (1, FULL)
    assert settled.seconds == pytest.approx(seconds, abs=0.07)
    sample = data[0]
    assert not isinstance(sample, Unreadable), sample
    middle = SWEEP[: round(seconds * FULL)][round(seconds * FULL / 4) :][: round(seconds * FULL / 2)]
    # Without a container that says so, what an encoder adds in front shifts the middle.
    delay = 1600 if seconds == 2.0 else 1000
    assert likeness(sample[0].flatten().numpy(), middle, delay=delay) > (0.95 if seconds == 2.0 else 0.9)
    assert path.exists()


def test_the_middle_of_a_long_file_is_where_it_should_be(tmp_path, monkeypatch):
    from unshuffle.data import compressed_audio

    monkeypatch.setattr(compressed_audio, "COUNTED", 0)  # as of files of many minutes: by packets
    compressed(tmp_path / "a.m4a")

    sample = Sounds(rate=FULL, seconds=1.0).open(tmp_path)[0]

    assert not isinstance(sample, Unreadable), sample
    assert likeness(sample[0].flatten().numpy(), SWEEP[FULL // 2 : 3 * FULL // 2], delay=1200) > 0.95


def test_without_pyav_such_files_are_named_with_what_to_install(tmp_path, monkeypatch):
    compressed(tmp_path / "a.m4a")
    monkeypatch.setitem(sys.modules, "av", None)

    sample = Sounds(rate=FULL, seconds=1.0).open(tmp_path)[0]

    assert isinstance(sample, Unreadable)
    assert "pip install av" in sample.reason


def test_damage_never_ends_the_run_nor_writes_to_the_terminal(tmp_path, capfd):
    content = bytearray(compressed(tmp_path / "a.m4a", 0.5).read_bytes())
    chance = np.random.default_rng(0)
    data = Sounds(rate=FULL, seconds=0.2).open(tmp_path)

    for _ in range(40):
        spoilt = bytearray(content[: chance.integers(8, len(content))] if chance.random() < 0.3 else content)
        for place in chance.integers(8, len(spoilt), 5):
            spoilt[place] = chance.integers(256)
        (tmp_path / "a.m4a").write_bytes(spoilt)
        sample = data[0]
        assert isinstance(sample, Unreadable) or torch.isfinite(sample[0]).all()
    assert "Traceback" not in capfd.readouterr().err
