"""Logits and probabilities: what every room says of them, in numpy."""

import numpy as np

FLOOR = 1e-30
"""Probabilities below count as this much, so that no run can rule an emotion out for good."""


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
