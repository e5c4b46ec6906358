"""Predictions as rows of a file that grows, and that a killed process leaves in a state to go on from.

Rows of .csv and .jsonl are appended to the file itself, those of .parquet to a journal beside it, OUT.parquet.rows,
which becomes the file when all is done. What a killed process left of its last row is cut off. OUT.csv.model.json
beside the file says which model the rows are of, and how they were made: those of another are refused.
"""

import contextlib
import csv
import io
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from emotion_tf.serving.prediction import Prediction, printable
from pipelines.command import InputError, make_folder
from pipelines.files import lock_file, read_json, replacing, write_json

FLAG = "--output"

SUFFIXES = (".csv", ".jsonl", ".parquet")

NOT_SURE = "not sure"
"""In place of the emotion where its probability is lower than --reject-below."""

Row = dict[str, Any]
"""Column -> value; None where there is none, and a list under `warnings`."""


class Settings(NamedTuple):
    """What all rows of a file have in common.

    Attributes:
      model: SHA-256 of the export.
      emotions: Its labels.
      reject_below: Least probability of an emotion that is named; None: all are.
      has_embeddings: Whether their embeddings are kept, too.
    """

    model: str
    emotions: tuple[str, ...]
    reject_below: float | None = None
    has_embeddings: bool = False

    @property
    def columns(self) -> tuple[str, ...]:
        """Of each row."""
        probabilities = [f"probability_{emotion}" for emotion in self.emotions]
        return ("file", "emotion", *probabilities, "seconds", "warnings", "error")


def row_of(path: Path, found: Prediction | InputError, settings: Settings) -> Row:
    """Makes the row of a file: of its prediction, or of the reason why there is none."""
    row: Row = dict.fromkeys(settings.columns) | {"file": printable(str(path)), "warnings": []}
    if isinstance(found, InputError):
        return row | {"error": printable(str(found))}
    least = settings.reject_below
    is_sure = least is None or max(found.probabilities.values()) >= least
    emotion = found.emotion if found.emotions is None else "|".join(found.emotions)
    row |= {f"probability_{name}": round(value, 6) for name, value in found.probabilities.items()}
    row |= {"emotion": emotion if is_sure else NOT_SURE, "seconds": round(found.seconds, 3)}
    return row | {"warnings": list(found.warnings)}


class Table:
    """An open file of predictions; `open_table` makes one.

    Attributes:
      rows: Of each row that is there, `file` and `error`.
    """

    def __init__(self, path: Path, settings: Settings, file: BinaryIO, rows: Iterable[Mapping[str, Any]]):
        self.path, self.settings, self._file = path, settings, file
        self.rows = [(str(row["file"]), str(row["error"] or "")) for row in rows]

    @property
    def done(self) -> set[str]:
        """The files that have a row, as absolute paths."""
        return {str(Path(file).absolute()) for file, _ in self.rows}

    @property
    def errors(self) -> list[str]:
        """The sentences of files that could not be used."""
        return [error for _, error in self.rows if error]

    def append(self, rows: Sequence[Row]) -> None:
        """Adds rows: all that was added is there after the process was killed, and of what fails nothing.

        Raises:
          OSError: The disk is full, or the file cannot be written to.
        """
        if not rows:
            return
        lines = _lines_of_csv if self.path.suffix.lower() == ".csv" else _lines_of_json
        begin = self._file.seek(0, os.SEEK_END)
        try:
            _write_all(self._file, lines(rows, self.settings.columns))
        except OSError as error:
            self._file.truncate(begin)
            raise OSError(error.errno, error.strerror, str(self.path)) from None
        self.rows += [(row["file"], row["error"] or "") for row in rows]


@contextlib.contextmanager
def open_table(path: Path, settings: Settings) -> Iterator[Table]:
    """Opens a file of predictions, a new one or one that was begun with the same settings.

    Returns:
      A context whose value is the table; at its end a .parquet becomes whole.

    Raises:
      InputError: A suffix that is not known, a folder that cannot be written to, a file that is no table of ours, or
        of another model, or that another process is writing.
    """
    suffix = path.suffix.lower()
    _check(path, suffix)
    is_parquet = suffix == ".parquet"
    journal = path.with_name(f"{path.name}.rows") if is_parquet else path
    with contextlib.ExitStack() as stack:
        file = stack.enter_context(_locked(journal, path))
        is_empty = not os.fstat(file.fileno()).st_size
        is_whole = is_parquet and is_empty and path.exists()
        try:
            _agree(path, settings, is_new=is_empty and not is_whole)
            if is_whole:
                file = stack.enter_context(_journal_of(path, journal, settings.columns))
        except InputError:
            if is_whole:
                journal.unlink()
            raise
        rows = _mended(file, path, suffix, settings.columns)
        yield Table(path, settings, file, rows)
        if is_parquet:
            _write_parquet(path, journal, settings.columns)
            journal.unlink()


def _locked(journal: Path, path: Path) -> BinaryIO:
    """Opens the file that rows are appended to, or a new one, and keeps other processes out of it until it is closed.

    Raises:
      InputError: Another process has it.
    """
    while True:
        with contextlib.ExitStack() as stack:
            # Without a buffer, which would be written once more when the file is closed.
            file = stack.enter_context(journal.open("ab+", buffering=0))
            lock_file(file.fileno(), path, FLAG)
            # A process that ended meanwhile may have removed what was opened.
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(file.fileno()), journal.stat()):
                    stack.pop_all()
                    return file


def _journal_of(path: Path, journal: Path, columns: Sequence[str]) -> BinaryIO:
    """Puts the rows of a .parquet in the place of its empty journal, whole and locked as that is."""
    with replacing(journal) as temporary:
        temporary.write_bytes(_lines_of_json(_read_parquet(path), columns))
        file = temporary.open("ab+", buffering=0)
        lock_file(file.fileno(), path, FLAG)
    return file


def _check(path: Path, suffix: str) -> None:
    """Stops before anything is written."""
    if suffix not in SUFFIXES:
        raise InputError(f"{path} has no suffix that is known: give {FLAG} a name that ends in {', '.join(SUFFIXES)}.")
    if path.is_dir():
        raise InputError(f"{path} is a folder: give {FLAG} the name of a file.")
    make_folder(path.parent, FLAG)
    if path.exists() and not os.access(path, os.W_OK):
        raise InputError(f"{path} cannot be written to: allow it, or give {FLAG} another name.")
    if suffix == ".parquet":
        _pyarrow()


def _agree(path: Path, settings: Settings, *, is_new: bool) -> None:
    """Keeps what the rows of a new file have in common; of one that is there it must be the same.

    Called under the lock: of two processes that begin one file at once, one alone says what it holds.
    """
    beside = path.with_name(f"{path.name}.model.json")
    stated = json.loads(json.dumps(settings._asdict()))
    if is_new:
        write_json(beside, stated)
        return
    if not beside.exists():
        raise InputError(f"{path} is there, and nothing says that it holds predictions: give {FLAG} another name.")
    found = read_json(beside, f"give {FLAG} another name")
    if found.get("model") != stated["model"]:
        raise InputError(f"{path} holds predictions of another model: give {FLAG} another name, or remove it.")
    if other := [name for name, value in stated.items() if found.get(name) != value]:
        flag = {"reject_below": "--reject-below", "has_embeddings": "--embeddings"}.get(other[0], other[0])
        raise InputError(f"{path} was begun with another {flag}: give the same, or another name to {FLAG}.")


def _mended(file: BinaryIO, path: Path, suffix: str, columns: Sequence[str]) -> list[dict[str, Any]]:
    """Reads the rows of a file, and cuts off one that was not written to its end."""
    file.seek(0)
    content = file.read()
    whole = _end_of_csv(content) if suffix == ".csv" else content.rfind(b"\n") + 1
    file.truncate(whole)
    if suffix == ".csv" and not whole:
        _write_all(
            file, _lines_of_csv([dict(zip(columns, columns, strict=True)) | {"warnings": ["warnings"]}], columns)
        )
        return []
    try:
        text = content[:whole].decode("utf-8")
        rows = list(csv.DictReader(io.StringIO(text, newline=""))) if suffix == ".csv" else _rows_of_json(text)
        if any(set(row) != set(columns) for row in rows):
            raise ValueError("other columns")
    except (ValueError, TypeError) as error:
        raise InputError(f"{path} was changed ({error}): give {FLAG} another name, or remove it.") from None
    return rows


def _write_all(file: BinaryIO, content: bytes) -> None:
    """Writes to a file without a buffer, which may take less at once."""
    while content:
        content = content[file.write(content) :]


def _end_of_csv(content: bytes) -> int:
    """Finds the end of the last whole row; a cell in quotes may hold the ends of lines."""
    end = start = num_quotes = 0
    while (newline := content.find(b"\n", start)) >= 0:
        num_quotes += content.count(b'"', start, newline)
        start = newline + 1
        if num_quotes % 2 == 0:
            end = start
    return end


def _rows_of_json(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.split("\n") if line]


def _lines_of_json(rows: Sequence[Row], columns: Sequence[str]) -> bytes:
    """Writes one object a line, columns in their order."""
    lines = (json.dumps({name: row[name] for name in columns}, ensure_ascii=False) for row in rows)
    return "".join(f"{line}\n" for line in lines).encode()


def _lines_of_csv(rows: Sequence[Row], columns: Sequence[str]) -> bytes:
    """Writes one row a line; several warnings share a cell."""
    written = io.StringIO(newline="")
    writer = csv.writer(written, lineterminator="\n")
    writer.writerows([("; ".join(row[name]) if name == "warnings" else row[name]) for name in columns] for row in rows)
    return written.getvalue().encode()


def _pyarrow() -> Any:
    try:
        import pyarrow.parquet
    except ImportError:
        raise InputError(
            "a .parquet is written by pyarrow, which is not installed: pip install 'emotion_tf[parquet]', or give"
            f" {FLAG} a name that ends in .csv or .jsonl."
        ) from None
    return pyarrow


def _read_parquet(path: Path) -> list[Row]:
    pyarrow = _pyarrow()
    try:
        rows: list[Row] = pyarrow.parquet.read_table(path).to_pylist()
    except (pyarrow.ArrowInvalid, OSError) as error:
        raise InputError(f"{path} cannot be read ({error}): give {FLAG} another name, or remove it.") from None
    return rows


def _write_parquet(path: Path, journal: Path, columns: Sequence[str]) -> None:
    pyarrow = _pyarrow()
    kinds = {"file": pyarrow.string(), "emotion": pyarrow.string(), "error": pyarrow.string()}
    kinds |= {"warnings": pyarrow.list_(pyarrow.string())}
    schema = pyarrow.schema([(name, kinds.get(name, pyarrow.float64())) for name in columns])
    rows = _rows_of_json(journal.read_text(encoding="utf-8"))
    with replacing(path) as temporary:
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows, schema), temporary)
