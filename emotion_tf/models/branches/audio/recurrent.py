"""A recurrent network over frames."""

import keras
from keras import layers

from emotion_tf.config import AudioConfig
from emotion_tf.models.branches.audio.frames import stack_frames
from emotion_tf.models.branches.layers import StepMask
from emotion_tf.models.branches.outputs import Steps

STACKED = 4
"""Frames of a step: recurrence is slow, and frames overlap."""


def gru(frames: keras.KerasTensor, num_frames: keras.KerasTensor, config: AudioConfig) -> Steps:
    """Stacks GRU layers over groups of frames: steps as wide as the last of them.

    Source: Sak et al. 2015, arXiv:1507.06947 (stacked frames).
    """
    x = stack_frames(frames, num_frames, STACKED)
    is_step = StepMask(STACKED, name="audio_steps")(x, num_frames)
    for index, units in enumerate(config.units):
        x = layers.GRU(units, return_sequences=True, name=f"audio_gru_{index}")(x, mask=is_step)
        x = layers.Dropout(config.dropout / 4, name=f"audio_gru_dropout_{index}")(x)
    return Steps(x, is_step)
