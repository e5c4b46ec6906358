"""A small audio spectrogram transformer."""

import keras
from keras import layers

from emotion_tf.config import MAX_POSITIONS, AudioConfig
from emotion_tf.models.branches.audio.frames import stack_frames
from emotion_tf.models.branches.layers import StepMask
from emotion_tf.models.branches.outputs import Steps
from emotion_tf.models.branches.transformer import Positions, encoder_layers

PATCH = 4
"""Frames of a patch. `MAX_POSITIONS` patches have a position each, those behind share the last one."""


def transformer(frames: keras.KerasTensor, num_frames: keras.KerasTensor, config: AudioConfig) -> Steps:
    """Lets patches of a few frames, all columns wide, attend to each other: a step each.

    Source: Gong et al. 2021, arXiv:2104.01778, with patches over time alone and from scratch.
    """
    x = stack_frames(frames, num_frames, PATCH)
    x = layers.Dense(config.width, name="audio_patches")(x)
    x = Positions(MAX_POSITIONS, name="audio_positions")(x)
    is_step = StepMask(PATCH, name="audio_steps")(x, num_frames)
    x = encoder_layers(x, is_step, config.layers, config.heads, config.dropout / 4, "audio")
    return Steps(x, is_step)
