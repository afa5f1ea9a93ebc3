"""A real browser shows the page: pictures decode, tables have rows, and the picture of the page is not blank."""

from __future__ import annotations

import os
import runpy
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytestmark = pytest.mark.browser
BROWSER = runpy.run_path(str(Path(__file__).parents[1] / "browser.py"))


@pytest.fixture(autouse=True)
def _needs_browser():
    if BROWSER["find_browser"]() is None:
        message = "no Chromium found (chromium, chromium-browser, google-chrome)"
        if os.environ.get("UNSHUFFLE_NEED_BROWSER") == "1":
            pytest.fail(message)
        pytest.skip(message)


def test_the_browser_shows_every_picture_and_table(full_page):
    found = BROWSER["check_page"](full_page, min_images=8, min_tables=2)

    assert min(found["images"]) > 100
    assert found["tables"] == [3, 3]


def test_the_check_refuses_a_page_that_falls_short(full_page, tmp_path):
    page = shutil.copy(full_page, tmp_path / "page.html")
    with pytest.raises(AssertionError, match="9 pictures expected"):
        BROWSER["check_page"](page, min_images=9, min_tables=2)

    page.write_text(page.read_text(encoding="utf-8").replace("base64,iVBOR", "base64,AAAA", 1), encoding="utf-8")
    with pytest.raises(AssertionError, match="does not decode"):
        BROWSER["check_page"](page, min_images=8, min_tables=2)


def test_the_screen_is_not_blank_by_day_or_night(full_page, tmp_path):
    light, dark = (
        np.asarray(Image.open(BROWSER["screenshot"](full_page, tmp_path / f"{dark}.png", dark=dark)).convert("L"))
        for dark in (False, True)
    )

    assert light.std() > 5
    assert dark.std() > 5
    assert light.mean() > 180
    assert dark.mean() < 80
