"""The flags of a branch, made of the fields of its config: `--audio-model`, `--text-units` and the like."""

import argparse
import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from emotion_tf.config import MODALITIES, AudioConfig, TextConfig
from pipelines.command import InputError

BRANCH_CONFIGS: Mapping[str, type] = {"audio": AudioConfig, "text": TextConfig}


def modalities_of(arguments: argparse.Namespace) -> tuple[str, ...]:
    """Tells what the asked model listens to; late fusion may listen to less."""
    chosen = arguments.modalities or MODALITIES if arguments.branch == "fusion" else (arguments.branch,)
    return tuple(name for name in MODALITIES if name in chosen)


def add_branch_arguments(parser: argparse.ArgumentParser, modality: str) -> None:
    """Adds the flags of a branch; None where they are not given."""
    group = parser.add_argument_group(f"{modality} branch")
    for name, field in _branch_flags(modality).items():
        about, defaults = field.metadata, _defaults_of(field)
        owners = "" if len(defaults) > 1 else ", ".join(about["models"])
        meaning = ": ".join(part for part in (owners, about["help"]) if part)
        shown = f"{meaning} ({', '.join(defaults)})".strip() if any(defaults) else meaning
        if isinstance(field.default, bool):
            group.add_argument(_flag(name), action="store_const", const=True, help=shown)
        elif about["choices"]:
            nargs = "+" if isinstance(field.default, tuple) else None
            group.add_argument(_flag(name), choices=about["choices"], nargs=nargs, help=shown)
        elif isinstance(field.default, tuple):
            group.add_argument(_flag(name), type=int, nargs="+", metavar="N", help=shown)
        else:
            kind, unit = type(field.default), "NAME" if isinstance(field.default, str) else "N"
            group.add_argument(_flag(name), type=kind, metavar=unit, help=shown)


def _defaults_of(field: "dataclasses.Field[Any]") -> list[str]:
    """Writes the default of a field as it is typed, or that of each model; nothing for a switch or an empty one."""
    models = field.metadata["models"]
    if isinstance(models, Mapping):
        return [f"{model} {' '.join(map(str, sizes))}" for model, sizes in models.items()]
    return [" ".join(map(str, field.default)) if isinstance(field.default, tuple) else str(field.default or "")]


def _branch_flags(modality: str) -> dict[str, "dataclasses.Field[Any]"]:
    """Finds the fields of a branch's config that are flags, model and features first: name of the flag -> field."""
    fields = (field for field in dataclasses.fields(BRANCH_CONFIGS[modality]) if field.metadata)
    ordered = sorted(fields, key=lambda field: not field.metadata["choices"])
    return {field.metadata["flag"] or f"{modality}_{field.name}": field for field in ordered}


def branch_of(arguments: argparse.Namespace, modality: str) -> Any:
    """Makes the config of a branch.

    Raises:
      InputError: Flags that belong to another model, or to none of this command.
    """
    flags = _branch_flags(modality)
    given = {name: getattr(arguments, name) for name in flags if getattr(arguments, name) is not None}
    _check_trained(arguments, modality, given)
    values = {flags[name].name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}
    model = values.get("model", BRANCH_CONFIGS[modality]().model)
    for name in given:
        owners = tuple(flags[name].metadata["models"])
        if owners and model not in owners:
            raise InputError(f"{_flag(name)} belongs to --{modality}-model {' or '.join(owners)}, not {model}.")
    if values.get("features") == ("encoder",) and (others := set(given) - {"audio_features", "audio_dropout"}):
        raise InputError(f"{_flags(sorted(others))} change nothing where encoder is the only feature: leave them out.")
    if "freeze" in values and "preset_rate" in values:
        raise InputError("--text-preset-rate changes nothing with --text-freeze: leave one of them out.")
    return BRANCH_CONFIGS[modality](**values)


def _check_trained(arguments: argparse.Namespace, modality: str, given: Iterable[str]) -> None:
    """Refuses flags of a branch that is not trained, or that goes on as it is."""
    flags = _flags(given)
    if flags and (modality not in modalities_of(arguments) or arguments.fusion == "late"):
        raise InputError(f"{flags} change nothing here, where no {modality} branch is trained: leave them out.")
    if flags and getattr(arguments, f"init_{modality}"):
        raise InputError(f"{flags} cannot change the branch that --init-{modality} starts from: leave them out.")


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _flags(names: Iterable[str]) -> str:
    return ", ".join(map(_flag, names))
