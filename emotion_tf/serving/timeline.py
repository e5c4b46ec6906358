"""Which emotion appears when in a recording of any length.

The recording is decoded block by block. A model answers overlapping windows in which somebody speaks; each hop of the
recording gets the mean of the windows that cover it, and neighbouring hops of one emotion within one stretch of speech
become a segment.
"""

from __future__ import annotations

import array
import collections
import contextlib
import dataclasses
import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from emotion_tf.serving.enrolment import EnrolledRecording, speaker_inputs
from emotion_tf.serving.prediction import printable
from emotion_tf.serving.predictor import Predictor
from pipelines import isolation
from pipelines.audio.front_end import LEAST_LEVEL
from pipelines.audio.quality import findings_of, inspect
from pipelines.audio.recording import LEVEL
from pipelines.audio.voice import CHUNK_LENGTH, CHUNK_SECONDS, SPEECH, Turn, find_turns, read_with_voice
from pipelines.audio.waveform import SAMPLE_RATE
from pipelines.command import InputError, progress_bar

BATCH_SIZE = 16
"""Windows that a model answers at once."""

LEAST_SPEECH_SECONDS = 0.3
"""A window in which somebody speaks for less than this is not asked."""

POINTS_PER_SECOND = 20
"""Of the envelope of a timeline."""

LONGEST_WINDOW_SECONDS = 30.0


@dataclasses.dataclass(frozen=True)
class TimelineSettings:
    """How a recording is cut.

    Attributes:
      window_seconds: Length of a window, best that of the clips of training.
      hop_seconds: From the start of a window to that of the next: the grain of the answer.
      smooth_seconds: The probabilities of hops are averaged over so many seconds, within a stretch of speech; up to
        one hop: not.

    Raises:
      InputError: Lengths that cannot work.
    """

    window_seconds: float = 3.0
    hop_seconds: float = 1.0
    smooth_seconds: float = 3.0

    def __post_init__(self) -> None:
        if not 0.5 <= self.window_seconds <= LONGEST_WINDOW_SECONDS:
            raise InputError(
                f"--window {self.window_seconds:g} cannot work: give 0.5 to {LONGEST_WINDOW_SECONDS:g} seconds."
            )
        if not 0.1 <= self.hop_seconds <= self.window_seconds:
            raise InputError(
                f"--hop {self.hop_seconds:g} cannot work: give seconds from 0.1 to the window of"
                f" {self.window_seconds:g}."
            )
        if not 0 <= self.smooth_seconds <= 60:
            raise InputError(f"--smooth {self.smooth_seconds:g} cannot work: give 0 to 60 seconds.")


class Segment(NamedTuple):
    """A stretch of one emotion.

    Attributes:
      start, end: Seconds from the start of the recording.
      emotion: The most probable.
      probabilities: Of all emotions, in the order of the model; the mean over the stretch.
    """

    start: float
    end: float
    emotion: str
    probabilities: tuple[float, ...]

    @property
    def seconds(self) -> float:
        """How long it is."""
        return self.end - self.start


@dataclasses.dataclass(frozen=True)
class Timeline:
    """What was found in a recording.

    Attributes:
      file: The recording.
      emotions: The names of the emotions, in the order of probabilities.
      seconds: Length of the recording.
      segments: In their order; they do not overlap, and lie within the turns.
      turns: Stretches of speech.
      hop_seconds: Length of a hop.
      probabilities: [num_hops, num_emotions]; NaN where nobody speaks in the windows of a hop.
      envelope: [num_points, 2], lowest and highest sample of each 1 / `POINTS_PER_SECOND` s.
      warnings: In sentences.
    """

    file: Path
    emotions: tuple[str, ...]
    seconds: float
    segments: tuple[Segment, ...]
    turns: tuple[Turn, ...]
    hop_seconds: float
    probabilities: np.ndarray
    envelope: np.ndarray
    warnings: tuple[str, ...] = ()

    def summary(self) -> dict[str, Any]:
        """Collects what JSON holds of the whole: file, seconds, seconds of speech and of each emotion, warnings."""
        return {
            "file": printable(str(self.file)),
            "seconds": round(self.seconds, 3),
            "speech_seconds": round(sum(turn.end - turn.start for turn in self.turns), 3),
            "emotion_seconds": {emotion: round(seconds, 3) for emotion, seconds in self.seconds_of().items()},
            "warnings": list(self.warnings),
        }

    def seconds_of(self) -> dict[str, float]:
        """Sums the lengths of segments of each emotion."""
        totals = dict.fromkeys(self.emotions, 0.0)
        for segment in self.segments:
            totals[segment.emotion] += segment.seconds
        return totals


def find_timeline(
    predictor: Predictor,
    file: Path | str,
    settings: TimelineSettings | None = None,
    *,
    enrolled: Sequence[EnrolledRecording] = (),
    watch: Callable[[float], None] | None = None,
    longest_wait: float | None = None,
    decoders: isolation.Processes | None = None,
) -> Timeline:
    """Finds which emotion appears when in a recording, or in the sound of a video.

    Words and frames are taken for absent. Memory does not grow with the length of the recording, but for some hundred
    numbers a second of it.

    Args:
      predictor: Of a model that reads audio.
      file: The recording, of any length.
      settings: How it is cut; None: the usual ones.
      enrolled: Other recordings of the only speaker, from `Predictor.enrol`.
      watch: Called with the seconds that were read so far, in place of a progress bar; what it raises ends the reading.
      longest_wait: Seconds that the decoding of one block may take; None: as many as it wants.
      decoders: What decodes; None: the process that all of this one share.

    Raises:
      InputError: A model that reads no audio, or a file that cannot be read from its start.
    """
    if "audio" not in predictor.modalities:
        raise InputError(f"{predictor.folder} reads no sound, so it has no timeline: name a model that does.")
    found = _Reading(predictor, settings or TimelineSettings(), _speaker(predictor, enrolled))
    iterate_file = decoders.iterate_file if decoders else isolation.iterate_file
    blocks = iterate_file(read_with_voice, Path(file), longest_wait=longest_wait)
    with contextlib.nullcontext(watch) if watch else _bar(Path(file).name) as watching:
        for waveform, voice, notes in blocks:
            found.take(waveform, voice, notes)
            watching(found.num_samples / SAMPLE_RATE)
    return found.finish(Path(file))


@contextlib.contextmanager
def _bar(name: str) -> Iterator[Callable[[float], None]]:
    """Draws a progress bar; the length is not known before the end of many files."""
    with progress_bar(None, name, "s") as bar:

        def draw(seconds: float) -> None:
            bar.update(int(seconds) - bar.n)

        yield draw


def _speaker(predictor: Predictor, enrolled: Sequence[EnrolledRecording]) -> Mapping[str, np.ndarray]:
    """Makes the inputs about the only speaker; none where nothing is enrolled."""
    if not enrolled:
        return {}
    return speaker_inputs(None, np.zeros(0, np.int16), enrolled, predictor.least_std)[0]


class _Reading:
    """Cuts a recording into windows as it comes, and keeps what a model says of each."""

    def __init__(self, predictor: Predictor, settings: TimelineSettings, speaker: Mapping[str, np.ndarray]):
        self._predictor, self._settings, self._speaker = predictor, settings, speaker
        self._window = round(settings.window_seconds * SAMPLE_RATE)
        self._hop = round(settings.hop_seconds * SAMPLE_RATE)
        # The samples that are still needed, and how many went before them.
        self._samples, self._num_before = np.zeros(0, np.float32), 0
        self._voice = array.array("f")
        self._waiting: list[tuple[int, np.ndarray]] = []
        self._answers: dict[int, np.ndarray] = {}
        self._envelope: list[np.ndarray] = []
        self._not_outlined = np.zeros(0, np.float32)
        self._notes: list[str] = []
        self._num_windows = 0
        self._num_inspected, self._findings = 0, collections.Counter[str]()

    @property
    def num_samples(self) -> int:
        """Of the recording, so far."""
        return self._num_before + len(self._samples)

    def take(self, waveform: np.ndarray, voice: np.ndarray, notes: Sequence[str]) -> None:
        """Takes the next block: samples, probabilities of speech of their chunks, and notes."""
        self._samples = np.concatenate([self._samples, waveform])
        self._voice.extend(voice.tolist())
        self._notes += notes
        self._outline(waveform)
        while self.num_samples >= self._num_windows * self._hop + self._window:
            self._cut()
        passed = self._num_windows * self._hop - self._num_before
        self._samples, self._num_before = self._samples[max(0, passed) :], self._num_before + max(0, passed)

    def finish(self, file: Path) -> Timeline:
        """Answers what waits, and joins the answers."""
        # The last window is shorter than the others, but holds all that they leave.
        if self._num_windows == 0 or (self._num_windows - 1) * self._hop + self._window < self.num_samples:
            self._cut()
        self._ask()
        seconds = self.num_samples / SAMPLE_RATE
        turns, probabilities = find_turns(self._voice, seconds), self._smoothed(self._hops())
        emotions = self._predictor.emotions
        segments = find_segments(turns, probabilities, self._hop / SAMPLE_RATE, emotions)
        envelope = np.concatenate([np.zeros((0, 2), np.float32), *self._envelope])
        warnings = tuple(dict.fromkeys((*self._notes, *self._warnings(bool(segments)))))
        hop_seconds = self._hop / SAMPLE_RATE
        return Timeline(file, emotions, seconds, segments, tuple(turns), hop_seconds, probabilities, envelope, warnings)

    def _outline(self, waveform: np.ndarray) -> None:
        """Finds the lowest and the highest sample of each point of the envelope."""
        samples, length = np.concatenate([self._not_outlined, waveform]), SAMPLE_RATE // POINTS_PER_SECOND
        points = samples[: len(samples) // length * length].reshape(-1, length)
        self._envelope.append(np.stack([points.min(axis=1), points.max(axis=1)], axis=1))
        self._not_outlined = samples[points.size :]

    def _cut(self) -> None:
        """Cuts the next window, and asks the model once there are enough in which somebody speaks."""
        start = self._num_windows * self._hop
        window = self._samples[start - self._num_before :][: self._window]
        first, last = (round(edge / CHUNK_LENGTH) for edge in (start, start + len(window)))
        speech = np.array(self._voice[first:last]) >= SPEECH
        if speech.sum() * CHUNK_SECONDS >= LEAST_SPEECH_SECONDS:
            self._waiting.append((self._num_windows, window))
        self._num_windows += 1
        if len(self._waiting) >= BATCH_SIZE:
            self._ask()

    def _ask(self) -> None:
        """Lets the model answer the windows that wait."""
        if not self._waiting:
            return
        self._inspect(self._waiting[0][1])
        waveforms = np.zeros((len(self._waiting), self._window), np.float32)
        for row, (_, window) in zip(waveforms, self._waiting, strict=True):
            # The level of a recording that is read as one utterance.
            row[: len(window)] = window * (LEVEL / max(float(np.abs(window).max()), LEAST_LEVEL))
        speaker = {name: np.repeat(values, len(waveforms), axis=0) for name, values in self._speaker.items()}
        found = self._predictor.predict_batch(waveforms, [""] * len(waveforms), **speaker).probabilities
        self._answers.update(zip((number for number, _ in self._waiting), found, strict=True))
        self._waiting = []

    def _inspect(self, window: np.ndarray) -> None:
        """Looks for what no front end can mend, in one window of each batch."""
        self._num_inspected += 1
        self._findings.update(findings_of(inspect(window), self._predictor.metadata["bandwidth_hz"]).keys())

    def _hops(self) -> np.ndarray:
        """Averages the answers of the windows that cover each hop: [num_hops, num_emotions], NaN without any."""
        num_hops = max(1, math.ceil(self.num_samples / self._hop))
        means = np.full((num_hops, len(self._predictor.emotions)), np.nan)
        for hop in range(num_hops):
            end = min((hop + 1) * self._hop, self.num_samples)
            first = max(0, math.ceil((end - self._window) / self._hop))
            over = [self._answers[number] for number in range(first, hop + 1) if number in self._answers]
            if over:
                means[hop] = np.mean(over, axis=0)
        return means

    def _smoothed(self, hops: np.ndarray) -> np.ndarray:
        """Averages neighbouring hops; those without an answer stay without one."""
        reach = round((self._settings.smooth_seconds / self._settings.hop_seconds - 1) / 2)
        if reach < 1:
            return hops
        is_known = ~np.isnan(hops[:, :1])
        padded = np.pad(np.where(is_known, hops, 0.0), ((reach, reach), (0, 0)))
        counts = np.pad(is_known.astype(float), ((reach, reach), (0, 0)))
        sums, totals = (
            np.lib.stride_tricks.sliding_window_view(values, 2 * reach + 1, axis=0).sum(axis=2)
            for values in (padded, counts)
        )
        return np.where(is_known, sums / np.maximum(totals, 1), np.nan)

    def _warnings(self, has_speech: bool) -> Iterator[str]:
        """Says in sentences what a reader should know."""
        metadata = self._predictor.metadata
        if not has_speech:
            yield "nobody speaks in the recording"
        if others := [modality for modality in metadata["modalities"] if modality != "audio"]:
            yield f"{' and '.join(others)} of the model {'is' if len(others) == 1 else 'are'} taken for absent"
        if metadata["normalise"] == "enrolled" and not self._speaker:
            yield "no speaker is enrolled (--enrol): the statistics of training stand in"
        usual = [name for name, count in self._findings.items() if 2 * count > self._num_inspected]
        yield from (f"most of the speech {_FOUND[name]}" for name in usual if name in _FOUND)
        yield from (f"the model carries the mark {mark!r}" for mark in metadata["marks"])


_FOUND = {
    "narrow": "reaches less high than the recordings that the model was trained on",
    "clipped": "is clipped",
    "noisy": "is noisy",
    "hum": "has the mains hum in it",
}


def find_segments(
    turns: Sequence[Turn], probabilities: np.ndarray, hop_seconds: float, emotions: Sequence[str]
) -> tuple[Segment, ...]:
    """Joins neighbouring hops of one emotion within a stretch of speech.

    Args:
      turns: Stretches of speech.
      probabilities: [num_hops, num_emotions]; NaN where there is no answer. For these, and for hops of which less than
        half lies in the stretch, the nearest other one of it counts.
      hop_seconds: Length of a hop.
      emotions: Names, in the order of the probabilities.
    """
    segments: list[Segment] = []
    for turn in turns:
        hops = np.arange(int(turn.start / hop_seconds), min(math.ceil(turn.end / hop_seconds), len(probabilities)))
        inside = np.minimum(turn.end, (hops + 1) * hop_seconds) - np.maximum(turn.start, hops * hop_seconds)
        has_answer = ~np.isnan(probabilities[hops, 0])
        if not has_answer.any():
            continue
        is_much = has_answer & (inside >= hop_seconds / 2)
        known = hops[is_much if is_much.any() else has_answer]
        nearest = known[np.abs(hops[:, np.newaxis] - known).argmin(axis=1)]
        best = probabilities[nearest].argmax(axis=1)
        edges = [0, *(np.flatnonzero(np.diff(best)) + 1).tolist(), len(hops)]
        for first, last in itertools.pairwise(edges):
            start, end = max(turn.start, hops[first] * hop_seconds), min(turn.end, (hops[last - 1] + 1) * hop_seconds)
            mean = tuple(probabilities[nearest[first:last]].mean(axis=0).tolist())
            segments.append(Segment(float(start), float(end), emotions[best[first]], mean))
    return tuple(segments)
