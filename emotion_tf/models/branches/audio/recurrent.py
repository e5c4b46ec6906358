"""A recurrent network over frames."""

from collections.abc import Sequence

import keras

from emotion_tf.config import AudioConfig
from emotion_tf.models.branches.audio.frames import stack_frames
from emotion_tf.models.branches.layers import StepMask
from emotion_tf.models.branches.outputs import Steps

STACKED = 4
"""Frames of a step: recurrence is slow, and frames overlap."""


@keras.saving.register_keras_serializable("emotion_tf")
class StackedGRU(keras.layers.Layer):
    """GRU layers one above the other, each with dropout behind it.

    In inference on a processor all layers share one loop over time, so that a core may compute a layer's step while
    another computes the step before of the layer above. In training, and on a GPU, where it is cuDNN's, each layer has
    a loop of its own.

    [batch, num_steps, width] -> [batch, num_steps, units[-1]]
    """

    def __init__(self, units: Sequence[int], dropout: float = 0.0, **kwargs):
        super().__init__(**kwargs)
        self.units, self.dropout = tuple(units), dropout
        self.stack = [
            keras.layers.GRU(size, return_sequences=True, name=f"gru_{index}") for index, size in enumerate(units)
        ]
        self.drops = [keras.layers.Dropout(dropout, name=f"dropout_{index}") for index in range(len(units))]
        self.loop = keras.layers.RNN([layer.cell for layer in self.stack], return_sequences=True, name="loop")

    def build(self, input_shape):
        self.loop.build(input_shape)
        for layer, width in zip(self.stack, (input_shape[-1], *self.units), strict=False):
            layer.build((*input_shape[:-1], width))

    def call(self, inputs, training=None):
        if not training and not _has_gpu():
            return self.loop(inputs)
        for layer, drop in zip(self.stack, self.drops, strict=True):
            inputs = drop(layer(inputs), training=training)
        return inputs

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.units[-1])

    def get_config(self):
        return {**super().get_config(), "units": self.units, "dropout": self.dropout}


def _has_gpu() -> bool:
    if keras.backend.backend() != "tensorflow":
        return False
    import tensorflow as tf

    return bool(tf.config.list_physical_devices("GPU"))


def gru(frames: keras.KerasTensor, num_frames: keras.KerasTensor, config: AudioConfig) -> Steps:
    """Stacks GRU layers over groups of frames: steps as wide as the last of them.

    Source: Sak et al. 2015, arXiv:1507.06947 (stacked frames).
    """
    x = stack_frames(frames, num_frames, STACKED)
    is_step = StepMask(STACKED, name="audio_steps")(x, num_frames)
    # No mask: it changes steps behind the end of a clip, which nothing reads.
    return Steps(StackedGRU(config.units, config.dropout / 4, name="audio_gru_layers")(x), is_step)
