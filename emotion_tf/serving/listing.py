"""Which recordings are meant by folders, by tables with a column `path`, and by files."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from emotion_tf.serving.prediction import printable
from pipelines.audio import AUDIO_SUFFIXES, VIDEO_SUFFIXES
from pipelines.command import InputError
from pipelines.corpora.rows import rows_of
from pipelines.file_kinds import foreign_kind

TABLE_SUFFIX = ".csv"


class Item(NamedTuple):
    """A recording or video to predict.

    Attributes:
      path: The file.
      transcript: What is said; empty: not known.
    """

    path: Path
    transcript: str = ""


def find_items(sources: Sequence[Path]) -> list[Item]:
    """Lists the recordings of folders and tables, each once, in their order.

    Args:
      sources: Folders, in which every file with the suffix of audio or video is taken; tables (.csv) with the column
        `path`, relative to their folder, and optionally `transcript`; and files.

    Raises:
      InputError: A folder without recordings, a table that cannot be used, or one file with two transcripts.
    """
    found: dict[Path, Item] = {}
    for source in sources:
        for item in _items(source):
            first = found.setdefault(item.path.absolute(), item)
            if first.transcript != item.transcript:
                raise InputError(
                    f"{printable(str(item.path))} comes twice, with two transcripts ({first.transcript!r} and"
                    f" {item.transcript!r}): keep the row that is right."
                )
    return list(found.values())


def _items(source: Path) -> Iterator[Item]:
    if source.is_dir():
        return _of_folder(source)
    return _of_table(source) if source.suffix.lower() == TABLE_SUFFIX else iter([Item(source)])


def _of_folder(folder: Path) -> Iterator[Item]:
    suffixes = AUDIO_SUFFIXES | VIDEO_SUFFIXES
    paths = [path for path in sorted(folder.rglob("*")) if path.suffix.lower() in suffixes and path.is_file()]
    # What begins with a dot is what other systems keep beside a file.
    paths = [path for path in paths if not path.name.startswith(".")]
    if not paths:
        raise InputError(f"{folder} holds no recordings: name a folder of {', '.join(sorted(AUDIO_SUFFIXES))} files.")
    return (Item(path) for path in paths)


def _of_table(table: Path) -> Iterator[Item]:
    advice = "its first line must name path, and may name transcript, separated by commas"
    rows = list(rows_of(_content(table), table, ("path",), advice))
    if not rows:
        raise InputError(f"{table} holds a header and no rows: add a row for each recording.")
    for line, cells in rows:
        path = (cells["path"] or "").strip()
        if not path:
            raise InputError(f"{table}, line {line}: the cell path is empty: fill it, or remove the row.")
        yield Item(table.parent / path, (cells.get("transcript") or "").strip())


def _content(table: Path) -> str:
    if not table.is_file():
        raise InputError(f"{table} does not exist: correct the path.")
    if kind := foreign_kind(table):
        raise InputError(f"{table} {kind}")
    try:
        return table.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise InputError(f"{table} cannot be read ({error.strerror}): allow it, or name another table.") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{table} is not UTF-8 text ({error.reason}): save it as CSV in UTF-8.") from None
