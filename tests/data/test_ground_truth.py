"""The ground truth of revisited Oxford and Paris, and the pictures it names."""

import gzip
import io
import json
from pathlib import Path

import numpy as np
import pytest
from held import hold
from PIL import Image

from unshuffle.data import Images
from unshuffle.data.loaders import Unreadable
from unshuffle.data.retrieval import Pictures, read_ground_truth

REAL = Path(__file__).resolve().parents[3] / "shared" / "data" / "retrieval"
TOLD = {
    "imlist": ["abbey_1", "abbey_2", "tower_1"],
    "qimlist": ["abbey_7", "tower_7"],
    "gnd": [
        {"bbx": [2.4, 0, 10, 6.6], "easy": [0], "hard": [1], "junk": []},
        {"bbx": [0, 1, 4, 5], "easy": [], "hard": [2], "junk": [0, 1]},
    ],
}


def png(width: int, height: int, seed: int = 0) -> bytes:
    buffer = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(buffer, "png")
    return buffer.getvalue()


@pytest.mark.parametrize("packed", [False, True])
def test_queries_boxes_and_answers_are_read(packed, tmp_path):
    content = json.dumps(TOLD).encode()
    path = tmp_path / "gnd.json"
    path.write_bytes(gzip.compress(content, mtime=0) if packed else content)
    truth = read_ground_truth(path)
    assert (truth.images, truth.queries) == (("abbey_1", "abbey_2", "tower_1"), ("abbey_7", "tower_7"))
    assert truth.boxes == ((2.4, 0.0, 10.0, 6.6), (0.0, 1.0, 4.0, 5.0))
    assert [[part.tolist() for part in kind] for kind in (truth.easy, truth.hard, truth.junk)] == [
        [[0], []], [[1], [2]], [[], [0, 1]],
    ]  # fmt: skip


@pytest.mark.skipif(not REAL.is_dir(), reason="the data are not beside this checkout")
@pytest.mark.parametrize(("name", "count"), [("roxford5k", 4993), ("rparis6k", 6322)])
def test_the_real_ones_have_seventy_queries(name, count):
    truth = read_ground_truth(REAL / f"gnd_{name}.json.gz")
    assert (len(truth.images), len(truth.queries), len(truth.easy)) == (count, 70, 70)
    assert all(left < right and top < bottom for left, top, right, bottom in truth.boxes)


@pytest.mark.parametrize("place", ["folder", "zip"])
def test_pictures_are_found_by_name_wherever_they_lie(place, tmp_path):
    root = hold(place, tmp_path, {"a/tower_1.png": png(20, 20, 1), "b/c/abbey_1.png": png(20, 20, 2), "x.png": b""})
    source = Images(size=16)
    pictures = Pictures(root, ("abbey_1", "tower_1"), source)
    for item, seed in zip((pictures[0], pictures[1]), (2, 1)):
        assert (item == source.prepare(Image.open(io.BytesIO(png(20, 20, seed))))).all()


def test_the_part_of_a_query_that_is_meant_is_cut_out(tmp_path):
    root = hold("folder", tmp_path, {"q.png": png(40, 30)})
    whole = np.asarray(Image.open(root / "q.png"))
    (part,) = [Pictures(root, ("q",), Images(size=16), boxes=((3.4, 5.0, 23.0, 16.6),), longest=64)[0]]
    assert (part.permute(1, 2, 0).numpy() == whole[5:17, 3:23]).all()
    square = Pictures(root, ("q",), Images(size=16), boxes=((3.4, 5.0, 23.0, 25.0),))[0]
    assert square.shape == (3, 16, 16)


@pytest.mark.parametrize(("longest", "shape"), [(20, (3, 15, 20)), (100, (3, 30, 40))])
def test_whole_pictures_are_reduced_and_never_enlarged(longest, shape, tmp_path):
    root = hold("folder", tmp_path, {"q.png": png(40, 30)})
    assert Pictures(root, ("q",), Images(size=16), longest=longest)[0].shape == shape


def test_one_that_cannot_be_read_says_so(tmp_path):
    root = hold("folder", tmp_path, {"q.png": b"no picture"})
    assert isinstance(Pictures(root, ("q",), Images())[0], Unreadable)


@pytest.mark.errors
def test_pictures_that_are_missing_or_several_are_refused(tmp_path):
    root = hold("folder", tmp_path, {"a/q.png": png(9, 9), "b/q.png": png(9, 9)})
    with pytest.raises(FileNotFoundError, match=r"lacks 1 of 2 pictures .*'tower_1' first"):
        Pictures(root, ("q", "tower_1"), Images())
    with pytest.raises(ValueError, match=r"several pictures named 'q': a/q.png and b/q.png"):
        Pictures(root, ("q",), Images())
    with pytest.raises(ValueError, match="`longest` must be positive"):
        Pictures(root, ("q",), Images(), longest=0)


@pytest.mark.errors
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"{", "JSONDecodeError"),
        (gzip.compress(b"{}", mtime=0)[:12], "EOFError"),
        (b"[1]", "TypeError"),
        (json.dumps(TOLD | {"qimlist": ["abbey_7"]}).encode(), "1 queries and 2 answers"),
        (json.dumps(TOLD | {"gnd": [{"bbx": [1, 2]}, {}]}).encode(), "KeyError"),
        (json.dumps(TOLD | {"imlist": ["abbey_1"]}).encode(), "a number in hard is no picture's: there are 1"),
    ],
)
def test_a_file_of_something_else_is_refused(content, words, tmp_path):
    (tmp_path / "gnd.json").write_bytes(content)
    with pytest.raises(ValueError, match=f"no ground truth of revisited Oxford or Paris .*{words}"):
        read_ground_truth(tmp_path / "gnd.json")


@pytest.mark.errors
def test_a_pickle_is_never_loaded(tmp_path):
    with pytest.raises(ValueError, match="is a pickle, which is never loaded"):
        read_ground_truth(tmp_path / "gnd_roxford5k.pkl")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"imlist": ["abbey_1", "abbey_1", "tower_1"]}, "'abbey_1' stands in imlist twice"),
        ({"qimlist": ["abbey_7", "abbey_7"]}, "'abbey_7' stands in qimlist twice"),
        ({"easy": [0.7]}, r"easy must hold whole numbers; got \[0.7\]"),
        ({"hard": [True]}, "hard must hold whole numbers"),
        ({"junk": ["1"]}, "junk must hold whole numbers"),
        ({"bbx": [float("nan"), 0, 10, 6]}, "no finite number"),
        ({"bbx": [0, 0, float("inf"), 6]}, "no finite number"),
    ],
)
@pytest.mark.errors
def test_a_ground_truth_that_would_be_misread_is_refused(change, words, tmp_path):
    told = json.loads(json.dumps(TOLD))
    key = next(iter(change))
    (told if key in told else told["gnd"][0]).update(change)
    (tmp_path / "gnd.json").write_text(json.dumps(told))

    with pytest.raises(ValueError, match=words):
        read_ground_truth(tmp_path / "gnd.json")


@pytest.mark.parametrize(("told", "lies"), [("\u00e9", "e\u0301"), ("e\u0301", "\u00e9")])
def test_pictures_are_found_in_any_normal_form(told, lies, tmp_path):
    root = hold("folder", tmp_path, {f"{lies}.png": png(20, 20)})

    assert Pictures(root, (told,), Images(size=16))[0].shape == (3, 16, 16)
