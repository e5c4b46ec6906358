"""The loss of several emotions an utterance; for one emotion Keras has its own."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable("emotion_tf")
class RareWeightedCrossentropy(keras.losses.Loss):
    """Binary cross-entropy in which utterances of a rare emotion weigh more, and probabilities stay calibrated.

    A weight w on the positives moves the best logit by log(w); that much is added to the logits here, so that those of
    the model are of the true probabilities.

    Args:
      prior: Share of the training utterances that have each emotion, in (0, 1).
      power: Of (1 - share) / share, which is the weight; 0: all weigh the same, 1: each emotion as much as its absence.
    """

    def __init__(self, prior: Sequence[float], power: float, **kwargs: Any):
        super().__init__(**kwargs)
        self.prior, self.power = [float(share) for share in prior], power

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """From memberships and logits [batch, num_emotions] to losses [batch]."""
        shares = ops.clip(ops.convert_to_tensor(self.prior, "float32"), 1e-6, 1 - 1e-6)
        offset = self.power * ops.log((1 - shares) / shares)
        logits, y_true = y_pred + offset, ops.cast(y_true, y_pred.dtype)
        present, absent = ops.softplus(-logits), ops.softplus(logits)
        return ops.mean(ops.exp(offset) * y_true * present + (1 - y_true) * absent, axis=-1)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "prior": self.prior, "power": self.power}
