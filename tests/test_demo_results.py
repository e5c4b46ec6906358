"""Tests of what the page lets people take away."""

import csv
import io
import json

import numpy as np
import pytest
from praatio import textgrid

from emotion_tf.serving.demo_answer import answer, as_timeline
from emotion_tf.serving.demo_results import answer_object, csv_of, written
from emotion_tf.serving.sources import clip_of
from pipelines import audio


@pytest.fixture(scope="module")
def found(loud_predictor):
    clip = clip_of(audio.from_samples(0.1 * np.sin(np.arange(16000)), 16000, longest_seconds=30))
    return answer(loud_predictor, clip, "some words", "a.wav")


def test_json_holds_what_predict_prints_and_what_was_shown(found):
    shown = {"angry": 0.3, "calm": 0.7}
    row = json.loads(json.dumps(answer_object(found, shown, "loud", 0.5)))
    assert row["probabilities"] == shown
    assert (row["emotion"], row["model"], row["reject_below"]) == ("calm", "loud", 0.5)
    assert set(row) - set(found.prediction.to_json()) == {"model", "reject_below", "alone"}
    assert answer_object(found, shown, "loud", 0.8)["emotion"] == "not sure"


def test_csv_has_the_columns_of_predict(found):
    [row] = csv.DictReader(io.StringIO(csv_of(answer_object(found, found.prediction.probabilities, "loud", 0.0))))
    assert list(row) == ["file", "emotion", "probability_angry", "probability_calm", "seconds", "warnings", "model"]
    assert float(row["probability_angry"]) == pytest.approx(found.prediction.probabilities["angry"], abs=1e-6)


def test_a_textgrid_of_one_answer_opens_in_praat(found, tmp_path):
    path = tmp_path / "a.TextGrid"
    path.write_bytes(written(as_timeline(found.prediction), ".textgrid"))
    tier = textgrid.openTextgrid(str(path), includeEmptyIntervals=False).getTier("emotion")
    assert [tuple(entry) for entry in tier.entries] == [(0, 1.0, found.prediction.emotion)]
