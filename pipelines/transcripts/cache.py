"""Transcripts on disk: readable CSVs, one row an utterance."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from pipelines.command import InputError, is_disk_full


class TranscriptCache:
    """A CSV that grows by one line for each recording heard, and is never rewritten.

    A row answers for a recording where its settings are the same; so several settings may stand in one file.

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
        make_folder(path.parent)
        self._transcripts = {
            row["audio_sha256"]: row["transcript"]
            for row in self._rows()
            if all(row[name] == value for name, value in self._settings.items())
        }

    def get(self, audio_sha256: str) -> str | None:
        """Returns the words of a recording, empty where there were none to hear, or None where it was never heard."""
        return self._transcripts.get(audio_sha256)

    def add(self, values: Mapping[str, str]) -> None:
        """Appends one row; a process that is killed here leaves half a line, which the next one cuts off."""
        row = {**values, **self._settings, "transcript": " ".join(values["transcript"].split())}
        is_new = not self._path.exists() or not self._path.stat().st_size
        with self._path.open("ab") as file:
            file.write(_line(self._columns) if is_new else b"")
            file.write(_line([row[name] for name in self._columns]))
        self._transcripts[row["audio_sha256"]] = row["transcript"]

    def _rows(self) -> list[dict[str, str]]:
        if not self._path.exists():
            return []
        _cut_half_a_line(self._path)
        try:
            # utf-8-sig: spreadsheets write a byte order mark.
            with self._path.open(newline="", encoding="utf-8-sig") as file:
                reader = csv.DictReader(file, restval="", strict=True)
                header, rows = reader.fieldnames or (), list(reader)
        except (UnicodeDecodeError, csv.Error) as error:
            raise InputError(f"{self._path} is no CSV of transcripts ({error}): remove it.") from None
        missing = [name for name in self._columns if name not in header]
        if missing and self._path.stat().st_size:
            raise InputError(
                f"{self._path} is no CSV of transcripts, for it lacks {', '.join(missing)}: remove it, or give another"
                " --transcript-cache."
            )
        return rows


def write_table(path: Path, rows: Sequence[Mapping[str, str]]) -> None:
    """Writes a CSV, one row an utterance, to a temporary name and renames it.

    Raises:
      InputError: A folder that cannot be written.
    """
    make_folder(path.parent)
    temporary = path.with_name(path.name + ".tmp")
    try:
        lines = [_line(list(row.values())) for row in rows]
        temporary.write_bytes(b"".join([_line(list(rows[0])), *lines]) if rows else b"")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def make_folder(folder: Path) -> None:
    """Makes a folder of CSVs, or says why there is none."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        if is_disk_full(error):
            raise
        raise InputError(f"{folder} cannot be made ({error.strerror}): give another --transcript-cache.") from None


def _cut_half_a_line(path: Path) -> None:
    content = path.read_bytes()
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        with path.open("r+b") as file:
            file.truncate(whole)


def _line(cells: Sequence[str]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue().encode(errors="replace")
