"""Measures memory while records stream: `python -m benchmarks.large_records --gigabytes 2 --work data/large`.

Copies records of the built-in corpus, under other names of speakers, until they are as large as asked for (about 20 s a
gigabyte on a disk), or finds them made. Then goes through one epoch of the training dataset, without its cache and with
the default augmentation, in a process of its own, and tells the resident memory over the epoch and its slope. Prints,
and writes large_records.json into the work folder.
"""

import argparse
import dataclasses
import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.bench_pipeline import corpus_of
from benchmarks.memory import resident_mib
from benchmarks.result_files import commit
from benchmarks.side_by_side import in_process
from pipelines import audio
from pipelines.command import import_tensorflow, progress_bar, run_command
from pipelines.files import write_json
from pipelines.records import Metadata, read_metadata, write_metadata, writer

_NUM_READINGS = 50
_BATCH = 32


def main(argv: list[str] | None = None) -> None:
    """Makes the records, measures, prints and writes."""
    parser = argparse.ArgumentParser("python -m benchmarks.large_records", description=str(__doc__).splitlines()[0])
    parser.add_argument("--gigabytes", type=float, default=2.0, help="of all shards (%(default)s)")
    parser.add_argument("--speakers", type=int, default=20, help="voices of the corpus to copy (%(default)s)")
    parser.add_argument("--work", type=Path, default=Path("data/large"), help="a folder for it (%(default)s)")
    parser.add_argument("--shuffle", type=int, help="clips held to shuffle; all without it, as fit holds them")
    arguments = parser.parse_args(argv)
    folder = grown_records(arguments.work, arguments.speakers, arguments.gigabytes)
    with in_process(make_epoch, folder, arguments.shuffle) as calls:
        result = calls["epoch"]()
    result |= {"gigabytes": round(_size(read_metadata(folder)) / 1e9, 2), "commit": commit()}
    write_json(arguments.work / "large_records.json", result)
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


def make_epoch(folder: Path, shuffle_size: int | None) -> dict[str, Any]:
    """Makes the call that streams an epoch and returns what memory did."""
    import_tensorflow()
    return {"epoch": lambda: _epoch(folder, shuffle_size)}


def _epoch(folder: Path, shuffle_size: int | None) -> dict[str, Any]:
    from pipelines.augment import SpecAugment
    from pipelines.dataset import make_dataset

    metadata = read_metadata(folder)
    before = resident_mib(os.getpid())
    dataset = make_dataset(
        folder,
        metadata.speakers,
        ("audio",),
        training=True,
        num_frames=256,
        augment=SpecAugment(),
        cache=False,
        shuffle_size=shuffle_size,
        batch_size=_BATCH,
    )
    num_batches = -(-metadata.num_utterances // _BATCH)
    every = max(1, num_batches // _NUM_READINGS)
    shares, memory, start = [], [], time.perf_counter()
    for number, _ in enumerate(dataset):
        if number % every == 0:
            shares.append(number / num_batches)
            memory.append(resident_mib(os.getpid()))
    # Before the first batch the buffer of the shuffle fills, and runs empty at the end of the epoch.
    behind = (np.array(shares) > 0.2) & (np.array(shares) < 0.8)
    slope = np.polyfit(np.array(shares)[behind], np.array(memory)[behind], 1)[0]
    return {
        "clips": metadata.num_utterances,
        "clips_per_second": round(metadata.num_utterances / (time.perf_counter() - start)),
        "shuffle": shuffle_size or metadata.num_utterances,
        "memory_mib_before": round(before),
        "memory_mib_most": round(max(memory)),
        "memory_mib": [round(value) for value in memory],
        "slope_mib_an_epoch": round(float(slope), 1),
    }


if __name__ == "__main__":
    sys.exit(run_command(main))
