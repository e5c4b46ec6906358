"""Waveforms to frames and their log-mel spectrograms in the graph.

`analyse` is the only place where a spectrogram is made, for log_mel as for the acoustic features; all that wants one
calls `pipelines.audio.frame_features`. TensorFlow and librosa are imported where they are used.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import TYPE_CHECKING

import numpy as np

from pipelines.audio.silence import MARGIN_SECONDS, TRIM_DB, loud_span, sustained, sustained_width
from pipelines.audio.waveform import SAMPLE_RATE
from pipelines.command import InputError

if TYPE_CHECKING:
    import tensorflow as tf

LONGEST_FRAME_SECONDS = 4.0
LONGEST_FFT = 2**16

LEAST_LEVEL = 1e-6
"""Softer clips hold rounding and no sound: about 20 dB below the least that 16 bits can say."""

LEAST_STD = 0.1
"""Log-mels that vary less are divided by this: what hardly varies is not to be blown up."""


@dataclasses.dataclass(frozen=True)
class FrontEnd:
    """The settings of `frame_features`, checked when they are made.

    Attributes:
      frame_seconds: Length of the analysis window.
      hop_seconds: Distance between the starts of two frames.
      fft_length: Samples of the Fourier transform; None: the next power of two that holds the window.
      mel_bins: Bands of the mel filter bank (Slaney's scale and area normalisation, librosa's default).
      min_hz: Lower edge of the lowest band.
      max_hz: Upper edge of the highest band, at most half the sample rate.
      log_offset: Added before the logarithm to magnitudes that are divided by the clip's level; silence reads
        log(log_offset). 3e-3: what is softer than the clip by more than 50 dB is silence, whatever its gain.
      trim_db: Silent ends are cut off, which are softer than the loudest frame by more than this; None: nothing is cut.

    Raises:
      InputError: Settings that cannot work.
    """

    frame_seconds: float = 0.025
    hop_seconds: float = 0.010
    fft_length: int | None = None
    mel_bins: int = 64
    min_hz: float = 50.0
    max_hz: float = 8000.0
    log_offset: float = 3e-3
    trim_db: float | None = TRIM_DB

    def __post_init__(self) -> None:
        if not 0 < self.frame_seconds <= LONGEST_FRAME_SECONDS or self.frame_length < 2:
            raise InputError(f"--frame-seconds {self.frame_seconds} is no window: give a length such as 0.025.")
        if not 0 < self.hop_seconds <= self.frame_seconds or self.hop_length < 1:
            raise InputError(
                f"--hop-seconds {self.hop_seconds} must be at least a sample and at most the window of"
                f" {self.frame_seconds} s: give one such as 0.010."
            )
        if self.fft_length is None:
            object.__setattr__(self, "fft_length", 1 << (self.frame_length - 1).bit_length())
        self._check_transform()
        self._check_bands()
        if self.trim_db is not None and not 0 < self.trim_db < float("inf"):
            raise InputError(f"--trim-db {self.trim_db} is no threshold: give decibels above 0, such as 30, or off.")

    def _check_transform(self) -> None:
        if self.num_fft < self.frame_length:
            raise InputError(
                f"--fft-length {self.fft_length} is shorter than the window of {self.frame_length} samples"
                f" ({self.frame_seconds} s): give at least {self.frame_length}."
            )
        if self.num_fft > LONGEST_FFT:
            raise InputError(f"--fft-length {self.fft_length} is too long: give at most {LONGEST_FFT}.")

    def _check_bands(self) -> None:
        if self.max_hz > SAMPLE_RATE / 2:
            raise InputError(
                f"--max-hz {self.max_hz:g} is above the Nyquist frequency: give at most {SAMPLE_RATE // 2} Hz."
            )
        if not 0 <= self.min_hz < self.max_hz:
            raise InputError(f"--min-hz {self.min_hz:g} must be at least 0 and below --max-hz {self.max_hz:g}.")
        if not 1 <= self.mel_bins <= self.num_fft // 2:
            raise InputError(
                f"--mel-bins {self.mel_bins} must be at least 1 and, with an --fft-length of {self.fft_length},"
                f" at most {self.num_fft // 2}."
            )
        if not 0 < self.log_offset < float("inf"):
            raise InputError(f"a log_offset of {self.log_offset} has no logarithm: give one above 0.")

    @property
    def frame_length(self) -> int:
        """Samples of the analysis window."""
        return round(self.frame_seconds * SAMPLE_RATE)

    @property
    def hop_length(self) -> int:
        """Samples between the starts of two frames."""
        return round(self.hop_seconds * SAMPLE_RATE)

    @property
    def num_fft(self) -> int:
        """`fft_length` once it is known."""
        return self.fft_length or 0

    def bands_below(self, hertz: float) -> int:
        """Counts the mel bands whose centres lie below a frequency."""
        import librosa

        edges = librosa.mel_frequencies(self.mel_bins + 2, fmin=self.min_hz, fmax=self.max_hz)
        return int((edges[1:-1] < hertz).sum())

    @property
    def silence(self) -> float:
        """The log-mel value of a band that holds nothing."""
        return float(np.log(self.log_offset))

    @property
    def silence_db(self) -> float:
        """Decibels below the loudest frame at which silence begins: `trim_db`; the usual ones where nothing is cut."""
        return TRIM_DB if self.trim_db is None else self.trim_db


@functools.cache
def mel_matrix(front_end: FrontEnd) -> np.ndarray:
    """Makes the mel filter bank.

    Returns:
      [fft_length // 2 + 1, mel_bins] float32.

    Raises:
      InputError: A band so narrow that no bin of the Fourier transform falls into it: it would always be silent.

    Source: `librosa.filters.mel`.
    """
    import librosa
    from librosa.filters import mel

    settings = {"sr": SAMPLE_RATE, "n_fft": front_end.num_fft, "n_mels": front_end.mel_bins}
    # A band above a narrow one only draws a warning from librosa; below, it is an error that says what to change.
    edges = librosa.mel_frequencies(front_end.mel_bins + 2, fmin=front_end.min_hz, fmax=front_end.max_hz)
    bins = librosa.fft_frequencies(sr=SAMPLE_RATE, n_fft=front_end.num_fft)
    is_empty = [not ((bins > low) & (bins < high)).any() for low, high in zip(edges[:-2], edges[2:], strict=True)]
    if any(is_empty):
        raise InputError(
            f"{sum(is_empty)} of {front_end.mel_bins} mel bands would be empty: give fewer --mel-bins,"
            f" a longer --fft-length than {front_end.num_fft}, or a wider range than"
            f" {front_end.min_hz:g} to {front_end.max_hz:g} Hz."
        )
    return mel(**settings, fmin=front_end.min_hz, fmax=front_end.max_hz).T.astype(np.float32)


@dataclasses.dataclass(frozen=True)
class Analysis:
    """A batch of waveforms at one level, cut into frames and transformed, its silent ends still there.

    Attributes:
      waveform: [batch, num_samples] float32, one frame long at least; divided by the clip's level, as all below.
      frames: [batch, max_frames, frame_length] samples without their mean, no window over them.
      magnitude: [batch, max_frames, fft_length // 2 + 1].
      log_mel: [batch, max_frames, mel_bins], natural logarithm.
      num_all: [batch] int32, frames of each clip; 0 where it is absent.
      first, num_frames: [batch] int32, the frames that trimming leaves: where they begin, and how many they are.
    """

    waveform: tf.Tensor
    frames: tf.Tensor
    magnitude: tf.Tensor
    log_mel: tf.Tensor
    num_all: tf.Tensor
    first: tf.Tensor
    num_frames: tf.Tensor

    def trim(self, features: tf.Tensor, silence: np.ndarray | float) -> tf.Tensor:
        """Moves the frames that trimming leaves to the front; those behind hold the silence value.

        Args:
          features: [batch, max_frames, columns].
          silence: [columns], or one value for all.
        """
        import tensorflow as tf

        max_frames = tf.shape(features)[1]
        index = tf.minimum(self.first[:, tf.newaxis] + tf.range(max_frames), max_frames - 1)  # [batch, max_frames]
        features = tf.gather(features, index, axis=1, batch_dims=1)  # [batch, max_frames, columns]
        # Not tf.newaxis, which LiteRT does not have where the batch is not known.
        is_frame = tf.expand_dims(tf.sequence_mask(self.num_frames, max_frames), 2)  # [batch, max_frames, 1]
        return tf.where(is_frame, features, silence)


def analyse(waveform: tf.Tensor, front_end: FrontEnd) -> Analysis:
    """Cuts waveforms [batch, num_samples] into frames, transforms these, brings all to one level, finds silent ends."""
    import tensorflow as tf

    frame_length, hop_length = front_end.frame_length, front_end.hop_length
    num_all = _count_frames(waveform, frame_length, hop_length)  # [batch]
    waveform = tf.pad(waveform, [[0, 0], [0, tf.maximum(frame_length - tf.shape(waveform)[1], 0)]])
    frames = tf.signal.frame(waveform, frame_length, hop_length)  # [batch, max_frames, frame_length]
    # An offset is no sound; a window would spread it over the lowest bands. What drifts slowly goes with it.
    frames -= tf.reduce_mean(frames, axis=2, keepdims=True)
    # Periodic, which the Hann window of tf.signal is not where its length is odd.
    window = tf.signal.hann_window(frame_length + 1, periodic=False)[:-1]  # [frame_length]
    spectrum = tf.signal.rfft(frames * window, [front_end.num_fft])  # [batch, max_frames, fft_length // 2 + 1], complex
    magnitude = tf.abs(spectrum)  # [batch, max_frames, fft_length // 2 + 1]
    mel = tf.einsum("btf,fm->btm", magnitude, mel_matrix(front_end))  # [batch, max_frames, mel_bins]
    lasting, level = _level(mel, num_all, front_end)  # [batch, max_frames], [batch, 1, 1]
    num_all = tf.where(level[:, 0, 0] > LEAST_LEVEL, num_all, 0)
    level = tf.maximum(level, LEAST_LEVEL)
    log_mel = tf.math.log(mel / level + front_end.log_offset)  # [batch, max_frames, mel_bins]
    first, num_frames = _kept_span(lasting, num_all, front_end)  # [batch] each
    return Analysis(waveform / level[:, 0], frames / level, magnitude / level, log_mel, num_all, first, num_frames)


def _count_frames(waveform: tf.Tensor, frame_length: int, hop_length: int) -> tf.Tensor:
    """Counts the frames of each clip, [batch] int32; trailing zeros are padding, and zeros alone an absent clip."""
    import tensorflow as tf

    positions = tf.range(1, tf.shape(waveform)[1] + 1)  # [num_samples]
    num_samples = tf.reduce_max(tf.where(waveform != 0.0, positions, 0), axis=1)  # [batch]
    num_frames = 1 + tf.maximum(num_samples - frame_length, 0) // hop_length  # [batch]
    return tf.where(num_samples > 0, num_frames, 0)


def _level(mel: tf.Tensor, num_all: tf.Tensor, front_end: FrontEnd) -> tuple[tf.Tensor, tf.Tensor]:
    """Measures how loud each clip is: the loudest of its sounds that last.

    Args:
      mel: [batch, max_frames, mel_bins] magnitude.
      num_all: [batch] int32, frames of each clip.
      front_end: The settings.

    Returns:
      Energy over the bands of what lasts, [batch, max_frames]; and the root of its maximum, [batch, 1, 1].
    """
    import tensorflow as tf

    # Energy of the mel bands rather than of the samples: a rumble below min_hz is not speech.
    energy = tf.reduce_sum(tf.square(mel), axis=2)  # [batch, max_frames]
    energy = tf.where(tf.sequence_mask(num_all, tf.shape(mel)[1]), energy, 0.0)
    width = sustained_width(front_end.hop_seconds, front_end.frame_seconds)
    lasting = sustained(energy, num_all, width)  # [batch, max_frames]
    # A clip in which nothing lasts, such as clicks between zeros, is measured by what there is.
    lasting = tf.where(tf.reduce_any(lasting > 0.0, axis=1, keepdims=True), lasting, energy)
    return lasting, tf.sqrt(tf.reduce_max(lasting, axis=1))[:, tf.newaxis, tf.newaxis]


def _kept_span(lasting: tf.Tensor, num_all: tf.Tensor, front_end: FrontEnd) -> tuple[tf.Tensor, tf.Tensor]:
    """Finds the frames that trimming leaves: the first one [batch] and how many [batch]."""
    import tensorflow as tf

    if front_end.trim_db is None:
        return tf.zeros_like(num_all), num_all
    first, end = loud_span(lasting, front_end.trim_db)  # [batch] each
    margin = round(MARGIN_SECONDS / front_end.hop_seconds)
    first = tf.minimum(tf.maximum(first - margin, 0), num_all)
    # Where a clip is only inaudible (below the lowest band), no frame is loud and all stay.
    end = tf.where(end > 0, tf.minimum(end + margin, num_all), num_all)
    return first, end - first


def normalise(log_mel: tf.Tensor, num_frames: tf.Tensor) -> tf.Tensor:
    """Removes each clip's own band means and divides by its standard deviation.

    What a dull microphone does to all frames alike is gone afterwards; loudness is gone before. Frames behind the
    clip's end hold the normalised silence value, if they held the silence value before.

    Args:
      log_mel: [batch, max_frames, mel_bins] float32.
      num_frames: [batch] int32.

    Returns:
      [batch, max_frames, mel_bins] float32: over each clip's own frames every band has mean 0 and all of them together
      standard deviation 1 (less for clips of one frame, whose bands do not vary).
    """
    import tensorflow as tf

    is_frame = tf.expand_dims(tf.sequence_mask(num_frames, tf.shape(log_mel)[1], dtype=log_mel.dtype), 2)
    count = tf.maximum(tf.cast(num_frames, log_mel.dtype), 1.0)[:, tf.newaxis, tf.newaxis]  # [batch, 1, 1]
    mean = tf.reduce_sum(log_mel * is_frame, axis=1, keepdims=True) / count  # [batch, 1, mel_bins]
    centred = log_mel - mean  # [batch, max_frames, mel_bins]
    squares = tf.reduce_sum(tf.square(centred * is_frame), axis=1, keepdims=True) / count  # [batch, 1, mel_bins]
    std = tf.sqrt(tf.reduce_mean(squares, axis=2, keepdims=True))  # [batch, 1, 1]
    return centred / tf.maximum(std, LEAST_STD)
