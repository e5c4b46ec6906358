"""Exports on the disk: which version and format is meant, what its metadata says, the SavedModel, and a hash of it."""

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pipelines.command import InputError, import_tensorflow
from pipelines.files import read_json

SAVED_MODEL, LITERT = FORMATS = ("savedmodel", "litert")
"""Which formats of an export can answer."""

MODEL, FRONT_END = "model.tflite", "front_end.tflite"
"""Files of the folder litert/ of a version."""

_MARKS = {SAVED_MODEL: "saved_model.pb", LITERT: f"{LITERT}/{MODEL}"}
"""What a version folder holds of each."""

_FACTS = {
    "audio_features",
    "bandwidth_hz",
    "emotions",
    "front_end",
    "is_multi_label",
    "longest_seconds",
    "marks",
    "max_tokens",
    "modalities",
    "normalise",
    "signatures",
    "tokenizer",
    "video",
}
"""What a predictor reads of metadata.json."""

_BLOCK_BYTES = 2**20


def find_model(path: Path, model_format: str | None = None) -> tuple[Path, Path | None]:
    """Finds which version, and which format of it, is to answer: of several the newest that has the format.

    Args:
      path: A run, an export folder, a version folder, its folder litert/, or a .tflite file in that.
      model_format: Of `FORMATS`; None: what `path` names, and of a version folder the SavedModel, where it has one.

    Returns:
      The folder of its metadata.json, and the .tflite file; None for the SavedModel.

    Raises:
      InputError: A folder that is none of these, or lacks the format, or the front end.
    """
    if path.name == FRONT_END:
        raise InputError(f"{path} makes what a model reads, and is none: name {path.with_name(MODEL)}.")
    file = path if path.suffix == ".tflite" else path / MODEL
    if file.exists():
        if model_format == SAVED_MODEL:
            raise InputError(f"{path} is of LiteRT, and the SavedModel is asked for: name its version folder.")
        file = file.resolve()
        own = file.with_name("metadata.json")
        return file.parent if own.exists() else file.parent.parent, file
    if path.suffix == ".tflite":
        raise InputError(f"{path} does not exist: export the run with --format litert.")
    try:
        version = find_version(path, FORMATS if model_format is None else (model_format,))
    except InputError:
        if model_format != LITERT:
            raise
        version = find_version(path, FORMATS)
        raise InputError(f"{version} holds no {_MARKS[LITERT]}: export the run again with --format litert.") from None
    is_litert = model_format == LITERT or not (version / _MARKS[SAVED_MODEL]).exists()
    return version, version / _MARKS[LITERT] if is_litert else None


def find_version(path: Path, formats: Iterable[str] = (SAVED_MODEL,)) -> Path:
    """Finds the newest version folder of a run, an export folder, or the version folder itself.

    Args:
      path: Of any of these.
      formats: A version holds one of them at least.

    Raises:
      InputError: A folder that is none of these, or a run without an export.
    """
    if (path / "config.json").exists():
        if not (path / "export").exists():
            raise InputError(f"{path} has no export: make it with python -m emotion_tf.export --run {path}.")
        path = path / "export"
    marks = [_MARKS[name] for name in formats]
    if any((path / mark).exists() for mark in marks):
        return path.resolve()
    numbered = [folder for folder in path.glob("*") if folder.name.isdigit()]
    versions = [folder for folder in numbered if any((folder / mark).exists() for mark in marks)]
    if not versions:
        raise InputError(f"{path} holds no exported model: name a run, or a folder that emotion_tf.export wrote.")
    return max(versions, key=lambda folder: int(folder.name)).resolve()


def read_metadata(version: Path) -> dict[str, Any]:
    """Reads the facts of an export that takes waveforms and transcripts.

    Args:
      version: The version folder; metadata.json stands in it, or beside it.

    Raises:
      InputError: It is missing or corrupt, or of an export that an older version of this program made.
    """
    path = _metadata_path(version)
    metadata = read_json(path, "export the run again")
    if missing := _FACTS - set(metadata):
        raise InputError(f"{path} lacks {', '.join(sorted(missing))}: export the run again.")
    if "serving_default" not in metadata["signatures"]:
        raise InputError(f"{path.parent} takes no waveforms: export the run again.")
    return metadata


def load_saved_model(version: Path) -> Any:
    """Loads a version folder. The whole object must be kept: its functions alone would lose their variables.

    Raises:
      InputError: It does not load.
    """
    import_tensorflow(with_keras=False)
    import tensorflow as tf

    try:
        return tf.saved_model.load(str(version))
    except (OSError, ValueError, tf.errors.OpError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{version} does not load ({reason}): export the run again.") from None


def saved_model_files(version: Path) -> tuple[Path, ...]:
    """Lists the graph and the variables of the SavedModel of a version."""
    return (version / _MARKS[SAVED_MODEL], *sorted((version / "variables").glob("*")))


def model_sha256(version: Path, files: Iterable[Path]) -> str:
    """Hashes the metadata of an export and files of its model: predictions of one hash are of one model."""
    digest = hashlib.sha256()
    for path in (_metadata_path(version), *files):
        digest.update(f"{path.name} {path.stat().st_size}\n".encode())
        with path.open("rb") as file:
            while block := file.read(_BLOCK_BYTES):
                digest.update(block)
    return digest.hexdigest()


def _metadata_path(version: Path) -> Path:
    own = version / "metadata.json"
    return own if own.exists() else version.parent / "metadata.json"
