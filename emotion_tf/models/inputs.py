"""Inputs of models: how they are made, what of them is absent, and what a model's inputs say of it."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
from keras import ops

from emotion_tf.config import AUDIO_INPUTS


def make_inputs(modalities: Sequence[str], widths: Mapping[str, Any]) -> dict[str, keras.KerasTensor]:
    """Makes the inputs of the modalities, named like the dataset's features.

    Args:
      modalities: Some of "audio", "text", "video".
      widths: Of `AUDIO_INPUTS` -> number of columns, of encoder (num_blocks, width), of waveform (); video_frames ->
        height, width and channels of a frame.

    Returns:
      Name -> input: of audio each feature [batch, num_frames, columns] with num_frames [batch], or for encoder states
      [batch, num_steps, num_blocks, width] with num_steps, or waveform [batch, num_samples]; of text token_ids [batch,
      num_tokens]; of video video_frames [batch, num_video_frames, height, width, channels].
    """
    inputs: dict[str, keras.KerasTensor] = {}
    if "audio" in modalities:
        features = [name for name in widths if name in AUDIO_INPUTS]
        for name in features:
            width = widths[name]
            inputs[name] = keras.Input((None, *([width] if isinstance(width, int) else width)), name=name)
        # Zeros at the end of a waveform are padding: it needs no length.
        lengths = ["num_steps" if name == "encoder" else "num_frames" for name in features if name != "waveform"]
        for name in dict.fromkeys(lengths):
            inputs[name] = keras.Input((), dtype="int32", name=name)
    if "text" in modalities:
        inputs["token_ids"] = keras.Input((None,), dtype="int32", name="token_ids")
    if "video" in modalities:
        inputs["video_frames"] = keras.Input((None, *widths["video_frames"]), name="video_frames")
    return inputs


def presence(inputs: Mapping[str, keras.KerasTensor]) -> list[keras.KerasTensor]:
    """Finds which modalities of a batch are present. This defines absence, for training, evaluation and exports.

    Audio is absent where it has no frames (an all-zero waveform has none), text where its only piece is [START] (a
    blank transcript has no other), video where all frames are zeros.

    Args:
      inputs: Features named as `make_inputs` does, tensors or arrays.

    Returns:
      [batch] bool for each modality that the inputs hold, in the order audio, text, video.
    """
    present = [inputs[name] > 0 for name in ("num_frames", "num_steps") if name in inputs]
    if "waveform" in inputs:
        present.append(ops.any(ops.not_equal(inputs["waveform"], 0.0), axis=1))
    present = present[:1]
    if "token_ids" in inputs:
        present.append(ops.sum(ops.cast(ops.not_equal(inputs["token_ids"], 0), "int32"), axis=1) > 1)
    if "video_frames" in inputs:
        present.append(ops.any(inputs["video_frames"] > 0, axis=(1, 2, 3, 4)))
    return present


def modalities_of(model: keras.Model) -> tuple[str, ...]:
    """Returns the modalities that a model reads, in the order of `emotion_tf.config.MODALITIES`."""
    has = {
        "audio": bool(audio_features_of(model)),
        "text": "token_ids" in model.input,
        "video": "video_frames" in model.input,
    }
    return tuple(modality for modality, is_there in has.items() if is_there)


def audio_features_of(model: keras.Model) -> tuple[str, ...]:
    """Returns what a model reads of the audio, in the order of `emotion_tf.config.AUDIO_INPUTS`."""
    return tuple(name for name in AUDIO_INPUTS if name in model.input)


def any_of(present: Sequence[keras.KerasTensor]) -> keras.KerasTensor:
    """Joins the flags of `presence` to one, [batch] bool: whether any modality is present."""
    flags = present[0]
    for other in present[1:]:
        flags = ops.logical_or(flags, other)
    return flags
