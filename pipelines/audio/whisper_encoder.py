"""Whisper's encoder as a Keras model, from a waveform to the states of some of its blocks; on any Keras backend.

Keras is imported with this module, so commands import it where they load an encoder.
"""

import functools
from collections.abc import Sequence

import keras
import numpy as np
from keras import ops

from pipelines.audio.waveform import SAMPLE_RATE

STEPS_PER_SECOND = 25
"""Two positions of the encoder, of 20 ms each, are pooled to one step."""

NUM_POSITIONS = 1500
"""Positions of a window of 30 s."""

WINDOW_LENGTH = 30 * SAMPLE_RATE
"""Samples that the encoder reads at once; longer recordings are read in windows."""

_HOP_LENGTH, _FFT_LENGTH = 160, 400
_CHUNK_LENGTH = 80
"""Samples that divide hop and window: frames are convolutions over chunks of so many."""

_STEP_LENGTH = SAMPLE_RATE // STEPS_PER_SECOND
_LARGEST = float(np.finfo(np.float16).max)


@keras.saving.register_keras_serializable("emotion_tf")
class WhisperLogMel(keras.layers.Layer):
    """Whisper's log-mel of each clip by itself, as `whisper.log_mel_spectrogram` makes it of the clip without padding.

    Inputs waveform [batch, num_samples] float32 in [-1, 1), in steps of 640 samples, and num_samples [batch] int32, 0
    or at least 400 each; output [batch, num_samples // 160, num_mels] float32, zeros behind a clip's last frame. What
    lies behind a clip's end is not read: its ends are reflected, and its own maximum bounds it below.

    Source: openai-whisper, whisper/audio.py. Its mel filters are those of librosa.
    """

    def __init__(self, num_mels: int = 80, **kwargs):
        super().__init__(**kwargs)
        self.num_mels = num_mels

    def call(self, waveform, num_samples):
        num_samples = ops.cast(num_samples, "int32")
        chunks = ops.reshape(_reflected(waveform, num_samples), (ops.shape(waveform)[0], -1, _CHUNK_LENGTH))
        # The Fourier transform of windowed frames, their real parts before their imaginary ones.
        transform, filters = _transform(), _mel_filters(self.num_mels)
        spectrum = ops.conv(chunks, transform, strides=2, padding="valid", data_format="channels_last")
        num_bins = filters.shape[0]
        power = ops.square(spectrum[..., :num_bins]) + ops.square(spectrum[..., num_bins:])
        log_mel = ops.log10(ops.maximum(ops.matmul(power, filters), 1e-10))  # [batch, num_frames, num_mels]
        is_frame = _mask(log_mel, num_samples // _HOP_LENGTH)[..., None]
        highest = ops.max(ops.where(is_frame, log_mel, -10.0), axis=(1, 2), keepdims=True)
        return ops.where(is_frame, (ops.maximum(log_mel, highest - 8.0) + 4.0) / 4.0, 0.0)

    def compute_output_shape(self, waveform_shape, num_samples_shape):
        num_samples = waveform_shape[1]
        return (waveform_shape[0], None if num_samples is None else num_samples // _HOP_LENGTH, self.num_mels)

    def get_config(self):
        return {**super().get_config(), "num_mels": self.num_mels}


@keras.saving.register_keras_serializable("emotion_tf")
class WhisperBlock(keras.layers.Layer):
    """A block of the encoder: self-attention and a feed-forward network, each behind a layer norm, beside a residual.

    Inputs [batch, num_positions, width] and is_position [batch, num_positions] bool; output as the first input. What is
    no position is not attended to.
    """

    def __init__(self, width: int, num_heads: int, **kwargs):
        super().__init__(**kwargs)
        self.width, self.num_heads = width, num_heads
        options = {"dtype": self.dtype_policy}
        self.attention_norm = keras.layers.LayerNormalization(epsilon=1e-5, name="attention_norm", **options)
        # Queries, keys and values side by side. A bias of keys changes no attention, so it may stay 0.
        self.projections = keras.layers.Dense(3 * width, name="projections", **options)
        self.attended = keras.layers.Dense(width, name="attended", **options)
        self.network_norm = keras.layers.LayerNormalization(epsilon=1e-5, name="network_norm", **options)
        self.hidden = keras.layers.Dense(4 * width, activation="gelu", name="hidden", **options)
        self.output_dense = keras.layers.Dense(width, name="output", **options)

    def build(self, inputs_shape, is_position_shape=None):
        for layer in (self.attention_norm, self.projections, self.attended, self.network_norm, self.hidden):
            layer.build((None, self.width))
        self.output_dense.build((None, 4 * self.width))

    def call(self, inputs, is_position):
        batch, num_positions = ops.shape(inputs)[0], ops.shape(inputs)[1]
        # Matrices of rows: TensorFlow multiplies them several times as fast as batches.
        x = ops.reshape(inputs, (-1, self.width))
        joined = self.projections(self.attention_norm(x))
        heads = ops.reshape(joined, (batch, num_positions, 3, self.num_heads, self.width // self.num_heads))
        attended = _attend(ops.transpose(heads, (2, 0, 3, 1, 4)), is_position)  # [batch, heads, positions, head width]
        x = x + self.attended(ops.reshape(ops.transpose(attended, (0, 2, 1, 3)), (-1, self.width)))
        x = x + self.output_dense(self.hidden(self.network_norm(x)))
        return ops.reshape(x, (batch, num_positions, self.width))

    def compute_output_shape(self, inputs_shape, is_position_shape):
        return inputs_shape

    def get_config(self):
        return {**super().get_config(), "width": self.width, "num_heads": self.num_heads}


@keras.saving.register_keras_serializable("emotion_tf")
class WhisperEncoder(keras.Model):
    """Whisper's encoder, cut off behind the last block whose states are asked for.

    Padding and neighbours change nothing: a clip reads as whisper's own modules read it without any padding, and with
    zeros to 30 s as part of the clip (`num_samples` says so) as whisper reads it itself. A clip below 400 samples is
    padded to them with zeros. Recordings over 30 s are read in windows of 30 s.

    Inputs: waveform [batch, num_samples] float32 in [-1, 1) or int16, and, where trailing zeros are not all padding,
    num_samples [batch] int32. Output: {"encoder": [batch, num_steps, num_blocks, width] float32, zeros behind a clip's
    last step, "num_steps": [batch] int32, 0 where there is no sound}. The layer norm at the end of whisper's encoder is
    left out.

    Attributes:
      num_mels, width, num_heads: Sizes.
      blocks: Blocks whose states are returned, counted from 1, in this order.
      transformer_blocks: The `WhisperBlock` of each block up to the last that is asked for; for fine-tuning.

    Source: Radford et al., Robust Speech Recognition via Large-Scale Weak Supervision, 2022, section 2.2.
    """

    def __init__(self, num_mels: int, width: int, num_heads: int, blocks: Sequence[int], **kwargs):
        super().__init__(**{"dtype": "float32", "name": "whisper_encoder", **kwargs})
        self.num_mels, self.width, self.num_heads, self.blocks = num_mels, width, num_heads, tuple(blocks)
        options = {"dtype": self.dtype_policy}
        self.log_mel = WhisperLogMel(num_mels, name="log_mel", **options)
        convolution = functools.partial(keras.layers.Conv1D, width, 3, activation="gelu", padding="valid", **options)
        self.first_convolution = convolution(name="first_convolution")
        self.second_convolution = convolution(strides=2, name="second_convolution")
        self.transformer_blocks = [
            WhisperBlock(width, num_heads, name=f"block_{number}", **options)
            for number in range(1, max(self.blocks) + 1)
        ]
        self._make_weights()

    def _make_weights(self):
        """Makes all weights at once, so that those of a checkpoint can be put in before anything is read."""
        self.first_convolution.build((None, None, self.num_mels))
        self.second_convolution.build((None, None, self.width))
        for layer in self.transformer_blocks:
            layer.build((None, None, self.width))
        self.positions = self.add_weight(
            shape=(NUM_POSITIONS, self.width), initializer="zeros", trainable=False, name="positions"
        )
        self.built = True

    def call(self, waveform, num_samples=None):
        batch = ops.shape(waveform)[0]
        waveform = _to_float(waveform)
        num_samples = _used_samples(waveform) if num_samples is None else ops.cast(num_samples, "int32")
        samples, lengths = _windows(waveform, num_samples)  # [batch * num_windows, window_length], [...]
        num_frames = lengths // _HOP_LENGTH
        states = self._states_of(self.log_mel(samples, lengths), num_frames)
        num_steps = _halved(_halved(num_frames))
        states = _pooled(states, _halved(num_frames))  # [batch * num_windows, num_steps, num_blocks, width]
        states = ops.reshape(states, (batch, -1, len(self.blocks), self.width))
        states = states[:, : ops.shape(waveform)[1] // _STEP_LENGTH]  # The last window is shorter.
        return {"encoder": states, "num_steps": ops.sum(ops.reshape(num_steps, (batch, -1)), axis=1)}

    def _states_of(self, log_mel, num_frames):
        """Reads a log-mel [batch, num_frames, num_mels]: [batch, num_positions, num_blocks, width]."""
        x = _masked(self.first_convolution(_padded(log_mel)), num_frames)
        x = self.second_convolution(_padded(x))  # [batch, num_positions, width]
        x = _stopped(x + self.positions[None, : ops.shape(x)[1]], self.second_convolution)
        is_position, states = _mask(x, _halved(num_frames)), []
        for layer in self.transformer_blocks:
            x = _stopped(layer(x, is_position), layer)
            states.append(x)
        return ops.stack([states[number - 1] for number in self.blocks], axis=2)

    def compute_output_spec(self, waveform, num_samples=None):
        shape = (waveform.shape[0], None, len(self.blocks), self.width)
        return {
            "encoder": keras.KerasTensor(shape, self.compute_dtype),
            "num_steps": keras.KerasTensor((waveform.shape[0],), "int32"),
        }

    def with_blocks(self, blocks: Sequence[int], **options) -> "WhisperEncoder":
        """Makes an encoder of the same weights that returns the states of other blocks that this one has."""
        other = WhisperEncoder(self.num_mels, self.width, self.num_heads, blocks, **options)
        pairs = [(other.first_convolution, self.first_convolution), (other.second_convolution, self.second_convolution)]
        for new, old in [*pairs, *zip(other.transformer_blocks, self.transformer_blocks, strict=False)]:
            new.set_weights(old.get_weights())
        other.positions.assign(self.positions)
        return other

    def release(self, count: int) -> None:
        """Lets the last blocks learn, so many of them, and nothing else; no gradient passes below them."""
        frozen = self.transformer_blocks[: len(self.transformer_blocks) - count]
        for layer in (self.first_convolution, self.second_convolution, *frozen):
            layer.trainable = False

    def get_config(self):
        sizes = {"num_mels": self.num_mels, "width": self.width, "num_heads": self.num_heads}
        return {**super().get_config(), **sizes, "blocks": list(self.blocks)}


def as_stored(states):
    """Rounds states to float16, as records hold them, and returns them as float32.

    whisper itself runs in float16, so that its states fit; those of another checkpoint must not become infinite.
    """
    return ops.cast(ops.cast(ops.clip(states, -_LARGEST, _LARGEST), "float16"), "float32")


def _to_float(waveform):
    """Makes samples float32, and at least one step of them, in whole steps: [batch, num_samples]."""
    waveform = ops.convert_to_tensor(waveform)
    is_float = keras.backend.is_float_dtype(keras.backend.standardize_dtype(waveform.dtype))
    waveform = ops.cast(waveform, "float32") * (1.0 if is_float else 1.0 / 32768.0)
    num_samples = ops.shape(waveform)[1]
    whole = _largest((num_samples + _STEP_LENGTH - 1) // _STEP_LENGTH, 1) * _STEP_LENGTH
    return ops.pad(waveform, [[0, 0], [0, whole - num_samples]])


def _used_samples(waveform):
    """Counts the samples of each clip without the zeros at its end: [batch] int32."""
    places = ops.arange(1, ops.shape(waveform)[1] + 1, dtype="int32")
    return ops.max(ops.where(waveform != 0.0, places, 0), axis=1)


def _windows(waveform, num_samples):
    """Cuts clips into windows of 30 s, in rows of their own; clips that all are shorter stay as they are.

    Args:
      waveform: [batch, num_samples] float32, in whole steps.
      num_samples: [batch] int32, how many of them are each clip's.

    Returns:
      [batch * num_windows, window_length] float32, zeros behind each clip's end, and the samples of each window
      [batch * num_windows] int32, 0 or at least 400.
    """
    batch, length = ops.shape(waveform)[0], ops.shape(waveform)[1]
    window = _least(length, WINDOW_LENGTH)
    num_windows = (length + window - 1) // window
    waveform = ops.pad(_masked(waveform[..., None], num_samples)[..., 0], [[0, 0], [0, num_windows * window - length]])
    left = num_samples[:, None] - ops.arange(num_windows, dtype="int32")[None] * window
    lengths = ops.where(left > 0, ops.clip(left, _FFT_LENGTH, window), 0)  # [batch, num_windows]
    return ops.reshape(waveform, (batch * num_windows, window)), ops.reshape(lengths, (-1,))


def _reflected(waveform, num_samples):
    """Puts half of a Fourier transform's length before each clip and behind it, mirrored at its first and last sample.

    [batch, num_samples] -> [batch, num_samples + 240]: behind the last frame nothing is needed.
    """
    length = ops.shape(waveform)[1] + _FFT_LENGTH - _HOP_LENGTH
    places = ops.abs(ops.arange(length, dtype="int32") - _FFT_LENGTH // 2)[None]
    last = num_samples[:, None] - 1
    places = ops.where(places > last, 2 * last - places, places)  # [batch, length]
    return ops.take_along_axis(waveform, ops.maximum(places, 0), axis=1)


@functools.cache
def _transform() -> np.ndarray:
    """Makes the real Fourier transform of a frame, times a periodic Hann window: [5, 80, 402] float32."""
    samples, bins = np.arange(_FFT_LENGTH), np.arange(_FFT_LENGTH // 2 + 1)
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * samples / _FFT_LENGTH)
    angles = 2 * np.pi * (samples[:, None] * bins % _FFT_LENGTH) / _FFT_LENGTH
    matrix = hann[:, None] * np.concatenate([np.cos(angles), -np.sin(angles)], axis=1)
    return matrix.reshape(-1, _CHUNK_LENGTH, matrix.shape[1]).astype(np.float32)


@functools.cache
def _mel_filters(num_mels: int) -> np.ndarray:
    """Makes whisper's mel filters: [201, num_mels] float32."""
    from librosa.filters import mel

    return mel(sr=SAMPLE_RATE, n_fft=_FFT_LENGTH, n_mels=num_mels).T.astype(np.float32)


def _stopped(x, layer):
    """Lets no gradient pass to a frozen layer and to those below it."""
    return x if layer.trainable else ops.stop_gradient(x)


def _attend(heads, is_position):
    """Attends with queries to keys, [3, batch, num_heads, num_positions, head_width]: one less, without the first."""
    queries, keys, values = heads[0], heads[1], heads[2]
    scores = ops.matmul(queries * queries.shape[-1] ** -0.5, ops.swapaxes(keys, -1, -2))
    weights = ops.softmax(ops.where(is_position[:, None, None], scores, -1e9), axis=-1)
    return ops.matmul(weights, values)


def _pooled(states, num_positions):
    """Takes the mean of two positions each, or of the last one alone, and puts zeros behind a clip's end.

    [batch, positions, num_blocks, width] and num_positions [batch] -> [batch, positions // 2, num_blocks, width].
    """
    states = _masked(states, num_positions)
    pairs = ops.reshape(states, (ops.shape(states)[0], -1, 2, *states.shape[2:]))
    counts = ops.cast(
        ops.sum(ops.cast(ops.reshape(_mask(states, num_positions), ops.shape(pairs)[:3]), "int32"), axis=2),
        states.dtype,
    )
    return ops.sum(pairs, axis=2) / ops.maximum(counts, 1.0)[..., None, None]


def _mask(x, counts):
    """Returns [batch, length] bool: which rows of x [batch, length, ...] lie before each clip's end."""
    return ops.arange(ops.shape(x)[1], dtype="int32")[None] < counts[:, None]


def _masked(x, counts):
    """Puts zeros behind each clip's end."""
    mask = _mask(x, counts)
    return ops.where(ops.reshape(mask, (*ops.shape(mask), *[1] * (len(x.shape) - 2))), x, 0.0)


def _padded(x):
    """Puts a row of zeros before and behind: [batch, length + 2, width]."""
    return ops.pad(x, [[0, 0], [1, 1], [0, 0]])


def _halved(counts):
    """Counts pairs, the last one of which may lack its second."""
    return (counts + 1) // 2


def _least(length, bound: int):
    """Takes the lesser of a length, a number or a tensor, and a bound."""
    return min(length, bound) if isinstance(length, int) else ops.minimum(length, bound)


def _largest(length, bound: int):
    """Takes the larger of a length, a number or a tensor, and a bound."""
    return max(length, bound) if isinstance(length, int) else ops.maximum(length, bound)
