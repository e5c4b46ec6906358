"""Cross-validates an SVM on openSMILE's functionals: `benchmarks/functionals.py --features egemaps --run FOLDER`.

Reads the recordings as `prepare` does (16 kHz, one channel), whole and as loud as they are. Columns are standardised
by the training speakers of a fold; C of the linear SVM (one against one) is chosen on its validation speakers by UAR,
and a temperature that makes probabilities of its margins is fitted there. FOLDER gets features.npz, predictions.csv and
scores.json as those of `emotion_tf.crossval`, and about.json, which holds the time that it took. Needs the package
opensmile (extra `benchmarks`), which is for non-commercial use.
"""

import argparse
import dataclasses
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from emotion_tf.evaluation.counts import UAR
from emotion_tf.runs.folder import Scored
from pipelines import audio, folds
from pipelines.command import InputError, make_folder, progress_bar, run_command
from pipelines.corpora import ravdess
from pipelines.files import read_json, replacing, write_json
from pipelines.utterance import SPLITS, Corpus

if TYPE_CHECKING:
    import pandas as pd

FEATURES = {"egemaps": "eGeMAPSv02", "compare": "ComParE_2016"}
"""Name -> openSMILE's own, of 88 and of 6373 functionals."""

STRENGTHS = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""C of the SVM, the strongest penalty first."""


@dataclasses.dataclass(frozen=True)
class Table:
    """Functionals of a corpus, a row an utterance.

    Attributes:
      values: float32 [num_utterances, num_columns].
      utterances: Columns utterance_id, speaker, label (a number) and the groups that the corpus names.
      emotions: The label set, in label order.
    """

    values: np.ndarray
    utterances: "pd.DataFrame"
    emotions: tuple[str, ...]

    def of(self, speakers: Sequence[str]) -> "Table":
        """Picks the rows of some speakers."""
        is_chosen = self.utterances["speaker"].isin(speakers).to_numpy()
        return Table(self.values[is_chosen], self.utterances[is_chosen].reset_index(drop=True), self.emotions)

    @property
    def labels(self) -> np.ndarray:
        """[num_utterances] numbers."""
        return self.utterances["label"].to_numpy()


def main(argv: list[str] | None = None) -> None:
    """Extracts what is not there yet, fits every fold, writes and prints the scores.

    Raises:
      InputError: No opensmile, no corpus, or recordings that cannot be read.
    """
    from emotion_tf.reporting import tables

    arguments = _parser().parse_args(argv)
    make_folder(arguments.run, "--run")
    corpus = ravdess.read(arguments.source)
    features = _functionals(corpus, arguments.features, arguments.run)
    start = time.perf_counter()
    found = crossval(features, arguments.folds, SPLITS[1 : SPLITS.index(arguments.split) + 1])
    scored = Scored(arguments.run)
    scored.write_predictions(found)
    scored.write_scores(_scores(found, features.emotions))
    about = read_json(arguments.run / "about.json") | {"fit_seconds": round(time.perf_counter() - start, 1)}
    about["num_folds"] = int(found["fold"].nunique())
    num_pairs = len(features.emotions) * (len(features.emotions) - 1) // 2
    about["num_parameters"] = (features.values.shape[1] + 1) * num_pairs
    write_json(arguments.run / "about.json", about)
    print(*tables.headlines(scored.scores(), arguments.split, str(arguments.run)), sep="\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--features", choices=FEATURES, required=True)
    parser.add_argument("--source", type=Path, default=Path("data/ravdess"), help="of RAVDESS (%(default)s)")
    parser.add_argument("--folds", default="lj5", help="as crossval takes them (%(default)s)")
    parser.add_argument("--split", choices=SPLITS[1:], default=SPLITS[1], help="to score (%(default)s)")
    parser.add_argument("--run", type=Path, required=True, help="to write to")
    return parser


def _functionals(corpus: Corpus, name: str, folder: Path) -> Table:
    """Reads features.npz, or extracts and writes it."""
    import pandas as pd

    utterances = [utterance for utterance in corpus.utterances if utterance.audio]
    names = [utterance.utterance_id for utterance in utterances]
    path = folder / "features.npz"
    values = _read(path, name, names)
    if values is None:
        values, about = extract([utterance.audio for utterance in utterances if utterance.audio], name)
        with replacing(path) as temporary:
            np.savez(temporary, values=values, names=np.array(names), features=np.array(name))
        write_json(folder / "about.json", {"features": name} | about)
    rows = [
        {
            "utterance_id": utterance.utterance_id,
            "speaker": utterance.speaker,
            "label": corpus.emotions.index(utterance.emotion),
        }
        | {name: utterance.attributes[name] for name in ("sex", "intensity", "statement")}
        for utterance in utterances
    ]
    return Table(values, pd.DataFrame(rows), tuple(corpus.emotions))


def _read(path: Path, name: str, names: Sequence[str]) -> np.ndarray | None:
    """Reads the functionals of these utterances; None where the file holds others, or is not there."""
    if not path.exists():
        return None
    with np.load(path, allow_pickle=False) as stored:
        is_same = str(stored["features"]) == name and stored["names"].tolist() == list(names)
        return stored["values"] if is_same else None


def extract(paths: Sequence[Path], name: str) -> tuple[np.ndarray, dict[str, Any]]:
    """Extracts functionals of recordings, one after the other.

    Returns:
      float32 [num_recordings, num_columns], finite, and seconds that it took and that the recordings last.

    Raises:
      InputError: No opensmile, or a recording that cannot be read.
    """
    smile = _smile(name)
    rows, length, start = [], 0, time.perf_counter()
    with progress_bar(len(paths), FEATURES[name], "clip", leave=False) as bar:
        for path in paths:
            waveform = audio.to_float(audio.decode(path))
            rows.append(smile.process_signal(waveform, audio.SAMPLE_RATE).to_numpy(np.float32)[0])
            length += len(waveform)
            bar.update()
    about = {"extract_seconds": round(time.perf_counter() - start, 1), "sound_seconds": length / audio.SAMPLE_RATE}
    return np.nan_to_num(np.stack(rows), posinf=0, neginf=0), about | {"cores": len(os.sched_getaffinity(0))}


def _smile(name: str) -> Any:
    try:
        import opensmile
    except ImportError as error:
        raise InputError(
            f"opensmile cannot be imported ({error}): pip install -c requirements.txt -e '.[benchmarks]', or leave"
            " these models out."
        ) from None
    feature_set = getattr(opensmile.FeatureSet, FEATURES[name])
    return opensmile.Smile(feature_set=feature_set, feature_level=opensmile.FeatureLevel.Functionals)


def crossval(table: Table, folds_name: str, splits: Sequence[str]) -> "pd.DataFrame":
    """Fits every fold and predicts some splits.

    Args:
      table: Functionals of all speakers.
      folds_name: As `pipelines.folds.make_folds` takes it.
      splits: "validation", with "test" or without.

    Returns:
      Rows of predictions.csv with columns fold and seed.
    """
    import pandas as pd

    found = []
    for number, fold in enumerate(folds.make_folds(folds_name, table.utterances)):
        parts = {split: table.of(getattr(fold, split)) for split in SPLITS}
        probabilities = fit(parts["train"], parts["validation"], [parts[split] for split in splits])
        for split, values in zip(splits, probabilities, strict=True):
            found.append(_rows(parts[split], values, split).assign(fold=number, seed=0))
    return pd.concat(found, ignore_index=True)


def fit(train: Table, validation: Table, wanted: Sequence[Table]) -> list[np.ndarray]:
    """Fits SVMs, chooses one by the UAR of validation speakers, and fits a temperature on them.

    Returns:
      Of each of the wanted tables probabilities [num_utterances, num_emotions].
    """
    from sklearn.metrics import recall_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC

    from emotion_tf.evaluation.calibration import fit_temperature
    from emotion_tf.probabilities import probabilities_of

    def recall(model: Any) -> float:
        guesses = model.classes_[model.decision_function(validation.values).argmax(axis=1)]
        return float(recall_score(validation.labels, guesses, average="macro", zero_division=0))

    # LinearSVC takes minutes to give up on thousands of columns where the penalty is weak.
    models = [
        make_pipeline(StandardScaler(), SVC(C=strength, kernel="linear", class_weight="balanced")).fit(
            train.values, train.labels
        )
        for strength in STRENGTHS
    ]
    best = max(models, key=recall)  # The first of equals: the strongest penalty.
    margins = [best.decision_function(table.values) for table in (validation, *wanted)]
    temperature = fit_temperature(margins[0], validation.labels)
    return [probabilities_of(values / temperature, is_multi_label=False) for values in margins[1:]]


def _rows(table: Table, probabilities: np.ndarray, split: str) -> "pd.DataFrame":
    from emotion_tf.runs.predictions import predictions_table

    return predictions_table(table.utterances, probabilities, table.emotions, split)


def _scores(predictions: "pd.DataFrame", emotions: Sequence[str]) -> dict[str, Any]:
    """Makes what scores.json of a cross-validation holds."""
    from emotion_tf.evaluation import metrics

    by_split = {split: metrics.scores(rows, emotions) for split, rows in predictions.groupby("split")}
    return {"marks": [], "headline": UAR, **by_split}


if __name__ == "__main__":
    sys.exit(run_command(main))
