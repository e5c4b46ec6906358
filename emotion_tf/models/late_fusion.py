"""Late fusion: the probabilities of trained models are joined by a rule, in one graph with a temperature of its own."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
from keras import ops

from emotion_tf.config import AUDIO_INPUTS
from emotion_tf.late_rules import combine
from emotion_tf.models.head import CalibratedLogits, logits_of
from emotion_tf.models.inputs import any_of, make_inputs, modalities_of, presence
from emotion_tf.probabilities import FLOOR


@keras.saving.register_keras_serializable("emotion_tf")
class MappedProbabilities(keras.layers.Layer):
    """Maps probabilities to another label set, and divides them by their sum unless each stands for itself.

    [batch, num_own_emotions] -> [batch, num_emotions]; uniform where no emotion of any probability is mapped.

    Args:
      targets: Of each own emotion the number of the emotion that it is mapped to, None for none.
      num_emotions: Of the other label set.
      is_multi_label: Whether an utterance may have several emotions of the other label set.
    """

    def __init__(self, targets: Sequence[int | None], num_emotions: int, is_multi_label: bool = False, **kwargs: Any):
        super().__init__(**kwargs)
        self.targets, self.num_emotions, self.is_multi_label = list(targets), num_emotions, is_multi_label

    def call(self, probabilities):
        is_target = [[float(target == number) for number in range(self.num_emotions)] for target in self.targets]
        mapped = ops.matmul(probabilities, ops.convert_to_tensor(is_target, probabilities.dtype))
        if self.is_multi_label:
            return mapped
        mapped += FLOOR
        return mapped / ops.sum(mapped, axis=-1, keepdims=True)

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.num_emotions)

    def get_config(self):
        own = {name: getattr(self, name) for name in ("targets", "num_emotions", "is_multi_label")}
        return {**super().get_config(), **own}


@keras.saving.register_keras_serializable("emotion_tf")
class LateRule(keras.layers.Layer):
    """Joins the probabilities of several models by a rule of `emotion_tf.late_rules`.

    Inputs probabilities [batch, num_models, num_emotions] and is_present [batch, num_models] of 0 and 1; output logits
    [batch, num_emotions], whose softmax (or sigmoid, with several emotions an utterance) the joined probabilities are.

    Args:
      rule: Its name.
      modalities: Of each model, those that it reads.
      is_multi_label: Whether an utterance has several emotions.
      fitted: What `late_rules.combine` takes of a rule that was fitted: weights, or kernel and bias, as lists.
    """

    def __init__(
        self,
        rule: str,
        modalities: Sequence[Sequence[str]],
        is_multi_label: bool = False,
        fitted: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.rule, self.is_multi_label, self.fitted = rule, is_multi_label, dict(fitted or {})
        self.modalities = [list(of_model) for of_model in modalities]

    def call(self, probabilities, is_present):
        numbers = {name: ops.convert_to_tensor(values, "float32") for name, values in self.fitted.items()}
        joined = combine(probabilities, is_present, self.rule, is_multi_label=self.is_multi_label, xp=ops, **numbers)
        return logits_of(joined, self.is_multi_label)

    @property
    def has_shares(self):
        """Whether each model has one weight, and reads one modality."""
        return self.rule != "stacker" and all(len(of_model) == 1 for of_model in self.modalities)

    def shares(self, is_present, order):
        """Sums the weights of the present models over each modality: [batch, num_models] -> [batch, num_modalities]."""
        weights = ops.convert_to_tensor(self.fitted.get("weights", [1.0] * len(self.modalities)), "float32")
        belongs = [[float(modality in of_model) for modality in order] for of_model in self.modalities]
        chosen = is_present * weights
        # Equal weights where all are 0, as `late_rules.combine` has them.
        chosen = ops.where(ops.sum(chosen, axis=1, keepdims=True) > 0, chosen, is_present)
        shares = ops.matmul(chosen, ops.convert_to_tensor(belongs, "float32"))
        return shares / ops.maximum(ops.sum(shares, axis=1, keepdims=True), FLOOR)

    def compute_output_shape(self, probabilities_shape, is_present_shape):
        return (probabilities_shape[0], probabilities_shape[2])

    def get_config(self):
        own = {name: getattr(self, name) for name in ("rule", "modalities", "is_multi_label", "fitted")}
        return {**super().get_config(), **own}


class RuleShares(keras.layers.Layer):
    """Computes the shares of a rule: is_present [batch, num_models] -> [batch, num_modalities].

    A layer with a name: those that Keras gives to single operations may be taken in a model that was loaded.
    """

    def __init__(self, rule: LateRule, order: Sequence[str], **kwargs: Any):
        super().__init__(**kwargs)
        self.rule, self.order = rule, list(order)

    def call(self, is_present):
        return self.rule.shares(is_present, self.order)

    def compute_output_shape(self, is_present_shape):
        return (is_present_shape[0], len(self.order))


def late_fusion(
    models: Mapping[str, keras.Model],
    prior: Sequence[float],
    rule: str = "mean",
    is_multi_label: bool = False,
    targets: Sequence[Sequence[int | None] | None] | None = None,
    fitted: Mapping[str, Any] | None = None,
) -> keras.Model:
    """Joins the calibrated probabilities of trained models as one graph; one whose input is absent is left out.

    Args:
      models: Name -> a model of logits [batch, num_own_emotions]. Those that read a feature share it.
      prior: The probabilities where every input is absent, in label order.
      rule: One of `emotion_tf.late_rules.RULES`.
      is_multi_label: Whether an utterance has several emotions; then every model is of that kind.
      targets: Of each model, what its emotions are mapped to, as `MappedProbabilities` takes it; None for one of the
        same label order, or for all of them.
      fitted: What `late_rules.combine` takes of a rule that was fitted: weights, or kernel and bias.

    Returns:
      A model of logits whose softmax, or sigmoid, the joined probabilities are; its temperature is 1.
    """
    stacked = stack(models, len(prior), targets, is_multi_label)
    probabilities, is_present = stacked.output
    modalities = [modalities_of(model) for model in models.values()]
    logits = LateRule(rule, modalities, is_multi_label, fitted, name="late_rule")(probabilities, is_present)
    is_any = ops.max(is_present, axis=1) > 0
    logits = CalibratedLogits(prior, is_multi_label, name="logits")(logits, is_any)
    return keras.Model(stacked.input, logits, name="late_fusion")


def stack(
    models: Mapping[str, keras.Model],
    num_emotions: int,
    targets: Sequence[Sequence[int | None] | None] | None = None,
    is_multi_label: bool = False,
) -> keras.Model:
    """Puts models beside each other: what a late rule joins, and is fitted on.

    Args:
      models, targets, is_multi_label: As `late_fusion` takes them.
      num_emotions: Of the label set that they are mapped to.

    Returns:
      A model of all their inputs to probabilities [batch, num_models, num_emotions] and is_present [batch, num_models],
      1.0 where any modality that a model reads is present.
    """
    every = {key: value for model in models.values() for key, value in model.input.items()}
    names = [name for name in (*AUDIO_INPUTS, "video_frames") if name in every]
    widths: dict[str, Any] = {name: every[name].shape[2:] for name in names}
    modalities = [modality for model in models.values() for modality in modalities_of(model)]
    inputs = make_inputs(modalities, widths)
    stacked, present = [], []
    for (name, model), of_model in zip(models.items(), targets or [None] * len(models), strict=True):
        own = {key: inputs[key] for key in model.input}
        renamed = keras.Model(model.input, model.output, name=name)  # Two runs of one branch have one name.
        is_sigmoid = model.get_layer("logits").is_multi_label
        probabilities = (ops.sigmoid if is_sigmoid else ops.softmax)(renamed(own))
        if of_model is not None:
            mapped = MappedProbabilities(of_model, num_emotions, is_multi_label, name=f"{name}_mapped")
            probabilities = mapped(probabilities)
        stacked.append(probabilities)
        present.append(ops.cast(any_of(presence(own)), "float32"))
    return keras.Model(inputs, [ops.stack(stacked, axis=1), ops.stack(present, axis=1)], name="stacked")


def shares_model(model: keras.Model) -> keras.Model | None:
    """Finds the share of each modality in a fused model's logits.

    Returns:
      A model of the same inputs to [batch, num_modalities], in the order of `modalities_of`, 0 for what is absent;
      None where the model weighs no modalities: it reads a single one, or was joined by `concat` or by a stacker.
    """
    names = {layer.name for layer in model.layers}
    if "fusion_shares" in names:
        return keras.Model(model.input, model.get_layer("fusion_shares").output)
    if "late_rule" not in names or len(modalities_of(model)) < 2 or not model.get_layer("late_rule").has_shares:
        return None
    rule = model.get_layer("late_rule")
    _, is_present = rule.input
    return keras.Model(model.input, RuleShares(rule, modalities_of(model), name="fusion_shares")(is_present))
