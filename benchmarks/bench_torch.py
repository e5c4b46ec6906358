"""Calls of the networks in PyTorch that `benchmarks.bench_networks` times, in a process without TensorFlow."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.bench_networks import BANDS, NUM_EMOTIONS, STEPS_AT_ONCE, TOTAL_STEPS, Case, Sizes
from pipelines import text

Calls = dict[str, Callable[[], Any]]


def make_calls(kind: str, case: Case, precisions: Sequence[str]) -> Calls:
    """Makes a call a precision: "step" or "inference"; and "parameters", which counts them."""
    make = {"step": _steps, "inference": _logits}[kind]
    return {precision: make(case, precision) for precision in precisions} | {"parameters": _counting(case)}


def build(case: Case) -> Any:
    """Builds the network; as many threads as there are cores."""
    import torch

    from benchmarks.torch_networks import Cnn, Gru, TextGru

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    torch.manual_seed(0)
    if case.config.branch == "text":
        return TextGru(case.config.text, len(text.vocabulary()), NUM_EMOTIONS)
    if case.config.audio.model == "gru":
        return Gru(case.config.audio, BANDS, NUM_EMOTIONS)
    return Cnn(case.config.audio, NUM_EMOTIONS)


def _counting(case: Case) -> Callable[[], int]:
    from benchmarks.torch_networks import num_parameters

    return lambda: num_parameters(build(case))


def _tensors(case: Case) -> tuple[Any, ...]:
    import torch

    return tuple(torch.from_numpy(values) for values in case.batch.values())


def _steps(case: Case, precision: str) -> Callable[[], None]:
    import torch

    from benchmarks.torch_training import Learner

    learner = Learner(build(case), precision, case.config.training, TOTAL_STEPS)
    inputs, labels = _tensors(case), torch.from_numpy(case.labels)

    def take() -> None:
        for _ in range(STEPS_AT_ONCE):
            learner.step(inputs, labels)

    return take


def _logits(case: Case, precision: str) -> Callable[[], None]:
    import torch

    from benchmarks.torch_training import predict

    network, inputs = build(case).to(memory_format=torch.channels_last), _tensors(case)

    def take() -> None:
        for _ in range(STEPS_AT_ONCE):
            predict(network, inputs, precision)

    return take


def make_trainings(case: Case, sizes: Sizes, precisions: Sequence[str], records: Path, clips: Path) -> Calls:
    """Makes a call a precision that trains on clips in memory, those of the records, and "parameters"."""
    calls = {precision: _training(case, sizes, precision, clips) for precision in precisions}
    return calls | {"parameters": _counting(case)}


def _training(case: Case, sizes: Sizes, precision: str, clips: Path) -> Callable[[], Any]:
    import torch

    from benchmarks.torch_training import Clips, Learner, train

    with np.load(clips) as arrays:
        training, validation = (
            Clips(*(torch.from_numpy(arrays[f"{split}_{name}"]) for name in ("log_mel", "num_frames", "label")))
            for split in ("train", "validation")
        )
    steps = sizes.epochs * -(-len(training.label) // sizes.batch)

    def learn() -> float:
        learner = Learner(build(case), precision, case.config.training, steps)
        return train(learner, training, validation, sizes.num_frames, sizes.batch, sizes.epochs)

    return learn


def make_whisper(checkpoint: Path) -> Calls:
    """Makes the call of openai-whisper's own encoder, which pads every clip to 30 s.

    Args:
      checkpoint: In openai-whisper's format; one of random weights in the sizes of tiny.en is written where it is none.
    """
    from benchmarks.latency import whisper_call
    from pipelines.audio import SAMPLE_RATE
    from pipelines.whisper_models import import_whisper

    whisper = import_whisper()
    if not checkpoint.exists():
        import torch

        # Of the decoder, which nothing reads, next to nothing.
        dims = whisper.ModelDimensions(80, 1500, 384, 6, 4, 16, 4, 8, 2, 1)
        weights = whisper.model.Whisper(dims).state_dict()
        torch.save({"dims": vars(dims), "model_state_dict": weights}, checkpoint)
    waveform = 0.1 * np.random.default_rng(0).standard_normal(3 * SAMPLE_RATE)
    return {"padded": whisper_call(checkpoint, waveform.astype(np.float32))}


def make_loader(paths: Sequence[Path]) -> Calls:
    """Makes the call that reads recordings by a DataLoader, under the name of what it reads with."""
    from benchmarks import torch_loader

    return {torch_loader.reader(): torch_loader.loader(paths)}
