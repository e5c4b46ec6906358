"""Training-time augmentation of one example, inside `Dataset.map`."""

import dataclasses
import warnings
from collections.abc import Callable

import tensorflow as tf

with warnings.catch_warnings():
    # Its native kernels do not load on this TensorFlow, and it says so twice; the graph ops used here need none.
    warnings.simplefilter("ignore")
    import tensorflow_io as tfio

Tensors = dict[str, tf.Tensor]


@dataclasses.dataclass(frozen=True)
class SpecAugment:
    """Hides random bands and frames of a normalised log-mel.

    Masks are drawn by TensorFlow's global generator: `keras.utils.set_random_seed` and
    `tf.config.experimental.enable_op_determinism` make them the same twice.

    Attributes:
      mel_mask, num_mel_masks: Widest mask over bands, and how many.
      frame_mask, num_frame_masks: Widest mask over frames (and never more than a quarter of the clip), and how many.

    Source: Park et al. 2019, arXiv:1904.08779.
    """

    mel_mask: int = 10
    num_mel_masks: int = 2
    frame_mask: int = 25
    num_frame_masks: int = 2

    def __call__(self, example: Tensors, _: tf.Tensor) -> Tensors:
        """Masks `log_mel` [num_frames, mel_bins] with 0, which is each band's own mean; other features stay."""
        if "log_mel" not in example:
            return example
        log_mel = example["log_mel"]
        # tfio draws a width below its parameter and fails where the parameter is 0 or exceeds the clip.
        widest_bands = min(self.mel_mask, log_mel.shape[1] - 1)
        widest_frames = tf.minimum(self.frame_mask, tf.shape(log_mel)[0] // 4)
        if widest_bands > 0:
            for _ in range(self.num_mel_masks):
                log_mel = _where_long(log_mel, lambda x: tfio.audio.freq_mask(x, widest_bands))
        for _ in range(self.num_frame_masks):
            log_mel = _where_long(log_mel, lambda x: tfio.audio.time_mask(x, widest_frames))
        return example | {"log_mel": log_mel}


def _where_long(log_mel: tf.Tensor, mask: Callable[[tf.Tensor], tf.Tensor]) -> tf.Tensor:
    masked = tf.cond(tf.shape(log_mel)[0] >= 4, lambda: mask(log_mel), lambda: log_mel)
    return tf.ensure_shape(masked, log_mel.shape)
