"""Results become tables; numpy is the oracle for means and deviations."""

from __future__ import annotations

from html.parser import HTMLParser

import numpy as np
import pytest

from unshuffle.report.tables import Table, tables, to_html, to_markdown


def test_cells_hold_mean_and_sample_deviation_as_numpy_gives_them(result):
    values = np.random.default_rng(0).random(15)

    (table,) = tables([result._replace(value=float(v), seed=i) for i, v in enumerate(values)])

    assert table.rows == [["raw", f"{values.mean():.3f} ± {values.std(ddof=1):.3f}"]]
    assert table.title == "probe: accuracy ↑ on digits (test), mean ± sd of 15 runs"


def test_layers_keep_their_order_and_sample_numbers_ascend(result):
    lines = [result._replace(layer=layer, n=n) for layer in ("raw", "pretrained", "best") for n in (1000, 5, 50)]

    (table,) = tables(lines)

    assert table.columns == ["layer", "n = 5", "n = 50", "n = 1,000"]
    assert [row[0] for row in table.rows] == ["raw", "pretrained", "best"]


def test_a_single_measurement_stands_alone_and_a_missing_one_is_a_dash(result):
    (table,) = tables([result._replace(n=0), result._replace(layer="b", n=3, value=0.25)])

    assert table.columns == ["layer", "n = 0", "n = 3"]
    assert table.rows == [["raw", "0.500", "–"], ["b", "–", "0.250"]]
    assert table.title.endswith(", 1 run")


def test_transfer_to_several_data_sets_is_one_table_with_average_and_wins(result):
    values = {("raw", "birds"): 0.5, ("raw", "cars"): 0.7, ("net", "birds"): 0.8, ("net", "cars"): 0.7}
    lines = [
        result._replace(task="transfer, knn probe", layer=layer, data=data, n=i, split=data, value=value)
        for i, ((layer, data), value) in enumerate(values.items())
    ]
    lines.append(result._replace(task="transfer, knn probe", layer="half", data="cars", value=0.1))

    (table,) = tables(lines)

    assert table.title == "transfer, knn probe: accuracy ↑ on 2 data sets"
    assert table.columns == ["layer", "birds", "cars", "average", "wins"]
    assert table.rows == [
        ["raw", "0.500", "0.700", "0.600", "1"],
        ["net", "0.800", "0.700", "0.750", "2"],
        ["half", "–", "0.100", "–", "0"],
    ]
    assert table.best == {(1, 1), (0, 2), (1, 2), (1, 3)}


def test_uneven_numbers_of_repeats_are_both_named(result):
    (table,) = tables([result, result._replace(seed=1), result._replace(layer="b")])

    assert table.title.endswith("of 1–2 runs")


@pytest.mark.parametrize(
    ("metric", "winner", "arrow"),
    [("accuracy", 1, "↑"), ("partial_ranks", 1, "↑"), ("mse", 0, "↓"), ("test_MAE", 0, "↓"), ("loss", 0, "↓")],
)
def test_the_best_cell_follows_the_metric(result, metric, winner, arrow):
    lines = [result._replace(metric=metric, layer=layer, value=value) for layer, value in (("a", 0.2), ("b", 0.9))]

    (table,) = tables(lines)

    assert table.best == {(winner, 1)}
    assert f"{metric} {arrow}" in table.title


def test_equal_cells_are_both_best_and_nan_never_is(result):
    lines = [
        result._replace(layer=layer, value=value) for layer, value in (("a", 0.5), ("b", float("nan")), ("c", 0.5))
    ]

    (table,) = tables(lines)

    assert table.best == {(0, 1), (2, 1)}
    assert table.rows[1] == ["b", "nan"]


def test_other_metrics_data_and_splits_are_never_averaged_together(result):
    lines = [result, result._replace(metric="mse"), result._replace(data="notes"), result._replace(split="train")]

    assert [table.rows for table in tables([*lines, *lines])] == [[["raw", "0.500 ± 0.000"]]] * 4


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.12345, "0.123"), (9.9994, "9.999"), (12.34, "12.3"), (1234.5678, "1,234.6"), (0.0, "0.000"), (3e-5, "3.0e-05")],
)
def test_numbers_are_written_for_reading(result, value, text):
    assert tables([result._replace(metric="mse", value=value)])[0].rows == [["raw", text]]


def test_no_results_give_no_tables():
    assert tables([]) == []


class _Cells(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)

    def handle_data(self, data):
        self.text.append(data)


HOSTILE = Table("t|1: <script>alert(1)</script>", ["layer", "n = 1"], [["<b>|\n", "1.0"], ["x", "2.0"]], {(1, 1)})


def test_html_holds_every_cell_marks_the_best_and_escapes_the_rest():
    parser = _Cells()
    parser.feed(to_html(HOSTILE))

    assert parser.tags.count("tr") == 3
    assert parser.tags.count("strong") == 1
    assert "script" not in parser.tags
    assert "<script>alert(1)</script>" in "".join(parser.text)
    assert "<strong>2.0</strong>" in to_html(HOSTILE)


def test_markdown_is_a_pipe_table_that_no_cell_can_break():
    title, blank, *rows = to_markdown(HOSTILE).split("\n")

    assert title == "t\\|1: &lt;script&gt;alert(1)&lt;/script&gt;"
    assert blank == ""
    assert rows == ["| layer | n = 1 |", "| --- | ---: |", "| &lt;b&gt;\\| | 1.0 |", "| x | **2.0** |"]
