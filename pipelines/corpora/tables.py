"""Tables of recordings in the formats that people and programs write: CSV of any separator, JSON lines, Parquet, Excel.

Every reader gives rows of text, column -> cell, each behind the words that name its place.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.command import InputError
from pipelines.corpora.recordings import Refusals
from pipelines.corpora.rows import header_of, rows_of
from pipelines.file_kinds import foreign_kind

if TYPE_CHECKING:
    import pyarrow

SUFFIXES = (".csv", ".tsv", ".txt", ".jsonl", ".ndjson", ".json", ".parquet", ".xlsx")
"""Of tables; what is none of these is read as CSV."""

Row = tuple[str, dict[str, str]]
"""The place of a row in its file, such as "line 3", and column -> cell; absent cells are empty."""


def parse_columns(text: str | None, known: Sequence[str]) -> dict[str, str]:
    """Reads `path=file,emotion=label`: column of ours -> column of the table.

    Raises:
      InputError: No such list, or a column that is none of the known ones.
    """
    found: dict[str, str] = {}
    for part in (text or "").split(","):
        name, equals, column = (piece.strip() for piece in part.partition("="))
        if not part.strip():
            continue
        if not equals or not column or name not in known:
            raise InputError(
                f"--columns {text}: {part.strip()!r} is not NAME=COLUMN with a NAME of {', '.join(known)}: write for"
                " instance path=file,emotion=label."
            )
        found[name] = column
    return found


def rows_of_table(
    path: Path,
    columns: Mapping[str, str],
    required: Sequence[str],
    refusals: Refusals,
    advice: str,
    numbers: Sequence[str] = (),
) -> Iterator[Row]:
    """Reads a table.

    Args:
      path: Of the file, whose suffix says what it is.
      columns: Column of ours -> column of the table, where it has another name.
      required: Columns of ours that must be there.
      refusals: Where rows that cannot be read are kept.
      advice: How a user gets a table that has them, for the sentence.
      numbers: Columns of ours that hold numbers: where semicolons separate cells, theirs may have a decimal comma.

    Raises:
      InputError: No such file, or one that is no such table, a column that is missing.
    """
    if not path.is_file():
        raise InputError(f"{path} is not a file: name a table with the columns {', '.join(required)}.")
    if kind := foreign_kind(path):
        raise InputError(f"{path} {kind}")
    suffix = path.suffix.lower()
    if suffix in (".jsonl", ".ndjson", ".json"):
        found = _of_json(path, refusals)
    elif suffix == ".parquet":
        found = _of_parquet(path)
    elif suffix == ".xlsx":
        found = _of_excel(path)
    else:
        needed = [columns.get(name, name) for name in required]
        found = _of_csv(path, needed, [columns.get(name, name) for name in numbers], refusals, advice)
    names = {column: name for name, column in columns.items()}
    hidden = set(columns) - set(columns.values())
    for number, (place, row) in enumerate(found):
        if not number and suffix in SUFFIXES[3:]:
            header_of(list(row), path, [columns.get(name, name) for name in required], advice)
        cells = {names.get(column, column): cell for column, cell in row.items() if column not in hidden}
        if any(cells.values()):
            yield place, cells


def text_of(value: Any) -> str:
    """Writes a cell as text; one that holds nothing is empty."""
    if value is None or (isinstance(value, float) and value != value):
        return ""
    return value if isinstance(value, str) else str(value)


def _of_csv(
    path: Path, needed: Sequence[str], numbers: Sequence[str], refusals: Refusals, advice: str
) -> Iterator[Row]:
    content = _decoded(path)
    delimiter = _delimiter(content, needed)
    rows = rows_of(content, path, needed, advice, skips_blanks=True, delimiter=delimiter, refusals=refusals)
    for line, cells in rows:
        row = {column: (cell or "").strip() for column, cell in cells.items()}
        if delimiter == ";":
            row |= {column: row[column].replace(",", ".") for column in numbers if column in row}
        yield f"line {line}", row


def _decoded(path: Path) -> str:
    """Reads UTF-8, or UTF-16 as Excel's "Unicode text" is; a byte order mark is no letter."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): allow it, or name another CSV.") from None
    try:
        if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
            return content.decode("utf-16")
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 text ({error.reason}): save it as CSV in UTF-8.") from None


def _delimiter(content: str, needed: Sequence[str]) -> str:
    """Finds what separates cells: that by which the header has most of the columns; commas where none has any."""
    first = next((line for line in content.splitlines() if line.strip(",;\t \ufeff")), "")

    def hits(delimiter: str) -> int:
        cells = [cell.strip().strip('"').strip() for cell in first.split(delimiter)]
        return sum(name in cells for name in needed)

    return max((",", "\t", ";"), key=hits)


def _of_json(path: Path, refusals: Refusals) -> Iterator[Row]:
    """Reads an object a line, or one list of objects."""
    content = _decoded(path)
    if content.lstrip().startswith("["):
        try:
            listed = json.loads(content)
        except ValueError as error:
            raise InputError(f"{path} is no JSON ({error}): write an object a line, or a list of objects.") from None
        for number, row in enumerate(listed, 1):
            yield from _object(row, f"entry {number}", path, refusals)
        return
    for number, line in enumerate(content.split("\n"), 1):
        if line.strip():
            yield from _object(line, f"line {number}", path, refusals)


def _object(row: Any, place: str, path: Path, refusals: Refusals) -> Iterator[Row]:
    with refusals.of_one():
        try:
            values = json.loads(row) if isinstance(row, str) else row
        except ValueError as error:
            raise InputError(f"{path}, {place} is no JSON ({error}): correct it.") from None
        if not isinstance(values, dict):
            raise InputError(f"{path}, {place} is no object with names and values: correct it.")
        yield place, {str(name).strip(): text_of(value).strip() for name, value in values.items()}


def read_parquet(path: Path) -> "pyarrow.Table":
    """Reads a Parquet file.

    Raises:
      InputError: pyarrow is not installed, or the file is no Parquet.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise InputError(f"{path} is read with pyarrow: install emotion_tf[parquet], or write a CSV.") from None
    try:
        return pyarrow.parquet.read_table(path)
    except (OSError, pyarrow.ArrowException) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{path} is no Parquet file, or cut off ({reason}): write or download it again.") from None


def _of_parquet(path: Path) -> Iterator[Row]:
    for number, row in enumerate(read_parquet(path).to_pylist(), 1):
        yield f"row {number}", {str(name).strip(): text_of(value).strip() for name, value in row.items()}


def _of_excel(path: Path) -> Iterator[Row]:
    """Reads the first sheet of a workbook."""
    try:
        import openpyxl
    except ImportError:
        raise InputError(f"{path} is read with openpyxl: install emotion_tf[excel], or save it as CSV.") from None
    try:
        book = openpyxl.load_workbook(path, read_only=True, data_only=True)
    except Exception as error:
        raise InputError(f"{path} is no Excel workbook ({error}): save it again, or as CSV.") from None
    try:
        header: list[str] = []
        for number, cells in enumerate(book.worksheets[0].iter_rows(values_only=True), 1):
            texts = [text_of(cell).strip() for cell in cells]
            if not header:
                header = texts if any(texts) else []
            elif any(texts):
                yield f"line {number}", {name: cell for name, cell in zip(header, texts, strict=False) if name}
    finally:
        book.close()
