"""Boxes and arrows: columns of boxes from left to right, in one row or in several."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

_LINE, _GAP, _LETTER, _BOLD, _MARGIN = 0.19, 0.4, 0.076, 0.088, 0.1
"""Inches: height of a line, between boxes, width of a letter and of a bold one, around the text of a box."""

_BOX: dict[str, Any] = {
    "boxstyle": "round,pad=0,rounding_size=0.08",
    "facecolor": "aliceblue",
    "edgecolor": "steelblue",
}
_FRAME: dict[str, Any] = {"boxstyle": "round,pad=0,rounding_size=0.08", "facecolor": "none", "edgecolor": "silver"}
_ARROW: dict[str, Any] = {"arrowstyle": "-|>", "color": "dimgrey", "shrinkA": 2, "shrinkB": 1}


class Box(NamedTuple):
    """A box of a diagram.

    Attributes:
      title: What it is.
      lines: What there is to say of it.
      feeds: Which boxes of the next column an arrow leads to.
    """

    title: str
    lines: Sequence[str] = ()
    feeds: Sequence[int] = (0,)


Columns = Sequence[Sequence[Box]]


class _Place(NamedTuple):
    """Where a box is: inches from the left and from below."""

    left: float
    middle: float
    width: float
    height: float

    @property
    def right(self) -> float:
        return self.left + self.width


def draw(columns: Columns, title: str) -> Figure:
    """Draws columns of boxes from left to right, and arrows between neighbours.

    Args:
      columns: Such as inputs, branches, join and emotions.
      title: Above the picture.
    """
    width, height = _size(columns)
    figure, axes = _canvas(width, height + 0.3)
    axes.text(width / 2, height + 0.25, title, ha="center", va="top", fontsize="medium")
    _draw_columns(axes, columns, 0.0, 0.0)
    return figure


def draw_rows(rows: Sequence[tuple[str, Columns]]) -> Figure:
    """Draws rows of columns below each other, each in a frame with its name; the last box leads to the row below.

    Args:
      rows: Name -> columns, of one box at both ends.
    """
    sizes = [_size(columns) for _, columns in rows]
    width, spacing = max(size[0] for size in sizes), 0.55
    bottoms = [sum(height + spacing for _, height in sizes[number + 1 :]) for number in range(len(sizes))]
    figure, axes = _canvas(width + 0.2, bottoms[0] + sizes[0][1] + 0.3)
    ends: list[_Place] = []
    for (name, columns), bottom, (own, height) in zip(rows, bottoms, sizes, strict=True):
        places = _draw_columns(axes, columns, 0.1 + (width - own) / 2, bottom + 0.05)
        axes.add_patch(FancyBboxPatch((0.1, bottom + 0.05), width, height, **_FRAME))
        # On the right: the arrow from above comes down on the left.
        axes.text(width, bottom + height + 0.1, name, ha="right", va="bottom", fontsize=9, style="italic")
        if ends:
            _draw_elbow(axes, ends[-1], places[0][0], bottom + height + spacing / 2 + 0.05)
        ends.append(places[-1][0])
    return figure


def _canvas(width: float, height: float) -> tuple[Figure, Any]:
    """Makes a figure whose coordinates are inches."""
    figure = Figure(figsize=(width, height))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(0, height))
    axes.axis("off")
    return figure, axes


def _size(columns: Columns) -> tuple[float, float]:
    """Measures columns of boxes, gaps on all sides among them: width and height."""
    return sum(map(_width, columns)) + _GAP * (len(columns) + 1), max(map(_column_height, columns)) + _GAP / 2


def _width(column: Sequence[Box]) -> float:
    titles, lines = [len(box.title) for box in column], [len(line) for box in column for line in box.lines]
    return 2 * _MARGIN + max(_BOLD * max(titles), _LETTER * max(lines, default=0))


def _column_height(column: Sequence[Box]) -> float:
    return len(column) * (_GAP / 2 + max(_height(box) for box in column))


def _height(box: Box) -> float:
    return _LINE * (1 + len(box.lines)) + 2 * _MARGIN


def _places(columns: Columns, left: float, bottom: float) -> list[list[_Place]]:
    """Finds a place for each box; columns of equally many boxes have them at equal heights, whatever is in them."""
    height, places = _size(columns)[1], []
    for column in columns:
        left += _GAP
        width, count = _width(column), len(column)
        middles = [bottom + height * (1 - (row + 0.5) / count) for row in range(count)]
        places.append([_Place(left, middle, width, _height(box)) for box, middle in zip(column, middles, strict=True)])
        left += width
    return places


def _draw_columns(axes: Any, columns: Columns, left: float, bottom: float) -> list[list[_Place]]:
    """Draws boxes and the arrows between them; returns where the boxes are."""
    places = _places(columns, left, bottom)
    for column, own, following in zip(columns, places, [*places[1:], []], strict=True):
        for box, place in zip(column, own, strict=True):
            _draw_box(axes, box, place)
            for target in box.feeds if following else ():
                ends = (following[target].left, following[target].middle), (place.right, place.middle)
                axes.annotate("", *ends, arrowprops=_ARROW)
    return places


def _draw_box(axes: Any, box: Box, place: _Place) -> None:
    corner = (place.left, place.middle - place.height / 2)
    axes.add_patch(FancyBboxPatch(corner, place.width, place.height, **_BOX))
    for number, text in enumerate((box.title, *box.lines)):
        above = place.middle + place.height / 2 - _MARGIN - _LINE * (number + 0.5)
        weight = "normal" if number else "bold"
        middle = (place.left + place.width / 2, above)
        axes.text(*middle, text, ha="center", va="center", fontsize=9, weight=weight, color="black")


def _draw_elbow(axes: Any, start: _Place, end: _Place, height: float) -> None:
    """Draws an arrow from below a box to above another one, level between them at a height."""
    first, last = start.left + start.width / 2, end.left + end.width / 2
    bend = {"color": _ARROW["color"], "linewidth": 1, "solid_capstyle": "butt"}
    axes.plot((first, first, last), (start.middle - start.height / 2, height, height), **bend)
    axes.annotate("", (last, end.middle + end.height / 2), (last, height), arrowprops=_ARROW | {"shrinkA": 0})
