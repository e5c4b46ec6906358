"""Measures formats of one export on the same features: `python -m benchmarks.formats --model RUN --name NAME`.

RUN has an export of all formats (`export --format features litert onnx openvino`). One recording of three seconds goes
through each format in turn, from features to probabilities, batch 1. A second of noise as a file is asked of a new
process of `predict` each time, by the SavedModel and by LiteRT in turn: the time from its start to its end. Writes
results/formats.json beside this file, where the results of other models stay; with --only-start it prints the second
part alone, and writes nothing.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.result_files import commit, read_result, write_result
from emotion_tf.exporting.reload import LOADERS
from emotion_tf.serving.loading import FORMATS, find_version, read_metadata
from pipelines.audio import SAMPLE_RATE
from pipelines.command import InputError, import_tensorflow, run_command

NUM_TOKENS, WARM_UP = 10, 5


def main(argv: list[str] | None = None) -> None:
    """Measures, prints and writes the result."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--model", type=Path, required=True, help="a run, or an export folder")
    parser.add_argument("--name", required=True, help="of the model in the table")
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--repetitions", type=int, default=200)
    parser.add_argument("--starts", type=int, default=10, help="of a process, by each format")
    parser.add_argument("--only-start", action="store_true")
    arguments = parser.parse_args(argv)
    version = find_version(arguments.model)
    start = {"start_s": measure_start(version, arguments.starts)}
    if arguments.only_start:
        print(json.dumps(start, indent=1))
        return
    result = measure(version, arguments.seconds, arguments.repetitions) | start
    models = read_result("formats").get("models", {}) | {arguments.name: result | {"commit": commit()}}
    write_result("formats", {"models": models})
    print(json.dumps(result, indent=1))


def measure(version: Path, seconds: float, repetitions: int) -> dict[str, Any]:
    """Times all formats in turn, so that what else the machine does meets them alike.

    Args:
      version: Of an export with all formats.
      seconds: Length of the recording.
      repetitions: Measured rounds, after `WARM_UP` that are not.
    """
    metadata = read_metadata(version)
    files = {file: name for name, found in metadata.get("formats", {}).items() for file in found["files"]}
    if "features/1" not in files:
        raise InputError(f"{version} lacks formats: export with --format features litert onnx openvino first.")
    import_tensorflow(with_keras=False)
    inputs = _inputs(metadata["formats"]["features"]["signatures"]["serving_default"]["inputs"], metadata, seconds)
    calls = {file: LOADERS[name](str(version / file)) for file, name in files.items()}
    taken: dict[str, list[float]] = {file: [] for file in calls}
    for number in range(WARM_UP + repetitions):
        for file, call in calls.items():
            start = time.perf_counter()
            call(inputs)
            if number >= WARM_UP:
                taken[file].append(1000 * (time.perf_counter() - start))
    return {
        "seconds": seconds,
        "cores": len(os.sched_getaffinity(0)),
        "load_average": round(os.getloadavg()[0], 1),
        "repetitions": repetitions,
        "p50_ms": {file: round(statistics.median(values), 3) for file, values in taken.items()},
        "p99_ms": {file: round(float(np.quantile(values, 0.99)), 3) for file, values in taken.items()},
        "speedup": {file: round(_speedup(taken["features/1"], values), 2) for file, values in taken.items()},
    }


def measure_start(version: Path, repetitions: int) -> dict[str, dict[str, float]]:
    """Times processes of `predict` from their start to their end, after one each that is not counted.

    Args:
      version: Of an export with LiteRT.
      repetitions: Processes of each format, in turn.
    """
    import soundfile

    taken: dict[str, list[float]] = {name: [] for name in FORMATS}
    with tempfile.TemporaryDirectory(prefix="emotion-tf-") as folder:
        clip = Path(folder) / "noise.wav"
        soundfile.write(clip, 0.1 * np.random.default_rng(0).standard_normal(SAMPLE_RATE), SAMPLE_RATE)
        for number in range(1 + repetitions):
            for name, seconds in taken.items():
                command = ["-m", "emotion_tf.predict", "--model", str(version), "--format", name, str(clip)]
                start = time.perf_counter()
                subprocess.run([sys.executable, *command], check=True, capture_output=True)
                if number:
                    seconds.append(time.perf_counter() - start)
    return {
        name: {"median": round(statistics.median(values), 3), "largest": round(max(values), 3)}
        for name, values in taken.items()
    }


def _speedup(baseline: list[float], values: list[float]) -> float:
    """Takes the median over the rounds of how many times as fast as the baseline one round was."""
    return statistics.median(before / one for before, one in zip(baseline, values, strict=True))


def _inputs(described: Mapping[str, Any], metadata: Mapping[str, Any], seconds: float) -> dict[str, np.ndarray]:
    """Makes inputs of one recording: normal noise for features, a sentence of `NUM_TOKENS` pieces."""
    rng, num_frames = np.random.default_rng(0), round(seconds / metadata["front_end"]["hop_seconds"])
    num_steps = round(seconds * (metadata["encoder"] or {"steps_per_second": 0})["steps_per_second"])
    lengths = {"batch": 1, "num_frames": num_frames, "num_steps": num_steps, "num_tokens": NUM_TOKENS}
    found = {}
    for name, one in described.items():
        shape = [lengths.get(size, size) for size in one["shape"]]
        if name in ("num_frames", "num_steps"):
            found[name] = np.array([lengths[name]], np.int32)
        elif name == "token_ids":
            found[name] = np.arange(2, 2 + NUM_TOKENS, dtype=np.int32)[np.newaxis]
        else:
            found[name] = rng.standard_normal(shape).astype(np.float32)
    return found


if __name__ == "__main__":
    sys.exit(run_command(main))
