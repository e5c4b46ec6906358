"""Scores as text: headlines, and tables whose columns line up. Each takes a part of scores.json."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from emotion_tf import metrics
from emotion_tf.predictions import GROUPS

FEW_SPEAKERS = 10


def headline(part: Mapping[str, Any], name: str, marks: Sequence[str] = ()) -> str:
    """Writes one line: UAR with its interval and chance, accuracy, on how many speakers it rests, and its marks."""
    majority, seeds = part["majority"], part["num_seeds"]
    notes = [*marks, *(["few speakers"] if 0 < _num_speakers(part) < FEW_SPEAKERS else [])]
    return (
        f"{name}: UAR {_ranged(part, 'unweighted_average_recall')}"
        f" (chance {part['chance']['unweighted_average_recall']:.3f}),"
        f" accuracy {_ranged(part, 'accuracy')} (majority class {majority['emotion']} {majority['accuracy']:.3f}),"
        f" {part['num_utterances']} clips {_of_speakers(part)}"
        + (f", mean of {seeds} seeds" if seeds > 1 else "")
        + "".join(f" [{note}]" for note in notes)
    )


def comparison(scores: Mapping[str, Mapping[str, Any]], split: str) -> str:
    """Draws a table with one line a run, chance beside each score; intervals are 95 % over speakers.

    Args:
      scores: Name of a run -> what its scores.json holds.
      split: The part to show.
    """
    has_seeds = any(run[split]["num_seeds"] > 1 for run in scores.values())
    head = ("UAR", "95 %", "chance", "accuracy", "majority", "macro-F1", "clips", "speakers")
    rows = [("run", *head, *["seeds"] * has_seeds, "marks")]
    for name, run in scores.items():
        part = run[split]
        cells = (
            f"{part['unweighted_average_recall']:.3f}",
            _range(part["unweighted_average_recall_interval"]),
            f"{part['chance']['unweighted_average_recall']:.3f}",
            f"{part['accuracy']:.3f}",
            f"{part['majority']['accuracy']:.3f}",
            f"{part['macro_f1']:.3f}",
            str(part["num_utterances"]),
            str(_num_speakers(part) or "-"),
        )
        rows.append((name, *cells, *[str(part["num_seeds"])] * has_seeds, ", ".join(run["marks"]) or "-"))
    return align(rows)


def per_emotion(part: Mapping[str, Any]) -> str:
    """Draws precision, recall, F1, area under the ROC curve and clips of each emotion."""
    names = {"precision": "precision", "recall": "recall", "f1": "F1", "area_under_curve": "AUC"}
    shown = {name: title for name, title in names.items() if name != "area_under_curve" or name in part}
    rows = [("emotion", *shown.values(), "clips")]
    for emotion, found in part["per_emotion"].items():
        rows.append((emotion, *(_number(found[name]) for name in shown), str(found["count"])))
    return align(rows)


def groups(part: Mapping[str, Any]) -> str:
    """Draws a table for each group of the part, as far as the corpus tells: speaker, sex, intensity, statement."""
    found = [group for group in GROUPS if part["by"].get(group)]
    return "\n\n".join(_group(group, part["by"][group]) for group in found)


def _group(group: str, members: Mapping[str, Mapping[str, Any]]) -> str:
    rows = [(group, "UAR", "accuracy", "clips")]
    for name, found in members.items():
        uar, accuracy = found["unweighted_average_recall"], found["accuracy"]
        rows.append((name, _number(uar), _number(accuracy), str(found["num_utterances"])))
    return align(rows)


def calibration(part: Mapping[str, Any]) -> str:
    """Writes one line: how good the probabilities are, and were before calibration; empty where there are none."""
    names = {"negative_log_likelihood": "NLL", "brier": "Brier", "expected_calibration_error": "ECE"}
    before = part.get("uncalibrated", {})
    was = {name: f" ({before[name]:.3f} before calibration)" if name in before else "" for name in names}
    return ", ".join(f"{title} {part[name]:.3f}{was[name]}" for name, title in names.items() if name in part)


def selective(part: Mapping[str, Any]) -> str:
    """Writes one line: accuracy on the most confident shares of the clips; empty without probabilities."""
    found = part.get("selective_accuracy", {})
    shown = ", ".join(f"{float(share):.0%} {found[share]:.3f}" for share in ("1.0", "0.8", "0.5", "0.2") if found)
    return f"accuracy on the most confident {shown}" if found else ""


def fold_by_seed(predictions: pd.DataFrame, emotions: Sequence[str], split: str) -> str:
    """Draws the UAR of each fit of a crossval: one row a fold, one column a seed, and their means.

    Args:
      predictions: Pooled rows of predictions.csv, with columns fold and seed.
      emotions: The label set, in label order.
      split: The part to show.
    """
    fits = predictions[predictions["split"] == split].groupby(["fold", "seed"])
    uars = {fit: float(metrics.unweighted_average_recall(metrics.confusion(rows, emotions))) for fit, rows in fits}
    grid = pd.Series(uars).unstack()  # [num_folds, num_seeds], NaN where a fit is still to come
    rows = [("UAR", *(f"seed {seed}" for seed in grid), "mean")]
    for fold, row in grid.iterrows():
        rows.append((f"fold {fold}", *map(_number, row), _number(row.mean())))
    return align([*rows, ("mean", *map(_number, grid.mean()), _number(grid.mean(axis=1).mean()))])


def align(rows: Sequence[Sequence[str]]) -> str:
    """Sets rows of cells in columns, the first column to the left, the others to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.rjust(width) if column else cell.ljust(width) for column, (cell, width) in enumerate(cells))
        for cells in (list(zip(row, widths, strict=True)) for row in rows)
    )


def _num_speakers(part: Mapping[str, Any]) -> int:
    return sum(bool(speaker) for speaker in part["speakers"])


def _of_speakers(part: Mapping[str, Any]) -> str:
    number = _num_speakers(part)
    return f"of {number} speaker{'s' * (number > 1)}" if number else "of unknown speakers"


def _ranged(part: Mapping[str, Any], name: str) -> str:
    return f"{part[name]:.3f} {_range(part[f'{name}_interval'])}"


def _range(interval: Sequence[float] | None) -> str:
    return f"[{interval[0]:.3f}, {interval[1]:.3f}]" if interval else "[too few speakers]"


def _number(value: float | None) -> str:
    return "-" if value is None or np.isnan(value) else f"{value:.3f}"
