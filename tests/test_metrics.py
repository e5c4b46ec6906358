"""Tests of emotion_tf.metrics, by hand and against scikit-learn."""

import numpy as np
import pandas as pd
import pytest
import sklearn.metrics

from emotion_tf import metrics

EMOTIONS = ("calm", "happy", "sad", "angry")


@pytest.fixture
def predictions():
    """100 predictions of five speakers; nobody is angry."""
    rng = np.random.default_rng(0)
    utterances = pd.DataFrame(
        {
            "utterance_id": [f"u{number}" for number in range(100)],
            "speaker": [f"{number % 5:02}" for number in range(100)],
            "label": rng.integers(0, 3, 100),
        }
    )
    return metrics.predictions_table(utterances, rng.dirichlet(np.ones(4), 100), EMOTIONS, "test")


def test_predictions_have_exactly_these_columns(predictions):
    probabilities = [f"probability_{emotion}" for emotion in EMOTIONS]
    assert list(predictions) == ["utterance_id", "speaker", "split", "label", "predicted", *probabilities]
    assert (predictions["split"] == "test").all()
    winners = predictions[probabilities].to_numpy().argmax(axis=1)
    assert list(predictions["predicted"]) == [EMOTIONS[winner] for winner in winners]


def test_confusion_rows_are_labels():
    table = pd.DataFrame({"label": ["calm", "calm", "sad"], "predicted": ["calm", "happy", "happy"]})
    expected = [[1, 1, 0, 0], [0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0]]
    np.testing.assert_array_equal(metrics.confusion(table, EMOTIONS), expected)


def test_recall_of_an_emotion_that_does_not_occur_counts_for_nothing():
    confusion = np.array([[3, 1, 0], [0, 2, 2], [0, 0, 0]])
    assert metrics.unweighted_average_recall(confusion) == pytest.approx((3 / 4 + 2 / 4) / 2)
    assert metrics.accuracy(confusion) == pytest.approx(5 / 8)


def test_many_confusions_at_once_score_like_each_alone():
    confusions = np.random.default_rng(0).integers(0, 5, (7, 4, 4))
    for score in (metrics.unweighted_average_recall, metrics.accuracy):
        np.testing.assert_allclose(score(confusions), [score(confusion) for confusion in confusions])


def test_scores_agree_with_scikit_learn(predictions):
    scores = metrics.scores(predictions, EMOTIONS)
    label, predicted = predictions["label"], predictions["predicted"]
    seen = EMOTIONS[:3]
    recalls = sklearn.metrics.recall_score(label, predicted, labels=seen, average=None)
    assert scores["unweighted_average_recall"] == pytest.approx(recalls.mean())
    assert scores["accuracy"] == pytest.approx(sklearn.metrics.accuracy_score(label, predicted))
    macro = sklearn.metrics.f1_score(label, predicted, labels=seen, average="macro")
    assert scores["macro_f1"] == pytest.approx(macro)
    assert scores["recall"] == pytest.approx({**dict(zip(seen, recalls, strict=True)), "angry": None})


def test_scores_hold_what_puts_them_into_proportion(predictions):
    scores = metrics.scores(predictions, EMOTIONS)
    commonest = predictions["label"].value_counts().max() / 100
    assert scores["chance"] == pytest.approx({"unweighted_average_recall": 1 / 3, "accuracy": commonest})
    assert scores["counts"]["angry"] == 0
    assert scores["num_utterances"] == sum(scores["counts"].values()) == 100
    assert scores["speakers"] == ["00", "01", "02", "03", "04"]
    low, high = scores["unweighted_average_recall_interval"]
    assert low < scores["unweighted_average_recall"] < high


def test_the_headline_names_chance_marks_and_few_speakers(predictions):
    line = metrics.headline(metrics.scores(predictions, EMOTIONS), "x test", ["synthetic"])
    assert line.count("\n") == 0
    assert "(chance 0.333)" in line
    assert line.endswith("100 clips of 5 speakers [synthetic] [few speakers]")


def test_the_headline_of_one_speaker_has_no_interval(predictions):
    part = metrics.scores(predictions[predictions["speaker"] == "00"], EMOTIONS)
    assert "[too few speakers]" in metrics.headline(part, "x")
    assert part["accuracy_interval"] is None


def test_tables_have_chance_beside_the_score_and_a_line_a_run(predictions):
    part = metrics.scores(predictions, EMOTIONS)
    run = {"marks": [], "test": part, "validation": part}
    head, first, second = metrics.comparison({"a": run, "longer": run}, "test").splitlines()
    assert head.split()[1:3] == ["UAR", "95"]
    assert "0.333" in first
    assert len(head) == len(first) == len(second)
    recalls = metrics.recalls(run).splitlines()
    assert recalls[-1].split() == ["angry", "-", "-", "0", "0"]


def test_columns_line_up():
    assert metrics.align([("a", "bb"), ("ccc", "d")]) == "a    bb\nccc   d"
