"""What a report is about: runs and cross-validations, each read once."""

import dataclasses
import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from emotion_tf.config import Config
from emotion_tf.evaluation.comparison import Entry
from emotion_tf.evaluation.counts import UAR
from emotion_tf.runs.folder import Run, Scored
from emotion_tf.runs.metadata import RunMetadata
from emotion_tf.runs.prediction_files import first_repeated, unique_names
from emotion_tf.runs.predictions import emotions_of
from pipelines.command import InputError
from pipelines.files import read_json


@dataclasses.dataclass(frozen=True)
class Subject:
    """A run, or a cross-validation.

    Attributes:
      name: Short, and unique in the report.
      scored: Its folder.
      config: What was asked for; of a cross-validation that of its first fit.
      asked: The config as the command gave it.
      metadata: Of the run, or of the first fit.
      fits: The runs in it: itself, or those of the scored ones that are still there.
      scores: What scores.json holds.
      predictions: Rows of predictions.csv.
      num_seeds: That the command of a cross-validation asked for; 0: it is a run.
    """

    name: str
    scored: Scored
    config: Config
    asked: Config
    metadata: RunMetadata
    fits: tuple[Run, ...]
    scores: dict[str, Any]
    predictions: pd.DataFrame
    num_seeds: int = 0

    @property
    def headline(self) -> str:
        """The score that stands first."""
        return self.scores.get("headline", UAR)

    @property
    def marks(self) -> list[str]:
        """What its scores carry."""
        return self.scores["marks"]

    @property
    def emotions(self) -> tuple[str, ...]:
        """The label set, in label order."""
        return emotions_of(self.predictions)

    @property
    def modalities(self) -> tuple[str, ...]:
        """What it reads."""
        return self.metadata.modalities

    @property
    def kind(self) -> str:
        """For example "audio", "early fusion of audio and text"."""
        if self.config.branch != "fusion":
            return self.config.branch
        return f"{self.config.fusion or 'early'} fusion of {enumerated(self.modalities)}"

    @property
    def entry(self) -> Entry:
        """What takes part in a comparison."""
        return Entry(self.name, self.scored.folder, self.predictions, tuple(self.marks), self.headline)

    @property
    def scored_fits(self) -> list[str]:
        """Names the folders of the fits that the scores of a cross-validation are of."""
        return _names_of_fits(self.predictions)

    @property
    def gone_fits(self) -> list[str]:
        """Names those that are not there any more."""
        return sorted(set(self.scored_fits) - {run.folder.name for run in self.fits}) if self.num_seeds else []

    def rows(self, split: str) -> pd.DataFrame:
        """Picks the rows of one split."""
        return self.predictions[self.predictions["split"] == split]

    @cached_property
    def temperatures(self) -> pd.Series | None:
        """What the logits of each row were divided by; None where a fit is gone."""
        found = {run.folder.name: run.temperature() for run in self.fits if run.calibration_path.exists()}
        if not self.num_seeds:
            return pd.Series(found[self.fits[0].folder.name], self.predictions.index) if found else None
        fits = zip(self.predictions["fold"], self.predictions["seed"], strict=True)
        values = pd.Series([found.get(f"fold-{fold}-seed-{seed}") for fold, seed in fits], self.predictions.index)
        return None if values.isna().any() else values.astype(float)


def _names_of_fits(predictions: pd.DataFrame) -> list[str]:
    """Names the fits of a cross-validation, as their folders are called."""
    fits = predictions[["fold", "seed"]].drop_duplicates().sort_values(["fold", "seed"])
    return [f"fold-{fold}-seed-{seed}" for fold, seed in fits.itertuples(index=False)]


def enumerated(names: Sequence[str]) -> str:
    """For example "audio, text and video"."""
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def read_subjects(folders: Sequence[Path]) -> list[Subject]:
    """Reads what a report is about.

    Raises:
      InputError: A folder that holds neither a finished run nor a finished cross-validation, or one that is named
        twice.
    """
    if twice := first_repeated(folders):
        raise InputError(f"{folders[twice]} is named twice: name each run once.")
    names = unique_names(folders, [folder.resolve().name for folder in folders])
    return [_read(name, folder) for name, folder in zip(names, folders, strict=True)]


def _read(name: str, folder: Path) -> Subject:
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder: name the folder of a run or of a cross-validation.")
    if (folder / "crossval.json").exists():
        return _crossval(name, folder)
    run = Run(folder).require_finished()
    config = run.config()
    return Subject(name, run, config, config, run.metadata(), (run,), *_results(run))


def _crossval(name: str, folder: Path) -> Subject:
    scored, again = Scored(folder), "run the same python -m emotion_tf.crossval command again"
    asked = read_json(folder / "crossval.json", again, {"seeds": int, "config": dict})
    if not scored.scores_path.exists():
        raise InputError(f"{folder} is not finished: {again}.")
    scores, predictions = _results(scored)
    if not {"fold", "seed"} <= set(predictions):
        raise InputError(f"{scored.predictions_path} names no fold and no seed: {again}.")
    # Fits of a further seed, which is not finished, are no part of the scores.
    runs = [Run(folder / name) for name in _names_of_fits(predictions)]
    fits = tuple(run for run in runs if run.is_finished and run.config_path.exists() and run.metadata_path.exists())
    if not fits:
        raise InputError(f"{folder} holds none of its runs any more: {again}.")
    try:
        config = Config.from_json(json.dumps(asked["config"]))
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(f"{folder / 'crossval.json'} is corrupt ({error}): {again} with --overwrite.") from None
    return Subject(
        name, scored, fits[0].config(), config, fits[0].metadata(), fits, scores, predictions, asked["seeds"]
    )


def _results(scored: Scored) -> tuple[dict[str, Any], pd.DataFrame]:
    """Reads scores and predictions, and makes sure that they are of each other."""
    scores, predictions = scored.scores(), scored.predictions()
    for split in ("validation", "test"):
        rows = predictions[predictions["split"] == split]
        if split in scores and rows["utterance_id"].nunique() != scores[split]["num_utterances"]:
            raise InputError(
                f"{scored.predictions_path} does not hold the {split} utterances that {scored.scores_path} scores: make"
                " both again."
            )
    if "validation" not in scores:
        raise InputError(f"{scored.scores_path} holds no scores of the validation split: train again.")
    return scores, predictions


def common_split(subjects: Sequence[Subject]) -> str:
    """Returns test where every subject has been tested, else validation."""
    return "test" if all("test" in subject.scores for subject in subjects) else "validation"
