"""Tables as people and spreadsheets write them: rows with their lines, and rows that repeat others."""

import contextlib
import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from pipelines.command import InputError
from pipelines.corpora.recordings import Refusals
from pipelines.utterance import Utterance

# What rows of one name must agree in: the name that a person reads -> the field.
_FACTS = {
    "emotion": "emotion",
    "speaker": "speaker",
    "split": "published_split",
    "trial": "trial",
    "transcript": "transcript",
}

_SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tab"}


def rows_of(
    content: str,
    source: Path,
    required: Sequence[str],
    advice: str,
    *,
    skips_blanks: bool = False,
    delimiter: str = ",",
    refusals: Refusals | None = None,
) -> Iterator[tuple[int, dict[str, str | None]]]:
    """Reads a CSV with a header.

    Rows of empty cells are left out, and so are columns without a name: spreadsheets end every line in commas, and
    pandas begins every line with a number.

    Args:
      content: Of the file.
      source: Its path, for sentences.
      required: Columns that must be there.
      advice: How a user gets a file that has them, for the sentence.
      skips_blanks: Whether blanks before a cell belong to none.
      delimiter: What separates cells.
      refusals: Where rows of more cells than the header are kept; None: the first stops.

    Returns:
      The line at which each row begins, counted from 1, and column -> cell; None where a row ends before a column.

    Raises:
      InputError: No CSV, a column that is missing or there twice, or a row of more cells; names the line.
    """
    # A transcript may be longer than the 131,072 characters that Python reads of a cell.
    csv.field_size_limit(2**31 - 1)
    lines = content if "\n" in content else content.replace("\r", "\n")  # Of old Macs, which some programs still write.
    reader = csv.reader(io.StringIO(lines, newline=""), skipinitialspace=skips_blanks, strict=True, delimiter=delimiter)
    numbered = _numbered(reader, source)
    first = next((cells for _, cells in numbered if any(cells)), [])
    header = header_of(first, source, required, advice)
    for line, cells in numbered:
        if not any(cell.strip() for cell in cells):
            continue
        if any(cell.strip() for cell in cells[len(header) :]):
            with refusals.of_one() if refusals else contextlib.nullcontext():
                raise InputError(
                    f"{source}, line {line} has more cells than the header: put cells that hold a"
                    f" {_SEPARATORS[delimiter]} in double quotes."
                )
            continue
        filled = [*cells, *[None] * (len(header) - len(cells))]
        yield line, {column: cell for column, cell in zip(header, filled, strict=False) if column}


def _numbered(reader: Any, source: Path) -> Iterator[tuple[int, list[str]]]:
    """Yields rows with the line at which they begin; a cell may hold several lines."""
    while True:
        line = reader.line_num + 1
        try:
            yield line, next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise InputError(
                f"{source}, line {line} is no row of a CSV ({error}): a double quote is stray or missing there, and one"
                ' inside of quotes is written "", so correct the row.'
            ) from None


def header_of(cells: Sequence[str], source: Path, required: Sequence[str], advice: str) -> list[str]:
    """Reads the names of the columns.

    Raises:
      InputError: A column that is missing or there twice.
    """
    header = [cell.strip() for cell in cells]
    if missing := [column for column in required if column not in header]:
        found = ", ".join(filter(None, header)) or "nothing"
        raise InputError(f"{source} has no column {', '.join(missing)} (found: {found}): {advice}.")
    if twice := [column for column in header if column and header.count(column) > 1]:
        raise InputError(f"{source} has the column {twice[0]} twice: keep one of them.")
    return header


def without_repeats(named: Iterable[tuple[str, Utterance]]) -> tuple[tuple[Utterance, ...], int]:
    """Keeps the first of several rows of one utterance.

    Args:
      named: Utterances, each behind the short name of its row, for instance "line 2".

    Returns:
      The utterances, sorted by their ids, and how many rows repeated another one.

    Raises:
      InputError: Two rows of one utterance that contradict each other; names both.
    """
    found: dict[str, tuple[str, Utterance]] = {}
    num_repeats = 0
    for name, utterance in named:
        first, kept = found.setdefault(utterance.utterance_id, (name, utterance))
        if kept is not utterance:
            _stop_on_contradiction(utterance, kept, first)
            num_repeats += 1
    return tuple(found[key][1] for key in sorted(found)), num_repeats


def _stop_on_contradiction(utterance: Utterance, kept: Utterance, first: str) -> None:
    if utterance.audio is not None and utterance.audio != kept.audio:
        raise InputError(
            f"{utterance.place}: {utterance.audio.name} has the name of {first}: names must differ by more than their"
            " suffix."
        )
    for name, field in _FACTS.items():
        one, other = getattr(kept, field), getattr(utterance, field)
        if one != other:
            raise InputError(
                f"{utterance.place} repeats {first} with another {name} ({one!r} there, {other!r} here): keep the row"
                " that is right."
            )


def ignored(num_repeats: int) -> dict[str, int]:
    """Counts repeated rows as `Corpus.ignored` does."""
    return {"rows that repeat another one": num_repeats} if num_repeats else {}
