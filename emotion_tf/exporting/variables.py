"""The variables of an export: those of its Keras models, each once, in the type that they are stored in."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from pipelines.command import InputError

if TYPE_CHECKING:
    import keras

TYPES = ("float32", "float16")


class StoredVariables:
    """Variables that functions of Keras models capture while they are traced.

    Attributes:
      values: A tf.Variable for each weight: that of the model itself, or where the type is float16 and the weight is a
        float32 a new one of half the size, which is cast when it is used.

    Args:
      models: Built Keras models; weights that they share are stored once.
      dtype: Of `TYPES`.

    Raises:
      InputError: A weight that float16 does not hold.
    """

    def __init__(self, models: "Sequence[keras.Model]", dtype: str):
        import numpy as np
        import tensorflow as tf

        weights = {id(weight): weight for model in models for weight in model.weights}.values()
        self._casts = []
        self.values = []
        for weight in weights:
            if dtype == "float32" or weight.dtype != "float32":
                self.values.append(weight.value)
                continue
            if (largest := float(np.abs(weight.numpy()).max(initial=0))) > float(np.finfo(dtype).max):
                raise InputError(f"--variables {dtype} does not hold weights up to {largest:.3g}: leave it out.")
            self.values.append(tf.Variable(tf.cast(weight.value, dtype), trainable=False))
            self._casts.append((weight, self.values[-1]))

    @contextlib.contextmanager
    def in_use(self) -> Iterator[None]:
        """Lets models read these variables in this context, which is traced."""
        import keras
        import tensorflow as tf

        if not self._casts:
            yield
            return
        with keras.StatelessScope([(weight, tf.cast(stored, weight.dtype)) for weight, stored in self._casts]):
            yield
