"""Writes model.xml and model.bin of a SavedModel with OpenVINO's own reader: ONNX would bring loops that it refuses."""

from pathlib import Path

NAME = "model.xml"


def convert(source: str, folder: str) -> None:
    """Converts a SavedModel with one signature; float32 as trained.

    Args:
      source: The SavedModel.
      folder: Where both files go.
    """
    import openvino

    model = openvino.Core().read_model(source)
    openvino.save_model(model, str(Path(folder) / NAME), compress_to_fp16=False)


def reason(stderr: str) -> str:
    """Says why it did not work, in one sentence of what OpenVINO printed."""
    return f"OpenVINO ended with: {(stderr.strip() or 'nothing said').splitlines()[-1][:200]}"
