"""Scores of predictions: unweighted average recall or macro-F1 first, and what puts them into proportion."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import pandas as pd
import sklearn.metrics

from emotion_tf.evaluation import counts
from emotion_tf.evaluation.calibration import uncalibrated
from emotion_tf.evaluation.counts import NUM_BINS, SCORES, UAR, Score, codes_of
from emotion_tf.evaluation.multilabel import memberships
from emotion_tf.evaluation.uncertainty import Tables, speaker_intervals
from emotion_tf.probabilities import FLOOR
from emotion_tf.runs.predictions import GROUPS, PREFIX, emotion_probabilities, is_multi_label

Temperature: TypeAlias = float | pd.Series
Measures: TypeAlias = Mapping[str, tuple[str, Score]]

_OF_PROBABILITIES: Measures = {
    "negative_log_likelihood": ("likelihood", counts.mean_loss),
    "brier": ("brier", counts.mean_loss),
    "expected_calibration_error": ("bins", counts.expected_calibration_error),
}

MEASURES: Measures = {
    **{name: ("counts", SCORES[name]) for name in (UAR, "accuracy", "macro_f1", "weighted_f1")},
    **_OF_PROBABILITIES,
}
"""Name of a score -> the table of sums that it needs, and how it comes of it."""

MULTI_LABEL_MEASURES: Measures = {
    **{name: ("counts", SCORES[name]) for name in ("macro_f1", "micro_f1")},
    "subset_accuracy": ("exact", counts.mean_loss),
    **_OF_PROBABILITIES,
}
"""The same where utterances may have several emotions."""


class _Names(NamedTuple):
    """Which scores are taken of chance, of the majority class, and of each member of a group."""

    chance: tuple[str, ...]
    majority: tuple[str, ...]
    members: tuple[str, ...]


_NAMES = _Names((UAR, "macro_f1"), ("accuracy", UAR, "macro_f1", "weighted_f1"), (UAR, "accuracy"))
_MULTI_LABEL_NAMES = _Names(("macro_f1", "micro_f1"), ("macro_f1", "micro_f1"), ("macro_f1", "micro_f1"))

SHARES = tuple(tenths / 10 for tenths in range(10, 0, -1))
"""Of the clips, the most confident first, whose selective accuracy is taken."""


def scores(
    predictions: pd.DataFrame, emotions: Sequence[str], temperature: Temperature | None = None
) -> dict[str, Any]:
    """Scores one split of a run, or of a crossval, whose folds are pooled and whose seeds are averaged.

    Every number is the mean over seeds of that seed's number. Intervals are of 95 % over speakers, or over dialogues
    where no speakers are named, or over utterances. Emotions that do not occur count for nothing in means over
    emotions.

    Args:
      predictions: Rows of predictions.csv; several emotions of an utterance are joined by "|".
      emotions: The label set, in label order.
      temperature: What the logits were divided by, one number or a Series with the index of `predictions`; adds the
        scores before that.

    Returns:
      What scores.json holds for a split. UAR, accuracy, macro-F1 and weighted F1; where there are probabilities also
      negative log-likelihood (nats), Brier score (in [0, 2]) and expected calibration error, and under `uncalibrated`
      these three before calibration; each with its `_interval`, None under three units. Area under the ROC curve and
      selective accuracy; `per_emotion`, None where an emotion does not occur; chance, majority class, counts,
      speakers, unit (what the intervals are over); `by` speaker and other groups, with intervals over the units of a
      group.

      Where utterances may have several emotions: macro-F1, micro-F1 and subset accuracy (the share of utterances whose
      emotions are all predicted, and no other); binary cross-entropy and Brier score (in [0, 1]), averaged over
      emotions; and the expected calibration error of all pairs of utterance and emotion. Selective accuracy is left
      out; chance is to predict every emotion always.
    """
    is_multi = is_multi_label(predictions)
    measures, names = (MULTI_LABEL_MEASURES, _MULTI_LABEL_NAMES) if is_multi else (MEASURES, _NAMES)
    units, seeds = counts.units_of(predictions), codes_of(predictions, "seed")
    labelled, probabilities = memberships(predictions["label"], emotions), emotion_probabilities(predictions)
    tables = _label_tables(predictions, emotions, units, seeds)
    if not probabilities.empty:
        tables |= _probability_tables(predictions, probabilities, units, seeds)
    found = scores_of(tables, measures) | counts.sample_of(predictions, labelled, emotions)
    found |= counts.chance_and_majority(
        labelled.sum(axis=0), len(labelled), emotions, names.chance, names.majority, is_multi_label=is_multi
    )
    found["per_emotion"] = counts.per_emotion(tables["counts"].sum(axis=0), emotions)
    of_members = {name: measures[name] for name in names.members}
    found["by"] = by_group(predictions, lambda rows: _member_scores(rows, emotions, of_members, found["unit"]))
    found |= {"is_multi_label": True} if is_multi else {}
    if probabilities.empty:
        return found
    found |= with_areas(found["per_emotion"], predictions, labelled)
    found |= {} if is_multi else {"selective_accuracy": selective(predictions)}
    if temperature is not None:
        before = uncalibrated(probabilities, temperature, is_multi_label=is_multi)
        found["uncalibrated"] = scores_of(_probability_tables(predictions, before, units, seeds), measures)
    return found


def scores_of(by_unit: Tables, measures: Measures) -> dict[str, Any]:
    """Takes the measures whose tables, [num_units, num_seeds, ...], are there, each with its interval over units."""

    def mean_over_seeds(sums: Tables, table: str, score: Score) -> np.ndarray:
        return score(sums[table]).mean(axis=-1)

    statistics = {
        name: partial(mean_over_seeds, table=table, score=score)
        for name, (table, score) in measures.items()
        if table in by_unit
    }
    sums = {name: table.sum(axis=0) for name, table in by_unit.items()}
    intervals = speaker_intervals(by_unit, statistics)
    return {
        key: value
        for name, statistic in statistics.items()
        for key, value in ((name, float(statistic(sums))), (f"{name}_interval", intervals[name]))
    }


def quick_score(predictions: pd.DataFrame, emotions: Sequence[str], name: str) -> float:
    """Takes one score of one seed, without an interval.

    Args:
      predictions: Columns label and predicted of predictions.csv; several names a cell are joined by "|".
      emotions: The label set, in label order.
      name: A name of `counts.SCORES`.
    """
    together = np.zeros(len(predictions), int)
    return float(SCORES[name](_label_tables(predictions, emotions, together, together)["counts"][0, 0]))


def _member_scores(predictions: pd.DataFrame, emotions: Sequence[str], measures: Measures, unit: str) -> dict[str, Any]:
    """Takes scores of a part of the rows, with intervals over the units in it: one speaker alone has none."""
    units = codes_of(predictions, "utterance_id" if unit == "utterance" else unit)
    found = scores_of(_label_tables(predictions, emotions, units, codes_of(predictions, "seed")), measures)
    sizes = {"num_utterances": int(predictions["utterance_id"].nunique()), "num_units": int(units.max() + 1)}
    return found | sizes


def confusion(predictions: pd.DataFrame, emotions: Sequence[str]) -> np.ndarray:
    """Counts int64 [num_emotions, num_emotions]: rows are labels, columns what was predicted; all seeds are pooled."""
    index = {emotion: number for number, emotion in enumerate(emotions)}
    places = tuple(predictions[column].map(index).astype(int) for column in ("label", "predicted"))
    confusions = np.zeros((len(emotions), len(emotions)), np.int64)
    np.add.at(confusions, places, 1)
    return confusions


def _label_tables(
    predictions: pd.DataFrame, emotions: Sequence[str], units: np.ndarray, seeds: np.ndarray
) -> dict[str, np.ndarray]:
    """Sums what measures of labels need: counts [num_units, num_seeds, num_emotions, 3], exact [..., 2]."""
    labelled, predicted = (memberships(predictions[column], emotions) for column in ("label", "predicted"))
    table = counts.count_emotions(labelled, predicted, units, seeds)
    is_exact = (labelled == predicted).all(axis=1)
    return {"counts": table, "exact": counts.add_up([is_exact, np.ones(len(units))], table.shape[:2], units, seeds)}


def _probability_tables(
    predictions: pd.DataFrame, probabilities: pd.DataFrame, units: np.ndarray, seeds: np.ndarray
) -> dict[str, np.ndarray]:
    """Sums what measures of probabilities need: likelihood and brier [num_units, num_seeds, 2], bins [..., 15, 3]."""
    likelihood, brier, confidence, hits = (
        _losses_of_sets(predictions, probabilities)
        if is_multi_label(predictions)
        else _losses(predictions, probabilities)
    )
    sizes, ones = (units.max() + 1, seeds.max() + 1), np.ones(len(units))
    # Every confidence falls into a bin of its own: one a clip, or one a pair of utterance and emotion.
    places = [np.repeat(numbers, confidence.size // len(units)) for numbers in (units, seeds)]
    in_bins = [np.ones(confidence.size), hits.ravel(), confidence.ravel()]
    return {
        "likelihood": counts.add_up([likelihood, ones], sizes, units, seeds),
        "brier": counts.add_up([brier, ones], sizes, units, seeds),
        "bins": counts.add_up(in_bins, (*sizes, NUM_BINS), *places, counts.bins_of(confidence.ravel())),
    }


def _losses(predictions: pd.DataFrame, probabilities: pd.DataFrame) -> tuple[np.ndarray, ...]:
    """Likelihood, Brier score, confidence and hits, [num_clips] each."""
    of_label, confidence = (_of_named(probabilities, predictions[column]) for column in ("label", "predicted"))
    likelihood = -np.log(np.maximum(of_label, FLOOR))
    brier = np.square(probabilities.to_numpy()).sum(axis=1) - 2 * of_label + 1
    return likelihood, brier, confidence, (predictions["label"] == predictions["predicted"]).to_numpy()


def _losses_of_sets(predictions: pd.DataFrame, probabilities: pd.DataFrame) -> tuple[np.ndarray, ...]:
    """Likelihood and Brier score [num_utterances], confidence and labels [num_utterances, num_emotions]."""
    labelled, confidence = memberships(predictions["label"], list(probabilities)), probabilities.to_numpy()
    likelihood = -np.log(np.maximum(np.where(labelled, confidence, 1 - confidence), FLOOR)).mean(axis=1)
    return likelihood, np.square(confidence - labelled).mean(axis=1), confidence, labelled


def _of_named(probabilities: pd.DataFrame, names: pd.Series) -> np.ndarray:
    """Picks from each row the probability of the emotion that is named for it: [num_clips]."""
    return probabilities.to_numpy()[np.arange(len(names)), probabilities.columns.get_indexer(names)]


def reliability(predictions: pd.DataFrame, temperature: Temperature | None = None) -> pd.DataFrame:
    """Sets confidence against accuracy.

    Args:
      predictions: Rows of predictions.csv with probabilities; all seeds are pooled.
      temperature: As `scores` takes it; where given, the probabilities are those before calibration.

    Returns:
      One row for each of 15 bins: columns count, confidence and accuracy, the last two NaN where a bin is empty.
    """
    probabilities = emotion_probabilities(predictions)
    if temperature is not None:
        probabilities = uncalibrated(probabilities, temperature, is_multi_label=is_multi_label(predictions))
    together = np.zeros(len(predictions), int)
    [[bins]] = _probability_tables(predictions, probabilities, together, together)["bins"]
    clips, hits, confidences = bins.T
    filled = np.where(clips > 0, clips, np.nan)
    return pd.DataFrame({"count": clips.astype(int), "confidence": confidences / filled, "accuracy": hits / filled})


def roc(predictions: pd.DataFrame, emotions: Sequence[str]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Finds the ROC curve of each emotion against the rest; all seeds are pooled.

    Returns:
      Emotion -> rates of false and of true positives; an emotion of no clips, or of all, has no curve.
    """
    labelled = zip(emotions, memberships(predictions["label"], emotions).T, strict=True)
    return {
        emotion: sklearn.metrics.roc_curve(is_emotion, predictions[PREFIX + emotion])[:2]
        for emotion, is_emotion in labelled
        if 0 < is_emotion.sum() < len(is_emotion)
    }


def selective(predictions: pd.DataFrame) -> dict[str, float]:
    """Takes accuracy on the most confident share of the clips: the mean over seeds.

    Clips of equal confidence count with the mean of their group, so that the order of rows changes nothing. Where a
    share ends within a clip, that much of the clip counts.

    Returns:
      "1.0", "0.9", ... "0.1" of the clips -> accuracy on them.
    """
    seeds = codes_of(predictions, "seed")
    of_seeds = [_most_confident(predictions[seeds == seed]) for seed in range(seeds.max() + 1)]
    return {str(share): float(rate) for share, rate in zip(SHARES, np.mean(of_seeds, axis=0), strict=True)}


def _most_confident(predictions: pd.DataFrame) -> np.ndarray:
    """Accuracy on each of SHARES, of one seed."""
    confidence = _of_named(emotion_probabilities(predictions), predictions["predicted"])
    _, group, sizes = np.unique(-confidence, return_inverse=True, return_counts=True)
    hits = np.bincount(group, predictions["label"] == predictions["predicted"])
    kept = len(predictions) * np.array(SHARES)
    # Hits grow evenly within a group of equal confidence.
    return np.interp(kept, np.append(0, sizes.cumsum()), np.append(0, hits.cumsum())) / kept


def with_areas(
    scores: Mapping[str, Mapping[str, Any]], predictions: pd.DataFrame, labelled: np.ndarray
) -> dict[str, Any]:
    """Adds the area under its ROC curve to the scores of each emotion, and gives the mean of these areas.

    Args:
      scores: Emotion -> its scores, in label order.
      predictions: Rows of predictions.csv with probabilities; the areas of seeds are averaged.
      labelled: bool [num_rows, num_emotions], which emotions each row is labelled with.
    """
    seeds = codes_of(predictions, "seed")
    areas = {name: _area(labelled[:, i], predictions[PREFIX + name], seeds) for i, name in enumerate(scores)}
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
    """Scores the rows of each speaker, sex and so on, as far as the table names them: group -> member -> scores."""
    return {column: table for column in GROUPS if (table := _by_member(predictions, score, column))}


def _by_member(
    predictions: pd.DataFrame, score: Callable[[pd.DataFrame], dict[str, Any]], column: str
) -> dict[str, dict[str, Any]]:
    """Scores the rows of each value of a column; nothing where there is no such column, or only blanks."""
    if column not in predictions:
        return {}
    known = predictions[predictions[column].notna() & (predictions[column].astype(str) != "")]
    return {str(name): score(rows) for name, rows in known.groupby(column)}
