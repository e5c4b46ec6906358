"""A report as one page, report.html, that loads nothing: styles, script, pictures and sound are in it."""

import base64
import functools
import itertools
import json
from collections.abc import Iterator, Sequence
from html import escape

import numpy as np

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
from emotion_tf.reporting.boxes import Box, draw


def page(report: Report) -> str:
    """Writes the whole page."""
    numbers = itertools.count()
    sections = "".join(_section(section, 2, numbers) for section in report.sections)
    links = "".join(f'<li><a href="#{_anchor(one.title)}">{escape(one.title)}</a></li>' for one in report.sections)
    marks = "".join(f"<dt>{escape(mark)}</dt><dd>{escape(text)}</dd>" for mark, text in report.marks.items())
    warning = f'<section class="marks" aria-label="What to know first"><dl>{marks}</dl></section>' if marks else ""
    return (
        f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>{escape(report.title)}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{_STYLE}</style></head>'
        f"<body><header><h1>{escape(report.title)}</h1>{warning}</header>"
        f'<nav aria-label="Sections"><ul>{links}</ul></nav><main>{sections}</main>'
        f"<script>{_SCRIPT}</script></body></html>\n"
    )


def _anchor(title: str) -> str:
    return escape("".join(letter if letter.isalnum() else "-" for letter in title), quote=True)


def _section(section: Section, level: int, numbers: Iterator[int]) -> str:
    title = f'<h{level} id="{_anchor(section.title)}">{escape(section.title)}</h{level}>'
    if level > 2:  # Its title may stand in several sections.
        title = f"<h{level}>{escape(section.title)}</h{level}>"
    inner = "".join(_section(one, level + 1, numbers) for one in section.sections)
    return f"<section>{title}{''.join(_blocks(section.blocks, numbers))}{inner}</section>"


def _blocks(blocks: Sequence[Block], numbers: Iterator[int]) -> Iterator[str]:
    """Writes blocks; pictures that follow each other stand side by side where there is room."""
    for is_row, group in itertools.groupby(blocks, _stands_in_a_row):
        found = "".join(_block(block, numbers) for block in group)
        yield f'<div class="row">{found}</div>' if is_row else found


def _stands_in_a_row(block: Block) -> bool:
    return isinstance(block, Epochs) or (isinstance(block, Picture) and not block.is_wide)


@functools.singledispatch
def _block(block: Block, numbers: Iterator[int]) -> str:
    """Writes a block; numbers keep the names within its pictures apart from those of others."""
    raise TypeError(type(block))


@_block.register
def _(block: Text, numbers: Iterator[int]) -> str:
    return f"<p>{escape(block.text)}</p>"


@_block.register
def _(block: Items, numbers: Iterator[int]) -> str:
    return f"<ul>{''.join(f'<li>{escape(item)}</li>' for item in block.items)}</ul>"


@_block.register
def _(block: Code, numbers: Iterator[int]) -> str:
    """Writes commands, each of which begins further left than the lines it goes on in; no line ends within a flag."""
    lines = [" ".join(f"<span>{escape(word)}</span>" for word in line.split(" ")) for line in block.text.splitlines()]
    code = "".join(f"<code>{line}\n</code>" for line in lines)
    return f'<pre tabindex="0" role="region" aria-label="commands">{code}</pre>'


@_block.register
def _(block: Table, numbers: Iterator[int]) -> str:
    """Writes a table; on narrow screens the rows of a wide one become lists of named cells."""
    head = "".join(f'<th scope="col" role="columnheader">{escape(cell)}</th>' for cell in block.head)
    rows = "".join(f'<tr role="row">{_row(block.head, cells)}</tr>' for cells in block.rows)
    is_wide = len(block.head) > 6 or any(len(cell) > 40 for row in block.rows for cell in row)
    kind, name = "wide" if is_wide else "plain", f"table-{next(numbers)}"
    return (
        f'<p class="caption" id="{name}">{escape(block.caption)}</p>'
        f'<table class="{kind}" role="table" aria-labelledby="{name}"><thead role="rowgroup"><tr role="row">{head}</tr>'
        f'</thead><tbody role="rowgroup">{rows}</tbody></table>'
    )


def _row(head: Sequence[str], cells: Sequence[str]) -> str:
    first, *others = cells
    named = zip(head[1:], others, strict=True)
    return f'<th scope="row" role="rowheader">{escape(first)}</th>' + "".join(
        f'<td role="cell" data-head="{escape(name)}">{escape(cell)}</td>' for name, cell in named
    )


@_block.register
def _(block: Picture, numbers: Iterator[int]) -> str:
    caption = f"<figcaption>{escape(block.caption)}</figcaption>" if block.caption else ""
    return f"<figure>{_picture(block, numbers)}{caption}</figure>"


@_block.register
def _(block: Diagram, numbers: Iterator[int]) -> str:
    """Writes a diagram as a picture, and as a list where the screen is too narrow for it."""
    picture = _picture(Picture(draw(block.columns, ""), block.alt), numbers)
    boxes = "".join(f"<li>{''.join(map(_box, column))}</li>" for column in block.columns)
    caption = f"<figcaption>{escape(block.caption)}</figcaption>"
    return f'<figure class="diagram">{picture}<ol>{boxes}</ol>{caption}</figure>'


def _box(box: Box) -> str:
    lines = "".join(f"<br>{escape(line)}" for line in box.lines)
    return f"<div><strong>{escape(box.title)}</strong>{lines}</div>"


def _picture(block: Picture, numbers: Iterator[int]) -> str:
    alt = escape(block.alt)
    if isinstance(block.figure, bytes):
        return f'<img alt="{alt}" src="data:image/png;base64,{base64.b64encode(block.figure).decode()}">'
    return pictures.svg(block.figure, next(numbers)).replace("<svg", f'<svg role="img" aria-label="{alt}"', 1)


@_block.register
def _(block: Epochs, numbers: Iterator[int]) -> str:
    """Writes one matrix as a table, and a slider that fills it with the others."""
    number, chosen = next(numbers), block.kept if block.kept >= 0 else len(block.titles) - 1
    head = "".join(f'<th scope="col"><span>{escape(name)}</span></th>' for name in block.emotions)
    rows = zip(block.emotions, block.counts[chosen], strict=True)
    body = "".join(f'<tr><th scope="row">{escape(name)}</th>{_cells(counts)}</tr>' for name, counts in rows)
    title = f'<span class="epoch">{escape(block.titles[chosen])}</span>'
    caption = f"Confusion matrix, {title}: rows are labels, columns what was predicted."
    table = (
        f'<div class="scrolls" tabindex="0" role="region" aria-label="confusion matrix {number}">'
        '<table class="confusion">'
        f"<thead><tr><td></td>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )
    slider, data = "", ""
    if len(block.titles) > 1:
        slider = (
            f'<label class="slider">epoch <input type="range" min="0" max="{len(block.titles) - 1}" value="{chosen}"'
            f' aria-label="epoch of the confusion matrix"></label>'
        )
        values = json.dumps({"titles": block.titles, "counts": block.counts.tolist()}, separators=(",", ":"))
        # A script ends at the first "</", wherever that stands.
        data = f'<script type="application/json">{values.replace("<", chr(92) + "u003c")}</script>'
    return (
        f'<figure class="epochs" id="epochs-{number}">{table}{slider}{data}<figcaption>{caption}</figcaption></figure>'
    )


def _cells(counts: np.ndarray) -> str:
    """Writes the cells of a row, coloured by their share of it."""
    total = max(int(counts.sum()), 1)
    return "".join(f'<td style="--share:{count / total:.3f}">{count}</td>' for count in counts)


@_block.register
def _(block: Clips, numbers: Iterator[int]) -> str:
    return f'<ol class="clips">{"".join(_clip(clip, numbers) for clip in block.clips)}</ol>'


def _clip(clip: Clip, numbers: Iterator[int]) -> str:
    picture = f"{_picture(clip.picture, numbers)}<small>{escape(clip.picture.caption)}</small>" if clip.picture else ""
    said, words = clip.transcript, ""
    if said is not None:
        words = f"<p><q>{escape(said)}</q></p>" if said.strip() else "<p><em>no words</em></p>"
    lines = "".join(f"<li>{escape(line)}</li>" for line in clip.lines)
    player = ""
    if clip.sound:
        data = base64.b64encode(clip.sound).decode()
        label = escape(f"sound: {clip.title}")
        player = f'<audio controls preload="none" aria-label="{label}" src="data:audio/flac;base64,{data}"></audio>'
    return f"<li><strong>{escape(clip.title)}</strong>{picture}{player}{words}<ul>{lines}</ul></li>"


_STYLE = """
:root{color-scheme:light dark;--ground:#fff;--ink:#1b1d21;--soft:#f1f4f8;--line:#c9d0d9;--link:#0b5394;--cell:38 98 172;
--warn:#fff4d6;--warn-ink:#4a3500}
@media(prefers-color-scheme:dark){:root{--ground:#14161a;--ink:#e8eaee;--soft:#1f232a;--line:#414853;--link:#8fc1ff;
--cell:96 156 228;--warn:#3a2f10;--warn-ink:#ffe9b0}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:76rem;padding:1rem;background:var(--ground);color:var(--ink);
font:1rem/1.5 system-ui,sans-serif;overflow-wrap:anywhere}
h1{font-size:1.6rem;line-height:1.2}h2{margin-top:2.5rem;padding-top:.5rem;border-top:2px solid var(--line)}
a{color:var(--link)}nav ul{columns:16rem;padding-left:1.2rem}
.marks{background:var(--warn);color:var(--warn-ink);padding:.2rem 1rem;border-radius:.4rem}
dt{font-weight:700}dd{margin:0 0 .5rem}
.scrolls{overflow-x:auto;max-width:100%}.scrolls:focus-visible{outline:2px solid var(--link)}
table{border-collapse:collapse;margin:.3rem 0 1.5rem;overflow-wrap:normal}.caption{font-size:.9rem;margin:1rem 0 0}
th,td{padding:.25rem .6rem;border-bottom:1px solid var(--line);text-align:left;vertical-align:top}
td{font-variant-numeric:tabular-nums}thead th{background:var(--soft)}
.row{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,26rem),1fr));gap:1rem;align-items:start}
figure{margin:1rem 0;min-width:0}figcaption{font-size:.9rem}
svg,img{max-width:100%;height:auto}img{background:#fff}.diagram ol{display:none}
.confusion{margin:0;font-size:.8rem}
.confusion thead th{background:none;height:5.5rem;vertical-align:bottom;padding:.1rem}
.confusion thead span{writing-mode:vertical-rl;transform:rotate(180deg)}
.confusion tbody th{font-weight:400;padding:.1rem .3rem;vertical-align:middle}
.confusion td{min-width:1.9rem;height:1.9rem;padding:.1rem;text-align:center;vertical-align:middle}
.confusion tbody td{border:1px solid var(--line);background:rgb(var(--cell)/calc(var(--share)*.55))}
.slider{display:block;margin:.5rem 0}.slider input{width:min(100%,20rem);vertical-align:middle}
.clips{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,17rem),1fr));gap:1rem;padding:0;list-style:none}
.clips>li{border:1px solid var(--line);border-radius:.4rem;padding:.6rem;min-width:0}.clips p{margin:.4rem 0}
.clips img{width:100%;aspect-ratio:2.4;object-fit:fill}.clips small{display:block;line-height:1.3}
.clips ul{margin:0;padding:0;list-style:none;font-size:.85rem}audio{width:100%;margin-top:.4rem}
pre{overflow-x:auto;background:var(--soft);padding:.8rem;border-radius:.4rem;white-space:pre-wrap}
pre code{display:block;padding-left:2rem;text-indent:-2rem}pre span{display:inline-block;max-width:100%;text-indent:0}
@media screen and (max-width:44rem){.plain{font-size:.8rem}.plain th,.plain td{padding:.2rem .25rem}
.wide,.wide tbody,.wide tr,.wide th,.wide td{display:block;padding:.1rem 0;border:0}.wide thead{display:none}
.wide tr{border-bottom:1px solid var(--line);padding:.5rem 0}.wide td::before{content:attr(data-head) ": "}
.diagram svg{display:none}.diagram ol{display:block;padding-left:1.5rem}
.diagram div{border:1px solid var(--line);border-radius:.4rem;padding:.3rem .6rem;margin:.3rem 0}}
@page{margin:1.5cm}
@media print{.row{grid-template-columns:1fr 1fr}
:root{color-scheme:light;--ground:#fff;--ink:#000;--soft:#f1f4f8;--line:#bbb;--link:#000;--cell:38 98 172;
--warn:#fff;--warn-ink:#000}body{max-width:none;padding:0;font-size:10pt}nav,audio,.slider{display:none}
.marks{border:2px solid #000}.scrolls{overflow:visible}table{font-size:8pt}
figure,.clips>li,tr{break-inside:avoid}h2,h3,.caption{break-after:avoid}
.confusion td{print-color-adjust:exact;-webkit-print-color-adjust:exact}}
"""

_SCRIPT = """
for (const figure of document.querySelectorAll(".epochs")) {
  const slider = figure.querySelector("input"), data = figure.querySelector("script");
  if (!slider) continue;
  const {titles, counts} = JSON.parse(data.textContent);
  const rows = figure.querySelectorAll("tbody tr"), title = figure.querySelector(".epoch");
  slider.addEventListener("input", () => {
    title.textContent = titles[slider.value];
    slider.setAttribute("aria-valuetext", titles[slider.value]);
    counts[slider.value].forEach((row, label) => {
      const total = Math.max(row.reduce((sum, count) => sum + count, 0), 1);
      row.forEach((count, predicted) => {
        const cell = rows[label].cells[predicted + 1];
        cell.textContent = count;
        cell.style.setProperty("--share", count / total);
      });
    });
  });
}
"""
