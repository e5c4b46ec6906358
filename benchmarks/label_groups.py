"""Reads groups of emotions off a model of finer ones: `python -m benchmarks.label_groups --run RUN`.

RUN predicts the 28 labels of GoEmotions, and its test split was read. Its predictions become those of Ekman's groups
(several a comment) and of seven classes (comments of one class alone, the most probable is predicted). The probability
of a group is the highest of its labels, or that at least one of them holds if they were independent: whichever reads
the higher macro-F1 on the validation split, where thresholds are fitted, too. Prints the scores of the test split and
writes results/label_groups.json beside this file.
"""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.result_files import write_result
from emotion_tf.evaluation import metrics, multilabel
from emotion_tf.runs.folder import Scored
from emotion_tf.runs.predictions import emotions_of, read_predictions
from pipelines.command import InputError, run_command
from pipelines.emotions import LABEL_MAPS, LabelMap

MAPS = ("goemotions-ekman", "goemotions-seven")

RULES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "highest": lambda labels: labels.max(axis=1),
    "any": lambda labels: 1 - np.prod(1 - labels, axis=1),
}
"""Name -> from the probabilities of the labels of a group [num_utterances, num_labels] to that of the group."""


def main(argv: list[str] | None = None) -> None:
    """Reads the predictions of a run, scores groups, prints and writes the result.

    Raises:
      InputError: A run that predicts other labels, or whose test split was not read.
    """
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--run", type=Path, required=True, help="of 28 emotions on GoEmotions, test split read")
    arguments = parser.parse_args(argv)
    found = grouped(read_predictions(Scored(arguments.run).folder / "predictions.csv"), arguments.run)
    write_result("label_groups", found)
    print(json.dumps(found, indent=1))


def grouped(predictions: pd.DataFrame, run: Path) -> dict[str, Any]:
    """Scores each of `MAPS`.

    Args:
      predictions: Rows of predictions.csv, of the validation and of the test split.
      run: For sentences.
    """
    emotions = emotions_of(predictions)
    splits = {split: rows for split, rows in predictions.groupby("split") if split in ("validation", "test")}
    if set(emotions) != set(LABEL_MAPS[MAPS[0]].targets):
        raise InputError(f"{run} predicts {', '.join(emotions)}: name a run of the 28 labels of GoEmotions.")
    if len(splits) < 2:
        raise InputError(f"{run} has no predictions of the test split: python -m emotion_tf.evaluate --run {run}.")
    return {name: _scored(splits, emotions, LABEL_MAPS[name]) for name in MAPS}


def _scored(splits: dict[str, pd.DataFrame], emotions: tuple[str, ...], label_map: LabelMap) -> dict[str, Any]:
    """Chooses the rule on the validation split, and scores the test split."""
    tables = {rule: _regrouped(splits, emotions, label_map, rule) for rule in RULES}
    scores = {rule: metrics.scores(table["validation"], label_map.emotions) for rule, table in tables.items()}
    rule = max(scores, key=lambda rule: scores[rule]["macro_f1"])
    test = metrics.scores(tables[rule]["test"], label_map.emotions)
    measures = [name for name in ("macro_f1", "micro_f1", "unweighted_average_recall", "accuracy") if name in test]
    shown = {name: test[name] for measure in measures for name in (measure, f"{measure}_interval")}
    return {
        "rule": rule,
        "validation": scores[rule]["macro_f1"],
        **shown,
        "expected_calibration_error": test["expected_calibration_error"],
        "chance": test["chance"],
        "num_utterances": test["num_utterances"],
    }


def _regrouped(
    splits: dict[str, pd.DataFrame], emotions: tuple[str, ...], label_map: LabelMap, rule: str
) -> dict[str, pd.DataFrame]:
    """Makes predictions of groups of those of labels, for each split."""
    tables = {split: _of_groups(rows, emotions, label_map, rule) for split, rows in splits.items()}
    columns = [f"probability_{group}" for group in label_map.emotions]
    values = {split: table[columns].to_numpy() for split, table in tables.items()}
    if not label_map.is_multi_label:
        names = np.array(label_map.emotions)
        return {split: table.assign(predicted=names[values[split].argmax(axis=1)]) for split, table in tables.items()}
    truths = multilabel.memberships(tables["validation"]["label"], label_map.emotions)
    thresholds = multilabel.fit_thresholds(values["validation"], truths)
    chosen = {split: multilabel.decide(values[split], thresholds) for split in tables}
    return {
        split: table.assign(predicted=multilabel.joined(chosen[split], label_map.emotions))
        for split, table in tables.items()
    }


def _of_groups(rows: pd.DataFrame, emotions: tuple[str, ...], label_map: LabelMap, rule: str) -> pd.DataFrame:
    """Makes labels and probabilities of groups; where a comment has one, comments of several are left out."""
    targets = np.array([label_map.targets[emotion] for emotion in emotions])
    members = multilabel.memberships(rows["label"], emotions)
    probabilities = rows[[f"probability_{emotion}" for emotion in emotions]].to_numpy()
    of_group = [targets == group for group in label_map.emotions]
    truths = np.stack([members[:, which].any(axis=1) for which in of_group], axis=1)
    values = np.stack([RULES[rule](probabilities[:, which]) for which in of_group], axis=1)
    if not label_map.is_multi_label:
        values = values / values.sum(axis=1, keepdims=True)
    table = rows[["utterance_id", "speaker", "split"]].assign(label=multilabel.joined(truths, label_map.emotions))
    table[[f"probability_{group}" for group in label_map.emotions]] = values
    keep = np.ones(len(table), bool) if label_map.is_multi_label else truths.sum(axis=1) == 1
    return table[keep].assign(predicted="").reset_index(drop=True)


if __name__ == "__main__":
    sys.exit(run_command(main))
