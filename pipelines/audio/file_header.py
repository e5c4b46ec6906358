"""What the header of a file states of its length, whatever the file is called: whether the file is all there.

Decoders read what they are given and say nothing of what is missing; so this reads the headers itself, and nothing
behind them but the sizes of their neighbours.

Source:
  Microsoft, Multimedia Programming Interface and Data Specifications 1.0 (RIFF); EBU Tech 3306 (RF64); Apple, Audio
  Interchange File Format 1.3, Core Audio Format, QuickTime File Format; Sony, Wave64; RFC 3533 (Ogg); RFC 8794 (EBML);
  Microsoft, Advanced Systems Format; the manual page of NIST SPHERE; the header of Sun's .au files.
"""

from __future__ import annotations

import dataclasses
import enum
import mmap
import os
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

FORGIVEN_BYTES = 100
"""Programs that count their own header among the samples state a length that is too large by less than this; those
that write packets do not."""

# A program that writes to a pipe does not know the length, and states one near 2 ** 31, 2 ** 32 or 2 ** 64 instead.
_STREAMED_BYTES = 2**31 - 2**16

# Format tags of WAV: those that have a fixed number of bytes a sample, and MPEG.
_UNCOMPRESSED, _MPEG = (1, 3, 6, 7), (0x50, 0x55)
_EXTENSIBLE = 0xFFFE

# More has no file that is not made of something else; a film in fragments has two a second.
_MOST_CHUNKS = 100_000

# A codec that works in blocks adds less than this behind the sound.
_LONGEST_TAIL = 8192


class Length(enum.Enum):
    """How long a file is, measured against its header."""

    WHOLE = "as long as its header states"
    SHORT = "a few bytes shorter than its header states"
    OPEN = "of a length that its header leaves open"
    CUT = "shorter than its header states"


@dataclasses.dataclass(frozen=True)
class FileHeader:
    """What a header states.

    Attributes:
      length: Of the file, measured against it.
      mend: Place of a length that is left open, and the bytes that state the real one; None: nothing to mend.
      num_frames: Samples of each channel where the codec, which works in blocks, may add some; 0: not stated.
      is_mpeg: Whether a WAV holds MPEG audio.
      is_chained: Whether an Ogg file holds several streams, one after the other.
    """

    length: Length
    mend: tuple[int, bytes] | None = None
    num_frames: int = 0
    is_mpeg: bool = False
    is_chained: bool = False

    def tail(self, num_frames: int) -> int:
        """Counts the samples of `num_frames` decoded ones that the codec added behind the sound."""
        tail = num_frames - self.num_frames
        return tail if self.num_frames and 0 < tail < _LONGEST_TAIL else 0


def read_header(path: Path) -> FileHeader | None:
    """Reads the header of a file; None where it has none that states a length, or of a kind that is not known here.

    Raises:
      OSError: The file cannot be read.
    """
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        magic = file.read(16)
        reader = _reader_of(magic)
        try:
            return reader(file, size) if reader else None
        except (struct.error, ValueError, IndexError):
            return None  # It ends within its header, or this is no header after all: decoders say so.


def _reader_of(magic: bytes) -> Callable[[BinaryIO, int], FileHeader | None] | None:
    """Finds the function that reads a header, by the first bytes of the file."""
    if magic[:4] in (b"RIFF", b"RIFX", b"RF64", b"BW64"):
        return {b"WAVE": _read_wave, b"AVI ": _read_avi}.get(magic[8:12])
    if magic[4:8] in _BOXES:
        return _read_boxes
    readers = (
        (b"FORM", _read_form),
        (b"caff", _read_caf),
        (b".snd", _read_au),
        (b"dns.", _read_au),
        (b"NIST_1A", _read_sphere),
        (b"OggS", _read_ogg),
        (_EBML, _read_ebml),
        (_WAVE64, _read_wave64),
        (_ASF, _read_asf),
    )
    return next((reader for start, reader in readers if magic.startswith(start)), None)


def _measured(
    start: int, stated: int, size: int, field: tuple[int, str] | None = None, forgiven: int = FORGIVEN_BYTES
) -> FileHeader:
    """Measures a file of `size` bytes against a stated number of bytes from `start` on, which stands in a field."""
    missing = start + stated - size
    if size > start and (stated <= 0 or (stated >= _STREAMED_BYTES and missing > 0)):
        mend = None if field is None else (field[0], struct.pack(field[1], size - start))
        return FileHeader(Length.OPEN, mend)
    if missing >= forgiven:
        return FileHeader(Length.CUT)
    return FileHeader(Length.SHORT if missing > 0 else Length.WHOLE)


def _chunks(file: BinaryIO, layout: str, multiple: int, *, counted: int = 0) -> Iterator[tuple[bytes, int, int]]:
    """Walks over chunks from the current place on.

    Args:
      file: Open for reading.
      layout: Of a chunk's name and size.
      multiple: Chunks begin at multiples of so many bytes.
      counted: Bytes of name and size that the size counts, too.

    Yields:
      Name, place of the content, and its size as stated.
    """
    head = struct.Struct(layout)
    for _ in range(_MOST_CHUNKS):
        packed = file.read(head.size)
        if len(packed) < head.size:
            return
        name, size = head.unpack(packed)
        start = file.tell()
        yield name, start, size - counted
        if size < counted:
            return
        file.seek(start + size - counted + -(size - counted) % multiple)


def _read_wave(file: BinaryIO, size: int) -> FileHeader | None:
    """Reads a WAV, of 32 or 64 bits."""
    file.seek(0)
    order = ">" if file.read(4) == b"RIFX" else "<"
    file.seek(12)
    tag, num_frames, place_of_wide = 0, 0, 0
    for name, start, stated in _chunks(file, f"{order}4sI", 2):
        if name == b"ds64":
            place_of_wide = start + 8
        elif name == b"fmt ":
            content = file.read(26)
            (tag,) = struct.unpack_from(f"{order}H", content)
            if tag == _EXTENSIBLE:
                (tag,) = struct.unpack_from(f"{order}H", content, 24)
        elif name == b"fact":
            (num_frames,) = struct.unpack(f"{order}I", file.read(4))
        elif name == b"data":
            field = (place_of_wide, f"{order}Q") if place_of_wide and stated == 2**32 - 1 else (start - 4, f"{order}I")
            header = _measured_wave(file, start, field, size)
            num_frames = 0 if tag in _UNCOMPRESSED else num_frames
            return dataclasses.replace(header, num_frames=num_frames, is_mpeg=tag in _MPEG)
    return None


def _measured_wave(file: BinaryIO, start: int, field: tuple[int, str], size: int) -> FileHeader:
    """Measures the samples from `start` on against what stands in a field; a WAV without samples is no open one."""
    place, layout = field
    file.seek(place)
    (stated,) = struct.unpack(layout, file.read(struct.calcsize(layout)))
    file.seek(start)
    if stated == 0 and _is_chunk(file, f"{layout[0]}4sI", size):
        return FileHeader(Length.WHOLE)
    return _measured(start, stated, size, field)


def _is_chunk(file: BinaryIO, layout: str, size: int) -> bool:
    """Tells whether a chunk that is all there follows, and no samples."""
    name, stated = struct.unpack(layout, file.read(8).ljust(8, b"\0"))
    return name.isalnum() and file.tell() + stated <= size


def _read_avi(file: BinaryIO, size: int) -> FileHeader | None:
    file.seek(4)
    (stated,) = struct.unpack("<I", file.read(4))
    return _measured(8, stated, size)


def _read_form(file: BinaryIO, size: int) -> FileHeader | None:
    """Reads an AIFF, AIFF-C or 8SVX file."""
    file.seek(12)
    chunks = _chunks(file, ">4sI", 2)
    return next((_measured(start, stated, size) for name, start, stated in chunks if name in (b"SSND", b"BODY")), None)


def _read_caf(file: BinaryIO, size: int) -> FileHeader | None:
    file.seek(8)
    chunks = _chunks(file, ">4sq", 1)
    return next((_measured(start, stated, size) for name, start, stated in chunks if name == b"data"), None)


_WAVE64 = bytes.fromhex("72696666 2E91CF11 A5D628DB 04C10000")
_ASF = bytes.fromhex("3026B275 8E66CF11 A6D900AA 0062CE6C")
_ASF_DATA = bytes.fromhex("3626B275 8E66CF11 A6D900AA 0062CE6C")


def _read_wave64(file: BinaryIO, size: int) -> FileHeader | None:
    file.seek(40)
    chunks = _chunks(file, "<16sQ", 8, counted=24)
    return next((_measured(start, stated, size) for name, start, stated in chunks if name.startswith(b"data")), None)


def _read_asf(file: BinaryIO, size: int) -> FileHeader | None:
    """Reads a WMA or WMV file."""
    file.seek(0)
    chunks = _chunks(file, "<16sQ", 1, counted=24)
    return next((_measured(start, stated, size) for name, start, stated in chunks if name == _ASF_DATA), None)


def _read_au(file: BinaryIO, size: int) -> FileHeader | None:
    file.seek(0)
    order = ">" if file.read(4) == b".snd" else "<"
    start, stated = struct.unpack(f"{order}II", file.read(8))
    return _measured(start, stated, size, (8, f"{order}I"))


def _read_sphere(file: BinaryIO, size: int) -> FileHeader | None:
    """Reads a SPHERE file, unless its samples are compressed."""
    file.seek(0)
    lines = file.read(1024).decode("latin-1").splitlines()
    fields = {line.split()[0]: line.split()[-1] for line in lines[2:] if len(line.split()) == 3}
    if "," in fields.get("sample_coding", ""):
        return None
    counts = [int(fields.get(name, 0)) for name in ("sample_count", "channel_count", "sample_n_bytes")]
    return _measured(int(lines[1]), counts[0] * counts[1] * counts[2], size)


_BOXES = (b"ftyp", b"styp", b"moov", b"moof", b"mdat", b"wide", b"free", b"skip", b"pnot", b"sidx")


def _read_boxes(file: BinaryIO, size: int) -> FileHeader | None:
    """Reads an MP4, M4A, 3GP or QuickTime file: its boxes stand behind each other up to its end."""
    place, name = 0, b""
    for _ in range(_MOST_CHUNKS):
        if place + 8 > size:
            break
        file.seek(place)
        length, name = struct.unpack(">I4s", file.read(8))
        if length == 1:
            (length,) = struct.unpack(">Q", file.read(8))
        if length == 0:
            return FileHeader(Length.WHOLE)  # The last one, up to the end: decoders look whether it holds all.
        if length < 8 or not name.strip().isalnum():
            break
        place += length
    if name == b"moof":
        return FileHeader(Length.CUT)  # The packets that it lists would follow.
    return _measured(0, place, size, forgiven=1)


_EBML, _SEGMENT = bytes.fromhex("1A45DFA3"), bytes.fromhex("18538067")


def _read_ebml(file: BinaryIO, size: int) -> FileHeader | None:
    """Reads a Matroska or WebM file."""
    file.seek(len(_EBML))
    file.seek(_read_vint(file) or 0, os.SEEK_CUR)
    if file.read(4) != _SEGMENT:
        return None
    stated = _read_vint(file)
    return _measured(file.tell(), 0 if stated is None else stated, size, forgiven=1)


def _read_vint(file: BinaryIO) -> int | None:
    """Reads a size of one to eight bytes, whose first bits say how many; None where all other bits are 1: unknown."""
    first = file.read(1)
    num_bytes = 9 - first[0].bit_length()
    unknown = (1 << 7 * num_bytes) - 1
    value = int.from_bytes(first + file.read(num_bytes - 1), "big") & unknown
    return None if value == unknown else value


def _read_ogg(file: BinaryIO, size: int) -> FileHeader | None:
    """Reads the heads of all pages of an Ogg file: the last page of a stream is marked, and so is the first one."""
    place, is_last, is_begun, num_groups = 0, False, False, 0
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        while (place := content.find(b"OggS", place)) >= 0 and place + 27 <= size:
            flags, num_segments = content[place + 5], content[place + 26]
            table = content[place + 27 : place + 27 + num_segments]
            # Streams that play together begin together.
            is_first = bool(flags & 2)
            num_groups += is_first and not is_begun
            is_begun = is_first
            place += 27 + num_segments + sum(table)
            is_last = bool(flags & 4) and place <= size
    return FileHeader(Length.WHOLE if is_last else Length.CUT, is_chained=num_groups > 1)
