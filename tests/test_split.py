"""Tests of emotion_tf.evaluation.split: a split is whole, under its control, and calibrated on validation alone."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import scipy.special
import tensorflow as tf

from emotion_tf.evaluation.calibration import fit_temperature, set_temperature
from emotion_tf.evaluation.multilabel import decide, fit_thresholds, joined
from emotion_tf.evaluation.split import (
    Split,
    score_split,
    shuffled_in_scoring,
    shuffled_in_training,
    split_of,
    take_away,
)
from emotion_tf.models.inputs import any_of, modalities_of, presence
from emotion_tf.runs.folder import Run
from emotion_tf.runs.predictions import PREFIX
from pipelines.corpora import goemotions


@pytest.fixture(scope="module")
def model(text_run):
    """Of the text run; a test that sets the temperature sets it back."""
    return text_run.model()


@pytest.fixture
def under(text_run, tmp_path):
    """From a control to the run of the text branch, as if it had been trained under it."""

    def make(control):
        run = Run(tmp_path / (control or "plain"))
        shutil.copytree(text_run.folder, run.folder)
        run.config_path.write_text(dataclasses.replace(text_run.config(), control=control).to_json())
        return run

    return make


def labels_of(split):
    return split.utterances.set_index("utterance_id")["label"].to_dict()


def probabilities_of(predictions):
    return predictions.filter(like=PREFIX).to_numpy()


def test_a_split_holds_its_utterances_with_speaker_label_and_groups(text_run, three_speakers):
    split = split_of(text_run, "test", ("text",))
    [speaker] = text_run.metadata().fold.test
    rows = split.utterances.set_index("utterance_id")
    wanted = {one.utterance_id: one for one in three_speakers.utterances if one.speaker == speaker}
    assert set(rows.index) == set(wanted)
    for name, row in rows.iterrows():
        assert three_speakers.emotions[row["label"]] == wanted[name].emotion
        assert row["speaker"] == speaker
        for group in ("sex", "intensity", "statement"):
            assert row[group] == wanted[name].attributes[group]


def test_predictions_csv_is_the_softmax_of_the_raw_logits_over_the_temperature(text_run, model):
    split, temperature = split_of(text_run, "validation", ("text",)), text_run.temperature()
    set_temperature(model, 1.0)
    raw = split.logits(model)
    set_temperature(model, temperature)
    stored = text_run.predictions().set_index("utterance_id").loc[split.utterances["utterance_id"]]
    assert temperature != 1
    np.testing.assert_allclose(probabilities_of(stored), scipy.special.softmax(raw / temperature, axis=1), atol=1e-6)
    np.testing.assert_allclose(probabilities_of(split.predict(model)[0]), probabilities_of(stored), atol=1e-6)


def test_the_loss_is_the_mean_negative_log_likelihood(text_run, model):
    predictions, loss = split_of(text_run, "validation", ("text",)).predict(model)
    of_label = [row[PREFIX + row["label"]] for _, row in predictions.iterrows()]
    assert loss == pytest.approx(-np.log(of_label).mean(), rel=1e-5)


def test_the_temperature_is_fitted_on_the_validation_split_alone(text_run):
    found, fold = json.loads(text_run.calibration_path.read_text()), text_run.metadata().fold
    assert (found["fitted_on"], found["num_utterances"]) == ("validation", 30)
    assert found["speakers"] == list(fold.validation)
    assert found["negative_log_likelihood_after"] < found["negative_log_likelihood_before"]
    scored = text_run.scores()["validation"]
    assert found["negative_log_likelihood_after"] == pytest.approx(scored["negative_log_likelihood"], abs=1e-5)
    before = scored["uncalibrated"]["negative_log_likelihood"]
    assert found["negative_log_likelihood_before"] == pytest.approx(before, abs=1e-4)


def test_calibration_gives_the_same_again_and_stays_in_the_model(text_run):
    model, split = text_run.model(), split_of(text_run, "validation", ("text",))
    assert float(model.get_layer("logits").temperature) == pytest.approx(text_run.temperature(), rel=1e-6)
    set_temperature(model, 1.0)
    found = split.calibrate(model)
    assert found["temperature"] == pytest.approx(text_run.temperature(), rel=1e-3)
    assert float(model.get_layer("logits").temperature) == pytest.approx(found["temperature"], rel=1e-6)


def test_utterances_without_any_input_count_for_nothing_in_the_temperature(text_run):
    """The model gives them the prior as it is."""
    model, split = text_run.model(), split_of(text_run, "validation", ("text",))
    assert split.is_present.all()
    set_temperature(model, 1.0)
    split.is_present[::2] = False
    logits, labels = split.logits(model)[1::2], split.utterances["label"].to_numpy()[1::2]
    found = split.calibrate(model)
    assert found["temperature"] == pytest.approx(fit_temperature(logits, labels))
    assert found["num_utterances"] == len(labels)


def is_present(**features):
    return any_of(presence(features)).numpy().tolist()


def test_audio_text_or_video_make_an_utterance_present():
    num_frames, token_ids = tf.constant([3, 0, 0]), tf.constant([[2, 0], [2, 9], [2, 0]])
    video_frames = tf.reshape(tf.constant([0.0, 0.0, 0.1]), (3, 1, 1, 1, 1))
    assert is_present(num_frames=num_frames, token_ids=token_ids) == [True, True, False]
    assert is_present(num_frames=num_frames) == is_present(num_steps=num_frames) == [True, False, False]
    assert is_present(num_frames=num_frames, video_frames=video_frames) == [True, False, True]


@pytest.mark.parametrize("split", ["validation", "test"])
def test_permuted_labels_leave_the_labels_of_validation_and_test_true(text_run, under, split):
    assert labels_of(split_of(under("permuted-labels"), split, ("text",))) == labels_of(
        split_of(text_run, split, ("text",))
    )


@pytest.mark.parametrize("split", ["validation", "test"])
def test_shuffled_transcripts_are_shuffled_in_scoring_too_and_stay_in_their_split(text_run, under, model, split):
    plain, shuffled = (split_of(run, split, ("text",)) for run in (text_run, under("shuffled-transcripts")))
    assert labels_of(plain) == labels_of(shuffled)
    before, after = (probabilities_of(one.predict(model)[0]) for one in (plain, shuffled))
    assert (np.abs(before - after).max(axis=1) > 1e-6).mean() > 0.7
    np.testing.assert_allclose(np.sort(before, axis=0), np.sort(after, axis=0), atol=1e-6)


def test_a_control_of_a_run_is_the_same_at_every_reading(under, model):
    run = under("shuffled-transcripts")
    first, second = (split_of(run, "test", ("text",)).predict(model)[0] for _ in range(2))
    assert first.equals(second)


@pytest.mark.parametrize(
    ("control", "training", "scoring"),
    [
        ("", "", ""),
        ("permuted-labels", "labels", ""),
        ("shuffled-audio", "audio", "audio"),
        ("shuffled-transcripts", "transcripts", "transcripts"),
    ],
)
def test_labels_are_permuted_in_training_only_and_features_everywhere(control, training, scoring):
    assert (shuffled_in_training(control), shuffled_in_scoring(control)) == (training, scoring)


def test_labels_without_a_target_are_left_out_and_the_others_renumbered(text_run, model):
    config, metadata = text_run.config(), text_run.metadata()
    whole = split_of(text_run, "test", ("text",))
    numbers = [3, None, 2, 1, *range(4, 8)]
    split = Split(
        Path(config.records),
        metadata.fold.test,
        "test",
        metadata.emotions,
        ("text",),
        label_numbers=numbers,
        max_tokens=config.training.max_tokens,
    )
    expected = {name: numbers[label] for name, label in labels_of(whole).items() if numbers[label] is not None}
    assert labels_of(split) == expected
    found, stored = (one.predict(model)[0].set_index("utterance_id") for one in (split, whole))
    assert len(found) < len(stored)
    np.testing.assert_allclose(probabilities_of(found), probabilities_of(stored.loc[found.index]), atol=1e-6)


def test_scoring_draws_nothing_and_leaves_the_run_alone(text_run, model):
    before = sorted(path.name for path in text_run.plots.iterdir())
    scores, tables = score_split(text_run, model, split_of(text_run, "test", ("text",)))
    assert list(tables) == [""]
    assert "without" not in scores
    assert scores["num_utterances"] == len(tables[""]) == 30
    assert sorted(path.name for path in text_run.plots.iterdir()) == before


@pytest.mark.parametrize("fixture", ["early_run", "late_run"])
def test_a_split_is_scored_with_each_modality_taken_away(fixture, request, audio_run, text_run):
    run = request.getfixturevalue(fixture)
    model = run.model()
    split = split_of(run, "validation", ("audio", "text"))
    scores, tables = score_split(run, model, split)
    assert list(tables) == ["", "audio", "text"]
    assert set(scores["without"]) == {"audio", "text"}
    for modality in ("audio", "text"):
        rows = tables[modality]
        assert scores["without"][modality]["accuracy"] == pytest.approx((rows["label"] == rows["predicted"]).mean())
        assert (probabilities_of(rows) != probabilities_of(tables[""])).any()
    if fixture == "late_run":
        # What is left of late fusion is the other branch, under the temperature of the fusion.
        alone = split_of(text_run, "validation", ("text",)).logits(text_run.model())
        expected = scipy.special.softmax(scipy.special.log_softmax(alone, axis=1) / run.temperature(), axis=1)
        np.testing.assert_allclose(probabilities_of(tables["audio"]), expected, atol=1e-5)


def test_predictions_hold_what_each_modality_contributes(late_run):
    _, tables = score_split(late_run, late_run.model(), split_of(late_run, "validation", ("audio", "text")))
    whole = tables[""]
    np.testing.assert_allclose(whole["share_audio"] + whole["share_text"], 1, atol=1e-6)
    for index, row in whole.iterrows():
        rest = tables["text"].loc[index, PREFIX + row["predicted"]]
        assert row["change_without_text"] == pytest.approx(np.log(rest) - np.log(row[PREFIX + row["predicted"]]))


def test_early_fusion_by_concatenation_weighs_no_modality(early_run):
    _, tables = score_split(early_run, early_run.model(), split_of(early_run, "validation", ("audio", "text")))
    assert "share_audio" not in tables[""]
    assert tables[""]["change_without_audio"].abs().max() > 0


def test_what_is_taken_away_is_absent_and_the_rest_stays():
    features = {
        "log_mel": tf.ones((2, 3, 4)),
        "num_frames": tf.constant([3, 2]),
        "encoder": tf.ones((2, 2, 5)),
        "num_steps": tf.constant([2, 1]),
        "waveform": tf.constant([[0.5, 0.1], [0.2, 0.0]]),
        "token_ids": tf.constant([[2, 7, 4], [2, 0, 0]]),
    }
    silent, mute = take_away(features, "audio"), take_away(features, "text")
    assert not silent["num_frames"].numpy().any()
    assert not silent["num_steps"].numpy().any()
    assert not silent["waveform"].numpy().any()
    np.testing.assert_array_equal(silent["token_ids"], features["token_ids"])
    np.testing.assert_array_equal(mute["token_ids"], [[2, 0, 0], [2, 0, 0]])
    np.testing.assert_array_equal(mute["num_frames"], [3, 2])
    halves = take_away(take_away(features, "audio", np.array([True, False])), "text", np.array([True, False]))
    np.testing.assert_array_equal(halves["num_frames"], [0, 2])
    np.testing.assert_array_equal(halves["waveform"], tf.constant([[0.0, 0.0], [0.2, 0.0]]))
    np.testing.assert_array_equal(halves["token_ids"], [[2, 0, 0], [2, 0, 0]])
    np.testing.assert_array_equal(
        take_away(features, "text", np.array([False, True]))["token_ids"], [[2, 7, 4], [2, 0, 0]]
    )
    assert is_present(token_ids=mute["token_ids"]) == [False, False]


def test_modalities_are_those_of_the_inputs(model, audio_run):
    assert modalities_of(model) == ("text",)
    assert modalities_of(audio_run.model()) == ("audio",)


@pytest.fixture(scope="module")
def sentences(goemotions_run):
    """The validation split of a run that knows several emotions an utterance, and its model."""
    return split_of(goemotions_run, "validation", ("text",)), goemotions_run.model()


def names_of(split):
    return dict(zip(split.utterances["utterance_id"], joined(split.memberships, split.emotions), strict=True))


def test_a_split_of_several_emotions_holds_all_labels_of_its_utterances(sentences, goemotions_like):
    split, _ = sentences
    wanted = {one.utterance_id: one.emotion for one in goemotions.read(goemotions_like).utterances}
    found = names_of(split)
    assert len(found) == 36
    assert found == {name: wanted[name] for name in found}
    assert split.labels.shape == (36, 28)


def test_predictions_of_several_emotions_are_a_sigmoid_each_over_the_temperature(sentences, goemotions_run):
    split, model = sentences
    set_temperature(model, 1.0)
    raw, temperature = split.logits(model), goemotions_run.temperature()
    set_temperature(model, temperature)
    stored = goemotions_run.predictions().set_index("utterance_id").loc[split.utterances["utterance_id"]]
    assert temperature != 1
    expected = scipy.special.expit(raw / temperature)
    np.testing.assert_allclose(probabilities_of(stored), expected, atol=1e-6)
    assert stored["label"].to_dict() == names_of(split)
    assert stored["predicted"].tolist() == joined(decide(expected, goemotions_run.thresholds()), split.emotions)


def test_the_loss_of_several_emotions_is_the_mean_over_them(sentences):
    split, model = sentences
    predictions, loss = split.predict(model)
    found = np.where(split.memberships, probabilities_of(predictions), 1 - probabilities_of(predictions))
    assert loss == pytest.approx(-np.log(found).mean(), rel=1e-5)


def test_calibration_fits_thresholds_on_calibrated_probabilities_and_the_split_uses_them(goemotions_run):
    model, split = goemotions_run.model(), split_of(goemotions_run, "validation", ("text",))
    split.thresholds = None
    set_temperature(model, 1.0)
    found = split.calibrate(model)
    stored = json.loads(goemotions_run.calibration_path.read_text())
    assert found["temperature"] == pytest.approx(stored["temperature"], rel=1e-3)
    assert found["thresholds"] == pytest.approx(stored["thresholds"], rel=1e-3)
    predictions, _ = split.predict(model)
    expected = fit_thresholds(probabilities_of(predictions), split.memberships)
    np.testing.assert_allclose(list(found["thresholds"].values()), expected, rtol=1e-4)
    np.testing.assert_allclose(split.thresholds, expected, rtol=1e-4)
    assert found["speakers"] == []


def test_the_test_split_is_decided_with_the_thresholds_of_the_run(goemotions_run):
    split, model = split_of(goemotions_run, "test", ("text",)), goemotions_run.model()
    predictions, _ = split.predict(model)
    thresholds, probabilities = goemotions_run.thresholds(), probabilities_of(predictions)
    assert predictions["predicted"].tolist() == joined(decide(probabilities, thresholds), split.emotions)
    assert not np.array_equal(thresholds, fit_thresholds(probabilities, split.memberships))


def mapped(run, numbers, emotions, *, is_multi_label):
    config, fold = run.config(), run.metadata().fold
    return Split(
        Path(config.records),
        fold.test,
        "test",
        emotions,
        ("text",),
        fold.by,
        label_numbers=numbers,
        is_multi_label=is_multi_label,
    )


def test_a_map_leads_sets_of_labels_to_sets(goemotions_run):
    """The first label has no target, the others fall into two."""
    numbers = [None, *(number % 2 for number in range(1, 28))]
    whole = split_of(goemotions_run, "test", ("text",))
    labels = {
        name: sorted({("even", "odd")[numbers[k]] for k in np.flatnonzero(row) if numbers[k] is not None})
        for name, row in zip(whole.utterances["utterance_id"], whole.memberships, strict=True)
    }
    several = mapped(goemotions_run, numbers, ("even", "odd"), is_multi_label=True)
    assert names_of(several) == {name: "|".join(names) for name, names in labels.items() if names}
    one = mapped(goemotions_run, numbers, ("even", "odd"), is_multi_label=False)
    assert {name: ("even", "odd")[label] for name, label in labels_of(one).items()} == {
        name: names[0] for name, names in labels.items() if len(names) == 1
    }
    assert len(one.utterances) < len(several.utterances) < len(whole.utterances)


def test_a_model_of_several_emotions_reads_records_of_one(text_run):
    config, fold = text_run.config(), text_run.metadata().fold
    emotions = text_run.metadata().emotions
    split = Split(Path(config.records), fold.test, "test", emotions, ("text",), is_multi_label=True)
    assert split.labels.sum(axis=1).tolist() == [1] * 30
    assert labels_of(split) == labels_of(split_of(text_run, "test", ("text",)))


def test_records_made_again_with_labels_in_another_order_are_read_by_name(text_run, three_speakers, prepared, under):
    turned = dataclasses.replace(three_speakers, emotions=three_speakers.emotions[::-1])
    run = under("")
    config = dataclasses.replace(run.config(), records=str(prepared("turned", turned)))
    run.config_path.write_text(config.to_json())
    before, after = (split_of(one, "test", ("text",)).utterances for one in (text_run, run))
    columns = ["utterance_id", "label"]
    assert sorted(after[columns].values.tolist()) == sorted(before[columns].values.tolist())
    assert before["label"].nunique() > 2
