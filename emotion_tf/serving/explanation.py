"""Why a model says what it says of one utterance: the numbers, by names."""

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from emotion_tf.serving.prediction import Prediction

GRADIENTS = "integrated gradients"
OCCLUSION = "occlusion"


class Contribution(NamedTuple):
    """What a part of an utterance adds to the log-probability of the emotion, in nats; below 0: it speaks against.

    Attributes:
      name: A word or a modality.
      nats: Log-probability with everything, less that without this part.
    """

    name: str
    nats: float


class Spectrogram(NamedTuple):
    """The sound of an utterance, silent ends included.

    Attributes:
      log_mel: [num_frames, mel_bins], as `pipelines.audio.front_end.Analysis` has it.
      hop_seconds: Between frames.
      band_hz: [mel_bins], the centre of each band.
    """

    log_mel: np.ndarray
    hop_seconds: float
    band_hz: np.ndarray


class TimeContributions(NamedTuple):
    """Where in the sound the model found what it says.

    Attributes:
      method: `GRADIENTS` or `OCCLUSION`.
      seconds: [num_points], from the start of the recording: centres of frames, or of the windows that are silenced.
      nats: [num_points], contributions to the log-probability of the emotion.
      cells: [num_points, mel_bins] nats of each band of a frame; None for occlusion, or without a log-mel.
      difference: By gradients: the log-probability, less that of the baseline, which nats add up to. By occlusion: less
        that without any audio, which they need not add up to.
      num_steps: Points on the way from the baseline, or windows.
    """

    method: str
    seconds: np.ndarray
    nats: np.ndarray
    cells: np.ndarray | None
    difference: float
    num_steps: int

    @property
    def baseline(self) -> str:
        """What the utterance is compared with, in words."""
        if self.method == GRADIENTS:
            return "the same sound with every column of its features at its mean"
        return "the same sound with a window of it silenced"


@dataclasses.dataclass(frozen=True)
class Explanation:
    """Why a model says what it says of one utterance. Every contribution is to the log-probability of `emotion`.

    Attributes:
      prediction: What is explained.
      emotion: The most probable one.
      spectrogram: Of the sound; None without any.
      time: Contributions over time; None without sound, or for a model that reads none.
      words: Of each word that is said, in order; none for a model that reads no text.
      modalities: Of each modality of the model; 0 for an absent one.
    """

    prediction: Prediction
    emotion: str
    spectrogram: Spectrogram | None
    time: TimeContributions | None
    words: tuple[Contribution, ...]
    modalities: tuple[Contribution, ...]

    def to_json(self) -> dict[str, Any]:
        """Returns the object that `python -m emotion_tf.predict --explain` writes: nats rounded to 1e-6."""
        return {
            **self.prediction.to_json(),
            "explained": self.emotion,
            "modalities": _with_shares(self.modalities),
            "words": _with_shares(self.words),
            "time": None if self.time is None else _of_time(self.time),
            "bands": _of_bands(self.time, self.spectrogram),
        }


def _with_shares(contributions: Sequence[Contribution]) -> list[dict[str, Any]]:
    """Adds to each its share of the sum of all magnitudes; 0 where nothing contributes."""
    total = sum(abs(one.nats) for one in contributions) or 1.0
    return [
        {"name": one.name, "nats": round(one.nats, 6), "share": round(abs(one.nats) / total, 6)}
        for one in contributions
    ]


def _of_time(time: TimeContributions) -> dict[str, Any]:
    return {
        "method": time.method,
        "baseline": time.baseline,
        "num_steps": time.num_steps,
        "sum": round(float(time.nats.sum()), 6),
        "difference": round(time.difference, 6),
        "seconds": _rounded(time.seconds),
        "nats": _rounded(time.nats),
    }


def _of_bands(time: TimeContributions | None, spectrogram: Spectrogram | None) -> dict[str, Any] | None:
    """Sums cells over time; None where there are none."""
    if time is None or time.cells is None or spectrogram is None:
        return None
    return {"hz": _rounded(spectrogram.band_hz, 1), "nats": _rounded(time.cells.sum(axis=0))}


def _rounded(values: np.ndarray, digits: int = 6) -> list[float]:
    return [round(float(value), digits) for value in values]
