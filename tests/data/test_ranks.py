"""What samples are ordered by: folders, scores, dates, words in an order; and what is refused."""

from __future__ import annotations

import json
from datetime import date, datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pytest
import torch
from held import PLACES, hold

from unshuffle import values
from unshuffle.data import Images
from unshuffle.data.loaders import Unreadable
from unshuffle.data.named import Labelled, RankedFolders, RankTable
from unshuffle.data.ranks import rank_values, rank_words, read_orders

SCENES = {"order_weak_to_strong": {"open": [["Tall", "Forest"], "Street", ["Coast"]], "deep": ["Coast", "Street"]}}


class Bytes:
    """A source that takes a file's first byte for a sample: what is tested is not the decoders."""

    noun = "image"

    def __init__(self) -> None:
        self.made = Images(size=16)

    def open(self, root):
        from unshuffle.data.files import FileDataset, called, find
        from unshuffle.data.labels import labels_of

        files = find(root, (".png",), what="image")
        return FileDataset(
            files, lambda file, _: torch.tensor([file.read(1)[0]]), self, labels_of(files.names), name=called(root)
        )


def ranks(data) -> dict[str, float]:
    """By name, what each file is ordered by: as the table says, and as samples carry it."""
    told = {name: float(rank) for name, rank in zip(data.names, data.labels)}
    assert [float(data[i][1]) for i in range(len(data))] == list(told.values())
    return told


def folders(*names: str) -> dict[str, bytes]:
    return {f"{name}/{i}.png": b"x" for name in names for i in range(2)}


# -------------------------------------------------------------------------------------------------------------- folders


@pytest.mark.parametrize("place", PLACES)
def test_folders_are_weak_to_strong_by_name_and_numbers_in_them_by_size(place, tmp_path):
    data = RankedFolders().open(hold(place, tmp_path, folders("10-wild", "2-lively", "1-calm")), Bytes())

    told = {name.split("/")[-2]: rank for name, rank in ranks(data).items()}
    assert told == {"1-calm": 0, "2-lively": 1, "10-wild": 2}
    assert data.classes == ()


@pytest.mark.parametrize("place", ["beside", "within"])
def test_folders_follow_an_order_with_ties_from_a_file_beside_the_data_or_within(place, tmp_path):
    content = folders("Tall", "Street", "Forest", "Coast")
    text = json.dumps(SCENES)
    (tmp_path / "orders.json").write_text(text)
    root = hold("zip", tmp_path, content | ({"orders.json": text.encode()} if place == "within" else {}))
    orders = "orders.json" if place == "within" else str(tmp_path / "orders.json")

    told = ranks(RankedFolders(orders, "open").open(root, Bytes()))

    assert {name.split("/")[0]: rank for name, rank in told.items()} == {
        "Tall": 0,
        "Forest": 0,
        "Street": 1,
        "Coast": 2,
    }


@pytest.mark.errors
@pytest.mark.parametrize(
    ("layout", "words"),
    [
        (RankedFolders("orders.json"), "'orders.json' has several attributes: name one .--target.; it has open, deep"),
        (RankedFolders("orders.json", "far"), "has no attribute 'far'"),
        (RankedFolders("orders.json", "deep"), "'Forest' and 1 others are not in the order, which has Coast, Street"),
        (
            RankedFolders(None, "deep"),
            "an attribute to order by, 'deep', needs the orders of attributes: --class-orders",
        ),
        (RankedFolders("none.json", "deep"), "no orders 'none.json': give a JSON file"),
    ],
)
def test_orders_that_do_not_fit_the_folders_are_refused(layout, words, tmp_path):
    root = hold(
        "folder", tmp_path, folders("Tall", "Street", "Forest", "Coast") | {"orders.json": json.dumps(SCENES).encode()}
    )

    with pytest.raises((ValueError, FileNotFoundError), match=words):
        layout.open(root, Bytes())


@pytest.mark.errors
def test_photos_that_lie_flat_are_told_where_to_lie(tmp_path):
    with pytest.raises(
        ValueError, match="has no sub-folders to be ordered by: put the images into folders whose names"
    ):
        RankedFolders().open(hold("folder", tmp_path, {"a.png": b"x", "b.png": b"x"}), Bytes())


@pytest.mark.errors
@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "cannot be read as JSON"),
        ("[" * 100_000, "cannot be read as JSON"),
        ("[1]", "must map attributes to orders"),
        ("{}", "must map attributes to orders"),
        ('{"open": "Forest"}', "must map attributes to orders"),
        ('{"open": ["a", ["b", 3]]}', "an order is a list of words"),
        ('{"open": ["a", []]}', "an order is a list of words"),
        ('{"open": []}', "an order is a list of words"),
        ('{"open": ["a", ["b", "a"]]}', "'a' stands in the order twice"),
    ],
)
def test_files_that_are_no_orders_are_refused(text, words):
    with pytest.raises(ValueError, match=words):
        read_orders(text, "orders.json")


def test_the_only_attribute_needs_no_name(tmp_path):
    root = hold("folder", tmp_path, folders("b", "a") | {"o.json": b'{"size": ["b", "a"]}'})

    assert set(ranks(RankedFolders("o.json").open(root, Bytes())).values()) == {0, 1}


# --------------------------------------------------------------------------------------------------------------- tables


def table(folder: Path, *rows: str) -> str:
    (folder / "t.csv").write_text("\n".join(rows) + "\n")
    return str(folder / "t.csv")


def test_a_column_of_scores_orders_by_their_size(tmp_path):
    root = hold("tar", tmp_path, {f"{i}.png": b"x" for i in range(3)})

    data = RankTable(table(tmp_path, "name,score", "0,10", "1,9.5", "2,-1e3")).open(root, Bytes())

    assert ranks(data) == {"0.png": 10, "1.png": 9.5, "2.png": -1000}


def test_a_column_of_dates_orders_by_time_and_of_words_by_their_order(tmp_path):
    root = hold("folder", tmp_path, {f"{i}.png": b"x" for i in range(3)})
    rows = table(
        tmp_path,
        "file,taken,light",
        "0,2019:07:01 12:00:00,noon",
        "1,2019:07:01 06:30:00,dawn",
        "2,2018:01:01 00:00:00,dusk",
    )
    (tmp_path / "o.json").write_text('{"light": [["dawn", "dusk"], "noon"]}')

    taken = ranks(RankTable(rows, "taken").open(root, Bytes()))
    light = ranks(RankTable(rows, "light", str(tmp_path / "o.json")).open(root, Bytes()))

    assert taken["0.png"] - taken["1.png"] == 5.5 * 3600
    assert taken["2.png"] < taken["1.png"]
    assert light == {"0.png": 1, "1.png": 0, "2.png": 0}


def test_dates_of_parquet_are_dates(tmp_path):
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    pq.write_table(pa.table({"name": ["0", "1"], "when": [date(1970, 1, 3), date(1970, 1, 2)]}), tmp_path / "t.parquet")
    root = hold("folder", tmp_path, {f"{i}.png": b"x" for i in range(2)})

    assert ranks(RankTable(str(tmp_path / "t.parquet")).open(root, Bytes())) == {"0.png": 172_800, "1.png": 86_400}


DAY = datetime(2019, 7, 1, 12, 30, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    "written",
    [
        "2019-07-01T12:30", "2019-07-01 12:30:00", "2019-07-01T12:30:00Z", "2019-07-01T14:30:00+02:00",
        "2019:07:01 12:30:00", " 2019-07-01 12:30 ", DAY, DAY.replace(tzinfo=None),
        DAY.astimezone(timezone(timedelta(hours=-7))),
    ],
)  # fmt: skip
def test_a_date_is_understood_however_it_is_written(written):
    assert rank_values([written], "t").tolist() == [DAY.timestamp()]


@pytest.mark.errors
@pytest.mark.parametrize(
    ("column", "words"),
    [
        (["1", "big"], "'big' is neither a number nor a date. Words need an order"),
        (["1", "nan"], "'nan' is neither a number nor a date"),
        (["1", "inf"], "'inf' is neither"),
        (["1", "2019-07-01"], "some values are numbers and some are dates"),
        (["2019-13-01"], "'2019-13-01' is neither"),
        (["1", None], "None is neither"),
        ([[1]], "is neither"),
    ],
)
def test_values_without_an_order_are_refused(column, words):
    with pytest.raises(ValueError, match=words):
        rank_values(column, "t.csv")


@pytest.mark.errors
def test_a_word_that_the_order_lacks_is_named():
    with pytest.raises(ValueError, match=r"t: 'b' and 1 others are not in the order, which has a"):
        rank_words(["a", "c", "b"], (("a",),), "t")


# --------------------------------------------------------------------------------------------------------------- values


@pytest.mark.parametrize("layout", [RankedFolders("o.json", "open"), RankTable("t.csv", "taken")])
def test_a_layout_travels_as_json(layout):
    source = Labelled(Images(size=32), layout)

    assert values.from_json(values.to_json(source)) == source
    assert layout.tested() is None


def test_a_damaged_photo_is_unreadable_and_keeps_its_place(tmp_path):
    root = hold("folder", tmp_path, folders("1", "2"))

    data = Labelled(Images(size=16), RankedFolders()).open(root)

    assert isinstance(data[3], Unreadable)
    assert np.asarray(data.labels).tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize(("told", "found"), [("e\u0301", "\u00e9"), ("\u00e9", "e\u0301")])
def test_words_of_an_order_match_in_any_normal_form(told, found):
    order = read_orders(f'{{"size": ["a", "{told}"]}}', "t.json")["size"]

    assert rank_words([found, "a"], order, "t").tolist() == [1.0, 0.0]
    with pytest.raises(ValueError, match="twice"):
        read_orders(f'{{"size": ["{found}", "{told}"]}}', "t.json")
