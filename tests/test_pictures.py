"""Tests of docs/pictures.py: the pictures of the docs show the models as they are."""

import re
import runpy
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """A folder of the pictures, drawn now."""
    folder = tmp_path_factory.mktemp("pictures")
    runpy.run_path(str(DOCS / "pictures.py"))["main"](folder)
    return folder


def words(path):
    return re.findall(r"<text[^>]*>([^<]*)</text>", path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", ["workflow", "audio", "text", "video", "early", "late"])
def test_a_picture_says_what_one_that_is_drawn_now_says(drawn, name):
    """Otherwise draw them again: python docs/pictures.py."""
    assert words(DOCS / "pictures" / f"{name}.svg") == words(drawn / f"{name}.svg") != []


def test_pictures_stay_small(drawn):
    assert {path.stat().st_size < 50_000 for path in drawn.iterdir()} == {True}
