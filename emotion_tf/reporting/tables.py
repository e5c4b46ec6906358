"""Scores as text: headlines, and tables whose columns line up.

`scores` are those of one split, as `metrics.scores` gives them; `run` is all that scores.json of a run holds.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from emotion_tf.evaluation.counts import TITLES, UAR
from emotion_tf.evaluation.metrics import quick_score
from emotion_tf.reporting.wording import format_count, format_interval
from emotion_tf.runs.predictions import GROUPS

FEW_UNITS = 10


def headline(scores: Mapping[str, Any], name: str, marks: Sequence[str] = (), headline: str = UAR) -> str:
    """Writes one line: the score that counts with its interval and chance, another, what they rest on, and the marks.

    Args:
      scores: Of one split.
      name: What was scored.
      marks: What the scores carry.
      headline: Name of the score that counts: UAR with accuracy beside it, or macro-F1 with another F1.
    """
    other, majority, seeds = _second(scores, headline), scores["majority"], scores["num_seeds"]
    notes = [*marks, *([f"few {_unit(scores)}s"] if 0 < _num_units(scores) < FEW_UNITS else [])]
    return (
        f"{name}: {TITLES[headline]} {_ranged(scores, headline)} (chance {scores['chance'][headline]:.3f}),"
        f" {TITLES[other]} {_ranged(scores, other)} (majority class {majority['emotion']} {majority[other]:.3f}),"
        f" {scores['num_utterances']} {_basis(scores, headline)}"
        + (f", mean of {seeds} seeds" if seeds > 1 else "")
        + "".join(f" [{note}]" for note in notes)
    )


def headlines(run: Mapping[str, Any], split: str, name: str) -> list[str]:
    """Writes the line of a split, and where a model has several modalities a line with each taken away.

    Args:
      run: What scores.json holds.
      split: The name of the split.
      name: What was scored.
    """
    without = {f" without {modality}": scores for modality, scores in run[split].get("without", {}).items()}
    return [
        headline(scores, f"{name} {split}{what}", run["marks"], run.get("headline", UAR))
        for what, scores in ({"": run[split]} | without).items()
    ]


def _second(scores: Mapping[str, Any], headline: str) -> str:
    """Names the score that stands beside the headline."""
    if headline == UAR:
        return "accuracy"
    return "micro_f1" if "micro_f1" in scores else "weighted_f1"


def comparison(runs: Mapping[str, Mapping[str, Any]], split: str) -> str:
    """Draws a table with one line a run, chance beside each score; intervals are 95 % over speakers or other units.

    Args:
      runs: Name of a run -> what its scores.json holds; macro-F1 counts where it is the headline of any.
      split: The split to show.
    """
    names = [run.get("headline", UAR) for run in runs.values()]
    headline = next((name for name in names if name != UAR), UAR)
    others = {UAR: ("macro_f1",), "macro_f1": ("weighted_f1", "micro_f1")}[headline]
    others = tuple(other for other in others if any(other in run[split] for run in runs.values()))
    has_seeds = any(run[split]["num_seeds"] > 1 for run in runs.values())
    first = ("run", TITLES[headline], "95 %", "chance", *["accuracy"] * (headline == UAR), "majority")
    last = (*_size_heads(headline), *["seeds"] * has_seeds, "marks")
    rows = [(*first, *(TITLES[other] for other in others), *last)]
    for name, run in runs.items():
        scores = run[split]
        shown = [scores[headline], _range(scores[f"{headline}_interval"], scores), scores["chance"][headline]]
        shown += [scores["accuracy"]] if headline == UAR else []
        shown += [scores["majority"]["accuracy" if headline == UAR else headline]]
        shown += [scores.get(other) for other in others]
        sizes = [scores["num_utterances"], _num_units(scores) or "-", *[scores["num_seeds"]] * has_seeds]
        cells = (cell if isinstance(cell, str) else _number(cell) for cell in shown)
        rows.append((name, *cells, *map(str, sizes), ", ".join(run["marks"]) or "-"))
    return align(rows)


def per_emotion(scores: Mapping[str, Any], headline: str = UAR) -> str:
    """Draws precision, recall, F1, area under the ROC curve and clips, or sentences, of each emotion."""
    names = {"precision": "precision", "recall": "recall", "f1": "F1", "area_under_curve": "AUC"}
    shown = {name: title for name, title in names.items() if name != "area_under_curve" or name in scores}
    rows = [("emotion", *shown.values(), _scored(headline))]
    for emotion, found in scores["per_emotion"].items():
        rows.append((emotion, *(_number(found[name]) for name in shown), str(found["count"])))
    return align(rows)


def groups(scores: Mapping[str, Any], headline: str = UAR) -> str:
    """Draws a table for each group that the corpus names: speaker, sex, intensity, statement."""
    found = [group for group in GROUPS if scores["by"].get(group)]
    return "\n\n".join(_group(group, scores["by"][group], scores, headline) for group in found)


def _group(group: str, members: Mapping[str, Mapping[str, Any]], scores: Mapping[str, Any], headline: str) -> str:
    """Draws the table of a group, with intervals where its members are of several speakers, or other units."""
    is_multi_label = any("micro_f1" in found for found in members.values())
    first, second = ("macro_f1", "micro_f1") if is_multi_label else (UAR, "accuracy")
    has_units = group != scores["unit"] and all("num_units" in of for of in members.values())
    units = [f"{scores['unit']}s"] * has_units
    rows = [(group, TITLES[first], *["95 %"] * has_units, TITLES[second], *units, _scored(headline))]
    for name, of in members.items():
        interval = [_range(of[f"{first}_interval"], scores)] if has_units else []
        sizes = [*([str(of["num_units"])] if has_units else []), str(of["num_utterances"])]
        rows.append((name, _number(of[first]), *interval, _number(of[second]), *sizes))
    return align(rows)


def calibration(scores: Mapping[str, Any]) -> str:
    """Writes one line: how good the probabilities are, and were before calibration; empty where there are none."""
    names = {"negative_log_likelihood": "NLL", "brier": "Brier", "expected_calibration_error": "ECE"}
    before = scores.get("uncalibrated", {})
    was = {name: f" ({before[name]:.3f} before calibration)" if name in before else "" for name in names}
    return ", ".join(f"{title} {scores[name]:.3f}{was[name]}" for name, title in names.items() if name in scores)


def selective(scores: Mapping[str, Any]) -> str:
    """Writes one line: accuracy on the most confident shares of the clips; empty without probabilities."""
    found = scores.get("selective_accuracy", {})
    shown = ", ".join(f"{float(share):.0%} {found[share]:.3f}" for share in ("1.0", "0.8", "0.5", "0.2") if found)
    return f"accuracy on the most confident {shown}" if found else ""


def fold_by_seed(predictions: pd.DataFrame, emotions: Sequence[str], split: str, headline: str = UAR) -> str:
    """Draws the score of each fit of a crossval: one row a fold, one column a seed, and their means.

    Args:
      predictions: Pooled rows of predictions.csv, with columns fold and seed.
      emotions: The label set, in label order.
      split: The split to show.
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


def _unit(scores: Mapping[str, Any]) -> str:
    """What the intervals are over: "speaker", "dialogue" or "utterance"."""
    return scores["unit"]


def _num_units(scores: Mapping[str, Any]) -> int:
    """Counts speakers or dialogues; 0 where each utterance stands on its own."""
    if _unit(scores) == "speaker":
        return sum(bool(speaker) for speaker in scores["speakers"])
    return scores["num_units"] if _unit(scores) == "dialogue" else 0


def _basis(scores: Mapping[str, Any], headline: str) -> str:
    """Says what was scored, and of how many it is."""
    what, number = _scored(headline), _num_units(scores)
    if number:
        return f"{what} of {format_count(number, _unit(scores))}"
    return f"{what} of unknown speakers" if headline == UAR else what


def _scored(headline: str) -> str:
    """Names what was scored: where macro-F1 is the headline, these are sentences without audio."""
    return "clips" if headline == UAR else "sentences"


def _size_heads(headline: str) -> tuple[str, str]:
    """Heads the columns of what was scored, and of how many it is."""
    return _scored(headline), "speakers" if headline == UAR else "units"


def _ranged(scores: Mapping[str, Any], name: str) -> str:
    return f"{scores[name]:.3f} {_range(scores[f'{name}_interval'], scores)}"


def _range(interval: Sequence[float] | None, scores: Mapping[str, Any]) -> str:
    return format_interval(interval, _unit(scores), scale=1, digits=3)


def _number(value: float | None) -> str:
    return "-" if value is None or np.isnan(value) else f"{value:.3f}"
