"""Acoustic features of each frame, beside its log-mel: what the voice does with timbre, loudness and pitch.

All of them are graph ops on the frames of `pipelines.audio.front_end`. librosa gives the chroma matrix, and is the
reference in the tests. TensorFlow, librosa and scipy are imported where they are used.
"""

from __future__ import annotations

import functools
import itertools
from typing import TYPE_CHECKING

import numpy as np

from pipelines.audio.front_end import Analysis, FrontEnd
from pipelines.audio.waveform import SAMPLE_RATE
from pipelines.command import InputError

if TYPE_CHECKING:
    import tensorflow as tf

NUM_MFCC = 40
NUM_MFCC_COLUMNS = 2 * NUM_MFCC

_NUM_CHROMA = 12
_NUM_BANDS = 6

ACOUSTIC = (
    *(f"mfcc_{number}" for number in range(NUM_MFCC)),
    *(f"mfcc_{number}_delta" for number in range(NUM_MFCC)),
    *(f"chroma_{name}" for name in ("c", "c_sharp", "d", "d_sharp", "e", "f", "f_sharp", "g", "g_sharp", "a")),
    *("chroma_a_sharp", "chroma_b"),
    *(f"contrast_{number}" for number in range(_NUM_BANDS + 1)),
    *("zero_crossing_rate", "rms", "f0_hz", "voicing"),
)
"""The columns of acoustic."""

# Per clip, a column that varies less than this says nothing: standard deviations in the column's own unit. The cosine
# transform keeps lengths, so that of a coefficient is the least one of a log-mel; a slope over nine frames varies a
# tenth.
LEAST_STDS = np.repeat(
    np.array([0.1, 0.01, 0.01, 0.1, 1e-3, 1e-4, 1.0, 0.01], np.float32),
    [NUM_MFCC, NUM_MFCC, _NUM_CHROMA, _NUM_BANDS + 1, 1, 1, 1, 1],
)

_DELTA_REACH = 4

_LOWEST_CONTRAST_HZ = 200.0
_CONTRAST_QUANTILE = 0.02
_LEAST_POWER = 1e-10
_TOP_DB = 80.0

PITCH_LENGTH = 1024
"""Samples that a pitch is read from, 64 ms: more than three periods of the lowest one."""

LOWEST_HZ, HIGHEST_HZ = 60.0, 600.0
"""Between these a pitch is looked for."""

_SHORTEST_LAG = int(SAMPLE_RATE / HIGHEST_HZ)
_LONGEST_LAG = int(np.ceil(SAMPLE_RATE / LOWEST_HZ))

# Holds a frame and the longest lag, and is a product of twos and threes, which are fast.
_PITCH_FFT = 1296
_PITCH_THRESHOLD = 0.1

# Squared differences below these, in all and as a share of the energy, are rounding.
_LEAST_ENERGY = 1e-10
_LEAST_SHARE = 1e-6

# Where no lag fits better than this share, none fits: the best one is an accident.
_LEAST_VOICING = 1e-3


def standardise(values: tf.Tensor, num_frames: tf.Tensor) -> tf.Tensor:
    """Gives each column of acoustic, or of its first ones, mean 0 and standard deviation 1 over a clip's own frames.

    Args:
      values: [batch, max_frames, columns] float32.
      num_frames: [batch] int32.

    Returns:
      The same shape. A column that varies less than its `LEAST_STDS` is divided by that.
    """
    import tensorflow as tf

    is_frame = tf.sequence_mask(num_frames, tf.shape(values)[1], dtype=values.dtype)[:, :, tf.newaxis]
    count = tf.maximum(tf.cast(num_frames, values.dtype), 1.0)[:, tf.newaxis, tf.newaxis]  # [batch, 1, 1]
    centred = values - tf.reduce_sum(values * is_frame, axis=1, keepdims=True) / count  # [batch, max_frames, columns]
    std = tf.sqrt(tf.reduce_sum(tf.square(centred * is_frame), axis=1, keepdims=True) / count)  # [batch, 1, columns]
    return centred / tf.maximum(std, LEAST_STDS[: values.shape[2]])


def check_acoustic(front_end: FrontEnd) -> None:
    """Makes sure that settings leave room for mfcc and acoustic.

    Raises:
      InputError: Too few mel bands.
    """
    if front_end.mel_bins < NUM_MFCC:
        raise InputError(
            f"--mel-bins {front_end.mel_bins} are too few for the {NUM_MFCC} cepstral coefficients of the acoustic"
            f" features: give at least {NUM_MFCC}."
        )


def acoustic_columns(analysis: Analysis, front_end: FrontEnd) -> tf.Tensor:
    """Computes the columns `ACOUSTIC` of all frames.

    - 40 mel-frequency cepstral coefficients: the orthonormal cosine transform of the log-mel; and their slopes over
      nine frames, the clip's first and last frame repeated beyond its ends.
    - 12 chroma: power by pitch class (equal temperament, a' = 440 Hz), the strongest of a frame 1.
    - 7 spectral contrasts, decibels between the strongest and the weakest bins of a band: 0 to 200 Hz and six octaves
      from there; both within 80 dB of the clip's strongest.
    - Share of samples whose sign differs from the one before; root mean square of the samples in [0, 1].
    - Fundamental frequency in Hz, 60 to 600, of 64 ms around the frame's middle; 0 where nothing repeats. And how well
      it repeats, 0 to 1.

    Returns:
      [batch, max_frames, 103] float32.

    Raises:
      InputError: Too few mel bands.

    Source: Davis & Mermelstein 1980 (cepstra); Ellis 2007, "Chroma feature analysis and synthesis"; Jiang et al. 2002,
      "Music type classification by spectral contrast feature"; de Cheveigné & Kawahara 2002, "YIN, a fundamental
      frequency estimator for speech and music"; constants are those of librosa.feature and librosa.yin.
    """
    import tensorflow as tf

    f0_hz, voicing = _pitch(analysis.waveform, front_end, tf.shape(analysis.frames)[1])
    columns = [
        mfcc_columns(analysis, front_end),  # [batch, max_frames, 80]
        _chroma(analysis.magnitude, front_end),  # [batch, max_frames, 12]
        _contrast(analysis, front_end),  # [batch, max_frames, 7]
        _zero_crossing_rate(analysis.frames),  # [batch, max_frames, 1], like all below
        tf.sqrt(tf.reduce_mean(tf.square(analysis.frames), axis=2, keepdims=True)),
        f0_hz,
        voicing,
    ]
    return tf.concat(columns, axis=2)  # [batch, max_frames, 103]


def mfcc_columns(analysis: Analysis, front_end: FrontEnd) -> tf.Tensor:
    """Computes coefficients and slopes of all frames, the first columns of acoustic: [batch, max_frames, 80]."""
    import tensorflow as tf

    check_acoustic(front_end)
    mfcc = tf.einsum("btm,mc->btc", analysis.log_mel, _cosine_matrix(front_end.mel_bins))  # [batch, max_frames, 40]
    max_frames = tf.shape(mfcc)[1]
    last = tf.maximum(analysis.num_all - 1, 0)[:, tf.newaxis]  # [batch, 1]
    places = tf.range(-_DELTA_REACH, max_frames + _DELTA_REACH)  # [max_frames + 8]
    index = tf.minimum(tf.maximum(places, 0), last)  # [batch, max_frames + 8]
    around = tf.gather(mfcc, index, axis=1, batch_dims=1)  # [batch, max_frames + 8, 40]
    # The slope of the line that fits best (Savitzky-Golay of first order), as librosa.feature.delta.
    steps = range(-_DELTA_REACH, _DELTA_REACH + 1)
    scale = 1 / sum(step**2 for step in steps)
    slopes = [step * scale * around[:, _DELTA_REACH + step :][:, :max_frames] for step in steps if step]
    return tf.concat([mfcc, tf.add_n(slopes)], axis=2)  # [batch, max_frames, 80]


@functools.cache
def _cosine_matrix(mel_bins: int) -> np.ndarray:
    """Makes the first columns of the orthonormal cosine transform (DCT-II): [mel_bins, 40] float32."""
    from scipy.fft import dct

    return dct(np.eye(mel_bins), norm="ortho")[:, :NUM_MFCC].astype(np.float32)


@functools.cache
def _chroma_matrix(num_fft: int) -> np.ndarray:
    """Makes the filters of the pitch classes: [fft_length // 2 + 1, 12] float32."""
    from librosa.filters import chroma

    return chroma(sr=SAMPLE_RATE, n_fft=num_fft, n_chroma=_NUM_CHROMA, tuning=0.0).T.astype(np.float32)


def _chroma(magnitude: tf.Tensor, front_end: FrontEnd) -> tf.Tensor:
    """Computes the power of the pitch classes, the strongest of each frame 1: [batch, max_frames, 12]."""
    import tensorflow as tf

    power = tf.einsum("btf,fc->btc", tf.square(magnitude), _chroma_matrix(front_end.num_fft))  # [batch, max_frames, 12]
    strongest = tf.reduce_max(power, axis=2, keepdims=True)  # [batch, max_frames, 1]
    return power / tf.where(strongest > np.finfo(np.float32).tiny, strongest, 1.0)


@functools.cache
def _contrast_bands(num_fft: int) -> list[tuple[int, int, int]]:
    """Lists the bands of spectral contrast as librosa cuts them: first bin, end, and how many bins are averaged.

    No band is empty from a transform of 80 samples on, which 40 mel bands need anyway.
    """
    bins_hz = np.arange(num_fft // 2 + 1) * SAMPLE_RATE / num_fft
    edges = [0.0, *(_LOWEST_CONTRAST_HZ * 2.0**octave for octave in range(_NUM_BANDS + 1))]
    bands = []
    for number, (low, high) in enumerate(itertools.pairwise(edges)):
        inside = np.flatnonzero((bins_hz >= low) & (bins_hz <= high))
        # A band takes the last bin below it, too, and gives up its own last one; the highest takes all that is left.
        first, is_highest = max(int(inside[0]) - 1, 0), number == _NUM_BANDS
        end = len(bins_hz) if is_highest else int(inside[-1])
        count = max(1, int(np.rint(_CONTRAST_QUANTILE * (end - first + (not is_highest)))))
        bands.append((first, end, count))
    return bands


def _contrast(analysis: Analysis, front_end: FrontEnd) -> tf.Tensor:
    """Computes decibels between peaks and valleys of the spectrum: [batch, max_frames, 7]."""
    import tensorflow as tf

    peaks, valleys = [], []
    for first, end, count in _contrast_bands(front_end.num_fft):
        band = analysis.magnitude[:, :, first:end]  # [batch, max_frames, end - first]
        if count == 1:
            peaks.append(tf.reduce_max(band, axis=2))  # [batch, max_frames]
            valleys.append(tf.reduce_min(band, axis=2))
        else:
            peaks.append(tf.reduce_mean(tf.math.top_k(band, count).values, axis=2))
            valleys.append(-tf.reduce_mean(tf.math.top_k(-band, count).values, axis=2))
    is_frame = tf.sequence_mask(analysis.num_all, tf.shape(analysis.magnitude)[1])[:, :, tf.newaxis]
    # [batch, max_frames, 7] both.
    return _decibels(tf.stack(peaks, axis=2), is_frame) - _decibels(tf.stack(valleys, axis=2), is_frame)


def _decibels(power: tf.Tensor, is_frame: tf.Tensor) -> tf.Tensor:
    """Turns power [batch, max_frames, columns] into decibels, at most 80 below the strongest of the clip's frames."""
    import tensorflow as tf

    decibels = 10 / np.log(10) * tf.math.log(tf.maximum(power, _LEAST_POWER))  # [batch, max_frames, columns]
    # [batch, 1, 1]
    strongest = tf.reduce_max(tf.where(is_frame, decibels, decibels.dtype.min), axis=[1, 2], keepdims=True)
    return tf.maximum(decibels, strongest - _TOP_DB)


def _zero_crossing_rate(frames: tf.Tensor) -> tf.Tensor:
    """Computes the share of samples on the other side of zero than the one before: [batch, max_frames, 1]."""
    import tensorflow as tf

    is_below = frames < -_LEAST_POWER  # [batch, max_frames, frame_length]
    # [batch, max_frames, frame_length - 1]
    crossings = tf.cast(tf.not_equal(is_below[:, :, 1:], is_below[:, :, :-1]), tf.float32)
    return tf.reduce_sum(crossings, axis=2, keepdims=True) / frames.shape[2]


def _pitch(waveform: tf.Tensor, front_end: FrontEnd, max_frames: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Finds the fundamental frequency in Hz and how well it repeats: [batch, max_frames, 1] each.

    A frame of its own length lies around the middle of each analysis frame, zeros beyond the clip's ends.
    """
    import tensorflow as tf

    padded = tf.pad(waveform, [[0, 0], [PITCH_LENGTH, PITCH_LENGTH]])
    padded = padded[:, PITCH_LENGTH // 2 + front_end.frame_length // 2 :]
    frames = tf.signal.frame(padded, PITCH_LENGTH, front_end.hop_length)[:, :max_frames]  # [batch, max_frames, 1024]
    # [batch, max_frames, 242], of the lags that a pitch may have.
    differences = _normalised_differences(frames)[:, :, _SHORTEST_LAG - 1 :]
    index = _first_trough(differences)[:, :, tf.newaxis]  # [batch, max_frames, 1]
    num_lags = differences.shape[2]
    around = tf.clip_by_value(index + tf.range(-1, 2), 0, num_lags - 1)  # [batch, max_frames, 3]
    # [batch, max_frames, 1] each, like all below.
    before, least, after = tf.unstack(tf.gather(differences, around, axis=2, batch_dims=2)[:, :, tf.newaxis], axis=3)
    # The lowest point of a parabola through three lags; at the outermost lags there is none.
    slope, bend = (after - before) / 2, after + before - 2 * least
    has_shift = (tf.abs(slope) < tf.abs(bend)) & (index > 0) & (index < num_lags - 1)
    shift = tf.where(has_shift, -slope / tf.where(has_shift, bend, 1.0), 0.0)
    f0_hz = SAMPLE_RATE / (_SHORTEST_LAG + tf.cast(index, tf.float32) + shift)
    voicing = tf.clip_by_value(1 - least, 0.0, 1.0)
    is_voiced = voicing > _LEAST_VOICING
    return tf.where(is_voiced, f0_hz, 0.0), tf.where(is_voiced, voicing, 0.0)


def _normalised_differences(frames: tf.Tensor) -> tf.Tensor:
    """Compares frames [batch, max_frames, 1024] with themselves, each of 1 to 267 samples later.

    As much as overlaps is compared, so that every lag looks at the middle of the frame.

    Returns:
      The cumulative mean normalised difference, [batch, max_frames, 267]: 0 where a lag repeats the frame, about 1
      where no lag does.

    Source: equations 6 and 8 of de Cheveigné & Kawahara 2002.
    """
    import tensorflow as tf

    # Differences know no offset, and without it less is lost in rounding.
    frames = frames - tf.reduce_mean(frames, axis=2, keepdims=True)
    power = tf.square(tf.abs(tf.signal.rfft(frames, [_PITCH_FFT])))  # [batch, max_frames, 649]
    # [batch, max_frames, 267]
    product = tf.signal.irfft(tf.cast(power, tf.complex64), [_PITCH_FFT])[:, :, 1 : _LONGEST_LAG + 1]
    squares = tf.square(frames)  # [batch, max_frames, 1024]
    energy = tf.reduce_sum(squares, axis=2, keepdims=True)  # [batch, max_frames, 1]
    # What no longer overlaps, [batch, max_frames, 267].
    ends = squares[:, :, :_LONGEST_LAG] + squares[:, :, : -_LONGEST_LAG - 1 : -1]
    sums = np.triu(np.ones((_LONGEST_LAG, _LONGEST_LAG), np.float32))  # [267, 267]
    difference = 2 * (energy - product) - tf.einsum("btk,kl->btl", ends, sums)  # [batch, max_frames, 267]
    least = _LEAST_ENERGY + _LEAST_SHARE * energy
    means = sums / np.arange(1, _LONGEST_LAG + 1, dtype=np.float32)
    difference = tf.maximum(difference, 0.0) + least
    return difference / tf.einsum("btk,kl->btl", difference, means)


def _first_trough(differences: tf.Tensor) -> tf.Tensor:
    """Finds the first lag with a minimum below the threshold, else the least of all: [batch, max_frames]."""
    import tensorflow as tf

    num_lags = differences.shape[2]
    before = tf.concat([differences[:, :, :1] + 1, differences[:, :, :-1]], axis=2)  # [batch, max_frames, num_lags]
    after = tf.concat([differences[:, :, 1:], differences[:, :, -1:]], axis=2)
    is_trough = (differences < before) & (differences <= after) & (differences < _PITCH_THRESHOLD)
    is_least = differences <= tf.reduce_min(differences, axis=2, keepdims=True)
    has_trough = tf.reduce_any(is_trough, axis=2, keepdims=True)  # [batch, max_frames, 1]
    chosen = tf.where(has_trough, is_trough, is_least)  # [batch, max_frames, num_lags]
    return tf.reduce_min(tf.where(chosen, tf.range(num_lags), num_lags - 1), axis=2)
