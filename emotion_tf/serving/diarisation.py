"""How far a timeline of emotions is from a reference: the emotion diarisation error rate, EDER.

Source: Wang, Ravanelli & Yacoubi 2023, Speech Emotion Diarization: Which Emotion Appears When?, arXiv:2306.12991.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

NEUTRAL = "neutral"
"""No emotion, like a stretch without a label."""


class DiarisationErrors(NamedTuple):
    """Parts of the error rate, in seconds.

    Attributes:
      false_alarm: An emotion is found where the reference has none.
      missed: The reference has an emotion, and none is found.
      confusion: Another emotion is found than the reference has.
      overlap: The right emotion is found, and another one beside it.
      total: Length of the recording.
    """

    false_alarm: float
    missed: float
    confusion: float
    overlap: float
    total: float

    @property
    def error_rate(self) -> float:
        """Share of the recording that is wrong: EDER."""
        return sum(self[:4]) / self.total if self.total else 0.0

    def to_json(self) -> dict[str, float]:
        """Returns the rate and its parts, all as shares of the recording, and its seconds."""
        parts = {name: getattr(self, name) / self.total if self.total else 0.0 for name in self._fields[:4]}
        found = {"error_rate": self.error_rate, **parts, "seconds": self.total}
        return {name: round(number, 6) for name, number in found.items()}


def diarisation_errors(reference: Iterable[Any], found: Iterable[Any], seconds: float) -> DiarisationErrors:
    """Compares two sets of labelled stretches of one recording.

    Args:
      reference, found: Objects with start and end, in seconds, and emotion; those of the reference may overlap: then
        either of its emotions is right.
      seconds: Length of the recording; what lies behind it does not count.
    """
    reference, found = list(reference), list(found)
    edges = {0.0, seconds} | {min(edge, seconds) for one in (*reference, *found) for edge in (one.start, one.end)}
    sums = dict.fromkeys(("false_alarm", "missed", "confusion", "overlap"), 0.0)
    for start, end in itertools.pairwise(sorted(edges)):
        middle = (start + end) / 2
        kind = _error(_emotions_at(reference, middle), _emotions_at(found, middle))
        if kind:
            sums[kind] += end - start
    return DiarisationErrors(**sums, total=seconds)


def _emotions_at(stretches: Sequence[Any], time: float) -> set[str]:
    return {one.emotion for one in stretches if one.start <= time < one.end} - {NEUTRAL}


def _error(reference: set[str], found: set[str]) -> str:
    """Names the part of the error rate that a moment belongs to; empty: it is right."""
    if not reference:
        return "false_alarm" if found else ""
    if not found:
        return "missed"
    if not reference & found:
        return "confusion"
    return "overlap" if found - reference else ""
