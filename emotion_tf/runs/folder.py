"""The folder of a run: when a run may start in it, and how its files are read and written."""

import dataclasses
import json
import math
import shutil
import zipfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emotion_tf.config import Config
from emotion_tf.runs.metadata import AGAIN, RunMetadata, read_run_metadata
from pipelines import text
from pipelines.command import InputError
from pipelines.files import read_json, write_csv, write_json
from pipelines.normalisation import STATES, Normalisation
from pipelines.records import remote

if TYPE_CHECKING:
    import keras
    import numpy as np
    import pandas as pd

ROOT = Path("saved_models")

_DIRECTORY = "working_directory"
"""Key of config.json: where paths of the config begin that are not absolute."""

_OVERWRITES = "overwrites"
"""Key of config.json: whether --overwrite began the run; the same command goes on with it."""


@dataclasses.dataclass(frozen=True)
class Scored:
    """A folder of scores: of a run, of a run on another corpus, of a cross-validation."""

    folder: Path

    scores_path = property(lambda self: self.folder / "scores.json")
    predictions_path = property(lambda self: self.folder / "predictions.csv")
    plots = property(lambda self: self.folder / "plots")

    def scores(self) -> dict[str, Any]:
        """Reads scores.json."""
        return read_json(self.scores_path, AGAIN, {"marks": list})

    def write_scores(self, scores: Mapping[str, Any]) -> None:
        """Writes scores.json, which says that the rest is there."""
        write_json(self.scores_path, scores)

    def without_path(self, modality: str) -> Path:
        """Names the file of the predictions without a modality, for instance predictions-without-audio.csv."""
        return self.folder / f"predictions-without-{modality}.csv"

    def predictions(self, without: str = "") -> "pd.DataFrame":
        """Reads predictions.csv, or the predictions without a modality."""
        from emotion_tf.runs.predictions import read_predictions

        path = self.without_path(without) if without else self.predictions_path
        if not path.exists():
            raise InputError(f"{path} is missing: {AGAIN}.")
        return read_predictions(path)

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
    training_path = property(lambda self: self.folder / "training.json")
    graph_path = property(lambda self: self.folder / "graph.json")
    tensorboard = property(lambda self: self.folder / "tensorboard")
    audit_path = property(lambda self: self.folder / "audit.json")
    calibration_path = property(lambda self: self.folder / "calibration.json")
    tokenizer_path = property(lambda self: self.folder / "tokenizer")
    fusion_path = property(lambda self: self.folder / "fusion.json")
    normalisation_path = property(lambda self: self.folder / "normalisation.json")
    export = property(lambda self: self.folder / "export")
    _replaced = property(lambda self: self.folder / ".replaced")

    def start(self, config: Config, *, overwrite: bool = False) -> None:
        """Makes the folder, or finds an unfinished run of the same config in it; one without an epoch begins anew.

        Args:
          config: Of the run.
          overwrite: Removes what run is there; a finished one is set aside until this one is finished, too.

        Raises:
          InputError: A finished run, or an unfinished one of another config.
        """
        if self.folder.exists() and not self.folder.is_dir():
            raise InputError(f"{self.folder} is a file: give --run a folder.")
        if overwrite and self.is_finished and self.config_path.exists():
            self._set_aside()
        if overwrite:
            self._remove()
        if self.config_path.exists() and not self.is_finished and not self.has_epochs:
            self._remove()
        if self.config_path.exists():
            self.refuse_another(config)
        elif self._files():
            raise InputError(f"{self.folder} holds files that are no run: give --run another folder.")
        self.folder.mkdir(parents=True, exist_ok=True)
        if not self.config_path.exists():
            about = {_DIRECTORY: str(Path.cwd()), _OVERWRITES: overwrite}
            write_json(self.config_path, json.loads(_with_paths(config, _portable).to_json()) | about)

    def is_overwriting(self, config: Config, metadata: RunMetadata) -> bool:
        """Tells whether --overwrite began this unfinished run, of the same config, records and folds.

        Whoever gives an interrupted command again, --overwrite in it, goes on.
        """
        if self.is_finished or not self.has_epochs:
            return False
        try:
            values = read_json(self.config_path)
            return bool(values.get(_OVERWRITES)) and not self._differing(config) and self.metadata() == metadata
        except InputError:
            return False

    def end_overwriting(self) -> None:
        """Lets the next --overwrite begin anew: there is something wrong with what it would go on with."""
        if self.config_path.exists():
            write_json(self.config_path, read_json(self.config_path, AGAIN) | {_OVERWRITES: False})

    def refuse_another(self, config: Config) -> None:
        """Makes sure that this run is unfinished and of a config.

        Raises:
          InputError: A finished run, or another config.
        """
        if self.is_finished:
            raise InputError(
                f"{self.folder} holds a finished run: read it with python -m emotion_tf.evaluate --run {self.folder},"
                " give another --run, or --overwrite to replace it."
            )
        if differing := self._differing(config):
            raise InputError(
                f"{self.folder} holds an unfinished run with another {', '.join(differing)}:"
                " give another --run, or --overwrite to replace it."
            )

    def _differing(self, config: Config) -> list[str]:
        found, asked = (json.loads(_with_paths(one, _absolute).to_json()) for one in (self.config(), config))
        return [name for name in asked if found[name] != asked[name]]

    def remove_if_empty(self) -> None:
        """Removes an unfinished run without an epoch, with which nothing can go on; one that it replaces comes back."""
        if self.config_path.exists() and not self.is_finished and not self.has_epochs:
            self._remove()
            if self._replaced.exists():
                for path in sorted(self._replaced.iterdir(), key=self._from_scores_to_config, reverse=True):
                    path.rename(self.folder / path.name)
                self._replaced.rmdir()
            elif not self.folder.is_symlink():
                self.folder.rmdir()

    def remove_replaced(self) -> None:
        """Removes the run that this one, which is finished now, was to replace."""
        shutil.rmtree(self._replaced, ignore_errors=True)

    def _set_aside(self) -> None:
        """Moves a run out of the way, into the folder itself."""
        shutil.rmtree(self._replaced, ignore_errors=True)
        self._replaced.mkdir()
        for path in self._files():
            path.rename(self._replaced / path.name)

    def _remove(self) -> None:
        """Removes a run, and refuses to remove anything else."""
        files = self._files()
        if files and not self.config_path.exists():
            raise InputError(f"{self.folder} holds files that are no run: --overwrite replaces runs only.")
        for path in files:
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    def _files(self) -> list[Path]:
        """Lists what lies in the folder, but for a run that this one replaces; nothing where there is no folder.

        scores.json comes first and config.json last: what a kill leaves of a removal is an unfinished run.
        """
        found = self.folder.iterdir() if self.folder.exists() else ()
        return sorted({*found} - {self._replaced}, key=self._from_scores_to_config)

    def _from_scores_to_config(self, path: Path) -> int:
        return {self.scores_path.name: -1, self.config_path.name: 1}.get(path.name, 0)

    def refuse_changed(self, metadata: RunMetadata) -> None:
        """Makes sure that this run was started on the records and folds of some metadata.

        Raises:
          InputError: Others than those, or another version of this program started it.
        """
        if self.metadata() != metadata:
            raise InputError(
                f"the records or folds changed since {self.folder} was started: give another --run, or --overwrite to"
                " train again."
            )

    @property
    def is_finished(self) -> bool:
        """Whether training came to its end: the scores of the validation split are written last."""
        return self.scores_path.exists()

    @property
    def has_epochs(self) -> bool:
        """Whether there is a checkpoint to go on with."""
        return any(self.checkpoints.glob("last-*.weights.h5"))

    def require_finished(self) -> "Run":
        """Returns the run itself.

        Raises:
          InputError: No run, one whose training has not ended, or one that another version of this program trained.
        """
        if (self.folder / "crossval.json").exists():
            example = next(iter(sorted(self.folder.glob("fold-*-seed-*/"))), self.folder / "fold-0-seed-0")
            raise InputError(
                f"{self.folder} holds a cross-validation: name one of its runs, such as {example}; emotion_tf.crossval"
                " --split test reads the test splits of all."
            )
        if not self.config_path.exists():
            raise InputError(f"{self.folder} holds no run (config.json is missing): name a folder that fit made.")
        if not self.is_finished:
            raise InputError(f"{self.folder} is not finished: run the same python -m emotion_tf.fit command again.")
        self.metadata()  # Complains where another version trained it, before another file seems corrupt.
        return self

    def config(self) -> Config:
        """Reads config.json; paths to records and runs lead there from every working directory, where they still do.

        Raises:
          InputError: A file that is missing or corrupt, or of a run that another version of this program trained.
        """
        try:
            values = json.loads(self.config_path.read_text(encoding="utf-8"))
            directory, _ = values.pop(_DIRECTORY, ""), values.pop(_OVERWRITES, False)
            return _with_paths(Config.from_json(json.dumps(values)), lambda path: self._locate(path, directory))
        except FileNotFoundError:
            raise InputError(f"{self.folder} holds no run (config.json is missing): name one that fit made.") from None
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            if self.metadata_path.exists():
                self.metadata()  # Complains where another version wrote both.
            raise InputError(f"{self.config_path} is corrupt ({error}): {AGAIN}.") from None

    def _locate(self, path: str, directory: str) -> str:
        """Finds what a path of config.json names.

        Args:
          path: Absolute, or relative to the working directory of the fit.
          directory: That one, which may have moved with the run in it.

        Returns:
          The path as it is where it leads there from here or nothing is found, else an absolute one.
        """
        if remote.is_url(path):
            return str(remote.local(path))
        if not path or Path(path).is_absolute():
            return path
        folders = [*self.folder.absolute().parents, *self.folder.resolve().parents]
        for folder in [*([Path(directory)] if directory else []), *folders, Path.cwd()]:
            if (folder / path).exists():
                return path if folder == Path.cwd() else str(folder / path)
        return path

    def metadata(self) -> RunMetadata:
        """Reads metadata.json: facts of the records, the fold, the training prior, the marks of the scores.

        Raises:
          InputError: A file that is missing or corrupt, or of a run that another version of this program trained.
        """
        return read_run_metadata(self.metadata_path)

    def write_metadata(self, metadata: RunMetadata) -> None:
        """Writes metadata.json."""
        write_json(self.metadata_path, metadata.to_json())

    def temperature(self) -> float:
        """Reads what the logits are divided by."""
        return read_json(self.calibration_path, AGAIN, {"temperature": (int, float)})["temperature"]

    def thresholds(self) -> "np.ndarray | None":
        """Reads from which probability on each emotion is named, [num_emotions]; None: the most probable alone is."""
        import numpy as np

        found = read_json(self.calibration_path, AGAIN).get("thresholds")
        return None if found is None else np.array([found[emotion] for emotion in self.metadata().emotions])

    def tokenizer(self) -> text.Tokenizer | None:
        """Reads the tokenizer of a preset, whose folder may be gone; None: the token ids of the records are read."""
        expected = self.metadata().tokenizer
        if not expected["preset"] and not self.tokenizer_path.exists():
            return None
        found = text.read_tokenizer(self.tokenizer_path)
        if found.sha256 != expected["sha256"]:
            raise InputError(
                f"{self.tokenizer_path} is not the tokenizer that {self.folder} was trained with: {AGAIN}."
            )
        return found

    def normalisation(self) -> Normalisation | None:
        """Reads the statistics that bring audio features to one scale; None: each clip is normalised by itself."""
        if not self.normalisation_path.exists() and not self._has_statistics():
            return None
        values = read_json(self.normalisation_path, AGAIN)
        try:
            found = Normalisation(**values | {"by_clip": tuple(values.get("by_clip", ()))})
            widths, read = self.metadata().widths, self.metadata().audio_features
            if not {*found.by_clip} <= {*read} - {*found.mean}:
                raise ValueError("by_clip names features that are not read, or that have statistics")
            for name in sorted({*found.mean, *read} - {*found.by_clip}):
                width = math.prod(widths[name]) if name == STATES else widths[name]
                if not len(found.mean[name]) == len(found.std[name]) == width or not min(found.std[name]) > 0:
                    raise ValueError(f"{name} has {width} columns and as many deviations above 0")
            return found
        except (TypeError, KeyError, ValueError, AttributeError) as error:
            raise InputError(f"{self.normalisation_path} is corrupt ({error}): {AGAIN}.") from None

    def _has_statistics(self) -> bool:
        """Whether the run was trained with statistics of its records, or joins a run that was."""
        config = self.config()
        reads_audio = "audio" in self.metadata().modalities
        joined = (Run(Path(source)).normalisation_path.exists() for source in config.runs)
        return reads_audio and (any(joined) if config.is_late else config.normalise != "clip")

    def cross_corpus(self, records: Path) -> Scored:
        """Names the folder for scores on other records, cross_corpus/<name of their folder>/."""
        return Scored(self.folder / "cross_corpus" / records.resolve().name)

    def model(self) -> "keras.Model":
        """Loads model.keras, in safe mode."""
        import keras

        import emotion_tf.models  # noqa: F401  (registers the layers)
        import pipelines.audio.whisper_encoder  # noqa: F401  (registers the encoder)

        try:
            return keras.saving.load_model(self.model_path, compile=False, safe_mode=True)
        except (OSError, ValueError, TypeError, KeyError) as error:
            # Keras says of a file that is no archive that it is not there.
            is_archive = not self.model_path.exists() or zipfile.is_zipfile(self.model_path)
            reason = str(error).splitlines()[0] if is_archive else "cut off, or no file of Keras"
            raise InputError(f"{self.model_path} is missing or corrupt ({reason}): {AGAIN}.") from None


def _with_paths(config: Config, change: Callable[[str], str]) -> Config:
    """Changes the paths of a config to records and runs; empty ones stay."""
    names = ("records", "init_audio", "init_text", "init_video")
    paths: dict[str, Any] = {name: change(path) for name in names if (path := getattr(config, name))}
    return dataclasses.replace(config, runs=tuple(map(change, config.runs)), **paths)


def _absolute(path: str) -> str:
    return str(Path(path).resolve())


def _portable(path: str) -> str:
    """Names records of a URL by that, which other machines know, too."""
    return remote.url_of(Path(path)) or path


def records_of(runs: Iterable[Path]) -> list[Path]:
    """Names the records that runs, or the folds of cross-validations, were trained on; none where they differ."""
    found = set()
    for folder in runs:
        fits = [one for one in map(Run, (folder, *sorted(folder.glob("fold-*")))) if one.config_path.exists()]
        found |= {Path(one.config().records) for one in fits[:1]}
    return list(found) if len(found) == 1 else []


def next_free(prefix: str, config: Config) -> Path:
    """Names the first folder `saved_models/<prefix>-<N>` that is free, or holds this config unfinished."""
    number = 1
    while (folder := ROOT / f"{prefix}-{number}").exists():
        run = Run(folder)
        if run.config_path.exists() and not run.is_finished and run.config() == config:
            break
        number += 1
    return folder
