"""The languages that whisper detects, against those in which it transcribed."""

import collections
from collections.abc import Iterable
from typing import NamedTuple

SURE = 0.8
"""From this probability on a detected language is taken for that of the recording."""


class Hearing(NamedTuple):
    """The languages of a recording, as codes.

    Attributes:
      detected: The most probable; empty where whisper was not asked.
      probability: Of that; None where whisper was not asked, or is for English only and cannot tell.
      used: In which the recording was transcribed.
      has_words: Whether anything was.
    """

    detected: str = ""
    probability: float | None = None
    used: str = ""
    has_words: bool = False

    @property
    def is_told(self) -> bool:
        """Whether there are words, and a language that was detected."""
        return self.has_words and self.probability is not None

    @property
    def is_other(self) -> bool:
        """Whether whisper is sure of another language than that in which it transcribed."""
        return self.has_words and (self.probability or 0) >= SURE and self.detected != self.used


def remark_on(hearing: Hearing, *, is_auto: bool) -> list[str]:
    """Warns of another language than the one told; names the one that was detected where none was told."""
    if hearing.is_other:
        sounds = f"the recording sounds like the language {hearing.detected} (probability {hearing.probability:.2f})"
        return [f"{sounds} and was transcribed as {hearing.used}: its words may be made up (see --language)"]
    if is_auto and hearing.is_told:
        return [f"the language was detected as {hearing.detected} (probability {hearing.probability:.2f})"]
    return []


def describe_languages(hearings: Iterable[Hearing], *, is_auto: bool) -> list[str]:
    """Counts clips with words by detected language or, where a language was told, those that sound like another one.

    Returns:
      A sentence, or none where there is nothing to tell.
    """
    told = [one for one in hearings if one.is_told]
    if is_auto:
        counts = _listed(one.detected for one in told)
        return [f"languages detected in clips with words: {counts}"] if counts else []
    others = [one for one in told if one.is_other]
    if not others:
        return []
    return [
        f"warning: {len(others)} of {len(told)} clips with words sound like another language than"
        f" {others[0].used} ({_listed(one.detected for one in others)}): their words may be made up; give"
        " --language auto, or the language that is spoken"
    ]


def _listed(languages: Iterable[str]) -> str:
    return ", ".join(f"{language} {count}" for language, count in collections.Counter(languages).most_common())
