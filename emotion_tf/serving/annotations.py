"""Timelines as files of the programs that people annotate with, and segments out of such files.

TextGrid is Praat's, written and read by praatio; EAF is ELAN's, written by pympi; RTTM is that of NIST's evaluations of
diarisation, with the emotion in the place of the speaker; VTT are captions for browsers and players.
"""

from __future__ import annotations

import csv
import json
import mimetypes
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TextIO

from emotion_tf.serving.prediction import printable
from emotion_tf.serving.timeline import Segment, Timeline
from pipelines.audio.voice import Turn
from pipelines.command import InputError, make_folder
from pipelines.files import replacing, stop_on_unreadable

EMOTION_TIER = "emotion"
"""The tier of emotions in TextGrid and EAF; a reference may hold others beside it."""

SPEECH_TIER = "speech"


class Labelled(NamedTuple):
    """A stretch of a reference, in seconds from the start of the recording."""

    start: float
    end: float
    emotion: str


def write_annotations(timeline: Timeline, paths: Sequence[Path]) -> None:
    """Writes a timeline to files, each whole or not at all.

    Args:
      timeline: What was found.
      paths: Their suffixes say how: one of `WRITERS`.

    Raises:
      InputError: A suffix that is not known, or a folder that cannot be written to.
    """
    stop_on_unknown(paths)
    for path in paths:
        make_folder(path.parent, "--output")
        with replacing(path) as temporary:
            WRITERS[path.suffix.lower()](timeline, temporary)


def stop_on_unknown(paths: Sequence[Path]) -> None:
    """Stops on files of kinds that are not written here.

    Raises:
      InputError: Their suffix is none of `WRITERS`, or two of them are one file.
    """
    for path in paths:
        if path.suffix.lower() not in WRITERS:
            raise InputError(f"{path} names no kind of timeline: end it in one of {', '.join(WRITERS)}.")
    if len({path.resolve() for path in paths}) < len(paths):
        raise InputError("--output names one file twice: give each once.")


def rows(timeline: Timeline) -> Iterator[dict[str, object]]:
    """Yields the segments as flat rows: file, start, end, emotion, probability_<emotion>..."""
    for segment in timeline.segments:
        named = zip(timeline.emotions, segment.probabilities, strict=True)
        yield {
            "file": printable(str(timeline.file)),
            "start": round(segment.start, 3),
            "end": round(segment.end, 3),
            "emotion": segment.emotion,
            **{f"probability_{name}": round(probability, 6) for name, probability in named},
        }


def _write_jsonl(timeline: Timeline, path: Path) -> None:
    lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows(timeline))
    path.write_text("".join(lines), encoding="utf-8")


def _write_csv(timeline: Timeline, path: Path) -> None:
    names = ["file", "start", "end", "emotion", *(f"probability_{name}" for name in timeline.emotions)]
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows(timeline))


def _write_textgrid(timeline: Timeline, path: Path) -> None:
    from praatio import textgrid

    grid = textgrid.Textgrid(0, timeline.seconds)
    segments = [(*_rounded(one, timeline), one.emotion) for one in timeline.segments]
    turns = [(*_rounded(one, timeline), SPEECH_TIER) for one in timeline.turns]
    for name, entries in ((EMOTION_TIER, segments), (SPEECH_TIER, turns)):
        grid.addTier(textgrid.IntervalTier(name, entries, 0, timeline.seconds))
    grid.save(str(path), format="long_textgrid", includeBlankSpaces=True)


def _rounded(stretch: Segment | Turn, timeline: Timeline) -> tuple[float, float]:
    """Rounds start and end to milliseconds; the end of the recording stays as it is."""
    is_last = stretch.end > timeline.seconds - 1e-3
    return round(stretch.start, 3), timeline.seconds if is_last else round(stretch.end, 3)


def _write_eaf(timeline: Timeline, path: Path) -> None:
    from pympi import Eaf

    # ELAN counts whole milliseconds.
    document = Eaf(author="emotion_tf")
    document.remove_tier("default")
    kind = mimetypes.guess_type(timeline.file.name)[0] or "audio/x-wav"
    document.add_linked_file(timeline.file.resolve().as_uri(), mimetype=kind)
    document.add_tier(EMOTION_TIER)
    for segment in timeline.segments:
        start, end = (round(1000 * edge) for edge in segment[:2])
        if start < end:
            document.add_annotation(EMOTION_TIER, start, end, segment.emotion)
    document.to_file(str(path))


def _write_rttm(timeline: Timeline, path: Path) -> None:
    # Fields are parted by blanks.
    name = re.sub(r"\s+", "_", printable(timeline.file.stem))
    with path.open("w", encoding="utf-8") as file:
        for segment in timeline.segments:
            emotion = re.sub(r"\s+", "_", segment.emotion)
            times = f"{segment.start:.3f} {segment.seconds:.3f}"
            file.write(f"SPEAKER {name} 1 {times} <NA> <NA> {emotion} <NA> <NA>\n")


def _write_vtt(timeline: Timeline, path: Path) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.write("WEBVTT\n")
        for segment in timeline.segments:
            text = f"{segment.emotion} {max(segment.probabilities):.2f}"
            file.write(f"\n{_clock(segment.start)} --> {_clock(segment.end)}\n{text}\n")


def _clock(seconds: float) -> str:
    milliseconds = round(1000 * seconds)
    minutes, rest = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{rest // 1000:02d}.{rest % 1000:03d}"


def _draw(timeline: Timeline, path: Path) -> None:
    from emotion_tf.serving.timeline_plot import draw_timeline

    draw_timeline(timeline, path)


WRITERS: Mapping[str, Callable[[Timeline, Path], None]] = {
    ".jsonl": _write_jsonl,
    ".csv": _write_csv,
    ".png": _draw,
    ".textgrid": _write_textgrid,
    ".eaf": _write_eaf,
    ".rttm": _write_rttm,
    ".vtt": _write_vtt,
}
"""Suffix in lower case -> what writes such a file."""


def read_reference(path: Path, emotions: Sequence[str], name: str = "") -> list[Labelled]:
    """Reads who annotated what: the emotions of a recording, from a TextGrid or an RTTM.

    Args:
      path: The file. Of a TextGrid the tier `emotion` is read, or its only interval tier; empty intervals are gaps.
      emotions: Of the model; labels are taken as they are written, but for case.
      name: Stem of the recording: of an RTTM of several recordings its lines are read.

    Raises:
      InputError: A file that cannot be read or holds nothing, a label that is none of the emotions, or stretches that
        end before they begin.
    """
    stop_on_unreadable(path)
    readers = {".textgrid": _read_textgrid, ".rttm": _read_rttm}
    if path.suffix.lower() not in readers:
        raise InputError(f"{path} is no reference that is read here: give a .TextGrid or an .rttm.")
    known = {emotion.lower(): emotion for emotion in emotions}
    found = []
    for start, end, label in readers[path.suffix.lower()](path, name):
        emotion = known.get(label.strip().lower())
        if emotion is None:
            raise InputError(f"{path} says {label!r}, which is none of {', '.join(emotions)}: correct the label.")
        if not 0 <= start < end:
            raise InputError(f"{path} holds a stretch from {start:g} to {end:g} s: correct it.")
        found.append(Labelled(start, end, emotion))
    if not found:
        raise InputError(f"{path} holds no labelled stretch{f' of {name}' if name else ''}: give another file.")
    return sorted(found)


def _read_textgrid(path: Path, name: str) -> Iterator[tuple[float, float, str]]:
    from praatio import textgrid

    try:
        grid = textgrid.openTextgrid(str(path), includeEmptyIntervals=False)
    except Exception as error:
        raise InputError(f"{path} cannot be read as a TextGrid ({error}): save it again in Praat.") from None
    tiers = [tier for tier in grid.tiers if isinstance(tier, textgrid.IntervalTier)]
    chosen = [tier for tier in tiers if tier.name == EMOTION_TIER] or tiers
    if len(chosen) != 1:
        names = ", ".join(tier.name for tier in tiers) or "none"
        raise InputError(f"{path} has the interval tiers {names}: name the one of emotions {EMOTION_TIER!r}.")
    yield from ((entry.start, entry.end, entry.label) for entry in chosen[0].entries)


def _read_rttm(path: Path, name: str) -> Iterator[tuple[float, float, str]]:
    with path.open(encoding="utf-8", errors="replace") as file:
        lines = list(_rttm_lines(path, file))
    if len({line[0] for line in lines}) > 1:
        lines = [line for line in lines if line[0] == name]
    yield from (line[1:] for line in lines)


def _rttm_lines(path: Path, file: TextIO) -> Iterator[tuple[str, float, float, str]]:
    """Yields recording, start, end and label of each line."""
    for number, line in enumerate(file, 1):
        fields = line.split()
        if not fields or fields[0] != "SPEAKER":
            continue
        try:
            start, seconds = float(fields[3]), float(fields[4])
            yield fields[1], start, start + seconds, fields[7]
        except (IndexError, ValueError):
            raise InputError(
                f"{path}, line {number} is no line of RTTM: it needs ten fields, times in seconds."
            ) from None
