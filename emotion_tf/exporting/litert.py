"""Writes .tflite files of a SavedModel of batch 1: built-in ops alone, any length."""

from pathlib import Path

FLOAT, INT8, FRONT_END = "model.tflite", "model_int8.tflite", "front_end.tflite"


def convert(source: str, folder: str, *names: str) -> None:
    """Converts a SavedModel, which can end this process: it is run in one of its own.

    Args:
      source: A SavedModel whose signature serving_default takes a batch of 1. An open batch would bring ops that the
        plain interpreter lacks.
      folder: Where the files go.
      names: Of the files: float32, or for `INT8` weights in int8 with activations quantised as they come.
    """
    from pipelines.command import import_tensorflow

    import_tensorflow()
    import tensorflow as tf

    for name in names:
        converter = tf.lite.TFLiteConverter.from_saved_model(source, signature_keys=["serving_default"])
        converter.optimizations = [tf.lite.Optimize.DEFAULT] if name == INT8 else []
        (Path(folder) / name).write_bytes(converter.convert())


def reason(stderr: str) -> str:
    """Says why it did not work, in one sentence of what the converter printed."""
    for line in stderr.splitlines():
        kind, _, names = line.strip().partition(" ops: ")
        if kind in ("TF Select", "Custom") and names:
            return f"LiteRT has no built-in op for {names} of this model at any length"
    return f"the converter of LiteRT ended with: {(stderr.strip() or 'nothing said').splitlines()[-1][:200]}"
