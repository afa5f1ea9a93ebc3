"""What comes with the package is what the documentation says, and can be made again."""

import csv
import importlib.util
import io
import zipfile
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import torch

from unshuffle.data.samples import Packaged, digits, notes

CHECKOUT = Path(__file__).resolve().parents[2]
RENDERED = CHECKOUT.parent / "shared" / "data" / "gm_notes.zip"


# -------------------------------------------------------------------------------------------------------------- notes


def test_notes_are_2030_spectrograms_of_which_390_are_test():
    train, test = notes().train, notes().test

    assert train.items.shape == (1640, 1, 80, 30)
    assert test.items.shape == (390, 1, 80, 30)
    assert train.items.dtype == torch.uint8


def test_notes_have_pitches_families_and_instruments_in_both_parts():
    bundle = notes()

    for part, size in enumerate((1640, 390)):
        pitch, family, instrument = (bundle.targets[k][part] for k in ("pitch", "family", "instrument"))
        assert len(pitch) == len(family) == len(instrument) == size
        assert sorted(set(pitch.tolist())) == list(range(36, 84))
        assert sorted(set(family.tolist())) == list(range(16))
        assert len(set(instrument.tolist())) == (128, 124)[part]
        assert (instrument // 8 == family).all()  # General MIDI: eight programs a family


def test_the_16_families_are_named():
    names = notes().classes["family"]

    assert len(set(names)) == 16
    assert all(names)


def test_the_label_of_a_note_is_its_family():
    bundle = notes()

    for part, arrays in enumerate((bundle.train, bundle.test)):
        assert arrays.labels is not None
        assert (arrays.labels.numpy() == bundle.targets["family"][part]).all()


def test_no_note_is_in_both_parts():
    train, test = ({bytes(i) for i in arrays.items.numpy()} for arrays in (notes().train, notes().test))

    assert not train & test


def test_low_notes_are_loud_in_low_bands():
    """Low frequencies first, as the docstring says: the loudest band rises with the pitch."""
    bundle = notes()
    loudest = bundle.train.items.float().mean((1, 3)).argmax(-1).numpy()
    pitch = bundle.targets["pitch"][0]

    assert np.corrcoef(loudest, pitch)[0, 1] > 0.4
    assert loudest[pitch < 42].mean() < loudest[pitch > 77].mean()


def test_the_asset_is_small_and_its_licence_travels_with_it():
    assets = files("unshuffle.data").joinpath("assets")

    assert len(assets.joinpath("notes.npz").read_bytes()) < 4 * 2**20
    notice = assets.joinpath("NOTICE.txt").read_text()
    assert "MIT" in notice
    assert "Copyright (c) 2000-2002, 2008 Frank Wen" in notice


def test_the_script_makes_the_first_20_notes_again():
    pytest.importorskip("soundfile")
    if not RENDERED.is_file():
        pytest.skip("the rendered audio is not beside this checkout")
    spec = importlib.util.spec_from_file_location("make_notes", CHECKOUT / "scripts" / "make_notes.py")
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    with zipfile.ZipFile(RENDERED) as archive:
        rows = list(csv.DictReader(io.StringIO(archive.read("metadata.csv").decode())))[:20]
        waves = [script.soundfile.read(io.BytesIO(archive.read(r["file"])), dtype="float64")[0] for r in rows]
    filters = script.mel_filters()
    with files("unshuffle.data").joinpath("assets/notes.npz").open("rb") as file, np.load(file) as stored:
        spectrograms, pitch, test = stored["spectrograms"], stored["pitch"], stored["test"]

    for i, (row, wave) in enumerate(zip(rows, waves)):
        # Another build of the FFT or the Vorbis decoder may round a value the other way.
        difference = script.spectrogram(wave, filters).astype(int) - spectrograms[i]
        assert abs(difference).max() <= 1
        assert (difference != 0).mean() < 0.01
        assert (int(row["pitch"]), row["split"] == "test") == (pitch[i], test[i])


# ------------------------------------------------------------------------------------------------------------- digits


def test_digits_are_1797_pictures_of_8_by_8():
    bundle = digits()

    assert len(bundle.train) + len(bundle.test) == 1797
    assert bundle.train.items.shape[1:] == (1, 8, 8)
    assert bundle.train.items.dtype == torch.uint8
    assert bundle.train.items.max() == 255


def test_digits_are_split_with_the_same_share_of_each():
    bundle = digits()
    train, test = (np.bincount(t) for t in bundle.targets["digit"])

    assert len(train) == len(test) == 10
    assert abs(test / (train + test) - 0.2).max() < 0.01


def test_every_digit_is_in_one_part_only():
    from sklearn.datasets import load_digits

    def rows(pixels: np.ndarray) -> list[bytes]:
        return sorted(bytes(p) for p in pixels.reshape(len(pixels), -1))

    bundle = digits()
    both = np.concatenate([bundle.train.items.numpy(), bundle.test.items.numpy()])
    whole = np.round(load_digits(return_X_y=True)[0] / 16 * 255).astype(np.uint8)

    assert rows(both) == rows(whole)


def test_another_seed_is_another_split_and_the_same_seed_the_same():
    assert digits().test.items.equal(digits().test.items)
    assert not digits(seed=1).test.items.equal(digits().test.items)


# ------------------------------------------------------------------------------------------------------------- source


def test_a_packaged_source_opens_the_training_part_only():
    assert Packaged("notes").open().items.equal(notes().train.items)
    assert Packaged("digits").open().items.equal(digits().train.items)
