"""Fits late rules that have weights: "weighted" and "stacker", on validation speakers only."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from emotion_tf.evaluation.calibration import COLDEST, HOTTEST
from emotion_tf.late_rules import combine
from emotion_tf.probabilities import FLOOR

STRENGTHS = (0.001, 0.01, 0.1, 1.0)
"""Inverse strengths of the penalty that the stacker is tried with."""

MIDDLE_STRENGTH = 0.01
"""Where no speaker can be left out to choose among them."""

_MAX_FITS = 20
"""Of each strength: where there are more groups, several are left out together."""

_GAP = 1e-9
"""Nats an utterance that other weights must gain to be taken instead."""


def fit_weights(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Finds the weights of "weighted" under which the labels are most likely, once a temperature calibrates the sum.

    Without that temperature a run that is a little surer of the truth than another would get all the weight, also where
    the two know different things and only together name it: a sum of calibrated probabilities is too modest. The
    temperature is the weights' own, and is not kept.

    Sequential quadratic programming from equal weights and from each run alone; equal runs share their weight equally.

    Args:
      probabilities: [num_utterances, num_runs, num_emotions]; every run is present.
      labels: [num_utterances] numbers, or [num_utterances, num_emotions] memberships, 0 or 1, each of which counts as
        one yes or no.

    Returns:
      float64 [num_runs], at least 0, with sum 1.

    Source:
      Ranjan and Gneiting 2010, JRSS B 72(1) (a linear pool of calibrated forecasts is not calibrated).
    """
    given, truths = _as_choices(np.asarray(probabilities, np.float64), np.asarray(labels))
    num_runs = given.shape[1]
    starts = [np.full(num_runs, 1 / num_runs), *np.eye(num_runs)]
    best, least = starts[0], np.inf
    for start in starts:
        weights, loss = _descend(given, truths, start)
        if loss < least - _GAP:
            best, least = weights, loss
    return best


def _descend(given: np.ndarray, truths: np.ndarray, start: np.ndarray) -> tuple[np.ndarray, float]:
    """Follows the likelihood from some weights; returns where it ends, and the mean negative log-likelihood there."""
    import scipy.optimize

    ends, gradient = np.log((COLDEST, HOTTEST)), np.append(np.ones(len(start)), 0.0)  # Of the sum of the weights.
    found = scipy.optimize.minimize(
        lambda point: _loss(given, truths, point),
        [*start, 0.0],
        jac=True,
        method="SLSQP",
        bounds=[(0, 1)] * len(start) + [tuple(ends)],
        constraints={"type": "eq", "fun": lambda point: point[:-1].sum() - 1, "jac": lambda point: gradient},
        options={"ftol": 1e-12, "maxiter": 200},
    )
    weights = np.where(found.x[:-1] < 1e-6, 0, found.x[:-1])
    weights = weights / weights.sum()
    return weights, _loss(given, truths, np.append(weights, found.x[-1]))[0]


def _loss(given: np.ndarray, truths: np.ndarray, point: np.ndarray) -> tuple[float, np.ndarray]:
    """Takes the mean negative log-likelihood of weights and the logarithm of a temperature, and its gradient."""
    weights, temperature = point[:-1], np.exp(point[-1])
    pooled = np.maximum(np.einsum("r,ure->ue", weights, given), FLOOR)
    logits = np.log(pooled) / temperature
    shifted = logits - logits.max(axis=1, keepdims=True)
    powers = np.exp(shifted)
    totals = powers.sum(axis=1, keepdims=True)
    rows = np.arange(len(truths))
    slopes = powers / totals
    loss = (np.log(totals[:, 0]) - shifted[rows, truths]).mean()
    slopes[rows, truths] -= 1
    slopes /= len(truths)
    along_weights = np.einsum("ue,ure->r", slopes / pooled, given) / temperature
    return float(loss), np.append(along_weights, -(slopes * logits).sum())


def _as_choices(probabilities: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Makes memberships choices between no and yes: [num_choices, num_runs, 2 or num_emotions] and [num_choices]."""
    if labels.ndim == 1:
        return probabilities, labels
    flat = probabilities.transpose(0, 2, 1).reshape(-1, probabilities.shape[1])
    return np.stack([1 - flat, flat], axis=-1), labels.reshape(-1).astype(np.int64)


def fit_stacker(
    probabilities: np.ndarray, labels: np.ndarray, groups: Sequence[Any] | None, strength: float | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Fits the kernel and the bias of "stacker": multinomial logistic regression with an L2 penalty.

    The logarithms are standardised for the fit, and kernel and bias take them as they are. An emotion that no
    utterance carries gets no kernel and the bias log 1e-30, which is below the best logit of the others whatever the
    runs say (theirs have mean 0): nothing was learned of it, so it is never predicted.

    Args:
      probabilities: [num_utterances, num_runs, num_emotions]; every run is present.
      labels: [num_utterances] numbers.
      groups: [num_utterances] speakers, to choose the strength by; None: they are not known.
      strength: Inverse strength of the penalty (C of scikit-learn); None: what `choose_strength` finds.

    Returns:
      kernel float64 [num_runs, num_emotions, num_emotions] and bias float64 [num_emotions], as `combine` takes them.
    """
    if strength is None:
        strength = choose_strength(probabilities, labels, groups)
    _, num_runs, num_emotions = np.shape(probabilities)
    kernel, bias = np.zeros((num_runs * num_emotions, num_emotions)), np.full(num_emotions, np.log(FLOOR))
    found = np.unique(labels)
    bias[found] = 0
    if len(found) > 1:
        logs = np.log(np.maximum(np.asarray(probabilities, np.float64), FLOOR)).reshape(len(labels), -1)
        kernel[:, found], bias[found] = _regress(logs, np.asarray(labels), strength)
    return kernel.reshape(num_runs, num_emotions, num_emotions), bias


def _regress(logs: np.ndarray, labels: np.ndarray, strength: float) -> tuple[np.ndarray, np.ndarray]:
    """Returns kernel [num_features, num_found] and bias [num_found] for features as they are, the mean logit 0."""
    from sklearn.linear_model import LogisticRegression

    middle, spread = logs.mean(axis=0), logs.std(axis=0)
    spread[spread < 1e-6] = 1  # A constant column carries nothing, and rounding would be blown up.
    fitted = LogisticRegression(C=strength, solver="newton-cg", tol=1e-6, max_iter=1000).fit(
        (logs - middle) / spread, labels
    )
    kernel, bias = fitted.coef_.T, fitted.intercept_
    if kernel.shape[1] == 1:  # Two emotions: scikit-learn gives the difference of their logits.
        kernel, bias = kernel * [-0.5, 0.5], bias * [-0.5, 0.5]
    kernel, bias = kernel - kernel.mean(axis=1, keepdims=True), bias - bias.mean()
    kernel = kernel / spread[:, None]
    return kernel, bias - middle @ kernel


def choose_strength(probabilities: np.ndarray, labels: np.ndarray, groups: Sequence[Any] | None) -> float:
    """Finds the inverse strength under which speakers who are left out are most likely, the smallest of equals.

    Args:
      probabilities: [num_utterances, num_runs, num_emotions].
      labels: [num_utterances] numbers.
      groups: [num_utterances] speakers; more than 20 are left out several at a time.

    Returns:
      One of `STRENGTHS`; 0.01 where fewer than two groups are named.
    """
    if groups is None or len(set(groups)) < 2:
        return MIDDLE_STRENGTH
    left_out_in = np.unique(np.asarray(groups), return_inverse=True)[1] % _MAX_FITS
    likelihoods = [_left_out(probabilities, labels, left_out_in, strength) for strength in STRENGTHS]
    return STRENGTHS[int(np.argmax(likelihoods))]


def _left_out(probabilities: np.ndarray, labels: np.ndarray, left_out_in: np.ndarray, strength: float) -> float:
    """Sums the log-likelihoods of the utterances that each fit leaves out, [num_utterances] numbers of fits."""
    total = 0.0
    for number in np.unique(left_out_in):
        rest, left = left_out_in != number, left_out_in == number
        kernel, bias = fit_stacker(probabilities[rest], labels[rest], None, strength)
        present = np.ones(probabilities[left].shape[:2])
        fused = combine(probabilities[left], present, "stacker", kernel=kernel, bias=bias)
        total += np.log(np.maximum(fused[np.arange(left.sum()), labels[left]], FLOOR)).sum()
    return float(total)
