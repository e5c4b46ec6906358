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
from emotion_tf.models.head import HEAD, CalibratedLogits, prior_bias
from emotion_tf.models.inputs import any_of, make_inputs, presence


def build_model(
    config: Config,
    widths: Mapping[str, Any],
    vocabulary_size: int,
    prior: Sequence[float],
    is_multi_label: bool = False,
    encoder: keras.Model | None = None,
) -> keras.Model:
    """Builds a single branch, or early fusion: branches joined in one multi-input graph.

    Args:
      config: What to build.
      widths: Audio feature -> number of its columns, at least for those of the config; video_frames -> height, width
        and channels of a frame, for a model that reads video.
      vocabulary_size: Pieces of the vocabulary.
      prior: Share of each emotion in the training split, in label order.
      is_multi_label: Whether an utterance has several emotions, each with a probability of its own.
      encoder: Of a config that releases blocks of it.

    Returns:
      A model from inputs named like the dataset's features to logits [batch, num_emotions].
    """
    features = config.audio.inputs if "audio" in config.modalities else ()
    frames = ("video_frames",) if "video" in config.modalities else ()
    inputs = make_inputs(config.modalities, {name: widths[name] for name in (*features, *frames)})
    make = {
        "audio": lambda: audio_branch(inputs, config.audio, encoder),
        "text": lambda: text_branch(inputs["token_ids"], vocabulary_size, config.text),
        "video": lambda: video_branch(inputs["video_frames"], config.video),
    }
    outputs = {modality: make[modality]() for modality in config.modalities}
    present = presence(inputs)
    joined = _join(outputs, present, config) if config.join else None
    bias = prior_bias(prior) if is_multi_label else "zeros"
    # From the head on single precision, whatever the policy: logits differ by less than bfloat16 tells apart.
    head = layers.Dense(len(prior), bias_initializer=bias, dtype="float32", name=HEAD)
    logits = head(joined.vector if joined else outputs[config.modalities[0]].embedding)
    logits = logits + _branch_logits(outputs, joined.weights, len(prior)) if joined else logits
    logits = CalibratedLogits(prior, is_multi_label, dtype="float32", name="logits")(logits, any_of(present))
    return keras.Model(inputs, logits, name=f"{config.branch}")


def _join(outputs: Mapping[str, BranchOutput], present: Sequence[keras.KerasTensor], config: Config) -> Joined:
    """Makes one vector of the branches' outputs, after modality dropout in training."""
    is_present = ops.stack([ops.cast(flag, "float32") for flag in present], axis=1)  # [batch, num_modalities]
    if config.training.modality_dropout:
        is_present = ModalityDropout(config.training.modality_dropout, name="fusion_modality_dropout")(is_present)
    joined = JOINS[config.join](outputs, is_present, config.audio.embedding_dim)
    return Joined(layers.Dropout(config.audio.dropout, name="fusion_dropout")(joined.vector), joined.weights)


def branch_head(modality: str) -> str:
    """Names the head that a branch of early fusion has of its own, beside that of the join."""
    return f"fusion_{modality}_{HEAD}"


def _branch_logits(
    outputs: Mapping[str, BranchOutput], weights: keras.KerasTensor, num_emotions: int
) -> keras.KerasTensor:
    """Sums the logits of the branches' own heads, weighed: [batch, num_emotions]; zeros until trained or copied."""
    logits = [
        layers.Dense(num_emotions, kernel_initializer="zeros", dtype="float32", name=branch_head(modality))(
            output.embedding
        )
        for modality, output in outputs.items()
    ]
    return sum(weights[:, index : index + 1] * of_branch for index, of_branch in enumerate(logits))
