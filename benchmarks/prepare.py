"""Measures how fast recordings become records: `python -m benchmarks.prepare --source DIR`.

DIR holds `ravdess/` (default: what EMOTION_TF_REAL_DATA names). Every repetition runs `prepare` and, over the same
clips, a plain loop of `librosa.load(sr=16000)` and `librosa.feature.melspectrogram`, one after the other in this
process, both warm; what a preparation of four clips takes, the start of the decoding processes, is subtracted. Once,
the whole command runs with its start. Writes results/prepare.json beside this file.
"""

import argparse
import dataclasses
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.result_files import write_result
from pipelines import audio
from pipelines.command import InputError, run_command
from pipelines.corpora import ravdess
from pipelines.records import writer
from pipelines.utterance import Corpus


def main(argv: list[str] | None = None) -> None:
    """Measures, prints and writes the result."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--source", type=Path, default=os.environ.get("EMOTION_TF_REAL_DATA"))
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--loop-clips", type=int, default=300, help="clips of the slow loop (%(default)s)")
    arguments = parser.parse_args(argv)
    if arguments.source is None:
        raise InputError("there is no folder of recordings: give --source, or set EMOTION_TF_REAL_DATA.")
    result = measure(Path(arguments.source) / "ravdess", arguments.repetitions, arguments.loop_clips)
    write_result("prepare", result)
    print(json.dumps(result, indent=1))


def measure(source: Path, repetitions: int, loop_clips: int) -> dict[str, Any]:
    """Times both ways, interleaved, and the command."""
    corpus = ravdess.read(source)
    paths = [utterance.audio for utterance in corpus.utterances if utterance.audio]
    step = max(1, len(paths) // loop_clips)
    with tempfile.TemporaryDirectory() as folder:
        prepare_records(corpus, Path(folder) / "warm")  # imports TensorFlow and compiles the front end
        librosa_loop(paths[:5])
        few = dataclasses.replace(corpus, utterances=corpus.utterances[:4])
        fast, slow, starts = [], [], []
        for repetition in range(repetitions):
            starts.append(_seconds(prepare_records, few, Path(folder) / f"few-{repetition}"))
            seconds = _seconds(prepare_records, corpus, Path(folder) / str(repetition))
            fast.append((len(paths) - 4) / (seconds - starts[-1]))
            slow.append(len(paths[::step]) / _seconds(librosa_loop, paths[::step]))
        command_seconds = _seconds(_run_command, source, Path(folder) / "command")
    return {
        "clips": len(paths),
        "cores": len(os.sched_getaffinity(0)),
        "prepare_clips_per_second": round(statistics.median(fast), 1),
        "librosa_loop_clips_per_second": round(statistics.median(slow), 1),
        "ratio": round(statistics.median(fast) / statistics.median(slow), 2),
        "command_seconds_with_start": round(command_seconds, 1),
        "start_of_workers_seconds": round(statistics.median(starts), 2),
        "all_prepare": [round(value, 1) for value in fast],
        "all_librosa_loop": [round(value, 1) for value in slow],
    }


def _seconds(function: Callable[..., None], *arguments: Any) -> float:
    start = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - start


def prepare_records(corpus: Corpus, folder: Path) -> None:
    """Prepares records of recordings alone, with the default front end."""
    writer.prepare(writer.Preparation(corpus, folder, audio.FrontEnd()))


def librosa_loop(paths: Sequence[Path]) -> None:
    """Reads recordings as many programs do, one by one."""
    import librosa  # Not above: the workers of prepare import this file.

    for path in paths:
        waveform, sample_rate = librosa.load(path, sr=16000)
        librosa.feature.melspectrogram(y=waveform, sr=sample_rate, n_fft=512, hop_length=160, win_length=400, n_mels=64)


def _run_command(source: Path, folder: Path) -> None:
    command = [sys.executable, "-m", "pipelines.prepare", "--corpus", "ravdess"]
    subprocess.run([*command, "--source", str(source), "--records", str(folder)], check=True, capture_output=True)


if __name__ == "__main__":
    sys.exit(run_command(main))
