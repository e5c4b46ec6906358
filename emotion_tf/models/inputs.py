"""Inputs of models: how they are made, and what a model's inputs say of it."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
from keras import ops

from emotion_tf.config import AUDIO_FEATURES


def make_inputs(modalities: Sequence[str], widths: Mapping[str, Any]) -> dict[str, keras.KerasTensor]:
    """Makes the inputs of the modalities, named like the dataset's features.

    Args:
      modalities: Some of "audio", "text", "video".
      widths: Feature of sound -> number of its columns; video_frames -> height, width and channels of a frame.
    """
    inputs: dict[str, keras.KerasTensor] = {}
    if "audio" in modalities:
        heard = [name for name in widths if name in AUDIO_FEATURES]
        inputs |= {name: keras.Input((None, widths[name]), name=name) for name in heard}
        for name in dict.fromkeys("num_steps" if feature == "encoder" else "num_frames" for feature in heard):
            inputs[name] = keras.Input((), dtype="int32", name=name)
    if "text" in modalities:
        inputs["token_ids"] = keras.Input((None,), dtype="int32", name="token_ids")
    if "video" in modalities:
        inputs["video_frames"] = keras.Input((None, *widths["video_frames"]), name="video_frames")
    return inputs


def presence(inputs: Mapping[str, keras.KerasTensor]) -> list[keras.KerasTensor]:
    """Tells from the inputs of a model which modality is there: [batch] bool each, audio, text, video."""
    present = [inputs[name] > 0 for name in ("num_frames", "num_steps") if name in inputs][:1]
    if "token_ids" in inputs:
        # [START] alone is an absent transcript.
        present.append(ops.sum(ops.cast(ops.not_equal(inputs["token_ids"], 0), "int32"), axis=1) > 1)
    if "video_frames" in inputs:
        present.append(ops.any(inputs["video_frames"] > 0, axis=(1, 2, 3, 4)))
    return present


def modalities_of(model: keras.Model) -> tuple[str, ...]:
    """Tells from a model's inputs what it hears, reads and sees, in the order of `emotion_tf.config.MODALITIES`."""
    has = {
        "audio": bool(audio_features_of(model)),
        "text": "token_ids" in model.input,
        "video": "video_frames" in model.input,
    }
    return tuple(modality for modality, is_there in has.items() if is_there)


def audio_features_of(model: keras.Model) -> tuple[str, ...]:
    """Tells from a model's inputs which features of sound it hears."""
    return tuple(name for name in AUDIO_FEATURES if name in model.input)


def any_of(present: Sequence[keras.KerasTensor]) -> keras.KerasTensor:
    flags = present[0]
    for other in present[1:]:
        flags = ops.logical_or(flags, other)
    return flags
