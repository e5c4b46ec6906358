"""Measures the timeline of a long recording: `python -m benchmarks.timeline --model RUN --source data/ravdess`.

Joins recordings of a folder, again and again, to recordings of a quarter and of a whole hour (--minutes), and runs
`python -m emotion_tf.predict --timeline` on each in a process of its own. Prints how many times faster than real time
that is, start-up included, and the most memory that its processes held (MiB). Adds them to results/timeline.json
beside this file, under the name of the model.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.memory import children_of, resident_mib
from benchmarks.result_files import commit, read_result, write_result
from pipelines import audio
from pipelines.command import InputError, run_command


def main(argv: list[str] | None = None) -> None:
    """Measures, prints and writes the result.

    Raises:
      InputError: A folder without recordings, or a model that cannot be used.
    """
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--model", type=Path, required=True, help="a run, or an export folder")
    parser.add_argument("--source", type=Path, required=True, help="a folder of recordings")
    parser.add_argument("--minutes", type=float, nargs="+", default=[15.0, 60.0])
    parser.add_argument("--name", help="of the model in the result (default: of its folder)")
    arguments = parser.parse_args(argv)
    files = sorted(path for path in arguments.source.rglob("*") if path.suffix.lower() in audio.AUDIO_SUFFIXES)
    if not files:
        raise InputError(f"{arguments.source} holds no recordings: give another --source.")
    found = [measure(arguments.model, files, minutes) for minutes in arguments.minutes]
    name = arguments.name or arguments.model.resolve().name
    models = read_result("timeline").get("models", {}) | {name: {"lengths": found, "commit": commit()}}
    write_result("timeline", {"models": models})
    print(json.dumps(found, indent=1))


def measure(model: Path, files: list[Path], minutes: float) -> dict[str, Any]:
    """Times one length, and watches the memory of all processes.

    Args:
      model: A run or an export folder.
      files: Recordings to join.
      minutes: Length of the whole.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "long.wav"
        _write(path, files, minutes)
        command = [sys.executable, "-m", "emotion_tf.predict", "--model", str(model), str(path), "--timeline"]
        start = time.perf_counter()
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        peaks: list[float] = [0.0]
        watcher = threading.Thread(target=_watch, args=(process, peaks))
        watcher.start()
        output, errors = process.communicate()
        seconds = time.perf_counter() - start
        watcher.join()
    if process.returncode:
        raise InputError(f"the command ended with status {process.returncode}: {errors.strip().splitlines()[-1]}")
    whole = json.loads(output.splitlines()[-1])
    return {
        "minutes": minutes,
        "speech_share": whole["speech_seconds"] / whole["seconds"],
        "seconds": seconds,
        "times_real_time": whole["seconds"] / seconds,
        "peak_memory_mib": peaks[0],
    }


def _write(path: Path, files: list[Path], minutes: float) -> None:
    """Joins recordings to a WAV of 16 bit at 16 kHz."""
    import soundfile

    left = round(minutes * 60 * audio.SAMPLE_RATE)
    with soundfile.SoundFile(path, "w", audio.SAMPLE_RATE, 1, "PCM_16") as file:
        while left > 0:
            for recording in files:
                waveform = audio.read_recording(recording).waveform[:left]
                file.write(np.ascontiguousarray(waveform))
                left -= len(waveform)
                if left <= 0:
                    break


def _watch(process: subprocess.Popen[str], peaks: list[float]) -> None:
    """Keeps the most memory that a process and its children hold together, in MiB."""
    while process.poll() is None:
        peaks[0] = max(peaks[0], sum(resident_mib(number) for number in [process.pid, *children_of(process.pid)]))
        time.sleep(0.2)


if __name__ == "__main__":
    os.environ.setdefault("PYTHONPATH", str(Path(__file__).parents[1]))
    sys.exit(run_command(main))
