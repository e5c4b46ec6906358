"""One part of a fold before a model: predictions, their scores, and the pictures of them."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
import scipy.special
import tensorflow as tf

from emotion_tf import metrics
from emotion_tf.calibration import fit_temperature, negative_log_likelihood, set_temperature
from emotion_tf.plots import draw_scores
from emotion_tf.predictions import GROUPS, predictions_table
from emotion_tf.run import Run, Scored, misfit
from pipelines.command import InputError
from pipelines.dataset import make_dataset
from pipelines.records import read_metadata

_SHUFFLED = {"shuffled-audio": "audio", "shuffled-transcripts": "transcripts"}


def shuffled_in_scoring(control: str) -> str:
    """Tells what a control deals anew in validation and test, as `make_dataset` names it; empty: nothing."""
    return _SHUFFLED.get(control, "")


def shuffled_in_training(control: str) -> str:
    """Tells what a control deals anew in training, as `make_dataset` names it; empty: nothing."""
    return {**_SHUFFLED, "permuted-labels": "labels"}.get(control, "")


def modalities_of(model: keras.Model) -> tuple[str, ...]:
    """Tells from a model's inputs what it listens to."""
    return tuple(m for m, key in (("audio", "log_mel"), ("text", "token_ids")) if key in model.input)


class Part:
    """The utterances of one part, kept in memory to be predicted again and again.

    Args:
      records: Folder of the records.
      members: Which of them: values of the field `by`.
      split: "train", "validation" or "test".
      emotions: The label set of the models to come.
      modalities: What they listen to.
      by: "speaker", "published_split" or "utterance_id".
      label_numbers: Label of the records -> label of the models, None for utterances to leave out; None: the same.
      options: Further arguments of `make_dataset`.
    """

    def __init__(
        self,
        records: Path,
        members: Sequence[str],
        split: str,
        emotions: Sequence[str],
        modalities: Sequence[str],
        by: str = "speaker",
        label_numbers: Sequence[int | None] | None = None,
        **options: Any,
    ):
        dataset = make_dataset(records, members, modalities, by=by, with_metadata=True, **options)
        self.split, self.emotions = split, emotions
        batches = [_rows(labels.numpy(), about) for _, labels, about in dataset]
        self.utterances = pd.DataFrame([row for rows in batches for row in rows])
        features = dataset.map(lambda features, label, about: features)
        self.features = features.apply(tf.data.experimental.assert_cardinality(len(batches)))
        self.is_present = np.concatenate([_is_present(batch) for batch in self.features])
        self.is_kept = np.ones(len(self.utterances), bool)
        if label_numbers is not None:
            mapped = [label_numbers[label] for label in self.utterances["label"]]
            self.is_kept = np.array([label is not None for label in mapped])
            self.utterances["label"] = [label or 0 for label in mapped]
        self.utterances = self.utterances[self.is_kept].reset_index(drop=True)
        self.is_present = self.is_present[self.is_kept]

    def logits(self, model: keras.Model) -> np.ndarray:
        """Returns [num_utterances, num_emotions]."""
        return model.predict(self.features, verbose=0)[self.is_kept]

    def predict(self, model: keras.Model) -> tuple[pd.DataFrame, float]:
        """Returns the rows of predictions.csv, and the mean negative log-likelihood of the labels."""
        logits = self.logits(model)
        with np.errstate(invalid="ignore"):  # The caller looks at the loss.
            loss = negative_log_likelihood(logits, self.utterances["label"])
            probabilities = scipy.special.softmax(logits.astype(np.float64), axis=1)
        return predictions_table(self.utterances, probabilities, self.emotions, self.split), loss

    def calibrate(self, model: keras.Model) -> dict[str, Any]:
        """Fits the temperature on this part and sets it in the model; returns what calibration.json holds.

        Utterances without any input get the training prior as it is, and count for nothing here.
        """
        is_any = self.is_present.any()
        counts = self.is_present if is_any else slice(None)
        logits, labels = self.logits(model)[counts], self.utterances["label"].to_numpy()[counts]
        temperature = fit_temperature(logits, labels) if is_any else 1.0
        set_temperature(model, temperature)
        return {
            "temperature": temperature,
            "fitted_on": self.split,
            "num_utterances": len(labels),
            "speakers": sorted(set(self.utterances["speaker"])),
            "negative_log_likelihood_before": negative_log_likelihood(logits, labels),
            "negative_log_likelihood_after": negative_log_likelihood(logits / temperature, labels),
        }


def _is_present(features: Mapping[str, tf.Tensor]) -> np.ndarray:
    """Tells which utterances of a batch have any input, as `emotion_tf.fusion.presence` does: [batch] bool."""
    present = np.zeros(len(next(iter(features.values()))), bool)
    if "num_frames" in features:
        present |= features["num_frames"].numpy() > 0
    if "token_ids" in features:
        present |= np.count_nonzero(features["token_ids"].numpy(), axis=1) > 1
    return present


def _rows(labels: np.ndarray, about: Mapping[str, Any]) -> list[dict[str, Any]]:
    rows = []
    columns = (about[name].numpy() for name in ("utterance_id", "speaker", "attributes"))
    for label, utterance_id, speaker, attributes in zip(labels, *columns, strict=True):
        found = json.loads(attributes.decode() or "{}")
        groups = {name: str(found[name]) for name in GROUPS if name in found}
        rows.append({"utterance_id": utterance_id.decode(), "label": int(label), **groups, "speaker": speaker.decode()})
    return rows


def part_of(run: Run, split: str, modalities: Sequence[str]) -> Part:
    """Reads one part of a run's fold, under its control.

    Raises:
      InputError: Records that are gone, or not those that the run was trained on.
    """
    config, metadata = run.config(), run.metadata()
    records = Path(config.records)
    if what := misfit(vars(read_metadata(records)), metadata):
        raise InputError(
            f"{records} were made with another {what} since {run.folder} was trained: prepare them as before."
        )
    fold = metadata["fold"]
    return Part(
        records,
        fold[split],
        split,
        metadata["emotions"],
        modalities,
        fold["by"],
        max_tokens=config.training.max_tokens,
        shuffled=shuffled_in_scoring(config.control),
        seed=config.seed,
    )


def score_part(
    run: Run, model: keras.Model, part: Part, place: Scored | None = None, marks: Sequence[str] | None = None
) -> tuple[dict[str, Any], pd.DataFrame]:
    """Predicts one part, draws it, and returns its scores and its rows of predictions.csv.

    Args:
      run: Whose model it is.
      model: Calibrated.
      part: What to predict.
      place: Where the plots go; None: to the run.
      marks: What the scores carry; None: those of the run.
    """
    predictions, _ = part.predict(model)
    scores = metrics.scores(predictions, part.emotions, run.temperature())
    marks = run.metadata()["marks"] if marks is None else marks
    draw_scores((place or run).plots, predictions, scores, run.temperature(), marks)
    return scores, predictions
