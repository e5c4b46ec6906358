"""Measures how fast records become batches: `python -m benchmarks.dataset --records DIR`.

DIR holds complete records; without it the recordings of --source (default: the folder that EMOTION_TF_REAL_DATA names)
are prepared first. Batches are those of training: shuffled, normalised, cropped to 256 frames, with text. Writes
results/dataset.json beside this file.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.result_files import write_result
from pipelines import audio
from pipelines.command import InputError, import_tensorflow, run_command
from pipelines.corpora import ravdess
from pipelines.records import read_metadata, writer


def main(argv: list[str] | None = None) -> None:
    """Measures, prints and writes the result."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--records", type=Path)
    parser.add_argument("--source", type=Path, default=os.environ.get("EMOTION_TF_REAL_DATA"))
    parser.add_argument("--repetitions", type=int, default=5)
    arguments = parser.parse_args(argv)
    if arguments.records is None and arguments.source is None:
        raise InputError("there are no records: give --records, or --source, or set EMOTION_TF_REAL_DATA.")
    with tempfile.TemporaryDirectory() as made:
        folder = arguments.records or Path(made)
        if arguments.records is None:
            corpus = ravdess.read(Path(arguments.source) / "ravdess")
            writer.prepare(writer.Preparation(corpus, folder, audio.FrontEnd()))
        result = measure(folder, arguments.repetitions)
    write_result("dataset", result)
    print(json.dumps(result, indent=1))


def measure(folder: Path, repetitions: int) -> dict[str, Any]:
    """Times epochs with the cache, the first of them apart, and without it."""
    metadata = read_metadata(folder)
    first, *cached = _epochs(folder, repetitions + 1, cache=True)
    _, *uncached = _epochs(folder, repetitions + 1, cache=False)
    speeds = {"first_epoch": [first], "cached": cached, "uncached": uncached}
    return {
        "clips": metadata.num_utterances,
        "cores": len(os.sched_getaffinity(0)),
        **{f"{name}_clips_per_second": round(statistics.median(values)) for name, values in speeds.items()},
        **{f"all_{name}": [round(value) for value in values] for name, values in speeds.items()},
    }


def _epochs(folder: Path, num_epochs: int, *, cache: bool) -> list[float]:
    """Returns clips per second of each epoch."""
    import_tensorflow()
    from pipelines.dataset import make_dataset

    speakers = read_metadata(folder).speakers
    dataset = make_dataset(folder, speakers, training=True, num_frames=256, max_tokens=64, cache=cache)
    speeds = []
    for _ in range(num_epochs):
        start = time.perf_counter()
        num_clips = sum(len(label) for _, label in dataset)
        speeds.append(num_clips / (time.perf_counter() - start))
    return speeds


if __name__ == "__main__":
    sys.exit(run_command(main))
