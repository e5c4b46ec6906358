"""Late fusion: rules that join the probabilities of several runs.

`combine` is written once for numpy and for keras.ops, so that a file of predictions is fused as the exported graph is.
Runs whose input is absent are left out and the others renormalised. "weighted" and "stacker" have parameters, which
`emotion_tf.evaluation.rule_fitting` fits on validation speakers only.
"""

from typing import Any

import numpy as np

from emotion_tf.probabilities import FLOOR

RULES = ("mean", "logit_mean", "product", "vote", "weighted", "stacker")

FITTED = ("weighted", "stacker")
"""Rules that need utterances to be fitted on."""

SINGLE_LABEL = ("vote", "stacker")
"""Rules for utterances of one emotion: a first place and a softmax name one."""

_BUMP = 8e-7
"""By how much the winner of a vote is above others with as many first places: visible in float32, and below 1e-6."""


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
    """Joins the probabilities of several runs; absent runs are left out.

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
    wholes, rests = (xp.expand_dims(values, -1) for values in _logarithms(known, xp))
    # Multiples of 1 / 4096 times whole numbers add up exactly. No matmul: GPUs round what it multiplies to 10 bits.
    coarse = xp.round(kernel * 4096.0) / 4096.0
    logits = xp.sum(wholes * coarse, axis=(1, 2))
    logits = logits - xp.max(logits, axis=-1, keepdims=True)
    logits = logits + xp.sum(wholes * (kernel - coarse) + rests * kernel, axis=(1, 2))
    return _softmax(logits * (known.shape[1] / count) + bias, xp)


def _softmax(logits: Any, xp: Any) -> Any:
    powers = xp.exp(logits - xp.max(logits, axis=-1, keepdims=True))
    return powers / xp.sum(powers, axis=-1, keepdims=True)
