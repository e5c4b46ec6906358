"""Tables of counts, one row a speaker, and the scores that come of their sums.

A worked example of two speakers and three clips:

    utterance_id  speaker  label  predicted
    u1            01       sad    sad
    u2            01       angry  sad
    u3            02       angry  angry

`count_emotions` makes a table [num_units, num_seeds, num_emotions, 3] of them. The three numbers of an emotion are its
hits, the clips that are labelled with it and the clips that are predicted as it. Here, of a single seed:

    speaker  sad        angry
    01       [1, 1, 2]  [0, 1, 0]
    02       [0, 0, 0]  [1, 1, 1]
    sum      [1, 1, 2]  [1, 2, 1]

Scores come of the sum. The recall of an emotion is its hits over its labels: 1 / 1 for sad, 1 / 2 for angry. Their mean
is UAR, 0.75; all hits over all labels are accuracy, 2 / 3. Intervals resample rows, never clips: a resample that holds
speaker 02 twice has the sum [0, 0, 0] and [2, 2, 2]. No clip of it is sad, so its UAR is the recall of angry alone, 1.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

NUM_BINS = 15
"""Of equal width over (0, 1], as the literature on calibration has it."""

UAR = "unweighted_average_recall"

HEADLINES = {UAR: "UAR", "macro_f1": "macro-F1"}
"""The scores that choose among epochs and stand first, and what they are called."""

TITLES = HEADLINES | {"accuracy": "accuracy", "weighted_f1": "weighted F1", "micro_f1": "micro-F1"}
"""Name of a score -> how a person writes it."""

Score: TypeAlias = Callable[[np.ndarray], np.ndarray]


def unit_of(predictions: "pd.DataFrame") -> str:
    """Names what is resampled: "speaker", or "dialogue", or "utterance" where the table names neither."""
    from emotion_tf.runs.predictions import DIALOGUE

    if (predictions["speaker"] != "").any():
        return "speaker"
    has_dialogues = DIALOGUE in predictions and (predictions[DIALOGUE].fillna("") != "").all()
    return "dialogue" if has_dialogues else "utterance"


def units_of(predictions: "pd.DataFrame") -> np.ndarray:
    """Numbers the speakers, dialogues or utterances, as `unit_of` says: [num_rows] from 0."""
    unit = unit_of(predictions)
    return codes_of(predictions, "utterance_id" if unit == "utterance" else unit)


def codes_of(predictions: "pd.DataFrame", column: str) -> np.ndarray:
    """Numbers the sorted values of a column from 0; all 0 where there is no such column."""
    import pandas as pd

    if column not in predictions:
        return np.zeros(len(predictions), int)
    return pd.factorize(predictions[column], sort=True)[0]  # Sorted, so that the order of rows changes nothing.


def add_up(columns: Sequence[np.ndarray], sizes: tuple[int, ...], *places: np.ndarray) -> np.ndarray:
    """Sums numbers of clips, each clip at its place.

    Args:
      columns: [num_clips] each, or [num_clips, num_emotions] each.
      sizes: How many places there are along each axis of them.
      places: [num_clips] for each of `sizes`.

    Returns:
      float64 [*sizes, num_columns], or [*sizes, num_emotions, num_columns].
    """
    numbers = np.stack(columns, axis=-1)
    sums = np.zeros((*sizes, *numbers.shape[1:]))
    np.add.at(sums, places, numbers)
    return sums


def count_emotions(
    labelled: np.ndarray,
    predicted: np.ndarray,
    units: np.ndarray,
    seeds: np.ndarray,
    weights: np.ndarray | float = 1.0,
) -> np.ndarray:
    """Counts hits, labels and predictions of each emotion.

    Args:
      labelled: bool [num_clips, num_emotions], which emotions each clip is labelled with.
      predicted: bool [num_clips, num_emotions].
      units: [num_clips] numbers of the speakers, dialogues or utterances that the clips belong to.
      seeds: [num_clips] numbers of the seeds.
      weights: What a clip counts as: one number, or [num_clips, 1].

    Returns:
      float64 [num_units, num_seeds, num_emotions, 3].
    """
    columns = [weights * column for column in (labelled & predicted, labelled, predicted)]
    return add_up(columns, (units.max() + 1, seeds.max() + 1), units, seeds)


def ratio(numerators: np.ndarray, denominators: np.ndarray) -> np.ndarray:
    """Divides; 0 where there is nothing to divide by."""
    return np.divide(numerators, denominators, out=np.zeros(np.shape(denominators)), where=denominators > 0)


def _mean_of_present(values: np.ndarray, labelled: np.ndarray) -> np.ndarray:
    """Averages values [..., num_emotions] over the emotions that occur."""
    is_present = labelled > 0
    return (values * is_present).sum(axis=-1) / np.maximum(is_present.sum(axis=-1), 1)


def unweighted_average_recall(table: np.ndarray) -> np.ndarray:
    """Averages the recalls of the emotions that occur, each with the same weight: [..., num_emotions, 3] -> [...]."""
    return _mean_of_present(ratio(table[..., 0], table[..., 1]), table[..., 1])


def accuracy(table: np.ndarray) -> np.ndarray:
    """Share of hits, where each clip has one emotion: [..., num_emotions, 3] -> [...]."""
    return ratio(table[..., 0].sum(axis=-1), table[..., 1].sum(axis=-1))


def f1(table: np.ndarray) -> np.ndarray:
    """Harmonic means of precision and recall, 0 where there is neither: [..., 3] -> [...]."""
    hits, labelled, predicted = np.moveaxis(table, -1, 0)
    return 2 * hits / np.maximum(labelled + predicted, 1)


def macro_f1(table: np.ndarray) -> np.ndarray:
    """Averages F1 over the emotions that occur: [..., num_emotions, 3] -> [...]."""
    return _mean_of_present(f1(table), table[..., 1])


def weighted_f1(table: np.ndarray) -> np.ndarray:
    """Averages F1 over emotions by their labels: [..., num_emotions, 3] -> [...]."""
    return ratio((f1(table) * table[..., 1]).sum(axis=-1), table[..., 1].sum(axis=-1))


def micro_f1(table: np.ndarray) -> np.ndarray:
    """Takes F1 over all pairs of clip and emotion: [..., num_emotions, 3] -> [...]."""
    return f1(table.sum(axis=-2))


SCORES: dict[str, Score] = {
    UAR: unweighted_average_recall,
    "accuracy": accuracy,
    "macro_f1": macro_f1,
    "weighted_f1": weighted_f1,
    "micro_f1": micro_f1,
}
"""Name of a score -> from tables of counts [..., num_emotions, 3] to scores [...] in [0, 1]."""


def chance_and_majority(
    labelled: np.ndarray,
    num_utterances: float,
    emotions: Sequence[str],
    of_chance: Sequence[str],
    of_majority: Sequence[str],
    *,
    is_multi_label: bool,
) -> dict[str, Any]:
    """Scores two systems without any input, which put other scores into proportion.

    Chance predicts each emotion that occurs equally often or, where utterances may have several, every emotion always.
    The majority class is the commonest emotion, always.

    Args:
      labelled: [num_emotions] utterances that are labelled with each.
      num_utterances: All of them.
      emotions: The label set, in label order.
      of_chance: Names of `SCORES` to take of chance.
      of_majority: Names of `SCORES` to take of the majority class.
      is_multi_label: Whether utterances may have several emotions.
    """
    commonest, occurs = int(labelled.argmax()), labelled > 0
    rate = np.ones(len(labelled)) if is_multi_label else occurs / occurs.sum()
    chance = np.stack([rate * labelled, labelled, rate * num_utterances], axis=-1)  # [num_emotions, 3]
    is_commonest = np.arange(len(labelled)) == commonest
    majority = np.stack([is_commonest * labelled, labelled, is_commonest * num_utterances], axis=-1)
    return {
        "chance": {name: float(SCORES[name](chance)) for name in of_chance},
        "majority": {"emotion": emotions[commonest]} | {name: float(SCORES[name](majority)) for name in of_majority},
    }


def per_emotion(table: np.ndarray, emotions: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Scores each emotion from counts [num_seeds, num_emotions, 3]; None where it does not occur."""
    hits, labelled, predicted = np.moveaxis(table, -1, 0)
    scores = {"precision": ratio(hits, predicted), "recall": ratio(hits, labelled), "f1": f1(table)}
    means, sizes = {name: values.mean(axis=0) for name, values in scores.items()}, labelled.mean(axis=0)
    return {
        emotion: {name: float(values[index]) if sizes[index] else None for name, values in means.items()}
        | {"count": round(sizes[index])}
        for index, emotion in enumerate(emotions)
    }


def bins_of(confidence: np.ndarray) -> np.ndarray:
    """Numbers of the bins that probabilities fall into; an edge belongs to the bin below it."""
    return np.searchsorted(np.arange(1, NUM_BINS) / NUM_BINS, confidence)


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


def sample_of(predictions: "pd.DataFrame", labelled: np.ndarray, emotions: Sequence[str]) -> dict[str, Any]:
    """Counts what scores rest on.

    Args:
      predictions: Rows of predictions.csv.
      labelled: bool [num_rows, num_emotions], which emotions each row is labelled with.
      emotions: The label set, in label order.
    """
    num_seeds = int(codes_of(predictions, "seed").max() + 1)
    sizes = [round(size / num_seeds) for size in labelled.sum(axis=0)]
    return {
        "counts": dict(zip(emotions, sizes, strict=True)),
        "num_utterances": int(predictions["utterance_id"].nunique()),
        "speakers": sorted({*predictions["speaker"]} - {""}),
        "unit": unit_of(predictions),
        "num_units": int(units_of(predictions).max() + 1),
        "num_seeds": num_seeds,
    }
