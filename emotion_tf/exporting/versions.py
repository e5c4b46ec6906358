"""Version folders of an export: numbers that count up, as TensorFlow Serving wants them."""

import contextlib
import shutil
from pathlib import Path

from emotion_tf.exporting import model_card

_BESIDE = {"metadata.json", "calibration.json", model_card.NAME}
"""What earlier versions of this program wrote beside the version folder."""


def is_replaceable(output: Path) -> bool:
    """Whether a folder is empty or holds exports and nothing else; runs and records have a metadata.json, too."""
    if not output.is_dir():
        return False
    names = {path.name for path in output.iterdir()}
    numbers = {path.name for path in versions_of(output)}
    return names <= _BESIDE | numbers and (not names or bool(numbers))


def versions_of(output: Path) -> list[Path]:
    """Lists the version folders of an export folder, the newest last."""
    found = [path for path in output.glob("*") if path.name.isdigit() and (path / "saved_model.pb").exists()]
    return sorted(found, key=lambda path: int(path.name))


def put_in_place(made: Path, output: Path, *, overwrite: bool = False) -> Path:
    """Gives a complete version folder the next number.

    Args:
      made: What was written, on the same disk.
      output: The export folder; made where it is missing.
      overwrite: Whether older versions go, once the new one is in place: at no time is there none.

    Returns:
      The new version folder.
    """
    output.mkdir(parents=True, exist_ok=True)
    older = versions_of(output)
    number = 1 + int(older[-1].name) if older else 1
    while True:
        with contextlib.suppress(FileExistsError, OSError):
            if not (output / str(number)).exists():
                made.rename(output / str(number))
                break
        number += 1
    if overwrite:
        for name in _BESIDE:
            (output / name).unlink(missing_ok=True)
        for path in older:
            shutil.rmtree(path)
    return output / str(number)
