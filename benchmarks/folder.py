"""Measures a folder of recordings: `python -m benchmarks.folder --model RUN --source DIR`.

DIR holds `ravdess/` (default: what EMOTION_TF_REAL_DATA names). Every repetition predicts the folder as `predict
--output` does, the same clips one by one by the SavedModel in one process (decoded, called, its outputs read), and
prepares records of them, one after the other in this process, all of them warm; what the same takes for four clips, the
start of the decoding processes, is subtracted. Then a new process predicts one clip, its start and its imports
included: wall and processor seconds. Writes results/folder.json beside this file.
"""

import argparse
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

import numpy as np

from benchmarks.result_files import write_result
from pipelines import audio
from pipelines.command import InputError, run_command


def main(argv: list[str] | None = None) -> None:
    """Measures, prints and writes the result."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--model", type=Path, required=True, help="a run, or an export folder")
    parser.add_argument("--source", type=Path, default=os.environ.get("EMOTION_TF_REAL_DATA"))
    parser.add_argument("--clips", type=int, help="how many, evenly over the folder; all without it")
    parser.add_argument("--repetitions", type=int, default=3)
    arguments = parser.parse_args(argv)
    if arguments.source is None:
        raise InputError("there is no folder of recordings: give --source, or set EMOTION_TF_REAL_DATA.")
    paths = sorted((Path(arguments.source) / "ravdess").rglob("*.flac"))
    if not paths:
        raise InputError(f"{arguments.source} holds no ravdess/ with .flac files: name the folder above it.")
    step = max(1, len(paths) // (arguments.clips or len(paths)))
    result = measure(arguments.model, paths[::step][: arguments.clips], arguments.repetitions)
    write_result("folder", result)
    print(json.dumps(result, indent=1))


def measure(model: Path, paths: Sequence[Path], repetitions: int) -> dict[str, Any]:
    """Times the three ways in turn, so that what else the machine does meets them alike; then cold starts."""
    from emotion_tf.serving import Predictor

    predictor = Predictor(model)
    ways = {"folder": _folder(predictor), "one_by_one": _one_by_one(predictor), "prepare": _prepare()}
    rates: dict[str, list[float]] = {name: [] for name in ways}
    processor: dict[str, list[float]] = {name: [] for name in ways}
    for repetition in range(1 + repetitions):
        for name, way in ways.items():
            start, whole = _seconds(way, paths[:4]), _seconds(way, paths)
            if repetition:  # The first one compiles.
                rates[name].append((len(paths) - 4) / (whole[0] - start[0]))
                processor[name].append(1000 * (whole[1] - start[1]) / (len(paths) - 4))
    median = {name: statistics.median(values) for name, values in rates.items()}
    cold = [_seconds(_cold, [model, paths[0]]) for _ in range(repetitions)]
    return {
        "clips": len(paths),
        "cores": len(os.sched_getaffinity(0)),
        "load_average": round(os.getloadavg()[0], 1),
        "clips_per_second": {name: round(value, 1) for name, value in median.items()},
        "all_clips_per_second": {name: [round(value, 1) for value in values] for name, values in rates.items()},
        "processor_ms_a_clip": {name: round(statistics.median(values), 2) for name, values in processor.items()},
        "times_one_by_one": round(median["folder"] / median["one_by_one"], 2),
        "share_of_prepare": round(median["folder"] / median["prepare"], 2),
        "cold_start_seconds": round(statistics.median(wall for wall, _ in cold), 2),
        "cold_start_processor_seconds": round(statistics.median(used for _, used in cold), 2),
    }


def _seconds(function: Callable[[Any], None], argument: Any) -> tuple[float, float]:
    """Measures wall seconds, and processor seconds of this process and those that it started and that have ended."""
    wall, before = time.perf_counter(), os.times()
    function(argument)
    used = sum(os.times()[:4]) - sum(before[:4])
    return time.perf_counter() - wall, used


def _folder(predictor: Any) -> Callable[[Sequence[Path]], None]:
    """Makes the call that predicts files into a table."""
    from emotion_tf.serving.listing import Item
    from emotion_tf.serving.many_files import predict_files
    from emotion_tf.serving.table import Settings, open_table

    def predict(paths: Sequence[Path]) -> None:
        with (
            tempfile.TemporaryDirectory() as folder,
            open_table(Path(folder) / "out.csv", Settings("", predictor.emotions)) as table,
        ):
            items = [Item(path) for path in paths]
            predict_files(predictor, items, table, lambda clip, item: predictor.take(clip, file=item.path))

    return predict


def _one_by_one(predictor: Any) -> Callable[[Sequence[Path]], None]:
    """Makes the loop that a user of the SavedModel writes."""
    import tensorflow as tf

    serve = predictor.signature("serving_default")

    def predict(paths: Sequence[Path]) -> None:
        for path in paths:
            waveform = audio.to_float(audio.decode(path))[np.newaxis]
            serve(waveform=tf.constant(waveform), transcript=tf.constant([""]))["probabilities"].numpy()

    return predict


def _prepare() -> Callable[[Sequence[Path]], None]:
    """Makes the call that prepares records."""
    from pipelines.records import writer
    from pipelines.utterance import Corpus, Utterance

    def prepare(paths: Sequence[Path]) -> None:
        utterances = tuple(Utterance(path.stem, path.stem[-2:], "calm", path) for path in paths)
        corpus = Corpus("clips", paths[0].parent, "", ("calm",), utterances)
        with tempfile.TemporaryDirectory() as folder:
            writer.prepare(writer.Preparation(corpus, Path(folder) / "records", audio.FrontEnd()))

    return prepare


def _cold(model_and_clip: Sequence[Path]) -> None:
    command = [sys.executable, "-m", "emotion_tf.predict", "--model", *map(str, model_and_clip)]
    subprocess.run(command, check=True, capture_output=True)


if __name__ == "__main__":
    sys.exit(run_command(main))
