"""Measures where the time of a training goes: `python -m benchmarks.fit_parts --records DIR [-- FLAGS]`.

Runs `python -m emotion_tf.fit --branch audio --epochs 5`, with further FLAGS of it, in this process, and tells its
parts: imports; checks of records and folds; model, validation split and samples; tracing of the step; steps;
validation with checkpoints; pictures; calibration and scores at the end. Counts the floating-point operations of a step
(TensorFlow's profiler counts those of inference, which backpropagation triples) and the bytes that its operations read
and write (of inference, tripled as well, each operation by itself), and sets them beside what a product of large
matrices and a sum of large vectors reach on this machine in the same run, both in single precision. Prints, and writes
results/fit_parts.json beside this file, a training of each precision.
"""

import argparse
import contextlib
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

from benchmarks.result_files import commit, read_result, write_result
from pipelines.command import import_tensorflow, run_command

_BACKPROPAGATION = 3
_MATRIX = 2048
_VECTOR = 2**26

_NO_WORK = ("Const", "Identity", "Placeholder", "ReadVariableOp", "Reshape", "Squeeze", "ExpandDims", "NoOp")
"""Operations that move no data."""


def main(argv: list[str] | None = None) -> None:
    """Measures, prints and writes the result."""
    parser = argparse.ArgumentParser("python -m benchmarks.fit_parts", description=str(__doc__).splitlines()[0])
    parser.add_argument("--records", type=Path, default=Path("data/records/ravdess"))
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("flags", nargs="*", metavar="FLAGS", help="of fit, behind --")
    arguments = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        flags = ["--branch", "audio", "--records", str(arguments.records), "--epochs", str(arguments.epochs)]
        result = measure([*flags, *arguments.flags, "--run", f"{folder}/run"], Path(folder) / "run")
    result |= {"flags": " ".join(arguments.flags), "epochs": arguments.epochs, "commit": commit()}
    trainings = read_result("fit_parts").get("trainings", {}) | {result.pop("precision"): result}
    write_result("fit_parts", {"trainings": trainings})
    print(json.dumps(result, indent=1))


def measure(flags: Sequence[str], folder: Path) -> dict[str, Any]:
    """Trains, and times the parts.

    Args:
      flags: Of `emotion_tf.fit`.
      folder: The run that they name.

    Returns:
      `seconds` of each part; `step_ms`, the median; `precision`; how many operations and megabytes a step has for each
      clip; how many operations a second a step and a product of matrices do; how many bytes a second a step and a sum
      of vectors move.
    """
    watch = _Watch()
    with watch.over("imports"):
        import_tensorflow()
        from emotion_tf import fit
        from emotion_tf.training import callbacks, train
    with contextlib.ExitStack() as stack:
        for owner, name in (
            (train, "train"),
            (train, "_fit"),
            (train, "_finish"),
            (callbacks.Validation, "on_epoch_end"),
            (callbacks.Pictures, "on_epoch_end"),
        ):
            stack.enter_context(watch.timed(owner, name))
        for name in ("on_epoch_begin", "on_train_batch_end"):
            stack.enter_context(watch.noted(callbacks.Progress, name))
        with watch.over("fit"):
            fit.main(list(flags))
    seconds, steps = watch.seconds, watch.steps()
    step = statistics.median(steps)
    tracing, looked = steps[0] - step, seconds["Validation.on_epoch_end"] + seconds["Pictures.on_epoch_end"]
    parts = {
        "imports": seconds["imports"],
        "checks of records and folds": seconds["fit"] - seconds["train"],
        "model, validation split, samples": seconds["train"] - seconds["_fit"] - seconds["_finish"],
        "tracing of the step": tracing,
        "steps": seconds["_fit"] - looked - tracing,
        "validation and checkpoints": seconds["Validation.on_epoch_end"],
        "pictures of epochs": seconds["Pictures.on_epoch_end"],
        "calibration, scores and pictures at the end": seconds["_finish"],
    }
    return {"cores": len(os.sched_getaffinity(0)), "seconds": {name: round(one, 2) for name, one in parts.items()}} | (
        _speeds(folder, step)
    )


class _Watch:
    """Adds up how long functions take, and notes when others are called."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._calls: list[tuple[str, float]] = []

    @contextlib.contextmanager
    def over(self, name: str) -> Iterator[None]:
        """Times a block."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start

    def timed(self, owner: Any, name: str) -> Any:
        """A context in which a function is timed."""
        function, called = getattr(owner, name), name if isinstance(owner, type(os)) else f"{owner.__name__}.{name}"
        self.seconds[called] = 0.0

        def call(*arguments: Any, **options: Any) -> Any:
            with self.over(called):
                return function(*arguments, **options)

        return mock.patch.object(owner, name, call)

    def noted(self, owner: Any, name: str) -> Any:
        """A context in which the calls of a method are noted."""
        function = getattr(owner, name)

        def call(*arguments: Any, **options: Any) -> Any:
            self._calls.append((name, time.perf_counter()))
            return function(*arguments, **options)

        return mock.patch.object(owner, name, call)

    def steps(self) -> list[float]:
        """Seconds of each step, from the end of the one before or the begin of its epoch."""
        pairs = zip(self._calls, self._calls[1:], strict=False)
        return [second - first for (_, first), (name, second) in pairs if name == "on_train_batch_end"]


def _speeds(folder: Path, step: float) -> dict[str, Any]:
    """Counts the operations and bytes of a step, and times a product of matrices and a sum of vectors.

    Args:
      folder: The run.
      step: Its seconds.
    """
    import tensorflow as tf
    from tensorflow.python.profiler.model_analyzer import profile
    from tensorflow.python.profiler.option_builder import ProfileOptionBuilder

    from emotion_tf.runs.folder import Run

    run = Run(folder)
    precision = json.loads(run.training_path.read_text())["precision"]
    batch_size, graph = run.config().training.batch_size, _graph(run)
    options = ProfileOptionBuilder(ProfileOptionBuilder.float_operation()).with_empty_output().build()
    operations = _BACKPROPAGATION * profile(graph, options=options).total_float_ops
    moved = _BACKPROPAGATION * _num_elements(graph) * tf.as_dtype(precision).size
    matrix, vector = tf.random.normal([_MATRIX, _MATRIX]), tf.random.normal([_VECTOR])
    return {
        "step_ms": round(1000 * step, 1),
        "clips_a_step": batch_size,
        "precision": precision,
        "million_operations_a_clip": round(operations / batch_size / 1e6),
        "step_gflops": round(operations / step / 1e9, 1),
        "matrix_gflops": round(2 * _MATRIX**3 / _least_seconds(lambda: matrix @ matrix) / 1e9, 1),
        "megabytes_a_clip": round(moved / batch_size / 1e6, 1),
        "step_gigabytes_a_second": round(moved / step / 1e9, 2),
        "vector_gigabytes_a_second": round(3 * 4 * _VECTOR / _least_seconds(lambda: vector + vector) / 1e9, 2),
    }


def _graph(run: Any) -> Any:
    """Traces inference on a batch of the sizes of a training step."""
    import tensorflow as tf

    model, training, metadata = run.model(), run.config().training, run.metadata()
    lengths = {"log_mel": min(training.num_frames, metadata.longest_frames)}
    specs = {
        name: tf.TensorSpec([training.batch_size, *[lengths.get(name, size) or size for size in one.shape[1:2]],
                             *one.shape[2:]], one.dtype, name)
        for name, one in model.input.items()
    }  # fmt: skip
    return tf.function(lambda inputs: model(inputs, training=False), autograph=False).get_concrete_function(specs).graph


def _num_elements(graph: Any) -> int:
    """Counts the floating-point numbers that operations read and write."""
    working = [one for one in graph.get_operations() if one.type not in _NO_WORK]
    tensors = [tensor for one in working for tensor in (*one.inputs, *one.outputs) if tensor.dtype.is_floating]
    sizes = [tensor.shape.num_elements() for tensor in tensors]
    if None in sizes:
        raise RuntimeError(f"the size of {tensors[sizes.index(None)].name} is unknown: bytes cannot be counted.")
    return sum(sizes)


def _least_seconds(call: Callable[[], Any]) -> float:
    seconds = []
    for _ in range(12):
        start = time.perf_counter()
        call().numpy()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


if __name__ == "__main__":
    sys.exit(run_command(main))
