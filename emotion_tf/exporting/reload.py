"""Runs a model of one format over examples, in a process of its own that imports nothing of this package.

`main` prints JSON: the largest difference of a probability (or of another output) from the expected ones, and the share
of examples for which the same emotion is the most probable. The file is run by its path: it is not imported there.
Inputs of example 3 stand in the file as `3/log_mel` and so on, its probabilities as `3`.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

OUTPUT = "probabilities"

Call = Callable[[Mapping[str, np.ndarray]], np.ndarray]


def saved_model(path: str, output: str = OUTPUT) -> Call:
    """Loads a SavedModel of core ops: TensorFlow alone, no tensorflow-text."""
    import tensorflow as tf

    loaded = tf.saved_model.load(path)

    def call(inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        given = {name: tf.constant(values) for name, values in inputs.items()}
        return loaded.signatures["serving_default"](**given)[output].numpy()

    return call


def litert(path: str, output: str = OUTPUT) -> Call:
    """Loads a .tflite file into the plain interpreter: built-in ops alone."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(path)
    runner = interpreter.get_signature_runner()
    return lambda inputs: runner(**inputs)[output]


def onnx(path: str, output: str = OUTPUT) -> Call:
    """Loads an .onnx file into ONNX Runtime."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda inputs: session.run([output], dict(inputs))[0]


def openvino(path: str, output: str = OUTPUT) -> Call:
    """Loads an .xml file, and the .bin beside it, into OpenVINO."""
    import openvino as runtime

    core = runtime.Core()
    # The CPU plug-in would compute in bfloat16 where the processor can.
    compiled = core.compile_model(core.read_model(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return lambda inputs: compiled(dict(inputs))[output]


LOADERS = {"features": saved_model, "litert": litert, "onnx": onnx, "openvino": openvino}


def read_examples(path: str) -> list[tuple[dict[str, np.ndarray], np.ndarray]]:
    """Reads inputs and expected probabilities [1, num_emotions] of each example."""
    with np.load(path, allow_pickle=False) as stored:
        arrays = dict(stored)
    inputs: dict[str, dict[str, np.ndarray]] = {}
    for key in arrays:
        number, _, name = key.partition("/")
        inputs.setdefault(number, {})
        if name:
            inputs[number][name] = arrays[key]
    return [(given, arrays[number]) for number, given in inputs.items()]


def compare(call: Call, path: str) -> dict[str, Any]:
    """Computes what the command prints."""
    worst, same, examples = 0.0, 0, read_examples(path)
    for inputs, expected in examples:
        found = call(inputs)
        worst = max(worst, float(np.abs(found - expected).max()))
        same += bool(found.argmax() == expected.argmax())
    return {"difference": worst, "agreement": same / len(examples), "num_examples": len(examples)}


def main(arguments: list[str]) -> None:
    """Prints the comparison as JSON; the arguments are format, model, examples and optionally the output."""
    kind, model, examples, *output = arguments
    print(json.dumps(compare(LOADERS[kind](model, *output), examples)))
