"""The SavedModel of an export, in TensorFlow: what answers a predictor unless it is told otherwise."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from emotion_tf.serving.batches import to_tensors
from emotion_tf.serving.loading import load_saved_model, saved_model_files
from emotion_tf.serving.prediction import BatchPrediction
from pipelines import audio
from pipelines.command import InputError
from pipelines.normalisation import Sums, least_std
from pipelines.video import VideoSettings

_REFUSED = re.compile(r"assertion failed: \[(.*?)\]")
"""How TensorFlow words the checks of an export."""


class SavedModel:
    """A version folder of an export, loaded. Threads may share one.

    Args:
      version: The folder.
      metadata: What metadata.json of the export holds.

    Attributes:
      files: What its answers depend on.

    Raises:
      InputError: It does not load.
    """

    def __init__(self, version: Path, metadata: Mapping[str, Any]):
        self._version, self._metadata = version, metadata
        self._loaded = load_saved_model(version)
        self.files = saved_model_files(version)

    def predict(self, given: Mapping[str, Any]) -> BatchPrediction:
        """Predicts the arguments of `Predictor.predict_batch`."""
        found = self._call(self._tensors(given), "serving_default")
        further = (found[name].numpy() if name in found else None for name in ("shares", "embedding"))
        return BatchPrediction(found["probabilities"].numpy(), found["predicted"].numpy(), *further)

    def features_of(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Computes the inputs of the signature `features`, as tensors, of arguments of `Predictor.predict_batch`."""
        return dict(self._call(self._tensors(given), "to_features"))

    def sums_of(self, waveform: np.ndarray) -> Sums:
        """Sums what the model reads of a recording, [num_samples] int16."""
        import tensorflow as tf

        found = self._loaded.signatures["enrol"](waveform=tf.constant(audio.pad_together([waveform])))
        sums = {name: values[0].numpy() for name, values in found.items()}
        return Sums(int(sums["counts"].any()), **sums)

    def signature(self, name: str) -> Any:
        """Finds a signature.

        Raises:
          InputError: There is none of that name.
        """
        if name not in self._loaded.signatures:
            raise InputError(f"{self._version} has no signature {name}: export the run again.")
        return self._loaded.signatures[name]

    def _tensors(self, given: Mapping[str, Any]) -> dict[str, Any]:
        facts = self._metadata
        front_end = audio.FrontEnd(**facts["front_end"])
        is_enrolled = facts["normalise"] == "enrolled"
        stds = least_std(facts["audio_features"], front_end, facts.get("encoder")) if is_enrolled else ()
        video = VideoSettings(**facts["video"]) if facts["video"] else None
        return to_tensors(given, video, len(stds), has_context=facts.get("context", 0) > 0)

    def _call(self, inputs: Mapping[str, Any], name: str) -> Mapping[str, Any]:
        """Calls a signature; what it refuses becomes one sentence."""
        import tensorflow as tf

        try:
            return self.signature(name)(**inputs)
        except tf.errors.InvalidArgumentError as error:
            refused = _REFUSED.search(str(error))
            if not refused:
                raise
            raise InputError(f"the model refuses its input: {refused[1]}.") from None
