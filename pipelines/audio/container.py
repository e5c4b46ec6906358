"""Reads with PyAV what phones, messengers and browsers record: one track of sound of any container.

Decoders of FFmpeg may end the process at a damaged file: call this by `pipelines.isolation`.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.audio.sound import Extent, NoSoundError, Sound, TooLongError, check_rate
from pipelines.command import InputError
from pipelines.file_kinds import foreign_kind
from pipelines.files import stop_on_unreadable

GAP = "the sound has gaps: there is silence in their place"
DAMAGED = "some packets of sound cannot be decoded: they are left out"
SHORTER = "the file holds a little less sound than it states: some of it may be missing"

# FFmpeg takes the length of other containers from their bit rate or their last packet, and that says nothing.
_STATE_A_LENGTH = ("matroska", "mp4", "flv", "flac", "tta", "ape")

# Encoders round a stated length to whole packets of theirs, and some leave the last ones out.
_MOST_MISSING_SECONDS = 0.25

# Times in some containers are rounded to milliseconds, and those of live recordings are unsteady.
_LEAST_GAP_SECONDS = 0.04

# What jumps further is a clock that was set anew.
_LONGEST_GAP_SECONDS = 600.0

# Of the packets: beside the first or the last one, which are cut in two where a broadcast was recorded.
_MOST_DAMAGED = 0.02


# 18 dB above full scale: what a lossy decoder makes of a broken frame, and of no recording.
_LOUDEST = 8.0

# Lists of other files: what somebody sends must not choose what is read.
_LISTS = {"concat", "concatf", "dash", "hls", "imf", "sdp", "vobsub"}


@functools.cache
def _whole_formats() -> str:
    """Names the formats of FFmpeg that hold what they state, and name no other files."""
    import av

    return ",".join(sorted(av.formats_available - _LISTS))


@contextlib.contextmanager
def open_container(path: Path, as_what: str = "a video") -> Iterator[Any]:
    """Opens a file with PyAV; whatever that finds wrong with it, then or later, becomes one sentence.

    Raises:
      InputError: A file that is missing or damaged.
    """
    import av

    stop_on_unreadable(path)
    av.logging.set_level(av.logging.PANIC)
    try:
        # As a file, or a colon in its name would be read as a protocol.
        options = {"protocol_whitelist": "file", "format_whitelist": _whole_formats()}
        with av.open(f"file:{path}", options=options) as container:
            yield container
    except (InputError, MemoryError):
        raise
    except (av.FFmpegError, OSError, ValueError) as error:
        if kind := foreign_kind(path):
            raise InputError(f"{path} {kind}") from None
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(
            f"{path} cannot be read as {as_what} ({reason}): it is cut off, damaged or of another kind; copy it again."
        ) from None


def has_pictures(path: Path) -> bool:
    """Tells whether a file is a video, by its content.

    Raises:
      InputError: A file that cannot be opened.
    """
    with open_container(path) as container:
        return bool(picture_streams(container))


def read_track(path: Path, extent: Extent, track: int = 0) -> Sound:
    """Decodes a track of sound.

    Args:
      path: The file.
      extent: Which part is read.
      track: Number of the track, counted from 0.

    Raises:
      NoSoundError: There are pictures alone.
      InputError: A file that is damaged, of no kind that FFmpeg knows, cut off, or too long.
    """
    with _open_track(path, track) as (container, stream, seconds):
        extent.check(path, seconds)
        decoder = _Decoder(path, extent, is_lossy=stream.codec_context.codec.lossy)
        for _ in decoder.decode(container, stream):
            pass
        if decoder.is_at_end:
            _check_end(path, decoder, stream, seconds)
        return Sound(
            decoder.take(),
            decoder.rate or stream.rate,
            decoder.bits,
            decoder.names,
            decoder.notes,
            is_length_stated=seconds > 0,
            num_tracks=len(container.streams.audio),
            has_pictures=bool(picture_streams(container)),
            encoding=stream.codec_context.name.upper(),
        )


def read_track_in_blocks(path: Path, block_seconds: float, track: int = 0) -> Iterator[Sound]:
    """Decodes a track of sound of any length block by block.

    Args:
      path: The file.
      block_seconds: The least length of all blocks but the last, which may be empty and holds the notes on the whole.
      track: Number of the track, counted from 0.

    Raises:
      NoSoundError: There are pictures alone.
      InputError: A file that is damaged or of no kind that FFmpeg knows; behind the last block, one that is cut off.
    """
    with _open_track(path, track) as (container, stream, seconds):
        decoder, taken = _Decoder(path, Extent(), is_lossy=stream.codec_context.codec.lossy), 0
        for position in decoder.decode(container, stream):
            if position - taken >= block_seconds * decoder.rate > 0:
                taken = position
                yield Sound(decoder.take(), decoder.rate, decoder.bits, decoder.names)
        fault: InputError | None = None
        try:
            _check_end(path, decoder, stream, seconds)
        except InputError as error:
            fault = error
        yield Sound(
            decoder.take(), decoder.rate or stream.rate, decoder.bits, decoder.names, decoder.notes, seconds > 0
        )
        if fault:
            raise fault


@contextlib.contextmanager
def _open_track(path: Path, track: int) -> Iterator[tuple[Any, Any, float]]:
    """Opens a track of sound: its container, its stream, and the seconds that it states, 0 where it states none."""
    with open_container(path, "audio or video") as container:
        streams = container.streams.audio
        if not streams:
            raise NoSoundError(f"{path} holds pictures alone, and no sound: name a recording.")
        stream, kind = streams[track], container.format.name
        if stream.codec_context is None:
            raise InputError(f"{path} holds sound of a kind that PyAV does not decode: convert it to wav or flac.")
        is_stated = any(name in kind for name in _STATE_A_LENGTH) or (kind == "mp3" and _has_frame_count(path))
        yield container, stream, _seconds(container, stream) if is_stated else 0.0


def picture_streams(container: Any) -> list[Any]:
    """Lists the streams of pictures; the cover of a piece of music is none."""
    from av.stream import Disposition

    return [one for one in container.streams.video if not one.disposition & Disposition.attached_pic]


def _seconds(container: Any, stream: Any) -> float:
    """Reads the stated length of a stream, or else of its container; 0 where there is none."""
    if stream.duration:
        return float(stream.duration * stream.time_base)
    return container.duration / 1e6 if container.duration else 0.0


def _has_frame_count(path: Path) -> bool:
    """Tells whether an MP3 states its length: in a frame of its own, the first, behind a tag of names.

    Source:
      ID3v2.4, section 3.1; the MP3 Info Tag of LAME, revision 1; Fraunhofer's VBRI.
    """
    with path.open("rb") as file:
        tag = file.read(10)
        length = 0
        if tag[:3] == b"ID3":
            length = 10 + sum((byte & 0x7F) << shift for byte, shift in zip(tag[6:10], (21, 14, 7, 0), strict=False))
        file.seek(length)
        frame = file.read(256)
    return any(name in frame for name in (b"Xing", b"Info", b"VBRI"))


def _check_end(path: Path, decoder: _Decoder, stream: Any, promised: float) -> None:
    """Stops on a file that was decoded to its end before the stated length, or most of which was not decoded.

    An MP3 counts its frames: where one that is damaged was skipped, a note says so.
    """
    if decoder.num_damaged > 1 + _MOST_DAMAGED * decoder.num_packets:
        raise InputError(f"{path} holds sound that cannot be decoded: it is damaged; copy it again.")
    end = decoder.position / (decoder.rate or 1) if stream.duration else decoder.last_seconds
    if end < promised - (_LEAST_GAP_SECONDS if decoder.num_damaged else _MOST_MISSING_SECONDS):
        raise InputError(f"{path} is cut off: it ends after {end:.1f} of {promised:.1f} s; copy it again.")
    is_mp3 = stream.codec_context.name.startswith("mp3") and stream.container.format.name == "mp3"
    decoder.is_shorter = is_mp3 and end < promised - _LEAST_GAP_SECONDS


class _Decoder:
    """Collects the samples of a stream, each at its place in time.

    Attributes:
      position: Samples so far, counted from the start of the stream.
      rate: Of the samples, Hz; 0 before the first.
      bits: Of the samples, as `Sound` counts them.
      names: Of the channels; None where the file does not say.
      num_packets, num_damaged: Of the stream, and those of them that could not be decoded.
      last_seconds: When the last packet of any stream ends, on the clock of the file.
      is_at_end: Whether the file was read to its end.
      is_shorter: Whether it held a little less than it states.
    """

    def __init__(self, path: Path, extent: Extent, *, is_lossy: bool):
        self.position, self.rate = 0, 0
        self.bits = 16
        self.names: tuple[str, ...] | None = None
        self.num_packets, self.num_damaged, self.last_seconds, self.is_at_end = 0, 0, 0.0, False
        self.is_shorter, self._is_lossy = False, is_lossy
        self._path, self._extent = path, extent
        self._blocks: list[np.ndarray] = []
        self._origin, self._has_gap = 0.0, False
        self._resampler: Any = None
        self._layout: Any = None
        self._made_for: tuple[Any, ...] = ()

    @property
    def notes(self) -> tuple[str, ...]:
        """What was noticed, in sentences."""
        return (GAP,) * self._has_gap + (DAMAGED,) * bool(self.num_damaged) + (SHORTER,) * self.is_shorter

    def take(self) -> np.ndarray:
        """Takes what was decoded of the extent since the last time: [num_samples, num_channels] float32."""
        blocks, self._blocks = self._blocks, []
        return np.concatenate(blocks, axis=1).T if blocks else np.zeros((0, 1), np.float32)

    def decode(self, container: Any, stream: Any) -> Iterator[int]:
        """Reads an open container to the end of the extent, or to its own; yields the position behind each packet."""
        import av

        for packet in container.demux():
            if packet.size and packet.pts is not None:
                end = float((packet.pts + (packet.duration or 0)) * packet.time_base)
                self.last_seconds = max(self.last_seconds, end)
            if packet.stream_index != stream.index:
                continue
            self.num_packets += 1
            try:
                frames = packet.decode()
            except MemoryError:  # FFmpeg's own is one of its errors, too.
                raise
            except av.FFmpegError:
                self.num_damaged += 1
                continue
            for frame in frames:
                self._take(frame)
            yield self.position
            if self.rate and self.position >= self._extent.end * self.rate:
                return
        self.is_at_end = True

    def _take(self, frame: Any) -> None:
        """Puts the samples of a frame where its time says; one without a time follows the one before."""
        if not self.rate:
            check_rate(self._path, frame.sample_rate)
            self.rate, self._layout = frame.sample_rate, frame.layout
            self.bits = min(8 * frame.format.bytes, 24)
            names = tuple(channel.name for channel in frame.layout.channels)
            self.names = None if "NONE" in names else names
            self._origin = frame.time or 0.0
        blocks = self._converted(frame)
        if self._is_lossy and not all(np.abs(block).max(initial=0.0) <= _LOUDEST for block in blocks):
            self.num_damaged += 1
            return
        if frame.time is not None:
            gap = round((frame.time - self._origin) * self.rate) - self.position
            if not -self.rate < gap < min(self._extent.longest, _LONGEST_GAP_SECONDS) * self.rate:
                self._origin = frame.time - self.position / self.rate  # The clock was set anew.
            elif blocks and gap > _LEAST_GAP_SECONDS * self.rate:
                self._has_gap = True
                self._append(np.zeros((blocks[0].shape[0], gap), np.float32))
        for block in blocks:
            self._append(block)

    def _converted(self, frame: Any) -> list[np.ndarray]:
        """Returns the samples of a frame, [num_channels, num_samples] float32, channels and rate those of the first."""
        import av

        kind = (frame.format.name, frame.layout.name, frame.sample_rate)
        if kind != self._made_for:
            self._resampler = av.AudioResampler(format="fltp", layout=self._layout, rate=self.rate)
            self._made_for = kind
        return [converted.to_ndarray() for converted in self._resampler.resample(frame)]

    def _append(self, block: np.ndarray) -> None:
        begin, end = (min(edge, 1e9) * self.rate for edge in self._extent[:2])
        first, last = (min(max(round(edge) - self.position, 0), block.shape[1]) for edge in (begin, end))
        self._blocks.append(block[:, first:last])
        self.position += block.shape[1]
        if min(self.position, end) - begin > (self._extent.longest + 1) * self.rate:
            raise TooLongError(self._path, f"more than {self._extent.longest:g} s", self._extent.longest)
