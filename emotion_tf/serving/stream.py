"""A voice as it comes in: chunks of samples in, and at any time what the model says of the last seconds."""

import threading
from typing import TYPE_CHECKING

import numpy as np

from emotion_tf.serving.prediction import Given, Prediction
from emotion_tf.serving.sources import MAX_SECONDS
from pipelines.audio.quality import MIN_SECONDS
from pipelines.audio.sound import check_rate
from pipelines.command import InputError

if TYPE_CHECKING:
    from emotion_tf.serving.predictor import Predictor

WINDOW_SECONDS = 3.0


class Stream:
    """The last seconds of a voice; `Predictor.stream` makes one. Its memory does not grow.

    Args:
      predictor: The model.
      sample_rate: Hz, of all chunks.
      window_seconds: How much of the voice an answer is about.

    Attributes:
      predictor: The model; another one may take its place between two answers.

    Raises:
      InputError: A sample rate that no recording has, or a window that is no utterance.
    """

    def __init__(self, predictor: "Predictor", sample_rate: float, window_seconds: float = WINDOW_SECONDS):
        check_rate("the stream", sample_rate)
        if not MIN_SECONDS <= window_seconds <= MAX_SECONDS:
            raise InputError(
                f"a window of {window_seconds:g} s is no utterance: give {MIN_SECONDS} to {MAX_SECONDS:g} s."
            )
        self.predictor, self._sample_rate = predictor, sample_rate
        self._num_kept = round(window_seconds * sample_rate)
        self._samples: np.ndarray | None = None
        self._lock = threading.Lock()

    def add(self, chunk: np.ndarray | bytes) -> None:
        """Takes the next samples.

        Args:
          chunk: [num_samples] or [num_samples, num_channels] as `Predictor.predict` takes them, each chunk of one type
            and as many channels as the first; or bytes: int16 in little-endian order, one channel.

        Raises:
          InputError: Half a sample, or another type or number of channels than before.
        """
        if isinstance(chunk, bytes):
            if len(chunk) % 2:
                raise InputError(f"a chunk of {len(chunk)} bytes ends within a sample: send whole samples of int16.")
            chunk = np.frombuffer(chunk, "<i2").astype(np.int16)
        with self._lock:
            before = chunk[:0] if self._samples is None else self._samples
            if (before.dtype, before.shape[1:]) != (chunk.dtype, chunk.shape[1:]):
                raise InputError(
                    f"a chunk of {chunk.dtype} {list(chunk.shape)} follows chunks of {before.dtype}"
                    f" {list(before.shape)}: send one type and one number of channels."
                )
            self._samples = np.concatenate([before, chunk])[-self._num_kept :]

    def predict(self, transcript: str = "", *, with_embedding: bool = False) -> Prediction:
        """Predicts the last seconds, or as many as there are, as `Predictor.predict` does.

        Raises:
          InputError: Nothing has come in yet, or what cannot be sound.
        """
        given = self.read(transcript)
        return self.predictor.predict_given(given, with_embedding=with_embedding, with_changes=False)

    def read(self, transcript: str = "") -> Given:
        """Reads the last seconds as `predict` does, and predicts nothing yet.

        Raises:
          InputError: Nothing has come in yet, or what cannot be sound.
        """
        with self._lock:
            samples = self._samples  # Chunks make new arrays.
        if samples is None or not len(samples):
            raise InputError("the stream holds no samples yet: add a chunk first.")
        return self.predictor.read(samples, transcript, sample_rate=self._sample_rate)
