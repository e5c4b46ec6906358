"""The audio branch: a network over the frames of a clip, and a small head on the states of a pretrained encoder."""

import functools
from collections.abc import Mapping

import keras
from keras import layers

from emotion_tf.config import AudioConfig
from emotion_tf.models.branches.audio.convolutional import cnn, cnn_attention, crnn, resnet
from emotion_tf.models.branches.audio.efficientnet import efficientnet
from emotion_tf.models.branches.audio.recurrent import gru
from emotion_tf.models.branches.audio.transformer import transformer
from emotion_tf.models.branches.layers import (
    AttentionPooling,
    AttentiveStatisticsPooling,
    MeanPooling,
    StepMask,
    WeightedLayerSum,
)
from emotion_tf.models.branches.outputs import BranchOutput, Steps

ENCODER = "audio_whisper"
"""Name of the encoder where it is part of the model."""


def audio_branch(
    inputs: Mapping[str, keras.KerasTensor], config: AudioConfig, encoder: keras.Model | None = None
) -> BranchOutput:
    """Builds the branch. Padding and batch neighbours change nothing.

    Frame features are joined column by column and go through the model of the config; states of an encoder go through
    a head of their own.

    Args:
      inputs: Feature -> [batch, num_frames, columns] float32, normalised, with num_frames [batch] int32; encoder
        [batch, num_steps, num_blocks, width] float32 with num_steps [batch] int32, or waveform [batch, num_samples].
      config: Features, model, widths and dropout.
      encoder: Named `ENCODER`, makes states of waveforms; None: those of the inputs are read.

    Returns:
      Embedding, and the steps of the frames, of the states, or of both.
    """
    frames = [inputs[name] for name in config.features if name != "encoder"]
    sequences, embeddings = [], []
    if frames:
        x = layers.Concatenate(name="audio_features")(frames) if len(frames) > 1 else frames[0]
        sequences.append(_model_of(config)(x, inputs["num_frames"], config))
        embeddings.append(_embed(sequences[-1], config))
    if "encoder" in config.features:
        found = encoder(inputs["waveform"]) if encoder else inputs
        sequences.append(_steps_of_states(found["encoder"], found["num_steps"], config))
        embeddings.append(_embed_states(sequences[-1], config))
    x = embeddings[0]
    if len(embeddings) > 1:
        x = layers.Concatenate(name="audio_join")(embeddings)
        x = layers.Dense(config.embedding_dim, activation="relu", name="audio_joined")(x)
    return BranchOutput(x, tuple(sequences))


def _model_of(config: AudioConfig):
    """Finds the function (frames, num_frames, config) -> steps of a model."""
    return {
        "cnn": cnn,
        "cnn_attention": cnn_attention,
        "crnn": crnn,
        "gru": gru,
        "resnet": resnet,
        "efficientnet": efficientnet,
        "transformer": transformer,
    }[config.model]


def _steps_of_states(states: keras.KerasTensor, num_steps: keras.KerasTensor, config: AudioConfig) -> Steps:
    """Narrows what an encoder made of a clip: [batch, num_steps, num_blocks, width] -> embedding_dim wide."""
    # Of each block by itself: the later ones have the larger states.
    x = layers.LayerNormalization(name="audio_encoder_norm")(states)
    x = WeightedLayerSum(name="audio_encoder_sum")(x)
    x = layers.SpatialDropout1D(config.dropout / 2, name="audio_encoder_state_dropout")(x)
    x = layers.Dense(config.embedding_dim, activation="gelu", name="audio_encoder_hidden")(x)
    return Steps(x, StepMask(name="audio_encoder_steps")(x, num_steps))


def _embed_states(steps: Steps, config: AudioConfig) -> keras.KerasTensor:
    """Pools what was made of states by its statistics: [batch, embedding_dim]."""
    x = AttentiveStatisticsPooling(config.attention_dim, name="audio_encoder_pooling")(*steps)
    x = layers.Dropout(config.dropout, name="audio_encoder_dropout")(x)
    # Linear: with the head behind it, a logistic regression on statistics, which learns from few clips.
    return layers.Dense(config.embedding_dim, name="audio_encoder_embedding")(x)


def _embed(steps: Steps, config: AudioConfig) -> keras.KerasTensor:
    """Pools steps of frames, by their mean for cnn and by attention else: [batch, embedding_dim]."""
    by_mean = config.model == "cnn"
    pooling = MeanPooling if by_mean else functools.partial(AttentionPooling, config.attention_dim)
    x = pooling(name="audio_pooling")(*steps)
    x = layers.Dropout(config.dropout, name="audio_dropout")(x)
    return layers.Dense(config.embedding_dim, activation="relu", name="audio_embedding")(x)
