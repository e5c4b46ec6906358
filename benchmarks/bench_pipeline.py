"""Parts of `benchmarks.bench` around the networks: prepare, the encoder, cross-validation, growth."""

import contextlib
import dataclasses
import importlib.util
import os
import secrets
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from benchmarks.prepare import librosa_loop, prepare_records
from benchmarks.side_by_side import compared, in_process, in_turn
from pipelines.corpora import ravdess, synthetic
from pipelines.processes import num_cores
from pipelines.utterance import Corpus

NUM_VOICES = synthetic.NUM_SPEAKERS


def corpus_of(work: Path, num_speakers: int) -> Corpus:
    """Makes the built-in corpus of so many voices, or finds it made."""
    folder = work / f"synthetic-{num_speakers}"
    synthetic.make(folder, num_speakers=num_speakers)
    return synthetic.read(folder)


def records_of(work: Path, num_speakers: int) -> Path:
    """Prepares records of that corpus, or finds them prepared."""
    folder = work / "records" / f"synthetic-{num_speakers}"
    prepare_records(corpus_of(work, num_speakers), folder)
    return folder


def preparing(work: Path, source: Path | None, num_speakers: int, repetitions: int) -> list[dict[str, Any]]:
    """Times recordings to log-mels: prepare, a plain loop of librosa, and a DataLoader.

    The start of processes is left out of all: from prepare what it takes for four clips is subtracted, workers of the
    DataLoader stay.

    Args:
      work: A folder to work in.
      source: A folder that holds RAVDESS; None: the built-in corpus.
      num_speakers: Of the built-in corpus.
      repetitions: Measured rounds.
    """
    from benchmarks import bench_torch

    corpus = ravdess.read(source) if source else corpus_of(work, num_speakers)
    paths = [utterance.audio for utterance in corpus.utterances if utterance.audio]
    few = dataclasses.replace(corpus, utterances=corpus.utterances[:4])
    with in_process(bench_torch.make_loader, paths) as theirs, tempfile.TemporaryDirectory(dir=work) as folder:
        calls = {
            "ours": lambda: _prepare_anew(corpus, Path(folder)),
            "start": lambda: _prepare_anew(few, Path(folder)),
            "loop of librosa": lambda: librosa_loop(paths),
        }
        calls |= {f"DataLoader, {name}": call for name, call in theirs.items()}
        seconds = in_turn(calls, repetitions)
    starts = seconds.pop("start")
    share = len(paths) / (len(paths) - len(few.utterances))
    seconds["ours"] = [share * (whole - start) for whole, start in zip(seconds["ours"], starts, strict=True)]
    pairs = [("ours", name) for name in seconds if name != "ours"]
    found = compared("prepare", seconds, pairs, len(paths), "clips/s")
    return [found | {"corpus": corpus.name, "clips": len(paths), "start_seconds": round(statistics.median(starts), 2)}]


def _prepare_anew(corpus: Corpus, folder: Path) -> None:
    with tempfile.TemporaryDirectory(dir=folder) as records:
        prepare_records(corpus, Path(records) / "records")


def encoder(work: Path, checkpoint: Path | None, repetitions: int) -> list[dict[str, Any]]:
    """Times the encoder on one clip of 3 s and one of 30 s, beside openai-whisper's own, which pads to 30 s.

    Args:
      work: A folder to work in.
      checkpoint: In openai-whisper's format; None: random weights in the sizes of tiny.en.
      repetitions: Measured rounds, of which the calls are short: five times as many are taken.
    """
    from benchmarks import bench_ours, bench_torch

    path = checkpoint or work / "random.pt"
    with (
        in_process(bench_torch.make_whisper, path) as theirs,
        in_process(bench_ours.make_encoder, path, (3, 30)) as ours,
    ):
        calls = {f"ours, {name}": call for name, call in ours.items()} | {"openai-whisper": theirs["padded"]}
        seconds = in_turn(calls, 5 * repetitions, warm_up=2)
    pairs = [(name, "openai-whisper") for name in calls if name != "openai-whisper"]
    name = checkpoint.stem if checkpoint else "random weights, sizes of tiny.en"
    return [compared(f"encoder, {name}", seconds, pairs, 0, "s")]


def crossval(records: Path, epochs: int, num_folds: int, repetitions: int) -> list[dict[str, Any]]:
    """Times a cross-validation and, in turn, the same fits one after the other, all with their starts.

    Where Ray is installed the cross-validation runs on it, too, in a cluster of as many cores that is there before.
    """
    shared = ["--branch", "audio", "--records", str(records), "--folds", "group-kfold", "--num-folds", str(num_folds)]
    shared += ["--epochs", str(epochs), "--num-frames", "128"]

    def run(*words: str) -> None:
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-m", *words, *shared, "--run", str(Path(folder) / "run")]
            finished = subprocess.run(command, capture_output=True, text=True, check=False)
            if finished.returncode:
                raise RuntimeError(f"{' '.join(command)} failed: {finished.stderr[-2000:]}")

    def one_by_one() -> None:
        for fold in range(num_folds):
            run("emotion_tf.fit", "--fold", str(fold))

    calls = {"crossval": lambda: run("emotion_tf.crossval"), "fit, fold by fold": one_by_one}
    pairs = [("crossval", "fit, fold by fold")]
    with contextlib.ExitStack() as stack:
        if importlib.util.find_spec("ray"):
            address = stack.enter_context(_cluster())
            calls["crossval on Ray"] = lambda: run("emotion_tf.crossval", "--ray", address)
            pairs.append(("crossval on Ray", "crossval"))
        seconds = in_turn(calls, repetitions, warm_up=0)
    found = compared(f"cross-validation, {num_folds} folds", seconds, pairs, 0, "s")
    return [found | {"epochs": epochs}]


@contextlib.contextmanager
def _cluster() -> Iterator[str]:
    """Starts Ray on the cores of this machine, for commands that know the token; returns its address."""
    given = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    with mock.patch.dict(os.environ, given):
        from ray.cluster_utils import Cluster

        cluster = Cluster(True, head_node_args={"num_cpus": num_cores(), "include_dashboard": False})
        try:
            yield cluster.address
        finally:
            cluster.shutdown()


def growth(work: Path, num_speakers: int, factors: Sequence[int], repetitions: int) -> list[dict[str, Any]]:
    """Times preparing, reading the index and an epoch of a small network at several sizes of the built-in corpus.

    Args:
      work: A folder to work in.
      num_speakers: Voices of the smallest corpus, over three; three are what the start of everything is measured on.
      factors: How many times as large each corpus is.
      repetitions: Measured rounds, over all sizes in turn.
    """
    from benchmarks import bench_ours
    from pipelines.records import read_index

    whole = corpus_of(work, num_speakers * max(factors))
    voices = {"start": 3} | {f"{factor}x": factor * num_speakers for factor in factors}
    corpora = {name: _first(whole, count) for name, count in voices.items()}
    with tempfile.TemporaryDirectory(dir=work) as folder, contextlib.ExitStack() as stack:
        records = {name: Path(folder) / name for name in corpora}
        prepare_records(corpora["start"], Path(folder) / "warm")
        seconds: dict[str, dict[str, list[float]]] = {what: {name: [] for name in corpora} for what in _GROWING}
        for number in range(repetitions):
            for name, corpus in corpora.items():
                start = time.perf_counter()
                prepare_records(corpus, records[name] / str(number))
                seconds["prepare"][name].append(time.perf_counter() - start)
        last = {name: path / str(repetitions - 1) for name, path in records.items()}
        indexing = {name: lambda path=path: read_index(path) for name, path in last.items()}
        seconds["index of records"] = in_turn(indexing, repetitions)
        fits = stack.enter_context(in_process(bench_ours.make_fits, last))
        fits["start"]()
        seconds["an epoch of fit"] = in_turn(fits, repetitions, warm_up=0)
    clips = {name: len(corpus.utterances) for name, corpus in corpora.items()}
    return [_grown(what, seconds[what], clips) for what in _GROWING]


_GROWING = ("prepare", "index of records", "an epoch of fit")


def _first(corpus: Corpus, num_speakers: int) -> Corpus:
    chosen = sorted({utterance.speaker for utterance in corpus.utterances}, key=int)[:num_speakers]
    kept = tuple(utterance for utterance in corpus.utterances if utterance.speaker in set(chosen))
    return dataclasses.replace(corpus, utterances=kept)


def _grown(what: str, seconds: Mapping[str, Sequence[float]], clips: Mapping[str, int]) -> dict[str, Any]:
    """Fits the exponent of the cost: seconds and clips beyond those of the start."""
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    sizes = [name for name in medians if name != "start"]
    cost = [max(medians[name] - medians["start"], 1e-3) for name in sizes]
    exponent = np.polyfit(np.log([clips[name] - clips["start"] for name in sizes]), np.log(cost), 1)[0]
    return {
        "what": what,
        "unit": "s",
        "clips": dict(clips),
        "medians": {name: round(value, 3) for name, value in medians.items()},
        "all": {name: [round(value, 3) for value in values] for name, values in seconds.items()},
        "exponent": round(float(exponent), 3),
    }
