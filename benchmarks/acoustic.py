"""Measures the acoustic features against librosa: `python -m benchmarks.acoustic --source data/ravdess`.

Takes clips spread evenly over the recordings below DIR, decoded beforehand. Every round extracts log-mel and all
acoustic features twice, one after the other: in batches, as `prepare` does, and in a loop of librosa with
`librosa.yin`. Then it compares the numbers: the largest difference of each group of columns as a share of what the
group spans, and the pitch with `librosa.yin` on the frames that `librosa.pyin` calls voiced. Silent ends stay, for
librosa would trim other ones. Writes results/acoustic.json beside this file.
"""

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.result_files import write_result
from pipelines import audio
from pipelines.audio.acoustic import HIGHEST_HZ, LOWEST_HZ, PITCH_LENGTH
from pipelines.command import InputError, import_tensorflow, run_command

FRONT_END = audio.FrontEnd(trim_db=None)
PITCH = {
    "fmin": LOWEST_HZ,
    "fmax": HIGHEST_HZ,
    "sr": audio.SAMPLE_RATE,
    "frame_length": PITCH_LENGTH,
    "hop_length": FRONT_END.hop_length,
    "center": False,
}
GROUPS = {"mfcc": 40, "deltas": 40, "chroma": 12, "contrast": 7, "zero_crossing_rate": 1, "rms": 1, "f0_hz": 1}
_BATCH = 32


def main(argv: list[str] | None = None) -> None:
    """Measures, prints and writes the result."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--source", type=Path, default=Path("data/ravdess"), help="folder of recordings (%(default)s)")
    parser.add_argument("--clips", type=int, default=50, help="how many (%(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="repetitions (%(default)s)")
    arguments = parser.parse_args(argv)
    paths = sorted(path for path in arguments.source.rglob("*") if path.suffix in audio.AUDIO_SUFFIXES)
    if not paths:
        raise InputError(f"{arguments.source} holds no recordings: give --source another folder.")
    chosen = paths[:: max(1, len(paths) // arguments.clips)][: arguments.clips]
    # Trailing zeros are padding, which librosa does not know.
    waveforms = [np.trim_zeros(audio.decode(path), "b") for path in chosen]
    import_tensorflow()
    result = {**measure(waveforms, arguments.rounds), **compare(waveforms)}
    write_result("acoustic", result)
    print(json.dumps(result, indent=1))


def measure(waveforms: list[np.ndarray], rounds: int) -> dict[str, Any]:
    """Times both ways, interleaved, both warm."""
    list(_ours(waveforms))
    list(_theirs(waveforms[:2]))
    ours, theirs = [], []
    for _ in range(rounds):
        start = time.perf_counter()
        list(_ours(waveforms))
        between = time.perf_counter()
        list(_theirs(waveforms))
        ours.append((between - start) / len(waveforms))
        theirs.append((time.perf_counter() - between) / len(waveforms))
    ratios = [slow / fast for slow, fast in zip(theirs, ours, strict=True)]
    return {
        "clips": len(waveforms),
        "seconds_of_sound": round(sum(map(len, waveforms)) / audio.SAMPLE_RATE, 1),
        "cores": len(os.sched_getaffinity(0)),
        "milliseconds_a_clip": round(1000 * statistics.median(ours), 2),
        "librosa_milliseconds_a_clip": round(1000 * statistics.median(theirs), 2),
        "ratio": round(statistics.median(ratios), 2),
        "all_ratios": [round(ratio, 2) for ratio in ratios],
    }


def compare(waveforms: list[np.ndarray]) -> dict[str, Any]:
    """Looks how far the numbers of both ways lie apart."""
    import librosa

    differences: dict[str, list[np.ndarray]] = {name: [] for name in ("log_mel", *GROUPS) if name != "f0_hz"}
    errors = []
    for waveform, found, expected in zip(waveforms, _ours(waveforms), _theirs(waveforms), strict=True):
        for name, values in differences.items():
            values.append((np.abs(found[name] - expected[name]) / np.ptp(expected[name])).ravel())
        is_voiced = librosa.pyin(_centred(waveform), **PITCH)[1][: len(found["f0_hz"])]
        wanted = expected["f0_hz"][is_voiced]
        errors.append((np.abs(found["f0_hz"][is_voiced] - wanted) / wanted).ravel())
    joined = {name: np.concatenate(values) for name, values in differences.items()}
    pitch = np.concatenate(errors)
    return {
        "largest_difference_as_share_of_span": {name: _short(values.max()) for name, values in joined.items()},
        "share_of_values_beyond_a_thousandth": {
            name: _short((values > 1e-3).mean()) for name, values in joined.items()
        },
        "voiced_frames": len(pitch),
        "pitch_error_median": _short(float(np.median(pitch))),
        "pitch_error_largest_median_of_a_clip": _short(max(np.median(one) for one in errors if len(one))),
        "pitch_share_within_2_percent": _short(float(np.mean(pitch < 0.02))),
    }


def _short(value: float) -> float:
    return float(f"{value:.3g}")


def _ours(waveforms: list[np.ndarray]) -> Iterator[Mapping[str, np.ndarray]]:
    """Extracts the features of all clips; yields group -> [num_frames, columns]."""
    transform = audio.compiled_features(FRONT_END, ("log_mel", "acoustic"))
    ends = np.cumsum(list(GROUPS.values()))
    for start in range(0, len(waveforms), _BATCH):
        features, num_frames = transform(audio.pad_together(waveforms[start : start + _BATCH]))
        log_mel, acoustic = features["log_mel"].numpy(), features["acoustic"].numpy()
        for number, count in enumerate(num_frames.numpy()):
            groups = np.split(acoustic[number, :count], ends, axis=1)
            yield {"log_mel": log_mel[number, :count], **dict(zip(GROUPS, groups, strict=False))}


def _theirs(waveforms: list[np.ndarray]) -> Iterator[Mapping[str, np.ndarray]]:
    """Extracts the same, one clip after the other, with librosa."""
    import librosa

    sizes = {"frame_length": FRONT_END.frame_length, "hop_length": FRONT_END.hop_length, "center": False}
    settings = {"n_fft": FRONT_END.num_fft, "hop_length": FRONT_END.hop_length, "win_length": FRONT_END.frame_length}
    shift = (FRONT_END.num_fft - FRONT_END.frame_length) // 2
    for samples in waveforms:
        waveform = audio.to_float(samples)
        num_frames = 1 + max(len(waveform) - FRONT_END.frame_length, 0) // FRONT_END.hop_length
        padded = np.pad(waveform, (shift, FRONT_END.num_fft))  # librosa centres a short window in the transform.
        magnitude = np.abs(librosa.stft(padded, center=False, **settings))[:, :num_frames]
        mel = librosa.feature.melspectrogram(
            S=magnitude, sr=audio.SAMPLE_RATE, n_mels=FRONT_END.mel_bins, fmin=FRONT_END.min_hz, fmax=FRONT_END.max_hz
        )
        log_mel = np.log(mel + FRONT_END.log_offset)
        mfcc = librosa.feature.mfcc(S=log_mel, n_mfcc=40)
        found = {
            "log_mel": log_mel,
            "mfcc": mfcc,
            "deltas": librosa.feature.delta(mfcc, mode="nearest"),
            "chroma": librosa.feature.chroma_stft(S=magnitude**2, sr=audio.SAMPLE_RATE, tuning=0.0),
            "contrast": librosa.feature.spectral_contrast(S=magnitude, sr=audio.SAMPLE_RATE),
            "zero_crossing_rate": librosa.feature.zero_crossing_rate(waveform, **sizes),
            "rms": librosa.feature.rms(y=waveform, **sizes),
            "f0_hz": librosa.yin(_centred(samples), **PITCH)[np.newaxis, :num_frames],
        }
        yield {name: values.T for name, values in found.items()}


def _centred(samples: np.ndarray) -> np.ndarray:
    """Pads a waveform so that frames of a pitch begin where ours do."""
    return np.pad(audio.to_float(samples), (PITCH_LENGTH // 2 - FRONT_END.frame_length // 2, PITCH_LENGTH))


if __name__ == "__main__":
    sys.exit(run_command(main))
