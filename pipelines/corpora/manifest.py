"""Recordings of your own: a table with `path,emotion,speaker` and optionally `transcript,split,trial,start,end`.

The table is a CSV separated by commas, semicolons or tabs, JSON lines, Parquet or an Excel workbook; its columns may
have other names (`--columns`). A path may be that of a video, whose audio and frames are one utterance. Paths are
absolute or relative to the folder of the table. `start` and `end` are seconds: the utterance is what lies between them,
and a file may hold several. Further columns become attributes of the utterance.
"""

import os
import re
import unicodedata
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from pipelines.command import InputError
from pipelines.corpora.recordings import Refusals
from pipelines.corpora.rows import ignored, without_repeats
from pipelines.corpora.tables import rows_of_table
from pipelines.utterance import SPLITS, Corpus, Segment, Utterance

LICENCE = "not stated (manifest)"

_REQUIRED = ("path", "emotion", "speaker")
_OPTIONAL = ("transcript", "split", "trial", "start", "end")
COLUMNS = (*_REQUIRED, *_OPTIONAL)
"""The columns that have a meaning."""

_NUMBERS = ("start", "end")

_DRIVE = re.compile(r"[A-Za-z]:[\\/]|\\\\")
_OF_WINDOWS = re.compile(rf"\\|^{_DRIVE.pattern}")
_SECONDS = re.compile(r"(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)


def read(source: Path, emotions: tuple[str, ...], columns: Mapping[str, str] | None = None) -> Corpus:
    """Reads a manifest; opens no recording.

    Args:
      source: The table, with a header.
      emotions: The labels that may stand in it, in label order.
      columns: Name of `COLUMNS` -> the name that its column has in the table, where that is another one.

    Raises:
      InputError: A table that is missing, is none, lacks a column or holds rows that cannot be used, all of which are
        named, or two rows of one recording that contradict each other.
    """
    labels = {_composed(emotion): emotion for emotion in emotions}
    refusals = Refusals(f"rows of {source}")
    utterances: tuple[Utterance, ...] = ()
    num_repeats = 0
    with refusals.of_one():  # Where a table cannot be read on, the rows that were refused before are named, too.
        utterances, num_repeats = without_repeats(_utterances(source, labels, columns or {}, refusals))
    refusals.stop()
    if not utterances:
        raise InputError(f"{source} holds a header and no rows: add a row for each recording.")
    return Corpus(source.stem, source, LICENCE, emotions, utterances, ignored(num_repeats))


def _utterances(
    source: Path, labels: Mapping[str, str], columns: Mapping[str, str], refusals: Refusals
) -> Iterator[tuple[str, Utterance]]:
    """Yields the utterance of each row behind its line."""
    advice = f"its first line must name {','.join(_REQUIRED)}, or say with --columns which columns are those"
    finder = _Finder(source.parent)
    for place, row in rows_of_table(source, columns, _REQUIRED, refusals, advice, _NUMBERS):
        with refusals.of_one():
            yield place, _utterance(row, f"{source}, {place}", finder, labels)


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
        path = path if written.isascii() else self._on_disk(path)
        return path if _exists(self.folder / path) else self._in_another_case(path)

    def _in_another_case(self, path: Path) -> Path:
        """Takes the suffix as it is on disk: .wav for .WAV, or the reverse."""
        others = [path.with_suffix(change(path.suffix)) for change in (str.lower, str.upper)]
        return next((other for other in others if _exists(self.folder / other)), path)

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
