"""The flags of a training, most of them made of the fields of its config, and the config that they make."""

import argparse
import dataclasses
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from emotion_tf.config import (
    BRANCHES,
    CONTROLS,
    FUSED,
    JOINS,
    MODALITIES,
    AudioConfig,
    Config,
    TextConfig,
    TrainingConfig,
    VideoConfig,
)
from emotion_tf.models.late_rules import RULES
from pipelines import folds, normalisation
from pipelines.command import InputError
from pipelines.emotions import LABEL_MAPS

BRANCH_CONFIGS: Mapping[str, type] = {"audio": AudioConfig, "text": TextConfig, "video": VideoConfig}

RECORDS = Path("data/records")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of a config, all but the fold and the seed."""
    parser.add_argument("--branch", required=True, choices=BRANCHES)
    parser.add_argument("--records", type=Path, help="folder of records (default: the only one under data/records)")
    parser.add_argument("--folds", default="holdout", help=f"{', '.join(folds.NAMES)} or a JSON file (%(default)s)")
    parser.add_argument("--num-folds", type=int, default=5, metavar="K", help="of group-kfold (%(default)s)")
    parser.add_argument("--fold-seed", type=int, default=0, metavar="N", help="of folds that are drawn (%(default)s)")
    meanings = "; ".join(f"{name}: {meaning}" for name, meaning in CONTROLS.items())
    parser.add_argument("--control", choices=CONTROLS, default="", help=meanings)
    meanings = "; ".join(f"{name}: {meaning}" for name, meaning in normalisation.MODES.items())
    parser.add_argument("--normalise", choices=normalisation.MODES, help=f"features of sound; {meanings} (clip)")
    _add_fusion_arguments(parser)
    for modality in BRANCH_CONFIGS:
        add_branch_arguments(parser, modality)
    _add_training_arguments(parser)


def _add_fusion_arguments(parser: argparse.ArgumentParser) -> None:
    fusion = parser.add_argument_group("fusion")
    fusion.add_argument(
        "--fusion", choices=("early", "late"), help="join branches in one graph (default), or answers of runs"
    )
    fusion.add_argument(
        "--modalities",
        choices=MODALITIES,
        nargs="+",
        help=f"what early fusion hears, reads and sees ({' '.join(FUSED)})",
    )
    meanings = "; ".join(f"{name}: {meaning}" for name, meaning in JOINS.items())
    fusion.add_argument("--join", choices=JOINS, help=f"of early fusion; {meanings} (concat)")
    fusion.add_argument("--init-audio", type=Path, metavar="RUN", help="start early fusion from this audio run")
    fusion.add_argument("--init-text", type=Path, metavar="RUN", help="start the text branch from this text run")
    fusion.add_argument("--init-video", type=Path, metavar="RUN", help="start early fusion from this video run")
    fusion.add_argument("--runs", type=Path, nargs="+", metavar="RUN", help="runs that late fusion joins")
    fusion.add_argument("--rule", choices=RULES, help="by which late fusion joins them (mean)")
    fusion.add_argument(
        "--label-map",
        nargs="+",
        choices=LABEL_MAPS,
        metavar="NAME",
        default=(),
        help=f"from labels of late fusion's runs to those of the records: {', '.join(LABEL_MAPS)}",
    )


def _add_training_arguments(parser: argparse.ArgumentParser) -> None:
    training = parser.add_argument_group("training")
    for field in dataclasses.fields(TrainingConfig):
        flag = "--" + field.name.replace("_", "-")
        meaning, choices = f"{field.metadata['help']} (%(default)s)", field.metadata["choices"]
        if choices:
            training.add_argument(flag, choices=choices, help=meaning)
        else:
            training.add_argument(flag, type=type(field.default), metavar="N", help=meaning)
        training.set_defaults(**{field.name: field.default})


def config_of(arguments: argparse.Namespace) -> Config:
    """Makes a config of the flags of `add_arguments`, and of --fold and --seed where they are.

    Raises:
      InputError: Flags that do not go together, or numbers that cannot work.
    """
    values = {field.name: getattr(arguments, field.name) for field in dataclasses.fields(TrainingConfig)}
    _check_flags(arguments)
    _check_modalities(arguments)
    return Config(
        branch=arguments.branch,
        records=str(arguments.records or _only_records()),
        folds=arguments.folds,
        fold=getattr(arguments, "fold", 0),
        num_folds=arguments.num_folds,
        fold_seed=arguments.fold_seed,
        seed=getattr(arguments, "seed", 0),
        control=arguments.control,
        normalise=arguments.normalise or "clip",
        fusion=arguments.fusion or ("early" if arguments.branch == "fusion" else ""),
        init_audio=str(arguments.init_audio or ""),
        init_text=str(arguments.init_text or ""),
        init_video=str(arguments.init_video or ""),
        runs=tuple(str(run) for run in arguments.runs or ()),
        modalities=tuple(arguments.modalities or ()),
        join=arguments.join or "",
        rule=arguments.rule or ("mean" if arguments.fusion == "late" else ""),
        label_maps=tuple(arguments.label_map),
        audio=branch_of(arguments, "audio"),
        text=branch_of(arguments, "text"),
        video=branch_of(arguments, "video"),
        training=TrainingConfig(**values),
    )


def _check_flags(arguments: argparse.Namespace) -> None:
    inits = arguments.init_audio or arguments.init_text or arguments.init_video
    foreign = arguments.fusion or arguments.runs or (arguments.init_text if arguments.branch != "text" else None)
    if arguments.branch != "fusion" and (foreign or arguments.init_audio or arguments.init_video):
        raise InputError(
            "--fusion, --runs, --init-audio and --init-video belong to --branch fusion, --init-text to it and --branch"
            " text: leave them out."
        )
    if arguments.fusion == "late" and (inits or len(arguments.runs or ()) < 2):
        raise InputError("--fusion late joins trained runs: give it two or more, --runs RUN RUN, and no --init-*.")
    for number, run in enumerate(arguments.runs or ()):
        if run.resolve() in [other.resolve() for other in arguments.runs[:number]]:
            raise InputError(f"--runs names {run} twice: name each run once.")
    if arguments.fusion != "late" and (arguments.rule or arguments.label_map):
        raise InputError("--rule and --label-map belong to --fusion late: leave them out.")
    if arguments.fusion != "late" and arguments.runs:
        raise InputError("--runs belongs to --fusion late: early fusion starts from --init-audio and other --init-*.")
    if arguments.fusion == "late" and arguments.control == "permuted-labels":
        raise InputError("--control permuted-labels needs a training, and late fusion has none: join such runs.")
    _check_release(arguments)
    if arguments.normalise and (arguments.init_audio or arguments.runs):
        raise InputError("--normalise: with --init-audio or --runs it is that of those runs, leave it out.")


def _check_release(arguments: argparse.Namespace) -> None:
    """Refuses flags of branches to start from where there are none, or where they are never released."""
    is_slowed = arguments.release_rate != TrainingConfig.release_rate
    inits = arguments.init_audio or arguments.init_text or arguments.init_video
    if (arguments.freeze_epochs or is_slowed) and not inits:
        raise InputError(
            "--freeze-epochs and --release-rate are of branches to start from: give --init-audio, --init-text or"
            " --init-video, or leave them out."
        )
    if is_slowed and arguments.freeze_epochs >= arguments.epochs:
        raise InputError(
            f"--release-rate changes nothing where --freeze-epochs {arguments.freeze_epochs} last the whole training:"
            " leave it out, or freeze for fewer."
        )


def _check_modalities(arguments: argparse.Namespace) -> None:
    """Refuses flags that change nothing for the modalities that are listened to."""
    heard, is_early = modalities_of(arguments), arguments.branch == "fusion" and arguments.fusion != "late"
    if arguments.modalities and not is_early:
        raise InputError("--modalities belongs to --branch fusion --fusion early: leave it out.")
    for flag in ("join", "modality_dropout"):
        if getattr(arguments, flag) and not (is_early and len(heard) > 1):
            raise InputError(
                f"--{flag.replace('_', '-')} changes nothing where early fusion does not join modalities: leave it out."
            )
    needs = {
        "--control shuffled-transcripts": ("text", arguments.control == "shuffled-transcripts"),
        "--control shuffled-audio": ("audio", arguments.control == "shuffled-audio"),
        "--control shuffled-video": ("video", arguments.control == "shuffled-video"),
        "--normalise": ("audio", arguments.normalise),
        "--init-audio": ("audio", arguments.init_audio),
        "--init-text": ("text", arguments.init_text),
        "--init-video": ("video", arguments.init_video),
        "--video-frames": ("video", arguments.video_frames),
    }
    what = f"--modalities {' '.join(heard)}" if arguments.branch == "fusion" else f"--branch {arguments.branch}"
    for flag, (modality, is_given) in needs.items():
        # Late fusion sees where its runs do.
        is_of_runs = flag == "--control shuffled-video" and arguments.fusion == "late"
        if is_given and modality not in heard and not is_of_runs:
            raise InputError(f"{flag} changes nothing for {what}: leave it out.")


def _only_records() -> Path:
    """Finds the only complete folder of records.

    Raises:
      InputError: None, or several.
    """
    complete = sorted(path.parent for path in RECORDS.glob("*/metadata.json"))
    if not complete:
        raise InputError(
            f"there are no complete records under {RECORDS}: `make fit` makes synthetic ones,"
            " python -m pipelines.prepare those of a corpus."
        )
    if len(complete) > 1:
        raise InputError(f"there are several records, choose one: --records {', --records '.join(map(str, complete))}.")
    return complete[0]


def modalities_of(arguments: argparse.Namespace) -> tuple[str, ...]:
    """Tells what the asked model listens to; late fusion may listen to less."""
    chosen = arguments.modalities or FUSED if arguments.branch == "fusion" else (arguments.branch,)
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
    model = values.get("model", getattr(BRANCH_CONFIGS[modality], "model", ""))
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
