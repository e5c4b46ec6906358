"""What every model ends in: the head's logits, calibrated, and those of the training prior where nothing is present."""

import math
from collections.abc import Sequence

import keras
from keras import ops

from emotion_tf.probabilities import FLOOR

HEAD = "emotions"
"""Name of the head: the dense layer from an embedding to logits, before calibration."""


@keras.saving.register_keras_serializable("emotion_tf")
class CalibratedLogits(keras.layers.Layer):
    """Divides logits by the temperature, and puts those of the training prior where no modality is present.

    Inputs logits [batch, num_emotions] and is_present [batch] bool; output logits [batch, num_emotions], for a softmax
    or, with several emotions an utterance, for a sigmoid each. The temperature is a weight that training leaves at 1;
    `emotion_tf.evaluation.calibration` sets it.

    Args:
      prior: Share of each emotion in the training split, in label order.
      is_multi_label: Whether an utterance has several emotions.
    """

    def __init__(self, prior: Sequence[float], is_multi_label: bool = False, **kwargs):
        super().__init__(**kwargs)
        self.prior, self.is_multi_label = [float(share) for share in prior], is_multi_label

    def build(self, logits_shape, is_present_shape):
        self.temperature = self.add_weight(name="temperature", shape=(), initializer="ones", trainable=False)

    def call(self, logits, is_present):
        prior = logits_of(ops.convert_to_tensor(self.prior, logits.dtype), self.is_multi_label)
        return ops.where(is_present[:, None], logits / self.temperature, prior[None, :])

    def compute_output_shape(self, logits_shape, is_present_shape):
        return logits_shape

    def get_config(self):
        return {**super().get_config(), "prior": self.prior, "is_multi_label": self.is_multi_label}


def embedding_of(model: keras.Model) -> keras.KerasTensor | None:
    """Finds what the head of a model reads, [batch, embedding_dim]; None of late fusion, which joins probabilities."""
    is_there = any(layer.name == HEAD for layer in model.layers)
    return model.get_layer(HEAD).input if is_there else None


def logits_of(probabilities: keras.KerasTensor, is_multi_label: bool) -> keras.KerasTensor:
    """Finds finite logits whose softmax, or sigmoid with several emotions an utterance, the probabilities are."""
    if is_multi_label:
        probabilities = ops.clip(probabilities, 1e-7, 1 - 1e-7)
        return ops.log(probabilities) - ops.log1p(-probabilities)
    return ops.log(ops.maximum(probabilities, FLOOR))


def prior_bias(prior: Sequence[float]) -> keras.Initializer:
    """Makes biases whose sigmoids are the prior: from one half, a rare emotion would take thousands of steps down."""
    shares = [min(max(share, 1e-4), 1 - 1e-4) for share in prior]
    return keras.initializers.Constant([math.log(share / (1 - share)) for share in shares])
