"""Sweeps are found among result lines and drawn from them alone."""

from __future__ import annotations

import io
import warnings

import numpy as np
import pytest
from PIL import Image

from unshuffle.report import read_run
from unshuffle.report.figures import palette
from unshuffle.report.sweeps import _apart, draw_sweep, sweeps


def pixels(png: bytes) -> np.ndarray:
    """(H, W, 4) in [0, 1]."""
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGBA"), dtype=float) / 255


def painted(png: bytes, k: int) -> np.ndarray:
    """(H, W): where the k-th of two colours is in the picture, at full strength."""
    return np.abs(pixels(png)[..., :3] - np.array(palette(2)[k])).max(-1) < 0.02


@pytest.fixture
def lines(result):
    """Two layers, three numbers of labels, three repeats; the second layer is the better one."""
    return [
        result._replace(layer=layer, n=n, seed=seed, value=base + 0.1 * np.log10(n) + 0.02 * seed)
        for layer, base in (("raw", 0.1), ("pretrained", 0.5))
        for n in (10, 100, 1000)
        for seed in range(3)
    ]


def test_results_of_one_task_metric_data_and_split_are_one_sweep(lines):
    other = [line._replace(metric="mse") for line in lines]

    assert sweeps([*lines[::2], *other, *lines[1::2]]) == [[*lines[::2], *lines[1::2]], other]


def test_one_number_of_labels_is_no_sweep(lines, result):
    assert sweeps([line for line in lines if line.n == 10]) == []
    assert sweeps([]) == []


def test_better_layers_are_drawn_higher_and_more_labels_further_right(lines):
    png = draw_sweep(lines)

    # Upper left corner: legend aside, the line of the second layer lies above that of the first.
    raw, pretrained = (np.argwhere(painted(png, k)) for k in (0, 1))
    assert np.median(pretrained[:, 0]) < np.median(raw[:, 0])
    left, right = (raw[raw[:, 1] < np.quantile(raw[:, 1], q)] if q < 0.5 else raw[raw[:, 1] > np.quantile(raw[:, 1], q)]
                   for q in (0.1, 0.9))  # fmt: skip
    assert np.median(right[:, 0]) < np.median(left[:, 0])


def test_repeats_that_spread_make_a_band(lines):
    still = [line._replace(value=0.5 + 0.1 * np.log10(line.n)) for line in lines[9:]]
    wide = [line._replace(value=line.value + 0.1 * (line.seed - 1)) for line in still]

    def soft(png: bytes) -> float:
        return float(((pixels(png)[..., 3] > 0.05) & (pixels(png)[..., 3] < 0.25)).mean())

    assert soft(draw_sweep(wide)) > soft(draw_sweep(still)) + 0.05


def test_a_number_of_labels_measured_once_is_drawn_without_a_warning(lines):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert pixels(draw_sweep(lines[::3])).std() > 0.05


@pytest.mark.parametrize("name", ["_hidden", "$\\frac{$", "<b>", "a" * 200, ""])
def test_no_layers_name_can_break_a_sweep(lines, name):
    odd = [line._replace(layer=name) if line.layer == "raw" else line for line in lines]

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert draw_sweep(odd) != draw_sweep(lines)


def test_many_layers_are_drawn(result):
    many = [result._replace(layer=f"layer {k}", n=n, value=k / 12) for k in range(12) for n in (1, 10)]

    assert pixels(draw_sweep(many)).std() > 0.05


def test_close_numbers_of_labels_do_not_write_over_each_other():
    assert _apart([100, 1000, 1030]) == [100, 1000]
    assert _apart([100, 500, 1000, 5000]) == [100, 500, 1000, 5000]


def test_the_same_lines_give_the_same_bytes(lines):
    assert draw_sweep(lines) == draw_sweep(list(lines))


@pytest.mark.errors
@pytest.mark.parametrize("count", [0, -5])
def test_numbers_of_labels_that_have_no_logarithm_are_refused(lines, count):
    with pytest.raises(ValueError, match="each with a positive number of labels"):
        draw_sweep([*lines, lines[0]._replace(n=count)])
    with pytest.raises(ValueError, match="must hold results"):
        draw_sweep([])


def test_lines_of_a_folder_are_enough(lines, write_lines, tmp_path):
    write_lines(tmp_path, lines)

    (found,) = sweeps(read_run(tmp_path).results)

    assert draw_sweep(found) == draw_sweep(lines)
