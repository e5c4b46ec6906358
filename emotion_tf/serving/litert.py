"""The LiteRT files of an export, in the interpreter of ai-edge-litert: front_end.tflite, then the model.

Neither TensorFlow nor Keras is imported, so that the first answer comes at once. Words are cut in plain Python.
"""

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from emotion_tf.serving.batches import STEP
from emotion_tf.serving.limits import MAX_PEAK, WITH_PEAK, not_finite, too_loud
from emotion_tf.serving.loading import FRONT_END
from emotion_tf.serving.prediction import BatchPrediction
from pipelines import text_python
from pipelines.command import InputError, silent_stderr
from pipelines.normalisation import Sums
from pipelines.text import vocabulary_sha256
from pipelines.video import VideoSettings

_ADVICE = "predict with the SavedModel, without --format litert"


class LiteRT:
    """The model of an export as a .tflite file, with its front end. Threads may share one: it answers one at a time.

    Args:
      file: The model; where it reads sound, front_end.tflite lies beside it.
      metadata: What metadata.json of the export holds.

    Attributes:
      files: What its answers depend on.

    Raises:
      InputError: A file that is missing or does not load, a package that is not installed, or a model whose inputs are
        made by the SavedModel alone.
    """

    def __init__(self, file: Path, metadata: Mapping[str, Any]):
        self._file, self._metadata = file, metadata
        self._video = VideoSettings(**metadata["video"]) if metadata["video"] else None
        self._lock = threading.Lock()
        self._model = _runner(file)
        self._inputs = frozenset(self._model.get_input_details())
        self._stop_on_other_inputs()
        reads_sound = "num_frames" in self._inputs
        self._front_end = _runner(self._front_end_file()) if reads_sound else None
        self.files = (file, self._front_end_file()) if reads_sound else (file,)

    def predict(self, given: Mapping[str, Any]) -> BatchPrediction:
        """Predicts the arguments of `Predictor.predict_batch`, row by row.

        Raises:
          InputError: What the SavedModel refuses, in the same words.
        """
        arrays = {name: None if values is None else np.asarray(values) for name, values in given.items()}
        _check({"waveform": arrays["waveforms"], "video_frames": arrays.get("video_frames")})
        rows = [self._row(arrays, number) for number in range(len(given["waveforms"]))]
        found = {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}
        probabilities = found["probabilities"]
        return BatchPrediction(probabilities, self._decide(probabilities), found.get("shares"), found.get("embedding"))

    def features_of(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Refuses: it gives no tensors."""
        raise self._lacks("to_features")

    def sums_of(self, waveform: np.ndarray) -> Sums:
        """Refuses: it enrols no speakers."""
        raise self._lacks("enrol")

    def signature(self, name: str) -> Any:
        """Refuses: a .tflite file has none of the SavedModel's signatures.

        Raises:
          InputError: Always.
        """
        raise self._lacks(name)

    def _lacks(self, name: str) -> InputError:
        return InputError(f"{self._file} has no signature {name}: {_ADVICE}.")

    def _stop_on_other_inputs(self) -> None:
        """Stops where the inputs of the model do not follow from sound, words and frames alone."""
        facts = self._metadata
        if self._inputs & {"encoder", "waveform"}:
            raise InputError(f"{self._file} reads states of an encoder, which no .tflite file makes: {_ADVICE}.")
        if facts["normalise"] == "enrolled" and "num_frames" in self._inputs:
            raise InputError(f"{self._file} normalises by recordings of the speaker, and none enrols here: {_ADVICE}.")
        if "token_ids" in self._inputs and facts["tokenizer"]["preset"]:
            raise InputError(
                f"{self._file} reads words as the tokenizer of {facts['tokenizer']['preset']} cuts them, which the"
                f" SavedModel alone has: {_ADVICE}."
            )
        if "token_ids" in self._inputs and facts["tokenizer"].get("sha256") != vocabulary_sha256():
            raise InputError(f"{self._file} reads words by another vocabulary than this program's: {_ADVICE}.")

    def _front_end_file(self) -> Path:
        file = self._file.with_name(FRONT_END)
        if not file.exists():
            left_out = self._metadata.get("formats", {}).get("litert", {}).get("front_end", {}).get("left_out")
            reason = f" ({left_out})" if left_out else ""
            raise InputError(f"{file} does not exist{reason}: {_ADVICE}, or export the run again with --format litert.")
        return file

    def _row(self, arrays: Mapping[str, np.ndarray | None], number: int) -> dict[str, np.ndarray]:
        """Predicts one utterance: output -> [1, ...]."""
        own = {name: values[number] for name, values in arrays.items() if values is not None}
        inputs: dict[str, np.ndarray] = {}
        if "token_ids" in self._inputs:
            inputs["token_ids"] = self._token_ids(own.get("transcripts"), own.get("contexts"))
        if "video_frames" in self._inputs and self._video is not None:
            frames = own.get("video_frames", np.zeros((1, *self._video.shape)))
            inputs["video_frames"] = np.asarray(frames, np.float32)[np.newaxis]
        with self._lock:
            if self._front_end is not None:
                found = self._front_end(waveform=_in_steps(own["waveforms"]))
                inputs |= {name: values for name, values in found.items() if name in self._inputs}
            return dict(self._model(**inputs))

    def _token_ids(self, transcript: Any, context: Any) -> np.ndarray:
        lines = ("" if context is None else str(context)) if self._metadata.get("context", 0) else None
        words = "" if transcript is None else str(transcript)
        return np.array([text_python.token_ids(words, self._metadata["max_tokens"], lines)], np.int32)

    def _decide(self, probabilities: np.ndarray) -> np.ndarray:
        """Names emotions as the SavedModel does: bool [batch, num_emotions]."""
        names, thresholds = self._metadata["emotions"], self._metadata.get("thresholds")
        columns = np.arange(len(names))
        if not thresholds:
            return columns == probabilities.argmax(axis=1)[:, np.newaxis]
        limits = np.array([thresholds[name] for name in names], np.float32)
        reached = probabilities >= limits
        closest = columns == (probabilities / limits).argmax(axis=1)[:, np.newaxis]
        return reached | (closest & ~reached.any(axis=1, keepdims=True))


def _check(inputs: Mapping[str, np.ndarray | None]) -> None:
    for name, values in inputs.items():
        if values is None:
            continue
        if not np.isfinite(values).all():
            raise InputError(f"the model refuses its input: {not_finite(name)}.")
        if name in WITH_PEAK and np.abs(values).max(initial=0.0) > MAX_PEAK:
            raise InputError(f"the model refuses its input: {too_loud(name)}.")


def _in_steps(waveform: np.ndarray) -> np.ndarray:
    """Ends a waveform [num_samples] behind its last sample that is no zero, at a multiple of `STEP`, of a batch of one.

    Few lengths mean that the interpreter seldom has to allocate anew.
    """
    length = len(np.trim_zeros(waveform, "b"))
    padded = np.zeros((1, max(1, -(-length // STEP)) * STEP), np.float32)
    padded[0, :length] = waveform[:length]
    return padded


def _runner(file: Path) -> Any:
    """Loads a .tflite file; its call takes arrays by their names and returns arrays."""
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError:
        raise InputError(
            f"{file} is run by ai-edge-litert, which is not installed: pip install 'emotion_tf[litert]'."
        ) from None
    try:
        with silent_stderr():
            interpreter = Interpreter(str(file))
            interpreter.allocate_tensors()
            return interpreter.get_signature_runner()
    except (ValueError, RuntimeError, OSError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(f"{file} does not load ({reason}): export the run again with --format litert.") from None
