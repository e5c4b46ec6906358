"""What a model reads, resolved once, and whether a run, records and their label sets fit together."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from emotion_tf.config import AUDIO_INPUTS, MODALITIES, Config
from emotion_tf.runs.folder import Run
from emotion_tf.runs.metadata import RunMetadata
from pipelines import text
from pipelines.command import InputError
from pipelines.emotions import LABEL_MAPS
from pipelines.normalisation import Normalisation
from pipelines.records import Metadata
from pipelines.records.metadata import widths_of

_FACTS = {
    "emotions": "label set",
    "is_multi_label": "number of emotions an utterance (one, or several)",
    "front_end": "front end",
    "vocabulary_sha256": "vocabulary",
    "context": "number of lines of context (prepare --context)",
    "encoder": "encoder",
    "video": "choice of video frames (number, size, colour)",
}


@dataclasses.dataclass(frozen=True)
class RunInputs:
    """What the model of a run reads.

    Attributes:
      modalities: Some of `MODALITIES`, in that order.
      audio_features: Some of `AUDIO_INPUTS`, in that order; none where it reads no audio.
      tokenizer: Of its token ids; None: those of the records.
      normalisation: Statistics that bring audio features to one scale; None: each clip is normalised by itself, or they
        are not fitted yet.
      widths: Feature of audio -> its columns, video_frames -> height, width and channels of a frame: of what it reads,
        as far as the records hold it.
    """

    modalities: tuple[str, ...]
    audio_features: tuple[str, ...]
    tokenizer: text.Tokenizer | None
    normalisation: Normalisation | None
    widths: Mapping[str, Any]


def resolve(config: Config, facts: Metadata | RunMetadata) -> RunInputs:
    """Finds what the model of a config reads: what the config says, or what the runs read that late fusion joins.

    Args:
      config: Of a run to come; the runs that it starts from or joins are finished.
      facts: Of its records, or of the run itself.

    Raises:
      InputError: A source that cannot be read, runs of several tokenizers or ways to normalise, or a preset that cannot
        be read.
    """
    if not config.is_late:
        features = config.audio.inputs if "audio" in config.modalities else ()
        widths = _widths(facts, config.modalities, features)
        return RunInputs(config.modalities, features, _tokenizer(config), None, widths)
    sources = {source: inputs_of(Run(Path(source))) for source in config.runs}
    modalities = _union(MODALITIES, [source.modalities for source in sources.values()])
    features = _union(AUDIO_INPUTS, [source.audio_features for source in sources.values()])
    normalisation = _joined_normalisation(sources)
    widths = _widths(facts, modalities, features)
    return RunInputs(modalities, features, _joined_tokenizer(sources), normalisation, widths)


def inputs_of(run: Run) -> RunInputs:
    """Finds what the model of a started run reads, by the files of the run alone: its sources may be gone."""
    metadata = run.metadata()
    widths = _widths(metadata, metadata.modalities, metadata.audio_features)
    return RunInputs(metadata.modalities, metadata.audio_features, run.tokenizer(), run.normalisation(), widths)


def _union(order: Sequence[str], found: Sequence[Sequence[str]]) -> tuple[str, ...]:
    return tuple(name for name in order if any(name in names for names in found))


def _widths(
    facts: Metadata | RunMetadata, modalities: Sequence[str], audio_features: Sequence[str]
) -> Mapping[str, Any]:
    frames = ("video_frames",) if "video" in modalities else ()
    return {name: width for name, width in widths_of(vars(facts)).items() if name in (*audio_features, *frames)}


def _tokenizer(config: Config) -> text.Tokenizer | None:
    """Finds the tokenizer of a config's own text branch: of the run that it starts from, or of its preset."""
    if config.init_text:
        return Run(Path(config.init_text)).tokenizer()
    is_preset = "text" in config.modalities and config.text.is_pretrained
    return text.preset_tokenizer(config.text.preset) if is_preset else None


def _joined_tokenizer(sources: Mapping[str, RunInputs]) -> text.Tokenizer | None:
    """Finds the one tokenizer of the runs that late fusion joins; they all get the same token ids."""
    found = [source.tokenizer for source in sources.values() if "text" in source.modalities]
    if len({tokenizer and tokenizer.sha256 for tokenizer in found}) > 1:
        raise InputError(f"{', '.join(sources)} cut words by several tokenizers: join runs of one of them.")
    return found[0] if found else None


def _joined_normalisation(sources: Mapping[str, RunInputs]) -> Normalisation | None:
    """Joins the statistics of the runs that late fusion joins; they all get the same audio features."""
    found = {run: source for run, source in sources.items() if "audio" in source.modalities}
    scales = [(name, _scale(source, name)) for source in found.values() for name in source.audio_features]
    modes = dict(scales)
    is_enrolled = "enrolled" in modes.values() and len(set(modes.values())) > 1
    if is_enrolled or any(modes[name] != mode for name, mode in scales):
        named = ", ".join(f"{run} (--normalise {_mode(source)})" for run, source in found.items())
        raise InputError(
            f"{named} read audio features on several scales: join runs of one --normalise, or of clip and training that"
            " read other features."
        )
    joined: Normalisation | None = None
    for one in filter(None, (source.normalisation for source in found.values())):
        if joined and any(one.mean[name] != joined.mean[name] for name in set(one.mean) & set(joined.mean)):
            raise InputError(f"{', '.join(found)} have statistics of different training splits: join runs of one fold.")
        joined = joined.with_features_of(one) if joined else one
    by_clip = [name for name, mode in modes.items() if mode == "clip"]
    return joined.with_clips(by_clip) if joined and by_clip else joined


def _mode(source: RunInputs) -> str:
    """Names the modes of a run, several where it joins runs itself."""
    return " and ".join(sorted({_scale(source, name) for name in source.audio_features}))


def _scale(source: RunInputs, name: str) -> str:
    """Names the mode in which a run reads a feature."""
    return source.normalisation.scale_of(name) if source.normalisation else "clip"


def misfit(run: RunMetadata, records: Metadata, facts: Sequence[str] = tuple(_FACTS)) -> str:
    """Names what keeps a run from records; empty where nothing does.

    Args:
      run, records: The metadata of both.
      facts: What the model needs: "emotions", "is_multi_label", "front_end", "vocabulary_sha256",
        "context", "encoder", "video".
    """
    # A run that reads no words, no states of an encoder, or no video, fits records with any.
    is_read = {
        "context": "text" in run.modalities,
        "encoder": "encoder" in run.audio_features,
        "video": run.video is not None,
    }
    compared = [name for name in facts if is_read.get(name, True)]
    return next((_FACTS[name] for name in compared if _differs(name, run, records)), "")


def _differs(name: str, run: RunMetadata, records: Metadata) -> bool:
    if name == "emotions":  # Labels in another order are mapped by name.
        return set(run.emotions) != set(records.emotions)
    if name == "encoder":
        return not is_same_encoder(run.encoder, records.encoder)
    return getattr(run, name) != getattr(records, name)


def is_same_encoder(one: Mapping[str, Any] | None, other: Mapping[str, Any] | None) -> bool:
    """Whether the facts of two encoders say that they make the same states; None is that of none."""
    if one is None or other is None:
        return one is other
    # A file may be renamed: the hash says whether its weights are the same.
    return {**one, "model": ""} == {**other, "model": ""}


def targets_by_name(labels: Sequence[str], emotions: Sequence[str]) -> list[int | None]:
    """Finds each label among emotions: its number there, None for one that is not there."""
    return [emotions.index(label) if label in emotions else None for label in labels]


def label_targets(
    labels: Sequence[str], emotions: Sequence[str], label_maps: Sequence[str], source: str, target: str
) -> list[int | None]:
    """Finds to which emotion of another label set each label leads: by a map, or to the one of its name.

    Names serve where one label set holds the other, unless a map between these very label sets leads elsewhere.

    Args:
      labels: The label set to lead from.
      emotions: The label set to lead to, in label order.
      label_maps: Names of the maps that may be used.
      source, target: Name whose the labels and the emotions are in a sentence.

    Returns:
      Of each label the number of an emotion, None for a label to leave out.

    Raises:
      InputError: The names differ, and none of the maps leads from these labels to those emotions.
    """
    named = targets_by_name(labels, emotions)
    if set(labels) == set(emotions):
        return named
    reasons = {name: _why_not(name, labels, emotions) for name in LABEL_MAPS}
    fitting = {name: _targets_by_map(name, labels, emotions) for name, reason in reasons.items() if not reason}
    if chosen := [name for name in fitting if name in label_maps]:
        return fitting[chosen[0]]
    is_nested = set(labels) <= set(emotions) or set(emotions) <= set(labels)
    if is_nested and not any(_is_between(name, emotions) and fitting[name] != named for name in fitting):
        return named
    given = "".join(f"; {name} {reasons[name]}" for name in label_maps)
    raise InputError(
        f"the labels of {source} are {', '.join(labels)}, those of {target} {', '.join(emotions)}: name a map between"
        f" them (--label-map {'|'.join(fitting) or 'NAME; none leads from those to these'}{given})."
    )


def _targets_by_map(label_map: str, labels: Sequence[str], emotions: Sequence[str]) -> list[int | None]:
    targets = LABEL_MAPS[label_map].targets
    return targets_by_name([targets[label] or "" for label in labels], emotions)


def _is_between(label_map: str, emotions: Sequence[str]) -> bool:
    """Whether a map leads to this very label set, and not only to some of it."""
    return set(LABEL_MAPS[label_map].emotions) == set(emotions)


def _why_not(label_map: str, labels: Sequence[str], emotions: Sequence[str]) -> str:
    """Says why a map does not lead from labels to emotions; empty where it does."""
    if not set(emotions) <= set(LABEL_MAPS[label_map].emotions):
        return f"leads to {', '.join(LABEL_MAPS[label_map].emotions)}"
    unknown = [label for label in labels if label not in LABEL_MAPS[label_map].targets]
    return f"does not know {', '.join(unknown)}" if unknown else ""


def late_targets(
    run: RunMetadata, fusion: Metadata | RunMetadata, label_maps: Sequence[str], source: str
) -> list[int | None] | None:
    """Finds to which emotion of a late fusion each label of a run leads that it joins.

    Args:
      run: The metadata of the run.
      fusion: That of the fusion, or of the records that it is for.
      label_maps: Names of the maps that may be used.
      source: Names the run in a sentence.

    Returns:
      As `label_targets`; None where the run has the very labels of the fusion.

    Raises:
      InputError: As `label_targets`; a run that differs in more than the order of its labels from a fusion of several
        emotions an utterance.
    """
    if (run.emotions, run.is_multi_label) == (fusion.emotions, fusion.is_multi_label):
        return None  # Mapped probabilities are rounded anew.
    if fusion.is_multi_label and not (run.is_multi_label and set(run.emotions) == set(fusion.emotions)):
        raise InputError(f"{source} names other emotions than these records, or one an utterance: leave it out.")
    return label_targets(run.emotions, fusion.emotions, label_maps, source, "these records")
