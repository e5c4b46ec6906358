"""Exports on the disk: which version is meant, what its metadata says, the SavedModel, and a hash of all of it."""

import hashlib
from pathlib import Path
from typing import Any

from pipelines.command import InputError, import_tensorflow
from pipelines.files import read_json

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


def find_version(path: Path) -> Path:
    """Finds the newest version folder of a run, an export folder, or the version folder itself.

    Raises:
      InputError: A folder that is none of these, or a run without an export.
    """
    if (path / "config.json").exists():
        if not (path / "export").exists():
            raise InputError(f"{path} has no export: make it with python -m emotion_tf.export --run {path}.")
        path = path / "export"
    if (path / "saved_model.pb").exists():
        return path.resolve()
    versions = [folder for folder in path.glob("*") if folder.name.isdigit() and (folder / "saved_model.pb").exists()]
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


def model_sha256(version: Path) -> str:
    """Hashes the metadata, the graph and the variables of an export: predictions of one hash are of one model."""
    digest = hashlib.sha256()
    for path in (_metadata_path(version), version / "saved_model.pb", *sorted((version / "variables").glob("*"))):
        digest.update(f"{path.name} {path.stat().st_size}\n".encode())
        with path.open("rb") as file:
            while block := file.read(_BLOCK_BYTES):
                digest.update(block)
    return digest.hexdigest()


def _metadata_path(version: Path) -> Path:
    own = version / "metadata.json"
    return own if own.exists() else version.parent / "metadata.json"
