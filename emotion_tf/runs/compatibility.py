"""What a config needs of its records and of the runs that it starts from or joins, and whether they fit together."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from emotion_tf.config import AUDIO_FEATURES, MODALITIES, Config
from emotion_tf.runs.folder import Run
from pipelines import text
from pipelines.command import InputError
from pipelines.emotions import LABEL_MAPS, LabelMap
from pipelines.normalisation import Normalisation
from pipelines.records import Metadata

_FACTS = {
    "emotions": "label set",
    "is_multi_label": "number of emotions an utterance (one, or several)",
    "front_end": "front end",
    "vocabulary_sha256": "vocabulary",
    "encoder": "encoder",
    "video": "choice of video frames (number, size, colour)",
}


def misfit(run: Mapping[str, Any], records: Mapping[str, Any], facts: Sequence[str] = tuple(_FACTS)) -> str:
    """Names what keeps a run from records; empty where nothing does.

    Args:
      run, records: The metadata of both.
      facts: What the model needs: "emotions", "is_multi_label", "front_end", "vocabulary_sha256", "encoder", "video".
    """
    # A run that names no encoder hears none, and one that names no video sees none.
    compared = [name for name in facts if name not in ("encoder", "video") or run.get(name) is not None]
    return next((_FACTS[name] for name in compared if run[name] != records[name]), "")


def targets_of(
    run: Mapping[str, Any], fusion: Mapping[str, Any], label_maps: Sequence[str], source: str
) -> list[int | None] | None:
    """Finds where the labels of a run lead to that joins a late fusion.

    Args:
      run: Its metadata: "emotions" and "is_multi_label" are read.
      fusion: That of the fusion, or of the records that it is for.
      label_maps: Names of maps that may be taken.
      source: Names the run in a sentence.

    Returns:
      Of each label the number of an emotion, None for nowhere; None where the run answers as the fusion does.

    Raises:
      InputError: No map leads from these labels to those emotions.
    """
    labels, emotions = run["emotions"], fusion["emotions"]
    if labels == emotions and run["is_multi_label"] == fusion["is_multi_label"]:
        return None
    if fusion["is_multi_label"]:
        raise InputError(f"{source} names other emotions than these records, or one an utterance: leave it out.")
    if set(labels) == set(emotions):
        return [emotions.index(label) for label in labels]
    fitting = [name for name, found in LABEL_MAPS.items() if _leads(found, labels, emotions)]
    for name in fitting:
        if name in label_maps:
            return LABEL_MAPS[name].numbers(labels)
    raise InputError(
        f"{source} names {', '.join(labels)}, and these records {', '.join(emotions)}: name a map between them"
        f" (--label-map {'|'.join(fitting) or 'NAME; none leads from those to these'})."
    )


def _leads(chosen: LabelMap, labels: Sequence[str], emotions: Sequence[str]) -> bool:
    return chosen.emotions == tuple(emotions) and set(labels) <= set(chosen.targets)


def audio_features_of(config: Config) -> tuple[str, ...]:
    """Finds the features of sound that the model of a config hears: its own, or those of the runs that it joins."""
    if config.is_late:
        found = {name for source in config.runs for name in audio_features_of(Run(Path(source)).config())}
        return tuple(name for name in AUDIO_FEATURES if name in found)
    return config.audio.features if "audio" in config.modalities else ()


def tokenizer_of(config: Config) -> text.Tokenizer | None:
    """Finds the tokenizer of a config's text branch: of the runs that it rests on, or of its preset.

    Returns:
      None where a model reads the token ids of the records.

    Raises:
      InputError: Runs of several tokenizers, or a preset that cannot be read.
    """
    if config.init_text or config.runs:
        sources = [Run(Path(source)) for source in ([config.init_text] if config.init_text else config.runs)]
        found = [run.tokenizer() for run in sources if "text" in run.config().modalities]
        if len({one and one.sha256 for one in found}) > 1:
            raise InputError(f"{', '.join(config.runs)} cut words by several tokenizers: join runs of one of them.")
        return found[0] if found else None
    is_preset = "text" in config.modalities and config.text.model == "distilbert"
    return text.preset_tokenizer(config.text.preset) if is_preset else None


def normalisation_of(config: Config) -> Normalisation | None:
    """Joins how the runs of a late fusion bring sound to one scale, for they hear the same features.

    Returns:
      None where each clip is normalised by itself.

    Raises:
      InputError: Runs that would hear one clip on several scales.
    """
    found = {run: run.normalisation() for run in map(Run, map(Path, config.runs)) if hears(run.config())}
    modes = {run: one.mode if one else "clip" for run, one in found.items()}
    if len(set(modes.values())) > 1:
        named = ", ".join(f"{run.folder} (--normalise {mode})" for run, mode in modes.items())
        raise InputError(f"{named} hear one clip on several scales: join runs of one --normalise.")
    joined: Normalisation | None = None
    for one in filter(None, found.values()):
        if joined and any(one.mean[name] != joined.mean[name] for name in set(one.mean) & set(joined.mean)):
            named = ", ".join(str(run.folder) for run in found)
            raise InputError(f"{named} have statistics of different training splits: join runs of one fold.")
        joined = joined.with_features_of(one) if joined else one
    return joined


def hears(config: Config) -> bool:
    """Whether a run of a config listens to sound."""
    return "audio" in modalities_of(config)


def reads(config: Config) -> bool:
    """Whether a run of a config reads words."""
    return "text" in modalities_of(config)


def modalities_of(config: Config) -> tuple[str, ...]:
    """Tells what the model of a config hears, reads and sees: its own, or what the runs do that it joins."""
    if config.is_late:
        found = {name for source in config.runs for name in modalities_of(Run(Path(source)).config())}
        return tuple(name for name in MODALITIES if name in found)
    return config.modalities


def label_numbers(found: Metadata, emotions: list[str], label_map: str, records: Path) -> list[int | None]:
    """Leads from the labels of records to those of a run; None: left out."""
    if not label_map and found.emotions == emotions:
        return list(range(len(emotions)))
    if not label_map:
        leading = {name: chosen for name, chosen in LABEL_MAPS.items() if list(chosen.emotions) == emotions}
        fitting = [name for name, chosen in leading.items() if set(found.emotions) <= set(chosen.targets)]
        raise InputError(
            f"{records} have the labels {', '.join(found.emotions)}, and the run {', '.join(emotions)}: name a map"
            f" between them (--label-map {'|'.join(fitting) or 'NAME; none leads from those to these'})."
        )
    chosen = LABEL_MAPS[label_map]
    if list(chosen.emotions) != emotions:
        raise InputError(
            f"--label-map {label_map} leads to {', '.join(chosen.emotions)}, and the run knows {', '.join(emotions)}:"
            " choose another."
        )
    unknown = [label for label in found.emotions if label not in chosen.targets]
    if unknown:
        raise InputError(
            f"--label-map {label_map} does not know the label {', '.join(unknown)} of {records}: choose another."
        )
    return chosen.numbers(found.emotions)
