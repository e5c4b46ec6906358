"""Transcripts on disk: readable CSVs, one row an utterance."""

import csv
import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from pipelines.command import InputError, is_disk_full, make_folder
from pipelines.files import replacing

_FLAG = "--transcript-cache"


class TranscriptCache:
    """A CSV that grows by one line for each recording that is transcribed, and is never rewritten.

    A row counts where its settings are the same; so several settings may stand in one file.

    Args:
      path: The CSV; it is made with the first row.
      settings: Columns that must be equal for a row to count.
      columns: Further columns of a row, "audio_sha256" and "transcript" among them.

    Raises:
      InputError: A file that is no such table, or a folder that cannot be written.
    """

    def __init__(self, path: Path, settings: Mapping[str, str], columns: Sequence[str]):
        self._path = path
        self._settings = dict(settings)
        self._columns = ("audio_sha256", *settings, *(name for name in columns if name != "audio_sha256"))
        make_folder(path.parent, _FLAG)
        self._rows = {
            row["audio_sha256"]: row
            for row in self._read()
            if all(row[name] == value for name, value in self._settings.items())
        }

    def get(self, audio_sha256: str) -> str | None:
        """Returns the words of a recording, empty where it has none, or None where it was never transcribed."""
        row = self._rows.get(audio_sha256)
        return None if row is None else row["transcript"]

    def row(self, audio_sha256: str) -> Mapping[str, str]:
        """Returns all columns of a recording; none where it was never transcribed."""
        return self._rows.get(audio_sha256, {})

    def add(self, values: Mapping[str, str]) -> None:
        """Appends one row; a process that is killed here leaves half a line, which the next one cuts off."""
        row = {**values, **self._settings, "transcript": " ".join(values["transcript"].split())}
        try:
            with self._path.open("ab") as file:
                file.write(b"" if file.tell() else _line(self._columns))
                file.write(_line([row[name] for name in self._columns]))
        except OSError as error:
            raise _refusal(self._path, error) from None
        self._rows[row["audio_sha256"]] = row

    def _read(self) -> list[dict[str, str]]:
        try:
            content = self._path.read_bytes() if self._path.exists() else b""
        except OSError as error:
            raise _refusal(self._path, error) from None
        whole = content[: content.rfind(b"\n") + 1]
        try:
            # utf-8-sig: spreadsheets write a byte order mark.
            reader = csv.DictReader(io.StringIO(whole.decode("utf-8-sig"), newline=""), restval="", strict=True)
            header, rows = reader.fieldnames or (), list(reader)
        except (UnicodeDecodeError, csv.Error) as error:
            raise InputError(f"{self._path} is no CSV of transcripts ({error}): remove it.") from None
        missing = [name for name in self._columns if name not in header]
        if missing and not _line(self._columns).startswith(content):
            raise InputError(
                f"{self._path} is no CSV of transcripts (it has no column {', '.join(missing)}): remove it, or give"
                " another --transcript-cache."
            )
        if whole != content:  # Only now: a file that is not ours stays as it is.
            os.truncate(self._path, len(whole))
        return rows


def write_table(path: Path, rows: Sequence[Mapping[str, str]]) -> None:
    """Writes a CSV, one row an utterance.

    Raises:
      InputError: A folder or file that cannot be written.
    """
    make_folder(path.parent, _FLAG)
    lines = [_line(list(row.values())) for row in rows]
    try:
        with replacing(path) as temporary:
            temporary.write_bytes(b"".join([_line(list(rows[0])), *lines]) if rows else b"")
    except OSError as error:
        raise _refusal(path, error) from None


def read_table(path: Path) -> dict[str, str]:
    """Reads utterance_id -> transcript of what `write_table` wrote.

    Raises:
      InputError: A file that is no such table.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            return {row["utterance_id"]: row["transcript"] for row in csv.DictReader(file, strict=True)}
    except (OSError, UnicodeDecodeError, csv.Error, KeyError) as error:
        raise InputError(f"{path} is no CSV of transcripts ({error}): remove it.") from None


def _refusal(path: Path, error: OSError) -> Exception:
    """Turns the error of a file into a sentence; a full disk has one of its own."""
    if is_disk_full(error):
        return error
    return InputError(f"{path} cannot be read and written ({error.strerror}): give another folder to {_FLAG}.")


def _line(cells: Sequence[str]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue().encode(errors="replace")
