"""Unpacks archives of strangers: no path leaves the folder, no links, and no more than was promised."""

import lzma
import re
import stat
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from pipelines.command import InputError, is_disk_full

MOST_BYTES = 64 * 2**30
"""Of all files of an archive together; the largest known one of a corpus has less than 1 GB."""

MOST_FILES = 100_000

MOST_RATIO = 1100
"""Of what is unpacked to what is packed: deflate reaches no more than 1032, and recordings hardly 3."""

_BLOCK = 1 << 20
_DRIVE = re.compile(r"[A-Za-z]:")
_OF_SYSTEMS = ("__MACOSX", ".DS_Store", "Thumbs.db", "desktop.ini")


def unpack(
    archive: Path,
    folder: Path,
    told: Callable[[int], Any] = lambda count: None,
    *,
    most_bytes: int = MOST_BYTES,
    most_files: int = MOST_FILES,
) -> list[Path]:
    """Unpacks a ZIP archive.

    Args:
      archive: The file.
      folder: Where to; empty, and exists.
      told: Is told how many bytes were unpacked.
      most_bytes, most_files: What is larger is refused before anything is written.

    Returns:
      The files, relative to the folder.

    Raises:
      InputError: No ZIP, a damaged one or one with a password, or one that holds links, paths that lead out of the
        folder, two files of one name, or too much.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            chosen = list(_chosen(archive, opened))
            _stop_on_bomb(archive, chosen, most_bytes, most_files)
            left = most_bytes
            for info, path in chosen:
                left -= _write(opened, info, folder / path, left, told)
    # RuntimeError is what zipfile says of passwords, and of methods of packing that it lacks.
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, RuntimeError) as error:
        raise _damaged(archive, error) from None
    except OSError as error:
        if is_disk_full(error):
            raise
        if error.errno is None:  # So bz2 says that its stream is damaged.
            raise _damaged(archive, error) from None
        raise InputError(f"{archive} cannot be unpacked ({error.strerror}): free some space, and try again.") from None
    return [path for _, path in chosen]


def _damaged(archive: Path, error: Exception) -> InputError:
    return InputError(f"{archive} cannot be unpacked ({error}): it is no ZIP, or damaged; get it again.")


def _chosen(archive: Path, opened: zipfile.ZipFile) -> Iterator[tuple[zipfile.ZipInfo, Path]]:
    """Yields the files of an archive and where they go; what systems of desktops add is left out."""
    found: set[str] = set()
    for info in opened.infolist():
        path = PurePosixPath(info.filename.replace("\\", "/"))
        if info.is_dir() or set(path.parts) & set(_OF_SYSTEMS):
            continue
        kind = stat.S_IFMT(info.external_attr >> 16)
        if kind not in (0, stat.S_IFREG):
            raise InputError(f"{archive} holds {info.filename!r}, which is a link or a device: it is not unpacked.")
        if path.is_absolute() or ".." in path.parts or not path.parts or _DRIVE.match(path.parts[0]):
            raise InputError(
                f"{archive} holds {info.filename!r}, which lies outside of its folder: it is not unpacked."
            )
        if info.flag_bits & 1:
            raise InputError(f"{archive} holds {info.filename!r} under a password: unpack it by hand.")
        if (folded := str(path).casefold()) in found:
            raise InputError(f"{archive} holds {info.filename!r} twice: it is not unpacked.")
        found.add(folded)
        yield info, Path(*path.parts)


def _stop_on_bomb(archive: Path, chosen: list[tuple[zipfile.ZipInfo, Path]], most_bytes: int, most_files: int) -> None:
    """Stops on what claims too much; what claims too little is stopped while it is written."""
    num_bytes = sum(info.file_size for info, _ in chosen)
    packed = sum(info.compress_size for info, _ in chosen)
    if len(chosen) > most_files or num_bytes > most_bytes or num_bytes > MOST_RATIO * packed + _BLOCK:
        raise InputError(
            f"{archive} would unpack to {len(chosen):,} files of {num_bytes / 1e9:,.1f} GB, more than a corpus has: it"
            " is not unpacked."
        )


def _write(opened: zipfile.ZipFile, info: zipfile.ZipInfo, path: Path, left: int, told: Callable[[int], Any]) -> int:
    """Writes a file and returns its size; zipfile checks its sum, and stops at the size that the archive states."""
    path.parent.mkdir(parents=True, exist_ok=True)
    count = 0
    with opened.open(info) as source, path.open("xb") as target:
        while block := source.read(_BLOCK):
            count += len(block)
            if count > min(left, info.file_size):
                raise zipfile.BadZipFile(f"{info.filename} is larger than it states")
            target.write(block)
            told(len(block))
    return count
