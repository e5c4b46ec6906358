"""Rows of `benchmarks.recognition`: scores, times and sizes of finished models, and the table of them."""

import contextlib
import dataclasses
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks import rows
from emotion_tf.evaluation import counts
from emotion_tf.evaluation.counts import NUM_BINS, UAR
from emotion_tf.runs.folder import Run, Scored
from pipelines.audio import SAMPLE_RATE, decode
from pipelines.audio.whisper_checkpoint import NAMED
from pipelines.command import InputError
from pipelines.corpora import ravdess
from pipelines.files import read_json

if TYPE_CHECKING:
    import pandas as pd

    from emotion_tf.serving import Predictor

ECE = "expected_calibration_error"

NUM_DRAWS = 1000
NUM_TIMED = 24

PUBLISHED: rows.Rows = [
    {"model": "[ResLSTM](https://arxiv.org/abs/2606.03359), from scratch", "UAR": "0.623", "marks": "published"},
    {"model": "[XLSR-53](https://doi.org/10.3390/app12010327), fine-tuned", "accuracy": "0.818", "marks": "published"},
]
"""Of other authors, on all 24 actors: the mean of ten seeds on a split of its own, and the same five folds.

Source:
  Krasnoproshin and Vashkevich 2026, arXiv 2606.03359; Luna-Jiménez et al. 2022, doi 10.3390/app12010327.
"""


def scores(scored: Scored, marks: Sequence[str] = ()) -> dict[str, Any]:
    """Picks the scores of a row.

    Args:
      scored: A cross-validation whose test split was read.
      marks: To add to its own.

    Returns:
      UAR, accuracy and ECE of the test split with intervals over actors, shares in [0, 1], the mean over seeds;
      `true_ece`, what its probabilities would read if they were true; `validation_uar`; counts, marks and how often
      the test split was read.
    """
    found = scored.scores()
    if "test" not in found:
        raise InputError(f"{scored.folder} has no scores of the test split: read it first, with --split test.")
    test, predictions = found["test"], scored.predictions()
    return {
        **{f"{key}{end}": test[f"{name}{end}"] for key, name in _SCORES.items() for end in ("", "_interval")},
        "true_ece": true_ece(predictions[predictions["split"] == "test"]),
        "validation_uar": found["validation"][UAR],
        "num_seeds": test["num_seeds"],
        "num_clips": test["num_utterances"],
        "num_actors": len(test["speakers"]),
        "marks": [*found["marks"], *marks],
        "test_reads": found.get("test_reads", 1),
    }


_SCORES = {"uar": UAR, "accuracy": "accuracy", "ece": ECE}


def true_ece(predictions: "pd.DataFrame", num_draws: int = NUM_DRAWS) -> float:
    """Simulates the expected calibration error of probabilities that are true: it is above 0 by chance alone.

    Draws the labels from the probabilities themselves, so that what is predicted is right as often as it says.

    Args:
      predictions: Rows of predictions.csv of one split, with one emotion an utterance; with several seeds the mean over
        seeds is taken, as of the scores.
      num_draws: Of all labels.

    Returns:
      The mean over draws.
    """
    from emotion_tf.runs.predictions import emotion_probabilities

    rng, seeds = np.random.default_rng(0), counts.codes_of(predictions, "seed")
    confidence = emotion_probabilities(predictions).to_numpy().max(axis=1)
    places, found = counts.bins_of(confidence), []
    for _ in range(num_draws):
        columns = [np.ones(len(confidence)), rng.random(len(confidence)) < confidence, confidence]
        bins = counts.add_up(columns, (seeds.max() + 1, NUM_BINS), seeds, places)
        found.append(counts.expected_calibration_error(bins).mean())
    return float(np.mean(found))


def training_minutes(runs: Sequence[Run]) -> float:
    """Takes the time from the first file of a run to its model: of the median run, TensorFlow's start aside."""
    seconds = [run.model_path.stat().st_mtime - run.config_path.stat().st_mtime for run in runs]
    return statistics.median(seconds) / 60


def num_parameters(run: Run, encoder: str) -> dict[str, int]:
    """Counts what was trained, and the frozen blocks of the encoder, if it has one, up to the last that is read."""
    import keras

    found = {"parameters": int(run.model().count_params())}
    keras.backend.clear_session()
    states = run.metadata().encoder
    if states is None:
        return found
    sizes = dataclasses.replace(NAMED[encoder], num_blocks=max(states["blocks"]))
    return found | {"frozen_parameters": sizes.num_parameters}


def real_time_factor(run: Run, source: Path) -> float | None:
    """Times the exported run on recordings of a corpus, one by one, warm, from file to answer.

    Exports the run where there is no export that reads waveforms.

    Returns:
      Seconds that it takes for a second of sound; None where the run cannot be exported in that way.
    """
    predictor = _predictor(run)
    if predictor is None:
        return None
    paths = [utterance.audio for utterance in ravdess.read(source).utterances if utterance.audio]
    chosen = paths[:: max(1, len(paths) // NUM_TIMED)][:NUM_TIMED]
    for path in chosen:
        predictor.predict(path)
    start = time.perf_counter()
    for path in chosen:
        predictor.predict(path)
    seconds = time.perf_counter() - start
    return round(seconds / sum(len(decode(path)) / SAMPLE_RATE for path in chosen), 4)


def _predictor(run: Run) -> "Predictor | None":
    from emotion_tf.serving import Predictor

    with contextlib.suppress(InputError):
        return Predictor(run.export)
    subprocess.run([sys.executable, "-m", "emotion_tf.export", "--run", str(run.folder)], check=False)
    try:
        return Predictor(run.export)
    except InputError as error:
        print(f"no real-time factor of {run.folder}: {error}", flush=True)
        return None


def facts_of_functionals(folder: Path) -> dict[str, Any]:
    """Picks times and size of `benchmarks.functionals`; one core extracts, and the SVM's own time is nothing to that.

    Args:
      folder: That it wrote.

    Returns:
      What `benchmarks.recognition.row` says; minutes of training are those of one fold, the choice of C in them.
    """
    about = read_json(folder / "about.json", keys={"extract_seconds": (int, float), "fit_seconds": (int, float)})
    return {
        "preparation_minutes": round(about["extract_seconds"] / 60, 2),
        "training_minutes": round(about["fit_seconds"] / about["num_folds"] / 60, 2),
        "parameters": about["num_parameters"],
        "real_time_factor": round(about["extract_seconds"] / about["sound_seconds"], 4),
    }


def table(result: Mapping[str, Any]) -> rows.Rows:
    """Draws a row a model, and those of others below."""
    return [*(_row(found) for found in result["models"].values()), *PUBLISHED]


def _row(found: Mapping[str, Any]) -> dict[str, str]:
    minutes, factor = found["preparation_minutes"], found["real_time_factor"]
    return {
        "model": found["title"],
        "UAR": _ranged(found, "uar"),
        "accuracy": _ranged(found, "accuracy"),
        "ECE": f"{found['ece']:.3f}",
        "if true": f"{found['true_ece']:.3f}",
        "seeds": str(found["num_seeds"]),
        "minutes": f"{'?' if minutes is None else f'{minutes:.1f}'} + {found['training_minutes']:.1f}",
        "parameters": _counted(found["parameters"]),
        "frozen": _counted(found["frozen_parameters"]) if "frozen_parameters" in found else "",
        "real-time factor": "" if factor is None else f"{factor:.3f}",
        "marks": ", ".join(found["marks"]),
        "measured at": f"`{found['commit']}`",
    }


def _ranged(found: Mapping[str, Any], name: str) -> str:
    interval = found[f"{name}_interval"]
    ends = "" if interval is None else f" [{interval[0]:.3f}, {interval[1]:.3f}]"
    return f"{found[name]:.3f}{ends}"


def _counted(number: int) -> str:
    return f"{number / 1e6:.1f} M" if number >= 1e6 else f"{number / 1e3:.0f} k"


def commands(result: Mapping[str, Any]) -> str:
    """Draws the commands of each row, those that several share once."""
    found = dict.fromkeys(command for model in result["models"].values() for command in model["commands"])
    return "\n".join(rows.code(found))
