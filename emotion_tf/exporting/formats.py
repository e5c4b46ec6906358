"""Formats of an export beside the SavedModel: each is written, loaded in a new process and compared with the run."""

import importlib.util
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emotion_tf.exporting import litert, onnx, openvino, portable, reload
from emotion_tf.exporting.interface import interface_of
from emotion_tf.exporting.verify import noises
from emotion_tf.runs.folder import Run
from pipelines import audio
from pipelines.command import InputError

if TYPE_CHECKING:
    import keras
    import numpy as np

SAVED_MODEL = "savedmodel"

FORMATS = (SAVED_MODEL, "features", "litert", "onnx", "openvino")
"""What `--format` takes; the first is part of every export."""

TOLERANCE = 1e-5
"""By how much a probability may differ from that of the run, where weights stay float32."""

FRONT_END_TOLERANCE = 1e-4
"""By how much a feature may differ from that of the run."""

INT8_AGREEMENT = 0.98
"""Share of examples for which weights in int8 must name the same emotion."""

_PACKAGES = {
    "litert": ("ai_edge_litert",),
    "onnx": ("onnx", "onnxruntime", "tf2onnx"),
    "openvino": ("openvino",),
}
"""What an extra of the format's name installs."""


class Examples:
    """Inputs of a run's model with the probabilities that it gives them, each at its own length.

    Attributes:
      path: An .npz that `reload` reads.
      source: What they are, in words.
    """

    def __init__(self, path: Path, rows: "Sequence[tuple[dict[str, np.ndarray], np.ndarray]]", source: str):
        import numpy as np

        self.path, self.source = path, source
        arrays: dict[str, Any] = {str(number): expected for number, (_, expected) in enumerate(rows)}
        arrays |= {f"{number}/{name}": one for number, (given, _) in enumerate(rows) for name, one in given.items()}
        np.savez(path, **arrays)


def write_format(
    name: str, run: Run, model: "keras.Model", metadata: dict[str, Any], version: Path, examples: Examples
) -> dict[str, Any]:
    """Writes one format and compares it with the run.

    Args:
      name: Of `FORMATS`, but for the first.
      run: A finished run.
      model: Its model.
      metadata: What `export_metadata` collected.
      version: The version folder, in which a folder of the format's name is made.
      examples: What is compared.

    Returns:
      What metadata.json says of the format: `files`, inputs and outputs, and for each file how far it differs.

    Raises:
      InputError: It cannot be written, does not load or differs; says why in one sentence.
    """
    _require(name)
    folder = version / name
    folder.mkdir()
    if name == "features":
        interface: dict[str, Any] = {"signatures": portable.write_features(model, metadata, run, folder / "1")}
        files = ["features/1"]
    else:
        with tempfile.TemporaryDirectory(prefix=".source-", dir=version) as source:
            batch = 1 if name == "litert" else None
            interface = portable.write_source(model, metadata, Path(source), batch)
            files = _CONVERTERS[name](Path(source), folder, interface)
    compared = {file: _compared(name, version / file, examples) for file in files}
    left_out = _drop_unlike(compared, version)
    found = {**interface, "files": compared, **({"left_out": left_out} if left_out else {})}
    return found | (_front_end(run, metadata, version) if name == "litert" and _has_frames(metadata) else {})


def _has_frames(metadata: Mapping[str, Any]) -> bool:
    """Whether the features of sound follow from the waveform alone, without an encoder or statistics of a speaker."""
    names = metadata["audio_features"]
    is_read = "audio" in metadata["modalities"] and metadata["normalise"] != "enrolled"
    return is_read and audio.frame_names(names) == tuple(names)


def _front_end(run: Run, metadata: dict[str, Any], version: Path) -> dict[str, Any]:
    """Writes what makes features of one waveform, for LiteRT: what metadata.json says of it, or why it is left out."""
    import numpy as np

    name = f"litert/{litert.FRONT_END}"
    with tempfile.TemporaryDirectory(prefix=".source-", dir=version) as source:
        compute = portable.write_front_end(run, metadata, Path(source))
        try:
            _python(["-c", _LITERT, source, str(version / "litert"), litert.FRONT_END], litert.reason)
        except InputError as error:
            return {"front_end": {"left_out": f"{name} was left out: {error}"}}
        clips = [{"waveform": (noise / np.float32(32768))[np.newaxis]} for noise in noises()]
        differences = {}
        for feature in metadata["audio_features"]:
            rows = [(one, compute(one)[feature].numpy()) for one in clips]
            examples = Examples(Path(source) / "examples.npz", rows, "generated clips")
            found = _compared("litert", version / name, examples, feature, FRONT_END_TOLERANCE)
            differences[feature] = found["difference"]
    return {"front_end": {**interface_of(compute, metadata, 1), "file": name, "differences": differences}}


def sentence(found: Mapping[str, Any]) -> str:
    """Says how far the files of a format differ from the run, and what was left out."""
    compared = [
        f"{file} agrees with the run to {one['difference']:.1e} on {one['num_examples']} examples"
        + (f", the same emotion for {one['agreement']:.1%}" if file.endswith(litert.INT8) else "")
        for file, one in found["files"].items()
    ]
    front_end = found.get("front_end", {})
    for feature, difference in front_end.get("differences", {}).items():
        compared.append(f"{front_end['file']} makes {feature} of waveforms to {difference:.1e}")
    left_out = [*found.get("left_out", {}).values(), *([front_end["left_out"]] if "left_out" in front_end else [])]
    return "; ".join([*compared, *left_out])


def _require(name: str) -> None:
    """Refuses a format whose packages are not installed."""
    missing = [package for package in _PACKAGES.get(name, ()) if importlib.util.find_spec(package) is None]
    if missing:
        raise InputError(
            f"--format {name} needs {', '.join(missing).replace('_', '-')}: run python -m pip install -c"
            f" requirements.txt -e '.[{name}]'."
        )


_LITERT = "import sys; from emotion_tf.exporting import litert; litert.convert(*sys.argv[1:])"


def _litert(source: Path, folder: Path, interface: Mapping[str, Any]) -> list[str]:
    names = (litert.FLOAT, litert.INT8)
    _python(["-c", _LITERT, str(source), str(folder), *names], litert.reason)
    return [f"litert/{name}" for name in names]


def _onnx(source: Path, folder: Path, interface: Mapping[str, Any]) -> list[str]:
    _python(onnx.command(source, folder), onnx.reason)
    onnx.finish(folder / onnx.NAME, interface)
    return [f"onnx/{onnx.NAME}"]


def _openvino(source: Path, folder: Path, interface: Mapping[str, Any]) -> list[str]:
    code = "import sys; from emotion_tf.exporting import openvino; openvino.convert(*sys.argv[1:])"
    _python(["-c", code, str(source), str(folder)], openvino.reason)
    return [f"openvino/{openvino.NAME}"]


_CONVERTERS = {"litert": _litert, "onnx": _onnx, "openvino": _openvino}


def _python(arguments: Sequence[str], reason: Any) -> str:
    """Runs Python in a process of its own, which converters can end: what it printed, or the reason as a sentence."""
    finished = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False)
    if finished.returncode:
        raise InputError(f"{reason(finished.stderr)}.")
    return finished.stdout


def _compared(
    name: str, path: Path, examples: Examples, output: str = reload.OUTPUT, tolerance: float = TOLERANCE
) -> dict[str, Any]:
    """Compares a file with the run, in a process that knows nothing of this package."""

    def reason(stderr: str) -> str:
        return f"{path.name} does not load in a new process: {(stderr.strip() or 'no reason given').splitlines()[-1]}"

    code = "import runpy, sys; runpy.run_path(sys.argv[1])['main'](sys.argv[2:])"
    arguments = [reload.__file__, name, str(path), str(examples.path), output]
    found = json.loads(_python(["-I", "-c", code, *arguments], reason).splitlines()[-1])
    if path.name != litert.INT8 and not found["difference"] <= tolerance:
        raise InputError(
            f"{path.name} differs from the run by {found['difference']:.1e}, more than {tolerance:.0e}: it was not"
            " written."
        )
    return found


def _drop_unlike(compared: dict[str, Any], version: Path) -> dict[str, str]:
    """Removes a file of int8 that too often names another emotion: file -> why."""
    left_out = {}
    for file in [file for file in compared if file.endswith(litert.INT8)]:
        found = compared[file]
        if found["agreement"] < INT8_AGREEMENT:
            left_out[file] = (
                f"{file} was left out: it names another emotion for {1 - found['agreement']:.1%} of"
                f" {found['num_examples']} examples, and {1 - INT8_AGREEMENT:.0%} are allowed"
            )
            del compared[file]
            (version / file).unlink()
    return left_out
