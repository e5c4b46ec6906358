"""Word error rate: how far heard words are from what was said."""

import dataclasses
import re
import unicodedata
from collections.abc import Sequence

_WORD = re.compile(r"\w+(?:'\w+)*")


@dataclasses.dataclass(frozen=True)
class WordErrorRate:
    """Errors over a whole corpus.

    Attributes:
      num_errors: Words put in, left out or exchanged.
      num_words: Words of the scripts.
    """

    num_errors: int
    num_words: int

    def __str__(self) -> str:
        if not self.num_words:
            return "no script to compare with"
        share = self.num_errors / self.num_words
        return f"word error rate {share:.1%} against the script ({self.num_errors} of {self.num_words} words)"


def word_error_rate(said: Sequence[str], heard: Sequence[str]) -> WordErrorRate:
    """Counts word errors over all utterances that have a script.

    Args:
      said: Scripts; utterances with a blank one do not count.
      heard: Transcripts in the same order.

    Source:
      Levenshtein, Binary codes capable of correcting deletions, insertions and reversals, 1966, over words.
    """
    pairs = [(words(script), words(transcript)) for script, transcript in zip(said, heard, strict=True)]
    scripted = [(script, transcript) for script, transcript in pairs if script]
    return WordErrorRate(
        sum(distance(script, transcript) for script, transcript in scripted),
        sum(len(script) for script, _ in scripted),
    )


def words(transcript: str) -> list[str]:
    """Splits a transcript into words: case, punctuation and the shape of quotes do not count."""
    plain = unicodedata.normalize("NFKC", transcript).casefold().replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")
    return _WORD.findall(plain)


def distance(one: Sequence[str], other: Sequence[str]) -> int:
    """Returns the fewest insertions, deletions and exchanges that turn one sequence into the other."""
    costs = list(range(len(other) + 1))
    for row, word in enumerate(one, 1):
        diagonal, costs[0] = costs[0], row
        for column, candidate in enumerate(other, 1):
            exchanged = diagonal + (word != candidate)
            diagonal = costs[column]
            costs[column] = min(exchanged, diagonal + 1, costs[column - 1] + 1)
    return costs[-1]
