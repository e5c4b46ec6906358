"""Training-time augmentation, inside `Dataset.map`: one example at a time, and whole batches.

Random numbers come from TensorFlow's global generator, for tfio's masks take no seed: after `tf.random.set_seed` they
are the same twice, in a map that is not parallel.
"""

import dataclasses
import warnings

import tensorflow as tf

with warnings.catch_warnings():
    # Its native kernels do not load on this TensorFlow, and it says so twice; the graph ops used here need none.
    warnings.simplefilter("ignore")
    import tensorflow_io as tfio

Tensors = dict[str, tf.Tensor]


@dataclasses.dataclass(frozen=True)
class SpecAugment:
    """Shifts a normalised log-mel along its bands and hides random bands and frames.

    Attributes:
      mel_shift: Bands to shift by at most, up or down, as a longer or shorter vocal tract would.
      mel_mask, num_mel_masks: Widest mask over bands, and how many.
      frame_mask, num_frame_masks: Widest mask over frames (and never more than a quarter of the clip), and how many.

    Source: Park et al. 2019, arXiv:1904.08779; for the shift Jaitly & Hinton 2013 (vocal tract length perturbation).
    """

    mel_shift: int = 3
    mel_mask: int = 10
    num_mel_masks: int = 2
    frame_mask: int = 25
    num_frame_masks: int = 2

    def __call__(self, example: Tensors) -> Tensors:
        """Augments `log_mel` [num_frames, mel_bins]; other features and clips shorter than four frames stay."""
        if "log_mel" not in example:
            return example
        log_mel = example["log_mel"]
        augmented = tf.cond(tf.shape(log_mel)[0] < 4, lambda: log_mel, lambda: self._augment(log_mel))
        return example | {"log_mel": tf.ensure_shape(augmented, log_mel.shape)}

    def _augment(self, log_mel: tf.Tensor) -> tf.Tensor:
        log_mel = shift_bands(log_mel, tf.random.uniform([], -self.mel_shift, self.mel_shift + 1, tf.int32))
        # tfio draws a width below its parameter, and fails where that is 0 or exceeds the clip. It writes 0, which
        # after normalising is each band's own mean.
        widest_bands = min(self.mel_mask, log_mel.shape[1] - 1)
        widest_frames = tf.minimum(self.frame_mask, tf.shape(log_mel)[0] // 4)
        for _ in range(self.num_mel_masks if widest_bands > 0 else 0):
            log_mel = tfio.audio.freq_mask(log_mel, widest_bands)
        for _ in range(self.num_frame_masks if self.frame_mask > 0 else 0):
            log_mel = tfio.audio.time_mask(log_mel, widest_frames)
        return log_mel


def shift_bands(log_mel: tf.Tensor, shift: tf.Tensor) -> tf.Tensor:
    """Moves [num_frames, mel_bins] up by `shift` bands (down where negative); the outermost band fills the gap."""
    bands = tf.clip_by_value(tf.range(log_mel.shape[1]) - shift, 0, log_mel.shape[1] - 1)
    return tf.gather(log_mel, bands, axis=1)


@dataclasses.dataclass(frozen=True)
class MixUp:
    """Mixes half of a batch's clips with their neighbours, sound and labels alike; words stay.

    Attributes:
      share: Of the neighbour, at most.

    Source: Zhang et al. 2018, arXiv:1710.09412, with uniform shares.
    """

    share: float = 0.4

    def __call__(self, features: Tensors, label: tf.Tensor, *weights: tf.Tensor) -> tuple[Tensors | tf.Tensor, ...]:
        """Mixes `log_mel` [batch, num_frames, mel_bins] and one-hot labels [batch, num_emotions]."""
        num_clips = tf.shape(label)[0]
        share = tf.random.uniform([num_clips], 0.0, self.share) * tf.cast(
            tf.random.uniform([num_clips]) < 0.5, tf.float32
        )
        mixed = dict(features)
        mixed["log_mel"] = _mix(features["log_mel"], share[:, tf.newaxis, tf.newaxis])
        longer = tf.maximum(features["num_frames"], tf.roll(features["num_frames"], 1, 0))
        mixed["num_frames"] = tf.where(share > 0, longer, features["num_frames"])
        return mixed, _mix(label, share[:, tf.newaxis]), *weights


def _mix(values: tf.Tensor, share: tf.Tensor) -> tf.Tensor:
    return (1 - share) * values + share * tf.roll(values, 1, 0)
