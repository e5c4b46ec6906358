"""What the page knows of one clip: what was read of it, what a model says, and what each modality alone would say."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import wave
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from emotion_tf.serving.batches import leave_out
from emotion_tf.serving.late_weights import own_of, weights_of
from emotion_tf.serving.prediction import Given, Prediction
from emotion_tf.serving.predictor import Predictor
from emotion_tf.serving.timeline import Segment, Timeline
from pipelines.audio import SAMPLE_RATE
from pipelines.clips import Clip

LONGEST_WAIT_SECONDS = 60.0
"""Decoding of a file, or of ten seconds of a long one, is given up after this."""


class Upload(NamedTuple):
    """A file that somebody gave to the page.

    Attributes:
      name: As its maker called it.
      content: Its bytes.
      transcript: Of an example, its sentence.
    """

    name: str
    content: bytes
    transcript: str = ""

    @property
    def digest(self) -> str:
        """Tells one content from another."""
        return hashlib.sha256(self.content).hexdigest()


@dataclasses.dataclass(frozen=True)
class Answer:
    """What a model says of a clip.

    Attributes:
      given: What it was given.
      prediction: What it says.
      alone: Modality that is present -> emotion -> probability without the others; of a late fusion, what the run of
        this modality says.
    """

    given: Given
    prediction: Prediction
    alone: Mapping[str, Mapping[str, float]]

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing that the model reads, so that its answer is the training prior."""
        return not self.alone


def answer(predictor: Predictor, clip: Clip, transcript: str, name: str, transcriber: Any = None) -> Answer:
    """Asks a model.

    Args:
      predictor: The model.
      clip: What was read of the file.
      transcript: What is said.
      name: Of the file, for the result.
      transcriber: Transcribes the clip, in place of the transcript.

    Raises:
      InputError: A transcript that is no utterance.
    """
    given = predictor.take(clip, transcript, file=Path(name) if name else None, transcriber=transcriber)
    prediction = predictor.predict_given(given)
    return Answer(given, prediction, _alone(predictor, given))


def _alone(predictor: Predictor, given: Given) -> dict[str, dict[str, float]]:
    """Leaves out all modalities but one, for each that is present."""
    is_present = {
        "audio": bool(given.clip.waveform.any()),
        "text": bool(given.transcript.strip()),
        "video": given.clip.frames is not None,
    }
    chosen = [modality for modality in predictor.modalities if is_present[modality]]
    if not chosen:
        return {}
    inputs = {name: np.repeat(values, len(chosen), axis=0) for name, values in given.inputs.items()}
    for row, kept in enumerate(chosen):
        for modality in predictor.modalities:
            if modality != kept:
                leave_out(inputs, modality, row)
    rows = predictor.predict_batch(**inputs).probabilities
    named = [dict(zip(predictor.emotions, row.tolist(), strict=True)) for row in rows]
    if weights_of(predictor.metadata) is not None:
        named = [own_of(row, predictor.metadata["late_rule"]["temperature"]) for row in named]
    return dict(zip(chosen, named, strict=True))


def best_of(probabilities: Mapping[str, float]) -> tuple[str, float]:
    """Finds the most probable emotion and its probability."""
    emotion = max(probabilities, key=probabilities.__getitem__)
    return emotion, probabilities[emotion]


def wav_of(waveform: np.ndarray, sample_rate: int = SAMPLE_RATE) -> bytes:
    """Packs [num_samples] int16 as a wav file, which every browser plays."""
    packed = io.BytesIO()
    with wave.open(packed, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(sample_rate)
        file.writeframes(waveform.astype("<i2").tobytes())
    return packed.getvalue()


def as_timeline(prediction: Prediction) -> Timeline:
    """Makes the timeline of a clip that has one answer: a single segment, from its start to its end."""
    emotions = tuple(prediction.probabilities)
    probabilities = tuple(prediction.probabilities.values())
    segment = Segment(0.0, prediction.seconds, prediction.emotion, probabilities)
    return Timeline(
        prediction.file or Path("transcript"),
        emotions,
        prediction.seconds,
        (segment,) if prediction.seconds else (),
        (),
        prediction.seconds,
        np.array([probabilities]),
        np.zeros((0, 2), np.float32),
        prediction.warnings,
    )
