"""Files that are written whole or not at all, folders that one process writes, and files that cannot be read."""

import contextlib
import fcntl
import json
import os
import platform
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from pipelines.command import InputError, make_folder

if TYPE_CHECKING:
    import pandas as pd

UNFINISHED = ".unfinished-"
"""How the name of a file begins that is not whole yet."""


@contextlib.contextmanager
def replacing(path: Path, *, is_shared: bool = False) -> Iterator[Path]:
    """Lends a temporary name for a file, and renames it when all went well.

    So no reader meets half a file, and an error leaves the file as it was and nothing beside it. What a killed process
    leaves is hidden, and the next attempt overwrites it.

    Args:
      path: The file to write, in a folder that exists.
      is_shared: Whether several processes, perhaps of several machines, may write it at the same time: each gets a
        name of its own.

    Returns:
      A context whose value is a name in the same folder with the same ending, by which Keras and OpenCV choose formats.
    """
    owner = f"{platform.node()}-{os.getpid()}-" if is_shared else ""
    temporary = path.with_name(f"{UNFINISHED}{owner}{path.name}")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def locked(folder: Path, flag: str, *, waits: bool = False) -> Iterator[None]:
    """Keeps other processes that ask for it out of a folder; one that ends in whatever way keeps nothing.

    Args:
      folder: Made where it is missing.
      flag: The one that takes another folder, for the sentence.
      waits: Waits until no other process has it.

    Raises:
      InputError: Another process has it and `waits` is false, or it cannot be made.
    """
    make_folder(folder, flag)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        lock_file(descriptor, folder, flag, waits=waits)
        yield
    finally:
        # Not by closing alone: processes that were forked meanwhile hold the same lock.
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_UN)
        os.close(descriptor)


def lock_file(descriptor: int, path: Path, flag: str, *, waits: bool = False) -> None:
    """Keeps other processes that ask for it out of an open file or folder until it is closed.

    Args:
      descriptor: Of it.
      path: Its name, for the sentence.
      flag: The one that takes another.
      waits: Waits until no other process has it.

    Raises:
      InputError: Another process has it and `waits` is false.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        if waits:
            print(f"waiting for another process, which is writing to {path}", file=sys.stderr)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            return
        raise InputError(
            f"another process is writing to {path}: wait until it has ended, or give another {flag}."
        ) from None
    except OSError:
        pass  # Some file systems of networks know no locks.


def stop_on_unreadable(path: Path) -> None:
    """Stops on what is no file to read.

    Raises:
      InputError: It is missing, no file, empty, or not to be opened.
    """
    if not path.exists():
        raise InputError(f"{path} does not exist: correct the path.")
    if not path.is_file():
        raise InputError(f"{path} is not a file: correct the path.")
    try:
        with path.open("rb") as file:
            is_empty = not file.read(1)
    except OSError as error:
        raise InputError(f"{path} cannot be opened ({error.strerror}): allow it, or correct the path.") from None
    if is_empty:
        raise InputError(f"{path} is an empty file: copy it again.")


def read_json(
    path: Path, advice: str = "make it again with --overwrite", keys: Mapping[str, Any] = MappingProxyType({})
) -> dict[str, Any]:
    """Reads a JSON file that holds an object.

    Args:
      path: A file that `write_json` wrote.
      advice: How a user gets another one, for the sentence.
      keys: What the object must hold: key -> type of its value, or several.

    Raises:
      InputError: A file that is missing or corrupt, lacks a key or holds something else under it.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(values, dict):
            raise ValueError("no object")
        if missing := [key for key in keys if key not in values]:
            raise ValueError(f"without {', '.join(missing)}")
        if wrong := [key for key, kind in keys.items() if not isinstance(values[key], kind)]:
            raise ValueError(f"another kind of {', '.join(wrong)}")
        return values
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is missing or corrupt ({error}): {advice}.") from None


def write_csv(path: Path, table: "pd.DataFrame") -> None:
    """Writes a table whose numbers are read back as they were."""
    with replacing(path) as temporary:
        table.to_csv(temporary, index=False)


def write_json(path: Path, values: Any) -> None:
    """Writes JSON as people can read it."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(values, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
