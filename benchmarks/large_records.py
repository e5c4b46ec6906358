"""Measures memory while a model trains: `python -m benchmarks.large_records --gigabytes 20 --work data/large`.

Copies records of the built-in corpus, under other names of speakers, until they are as large as asked for (about 20 s a
gigabyte on a disk), or finds them made. Then `python -m emotion_tf.fit --branch audio --epochs 1 --shuffle-size 1000`
trains on all but the first and second of the copied voices, with further FLAGS of it that one gives behind `--`, and
its resident memory is watched. Prints, and writes results/large_records.json beside this file: memory over the
command, the most of it, and its slope over the training.
"""

import argparse
import dataclasses
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.bench_pipeline import corpus_of
from benchmarks.memory import resident_mib
from benchmarks.result_files import write_result
from emotion_tf.runs.folder import Run
from pipelines import audio
from pipelines.command import InputError, import_tensorflow, progress_bar, run_command
from pipelines.files import write_json
from pipelines.records import Metadata, read_metadata, write_metadata, writer

_SECONDS_BETWEEN = 1.0
_NUM_KEPT = 50


def main(argv: list[str] | None = None) -> None:
    """Makes the records, measures, prints and writes.

    Raises:
      InputError: `fit` failed.
    """
    parser = argparse.ArgumentParser("python -m benchmarks.large_records", description=str(__doc__).splitlines()[0])
    parser.add_argument("--gigabytes", type=float, default=2.0, help="of all shards (%(default)s)")
    parser.add_argument("--speakers", type=int, default=20, help="voices of the corpus to copy (%(default)s)")
    parser.add_argument("--work", type=Path, default=Path("data/large"), help="a folder for it (%(default)s)")
    parser.add_argument("--shuffle-size", default="1000", help="of fit; all: as it holds them without (%(default)s)")
    parser.add_argument("flags", nargs="*", metavar="FLAGS", help="of fit, behind --")
    arguments = parser.parse_args(argv)
    import_tensorflow()
    folder = grown_records(arguments.work, arguments.speakers, arguments.gigabytes)
    found = train(folder, arguments.shuffle_size, arguments.flags)
    metadata = read_metadata(folder)
    about = {"gigabytes": round(_size(metadata) / 1e9, 2), "clips": metadata.num_utterances}
    result = about | {"shuffle_size": arguments.shuffle_size, "flags": " ".join(arguments.flags)} | found
    write_result("large_records", result)
    print(json.dumps(result, indent=1))


def grown_records(work: Path, num_speakers: int, gigabytes: float) -> Path:
    """Makes records of so many gigabytes, or finds them made.

    Args:
      work: A folder to work in.
      num_speakers: Of the built-in corpus, whose records, waveforms among them, are copied.
      gigabytes: Of all shards together, at least.
    """
    from pipelines.records import read_index

    small, large = work / f"records-{num_speakers}", work / f"records-{num_speakers}-{gigabytes:g}gb"
    if (large / "metadata.json").exists():
        return large
    corpus = corpus_of(work, num_speakers)
    metadata = writer.prepare(writer.Preparation(corpus, small, audio.FrontEnd(), store_waveform=True))
    num_copies = max(1, int(np.ceil(gigabytes * 1e9 / _size(metadata))))
    large.mkdir(parents=True, exist_ok=True)
    speakers = dict(read_index(small)[["utterance_id", "speaker"]].itertuples(index=False))
    shards: dict[str, dict[str, Any]] = {}
    total = num_copies * len(metadata.shards)
    with progress_bar(total, "copying records", "shard") as progress:
        for copy in range(num_copies):
            for source, facts in metadata.shards.items():
                name = f"{len(shards):05d}-of-{total:05d}.tfrecord"
                _copy(small / source, large / name, copy)
                named = {"speakers": [f"{copy}-{speaker}" for speaker in facts["speakers"]]}
                size = {"num_bytes": (large / name).stat().st_size}
                shards[name] = {"num_utterances": facts["num_utterances"]} | named | size
                progress.update()
    write_metadata(large, _grown(metadata, num_copies, shards, len(speakers)))
    return large


def _copy(source: Path, target: Path, copy: int) -> None:
    """Copies a shard under other names: the same person twice would be one."""
    import tensorflow as tf

    def renamed() -> Iterator[bytes]:
        for serialised in tf.data.TFRecordDataset(str(source)).as_numpy_iterator():
            example = tf.train.Example.FromString(serialised)
            for key in ("utterance_id", "speaker", "trial", "audio_sha256"):
                value = example.features.feature[key].bytes_list.value
                value[0] = f"{copy}-".encode() + value[0]
            yield example.SerializeToString(deterministic=True)

    with tf.io.TFRecordWriter(str(target)) as file:
        for record in renamed():
            file.write(record)


def _grown(metadata: Metadata, num_copies: int, shards: dict[str, dict[str, Any]], num_utterances: int) -> Metadata:
    counts = {f"{copy}-{name}": of_one for copy in range(num_copies) for name, of_one in metadata.counts.items()}
    return dataclasses.replace(
        metadata,
        shards=shards,
        counts=counts,
        num_utterances=num_copies * num_utterances,
        hours=num_copies * metadata.hours,
        silent=[],
        copies=[],
        fingerprint=f"{metadata.fingerprint}-{num_copies}",
    )


def _size(metadata: Metadata) -> int:
    return sum(shard["num_bytes"] for shard in metadata.shards.values())


def train(records: Path, shuffle_size: str, flags: Sequence[str]) -> dict[str, Any]:
    """Trains on records, and watches the memory of the process.

    Args:
      records: A folder.
      shuffle_size, flags: Of `emotion_tf.fit`.

    Returns:
      `seconds`; `memory_mib` over the command, in equal distances; `memory_mib_most`; and
      `slope_mib_a_gigabyte`, from a fifth to four fifths of the training itself, in which the records are read once.

    Raises:
      InputError: It failed.
    """
    metadata = read_metadata(records)
    gigabytes, (validation, test, *training) = _size(metadata) / 1e9, metadata.speakers
    with tempfile.TemporaryDirectory() as work:
        run, folds = Run(Path(work) / "run"), Path(work) / "folds.json"
        write_json(folds, [{"train": training, "validation": [validation], "test": [test]}])
        command = [sys.executable, "-m", "emotion_tf.fit", "--branch", "audio", "--records", str(records)]
        command += [
            "--folds",
            str(folds),
            "--epochs",
            "1",
            "--shuffle-size",
            shuffle_size,
            *flags,
            "--run",
            str(run.folder),
        ]
        print("$ python", *command[1:], flush=True)
        readings, start = [], time.perf_counter()
        process = subprocess.Popen(command)
        while process.poll() is None:
            is_training = run.tensorboard.exists() and not any(run.checkpoints.glob("last-*"))
            readings.append((time.perf_counter() - start, resident_mib(process.pid), is_training))
            time.sleep(_SECONDS_BETWEEN)
        if process.returncode:
            raise InputError("the training failed: what it says stands above.")
    seconds, memory, is_training = map(np.array, zip(*readings, strict=True))
    kept = np.linspace(0, len(memory) - 1, min(len(memory), _NUM_KEPT)).astype(int)
    trained = seconds[is_training]
    share = (seconds - trained[0]) / (trained[-1] - trained[0])
    middle = (share > 0.2) & (share < 0.8)
    slope = np.polyfit(share[middle] * gigabytes, memory[middle], 1)[0]
    return {
        "seconds": round(seconds[-1]),
        "memory_mib": [round(value) for value in memory[kept].tolist()],
        "memory_mib_most": round(memory.max()),
        "slope_mib_a_gigabyte": round(float(slope), 1),
    }


if __name__ == "__main__":
    sys.exit(run_command(main))
