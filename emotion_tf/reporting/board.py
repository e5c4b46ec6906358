"""What TensorBoard shows of a finished run: hyperparameters beside scores, precision and recall, embeddings.

All of it goes to the folder tensorboard/ of the run itself, so that `tensorboard --logdir saved_models` sets runs, and
the fits of a cross-validation, side by side.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import keras
import numpy as np
import pandas as pd
import tensorflow as tf

from emotion_tf.config import Config
from emotion_tf.evaluation.counts import TITLES
from emotion_tf.evaluation.split import Split
from emotion_tf.models.head import embedding_of
from emotion_tf.runs.folder import Run
from emotion_tf.runs.predictions import probability_columns
from pipelines.files import replacing

_MOST_POINTS = 5000
"""Of the projector, which draws in the browser."""

_COLUMNS = ("utterance_id", "label", "predicted", "is_correct", "speaker", "sex")


def write_board(
    run: Run, model: keras.Model, split: Split, predictions: pd.DataFrame, scores: Mapping[str, Any]
) -> None:
    """Writes what TensorBoard shows of one split of a finished run.

    Args:
      run: Whose folder it goes to.
      model: Of the run.
      split: Validation or test.
      predictions: Its rows of predictions.csv.
      scores: What `metrics.scores` says of it.
    """
    from tensorboard.plugins.hparams import api as hparams

    writer = tf.summary.create_file_writer(str(run.tensorboard))
    with writer.as_default(step=0):
        hparams.hparams(hyperparameters(run.config()), trial_id=str(run.folder))
        for name in (name for name in TITLES if name in scores):
            tf.summary.scalar(f"{split.name}/{name}", scores[name])
        _write_curves(split, predictions)
    writer.close()
    _write_embeddings(run, model, split, predictions)


def hyperparameters(config: Config) -> dict[str, str | int | float | bool]:
    """Lists what a run was asked for and what its kind of model reads, in names with a dot and plain values."""
    values = json.loads(config.to_json())
    unread = {modality for modality in ("audio", "text", "video") if modality not in config.modalities}
    return dict(_flat({name: value for name, value in values.items() if name not in unread}))


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str | int | float | bool]]:
    """Yields plain values of an object within objects; lists become words, None becomes "off"."""
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        elif isinstance(value, list):
            yield f"{prefix}{name}", " ".join(map(str, value))
        else:
            yield f"{prefix}{name}", "off" if value is None else value


def _write_curves(split: Split, predictions: pd.DataFrame) -> None:
    """Writes precision and recall of each emotion against the rest."""
    from tensorboard.plugins.pr_curve import summary

    columns = probability_columns(predictions)
    for number, (emotion, column) in enumerate(zip(split.emotions, columns, strict=True)):
        curve = summary.pb(
            f"{split.name}/{emotion}", split.memberships[:, number], predictions[column].to_numpy(np.float32)
        )
        tf.summary.experimental.write_raw_pb(curve.SerializeToString())


def _write_embeddings(run: Run, model: keras.Model, split: Split, predictions: pd.DataFrame) -> None:
    """Writes what the head reads of each utterance, for the projector; late fusion has no such vector."""
    from tensorboard.plugins import projector

    if (embedding := embedding_of(model)) is None:
        return
    vectors = split.outputs(keras.Model(model.input, embedding))[:_MOST_POINTS]
    with replacing(run.tensorboard / f"embeddings-{split.name}.tsv") as temporary:
        np.savetxt(temporary, vectors, "%.5g", "\t")
    about = predictions[:_MOST_POINTS].assign(is_correct=predictions["label"] == predictions["predicted"])
    about = about[[name for name in _COLUMNS if name in about]].rename(columns={"label": "emotion"})
    with replacing(run.tensorboard / f"embeddings-{split.name}-labels.tsv") as temporary:
        about.to_csv(temporary, sep="\t", index=False)
    config = projector.ProjectorConfig()
    for name in ("test", "validation"):  # What was read last comes first.
        if (run.tensorboard / f"embeddings-{name}.tsv").exists():
            config.embeddings.add(
                tensor_name=name, tensor_path=f"embeddings-{name}.tsv", metadata_path=f"embeddings-{name}-labels.tsv"
            )
    projector.visualize_embeddings(str(run.tensorboard), config)
