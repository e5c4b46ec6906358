"""Parsers of commands: flags in groups, whole sentences, and behind each what it may be and what holds without it."""

import argparse
import math
import textwrap
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any

from pipelines.emotions import LABEL_MAPS
from pipelines.settings import Bounds, defaults_of, flag_of, setting_of, written

if typing.TYPE_CHECKING:
    import dataclasses

Group = argparse._ActionsContainer
"""A parser, or a titled group of its flags."""


def command_parser(name: str, documentation: str | None, usage: str, **options: Any) -> argparse.ArgumentParser:
    """Makes the parser of a command.

    Args:
      name: Of its module, as `python -m` takes it.
      documentation: The docstring of the module, whose first line describes the command.
      usage: What follows the name in the usage: the flags that a first try needs.
      options: Further ones of `argparse.ArgumentParser`.
    """
    return argparse.ArgumentParser(
        f"python -m {name}",
        f"%(prog)s {usage}",
        (documentation or "").partition("\n")[0],
        formatter_class=_Formatter,
        **options,
    )


class _Formatter(argparse.HelpFormatter):
    """Keeps names with hyphens, and flags among them, in one piece."""

    def _split_lines(self, text: str, width: int) -> list[str]:
        return textwrap.wrap(text, width, break_on_hyphens=False)


def add_flag(
    group: Group, flag: str, sentence: str, bounds: Bounds | str = "", *, shown: str | None = None, **options: Any
) -> None:
    """Adds a flag, or a word without one; what it may be and its default are written behind its sentence.

    Args:
      group: Where.
      flag: As it is typed.
      sentence: What it does.
      bounds: What may be given.
      shown: What holds without it; None: the default among the options.
      options: Of `add_argument`.
    """
    shown = written(options.get("default")) if shown is None else shown
    facts = [str(bounds)] if bounds else []
    facts += ["required"] if options.get("required") else []
    facts += [f"default: {shown}"] if shown else []
    text = f"{sentence} ({'; '.join(facts)})" if facts else sentence
    group.add_argument(flag, help=text.replace("%", "%%"), **options)


def add_setting(group: Group, name: str, field: "dataclasses.Field[Any]", default: Any = None) -> None:
    """Adds the flag of a setting.

    Args:
      group: Where.
      name: Of the flag, with underscores.
      field: The setting, as `pipelines.settings.settings_of` finds it.
      default: What parsing gives without the flag.
    """
    found = setting_of(field)
    options: dict[str, Any] = {"default": default, "nargs": "+" if isinstance(field.default, tuple) else None}
    if isinstance(field.default, bool):
        options = {"default": default, "action": "store_const", "const": True}
    elif found.choices and options["nargs"]:
        options |= {"choices": found.choices, "metavar": found.unit}
    elif found.choices:
        options |= {"choices": found.choices}
    else:
        options |= {"type": _type_of(field), "metavar": "|".join(filter(None, (found.unit, found.word)))}
    sentence = with_meanings(found.sentence, found.choices)
    add_flag(group, flag_of(name), sentence, _facts(field), shown=defaults_of(field), **options)


def _facts(field: "dataclasses.Field[Any]") -> str:
    """Says whose a setting is and what it may be."""
    found, facts = setting_of(field), []
    if found.models and not isinstance(found.models, Mapping):
        facts.append(f"{', '.join(found.models)} only")
    is_tuple = isinstance(field.default, tuple)
    numbers = f"{found.count} numbers, " if found.count and found.count.maximum < math.inf else ""
    if found.bounds:
        facts.append(f"{numbers}each {found.bounds}" if is_tuple else str(found.bounds))
    if found.choices and is_tuple:
        facts.append(f"some of {', '.join(found.choices)}")
    return "; ".join(facts)


def with_meanings(sentence: str, choices: Any) -> str:
    """Adds to a sentence what each choice means, where a mapping says so."""
    if not isinstance(choices, Mapping):
        return sentence
    return f"{sentence} {'; '.join(f'{name}: {meaning}' for name, meaning in choices.items())}."


def _type_of(field: "dataclasses.Field[Any]") -> Callable[[str], Any]:
    """Finds what reads the words of a flag: the type of a field, of its elements, or of what it is beside None."""
    if isinstance(field.type, types.UnionType):
        [kind] = set(typing.get_args(field.type)) - {types.NoneType}
        return number_or(setting_of(field).word, kind)
    if isinstance(field.default, tuple):
        return typing.get_args(field.type)[0]
    return type(field.default)


def number_or(word: str, kind: type = float) -> Callable[[str], Any]:
    """Makes what reads a number, or one word that stands for None."""

    def read(text: str) -> Any:
        try:
            return None if text == word else kind(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text} is neither a number nor {word}") from None

    return read


def label_map(text: str) -> tuple[str, str]:
    """Reads NAME, or DIR=NAME for one of several folders of records: the folder, or nothing, and the name."""
    folder, _, name = text.rpartition("=")
    if name not in LABEL_MAPS:
        raise argparse.ArgumentTypeError(
            f"there is no label map {name!r}: python -m pipelines.prepare --list-label-maps lists them"
        )
    return folder, name
