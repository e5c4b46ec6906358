"""Training-time augmentation of features of frames."""

import dataclasses

import tensorflow as tf

from pipelines import audio
from pipelines.augment.draws import Draws, Tensors, is_hidden


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

    def __call__(self, example: Tensors, seed: tf.Tensor) -> Tensors:
        """Augments `log_mel` [num_frames, mel_bins]; masks over frames hide all frame features at the same ones.

        Other features and clips shorter than four frames stay.
        """
        features = {name: example[name] for name in audio.FRAME_FEATURES if name in example}
        if not features:
            return example
        num_frames = tf.shape(next(iter(features.values())))[0]
        augmented = tf.cond(num_frames < 4, lambda: dict(features), lambda: self._augment(features, Draws(seed)))
        return example | {name: tf.ensure_shape(augmented[name], value.shape) for name, value in features.items()}

    def _augment(self, features: Tensors, draws: Draws) -> Tensors:
        features = dict(features)
        if "log_mel" in features:
            features["log_mel"] = self._augment_bands(features["log_mel"], draws)
        columns = tf.concat(list(features.values()), axis=1)
        widest = tf.minimum(self.frame_mask, tf.shape(columns)[0] // 4)
        for _ in range(self.num_frame_masks if self.frame_mask > 0 else 0):
            columns = tf.where(is_hidden(tf.shape(columns)[0], widest, draws)[:, tf.newaxis], 0.0, columns)
        widths = [value.shape[1] for value in features.values()]
        return dict(zip(features, tf.split(columns, widths, axis=1), strict=True))

    def _augment_bands(self, log_mel: tf.Tensor, draws: Draws) -> tf.Tensor:
        log_mel = shift_bands(log_mel, draws.uniform((), -self.mel_shift, self.mel_shift + 1, tf.int32))
        # Hidden is what is 0: after normalising each band's own mean.
        widest = min(self.mel_mask, log_mel.shape[1] - 1)
        for _ in range(self.num_mel_masks if widest > 0 else 0):
            log_mel = tf.where(is_hidden(log_mel.shape[1], widest, draws), 0.0, log_mel)
        return log_mel


def shift_bands(log_mel: tf.Tensor, shift: tf.Tensor) -> tf.Tensor:
    """Moves [num_frames, mel_bins] up by `shift` bands (down where negative); the outermost band fills the gap."""
    bands = tf.clip_by_value(tf.range(log_mel.shape[1]) - shift, 0, log_mel.shape[1] - 1)
    return tf.gather(log_mel, bands, axis=1)


@dataclasses.dataclass(frozen=True)
class StateMask:
    """Hides random stretches of the states of an encoder.

    Attributes:
      widest: A stretch is shorter than so many steps, and never more than a quarter of the clip.
      count: How many stretches.

    Source: Park et al. 2019, arXiv:1904.08779, on states as wav2vec 2.0 (arXiv:2006.11477) has it.
    """

    widest: int
    count: int = 2

    def __call__(self, example: Tensors, seed: tf.Tensor) -> Tensors:
        """Changes `encoder` [num_steps, num_blocks, width]; other features stay."""
        if "encoder" not in example:
            return example
        states, draws = example["encoder"], Draws(seed)
        num_steps = tf.shape(states)[0]
        widest = tf.minimum(self.widest, num_steps // 4)
        for _ in range(self.count):
            hidden = tf.cond(
                widest > 0, lambda: is_hidden(num_steps, widest, draws), lambda: tf.zeros([num_steps], tf.bool)
            )
            states = tf.where(hidden[:, tf.newaxis, tf.newaxis], tf.zeros([], states.dtype), states)
        return example | {"encoder": states}


@dataclasses.dataclass(frozen=True)
class BandLimit:
    """Takes the upper bands out of some log-mels, as telephones and codecs do.

    The log-mel is one that `normalise` made of a clip alone: a band that holds nothing reads 0, and the others are
    scaled so that all together have the deviation that they had.

    Attributes:
      share: Of clips, in [0, 1).
      least: Bands that are always left; how many more, each number as likely, is drawn.
    """

    share: float
    least: int

    def __call__(self, example: Tensors, seed: tf.Tensor) -> Tensors:
        """Changes `log_mel` [num_frames, mel_bins]; other features stay."""
        if "log_mel" not in example:
            return example
        log_mel, draws = example["log_mel"], Draws(seed)
        num_bands = log_mel.shape[1]
        num_left = draws.uniform((), min(self.least, num_bands - 1), num_bands, tf.int32)
        limited = tf.where(tf.range(num_bands) < num_left, log_mel, 0.0)
        power, power_left = (tf.reduce_sum(tf.square(values)) for values in (log_mel, limited))
        limited *= tf.sqrt(tf.math.divide_no_nan(power, power_left))
        return example | {"log_mel": tf.where(draws.uniform(()) < self.share, limited, log_mel)}


@dataclasses.dataclass(frozen=True)
class TimeShift:
    """Moves a clip inside the window that it is padded to.

    Later, it stands behind silence, which counts as frames of the clip, and what passes the window is cut off; earlier,
    its first frames are cut off. No more than a quarter of the clip is lost.

    Attributes:
      frames: To move by at most.
      window: Frames of the window; clips are no longer.
    """

    frames: int
    window: int

    def __call__(self, example: Tensors, seed: tf.Tensor) -> Tensors:
        """Moves the frame features [num_frames, num_columns] alike; an absent clip stays."""
        names = [name for name in audio.FRAME_FEATURES if name in example]
        if not names:
            return example
        num_frames = tf.shape(example[names[0]])[0]
        earliest = -tf.minimum(self.frames, num_frames // 4)
        latest = tf.minimum(self.frames, self.window - num_frames + num_frames // 4)
        shift = Draws(seed).uniform((), earliest, tf.maximum(latest, 0) + 1, tf.int32)
        shift = tf.where(num_frames > 0, shift, 0)
        return example | {name: self._move(example[name], example[f"{name}_silence"], shift) for name in names}

    def _move(self, frames: tf.Tensor, silence: tf.Tensor, shift: tf.Tensor) -> tf.Tensor:
        before = tf.repeat(silence[tf.newaxis], tf.maximum(shift, 0), axis=0)
        moved = tf.concat([before, frames[tf.maximum(-shift, 0) :]], axis=0)[: self.window]
        return tf.ensure_shape(moved, [None, frames.shape[1]])
