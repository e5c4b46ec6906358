"""Figures of a report, and how they become SVG for pages and PNG for documents."""

import contextlib
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.image import imsave
from matplotlib.ticker import MaxNLocator

from emotion_tf.evaluation.counts import TITLES
from emotion_tf.reporting.plots import shortened

_INK = "#0a0b0c"
"""Stands for the colour of text, which differs between light and dark pages."""

_BAR, _LINE, _OTHER = "#6f9fcf", "#9a6324", "#808080"

MOST_MEMBERS = 40
"""Of a group that are drawn; of more the lowest and the highest."""


@contextlib.contextmanager
def theme() -> Iterator[None]:
    """Lets figures that are drawn in this context have a clear ground and the colour of the text around them."""
    inked = ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color", "legend.labelcolor")
    clear = {"figure.facecolor": "none", "axes.facecolor": "none", "legend.framealpha": 0.0, "font.size": 10}
    # Text stays text: it can be selected, found and read aloud.
    drawn = {"svg.fonttype": "none", "svg.hashsalt": "report"}
    with mpl.rc_context(clear | dict.fromkeys(inked, _INK) | drawn):
        yield


def svg(figure: Figure, number: int) -> str:
    """Writes a figure as an <svg> element to stand in a page.

    Args:
      figure: Drawn under `theme`.
      number: Of the figure in the page: it keeps the names within one apart from those of others.
    """
    _lay_out(figure)
    buffer = io.StringIO()
    metadata = {"Date": None, "Creator": None, "Format": None, "Type": None}
    # Figure.savefig would draw twice: once to find a layout, although it is found.
    FigureCanvasSVG(figure).print_svg(buffer, metadata=metadata)
    text = buffer.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    text = re.sub(r'(\bid="|"#|url\(#)', lambda found: f"{found[0]}f{number}-", text)
    return text.replace(_INK, "currentColor")


def png(figure: Figure) -> bytes:
    """Writes a figure as PNG on white ground; the figure keeps that ground."""
    _lay_out(figure)
    figure.set(dpi=110, facecolor="white")
    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_png(buffer, pil_kwargs={"compress_level": 4})
    return buffer.getvalue()


def _lay_out(figure: Figure) -> None:
    """Finds the layout once: to find it takes longer than to draw."""
    if engine := figure.get_layout_engine():
        engine.execute(figure)
        figure.set_layout_engine("none")


def side_by_side(scores: Mapping[str, Mapping[str, Any]], headline: str, split: str) -> Figure:
    """Draws the score of each run as a bar with its interval, chance and majority class as lines.

    Args:
      scores: Name of a run -> its scores of one split.
      headline: The score to draw.
      split: Its name.
    """
    figure = Figure(figsize=(6, 1.5 + 0.45 * len(scores)), layout="constrained")
    axes = figure.subplots()
    names = [shortened(name) for name in scores]
    for row, found in enumerate(scores.values()):
        axes.barh(row, found[headline], color=_BAR, edgecolor=_INK, linewidth=0.5)
        if interval := found[f"{headline}_interval"]:
            axes.plot(interval, [row, row], color=_INK, marker="|", markersize=9)
        for what, color, stroke in (("chance", _INK, ":"), ("majority", _LINE, "--")):
            name = {"chance": "chance", "majority": "majority class"}[what] if row == 0 else None
            axes.plot([found[what][headline]] * 2, [row - 0.5, row + 0.5], stroke, color=color, label=name)
    unit = next(iter(scores.values()))["unit"]
    axes.set_yticks(range(len(names)), names)
    axes.set(xlim=(0, 1), ylim=(len(names) - 0.4, -0.6))
    axes.set_xlabel(f"{TITLES[headline]}, {split} split (share; thin lines: 95 % over {unit}s)")
    figure.legend(loc="outside upper center", ncols=2)
    return figure


def curves(histories: Sequence[pd.DataFrame], headline: str, chance: float) -> Figure:
    """Draws loss and score over the epochs, one below the other, of one fit or of several.

    Args:
      histories: Rows of history.csv of each.
      headline: The score that chooses the epoch.
      chance: Its value for guessing.
    """
    figure = Figure(figsize=(5.4, 5.6), layout="constrained")
    losses, scores = figure.subplots(2, 1, sharex=True)
    alpha = 1.0 if len(histories) == 1 else 0.5
    for number, history in enumerate(histories):
        epochs, values = history["epoch"] + 1, history[f"val_{headline}"]
        labels = ("training", "validation", "kept") if number == 0 else (None, None, None)
        losses.plot(epochs, history["loss"], ".--", color=_OTHER, alpha=alpha, label=labels[0])
        losses.plot(epochs, history["val_loss"], ".-", color=_BAR, alpha=alpha, label=labels[1])
        scores.plot(epochs, values, ".-", color=_BAR, alpha=alpha, label=labels[1])
        scores.plot(epochs[values.idxmax()], values.max(), "D", color=_LINE, label=labels[2])
    scores.axhline(chance, linestyle=":", color=_INK, label="chance")
    losses.set(ylabel="loss (cross-entropy, nats)")
    # Around a single epoch the axis would have ticks between whole numbers.
    most = max(int(history["epoch"].max()) for history in histories) + 1
    scores.set(xlabel="epoch", ylabel=TITLES[headline], ylim=(0, 1), xlim=(0.5, most + 0.5))
    scores.xaxis.set_major_locator(MaxNLocator(integer=True))
    for axes in (losses, scores):
        axes.legend(fontsize="small")
    return figure


def groups(by: Mapping[str, Mapping[str, Mapping[str, float]]], name: str, whole: float, chance: float) -> Figure:
    """Draws a bar for each member of each group, speakers, sexes, intensities, statements, with intervals if any.

    Args:
      by: Group -> member -> scores, as in scores.json.
      name: Of the score to draw.
      whole: The score of all together.
      chance: Its value for guessing.
    """
    drawn = {group: chosen_members(members, name) for group, members in by.items()}
    sizes = [len(members) + 1.2 for members in drawn.values()]
    figure = Figure(figsize=(5.4, 1.2 + 0.26 * sum(sizes)), layout="constrained")
    grid = figure.subplots(len(drawn), 1, sharex=True, squeeze=False, height_ratios=sizes)[:, 0]
    for axes, (group, members) in zip(grid, drawn.items(), strict=True):
        rows = range(len(members))
        axes.barh(rows, [of[name] for of in members.values()], color=_BAR, edgecolor=_INK, linewidth=0.5)
        for row, of in enumerate(members.values()):
            if interval := of.get(f"{name}_interval"):
                axes.plot(interval, [row, row], color=_INK, marker="|", markersize=7, linewidth=1)
        axes.axvline(whole, linestyle="--", color=_LINE, label="all")
        axes.axvline(chance, linestyle=":", color=_INK, label="chance")
        axes.set_yticks(rows, [f"{shortened(one)} ({of['num_utterances']})" for one, of in members.items()])
        axes.set(xlim=(0, 1), ylim=(len(members) - 0.3, -0.7), ylabel=group)
        axes.tick_params(labelsize="small")
    grid[-1].set_xlabel(f"{TITLES[name]} (share); in brackets the number of clips")
    figure.legend(*grid[0].get_legend_handles_labels(), loc="outside upper center", ncols=2)
    return figure


def chosen_members(members: Mapping[str, Mapping[str, Any]], name: str) -> dict[str, Mapping[str, Any]]:
    """Leaves out the middle of a large group: what is drawn of it."""
    if len(members) <= MOST_MEMBERS:
        return dict(members)
    ranked = sorted(members, key=lambda one: (members[one][name], one))
    chosen = [*ranked[: MOST_MEMBERS // 2], *ranked[-MOST_MEMBERS // 2 :]]
    return {one: members[one] for one in chosen}


def spectrogram(log_mel: np.ndarray) -> bytes:
    """Colours one stored log-mel [num_frames, mel_bins] as PNG, a point each value, low bands below.

    There may be a hundred in a report: what the axes are stands in the text below.
    """
    buffer = io.BytesIO()
    imsave(buffer, log_mel.T, cmap="magma", origin="lower", format="png")
    return buffer.getvalue()
