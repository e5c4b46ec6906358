"""Tests of emotion_tf.evaluation.multilabel, by hand and against scikit-learn."""

import json

import numpy as np
import pandas as pd
import pytest
import scipy.special
import sklearn.metrics

from emotion_tf.evaluation import metrics, multilabel
from emotion_tf.runs.predictions import PREFIX

EMOTIONS = ("anger", "joy", "fear", "grief")
COLUMNS = [PREFIX + emotion for emotion in EMOTIONS]


def make(seed=0, num_rows=200):
    """Random predictions of the same sentences of 20 dialogues for every seed, better than chance; none is of grief."""
    truths = np.random.default_rng(99).random((num_rows, 4)) < (0.1, 0.4, 0.2, 0)
    truths[~truths.any(axis=1), 0] = True
    logits = np.random.default_rng(seed).normal(-2, 1.5, truths.shape) + 2 * truths
    probabilities = scipy.special.expit(logits)
    decided = multilabel.decide(probabilities, np.full(4, 0.4))
    about = {
        "utterance_id": [f"u{number:03}" for number in range(num_rows)],
        "speaker": "",
        "split": "test",
        "label": multilabel.joined(truths, EMOTIONS),
        "predicted": multilabel.joined(decided, EMOTIONS),
    }
    shares = dict(zip(COLUMNS, probabilities.T, strict=True))
    return pd.DataFrame(about | shares | {"dialogue": [str(number % 20) for number in range(num_rows)]})


@pytest.fixture(name="predictions")
def fixture_predictions():
    return make()


def sets_of(predictions):
    return [multilabel.memberships(predictions[column], EMOTIONS) for column in ("label", "predicted")]


def test_names_and_memberships_lead_to_each_other():
    names = ["joy", "anger|grief", "joy", "anger|joy|fear|grief"]
    expected = [[0, 1, 0, 0], [1, 0, 0, 1], [0, 1, 0, 0], [1, 1, 1, 1]]
    found = multilabel.memberships(names, EMOTIONS)
    np.testing.assert_array_equal(found, np.array(expected, bool))
    assert multilabel.joined(found, EMOTIONS) == names
    np.testing.assert_array_equal(multilabel.memberships(["grief|anger"], EMOTIONS), [[True, False, False, True]])


def test_a_name_outside_the_label_set_is_refused():
    with pytest.raises(ValueError, match="'calm' is none of anger, joy, fear, grief"):
        multilabel.memberships(["joy", "joy|calm"], EMOTIONS)


def test_a_threshold_lies_midway_between_the_probabilities_that_it_parts():
    probabilities = np.array([[0.9], [0.8], [0.4], [0.1]])
    threshold = multilabel.fit_thresholds(probabilities, np.array([[1], [1], [0], [0]], bool))
    np.testing.assert_allclose(threshold, [(0.8 + 0.4) / 2])
    everyone = multilabel.fit_thresholds(probabilities, np.ones((4, 1), bool))
    np.testing.assert_allclose(everyone, [0.1 / 2])


def test_no_threshold_parts_equal_probabilities():
    probabilities = np.array([[0.9], [0.5], [0.5], [0.5], [0.5], [0.1]])
    threshold = multilabel.fit_thresholds(probabilities, np.array([[1], [1], [0], [0], [0], [0]], bool))
    np.testing.assert_allclose(threshold, [(0.9 + 0.5) / 2])


def test_of_thresholds_equally_good_the_middle_one_is_taken():
    """Of 4 that have it 2 are among the first 2, 3 among 5 and 4 among 8: F1 is 2/3 each time."""
    truths = np.array([[1, 1, 0, 0, 1, 0, 0, 1]], bool).T
    probabilities = np.array([[0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2]]).T
    np.testing.assert_allclose(multilabel.fit_thresholds(probabilities, truths), [(0.5 + 0.4) / 2])


def test_an_emotion_without_labels_is_never_predicted_beside_another():
    probabilities = np.array([[0.9, 0.99], [0.2, 0.98]])
    thresholds = multilabel.fit_thresholds(probabilities, np.array([[1, 0], [0, 0]], bool))
    assert thresholds[1] == 1
    assert multilabel.decide(probabilities, thresholds).tolist() == [[True, False], [False, True]]


@pytest.mark.parametrize("seed", range(2))
def test_no_other_threshold_has_a_better_f1(seed):
    rng = np.random.default_rng(seed)
    truths, probabilities = rng.random((60, 3)) < 0.3, rng.random((60, 3)).round(2)
    fitted = probabilities >= multilabel.fit_thresholds(probabilities, truths)
    for column in range(3):
        truth, shares = truths[:, column], probabilities[:, column]
        tried = [sklearn.metrics.f1_score(truth, shares >= threshold) for threshold in np.linspace(0.005, 0.995, 100)]
        assert sklearn.metrics.f1_score(truth, fitted[:, column]) == pytest.approx(max(tried))


def test_probabilities_of_zero_are_no_trouble():
    zeros, truths = np.zeros((3, 2)), np.array([[1, 0], [0, 1], [0, 1]], bool)
    decided = multilabel.decide(zeros, multilabel.fit_thresholds(zeros, truths))
    assert decided.sum(axis=1).tolist() == [1, 1, 1]


def test_the_emotion_closest_to_its_threshold_is_predicted_where_none_reaches_it():
    thresholds = np.array([0.8, 0.2])
    decided = multilabel.decide(np.array([[0.7, 0.1], [0.3, 0.19], [0.9, 0.2]]), thresholds)
    assert decided.tolist() == [[True, False], [False, True], [True, True]]


def test_f1_agrees_with_scikit_learn(predictions):
    truths, decided = sets_of(predictions)
    macro = sklearn.metrics.f1_score(truths[:, :3], decided[:, :3], average="macro")
    micro = sklearn.metrics.f1_score(truths, decided, average="micro")
    assert metrics.quick_score(predictions, EMOTIONS, "macro_f1") == pytest.approx(macro, abs=1e-9)
    assert metrics.quick_score(predictions, EMOTIONS, "micro_f1") == pytest.approx(micro, abs=1e-9)


def test_scores_agree_with_scikit_learn(predictions):
    found, (truths, decided) = metrics.scores(predictions, EMOTIONS), sets_of(predictions)
    shares = predictions[COLUMNS].to_numpy()
    precision, recall, f1, counts = sklearn.metrics.precision_recall_fscore_support(
        truths[:, :3], decided[:, :3], zero_division=0
    )
    for index, emotion in enumerate(EMOTIONS[:3]):
        expected = {"precision": precision[index], "recall": recall[index], "f1": f1[index], "count": counts[index]}
        expected["area_under_curve"] = sklearn.metrics.roc_auc_score(truths[:, index], shares[:, index])
        assert found["per_emotion"][emotion] == pytest.approx(expected, abs=1e-9)
    losses = [sklearn.metrics.log_loss(truths[:, i], shares[:, i], labels=[False, True]) for i in range(4)]
    expected = {
        "macro_f1": f1.mean(),
        "micro_f1": sklearn.metrics.f1_score(truths, decided, average="micro"),
        "subset_accuracy": sklearn.metrics.accuracy_score(truths, decided),
        "negative_log_likelihood": np.mean(losses),
        "brier": np.mean((shares - truths) ** 2),
    }
    assert {name: found[name] for name in expected} == pytest.approx(expected, abs=1e-9)
    for name in metrics.MULTI_LABEL_MEASURES:
        low, high = found[f"{name}_interval"]
        assert low < found[name] < high


def test_calibration_error_of_all_pairs_in_closed_form():
    """At 0.9 half of four pairs are right, 0.4 off; at 0.1 none of four, 0.1 off."""
    truths = np.array([[1, 0, 0, 0], [1, 0, 0, 0]], bool)
    table = make()[:2].assign(label=multilabel.joined(truths, EMOTIONS))
    table[COLUMNS] = [[0.9, 0.9, 0.1, 0.1]] * 2
    assert metrics.scores(table, EMOTIONS)["expected_calibration_error"] == pytest.approx(0.25)
    bins = metrics.reliability(table)
    assert bins["count"].sum() == 8
    assert bins["accuracy"].dropna().tolist() == [0, 0.5]


def test_what_puts_scores_into_proportion_is_scored_by_scikit_learn(predictions):
    found, (truths, _) = metrics.scores(predictions, EMOTIONS), sets_of(predictions)
    everything, commonest = np.ones_like(truths), np.zeros_like(truths)
    commonest[:, truths.sum(axis=0).argmax()] = True
    for name, system in (("chance", everything), ("majority", commonest)):
        macro = sklearn.metrics.f1_score(truths[:, :3], system[:, :3], average="macro", zero_division=0)
        micro = sklearn.metrics.f1_score(truths, system, average="micro")
        assert (found[name]["macro_f1"], found[name]["micro_f1"]) == pytest.approx((macro, micro))
    assert found["majority"]["emotion"] == EMOTIONS[truths.sum(axis=0).argmax()]
    assert found["counts"] == dict(zip(EMOTIONS, truths.sum(axis=0).tolist(), strict=True))
    assert (found["num_utterances"], found["unit"], found["num_units"], found["is_multi_label"]) == (
        *(200, "dialogue", 20),
        True,
    )


def test_an_emotion_that_does_not_occur_has_no_scores_of_its_own(predictions):
    nothing = dict.fromkeys(("precision", "recall", "f1", "area_under_curve"))
    assert metrics.scores(predictions, EMOTIONS)["per_emotion"]["grief"] == {**nothing, "count": 0}


def test_seeds_are_averaged_first():
    each = [metrics.scores(make(seed), EMOTIONS, 2.0) for seed in (0, 1)]
    rows = pd.concat([make(seed).assign(fold=0, seed=seed) for seed in (0, 1)], ignore_index=True)
    both = metrics.scores(rows, EMOTIONS, 2.0)
    for name in (*metrics.MULTI_LABEL_MEASURES, "area_under_curve"):
        assert both[name] == pytest.approx(np.mean([scores[name] for scores in each]))
    assert (both["num_seeds"], both["num_utterances"], both["counts"]) == (2, 200, each[0]["counts"])
    assert json.loads(json.dumps(both, allow_nan=False))["is_multi_label"] is True


def test_scores_before_calibration_are_those_of_the_logits(predictions):
    temperature = pd.Series(np.linspace(0.5, 2, 200))
    logits = scipy.special.logit(predictions[COLUMNS])
    cold = predictions.assign(**scipy.special.expit(logits.div(temperature, axis=0)))
    expected, found = metrics.scores(predictions, EMOTIONS), metrics.scores(cold, EMOTIONS, temperature)["uncalibrated"]
    assert {name for name in found if not name.endswith("_interval")} == set(list(metrics.MULTI_LABEL_MEASURES)[3:])
    for name, value in found.items():
        assert value == pytest.approx(expected[name])
    pd.testing.assert_frame_equal(metrics.reliability(cold, temperature), metrics.reliability(predictions))


def test_without_probabilities_names_are_scored_alone(predictions):
    bare, whole = predictions.drop(columns=COLUMNS), metrics.scores(predictions, EMOTIONS)
    found = metrics.scores(bare, EMOTIONS)
    assert found["macro_f1_interval"] == whole["macro_f1_interval"]
    assert "brier" not in found


def test_groups_have_scores_of_their_own(predictions):
    found = metrics.scores(predictions.assign(sex=["female", "male"] * 100), EMOTIONS)["by"]["sex"]
    half = metrics.scores(predictions[::2], EMOTIONS)
    names = ("macro_f1", "macro_f1_interval", "micro_f1", "micro_f1_interval", "num_utterances", "num_units")
    assert found["female"] == {name: half[name] for name in names}
    assert found["female"]["macro_f1"] == metrics.quick_score(predictions[::2], EMOTIONS, "macro_f1")


def test_thousands_of_comments_are_scored_within_seconds():
    """Each comment is a unit of its own."""
    found = metrics.scores(make(num_rows=3000).drop(columns="dialogue"), EMOTIONS)
    low, high = found["macro_f1_interval"]
    assert (found["unit"], found["num_units"]) == ("utterance", 3000)
    assert 0 < high - low < 0.06


def test_curves_are_those_of_each_emotion(predictions):
    curves, (truths, _) = metrics.roc(predictions, EMOTIONS), sets_of(predictions)
    assert tuple(curves) == EMOTIONS[:3]
    expected = sklearn.metrics.roc_auc_score(truths[:, 1], predictions[PREFIX + "joy"])
    assert sklearn.metrics.auc(*curves["joy"]) == pytest.approx(expected)
