"""What a late fusion would say with other weights, from what each of its runs says."""

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


def own_of(probabilities: Mapping[str, float], temperature: float) -> dict[str, float]:
    """Finds what a run says itself, from what the fusion says where only this run's modality is present.

    Args:
      probabilities: Of the fusion.
      temperature: By which the fusion divides the logarithm of what it joined.
    """
    return _named(probabilities, temperature * _logs(probabilities))


def weighed(
    own: Mapping[str, Mapping[str, float]], weights: Mapping[str, float], rule: str, temperature: float
) -> dict[str, float]:
    """Joins what runs say, as `emotion_tf.late_rules.combine` does with the fitted weights.

    "mean" and "weighted" take sum w p / sum w; "product" softmax(sum w log p) and "logit_mean" the same divided by
    sum w, both with weights of 1 as fitted.

    Args:
      own: Modality that is present -> emotion -> probability.
      weights: Modality -> weight, at least 0; equal ones count where those of all that are present are 0.
      rule: One of those that have weights.
      temperature: Of the fusion.
    """
    chosen = np.array([weights[modality] for modality in own])
    chosen = chosen if chosen.sum() > 0 else np.ones(len(own))
    logs = np.array([_logs(found) for found in own.values()])
    if rule in _LINEAR:
        joined = np.log(np.maximum(chosen @ np.exp(logs) / chosen.sum(), FLOOR))
    else:
        joined = chosen @ logs / (chosen.sum() if rule == "logit_mean" else 1.0)
        joined -= np.log(np.exp(joined - joined.max()).sum()) + joined.max()
    return _named(next(iter(own.values())), joined / temperature)


def _logs(probabilities: Mapping[str, float]) -> np.ndarray:
    return np.log(np.maximum(np.array(list(probabilities.values())), FLOOR))


def _named(emotions: Mapping[str, float], logits: np.ndarray) -> dict[str, float]:
    powers = np.exp(logits - logits.max())
    return dict(zip(emotions, (powers / powers.sum()).tolist(), strict=True))
