"""How frames enter a network: padded to whole steps, with zeros behind each clip."""

import keras
from keras import layers

from emotion_tf.models.branches.layers import MaskFrames, PadFrames


def image_of(frames: keras.KerasTensor, num_frames: keras.KerasTensor, stride: int) -> keras.KerasTensor:
    """Makes a picture of one channel: [batch, num_frames, columns] -> [batch, time, columns, 1]."""
    x = PadFrames(stride, name="audio_pad")(frames)
    x = MaskFrames(name="audio_mask")(x, num_frames)
    return layers.Reshape((-1, frames.shape[-1], 1), name="audio_image")(x)


def stack_frames(frames: keras.KerasTensor, num_frames: keras.KerasTensor, count: int) -> keras.KerasTensor:
    """Makes steps of `count` frames side by side: [batch, num_steps, count * columns]."""
    x = PadFrames(count, name="audio_pad")(frames)
    x = MaskFrames(name="audio_mask")(x, num_frames)
    return layers.Reshape((-1, count * frames.shape[-1]), name="audio_stack")(x)
