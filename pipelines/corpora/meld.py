"""MELD: lines of dialogue from a television series in seven emotions (Poria et al. 2019), here their words alone.

The folder holds train_sent_emo.csv, dev_sent_emo.csv and test_sent_emo.csv. The characters of the series speak in all
three, so they are attributes and not speakers.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

from pipelines.command import InputError
from pipelines.corpora.rows import ignored, rows_of, without_repeats
from pipelines.emotions import MELD
from pipelines.file_kinds import foreign_kind
from pipelines.utterance import Corpus, Utterance

LICENCE = "GPL-3.0"

FILES = {"train": "train_sent_emo.csv", "validation": "dev_sent_emo.csv", "test": "test_sent_emo.csv"}
"""Published split -> its file."""

_COLUMNS = ("Utterance", "Speaker", "Emotion", "Sentiment", "Dialogue_ID", "Utterance_ID", "Season", "Episode")


def read(source: Path) -> Corpus:
    """Reads the three published splits.

    Raises:
      InputError: A folder or file that is missing, a CSV that is none, a row that cannot be used, or two rows of
        one utterance that contradict each other; names the row.
    """
    if not source.is_dir():
        raise InputError(f"{source} is not a folder: name the one that holds {', '.join(FILES.values())}.")
    utterances, num_repeats = without_repeats(_utterances(source))
    if not utterances:
        raise InputError(f"{source} holds headers and no rows: name the folder of the unpacked corpus.")
    return Corpus("MELD", source, LICENCE, MELD, utterances, ignored(num_repeats))


def _utterances(source: Path) -> Iterator[tuple[str, Utterance]]:
    """Yields the utterance of each row behind its file and line."""
    for split, name in FILES.items():
        path = source / name
        for line, row in rows_of(_content(path), path, _COLUMNS, "use the published file"):
            yield f"{name}, line {line}", _utterance(row, f"{path}, line {line}", split)


def _content(path: Path) -> str:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(
            f"cannot read {path} ({error.strerror}): name the folder that holds {', '.join(FILES.values())}."
        ) from None
    if kind := foreign_kind(path):
        raise InputError(f"{path} {kind}")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        # Copies that went through a spreadsheet are in Windows' encoding; five of its bytes mean nothing.
        return content.decode("cp1252", errors="replace")


def _utterance(cells: Mapping[str, str | None], where: str, split: str) -> Utterance:
    if None in cells.values():
        raise InputError(f"{where} has fewer cells than the header: correct it.")
    # What is said stays as it was published, blanks and all.
    row = {column: (cell or "") if column == "Utterance" else (cell or "").strip() for column, cell in cells.items()}
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
        line=number,
        place=where,
        attributes={
            "dialogue": f"{split}-{dialogue:04}",
            "character": row["Speaker"],
            "sentiment": row["Sentiment"],
            "season": row["Season"],
            "episode": row["Episode"],
        },
    )
