"""The ops that a SavedModel needs of the program that loads it."""

import collections
import sys
from pathlib import Path

from pipelines.command import import_tensorflow


def ops_of(version: Path) -> dict[str, int]:
    """Counts the ops of a SavedModel, those of its functions among them: name -> count, sorted by name."""
    import_tensorflow(with_keras=False)
    from tensorflow.core.protobuf import saved_model_pb2

    model = saved_model_pb2.SavedModel.FromString((version / "saved_model.pb").read_bytes())
    counts: collections.Counter[str] = collections.Counter()
    for graph in (one.graph_def for one in model.meta_graphs):
        counts.update(node.op for node in graph.node)
        counts.update(node.op for function in graph.library.function for node in function.node_def)
    return dict(sorted(counts.items()))


def text_ops(names: "list[str]") -> list[str]:
    """Picks the ops that TensorFlow itself does not have: they are TensorFlow Text's."""
    import subprocess

    code = (
        "import sys; from pipelines.tensorflow_runtime import keras_postponed\n"
        "with keras_postponed(): import tensorflow as tf\n"
        "from tensorflow.python.framework import op_def_registry\n"
        "print(*(name for name in sys.argv[1:] if op_def_registry.get(name) is None))"
    )
    finished = subprocess.run([sys.executable, "-c", code, *names], capture_output=True, text=True, check=True)
    return finished.stdout.split()


def table(version: Path) -> str:
    """Draws a line an op: how often, its name, and whose it is where it is not TensorFlow's own."""
    counts = ops_of(version)
    foreign = set(text_ops(list(counts)))
    lines = [f"{count:5}  {name}{'  (TensorFlow Text)' if name in foreign else ''}" for name, count in counts.items()]
    end = f"needs TensorFlow Text: {', '.join(sorted(foreign))}" if foreign else "needs no TensorFlow Text"
    return "\n".join([*lines, f"{version}: {len(counts)} ops, {end}"])
