"""A report as a document, report.docx, by python-docx: the same blocks as the page, without sound."""

import functools
import io
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from docx import Document
from docx.document import Document as Written
from docx.enum.section import WD_ORIENT
from docx.oxml import OxmlElement
from docx.oxml.ns import qn
from docx.shared import Cm, Emu, Inches, Pt
from docx.table import _Cell
from docx.text.paragraph import Paragraph

from emotion_tf.reporting import pictures
from emotion_tf.reporting.blocks import (
    Block,
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
from emotion_tf.reporting.boxes import draw

_WIDTH, _HALF, _MOST_HEIGHT = 6.7, 3.2, 8.6
"""Inches: of a page's text, of a picture beside another one, of a page."""

_MOST_ROWS_TOGETHER = 20
"""A table of fewer rows is not cut by the end of a page."""


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
    narrow: list[Picture] = []
    for block in section.blocks:
        if isinstance(block, Picture) and not block.is_wide:
            narrow.append(block)
            continue
        _side_by_side(document, narrow)
        narrow = []
        _block(block, document)
    _side_by_side(document, narrow)
    for inner in section.sections:
        _section(document, inner, level + 1)


def _side_by_side(document: Written, narrow: Sequence[Picture]) -> None:
    """Writes pictures that follow each other in pairs."""
    _in_pairs(document, [functools.partial(_fill_with_picture, picture=picture) for picture in narrow])


def _in_pairs(document: Written, fills: Sequence[Callable[[_Cell], None]]) -> None:
    """Fills cells that stand in pairs, without lines between them.

    No page ends within a row, and one may end behind each: in cells nothing is kept with what follows.
    """
    if not fills:
        return
    table = document.add_table(-(-len(fills) // 2), 2)
    for row in table.rows:
        row._tr.get_or_add_trPr().append(OxmlElement("w:cantSplit"))
    cells = (cell for row in table.rows for cell in row.cells)
    for fill, cell in zip(fills, cells, strict=False):
        fill(cell)


def _fill_with_picture(cell: _Cell, picture: Picture) -> None:
    _add_picture(cell.paragraphs[0], picture, _HALF)
    _caption(cell, picture.caption)


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
    """Writes each command as a paragraph that begins further left than the lines it goes on in."""
    for line in block.text.splitlines():
        paragraph = document.add_paragraph()
        paragraph.paragraph_format.left_indent, paragraph.paragraph_format.first_line_indent = Cm(0.8), Cm(-0.8)
        run = paragraph.add_run(line)
        run.font.name, run.font.size = "Courier New", Pt(8)


@_block.register
def _(block: Table, document: Written) -> None:
    _caption(document, block.caption, keeps_next=True)
    table = document.add_table(1 + len(block.rows), len(block.head), style="Light Grid Accent 1")
    keeps = len(block.rows) < _MOST_ROWS_TOGETHER
    for number, (row, cells) in enumerate(zip(table.rows, (block.head, *block.rows), strict=True)):
        _fill(row, cells, keeps_next=keeps and number < len(block.rows))
    _set_widths(table, [block.head, *block.rows])
    # The head stands again on each page that the table goes on to.
    table.rows[0]._tr.get_or_add_trPr().append(OxmlElement("w:tblHeader"))
    document.add_paragraph()


def _set_widths(table: Any, rows: Sequence[Sequence[str]]) -> None:
    """Shares the width of a page out by the longest word and the length of the texts of each column."""
    words = [
        max(len(word) for text in column for word in re.split(r"[\s-]+", text)) for column in zip(*rows, strict=True)
    ]
    lengths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    shares = [1.2 * min(word, 20) + min(length, 60) / 12 + 4 for word, length in zip(words, lengths, strict=True)]
    widths = [Inches(_WIDTH * share / sum(shares)) for share in shares]
    table.autofit = False
    # LibreOffice reads the widths of columns, Word those of cells.
    for column, width in zip(table.columns, widths, strict=True):
        column.width = width
    for row in table.rows:
        for cell, width in zip(row.cells, widths, strict=True):
            cell.width = width


def _fill(row: Any, texts: Sequence[str], *, keeps_next: bool) -> None:
    for cell, text in zip(row.cells, texts, strict=True):
        paragraph = cell.paragraphs[0]
        if keeps_next:
            paragraph.paragraph_format.keep_with_next = True
        paragraph.add_run(text).font.size = Pt(8 if len(texts) < 8 else 7)
    row._tr.get_or_add_trPr().append(OxmlElement("w:cantSplit"))


@_block.register
def _(block: Picture, document: Written) -> None:
    paragraph = document.add_paragraph()
    paragraph.paragraph_format.keep_with_next = True
    _add_picture(paragraph, block, _WIDTH)
    _caption(document, block.caption)


def _add_picture(paragraph: Paragraph, picture: Picture, width: float, height: float | None = None) -> None:
    """Adds a picture with its alternative text."""
    image = picture.figure if isinstance(picture.figure, bytes) else pictures.png(picture.figure)
    shape = paragraph.add_run().add_picture(io.BytesIO(image), Inches(width), Inches(height) if height else None)
    if shape.height > (most := Inches(_MOST_HEIGHT)):
        shape.width, shape.height = Emu(int(shape.width * most / shape.height)), most
    shape._inline.docPr.set("descr", picture.alt)


def _caption(place: Written | _Cell, text: str, *, keeps_next: bool = False) -> None:
    paragraph = place.add_paragraph()
    if keeps_next:
        paragraph.paragraph_format.keep_with_next = True
    run = paragraph.add_run(text)
    run.italic, run.font.size = True, Pt(9)


@_block.register
def _(block: Diagram, document: Written) -> None:
    _block(Picture(draw(block.columns, ""), block.alt, block.caption, is_wide=True), document)


@_block.register
def _(block: Epochs, document: Written) -> None:
    """Writes a few of the matrices as tables: a document has no slider."""
    for place in sorted({0, block.kept, len(block.titles) - 1}):
        title = f"Confusion matrix, {block.titles[place]}: rows are labels, columns what was predicted."
        _caption(document, title, keeps_next=True)
        _matrix(document, block.emotions, block.counts[place])
    document.add_paragraph()


def _matrix(document: Written, emotions: Sequence[str], counts: np.ndarray) -> None:
    """Writes counts [num_emotions, num_emotions], each cell darker by its share of the row."""
    table = document.add_table(1 + len(emotions), 1 + len(emotions))
    rows = [("", *emotions), *((name, *map(str, row)) for name, row in zip(emotions, counts.tolist(), strict=True))]
    for number, (row, cells) in enumerate(zip(table.rows, rows, strict=True)):
        _fill(row, cells, keeps_next=number < len(emotions))
        for cell in row.cells:
            cell.paragraphs[0].paragraph_format.space_after = Pt(2)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    for row, of_row in zip(table.rows[1:], shares, strict=True):
        for cell, share in zip(row.cells[1:], of_row, strict=True):
            shade = OxmlElement("w:shd")
            for name, value in (("val", "clear"), ("fill", _shade(float(share)))):
                shade.set(qn(f"w:{name}"), value)
            cell._tc.get_or_add_tcPr().append(shade)


def _shade(share: float) -> str:
    """Mixes white and a light blue, on which black text can be read."""
    mixed = (round(255 - share * (255 - full)) for full in (120, 170, 225))
    return "".join(f"{part:02X}" for part in mixed)


@_block.register
def _(block: Clips, document: Written) -> None:
    _in_pairs(document, [functools.partial(_fill_with_clip, clip=clip) for clip in block.clips])


def _fill_with_clip(cell: _Cell, clip: Clip) -> None:
    cell.paragraphs[0].add_run(clip.title).bold = True
    if clip.picture:
        _add_picture(cell.add_paragraph(), clip.picture, _HALF, _HALF / 2.4)
        cell.add_paragraph().add_run(clip.picture.caption).font.size = Pt(8)
    words = [] if clip.transcript is None else [f"“{clip.transcript}”" if clip.transcript.strip() else "no words"]
    cell.add_paragraph(" · ".join([*words, *clip.lines])).runs[0].font.size = Pt(9)
