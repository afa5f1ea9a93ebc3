"""Folders of real sound files: every format, rate and length, and every way in which a file can be broken."""

import os
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.signal import chirp
from sounds import put, soundfile, tone

from unshuffle.data.audio import LONGEST, SUFFIXES, Sounds
from unshuffle.data.loaders import Unreadable

HALF = Sounds(rate=8000, seconds=0.5)


def read(path: Path, source: Sounds = HALF) -> np.ndarray:
    """The one sound of a folder, (samples,)."""
    sample = source.open(path.parent)[0]
    assert not isinstance(sample, Unreadable), sample
    assert sample[0].shape == source.item_shape
    assert sample[0].dtype == torch.float32
    return sample[0].flatten().numpy()


def refusal(path: Path, source: Sounds = HALF) -> str:
    """Why the one sound of a folder cannot be read."""
    sample = source.open(path.parent)[0]
    assert isinstance(sample, Unreadable)
    assert sample.name == path.name
    assert str(path.parent) not in sample.reason
    assert " object at " not in sample.reason
    return sample.reason


# ------------------------------------------------------------------------------------------------ which files, and what


def test_sub_folders_are_labels_and_names_say_what_is_read(tmp_path):
    for name in ("dog/a.wav", "cat/b.flac", "dog/deeper/c.ogg", "dog/.hidden.wav", "cat/notes.txt"):
        path = tmp_path / name
        put(path) if path.suffix != ".txt" else path.write_text("no sound")

    data = HALF.open(tmp_path)

    assert data.names == ["cat/b.flac", "dog/a.wav", "dog/deeper/c.ogg"]
    assert data.classes == ("cat", "dog")
    assert [data[i][1] for i in range(3)] == [0, 1, 1]
    assert data.source == HALF
    assert data.name == tmp_path.name


WRITTEN = (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".au", ".caf", ".w64", ".rf64")


@pytest.mark.parametrize("suffix", [*WRITTEN, ".WAV"])
def test_every_suffix_that_libsndfile_writes_is_read(suffix, tmp_path):
    wave = tone(seconds=1.0)

    assert suffix.lower() in SUFFIXES
    got = read(put(tmp_path / f"a{suffix}", wave))

    lossy = suffix in (".ogg", ".oga", ".opus", ".mp3")
    assert np.corrcoef(got, wave[2000:6000])[0, 1] > (0.99 if lossy else 0.999999)  # its middle half second


def test_an_archive_of_sounds_is_read_like_a_folder(tmp_path):
    import zipfile

    for k in range(3):
        put(tmp_path / "folder" / f"{k}.wav", tone(200 + 100 * k))
    with zipfile.ZipFile(tmp_path / "sounds.zip", "w") as archive:
        for path in sorted((tmp_path / "folder").iterdir()):
            archive.write(path, path.name)

    packed, plain = HALF.open(tmp_path / "sounds.zip"), HALF.open(tmp_path / "folder")

    assert packed.names == plain.names
    assert all(torch.equal(packed[i][0], plain[i][0]) for i in range(3))


@pytest.mark.errors
def test_a_folder_without_sounds_says_what_was_looked_for(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no sound in '.*': looked for .wav, .flac, .ogg"):
        HALF.open(tmp_path)


# ------------------------------------------------------------------------------------ one channel, one rate, one length


def test_channels_are_averaged(tmp_path):
    left, right = tone(300), tone(500)

    got = read(put(tmp_path / "a.wav", np.stack([left, right], axis=1)))

    np.testing.assert_allclose(got, (left + right) / 2, atol=1e-4)


@pytest.mark.parametrize("rate", [4000, 8000, 11_025, 44_100, 48_000])
def test_a_tone_is_the_same_tone_at_any_rate_of_the_file(rate, tmp_path):
    got = read(put(tmp_path / "a.wav", tone(440, seconds=1.0, rate=rate), rate))

    inner = slice(200, -200)
    moved = np.fft.rfft(got[inner] * np.hanning(3600), 65536)
    assert np.abs(moved).argmax() * 8000 / 65536 == pytest.approx(440, abs=0.2)
    assert np.sqrt(2 * np.mean(got[inner] ** 2)) == pytest.approx(0.5, rel=0.01)


def test_what_the_new_rate_cannot_hold_is_filtered_out_and_not_folded(tmp_path):
    got = read(put(tmp_path / "a.wav", tone(6000, rate=48_000), 48_000))

    assert np.abs(got[100:-100]).max() < 0.005  # its abrupt ends hold every frequency


def test_the_middle_of_a_long_sound_is_kept_and_a_short_one_lies_in_silence(tmp_path):
    wave = np.linspace(-1, 1, 8000, dtype=np.float32)

    long = read(put(tmp_path / "long" / "a.wav", wave), Sounds(8000, 0.25))
    short = read(put(tmp_path / "short" / "a.wav", wave[3000:5000]), Sounds(8000, 0.5))

    np.testing.assert_allclose(long, wave[3000:5000], atol=1e-4)
    np.testing.assert_allclose(short, np.pad(wave[3000:5000], 1000), atol=1e-4)


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg", ".mp3"])
def test_the_middle_of_a_long_file_is_what_decoding_all_of_it_gives(suffix, tmp_path):
    """MP3 frames lean on earlier ones: a bare jump into the middle gives some thousand wrong samples."""
    sweep = 0.5 * chirp(np.arange(80_000) / 8000, 100, 10, 3000).astype(np.float32)
    path = put(tmp_path / f"a{suffix}", sweep)
    whole = soundfile.read(path, dtype="float32")[0]
    start = (len(whole) - 4000) // 2

    np.testing.assert_allclose(read(path), whole[start : start + 4000], atol=1e-5)


def test_no_more_than_the_middle_of_a_long_file_is_read(tmp_path, monkeypatch):
    path = put(tmp_path / "a.wav", np.tile(tone(), 200))
    data, read_so_far = HALF.open(tmp_path), []

    class Counting:
        def __init__(self, file):
            self.file = file

        def read(self, size=-1):
            content = self.file.read(size)
            read_so_far.append(len(content))
            return content

        def __getattr__(self, name):
            return getattr(self.file, name)

    with open(path, "rb") as file:
        HALF.decode(Counting(file), "a.wav")

    assert sum(read_so_far) < path.stat().st_size / 20
    assert len(data) == 1


# ------------------------------------------------------------------------------------------------- chosen from the data


def test_rate_and_length_are_the_commonest_and_the_median(tmp_path):
    for k, (rate, seconds) in enumerate([(16_000, 0.2), (16_000, 0.5), (16_000, 0.31), (8000, 3.0), (44_100, 0.1)]):
        put(tmp_path / f"{k}.wav", tone(rate=rate, seconds=seconds), rate)

    settled, told = Sounds().settle(tmp_path)

    assert settled == Sounds(rate=16_000, seconds=0.31)
    assert told == [
        "sample rate: 16000 Hz, that of 3 of the 5 files looked at (of 5)",
        "length: 0.31 s; these files have 0.10 to 3.00 s",
    ]
    assert settled.settle(tmp_path) == (settled, [])


def test_what_is_given_is_kept_and_only_the_rest_chosen(tmp_path):
    put(tmp_path / "a.wav", tone(seconds=0.25))

    settled, told = Sounds(rate=4000).settle(tmp_path)

    assert settled == Sounds(rate=4000, seconds=0.25)
    assert [line.split(":")[0] for line in told] == ["length"]
    assert Sounds().open(tmp_path).source == Sounds(rate=8000, seconds=0.25)


def test_very_long_sounds_are_not_taken_whole(tmp_path):
    put(tmp_path / "a.wav", tone(seconds=25, rate=1000), 1000)

    assert Sounds().settle(tmp_path)[0].seconds == LONGEST


def test_at_most_two_hundred_headers_are_read(tmp_path):
    for k in range(250):
        put(tmp_path / f"{k:03}.wav", tone(seconds=0.02))

    _, told = Sounds().settle(tmp_path)

    assert "200 files looked at (of 250)" in told[0]


def test_broken_headers_do_not_keep_the_others_from_being_read(tmp_path):
    put(tmp_path / "good.wav")
    (tmp_path / "bad.wav").write_bytes(b"RIFF")

    assert Sounds().settle(tmp_path)[0] == HALF


@pytest.mark.errors
def test_without_one_header_nothing_is_chosen(tmp_path):
    (tmp_path / "bad.wav").write_bytes(b"no sound")

    with pytest.raises(ValueError, match=r"not one of the 1 sounds looked at could be read: bad.wav \(not a sound"):
        Sounds().settle(tmp_path)


@pytest.mark.errors
def test_an_unsettled_source_says_so():
    with pytest.raises(ValueError, match="`rate` and `seconds` must be known by now"):
        _ = Sounds().item_shape


@pytest.mark.errors
@pytest.mark.parametrize("field", [{"rate": 0}, {"rate": 16}, {"seconds": 0.0}, {"seconds": -1.0}, {"silence": -1.0}])
def test_impossible_values_are_refused(field):
    with pytest.raises(ValueError, match="Sounds: `"):
        Sounds(**field)


# ------------------------------------------------------------------------------------------------------------ in memory


@pytest.mark.parametrize("shape", [(-1,), (1, -1), (1, 1, -1)])
def test_waveforms_in_memory_are_cut_or_filled_up_like_files(shape, tmp_path):
    for wave in (tone(seconds=1.0), tone(seconds=0.2)):
        item = HALF.as_item(wave.reshape(shape))
        assert torch.equal(item, HALF.as_item(torch.from_numpy(wave).reshape(shape)))
        expected = wave[2000:6000] if len(wave) > 4000 else np.pad(wave, 1200)
        np.testing.assert_array_equal(item.flatten().numpy(), expected)


@pytest.mark.errors
def test_what_is_no_waveform_is_refused():
    with pytest.raises(TypeError, match="must be a tensor or an array of samples; got str"):
        HALF.as_item("a.wav")
    with pytest.raises(ValueError, match=r"one channel; got shape \(4000, 2\)"):
        HALF.as_item(np.zeros((4000, 2), np.float32))
    with pytest.raises(ValueError, match="must be floating point"):
        HALF.as_item(np.zeros(4000, np.int16))
    with pytest.raises(ValueError, match=r"one channel; got shape \(0,\)"):
        HALF.as_item(np.zeros(0, np.float32))


# --------------------------------------------------------------------------------------------------------- broken files


def test_corrupt_empty_and_silent_files_come_back_as_unreadable_with_a_reason(tmp_path):
    whole = put(tmp_path / "whole.flac", np.tile(tone(), 10)).read_bytes()
    (tmp_path / "cut.flac").write_bytes(whole[: len(whole) // 3])
    (tmp_path / "text.wav").write_text("no sound")
    (tmp_path / "nothing.mp3").write_bytes(b"")
    put(tmp_path / "empty.wav", np.zeros(0, np.float32))
    put(tmp_path / "silent.wav", np.zeros(4000, np.float32))
    soundfile.write(tmp_path / "nan.wav", np.full(4000, np.nan, np.float32), 8000, subtype="FLOAT")

    data = HALF.open(tmp_path)
    reasons = dict(sample for sample in (data[i] for i in range(len(data))) if isinstance(sample, Unreadable))

    assert sorted(reasons) == ["cut.flac", "empty.wav", "nan.wav", "nothing.mp3", "silent.wav", "text.wav"]
    assert reasons["text.wav"] == reasons["nothing.mp3"] == "not a sound that can be read: Format not recognised"
    assert reasons["empty.wav"] == "it holds no samples"
    assert reasons["silent.wav"] == "silent: nothing in it is louder than 0.0001 of full scale"
    assert reasons["nan.wav"] == "it holds numbers that are not finite"
    assert all(str(tmp_path) not in reason and "\n" not in reason for reason in reasons.values())


def test_a_file_that_ends_before_its_header_says_is_refused(tmp_path):
    whole = put(tmp_path / "a.mp3", np.tile(tone(), 40)).read_bytes()
    (tmp_path / "a.mp3").write_bytes(whole[: len(whole) // 3])

    assert "cut short: " in refusal(tmp_path / "a.mp3")


def test_a_rate_beyond_all_reason_is_refused_before_a_filter_is_made_for_it(tmp_path):
    content = bytearray(put(tmp_path / "a.wav").read_bytes())
    content[24:28] = (2**31 - 1).to_bytes(4, "little")
    (tmp_path / "a.wav").write_bytes(bytes(content))

    assert "2147483647 samples a second" in refusal(tmp_path / "a.wav")


def test_decoding_writes_nothing_to_the_terminal(tmp_path, capfd):
    whole = put(tmp_path / "long.mp3", np.tile(tone(), 40)).read_bytes()
    (tmp_path / "cut.mp3").write_bytes(whole[: len(whole) // 2])
    data = Sounds(seconds=0.5).open(tmp_path)
    _ = [data[i] for i in range(2)]
    os.write(2, b"still there")

    assert capfd.readouterr() == ("", "still there")


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3"])
def test_no_damage_to_a_file_ever_raises(suffix, tmp_path):
    """Random bytes changed, or the end cut off: the sample is read or refused, and that is all."""
    path = put(tmp_path / f"a.{suffix}", tone(seconds=1.0))
    whole, chance = path.read_bytes(), random.Random(suffix)
    data = HALF.open(tmp_path)

    refused = 0
    for _ in range(100):
        content = bytearray(whole[: chance.randrange(1, len(whole))] if chance.random() < 0.3 else whole)
        for _ in range(chance.choice([1, 3, 10])):
            content[chance.randrange(min(len(content), chance.choice([60, 10**6])))] = chance.randrange(256)
        path.write_bytes(bytes(content))
        sample = data[0]
        refused += isinstance(sample, Unreadable)
        assert isinstance(sample, Unreadable) or (sample[0].shape == HALF.item_shape and sample[0].isfinite().all())
    assert refused > 10
