"""Names of speakers in several spellings: spreadsheets make "1" and "1.0" of "01", people write "Anna" and "anna"."""

import re
import unicodedata
from collections.abc import Iterable, Mapping

from pipelines.command import InputError

# Characters without width that text copied from pages and spreadsheets carries; `str.isspace` does not know them.
_WITHOUT_WIDTH = dict.fromkeys(map(ord, "\u200b\u200c\u200d\u2060\ufeff"))

# The zeros before a number; those behind a decimal point belong to its value.
_LEADING_ZEROS = re.compile(r"(?<!\d)(?<!\d\.)0+(?=\d)")
_POINT_ZERO = re.compile(r"(?<=\d)\.0+$")


_RAVDESS = "RAVDESS"


def people_of(corpus: str) -> str:
    """Names the people of a corpus: those who speak and those who sing in RAVDESS are the same actors."""
    return _RAVDESS if corpus.startswith(_RAVDESS) else corpus


def person_of(speaker: str, corpus: str, only_train: Mapping[str, str]) -> str:
    """Names a person in the same way in all records that hold utterances of that person.

    Args:
      speaker: As records name their speakers; empty: unknown.
      corpus: Of the records; empty where speakers are named so already, as in records of several corpora.
      only_train: As `pipelines.utterance.Corpus.only_train` says it.

    Returns:
      For instance "RAVDESS/01"; empty for an unknown speaker.
    """
    name = only_train.get(speaker, speaker)
    return f"{people_of(corpus)}/{name}" if name and corpus else name


def spelling_of(speaker: str) -> str:
    """Brings a name into the one spelling in which names are compared: without blanks, case, leading zeros and ".0"."""
    folded = unicodedata.normalize("NFKC", speaker).casefold().translate(_WITHOUT_WIDTH)
    return _LEADING_ZEROS.sub("", _POINT_ZERO.sub("", "".join(folded.split())))


def stop_on_alike(speakers: Iterable[str], where: str) -> None:
    """Stops on two names that differ in their spelling only: one person would be trained on and tested.

    Args:
      speakers: The names, as a corpus or a file writes them.
      where: Names that in a sentence.

    Raises:
      InputError: Two such names; the first pair is named.
    """
    found: dict[str, list[str]] = {}
    for speaker in sorted(set(speakers) - {""}):
        found.setdefault(spelling_of(speaker), []).append(speaker)
    alike = [names for names in found.values() if len(names) > 1]
    if alike:
        one, other = alike[0][:2]
        more = f" (and {len(alike) - 1} more)" if len(alike) > 1 else ""
        raise InputError(
            f"{where}: the speakers {one!r} and {other!r}{more} differ in zeros, case, blanks or '.0' only, and would"
            " count as two: spell one person one way, or give two persons names that differ in more."
        )
