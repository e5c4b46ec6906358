"""Measures input pipeline against training step: `python -m benchmarks.training --records DIR`.

Counts the clips a second that the training dataset delivers (cache filled; shuffled, cropped, augmented, mixed) and
those that a training step of the audio branch consumes, both with the defaults of `fit`, in one run. Writes
results/training.json beside this file.
"""

import argparse
import dataclasses
import itertools
import json
import os
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.result_files import write_result
from emotion_tf.config import Config
from emotion_tf.training import checks
from pipelines.command import import_tensorflow, run_command
from pipelines.records import read_metadata


def main(argv: list[str] | None = None) -> None:
    """Measures, prints and writes the result."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--records", type=Path, default=Path("data/records/synthetic"))
    parser.add_argument("--repetitions", type=int, default=5)
    arguments = parser.parse_args(argv)
    result = measure(arguments.records, arguments.repetitions)
    write_result("training", result)
    print(json.dumps(result, indent=1))


def measure(folder: Path, repetitions: int) -> dict[str, Any]:
    """Times epochs of the dataset, and steps of the model on one of its batches, in turn."""
    import_tensorflow()
    from emotion_tf.training import train, training_data

    config, records = Config("audio", str(folder)), read_metadata(folder)
    checked = checks.check(config)
    steps = sum(checked.metadata.training_counts) // config.training.batch_size
    batches = iter(training_data.training_dataset(config, checked.metadata, checked.inputs, seed=0))
    model = train.make_model(config, checked.metadata, checked.inputs, steps)
    batch = next(batches)
    # Once unmeasured: the cache fills, the step is compiled.
    _clips_per_second(batches, steps), model.train_on_batch(*batch)
    delivered, consumed = [], []
    for _ in range(repetitions):
        delivered.append(_clips_per_second(batches, steps))
        start = time.perf_counter()
        model.train_on_batch(*batch)
        consumed.append(len(batch[1]) / (time.perf_counter() - start))
    ratio = statistics.median(delivered) / statistics.median(consumed)
    return {
        "corpus": records.corpus,
        "cores": len(os.sched_getaffinity(0)),
        "config": dataclasses.asdict(config.training),
        "dataset_clips_per_second": round(statistics.median(delivered)),
        "training_step_clips_per_second": round(statistics.median(consumed), 1),
        "ratio": round(ratio, 1),
        "all_dataset": [round(value) for value in delivered],
        "all_training_step": [round(value, 1) for value in consumed],
    }


def _clips_per_second(batches: Iterator[Any], count: int) -> float:
    start = time.perf_counter()
    num_clips = sum(len(label) for _, label, _ in itertools.islice(batches, count))
    return num_clips / (time.perf_counter() - start)


if __name__ == "__main__":
    sys.exit(run_command(main))
