"""Clips of a batch to one length: frames with silence, states and samples with zeros."""

import tensorflow as tf

from pipelines.audio import SAMPLE_RATE

_LENGTH_UNIT = SAMPLE_RATE // 2


def pad_with(values: tf.RaggedTensor, silence: tf.Tensor, num_frames: int | None) -> tf.Tensor:
    """Pads each clip with a row of its own; to one frame at least.

    Args:
      values: [batch, (num_frames), columns].
      silence: [batch, columns].
      num_frames: Frames to pad to; None: those of the longest clip.
    """
    dense = values.to_tensor(shape=[None, num_frames, silence.shape[1]])
    dense = tf.pad(dense, [[0, 0], [0, tf.maximum(1 - tf.shape(dense)[1], 0)], [0, 0]])
    is_frame = tf.sequence_mask(values.row_lengths(), tf.shape(dense)[1])[:, :, tf.newaxis]
    return tf.ensure_shape(tf.where(is_frame, dense, silence[:, tf.newaxis]), [None, num_frames, silence.shape[1]])


def pad_steps(states: tf.RaggedTensor) -> tf.Tensor:
    """Pads states [batch, (num_steps), num_blocks, width] with zeros, to one step at least, and makes them float32."""
    dense = tf.cast(states.to_tensor(), tf.float32)
    dense = tf.pad(dense, [[0, 0], [0, tf.maximum(1 - tf.shape(dense)[1], 0)], [0, 0], [0, 0]])
    return tf.ensure_shape(dense, [None, None, *states.shape[2:]])


def pad_samples(waveforms: tf.RaggedTensor) -> tf.Tensor:
    """Pads waveforms [batch, (num_samples)] with zeros and makes them float32; int16 is divided by 32768."""
    dense = waveforms.to_tensor()
    dense = tf.cast(dense, tf.float32) * (1.0 if dense.dtype.is_floating else 1.0 / 32768.0)
    # Of each new length oneDNN keeps a compiled kernel; few lengths come of whole half seconds.
    length = tf.maximum(-(-tf.shape(dense)[1] // _LENGTH_UNIT), 1) * _LENGTH_UNIT
    return tf.ensure_shape(tf.pad(dense, [[0, 0], [0, length - tf.shape(dense)[1]]]), [None, None])
