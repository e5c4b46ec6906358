"""What a search may try: flags of `fit` with lists or ranges of values, from a YAML file."""

import argparse
import dataclasses
import difflib
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.command import InputError

FIXED = ("--branch", "--records", "--run", "--overwrite", "--folds", "--fold", "--num-folds", "--fold-seed", "--seed",
         "--help", "-h", "--runs", "--control", "--devices", "--workers", "--worker-index")  # fmt: skip
"""Flags that a search cannot vary: the trials would not be told apart by settings alone."""

_KEYS = {"from", "to", "scale", "whole"}
_SCALES = ("linear", "log")
_EXAMPLE = "for instance learning-rate: {from: 0.0003, to: 0.01, scale: log}, or audio-model: [cnn, crnn]"


@dataclasses.dataclass(frozen=True)
class Choice:
    """Values of which each trial takes one; each is the words that follow the flag."""

    values: tuple[tuple[str, ...], ...]

    def draw(self, rng: np.random.Generator) -> tuple[str, ...]:
        """Draws one, all equally likely."""
        return self.values[rng.integers(len(self.values))]

    def position(self, words: Sequence[str]) -> int:
        """Returns the place of a value among the others."""
        return self.values.index(tuple(words))


@dataclasses.dataclass(frozen=True)
class Range:
    """Numbers between two others.

    Attributes:
      low, high: Both may be drawn.
      is_log: Whether each tenfold is equally likely, rather than each step.
      is_whole: Whether the numbers are whole.
    """

    low: float
    high: float
    is_log: bool = False
    is_whole: bool = False

    def draw(self, rng: np.random.Generator) -> tuple[str, ...]:
        """Draws a number, to four digits."""
        share = rng.random()
        # Each whole number has a stretch of its own.
        low, high = (self.low - 0.5, self.high + 0.5) if self.is_whole and not self.is_log else (self.low, self.high)
        found = low * (high / low) ** share if self.is_log else low + share * (high - low)
        if self.is_whole:
            return (str(int(min(max(round(found), self.low), self.high))),)
        return (f"{min(max(float(f'{found:.4g}'), self.low), self.high):.12g}",)

    def position(self, words: Sequence[str]) -> float:
        """Returns where a number lies, from 0 to 1, on the scale of the range."""
        if self.high == self.low:
            return 0.0
        low, high, found = self.low, self.high, float(words[0])
        if self.is_log:
            low, high, found = math.log(low), math.log(high), math.log(found)
        return (found - low) / (high - low)


@dataclasses.dataclass(frozen=True)
class Space:
    """Flags and what they may be, in the order of the file."""

    flags: Mapping[str, Choice | Range]

    def draw(self, seed: int, number: int) -> dict[str, tuple[str, ...]]:
        """Draws the settings of a trial, the same each time: flag -> the words that follow it.

        Args:
          seed: Of the search.
          number: Of the trial, from 0.
        """
        rng = np.random.default_rng([seed, number])
        return {flag: values.draw(rng) for flag, values in self.flags.items()}

    def distinct(self, seed: int, count: int) -> list[dict[str, tuple[str, ...]]]:
        """Draws the settings of trials until there are so many different ones, or no more are found."""
        found: list[dict[str, tuple[str, ...]]] = []
        for number in range(20 * count):
            drawn = self.draw(seed, number)
            if drawn not in found:
                found.append(drawn)
            if len(found) == count:
                break
        return found


def read_space(path: Path, parser: argparse.ArgumentParser) -> Space:
    """Reads a search space.

    Args:
      path: A YAML file: a mapping from flags, with or without hyphens in front, to lists or ranges.
      parser: Of `fit`, whose flags they may be.

    Raises:
      InputError: A file that cannot be read, a flag that does not exist or cannot be varied, values that cannot work.
    """
    import yaml  # Of the extra ray.

    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"--space {path}: {error.strerror}.") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # Of dates and numbers that are none, too.
        reason = str(getattr(error, "problem", None) or error).splitlines()[0]
        mark = getattr(error, "problem_mark", None)
        raise InputError(f"{path}{f', line {mark.line + 1}' if mark else ''}: no YAML ({reason}).") from None
    if not isinstance(found, dict) or not found:
        raise InputError(f"{path} holds no search space: write a flag and its values on each line, {_EXAMPLE}.")
    flags = {option for action in parser._actions for option in action.option_strings}
    read: dict[str, Choice | Range] = {}
    for name, values in found.items():
        flag = "--" + str(name).lstrip("-").replace("_", "-")
        if flag not in flags:
            near = difflib.get_close_matches(flag, sorted(flags), 1)
            raise InputError(f"{path}: fit has no flag {flag}" + (f"; did you mean {near[0]}?" if near else "."))
        if flag in FIXED or flag.startswith("--init-"):
            raise InputError(f"{path}: {flag} is the same for all trials: give it to the command, not to the space.")
        if flag in read:
            raise InputError(f"{path} names {flag} twice: leave one of them out.")
        read[flag] = _values(path, flag, values)
    return Space(read)


def _values(path: Path, flag: str, values: Any) -> Choice | Range:
    if isinstance(values, dict):
        return _range(path, flag, values)
    if not isinstance(values, list) or not values:
        raise InputError(f"{path}: {flag} needs a list of values or a range, {_EXAMPLE}.")
    words = tuple(tuple(_words(path, flag, value)) for value in values)
    if len(set(words)) < len(words):
        raise InputError(f"{path}: {flag} lists a value twice: leave one of them out.")
    return Choice(words)


def _words(path: Path, flag: str, value: Any) -> Iterator[str]:
    """Writes a value as a command line has it; true is the flag alone, a list several words."""
    if value is True:
        return
    if value is False:
        raise InputError(f'{path}: {flag} cannot be false, as YAML reads off and no: write "off", in quotes.')
    if value is None or isinstance(value, dict):
        raise InputError(f"{path}: {flag} cannot be {str(value).lower()}: write values as fit takes them.")
    yield from map(str, value if isinstance(value, list) else [value])


def _range(path: Path, flag: str, values: Mapping[str, Any]) -> Range:
    keys = {str(key) for key in values}
    if keys - _KEYS or not {"from", "to"} <= keys:
        what = f"{', '.join(sorted(keys - _KEYS))} is unknown" if keys - _KEYS else "from or to is missing"
        raise InputError(f"{path}: {flag}: {what} in a range: give from, to, scale (linear or log) and whole.")
    try:
        # YAML 1.1 reads 1e-4 as text.
        low, high = float(values["from"]), float(values["to"])
    except (TypeError, ValueError, OverflowError):
        raise InputError(f"{path}: {flag}: from and to must be numbers.") from None
    scale = values.get("scale", "linear")
    if scale not in _SCALES:
        raise InputError(f"{path}: {flag}: scale {scale} cannot work: give linear or log.")
    if not (math.isfinite(low) and math.isfinite(high) and low <= high):
        raise InputError(f"{path}: {flag}: from {low:g} to {high:g} cannot work: give two numbers, the lower first.")
    if scale == "log" and low <= 0:
        raise InputError(f"{path}: {flag}: a range on a log scale must begin above 0, not at {low:g}.")
    is_whole = values.get("whole", all(isinstance(values[key], int) for key in ("from", "to")))
    if is_whole and (low != int(low) or high != int(high)):
        raise InputError(f"{path}: {flag}: from {low:g} to {high:g} are not whole numbers, as whole asks for.")
    return Range(low, high, scale == "log", bool(is_whole))


def words_of(drawn: Mapping[str, Sequence[str]]) -> list[str]:
    """Writes drawn settings as arguments of a command line."""
    return [word for flag, words in drawn.items() for word in (flag, *words)]
