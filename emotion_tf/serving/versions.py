"""Versions of an export that come while it is served: which one is to be served next."""

from __future__ import annotations

from pathlib import Path

from emotion_tf.serving.loading import find_version
from pipelines.command import InputError

_Files = tuple[tuple[str, int, int], ...]


class VersionWatch:
    """Watches the folder of an export, as TensorFlow Serving does: its highest number is served.

    A version is named once its files no longer change from one look to the next, for it may be copied file by file.

    Args:
      path: What the model was loaded from: a run, an export folder, or a version folder.
      current: The version folder that is served.
    """

    def __init__(self, path: Path, current: Path):
        self._path, self.current = path, current
        self._last: tuple[Path, _Files] | None = None
        self._is_named = False

    def look(self) -> Path | None:
        """Finds the version that is to be served in place of the current one.

        Returns:
          Its folder, once for each state of its files; None where there is nothing new.
        """
        try:
            newest = find_version(self._path)
            found = (newest, _files(newest))
        except (InputError, OSError):
            return None  # A folder that is being written or removed.
        if newest == self.current:
            self._last = None
            return None
        if found != self._last:
            self._last, self._is_named = found, False
            return None
        if self._is_named:
            return None
        self._is_named = True
        return newest


def number_of(folder: Path) -> int:
    """Reads the number of a version from its folder; 1 of a folder that is none."""
    return int(folder.name) if folder.name.isdigit() else 1


def _files(folder: Path) -> _Files:
    """Lists the files of a folder with their sizes and times."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    facts = ((path, path.stat()) for path in files)
    return tuple((str(path.relative_to(folder)), fact.st_size, fact.st_mtime_ns) for path, fact in facts)
