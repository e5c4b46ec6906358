"""The files of a run: who may start in its folder, and how its parts are read and written."""

import dataclasses
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emotion_tf.config import AUDIO_FEATURES, MODALITIES, Config
from pipelines import audio, text
from pipelines.command import InputError
from pipelines.emotions import LABEL_MAPS, LabelMap
from pipelines.normalisation import Normalisation
from pipelines.records import write_json
from pipelines.video import VideoSettings

if TYPE_CHECKING:
    import keras
    import numpy as np
    import pandas as pd

ROOT = Path("saved_models")

HEADLINES = {"unweighted_average_recall": "UAR", "macro_f1": "macro-F1"}
"""The scores that choose among epochs and stand first, and what they are called."""

_OLDER = {
    "is_multi_label": False,
    "has_audio": True,
    "headline": "unweighted_average_recall",
    "acoustic": [],
    "encoder": None,
    "video": None,
}
"""What holds for runs that were trained before metadata.json said so."""


@dataclasses.dataclass(frozen=True)
class Scored:
    """A folder of scores: of a run, of a run on another corpus, of a cross-validation."""

    folder: Path

    scores_path = property(lambda self: self.folder / "scores.json")
    predictions_path = property(lambda self: self.folder / "predictions.csv")
    plots = property(lambda self: self.folder / "plots")

    def scores(self) -> dict[str, Any]:
        """Reads scores.json."""
        return read_json(self.scores_path)

    def write_scores(self, scores: Mapping[str, Any]) -> None:
        """Writes scores.json, which says that the rest is there."""
        write_json(self.scores_path, scores)

    def without_path(self, modality: str) -> Path:
        """Names the file of the predictions without a modality, for instance predictions-without-audio.csv."""
        return self.folder / f"predictions-without-{modality}.csv"

    def predictions(self, without: str = "") -> "pd.DataFrame":
        """Reads predictions.csv, or the predictions without a modality."""
        from emotion_tf.predictions import read_predictions

        return read_predictions(self.without_path(without) if without else self.predictions_path)

    def write_predictions(self, predictions: "pd.DataFrame", without: str = "") -> None:
        """Writes predictions.csv, or the predictions without a modality."""
        write_csv(self.without_path(without) if without else self.predictions_path, predictions)


@dataclasses.dataclass(frozen=True)
class Run(Scored):
    """A folder `saved_models/<run>/`; the properties name its files."""

    config_path = property(lambda self: self.folder / "config.json")
    metadata_path = property(lambda self: self.folder / "metadata.json")
    checkpoints = property(lambda self: self.folder / "checkpoints")
    model_path = property(lambda self: self.folder / "model.keras")
    history_path = property(lambda self: self.folder / "history.csv")
    tensorboard = property(lambda self: self.folder / "tensorboard")
    audit_path = property(lambda self: self.folder / "audit.json")
    calibration_path = property(lambda self: self.folder / "calibration.json")
    tokenizer_path = property(lambda self: self.folder / "tokenizer")
    fusion_path = property(lambda self: self.folder / "fusion.json")
    normalisation_path = property(lambda self: self.folder / "normalisation.json")
    export = property(lambda self: self.folder / "export")

    def start(self, config: Config, *, overwrite: bool = False) -> None:
        """Makes the folder, or finds an unfinished run of the same config in it.

        Raises:
          InputError: A finished run, or a run of another config.
        """
        if self.folder.exists() and not self.folder.is_dir():
            raise InputError(f"{self.folder} is a file: give --run a folder.")
        if overwrite:
            self._remove()
        if self.config_path.exists():
            self._refuse_another(config)
        elif self.folder.exists() and any(self.folder.iterdir()):
            raise InputError(f"{self.folder} holds files that are no run: give --run another folder.")
        self.folder.mkdir(parents=True, exist_ok=True)
        if not self.config_path.exists():
            write_json(self.config_path, json.loads(config.to_json()))

    def _refuse_another(self, config: Config) -> None:
        if self.is_finished:
            raise InputError(
                f"{self.folder} holds a finished run: read it with python -m emotion_tf.evaluate --run {self.folder},"
                " give another --run, or --overwrite to replace it."
            )
        found, asked = json.loads(self.config().to_json()), json.loads(config.to_json())
        differing = [name for name in asked if found[name] != asked[name]]
        if differing:
            raise InputError(
                f"{self.folder} holds an unfinished run with another {', '.join(differing)}:"
                " give another --run, or --overwrite to replace it."
            )

    def _remove(self) -> None:
        """Removes a run, and refuses to remove anything else."""
        if not self.folder.exists():
            return
        if any(self.folder.iterdir()) and not self.config_path.exists():
            raise InputError(f"{self.folder} holds files that are no run: --overwrite replaces runs only.")
        # scores.json first and config.json last: what is left by a kill is an unfinished run.
        order = {self.scores_path: -1, self.config_path: 1}
        for path in sorted(self.folder.iterdir(), key=lambda path: order.get(path, 0)):
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    def refuse_changed(self, metadata: Mapping[str, Any]) -> None:
        """Makes sure that this run was started on the records and folds of some metadata.

        Raises:
          InputError: Others than those.
        """
        if self.metadata() != json.loads(json.dumps(metadata)):
            raise InputError(
                f"the records or folds changed since {self.folder} was started: give another --run, or --overwrite to"
                " train anew."
            )

    @property
    def is_finished(self) -> bool:
        """Whether training came to its end: the scores of the validation part are written last."""
        return self.scores_path.exists()

    def require_finished(self) -> "Run":
        """Returns the run itself.

        Raises:
          InputError: No run, or one whose training has not ended.
        """
        if (self.folder / "crossval.json").exists():
            raise InputError(
                f"{self.folder} holds a cross-validation: name one of its runs, {self.folder}/fold-F-seed-S."
            )
        if not self.config_path.exists():
            raise InputError(f"{self.folder} holds no run (config.json is missing): name a folder that fit made.")
        if not self.is_finished:
            raise InputError(f"{self.folder} is not finished: run the same python -m emotion_tf.fit command again.")
        return self

    def config(self) -> Config:
        """Reads config.json."""
        try:
            return Config.from_json(self.config_path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise InputError(f"{self.folder} holds no run (config.json is missing): name one that fit made.") from None
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise InputError(f"{self.config_path} is corrupt ({error}): train again with --overwrite.") from None

    def metadata(self) -> dict[str, Any]:
        """Reads metadata.json: facts of the records, the fold, the training prior, the marks of the scores."""
        return _OLDER | read_json(self.metadata_path)

    def temperature(self) -> float:
        """Reads what the logits were divided by."""
        return read_json(self.calibration_path)["temperature"]

    def thresholds(self) -> "np.ndarray | None":
        """Reads from which probability on each emotion is named, [num_emotions]; None: the most probable alone is."""
        import numpy as np

        found = read_json(self.calibration_path).get("thresholds")
        return None if found is None else np.array([found[emotion] for emotion in self.metadata()["emotions"]])

    def tokenizer(self) -> text.Tokenizer | None:
        """Reads the tokenizer of a preset, whose folder may be gone; None: the token ids of the records are read."""
        return text.read_tokenizer(self.tokenizer_path) if self.tokenizer_path.exists() else None

    def normalisation(self) -> Normalisation | None:
        """Reads the statistics that bring sound to one scale; None: each clip is normalised by itself."""
        if not self.normalisation_path.exists():
            return None
        values = read_json(self.normalisation_path)
        try:
            found = Normalisation(**values)
            widths = widths_of(self.metadata())
            for name, mean in found.mean.items():
                if not len(mean) == len(found.deviation[name]) == widths[name] or not min(found.deviation[name]) > 0:
                    raise ValueError(f"{name} has {widths[name]} columns and as many deviations above 0")
            return found
        except (TypeError, KeyError, ValueError, AttributeError) as error:
            raise InputError(f"{self.normalisation_path} is corrupt ({error}): train again with --overwrite.") from None

    def elsewhere(self, records: Path) -> Scored:
        """Names the folder for scores on other records."""
        return Scored(self.folder / "elsewhere" / records.resolve().name)

    def model(self) -> "keras.Model":
        """Loads model.keras, in safe mode."""
        import keras

        import emotion_tf.late  # noqa: F401  (layers are registered on import, those of fusion and branches among them)

        if self.tokenizer_path.exists():
            import keras_nlp  # noqa: F401  (registers DistilBERT)

        try:
            return keras.saving.load_model(self.model_path, compile=False, safe_mode=True)
        except (OSError, ValueError, TypeError, KeyError) as error:
            reason = str(error).splitlines()[0]
            raise InputError(f"{self.model_path} is missing or corrupt ({reason}): train again.") from None


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


def widths_of(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Tells from the metadata of a run or of records which features there are.

    Returns:
      Feature of sound -> its columns; video_frames -> height, width and channels of a frame, where there are any.
    """
    widths = {"log_mel": metadata["front_end"]["mel_bins"]}
    if names := metadata.get("acoustic"):
        widths |= {"mfcc": audio.NUM_MFCC_COLUMNS, "acoustic": len(names)}
    if encoder := metadata.get("encoder"):
        widths["encoder"] = encoder["width"]
    if settings := metadata.get("video"):
        widths["video_frames"] = VideoSettings(**settings).shape
    return widths


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
            raise InputError(f"{named} have statistics of different training parts: join runs of one fold.")
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


def read_json(path: Path) -> dict[str, Any]:
    """Reads a JSON file of a run.

    Raises:
      InputError: A file that is missing or corrupt.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is missing or corrupt ({error}): train again with --overwrite.") from None


def write_csv(path: Path, table: "pd.DataFrame") -> None:
    """Writes a table under a temporary name and renames it; numbers are read back as they were."""
    temporary = path.with_name(path.name + ".tmp")
    try:
        table.to_csv(temporary, index=False)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def next_free(prefix: str, config: Config) -> Path:
    """Names the first folder `saved_models/<prefix>-<N>` that is free, or holds this config unfinished."""
    number = 1
    while (folder := ROOT / f"{prefix}-{number}").exists():
        run = Run(folder)
        if run.config_path.exists() and not run.is_finished and run.config() == config:
            break
        number += 1
    return folder
