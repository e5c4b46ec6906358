"""The audio branch: a network over the frames of a clip, and a small head on the states of a pretrained encoder."""

from collections.abc import Mapping

import keras
from keras import layers

from emotion_tf.branches.audio.convolutional import cnn, cnn_attention, crnn, resnet
from emotion_tf.branches.audio.efficientnet import efficientnet
from emotion_tf.branches.audio.recurrent import gru
from emotion_tf.branches.audio.transformer import transformer
from emotion_tf.branches.layers import AttentionPooling, StepMask
from emotion_tf.config import AudioConfig


def audio_branch(inputs: Mapping[str, keras.KerasTensor], config: AudioConfig) -> keras.KerasTensor:
    """Builds the branch. Padding and batch neighbours change nothing.

    Frame features are joined column by column and go through the model of the config; states of an encoder go through
    a head of their own.

    Args:
      inputs: Feature -> [batch, num_frames, columns] float32, normalised, with num_frames [batch] int32; encoder
        [batch, num_steps, width] float32 with num_steps [batch] int32.
      config: Features, model, widths and dropout.

    Returns:
      embedding [batch, embedding_dim] float32.
    """
    frames = [inputs[name] for name in config.features if name != "encoder"]
    embeddings = []
    if frames:
        x = layers.Concatenate(name="audio_features")(frames) if len(frames) > 1 else frames[0]
        embeddings.append(_embed(_model_of(config)(x, inputs["num_frames"], config), config, "audio"))
    if "encoder" in config.features:
        pooled = _pool_states(inputs["encoder"], inputs["num_steps"], config)
        embeddings.append(_embed(pooled, config, "audio_encoder"))
    if len(embeddings) == 1:
        return embeddings[0]
    x = layers.Concatenate(name="audio_join")(embeddings)
    return layers.Dense(config.embedding_dim, activation="relu", name="audio_joined")(x)


def _model_of(config: AudioConfig):
    """Finds the function (frames, num_frames, config) -> [batch, width] of a model."""
    return {
        "cnn": cnn,
        "cnn_attention": cnn_attention,
        "crnn": crnn,
        "gru": gru,
        "resnet": resnet,
        "efficientnet": efficientnet,
        "transformer": transformer,
    }[config.model]


def _pool_states(states: keras.KerasTensor, num_steps: keras.KerasTensor, config: AudioConfig) -> keras.KerasTensor:
    """Pools what a frozen encoder made of a clip: [batch, num_steps, width] -> [batch, 2 * embedding_dim]."""
    x = layers.LayerNormalization(name="audio_encoder_norm")(states)
    x = layers.Dense(config.embedding_dim, activation="relu", name="audio_encoder_hidden")(x)
    is_step = StepMask(name="audio_encoder_steps")(x, num_steps)
    return AttentionPooling(config.attention_dim, name="audio_encoder_pooling")(x, is_step)


def _embed(pooled: keras.KerasTensor, config: AudioConfig, name: str) -> keras.KerasTensor:
    x = layers.Dropout(config.dropout, name=f"{name}_dropout")(pooled)
    return layers.Dense(config.embedding_dim, activation="relu", name=f"{name}_embedding")(x)
