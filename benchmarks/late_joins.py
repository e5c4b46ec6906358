"""Late fusion of finished cross-validations, from their predictions alone: quick, and the same as `fit --fusion late`.

Rules are fitted on validation speakers, as `fit` does, or on cross-fitted predictions of the training speakers:
branches are trained anew without a part of these and predict that part, so that no branch has seen what the rule is
fitted on, and the rule gets many speakers.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from emotion_tf import late_rules
from emotion_tf.evaluation import metrics
from emotion_tf.evaluation.calibration import fit_temperature
from emotion_tf.evaluation.joined_predictions import Fit, Joined, fit_set_of, fuse, join
from emotion_tf.probabilities import FLOOR, probabilities_of
from emotion_tf.runs.folder import Scored
from emotion_tf.runs.predictions import PREFIX
from pipelines.folds import Fold

NUM_PARTS = 3
"""Of the training speakers of a fold."""


@dataclasses.dataclass(frozen=True)
class Late:
    """A late fusion.

    Attributes:
      rule: One of `late_rules.RULES`.
      is_crossfit: Whether the rule is fitted on cross-fitted predictions; else on the validation split.
      is_shuffled: Whether words are shuffled among the utterances of each split.
    """

    rule: str
    is_crossfit: bool = False
    is_shuffled: bool = False

    @property
    def is_optimistic(self) -> bool:
        """Whether validation scores are those of what the rule was fitted on."""
        return self.rule in late_rules.FITTED and not self.is_crossfit


def parts_of(fold: Fold) -> list[dict[str, tuple[str, ...]]]:
    """Cuts the training speakers of a fold: each part is tested once by what the others train.

    Returns:
      Folds as a JSON file of --folds holds them. They validate as the fold itself; no test speaker is in them.
    """
    return [
        {
            "train": tuple(speaker for speaker in fold.train if speaker not in part),
            "validation": fold.validation,
            "test": part,
        }
        for part in (fold.train[first::NUM_PARTS] for first in range(NUM_PARTS))
    ]


def join_fold(fold: Fold) -> dict[str, tuple[str, ...]]:
    """Makes the fold of a join whose branches know none of its training clips: they trained without the first part.

    Returns:
      A fold as a JSON file of --folds holds it: that part trains, and the fold's own speakers validate and test.
    """
    return {"train": parts_of(fold)[0]["test"], "validation": fold.validation, "test": fold.test}


def crossfitted(parts: Sequence[Path], seeds: Sequence[int]) -> pd.DataFrame:
    """Sets cross-fitted predictions below each other, in the form that `emotion_tf.fuse --fit-on` reads.

    Args:
      parts: Of each part, the cross-validation whose folds test it; its first seed stands in for all.
      seeds: Of what is fused.

    Returns:
      Rows of predictions.csv under split "validation": fold is the fold whose training speakers they are of.
    """
    tables = []
    for folder in parts:
        found = Scored(folder).predictions()
        rows = found[(found["split"] == "test") & (found["seed"] == 0)].assign(split="validation")
        tables += [rows.assign(seed=seed) for seed in seeds]
    return pd.concat(tables, ignore_index=True)


def join_late(system: Late, branches: Mapping[str, Path], fit_on: Sequence[Path], output: Scored) -> None:
    """Fuses the predictions of two branches, and without each of them; writes predictions and scores.

    Args:
      system: How.
      branches: Modality -> its cross-validation, whose test split was read.
      fit_on: Files of cross-fitted predictions of the branches, for a system that wants them.
      output: Where files go, as those of a cross-validation.
    """
    joined = join([Scored(folder).predictions_path for folder in branches.values()])
    text = list(branches).index("text")
    joined = _shuffled(joined, text) if system.is_shuffled else joined
    fit_set = fit_set_of(joined, system.rule, fit_on if system.is_crossfit else ())
    fit_set = _shuffled(fit_set, text) if system.is_shuffled and system.is_crossfit else fit_set
    fits, fused = fuse(joined, system.rule, fit_set)
    tables = {"": fused} | {name: _without(joined, system.rule, fits, place) for place, name in enumerate(branches)}
    fitted = _temperatures(fused, joined.emotions)
    tables = {without: _calibrated(table, joined.emotions, fitted) for without, table in tables.items()}
    for without, table in tables.items():
        output.write_predictions(table, without)
    output.write_scores({"marks": list(joined.all_marks), **_scores(tables, joined.emotions)})


def _shuffled(joined: Joined, text: int) -> Joined:
    """Shuffles what text says among the utterances of each split, fold and seed; `text` is its place."""
    tables = list(joined.tables)
    columns, rng = [PREFIX + emotion for emotion in joined.emotions], np.random.default_rng(0)
    said = tables[text][columns].to_numpy(copy=True)
    for places in tables[text].groupby(list(joined.key[1:])).indices.values():
        said[places] = said[rng.permutation(places)]
    tables[text] = tables[text].assign(**dict(zip(columns, said.T, strict=True)))
    return dataclasses.replace(joined, tables=tuple(tables))


def _without(joined: Joined, rule: str, fits: Sequence[Fit], place: int) -> pd.DataFrame:
    """Fuses as before, but with the branch at one place absent."""
    tables = []
    for fit, (_, rows) in zip(fits, joined.fits(), strict=True):
        is_present = np.ones(rows.probabilities.shape[:2])
        is_present[:, place] = 0
        parameters: Mapping[str, Any] = fit.parameters
        found = late_rules.combine(rows.probabilities, is_present, rule, **parameters)
        tables.append(_with_probabilities(rows.tables[0], found, joined.emotions))
    return pd.concat(tables).sort_index()


def _with_probabilities(table: pd.DataFrame, probabilities: np.ndarray, emotions: Sequence[str]) -> pd.DataFrame:
    """Puts other probabilities, and what they predict, into rows of predictions.csv."""
    columns = dict(zip([PREFIX + emotion for emotion in emotions], probabilities.T, strict=True))
    return table.assign(predicted=np.array(emotions)[probabilities.argmax(axis=1)], **columns)


def _temperatures(fused: pd.DataFrame, emotions: Sequence[str]) -> dict[Any, float]:
    """Fits the temperature of each fold and seed on the validation split, as `fit` does."""
    numbers = {emotion: number for number, emotion in enumerate(emotions)}
    rows = fused[fused["split"] == "validation"]
    return {
        place: fit_temperature(_logits(found, emotions), found["label"].map(numbers).to_numpy())
        for place, found in rows.groupby(["fold", "seed"])
    }


def _calibrated(table: pd.DataFrame, emotions: Sequence[str], fitted: Mapping[Any, float]) -> pd.DataFrame:
    places = zip(table["fold"], table["seed"], strict=True)
    divisors = np.array([fitted[place] for place in places])[:, None]
    return _with_probabilities(
        table, probabilities_of(_logits(table, emotions) / divisors, is_multi_label=False), emotions
    )


def _logits(table: pd.DataFrame, emotions: Sequence[str]) -> np.ndarray:
    return np.log(np.maximum(table[[PREFIX + emotion for emotion in emotions]].to_numpy(np.float64), FLOOR))


def _scores(tables: Mapping[str, pd.DataFrame], emotions: Sequence[str]) -> dict[str, Any]:
    """Scores both splits, whole and, under `without`, without each modality, as scores.json holds them."""
    found: dict[str, Any] = {}
    for split in ("validation", "test"):
        of_split = {name: metrics.scores(rows[rows["split"] == split], emotions) for name, rows in tables.items()}
        found[split] = of_split.pop("") | {"without": of_split}
    return found
