"""Late fusion: rules that make one answer of the probabilities of several runs, and fits of those that have weights.

`combine` is written once for numpy and for keras.ops, so that a file of predictions is fused as the exported graph is.
Absent runs are left out and the others renormalised. "weighted" and "stacker" are fitted on validation speakers only.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from emotion_tf.calibration import COLDEST, HOTTEST

RULES = ("mean", "logit_mean", "product", "vote", "weighted", "stacker")

FITTED = ("weighted", "stacker")
"""Rules that need utterances to be fitted on."""

SINGLE_LABEL = ("vote", "stacker")
"""Rules for one emotion an utterance: first places and a softmax are of one each."""

FLOOR = 1e-30
"""Probabilities below count as this much, so that no run can rule an emotion out for good."""

STRENGTHS = (0.001, 0.01, 0.1, 1.0)
"""Inverse strengths of the penalty that the stacker is tried with."""

MIDDLE_STRENGTH = 0.01
"""Where no speaker can be left out to choose among them."""

_BUMP = 8e-7
"""What parts the winner of a vote from those with as many first places: visible in float32, and below 1e-6."""

_MAX_PARTS = 20
"""At most so many fits a strength: where there are more groups, several are left out together."""

_GAP = 1e-9
"""Nats an utterance that other weights must gain to be taken instead."""


def combine(
    probabilities: Any,
    is_present: Any,
    rule: str,
    *,
    weights: Any = None,
    kernel: Any = None,
    bias: Any = None,
    is_multi_label: bool = False,
    xp: Any = np,
) -> Any:
    """Makes one answer of those of several runs; absent runs are left out.

    Of the n runs that are present, with log p floored at log 1e-30: "mean" is sum p / n; "logit_mean" softmax(sum
    log p / n); "product" softmax(sum log p); "vote" the share of first places; "weighted" sum w p, with the weights of
    the present runs divided by their sum, or equal where that is 0; "stacker" softmax(bias + sum log p @ kernel), with
    the sum divided by the share of runs that are present.

    The share of a vote's winner is up to 8e-7 above the plain share: so argmax of the result breaks ties as the rule
    asks, by the mean, in float32 as well.

    With several emotions an utterance softmax is a sigmoid of each emotion's sum of logits.

    Args:
      probabilities: [num_utterances, num_runs, num_emotions] in [0, 1]; those of absent runs may be anything.
      is_present: [num_utterances, num_runs] floats, 0 or 1.
      rule: One of `RULES`.
      weights: [num_runs], at least 0, for "weighted"; like kernel and bias of the type of the probabilities.
      kernel: [num_runs, num_emotions, num_emotions], from log p to logits, for "stacker".
      bias: [num_emotions], for "stacker".
      is_multi_label: Whether an utterance has several emotions; not for "vote" and "stacker".
      xp: numpy, or keras.ops for tensors, symbolic ones too.

    Returns:
      [num_utterances, num_emotions]; uniform, or 0.5 each with several emotions, where every run is absent.

    Raises:
      ValueError: An unknown rule, or one that does not fit several emotions an utterance.

    Source:
      Linear and logarithmic opinion pools: Genest and Zidek 1986, Statistical Science 1(1). Stacking: Wolpert 1992,
      Neural Networks 5(2).
    """
    if rule not in RULES or (is_multi_label and rule in SINGLE_LABEL):
        several = " with several emotions an utterance" if is_multi_label else ""
        raise ValueError(f"no rule {rule!r}{several}: choose from {', '.join(RULES)}")
    count = xp.maximum(xp.sum(is_present, axis=1, keepdims=True), 1.0)  # [num_utterances, 1]
    # The logarithm of 1 is 0: an absent run adds nothing to a sum of logarithms.
    known = xp.where(xp.expand_dims(is_present, -1) > 0, probabilities, 1.0)
    if rule == "stacker":
        fused = _stack(known, count, kernel, bias, xp)
    elif rule == "vote":
        fused = _vote(known, is_present, count, xp)
    elif rule in ("mean", "weighted"):
        fused = _linear_pool(known, is_present, weights if rule == "weighted" else None, xp)
    elif is_multi_label:
        against = xp.where(xp.expand_dims(is_present, -1) > 0, 1.0 - known, 1.0)
        divisor = xp.expand_dims(count, -1) if rule == "logit_mean" else 1.0
        fused = _logarithmic_pool(xp.stack([known, against], axis=-1), divisor, xp)[..., 0]
    else:
        fused = _logarithmic_pool(known, count if rule == "logit_mean" else 1.0, xp)
    any_present = xp.max(is_present, axis=1, keepdims=True) > 0
    return xp.where(any_present, fused, 0.5 if is_multi_label else 1.0 / probabilities.shape[-1])


def _linear_pool(known: Any, is_present: Any, weights: Any, xp: Any) -> Any:
    chosen = is_present
    if weights is not None:
        chosen = is_present * weights
        chosen = xp.where(xp.sum(chosen, axis=1, keepdims=True) > 0, chosen, is_present)
    total = xp.maximum(xp.sum(chosen, axis=1, keepdims=True), FLOOR)
    return xp.sum(known * xp.expand_dims(chosen / total, -1), axis=1)


def _logarithmic_pool(known: Any, divisor: Any, xp: Any) -> Any:
    """Takes softmax(sum log p / divisor) over the last axis of [num_utterances, num_runs, ...]."""
    wholes, rests = _logarithms(known, xp)
    wholes = xp.sum(wholes, axis=1)
    wholes = wholes - xp.max(wholes, axis=-1, keepdims=True)
    return _softmax((wholes + xp.sum(rests, axis=1)) / divisor, xp)


def _logarithms(known: Any, xp: Any) -> tuple[Any, Any]:
    """Splits logarithms into whole numbers and rests from 0 to 1.

    Whole numbers add up exactly. Sums of logarithms near -69 would lose, in float32, what a close decision hangs on.
    """
    floored = xp.maximum(known, FLOOR)
    wholes = xp.floor(xp.log(floored))
    return wholes, xp.log(floored * xp.exp(-wholes))


def _vote(known: Any, is_present: Any, count: Any, xp: Any) -> Any:
    emotions = xp.arange(known.shape[-1])
    is_first = xp.equal(xp.expand_dims(xp.argmax(known, axis=-1), -1), emotions)
    votes = xp.sum(xp.where(is_first, xp.expand_dims(is_present, -1), 0.0), axis=1)  # [num_utterances, num_emotions]
    mean = _linear_pool(known, is_present, None, xp)
    has_most = votes >= xp.max(votes, axis=-1, keepdims=True)
    winner = xp.argmax(xp.where(has_most, mean, -1.0), axis=-1)
    is_winner = xp.equal(xp.expand_dims(winner, -1), emotions)
    return (votes / count + xp.where(is_winner, _BUMP, 0.0)) / (1.0 + _BUMP)


def _stack(known: Any, count: Any, kernel: Any, bias: Any, xp: Any) -> Any:
    wholes, rests = (xp.expand_dims(part, -1) for part in _logarithms(known, xp))
    # Multiples of 1 / 4096 times whole numbers add up exactly. No matmul: GPUs round what it multiplies to 10 bits.
    coarse = xp.round(kernel * 4096.0) / 4096.0
    logits = xp.sum(wholes * coarse, axis=(1, 2))
    logits = logits - xp.max(logits, axis=-1, keepdims=True)
    logits = logits + xp.sum(wholes * (kernel - coarse) + rests * kernel, axis=(1, 2))
    return _softmax(logits * (known.shape[1] / count) + bias, xp)


def _softmax(logits: Any, xp: Any) -> Any:
    powers = xp.exp(logits - xp.max(logits, axis=-1, keepdims=True))
    return powers / xp.sum(powers, axis=-1, keepdims=True)


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
    runs say (theirs have mean 0): nothing was learned of it, so it is never named.

    Args:
      probabilities: [num_utterances, num_runs, num_emotions]; every run is present.
      labels: [num_utterances] numbers.
      groups: [num_utterances] speakers, to choose the strength by; None: nobody is named.
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
    spread[spread < 1e-6] = 1  # A constant column tells nothing, and rounding would be blown up.
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
    parts = np.unique(np.asarray(groups), return_inverse=True)[1] % _MAX_PARTS
    likelihoods = [_left_out(probabilities, labels, parts, strength) for strength in STRENGTHS]
    return STRENGTHS[int(np.argmax(likelihoods))]


def _left_out(probabilities: np.ndarray, labels: np.ndarray, parts: np.ndarray, strength: float) -> float:
    """Sums the log-likelihood of each part under a stacker that was fitted on the others."""
    total = 0.0
    for part in np.unique(parts):
        rest, left = parts != part, parts == part
        kernel, bias = fit_stacker(probabilities[rest], labels[rest], None, strength)
        present = np.ones(probabilities[left].shape[:2])
        fused = combine(probabilities[left], present, "stacker", kernel=kernel, bias=bias)
        total += np.log(np.maximum(fused[np.arange(left.sum()), labels[left]], FLOOR)).sum()
    return float(total)
