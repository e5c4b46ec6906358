"""The cross-corpus matrix: runs down, records across, the score that counts with its interval in each cell."""

import csv
import io
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from emotion_tf.evaluation.counts import TITLES, UAR
from emotion_tf.reporting.plots import save
from emotion_tf.reporting.wording import format_interval
from pipelines.files import replacing, write_json

Cells = Mapping[str, Mapping[str, Mapping[str, Any]]]
"""Run -> records -> what `cell` gives, and records_label_map, by which they were prepared; or the reason why there is
no score."""


def cell(scores: Mapping[str, Any], own: str | None = None) -> dict[str, Any]:
    """Takes what the matrix shows out of the scores of a run on some records.

    Args:
      scores: What scores.json holds, its test split read.
      own: The corpus whose part of the scores is taken, where the run was trained on other speakers of it; empty where
        that is its only one; None: the scores are of another corpus.

    Returns:
      score, interval (95 %, None under three units), chance, num_utterances, headline, marks, label_map (empty: names),
      dropped (utterances left out), is_own.
    """
    headline, test = scores.get("headline", UAR), scores["test"]
    chosen = test["by"]["corpus"].get(own) if own else test
    if chosen is None:
        return {"reason": f"no speaker of {own} is in the test split of the run"}
    return {
        "headline": headline,
        "score": chosen[headline],
        "interval": chosen[f"{headline}_interval"],
        "unit": test["unit"],
        "chance": test["chance"][headline],
        "num_utterances": chosen["num_utterances"],
        "label_map": scores.get("label_map", ""),
        "dropped": sum(scores.get("dropped", {}).values()),
        "marks": list(scores["marks"]),
        "is_own": own is not None,
    }


def table(cells: Cells) -> str:
    """Draws the matrix as text: a line a run, below it what each cell rests on."""
    names = list(next(iter(cells.values())))
    headlines = {one["headline"] for row in cells.values() for one in row.values() if "score" in one}
    title = " and ".join(TITLES[name] for name in sorted(headlines))
    rows = [("run", *names), *((run, *(_shown(row[name]) for name in names)) for run, row in cells.items())]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    notes = [_note(run, name, row[name]) for run, row in cells.items() for name in names]
    return "\n".join([f"{title}, 95 % interval; * the test split of the run's own records", *lines, "", *notes])


def _shown(found: Mapping[str, Any]) -> str:
    if "score" not in found:
        return "-"
    interval = found["interval"]
    between = f" ({interval[0]:.3f} to {interval[1]:.3f})" if interval else ""
    return f"{found['score']:.3f}{between}{'*' * found['is_own']}"


def _note(run: str, records: str, found: Mapping[str, Any]) -> str:
    if "score" not in found:
        return f"{run} on {records}: no score, {found['reason']}"
    by = f"labels by {_maps(found) or 'their names'}"
    dropped = f", {found['dropped']} left out" if found["dropped"] else ""
    marks = "".join(f" [{mark}]" for mark in found["marks"])
    interval = format_interval(found["interval"], found["unit"], scale=1, digits=3)
    facts = f"chance {found['chance']:.3f}, 95 % interval {interval}"
    return f"{run} on {records}: {found['num_utterances']} utterances{dropped}, {by}, {facts}{marks}"


def _maps(found: Mapping[str, Any]) -> str:
    """Names the label maps between a corpus and a run: that of prepare, and that of evaluate."""
    return ", then ".join(filter(None, (found.get("records_label_map"), found.get("label_map"))))


def picture(cells: Cells) -> Figure:
    """Draws the matrix with colours between 0 and 1; own test splits have a star, cells without a score are white."""
    runs, names = list(cells), list(next(iter(cells.values())))
    values = np.array([[cells[run][name].get("score", np.nan) for name in names] for run in runs])
    size = (2.6 + 1.7 * len(names), 1.9 + 0.8 * len(runs))
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(values, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    wrapped = [textwrap.fill(name, 18) for name in names]
    axes.set_xticks(range(len(names)), wrapped, fontsize="small")
    axes.set_yticks(range(len(runs)), [textwrap.fill(run, 22) for run in runs], fontsize="small")
    axes.set(xlabel="scored on", ylabel="trained as")
    for row, run in enumerate(runs):
        for column, name in enumerate(names):
            found = cells[run][name]
            text = _shown(found).replace(" (", "\n(")
            by = f"\n{_maps(found)}" if _maps(found) else ""
            dark = found.get("score", 0) > 0.72
            colour = "white" if dark else "black"
            axes.text(column, row, text + by, ha="center", va="center", fontsize="x-small", color=colour)
    headlines = {one["headline"] for row in cells.values() for one in row.values() if "score" in one}
    title = f"{' and '.join(TITLES[name] for name in sorted(headlines))} with 95 % interval; * own test split"
    figure.suptitle(textwrap.fill(title, 18 + 14 * len(names)), fontsize="medium")
    figure.colorbar(image, ax=axes)
    return figure


def write(cells: Cells, folder: Path) -> None:
    """Writes matrix.json, matrix.csv (a line a cell) and matrix.png to a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "matrix.json", cells)
    columns = ("run", "records", "headline", "score", "low", "high", "chance", "num_utterances", "label_map", "reason")
    out = io.StringIO()
    writer = csv.DictWriter(out, columns, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    for run, row in cells.items():
        for name, found in row.items():
            low, high = found.get("interval") or ("", "")
            writer.writerow({"run": run, "records": name, "low": low, "high": high, **found})
    with replacing(folder / "matrix.csv") as temporary:
        temporary.write_text(out.getvalue(), encoding="utf-8")
    save(picture(cells), folder / "matrix.png")
