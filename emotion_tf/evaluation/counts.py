"""What each speaker, dialogue or utterance adds to a score: tables of which scores and their intervals come."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
import sklearn.metrics

from emotion_tf.evaluation.uncertainty import Tables, speaker_intervals
from emotion_tf.runs.predictions import DIALOGUE, GROUPS, PREFIX

NUM_BINS = 15
"""Of equal width over (0, 1], as the literature on calibration has it."""

Temperature: TypeAlias = float | pd.Series
Measure: TypeAlias = Callable[[np.ndarray], np.ndarray]
Measures: TypeAlias = Mapping[str, tuple[str, Measure]]


def unit_of(predictions: pd.DataFrame) -> str:
    """Names what is resampled: "speaker", or "dialogue", or "utterance" where neither is told."""
    if (predictions["speaker"] != "").any():
        return "speaker"
    is_told = DIALOGUE in predictions and (predictions[DIALOGUE].fillna("") != "").all()
    return "dialogue" if is_told else "utterance"


def units_of(predictions: pd.DataFrame) -> np.ndarray:
    """Numbers the speakers, dialogues or utterances, as `unit_of` tells: [num_rows] from 0."""
    unit = unit_of(predictions)
    return codes_of(predictions, "utterance_id" if unit == "utterance" else unit)


def codes_of(predictions: pd.DataFrame, column: str) -> np.ndarray:
    """Numbers the sorted values of a column from 0; all 0 where there is no such column."""
    if column not in predictions:
        return np.zeros(len(predictions), int)
    return pd.factorize(predictions[column], sort=True)[0]  # Sorted, so that the order of rows changes nothing.


def nobody(predictions: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Units and seeds that tell no clips apart."""
    return np.zeros(len(predictions), int), np.zeros(len(predictions), int)


def probabilities_of(predictions: pd.DataFrame) -> pd.DataFrame:
    """The columns of probabilities, named after their emotions."""
    columns = [column for column in predictions if column.startswith(PREFIX)]
    return predictions[columns].rename(columns=lambda column: column.removeprefix(PREFIX))


def summed(columns: Sequence[np.ndarray], sizes: tuple[int, ...], *places: np.ndarray) -> np.ndarray:
    """Sums columns [num_clips] of numbers of clips at the places of these clips: [*sizes, num_columns]."""
    sums = np.zeros((*sizes, len(columns)))
    np.add.at(sums, places, np.stack(columns, axis=-1))
    return sums


def bins_of(confidence: np.ndarray) -> np.ndarray:
    """Numbers of the bins that probabilities fall into; an edge belongs to the bin below it."""
    return np.searchsorted(np.arange(1, NUM_BINS) / NUM_BINS, confidence)


def ratio(numerators: np.ndarray, denominators: np.ndarray) -> np.ndarray:
    """Divides; 0 where there is nothing to divide by."""
    return np.divide(numerators, denominators, out=np.zeros(denominators.shape), where=denominators > 0)


def mean_of_present(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Averages values [..., num_emotions] over the emotions whose counts [..., num_emotions] are not 0."""
    present = counts > 0
    return (values * present).sum(axis=-1) / np.maximum(present.sum(axis=-1), 1)


def f1(tallies: np.ndarray) -> np.ndarray:
    """Harmonic means of precision and recall; 0 where there is nothing.

    Args:
      tallies: [..., 3] hits, utterances that carry the emotion, and utterances that are said to.

    Returns:
      [...] in [0, 1].
    """
    hits, carried, named = np.moveaxis(tallies, -1, 0)
    return 2 * hits / np.maximum(carried + named, 1)


def macro_f1(tallies: np.ndarray) -> np.ndarray:
    """Averages F1 over the emotions that occur: [..., num_emotions, 3] -> [...]."""
    return mean_of_present(f1(tallies), tallies[..., 1])


def mean_loss(losses: np.ndarray) -> np.ndarray:
    """Divides: [..., 2] sum of a loss and number of clips -> [...] mean."""
    return losses[..., 0] / np.maximum(losses[..., 1], 1)


def expected_calibration_error(bins: np.ndarray) -> np.ndarray:
    """Averages |hits - confidence| over bins, by their clips.

    Chance keeps it above 0, and with it both ends of its interval: a perfectly calibrated model reads about 0.03 on
    1200 clips, and more on fewer. Compare it on equal numbers of clips only.

    Args:
      bins: [..., num_bins, 3]: number of clips, number of hits and sum of confidences in each bin.

    Returns:
      [...] in [0, 1].

    Source:
      Guo et al. 2017, arXiv 1706.04599, equation 3.
    """
    clips, hits, confidences = np.moveaxis(bins, -1, 0)
    return np.abs(hits - confidences).sum(axis=-1) / np.maximum(clips.sum(axis=-1), 1)


def measured(by_unit: Tables, measures: Measures) -> dict[str, Any]:
    """Takes the measures whose tables, [num_units, num_seeds, ...], are there, each with its interval over units."""

    def mean_over_seeds(sums: Tables, table: str, measure: Measure) -> np.ndarray:
        return measure(sums[table]).mean(axis=-1)

    statistics = {
        name: partial(mean_over_seeds, table=table, measure=measure)
        for name, (table, measure) in measures.items()
        if table in by_unit
    }
    sums = {name: table.sum(axis=0) for name, table in by_unit.items()}
    intervals = speaker_intervals(by_unit, statistics)
    return {
        key: value
        for name, statistic in statistics.items()
        for key, value in ((name, float(statistic(sums))), (f"{name}_interval", intervals[name]))
    }


def about(predictions: pd.DataFrame, truths: np.ndarray, emotions: Sequence[str]) -> dict[str, Any]:
    """Counts what scores rest on.

    Args:
      predictions: Rows of predictions.csv.
      truths: bool [num_rows, num_emotions], which emotions each row is labelled with.
      emotions: The label set, in label order.
    """
    num_seeds = int(codes_of(predictions, "seed").max() + 1)
    counts = [round(count / num_seeds) for count in truths.sum(axis=0)]
    return {
        "counts": dict(zip(emotions, counts, strict=True)),
        "num_utterances": int(predictions["utterance_id"].nunique()),
        "speakers": sorted({*predictions["speaker"]} - {""}),
        "unit": unit_of(predictions),
        "num_units": int(units_of(predictions).max() + 1),
        "num_seeds": num_seeds,
    }


def per_emotion(tallies: np.ndarray, emotions: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Scores each emotion from tallies [num_seeds, num_emotions, 3]; None where it does not occur."""
    hits, carried, named = np.moveaxis(tallies, -1, 0)
    table = {"precision": ratio(hits, named), "recall": ratio(hits, carried), "f1": f1(tallies)}
    means, counts = {name: values.mean(axis=0) for name, values in table.items()}, carried.mean(axis=0)
    return {
        emotion: {name: float(values[index]) if counts[index] else None for name, values in means.items()}
        | {"count": round(counts[index])}
        for index, emotion in enumerate(emotions)
    }


def with_areas(
    scores: Mapping[str, Mapping[str, Any]], predictions: pd.DataFrame, truths: np.ndarray
) -> dict[str, Any]:
    """Adds the area under its ROC curve to the scores of each emotion, and gives the mean of these areas.

    Args:
      scores: Emotion -> its scores, in label order.
      predictions: Rows of predictions.csv with probabilities; the areas of seeds are averaged.
      truths: bool [num_rows, num_emotions], which emotions each row is labelled with.
    """
    seeds = codes_of(predictions, "seed")
    areas = {name: _area(truths[:, i], predictions[PREFIX + name], seeds) for i, name in enumerate(scores)}
    defined = [area for area in areas.values() if area is not None]
    return {
        "area_under_curve": float(np.mean(defined)) if defined else None,
        "per_emotion": {name: {**numbers, "area_under_curve": areas[name]} for name, numbers in scores.items()},
    }


def _area(truth: np.ndarray, probability: pd.Series, seeds: np.ndarray) -> float | None:
    """Mean over seeds of the area under the curve of one emotion against the rest; None where it has no curve."""
    scores, rows = probability.to_numpy(), [seeds == seed for seed in range(seeds.max() + 1)]
    areas = [sklearn.metrics.roc_auc_score(truth[i], scores[i]) for i in rows if 0 < truth[i].sum() < i.sum()]
    return float(np.mean(areas)) if areas else None


def by_group(
    predictions: pd.DataFrame, score: Callable[[pd.DataFrame], dict[str, Any]]
) -> dict[str, dict[str, dict[str, Any]]]:
    """Scores the rows of each speaker, sex and so on, as far as the corpus tells: group -> member -> scores."""
    return {column: table for column in GROUPS if (table := _by_member(predictions, score, column))}


def _by_member(
    predictions: pd.DataFrame, score: Callable[[pd.DataFrame], dict[str, Any]], column: str
) -> dict[str, dict[str, Any]]:
    """Scores the rows of each value of a column; nothing where there is no such column, or only blanks."""
    if column not in predictions:
        return {}
    known = predictions[predictions[column].notna() & (predictions[column].astype(str) != "")]
    return {str(name): score(rows) for name, rows in known.groupby(column)}
