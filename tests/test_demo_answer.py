"""Tests of what the page knows of a clip."""

import io

import numpy as np
import pytest
import soundfile

from emotion_tf.serving import Predictor
from emotion_tf.serving.demo_answer import Upload, answer, as_timeline, wav_of
from emotion_tf.serving.late_weights import weighed, weights_of
from emotion_tf.serving.sources import clip_of
from pipelines import audio
from pipelines.clips import Clip


@pytest.fixture(scope="module")
def clip():
    rng = np.random.default_rng(0)
    return clip_of(audio.from_samples(0.1 * rng.standard_normal(16000), 16000, longest_seconds=30))


def test_alone_is_the_prediction_without_the_others(loud_predictor, clip):
    found = answer(loud_predictor, clip, "some words", "a.wav")
    silent = Clip(np.zeros(0, np.int16))
    for modality, alone in (("audio", (clip, "")), ("text", (silent, "some words"))):
        expected = answer(loud_predictor, *alone, "").prediction.probabilities
        assert found.alone[modality] == pytest.approx(expected, abs=1e-6)


def test_what_is_absent_says_nothing_alone(loud_predictor, clip):
    assert list(answer(loud_predictor, clip, " ", "a.wav").alone) == ["audio"]
    assert answer(loud_predictor, Clip(np.zeros(800, np.int16)), "", "a.wav").is_empty


def test_fitted_weights_give_what_an_export_of_late_fusion_says(late_export, clip):
    predictor = Predictor(late_export)
    found, late = answer(predictor, clip, "Kids are talking", "a.wav"), predictor.metadata["late_rule"]
    again = weighed(found.alone, weights_of(predictor.metadata), late["rule"], late["temperature"])
    assert again == pytest.approx(found.prediction.probabilities, abs=1e-5)


def test_the_name_of_an_upload_stays_with_the_result(loud_predictor, clip):
    assert answer(loud_predictor, clip, "", "my clip.mp3").prediction.to_json()["file"] == "my clip.mp3"


def test_what_the_browser_plays_is_what_the_model_is_given(clip):
    samples, rate = soundfile.read(io.BytesIO(wav_of(clip.waveform)), dtype="int16")
    assert rate == 16000
    np.testing.assert_array_equal(samples, clip.waveform)


def test_one_answer_is_a_timeline_of_one_segment(loud_predictor, clip):
    prediction = answer(loud_predictor, clip, "", "a.wav").prediction
    [segment] = as_timeline(prediction).segments
    assert (segment.start, segment.end, segment.emotion) == (0.0, 1.0, prediction.emotion)


def test_uploads_are_told_apart_by_content():
    assert Upload("a.wav", b"1").digest == Upload("b.wav", b"1").digest != Upload("a.wav", b"2").digest
