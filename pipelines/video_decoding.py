"""Pictures out of videos: when each is shown, and the upright pictures shown at given times; PyAV decodes them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pipelines.audio.container import open_container, picture_streams
from pipelines.audio.file_header import Length, read_header
from pipelines.command import InputError

# Of the packets of pictures; players, too, go on over a few damaged ones.
_MOST_DAMAGED = 0.1
# A length in seconds is rounded to packets.
_MOST_MISSING_SECONDS = 0.25
# Of a single picture that does not say how long it stays.
_USUAL_SECONDS = 0.04


class NoPicturesError(InputError):
    """A video that holds sound alone."""


class Timeline(NamedTuple):
    """When the pictures of a video are shown, in seconds after its sound begins, or without sound after they begin.

    Attributes:
      starts: [num_pictures] float64, rising; below 0 for pictures before the sound.
      end: When the last picture goes: it stays as long as the file plays.
      origin: The 0 of these times, in seconds on the clock of the file.
    """

    starts: np.ndarray
    end: float
    origin: float


class _Packets(NamedTuple):
    """What the packets of a file say, times in seconds on its clock.

    Attributes:
      shown: When each picture begins and ends, in the order of the packets.
      num_hidden: Pictures that an edit list leaves out, though others are decoded from them.
      others_end: When the last packet of the other streams ends.
      first_sample: The time of the first sample that is decoded; None without sound.
    """

    shown: list[tuple[float, float]]
    num_hidden: int
    others_end: float
    first_sample: float | None


def length_of(path: Path) -> Timeline:
    """Reads when the pictures of a video are shown, without decoding them.

    Raises:
      NoPicturesError: A file of sound alone.
      InputError: A file that is missing, cut off, damaged, or no video.
    """
    with open_container(path) as container:
        pictures = _picture_stream(path, container)
        packets = _read_packets(container, pictures)
        shown = sorted(packets.shown)
        # Of packets in another order than that of their pictures, only the end of the last picture is true.
        end = max([packets.others_end, *(one_end for _, one_end in shown[-1:])])
        if _is_cut_off(path, container, end):
            num_pictures = len(shown) + packets.num_hidden
            counted = f"its pictures end after {num_pictures} of {pictures.frames} frames"
            what = counted if num_pictures < pictures.frames else "it ends before what it says it holds"
            raise InputError(f"{path} is cut off: {what}; copy it again.")
        if not shown:
            raise InputError(f"{path} holds no pictures with times: copy it again, or convert it to mp4.")
        if container.duration and "matroska" in container.format.name:
            end = max(end, container.duration / 1e6)  # Its packets do not say how long the last picture stays.
    starts = np.array([start for start, _ in shown])
    if end <= starts[-1]:
        end = float(starts[-1]) + (float(np.median(np.diff(starts))) if len(starts) > 1 else _USUAL_SECONDS)
    origin = float(starts[0]) if packets.first_sample is None else packets.first_sample
    return Timeline(starts - origin, end - origin, origin)


def pictures_at(path: Path, timeline: Timeline, times: Sequence[float] | np.ndarray, side: int) -> list[np.ndarray]:
    """Decodes the pictures that are shown at given times, turned and mirrored as the file says.

    Args:
      path: A video.
      timeline: Its `length_of`.
      times: Rising, in seconds of the timeline; before the first picture that one is taken.
      side: Pictures whose shorter side is longer than this are shrunk to it.

    Returns:
      A picture a time, [height, width, 3] uint8 each, blue first; the same object where times share one.

    Raises:
      InputError: As `length_of`, or pictures that cannot be decoded.
    """
    taken: list[np.ndarray] = []
    shown, picture = None, None
    with open_container(path) as container:
        decoded = _decoded(container, _picture_stream(path, container), _MOST_DAMAGED * len(timeline.starts))
        for frame in itertools.chain(decoded, [None]):
            start = np.inf if frame is None else _start_of(frame) - timeline.origin
            while shown is not None and len(taken) < len(times) and times[len(taken)] < start:
                picture = smaller(_upright(shown), side) if picture is None else picture
                taken.append(picture)
            if len(taken) == len(times):
                return taken
            shown, picture = frame, None
    raise InputError(f"{path} holds pictures that cannot be decoded: it is damaged; copy it again.")


def smaller(picture: np.ndarray, side: int) -> np.ndarray:
    """Shrinks a picture whose shorter side is longer than `side`."""
    import cv2

    scale = side / min(picture.shape[:2])
    return cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1 else picture


def _picture_stream(path: Path, container: Any) -> Any:
    """Finds the pictures of a video."""
    kind = container.format.name
    if kind.endswith("_pipe") or kind in ("image2", "gif"):
        raise InputError(f"{path} is a single picture ({kind.removesuffix('_pipe')}), no video: name a video.")
    streams = picture_streams(container)
    if not streams:
        raise NoPicturesError(f"{path} holds no pictures, only sound: name a video, or give it as a recording.")
    return streams[0]


def _is_cut_off(path: Path, container: Any, end: float) -> bool:
    """Tells whether a file, the last packet of which ends at a time in seconds, ends before what it says it holds."""
    # By bytes where they are stated: an edit list hides packets, and a last picture may stay for long.
    if (header := read_header(path)) is not None:
        return header.length is Length.CUT
    return bool(container.duration) and end < container.duration / 1e6 - _MOST_MISSING_SECONDS


def _read_packets(container: Any, pictures: Any) -> _Packets:
    """Reads a file to its end, and decodes the first packets of its sound, whose times count samples never given."""
    sound = next(iter(container.streams.audio), None)
    shown, num_hidden, others_end, first_sample = [], 0, 0.0, None
    for packet in container.demux():
        if packet.pts is None or not packet.size:
            continue
        start = float(packet.pts * packet.time_base)
        end = start + float((packet.duration or 0) * packet.time_base)
        if packet.stream_index != pictures.index:
            others_end = max(others_end, end)
        elif packet.is_discard:
            num_hidden += 1
        else:
            shown.append((start, end))
        if first_sample is None and sound is not None and packet.stream_index == sound.index:
            first_sample = next((frame.time for frame in packet.decode()), None)
    return _Packets(shown, num_hidden, others_end, first_sample)


def _decoded(container: Any, stream: Any, most_damaged: float) -> Iterator[Any]:
    """Decodes pictures in the order in which they are shown; raises FFmpeg's error where too many are damaged."""
    import av

    # Workers decode side by side: threads of their own would only slow each other down.
    stream.codec_context.thread_count = 1
    num_damaged = 0
    for packet in container.demux(stream):
        try:
            yield from packet.decode()
        except MemoryError:  # FFmpeg's own is one of its errors, too.
            raise
        except av.FFmpegError:
            num_damaged += 1
            if num_damaged > most_damaged:
                raise


def _start_of(frame: Any) -> float:
    """Reads when a decoded picture is shown; one without a time follows the one before at once."""
    return -np.inf if frame.pts is None else float(frame.pts * frame.time_base)


def _upright(frame: Any) -> np.ndarray:
    """Turns a decoded frame into a picture [height, width, 3] uint8, as its display matrix says.

    Source:
      ISO/IEC 14496-12, section 8.3.2: the point (x, y) goes to (a x + c y, b x + d y). FFmpeg holds it likewise.
    """
    picture = frame.to_ndarray(format="bgr24")
    if (matrix := frame.side_data.get("DISPLAYMATRIX")) is None:
        return picture
    a, b, _, c, d = np.frombuffer(matrix, np.int32)[:5].astype(np.int64)  # abs() of the least int32 is negative.
    if abs(b) + abs(c) > abs(a) + abs(d):
        picture, a, d = picture.transpose(1, 0, 2), c, b
    return np.ascontiguousarray(picture[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1])
