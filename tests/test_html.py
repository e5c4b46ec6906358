"""Tests of emotion_tf.reporting.html and docx: whatever stands in a block is text, in both."""

import io

import docx
import lxml.html
import numpy as np
import pytest
from matplotlib.figure import Figure

from emotion_tf.reporting import html, pictures
from emotion_tf.reporting.blocks import (
    Clip,
    Clips,
    Code,
    Diagram,
    Epochs,
    Items,
    Picture,
    Report,
    Section,
    Table,
    Text,
)
from emotion_tf.reporting.boxes import Box
from emotion_tf.reporting.docx import write

EVIL = "</script><script>alert('&\"')</script><img src=x onerror=alert(1)>"


def figure():
    figure = Figure(figsize=(2, 1))
    figure.text(0.1, 0.5, EVIL)
    return figure


def everything(text):
    """A report whose every text is this one."""
    clip = Clip(text, [text], text, Picture(pictures.spectrogram(np.zeros((20, 4))), text, text), b"fLaC")
    blocks = [
        Text(text),
        Items([text]),
        Code(text),
        Table(text, (text, text), [(text, text)]),
        Picture(figure(), text, text),
        Picture(figure(), text, text, is_wide=True),
        Diagram([[Box(text, [text])], [Box(text)]], text),
        Epochs([text, "sad"], [text, f"2 {text}"], np.array([[[1, 2], [3, 4]], [[3, 0], [5, 6]]]), 1),
        Clips([clip]),
    ]
    return Report(text, {text: text}, [Section(text, blocks, [Section(text, [])])])


@pytest.fixture(scope="module")
def report():
    with pictures.theme():
        return everything(EVIL)


@pytest.fixture(scope="module")
def page(report):
    with pictures.theme():
        return html.page(report)


def test_no_text_becomes_markup(page):
    tree = lxml.html.fromstring(page)
    assert [script.text_content()[:1] for script in tree.iter("script")] == ["{", "\n"]
    assert all(image.get("src").startswith("data:image/png") for image in tree.iter("img"))
    assert not tree.xpath("//@onerror")
    assert page.count("<script>alert") == 0


def test_every_text_can_be_read_on_the_page(page):
    tree = lxml.html.fromstring(page)
    for path in ("//h1", "//h2", "//h3", "//dt", "//dd", "//p", "//li", "//code", "//th", "//td", "//q", "//strong"):
        assert any(EVIL in found.text_content() for found in tree.xpath(path)), path
    assert EVIL in tree.xpath("//svg")[0].get("aria-label")


def test_a_document_holds_the_same_text(report, tmp_path):
    with pictures.theme():
        write(report, tmp_path / "report.docx")
    document = docx.Document(str(tmp_path / "report.docx"))
    cells = [cell.text for table in document.tables for row in table.rows for cell in row.cells]
    assert EVIL in cells
    assert any(EVIL in paragraph.text and "Courier New" in {run.font.name for run in paragraph.runs}
               for paragraph in document.paragraphs)  # fmt: skip
    assert {"3", "0", "5", "6"} <= set(cells)
    assert [shape.get("descr") for shape in document.element.xpath("//wp:inline/wp:docPr")].count(EVIL) == 3


def test_pictures_take_the_colour_of_the_text_around_them():
    with pictures.theme():
        drawn = Figure(figsize=(2, 1))
        drawn.subplots().set_xlabel("seconds")
        svg = pictures.svg(drawn, 3)
        png = pictures.png(drawn)
    assert "currentColor" in svg
    assert "#0a0b0c" not in svg
    assert ">seconds</text>" in svg
    assert 'id="f3-' in svg
    assert "<metadata>" not in svg
    from PIL import Image

    pixels = np.asarray(Image.open(io.BytesIO(png)).convert("L"))
    assert pixels[0, 0] == 255
    assert pixels.min() < 80


def test_the_same_report_is_the_same_page(report):
    with pictures.theme():
        assert html.page(report) == html.page(report)
