"""Whether a file of packets (mp4, mkv, avi, ...) is all there, by what its index and its header promise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

_EBML_HEADER, _EBML_SEGMENT = bytes.fromhex("1A45DFA3"), bytes.fromhex("18538067")

# Some programs count padding and headers wrongly; a length in seconds is rounded to packets.
_MOST_MISSING_BYTES = 100
_MOST_MISSING_SECONDS = 0.25


def is_cut_off(path: Path, container: Any, end: float) -> bool:
    """Tells whether a file ends before what it says it holds.

    Args:
      path: The file.
      container: The same file opened with PyAV and read to its end, for a file in fragments has its index among them.
      end: When the last packet of any stream ends, in seconds on the clock of the file.

    Raises:
      OSError: The file cannot be read.
    """
    kind, size = container.format.name, path.stat().st_size
    # By bytes where they are stated: an edit list hides packets, and a last picture may stay for long.
    if "mp4" in kind:
        return _index_end(container) > size
    if "matroska" in kind:
        return _segment_end(path) > size
    if kind == "avi":
        return _riff_end(path) > size + _MOST_MISSING_BYTES
    return bool(container.duration) and end < container.duration / 1e6 - _MOST_MISSING_SECONDS


def _index_end(container: Any) -> int:
    """Returns the byte behind the last packet of the index; 0 where there is none."""
    entries = (entry for stream in container.streams for entry in getattr(stream, "index_entries", ()))
    return max((entry.pos + entry.size for entry in entries), default=0)


def _riff_end(path: Path) -> int:
    """Returns the byte behind the first chunk of a RIFF file; 0 where its length is left open."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8)[4:], "little")
    return 8 + length if 0 < length < 2**32 - 2**16 else 0


def _segment_end(path: Path) -> int:
    """Returns the byte behind the segment of a Matroska file; 0 where its length is left open.

    Source:
      RFC 8794, Extensible Binary Meta Language, sections 4 to 6; RFC 9559, Matroska, section 4.5.
    """
    with path.open("rb") as file:
        for identifier in (_EBML_HEADER, _EBML_SEGMENT):
            if file.read(4) != identifier:
                return 0
            length = _read_length(file)
            if identifier == _EBML_HEADER:
                file.seek(length, 1)
        return file.tell() + length if length else 0


def _read_length(file: Any) -> int:
    """Reads a length of one to eight bytes, whose first bits say how many; 0 where it is left open."""
    first = file.read(1)
    num_bytes = 9 - first[0].bit_length() if first and first[0] else 0
    rest = file.read(max(0, num_bytes - 1))
    if not num_bytes or len(rest) < num_bytes - 1:
        return 0
    left_open = (1 << 7 * num_bytes) - 1
    length = int.from_bytes(first + rest, "big") & left_open
    return 0 if length == left_open else length
