"""Files of predictions that a command is given: which file stands for a run, and what each is called in a table."""

import os
import re
from collections import Counter
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


def same_by_name(files: Sequence[Path], others: Sequence[Path]) -> list[int] | None:
    """Finds which of some files is of the same model as each of others, by words of their paths.

    Args:
      files: Paths, such as audio/test.csv and text/test.csv.
      others: As many, such as text_validation.csv and audio_validation.csv.

    Returns:
      Of each of others, the place of its file; None where the paths do not tell all of them, each another one.
    """
    # Words of folders that all lie in tell nothing, and may hide those of names.
    shared = Path(os.path.commonpath([path.resolve().parent for path in (*files, *others)]))
    words, of_others = _own_words(files, shared), _own_words(others, shared)
    found = [[place for place, own in enumerate(words) if own & wanted] for wanted in of_others]
    places = [fitting[0] for fitting in found if len(fitting) == 1]
    return places if len({*places}) == len(others) else None


def _own_words(paths: Sequence[Path], shared: Path) -> list[set[str]]:
    """Lists the words in each path, below a folder that they share, that no other path has."""
    words = [set(re.findall(r"[^\W_]+", str(path.resolve().relative_to(shared)).lower())) for path in paths]
    counts = Counter(word for of_path in words for word in of_path)
    return [{word for word in of_path if counts[word] == 1} for of_path in words]
