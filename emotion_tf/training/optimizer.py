"""AdamW with learning-rate multipliers for some variables, quick to trace; the loss and schedule that go with it.

Keras evaluates the schedule for the decay of every weight, which is much of what a first step takes to trace. Here a
weight decays where it moves, by the rate that it moves with.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
from keras import ops

from emotion_tf.config import Config, TrainingConfig
from emotion_tf.models.branches.audio import ENCODER
from emotion_tf.runs.metadata import RunMetadata
from emotion_tf.training.losses import RareWeightedCrossentropy
from emotion_tf.training.transfer import loaded_layers, with_nested


@keras.saving.register_keras_serializable("emotion_tf")
class MultiRateAdamW(keras.optimizers.AdamW):
    """AdamW in which some variables have a learning-rate multiplier, and may be frozen for the first steps.

    All variables follow one schedule; those with a multiplier do not decay.

    Args:
      learning_rate: A number or a schedule.
      multipliers: Path of a variable -> the factor of its learning rate.
      frozen: Paths of variables, all with a multiplier, that stay as they are before `unfreeze_step`, and their moving
        averages with them.
      unfreeze_step: The first step that moves them.
      options: Of AdamW.

    Raises:
      ValueError: A frozen variable without a multiplier; when it is built, a path that no variable of the model, or
        more than one, has.
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
        if unknown := sorted(set(self.frozen) - set(self.multipliers)):
            raise ValueError(f"frozen variables need a learning-rate multiplier, and {', '.join(unknown)} have none.")
        # Of each variable that it is built for, in their order.
        self._multipliers: list[float] = []
        self._is_frozen: list[bool] = []
        self._decays: list[bool] = []

    def build(self, variables: Sequence[keras.Variable]) -> None:
        if self.built:
            return
        found = sorted(variable.path for variable in variables if variable.path in self.multipliers)
        if found != sorted(self.multipliers):
            raise ValueError(
                f"the learning-rate multipliers are for {', '.join(self.multipliers)}, and the model has"
                f" {', '.join(found) or 'none'} of these variables."
            )
        # Decay would pull pretrained weights towards zero, away from what they were trained to be.
        self.exclude_from_weight_decay(
            var_list=[variable for variable in variables if variable.path in self.multipliers]
        )
        self._multipliers = [self.multipliers.get(variable.path, 1.0) for variable in variables]
        self._is_frozen = [variable.path in self.frozen for variable in variables]
        super().build(variables)
        self._decays = [bool(self.weight_decay) and self._use_weight_decay(variable) for variable in variables]

    def _apply_weight_decay(self, variables: Sequence[keras.Variable]) -> None:
        """Does nothing: `update_step` decays each variable by the rate that it moves with."""

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
        """Averages as AdamW does; the average of a frozen variable is that variable to the last bit."""
        super()._update_model_variables_moving_average(trainable_variables)
        if self.use_ema:
            is_early = self.iterations < self.unfreeze_step
            averages = self._model_variables_moving_average
            for variable, average, is_frozen in zip(trainable_variables, averages, self._is_frozen, strict=True):
                if is_frozen:
                    average.assign(ops.where(is_early, variable, average))

    def get_config(self) -> dict[str, Any]:
        own = {"multipliers": dict(self.multipliers), "frozen": list(self.frozen), "unfreeze_step": self.unfreeze_step}
        return {**super().get_config(), **own}


def compile_model(model: keras.Model, config: Config, steps: int, loss: keras.losses.Loss) -> None:
    """Compiles a model with MultiRateAdamW under a linear warm-up and a cosine decay.

    Args:
      model: Built of the config; its frozen layers are untrainable already.
      config: Of the training: rates, epochs, decay, moving average, branches that start from runs.
      steps: Training steps an epoch.
      loss: With CategoricalCrossentropy accuracy is shown beside it.
    """
    training = config.training
    total = steps * training.epochs
    momentum = 1 - 1 / max(2.0, training.ema_share * total)
    if training.ema_share > 0:
        # Statistics that look back less far than the weights that they go with make the validation jump.
        for layer in with_nested(model.layers):
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.momentum = momentum
    options = {"weight_decay": training.weight_decay, "use_ema": training.ema_share > 0, "ema_momentum": momentum}
    optimizer = _make_optimizer(model, config, _schedule(training, steps), steps, **options)
    # Keras would make what is not there yet inside the first step, and trace the step a second time.
    optimizer.build(model.trainable_variables)
    is_one_hot = isinstance(loss, keras.losses.CategoricalCrossentropy)
    shown = [keras.metrics.CategoricalAccuracy("accuracy")] if is_one_hot else None
    # XLA saves no time on a processor, and compiles each length of a batch anew.
    model.compile(optimizer, loss, weighted_metrics=shown, jit_compile=False)


def _schedule(training: TrainingConfig, steps: int) -> keras.optimizers.schedules.LearningRateSchedule:
    """Makes the learning rate rise in a line and fall with a cosine, to 0 in the last step."""
    total = steps * training.epochs
    warm_up = min(round(steps * training.warm_up_epochs), total - 1)
    return keras.optimizers.schedules.CosineDecay(
        training.learning_rate / 100, total - warm_up, warmup_target=training.learning_rate, warmup_steps=warm_up
    )


def _make_optimizer(model: keras.Model, config: Config, rate: Any, steps: int, **options: Any) -> MultiRateAdamW:
    """Makes the optimizer: loaded branches are frozen first where asked for.

    They have multipliers, and so have a preset and an encoder.
    """
    training, multipliers = config.training, {}
    if training.freeze_epochs or training.branch_rate != 1:
        multipliers = dict.fromkeys(_paths(loaded_layers(model, config)), training.branch_rate)
    frozen = list(multipliers) if training.freeze_epochs else []
    rates = {
        path: config.text.preset_rate * config.text.layer_decay**above
        for path, above in _pretrained_paths(model).items()
    }
    encoders = [layer for layer in model.layers if layer.name == ENCODER]
    rates |= dict.fromkeys(_paths(encoders), config.audio.encoder_rate)
    for path, pretrained_rate in rates.items():
        multipliers[path] = multipliers.get(path, 1.0) * pretrained_rate / training.learning_rate
    return MultiRateAdamW(rate, multipliers, frozen, steps * training.freeze_epochs, **options)


def _pretrained_paths(model: keras.Model) -> dict[str, int]:
    """Finds the variables of a pretrained text model that are trained: path -> how many layers stand above.

    Source: Clark et al. 2020 (ELECTRA), arXiv:2003.10555, for learning rates that decay from layer to layer.
    """
    found = [layer for layer in model.layers if layer.name == "text_backbone"]
    return {path: above for layer in found for path, above in layer.layers_above.items()}


def _paths(layers: Sequence[keras.Layer]) -> list[str]:
    return [variable.path for layer in layers for variable in layer.trainable_variables]


def make_loss(training: TrainingConfig, metadata: RunMetadata) -> keras.losses.Loss:
    """Makes the loss of a training.

    Args:
      training: Smoothing of labels, or how much more utterances of rare emotions weigh.
      metadata: Of the run: the number of emotions an utterance, and the prior.

    Returns:
      From logits [batch, num_emotions]: cross-entropy with one-hot labels, or binary cross-entropy with multi-hot ones.
    """
    if metadata.is_multi_label:
        return RareWeightedCrossentropy(metadata.prior, training.rare_weight)
    return keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=training.label_smoothing)
