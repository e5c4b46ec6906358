"""What a late fusion would say with other weights, from what each of its modalities says alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from emotion_tf.probabilities import FLOOR

_LINEAR, _LOGARITHMIC = ("mean", "weighted"), ("product", "logit_mean")


def weights_of(metadata: Mapping[str, Any]) -> dict[str, float] | None:
    """Finds the weights of a late fusion: modality -> weight.

    Args:
      metadata: Of an export.

    Returns:
      None where no weights can be set: another kind of model, a vote or a stacker, runs of several modalities or two
      of one modality, or several emotions an utterance.
    """
    rule = metadata.get("late_rule")
    if not rule or rule["rule"] not in (*_LINEAR, *_LOGARITHMIC) or metadata["is_multi_label"]:
        return None
    modalities = [modality for of_run in rule["modalities"] for modality in of_run]
    if len(set(modalities)) != len(rule["modalities"]) or len(modalities) != len(rule["modalities"]):
        return None
    return dict(zip(modalities, map(float, rule["weights"]), strict=True))


def weighed(alone: Mapping[str, Mapping[str, float]], weights: Mapping[str, float], rule: str) -> dict[str, float]:
    """Joins what modalities say alone.

    "mean" and "weighted" take sum w p / sum w; "product" softmax(sum w log p) and "logit_mean" the same divided by
    sum w: with the fitted weights, which are 1 for these two, each is what `emotion_tf.late_rules.combine` computes.

    Args:
      alone: Modality that is present -> emotion -> probability.
      weights: Modality -> weight, at least 0; equal ones count where those of all that are present are 0.
      rule: One of those that have weights.
    """
    emotions = list(next(iter(alone.values())))
    chosen = np.array([weights[modality] for modality in alone])
    chosen = chosen if chosen.sum() > 0 else np.ones(len(alone))
    probabilities = np.array([[found[emotion] for emotion in emotions] for found in alone.values()])
    if rule in _LINEAR:
        joined = chosen @ probabilities
    else:
        logits = chosen @ np.log(np.maximum(probabilities, FLOOR)) / (chosen.sum() if rule == "logit_mean" else 1.0)
        joined = np.exp(logits - logits.max())
    return dict(zip(emotions, (joined / joined.sum()).tolist(), strict=True))
