"""The flags of a training, most of them made of the settings of its config, and the config that they make."""

import argparse
import dataclasses
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from emotion_tf.config import (
    BRANCHES,
    CONTROLS,
    DEFAULT_JOIN,
    FUSED,
    JOIN_MEANINGS,
    MODALITIES,
    AudioConfig,
    Config,
    TextConfig,
    TrainingConfig,
    VideoConfig,
)
from emotion_tf.config.training_config import AUGMENTATION, EARLY_FUSION, INPUTS, LOSS, TRAINING, TRANSFER
from emotion_tf.late_rules import RULES
from pipelines import folds, normalisation
from pipelines.command import InputError
from pipelines.parsers import Group, add_flag, add_setting, label_map, with_meanings
from pipelines.records import join, remote
from pipelines.settings import at_least, flag_of, setting_of, settings_of, written

BRANCH_CONFIGS: Mapping[str, type] = {"audio": AudioConfig, "text": TextConfig, "video": VideoConfig}

RECORDS = Path("data/records")

FUSIONS = ("early", "late")
"""The first is the default."""

DEFAULT_RULE = "mean"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of a config, all but the fold and the seed."""
    add_data_arguments(parser)
    add_model_arguments(parser)


def add_data_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags that say what is trained, and on what."""
    group = parser.add_argument_group("task and data")
    add_flag(group, "--branch", "Train this branch, or a fusion of several.", required=True, choices=BRANCHES)
    of_records = f"those of --runs, or the only ones under {RECORDS}"
    sentence = (
        "Train on the records in this folder, or at this URL (s3://...), or on those of several corpora together."
    )
    add_flag(group, "--records", sentence, type=remote.location, nargs="+", metavar="DIR", shown=of_records)
    names = f"{', '.join(folds.NAMES)}, or a JSON file"
    sentence = "Split the records into training, validation and test by these folds."
    add_flag(group, "--folds", sentence, names, metavar="NAME", default=Config.folds)
    sentence = "Make N folds with group-kfold, at most one a speaker."
    add_flag(group, "--num-folds", sentence, at_least(3), type=int, metavar="N", default=Config.num_folds)
    sentence = "Draw the folds of holdout, group-kfold and random with this seed."
    add_flag(group, "--fold-seed", sentence, type=int, metavar="SEED", default=Config.fold_seed)
    sentence = "Bring audio features to one scale."
    modes = normalisation.MODES
    add_flag(group, "--normalise", with_meanings(sentence, modes), choices=modes, shown=Config.normalise)
    sentence = (
        "Cut one link, to see what the scores owe to it: shuffle transcripts, recordings or videos among the utterances"
        " of each split, in training and scoring, or permute the labels of the training split."
    )
    add_flag(group, "--control", sentence, choices=CONTROLS, default=Config.control, shown="none")


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of the branches, of their fusion and of the training."""
    for modality in BRANCH_CONFIGS:
        add_branch_arguments(parser, modality)
    _add_transfer_arguments(parser.add_argument_group(TRANSFER))
    _add_early_arguments(parser.add_argument_group(EARLY_FUSION))
    _add_late_arguments(parser.add_argument_group("late fusion"))
    for title in (TRAINING, LOSS, INPUTS, *AUGMENTATION):
        _add_training_arguments(parser.add_argument_group(title), title)


def _add_transfer_arguments(group: Group) -> None:
    for modality in MODALITIES:
        sentence = f"Start the {modality} branch of early fusion, or of --branch {modality}, from this run."
        add_flag(group, f"--init-{modality}", sentence, type=Path, metavar="RUN")
    _add_training_arguments(group, TRANSFER)


def _add_early_arguments(group: Group) -> None:
    sentence = "Join branches in one graph (early), or the probabilities of trained runs (late)."
    add_flag(group, "--fusion", sentence, choices=FUSIONS, shown=FUSIONS[0])
    sentence = "Join the branches of these modalities."
    some = f"some of {', '.join(MODALITIES)}"
    add_flag(group, "--modalities", sentence, some, choices=MODALITIES, nargs="+", metavar="NAME", shown=written(FUSED))
    sentence = with_meanings("Join them in this way.", JOIN_MEANINGS)
    add_flag(group, "--join", sentence, choices=JOIN_MEANINGS, shown=DEFAULT_JOIN)
    _add_training_arguments(group, EARLY_FUSION)


def _add_late_arguments(group: Group) -> None:
    sentence = "Join the probabilities of these runs with --fusion late."
    add_flag(group, "--runs", sentence, "two or more", type=Path, nargs="+", metavar="RUN")
    sentence = "Join them by this rule; weighted and stacker are fitted on the validation split."
    add_flag(group, "--rule", sentence, choices=RULES, shown=DEFAULT_RULE)
    sentence = "Map the labels of the runs, or those of one of several --records, by these label maps."
    options: dict[str, Any] = {"nargs": "+", "type": label_map, "metavar": "NAME|DIR=NAME", "default": ()}
    add_flag(group, "--label-map", sentence, "listed by pipelines.prepare --list-label-maps", **options)


def _add_training_arguments(group: Group, title: str) -> None:
    for name, field in settings_of(TrainingConfig).items():
        if setting_of(field).group == title:
            add_setting(group, name, field, field.default)


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
        records=str(_records(arguments)),
        folds=arguments.folds,
        fold=getattr(arguments, "fold", 0),
        num_folds=arguments.num_folds,
        fold_seed=arguments.fold_seed,
        seed=getattr(arguments, "seed", 0),
        control=arguments.control,
        normalise=arguments.normalise or Config.normalise,
        fusion=arguments.fusion or (FUSIONS[0] if arguments.branch == "fusion" else ""),
        init_audio=str(arguments.init_audio or ""),
        init_text=str(arguments.init_text or ""),
        init_video=str(arguments.init_video or ""),
        runs=tuple(str(run) for run in arguments.runs or ()),
        modalities=tuple(arguments.modalities or ()),
        join=arguments.join or "",
        rule=arguments.rule or (DEFAULT_RULE if arguments.fusion == "late" else ""),
        label_maps=tuple(name for folder, name in arguments.label_map if not folder),
        audio=branch_of(arguments, "audio"),
        text=branch_of(arguments, "text"),
        video=branch_of(arguments, "video"),
        training=TrainingConfig(**values),
    )


def _records(arguments: argparse.Namespace) -> Path:
    """Finds the records to train on: those of several corpora are joined, or found joined."""
    folders = [remote.local(one) for one in arguments.records or []]
    maps = {remote.local_name(folder): name for folder, name in arguments.label_map if folder}
    if len(folders) > 1:
        return join(folders, maps)
    if maps:
        folder, name = next(iter(maps.items()))
        raise InputError(f"--label-map {folder}={name} is for several --records: prepare one with --label-map {name}.")
    return folders[0] if folders else _only_records()


def _check_flags(arguments: argparse.Namespace) -> None:
    inits = [modality for modality in MODALITIES if getattr(arguments, f"init_{modality}")]
    foreign = [modality for modality in inits if modality != arguments.branch]
    if arguments.branch != "fusion" and (arguments.fusion or arguments.runs or foreign):
        raise InputError(
            "--fusion and --runs belong to --branch fusion, --init-audio, --init-text and --init-video to it and to the"
            " branch that they name: leave them out."
        )
    if arguments.fusion == "late" and (inits or len(arguments.runs or ()) < 2):
        raise InputError("--fusion late joins trained runs: give it two or more, --runs RUN RUN, and no --init-*.")
    for number, run in enumerate(arguments.runs or ()):
        if run.resolve() in [other.resolve() for other in arguments.runs[:number]]:
            raise InputError(f"--runs names {run} twice: name each run once.")
    if arguments.fusion != "late" and (arguments.rule or any(not folder for folder, _ in arguments.label_map)):
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
    is_slowed = arguments.release_rate is not None
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
    """Refuses flags that change nothing for the modalities that are read."""
    read, is_early = modalities_of(arguments), arguments.branch == "fusion" and arguments.fusion != "late"
    if arguments.modalities and not is_early:
        raise InputError("--modalities belongs to --branch fusion --fusion early: leave it out.")
    for flag in ("join", "modality_dropout"):
        if getattr(arguments, flag) and not (is_early and len(read) > 1):
            raise InputError(
                f"{flag_of(flag)} changes nothing where early fusion does not join modalities: leave it out."
            )
    needs = {
        "--control shuffled-transcripts": ("text", arguments.control == "shuffled-transcripts"),
        "--control shuffled-audio": ("audio", arguments.control == "shuffled-audio"),
        "--control shuffled-video": ("video", arguments.control == "shuffled-video"),
        "--normalise": ("audio", arguments.normalise),
        "--init-audio": ("audio", arguments.init_audio),
        "--init-text": ("text", arguments.init_text),
        "--init-video": ("video", arguments.init_video),
        "--video-frames": ("video", arguments.video_frames is not None),
    }
    what = f"--modalities {' '.join(read)}" if arguments.branch == "fusion" else f"--branch {arguments.branch}"
    for flag, (modality, is_given) in needs.items():
        # Late fusion reads video where its runs do.
        is_of_runs = flag == "--control shuffled-video" and arguments.fusion == "late"
        if is_given and modality not in read and not is_of_runs:
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
    """Tells which modalities the asked model reads; late fusion may read fewer, or video too."""
    chosen = arguments.modalities or FUSED if arguments.branch == "fusion" else (arguments.branch,)
    return tuple(name for name in MODALITIES if name in chosen)


def add_branch_arguments(parser: argparse.ArgumentParser, modality: str) -> None:
    """Adds the flags of a branch; None where they are not given."""
    group = parser.add_argument_group(f"{modality} branch")
    for name, field in _branch_flags(modality).items():
        add_setting(group, name, field)


def _branch_flags(modality: str) -> dict[str, "dataclasses.Field[Any]"]:
    """Finds the fields of a branch's config that are flags, model and features first: name of the flag -> field."""
    found = settings_of(BRANCH_CONFIGS[modality], f"{modality}_")
    return dict(sorted(found.items(), key=lambda one: not setting_of(one[1]).choices))


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
        owners = tuple(setting_of(flags[name]).models)
        if owners and model not in owners:
            raise InputError(f"{flag_of(name)} belongs to --{modality}-model {' or '.join(owners)}, not {model}.")
    of_states = {"audio_features", "audio_dropout", "encoder_release", "encoder_rate"}
    if values.get("features") == ("encoder",) and (others := set(given) - of_states):
        raise InputError(f"{_flags(sorted(others))} change nothing where encoder is the only feature: leave them out.")
    if "freeze" in values and (idle := values.keys() & {"preset_rate", "layer_decay", "release"}):
        named = _flags(sorted(name for name in given if flags[name].name in idle))
        raise InputError(f"{named} changes nothing with --text-freeze: leave one of them out.")
    if "encoder_rate" in values and not values.get("encoder_release"):
        raise InputError("--encoder-rate changes nothing without --encoder-release: leave it out.")
    return BRANCH_CONFIGS[modality](**values)


def _check_trained(arguments: argparse.Namespace, modality: str, given: Iterable[str]) -> None:
    """Refuses flags of a branch that is not trained, or that starts from a run as it is."""
    flags, changed = _flags(given), _flags(name for name in given if not name.startswith("encoder_"))
    if flags and (modality not in modalities_of(arguments) or arguments.fusion == "late"):
        change = "change" if "," in flags else "changes"
        raise InputError(f"{flags} {change} nothing here, where no {modality} branch is trained: leave that out.")
    if changed and getattr(arguments, f"init_{modality}"):
        raise InputError(f"{changed} cannot change the branch that --init-{modality} starts from: leave that out.")


def _flags(names: Iterable[str]) -> str:
    return ", ".join(map(flag_of, names))


def command_of(config: Config, run: Path, seeds: int = 0) -> list[str]:
    """Writes the command that made a run, or a cross-validation, from its config.

    Args:
      config: Of the run; of a cross-validation what its crossval.json holds.
      run: Its folder.
      seeds: Of a cross-validation; 0: it is a run.

    Returns:
      Its words. Flags whose value is the default are left out.
    """
    command, where = (
        ("crossval", {"--seeds": seeds}) if seeds else ("fit", {"--fold": config.fold, "--seed": config.seed})
    )
    given: dict[str, Any] = {"--branch": config.branch, "--records": config.records}
    if config.branch == "fusion":
        given |= {"--fusion": config.fusion, "--runs": config.runs, "--rule": config.rule if config.is_late else ""}
        given |= {"--modalities": () if config.is_late else config.modalities, "--join": config.join}
    given |= {f"--init-{modality}": source for modality, source in config.inits.items()}
    given |= {"--label-map": config.label_maps, "--folds": config.folds, **where}
    given |= _changed({"--num-folds": "num_folds", "--fold-seed": "fold_seed", "--control": "control"}, config)
    if not (config.init_audio or config.is_late):
        given |= _changed({"--normalise": "normalise"}, config)
    for modality in config.modalities if not config.is_late else ():
        given |= {} if modality in config.inits else _branch_words(modality, getattr(config, modality))
    given |= _words_of(settings_of(TrainingConfig), config.training, TrainingConfig())
    words = [word for flag, value in given.items() for word in _typed(flag, value)]
    return ["python", "-m", f"emotion_tf.{command}", *words, "--run", str(run)]


def _changed(flags: Mapping[str, str], config: Config) -> dict[str, Any]:
    """Picks the fields of a config that are not what they are without their flag: flag -> value."""
    defaults = {field.name: field.default for field in dataclasses.fields(Config)}
    return {flag: getattr(config, name) for flag, name in flags.items() if getattr(config, name) != defaults[name]}


def _branch_words(modality: str, branch: Any) -> dict[str, Any]:
    """Picks the flags of a branch that differ from what its model is by default."""
    fields, kind = _branch_flags(modality), BRANCH_CONFIGS[modality]
    chosen = {name: getattr(branch, name) for name in ("model", "preset") if hasattr(branch, name)}
    found = _words_of(fields, branch, kind(**chosen))
    # The model comes first: the defaults of the others are its own.
    first = {f"--{modality}-{name}": value for name, value in chosen.items() if value != getattr(kind(), name)}
    return first | found


def _words_of(fields: "Mapping[str, dataclasses.Field[Any]]", config: Any, default: Any) -> dict[str, Any]:
    """Picks the settings of a config that differ from another one: flag -> value, or the word that stands for None."""
    return {
        flag_of(name): setting_of(field).word if value is None else value
        for name, field in fields.items()
        if (value := getattr(config, field.name)) != getattr(default, field.name)
    }


def _typed(flag: str, value: Any) -> list[str]:
    """Writes a flag and its value as words; nothing where the value is empty, a flag alone where it is true."""
    if value is True:
        return [flag]
    if value in ("", (), None):
        return []
    return [flag, *(map(written, value) if isinstance(value, tuple) else [written(value)])]
