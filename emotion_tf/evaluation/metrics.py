"""Numbers of predictions: unweighted average recall or macro-F1 first, and what puts it into proportion."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import sklearn.metrics

from emotion_tf.evaluation import counts, multilabel
from emotion_tf.evaluation.counts import NUM_BINS, Measures, Temperature
from emotion_tf.probabilities import FLOOR
from emotion_tf.runs.predictions import PREFIX, is_multi_label

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

HEADLINES = {"unweighted_average_recall": "UAR", "macro_f1": "macro-F1"}
"""The scores that choose among epochs and stand first, and what they are called."""

UAR = "unweighted_average_recall"

TITLES = HEADLINES | {"accuracy": "accuracy", "weighted_f1": "weighted F1", "micro_f1": "micro-F1"}
"""Name of a score -> how a person writes it."""

SHARES = tuple(tenths / 10 for tenths in range(10, 0, -1))
"""Of the clips, the most confident first, on which selective accuracy is told."""


def confusion(predictions: pd.DataFrame, emotions: Sequence[str]) -> np.ndarray:
    """Counts [num_emotions, num_emotions]: rows are labels, columns what was predicted."""
    return _confusions(predictions, emotions, *counts.nobody(predictions))[0, 0]


def unweighted_average_recall(confusions: np.ndarray) -> np.ndarray:
    """Averages the recalls of the emotions that occur, each with the same weight.

    Args:
      confusions: [..., num_emotions, num_emotions] counts, rows are labels.

    Returns:
      [...] in [0, 1].
    """
    totals = confusions.sum(axis=-1)
    return counts.mean_of_present(counts.ratio(_hits(confusions), totals), totals)


def accuracy(confusions: np.ndarray) -> np.ndarray:
    """Share of hits: [..., num_emotions, num_emotions] counts -> [...] in [0, 1]."""
    return np.trace(confusions, axis1=-2, axis2=-1) / np.maximum(confusions.sum(axis=(-2, -1)), 1)


def macro_f1(confusions: np.ndarray) -> np.ndarray:
    """Averages F1 over the emotions that occur: [..., num_emotions, num_emotions] counts -> [...] in [0, 1]."""
    return counts.macro_f1(_tallies(confusions))


def weighted_f1(confusions: np.ndarray) -> np.ndarray:
    """Averages F1 over emotions by their clips: [..., num_emotions, num_emotions] counts -> [...] in [0, 1]."""
    clips = confusions.sum(axis=-1)
    return (counts.f1(_tallies(confusions)) * clips).sum(axis=-1) / np.maximum(clips.sum(axis=-1), 1)


MEASURES: Measures = {
    "unweighted_average_recall": ("confusion", unweighted_average_recall),
    "accuracy": ("confusion", accuracy),
    "macro_f1": ("confusion", macro_f1),
    "weighted_f1": ("confusion", weighted_f1),
    "negative_log_likelihood": ("likelihood", counts.mean_loss),
    "brier": ("brier", counts.mean_loss),
    "expected_calibration_error": ("bins", counts.expected_calibration_error),
}
"""Name of a score -> the table of sums that it needs, and how it comes of it."""


def scores(
    predictions: pd.DataFrame, emotions: Sequence[str], temperature: Temperature | None = None
) -> dict[str, Any]:
    """Scores one part of a run, or of a crossval, whose folds are pooled and whose seeds are averaged.

    Every number is the mean over seeds of that seed's number. Intervals are of 95 % over speakers, or over dialogues
    where nobody is named, or over utterances. Emotions that do not occur count for nothing in means over emotions.

    Args:
      predictions: Rows of predictions.csv; those of a multi-label table are scored by `multilabel.scores`.
      emotions: The label set, in label order.
      temperature: What the logits were divided by, one number or a Series with the index of `predictions`; adds the
        scores before that.

    Returns:
      What scores.json holds for a part. UAR, accuracy, macro-F1 and weighted F1; where there are probabilities also
      negative log-likelihood (nats), Brier score (in [0, 2]) and expected calibration error, and under `uncalibrated`
      these three before calibration; each with its `_interval`, None under three units. Area under the ROC curve and
      selective accuracy; `per_emotion`, None where an emotion does not occur; chance, majority class, counts,
      speakers, unit (what the intervals are over); `by` speaker and other groups.
    """
    if is_multi_label(predictions):
        return multilabel.scores(predictions, emotions, temperature)
    units, seeds = counts.units_of(predictions), counts.codes_of(predictions, "seed")
    truths, probabilities = _truths(predictions, emotions), counts.probabilities_of(predictions)
    tables = {"confusion": _confusions(predictions, emotions, units, seeds)}
    if not probabilities.empty:
        tables |= _probability_tables(predictions, probabilities, units, seeds)
    part = counts.measured(tables, MEASURES) | _proportions(predictions, truths, emotions)
    part["per_emotion"] = counts.per_emotion(_tallies(tables["confusion"].sum(axis=0)), emotions)
    part["by"] = counts.by_group(predictions, lambda rows: _plain_scores(rows, emotions))
    if probabilities.empty:
        return part
    part |= counts.with_areas(part["per_emotion"], predictions, truths)
    part["selective_accuracy"] = selective(predictions)
    if temperature is not None:
        before = uncalibrated(probabilities, temperature)
        part["uncalibrated"] = counts.measured(_probability_tables(predictions, before, units, seeds), MEASURES)
    return part


def quick_score(predictions: pd.DataFrame, emotions: Sequence[str], name: str) -> float:
    """Takes one score of one seed, without an interval.

    Args:
      predictions: Columns label and predicted of predictions.csv; several names a cell are joined by "|".
      emotions: The label set, in label order.
      name: "unweighted_average_recall", "accuracy", "macro_f1" or "weighted_f1"; "macro_f1" or "micro_f1" where names
        are joined.
    """
    if is_multi_label(predictions):
        truths, decided = (multilabel.memberships(predictions[column], emotions) for column in ("label", "predicted"))
        return {"macro_f1": multilabel.macro_f1, "micro_f1": multilabel.micro_f1}[name](truths, decided)
    return float(MEASURES[name][1](confusion(predictions, emotions)))


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
    logits = np.log(probabilities.clip(lower=FLOOR)).mul(temperature, axis=0)
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
    probabilities = counts.probabilities_of(predictions)
    if is_multi_label(predictions):
        tables = multilabel.probability_tables
        probabilities = probabilities if temperature is None else multilabel.uncalibrated(probabilities, temperature)
    else:
        tables = _probability_tables
        probabilities = probabilities if temperature is None else uncalibrated(probabilities, temperature)
    bins = tables(predictions, probabilities, *counts.nobody(predictions))["bins"][0, 0]
    clips, hits, confidences = bins.T
    filled = np.where(clips > 0, clips, np.nan)
    return pd.DataFrame({"count": clips.astype(int), "confidence": confidences / filled, "accuracy": hits / filled})


def roc(predictions: pd.DataFrame, emotions: Sequence[str]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Finds the ROC curve of each emotion against the rest; all seeds are pooled.

    Returns:
      Emotion -> rates of false and of true positives; an emotion of no clips, or of all, has no curve.
    """
    truths = zip(emotions, _truths(predictions, emotions).T, strict=True)
    return {
        emotion: sklearn.metrics.roc_curve(is_emotion, predictions[PREFIX + emotion])[:2]
        for emotion, is_emotion in truths
        if 0 < is_emotion.sum() < len(is_emotion)
    }


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
    confidence = _of_named(counts.probabilities_of(predictions), predictions["predicted"])
    _, group, sizes = np.unique(-confidence, return_inverse=True, return_counts=True)
    hits = np.bincount(group, predictions["label"] == predictions["predicted"])
    kept = len(predictions) * np.array(SHARES)
    # Hits grow evenly within a group of equal confidence.
    return np.interp(kept, np.append(0, sizes.cumsum()), np.append(0, hits.cumsum())) / kept


def _hits(confusions: np.ndarray) -> np.ndarray:
    return np.diagonal(confusions, axis1=-2, axis2=-1)


def _tallies(confusions: np.ndarray) -> np.ndarray:
    """Hits, labels and guesses of each emotion: [..., num_emotions, num_emotions] -> [..., num_emotions, 3]."""
    return np.stack([_hits(confusions), confusions.sum(axis=-1), confusions.sum(axis=-2)], axis=-1)


def _truths(predictions: pd.DataFrame, emotions: Sequence[str]) -> np.ndarray:
    """Which emotions each row is labelled with: bool [num_clips, num_emotions]."""
    return multilabel.memberships(predictions["label"], emotions)


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
    likelihood = -np.log(np.maximum(of_label, FLOOR))
    brier = np.square(probabilities.to_numpy()).sum(axis=1) - 2 * of_label + 1
    hits = (predictions["label"] == predictions["predicted"]).to_numpy()
    ones = np.ones(len(predictions))
    sizes = units.max() + 1, seeds.max() + 1
    return {
        "likelihood": counts.summed([likelihood, ones], sizes, units, seeds),
        "brier": counts.summed([brier, ones], sizes, units, seeds),
        "bins": counts.summed([ones, hits, confidence], (*sizes, NUM_BINS), units, seeds, counts.bins_of(confidence)),
    }


def _of_named(probabilities: pd.DataFrame, names: pd.Series) -> np.ndarray:
    """Picks from each row the probability of the emotion that is named for it: [num_clips]."""
    return probabilities.to_numpy()[np.arange(len(names)), probabilities.columns.get_indexer(names)]


def _by_seed(predictions: pd.DataFrame) -> list[pd.DataFrame]:
    return [rows for _, rows in predictions.groupby("seed")] if "seed" in predictions else [predictions]


def _proportions(predictions: pd.DataFrame, truths: np.ndarray, emotions: Sequence[str]) -> dict[str, Any]:
    """What puts a score into proportion."""
    shares = truths.mean(axis=0)
    num_found, commonest = np.count_nonzero(shares), int(shares.argmax())
    chance = 1 / num_found
    f1_of_commonest = 2 * shares[commonest] / (1 + shares[commonest])
    return {
        # Of naming each emotion that occurs equally often, whatever is heard.
        "chance": {UAR: chance, "macro_f1": float((2 * shares * chance / (shares + chance)).sum() / num_found)},
        "majority": {
            "emotion": emotions[commonest],
            "accuracy": float(shares[commonest]),
            UAR: chance,
            "macro_f1": float(f1_of_commonest / num_found),
            "weighted_f1": float(f1_of_commonest * shares[commonest]),
        },
        **counts.about(predictions, truths, emotions),
    }


def _plain_scores(predictions: pd.DataFrame, emotions: Sequence[str]) -> dict[str, Any]:
    one, _ = counts.nobody(predictions)
    of_seeds = _confusions(predictions, emotions, one, counts.codes_of(predictions, "seed"))[0]
    return {
        UAR: float(unweighted_average_recall(of_seeds).mean()),
        "accuracy": float(accuracy(of_seeds).mean()),
        "num_utterances": int(predictions["utterance_id"].nunique()),
    }
