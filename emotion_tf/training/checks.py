"""Finds out before a training whether it may be trained, and what is known of its data."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emotion_tf.config import MAX_POSITIONS, Config
from emotion_tf.runs.audit import audit_run
from emotion_tf.runs.compatibility import (
    audio_features_of,
    hears,
    misfit,
    modalities_of,
    normalisation_of,
    reads,
    targets_of,
    tokenizer_of,
)
from emotion_tf.runs.folder import Run
from pipelines import folds, normalisation, text
from pipelines.command import InputError
from pipelines.emotions import LABEL_MAPS
from pipelines.records import Metadata, marks_of, read_index, read_metadata
from pipelines.records.metadata import widths_of

if TYPE_CHECKING:
    import pandas as pd


def check(config: Config, index: "pd.DataFrame | None" = None) -> tuple[dict[str, Any], dict[str, Any]]:
    """Finds out whether a config may be trained, and what is known of its data before.

    Args:
      config: What to train on what.
      index: Of the records, where they were read before.

    Returns:
      What metadata.json and audit.json of the run hold.

    Raises:
      InputError: Records, folds, runs or settings that do not fit together, or a score that could not be believed.
    """
    folder = Path(config.records)
    records = read_metadata(folder)
    _check_records(config, records)
    index = read_index(folder) if index is None else index
    fold = folds.choose_fold(config.folds, config.fold, index, num_folds=config.num_folds, seed=config.fold_seed)
    for source in config.sources:
        _check_source(config, source, records)
    _check_rule(config, records)
    normalisation_of(config)
    _check_features(config, records)
    _check_words(config)
    audit = audit_run(config, index, vars(records), fold, f"fold {config.fold} of {config.folds}")
    metadata = run_metadata(config, records, fold, index)
    metadata["marks"] = list(dict.fromkeys([*metadata["marks"], *audit["marks"]]))
    tokenizer = tokenizer_of(config) or text.own_tokenizer()
    metadata["tokenizer"] = {"preset": tokenizer.preset, "sha256": tokenizer.sha256}
    return metadata, audit


def _check_source(config: Config, source: str, records: Metadata) -> None:
    """Refuses a run that does not fit these records: to start a branch from, or whole, to be joined."""
    run = Run(Path(source)).require_finished()
    found = run.metadata()
    # A branch that goes on brings no label set: its head is new. The corpus of one to be joined may be another.
    of_branches = {"audio": ("front_end", "encoder"), "text": ("vocabulary_sha256",), "video": ("video",)}
    facts = {init: of_branches[modality] for modality, init in config.inits.items()}
    if what := misfit(found, vars(records), facts.get(source) or _facts_of(run)):
        raise InputError(f"{source} has another {what} than these records: choose a run trained on them.")
    if source in config.runs:
        targets_of(found, vars(records), config.label_maps, source)
    mode = run.config().normalise
    if source == config.init_audio and mode != config.normalise:
        raise InputError(f"{source} was trained with --normalise {mode}, not {config.normalise}: give the same.")
    if config.control == "permuted-labels" and config.control not in found["marks"]:
        raise InputError(f"{source} was trained on true labels: start a run of permuted labels from such runs.")


def _facts_of(run: Run) -> tuple[str, ...]:
    """Names what the records of a late fusion must have in common with those of a run that it joins."""
    of_sound, of_words = ("front_end", "encoder"), ("vocabulary_sha256",)
    return (of_sound if hears(run.config()) else ()) + (of_words if reads(run.config()) else ()) + ("video",)


def _check_rule(config: Config, records: Metadata) -> None:
    """Refuses rules and maps that have nothing to do with these runs."""
    if config.rule in ("vote", "stacker") and records.is_multi_label:
        raise InputError(
            f"--rule {config.rule} needs one emotion an utterance, and {config.records} hold several: choose another."
        )
    labels = [Run(Path(source)).metadata()["emotions"] for source in config.runs]
    for name in config.label_maps:
        if not any(set(of_run) <= set(LABEL_MAPS[name].targets) and of_run != records.emotions for of_run in labels):
            raise InputError(f"--label-map {name} is for none of {', '.join(config.runs)}: leave it out.")


def _check_records(config: Config, records: Metadata) -> None:
    """Refuses what cannot be trained on records without sound, or with several emotions an utterance."""
    if not records.has_audio and "audio" in config.modalities and not config.is_late:
        held, branch = ("no sound", "video") if records.video else ("words alone, no sound", "text")
        raise InputError(f"{config.records} hold {held}: train --branch {branch} on them.")
    if "audio" in config.modalities and not config.is_late:
        _check_sound(config, records)
    if "video" in modalities_of(config) and records.video is None:
        raise InputError(f"{config.records} hold no video: prepare them with --video-frames.")
    if records.is_multi_label and config.training.class_weights in ("balanced", "root"):
        raise InputError(
            f"--class-weights {config.training.class_weights} needs one emotion an utterance, and {config.records} hold"
            " several: leave it out."
        )


def _check_sound(config: Config, records: Metadata) -> None:
    """Refuses what a training on sound asks for and its features, or its records, do not allow."""
    if config.training.changes_waveforms and "encoder" in config.audio.features:
        raise InputError(
            "--speed, --noise-snr-db and --gain-db change waveforms, and --audio-features encoder are stored once:"
            " leave these or those out."
        )
    if config.normalise != "clip" and config.audio.features == ("encoder",):
        raise InputError(
            f"--normalise {config.normalise} changes nothing for --audio-features encoder, which are left as they are:"
            " leave it out."
        )
    if config.training.changes_waveforms and not records.has_waveform:
        raise InputError(
            "--speed, --noise-snr-db and --gain-db change stored waveforms, and"
            f" {config.records} hold none: prepare them again with --store-waveform."
        )
    if config.normalise == "enrolled":
        normalisation.require_speakers(Path(config.records), records)


def _check_features(config: Config, records: Metadata) -> None:
    """Refuses features of sound that the records do not hold, or fewer columns than a network halves."""
    widths, heard = widths_of(vars(records)), audio_features_of(config)
    for name in heard:
        if name not in widths:
            flag = "--encoder whisper" if name == "encoder" else "--acoustic"
            raise InputError(f"{config.records} hold no {name} features: prepare them with {flag}.")
    columns = sum(widths[name] for name in heard if name != "encoder")
    if columns and not config.is_late and columns < config.audio.least_columns:
        raise InputError(
            f"--audio-model {config.audio.model} needs {config.audio.least_columns} columns or more, and"
            f" {config.records} hold {columns}: prepare them with more --mel-bins, or choose another model or fewer"
            " --audio-channels."
        )


def _check_words(config: Config) -> None:
    """Refuses more words, or other pieces, than a model has places for."""
    if "text" not in config.modalities or config.is_late or config.text.model not in ("transformer", "distilbert"):
        return
    tokenizer, longest = tokenizer_of(config) or text.own_tokenizer(), MAX_POSITIONS
    if config.text.model == "distilbert":
        longest, num_pieces = _places_of(config.text.preset)
        if num_pieces < tokenizer.vocabulary_size:
            raise InputError(
                f"the preset {config.text.preset} has {tokenizer.vocabulary_size} pieces and {num_pieces} embeddings:"
                " its files belong to different models."
            )
    if not tokenizer.min_tokens <= config.training.max_tokens <= longest:
        raise InputError(
            f"--max-tokens {config.training.max_tokens} cannot work for --text-model {config.text.model}:"
            f" give a number from {tokenizer.min_tokens} to {longest}."
        )


def _places_of(preset: str) -> tuple[int, int]:
    from emotion_tf.models.branches.text import places_of

    try:
        return places_of(preset)
    except Exception as error:  # Whatever a download or a file raises.
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        raise InputError(f"cannot read the preset {preset}: {reason}.") from error


def with_branches(config: Config) -> Config:
    """Takes over models, widths and normalisation of the runs that branches start from, or words that joined runs read.

    Raises:
      InputError: Runs to join that read unlike shares of a transcript.
    """
    found = {modality: _branch_config(source, modality) for modality, source in config.inits.items()}
    if config.init_audio:
        found["normalise"] = Run(Path(config.init_audio)).config().normalise
    if config.is_late and (max_tokens := _max_tokens(config.runs)):
        found["training"] = dataclasses.replace(config.training, max_tokens=max_tokens)
    return dataclasses.replace(config, **found)


def _max_tokens(runs: Sequence[str]) -> int:
    """Tells how many token ids the runs of a late fusion read; 0 where none reads any."""
    configs = {source: Run(Path(source)).require_finished().config() for source in runs}
    found = {source: config.training.max_tokens for source, config in configs.items() if reads(config)}
    if len(set(found.values())) > 1:
        named = ", ".join(f"{source} {number}" for source, number in found.items())
        raise InputError(f"--max-tokens differs ({named}): join runs that read as much of a transcript.")
    return max(found.values(), default=0)


def _branch_config(source: str, modality: str) -> Any:
    """Takes over model and widths of the run that a branch starts from."""
    run = Run(Path(source)).require_finished()
    if run.config().branch != modality:
        raise InputError(
            f"--init-{modality} {source} is a run of the branch {run.config().branch}: give one of --branch {modality}."
        )
    return getattr(run.config(), modality)


def run_metadata(config: Config, records: Metadata, fold: folds.Fold, index: "pd.DataFrame") -> dict[str, Any]:
    """Collects the facts that a run is read with: records, fold, and what was counted on its training split.

    Raises:
      InputError: An emotion that no training speaker has.
    """
    by_recall = (records.has_audio or records.video is not None) and not records.is_multi_label
    labels = index["labels"][fold.splits(index) == "train"]
    found = labels.explode().value_counts()
    counts = [int(found.get(number, 0)) for number in range(len(records.emotions))]
    missing = [emotion for emotion, count in zip(records.emotions, counts, strict=True) if not count]
    if missing:
        raise InputError(
            f"the training split of {config.folds} fold {config.fold} has no utterance of {', '.join(missing)}:"
            f" choose other folds, or prepare more {'speakers' if by_recall else 'sentences'}."
        )
    return {
        "corpus": records.corpus,
        "marks": marks_of(records) + _marks(config),
        "emotions": records.emotions,
        "is_multi_label": records.is_multi_label,
        "has_audio": records.has_audio,
        "headline": "unweighted_average_recall" if by_recall else "macro_f1",
        "front_end": records.front_end,
        "acoustic": records.acoustic,
        # A model that hears none fits records with any.
        "encoder": records.encoder if "encoder" in audio_features_of(config) else None,
        "video": records.video if "video" in modalities_of(config) else None,
        "vocabulary_sha256": records.vocabulary_sha256,
        "transcript_source": records.transcript_source,
        "longest_frames": records.longest_frames,
        "has_waveform": records.has_waveform,
        "fold": dataclasses.asdict(fold),
        "training_counts": counts,
        "num_training": len(labels),
        "prior": [count / len(labels) for count in counts],
    }


def _marks(config: Config) -> list[str]:
    """Names what scores carry of how a run is trained; sources add theirs."""
    return [config.control] * bool(config.control) + [normalisation.ENROLLED_MARK] * (config.normalise == "enrolled")
