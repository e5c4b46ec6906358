"""Measures how often faults of recordings are found, and found where none is.

`python -m benchmarks.quality --source data/ravdess` inspects --clips clean recordings as they are, without their silent
ends, and changed: a telephone's 8 kHz, clipped by 20 dB (at 16 kHz, and at 48 kHz before they are resampled), white
and pink noise at an SNR of 5 dB, a hum of the mains 15 dB below the voice, and three levels. Prints and writes
results/quality.json beside this file: for each change the share of clips with each finding, and the milliseconds a
clip.
"""

import argparse
import collections
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soxr

from benchmarks.result_files import write_result
from pipelines.audio import SAMPLE_RATE, decode, to_float
from pipelines.audio.quality import FINDINGS, Quality, findings_of, inspect
from pipelines.audio.silence import TRIM_DB, block_energy_on_host, loud_span_on_host
from pipelines.command import InputError, run_command

_Change = Callable[[np.ndarray, np.random.Generator], np.ndarray]


def main(argv: list[str] | None = None) -> None:
    """Inspects clean and changed clips, prints and writes the shares."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--source", type=Path, default=Path("data/ravdess"))
    parser.add_argument("--clips", type=int, default=200, help="evenly taken of all (%(default)s)")
    arguments = parser.parse_args(argv)
    paths = sorted(arguments.source.rglob("*.flac")) or sorted(arguments.source.rglob("*.wav"))
    if not paths:
        raise InputError(f"{arguments.source} holds no recordings: name a folder of some with --source.")
    clips = [decode(path) for path in paths[:: max(1, len(paths) // arguments.clips)][: arguments.clips]]
    found = {name: [inspect(clip) for clip in _changed(clips, change)] for name, change in CHANGES.items()}
    usual = float(np.median([one.bandwidth_hz or 0 for one in found["none"]]))
    result = {
        "source": arguments.source.name,
        "clips": len(clips),
        "bandwidth_hz": usual,
        "milliseconds": round(1000 * _seconds(clips) / len(clips), 2),
        "shares": {name: shares(qualities, usual) for name, qualities in found.items()},
    }
    write_result("quality", result)
    print(json.dumps(result, indent=1))


def shares(qualities: Sequence[Quality], usual_hz: float) -> Mapping[str, float]:
    """Counts each finding: finding -> share of the recordings."""
    counts = collections.Counter(finding for one in qualities for finding in findings_of(one, usual_hz))
    return {finding: round(counts[finding] / len(qualities), 4) for finding in FINDINGS}


def _changed(clips: Sequence[np.ndarray], change: _Change) -> list[np.ndarray]:
    """Changes clips [num_samples] int16, and rounds them again."""
    rng = np.random.default_rng(0)
    changed = (change(to_float(clip).astype(np.float64), rng) for clip in clips)
    return [np.clip(np.round(one * 32768), -32768, 32767).astype(np.int16) for one in changed]


def _seconds(clips: Sequence[np.ndarray]) -> float:
    start = time.perf_counter()
    for clip in clips:
        inspect(clip)
    return time.perf_counter() - start


def _trimmed(waveform: np.ndarray, _: Any) -> np.ndarray:
    energy = block_energy_on_host(waveform)
    first, end = loud_span_on_host(energy, TRIM_DB)
    length = len(waveform) // len(energy)
    return waveform[first * length : end * length]


def _telephone(waveform: np.ndarray, _: Any) -> np.ndarray:
    return soxr.resample(soxr.resample(waveform, SAMPLE_RATE, 8000), 8000, SAMPLE_RATE)


def _clipped(waveform: np.ndarray, _: Any) -> np.ndarray:
    return np.clip(10 * waveform / np.abs(waveform).max(), -1, 1)


def _clipped_at_48_khz(waveform: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    clipped = _clipped(soxr.resample(waveform, SAMPLE_RATE, 48000), rng)
    return 0.8 * soxr.resample(clipped, 48000, SAMPLE_RATE)


def _white(waveform: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return _with(waveform, rng.normal(size=len(waveform)), -5)


def _pink(waveform: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    spectrum = np.fft.rfft(rng.normal(size=len(waveform)))
    spectrum[1:] /= np.sqrt(np.arange(1, len(spectrum)))
    spectrum[: int(20 * len(waveform) / SAMPLE_RATE)] = 0  # Below 20 Hz there is no sound.
    return _with(waveform, np.fft.irfft(spectrum, len(waveform)), -5)


def _hum(mains: float) -> _Change:
    def hum(waveform: np.ndarray, _: Any) -> np.ndarray:
        seconds = np.arange(len(waveform)) / SAMPLE_RATE
        lines = [np.sin(2 * np.pi * mains * harmonic * seconds) / harmonic for harmonic in (1, 2, 3)]
        return _with(waveform, np.sum(lines, axis=0), -15)

    return hum


def _with(waveform: np.ndarray, addition: np.ndarray, decibels: float) -> np.ndarray:
    """Adds a sound at a level against that of the whole clip, and keeps the sum from clipping."""
    scale = np.sqrt(np.mean(waveform**2) / np.mean(addition**2)) * 10 ** (decibels / 20)
    mixed = waveform + scale * addition
    return mixed / max(1, 1.01 * np.abs(mixed).max())


CHANGES: Mapping[str, _Change] = {
    "none": lambda waveform, _: waveform,
    "silent ends cut off": _trimmed,
    "-20 dB": lambda waveform, _: waveform / 10,
    "peak at 0 dB": lambda waveform, _: waveform / np.abs(waveform).max() * 0.999,
    "offset of 0.05": lambda waveform, _: waveform + 0.05,
    "8 kHz": _telephone,
    "8 kHz, -20 dB": lambda waveform, rng: _telephone(waveform / 10, rng),
    "clipped by 20 dB": _clipped,
    "clipped by 20 dB at 48 kHz": _clipped_at_48_khz,
    "white noise, 5 dB": _white,
    "pink noise, 5 dB": _pink,
    "hum of 50 Hz, -15 dB": _hum(50),
    "hum of 60 Hz, -15 dB": _hum(60),
}
"""Name -> a function of a waveform [num_samples] float64 in [-1, 1) and a generator of random numbers."""


if __name__ == "__main__":
    sys.exit(run_command(main))
