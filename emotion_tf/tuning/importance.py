"""Which settings mattered: how much worse a forest predicts the scores of trials when one setting is shuffled."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from emotion_tf.tuning.space import Choice, Space

FEWEST = 10
"""Trials with scores, below which nothing is said."""

_REPEATS = 20
_TREES = 100
_PARTS = 5


def importances(space: Space, drawn: Sequence[Mapping[str, Sequence[str]]], scores: Sequence[float]) -> dict[str, Any]:
    """Measures what each flag explains of the scores of trials.

    A forest learns four fifths of the trials and predicts the rest, in turn. What it explains falls when the values of
    one flag are shuffled among the trials it predicts: by that much the flag mattered.

    Args:
      space: What was searched.
      drawn: The settings of each trial.
      scores: Of each trial, all after the same number of epochs.

    Returns:
      "explained", the share of the variance of scores that is predicted (R squared, at most 1; at or below 0 the
      settings say nothing), and "flags": flag -> the squared error that shuffling it adds, in variances of the scores.
      Both None with fewer than `FEWEST` trials.

    Source: Breiman 2001, doi:10.1023/A:1010933404324 (permutation importance).
    """
    if len(scores) < FEWEST or np.ptp(scores) == 0:
        return {"explained": None, "flags": None}
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.model_selection import KFold

    columns = {flag: _columns(values, [one[flag] for one in drawn]) for flag, values in space.flags.items()}
    found, truth, rng = np.hstack(list(columns.values())), np.asarray(scores), np.random.default_rng(0)
    ends = np.cumsum([part.shape[1] for part in columns.values()])
    predicted = np.zeros(len(truth))
    shuffled = np.zeros((len(columns), _REPEATS, len(truth)))
    for train, rest in KFold(_PARTS, shuffle=True, random_state=0).split(found):
        forest = RandomForestRegressor(_TREES, random_state=0).fit(found[train], truth[train])
        predicted[rest] = forest.predict(found[rest])
        for index, (end, part) in enumerate(zip(ends, columns.values(), strict=True)):
            changed = np.tile(found[rest], (_REPEATS, 1))
            # From all trials: those that are predicted may be two or three.
            changed[:, end - part.shape[1] : end] = part[rng.integers(len(truth), size=len(changed))]
            shuffled[index][:, rest] = forest.predict(changed).reshape(_REPEATS, -1)
    spread = np.mean((truth - truth.mean()) ** 2)
    error = np.mean((truth - predicted) ** 2)
    losses = np.mean((truth - shuffled) ** 2, axis=(1, 2)) - error
    flags = {flag: float(loss / spread) for flag, loss in zip(columns, losses, strict=True)}
    return {"explained": float(1 - error / spread), "flags": flags}


def _columns(values: Any, words: Sequence[Sequence[str]]) -> np.ndarray:
    """Writes the values of trials as numbers: [num_trials, 1], or a column for each choice."""
    places = np.array([values.position(one) for one in words])
    return np.eye(len(values.values))[places] if isinstance(values, Choice) else places[:, np.newaxis]
