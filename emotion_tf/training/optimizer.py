"""AdamW that is quick to trace and may have several rates: small ones for the pretrained, the full one for the new.

Keras evaluates the schedule for the decay of every weight, which is much of what a first step takes to trace. Here a
weight decays where it moves, by the rate that it moves with.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
from keras import ops

from emotion_tf.config import Config, TrainingConfig
from emotion_tf.training.losses import RareWeightedCrossentropy
from emotion_tf.training.transfer import started_layers, with_inner


@keras.saving.register_keras_serializable("emotion_tf")
class MultiRateAdamW(keras.optimizers.AdamW):
    """Moves some variables at fixed shares of the learning rate, along the same schedule. These do not decay.

    Args:
      learning_rate: A number or a schedule.
      multipliers: Path of each slow variable -> its rate over that of the others.
      frozen: Paths of the slow variables that stay as they are, their averages too, before the release.
      unfreeze_step: The first step that moves them.
      options: Of AdamW.

    Raises:
      ValueError: Paths that no variable, or more than one, has; frozen variables that are not slow.
    """

    def __init__(
        self,
        learning_rate: Any,
        multipliers: Mapping[str, float] | None = None,
        frozen: Sequence[str] = (),
        unfreeze_step: int = 0,
        **options: Any,
    ):
        super().__init__(learning_rate, **options)
        self.multipliers, self.frozen, self.unfreeze_step = dict(multipliers or {}), list(frozen), unfreeze_step
        if foreign := sorted(set(self.frozen) - set(self.multipliers)):
            raise ValueError(f"frozen variables must be slow ones, and {', '.join(foreign)} are not.")
        self._multipliers: list[float] = []
        self._is_frozen: list[bool] = []
        self._decays: list[bool] = []

    def build(self, variables: Sequence[keras.Variable]) -> None:
        if self.built:
            return
        found = sorted(variable.path for variable in variables if variable.path in self.multipliers)
        if found != sorted(self.multipliers):
            raise ValueError(
                f"the slow variables are {', '.join(self.multipliers)}, but the model has {', '.join(found)}."
            )
        # At the full rate the decay would pull a pretrained model apart.
        self.exclude_from_weight_decay(
            var_list=[variable for variable in variables if variable.path in self.multipliers]
        )
        self._multipliers = [self.multipliers.get(variable.path, 1.0) for variable in variables]
        self._is_frozen = [variable.path in self.frozen for variable in variables]
        super().build(variables)
        self._decays = [bool(self.weight_decay) and self._use_weight_decay(variable) for variable in variables]

    def _apply_weight_decay(self, variables: Sequence[keras.Variable]) -> None:
        """Leaves it to `update_step`."""

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        index = self._get_variable_index(variable)
        multiplier = self._multipliers[index]
        rate = learning_rate if multiplier == 1 else learning_rate * multiplier
        if self._is_frozen[index]:
            rate = ops.where(self.iterations < self.unfreeze_step, ops.zeros_like(rate), rate)
        if self._decays[index]:
            self.assign_sub(variable, variable * self.weight_decay * rate)
        super().update_step(gradient, variable, rate)

    def _update_model_variables_moving_average(self, trainable_variables: Sequence[Any]) -> None:
        """Averages as AdamW does; a held variable's average is that variable to the last bit, not to rounding."""
        super()._update_model_variables_moving_average(trainable_variables)
        if self.use_ema:
            is_before = self.iterations < self.unfreeze_step
            averages = self._model_variables_moving_average
            for variable, average, is_frozen in zip(trainable_variables, averages, self._is_frozen, strict=True):
                if is_frozen:
                    average.assign(ops.where(is_before, variable, average))

    def get_config(self) -> dict[str, Any]:
        own = {"multipliers": dict(self.multipliers), "frozen": list(self.frozen), "unfreeze_step": self.unfreeze_step}
        return {**super().get_config(), **own}


def compile_model(model: keras.Model, config: Config, steps: int, loss: keras.losses.Loss) -> None:
    training = config.training
    total = steps * training.epochs
    warm_up = min(round(steps * training.warm_up_epochs), total - 1)
    rate = keras.optimizers.schedules.CosineDecay(
        training.learning_rate / 100, total - warm_up, warmup_target=training.learning_rate, warmup_steps=warm_up
    )
    momentum = 1 - 1 / max(2.0, training.ema_share * total)
    if training.ema_share > 0:
        # Statistics that look back less far than the weights that they go with make the validation jump.
        for layer in with_inner(model.layers):
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.momentum = momentum
    options = {"weight_decay": training.weight_decay, "use_ema": training.ema_share > 0, "ema_momentum": momentum}
    optimizer = _optimizer(model, config, rate, steps, **options)
    # Keras would make what is not there yet inside the first step, and trace the step a second time.
    optimizer.build(model.trainable_variables)
    is_one_hot = isinstance(loss, keras.losses.CategoricalCrossentropy)
    shown = [keras.metrics.CategoricalAccuracy("accuracy")] if is_one_hot else None
    # XLA saves no time on a processor, and compiles each length of a batch anew.
    model.compile(optimizer, loss, weighted_metrics=shown, jit_compile=False)


def _optimizer(model: keras.Model, config: Config, rate: Any, steps: int, **options: Any) -> keras.optimizers.Optimizer:
    """Makes AdamW; what is pretrained learns at a rate of its own, what a branch brings is held, then slowed."""
    training, multipliers = config.training, {}
    if training.freeze_epochs or training.branch_rate != 1:
        multipliers = dict.fromkeys(_paths(started_layers(model, config)), training.branch_rate)
    frozen = list(multipliers) if training.freeze_epochs else []
    for path in _paths([layer for layer in model.layers if layer.name == "text_backbone"]):
        multipliers[path] = multipliers.get(path, 1.0) * config.text.preset_rate / training.learning_rate
    return MultiRateAdamW(rate, multipliers, frozen, steps * training.freeze_epochs, **options)


def _paths(layers: Sequence[keras.Layer]) -> list[str]:
    return [variable.path for layer in layers for variable in layer.trainable_variables]


def loss_of(training: TrainingConfig, metadata: dict[str, Any]) -> keras.losses.Loss:
    if metadata["is_multi_label"]:
        return RareWeightedCrossentropy(metadata["prior"], training.rare_weight)
    return keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=training.label_smoothing)
