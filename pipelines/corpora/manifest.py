"""Recordings of your own: a CSV with `path,emotion,speaker` and optionally `transcript,split,trial,start,end`.

A path may be that of a video, whose audio and frames are one utterance. Paths are relative to the CSV's folder. `start`
and `end` are seconds: the utterance is what lies between them, and a file may hold several. Further columns become
attributes of the utterance.
"""

import os
import re
import unicodedata
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from pipelines.command import InputError
from pipelines.corpora.rows import ignored, rows_of, without_repeats
from pipelines.file_kinds import foreign_kind
from pipelines.utterance import SPLITS, Corpus, Segment, Utterance

LICENCE = "not stated (manifest)"

_REQUIRED = ("path", "emotion", "speaker")
_OPTIONAL = ("transcript", "split", "trial", "start", "end")
_DRIVE = re.compile(r"[A-Za-z]:[\\/]|\\\\")
_OF_WINDOWS = re.compile(rf"\\|^{_DRIVE.pattern}")
_SECONDS = re.compile(r"(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)


def read(source: Path, emotions: tuple[str, ...]) -> Corpus:
    """Reads a manifest; opens no recording.

    Args:
      source: The CSV, UTF-8, comma-separated, with a header.
      emotions: The labels that may stand in it, in label order.

    Raises:
      InputError: A CSV that is missing, is none, lacks a column or holds a row that cannot be used, or two rows of one
        recording that contradict each other; names the row.
    """
    labels = {_composed(emotion): emotion for emotion in emotions}
    utterances, num_repeats = without_repeats(_utterances(source, labels))
    if not utterances:
        raise InputError(f"{source} holds a header and no rows: add a row for each recording.")
    return Corpus(source.stem, source, LICENCE, emotions, utterances, ignored(num_repeats))


def _utterances(source: Path, labels: Mapping[str, str]) -> Iterator[tuple[str, Utterance]]:
    """Yields the utterance of each row behind its line."""
    advice = f"its first line must name {','.join(_REQUIRED)}, separated by commas"
    finder = _Finder(source.parent)
    for line, cells in rows_of(_content(source), source, _REQUIRED, advice, skips_blanks=True):
        row = {column: (cell or "").strip() for column, cell in cells.items()}
        yield f"line {line}", _utterance(row, f"{source}, line {line}", finder, labels)


def _content(source: Path) -> str:
    if not source.is_file():
        raise InputError(f"{source} is not a file: name a CSV with the columns {', '.join(_REQUIRED)}.")
    if kind := foreign_kind(source):
        raise InputError(f"{source} {kind}")
    try:
        return source.read_bytes().decode("utf-8-sig")  # Spreadsheets write a byte order mark.
    except OSError as error:
        raise InputError(f"{source} cannot be read ({error.strerror}): allow it, or name another CSV.") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{source} is not UTF-8 text ({error.reason}): save it as CSV in UTF-8.") from None


def _composed(text: str) -> str:
    """Brings text into the Unicode form in which two spellings of one letter are equal."""
    return unicodedata.normalize("NFC", text)


def _utterance(row: dict[str, str], where: str, finder: "_Finder", labels: Mapping[str, str]) -> Utterance:
    written = row["path"]
    row = {column: _composed(cell) for column, cell in row.items()}
    _check(row, where, labels)
    path, segment = finder.find(written, where), _segment(row, where)
    name = _composed(path.with_suffix("").as_posix()) + (f"@{segment}" if segment else "")
    return Utterance(
        utterance_id=name,
        speaker=row["speaker"],
        emotion=labels[row["emotion"]],
        audio=finder.folder / path,
        video=finder.folder / path,  # Its content decides whether it is one.
        transcript=row.get("transcript", ""),
        trial=row.get("trial", "") or name,
        published_split=row.get("split", ""),
        attributes={column: cell for column, cell in row.items() if column not in _REQUIRED + _OPTIONAL},
        segment=segment,
        place=where,
    )


def _check(row: Mapping[str, str], where: str, labels: Collection[str]) -> None:
    for column in _REQUIRED:
        if not row[column]:
            raise InputError(f"{where}: the cell {column} is empty: fill it, or remove the row.")
    if row["emotion"] not in labels:
        raise InputError(
            f"{where}: the emotion {row['emotion']!r} is none of {', '.join(labels)}:"
            " correct it, declare your own labels with --emotions, or map them with --label-map."
        )
    split = row.get("split", "")
    if split and split not in SPLITS:
        raise InputError(f"{where}: the split {split!r} is none of {', '.join(SPLITS)}: correct it or leave it empty.")


def _segment(row: Mapping[str, str], where: str) -> Segment | None:
    """Reads what of its file a row names; None: all of it."""
    start, end = (_seconds(row.get(column, ""), column, where) for column in ("start", "end"))
    if start is None and end is None:
        return None
    segment = Segment(start or 0.0, end)
    if segment.end is not None and segment.end <= segment.start:
        raise InputError(
            f"{where}: the segment ends at {segment.end:g} s and starts at {segment.start:g} s: correct start or end."
        )
    return segment


def _seconds(cell: str, column: str, where: str) -> float | None:
    if cell and not _SECONDS.fullmatch(cell):
        raise InputError(f"{where}: the {column} {cell!r} is no number of seconds: write one such as 12.5.")
    return float(cell) if cell else None


class _Finder:
    """Finds the files that rows name, however the program that wrote them spells paths.

    Args:
      folder: Of the manifest.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self._listings: dict[Path, dict[str, str]] = {}

    def find(self, written: str, where: str) -> Path:
        """Returns a path as it stands on disk, relative to the folder where it is written so.

        Raises:
          InputError: What names no file, or one on a drive of another computer.
        """
        is_of_windows = os.name != "nt" and _OF_WINDOWS.search(written) and not _exists(self.folder / written)
        if is_of_windows and _DRIVE.match(written):
            raise InputError(
                f"{where}: the path '{written}' is one of a Windows drive, which is not here: write it relative to"
                " the folder of the CSV."
            )
        path = Path(written.replace("\\", "/") if is_of_windows else written)
        if not path.name or "\0" in written:
            raise InputError(f"{where}: the path '{written}' names no file: correct it.")
        return path if written.isascii() else self._on_disk(path)

    def _on_disk(self, path: Path) -> Path:
        """Replaces each part that exists in another Unicode form by that."""
        if path == path.parent or _exists(self.folder / path):
            return path
        parent = self._on_disk(path.parent)
        name = _composed(path.name)
        return parent / self._names(self.folder / parent).get(name, name)

    def _names(self, folder: Path) -> dict[str, str]:
        """Lists what a folder holds, composed form -> name."""
        if folder not in self._listings:
            found = folder.iterdir() if folder.is_dir() else ()
            self._listings[folder] = {_composed(path.name): path.name for path in found}
        return self._listings[folder]


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # A name that is too long, or holds a NUL.
        return False
