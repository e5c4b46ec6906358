"""The audio branch: a residual CNN on normalised log-mels, with attention pooling over time."""

import keras
from keras import layers

from emotion_tf.branches.layers import AttentionPooling, MaskFrames, PadFrames, StepMask
from emotion_tf.config import AudioConfig


def audio_branch(log_mel: keras.KerasTensor, num_frames: keras.KerasTensor, config: AudioConfig) -> keras.KerasTensor:
    """Builds the branch. Padding and batch neighbours change nothing: each convolution masks its output.

    Args:
      log_mel: [batch, num_frames, mel_bins] float32, normalised.
      num_frames: [batch] int32.
      config: Widths and dropout.

    Returns:
      embedding [batch, embedding_dim] float32.
    """
    stride = 2 ** len(config.channels)
    x = PadFrames(stride, name="audio_pad")(log_mel)
    x = MaskFrames(name="audio_mask")(x, num_frames)
    x = layers.Reshape((-1, log_mel.shape[-1], 1), name="audio_image")(x)  # [batch, time, mel_bins, 1]
    x = layers.Conv2D(config.channels[0], 5, 2, "same", use_bias=False, name="audio_stem")(x)
    x = layers.BatchNormalization(momentum=0.9, name="audio_stem_norm")(x)
    x = MaskFrames(2, name="audio_stem_mask")(layers.ReLU(name="audio_stem_relu")(x), num_frames)
    for stage, channels in enumerate(config.channels):
        if stage:
            x = layers.AveragePooling2D(2, name=f"audio_{stage}_pool")(x)
        x = _residual(x, num_frames, channels, 2 ** (stage + 1), f"audio_{stage}")
    x = keras.ops.mean(x, axis=2)  # [batch, num_steps, channels]
    x = AttentionPooling(config.attention_dim, name="audio_pooling")(
        x, StepMask(stride, name="audio_steps")(x, num_frames)
    )
    x = layers.Dropout(config.dropout, name="audio_dropout")(x)
    return layers.Dense(config.embedding_dim, activation="relu", name="audio_embedding")(x)


def _residual(x: keras.KerasTensor, num_frames: keras.KerasTensor, channels: int, stride: int, name: str):
    """Two 3x3 convolutions and a way around them."""
    around = x
    if x.shape[-1] != channels:
        around = layers.Conv2D(channels, 1, use_bias=False, name=f"{name}_around")(x)
    for step in ("a", "b"):
        x = layers.Conv2D(channels, 3, padding="same", use_bias=False, name=f"{name}_{step}")(x)
        x = layers.BatchNormalization(momentum=0.9, name=f"{name}_{step}_norm")(x)
        if step == "a":
            x = layers.ReLU(name=f"{name}_{step}_relu")(x)
            x = MaskFrames(stride, name=f"{name}_{step}_mask")(x, num_frames)
    x = layers.ReLU(name=f"{name}_relu")(layers.Add(name=f"{name}_add")([x, around]))
    return MaskFrames(stride, name=f"{name}_mask")(x, num_frames)
