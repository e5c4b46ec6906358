"""AdamW with two learning rates: a small one for what is pretrained, the full one for what is new."""

from collections.abc import Sequence
from typing import Any

import keras


@keras.saving.register_keras_serializable("emotion_tf")
class TwoRateAdamW(keras.optimizers.AdamW):
    """Moves some variables at a fixed share of the learning rate, along the same schedule. These do not decay.

    Args:
      learning_rate: A number or a schedule.
      ratio: Rate of the slow variables over that of the others.
      slow: Paths of the slow variables.
      options: Of AdamW.

    Raises:
      ValueError: Paths that no variable, or more than one, has.
    """

    def __init__(self, learning_rate: Any, ratio: float, slow: Sequence[str], **options: Any):
        super().__init__(learning_rate, **options)
        self.ratio, self.slow = ratio, list(slow)
        self._ratios: list[float] = []

    def build(self, variables: Sequence[keras.Variable]) -> None:
        if self.built:
            return
        found = sorted(variable.path for variable in variables if variable.path in self.slow)
        if found != sorted(self.slow):
            raise ValueError(f"the slow variables are {', '.join(self.slow)}, but the model has {', '.join(found)}.")
        # At the full rate the decay would pull a pretrained model apart.
        self.exclude_from_weight_decay(var_list=[variable for variable in variables if variable.path in self.slow])
        self._ratios = [self.ratio if variable.path in self.slow else 1.0 for variable in variables]
        super().build(variables)

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        super().update_step(gradient, variable, learning_rate * self._ratios[self._get_variable_index(variable)])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "ratio": self.ratio, "slow": self.slow}
