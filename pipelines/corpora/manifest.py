"""Recordings of your own: a CSV with `path,emotion,speaker` and optionally `transcript,split,trial`.

A path may be that of a video, whose audio and frames are one utterance. Paths are relative to the CSV's folder.
Further columns become attributes of the utterance.
"""

import csv
from collections.abc import Collection
from pathlib import Path

from pipelines.command import InputError
from pipelines.utterance import SPLITS, Corpus, Utterance

LICENCE = "not stated (manifest)"

_REQUIRED = ("path", "emotion", "speaker")
_OPTIONAL = ("transcript", "split", "trial")


def read(source: Path, emotions: tuple[str, ...]) -> Corpus:
    """Reads a manifest; opens no recording.

    Args:
      source: The CSV, UTF-8, comma-separated, with a header.
      emotions: The labels that may stand in it, in label order.

    Raises:
      InputError: A CSV that is missing, is none, lacks a column or holds a row that cannot be used; names the row.
    """
    rows = _rows(source)
    utterances: dict[str, Utterance] = {}
    first_row: dict[str, int] = {}
    for line, row in rows:
        utterance = _utterance(row, f"{source}, line {line}", source.parent, emotions)
        if utterance.utterance_id in utterances:
            raise InputError(
                f"{source}, line {line}: {row['path']} has the name of line {first_row[utterance.utterance_id]}:"
                " names must differ by more than their suffix."
            )
        utterances[utterance.utterance_id] = utterance
        first_row[utterance.utterance_id] = line
    if not utterances:
        raise InputError(f"{source} holds a header and no rows: add a row for each recording.")
    ordered = tuple(utterances[key] for key in sorted(utterances))
    return Corpus(source.stem, source, LICENCE, emotions, ordered)


def _rows(source: Path) -> list[tuple[int, dict[str, str]]]:
    """Returns line number and cells of each row."""
    if not source.is_file():
        raise InputError(f"{source} is not a file: name a CSV with the columns {', '.join(_REQUIRED)}.")
    # A transcript may be longer than the 131,072 characters that Python reads of a cell.
    csv.field_size_limit(2**31 - 1)
    try:
        # utf-8-sig: spreadsheets write a byte order mark.
        with source.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, restkey="", restval="", skipinitialspace=True, strict=True)
            missing = [column for column in _REQUIRED if column not in (reader.fieldnames or ())]
            if missing:
                found = ", ".join(reader.fieldnames or ()) or "nothing"
                raise InputError(
                    f"{source} has no column {', '.join(missing)} (found: {found}): its first line must name"
                    f" {','.join(_REQUIRED)}, separated by commas."
                )
            return [(reader.line_num, row) for row in reader]
    except UnicodeDecodeError as error:
        raise InputError(f"{source} is not UTF-8 text ({error.reason}): save it as CSV in UTF-8.") from None
    except csv.Error as error:
        raise InputError(f"{source} is no CSV ({error}): save it as comma-separated values.") from None


def _utterance(row: dict[str, str], where: str, folder: Path, emotions: Collection[str]) -> Utterance:
    # Spreadsheets end every line in commas; only words without a column are a mistake.
    if "".join(row.pop("", "")).strip():
        raise InputError(f"{where} has more cells than the header: put cells that hold a comma in double quotes.")
    row = {column: cell.strip() for column, cell in row.items()}
    for column in _REQUIRED:
        if not row[column]:
            raise InputError(f"{where}: the cell {column} is empty: fill it, or remove the row.")
    if row["emotion"] not in emotions:
        raise InputError(
            f"{where}: the emotion {row['emotion']!r} is none of {', '.join(emotions)}:"
            " correct it, declare your own labels with --emotions, or map them with --label-map."
        )
    split = row.get("split", "")
    if split and split not in SPLITS:
        raise InputError(f"{where}: the split {split!r} is none of {', '.join(SPLITS)}: correct it or leave it empty.")
    path = Path(row["path"])
    if not path.name or "\0" in row["path"]:
        raise InputError(f"{where}: the path {row['path']!r} names no file: correct it.")
    utterance_id = path.with_suffix("").as_posix()
    others = {column: cell for column, cell in row.items() if column not in _REQUIRED + _OPTIONAL}
    return Utterance(
        utterance_id=utterance_id,
        speaker=row["speaker"],
        emotion=row["emotion"],
        audio=folder / path,
        video=folder / path,  # Its content decides whether it is one.
        transcript=row.get("transcript", ""),
        trial=row.get("trial", "") or utterance_id,
        published_split=split,
        attributes=others,
    )
