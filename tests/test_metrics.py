"""Tests of emotion_tf.evaluation.metrics, by hand and against scikit-learn and scipy."""

import json

import numpy as np
import pandas as pd
import pytest
import scipy.special
import sklearn.metrics

from emotion_tf.evaluation import metrics
from emotion_tf.evaluation.counts import mean_loss
from emotion_tf.runs.predictions import PREFIX, predictions_table

EMOTIONS = ("calm", "happy", "sad", "angry")
PRESENT = EMOTIONS[:3]
COLUMNS = [PREFIX + emotion for emotion in EMOTIONS]


def make(seed=0, num_clips=100, num_speakers=5):
    """Random predictions of the same clips for every seed, better than chance; none is angry."""
    labels = np.random.default_rng(99).integers(0, 3, num_clips)
    logits = np.random.default_rng(seed).normal(0, 1.5, (num_clips, 4)) + 1.5 * np.eye(4)[labels]
    utterances = pd.DataFrame(
        {
            "utterance_id": [f"u{number:03}" for number in range(num_clips)],
            "speaker": [f"{number % num_speakers:02}" for number in range(num_clips)],
            "label": labels,
            "sex": ["female" if number % 2 else "" for number in range(num_clips)],
        }
    )
    return predictions_table(utterances, scipy.special.softmax(logits, axis=1), EMOTIONS, "test")


@pytest.fixture(name="predictions")
def fixture_predictions():
    return make()


@pytest.fixture(name="seeds")
def fixture_seeds():
    """Two seeds of the same clips."""
    return pd.concat([make(seed).assign(fold=0, seed=seed) for seed in (0, 1)], ignore_index=True)


def hand_made(confidences, is_right):
    """Clips of one speaker, labelled calm, or sad where calm was predicted wrongly, with these confidences."""
    table = pd.DataFrame({"utterance_id": [f"u{number}" for number in range(len(confidences))], "speaker": "01"})
    table["label"] = ["calm" if right else "sad" for right in is_right]
    return table.assign(
        split="test", predicted="calm", probability_calm=confidences, probability_sad=1 - np.array(confidences)
    )


def test_confusion_rows_are_labels():
    table = pd.DataFrame({"label": ["calm", "calm", "sad"], "predicted": ["calm", "happy", "happy"]})
    expected = [[1, 1, 0, 0], [0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0]]
    np.testing.assert_array_equal(metrics.confusion(table, EMOTIONS), expected)


@pytest.mark.parametrize("seed", range(3))
def test_hits_agree_with_scikit_learn(seed):
    predictions = make(seed)
    scores, label, predicted = metrics.scores(predictions, EMOTIONS), predictions["label"], predictions["predicted"]
    precision, recall, f1, counts = sklearn.metrics.precision_recall_fscore_support(
        label, predicted, labels=PRESENT, zero_division=0
    )
    for index, emotion in enumerate(PRESENT):
        found = scores["per_emotion"][emotion]
        expected = {"precision": precision[index], "recall": recall[index], "f1": f1[index], "count": counts[index]}
        assert {name: found[name] for name in expected} == pytest.approx(expected, abs=1e-9)
    assert scores["unweighted_average_recall"] == pytest.approx(recall.mean(), abs=1e-9)
    assert scores["macro_f1"] == pytest.approx(f1.mean(), abs=1e-9)
    assert scores["weighted_f1"] == pytest.approx(np.average(f1, weights=counts), abs=1e-9)
    assert scores["accuracy"] == pytest.approx(sklearn.metrics.accuracy_score(label, predicted), abs=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_probabilities_agree_with_scikit_learn(seed):
    predictions = make(seed)
    scores, label, probabilities = metrics.scores(predictions, EMOTIONS), predictions["label"], predictions[COLUMNS]
    areas = [sklearn.metrics.roc_auc_score(label == emotion, predictions[PREFIX + emotion]) for emotion in PRESENT]
    found = [scores["per_emotion"][emotion]["area_under_curve"] for emotion in PRESENT]
    assert found == pytest.approx(areas, abs=1e-9)
    assert scores["area_under_curve"] == pytest.approx(np.mean(areas), abs=1e-9)
    in_order = probabilities[sorted(COLUMNS)]
    loss = sklearn.metrics.log_loss(label, in_order, labels=sorted(EMOTIONS))
    assert scores["negative_log_likelihood"] == pytest.approx(loss, abs=1e-9)
    truth = label.to_numpy()[:, None] == np.array(EMOTIONS)
    brier = np.mean(np.sum((probabilities.to_numpy() - truth) ** 2, axis=1))
    assert scores["brier"] == pytest.approx(brier, abs=1e-9)


def test_an_emotion_that_does_not_occur_has_no_scores_of_its_own(predictions):
    nothing = dict.fromkeys(("precision", "recall", "f1", "area_under_curve"))
    assert metrics.scores(predictions, EMOTIONS)["per_emotion"]["angry"] == {**nothing, "count": 0}


def test_a_split_of_one_emotion_has_no_area():
    scores = metrics.scores(hand_made([0.9, 0.8], [True, True]), ("calm", "sad"))
    assert scores["area_under_curve"] is None
    assert scores["unweighted_average_recall"] == 1


def test_the_likelihood_of_the_impossible_is_finite():
    scores = metrics.scores(hand_made([1.0], [False]), ("calm", "sad"))
    assert scores["negative_log_likelihood"] == pytest.approx(-np.log(1e-30))
    assert scores["brier"] == pytest.approx(2)


def test_calibration_error_in_closed_form():
    """At 0.9 half are right, at 0.8 all: 2/3 of the clips are 0.4 off, 1/3 are 0.2 off."""
    scores = metrics.scores(hand_made([0.9, 0.9, 0.9, 0.9, 0.8, 0.8], [1, 1, 0, 0, 1, 1]), ("calm", "sad"))
    assert scores["expected_calibration_error"] == pytest.approx(2 / 3 * 0.4 + 1 / 3 * 0.2)


def test_an_edge_belongs_to_the_bin_below_it():
    bins = metrics.reliability(hand_made([0.6, 0.6 + 1e-9, 1.0], [1, 1, 1]))
    assert len(bins) == 15
    assert list(bins["count"].to_numpy().nonzero()[0]) == [8, 9, 14]
    assert bins["confidence"][14] == bins["accuracy"][14] == 1
    assert bins[["confidence", "accuracy"]].loc[0].isna().all()


def test_calibration_error_agrees_with_a_loop(predictions):
    confidence = predictions[COLUMNS].max(axis=1)
    right = predictions["label"] == predictions["predicted"]
    expected = 0.0
    for number in range(15):
        inside = (confidence > number / 15) & (confidence <= (number + 1) / 15)
        if inside.any():
            expected += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    assert metrics.scores(predictions, EMOTIONS)["expected_calibration_error"] == pytest.approx(expected, abs=1e-9)


def test_scores_before_calibration_are_those_of_the_logits():
    labels, logits = np.arange(60) % 4, np.random.default_rng(0).normal(0, 4, (60, 4))
    utterances = make(num_clips=60).drop(columns=["label"]).assign(label=labels)
    temperature = pd.Series(np.repeat([0.5, 1.0, 2.5], 20))
    before, after = (
        predictions_table(utterances, scipy.special.softmax(values, axis=1), EMOTIONS, "test")
        for values in (logits, logits / temperature.to_numpy()[:, None])
    )
    expected = metrics.scores(before, EMOTIONS)
    found = metrics.scores(after, EMOTIONS, temperature)["uncalibrated"]
    assert set(found) > {"brier", "brier_interval", "negative_log_likelihood", "expected_calibration_error"}
    for name, value in found.items():
        assert value == pytest.approx(expected[name], abs=1e-9)
    bins, other = metrics.reliability(after, temperature), metrics.reliability(before)
    pd.testing.assert_frame_equal(bins, other)


def test_a_temperature_of_one_changes_nothing(predictions):
    scores = metrics.scores(predictions, EMOTIONS, 1.0)
    for name, value in scores["uncalibrated"].items():
        assert value == pytest.approx(scores[name])


def test_selective_accuracy_in_closed_form():
    """The ten clips from the surest on: five right, then five wrong."""
    found = metrics.selective(hand_made(np.linspace(0.99, 0.51, 10), [1] * 5 + [0] * 5))
    assert list(found) == ["1.0", "0.9", "0.8", "0.7", "0.6", "0.5", "0.4", "0.3", "0.2", "0.1"]
    expected = [5 / 10, 5 / 9, 5 / 8, 5 / 7, 5 / 6, 1, 1, 1, 1, 1]
    assert list(found.values()) == pytest.approx(expected)


def test_clips_of_equal_confidence_count_with_the_mean_of_their_group():
    found = metrics.selective(hand_made([0.9, 0.9, 0.9, 0.9, 0.6], [1, 0, 1, 1, 0]))
    assert found["0.2"] == found["0.5"] == found["0.8"] == pytest.approx(3 / 4)
    assert found["1.0"] == pytest.approx(3 / 5)


def test_the_order_of_rows_changes_nothing(seeds):
    seeds[COLUMNS] = seeds[COLUMNS].round(1).pipe(lambda rounded: rounded.div(rounded.sum(axis=1), axis=0))  # Ties.
    found = metrics.scores(seeds.sample(frac=1, random_state=0), EMOTIONS, 2.0)
    expected = metrics.scores(seeds, EMOTIONS, 2.0)
    assert found["selective_accuracy"] == expected["selective_accuracy"]
    for name, value in expected.items():
        if not isinstance(value, dict):
            assert found[name] == (pytest.approx(value) if isinstance(value, float | tuple) else value)


def test_seeds_are_averaged_first(seeds):
    both = metrics.scores(seeds, EMOTIONS, 2.0)
    each = [metrics.scores(make(seed), EMOTIONS, 2.0) for seed in (0, 1)]
    for name in (*metrics.MEASURES, "area_under_curve"):
        assert both[name] == pytest.approx(np.mean([scores[name] for scores in each]))
    for name in ("precision", "recall", "f1", "area_under_curve"):
        rates = [scores["per_emotion"]["sad"][name] for scores in each]
        assert both["per_emotion"]["sad"][name] == pytest.approx(np.mean(rates))
    shares = [scores["selective_accuracy"]["0.3"] for scores in each]
    assert both["selective_accuracy"]["0.3"] == pytest.approx(np.mean(shares))
    of_speaker = [scores["by"]["speaker"]["02"]["accuracy"] for scores in each]
    assert both["by"]["speaker"]["02"]["accuracy"] == pytest.approx(np.mean(of_speaker))
    assert (both["num_utterances"], both["num_seeds"], sum(both["counts"].values())) == (100, 2, 100)


def test_folds_are_pooled(predictions):
    folds = predictions.assign(fold=np.arange(100) % 3, seed=0)
    assert metrics.scores(folds, EMOTIONS) == metrics.scores(predictions, EMOTIONS)


def test_scores_hold_what_puts_them_into_proportion(predictions):
    scores = metrics.scores(predictions, EMOTIONS)
    commonest = predictions["label"].value_counts()
    assert scores["chance"] == {"unweighted_average_recall": 1 / 3, "macro_f1": scores["chance"]["macro_f1"]}
    label, always = predictions["label"], [commonest.index[0]] * 100
    f1s = {f"{how}_f1": sklearn.metrics.f1_score(label, always, average=how) for how in ("macro", "weighted")}
    expected = {"accuracy": commonest.iloc[0] / 100, "unweighted_average_recall": 1 / 3, **f1s}
    assert scores["majority"] == {
        "emotion": commonest.index[0],
        **{name: pytest.approx(value) for name, value in expected.items()},
    }
    assert scores["counts"] == {**commonest, "angry": 0}
    assert scores["num_utterances"] == sum(scores["counts"].values()) == 100
    assert scores["speakers"] == ["00", "01", "02", "03", "04"]


def test_every_measure_lies_in_its_interval(predictions):
    scores = metrics.scores(predictions, EMOTIONS)
    for name in metrics.MEASURES:
        low, high = scores[f"{name}_interval"]
        assert low < scores[name] < high


def test_scores_are_broken_down_by_the_groups_that_there_are(predictions):
    found = metrics.scores(predictions, EMOTIONS)["by"]
    assert set(found) == {"speaker", "sex"}
    assert set(found["sex"]) == {"female"}
    rows = predictions[predictions["sex"] == "female"]
    half = metrics.scores(rows, EMOTIONS)
    names = ("unweighted_average_recall", "accuracy")
    names = (*names, *(f"{name}_interval" for name in names), "num_utterances", "num_units")
    assert found["sex"]["female"] == {name: half[name] for name in names}
    assert found["sex"]["female"]["num_units"] == 5
    assert found["speaker"]["03"]["num_utterances"] == 20


def test_a_speaker_has_no_interval_over_clips(predictions):
    found = metrics.scores(predictions, EMOTIONS)["by"]["speaker"]
    assert {one["unweighted_average_recall_interval"] for one in found.values()} == {None}
    assert {one["num_units"] for one in found.values()} == {1}


def test_groups_without_speakers_have_intervals_over_utterances(predictions):
    found = metrics.scores(predictions.assign(speaker=""), EMOTIONS)["by"]["sex"]["female"]
    assert found["num_units"] == found["num_utterances"] == 50
    low, high = found["accuracy_interval"]
    assert low < found["accuracy"] < high


def test_predictions_without_probabilities_have_no_scores_of_them(predictions):
    with_them = metrics.scores(predictions, EMOTIONS)
    without = metrics.scores(predictions.drop(columns=COLUMNS), EMOTIONS, 2.0)
    missing = {"area_under_curve", "selective_accuracy", *list(metrics.MEASURES)[4:]}
    assert {key.removesuffix("_interval") for key in set(with_them) - set(without)} == missing
    assert without["accuracy_interval"] == with_them["accuracy_interval"]
    assert "area_under_curve" not in without["per_emotion"]["sad"]


def test_two_speakers_give_no_interval(predictions):
    half = metrics.scores(predictions[predictions["speaker"] < "02"], EMOTIONS, 2.0)
    assert half["accuracy_interval"] is half["brier_interval"] is half["uncalibrated"]["brier_interval"] is None


def test_without_speakers_utterances_are_resampled(predictions):
    found = metrics.scores(predictions.assign(speaker=""), EMOTIONS)
    expected = metrics.scores(predictions.assign(speaker=predictions["utterance_id"]), EMOTIONS)
    assert found["speakers"] == []
    assert "speaker" not in found["by"]
    for name in metrics.MEASURES:
        assert found[f"{name}_interval"] == expected[f"{name}_interval"]


def test_without_speakers_dialogues_are_resampled(predictions):
    dialogues = predictions.assign(dialogue=predictions["speaker"], speaker="")
    found, expected = metrics.scores(dialogues, EMOTIONS), metrics.scores(predictions, EMOTIONS)
    assert [(of["unit"], of["num_units"]) for of in (found, expected)] == [("dialogue", 5), ("speaker", 5)]
    for name in metrics.MEASURES:
        assert found[f"{name}_interval"] == expected[f"{name}_interval"]
    for dialogue in ("", None):  # One that is missing: no dialogue can be resampled.
        incomplete = dialogues.assign(dialogue=dialogues["dialogue"].mask(dialogues.index == 3, dialogue))
        assert metrics.scores(incomplete, EMOTIONS)["unit"] == "utterance"


def test_a_quick_score_is_that_of_the_scores(predictions):
    scores = metrics.scores(predictions, EMOTIONS)
    for name in ("unweighted_average_recall", "accuracy", "macro_f1", "weighted_f1"):
        assert metrics.quick_score(predictions, EMOTIONS, name) == pytest.approx(scores[name])


def test_chance_of_macro_f1_is_what_guessing_gets():
    """Two emotions, 9 and 1 of 10: guessed half of the time, F1 is 2 * 0.45 / 1.4 and 2 * 0.05 / 0.6."""
    scores = metrics.scores(hand_made([0.9] * 10, [True] * 9 + [False]), ("calm", "sad"))
    assert scores["chance"]["macro_f1"] == pytest.approx((0.9 / 1.4 + 0.1 / 0.6) / 2)


def test_curves_are_those_of_scikit_learn(predictions):
    curves = metrics.roc(predictions, EMOTIONS)
    assert tuple(curves) == PRESENT
    area = metrics.scores(predictions, EMOTIONS)["per_emotion"]["sad"]["area_under_curve"]
    assert sklearn.metrics.auc(*curves["sad"]) == pytest.approx(area)


def test_scores_are_json(seeds):
    scores = metrics.scores(seeds, EMOTIONS, 2.0)
    assert json.loads(json.dumps(scores, allow_nan=False))["num_seeds"] == 2


def test_a_measure_is_the_mean_over_seeds_and_its_interval_holds_it():
    losses = np.array([[[unit + seed, 1] for seed in (0, 2)] for unit in range(20)])  # Seed means 9.5 and 11.5.
    found = metrics.scores_of({"loss": losses}, {"loss": ("loss", mean_loss), "other": ("no table", np.sum)})
    assert set(found) == {"loss", "loss_interval"}
    assert found["loss"] == pytest.approx(10.5)
    low, high = found["loss_interval"]
    assert 5 < low < 10.5 < high < 16


def test_the_area_under_the_curve_is_the_share_of_pairs_in_order():
    ranks = [0.1, 0.6, 0.5, 0.9]  # One of the three joys lies below the fear.
    table = pd.DataFrame({"label": ["joy", "joy", "fear", "joy"] * 2, "seed": [0] * 4 + [1] * 4})
    table = table.assign(**{PREFIX + "joy": ranks * 2, PREFIX + "grief": 0.5})
    truths = np.stack([table["label"] == "joy", np.zeros(8, bool)], axis=1)
    found = metrics.with_areas({"joy": {"f1": 1.0}, "grief": {}}, table, truths)
    assert found["area_under_curve"] == pytest.approx(2 / 3)
    assert found["per_emotion"]["joy"] == {"f1": 1.0, "area_under_curve": pytest.approx(2 / 3)}
    assert found["per_emotion"]["grief"] == {"area_under_curve": None}


def test_groups_leave_out_blanks_and_columns_that_are_not_there(predictions):
    table = predictions[:8].drop(columns="speaker").assign(sex=["female", "male", "", None] * 2)
    assert metrics.by_group(table, lambda rows: {"count": len(rows)}) == {
        "sex": {"female": {"count": 2}, "male": {"count": 2}}
    }
