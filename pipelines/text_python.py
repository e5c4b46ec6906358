"""Token ids of the project's own vocabulary in plain Python, for programs that do without TensorFlow.

They are those of `pipelines.text.own_tokenizer`, but for characters that the Unicode tables of one of both do not know.
"""

import functools
import re
import sys
import unicodedata
from pathlib import Path

VOCABULARY_PATH = Path(__file__).with_name("vocabulary.txt")
PAD_ID, UNKNOWN_ID, START_ID = range(3)

MOST_BYTES = 100
"""A longer word is unknown."""

APOSTROPHES = (
    "`\N{ACUTE ACCENT}\N{PRIME}\N{REVERSED PRIME}\N{LEFT SINGLE QUOTATION MARK}\N{RIGHT SINGLE QUOTATION MARK}"
    "\N{SINGLE LOW-9 QUOTATION MARK}\N{SINGLE HIGH-REVERSED-9 QUOTATION MARK}\N{MODIFIER LETTER PRIME}"
    "\N{MODIFIER LETTER TURNED COMMA}\N{MODIFIER LETTER APOSTROPHE}\N{MODIFIER LETTER REVERSED COMMA}"
    "\N{MODIFIER LETTER ACUTE ACCENT}\N{MODIFIER LETTER GRAVE ACCENT}\N{GREEK NUMERAL SIGN}\N{GREEK KORONIS}"
    "\N{GREEK PSILI}\N{GREEK VARIA}\N{GREEK OXIA}\N{ARMENIAN APOSTROPHE}\N{LATIN CAPITAL LETTER SALTILLO}"
    "\N{LATIN SMALL LETTER SALTILLO}\N{FULLWIDTH APOSTROPHE}\N{FULLWIDTH GRAVE ACCENT}\x91\x92"
)
"""What people and programs write for an apostrophe; the last two are those of Windows, read as Latin-1."""

QUOTES = "\x93\x94\u201c\u201d\u201e\u201f\u2033\u2034\u2036\u2037\u2057"

_SPELLINGS = str.maketrans(
    dict.fromkeys(APOSTROPHES, "'")
    | dict.fromkeys(QUOTES, '"')
    | {"\u0149": "'n"}
    | dict.fromkeys("\t\n\v\f\r\x1c\x1d\x1e\x1f\x85", " ")
)

# Default_Ignorable_Code_Point, which NFKC_Casefold leaves out.
_IGNORED = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164"
    "\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
_HAN = re.compile(
    "[\u2e80-\u2e99\u2e9b-\u2ef3\u2f00-\u2fd5\u3005\u3007\u3021-\u3029\u3038-\u303b\u3400-\u4dbf\u4e00-\u9fff"
    "\uf900-\ufa6d\ufa70-\ufad9\U00016fe2\U00016fe3\U00016ff0\U00016ff1\U00020000-\U0002a6df\U0002a700-\U0002ebe0"
    "\U0002f800-\U0002fa1d\U00030000-\U000323af]"
)


def token_ids(transcript: str, max_tokens: int | None = None, context: str | None = None) -> list[int]:
    """Turns a transcript into token ids.

    Args:
      transcript: What is said.
      max_tokens: Ids at most; None: any number.
      context: The lines before it, one a line; None: rows of the model have no place for them.

    Returns:
      [START] = 2 first, and alone where the transcript is blank; with a context its last ids and [START] stand
      before those of the transcript.
    """
    room = sys.maxsize if max_tokens is None else max_tokens - 1 - (context is not None)
    pieces = _pieces(transcript)[:room]
    if context is None or not pieces:
        return [START_ID, *pieces]
    lines = _pieces(context.replace("\n", " "))
    return [START_ID, *lines[max(0, len(lines) - room + len(pieces)) :], START_ID, *pieces]


def words_of(transcript: str) -> list[str]:
    """Splits a transcript into normalised words, as `pipelines.text` does."""
    text = transcript.encode(errors="ignore").decode().replace("\0", "").translate(_SPELLINGS)
    text = unicodedata.normalize("NFC", "".join(map(_folded, text)))
    return "".join(f" {one} " if _stands_alone(one) else one for one in text).split(" ")


@functools.cache
def _folded(character: str) -> str:
    """Makes white space a space, and drops what is not seen; all else as NFKC_Casefold maps it.

    Source: The Unicode Standard, section 3.13: mapped by characters, and each until nothing changes.
    """
    category = unicodedata.category(character)
    if category in ("Cc", "Cf"):
        return ""
    if category[0] == "Z":
        return " "
    folded = unicodedata.normalize("NFKD", unicodedata.normalize("NFD", character).casefold())
    return _IGNORED.sub("", unicodedata.normalize("NFKC", folded.casefold()))


@functools.cache
def _stands_alone(character: str) -> bool:
    return unicodedata.category(character)[0] in "PS" or _HAN.match(character) is not None


def _pieces(text: str) -> list[int]:
    return [piece for word in words_of(text) if word for piece in _cut(word)]


def _cut(word: str) -> list[int]:
    """Cuts a word into the longest pieces of the vocabulary, from its start on."""
    ids, found, start = _ids(), list[int](), 0
    if len(word.encode()) > MOST_BYTES:
        return [UNKNOWN_ID]
    while start < len(word):
        prefix = "##" if start else ""
        ends = (end for end in range(len(word), start, -1) if prefix + word[start:end] in ids)
        if (end := next(ends, None)) is None:
            return [UNKNOWN_ID]
        found.append(ids[prefix + word[start:end]])
        start = end
    return found


@functools.cache
def _ids() -> dict[str, int]:
    """Reads the vocabulary: piece -> id."""
    return {piece: index for index, piece in enumerate(VOCABULARY_PATH.read_text(encoding="utf-8").splitlines())}
