"""Mixtures of the clips of a batch."""

import dataclasses

import tensorflow as tf

from pipelines import audio
from pipelines.augment.draws import Draws, Tensors


@dataclasses.dataclass(frozen=True)
class MixUp:
    """Mixes half of a batch's clips with their neighbours, audio and labels alike; text stays.

    Attributes:
      share: Of the neighbour, at most.

    Source: Zhang et al. 2018, arXiv:1710.09412, with uniform shares.
    """

    share: float = 0.4

    def __call__(
        self, features: Tensors, label: tf.Tensor, *weights: tf.Tensor, seed: tf.Tensor
    ) -> tuple[Tensors | tf.Tensor, ...]:
        """Mixes audio features [batch, num_frames, ...], waveforms among them, and labels [batch, num_emotions]."""
        num_clips, draws = tf.shape(label)[0], Draws(seed)
        share = draws.uniform([num_clips], 0.0, self.share) * tf.cast(draws.uniform([num_clips]) < 0.5, tf.float32)
        mixed = dict(features)
        for name in {*audio.FRAME_FEATURES, "encoder", "waveform"} & set(features):
            mixed[name] = _mix(features[name], share)
        for name in {"num_frames", "num_steps"} & set(features):
            longer = tf.maximum(features[name], tf.roll(features[name], 1, 0))
            mixed[name] = tf.where(share > 0, longer, features[name])
        return mixed, _mix(label, share), *weights


def _mix(values: tf.Tensor, share: tf.Tensor) -> tf.Tensor:
    share = tf.reshape(share, (-1, *[1] * (len(values.shape) - 1)))
    return (1 - share) * values + share * tf.roll(values, 1, 0)
