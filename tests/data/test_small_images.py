"""MNIST and CIFAR-10 from tiny files in their real layouts; what is damaged says so, and no pickle is opened."""

from __future__ import annotations

import gzip
import io
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from unshuffle.data import Images, Sounds
from unshuffle.data.named import CIFAR10, MNIST, Labelled

RNG = np.random.default_rng(0)
DIGITS = {part: RNG.integers(0, 256, (count, 28, 28), dtype=np.uint8) for part, count in (("train", 5), ("test", 3))}
ANSWERS = {"train": np.array([3, 1, 4, 1, 5], np.uint8), "test": np.array([9, 2, 6], np.uint8)}
PHOTOS = RNG.integers(0, 256, (12, 3, 32, 32), dtype=np.uint8)
KINDS = np.arange(12, dtype=np.uint8) % 10
AS_THEY_ARE = Images(size=28, grey=True)


def idx(values: np.ndarray) -> bytes:
    return struct.pack(">HBB", 0, 8, values.ndim) + struct.pack(f">{values.ndim}I", *values.shape) + values.tobytes()


def write_idx(folder: Path, *, packed: bool = True, dot: bool = False) -> Path:
    folder.mkdir(exist_ok=True)
    for part, stem in (("train", "train"), ("test", "t10k")):
        for kind, values, axes in (("images", DIGITS[part], 3), ("labels", ANSWERS[part], 1)):
            name = f"{stem}-{kind}{'.' if dot else '-'}idx{axes}-ubyte"
            content = idx(values)
            (folder / (name + ".gz" if packed else name)).write_bytes(gzip.compress(content) if packed else content)
    return folder


def write_batches(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    records = np.concatenate([KINDS[:, None], PHOTOS.reshape(12, -1)], 1)
    for k in range(5):
        (folder / f"data_batch_{k + 1}.bin").write_bytes(records[2 * k : 2 * k + 2].tobytes())
    (folder / "test_batch.bin").write_bytes(records[10:].tobytes())
    return folder


def write_jpegs(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    files = []
    for photo in PHOTOS:
        buffer = io.BytesIO()
        Image.fromarray(photo.transpose(1, 2, 0)).save(buffer, "jpeg")
        files.append(buffer.getvalue())
    for part, rows in (("train", slice(0, 10)), ("test", slice(10, 12))):
        data = np.frombuffer(b"".join(files[rows]), np.uint8)
        offset = np.concatenate([[0], np.cumsum([len(file) for file in files[rows]])])
        np.savez(folder / f"cifar10_jpeg_{part}.npz", data=data, offset=offset, label=KINDS[rows].astype(np.int64))
    return folder


@pytest.mark.parametrize(("packed", "dot"), [(True, False), (False, False), (False, True)])
@pytest.mark.parametrize("part", ["train", "test"])
def test_mnist_is_read_from_idx_files(packed, dot, part, tmp_path):
    data = Labelled(AS_THEY_ARE, MNIST(part)).open(write_idx(tmp_path / "mnist", packed=packed, dot=dot))

    assert data.items.numpy()[:, 0].tolist() == DIGITS[part].tolist()
    assert [data[k][1] for k in range(len(data))] == ANSWERS[part].tolist()
    assert data.classes == tuple("0123456789")


@pytest.mark.parametrize("name", ["mnist.npz", "digits.npz"])
def test_mnist_is_read_from_an_array_file(name, tmp_path):
    arrays = {f"{kind}_{part}": values[part] for part in DIGITS for kind, values in (("x", DIGITS), ("y", ANSWERS))}
    np.savez(tmp_path / name, **arrays)
    root = tmp_path if name == "mnist.npz" else tmp_path / name

    data = MNIST("test").open(root, AS_THEY_ARE)

    assert data.items.numpy()[:, 0].tolist() == DIGITS["test"].tolist()


@pytest.mark.parametrize(("write", "within"), [(write_batches, 0), (write_jpegs, 60)])
def test_cifar_is_read_from_batches_exactly_and_from_jpeg_nearly(write, within, tmp_path):
    write(tmp_path / "cifar")

    train, test = (CIFAR10(part).open(tmp_path, Images(size=32)) for part in ("train", "test"))

    pixels = torch.cat([train.items, test.items]).float()
    assert (pixels - torch.from_numpy(PHOTOS).float()).abs().mean() <= within
    assert [*train.labels, *test.labels] == KINDS.tolist()
    assert train.classes[int(train.labels[1])] == "automobile"


def test_images_of_the_size_asked_for_are_handed_out_as_they_are_and_others_are_scaled(tmp_path):
    write_batches(tmp_path / "cifar")

    exact, small, grey = (
        CIFAR10().open(tmp_path, source) for source in (Images(32), Images(16), Images(32, grey=True))
    )

    assert exact[0][0].equal(torch.from_numpy(PHOTOS[0]))
    picture = Image.fromarray(PHOTOS[0].transpose(1, 2, 0))
    assert small[0][0].equal(Images(16).prepare(picture))
    assert grey[0][0].shape == (1, 32, 32)
    assert grey[0][0][0].numpy().tolist() == np.asarray(picture.convert("L")).tolist()
    assert [source.source.item_shape for source in (exact, small, grey)] == [(3, 32, 32), (3, 16, 16), (1, 32, 32)]


def test_the_part_to_test_on_is_the_other(tmp_path):
    assert MNIST().tested() == MNIST("test")
    assert CIFAR10().tested() == CIFAR10("test")
    assert MNIST("test").tested() is None


@pytest.mark.errors
def test_damaged_files_say_what_they_should_be(tmp_path):
    broken = write_idx(tmp_path / "a", packed=False)
    (broken / "train-images-idx3-ubyte").write_bytes(idx(DIGITS["train"])[:-1])
    with pytest.raises(ValueError, match="no idx file of bytes, or cut short"):
        MNIST().open(broken, AS_THEY_ARE)
    cut = write_idx(tmp_path / "b")
    whole = (cut / "train-labels-idx1-ubyte.gz").read_bytes()
    (cut / "train-labels-idx1-ubyte.gz").write_bytes(whole[:-12])
    with pytest.raises(ValueError, match="no idx file of bytes, or cut short"):
        MNIST().open(cut, AS_THEY_ARE)
    batches = write_batches(tmp_path / "c")
    (batches / "data_batch_3.bin").write_bytes(b"\x0b" + bytes(3072))
    with pytest.raises(ValueError, match=r"data_batch_3\.bin holds no whole records of 3,073 bytes"):
        CIFAR10().open(batches, Images(32))
    with np.load(write_jpegs(tmp_path / "d") / "cifar10_jpeg_test.npz") as packed:
        arrays = dict(packed)
    np.savez(tmp_path / "d" / "cifar10_jpeg_test.npz", **arrays | {"data": arrays["data"][: len(arrays["data"]) // 2]})
    with pytest.raises(ValueError, match=r"image [01] of .* cannot be read"):
        CIFAR10("test").open(tmp_path / "d", Images(32))


@pytest.mark.errors
def test_pickles_are_never_opened(tmp_path):
    np.savez(tmp_path / "mnist.npz", x_train=np.array([{}], dtype=object), y_train=ANSWERS["train"])
    (tmp_path / "data_batch_1").write_bytes(b"\x80\x04.")

    with pytest.raises(ValueError, match="must hold plain arrays x_train, y_train"):
        MNIST().open(tmp_path, AS_THEY_ARE)
    with pytest.raises(FileNotFoundError, match="no CIFAR-10 file"):
        CIFAR10().open(tmp_path, Images(32))


@pytest.mark.errors
def test_errors_name_what_is_missing(tmp_path):
    write_idx(tmp_path)
    (tmp_path / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(FileNotFoundError, match=r"t10k-labels-idx1-ubyte\.gz is missing"):
        MNIST("test").open(tmp_path, AS_THEY_ARE)
    with pytest.raises(ValueError, match="MNIST holds images, and Sounds reads none"):
        MNIST().open(tmp_path, Sounds())
    with pytest.raises(FileNotFoundError, match="no folder"):
        MNIST().open(tmp_path / "nowhere", AS_THEY_ARE)
