"""Writes model.onnx of a SavedModel with tf2onnx, which Keras's own export calls, too."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

NAME = "model.onnx"
OPSET = 18


def command(source: Path, folder: Path) -> list[str]:
    """Returns the arguments of Python that convert a SavedModel: `tf2onnx` as a program, names of tensors kept."""
    flags = ("--saved-model", str(source), "--signature_def", "serving_default", "--opset", str(OPSET))
    return ["-m", "tf2onnx.convert", *flags, "--output", str(folder / NAME)]


def name_axes(path: Path, interface: Mapping[str, Any]) -> None:
    """Checks a file, and names its open axes like metadata.json does.

    Args:
      path: An .onnx file.
      interface: Its inputs and outputs, as `interface.describe` gives them.
    """
    import onnx

    model = onnx.load(str(path))
    given = interface["inputs"] | interface["outputs"]
    for value in (*model.graph.input, *model.graph.output):
        for dimension, size in zip(value.type.tensor_type.shape.dim, given[value.name]["shape"], strict=False):
            if isinstance(size, str):
                dimension.dim_param = size
    onnx.checker.check_model(model)
    onnx.save(model, str(path))


def reason(stderr: str) -> str:
    """Says why it did not work, in one sentence of what tf2onnx printed."""
    return f"tf2onnx ended with: {(stderr.strip() or 'nothing said').splitlines()[-1][:200]}"
