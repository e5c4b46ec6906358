"""What no front end can mend in a recording: a narrow band, clipping, noise, mains hum, hardly any length.

Numpy alone, about 1 ms a clip: `prepare` and `predict` call it for every one. The results of floating-point samples
depend neither on their level nor on an offset; those of int16 only as far as rounding adds noise to faint ones.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator

import numpy as np

from pipelines.audio.waveform import SAMPLE_RATE

MIN_SECONDS = 0.2
"""A shorter recording is no utterance: a syllable takes about as long."""

MAX_CLIPPED_SHARE = 0.03
"""Of samples. Clips of RAVDESS stay below it, and those that are driven 20 dB into clipping reach 0.046 to 0.3."""

MIN_SNR_DB = 10.0

BAND_RATIO = 0.7
"""A recording is narrow if it reaches less high than this share of the frequency that those of training reach."""

FINDINGS = ("short", "narrow", "clipped", "noisy", "hum")

_FRAME_LENGTH = 512
_HOP_LENGTH = 512
_BAND_BINS = 8
_NUM_LEVELS = 200
_MIN_SNR_SECONDS = 0.5
_MAX_SNR_DB = 100.0

# Speech of RAVDESS lies above -50 dB up to 7.5 kHz, and below -60 dB above 5 kHz after a telephone's 8 kHz.
_MIN_BAND_DB = -55.0
_MIN_OVER_ROUNDING_DB = 6.0

# Below about 90 Hz there is more rumble and hum than voice.
_LOWEST_SNR_BIN = 3

# Periods of a voice, or several of a tone: 80 to 500 Hz, at least five of them in a frame.
_SHORTEST_LAG, _LONGEST_LAG = 32, 200
_LONG_FRAME = 1024

# Of the energy that one line holds: RAVDESS stays below 0.8, and a tone clipped by 6 dB below 0.955.
_TONE_SHARE = 0.96
_LINE_BINS = 2

# Hum is a line that does not move; the voice's harmonics do, so that none stands out like this for a whole clip.
_HUM_DECIMATION = 16
_MIN_HUM_SECONDS = 1.0
_MAX_HUM_WANDER_HZ = 0.5
_HUM_SURROUNDINGS_HZ = 8.0
_MIN_LINE_OVER_MEDIAN_DB = 15.0
_MIN_LINE_OVER_PEAKS_DB = 6.0
_MIN_HUM_DB = -30.0


@dataclasses.dataclass(frozen=True)
class Quality:
    """What was found in a recording.

    Attributes:
      seconds: Its length.
      bandwidth_hz: Up to where it has energy, in steps of 250 Hz; None where it is too short to tell, or silent.
      clipped_share: Of its samples that are flattened at the top or the bottom, in [0, 1]; 0 where it is too short.
      snr_db: Of voice to noise, 100 at most; None where it is too short to tell, or silent.
      hum_hz: 50 or 60 if the mains hum in it; otherwise None.
    """

    seconds: float
    bandwidth_hz: float | None = None
    clipped_share: float = 0.0
    snr_db: float | None = None
    hum_hz: float | None = None


def inspect(waveform: np.ndarray, peak: float | None = None, bits: int = 16) -> Quality:
    """Measures what is wrong with a recording.

    Args:
      waveform: [num_samples] int16, or floating-point of any level, at 16 kHz.
      peak: Of the recording before its level was changed, as a share of full scale: faint ones were rounded to steps of
        their own. None: as it is.
      bits: Of its samples then.
    """
    seconds = len(waveform) / SAMPLE_RATE
    if not len(waveform) or not np.ptp(waveform):
        return Quality(seconds)
    samples = waveform.astype(np.float32)
    samples -= np.float32(waveform.mean(dtype=np.float64))
    highest = max(float(samples.max()), -float(samples.min()))
    samples /= np.float32(highest)
    steps = min(highest, 2 ** (bits - 1) * peak) if peak else highest
    rounding = 1 / 12 / steps**2 if waveform.dtype.kind == "i" else 0.0  # The variance of uniform noise of one step.
    power = _power(samples)  # [num_frames, num_bins]
    clipped_share = _clipped_share(samples) if seconds >= MIN_SECONDS else 0.0
    return Quality(
        seconds,
        bandwidth_hz=_bandwidth_hz(power, rounding) if seconds >= MIN_SECONDS else None,
        clipped_share=clipped_share if clipped_share and not _is_tone(power) else 0.0,
        snr_db=_snr_db(samples, power) if seconds >= _MIN_SNR_SECONDS else None,
        hum_hz=_hum_hz(samples) if seconds >= _MIN_HUM_SECONDS else None,
    )


def findings_of(quality: Quality, usual_hz: float | None) -> dict[str, str]:
    """Says what a reader of a prediction should know of a recording.

    Args:
      quality: Of the recording.
      usual_hz: Up to where the recordings reach that a model was trained on; None: not known, or there are none.

    Returns:
      Finding, one of `FINDINGS` -> a sentence.
    """
    return dict(_findings(quality, usual_hz))


def is_narrow(bandwidth_hz: float, usual_hz: float | None) -> bool:
    """Tells whether other recordings, which reach up to `usual_hz`, reach clearly higher than one."""
    return usual_hz is not None and bandwidth_hz < BAND_RATIO * usual_hz


def _findings(quality: Quality, usual_hz: float | None) -> Iterator[tuple[str, str]]:
    if quality.seconds < MIN_SECONDS:
        yield "short", f"{quality.seconds:.2f} s is too short to be an utterance"
    if quality.bandwidth_hz is not None and is_narrow(quality.bandwidth_hz, usual_hz):
        kilohertz = f"{round(quality.bandwidth_hz / 500) / 2:g} kHz"
        yield "narrow", f"nothing above {kilohertz}, unlike the recordings that the model was trained on"
    if quality.clipped_share > MAX_CLIPPED_SHARE:
        yield "clipped", f"the recording is clipped: {quality.clipped_share:.0%} of its samples are flattened"
    if quality.snr_db is not None and quality.snr_db < MIN_SNR_DB:
        yield "noisy", f"the recording is noisy: its signal-to-noise ratio is {quality.snr_db:.0f} dB"
    if quality.hum_hz is not None:
        yield "hum", f"the mains hum in the recording ({quality.hum_hz:.0f} Hz)"


@functools.lru_cache(maxsize=8)
def _window(length: int) -> np.ndarray:
    return np.hanning(length + 1)[:-1].astype(np.float32)


def _power(samples: np.ndarray) -> np.ndarray:
    """Computes the power spectra of frames: [num_frames, _FRAME_LENGTH // 2 + 1] float32."""
    if len(samples) < _FRAME_LENGTH:
        return np.zeros((0, _FRAME_LENGTH // 2 + 1), np.float32)
    frames = np.lib.stride_tricks.sliding_window_view(samples, _FRAME_LENGTH)[::_HOP_LENGTH]
    spectrum = np.fft.rfft(frames * _window(_FRAME_LENGTH), axis=1)
    return (spectrum.real**2 + spectrum.imag**2).astype(np.float32)


def _bandwidth_hz(power: np.ndarray, rounding: float) -> float | None:
    """Finds the upper end of the highest band with energy well above the floor.

    The energy is that of the loudest twentieth of frames, a band at a time: a click is shorter, a fricative longer.

    Args:
      power: [num_frames, num_bins].
      rounding: Variance of the noise of rounding, in the square of the samples' unit.
    """
    bands = power[:, :-1].reshape(len(power), -1, _BAND_BINS).mean(axis=2)  # [num_frames, num_bands]
    rank = int(0.95 * (len(bands) - 1))
    loud = np.partition(bands, rank, axis=0)[rank]  # [num_bands]
    floor = rounding * float((_window(_FRAME_LENGTH) ** 2).sum()) * 10 ** (_MIN_OVER_ROUNDING_DB / 10)
    found = np.flatnonzero(loud > max(floor, loud.max() * 10 ** (_MIN_BAND_DB / 10)))
    return float(found[-1] + 1) * _BAND_BINS * SAMPLE_RATE / _FRAME_LENGTH if len(found) else None


def _clipped_share(samples: np.ndarray) -> float:
    """Adds up what is flattened at the top and at the bottom.

    The levels of a voice grow rarer towards its peak, those of a clipped one heap up there. Samples of equal level are
    not asked for: clipping at another rate, or before a codec, leaves ripples on what was flat.

    Args:
      samples: [num_samples] without offset.

    Source: S. Aleinik and Y. Matveev, Detection of clipped fragments in speech signals, World Academy of Science,
      Engineering and Technology 8 (2), 2014: histograms of clipped speech do not decay towards its peak.
    """
    levels = ((samples + 1) * _NUM_LEVELS).astype(np.intp)
    histogram = np.bincount(levels, minlength=2 * _NUM_LEVELS + 1)
    sides = histogram[_NUM_LEVELS : 2 * _NUM_LEVELS], histogram[_NUM_LEVELS - 1 :: -1]
    return sum(_heaped(side) for side in sides) / len(samples)


def _heaped(counts: np.ndarray) -> int:
    """Returns how many more samples there are at the top than just below it; ripples may stand above a clipped top.

    Args:
      counts: [num_levels], from 0 to the peak of the whole recording.
    """
    above = np.append(np.cumsum(counts[::-1])[::-1], 0)  # [num_levels + 1]: at a level or higher.
    peak = np.flatnonzero(counts)[-1] + 1 if counts.any() else 0
    tops = [peak * share // 20 for share in range(20, 13, -1)]
    return max(0, *(int(2 * above[top * 4 // 5] - above[top * 3 // 5]) for top in tops))


def _is_tone(power: np.ndarray) -> bool:
    """Tells whether a recording is a pure tone, the levels of which heap up at its peaks without being clipped.

    Args:
      power: [num_frames, num_bins].
    """
    padded = np.pad(power, [(0, 0), (_LINE_BINS, _LINE_BINS)])
    lines = power.argmax(axis=1)[:, None] + np.arange(2 * _LINE_BINS + 1)  # [num_frames, num_line_bins]
    held = np.take_along_axis(padded, lines, axis=1)
    return float(held.sum(dtype=np.float64)) > _TONE_SHARE * float(power.sum(dtype=np.float64))


def _snr_db(samples: np.ndarray, power: np.ndarray) -> float:
    """Compares all frames with the quietest tenth of them, which pauses and stops leave to the noise.

    Of a voice that never pauses they hold the voice, too: if it seems noisy, the SNR is at least that of its periods.

    Args:
      samples: [num_samples].
      power: [num_frames, num_bins] of it.

    Source: a low percentile of the energies for the noise, as in ISIP's signal_to_noise
      (isip.piconepress.com/projects/speech/software/legacy/signal_to_noise).
    """
    energy = power[:, _LOWEST_SNR_BIN:].sum(axis=1, dtype=np.float64)
    quiet = np.argsort(energy)[: max(1, len(energy) // 10)]
    noise = energy[quiet].mean()
    voice = energy.mean() - noise
    found = _decibels(voice, noise)
    if found < MIN_SNR_DB:
        found = max(found, _harmonicity_db(samples, quiet * _HOP_LENGTH + _FRAME_LENGTH // 2))
    return min(_MAX_SNR_DB, found)


def _decibels(power: float, noise: float) -> float:
    least = 10 ** (-_MAX_SNR_DB / 10)
    return float(10 * np.log10(max(power, least) / max(noise, least)))


def _harmonicity_db(samples: np.ndarray, centres: np.ndarray) -> float:
    """Compares what repeats itself around some samples with what does not.

    Args:
      samples: [num_samples], at least _LONG_FRAME of them.
      centres: [num_frames], places in it.

    Source: P. Boersma, Accurate short-term analysis of the fundamental frequency and the harmonics-to-noise ratio of a
      sampled sound, Proceedings of the Institute of Phonetic Sciences 17, University of Amsterdam, 1993: the
      autocorrelation is divided by that of the window.
    """
    starts = np.clip(centres - _LONG_FRAME // 2, 0, len(samples) - _LONG_FRAME)
    frames = np.lib.stride_tricks.sliding_window_view(samples, _LONG_FRAME)[starts]
    correlation = _autocorrelation(frames * _window(_LONG_FRAME)) / _autocorrelation(_window(_LONG_FRAME))
    whole = correlation[:, 0]  # [num_frames]
    repeated = np.clip(correlation[:, _SHORTEST_LAG:].max(axis=1), 0, whole).sum(dtype=np.float64)
    return _decibels(repeated, whole.sum(dtype=np.float64) - repeated)


def _autocorrelation(frames: np.ndarray) -> np.ndarray:
    """Computes it along the last axis up to _LONGEST_LAG."""
    spectrum = np.fft.rfft(frames, 2 * _LONG_FRAME)
    return np.fft.irfft(np.abs(spectrum) ** 2)[..., : _LONGEST_LAG + 1]


def _hum_hz(samples: np.ndarray) -> float | None:
    """Finds a steady line at the mains' frequency or at twice that, where rectifiers hum; higher ones are a voice's."""
    count = len(samples) // _HUM_DECIMATION // 64 * 64  # Of small factors, for the sake of the transform.
    low = samples[: count * _HUM_DECIMATION].reshape(count, _HUM_DECIMATION).mean(axis=1)  # At 1 kHz.
    power = np.abs(np.fft.rfft(low * np.hanning(count))) ** 2  # [count // 2 + 1]
    least = float(samples @ samples) / len(samples) * 10 ** (_MIN_HUM_DB / 10)
    bin_hz = SAMPLE_RATE / _HUM_DECIMATION / count
    width = round(_MAX_HUM_WANDER_HZ / bin_hz)
    for mains in (50.0, 60.0):
        centres = [round(harmonic * mains / bin_hz) for harmonic in (1, 2)]
        peaks = [float(power[centre - width : centre + width + 1].max()) for centre in centres]
        # A sine of power P gives a Hann-windowed spectrum the peak P * count**2 / 8.
        least_peak = least * count**2 / 8
        if sum(peaks) > least_peak:
            pairs = zip(peaks, centres, strict=True)
            if sum(peak for peak, centre in pairs if _stands_out(peak, power, centre, bin_hz)) > least_peak:
                return mains
    return None


def _stands_out(peak: float, power: np.ndarray, centre: int, bin_hz: float) -> bool:
    """Tells whether a peak of a spectrum is a line: far above what surrounds it."""
    # Two bins more on both sides are the width that the window gives to a line.
    inner = round(_MAX_HUM_WANDER_HZ / bin_hz) + 3
    outer = inner + max(4, round(_HUM_SURROUNDINGS_HZ / bin_hz))
    around = np.concatenate([power[centre - outer : centre - inner], power[centre + inner + 1 : centre + outer + 1]])
    over_median = 10 ** (_MIN_LINE_OVER_MEDIAN_DB / 10) * np.median(around)
    over_peaks = 10 ** (_MIN_LINE_OVER_PEAKS_DB / 10) * around.max()
    return bool(peak > max(over_median, over_peaks))
