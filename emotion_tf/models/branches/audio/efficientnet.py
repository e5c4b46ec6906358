"""EfficientNet of keras.applications over windows of frames."""

import keras
from keras import layers, ops

from emotion_tf.config import AudioConfig
from emotion_tf.models.branches.layers import CutWindows, JoinWindows, MaskFrames, PadFrames, StepMask
from emotion_tf.models.branches.outputs import Steps

WINDOW = 128
"""Frames of a window, which EfficientNet reads at once."""

STRIDE = 32
"""Frames that it makes a step of."""


def efficientnet(frames: keras.KerasTensor, num_frames: keras.KerasTensor, config: AudioConfig) -> Steps:
    """Cuts the clip into windows, reads each by itself and puts their steps, 1280 wide, behind each other.

    Inside of EfficientNet nothing can be masked, and zeros behind a clip have an effect. So they must not depend on the
    batch: the last window is filled up with them to its end, and windows behind it do not count. The weights start at
    random, not pretrained.

    Source: Tan and Le 2021, arXiv:2104.00298.
    """
    columns = frames.shape[-1]
    x = PadFrames(WINDOW, name="audio_pad")(frames)
    x = MaskFrames(name="audio_mask")(x, num_frames)
    x = CutWindows(WINDOW, name="audio_windows")(x)  # [batch * num_windows, WINDOW, columns]
    x = layers.Reshape((WINDOW, columns, 1), name="audio_image")(x)
    network = keras.applications.EfficientNetV2B0(
        include_top=False, weights=None, input_shape=(WINDOW, columns, 1), include_preprocessing=False
    )
    backbone = keras.Model(network.input, network.output, name="audio_backbone")  # It takes no name.
    x = ops.mean(backbone(x), axis=2)  # [batch * num_windows, WINDOW / STRIDE, 1280]
    x = JoinWindows(name="audio_sequence")(x, num_frames)
    is_step = StepMask(STRIDE, name="audio_steps")(x, num_frames)
    return Steps(x, is_step)
