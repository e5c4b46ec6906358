"""Folders of Hugging Face's `datasets`: recordings with `metadata.csv|jsonl|parquet`, or Parquet with audio inside.

A metadata file lies in the folder or in those of its splits and names recordings under `file_name`, relative to itself.
Parquet files (`data/train-00000-of-00001.parquet`) hold recordings in a column of bytes; those are unpacked once, into
`unpacked_audio/` in the folder. Labels that are numbers are named as the Parquet file says. Names of folders and files
say the split. Where emotion, speaker or words stand in columns of other names, `--columns` says so.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipelines.command import InputError, make_folder
from pipelines.corpora.folders import SPLIT_NAMES, stop_on_others
from pipelines.corpora.recordings import Refusals, Speakers
from pipelines.corpora.tables import read_parquet, rows_of_table, text_of
from pipelines.files import replacing
from pipelines.utterance import Corpus, Utterance

LICENCE = "not stated (Hugging Face folder): its README.md names it"

COLUMNS = ("path", "emotion", "speaker", "transcript")
"""What --columns may name; path is file_name, or the column of audio."""

UNPACKED = "unpacked_audio"

_METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")

# Names that columns have on the hub, the first that is there is taken.
_USUAL: Mapping[str, tuple[str, ...]] = {
    "path": ("file_name", "audio_file_name", "audio"),
    "emotion": ("emotion", "label", "labels", "major_emotion"),
    "speaker": ("speaker", "speaker_id", "actor", "actor_id"),
    "transcript": ("transcript", "transcription", "text", "sentence"),
}


def read(source: Path, emotions: Sequence[str], speakers: Speakers, columns: Mapping[str, str]) -> Corpus:
    """Reads the tables of a folder; unpacks recordings where they lie in them.

    Args:
      source: The folder.
      emotions: The labels that may be there, in label order; none: those that are there, in alphabetical order.
      speakers: How speakers are found where no column names them.
      columns: Name of `COLUMNS` -> column of the tables, where it has no usual name.

    Raises:
      InputError: A folder without such tables, columns that are missing, rows that cannot be used, all of them named.
    """
    if not source.is_dir():
        raise InputError(f"{source} is not a folder: name the one of a data set that was downloaded from the hub.")
    refusals = Refusals(f"rows of {source}")
    tables = sorted(path for name in _METADATA for path in source.rglob(name) if UNPACKED not in path.parts)
    packed = [path for path in sorted(source.rglob("*.parquet")) if path.name not in _METADATA]
    if tables:
        found = [one for path in tables for one in _of_metadata(source, path, speakers, columns, refusals)]
    elif packed:
        found = [one for path in packed for one in _of_parquet(source, path, speakers, columns, refusals)]
    else:
        raise InputError(
            f"{source} holds neither {', '.join(_METADATA)} nor a .parquet file: read folders of emotions with --corpus"
            " folders, and tables of other names with --corpus manifest."
        )
    refusals.stop()
    labels = tuple(sorted({utterance.emotion for utterance in found}))
    stop_on_others(labels, emotions, str(source))
    ordered = {utterance.utterance_id: utterance for utterance in found}
    if len(ordered) < len(found):
        raise InputError(f"{source} names {len(found) - len(ordered)} recordings twice: keep one row of each.")
    utterances = tuple(ordered[name] for name in sorted(ordered))
    return Corpus(source.resolve().name, source, LICENCE, tuple(emotions) or labels, utterances)


def _split_of(relative: Path) -> str:
    """Finds the split in the names of folders and files: train/..., or data/train-00000-of-00001.parquet."""
    words = [*relative.parts[:-1], relative.name.partition("-")[0].partition(".")[0]]
    return next((SPLIT_NAMES[word.lower()] for word in words if word.lower() in SPLIT_NAMES), "")


def _chosen(names: Sequence[str], columns: Mapping[str, str], path: Path) -> dict[str, str]:
    """Finds which column of a table is which of ours."""
    found = {}
    for name, usual in _USUAL.items():
        wanted = [columns[name]] if name in columns else usual
        column = next((one for one in wanted if one in names), None)
        if column is not None:
            found[name] = column
        elif name in ("path", "emotion") or name in columns:
            given = f"--columns {name}={columns[name]}" if name in columns else f"none of {', '.join(usual)}"
            raise InputError(
                f"{path} has the columns {', '.join(names)}, {given} among them for the {name}: name it with --columns"
                f" {name}=COLUMN."
            )
    return found


def _of_metadata(
    source: Path, path: Path, speakers: Speakers, columns: Mapping[str, str], refusals: Refusals
) -> Iterator[Utterance]:
    chosen: dict[str, str] = {}
    for place, row in rows_of_table(path, {}, (), refusals, "use the published file"):
        chosen = chosen or _chosen(list(row), columns, path)
        with refusals.of_one():
            where = f"{path}, {place}"
            name = row.get(chosen["path"], "")
            if not name:
                raise InputError(f"{where}: the cell {chosen['path']} is empty: fill it, or remove the row.")
            recording = path.parent / name
            relative = recording.relative_to(source)
            cells = {ours: row.get(column, "") for ours, column in chosen.items()}
            yield _utterance(relative, recording, cells, _split_of(relative), where, speakers, row, chosen)


def _utterance(
    relative: Path,
    recording: Path,
    cells: Mapping[str, str],
    split: str,
    where: str,
    speakers: Speakers,
    row: Mapping[str, str],
    chosen: Mapping[str, str],
) -> Utterance:
    if not cells["emotion"]:
        raise InputError(f"{where}: the cell {chosen['emotion']} is empty: fill it, or remove the row.")
    name = relative.with_suffix("").as_posix()
    return Utterance(
        utterance_id=name,
        speaker=speakers.of(relative.as_posix(), cells.get("speaker", ""), where),
        emotion=cells["emotion"],
        audio=recording,
        video=recording,  # Its content decides whether it is one.
        transcript=cells.get("transcript", ""),
        trial=name,
        published_split=split,
        attributes={column: cell for column, cell in row.items() if cell and column not in chosen.values()},
        place=where,
    )


def _of_parquet(
    source: Path, path: Path, speakers: Speakers, columns: Mapping[str, str], refusals: Refusals
) -> Iterator[Utterance]:
    """Reads a Parquet file row by row and unpacks its recordings; one that is there already stays as it is."""
    table = read_parquet(path)
    chosen = _chosen(table.column_names, columns, path)
    names = _class_names(table, chosen["emotion"])
    relative = path.relative_to(source)
    folder = source / UNPACKED / relative.with_suffix("")
    make_folder(folder, "--source")
    others = [name for name in table.column_names if name != chosen["path"]]
    for number in range(table.num_rows):
        with refusals.of_one():
            where = f"{path}, row {number + 1}"
            recording = _unpacked(table.column(chosen["path"])[number].as_py(), folder, number, where)
            row = {name: text_of(table.column(name)[number].as_py()).strip() for name in others}
            label = row[chosen["emotion"]]
            row[chosen["emotion"]] = (
                names[int(label)] if names and label.isdigit() and int(label) < len(names) else label
            )
            cells = {ours: row[column] for ours, column in chosen.items() if column in row}
            inside = (relative.with_suffix("") / recording.name).relative_to(".")
            yield _utterance(inside, recording, cells, _split_of(relative), where, speakers, row, chosen)


def _class_names(table: Any, column: str) -> list[str]:
    """Reads the names of a ClassLabel, which Hugging Face keeps beside the schema; none where labels are text."""
    about = (table.schema.metadata or {}).get(b"huggingface", b"{}")
    try:
        feature = json.loads(about)["info"]["features"][column]
        return [str(name) for name in feature["names"]]
    except (ValueError, KeyError, TypeError):
        return []


def _unpacked(value: Any, folder: Path, number: int, where: str) -> Path:
    """Writes the recording of a row as a file of the name that it has there, its row before it."""
    content = value.get("bytes") if isinstance(value, dict) else value
    if not isinstance(content, bytes) or not content:
        raise InputError(f"{where} holds no recording: download the file again, or remove the row.")
    written = text_of(value.get("path")) if isinstance(value, dict) else ""
    path = folder / f"{number:05d}_{Path(written).name or 'recording.wav'}"
    if not path.is_file() or path.stat().st_size != len(content):
        with replacing(path) as temporary:
            temporary.write_bytes(content)
    return path
