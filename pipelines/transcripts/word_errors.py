"""Word error rate: how far a transcription is from the script."""

import dataclasses
import re
import unicodedata
from collections.abc import Sequence

import jiwer

from pipelines.text import APOSTROPHES

_APOSTROPHES = str.maketrans(dict.fromkeys(APOSTROPHES, "'"))
_WORD = re.compile(r"\w+(?:'\w+)*")


@dataclasses.dataclass(frozen=True)
class WordErrorRate:
    """Errors over a whole corpus.

    Attributes:
      num_errors: Words inserted, deleted or substituted.
      num_words: Words of the scripts.
    """

    num_errors: int
    num_words: int

    def __str__(self) -> str:
        if not self.num_words:
            return "no script to compare with"
        share = self.num_errors / self.num_words
        return f"word error rate {share:.1%} against the script ({self.num_errors} of {self.num_words} words)"


def word_error_rate(scripts: Sequence[str], transcripts: Sequence[str]) -> WordErrorRate:
    """Counts word errors over all utterances that have a script.

    Args:
      scripts: What was to be said; utterances with a blank one do not count.
      transcripts: What was transcribed, in the same order.
    """
    pairs = [(words(script), words(transcript)) for script, transcript in zip(scripts, transcripts, strict=True)]
    scripted = [(script, transcript) for script, transcript in pairs if script]
    if not scripted:
        return WordErrorRate(0, 0)
    reference, hypothesis = ([" ".join(one) for one in column] for column in zip(*scripted, strict=True))
    found = jiwer.process_words(reference, hypothesis)
    return WordErrorRate(
        num_errors=found.substitutions + found.deletions + found.insertions,
        num_words=found.hits + found.substitutions + found.deletions,
    )


def words(transcript: str) -> list[str]:
    """Splits a transcript into words: case, punctuation and the shape of quotes and apostrophes do not count."""
    # Before NFKC, which takes the acute accent apart.
    plain = unicodedata.normalize("NFKC", transcript.translate(_APOSTROPHES)).casefold()
    return _WORD.findall(plain)
