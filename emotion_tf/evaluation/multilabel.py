"""Several emotions an utterance: sets of names, and the thresholds from which they are predicted."""

from collections.abc import Sequence
from itertools import compress

import numpy as np
import pandas as pd

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


def with_names(
    table: pd.DataFrame, emotions: Sequence[str], *, label: np.ndarray, predicted: np.ndarray
) -> pd.DataFrame:
    """Writes sets of emotions into the columns label and predicted of predictions.csv.

    Args:
      table: One row an utterance.
      emotions: The label set, in label order.
      label, predicted: bool [num_utterances, num_emotions].
    """
    return table.assign(label=joined(label, emotions), predicted=joined(predicted, emotions))


def fit_thresholds(probabilities: np.ndarray, memberships: np.ndarray) -> np.ndarray:
    """Finds for each emotion the threshold of the best F1 on the utterances given.

    A threshold lies midway between two neighbouring probabilities, never on one; of several that are equally good, the
    middle one is taken. An emotion that no utterance is labelled with gets 1: there is nothing to fit.

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
    # The emotion is predicted of the first n utterances: n goes from 1 to all of them.
    f1 = 2 * np.cumsum(truths[order]) / (np.arange(1, len(ranked)) + truths.sum())
    f1[ranked[:-1] == ranked[1:]] = -1  # No threshold parts equal probabilities.
    best = np.flatnonzero(f1 >= f1.max() - 1e-12)
    cut = best[len(best) // 2]
    return float(max(ranked[cut] + ranked[cut + 1], np.finfo(np.float32).tiny) / 2)


def decide(probabilities: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """Predicts the emotions that reach their thresholds; where none does, the one that comes closest by ratio.

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
