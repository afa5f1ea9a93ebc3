"""Folders of real image files: every mode that decoders give, and every way in which a file can be broken."""

import io
import random
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from unshuffle.data import ImageFolder, Images
from unshuffle.data.image_files import SUFFIXES
from unshuffle.data.loaders import Unreadable

SMALL = Images(size=16)


def picture(seed: int = 0, size: tuple[int, int] = (24, 20)) -> Image.Image:
    """Random colours, (width, height)."""
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))


def put(path: Path, image: Image.Image | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    (picture() if image is None else image).save(path)
    return path


def read(path: Path, source: Images = SMALL) -> torch.Tensor:
    """The one image of a folder."""
    sample = ImageFolder(path.parent, source)[0]
    assert not isinstance(sample, Unreadable), sample
    return sample[0]


def refusal(path: Path, source: Images = SMALL) -> str:
    """Why the one image of a folder cannot be read."""
    sample = ImageFolder(path.parent, source)[0]
    assert isinstance(sample, Unreadable)
    assert sample.name == path.name
    assert str(path.parent) not in sample.reason
    return sample.reason


# ----------------------------------------------------------------------------------------------------- which, and names


def test_sub_folders_are_labels_in_the_order_of_their_names(tmp_path):
    for name in ("zebra/a.png", "ant/b.png", "ant/deeper/c.png", "cat/d.jpg"):
        put(tmp_path / name)

    data = ImageFolder(tmp_path, SMALL)

    assert data.names == ["ant/b.png", "ant/deeper/c.png", "cat/d.jpg", "zebra/a.png"]
    assert data.classes == ("ant", "cat", "zebra")
    assert [sample[1] for sample in (data[i] for i in range(len(data)))] == [0, 0, 1, 2]


@pytest.mark.parametrize("names", [["a.png", "b.png"], ["a.png", "sub/b.png"], ["only/a.png", "only/b.png"]])
def test_flat_mixed_and_single_folders_carry_no_labels(names, tmp_path):
    for name in names:
        put(tmp_path / name)

    data = ImageFolder(tmp_path, SMALL)

    assert data.classes == ()
    assert data.labels is None
    assert data[0][1] is None


def test_hidden_files_and_other_files_are_passed_over(tmp_path):
    for name in ("a.png", ".hidden.png", ".thumbnails/b.png", "sub/.cache/c.png"):
        put(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no picture")
    (tmp_path / "folder.png").mkdir()

    assert ImageFolder(tmp_path, SMALL).names == ["a.png"]


def test_a_hidden_folder_above_the_root_does_not_matter(tmp_path):
    put(tmp_path / ".cache" / "photos" / "a.png")

    assert ImageFolder(tmp_path / ".cache" / "photos", SMALL).names == ["a.png"]


def test_the_order_does_not_depend_on_when_files_were_written(tmp_path):
    names = [f"{i:02}.png" for i in range(20)]
    for folder, order in (("one", names), ("two", random.Random(0).sample(names, 20))):
        for name in order:
            put(tmp_path / folder / name)

    assert ImageFolder(tmp_path / "one").names == ImageFolder(tmp_path / "two").names == names


WRITTEN = [suffix for suffix in SUFFIXES if Image.registered_extensions().get(suffix) in Image.SAVE]


@pytest.mark.parametrize("suffix", [*WRITTEN, ".JPG"])
def test_every_suffix_that_pillow_can_write_is_read(suffix, tmp_path):
    path = put(tmp_path / f"a{suffix}", picture().convert({".pgm": "L", ".pbm": "1"}.get(suffix, "RGB")))

    assert read(path).shape == (3, 16, 16)
    assert read(path).dtype == torch.uint8


def test_its_name_is_the_folders(tmp_path):
    put(tmp_path / "photos" / "a.png")

    assert ImageFolder(tmp_path / "photos").name == "photos"


@pytest.mark.errors
def test_a_missing_folder_an_empty_one_and_a_file_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no folder '.*nowhere'"):
        ImageFolder(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"no image in '.*': looked for .jpg, .jpeg, .png"):
        ImageFolder(tmp_path)
    with pytest.raises(NotADirectoryError, match="is a file: give the folder that holds the images"):
        ImageFolder(put(tmp_path / "a.png"))


# ---------------------------------------------------------------------------------------------------- pixels and modes


@pytest.mark.parametrize("size", [(16, 16), (40, 20), (20, 40), (17, 300)])
def test_the_short_side_is_scaled_and_the_middle_kept(size):
    """Left half black, right half white (or top and bottom): the middle square keeps the edge in its middle."""
    across = size[0] >= size[1]
    pixels = np.zeros((size[1], size[0], 3), np.uint8)
    if across:
        pixels[:, size[0] // 2 :] = 255
    else:
        pixels[size[1] // 2 :] = 255

    item = SMALL.prepare(Image.fromarray(pixels)).float() / 255

    halves = item.mean((0, 1)) if across else item.mean((0, 2))
    assert halves[:6].max() < 0.05
    assert halves[-6:].min() > 0.95


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_pictures_are_turned_upright_as_their_exif_data_say(orientation, suffix, tmp_path):
    upright = Image.fromarray(np.kron(np.array([[[250, 0, 0], [0, 250, 0]], [[0, 0, 250], [250, 250, 250]]]),
                                      np.ones((16, 16, 1))).astype(np.uint8))  # fmt: skip
    undo = {2: "FLIP_LEFT_RIGHT", 3: "ROTATE_180", 4: "FLIP_TOP_BOTTOM", 5: "TRANSPOSE", 6: "ROTATE_90",
            7: "TRANSVERSE", 8: "ROTATE_270"}  # fmt: skip
    stored = upright.transpose(Image.Transpose[undo[orientation]]) if orientation > 1 else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(tmp_path / f"a.{suffix}", exif=exif)

    corners = read(tmp_path / f"a.{suffix}")[:, [2, 2, 13, 13], [2, 13, 2, 13]].T.float()

    expected = torch.tensor([[250.0, 0, 0], [0, 250, 0], [0, 0, 250], [250, 250, 250]])
    assert (corners - expected).abs().max() < 12


def ramp(height: int = 24) -> np.ndarray:
    """Grey from 0 at the left to 1 at the right."""
    return np.tile(np.linspace(0, 1, 24), (height, 1))


def eight_bit() -> np.ndarray:
    return np.round(ramp() * 255).astype(np.uint8)


def sixteen_bit() -> np.ndarray:
    return np.round(ramp() * 65535).astype(np.uint16)


MODES = {
    "grey": (lambda: Image.fromarray(eight_bit()), "png"),
    "RGB": (lambda: Image.fromarray(eight_bit()).convert("RGB"), "png"),
    "RGBA": (lambda: Image.fromarray(eight_bit()).convert("RGBA"), "png"),
    "grey with alpha": (lambda: Image.fromarray(eight_bit()).convert("LA"), "png"),
    "palette": (lambda: Image.fromarray(eight_bit()).convert("P"), "gif"),
    "CMYK": (lambda: Image.fromarray(eight_bit()).convert("RGB").convert("CMYK"), "jpg"),
    "16 bits, PNG": (lambda: Image.fromarray(sixteen_bit()), "png"),
    "16 bits, TIFF": (lambda: Image.fromarray(sixteen_bit()), "tif"),
    "16 bits, PGM": (lambda: Image.fromarray(sixteen_bit().astype(np.int32)), "pgm"),
}


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_shows_the_same_picture(mode, tmp_path):
    make, suffix = MODES[mode]
    path = put(tmp_path / f"a.{suffix}", make())

    item = read(path, Images(size=24)).float()

    assert (item - torch.from_numpy(eight_bit()).float()).abs().max() <= 8  # JPEG's and the palette's error


def test_a_palette_with_transparency_draws_no_warning(tmp_path):
    image = picture().convert("P")
    image.save(tmp_path / "a.png", transparency=bytes(range(256)))

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read(tmp_path / "a.png")


def test_black_and_white_is_read_as_0_and_255(tmp_path):
    bits = Image.fromarray(np.eye(16, dtype=np.uint8) * 255).convert("1")

    assert sorted(read(put(tmp_path / "a.png", bits)).unique().tolist()) == [0, 255]


def test_the_first_picture_of_an_animation_is_taken(tmp_path):
    frames = [Image.new("RGB", (20, 20), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])

    assert read(tmp_path / "a.gif")[:, 8, 8].tolist() == [255, 0, 0]


# --------------------------------------------------------------------------------------------------------- broken files


def test_corrupt_files_come_back_as_unreadable_with_name_and_reason(tmp_path):
    whole = put(tmp_path / "good.jpg").read_bytes()
    damaged = {
        "empty.jpg": b"",
        "text.png": b"this is no picture",
        "cut.jpg": whole[: len(whole) // 2],
        "head.jpg": whole[:20],
    }
    for name, content in damaged.items():
        (tmp_path / name).write_bytes(content)

    data = ImageFolder(tmp_path, SMALL)
    refused = [sample for sample in (data[i] for i in range(len(data))) if isinstance(sample, Unreadable)]

    reasons = dict(refused)
    assert set(reasons) == set(damaged)
    for reason in reasons.values():
        assert reason
        assert "\n" not in reason
        assert str(tmp_path) not in reason
    assert reasons["empty.jpg"] == reasons["text.png"] == "not an image that can be identified"
    assert "truncated" in reasons["cut.jpg"].lower()


def test_a_file_that_vanished_is_unreadable_not_fatal(tmp_path):
    path = put(tmp_path / "a.png")
    data = ImageFolder(tmp_path, SMALL)
    path.unlink()

    sample = data[0]

    assert isinstance(sample, Unreadable)
    assert sample.reason == "No such file or directory"


def test_pictures_smaller_than_asked_are_refused_with_their_size(tmp_path):
    assert refusal(put(tmp_path / "a.png", picture(size=(40, 9)))) == "40 x 9 pixels; at least 16 x 16 needed"


def test_floating_point_pictures_are_refused_rather_than_shown_black(tmp_path):
    path = put(tmp_path / "a.tif", Image.fromarray(ramp().astype(np.float32)))

    assert "its pixels are floats" in refusal(path)


@pytest.mark.parametrize("limit", [1000, 500])  # above the limit (Pillow warns), above twice the limit (Pillow raises)
def test_a_decompression_bomb_is_refused(limit, tmp_path, monkeypatch):
    path = put(tmp_path / "a.png", Image.new("L", (40, 40)))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)

    assert "decompression bomb" in refusal(path)


@pytest.mark.parametrize("suffix", ["jpg", "png", "gif", "bmp", "tif", "webp"])
def test_no_damage_to_a_file_ever_raises_or_warns(suffix, tmp_path):
    """Random bytes changed, or the end cut off: the sample is read or refused, and that is all."""
    buffer = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    kind = {"jpg": "JPEG", "tif": "TIFF"}.get(suffix, suffix)
    picture().save(buffer, kind, **({} if suffix in ("gif", "bmp") else {"exif": exif}))
    whole, chance = buffer.getvalue(), random.Random(suffix)
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(whole)
    data = ImageFolder(tmp_path, SMALL)

    refused = 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(150):
            content = bytearray(whole[: chance.randrange(1, len(whole))] if chance.random() < 0.3 else whole)
            for _ in range(chance.choice([1, 3, 10])):
                content[chance.randrange(min(len(content), chance.choice([60, 10**6])))] = chance.randrange(256)
            path.write_bytes(bytes(content))
            sample = data[0]
            refused += isinstance(sample, Unreadable)
            assert isinstance(sample, Unreadable) or sample[0].shape == (3, 16, 16)
    assert refused > 10
