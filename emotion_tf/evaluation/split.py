"""One split of a fold: what a model predicts of it, and the scores of that."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
import tensorflow as tf

from emotion_tf.config import AudioConfig
from emotion_tf.evaluation import metrics, multilabel
from emotion_tf.evaluation.calibration import fit_temperature, set_temperature
from emotion_tf.models.inputs import any_of, modalities_of, presence
from emotion_tf.models.late_fusion import shares_model
from emotion_tf.probabilities import FLOOR, negative_log_likelihood, probabilities_of
from emotion_tf.runs.compatibility import misfit, targets_by_name
from emotion_tf.runs.folder import Run
from emotion_tf.runs.predictions import DIALOGUE, GROUPS, PREFIX, predictions_table
from pipelines.command import InputError
from pipelines.dataset import make_dataset
from pipelines.records import named_if_corrupt, read_metadata
from pipelines.tensorflow_runtime import as_written

_BATCH, _TEXT_BATCH = 32, 256
"""Utterances that are predicted together; those of text alone are small."""

_SHUFFLED = {"shuffled-audio": "audio", "shuffled-transcripts": "transcripts", "shuffled-video": "video"}


def shuffled_in_scoring(control: str) -> str:
    """Names what a control shuffles in validation and test, as `make_dataset` does; empty: nothing."""
    return _SHUFFLED.get(control, "")


def shuffled_in_training(control: str) -> str:
    """Names what a control shuffles in training, as `make_dataset` does; empty: nothing."""
    return {**_SHUFFLED, "permuted-labels": "labels"}.get(control, "")


class Split:
    """The utterances of one split, kept in memory to be predicted again and again.

    Args:
      records: Folder of the records.
      members: Which of them: values of the field `by`.
      name: "train", "validation" or "test".
      emotions: The label set of the models to come.
      modalities: Which of audio, text and video they read.
      by: "speaker", "published_split" or "utterance_id".
      label_numbers: Label of the records -> label of the models, None for one to leave out; None: the same. An
        utterance that keeps no label is left out; so is one that keeps several, where the models know one each.
      is_multi_label: Whether the models know several emotions an utterance; None: as the records do.
      thresholds: From which probability on each emotion is predicted; None: fitted on this split, where that is needed.
      options: Further arguments of `make_dataset`, such as audio_features.
    """

    def __init__(
        self,
        records: Path,
        members: Sequence[str],
        name: str,
        emotions: Sequence[str],
        modalities: Sequence[str],
        by: str = "speaker",
        label_numbers: Sequence[int | None] | None = None,
        is_multi_label: bool | None = None,
        thresholds: np.ndarray | None = None,
        **options: Any,
    ):
        batch_size = _TEXT_BATCH if tuple(modalities) == ("text",) else _BATCH
        dataset = make_dataset(
            records, members, modalities, by=by, with_metadata=True, batch_size=batch_size, **options
        )
        found = read_metadata(records)
        self.records, self.name, self.emotions, self.thresholds = records, name, emotions, thresholds
        self.is_multi_label = found.is_multi_label if is_multi_label is None else is_multi_label
        with named_if_corrupt(records):
            batches = [(labels.numpy(), _rows(about)) for _, labels, about in dataset]
        features = dataset.map(as_written(lambda features, label, about: features))
        self.features = features.apply(tf.data.experimental.assert_cardinality(len(batches)))
        labelled = _memberships(np.concatenate([labels for labels, _ in batches]), len(found.emotions))
        labelled = labelled if label_numbers is None else _mapped(labelled, label_numbers, len(emotions))
        self.is_kept = labelled.any(axis=1) if self.is_multi_label else labelled.sum(axis=1) == 1
        self.memberships = labelled[self.is_kept]
        utterances = pd.DataFrame([row for _, rows in batches for row in rows])
        self.utterances = utterances[self.is_kept].reset_index(drop=True)
        self.utterances.insert(1, "label", self.memberships.argmax(axis=1))
        is_present = [keras.ops.convert_to_numpy(any_of(presence(batch))) for batch in self.features]
        self.is_present = np.concatenate(is_present)[self.is_kept]

    @property
    def labels(self) -> np.ndarray:
        """[num_utterances] numbers, or [num_utterances, num_emotions] memberships where there are several."""
        return self.memberships if self.is_multi_label else self.utterances["label"].to_numpy()

    def outputs(self, model: keras.Model, without: str = "") -> Any:
        """Runs a model over the split, where asked for with one modality taken away from every utterance.

        Returns:
          As the model: arrays [num_utterances, ...].
        """
        features = self.features.map(as_written(lambda batch: take_away(batch, without))) if without else self.features
        with named_if_corrupt(self.records):
            outputs = model.predict(features, verbose=0)
        return keras.tree.map_structure(lambda found: found[self.is_kept], outputs)

    def logits(self, model: keras.Model, without: str = "") -> np.ndarray:
        """Returns [num_utterances, num_emotions], where asked for with one modality taken away."""
        return self.outputs(model, without)

    def predict(self, model: keras.Model, without: str = "") -> tuple[pd.DataFrame, float]:
        """Returns the rows of predictions.csv, and the mean negative log-likelihood of the labels."""
        logits = self.logits(model, without)
        with np.errstate(invalid="ignore"):  # The caller looks at the loss.
            loss = negative_log_likelihood(logits, self.labels)
            probabilities = probabilities_of(logits, is_multi_label=self.is_multi_label)
        table = predictions_table(self.utterances, probabilities, self.emotions, self.name)
        if self.is_multi_label:
            predicted = self._decide(probabilities)
            table = multilabel.with_names(table, self.emotions, label=self.memberships, predicted=predicted)
        return table, loss

    def _decide(self, probabilities: np.ndarray) -> np.ndarray:
        thresholds = self.thresholds
        if thresholds is None:
            thresholds = multilabel.fit_thresholds(probabilities, self.memberships)
        return multilabel.decide(probabilities, thresholds)

    def calibrate(self, model: keras.Model) -> dict[str, Any]:
        """Fits temperature and thresholds on this split and sets them; returns what calibration.json holds.

        Utterances without any input get the training prior as it is, and count for nothing here.
        """
        is_any = self.is_present.any()
        chosen = self.is_present if is_any else slice(None)
        logits, labels = self.logits(model)[chosen], self.labels[chosen]
        temperature = fit_temperature(logits, labels) if is_any else 1.0
        set_temperature(model, temperature)
        thresholds = {}
        if self.is_multi_label:
            probabilities = probabilities_of(logits / temperature, is_multi_label=True)
            self.thresholds = multilabel.fit_thresholds(probabilities, labels)
            thresholds["thresholds"] = dict(zip(self.emotions, self.thresholds.tolist(), strict=True))
        return {
            "temperature": temperature,
            **thresholds,
            "fitted_on": self.name,
            "num_utterances": len(labels),
            "speakers": sorted(set(self.utterances["speaker"]) - {""}),
            "negative_log_likelihood_before": negative_log_likelihood(logits, labels),
            "negative_log_likelihood_after": negative_log_likelihood(logits / temperature, labels),
        }


def take_away(
    features: Mapping[str, tf.Tensor], modality: str, where: np.ndarray | bool = True
) -> dict[str, tf.Tensor]:
    """Makes a modality absent in a batch of features, as `emotion_tf.models.inputs.presence` finds it; others stay.

    Args:
      features: Of a batch.
      modality: "audio", "text" or "video".
      where: [batch] bool, from which utterances it is taken; True: from all.
    """
    changed = dict(features)
    for name in ("num_frames", "num_steps"):
        if modality == "audio" and name in features:
            changed[name] = tf.where(where, 0, features[name])
    if modality == "audio" and "waveform" in features:
        changed["waveform"] = tf.where(tf.reshape(where, (-1, 1)), 0.0, features["waveform"])
    if modality == "text" and "token_ids" in features:
        token_ids = features["token_ids"]
        # What is left of an empty transcript: its [START].
        is_word = tf.range(tf.shape(token_ids)[1]) > 0
        changed["token_ids"] = tf.where(is_word & tf.reshape(where, (-1, 1)), 0, token_ids)
    if modality == "video" and "video_frames" in features:
        changed["video_frames"] = tf.where(tf.reshape(where, (-1, 1, 1, 1, 1)), 0.0, features["video_frames"])
    return changed


def _rows(about: Mapping[str, Any]) -> list[dict[str, Any]]:
    rows = []
    columns = (about[name].numpy() for name in ("utterance_id", "speaker", "attributes"))
    for utterance_id, speaker, attributes in zip(*columns, strict=True):
        found = json.loads(attributes.decode() or "{}")
        groups = {name: str(found[name]) for name in (*GROUPS, DIALOGUE) if name in found}
        rows.append({"utterance_id": utterance_id.decode(), **groups, "speaker": speaker.decode()})
    return rows


def _memberships(labels: np.ndarray, num_emotions: int) -> np.ndarray:
    """Makes bool [num_utterances, num_emotions] of the labels of a dataset, which are numbers or multi-hot."""
    return labels.astype(bool) if labels.ndim == 2 else np.eye(num_emotions, dtype=bool)[labels]


def _mapped(memberships: np.ndarray, numbers: Sequence[int | None], num_emotions: int) -> np.ndarray:
    """Leads memberships to another label set, [num_utterances, num_emotions]; None leads nowhere."""
    leads = np.zeros((memberships.shape[1], num_emotions), bool)
    for source, target in enumerate(numbers):
        if target is not None:
            leads[source, target] = True
    return memberships @ leads


def split_of(
    run: Run, split: str, modalities: Sequence[str], audio_features: Sequence[str] = AudioConfig().features
) -> Split:
    """Reads one split of a run's fold, under its control, as far as a model needs it.

    Args:
      run: Whose fold it is.
      split: "train", "validation" or "test".
      modalities: Which of audio, text and video the model reads.
      audio_features: Which features of audio it reads.

    Raises:
      InputError: Records that are gone, or not those that the run was trained on.
    """
    config, metadata = run.config(), run.metadata()
    records, found = Path(config.records), read_metadata(Path(config.records))
    if what := misfit(metadata, found):
        raise InputError(
            f"{records} were made with another {what} since {run.folder} was trained: prepare them as before."
        )
    fold = metadata.fold
    return Split(
        records,
        getattr(fold, split),
        split,
        metadata.emotions,
        modalities,
        fold.by,
        None if found.emotions == metadata.emotions else targets_by_name(found.emotions, metadata.emotions),
        is_multi_label=metadata.is_multi_label,
        thresholds=run.thresholds() if run.is_finished else None,
        audio_features=audio_features,
        max_tokens=config.training.max_tokens,
        tokenizer=run.tokenizer(),
        normalisation=run.normalisation(),
        shuffled=shuffled_in_scoring(config.control),
        cache=config.training.shuffle_size is None,
        seed=config.seed,
    )


def score_split(run: Run, model: keras.Model, split: Split) -> tuple[dict[str, Any], dict[str, pd.DataFrame]]:
    """Predicts one split, and returns its scores and its rows of predictions.csv.

    Args:
      run: Whose model it is.
      model: Calibrated.
      split: What to predict.

    Returns:
      Scores; of a model of several modalities `without` holds those with each of them taken away. And rows: under ""
      those of predictions.csv, under the name of a modality those without it.
    """
    tables, modalities = {"": split.predict(model)[0]}, modalities_of(model)
    if len(modalities) > 1:
        tables |= {modality: split.predict(model, modality)[0] for modality in modalities}
        tables[""] = _with_shares(tables, split, model)
    scores = metrics.scores(tables[""], split.emotions, run.temperature())
    if len(modalities) > 1:
        scores["without"] = {modality: metrics.scores(tables[modality], split.emotions) for modality in modalities}
    return scores, tables


def _with_shares(tables: Mapping[str, pd.DataFrame], split: Split, model: keras.Model) -> pd.DataFrame:
    """Adds to the rows of predictions.csv what each modality contributes.

    `share_<modality>` is its weight in the fusion, where there are weights; `change_without_<modality>` what the
    logarithm of the probability of the most probable emotion becomes more without it, in nats: below 0 where the
    modality speaks for that emotion.
    """
    modalities, columns = modalities_of(model), [PREFIX + emotion for emotion in split.emotions]
    new = {}
    if weights := shares_model(model):
        new = {f"share_{name}": share for name, share in zip(modalities, split.outputs(weights).T, strict=True)}
    whole = _log_probabilities(tables[""][columns])
    rows, chosen = np.arange(len(whole)), whole.argmax(axis=1)
    for modality in modalities:
        change = _log_probabilities(tables[modality][columns]) - whole
        new[f"change_without_{modality}"] = change[rows, chosen]
    return tables[""].assign(**new)


def _log_probabilities(probabilities: pd.DataFrame) -> np.ndarray:
    return np.log(np.maximum(probabilities.to_numpy(), FLOOR))
