"""What transformers of several branches share: positions of steps, and layers in which steps attend to each other."""

import keras
from keras import layers, ops


@keras.saving.register_keras_serializable("emotion_tf")
class Positions(keras.layers.Layer):
    """Adds a learned vector for the position of each step; steps behind the last position share its vector.

    [batch, num_steps, width] -> the same.
    """

    def __init__(self, num_positions: int, **kwargs):
        super().__init__(**kwargs)
        self.num_positions = num_positions

    def build(self, inputs_shape):
        shape = (self.num_positions, inputs_shape[-1])
        self.positions = self.add_weight(name="positions", shape=shape, initializer="random_normal")

    def call(self, inputs):
        indices = ops.minimum(ops.arange(ops.shape(inputs)[1], dtype="int32"), self.num_positions - 1)
        return inputs + ops.take(self.positions, indices, axis=0)[None]

    def compute_output_shape(self, inputs_shape):
        return inputs_shape

    def get_config(self):
        return {**super().get_config(), "num_positions": self.num_positions}


def encoder_layers(
    x: keras.KerasTensor, is_step: keras.KerasTensor, num_layers: int, heads: int, dropout: float, prefix: str
) -> keras.KerasTensor:
    """Stacks encoder layers that normalise first: [batch, num_steps, width] -> the same.

    Args:
      x: [batch, num_steps, width].
      is_step: [batch, num_steps] bool; the others are padding, to which no step attends.
      num_layers: How many layers.
      heads: Of attention; a divisor of the width.
      dropout: Share of the units dropped, twice a layer.
      prefix: Of the layers' names.

    Source: Vaswani et al. 2017, arXiv:1706.03762; Xiong et al. 2020, arXiv:2002.04745 (normalising first).
    """
    width, is_key = x.shape[-1], is_step[:, None, :]
    for index in range(num_layers):
        y = layers.LayerNormalization(name=f"{prefix}_attention_norm_{index}")(x)
        attend = layers.MultiHeadAttention(heads, width // heads, name=f"{prefix}_attention_{index}")
        y = attend(y, y, attention_mask=is_key)
        x = x + layers.Dropout(dropout, name=f"{prefix}_attention_dropout_{index}")(y)
        y = layers.LayerNormalization(name=f"{prefix}_forward_norm_{index}")(x)
        y = layers.Dense(4 * width, activation="gelu", name=f"{prefix}_forward_{index}")(y)
        y = layers.Dense(width, name=f"{prefix}_back_{index}")(y)
        x = x + layers.Dropout(dropout, name=f"{prefix}_forward_dropout_{index}")(y)
    return layers.LayerNormalization(name=f"{prefix}_norm")(x)
