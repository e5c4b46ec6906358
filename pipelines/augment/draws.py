"""Random numbers that a seed decides, and what augmentation takes and gives."""

from collections.abc import Callable, Sequence

import tensorflow as tf

Tensors = dict[str, tf.Tensor]
Augment = Callable[[Tensors, tf.Tensor], Tensors]
"""From an example and a seed [2] to a changed example."""


class Draws:
    """Uniform random numbers that a seed [2] and the number of the draw decide."""

    def __init__(self, seed: tf.Tensor):
        self.seed, self.count = seed, 0

    def uniform(
        self,
        shape: Sequence[int | tf.Tensor] = (),
        low: float | tf.Tensor = 0.0,
        high: float | tf.Tensor = 1.0,
        dtype: tf.DType = tf.float32,
    ) -> tf.Tensor:
        """Draws from `low` to below `high`."""
        self.count += 1
        return tf.random.stateless_uniform(shape, tf.random.fold_in(self.seed, self.count), low, high, dtype)


def is_hidden(size: int | tf.Tensor, widest: int | tf.Tensor, draws: Draws) -> tf.Tensor:
    """Draws a stretch of less than `widest`, 1 or more and no more than `size`: [size] bool."""
    width = draws.uniform((), 0, widest, tf.int32)
    start = draws.uniform((), 0, size - width, tf.int32)
    places = tf.range(size)
    return (places >= start) & (places < start + width)
