"""Models of openai-whisper by name or as a checkpoint, for transcripts and for the speech encoder.

whisper and torch are imported when a model is to be loaded.
"""

import hashlib
import warnings
from pathlib import Path
from typing import Any

from pipelines.command import InputError

DEVICES = ("cpu", "cuda")


def is_checkpoint(model: str) -> bool:
    """Tells whether a model is a file on disk."""
    return Path(model).is_file()


def name_of(model: str) -> str:
    """Names a model as tables do: without the folder of a checkpoint."""
    return Path(model).name if is_checkpoint(model) else model


def file_sha256(path: Path) -> str:
    """Hashes the bytes of a file.

    Raises:
      OSError: It cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def checkpoint_sha256(model: str) -> str:
    """Hashes the checkpoint of a model; nothing for a name, which stands for one checkpoint."""
    return file_sha256(Path(model)) if is_checkpoint(model) else ""


def import_whisper() -> Any:
    """Imports whisper.

    Raises:
      InputError: It is not installed.
    """
    try:
        import whisper
    except ImportError:
        raise InputError(
            "whisper is not installed: install it with pip install 'emotion_tf[whisper]', or in a checkout with"
            " pip install -e '.[whisper]'."
        ) from None
    return whisper


def device_of(device: str) -> str:
    """Finds the device that a model goes to.

    Args:
      device: "cpu", "cuda", or empty: cuda where there is one.

    Raises:
      InputError: "cuda" where there is none.
    """
    import torch

    if device == "cuda" and not torch.cuda.is_available():
        raise InputError("--device cuda finds no GPU that torch can use: leave it out, or give --device cpu.")
    return device or ("cuda" if torch.cuda.is_available() else "cpu")


def load(model: str, device: str, flag: str) -> Any:
    """Loads weights, never code: whisper hands weights_only to torch.

    Args:
      model: A name of whisper's own, or the path of a checkpoint.
      device: "cpu" or "cuda".
      flag: What names the model on the command line; for messages.

    Returns:
      A `whisper.model.Whisper`.

    Raises:
      InputError: whisper is not installed, there is no such model, or a file is no checkpoint.
    """
    whisper = import_whisper()
    if is_checkpoint(model):
        return _load_checkpoint(whisper, Path(model), device)
    if model not in whisper.available_models():
        raise InputError(
            f"{flag} {model} is neither a checkpoint file nor one of {', '.join(whisper.available_models())}:"
            " correct it."
        )
    try:
        return whisper.load_model(model, device=device)
    except (OSError, RuntimeError) as error:
        raise InputError(
            f"the whisper model {model} could not be loaded or downloaded ({_first_line(error)}): connect this"
            f" machine to the network, or give a checkpoint file to {flag}."
        ) from None


def _load_checkpoint(whisper: Any, path: Path, device: str) -> Any:
    try:
        with warnings.catch_warnings():
            # The sentence below says all there is to say about another kind of pickle.
            warnings.filterwarnings("ignore", "Detected pickle protocol")
            # Absolute, so that a file called base is not taken for the model of that name.
            return whisper.load_model(str(path.resolve()), device=device)
    except Exception as error:  # Whatever torch and whisper raise on a file of another kind.
        # torch's own words on anything but weights advise to load it with its code.
        reason = "it holds something other than weights" if "weights_only" in str(error) else _first_line(error)
        raise InputError(
            f"{path} is no whisper checkpoint ({reason}): give a .pt file in openai-whisper's format, or the name of a"
            " model."
        ) from None


def _first_line(error: Exception) -> str:
    return f"{error}".strip().partition("\n")[0][:200].rstrip(".:") or type(error).__name__
