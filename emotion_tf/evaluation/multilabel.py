"""Several emotions an utterance: sets of names, thresholds, and the scores of both."""

from collections.abc import Sequence
from itertools import compress
from typing import Any

import numpy as np
import pandas as pd

from emotion_tf.evaluation import counts
from emotion_tf.evaluation.counts import NUM_BINS, Measures, Temperature
from emotion_tf.probabilities import FLOOR
from emotion_tf.runs.predictions import SEPARATOR


def memberships(names: Sequence[str], emotions: Sequence[str]) -> np.ndarray:
    """Tells which emotions each cell names.

    Args:
      names: One cell an utterance: names joined by "|".
      emotions: The label set, in label order.

    Returns:
      bool [num_utterances, num_emotions].

    Raises:
      ValueError: A name outside the label set.
    """
    codes, cells = pd.factorize(np.asarray(names, dtype=object))
    index = {emotion: number for number, emotion in enumerate(emotions)}
    of_cells = np.zeros((len(cells), len(emotions)), bool)
    for row, cell in zip(of_cells, cells, strict=True):
        for name in cell.split(SEPARATOR):
            if name not in index:
                raise ValueError(f"{name!r} is none of {', '.join(emotions)}")
            row[index[name]] = True
    return of_cells[codes]


def joined(memberships: np.ndarray, emotions: Sequence[str]) -> list[str]:
    """Writes the emotions of each utterance, bool [num_utterances, num_emotions], as names joined by "|"."""
    return [SEPARATOR.join(compress(emotions, row)) for row in memberships.tolist()]


def fit_thresholds(probabilities: np.ndarray, memberships: np.ndarray) -> np.ndarray:
    """Finds for each emotion the threshold of the best F1 on the utterances given.

    A threshold lies midway between two neighbouring probabilities, never on one; of several that are equally good, the
    middle one is taken. An emotion that no utterance carries gets 1: there is nothing to fit.

    Args:
      probabilities: [num_utterances, num_emotions] in [0, 1].
      memberships: bool [num_utterances, num_emotions].

    Returns:
      float64 [num_emotions] in (0, 1].
    """
    columns = zip(np.asarray(probabilities, np.float64).T, np.asarray(memberships, bool).T, strict=True)
    return np.array([_best_threshold(scores, truths) for scores, truths in columns])


def _best_threshold(scores: np.ndarray, truths: np.ndarray) -> float:
    if not truths.any():
        return 1.0
    order = np.argsort(-scores, kind="stable")
    ranked = np.append(scores[order], 0.0)
    # The first n utterances are named: n goes from 1 to all of them.
    f1 = 2 * np.cumsum(truths[order]) / (np.arange(1, len(ranked)) + truths.sum())
    f1[ranked[:-1] == ranked[1:]] = -1  # No threshold parts equal probabilities.
    best = np.flatnonzero(f1 >= f1.max() - 1e-12)
    cut = best[len(best) // 2]
    return float(max(ranked[cut] + ranked[cut + 1], np.finfo(np.float32).tiny) / 2)


def decide(probabilities: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """Names the emotions that reach their thresholds; where none does, the one that comes closest by ratio.

    Args:
      probabilities: [num_utterances, num_emotions].
      thresholds: [num_emotions].

    Returns:
      bool [num_utterances, num_emotions], at least one a row.
    """
    decided = probabilities >= thresholds
    closest = np.argmax(probabilities / np.maximum(thresholds, np.finfo(np.float32).tiny), axis=1)
    none = ~decided.any(axis=1)
    decided[none, closest[none]] = True
    return decided


def macro_f1(memberships: np.ndarray, decided: np.ndarray) -> float:
    """Averages F1 over the emotions that occur: bool [num_utterances, num_emotions] twice -> in [0, 1]."""
    return float(counts.macro_f1(tally(memberships, decided)))


def micro_f1(memberships: np.ndarray, decided: np.ndarray) -> float:
    """Takes F1 over all pairs of utterance and emotion: bool [num_utterances, num_emotions] twice -> in [0, 1]."""
    return float(counts.f1(tally(memberships, decided).sum(axis=0)))


def tally(memberships: np.ndarray, decided: np.ndarray) -> np.ndarray:
    """Counts hits, utterances that carry the emotion and utterances that are said to: [num_emotions, 3]."""
    return np.stack([memberships & decided, memberships, decided], axis=-1).sum(axis=0)


def _micro_f1(tallies: np.ndarray) -> np.ndarray:
    return counts.f1(tallies.sum(axis=-2))


MEASURES: Measures = {
    "macro_f1": ("tally", counts.macro_f1),
    "micro_f1": ("tally", _micro_f1),
    "subset_accuracy": ("exact", counts.mean_loss),
    "negative_log_likelihood": ("likelihood", counts.mean_loss),
    "brier": ("brier", counts.mean_loss),
    "expected_calibration_error": ("bins", counts.expected_calibration_error),
}
"""Name of a score -> the table of sums that it needs, and how it comes of it."""


def scores(
    predictions: pd.DataFrame, emotions: Sequence[str], temperature: Temperature | None = None
) -> dict[str, Any]:
    """Scores one part of a multi-label run, as `metrics.scores` does where utterances have one emotion each.

    Args:
      predictions: Rows of predictions.csv; names of several emotions are joined by "|".
      emotions: The label set, in label order.
      temperature: What the logits were divided by, one number or a Series with the index of `predictions`; adds the
        scores before that.

    Returns:
      What scores.json holds for a part. Macro-F1, micro-F1 and subset accuracy (the share of utterances whose emotions
      are all named, and no other); where there are probabilities also, averaged over emotions, binary cross-entropy as
      negative log-likelihood (nats) and Brier score (in [0, 1]), the expected calibration error of all pairs of
      utterance and emotion, and under `uncalibrated` these three before calibration; each with its `_interval`, None
      under three units. `per_emotion`, None where an emotion does not occur; chance (of naming every emotion always),
      majority (of naming the commonest always), counts, speakers, unit; `by` speaker and other groups.
    """
    units, seeds = counts.units_of(predictions), counts.codes_of(predictions, "seed")
    truths, probabilities = memberships(predictions["label"], emotions), counts.probabilities_of(predictions)
    tables = _tables(predictions, emotions, units, seeds)
    if not probabilities.empty:
        tables |= probability_tables(predictions, probabilities, units, seeds)
    part = {"is_multi_label": True} | counts.measured(tables, MEASURES) | _proportions(predictions, truths, emotions)
    part["per_emotion"] = counts.per_emotion(tables["tally"].sum(axis=0), emotions)
    part["by"] = counts.by_group(predictions, lambda rows: _plain_scores(rows, emotions))
    if probabilities.empty:
        return part
    part |= counts.with_areas(part["per_emotion"], predictions, truths)
    if temperature is not None:
        before = uncalibrated(probabilities, temperature)
        part["uncalibrated"] = counts.measured(probability_tables(predictions, before, units, seeds), MEASURES)
    return part


def uncalibrated(probabilities: pd.DataFrame, temperature: Temperature) -> pd.DataFrame:
    """Undoes the division of logits by a temperature, of each emotion on its own.

    Args:
      probabilities: One row an utterance, one column an emotion.
      temperature: One number, or a Series with the index of `probabilities`.

    Returns:
      Probabilities of the same utterances and emotions.
    """
    if isinstance(temperature, pd.Series):
        temperature = temperature.reindex(probabilities.index)
    logits = np.log(probabilities.clip(lower=FLOOR))
    logits -= np.log((1 - probabilities).clip(lower=FLOOR))
    return 1 / (1 + np.exp(-logits.mul(temperature, axis=0)))


def probability_tables(
    predictions: pd.DataFrame, probabilities: pd.DataFrame, units: np.ndarray, seeds: np.ndarray
) -> dict[str, np.ndarray]:
    """Sums what MEASURES of probabilities need: [num_units, num_seeds, ...] each."""
    truths, shares = memberships(predictions["label"], list(probabilities)), probabilities.to_numpy()
    likelihood = -np.log(np.maximum(np.where(truths, shares, 1 - shares), FLOOR)).mean(axis=1)
    brier = np.square(shares - truths).mean(axis=1)
    ones, sizes = np.ones(len(predictions)), (units.max() + 1, seeds.max() + 1)
    # Every pair of utterance and emotion falls into a bin of its own.
    pairs = np.repeat(units, shares.shape[1]), np.repeat(seeds, shares.shape[1]), counts.bins_of(shares.ravel())
    columns = [np.ones(shares.size), truths.ravel(), shares.ravel()]
    return {
        "likelihood": counts.summed([likelihood, ones], sizes, units, seeds),
        "brier": counts.summed([brier, ones], sizes, units, seeds),
        "bins": counts.summed(columns, (*sizes, NUM_BINS), *pairs),
    }


def _tables(
    predictions: pd.DataFrame, emotions: Sequence[str], units: np.ndarray, seeds: np.ndarray
) -> dict[str, np.ndarray]:
    """Sums what MEASURES of names need: tally [num_units, num_seeds, num_emotions, 3], exact [..., 2]."""
    truths, decided = (memberships(predictions[column], emotions) for column in ("label", "predicted"))
    sizes = units.max() + 1, seeds.max() + 1
    tallies = np.zeros((*sizes, len(emotions), 3))
    np.add.at(tallies, (units, seeds), np.stack([truths & decided, truths, decided], axis=-1))
    is_exact = (truths == decided).all(axis=1)
    return {"tally": tallies, "exact": counts.summed([is_exact, np.ones(len(truths))], sizes, units, seeds)}


def _proportions(predictions: pd.DataFrame, truths: np.ndarray, emotions: Sequence[str]) -> dict[str, Any]:
    """What puts a score into proportion."""
    shares = truths.mean(axis=0)
    commonest, num_found = int(shares.argmax()), np.count_nonzero(shares)
    of_all, labels = 2 * shares / (1 + shares), shares.sum()
    return {
        "chance": {"macro_f1": float(of_all.sum() / num_found), "micro_f1": float(2 * labels / (labels + len(shares)))},
        "majority": {
            "emotion": emotions[commonest],
            "macro_f1": float(of_all[commonest] / num_found),
            "micro_f1": float(2 * shares[commonest] / (labels + 1)),
        },
        **counts.about(predictions, truths, emotions),
    }


def _plain_scores(predictions: pd.DataFrame, emotions: Sequence[str]) -> dict[str, Any]:
    one, _ = counts.nobody(predictions)
    of_seeds = _tables(predictions, emotions, one, counts.codes_of(predictions, "seed"))["tally"][0]
    return {
        "macro_f1": float(counts.macro_f1(of_seeds).mean()),
        "micro_f1": float(_micro_f1(of_seeds).mean()),
        "num_utterances": int(predictions["utterance_id"].nunique()),
    }
