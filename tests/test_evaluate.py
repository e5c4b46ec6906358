"""Tests of emotion_tf.evaluate: the test part is read once, counted, and scored like scikit-learn would."""

import json
import shutil

import numpy as np
import pytest
import sklearn.metrics

from emotion_tf import evaluate as evaluate_module
from emotion_tf.evaluate import Part, main
from emotion_tf.run import Run
from pipelines.command import InputError


@pytest.fixture
def run(text_run, tmp_path):
    """A finished run whose test part nobody has read."""
    shutil.copytree(text_run.folder, tmp_path / "text")
    return Run(tmp_path / "text")


def evaluate(*arguments):
    main(["--run", *map(str, arguments)])


def test_the_test_part_is_read_once_unless_asked_again(run, capsys, monkeypatch):
    evaluate(run.folder)
    first, output = run.scores(), capsys.readouterr().out
    assert first["test_reads"] == 1
    with monkeypatch.context() as patch:
        patch.setattr(evaluate_module, "evaluate", None)
        evaluate(run.folder)
    assert capsys.readouterr().out == output
    assert run.scores() == first
    evaluate(run.folder, "--again")
    assert run.scores() == first | {"test_reads": 2}
    assert "the test part was read 2 times" in capsys.readouterr().out
    assert run.predictions().duplicated(["utterance_id", "split"]).sum() == 0


def test_predictions_have_these_columns_and_add_up_to_one(run):
    evaluate(run.folder)
    predictions, emotions = run.predictions(), run.metadata()["emotions"]
    columns = [f"probability_{emotion}" for emotion in emotions]
    assert list(predictions) == ["utterance_id", "speaker", "split", "label", "predicted", *columns]
    np.testing.assert_allclose(predictions[columns].sum(axis=1), 1, atol=1e-5)
    fold = run.metadata()["fold"]
    for split in ("validation", "test"):
        rows = predictions[predictions["split"] == split]
        assert sorted(rows["speaker"].unique()) == fold[split]
        assert len(rows) == rows["utterance_id"].nunique() == 30
    assert list(predictions["predicted"]) == [emotions[winner] for winner in predictions[columns].to_numpy().argmax(1)]


def test_scores_hold_these_keys_and_agree_with_scikit_learn(run):
    evaluate(run.folder)
    scores = json.loads(run.scores_path.read_text())
    assert set(scores) == {"marks", "validation", "test", "test_reads"}
    assert scores["marks"] == ["synthetic"]
    assert set(scores["test"]) == {
        "unweighted_average_recall",
        "unweighted_average_recall_interval",
        "accuracy",
        "accuracy_interval",
        "macro_f1",
        "recall",
        "chance",
        "counts",
        "num_utterances",
        "speakers",
    }
    rows = run.predictions().query("split == 'test'")
    expected = sklearn.metrics.recall_score(rows["label"], rows["predicted"], average="macro")
    assert scores["test"]["unweighted_average_recall"] == pytest.approx(expected)


def test_the_table_of_one_run_has_chance_on_the_headline(run, capsys):
    evaluate(run.folder)
    validation, test, reads, *recalls = capsys.readouterr().out.splitlines()
    assert all("UAR" in line and "(chance 0.125)" in line for line in (validation, test))
    assert all(line.endswith("[synthetic] [few speakers]") for line in (validation, test))
    assert reads == "the test part was read 1 time"
    assert len(recalls) == 9


def test_several_runs_make_a_table_with_a_line_each(run, text_run, tmp_path, capsys):
    shutil.copytree(text_run.folder, tmp_path / "other")
    evaluate(run.folder, tmp_path / "other")
    head, *lines = capsys.readouterr().out.splitlines()
    assert "chance" in head
    assert [line.split()[0] for line in lines] == [str(run.folder), str(tmp_path / "other")]


def test_the_loss_is_the_mean_negative_log_likelihood(text_run):
    predictions, loss = Part(text_run, "validation", ("text",)).predict(text_run.model())
    of_label = [row[f"probability_{row['label']}"] for _, row in predictions.iterrows()]
    assert loss == pytest.approx(-np.log(of_label).mean(), rel=1e-5)


def test_a_run_that_is_none_or_not_finished_gets_a_sentence(tmp_path, make_config):
    with pytest.raises(InputError, match="holds no run"):
        evaluate(tmp_path)
    Run(tmp_path / "begun").start(make_config("text"))
    with pytest.raises(InputError, match="is not finished"):
        evaluate(tmp_path / "begun")


def test_records_that_changed_or_are_gone_get_a_sentence(run, three_speaker_records, tmp_path):
    records = tmp_path / "records"
    config = json.loads(run.config_path.read_text()) | {"records": str(records)}
    run.config_path.write_text(json.dumps(config))
    with pytest.raises(InputError, match="records holds no complete records"):
        evaluate(run.folder)
    shutil.copytree(three_speaker_records, records)
    metadata = json.loads((records / "metadata.json").read_text())
    metadata["front_end"]["trim_db"] = 20.0
    (records / "metadata.json").write_text(json.dumps(metadata))
    with pytest.raises(InputError, match="were made with another front end"):
        evaluate(run.folder)
    assert run.scores()["test_reads"] == 0
