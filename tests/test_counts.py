"""Tests of emotion_tf.evaluation.counts: sums whose scores are known in closed form."""

import numpy as np
import pandas as pd
import pytest

from emotion_tf.evaluation import counts
from emotion_tf.runs.predictions import PREFIX


@pytest.fixture(name="predictions")
def fixture_predictions():
    """Four sentences of two dialogues, each in two seeds; nobody is named."""
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
    sums = counts.summed([np.array([1.0, 2.0, 4.0]), np.ones(3)], (2, 2), units, seeds)
    np.testing.assert_array_equal(sums, [[[0, 0], [3, 2]], [[4, 1], [0, 0]]])


def test_a_measure_is_the_mean_over_seeds_and_its_interval_holds_it():
    losses = np.array([[[unit + seed, 1] for seed in (0, 2)] for unit in range(20)])  # Seed means 9.5 and 11.5.
    found = counts.measured({"loss": losses}, {"loss": ("loss", counts.mean_loss), "other": ("no table", np.sum)})
    assert set(found) == {"loss", "loss_interval"}
    assert found["loss"] == pytest.approx(10.5)
    low, high = found["loss_interval"]
    assert 5 < low < 10.5 < high < 16


def test_counts_are_of_one_seed(predictions):
    emotions = ("fear", "joy", "grief")
    truths = np.array([[label == emotion for emotion in emotions] for label in predictions["label"]])
    found = counts.about(predictions, truths, emotions)
    assert found["counts"] == {"fear": 1, "joy": 3, "grief": 0}
    assert (found["num_utterances"], found["unit"], found["num_units"], found["num_seeds"]) == (4, "dialogue", 2, 2)


def test_an_emotion_that_does_not_occur_has_no_scores():
    [scores, absent] = counts.per_emotion(np.array([[[1, 2, 4], [0, 0, 3]]]), ("joy", "fear")).values()
    assert scores == {"precision": 0.25, "recall": 0.5, "f1": pytest.approx(1 / 3), "count": 2}
    assert absent == {"precision": None, "recall": None, "f1": None, "count": 0}


def test_the_area_under_the_curve_is_the_share_of_pairs_in_order(predictions):
    ranks = [0.1, 0.6, 0.5, 0.9]  # One of the three joys lies below the fear.
    table = predictions.assign(**{PREFIX + "joy": ranks * 2, PREFIX + "grief": 0.5})
    truths = np.stack([table["label"] == "joy", np.zeros(8, bool)], axis=1)
    found = counts.with_areas({"joy": {"f1": 1.0}, "grief": {}}, table, truths)
    assert found["area_under_curve"] == pytest.approx(2 / 3)
    assert found["per_emotion"]["joy"] == {"f1": 1.0, "area_under_curve": pytest.approx(2 / 3)}
    assert found["per_emotion"]["grief"] == {"area_under_curve": None}


def test_groups_leave_out_blanks_and_columns_that_are_not_there(predictions):
    table = predictions.assign(sex=["female", "male", "", None] * 2)
    assert counts.by_group(table, lambda rows: {"count": len(rows)}) == {
        "sex": {"female": {"count": 2}, "male": {"count": 2}}
    }
