"""Writes model.onnx of a SavedModel with tf2onnx, which Keras's own export calls, too."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipelines.command import InputError

NAME = "model.onnx"
OPSET = 18

_ONE = "one_of_erfc"
"""Name of a constant."""


def command(source: Path, folder: Path) -> list[str]:
    """Returns the arguments of Python that convert a SavedModel: `tf2onnx` as a program, names of tensors kept."""
    flags = ("--saved-model", str(source), "--signature_def", "serving_default", "--opset", str(OPSET))
    return ["-m", "tf2onnx.convert", *flags, "--output", str(folder / NAME)]


def finish(path: Path, interface: Mapping[str, Any]) -> None:
    """Replaces what ONNX lacks, names the open axes of a file like metadata.json does, and checks it.

    Args:
      path: An .onnx file.
      interface: Its inputs and outputs, as `interface.describe` gives them.

    Raises:
      InputError: An op that ONNX does not have, which tf2onnx writes all the same.
    """
    import onnx

    model = onnx.load(str(path))
    _replace_erfc(model.graph)
    given = interface["inputs"] | interface["outputs"]
    for value in (*model.graph.input, *model.graph.output):
        for dimension, size in zip(value.type.tensor_type.shape.dim, given[value.name]["shape"], strict=False):
            if isinstance(size, str):
                dimension.dim_param = size
    try:
        onnx.checker.check_model(model)
    except onnx.checker.ValidationError as error:
        raise InputError(f"ONNX does not take this model: {str(error).splitlines()[0]}.") from None
    onnx.save(model, str(path))


def _replace_erfc(graph: Any) -> None:
    """Writes erfc(x), which GELU of TensorFlow takes and ONNX lacks, as 1 - erf(x)."""
    from onnx import TensorProto, helper

    nodes = []
    for node in graph.node:
        if node.op_type != "Erfc":
            nodes.append(node)
            continue
        [given], [result] = node.input, node.output
        nodes.append(helper.make_node("Erf", [given], [f"{result}_erf"]))
        nodes.append(helper.make_node("Sub", [_ONE, f"{result}_erf"], [result]))
    if len(nodes) > len(graph.node):
        graph.initializer.append(helper.make_tensor(_ONE, TensorProto.FLOAT, [], [1.0]))
        del graph.node[:]
        graph.node.extend(nodes)


def reason(stderr: str) -> str:
    """Says why it did not work, in one sentence of what tf2onnx printed."""
    return f"tf2onnx ended with: {(stderr.strip() or 'nothing said').splitlines()[-1][:200]}"
