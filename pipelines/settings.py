"""Settings: fields of frozen dataclasses that carry their sentence of help, their unit and what they may be.

`check` refuses what they may not be; `pipelines.parsers` makes flags of them. Both read the same bounds.
"""

import dataclasses
import math
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from pipelines.command import InputError


@dataclasses.dataclass(frozen=True)
class Bounds:
    """What a number may be: finite, and between two others.

    Attributes:
      minimum: The least.
      maximum: The greatest.
      is_above: Whether the minimum itself is too low.
      is_below: Whether the maximum itself is too high.
    """

    minimum: float
    maximum: float = math.inf
    is_above: bool = False
    is_below: bool = False

    def __contains__(self, number: float) -> bool:
        is_high_enough = number > self.minimum if self.is_above else number >= self.minimum
        is_low_enough = number < self.maximum if self.is_below else number <= self.maximum
        return is_high_enough and is_low_enough and math.isfinite(number)

    def __str__(self) -> str:
        minimum, maximum = f"{self.minimum:.12g}", f"{self.maximum:.12g}"
        if self.maximum == math.inf:
            return f"above {minimum}" if self.is_above else f"at least {minimum}"
        return f"{'above' if self.is_above else 'from'} {minimum} to {'below ' * self.is_below}{maximum}"


def at_least(minimum: float) -> Bounds:
    """Makes the bounds of numbers that are not below one."""
    return Bounds(minimum)


def above(minimum: float) -> Bounds:
    """Makes the bounds of numbers greater than one."""
    return Bounds(minimum, is_above=True)


def up_to(maximum: float) -> Bounds:
    """Makes the bounds of numbers from 0 to one, both allowed."""
    return Bounds(0, maximum)


SHARE = Bounds(0, 1, is_below=True)
"""Of what can be left out in part, but not as a whole."""


@dataclasses.dataclass(frozen=True)
class Setting:
    """What a field knows beside its name, its type and its default.

    Attributes:
      sentence: What it does, for --help and the page of all flags.
      bounds: Of a number, or of each number of a tuple; None: any.
      unit: What stands for the number in help: EPOCHS, DB, ...
      choices: The names that it may be; a mapping says what each means.
      count: How many numbers a tuple may hold; None: any.
      word: What stands for None on a command line, such as "off".
      models: Of a branch, which of its models read the field; none: all. A mapping says the default of each.
      flag: Name of the flag, with underscores, where it is not that of the field behind a prefix.
      group: Title of the flags that it stands with.
    """

    sentence: str
    bounds: Bounds | None = None
    unit: str = "N"
    choices: Collection[str] = ()
    count: Bounds | None = None
    word: str = ""
    models: Collection[str] = ()
    flag: str = ""
    group: str = ""


def setting(default: Any, sentence: str, bounds: Bounds | None = None, **about: Any) -> Any:
    """Makes a field of a dataclass that is a setting.

    Args:
      default: Of the field.
      sentence: What it does.
      bounds: What the number may be.
      about: Further attributes of `Setting`.
    """
    return dataclasses.field(default=default, metadata={"setting": Setting(sentence, bounds, **about)})


def setting_of(field: "dataclasses.Field[Any]") -> Setting:
    """Returns what a field knows that `setting` made."""
    return field.metadata["setting"]


def settings_of(kind: type, prefix: str = "") -> dict[str, "dataclasses.Field[Any]"]:
    """Finds the fields of a dataclass that are settings: name of the flag, with underscores -> field."""
    fields = [field for field in dataclasses.fields(kind) if "setting" in field.metadata]
    return {setting_of(field).flag or prefix + field.name: field for field in fields}


def check(config: Any, prefix: str = "") -> None:
    """Makes sure that the settings of a dataclass are what they may be.

    Args:
      config: An instance of it.
      prefix: What stands before the names of its fields in flags, as "audio_".

    Raises:
      InputError: One that is not; names its flag.
    """
    for name, field in settings_of(type(config), prefix).items():
        value, found = getattr(config, field.name), setting_of(field)
        if value is None and found.word:
            continue
        numbers = value if isinstance(value, tuple) else (value,)
        if found.count and len(numbers) not in found.count:
            raise InputError(f"{flag_of(name)} {len(numbers)} cannot work: give a number of them {found.count}.")
        if found.bounds:
            require(name, numbers, found.bounds, found.word)
        if found.choices and isinstance(value, str) and value not in found.choices:
            raise InputError(f"{flag_of(name)} {value} cannot work: give one of {', '.join(found.choices)}.")


def require(name: str, numbers: Iterable[float], bounds: Bounds, word: str = "") -> None:
    """Makes sure that numbers of a flag are within bounds.

    Raises:
      InputError: The first that is not.
    """
    for number in numbers:
        if number not in bounds:
            of = "of " * str(bounds).startswith("at least")
            wanted = f"{of}{bounds}, or {word}" if word else f"{of}{bounds}"
            raise InputError(f"{flag_of(name)} {number} cannot work: give a number {wanted}.")


def flag_of(name: str) -> str:
    """Writes a name as a flag: epochs_done -> --epochs-done."""
    return "--" + name.replace("_", "-")


def defaults_of(field: "dataclasses.Field[Any]") -> str:
    """Writes the default of a setting as it is typed; of several models, each with its name."""
    models, default = setting_of(field).models, field.default
    if isinstance(models, Mapping):
        return ", ".join(f"{written(of_model)} for {model}" for model, of_model in models.items())
    return setting_of(field).word if default is None else written(default)


def written(value: Any) -> str:
    """Writes a default as it is typed on a command line; nothing for a switch, an empty one, or None."""
    if value is None or isinstance(value, bool):
        return ""
    if isinstance(value, tuple | list):
        return " ".join(map(written, value))
    return f"{value:.12g}" if isinstance(value, float) else str(value)
