"""Whole models: one branch alone, and early fusion, which joins branches in one graph."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import keras
from keras import layers, ops

from emotion_tf.branches.audio import audio_branch
from emotion_tf.branches.outputs import BranchOutput
from emotion_tf.branches.text import text_branch
from emotion_tf.branches.video import video_branch
from emotion_tf.config import AUDIO_FEATURES, Config
from emotion_tf.joins import JOINS, Joined, ModalityDropout
from emotion_tf.rules import FLOOR

ANSWER = "emotions"
"""The layer that gives logits before calibration."""


@keras.saving.register_keras_serializable("emotion_tf")
class CalibratedAnswer(keras.layers.Layer):
    """Divides logits by the temperature; answers with the training prior where no modality is present.

    Inputs logits [batch, num_emotions] and is_present [batch] bool; output logits, for a softmax or, with several
    emotions an utterance, for a sigmoid each. With the prior the logits are its logarithm or logit. The temperature is
    a weight that training leaves at 1; `emotion_tf.calibration` sets it.
    """

    def __init__(self, prior: Sequence[float], is_multi_label: bool = False, **kwargs):
        super().__init__(**kwargs)
        self.prior, self.is_multi_label = [float(share) for share in prior], is_multi_label

    def build(self, logits_shape, is_present_shape):
        self.temperature = self.add_weight(name="temperature", shape=(), initializer="ones", trainable=False)

    def call(self, logits, is_present):
        prior = inverse(ops.convert_to_tensor(self.prior, logits.dtype), self.is_multi_label)
        return ops.where(is_present[:, None], logits / self.temperature, prior[None, :])

    def compute_output_shape(self, logits_shape, is_present_shape):
        return logits_shape

    def get_config(self):
        return {**super().get_config(), "prior": self.prior, "is_multi_label": self.is_multi_label}


def build_model(
    config: Config,
    widths: Mapping[str, Any],
    vocabulary_size: int,
    prior: Sequence[float],
    is_multi_label: bool = False,
) -> keras.Model:
    """Builds a single branch, or early fusion: branches joined in one multi-input graph.

    Args:
      config: What to build.
      widths: Feature of sound -> number of its columns, at least for those of the config; video_frames -> height, width
        and channels of a frame, where one is seen.
      vocabulary_size: Pieces of the vocabulary.
      prior: Share of each emotion in the training part, in label order.
      is_multi_label: Whether an utterance has several emotions, each with a probability of its own.

    Returns:
      A model from inputs named like the dataset's features to logits [batch, num_emotions].
    """
    features = config.audio.features if "audio" in config.modalities else ()
    seen = ("video_frames",) if "video" in config.modalities else ()
    inputs = make_inputs(config.modalities, {name: widths[name] for name in (*features, *seen)})
    make = {
        "audio": lambda: audio_branch(inputs, config.audio),
        "text": lambda: text_branch(inputs["token_ids"], vocabulary_size, config.text),
        "video": lambda: video_branch(inputs["video_frames"], config.video),
    }
    outputs = {modality: make[modality]() for modality in config.modalities}
    present = presence(inputs)
    joined = _join(outputs, present, config) if config.join else None
    biases = _logits_of(prior) if is_multi_label else "zeros"
    answer = layers.Dense(len(prior), bias_initializer=biases, name=ANSWER)
    logits = answer(joined.vector if joined else outputs[config.modalities[0]].embedding)
    logits = logits + _own_answers(outputs, joined.weights, len(prior)) if joined else logits
    logits = CalibratedAnswer(prior, is_multi_label, name="logits")(logits, any_of(present))
    return keras.Model(inputs, logits, name=f"{config.branch}")


def _join(outputs: Mapping[str, BranchOutput], present: Sequence[keras.KerasTensor], config: Config) -> Joined:
    """Makes one vector of the branches."""
    is_present = ops.stack([ops.cast(flag, "float32") for flag in present], axis=1)  # [batch, num_modalities]
    if config.training.modality_dropout:
        is_present = ModalityDropout(config.training.modality_dropout, name="fusion_modality_dropout")(is_present)
    joined = JOINS[config.join](outputs, is_present, config.audio.embedding_dim)
    return Joined(layers.Dropout(config.audio.dropout, name="fusion_dropout")(joined.vector), joined.weights)


def own_answer(modality: str) -> str:
    """Names the layer of early fusion by which a branch answers alone, beside what the join finds."""
    return f"fusion_{modality}_{ANSWER}"


def _own_answers(
    outputs: Mapping[str, BranchOutput], weights: keras.KerasTensor, num_emotions: int
) -> keras.KerasTensor:
    """Sums the logits of each branch by itself, weighed: [batch, num_emotions]. Zeros, until trained or started."""
    answers = [
        layers.Dense(num_emotions, kernel_initializer="zeros", name=own_answer(modality))(output.embedding)
        for modality, output in outputs.items()
    ]
    return sum(weights[:, index : index + 1] * answer for index, answer in enumerate(answers))


def _logits_of(prior: Sequence[float]) -> keras.Initializer:
    """Starts at the prior: from a probability of one half, a rare emotion would take thousands of steps down."""
    shares = [min(max(share, 1e-4), 1 - 1e-4) for share in prior]
    return keras.initializers.Constant([math.log(share / (1 - share)) for share in shares])


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


def inverse(probabilities: keras.KerasTensor, is_multi_label: bool) -> keras.KerasTensor:
    """Finds logits whose softmax, or sigmoid, the probabilities are."""
    if is_multi_label:
        probabilities = ops.clip(probabilities, 1e-7, 1 - 1e-7)
        return ops.log(probabilities) - ops.log1p(-probabilities)
    return ops.log(ops.maximum(probabilities, FLOOR))


def any_of(present: Sequence[keras.KerasTensor]) -> keras.KerasTensor:
    flags = present[0]
    for other in present[1:]:
        flags = ops.logical_or(flags, other)
    return flags
