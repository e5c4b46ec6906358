"""Training-time augmentation of frames of videos."""

import dataclasses

import tensorflow as tf

from pipelines.augment.draws import Draws, Tensors


@dataclasses.dataclass(frozen=True)
class ImageAugment:
    """Mirrors, moves, lightens and partly covers the frames of a video, all of a clip alike.

    Attributes:
      flip: Probability of mirroring left and right.
      shift: Pixels to move by at most, in both directions; the outermost ones fill the gap.
      brightness: Lighter or darker by at most so much of the whole range.
      cutout: Side of a square, in pixels, that is painted with the clip's mean.

    Source: DeVries & Taylor 2017, arXiv:1708.04552, for the square.
    """

    flip: float = 0.5
    shift: int = 4
    brightness: float = 0.2
    cutout: int = 16

    def __call__(self, example: Tensors, seed: tf.Tensor) -> Tensors:
        """Augments `video_frames` [num_video_frames, height, width, channels] in [0, 1]; an absent video stays so."""
        if "video_frames" not in example:
            return example
        frames = example["video_frames"]
        changed = tf.cond(tf.reduce_any(frames > 0), lambda: self._augment(frames, Draws(seed)), lambda: frames)
        return example | {"video_frames": tf.ensure_shape(changed, frames.shape)}

    def _augment(self, frames: tf.Tensor, draws: Draws) -> tf.Tensor:
        height, width = frames.shape[1:3]
        frames = tf.where(draws.uniform() < self.flip, frames[:, :, ::-1], frames)
        down, right = tf.unstack(draws.uniform([2], -self.shift, self.shift + 1, tf.int32))
        frames = tf.gather(frames, tf.clip_by_value(tf.range(height) - down, 0, height - 1), axis=1)
        frames = tf.gather(frames, tf.clip_by_value(tf.range(width) - right, 0, width - 1), axis=2)
        lighter = frames + draws.uniform((), -self.brightness, self.brightness)
        # A frame that would become all black would count as absent.
        frames = tf.clip_by_value(lighter, 1 / 255, 1.0)
        if self.cutout:
            frames = tf.where(self._covered(height, width, draws), tf.reduce_mean(frames, axis=(0, 1, 2)), frames)
        return frames

    def _covered(self, height: int, width: int, draws: Draws) -> tf.Tensor:
        """Draws the place of the square, its middle anywhere: [height, width, 1] bool."""
        row = tf.abs(tf.range(height) - draws.uniform((), 0, height, tf.int32)) * 2 < self.cutout
        column = tf.abs(tf.range(width) - draws.uniform((), 0, width, tf.int32)) * 2 < self.cutout
        return (row[:, tf.newaxis] & column)[:, :, tf.newaxis]
