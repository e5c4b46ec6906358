"""Numbers as a person writes them, and the sentence that says what came of comparing two runs."""

from collections.abc import Mapping, Sequence
from typing import Any

from emotion_tf.evaluation.counts import TITLES

LEVEL = 0.05
"""A p-value up to this, after Holm, is called a difference."""


def format_count(number: int, noun: str) -> str:
    """For example "1 speaker" and "20 speakers"."""
    return f"{number} {noun}{'s' * (number != 1)}"


def format_interval(interval: Sequence[float] | None, unit: str, scale: float = 100, digits: int = 1) -> str:
    """For example "[61.2, 70.9]", or "[too few speakers]" where there is no interval.

    Args:
      interval: Both ends.
      unit: What it is over: "speaker", "dialogue" or "utterance".
      scale: What the ends are multiplied by: 100 makes points of shares.
      digits: Behind the point.
    """
    if not interval:
        return f"[too few {unit}s]"
    low, high = (f"{scale * end:.{digits}f}" for end in interval)
    return f"[{low}, {high}]"


def format_p(p_value: float) -> str:
    """Three digits, or "< 0.0001"."""
    return f"{p_value:.3g}" if p_value >= 0.0001 else "< 0.0001"


def with_sentences(compared: Mapping[str, Any]) -> dict[str, Any]:
    """Adds to each pair of what `comparison.compare` returns a `sentence` that says what came of it."""
    return {**compared, "pairs": [pair | {"sentence": _sentence(pair, compared)} for pair in compared["pairs"]]}


def _sentence(pair: Mapping[str, Any], compared: Mapping[str, Any]) -> str:
    metric, num_pairs = compared["metric"], len(compared["pairs"])
    one, other = (pair[name] + "".join(f" [{m}]" for m in pair[f"{name}_marks"]) for name in ("first", "second"))
    interval = format_interval(pair[f"{metric}_interval"], compared["unit"])
    equals = "= " * (pair["p"] >= 0.0001)
    numbers = f"points {TITLES[metric]} {interval}, p {equals}{format_p(pair['p'])}"
    if num_pairs > 1:
        numbers += f" ({format_p(pair['p_holm'])} after Holm over {num_pairs} comparisons)"
    units, points = format_count(compared["num_units"], compared["unit"]), 100 * pair[metric]
    if pair["p_holm"] <= LEVEL:
        text = f"{one} beats {other} by {points:.1f} {numbers}, {units}"
    else:
        text = f"{one} and {other} cannot be told apart: {points:+.1f} {numbers}, {units}"
    return f"{text}{_bound(units, compared)}."


def _bound(units: str, compared: Mapping[str, Any]) -> str:
    """Says where no p-value could have been small enough; empty where one could."""
    smallest, corrected, num_pairs = compared["smallest_p"], compared["smallest_p_holm"], len(compared["pairs"])
    if corrected <= LEVEL:
        return ""
    after = f" ({format_p(corrected)} after Holm over {num_pairs})" if num_pairs > 1 else ""
    return (
        f"; with {units} p cannot fall below {format_p(smallest)}{after}:"
        f" no difference can be called significant at {LEVEL} here"
    )
