"""AdamW that is quick to trace and may have several rates: small ones for the pretrained, the full one for the new.

Keras evaluates the schedule for the decay of every weight, which is much of what a first step takes to trace. Here a
weight decays where it moves, by the rate that it moves with.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable("emotion_tf")
class SlowedAdamW(keras.optimizers.AdamW):
    """Moves some variables at fixed shares of the learning rate, along the same schedule. These do not decay.

    Args:
      learning_rate: A number or a schedule.
      ratios: Path of each slow variable -> its rate over that of the others.
      held: Paths of the slow variables that stay as they are, their averages too, before the release.
      release_step: The first step that moves them.
      options: Of AdamW.

    Raises:
      ValueError: Paths that no variable, or more than one, has; held variables that are not slow.
    """

    def __init__(
        self,
        learning_rate: Any,
        ratios: Mapping[str, float] | None = None,
        held: Sequence[str] = (),
        release_step: int = 0,
        **options: Any,
    ):
        super().__init__(learning_rate, **options)
        self.ratios, self.held, self.release_step = dict(ratios or {}), list(held), release_step
        if foreign := sorted(set(self.held) - set(self.ratios)):
            raise ValueError(f"held variables must be slow ones, and {', '.join(foreign)} are not.")
        self._ratios: list[float] = []
        self._is_held: list[bool] = []
        self._decays: list[bool] = []

    def build(self, variables: Sequence[keras.Variable]) -> None:
        if self.built:
            return
        found = sorted(variable.path for variable in variables if variable.path in self.ratios)
        if found != sorted(self.ratios):
            raise ValueError(f"the slow variables are {', '.join(self.ratios)}, but the model has {', '.join(found)}.")
        # At the full rate the decay would pull a pretrained model apart.
        self.exclude_from_weight_decay(var_list=[variable for variable in variables if variable.path in self.ratios])
        self._ratios = [self.ratios.get(variable.path, 1.0) for variable in variables]
        self._is_held = [variable.path in self.held for variable in variables]
        super().build(variables)
        self._decays = [bool(self.weight_decay) and self._use_weight_decay(variable) for variable in variables]

    def _apply_weight_decay(self, variables: Sequence[keras.Variable]) -> None:
        """Leaves it to `update_step`."""

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        index = self._get_variable_index(variable)
        ratio = self._ratios[index]
        rate = learning_rate if ratio == 1 else learning_rate * ratio
        if self._is_held[index]:
            rate = ops.where(self.iterations < self.release_step, ops.zeros_like(rate), rate)
        if self._decays[index]:
            self.assign_sub(variable, variable * self.weight_decay * rate)
        super().update_step(gradient, variable, rate)

    def _update_model_variables_moving_average(self, trainable_variables: Sequence[Any]) -> None:
        """Averages as AdamW does; a held variable's average is that variable to the last bit, not to rounding."""
        super()._update_model_variables_moving_average(trainable_variables)
        if self.use_ema:
            is_before = self.iterations < self.release_step
            averages = self._model_variables_moving_average
            for variable, average, is_held in zip(trainable_variables, averages, self._is_held, strict=True):
                if is_held:
                    average.assign(ops.where(is_before, variable, average))

    def get_config(self) -> dict[str, Any]:
        own = {"ratios": dict(self.ratios), "held": list(self.held), "release_step": self.release_step}
        return {**super().get_config(), **own}
