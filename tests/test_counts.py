"""Tests of emotion_tf.evaluation.counts: sums whose scores are known in closed form, or by scikit-learn."""

import numpy as np
import pandas as pd
import pytest
import sklearn.metrics

from emotion_tf.evaluation import counts


@pytest.fixture(name="predictions")
def fixture_predictions():
    """Four sentences of two dialogues, each in two seeds, without speakers."""
    rows = [(f"u{number}", f"d{number // 2}", seed) for seed in (0, 1) for number in range(4)]
    table = pd.DataFrame(rows, columns=["utterance_id", "dialogue", "seed"])
    return table.assign(speaker="", label=["joy", "joy", "fear", "joy"] * 2)


def test_speakers_are_resampled_before_dialogues_and_dialogues_before_utterances(predictions):
    assert counts.unit_of(predictions.assign(speaker="07")) == "speaker"
    assert counts.unit_of(predictions) == "dialogue"
    np.testing.assert_array_equal(counts.units_of(predictions), [0, 0, 1, 1] * 2)
    assert counts.unit_of(predictions.drop(columns="dialogue")) == "utterance"
    np.testing.assert_array_equal(counts.units_of(predictions.drop(columns="dialogue")), [0, 1, 2, 3] * 2)


@pytest.mark.parametrize("missing", ["", None])
def test_a_dialogue_that_one_sentence_lacks_is_no_unit(predictions, missing):
    predictions.loc[0, "dialogue"] = missing
    assert counts.unit_of(predictions) == "utterance"


def test_codes_do_not_depend_on_the_order_of_rows(predictions):
    turned = counts.codes_of(predictions[::-1], "utterance_id")
    np.testing.assert_array_equal(turned[::-1], counts.codes_of(predictions, "utterance_id"))
    np.testing.assert_array_equal(counts.codes_of(predictions, "fold"), np.zeros(8))


def test_f1_is_the_harmonic_mean_of_precision_and_recall():
    precision, recall = 3 / 4, 3 / 6
    assert counts.f1(np.array([3, 6, 4])) == pytest.approx(2 * precision * recall / (precision + recall))
    assert counts.f1(np.zeros(3)) == 0


def test_macro_f1_counts_the_emotions_that_occur_and_no_other():
    perfect, missed, absent = [2, 2, 2], [0, 5, 0], [0, 0, 7]
    assert counts.macro_f1(np.array([perfect, missed, absent])) == 0.5
    assert counts.macro_f1(np.array([absent, absent])) == 0


def test_an_edge_belongs_to_the_bin_below_it():
    edges = np.arange(1, counts.NUM_BINS + 1) / counts.NUM_BINS
    np.testing.assert_array_equal(counts.bins_of(edges), np.arange(counts.NUM_BINS))
    np.testing.assert_array_equal(counts.bins_of(np.array([0.0, 0.5 / 15, 1.5 / 15])), [0, 0, 1])


def test_calibration_error_weighs_the_gap_of_a_bin_by_its_clips():
    # 3 clips at confidence 0.9, 2 hits; 1 clip at 0.3, no hit.
    assert counts.expected_calibration_error(np.array([[3, 2, 2.7], [1, 0, 0.3]])) == pytest.approx((0.7 + 0.3) / 4)


def test_columns_are_summed_at_their_places():
    units, seeds = np.array([0, 0, 1]), np.array([1, 1, 0])
    sums = counts.add_up([np.array([1.0, 2.0, 4.0]), np.ones(3)], (2, 2), units, seeds)
    np.testing.assert_array_equal(sums, [[[0, 0], [3, 2]], [[4, 1], [0, 0]]])


def test_counts_are_of_one_seed(predictions):
    emotions = ("fear", "joy", "grief")
    truths = np.array([[label == emotion for emotion in emotions] for label in predictions["label"]])
    found = counts.sample_of(predictions, truths, emotions)
    assert found["counts"] == {"fear": 1, "joy": 3, "grief": 0}
    assert (found["num_utterances"], found["unit"], found["num_units"], found["num_seeds"]) == (4, "dialogue", 2, 2)


def test_an_emotion_that_does_not_occur_has_no_scores():
    [scores, absent] = counts.per_emotion(np.array([[[1, 2, 4], [0, 0, 3]]]), ("joy", "fear")).values()
    assert scores == {"precision": 0.25, "recall": 0.5, "f1": pytest.approx(1 / 3), "count": 2}
    assert absent == {"precision": None, "recall": None, "f1": None, "count": 0}


def codes(names):
    """Rows of one-hot memberships of sad and angry."""
    return np.array([[name == emotion for emotion in ("sad", "angry")] for name in names])


def test_the_worked_example_of_two_speakers_and_three_clips():
    """As the docstring of the module has it."""
    speakers, seeds = np.array([0, 0, 1]), np.zeros(3, int)
    table = counts.count_emotions(codes(["sad", "angry", "angry"]), codes(["sad", "sad", "angry"]), speakers, seeds)
    np.testing.assert_array_equal(table[:, 0], [[[1, 1, 2], [0, 1, 0]], [[0, 0, 0], [1, 1, 1]]])
    [total] = table.sum(axis=0)
    assert counts.unweighted_average_recall(total) == 0.75
    assert counts.accuracy(total) == pytest.approx(2 / 3)
    assert counts.unweighted_average_recall(2 * table[1, 0]) == 1


def test_a_clip_counts_as_much_as_its_weight():
    weights, zeros = np.array([[0.5], [0.25], [1]]), np.zeros(3, int)
    table = counts.count_emotions(codes(["sad"] * 3), codes(["sad", "sad", "angry"]), zeros, zeros, weights)
    np.testing.assert_array_equal(table, [[[[0.75, 1.75, 0.75], [0, 0, 1]]]])


def test_an_emotion_that_does_not_occur_counts_for_nothing():
    table = np.array([[3, 4, 3], [2, 4, 3], [0, 0, 2]])
    assert counts.unweighted_average_recall(table) == pytest.approx((3 / 4 + 2 / 4) / 2)
    assert counts.accuracy(table) == pytest.approx(5 / 8)
    assert counts.macro_f1(table) == pytest.approx((6 / 7 + 4 / 7) / 2)


@pytest.mark.parametrize("name", counts.SCORES)
def test_many_tables_at_once_score_like_each_alone(name):
    tables = np.random.default_rng(0).integers(0, 5, (7, 4, 3))
    tables[..., 1:] += tables[..., :1]
    np.testing.assert_allclose(counts.SCORES[name](tables), [counts.SCORES[name](table) for table in tables])


@pytest.mark.parametrize("is_multi_label", [False, True])
def test_chance_and_majority_are_scored_by_scikit_learn(is_multi_label):
    """The majority class is 4 of 6 joys; chance of several emotions is every emotion, always."""
    labelled = np.array([[1, 0, 0]] * 4 + [[0, 1, 0], [is_multi_label, 1, 0]], bool)
    names, emotions = ("macro_f1", "micro_f1", "weighted_f1"), ("joy", "fear", "grief")
    found = counts.chance_and_majority(labelled.sum(axis=0), 6, emotions, names, names, is_multi_label=is_multi_label)
    assert found["majority"].pop("emotion") == "joy"
    always = {"chance": np.ones((6, 3), bool), "majority": np.eye(3, dtype=bool)[np.zeros(6, int)]}
    for system in ("chance", "majority")[not is_multi_label :]:
        for name in names:
            of = [0, 1] if name == "macro_f1" else [0, 1, 2]
            expected = sklearn.metrics.f1_score(
                labelled[:, of], always[system][:, of], average=name.removesuffix("_f1"), zero_division=0
            )
            assert found[system][name] == pytest.approx(expected), (system, name)


def test_chance_of_one_emotion_each_is_that_of_guessing_evenly_what_occurs():
    names = ("unweighted_average_recall", "accuracy", "macro_f1")
    labelled, emotions = np.array([9, 1, 0]), ("calm", "sad", "angry")
    found = counts.chance_and_majority(labelled, 10, emotions, names, names, is_multi_label=False)
    assert found["chance"] == pytest.approx(
        {"unweighted_average_recall": 0.5, "accuracy": 0.5, "macro_f1": (0.9 / 1.4 + 0.1 / 0.6) / 2}
    )
    assert found["majority"]["accuracy"] == 0.9
    assert found["majority"]["unweighted_average_recall"] == 0.5
