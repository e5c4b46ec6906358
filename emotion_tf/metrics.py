"""Scores of predictions: unweighted average recall first, and what puts it into proportion."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from sklearn.metrics import f1_score

from emotion_tf.uncertainty import speaker_interval

FEW_SPEAKERS = 10


def predictions_table(
    utterances: pd.DataFrame, probabilities: np.ndarray, emotions: Sequence[str], split: str
) -> pd.DataFrame:
    """Makes the rows of predictions.csv.

    Args:
      utterances: Columns utterance_id, speaker and label (a number), one row an utterance.
      probabilities: [num_utterances, num_emotions].
      emotions: Their names, in label order.
      split: The part that they belong to.

    Returns:
      Columns utterance_id, speaker, split, label, predicted (names), then probability_<emotion> in label order.
    """
    names = np.array(emotions)
    table = pd.DataFrame(
        {
            "utterance_id": utterances["utterance_id"],
            "speaker": utterances["speaker"],
            "split": split,
            "label": names[utterances["label"]],
            "predicted": names[probabilities.argmax(axis=1)],
        }
    )
    for index, emotion in enumerate(emotions):
        table[f"probability_{emotion}"] = probabilities[:, index]
    return table


def confusion(predictions: pd.DataFrame, emotions: Sequence[str]) -> np.ndarray:
    """Counts [num_emotions, num_emotions]: rows are labels, columns what was predicted."""
    index = {emotion: number for number, emotion in enumerate(emotions)}
    counts = np.zeros((len(emotions), len(emotions)), np.int64)
    np.add.at(counts, (predictions["label"].map(index), predictions["predicted"].map(index)), 1)
    return counts


def unweighted_average_recall(confusions: np.ndarray) -> np.ndarray:
    """Averages the recalls of the emotions that occur, each with the same weight.

    Args:
      confusions: [..., num_emotions, num_emotions] counts, rows are labels.

    Returns:
      [...] in [0, 1].
    """
    totals = confusions.sum(axis=-1)
    hits = np.diagonal(confusions, axis1=-2, axis2=-1)
    recalls = np.divide(hits, totals, out=np.zeros(totals.shape), where=totals > 0)
    return recalls.sum(axis=-1) / np.maximum((totals > 0).sum(axis=-1), 1)


def accuracy(confusions: np.ndarray) -> np.ndarray:
    """Share of hits: [..., num_emotions, num_emotions] counts -> [...] in [0, 1]."""
    return np.trace(confusions, axis1=-2, axis2=-1) / np.maximum(confusions.sum(axis=(-2, -1)), 1)


def scores(predictions: pd.DataFrame, emotions: Sequence[str]) -> dict[str, Any]:
    """Scores one part of a run.

    Args:
      predictions: Rows of predictions.csv.
      emotions: The label set, in label order.

    Returns:
      What scores.json holds for a part: UAR, accuracy and their 95 % intervals over speakers, macro-F1, recall of each
      emotion (None where it does not occur), chance (UAR of guessing, accuracy of always naming the commonest emotion),
      counts, speakers.
    """
    speakers = sorted(predictions["speaker"].unique())
    by_speaker = np.stack([confusion(predictions[predictions["speaker"] == name], emotions) for name in speakers])
    total = by_speaker.sum(axis=0)
    counts = total.sum(axis=1)
    present = [emotion for emotion, count in zip(emotions, counts, strict=True) if count]
    recalls = np.diagonal(total) / np.maximum(counts, 1)
    return {
        "unweighted_average_recall": float(unweighted_average_recall(total)),
        "unweighted_average_recall_interval": speaker_interval(by_speaker, unweighted_average_recall),
        "accuracy": float(accuracy(total)),
        "accuracy_interval": speaker_interval(by_speaker, accuracy),
        "macro_f1": float(
            f1_score(predictions["label"], predictions["predicted"], labels=present, average="macro", zero_division=0)
        ),
        "recall": {e: float(r) if n else None for e, r, n in zip(emotions, recalls, counts, strict=True)},
        "chance": {
            "unweighted_average_recall": 1 / len(present),
            "accuracy": float(counts.max() / counts.sum()),
        },
        "counts": {emotion: int(count) for emotion, count in zip(emotions, counts, strict=True)},
        "num_utterances": len(predictions),
        "speakers": speakers,
    }


def headline(part: Mapping[str, Any], name: str, marks: Sequence[str] = ()) -> str:
    """Writes one line: UAR with its interval and chance, accuracy, on how many speakers it rests, and its marks."""
    uar, rate, chance = part["unweighted_average_recall"], part["accuracy"], part["chance"]
    notes = [*marks, *(["few speakers"] if len(part["speakers"]) < FEW_SPEAKERS else [])]
    return (
        f"{name}: UAR {uar:.3f} {_range(part['unweighted_average_recall_interval'])}"
        f" (chance {chance['unweighted_average_recall']:.3f}),"
        f" accuracy {rate:.3f} {_range(part['accuracy_interval'])} (commonest emotion {chance['accuracy']:.3f}),"
        f" {part['num_utterances']} clips of {len(part['speakers'])} speaker{'s' * (len(part['speakers']) > 1)}"
        + "".join(f" [{note}]" for note in notes)
    )


def comparison(scores: Mapping[str, Mapping[str, Any]], split: str) -> str:
    """Draws a table with one line a run, chance beside each score; intervals are 95 % over speakers.

    Args:
      scores: Name of a run -> what its scores.json holds.
      split: The part to show.
    """
    rows = [("run", "UAR", "95 %", "chance", "accuracy", "macro-F1", "clips", "speakers", "marks")]
    for name, run in scores.items():
        part = run[split]
        rows.append(
            (
                name,
                f"{part['unweighted_average_recall']:.3f}",
                _range(part["unweighted_average_recall_interval"]),
                f"{part['chance']['unweighted_average_recall']:.3f}",
                f"{part['accuracy']:.3f}",
                f"{part['macro_f1']:.3f}",
                str(part["num_utterances"]),
                str(len(part["speakers"])),
                ", ".join(run["marks"]) or "-",
            )
        )
    return align(rows)


def recalls(scores: Mapping[str, Any]) -> str:
    """Draws the recall of each emotion in the validation and the test part of one run."""
    splits = [split for split in ("validation", "test") if split in scores]
    rows = [("recall of", *splits, *(f"clips ({split})" for split in splits))]
    for emotion in scores["validation"]["recall"]:
        found = [scores[split]["recall"][emotion] for split in splits]
        shown = ["-" if recall is None else f"{recall:.3f}" for recall in found]
        rows.append((emotion, *shown, *(str(scores[split]["counts"][emotion]) for split in splits)))
    return align(rows)


def align(rows: Sequence[Sequence[str]]) -> str:
    """Sets rows of cells in columns, the first column to the left, the others to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.rjust(width) if column else cell.ljust(width) for column, (cell, width) in enumerate(cells))
        for cells in (list(zip(row, widths, strict=True)) for row in rows)
    )


def _range(interval: Sequence[float] | None) -> str:
    return f"[{interval[0]:.3f}, {interval[1]:.3f}]" if interval else "[too few speakers]"
