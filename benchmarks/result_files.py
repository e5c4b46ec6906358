"""The JSON files in benchmarks/results: numbers, and the commit of the code that gave them."""

import json
import subprocess
from pathlib import Path
from typing import Any

from pipelines.files import write_json

FOLDER = Path(__file__).parent / "results"


def read_result(name: str) -> dict[str, Any]:
    """Reads results/<name>.json; {} where there is none yet."""
    path = FOLDER / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def write_result(name: str, result: dict[str, Any]) -> None:
    """Writes results/<name>.json with the commit of this checkout; parts that name one of their own keep it."""
    FOLDER.mkdir(exist_ok=True)
    write_json(FOLDER / f"{name}.json", result | {"commit": commit()})


def commit() -> str:
    """Names the commit of this checkout, with a + behind it where files differ from that; empty outside of git."""
    command = ["git", "describe", "--always", "--exclude=*", "--dirty=+"]
    found = subprocess.run(command, cwd=FOLDER.parent, capture_output=True, text=True, check=False)
    return found.stdout.strip()
