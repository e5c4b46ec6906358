"""Tests of emotion_tf.reporting.board: what TensorBoard finds of a finished run."""

import csv
import shutil

import numpy as np
import pytest
from google.protobuf import text_format
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData
from tensorboard.plugins.projector import ProjectorConfig
from tensorboard.util.tensor_util import make_ndarray

from emotion_tf.evaluation.split import split_of
from emotion_tf.models.inputs import audio_features_of, modalities_of
from emotion_tf.reporting.board import hyperparameters, write_board
from emotion_tf.runs.folder import Run


@pytest.fixture(scope="module")
def events(early_run):
    found = EventAccumulator(str(early_run.tensorboard), {"tensors": 0, "audio": 0})
    found.Reload()
    return found


def test_hyperparameters_are_plain_and_say_nothing_of_what_is_not_read(early_run, text_run):
    found = hyperparameters(early_run.config())
    assert {type(value) for value in found.values()} <= {str, int, float, bool}
    assert (found["branch"], found["join"], found["training.epochs"]) == ("fusion", "concat", 1)
    assert found["modalities"] == "audio text"
    assert {name.partition(".")[0] for name in found} & {"audio", "text", "video"} == {"audio", "text"}
    assert not [name for name in hyperparameters(text_run.config()) if name.startswith("audio.")]


def test_the_plugin_reads_hyperparameters_and_scores_of_one_session(events, early_run):
    start = events.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    stored = HParamsPluginData.FromString(start).session_start_info
    assert stored.hparams["training.batch_size"].number_value == early_run.config().training.batch_size
    assert stored.group_name == str(early_run.folder)
    [score] = events.Tensors("validation/unweighted_average_recall")
    expected = early_run.scores()["validation"]["unweighted_average_recall"]
    assert make_ndarray(score.tensor_proto) == pytest.approx(expected)


def test_each_emotion_has_a_curve_that_begins_at_full_recall(events, early_run):
    for emotion in early_run.metadata().emotions:
        [event] = events.Tensors(f"validation/{emotion}/pr_curves")
        *_, precision, recall = make_ndarray(event.tensor_proto)
        rows = early_run.predictions()
        assert recall[0] == 1
        assert precision[0] == pytest.approx((rows["label"] == emotion).mean())


def test_the_projector_gets_a_vector_and_a_row_for_each_utterance(early_run):
    folder = early_run.tensorboard
    config = text_format.Parse((folder / "projector_config.pbtxt").read_text(), ProjectorConfig())
    [one] = config.embeddings
    vectors = np.loadtxt(folder / one.tensor_path, delimiter="\t")
    with (folder / one.metadata_path).open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert len(vectors) == len(rows) == len(early_run.predictions())
    assert list(rows[0]) == ["utterance_id", "emotion", "predicted", "is_correct", "speaker", "sex"]
    assert {row["is_correct"] == "True" for row in rows if row["emotion"] == row["predicted"]} <= {True}


def test_the_test_split_comes_first_once_it_was_read(early_run, tmp_path):
    run = Run(tmp_path / "run")
    shutil.copytree(early_run.folder, run.folder)
    model, scores = run.model(), run.scores()["validation"]
    split = split_of(run, "test", modalities_of(model), audio_features_of(model))
    write_board(run, model, split, split.predict(model)[0], scores)
    config = text_format.Parse((run.tensorboard / "projector_config.pbtxt").read_text(), ProjectorConfig())
    assert [one.tensor_name for one in config.embeddings] == ["test", "validation"]


def test_late_fusion_has_scores_and_no_vectors(late_run):
    assert not list(late_run.tensorboard.glob("embeddings*"))
    assert list(late_run.tensorboard.glob("events*"))


def test_stored_clips_can_be_listened_to(audio_run, text_run):
    found = EventAccumulator(str(audio_run.tensorboard / "validation"), {"audio": 0, "tensors": 0})
    found.Reload()
    [sound] = found.Tensors("sample_audio/0")
    assert sound.tensor_proto.string_val[0].startswith(b"RIFF")
    silent = EventAccumulator(str(text_run.tensorboard / "validation"), {"tensors": 0})
    silent.Reload()
    assert not [tag for tag in silent.Tags()["tensors"] if tag.startswith("sample_audio")]
