"""Numbers of predictions: unweighted average recall first, and what puts it into proportion."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
import sklearn.metrics

from emotion_tf.predictions import GROUPS, PREFIX
from emotion_tf.uncertainty import Tables, speaker_intervals

NUM_BINS = 15
"""Of equal width over (0, 1], as the literature on calibration has it."""

SMALLEST_PROBABILITY = 1e-30
"""Keeps the logarithm of a probability that was rounded to 0 finite."""

SHARES = tuple(tenths / 10 for tenths in range(10, 0, -1))
"""Of the clips, the most confident first, on which selective accuracy is told."""

Temperature: TypeAlias = float | pd.Series
Measure: TypeAlias = Callable[[np.ndarray], np.ndarray]


def confusion(predictions: pd.DataFrame, emotions: Sequence[str]) -> np.ndarray:
    """Counts [num_emotions, num_emotions]: rows are labels, columns what was predicted."""
    return _confusions(predictions, emotions, *_nobody(predictions))[0, 0]


def unweighted_average_recall(confusions: np.ndarray) -> np.ndarray:
    """Averages the recalls of the emotions that occur, each with the same weight.

    Args:
      confusions: [..., num_emotions, num_emotions] counts, rows are labels.

    Returns:
      [...] in [0, 1].
    """
    totals = confusions.sum(axis=-1)
    return _mean_of_present(_ratio(_hits(confusions), totals), totals)


def accuracy(confusions: np.ndarray) -> np.ndarray:
    """Share of hits: [..., num_emotions, num_emotions] counts -> [...] in [0, 1]."""
    return np.trace(confusions, axis1=-2, axis2=-1) / np.maximum(confusions.sum(axis=(-2, -1)), 1)


def macro_f1(confusions: np.ndarray) -> np.ndarray:
    """Averages F1 over the emotions that occur: [..., num_emotions, num_emotions] counts -> [...] in [0, 1]."""
    return _mean_of_present(_f1(confusions), confusions.sum(axis=-1))


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


def mean_loss(losses: np.ndarray) -> np.ndarray:
    """Divides: [..., 2] sum of a loss and number of clips -> [...] mean."""
    return losses[..., 0] / np.maximum(losses[..., 1], 1)


MEASURES: Mapping[str, tuple[str, Measure]] = {
    "unweighted_average_recall": ("confusion", unweighted_average_recall),
    "accuracy": ("confusion", accuracy),
    "macro_f1": ("confusion", macro_f1),
    "negative_log_likelihood": ("likelihood", mean_loss),
    "brier": ("brier", mean_loss),
    "expected_calibration_error": ("bins", expected_calibration_error),
}
"""Name of a score -> the table of sums that it needs, and how it comes of it."""


def scores(
    predictions: pd.DataFrame, emotions: Sequence[str], temperature: Temperature | None = None
) -> dict[str, Any]:
    """Scores one part of a run, or of a crossval, whose folds are pooled and whose seeds are averaged.

    Every number is the mean over seeds of that seed's number. Intervals are of 95 % over speakers, or over utterances
    where nobody is named. Emotions that do not occur count for nothing in means over emotions.

    Args:
      predictions: Rows of predictions.csv.
      emotions: The label set, in label order.
      temperature: What the logits were divided by, one number or a Series with the index of `predictions`; adds the
        scores before that.

    Returns:
      What scores.json holds for a part. UAR, accuracy and macro-F1; where there are probabilities also negative
      log-likelihood (nats), Brier score (in [0, 2]) and expected calibration error, and under `uncalibrated` these
      three before calibration; each with its `_interval`, None under three speakers. Area under the ROC curve and
      selective accuracy; `per_emotion`, None where an emotion does not occur; chance, majority class, counts,
      speakers; `by` speaker and other groups.
    """
    units, seeds = _units(predictions), _codes(predictions, "seed")
    confusions = _confusions(predictions, emotions, units, seeds)
    part = _measured({"confusion": confusions}) | _proportions(predictions, emotions)
    part["per_emotion"] = _per_emotion(confusions.sum(axis=0), emotions)
    part["by"] = {name: table for name in GROUPS if (table := _by_group(predictions, emotions, name))}
    probabilities = _probabilities(predictions)
    if probabilities.empty:
        return part
    part |= _measured(_probability_tables(predictions, probabilities, units, seeds))
    part |= _areas(predictions, part["per_emotion"])
    part["selective_accuracy"] = selective(predictions)
    if temperature is not None:
        before = uncalibrated(probabilities, temperature)
        part["uncalibrated"] = _measured(_probability_tables(predictions, before, units, seeds))
    return part


def uncalibrated(probabilities: pd.DataFrame, temperature: Temperature) -> pd.DataFrame:
    """Undoes the division of logits by a temperature: powers of the probabilities, renormalised.

    Args:
      probabilities: One row a clip, one column an emotion.
      temperature: One number, or a Series with the index of `probabilities`.

    Returns:
      Probabilities of the same clips and emotions.
    """
    if isinstance(temperature, pd.Series):
        temperature = temperature.reindex(probabilities.index)
    logits = np.log(probabilities.clip(lower=SMALLEST_PROBABILITY)).mul(temperature, axis=0)
    powers = np.exp(logits.sub(logits.max(axis=1), axis=0))
    return powers.div(powers.sum(axis=1), axis=0)


def reliability(predictions: pd.DataFrame, temperature: Temperature | None = None) -> pd.DataFrame:
    """Sets confidence against accuracy.

    Args:
      predictions: Rows of predictions.csv with probabilities; all seeds are pooled.
      temperature: As `scores` takes it; where given, the probabilities are those before calibration.

    Returns:
      One row for each of 15 bins: columns count, confidence and accuracy, the last two NaN where a bin is empty.
    """
    probabilities = _probabilities(predictions)
    if temperature is not None:
        probabilities = uncalibrated(probabilities, temperature)
    bins = _probability_tables(predictions, probabilities, *_nobody(predictions))["bins"][0, 0]
    clips, hits, confidences = bins.T
    filled = np.where(clips > 0, clips, np.nan)
    return pd.DataFrame({"count": clips.astype(int), "confidence": confidences / filled, "accuracy": hits / filled})


def roc(predictions: pd.DataFrame, emotions: Sequence[str]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Finds the ROC curve of each emotion against the rest; all seeds are pooled.

    Returns:
      Emotion -> rates of false and of true positives; an emotion of no clips, or of all, has no curve.
    """
    curves = {}
    for emotion in emotions:
        is_emotion = predictions["label"] == emotion
        if is_emotion.nunique() == 2:
            curves[emotion] = sklearn.metrics.roc_curve(is_emotion, predictions[PREFIX + emotion])[:2]
    return curves


def selective(predictions: pd.DataFrame) -> dict[str, float]:
    """Tells accuracy on the most confident share of the clips: the mean over seeds.

    Clips of equal confidence count with the mean of their group, so that the order of rows changes nothing. Where a
    share ends within a clip, that much of the clip counts.

    Returns:
      "1.0", "0.9", ... "0.1" of the clips -> accuracy on them.
    """
    of_seeds = [_most_confident(rows) for rows in _by_seed(predictions)]
    return {str(share): float(rate) for share, rate in zip(SHARES, np.mean(of_seeds, axis=0), strict=True)}


def _most_confident(predictions: pd.DataFrame) -> np.ndarray:
    """Accuracy on each of SHARES, of one seed."""
    confidence = _of_named(_probabilities(predictions), predictions["predicted"])
    _, group, sizes = np.unique(-confidence, return_inverse=True, return_counts=True)
    hits = np.bincount(group, predictions["label"] == predictions["predicted"])
    kept = len(predictions) * np.array(SHARES)
    # Hits grow evenly within a group of equal confidence.
    return np.interp(kept, np.append(0, sizes.cumsum()), np.append(0, hits.cumsum())) / kept


def _ratio(numerators: np.ndarray, denominators: np.ndarray) -> np.ndarray:
    """Divides; 0 where there is nothing to divide by."""
    return np.divide(numerators, denominators, out=np.zeros(denominators.shape), where=denominators > 0)


def _mean_of_present(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Averages values [..., num_emotions] over the emotions whose counts [..., num_emotions] are not 0."""
    present = counts > 0
    return (values * present).sum(axis=-1) / np.maximum(present.sum(axis=-1), 1)


def _hits(confusions: np.ndarray) -> np.ndarray:
    return np.diagonal(confusions, axis1=-2, axis2=-1)


def _f1(confusions: np.ndarray) -> np.ndarray:
    """Harmonic means of precision and recall: [..., num_emotions, num_emotions] -> [..., num_emotions]."""
    return _ratio(2 * _hits(confusions), confusions.sum(axis=-1) + confusions.sum(axis=-2))


def _measured(by_unit: Tables) -> dict[str, Any]:
    """Takes the measures whose tables, [num_units, num_seeds, ...], are there, each with its interval over units."""

    def mean_over_seeds(sums: Tables, table: str, measure: Measure) -> np.ndarray:
        return measure(sums[table]).mean(axis=-1)

    measures = {
        name: partial(mean_over_seeds, table=table, measure=measure)
        for name, (table, measure) in MEASURES.items()
        if table in by_unit
    }
    sums = {name: table.sum(axis=0) for name, table in by_unit.items()}
    intervals = speaker_intervals(by_unit, measures)
    return {
        key: value
        for name, measure in measures.items()
        for key, value in ((name, float(measure(sums))), (f"{name}_interval", intervals[name]))
    }


def _confusions(predictions: pd.DataFrame, emotions: Sequence[str], units: np.ndarray, seeds: np.ndarray) -> np.ndarray:
    """Counts [num_units, num_seeds, num_emotions, num_emotions]."""
    index = {emotion: number for number, emotion in enumerate(emotions)}
    labels, predicted = (predictions[column].map(index).astype(int) for column in ("label", "predicted"))
    counts = np.zeros((units.max() + 1, seeds.max() + 1, len(emotions), len(emotions)), np.int64)
    np.add.at(counts, (units, seeds, labels, predicted), 1)
    return counts


def _probability_tables(
    predictions: pd.DataFrame, probabilities: pd.DataFrame, units: np.ndarray, seeds: np.ndarray
) -> dict[str, np.ndarray]:
    """Sums what MEASURES of probabilities need: [num_units, num_seeds, ...] each."""
    of_label, confidence = (_of_named(probabilities, predictions[column]) for column in ("label", "predicted"))
    likelihood = -np.log(np.maximum(of_label, SMALLEST_PROBABILITY))
    brier = np.square(probabilities.to_numpy()).sum(axis=1) - 2 * of_label + 1
    hits = (predictions["label"] == predictions["predicted"]).to_numpy()
    ones = np.ones(len(predictions))
    bins = np.searchsorted(np.arange(1, NUM_BINS) / NUM_BINS, confidence)  # An edge belongs to the bin below it.
    sizes = units.max() + 1, seeds.max() + 1
    return {
        "likelihood": _summed([likelihood, ones], sizes, units, seeds),
        "brier": _summed([brier, ones], sizes, units, seeds),
        "bins": _summed([ones, hits, confidence], (*sizes, NUM_BINS), units, seeds, bins),
    }


def _summed(columns: Sequence[np.ndarray], sizes: tuple[int, ...], *places: np.ndarray) -> np.ndarray:
    """Sums columns [num_clips] of numbers of clips at the places of these clips: [*sizes, num_columns]."""
    sums = np.zeros((*sizes, len(columns)))
    np.add.at(sums, places, np.stack(columns, axis=-1))
    return sums


def _probabilities(predictions: pd.DataFrame) -> pd.DataFrame:
    """The columns of probabilities, named after their emotions."""
    columns = [column for column in predictions if column.startswith(PREFIX)]
    return predictions[columns].rename(columns=lambda column: column.removeprefix(PREFIX))


def _of_named(probabilities: pd.DataFrame, names: pd.Series) -> np.ndarray:
    """Picks from each row the probability of the emotion that is named for it: [num_clips]."""
    return probabilities.to_numpy()[np.arange(len(names)), probabilities.columns.get_indexer(names)]


def _units(predictions: pd.DataFrame) -> np.ndarray:
    """Numbers of what is resampled: speakers, or utterances where nobody is named."""
    return _codes(predictions, "speaker" if (predictions["speaker"] != "").any() else "utterance_id")


def _codes(predictions: pd.DataFrame, column: str) -> np.ndarray:
    """Numbers the sorted values of a column from 0; all 0 where there is no such column."""
    if column not in predictions:
        return np.zeros(len(predictions), int)
    return pd.factorize(predictions[column], sort=True)[0]  # Sorted, so that the order of rows changes nothing.


def _nobody(predictions: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Units and seeds that tell no clips apart."""
    return np.zeros(len(predictions), int), np.zeros(len(predictions), int)


def _by_seed(predictions: pd.DataFrame) -> list[pd.DataFrame]:
    return [rows for _, rows in predictions.groupby("seed")] if "seed" in predictions else [predictions]


def _proportions(predictions: pd.DataFrame, emotions: Sequence[str]) -> dict[str, Any]:
    """What puts a score into proportion."""
    num_seeds = int(_codes(predictions, "seed").max() + 1)
    found = predictions["label"].value_counts()
    counts = {emotion: round(found.get(emotion, 0) / num_seeds) for emotion in emotions}
    commonest = max(emotions, key=lambda emotion: found.get(emotion, 0))
    chance = 1 / len(found)
    return {
        "chance": {"unweighted_average_recall": chance},
        "majority": {
            "emotion": commonest,
            "accuracy": float(found[commonest] / len(predictions)),
            "unweighted_average_recall": chance,
        },
        "counts": counts,
        "num_utterances": int(predictions["utterance_id"].nunique()),
        "speakers": sorted({*predictions["speaker"]} - {""}),
        "num_seeds": num_seeds,
    }


def _per_emotion(confusions: np.ndarray, emotions: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Scores of each emotion from [num_seeds, num_emotions, num_emotions] counts."""
    hits, labels = _hits(confusions), confusions.sum(axis=-1)
    table = {
        "precision": _ratio(hits, confusions.sum(axis=-2)),
        "recall": _ratio(hits, labels),
        "f1": _f1(confusions),
    }
    means = {name: values.mean(axis=0) for name, values in table.items()}
    counts = labels.mean(axis=0)
    return {
        emotion: {name: float(values[index]) if counts[index] else None for name, values in means.items()}
        | {"count": round(counts[index])}
        for index, emotion in enumerate(emotions)
    }


def _areas(predictions: pd.DataFrame, per_emotion: Mapping[str, Any]) -> dict[str, Any]:
    """Adds the area under its ROC curve to the scores of each emotion, and gives the mean of these areas."""
    seeds = _by_seed(predictions)
    areas = {emotion: _area(seeds, emotion) for emotion in per_emotion}
    defined = [area for area in areas.values() if area is not None]
    return {
        "area_under_curve": float(np.mean(defined)) if defined else None,
        "per_emotion": {name: {**numbers, "area_under_curve": areas[name]} for name, numbers in per_emotion.items()},
    }


def _area(seeds: Sequence[pd.DataFrame], emotion: str) -> float | None:
    """Mean over seeds of the area under the curve of one emotion against the rest; None where it has no curve."""
    truths = [(rows["label"] == emotion, rows[PREFIX + emotion]) for rows in seeds]
    areas = [sklearn.metrics.roc_auc_score(truth, score) for truth, score in truths if truth.nunique() == 2]
    return float(np.mean(areas)) if areas else None


def _by_group(predictions: pd.DataFrame, emotions: Sequence[str], column: str) -> dict[str, dict[str, Any]]:
    """Scores the rows of each value of a column; nothing where there is no such column, or only blanks."""
    if column not in predictions:
        return {}
    known = predictions[predictions[column].notna() & (predictions[column].astype(str) != "")]
    return {str(name): _plain_scores(rows, emotions) for name, rows in known.groupby(column)}


def _plain_scores(predictions: pd.DataFrame, emotions: Sequence[str]) -> dict[str, Any]:
    one, _ = _nobody(predictions)
    by_seed = _confusions(predictions, emotions, one, _codes(predictions, "seed"))[0]
    return {
        "unweighted_average_recall": float(unweighted_average_recall(by_seed).mean()),
        "accuracy": float(accuracy(by_seed).mean()),
        "num_utterances": int(predictions["utterance_id"].nunique()),
    }
