"""Models of openai-whisper by name or as a checkpoint, for transcripts and for the speech encoder.

whisper and torch are imported when a model is to be loaded.
"""

import hashlib
import os
import warnings
import zipfile
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


def named_sha256(name: str) -> str:
    """Returns the hash of a model of whisper's own, which its address holds, and which whisper checks a download by."""
    return import_whisper()._MODELS[name].split("/")[-2]


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
        raise _not_downloaded(model, flag, error) from None


def _load_checkpoint(whisper: Any, path: Path, device: str) -> Any:
    try:
        with warnings.catch_warnings():
            # The sentence below says all there is to say about another kind of pickle.
            warnings.filterwarnings("ignore", "Detected pickle protocol")
            # Absolute, so that a file called base is not taken for the model of that name.
            return whisper.load_model(str(path.resolve()), device=device)
    except Exception as error:  # Whatever torch and whisper raise on a file of another kind.
        raise _no_checkpoint(path, error) from None


def download(name: str, flag: str) -> Path:
    """Finds the checkpoint of a model of whisper's own, downloaded at first use.

    Raises:
      InputError: whisper is not installed, or the download fails.
    """
    whisper = import_whisper()
    cache = Path(os.getenv("XDG_CACHE_HOME") or Path.home() / ".cache") / "whisper"
    try:
        return Path(whisper._download(whisper._MODELS[name], str(cache), False))
    except (OSError, RuntimeError) as error:
        raise _not_downloaded(name, flag, error) from None


def read_checkpoint(path: Path) -> Any:
    """Reads a .pt file, weights and no code; they stay on disk until they are looked at, where its format allows it.

    Raises:
      InputError: torch is not installed, or the file is no checkpoint.
    """
    try:
        import torch
    except ImportError:
        raise InputError(
            f"torch is not installed, which reads {path}: install it with pip install 'emotion_tf[whisper]', or give a"
            " folder that prepare --encoder-save wrote."
        ) from None
    options: dict[str, Any] = {"map_location": "cpu", "weights_only": True}
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Detected pickle protocol")
            is_zip = zipfile.is_zipfile(path)  # What torch wrote before 1.6 is none, and cannot be mapped.
            return torch.load(path, mmap=is_zip, **options)
    except Exception as error:  # Whatever torch raises on a file of another kind.
        raise _no_checkpoint(path, error) from None


def _not_downloaded(name: str, flag: str, error: Exception) -> InputError:
    return InputError(
        f"the whisper model {name} could not be loaded or downloaded ({_first_line(error)}): connect this machine to"
        f" the network, or give a checkpoint file to {flag}."
    )


def _no_checkpoint(path: Path, error: Exception) -> InputError:
    return InputError(
        f"{path} is no whisper checkpoint ({_reason(path, error)}): give a .pt file in openai-whisper's format, or the"
        " name of a model."
    )


def _reason(path: Path, error: Exception) -> str:
    """Says why a file is no checkpoint; torch's own words on a broken one are a number, or an essay on zip files."""
    if path.stat().st_size == 0:
        return "it is empty"
    # torch's own words on anything but weights advise to load it with its code.
    if "weights_only" in str(error):
        return "it holds something other than weights"
    if "zip archive" in str(error) or not zipfile.is_zipfile(path):
        return "it is cut off, damaged or no file of torch's"
    return _first_line(error)


def _first_line(error: Exception) -> str:
    return f"{error}".strip().partition("\n")[0][:200].rstrip(".:") or type(error).__name__
