"""Whole models: one branch alone, and early fusion, which joins branches in one graph."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
from keras import layers, ops

from emotion_tf.config import Config
from emotion_tf.models.branches.audio import audio_branch
from emotion_tf.models.branches.outputs import BranchOutput
from emotion_tf.models.branches.text import text_branch
from emotion_tf.models.branches.video import video_branch
from emotion_tf.models.early_fusion import JOINS, Joined, ModalityDropout
from emotion_tf.models.head import HEAD, CalibratedLogits, logits_of
from emotion_tf.models.inputs import any_of, make_inputs, presence


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
      prior: Share of each emotion in the training split, in label order.
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
    biases = logits_of(prior) if is_multi_label else "zeros"
    answer = layers.Dense(len(prior), bias_initializer=biases, name=HEAD)
    logits = answer(joined.vector if joined else outputs[config.modalities[0]].embedding)
    logits = logits + _branch_logits(outputs, joined.weights, len(prior)) if joined else logits
    logits = CalibratedLogits(prior, is_multi_label, name="logits")(logits, any_of(present))
    return keras.Model(inputs, logits, name=f"{config.branch}")


def _join(outputs: Mapping[str, BranchOutput], present: Sequence[keras.KerasTensor], config: Config) -> Joined:
    """Makes one vector of the branches."""
    is_present = ops.stack([ops.cast(flag, "float32") for flag in present], axis=1)  # [batch, num_modalities]
    if config.training.modality_dropout:
        is_present = ModalityDropout(config.training.modality_dropout, name="fusion_modality_dropout")(is_present)
    joined = JOINS[config.join](outputs, is_present, config.audio.embedding_dim)
    return Joined(layers.Dropout(config.audio.dropout, name="fusion_dropout")(joined.vector), joined.weights)


def branch_head(modality: str) -> str:
    """Names the layer of early fusion by which a branch answers alone, beside what the join finds."""
    return f"fusion_{modality}_{HEAD}"


def _branch_logits(
    outputs: Mapping[str, BranchOutput], weights: keras.KerasTensor, num_emotions: int
) -> keras.KerasTensor:
    """Sums the logits of each branch by itself, weighed: [batch, num_emotions]. Zeros, until trained or started."""
    answers = [
        layers.Dense(num_emotions, kernel_initializer="zeros", name=branch_head(modality))(output.embedding)
        for modality, output in outputs.items()
    ]
    return sum(weights[:, index : index + 1] * answer for index, answer in enumerate(answers))
