"""Files that are written whole or not at all."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.command import InputError

if TYPE_CHECKING:
    import pandas as pd


def read_json(path: Path) -> dict[str, Any]:
    """Reads a JSON file of a run.

    Raises:
      InputError: A file that is missing or corrupt.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is missing or corrupt ({error}): train again with --overwrite.") from None


def write_csv(path: Path, table: "pd.DataFrame") -> None:
    """Writes a table under a temporary name and renames it; numbers are read back as they were."""
    temporary = path.with_name(path.name + ".tmp")
    try:
        table.to_csv(temporary, index=False)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, values: Any) -> None:
    """Writes JSON to a temporary name and renames it, so that no reader meets half a file."""
    temporary = path.with_name(path.name + ".tmp")
    try:
        temporary.write_text(json.dumps(values, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
