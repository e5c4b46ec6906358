"""Finds out before a training whether a config may be trained, what its model reads, and what is known of its data."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emotion_tf.config import MAX_POSITIONS, Config, TextConfig
from emotion_tf.runs.audit import audit_run
from emotion_tf.runs.compatibility import RunInputs, late_targets, misfit, resolve
from emotion_tf.runs.folder import Run
from emotion_tf.runs.metadata import RunMetadata
from emotion_tf.training.audio_checks import check_audio, check_features
from pipelines import folds, normalisation, text
from pipelines.command import InputError
from pipelines.emotions import LABEL_MAPS
from pipelines.records import Metadata, marks_of, read_index, read_metadata
from pipelines.text_presets import find_preset
from pipelines.utterance import SPLITS

if TYPE_CHECKING:
    import pandas as pd

_SPARE_PIECES = 1024
"""Embeddings that a preset may have beyond its pieces: some are padded to a round number."""


@dataclasses.dataclass(frozen=True)
class Checked:
    """What is known of a config that may be trained.

    Attributes:
      inputs: What its model reads.
      metadata: What metadata.json of the run holds.
      audit: What audit.json of the run holds.
      notes: Sentences about what is allowed and may not be meant.
    """

    inputs: RunInputs
    metadata: RunMetadata
    audit: dict[str, Any]
    notes: tuple[str, ...] = ()


def check(config: Config, index: "pd.DataFrame | None" = None) -> Checked:
    """Finds out whether a config may be trained, and what is known of its data before.

    Args:
      config: What to train on what.
      index: Of the records, where they were read before.

    Raises:
      InputError: Records, folds, runs or settings that do not fit together, or a score that could not be believed.
    """
    folder = Path(config.records)
    records = read_metadata(folder)
    _check_records(config, records)
    if records.context and config.folds != "published":
        raise InputError(
            f"{folder} hold lines of dialogues as context, and --folds {config.folds} divides dialogues: give --folds"
            " published."
        )
    index = read_index(folder) if index is None else index
    fold = folds.choose_fold(config.folds, config.fold, index, num_folds=config.num_folds, seed=config.fold_seed)
    for source in config.sources:
        _check_source(config, source, records)
    _check_rule(config, records)
    inputs = resolve(config, records)
    check_features(config, inputs)
    _check_tokens(config, inputs, records)
    audit = audit_run(config, index, records, fold, f"fold {config.fold} of {config.folds}")
    metadata = _metadata(config, inputs, records, fold, index, audit["marks"])
    notes = (*_balance_notes(fold, index), *_label_notes(config, records), *_corpus_notes(metadata))
    return Checked(inputs, metadata, audit, notes)


def _check_source(config: Config, source: str, records: Metadata) -> None:
    """Refuses a run that does not fit these records: to start a branch from, or whole, to be joined."""
    run = Run(Path(source)).require_finished()
    found = run.metadata()
    if found.video and not records.video:
        raise InputError(f"{config.records} hold no video: prepare them with --video-frames.")
    # A branch to start from may have another label set: its head is new. A run to join may be of another corpus.
    of_branches = {"audio": ("front_end", "encoder"), "text": ("vocabulary_sha256",), "video": ("video",)}
    facts = {init: of_branches[modality] for modality, init in config.inits.items()}
    # A branch of text to start from learns what a context is; a run to join has learned it, or has not.
    of_modalities = [*(fact for modality in found.modalities for fact in of_branches[modality]), "context"]
    if what := misfit(found, records, facts.get(source) or of_modalities):
        raise InputError(f"{source} has another {what} than these records: choose a run trained on them.")
    if source in config.runs:
        late_targets(found, records, config.label_maps, source)
        if "text" in found.modalities:
            _check_words(config, records)
    mode = run.config().normalise
    if source == config.init_audio and mode != config.normalise:
        raise InputError(f"{source} was trained with --normalise {mode}, not {config.normalise}: give the same.")
    if config.control == "permuted-labels" and config.control not in found.marks:
        raise InputError(f"{source} was trained on true labels: start a run of permuted labels from such runs.")


def _check_rule(config: Config, records: Metadata) -> None:
    """Refuses rules and maps that have nothing to do with these runs."""
    if config.rule in ("vote", "stacker") and records.is_multi_label:
        raise InputError(
            f"--rule {config.rule} needs one emotion an utterance, and {config.records} hold several: choose another."
        )
    label_sets = [Run(Path(source)).metadata().emotions for source in config.runs]
    differing = [labels for labels in label_sets if labels != records.emotions]
    for name in config.label_maps:
        if not any(set(labels) <= set(LABEL_MAPS[name].targets) for labels in differing):
            raise InputError(f"--label-map {name} is for none of {', '.join(config.runs)}: leave it out.")


def _check_records(config: Config, records: Metadata) -> None:
    """Refuses branches on what the records do not hold, and class weights for several emotions an utterance."""
    _check_labels(config, records)
    modalities = () if config.is_late else config.modalities
    if "audio" in modalities and not records.has_audio:
        found, branch = ("no audio", "video") if records.video else ("text alone, no audio", "text")
        raise InputError(f"{config.records} hold {found}: train --branch {branch} on them.")
    if "audio" in modalities:
        check_audio(config, records)
    if "text" in modalities:
        _check_words(config, records)
    if "video" in modalities and not records.video:
        raise InputError(f"{config.records} hold no video: prepare them with --video-frames.")
    if records.is_multi_label and config.training.class_weights in ("balanced", "root"):
        raise InputError(
            f"--class-weights {config.training.class_weights} needs one emotion an utterance, and {config.records} hold"
            " several: leave it out."
        )


def _check_labels(config: Config, records: Metadata) -> None:
    """Refuses label sets that no model can learn: of one emotion, or with one that no utterance has."""
    counts = dict(zip(records.emotions, records.emotion_counts(records.speakers), strict=True))
    found = [emotion for emotion, count in counts.items() if count]
    if len(found) == 1:
        raise InputError(
            f"{config.records} hold one emotion, {found[0]}, and a model tells two or more apart: prepare recordings of"
            " others, too."
        )
    absent = [emotion for emotion, count in counts.items() if not count]
    if found and absent:
        raise InputError(
            f"{config.records} hold no utterance of {', '.join(absent)}, which their label set names: mend one of the"
            " recordings that could not be read, or take them all out of the corpus, and prepare it again."
        )


def _check_words(config: Config, records: Metadata) -> None:
    if records.num_without_words == records.num_utterances:
        raise InputError(
            f"{config.records} hold no words, and text is read of words alone: prepare them with --transcripts whisper,"
            " or with a column transcript in the manifest, or leave text out."
        )


def _check_tokens(config: Config, inputs: RunInputs, records: Metadata) -> None:
    """Refuses more token ids, or other pieces, than a text model has embeddings for."""
    if "text" not in config.modalities or config.is_late:
        return
    tokenizer = inputs.tokenizer or text.own_tokenizer()
    least = tokenizer.least_tokens(has_context=records.context > 0)
    longest = MAX_POSITIONS if config.text.model == "transformer" else 0  # 0: any number.
    longest = _check_preset(config.text, tokenizer) if config.text.is_pretrained else longest
    if config.training.max_tokens < least or 0 < longest < config.training.max_tokens:
        limits = f"from {least} to {longest}" if longest else f"of {least} or more"
        raise InputError(
            f"--max-tokens {config.training.max_tokens} cannot work for --text-model {config.text.model}:"
            f" give a number {limits}."
        )


def _check_preset(config: TextConfig, tokenizer: text.Tokenizer) -> int:
    """Makes sure that a preset is what the config and its tokenizer take it for; returns how many ids it reads."""
    from pipelines.text_encoder import sizes_of

    longest, num_pieces, num_layers = sizes_of(config.preset)
    if not 0 <= num_pieces - tokenizer.vocabulary_size <= _SPARE_PIECES:
        raise InputError(
            f"the preset {config.preset} has {tokenizer.vocabulary_size} pieces and {num_pieces} embeddings:"
            " its files belong to different models."
        )
    for flag, number in (("--text-release", config.release), ("--text-states", config.states)):
        if number > num_layers:
            raise InputError(f"{flag} {number} cannot work: {config.preset} has {num_layers} layers.")
    if config.release and find_preset(config.preset).model == "Albert":
        raise InputError(f"--text-release cannot work for {config.preset}: the layers of ALBERT share their weights.")
    return longest


def with_branches(config: Config) -> Config:
    """Completes a config by its sources: branches and normalisation of the runs to start from, tokens of those to join.

    Raises:
      InputError: Sources that are no finished runs or of another branch; runs to join of different --max-tokens.
    """
    found = {modality: _branch_config(source, modality) for modality, source in config.inits.items()}
    if config.init_audio:
        found["normalise"] = Run(Path(config.init_audio)).config().normalise
    if config.is_late and (max_tokens := _max_tokens(config.runs)):
        found["training"] = dataclasses.replace(config.training, max_tokens=max_tokens)
    if config.init_audio and config.audio.encoder_release:
        own = {name: getattr(config.audio, name) for name in ("encoder_release", "encoder_rate")}
        found["audio"] = dataclasses.replace(found["audio"], **own)
    return dataclasses.replace(config, **found)


def _max_tokens(runs: Sequence[str]) -> int:
    """Returns how many token ids the runs of a late fusion read; 0 where none reads text."""
    finished = {source: Run(Path(source)).require_finished() for source in runs}
    reading = {source: run for source, run in finished.items() if "text" in run.metadata().modalities}
    found = {source: run.config().training.max_tokens for source, run in reading.items()}
    if len(set(found.values())) > 1:
        named = ", ".join(f"{source} {number}" for source, number in found.items())
        raise InputError(f"--max-tokens differs ({named}): join runs that read as many token ids of a transcript.")
    return max(found.values(), default=0)


def _branch_config(source: str, modality: str) -> Any:
    """Returns the part of the config of a run that describes the branch to start from."""
    run = Run(Path(source)).require_finished()
    if run.config().branch != modality:
        raise InputError(
            f"--init-{modality} {source} is a run of the branch {run.config().branch}: give one of --branch {modality}."
        )
    return getattr(run.config(), modality)


def _metadata(
    config: Config, inputs: RunInputs, records: Metadata, fold: folds.Fold, index: "pd.DataFrame", marks: Sequence[str]
) -> RunMetadata:
    """Collects the facts that a run is read with; marks are those that the audit found.

    Raises:
      InputError: An emotion that no training utterance has.
    """
    counts, num_training = _training_counts(config, records, fold, index)
    tokenizer = inputs.tokenizer or text.own_tokenizer()
    return RunMetadata(
        corpus=records.corpus,
        marks=list(dict.fromkeys([*marks_of(records), *_marks(config), *marks])),
        emotions=records.emotions,
        is_multi_label=records.is_multi_label,
        has_audio=records.has_audio,
        headline="unweighted_average_recall" if _is_scored_by_recall(records) else "macro_f1",
        modalities=inputs.modalities,
        audio_features=inputs.audio_features,
        front_end=records.front_end,
        acoustic=records.acoustic,
        encoder=records.encoder if {"encoder", "waveform"} & set(inputs.audio_features) else None,
        video=records.video if "video" in inputs.modalities else None,
        vocabulary_sha256=records.vocabulary_sha256,
        tokenizer={"preset": tokenizer.preset, "sha256": tokenizer.sha256},
        transcript_source=records.transcript_source,
        longest_frames=records.longest_frames,
        has_waveform=records.has_waveform,
        bandwidth_hz=records.bandwidth_hz,
        fold=fold,
        training_counts=counts,
        num_training=num_training,
        prior=[count / num_training for count in counts],
        context=records.context if "text" in inputs.modalities else 0,
        corpus_counts=_corpus_counts(records, fold, index),
        label_map=records.label_map,
    )


def _corpus_counts(records: Metadata, fold: folds.Fold, index: "pd.DataFrame") -> dict[str, list[int]]:
    """Counts the labels of each emotion in the training split, for each of several corpora."""
    training = index[fold.splits(index) == "train"]
    people = training["speaker"].str.partition("/")[0]
    counts = {name: training["label"][people == name].value_counts() for name in _people(records)}
    return {
        name: [int(found.get(number, 0)) for number in range(len(records.emotions))] for name, found in counts.items()
    }


def _people(records: Metadata) -> list[str]:
    return sorted({corpus["people"] for corpus in records.corpora.values()})


def _is_scored_by_recall(records: Metadata) -> bool:
    """Whether UAR is the headline, as for clips of one emotion each; else macro-F1 is."""
    return (records.has_audio or records.video is not None) and not records.is_multi_label


def _training_counts(
    config: Config, records: Metadata, fold: folds.Fold, index: "pd.DataFrame"
) -> tuple[list[int], int]:
    """Counts the labels of each emotion, and the utterances, of the training split."""
    labels = index["labels"][fold.splits(index) == "train"]
    found = labels.explode().value_counts()
    counts = [int(found.get(number, 0)) for number in range(len(records.emotions))]
    missing = [number for number, count in enumerate(counts) if not count]
    if missing:
        named = ", ".join(records.emotions[number] + _speakers_with(number, index) for number in missing)
        raise InputError(
            f"the training split of {config.folds} fold {config.fold} has no utterance of {named}: {_advice(fold)}, or"
            " prepare the records without that label."
        )
    return counts, len(labels)


def _speakers_with(label: int, index: "pd.DataFrame") -> str:
    """Names the speakers that have utterances of a label, for a sentence; empty where there are none, or too many."""
    has_label = [label in labels for labels in index["labels"]]
    speakers = sorted(set(index["speaker"][has_label]) - {""})
    return f" (only speaker {', '.join(speakers)} has any)" if 0 < len(speakers) <= 5 else ""


def _advice(fold: folds.Fold) -> str:
    if fold.by == "speaker":
        return "choose a --fold, a --fold-seed or a JSON file of folds in which a speaker who has any trains"
    another = "another --fold-seed" if fold.by == "utterance_id" else "other folds, such as random"
    return f"choose {another}"


def _balance_notes(fold: folds.Fold, index: "pd.DataFrame") -> list[str]:
    """Tells where one speaker has most utterances, or few utterances train though many speakers do."""
    if fold.by != "speaker":
        return []
    counts = index["speaker"].value_counts()
    sizes = {split: int(counts.reindex(getattr(fold, split), fill_value=0).sum()) for split in SPLITS}
    total, speakers = sum(sizes.values()), {speaker for split in SPLITS for speaker in getattr(fold, split)}
    largest = [speaker for speaker in counts.index if speaker in speakers and 2 * counts[speaker] > total]
    train_few = 2 * sizes["train"] < total and 2 * len(fold.train) >= len(speakers)
    if not largest and not train_few:
        return []
    named = f"speaker {largest[0]} alone has {counts[largest[0]]}, and " if largest else ""
    return [
        f"of {total} utterances {named}{sizes['train']} train, {sizes['validation']} validate and {sizes['test']} test:"
        " folds are of speakers, however many utterances each has; --folds random or a JSON file of folds divides them"
        " otherwise"
    ]


def _corpus_notes(metadata: RunMetadata) -> list[str]:
    """Tells which of several corpora trains nothing, for all of its speakers validate or test."""
    absent = [name for name, counts in metadata.corpus_counts.items() if not sum(counts)]
    return [f"no speaker of {', '.join(absent)} trains: another --fold-seed draws others"] * bool(absent)


def _label_notes(config: Config, records: Metadata) -> list[str]:
    """Tells which runs of a late fusion know fewer emotions than the records."""
    notes = []
    for source in config.runs:
        targets = late_targets(Run(Path(source)).metadata(), records, config.label_maps, source)
        unknown = [] if targets is None else [e for n, e in enumerate(records.emotions) if n not in targets]
        if unknown:
            notes.append(f"{source} knows no {' and no '.join(unknown)}: its probability of that is 0")
    return notes


def _marks(config: Config) -> list[str]:
    """Names what scores carry of how a run is trained; sources add theirs."""
    return [config.control] * bool(config.control) + [normalisation.ENROLLED_MARK] * (config.normalise == "enrolled")
