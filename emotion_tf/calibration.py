"""One temperature per run, fitted on validation speakers, so that probabilities mean what they say.

Labels are numbers under a softmax, or memberships under a sigmoid for each emotion: their shape tells which.

Source: Guo et al. 2017, arXiv 1706.04599, section 4.2.
"""

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import keras

COLDEST, HOTTEST = 0.1, 10.0
"""On a validation part that is all right, or all guessed, the likelihood has no best temperature inside."""


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


def negative_log_likelihood(logits: np.ndarray, labels: np.ndarray) -> float:
    """Averages -log softmax of the labels, or over all emotions the binary cross-entropy of memberships, in nats."""
    import scipy.special

    logits = logits.astype(np.float64)
    if np.ndim(labels) == 2:
        return float(-scipy.special.log_expit(np.where(labels, logits, -logits)).mean())
    likelihoods = scipy.special.log_softmax(logits, axis=1)
    return float(-likelihoods[np.arange(len(labels)), labels].mean())


def probabilities_of(logits: np.ndarray, *, is_multi_label: bool) -> np.ndarray:
    """Returns [num_utterances, num_emotions] float64: a sigmoid each, or the softmax over all."""
    import scipy.special

    logits = logits.astype(np.float64)
    return scipy.special.expit(logits) if is_multi_label else scipy.special.softmax(logits, axis=1)


def set_temperature(model: "keras.Model", temperature: float) -> None:
    """Makes a model of `emotion_tf.fusion` answer with logits divided by the temperature."""
    model.get_layer("logits").temperature.assign(temperature)
