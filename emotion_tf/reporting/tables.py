"""Scores as text: headlines, and tables whose columns line up. Each takes a part of scores.json."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from emotion_tf.evaluation.metrics import TITLES, UAR, quick_score
from emotion_tf.runs.predictions import GROUPS

FEW_UNITS = 10


def headline(part: Mapping[str, Any], name: str, marks: Sequence[str] = (), headline: str = UAR) -> str:
    """Writes one line: the score that counts with its interval and chance, another, what they rest on, and the marks.

    Args:
      part: Of scores.json.
      name: What was scored.
      marks: What the scores carry.
      headline: Name of the score that counts: UAR with accuracy beside it, or macro-F1 with another F1.
    """
    other, majority, seeds = _second(part, headline), part["majority"], part["num_seeds"]
    notes = [*marks, *([f"few {_unit(part)}s"] if 0 < _num_units(part) < FEW_UNITS else [])]
    return (
        f"{name}: {TITLES[headline]} {_ranged(part, headline)} (chance {part['chance'][headline]:.3f}),"
        f" {TITLES[other]} {_ranged(part, other)} (majority class {majority['emotion']} {majority[other]:.3f}),"
        f" {part['num_utterances']} {_basis(part, headline)}"
        + (f", mean of {seeds} seeds" if seeds > 1 else "")
        + "".join(f" [{note}]" for note in notes)
    )


def headlines(scores: Mapping[str, Any], split: str, name: str) -> list[str]:
    """Writes the line of a part, and where a model has several modalities a line with each taken away.

    Args:
      scores: What scores.json holds.
      split: The part.
      name: What was scored.
    """
    marks, score = scores["marks"], scores.get("headline", UAR)
    parts = {"": scores[split]} | {f" without {name}": part for name, part in scores[split].get("without", {}).items()}
    return [headline(part, f"{name} {split}{without}", marks, score) for without, part in parts.items()]


def _second(part: Mapping[str, Any], headline: str) -> str:
    """Names the score that stands beside the headline."""
    if headline == UAR:
        return "accuracy"
    return "micro_f1" if "micro_f1" in part else "weighted_f1"


def comparison(scores: Mapping[str, Mapping[str, Any]], split: str) -> str:
    """Draws a table with one line a run, chance beside each score; intervals are 95 % over speakers or other units.

    Args:
      scores: Name of a run -> what its scores.json holds; macro-F1 counts where it is the headline of any.
      split: The part to show.
    """
    names = [run.get("headline", UAR) for run in scores.values()]
    headline = next((name for name in names if name != UAR), UAR)
    others = {UAR: ("macro_f1",), "macro_f1": ("weighted_f1", "micro_f1")}[headline]
    others = tuple(other for other in others if any(other in run[split] for run in scores.values()))
    has_seeds = any(run[split]["num_seeds"] > 1 for run in scores.values())
    head = [TITLES[headline], "95 %", "chance"] + (["accuracy", "majority"] if headline == UAR else ["majority"])
    rows = [("run", *head, *(TITLES[other] for other in others), *_counted(headline), *["seeds"] * has_seeds, "marks")]
    for name, run in scores.items():
        part = run[split]
        shown = [part[headline], _range(part[f"{headline}_interval"], part), part["chance"][headline]]
        shown += [part["accuracy"], part["majority"]["accuracy"]] if headline == UAR else [part["majority"][headline]]
        shown += [part.get(other) for other in others]
        counts = [part["num_utterances"], _num_units(part) or "-", *[part["num_seeds"]] * has_seeds]
        cells = (cell if isinstance(cell, str) else _number(cell) for cell in shown)
        rows.append((name, *cells, *map(str, counts), ", ".join(run["marks"]) or "-"))
    return align(rows)


def per_emotion(part: Mapping[str, Any], headline: str = UAR) -> str:
    """Draws precision, recall, F1, area under the ROC curve and clips, or sentences, of each emotion."""
    names = {"precision": "precision", "recall": "recall", "f1": "F1", "area_under_curve": "AUC"}
    shown = {name: title for name, title in names.items() if name != "area_under_curve" or name in part}
    rows = [("emotion", *shown.values(), _scored(headline))]
    for emotion, found in part["per_emotion"].items():
        rows.append((emotion, *(_number(found[name]) for name in shown), str(found["count"])))
    return align(rows)


def groups(part: Mapping[str, Any], headline: str = UAR) -> str:
    """Draws a table for each group of the part, as far as the corpus tells: speaker, sex, intensity, statement."""
    found = [group for group in GROUPS if part["by"].get(group)]
    return "\n\n".join(_group(group, part["by"][group], headline) for group in found)


def _group(group: str, members: Mapping[str, Mapping[str, Any]], headline: str) -> str:
    is_multi_label = any("micro_f1" in found for found in members.values())
    shown = ("macro_f1", "micro_f1") if is_multi_label else (UAR, "accuracy")
    rows = [(group, *(TITLES[name] for name in shown), _scored(headline))]
    rows += [(name, *(_number(of[key]) for key in shown), str(of["num_utterances"])) for name, of in members.items()]
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


def fold_by_seed(predictions: pd.DataFrame, emotions: Sequence[str], split: str, headline: str = UAR) -> str:
    """Draws the score of each fit of a crossval: one row a fold, one column a seed, and their means.

    Args:
      predictions: Pooled rows of predictions.csv, with columns fold and seed.
      emotions: The label set, in label order.
      split: The part to show.
      headline: Name of the score.
    """
    fits = predictions[predictions["split"] == split].groupby(["fold", "seed"])
    grid = pd.Series({fit: quick_score(rows, emotions, headline) for fit, rows in fits}).unstack()
    # [num_folds, num_seeds], NaN where a fit is still to come.
    rows = [(TITLES[headline], *(f"seed {seed}" for seed in grid), "mean")]
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


def _unit(part: Mapping[str, Any]) -> str:
    """What the intervals are over: "speaker", "dialogue" or "utterance"."""
    return part["unit"]


def _num_units(part: Mapping[str, Any]) -> int:
    """Counts speakers or dialogues; 0 where each utterance stands on its own."""
    if _unit(part) == "speaker":
        return sum(bool(speaker) for speaker in part["speakers"])
    return part["num_units"] if _unit(part) == "dialogue" else 0


def _basis(part: Mapping[str, Any], headline: str) -> str:
    """Says what was scored, and of how many it is."""
    what, number = _scored(headline), _num_units(part)
    if number:
        return f"{what} of {number} {_unit(part)}{'s' * (number > 1)}"
    return f"{what} of unknown speakers" if headline == UAR else what


def _scored(headline: str) -> str:
    """Names what was scored: where macro-F1 counts, these are words alone."""
    return "clips" if headline == UAR else "sentences"


def _counted(headline: str) -> tuple[str, str]:
    """Heads the columns of what was scored, and of how many it is."""
    return _scored(headline), "speakers" if headline == UAR else "units"


def _ranged(part: Mapping[str, Any], name: str) -> str:
    return f"{part[name]:.3f} {_range(part[f'{name}_interval'], part)}"


def _range(interval: Sequence[float] | None, part: Mapping[str, Any]) -> str:
    return f"[{interval[0]:.3f}, {interval[1]:.3f}]" if interval else f"[too few {_unit(part)}s]"


def _number(value: float | None) -> str:
    return "-" if value is None or np.isnan(value) else f"{value:.3f}"
