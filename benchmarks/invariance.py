"""Asks whether the same speech gets the same prediction: `python -m benchmarks.invariance --run RUN --source DIR`.

Each RUN is a finished and exported run, DIR the recordings that all were trained on (data/ravdess), by one fold.
Recordings of its test speakers are changed in 30 ways, as people, microphones and formats change them, written to
files and predicted like any other file. Of each change: the share of predictions that change, among all clips and among
those whose two most probable emotions were more than 0.05 apart, and the mean change of the probabilities (half of the
summed absolute differences, in [0, 1]). The test split is read to look for changes, not for a score. Writes
results/invariance.json beside this file.
"""

import argparse
import dataclasses
import random
import sys
import tempfile
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.result_files import write_result
from emotion_tf.runs.folder import Run
from emotion_tf.serving import Predictor
from pipelines.command import InputError, progress_bar, run_command
from pipelines.corpora import ravdess

RATE = 48000
"""Hz of the recordings that are changed; those of RAVDESS have it."""

CLEAR = 0.05
"""Predictions count as clear where the two most probable emotions are further apart."""


@dataclasses.dataclass(frozen=True)
class Change:
    """One way to change a recording.

    Attributes:
      name: As tables show it.
      apply: From samples [num_samples] float64 in [-1, 1) at 48 kHz, and a random generator, to samples
        [num_samples] or [num_samples, num_channels]; None: the clip cannot be changed so without clipping.
      write: How the file is written: a subtype of soundfile for a WAV, or "codec container kbit/s" for PyAV.
      rate: Hz of the file.
      is_exact: Whether the prediction is to stay the same; else its change is only measured.
    """

    name: str
    apply: Callable[[np.ndarray, np.random.Generator], np.ndarray | None]
    write: str = "FLOAT"
    rate: int = RATE
    is_exact: bool = True


def _gain(decibels: float) -> Callable[[np.ndarray, np.random.Generator], np.ndarray | None]:
    def change(samples: np.ndarray, rng: np.random.Generator) -> np.ndarray | None:
        louder = samples * 10 ** (decibels / 20)
        return louder if np.abs(louder).max() < 1 else None

    return change


def _peak(decibels: float) -> Callable[[np.ndarray, np.random.Generator], np.ndarray]:
    return lambda samples, rng: samples / np.abs(samples).max() * 10 ** (decibels / 20)


def _offset(offset: float) -> Callable[[np.ndarray, np.random.Generator], np.ndarray | None]:
    def change(samples: np.ndarray, rng: np.random.Generator) -> np.ndarray | None:
        return samples + offset if np.abs(samples + offset).max() < 1 else None

    return change


def _room(num_samples: int, samples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Makes room tone 60 dB below the loudest sample."""
    return 1e-3 * np.abs(samples).max() * rng.standard_normal(num_samples)


def _click(*seconds: float) -> Callable[[np.ndarray, np.random.Generator], np.ndarray]:
    """Puts room tone of a second around a clip, and 5 ms of noise as loud as its loudest sample into it."""

    def change(samples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        longer = np.concatenate([_room(RATE, samples, rng), samples, _room(RATE, samples, rng)])
        for second in seconds:
            start = round(second * RATE) if second >= 0 else len(longer) + round(second * RATE)
            length = RATE // 200
            longer[start : start + length] += np.abs(samples).max() * rng.uniform(-1, 1, length) * np.hanning(length)
        return longer

    return change


def _noise(snr_db: float) -> Callable[[np.ndarray, np.random.Generator], np.ndarray]:
    def change(samples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        rms = np.sqrt(np.mean(np.square(samples)))
        return samples + rms * 10 ** (-snr_db / 20) * rng.standard_normal(len(samples))

    return change


def _hum(samples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Adds 50 Hz and its odd harmonics, 30 dB below the clip."""
    time = np.arange(len(samples)) / RATE
    tone = sum(np.sin(2 * np.pi * 50 * k * time) / k for k in (1, 3, 5))
    return samples + np.sqrt(np.mean(np.square(samples))) * 10 ** (-30 / 20) * tone


def _silence(before: float, after: float, is_room: bool) -> Callable[[np.ndarray, np.random.Generator], np.ndarray]:
    def change(samples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        ends = [round(seconds * RATE) for seconds in (before, after)]
        first, last = (_room(count, samples, rng) if is_room else np.zeros(count) for count in ends)
        return np.concatenate([first, samples, last])

    return change


def _same(samples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return samples


CHANGES = (
    Change("16 bit", _same, "PCM_16"),
    Change("gain -6 dB, 16 bit", _gain(-6), "PCM_16"),
    Change("gain -20 dB, 24 bit", _gain(-20), "PCM_24"),
    Change("gain -30 dB, 24 bit", _gain(-30), "PCM_24"),
    Change("gain +6 dB (where it does not clip)", _gain(6), "PCM_16"),
    Change("peak at -1 dB, 16 bit", _peak(-1), "PCM_16"),
    Change("peak at -50 dB, 16 bit", _peak(-49.9), "PCM_16"),
    Change("offset 0.005", _offset(0.005), "PCM_16"),
    Change("offset 0.02", _offset(0.02), "PCM_16"),
    Change("offset 0.1", _offset(0.1), "PCM_16"),
    Change("click before the speech", _click(0.5), "PCM_16"),
    Change("click behind the speech", _click(-0.5), "PCM_16"),
    Change("clicks before and behind", _click(0.1, -0.1), "PCM_16"),
    Change("1 s of digital silence before", _silence(1, 0, False), "PCM_16"),
    Change("1 s of digital silence behind", _silence(0, 1, False), "PCM_16"),
    Change("1 s of room tone before and behind", _silence(1, 1, True), "PCM_16"),
    Change("inverted polarity", lambda samples, rng: -samples, "PCM_16"),
    Change("stereo, right channel dead", lambda samples, rng: np.stack([samples, 0 * samples], 1), "PCM_16"),
    Change("stereo of opposite polarity", lambda samples, rng: np.stack([samples, -samples], 1), "PCM_16"),
    Change("44.1 kHz", _same, "PCM_16", 44100),
    Change("22.05 kHz", _same, "PCM_16", 22050),
    Change("16 kHz", _same, "PCM_16", 16000),
    Change("8 kHz (telephone band)", _same, "PCM_16", 8000, is_exact=False),
    Change("MP3, 24 kbit/s", _same, "libmp3lame mp3 24", 24000, is_exact=False),
    Change("AAC, 24 kbit/s", _same, "aac ipod 24", 24000, is_exact=False),
    Change("Opus, 24 kbit/s", _same, "libopus ogg 24", 48000, is_exact=False),
    Change("AMR, 12.2 kbit/s (telephone band)", _same, "libopencore_amrnb amr 12.2", 8000, is_exact=False),
    Change("white noise, SNR 30 dB", _noise(30), "PCM_16", is_exact=False),
    Change("white noise, SNR 20 dB", _noise(20), "PCM_16", is_exact=False),
    Change("mains hum, 30 dB below", _hum, "PCM_16", is_exact=False),
)


def main(argv: list[str] | None = None) -> None:
    """Predicts every change of every clip, prints a table and writes the result."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--run", type=Path, nargs="+", required=True, help="finished and exported runs on RAVDESS")
    parser.add_argument("--source", type=Path, required=True, help="the folder of RAVDESS")
    parser.add_argument("--clips", type=int, default=48, help="of test speakers, drawn (%(default)s)")
    arguments = parser.parse_args(argv)
    runs: dict[str, list[dict[str, Any]]] = {}
    for run in [Run(folder).require_finished() for folder in arguments.run]:
        clips = _clips(run, arguments.source, arguments.clips)
        found = runs[run.folder.name] = measure(Predictor(run.folder), clips)
        print(f"{run.folder}: {len(clips)} clips", *map(_line, found), sep="\n")
    write_result("invariance", {"runs": runs})


def _clips(run: Run, source: Path, count: int) -> list[Path]:
    """Draws recordings of the run's test speakers."""
    speakers = set(run.metadata().fold.test)
    found = [one.audio for one in ravdess.read(source).utterances if one.speaker in speakers and one.audio]
    if not found:
        raise InputError(f"{source} holds no recording of the test speakers of {run.folder}: name its corpus.")
    random.Random(0).shuffle(found)
    return sorted(found[:count])


def measure(predictor: Predictor, clips: list[Path]) -> list[dict[str, Any]]:
    """Predicts clips before and after each change.

    Returns:
      Of each change: name, is_exact, num_clips, changed and changed_where_clear (shares), mean_change, largest_change.
    """
    with tempfile.TemporaryDirectory() as folder, progress_bar(len(clips), "invariance", "clip") as bar:
        tables: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {change.name: [] for change in CHANGES}
        for number, clip in enumerate(clips):
            samples = _read(clip)
            before = _probabilities(predictor, clip)
            for change, path in _written(samples, Path(folder), number):
                tables[change.name].append((before, _probabilities(predictor, path)))
                path.unlink()
            bar.update()
    return [_row(change, tables[change.name]) for change in CHANGES]


def _read(clip: Path) -> np.ndarray:
    import soundfile
    import soxr

    samples, rate = soundfile.read(clip, dtype="float64", always_2d=True)
    return soxr.resample(samples.mean(axis=1), rate, RATE) if rate != RATE else samples.mean(axis=1)


def _probabilities(predictor: Predictor, path: Path) -> np.ndarray:
    return np.array(list(predictor.predict(path).probabilities.values()))


def _written(samples: np.ndarray, folder: Path, seed: int) -> Iterator[tuple[Change, Path]]:
    """Writes each change of a clip to a file."""
    import soxr

    for number, change in enumerate(CHANGES):
        changed = change.apply(samples, np.random.default_rng([seed, number]))
        if changed is None:
            continue
        changed = soxr.resample(changed, RATE, change.rate) if change.rate != RATE else changed
        path = folder / f"{number}.{change.write.split()[1] if ' ' in change.write else 'wav'}"
        _write(path, changed, change)
        yield change, path


def _write(path: Path, samples: np.ndarray, change: Change) -> None:
    if " " not in change.write:
        import soundfile

        soundfile.write(path, np.clip(samples, -1, 1 - 2**-15), change.rate, subtype=change.write)
        return
    import av

    codec, container, kilobits = change.write.split()
    with av.open(str(path), "w", format=container) as output:
        stream: Any = output.add_stream(codec, rate=change.rate)
        stream.bit_rate, stream.layout = round(1000 * float(kilobits)), "mono"
        context = stream.codec_context
        context.open()
        resampler = av.AudioResampler(context.format.name, "mono", change.rate, context.frame_size or 1024)
        frame = av.AudioFrame.from_ndarray(samples.astype(np.float32)[np.newaxis], format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = change.rate, 0, Fraction(1, change.rate)
        for piece in [*resampler.resample(frame), *resampler.resample(None), None]:
            output.mux(stream.encode(piece))


def _row(change: Change, pairs: list[tuple[np.ndarray, np.ndarray]]) -> dict[str, Any]:
    before, after = (np.array(table) for table in zip(*pairs, strict=True))
    is_changed = before.argmax(axis=1) != after.argmax(axis=1)
    ordered = np.sort(before, axis=1)
    is_clear = ordered[:, -1] - ordered[:, -2] > CLEAR
    moved = np.abs(before - after).sum(axis=1) / 2
    return {
        "change": change.name,
        "is_exact": change.is_exact,
        "num_clips": len(pairs),
        "changed": float(is_changed.mean()),
        "changed_where_clear": float(is_changed[is_clear].mean()) if is_clear.any() else 0.0,
        "mean_change": float(moved.mean()),
        "largest_change": float(moved.max()),
    }


def _line(row: dict[str, Any]) -> str:
    return (
        f"{row['change']:<38} {row['num_clips']:>4} clips  changed {row['changed']:.3f}"
        f"  where clear {row['changed_where_clear']:.3f}  mean change {row['mean_change']:.4f}"
    )


if __name__ == "__main__":
    sys.exit(run_command(main))
