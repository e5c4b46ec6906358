"""The video branch: a small network on each frame, then a pooling over time."""

import keras
from keras import layers, ops

from emotion_tf.config import VideoConfig
from emotion_tf.models.branches.layers import (
    AttentionPooling,
    CutFrames,
    FrameNormalization,
    JoinWindows,
    MeanPooling,
    StandardiseFrames,
)
from emotion_tf.models.branches.outputs import BranchOutput, Steps


def video_branch(video_frames: keras.KerasTensor, config: VideoConfig) -> BranchOutput:
    """Builds the branch. Frames of zeros are padding, and change nothing.

    Args:
      video_frames: [batch, num_video_frames, height, width, channels] float32 in [0, 1].
      config: Pooling, widths and dropout.

    Returns:
      Embedding, and the steps of the frames.
    """
    is_step = ops.any(video_frames > 0, axis=(2, 3, 4))  # [batch, num_video_frames]
    x = StandardiseFrames(name="video_standardise")(video_frames, is_step)
    x = CutFrames(name="video_cut")(x)  # [batch * num_video_frames, height, width, channels]
    is_frame = ops.reshape(is_step, (-1,))
    for index, channels in enumerate(config.channels):
        x = _block(x, is_frame, channels, config, f"video_{index}")
    # Flattened, not pooled: the same edge means different things at the mouth and at the brows.
    x = layers.Dense(config.embedding_dim, activation="relu", name="video_frame")(layers.Flatten(name="video_flat")(x))
    x = JoinWindows(name="video_steps")(layers.Reshape((1, config.embedding_dim), name="video_step")(x), is_step)
    steps = Steps(x, is_step)
    x = layers.Dropout(config.dropout, name="video_dropout")(_pool(steps, config))
    return BranchOutput(layers.Dense(config.embedding_dim, activation="relu", name="video_embedding")(x), (steps,))


def _block(
    x: keras.KerasTensor, is_frame: keras.KerasTensor, channels: int, config: VideoConfig, name: str
) -> keras.KerasTensor:
    """Convolution, maximum, norm, ReLU and dropout: half the height and width; absent frames move no statistics."""
    x = layers.Conv2D(channels, 3, padding="same", use_bias=False, name=f"{name}_conv")(x)
    # Before the norm, so that this has a quarter of the work.
    x = layers.MaxPooling2D(2, padding="same", name=f"{name}_pool")(x)
    x = FrameNormalization(momentum=0.9, name=f"{name}_norm")(x, is_frame)
    return layers.Dropout(config.dropout / 4, name=f"{name}_dropout")(layers.ReLU(name=f"{name}_relu")(x))


def _pool(steps: Steps, config: VideoConfig) -> keras.KerasTensor:
    """Makes one vector of the frames: their mean, by attention, or the last state of a GRU."""
    if config.pooling == "gru":
        return layers.GRU(config.embedding_dim, name="video_gru")(steps.states, mask=steps.is_step)
    if config.pooling == "mean":
        return MeanPooling(name="video_pooling")(*steps)
    return AttentionPooling(config.attention_dim, name="video_pooling")(*steps)
