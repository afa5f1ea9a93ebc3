"""Data sets by name, on tiny copies of their real layouts: who is in which part, and with which label."""

from __future__ import annotations

import io
import json
import tarfile
import wave
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from held import PLACES, hold
from PIL import Image

from moving import brightening, write_clip
from unshuffle import values
from unshuffle.data import Images
from unshuffle.data.audio import Sounds
from unshuffle.data.loaders import Unreadable, ordered_loader
from unshuffle.data.named import (
    ALL,
    VOC,
    ImageNet,
    Labelled,
    LabelTable,
    NSynth,
    SomethingSomething,
    SpokenDigits,
)
from unshuffle.data.series import Series
from unshuffle.data.video import Clips

TINY = Images(size=16)
SHORT = Sounds(rate=8000, seconds=0.01)
REAL = Path(__file__).resolve().parents[3] / "shared" / "data"


class Bytes:
    """A source that takes a file's first byte for a sample: what is tested is not the decoders."""

    noun = "clip"

    def settle(self, root):
        return self, []

    def decode(self, file, name: str) -> torch.Tensor:
        return torch.tensor([[ord(file.read(1))]])


def photo(seed: int = 0) -> bytes:
    buffer = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (20, 20, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(buffer, "jpeg")
    return buffer.getvalue()


def sound(seed: int = 0, rate: int = 8000) -> bytes:
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(np.random.default_rng(seed).integers(-9000, 9000, 400).astype("<i2").tobytes())
    return buffer.getvalue()


def voc(**marks: str) -> dict[str, bytes]:
    """Three images to train on, one for validation; ``dog="1 0 -1"`` are the marks of a class in training."""
    from unshuffle.data.named.voc import CLASSES

    content = {f"JPEGImages/2008_00000{i}.jpg": photo(i) for i in range(5)}
    content["SegmentationClass/2008_000001.png"] = b"no sample"
    for part, ids in (("train", "012"), ("val", "3")):
        content[f"ImageSets/Main/{part}.txt"] = "".join(f"2008_00000{i}\n" for i in ids).encode()
        for name in CLASSES:
            given = marks.get(name, "-1 -1 -1").split() if part == "train" else ["1" if name == "cat" else "-1"]
            lines = [f"2008_00000{i} {mark:>2}\n" for i, mark in zip(ids, given)]
            content[f"ImageSets/Main/{name}_{part}.txt"] = "".join(lines).encode()
    return content


def nsynth(part: str = "train", prefix: str | None = None) -> dict[str, bytes]:
    """Three notes of one part."""
    prefix = f"nsynth-{part}/" if prefix is None else prefix
    notes = {
        "guitar_acoustic_001-060-050": {"instrument_str": "guitar_acoustic_001", "instrument_family": 3, "pitch": 60},
        "bass_synth_033-022-050": {"instrument_str": "bass_synth_033", "instrument_family": 0, "pitch": 22},
        "bass_synth_033-108-050": {"instrument_str": "bass_synth_033", "instrument_family": 0, "pitch": 108},
    }
    content = {f"{prefix}audio/{key}.wav": sound(i, 16000) for i, key in enumerate(notes)}
    return {f"{prefix}examples.json": json.dumps(notes).encode(), **content}


def ssv2(newer: bool = False) -> dict[str, bytes]:
    """Two clips to train on, one for validation, three actions."""
    name = "labels/{}.json" if newer else "something-something-v2-{}.json"
    numbers = {"Holding something": "1", "Pushing something from left to right": "0", "Turning something": "2"}
    clips = {
        "train": [
            {"id": "78687", "label": "holding a cup", "template": "Holding [something]", "placeholders": ["a cup"]},
            {"id": "42326", "label": "pushing it", "template": "Pushing [something] from left to right"},
        ],
        "validation": [{"id": "7", "label": "turning a pen", "template": "Turning [something]"}],
    }
    content = {f"20bn-something-something-v2/{i}.webm": i.encode() for i in ("78687", "42326", "7")}
    lists = {"labels": numbers, **clips}
    return content | {name.format(part): json.dumps(told).encode() for part, told in lists.items()}


def within(folder: str, content: Mapping[str, bytes]) -> dict[str, bytes]:
    return {f"{folder}/{name}": data for name, data in content.items()}


def labelled(data) -> dict[str, object]:
    """Class by file name."""
    return {name: data.classes[label] for name, label in zip(data.names, data.labels)}


# ------------------------------------------------------------------------------------------------------------------ VOC


@pytest.mark.parametrize("place", [place for place in PLACES if place != "shards"])
def test_voc_marks_what_is_there_what_is_not_and_what_is_difficult(place, tmp_path):
    root = hold(place, tmp_path, within("VOCdevkit/VOC2012", voc(dog="1 0 -1", person="1 1 -1")))

    data = VOC().open(root, TINY)

    assert data.names == ["JPEGImages/2008_000000.jpg", "JPEGImages/2008_000001.jpg", "JPEGImages/2008_000002.jpg"]
    assert data.classes[11] == "dog"
    assert data.labels[:, 11].tolist() == [1, -1, 0]
    assert data.labels[:, 14].tolist() == [1, 1, 0]
    assert np.delete(data.labels, [11, 14], axis=1).max() == 0
    item, label = data[1]
    assert item.shape == (3, 16, 16)
    assert label.tolist() == data.labels[1].tolist()


def test_voc_is_trained_on_train_and_tested_on_val(tmp_path):
    root = hold("folder", tmp_path, voc())

    data = VOC().tested().open(root, TINY)

    assert data.names == ["JPEGImages/2008_000003.jpg"]
    assert [data.classes[i] for i in np.flatnonzero(data.labels[0])] == ["cat"]
    assert VOC("trainval").tested() is VOC("val").tested() is None


def test_of_several_years_of_voc_2012_is_read(tmp_path):
    years = within("VOC2007", voc(cow="1 1 1")) | within("VOC2012", voc(dog="1 1 1"))

    data = VOC().open(hold("folder", tmp_path, years), TINY)

    assert data.labels[:, 11].all()
    assert not data.labels[:, 9].any()


def test_labels_of_many_classes_are_stacked_by_the_loader(tmp_path):
    loaded = next(iter(ordered_loader(VOC().open(hold("zip", tmp_path, voc(dog="1 0 -1")), TINY), batch_size=3)))

    assert loaded.raw.label.shape == (3, 20)
    assert loaded.raw.label[:, 11].tolist() == [1, -1, 0]


@pytest.mark.errors
def test_voc_without_a_list_with_a_torn_one_and_twice_is_refused(tmp_path):
    content = voc()
    del content["ImageSets/Main/dog_train.txt"]
    with pytest.raises(
        FileNotFoundError, match=r"no VOC in '.*': ImageSets/Main/dog_train.txt is missing. Expected JP"
    ):
        VOC().open(hold("folder", tmp_path / "a", content), TINY)
    with pytest.raises(ValueError, match=r"dog_train.txt is damaged: no 1, -1 or 0 for image"):
        VOC().open(hold("folder", tmp_path / "b", voc(dog="1 yes 0")), TINY)
    with pytest.raises(ValueError, match=r"holds 'ImageSets/Main/train.txt' 2 times: give the folder of one"):
        VOC().open(hold("folder", tmp_path / "c", within("x", voc()) | within("y", voc())), TINY)


@pytest.mark.skipif(not (REAL / "coco_cc_voc.zip").is_file(), reason="the data are not beside this checkout")
def test_real_photographs_in_the_layout_of_voc_agree_with_their_annotations():
    """The oracle is the other half of the layout: one XML file an image, with every object."""
    import zipfile
    from xml.etree import ElementTree

    data = VOC("trainval").open(REAL / "coco_cc_voc.zip", TINY)

    with zipfile.ZipFile(REAL / "coco_cc_voc.zip") as archive:
        for name, label in zip(data.names, data.labels):
            xml = archive.read(name.replace("JPEGImages", "Annotations").replace(".jpg", ".xml"))
            seen = [(o.findtext("name"), o.findtext("difficult")) for o in ElementTree.fromstring(xml).iter("object")]
            plain, hard = ({kind for kind, difficult in seen if difficult == d} for d in "01")
            assert {data.classes[i] for i in np.flatnonzero(label == 1)} == plain
            assert {data.classes[i] for i in np.flatnonzero(label == -1)} == hard - plain
    assert len(data) == 33
    assert all(data[i][0].shape == (3, 16, 16) for i in range(33))


# --------------------------------------------------------------------------------------------------------------- NSynth


@pytest.mark.parametrize("place", [place for place in PLACES if place != "shards"])
def test_nsynth_gives_family_instrument_and_pitch(place, tmp_path):
    pytest.importorskip("soundfile")
    root = hold(place, tmp_path, nsynth("train") | nsynth("valid"))
    names = ["audio/bass_synth_033-022-050.wav", "audio/bass_synth_033-108-050.wav",
             "audio/guitar_acoustic_001-060-050.wav"]  # fmt: skip

    family, instrument, pitch = (
        NSynth(target=target).open(root, SHORT) for target in ("family", "instrument", "pitch")
    )

    assert family.names == names
    assert list(labelled(family).values()) == ["bass", "bass", "guitar"]
    assert list(labelled(instrument).values()) == ["bass_synth_033", "bass_synth_033", "guitar_acoustic_001"]
    assert (pitch.classes, pitch.labels) == ((), [22, 108, 60])
    assert pitch[2][0].shape == SHORT.item_shape
    assert pitch[2][1] == 60


@pytest.mark.parametrize("folder", ["nsynth-test", "test", "mine"])
def test_the_folder_of_one_part_of_nsynth_will_do(folder, tmp_path):
    pytest.importorskip("soundfile")
    root = hold("folder", tmp_path / folder, nsynth("test", ""))
    root = root.rename(root.parent / folder)

    assert len(NSynth("test").open(root, SHORT)) == 3


@pytest.mark.errors
def test_another_part_of_nsynth_is_not_taken_for_the_one_asked_for(tmp_path):
    root = hold("folder", tmp_path, nsynth("valid", "")).rename(tmp_path / "nsynth-valid")

    with pytest.raises(FileNotFoundError, match=r"no NSynth in .*: nsynth-train/examples.json is missing"):
        NSynth("train").open(root, SHORT)


def test_notes_that_are_listed_and_missing_or_torn_are_unreadable(tmp_path):
    pytest.importorskip("soundfile")
    content = nsynth()
    del content["nsynth-train/audio/bass_synth_033-022-050.wav"]
    content["nsynth-train/audio/bass_synth_033-108-050.wav"] = b"no sound"

    data = NSynth().open(hold("folder", tmp_path, content), SHORT)

    assert [isinstance(data[i], Unreadable) for i in range(3)] == [True, True, False]
    assert data[0] == Unreadable("audio/bass_synth_033-022-050.wav", "No such file or directory")


@pytest.mark.errors
def test_lists_that_cannot_be_read_are_refused(tmp_path):
    content = nsynth()
    content["nsynth-train/examples.json"] = b"{"
    with pytest.raises(ValueError, match=r"nsynth-train/examples.json of '.*' cannot be read as JSON"):
        NSynth().open(hold("folder", tmp_path / "a", content), SHORT)
    content["nsynth-train/examples.json"] = b'{"bass": {"pitch": 4}}'
    with pytest.raises(ValueError, match=r"examples.json is not that of NSynth: KeyError\('instrument_family'\)"):
        NSynth().open(hold("folder", tmp_path / "b", content), SHORT)
    with pytest.raises(FileNotFoundError, match="no NSynth file in"):
        NSynth().open(hold("folder", tmp_path / "c", {"a.txt": b"1"}), SHORT)
    only = {"nsynth-train/examples.json": nsynth()["nsynth-train/examples.json"]}
    with pytest.raises(FileNotFoundError, match=r"audio/bass.*, as all others, is missing"):
        NSynth().open(hold("folder", tmp_path / "d", only), SHORT)


def test_instruments_of_nsynth_have_no_part_to_be_tested_on():
    assert NSynth(target="instrument").tested() is None
    assert NSynth(target="pitch").tested() == NSynth("test", "pitch")


# --------------------------------------------------------------------------------------------------- spoken digits


@pytest.mark.parametrize("folder", ["recordings", "audio"])
def test_spoken_digits_of_index_0_to_4_are_the_test_part(folder, tmp_path):
    pytest.importorskip("soundfile")
    names = [f"{digit}_{who}_{index}.wav" for digit in (0, 7) for who in ("theo", "lucas") for index in (0, 4, 5, 12)]
    root = hold("folder", tmp_path, dict.fromkeys([f"{folder}/{name}" for name in names] + ["b/notes.wav"], sound()))

    train, test = SpokenDigits().open(root, SHORT), SpokenDigits(target="speaker").tested().open(root, SHORT)

    assert {name.rpartition("_")[2] for name in train.names} == {"5.wav", "12.wav"}
    assert {name.rpartition("_")[2] for name in test.names} == {"0.wav", "4.wav"}
    assert all(name.startswith(f"{folder}/{digit}") for name, digit in labelled(train).items())
    assert all(f"_{who}_" in name for name, who in labelled(test).items())
    assert train[0][0].shape == SHORT.item_shape


@pytest.mark.skipif(not (REAL / "fsdd.zip").is_file(), reason="the data are not beside this checkout")
def test_the_real_spoken_digits_have_the_parts_and_labels_of_their_table():
    pytest.importorskip("soundfile")
    import csv
    import zipfile

    with zipfile.ZipFile(REAL / "fsdd.zip") as archive, archive.open("metadata.csv") as file:
        rows = list(csv.DictReader(io.TextIOWrapper(file)))

    for part in ("train", "test"):
        data = SpokenDigits(part).open(REAL / "fsdd.zip", Sounds(rate=8000, seconds=0.5))
        assert labelled(data) == {row["file"]: row["digit"] for row in rows if row["split"] == part}
        assert data[len(data) - 1][0].shape == (1, 1, 4000)


# -------------------------------------------------------------------------------------------------------- other layouts


def test_imagenet_is_read_synset_by_synset_with_the_same_numbers_in_both_parts(tmp_path):
    names = ["train/n02/n02_1.JPEG", "train/n01/n01_7.JPEG", "val/n01/ILSVRC2012_val_1.JPEG"]
    names = [name.replace("n0", "n0000000") for name in names]
    root = hold("folder", tmp_path, within("ILSVRC", dict.fromkeys([*names, "val/loose.JPEG"], photo())))

    train, val = ImageNet().open(root, TINY), ImageNet().tested().open(root, TINY)

    assert labelled(train) == {f"ILSVRC/{name}": name.split("/")[1] for name in names[:2]}
    assert train.classes == val.classes == ("n00000001", "n00000002")
    assert labelled(val) == {f"ILSVRC/{names[2]}": "n00000001"}
    assert train[0][0].shape == (3, 16, 16)


@pytest.mark.parametrize("newer", [False, True])
def test_actions_of_something_something_are_templates_without_brackets(newer, tmp_path):
    root = hold("folder", tmp_path, ssv2(newer))

    train, validation = (layout.open(root, Bytes()) for layout in (SomethingSomething(), SomethingSomething().tested()))

    assert list(labelled(train).values()) == ["Holding something", "Pushing something from left to right"]
    assert train.labels == [1, 0]
    assert [item.item() for item, _ in (train[0], train[1])] == [ord("7"), ord("4")]
    assert labelled(validation) == {"20bn-something-something-v2/7.webm": "Turning something"}


def test_clips_of_something_something_are_decoded(tmp_path):
    clip = write_clip(tmp_path / "clips" / "78687.webm", brightening(8, height=48, width=64)).read_bytes()
    root = hold("zip", tmp_path, ssv2() | {"20bn-something-something-v2/78687.webm": clip})

    data = SomethingSomething().open(root, Clips(frames=4, size=32))

    item, label = data[0]
    assert (item.shape, label) == ((4, 3, 32, 32), 1)
    assert item.float().mean((1, 2, 3)).diff().min() > 4
    assert isinstance(data[1], Unreadable)


@pytest.mark.errors
def test_an_action_that_is_not_on_the_list_is_refused(tmp_path):
    content = ssv2()
    content["something-something-v2-labels.json"] = b'{"Holding something": "0"}'

    with pytest.raises(ValueError, match=r"do not fit each other: KeyError\('Pushing something from left to right'\)"):
        SomethingSomething().open(hold("folder", tmp_path, content), Bytes())


@pytest.mark.errors
@pytest.mark.parametrize(("name", "mark"), [("imagenet", "train/n"), ("fsdd", "recordings/")])
def test_a_folder_of_something_else_is_refused_with_the_layout_that_was_expected(name, mark, tmp_path):
    root = hold("folder", tmp_path, {"a.jpg": photo(), "b.wav": sound()})

    with pytest.raises(FileNotFoundError, match=rf"is missing\. Expected {mark}"):
        ALL[name]().open(root, TINY)


@pytest.mark.errors
@pytest.mark.parametrize("name", ALL)
def test_a_part_that_a_data_set_has_not_is_refused_with_those_it_has(name):
    with pytest.raises(ValueError, match=r"`split` must be one of 'train', .*; got 'half'"):
        ALL[name](split="half")


# ------------------------------------------------------------------------------------------------------------- a source


def test_a_labelled_source_reads_as_its_items_do_and_travels_as_json(tmp_path):
    source = Labelled(TINY, VOC("val"))

    data = source.open(hold("zip", tmp_path, voc()))

    assert values.from_json(values.to_json(source)) == source
    assert (data.source, source.item_shape, source.noun) == (TINY, (3, 16, 16), "image")
    assert source.settle(tmp_path) == (source, [])
    assert torch.equal(data[0][0], TINY.prepare(Image.open(io.BytesIO(photo(3)))))


def test_what_items_leave_open_is_chosen_from_the_data_sets_files(tmp_path):
    pytest.importorskip("soundfile")
    root = hold("folder", tmp_path, nsynth())

    settled, told = Labelled(Sounds(), NSynth()).settle(root)

    assert settled.items == replace(Sounds(), rate=16000, seconds=0.05)
    assert len(told) == 2
    assert Labelled(Sounds(), NSynth()).open(root).source == settled.items


def test_a_table_labels_the_files_of_any_source(tmp_path):
    table = tmp_path / "labels.csv"
    table.write_text("name,kind\n0,b\n1,a\n2,b\n")
    root = hold("tar", tmp_path, {f"{i}.jpg": photo(i) for i in range(3)})

    data = Labelled(TINY, LabelTable(str(table))).open(root)

    assert labelled(data) == {"0.jpg": "b", "1.jpg": "a", "2.jpg": "b"}
    assert data[1][1] == 0


@pytest.mark.parametrize("place", PLACES)
def test_a_table_labels_arrays_in_files_wherever_these_lie(place, tmp_path):
    content = {}
    for i in range(4):
        buffer = io.BytesIO()
        np.save(buffer, np.arange(12, dtype=np.float32) + i)
        content[f"{i}.npy"] = buffer.getvalue()
    table = tmp_path / "labels.csv"
    table.write_text("name,label\n" + "".join(f"{i},{'ab'[i % 2]}\n" for i in range(4)))

    data = Labelled(Series(), LabelTable(str(table))).open(hold(place, tmp_path, content))

    assert list(labelled(data).values()) == ["a", "b", "a", "b"]
    assert data[3][0].flatten().tolist() == list(range(3, 15))


@pytest.mark.errors
def test_a_table_for_samples_without_names_is_refused(tmp_path):
    np.save(tmp_path / "all.npy", np.zeros((4, 12)))

    with pytest.raises(ValueError, match=r"a table labels files by their names, and '.*all.npy' holds samples without"):
        Labelled(Series(), LabelTable("t.csv")).open(tmp_path / "all.npy")


@pytest.mark.errors
def test_a_data_set_of_another_kind_than_the_recipe_reads_is_refused():
    with pytest.raises(ValueError, match="VOC holds images, and Sounds reads sounds: use a recipe for images"):
        Labelled(Sounds(), VOC())


def test_a_tar_that_was_not_unpacked_is_read_as_it_is_distributed(tmp_path):
    """PASCAL VOC comes as an uncompressed tar of VOCdevkit."""
    root = hold("folder", tmp_path, within("VOCdevkit/VOC2012", voc(dog="1 1 0")))
    with tarfile.open(tmp_path / "VOCtrainval_11-May-2012.tar", "w") as archive:
        archive.add(root / "VOCdevkit", "VOCdevkit")

    data = VOC().open(tmp_path / "VOCtrainval_11-May-2012.tar", TINY)

    assert data.labels[:, 11].tolist() == [1, 1, -1]
    assert data[2][0].shape == (3, 16, 16)
