"""Parts of `benchmarks.bench` that set our networks beside the same ones in PyTorch: steps, inference, trainings."""

import contextlib
import dataclasses
import importlib.util
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.side_by_side import compared, in_process, in_turn
from emotion_tf.config import AudioConfig, Config, TextConfig
from pipelines.command import InputError

NUM_EMOTIONS = 8

BANDS = 64

STEPS_AT_ONCE = 5
"""Steps, or batches, of one measurement."""

TOTAL_STEPS = 1000
"""What a single step thinks the whole training has."""


@dataclasses.dataclass(frozen=True)
class Sizes:
    """How large what is measured is.

    Attributes:
      batch: Clips or sentences of a batch.
      num_frames, num_tokens: Of each.
      channels, units: Of the audio networks; empty: the default ones.
      text_units: Of the text network.
      epochs: Of whole trainings.
    """

    batch: int = 32
    num_frames: int = 256
    num_tokens: int = 32
    channels: tuple[int, ...] = ()
    units: tuple[int, ...] = ()
    text_units: tuple[int, ...] = (96, 96)
    epochs: int = 4


QUICK = Sizes(4, 32, 8, (4, 8), (8,), (8,), 1)


@dataclasses.dataclass(frozen=True)
class Case:
    """A network in both libraries.

    Attributes:
      config: Of ours.
      batch: Inputs by name, arrays, in the order in which PyTorch takes them.
    """

    config: Config
    batch: Mapping[str, np.ndarray]

    @property
    def labels(self) -> np.ndarray:
        """A label for each clip of the batch: [batch] int64."""
        return np.arange(len(next(iter(self.batch.values())))) % NUM_EMOTIONS


def cases(sizes: Sizes) -> dict[str, Case]:
    """Makes the networks and a batch of noise for each; all clips are whole, so that no mask saves time."""
    rng = np.random.default_rng(0)
    frames = {
        "log_mel": rng.standard_normal((sizes.batch, sizes.num_frames, BANDS)).astype(np.float32),
        "num_frames": np.full(sizes.batch, sizes.num_frames, np.int32),
    }
    pieces = {"token_ids": rng.integers(3, 8000, (sizes.batch, sizes.num_tokens)).astype(np.int32)}
    cnn, gru = AudioConfig(channels=sizes.channels), AudioConfig(model="gru", units=sizes.units)
    return {
        "CNN": Case(Config("audio", "", audio=cnn), frames),
        "GRU": Case(Config("audio", "", audio=gru), frames),
        "text GRU": Case(Config("text", "", text=TextConfig(units=sizes.text_units)), pieces),
    }


def compare(kind: str, sizes: Sizes, precisions: Sequence[str], repetitions: int) -> list[dict[str, Any]]:
    """Times one batch in memory, by our network and by the same one in PyTorch, each library in its own process.

    Args:
      kind: "step": training steps, or "inference": logits, ours of a traced function, theirs in eager mode.
      sizes: How large.
      precisions: "float32", "bfloat16".
      repetitions: Measured rounds.

    Raises:
      InputError: PyTorch is not installed.
      RuntimeError: The networks have different numbers of parameters.
    """
    from benchmarks import bench_ours, bench_torch

    _require_torch()
    found = []
    what = {"step": "training step", "inference": "inference"}[kind]
    for name, case in cases(sizes).items():
        given = (kind, case, tuple(precisions))
        with in_process(bench_ours.make_calls, *given) as ours, in_process(bench_torch.make_calls, *given) as theirs:
            parameters = _same_parameters(ours, theirs)
            # The first round traces; a few more let both choose their kernels.
            seconds = in_turn(_named(ours, theirs), repetitions, warm_up=2)
        count = STEPS_AT_ONCE * sizes.batch
        unit = "sentences/s" if case.config.branch == "text" else "clips/s"
        result = compared(f"{what}, {name}", seconds, _pairs(precisions), count, unit)
        found.append(result | {"parameters": parameters})
    return found


def training(records: Path, sizes: Sizes, precisions: Sequence[str], repetitions: int) -> list[dict[str, Any]]:
    """Times whole trainings of some epochs in processes that have begun, so without imports.

    Ours is `fit` with everything that it traces and writes; theirs begins with the clips in memory and writes nothing.

    Raises:
      InputError: PyTorch is not installed.
      RuntimeError: The networks have different numbers of parameters.
    """
    from benchmarks import bench_ours, bench_torch

    _require_torch()
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for name in ("CNN", "GRU"):
            given = (cases(sizes)[name], sizes, tuple(precisions), records, Path(folder) / "clips.npz")
            with contextlib.ExitStack() as stack:
                ours = stack.enter_context(in_process(bench_ours.make_trainings, *given))
                theirs = stack.enter_context(in_process(bench_torch.make_trainings, *given))
                parameters = _same_parameters(ours, theirs)
                # Nothing to warm up: a training traces its own graph.
                seconds = in_turn(_named(ours, theirs), repetitions, warm_up=0)
            result = compared(f"whole training, {name}", seconds, _pairs(precisions), 0, "s")
            found.append(result | {"epochs": sizes.epochs, "parameters": parameters})
    return found


def _require_torch() -> None:
    if importlib.util.find_spec("torch") is None:
        raise InputError("PyTorch is not installed: python -m pip install -e '.[whisper]'.")


def _named(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> dict[str, Any]:
    both = {"ours": ours, "PyTorch": theirs}
    return {
        f"{library}, {precision}": call
        for library, calls in both.items()
        for precision, call in calls.items()
        if precision != "parameters"
    }


def _pairs(precisions: Sequence[str]) -> list[tuple[str, str]]:
    """Sets each precision beside the same one, and bfloat16 beside their float32, too."""
    pairs = [(f"ours, {precision}", f"PyTorch, {precision}") for precision in precisions]
    return pairs + [("ours, bfloat16", "PyTorch, float32")] * ("bfloat16" in precisions)


def _same_parameters(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> int:
    counts = ours["parameters"](), theirs["parameters"]()
    if counts[0] != counts[1]:
        raise RuntimeError(f"our network has {counts[0]} parameters and that of PyTorch {counts[1]}: not the same one.")
    return counts[0]
