"""Files of predictions that a command is given: which file stands for a run, and what each is called in a table."""

from collections.abc import Sequence
from pathlib import Path


def file_of(path: Path) -> Path:
    """Names the predictions of a run or a crossval, where a folder is given; else the file itself."""
    return path / "predictions.csv" if path.is_dir() else path


def first_repeated(files: Sequence[Path]) -> int:
    """Returns the place of the first file that stands before in the list, too; 0 where none does."""
    resolved = [file.resolve() for file in files]
    return next((place for place, file in enumerate(resolved) if file in resolved[:place]), 0)


def unique_names(paths: Sequence[Path], short: Sequence[str]) -> list[str]:
    """Gives each path its short name, or the whole path where another one has the same."""
    return [name if short.count(name) == 1 else str(path) for path, name in zip(paths, short, strict=True)]
