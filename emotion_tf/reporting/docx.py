"""A report as a document, report.docx, by python-docx: the same blocks as the page, without sound."""

import functools
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from docx import Document
from docx.document import Document as Written
from docx.enum.section import WD_ORIENT
from docx.oxml import OxmlElement
from docx.oxml.ns import qn
from docx.shared import Cm, Inches, Pt

from emotion_tf.reporting import pictures
from emotion_tf.reporting.blocks import (
    Block,
    Clip,
    Clips,
    Code,
    Epochs,
    Items,
    Picture,
    Report,
    Section,
    Table,
    Text,
)

_WIDTH, _NARROW, _CLIP = 6.7, 4.6, 3.2
"""Inches: of a page's text, of a picture, of a spectrogram."""


def write(report: Report, path: Path) -> None:
    """Writes the whole document."""
    document = Document()
    _set_page(document)
    document.core_properties.title = report.title
    document.add_heading(report.title, 0)
    for mark, text in report.marks.items():
        paragraph = document.add_paragraph()
        paragraph.add_run(f"{mark}: ").bold = True
        paragraph.add_run(text)
    for section in report.sections:
        _section(document, section, 1)
    document.save(str(path))


def _set_page(document: Written) -> None:
    """Sets A4 with narrow margins and a font that is small enough for tables."""
    section = document.sections[0]
    section.orientation = WD_ORIENT.PORTRAIT
    section.page_width, section.page_height = Cm(21), Cm(29.7)
    for side in ("left_margin", "right_margin", "top_margin", "bottom_margin"):
        setattr(section, side, Cm(2))
    document.styles["Normal"].font.size = Pt(10)


def _section(document: Written, section: Section, level: int) -> None:
    document.add_heading(section.title, level)
    for block in section.blocks:
        _block(block, document)
    for inner in section.sections:
        _section(document, inner, level + 1)


@functools.singledispatch
def _block(block: Block, document: Written) -> None:
    """Writes a block at the end of a document."""
    raise TypeError(type(block))


@_block.register
def _(block: Text, document: Written) -> None:
    document.add_paragraph(block.text)


@_block.register
def _(block: Items, document: Written) -> None:
    for item in block.items:
        document.add_paragraph(item, style="List Bullet")


@_block.register
def _(block: Code, document: Written) -> None:
    for line in block.text.splitlines():
        run = document.add_paragraph().add_run(line)
        run.font.name, run.font.size = "Courier New", Pt(8)


@_block.register
def _(block: Table, document: Written) -> None:
    _caption(document, block.caption, keeps_next=True)
    table = document.add_table(1 + len(block.rows), len(block.head), style="Light Grid Accent 1")
    for row, cells in zip(table.rows, (block.head, *block.rows), strict=True):
        _fill(row, cells)
    # The head stands again on each page that the table goes on to.
    table.rows[0]._tr.get_or_add_trPr().append(OxmlElement("w:tblHeader"))
    document.add_paragraph()


def _fill(row: Any, texts: Sequence[str]) -> None:
    for cell, text in zip(row.cells, texts, strict=True):
        run = cell.paragraphs[0].add_run(text)
        run.font.size = Pt(8)
    cannot_split = OxmlElement("w:cantSplit")
    row._tr.get_or_add_trPr().append(cannot_split)


@_block.register
def _(block: Picture, document: Written) -> None:
    _add_picture(document, block, _WIDTH if block.is_wide else _NARROW)
    if block.caption:
        _caption(document, block.caption)


def _add_picture(document: Written, picture: Picture, width: float) -> None:
    """Adds a picture with its alternative text; it stays with the paragraph below."""
    image = picture.figure if isinstance(picture.figure, bytes) else pictures.png(picture.figure)
    paragraph = document.add_paragraph()
    paragraph.paragraph_format.keep_with_next = True
    shape = paragraph.add_run().add_picture(io.BytesIO(image), width=Inches(width))
    # A page is as high as the picture may be.
    if shape.height > Inches(8.6):
        shape.width, shape.height = int(shape.width * Inches(8.6) / shape.height), Inches(8.6)
    shape._inline.docPr.set("descr", picture.alt)


def _caption(document: Written, text: str, *, keeps_next: bool = False) -> None:
    paragraph = document.add_paragraph()
    paragraph.paragraph_format.keep_with_next = keeps_next
    run = paragraph.add_run(text)
    run.italic, run.font.size = True, Pt(9)


@_block.register
def _(block: Epochs, document: Written) -> None:
    """Draws a few of the matrices: a document has no slider."""
    for title, figure in pictures.confusions(block.emotions, block.titles, block.counts):
        alt = f"Confusion matrix, {title}: rows are labels, columns what was predicted."
        _block(Picture(figure, alt, alt), document)


@_block.register
def _(block: Clips, document: Written) -> None:
    for clip in block.clips:
        _clip(document, clip)


def _clip(document: Written, clip: Clip) -> None:
    paragraph = document.add_paragraph()
    paragraph.paragraph_format.keep_with_next = True
    paragraph.add_run(clip.title).bold = True
    if clip.picture:
        _add_picture(document, clip.picture, _CLIP)
    words = f"“{clip.transcript}”" if clip.transcript.strip() else "no words"
    document.add_paragraph(" · ".join([words, *clip.lines]))
