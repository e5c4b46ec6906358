"""One temperature per run, fitted on validation speakers, so that probabilities mean what they say.

Labels are numbers under a softmax, or memberships under a sigmoid for each emotion: their shape tells which.

Source: Guo et al. 2017, arXiv 1706.04599, section 4.2.
"""

from typing import TYPE_CHECKING

import numpy as np

from emotion_tf.probabilities import FLOOR, negative_log_likelihood, probabilities_of

if TYPE_CHECKING:
    import keras
    import pandas as pd

COLDEST, HOTTEST = 0.1, 10.0
"""On a validation split that is all right, or all guessed, the likelihood has no best temperature inside."""


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """Finds the temperature under which the labels are most likely.

    Args:
      logits: [num_utterances, num_emotions], not calibrated.
      labels: [num_utterances] numbers, or [num_utterances, num_emotions] memberships, 0 or 1.

    Returns:
      From `COLDEST` to `HOTTEST`; above 1 where the model is too sure of itself.
    """
    import scipy.optimize

    found = scipy.optimize.minimize_scalar(
        lambda log_temperature: negative_log_likelihood(logits / np.exp(log_temperature), labels),
        bounds=(np.log(COLDEST), np.log(HOTTEST)),
        method="bounded",
        options={"xatol": 1e-6},
    )
    return float(np.exp(found.x))


def set_temperature(model: "keras.Model", temperature: float) -> None:
    """Lets a model of `emotion_tf.models.build` divide its logits by the temperature."""
    model.get_layer("logits").temperature.assign(temperature)


def uncalibrated(
    probabilities: "pd.DataFrame", temperature: "float | pd.Series", *, is_multi_label: bool = False
) -> "pd.DataFrame":
    """Undoes the division of logits by a temperature.

    Args:
      probabilities: One row an utterance, one column an emotion.
      temperature: One number, or a Series with the index of `probabilities`.
      is_multi_label: Whether they are a sigmoid for each emotion, not a softmax over all.

    Returns:
      Probabilities of the same utterances and emotions.
    """
    import pandas as pd

    if isinstance(temperature, pd.Series):
        temperature = temperature.reindex(probabilities.index)
    logits = np.log(probabilities.clip(lower=FLOOR))
    if is_multi_label:
        logits -= np.log((1 - probabilities).clip(lower=FLOOR))
    logits = logits.mul(temperature, axis=0)
    before = probabilities_of(logits.to_numpy(), is_multi_label=is_multi_label)
    return pd.DataFrame(before, probabilities.index, probabilities.columns)
