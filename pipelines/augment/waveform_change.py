"""Training-time augmentation of waveforms: speed, noise, gain, shift in time."""

import dataclasses
import functools

import numpy as np
import tensorflow as tf

from pipelines import audio
from pipelines.audio import silence
from pipelines.augment.draws import Draws, Tensors

_LOOP_SAMPLES = 2**18

SNR_RANGE_DB = 20.0
"""Between the loudest noise and the softest."""

PINK_ABOVE_HZ = 50.0
"""Below, noise rises no more: half of its power would otherwise lie below speech."""


@dataclasses.dataclass(frozen=True)
class WaveformChange:
    """Changes a waveform: its speed, then pink noise, then its gain; what leaves [-1, 1] is clipped.

    Attributes:
      speed: Share by which it becomes faster or slower at most, with its pitch.
      noise_snr_db: The noise lies so far below the clip, to `SNR_RANGE_DB` further; None: no noise.
      gain_db: Up or down by at most so much.
      trim_db: Where the silent ends begin, which get no noise: `FrontEnd.silence_db` of what looks for them later.

    Source: Ko et al. 2015 (audio augmentation for speech recognition), https://doi.org/10.21437/Interspeech.2015-711,
      for speed.
    """

    speed: float = 0.0
    noise_snr_db: float | None = None
    gain_db: float = 0.0
    trim_db: float = silence.TRIM_DB

    def __call__(self, waveform: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Changes one clip; the same seed changes it in the same way.

        Args:
          waveform: [num_samples] float32 in [-1, 1).
          seed: [2] int64.

        Returns:
          [num_samples] float32 in [-1, 1], of another length where the speed changed; a clip of zeros is one of zeros.
        """
        seeds = tf.unstack(tf.random.split(seed, 4))
        if self.speed > 0:
            rate = tf.random.stateless_uniform([], seeds[0], 1 - self.speed, 1 + self.speed)
            waveform = change_speed(waveform, rate)
        if self.noise_snr_db is not None:
            lowest, highest = self.noise_snr_db, self.noise_snr_db + SNR_RANGE_DB
            snr_db = tf.random.stateless_uniform([], seeds[1], lowest, highest)
            waveform = add_noise(waveform, snr_db, seeds[2], self.trim_db)
        if self.gain_db > 0:
            gain_db = tf.random.stateless_uniform([], seeds[3], -self.gain_db, self.gain_db)
            waveform = waveform * 10.0 ** (gain_db / 20)
        return tf.clip_by_value(waveform, -1.0, 1.0)


@dataclasses.dataclass(frozen=True)
class WaveformShift:
    """Moves a waveform that a model reads: later, behind zeros, or earlier, without its start.

    Attributes:
      samples: To move by at most; no more than a quarter of the clip is lost.
    """

    samples: int

    def __call__(self, example: Tensors, seed: tf.Tensor) -> Tensors:
        """Moves `waveform` [num_samples] of any type; other features stay."""
        if "waveform" not in example:
            return example
        waveform = example["waveform"]
        earliest = -tf.minimum(self.samples, tf.size(waveform) // 4)
        shift = Draws(seed).uniform((), earliest, self.samples + 1, tf.int32)
        moved = tf.pad(waveform[tf.maximum(-shift, 0) :], [[tf.maximum(shift, 0), 0]])
        return example | {"waveform": moved}


def change_speed(waveform: tf.Tensor, rate: tf.Tensor) -> tf.Tensor:
    """Plays [num_samples] `rate` times as fast, by linear interpolation: [round(num_samples / rate)]."""
    num_samples, rate = tf.shape(waveform)[0], tf.cast(rate, tf.float64)
    num_left = tf.cast(tf.round(tf.cast(num_samples, tf.float64) / rate), tf.int32)
    places = tf.cast(tf.range(num_left), tf.float64) * rate
    before = tf.minimum(tf.cast(places, tf.int32), num_samples - 1)
    share = tf.cast(places - tf.cast(before, tf.float64), tf.float32)
    after = tf.minimum(before + 1, num_samples - 1)
    return (1 - share) * tf.gather(waveform, before) + share * tf.gather(waveform, after)


def add_noise(waveform: tf.Tensor, snr_db: tf.Tensor, seed: tf.Tensor, trim_db: float = silence.TRIM_DB) -> tf.Tensor:
    """Adds pink noise to a clip [num_samples], `snr_db` below it in mean power, between its silent ends."""
    # In noise the front end would no longer find silent ends, and zeros behind a clip would become frames.
    is_inside = tf.cast(_between_silent_ends(waveform, trim_db), tf.float32)
    power = tf.reduce_sum(tf.square(waveform * is_inside)) / tf.maximum(tf.reduce_sum(is_inside), 1.0)
    noise = pink_noise(tf.size(waveform), seed) * tf.sqrt(power) * 10.0 ** (-snr_db / 20)
    return waveform + noise * is_inside


def _between_silent_ends(waveform: tf.Tensor, trim_db: float) -> tf.Tensor:
    """Tells the samples from the first loud block to the last one, no margin around them: [num_samples] bool."""
    energy = silence.block_energy(waveform)[tf.newaxis]  # [1, num_blocks]
    lasting = silence.sustained(energy, tf.shape(energy)[1:], silence.BLOCKS_SUSTAINED)
    first, end = silence.loud_span(lasting, trim_db)  # [1] each
    block = tf.range(tf.size(waveform)) // silence.BLOCK_LENGTH  # [num_samples], the block of each sample
    is_before_end = tf.cumsum(tf.abs(waveform), reverse=True) > 0
    return (block >= first) & (block < end) & is_before_end


def pink_noise(num_samples: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Cuts a stretch out of a loop of noise: [num_samples], mean power about 1."""
    # To draw and to transform it for each clip would take several times as long as the clip's log-mel.
    begin = tf.random.stateless_uniform([], seed, 0, _LOOP_SAMPLES, tf.int32)
    loops = tf.tile(tf.constant(_noise_loop()), [2 + num_samples // _LOOP_SAMPLES])
    return loops[begin : begin + num_samples]


@functools.cache
def _noise_loop() -> np.ndarray:
    """Makes noise whose power falls with frequency above `PINK_ABOVE_HZ` and whose end meets its beginning."""
    spectrum = np.fft.rfft(np.random.default_rng(0).standard_normal(_LOOP_SAMPLES))
    hz = np.fft.rfftfreq(_LOOP_SAMPLES, 1 / audio.SAMPLE_RATE)
    noise = np.fft.irfft(spectrum / np.sqrt(np.maximum(hz, PINK_ABOVE_HZ)))
    return (noise / noise.std()).astype(np.float32)
