"""Recordings to waveforms on the host; waveforms to log-mel spectrograms in the graph.

`log_mel` is the only place where a spectrogram is made: the writer of records, the exported model and the server all
call it. TensorFlow and librosa are imported where they are used, so that decoding workers start in a tenth of a second.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines.command import InputError

if TYPE_CHECKING:
    import tensorflow as tf

SAMPLE_RATE = 16000
"""Hz of every decoded waveform."""

AUDIO_SUFFIXES = frozenset({".wav", ".flac", ".ogg", ".mp3", ".aif", ".aiff", ".opus"})

SILENT_PEAK = 32
"""A recording whose int16 samples stay within this, -60 dB of full scale, is silent: nobody hears an emotion in it."""

TRIM_MARGIN_SECONDS = 0.05
"""What trimming leaves before the first and after the last loud frame, so that soft consonants stay."""

_LONGEST_FRAME_SECONDS = 4.0
_LONGEST_FFT = 2**16
# A file that says it has fewer samples a second is damaged, and resampling would fill the memory.
_LOWEST_SAMPLE_RATE = 1000
# 48 dB above full scale: not a loud recording but integers written as floating-point samples.
_HIGHEST_PEAK = 256.0

_BLOCK_SAMPLES = 2**20

_STREAMED_BYTES = 2**31 - 2**16
"""A program that writes a wav to a pipe does not know its length and states one near 2**31 or 2**32 instead."""


@dataclasses.dataclass(frozen=True)
class FrontEnd:
    """The settings of `log_mel`, checked when they are made.

    Attributes:
      frame_seconds: Length of the analysis window.
      hop_seconds: Distance between the starts of two frames.
      fft_length: Samples of the Fourier transform; None: the next power of two that holds the window.
      mel_bins: Bands of the mel filter bank (Slaney's scale and area normalisation, librosa's default).
      min_hz: Lower edge of the lowest band.
      max_hz: Upper edge of the highest band, at most half the sample rate.
      log_offset: Added before the logarithm; silence reads log(log_offset).
      trim_db: Ends softer than the loudest frame by more than this are cut off; None: nothing is cut.

    Raises:
      InputError: Settings that cannot work.
    """

    frame_seconds: float = 0.025
    hop_seconds: float = 0.010
    fft_length: int | None = None
    mel_bins: int = 64
    min_hz: float = 50.0
    max_hz: float = 8000.0
    log_offset: float = 1e-5
    trim_db: float | None = 30.0

    def __post_init__(self) -> None:
        if not 0 < self.frame_seconds <= _LONGEST_FRAME_SECONDS or self.frame_length < 2:
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
        if self.num_fft > _LONGEST_FFT:
            raise InputError(f"--fft-length {self.fft_length} is too long: give at most {_LONGEST_FFT}.")

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

    @property
    def silence(self) -> float:
        """The log-mel value of a band that holds nothing."""
        return float(np.log(self.log_offset))


def decode(path: Path) -> np.ndarray:
    """Reads a recording of any rate and channel count.

    Args:
      path: A wav, flac, ogg, mp3 or AIFF file; its content decides, not its suffix.

    Returns:
      waveform [num_samples] int16 at 16 kHz: the mean of the channels, resampled (soxr, high quality), rounded.

    Raises:
      InputError: A file that is missing, cut off, of another kind, empty, or holds NaN or infinite samples, or
        samples or a sample rate that no recording has.
    """
    import soxr

    mono, sample_rate = _read_mono(path)
    if not np.isfinite(mono).all():
        raise InputError(f"{path} holds NaN or infinite samples: export it again from its source.")
    peak = np.abs(mono).max(initial=0.0)
    if peak > _HIGHEST_PEAK:
        raise InputError(f"{path} holds samples up to {peak:.3g}, not from -1 to 1: export it again, scaled.")
    if sample_rate < _LOWEST_SAMPLE_RATE:
        raise InputError(f"{path} states a sample rate of {sample_rate} Hz: export it again from its source.")
    if sample_rate != SAMPLE_RATE:
        mono = soxr.resample(mono, sample_rate, SAMPLE_RATE)
    if not len(mono):
        raise InputError(f"{path} holds no samples: record it again or remove it.")
    return np.clip(np.rint(mono * 32768), -32768, 32767).astype(np.int16)


def _read_mono(path: Path) -> tuple[np.ndarray, int]:
    """Returns the mean of the channels [num_samples] float32 and its rate, or says why there are none."""
    import soundfile

    try:
        with soundfile.SoundFile(path) as file:
            # In blocks: all channels of a long recording at once would take several times the memory.
            mono = np.concatenate([_mean(block) for block in _blocks(file)])
            promised, log = file.frames, file.extra_info
            sample_rate = file.samplerate
    except FileNotFoundError:
        raise InputError(f"{path} does not exist: correct the path.") from None
    except (soundfile.SoundFileError, OSError) as error:
        raise InputError(f"{path} {_why_unreadable(path, str(error))}") from None
    stated = re.search(r"(?:data|SSND)\s*:\s*(\d+) \(should be (\d+)\)", log)
    is_cut = stated is not None and int(stated[2]) < int(stated[1]) < _STREAMED_BYTES
    if is_cut or len(mono) < promised:
        raise InputError(f"{path} is cut off: it ends before the length that its header states; copy it again.")
    return mono, sample_rate


def _blocks(file: Any) -> Iterator[np.ndarray]:
    """Reads an open `soundfile.SoundFile` to its end; yields [num_samples, num_channels] float32, once at least."""
    is_end = False
    while not is_end:
        block = file.read(_BLOCK_SAMPLES, dtype="float32", always_2d=True)
        is_end = len(block) < _BLOCK_SAMPLES
        yield block


def _mean(block: np.ndarray) -> np.ndarray:
    if block.shape[1] == 1:
        return block[:, 0]
    # Infinite samples of opposite signs are found later.
    with np.errstate(invalid="ignore", over="ignore"):
        return block.mean(axis=1, dtype=np.float32)


def _why_unreadable(path: Path, error: str) -> str:
    if not path.exists():
        return "does not exist: correct the path."
    if not path.is_file():
        return "is not a file: correct the path."
    if path.stat().st_size == 0:
        return "is an empty file: copy it again."
    reason = error.split(": ", 1)[-1].rstrip(".")
    return f"cannot be read as audio ({reason}): copy it again, or convert it to wav or flac."


def to_float(waveform: np.ndarray) -> np.ndarray:
    """Turns int16 samples into float32 in [-1, 1), exactly."""
    return np.multiply(waveform, np.float32(1 / 32768), dtype=np.float32)


def pad_together(waveforms: Sequence[np.ndarray]) -> np.ndarray:
    """Stacks int16 waveforms into one float32 batch, zeros behind the shorter ones.

    Returns:
      waveform [batch, num_samples] float32, at least one sample long.
    """
    batch = np.zeros((len(waveforms), max([1, *map(len, waveforms)])), np.int16)
    for row, waveform in zip(batch, waveforms, strict=True):
        row[: len(waveform)] = waveform
    return to_float(batch)


def sha256(waveform: np.ndarray) -> str:
    """Hashes decoded samples (little-endian int16), to find one recording under two names."""
    return hashlib.sha256(waveform.astype("<i2").tobytes()).hexdigest()


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


def log_mel(waveform: tf.Tensor, front_end: FrontEnd) -> tuple[tf.Tensor, tf.Tensor]:
    """Computes log-mel spectrograms of a batch, silent ends trimmed off.

    Trailing zero samples count as padding, so a clip reads the same alone and beside longer ones. A clip shorter than
    one frame is padded to one; a clip of zeros has no frames.

    Args:
      waveform: [batch, num_samples] float32 in [-1, 1) at 16 kHz.
      front_end: The settings.

    Returns:
      log_mel [batch, max_frames, mel_bins] float32, natural logarithm of the mel magnitude; frames behind a clip's
        end hold the silence value. max_frames is at least 1.
      num_frames [batch] int32: frames of each clip; 0 where it is absent.
    """
    import tensorflow as tf

    frame_length, hop_length = front_end.frame_length, front_end.hop_length
    positions = tf.range(1, tf.shape(waveform)[1] + 1)
    num_samples = tf.reduce_max(tf.where(waveform != 0.0, positions, 0), axis=1)  # [batch]
    num_frames = 1 + tf.maximum(num_samples - frame_length, 0) // hop_length
    num_frames = tf.where(num_samples > 0, num_frames, 0)
    waveform = tf.pad(waveform, [[0, 0], [0, tf.maximum(frame_length - tf.shape(waveform)[1], 0)]])
    magnitude = tf.abs(tf.signal.stft(waveform, frame_length, hop_length, front_end.num_fft, _hann))
    mel = tf.einsum("btf,fm->btm", magnitude, mel_matrix(front_end))  # [batch, max_frames, mel_bins]
    features = tf.math.log(mel + front_end.log_offset)
    if front_end.trim_db is not None:
        first, num_frames = _loud_span(mel, num_frames, front_end)
        features = _shift_left(features, first)
    is_frame = tf.sequence_mask(num_frames, tf.shape(features)[1])[:, :, tf.newaxis]
    return tf.where(is_frame, features, front_end.silence), num_frames


def _hann(frame_length: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    """Makes the periodic Hann window; that of tf.signal is not periodic where its length is odd."""
    import tensorflow as tf

    return tf.signal.hann_window(frame_length + 1, periodic=False, dtype=dtype)[:-1]


@functools.cache
def compiled_log_mel(front_end: FrontEnd) -> Callable[[np.ndarray], tuple[tf.Tensor, tf.Tensor]]:
    """Compiles `log_mel` once for batches of any size."""
    import tensorflow as tf

    signature = [tf.TensorSpec([None, None], tf.float32, name="waveform")]
    return tf.function(functools.partial(log_mel, front_end=front_end), input_signature=signature)


def _loud_span(mel: tf.Tensor, num_frames: tf.Tensor, front_end: FrontEnd) -> tuple[tf.Tensor, tf.Tensor]:
    """Finds the frames between silent ends: the first one [batch] and how many [batch]."""
    import tensorflow as tf

    # Energy of the mel bands rather than of the samples: an offset or a rumble below min_hz is not speech.
    energy = tf.reduce_sum(tf.square(mel), axis=2)  # [batch, max_frames]
    energy = tf.where(tf.sequence_mask(num_frames, tf.shape(mel)[1]), energy, 0.0)
    threshold = tf.reduce_max(energy, axis=1, keepdims=True) * 10 ** (-(front_end.trim_db or 0.0) / 10)
    is_loud = (energy >= threshold) & (energy > 0.0)
    margin = round(TRIM_MARGIN_SECONDS / front_end.hop_seconds)
    positions = tf.range(tf.shape(mel)[1])
    first = tf.maximum(tf.reduce_min(tf.where(is_loud, positions, tf.shape(mel)[1]), axis=1) - margin, 0)
    last = tf.minimum(tf.reduce_max(tf.where(is_loud, positions, -1), axis=1) + margin, num_frames - 1)
    # Where a clip is only inaudible (below the lowest band), no frame is loud and all stay.
    is_any = tf.reduce_any(is_loud, axis=1)
    return tf.where(is_any, first, 0), tf.where(is_any, last - first + 1, num_frames)


def _shift_left(features: tf.Tensor, first: tf.Tensor) -> tf.Tensor:
    """Moves frame `first` of each clip to the front; what runs in from behind is masked by the caller."""
    import tensorflow as tf

    max_frames = tf.shape(features)[1]
    index = tf.minimum(first[:, tf.newaxis] + tf.range(max_frames), max_frames - 1)
    return tf.gather(features, index, axis=1, batch_dims=1)


def normalise(log_mel: tf.Tensor, num_frames: tf.Tensor) -> tf.Tensor:
    """Removes each clip's own band means and divides by its standard deviation.

    What a loud recording or a dull microphone does to all frames alike is gone afterwards. Frames behind the clip's
    end hold the normalised silence value, if they held the silence value before.

    Args:
      log_mel: [batch, max_frames, mel_bins] float32.
      num_frames: [batch] int32.

    Returns:
      [batch, max_frames, mel_bins] float32: over each clip's own frames every band has mean 0 and all of them together
      standard deviation 1 (less for clips of one frame, whose bands do not vary).
    """
    import tensorflow as tf

    is_frame = tf.sequence_mask(num_frames, tf.shape(log_mel)[1], dtype=log_mel.dtype)[:, :, tf.newaxis]
    count = tf.maximum(tf.cast(num_frames, log_mel.dtype), 1.0)[:, tf.newaxis, tf.newaxis]
    mean = tf.reduce_sum(log_mel * is_frame, axis=1, keepdims=True) / count  # [batch, 1, mel_bins]
    centred = log_mel - mean
    squares = tf.reduce_sum(tf.square(centred * is_frame), axis=1, keepdims=True) / count
    deviation = tf.sqrt(tf.reduce_mean(squares, axis=2, keepdims=True))  # [batch, 1, 1]
    return centred / tf.maximum(deviation, 0.1)
