"""A run's model alone, as a SavedModel of core ops: what `features` is, and what other formats are converted from."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from emotion_tf.exporting.interface import interface_of
from emotion_tf.exporting.saved_model import (
    SPEAKER_INPUTS,
    checked,
    feature_specs,
    predictions,
    raw_specs,
    sound_to_features,
)
from emotion_tf.exporting.variables import StoredVariables
from emotion_tf.runs.folder import Run
from pipelines import audio

if TYPE_CHECKING:
    from collections.abc import Callable

    import keras
    import tensorflow as tf

_NOT_NUMBERS = ("emotions", "predicted")
"""Outputs that follow from probabilities and metadata.json: formats beside SavedModel have none of them."""


def write_source(model: "keras.Model", metadata: dict[str, Any], folder: Path, batch: int | None) -> dict[str, Any]:
    """Writes a SavedModel with the one signature `serving_default`, from the inputs of the model to numbers.

    Args:
      model: Of the run.
      metadata: What `export_metadata` collected.
      folder: To make.
      batch: Size of the batch; None: any.

    Returns:
      Inputs and outputs, as metadata.json says them.
    """
    import tensorflow as tf

    predict, stored = predictions(model, metadata), StoredVariables([model], "float32")

    def serve(features: "dict[str, tf.Tensor]") -> "dict[str, tf.Tensor]":
        outputs = predict(features)
        return {name: values for name, values in outputs.items() if name not in _NOT_NUMBERS}

    specs = {name: _with_batch(spec, batch) for name, spec in _own_specs(model, metadata).items()}
    module = tf.Module()
    module.stored = stored.values
    module.serve = tf.function(serve, input_signature=[specs], autograph=False)
    tf.saved_model.save(module, str(folder), {"serving_default": module.serve})
    return interface_of(module.serve, metadata, batch or "batch")


def write_features(model: "keras.Model", metadata: dict[str, Any], run: Run, folder: Path) -> dict[str, Any]:
    """Writes the SavedModel of the format `features`: no op is TensorFlow Text's.

    Args:
      model: Of the run.
      metadata: What `export_metadata` collected.
      run: Whose normalisation becomes part of the signature `front_end`.
      folder: The version folder to make.

    Returns:
      Of each signature inputs and outputs, as metadata.json says them: `serving_default` takes those of the model, and
      `front_end`, where the model reads features of frames, makes these of waveforms.
    """
    import tensorflow as tf

    predict, stored = predictions(model, metadata), StoredVariables([model], metadata["variables"])

    def serve(features: "dict[str, tf.Tensor]") -> "dict[str, tf.Tensor]":
        with stored.in_use():
            return predict(checked(features))

    own, module = _own_specs(model, metadata), tf.Module()
    module.stored = stored.values
    module.serving_default = tf.function(serve, input_signature=[own], autograph=False)
    signatures = {"serving_default": module.serving_default}
    if audio.frame_names(metadata["audio_features"]) and "num_frames" in own:
        module.front_end = front_end(run, metadata)
        signatures["front_end"] = module.front_end
    tf.saved_model.save(module, str(folder), signatures)
    return {name: interface_of(function, metadata) for name, function in signatures.items()}


def write_front_end(run: Run, metadata: dict[str, Any], folder: Path) -> "Callable[..., dict[str, tf.Tensor]]":
    """Writes `front_end` of one waveform as a SavedModel, and returns it."""
    import tensorflow as tf

    module = tf.Module()
    module.compute = front_end(run, metadata, 1)
    tf.saved_model.save(module, str(folder), {"serving_default": module.compute})
    return module.compute


def front_end(run: Run, metadata: dict[str, Any], batch: int | None = None) -> "Callable[..., dict[str, tf.Tensor]]":
    """Makes the function from waveforms to the features of frames that the model reads, normalised."""
    import tensorflow as tf

    to_features = sound_to_features(run, metadata)

    def compute(raw: "dict[str, tf.Tensor]") -> "dict[str, tf.Tensor]":
        return to_features(raw if batch else checked(raw))

    specs = raw_specs(metadata, feature_specs(metadata))
    wanted = {name: _with_batch(specs[name], batch) for name in ("waveform", *SPEAKER_INPUTS) if name in specs}
    return tf.function(compute, input_signature=[wanted], autograph=False)


def _own_specs(model: "keras.Model", metadata: dict[str, Any]) -> "dict[str, tf.TensorSpec]":
    """Describes the inputs that the model reads, and no further ones."""
    return {name: spec for name, spec in feature_specs(metadata).items() if name in model.input}


def _with_batch(spec: "tf.TensorSpec", batch: int | None) -> "tf.TensorSpec":
    import tensorflow as tf

    return tf.TensorSpec([batch, *spec.shape[1:]], spec.dtype, name=spec.name)
