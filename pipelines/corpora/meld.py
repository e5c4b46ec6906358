"""MELD: lines of dialogue from a television series in seven emotions (Poria et al. 2019), here their words alone.

The folder holds train_sent_emo.csv, dev_sent_emo.csv and test_sent_emo.csv. The characters of the series speak in all
three, so they are attributes and not speakers.
"""

import csv
import io
from collections.abc import Iterator
from pathlib import Path

from pipelines.command import InputError
from pipelines.emotions import MELD
from pipelines.utterance import Corpus, Utterance

LICENCE = "GPL-3.0"

FILES = {"train": "train_sent_emo.csv", "validation": "dev_sent_emo.csv", "test": "test_sent_emo.csv"}
"""Published split -> its file."""

_COLUMNS = ("Utterance", "Speaker", "Emotion", "Sentiment", "Dialogue_ID", "Utterance_ID", "Season", "Episode")


def read(source: Path) -> Corpus:
    """Reads the three published splits.

    Raises:
      InputError: A folder or file that is missing, a CSV that is none, or a row that cannot be used; names the row.
    """
    if not source.is_dir():
        raise InputError(f"{source} is not a folder: name the one that holds {', '.join(FILES.values())}.")
    utterances: dict[str, Utterance] = {}
    for split, name in FILES.items():
        for number, row in _rows(source / name):
            where = f"{source / name}, line {number}"
            utterance = _utterance(row, where, split)
            if utterance.utterance_id in utterances:
                raise InputError(
                    f"{where}: utterance {row['Utterance_ID']} of dialogue {row['Dialogue_ID']} is there twice:"
                    " remove one of the rows."
                )
            utterances[utterance.utterance_id] = utterance
    if not utterances:
        raise InputError(f"{source} holds headers and no rows: name the folder of the unpacked corpus.")
    ordered = tuple(utterances[key] for key in sorted(utterances))
    return Corpus("MELD", source, LICENCE, MELD, ordered)


def _rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Yields line number and cells of each row."""
    reader = csv.DictReader(io.StringIO(_content(path), newline=""), restkey="", strict=True)
    try:
        missing = [column for column in _COLUMNS if column not in (reader.fieldnames or ())]
        if missing:
            found = ", ".join(reader.fieldnames or ()) or "nothing"
            raise InputError(f"{path} has no column {', '.join(missing)} (found: {found}): use the published file.")
        for row in reader:
            yield reader.line_num, row
    except csv.Error as error:
        # The row after the last whole one: a quote that never ends is noticed much later.
        number = reader.line_num + 1
        raise InputError(
            f"{path}, line {number} is no row of a CSV ({error}): correct it, or use the published file."
        ) from None


def _content(path: Path) -> str:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(
            f"cannot read {path} ({error.strerror}): name the folder that holds {', '.join(FILES.values())}."
        ) from None
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        # Copies that went through a spreadsheet are in Windows' encoding; five of its bytes mean nothing.
        return content.decode("cp1252", errors="replace")


def _utterance(row: dict[str, str], where: str, split: str) -> Utterance:
    if "" in row or None in row.values():
        raise InputError(f"{where} has {'more' if '' in row else 'fewer'} cells than the header: correct it.")
    empty = [column for column in _COLUMNS if not row[column].strip()]
    if empty:
        raise InputError(f"{where}: the cell {empty[0]} is empty: fill it, or remove the row.")
    if row["Emotion"] not in MELD:
        raise InputError(f"{where}: the emotion {row['Emotion']!r} is none of {', '.join(MELD)}: correct it.")
    if not (row["Dialogue_ID"].isdecimal() and row["Utterance_ID"].isdecimal()):
        raise InputError(f"{where}: Dialogue_ID and Utterance_ID must be numbers: correct them.")
    dialogue, number = int(row["Dialogue_ID"]), int(row["Utterance_ID"])
    utterance_id = f"{split}-dialogue-{dialogue:04}-utterance-{number:02}"
    return Utterance(
        utterance_id=utterance_id,
        speaker="",
        emotion=row["Emotion"],
        transcript=row["Utterance"],
        trial=utterance_id,
        published_split=split,
        attributes={
            "dialogue": f"{split}-{dialogue:04}",
            "character": row["Speaker"],
            "sentiment": row["Sentiment"],
            "season": row["Season"],
            "episode": row["Episode"],
        },
    )
