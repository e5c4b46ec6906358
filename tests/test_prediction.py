"""Tests of emotion_tf.serving.prediction: what is printed of a prediction, and the warnings in it."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from test_predictor import tone
from test_video import grey, write_video

from emotion_tf.serving import Prediction, Predictor


@pytest.fixture(scope="module")
def predictor(early_export):
    return Predictor(early_export)


PREDICTION = Prediction(
    Path("a.wav"),
    "oh no",
    emotion="fear",
    emotions=None,
    probabilities={"fear": 0.87654321, "joy": 0.12345679},
    shares=None,
    changes_without=None,
    seconds=1.23456,
    warnings=("loud",),
)


def test_json_holds_rounded_numbers_in_a_fixed_order():
    assert json.dumps(PREDICTION.to_json()) == (
        '{"file": "a.wav", "transcript": "oh no", "emotion": "fear",'
        ' "probabilities": {"fear": 0.876543, "joy": 0.123457}, "seconds": 1.235, "warnings": ["loud"]}'
    )


def test_json_of_several_modalities_and_emotions_holds_them_where_they_always_stood():
    further = {"emotions": ("fear",), "shares": {"text": 1.0}, "changes_without": {"text": -0.12345678}, "file": None}
    found = dataclasses.replace(PREDICTION, **further).to_json()
    keys = ["file", "transcript", "emotion", "emotions", "probabilities", "shares", "changes_without", "seconds"]
    assert list(found) == [*keys, "warnings"]
    assert (found["file"], found["emotions"], found["shares"]) == (None, ["fear"], {"text": 1.0})
    assert found["changes_without"] == {"text": -0.123457}


def test_a_file_name_that_is_no_text_is_printed_all_the_same():
    assert dataclasses.replace(PREDICTION, file=Path("a\udcff.wav")).to_json()["file"] == "a\ufffd.wav"


def warnings_of(predictor, *arguments):
    return " | ".join(predictor.predict(*arguments).warnings)


def test_warnings_say_what_a_reader_should_know(predictor, tmp_path):
    file = tone(tmp_path / "a.wav")
    assert "text is missing: the prediction rests on audio alone" in warnings_of(predictor, file, "")
    nothing = "nothing that this model reads (audio and text) is present: the prediction is the training prior"
    assert nothing in warnings_of(predictor, None, " ")
    assert "much longer than the clips" in warnings_of(predictor, tone(tmp_path / "long.wav", seconds=30), "oh no")
    assert "the transcript is long" in warnings_of(predictor, file, "word " * 100)
    soundfile.write(tmp_path / "faint.wav", np.tile([2 / 32768, -2 / 32768], 8000), 16000)
    assert "almost silent" in warnings_of(predictor, tmp_path / "faint.wav", "oh no")
    soundfile.write(tmp_path / "silent.wav", np.zeros(16000), 16000)
    assert "audio is missing" in warnings_of(predictor, tmp_path / "silent.wav", "oh no")


def test_faults_of_a_recording_are_told(predictor, tmp_path, monkeypatch):
    monkeypatch.setitem(predictor.metadata, "bandwidth_hz", 7750.0)
    clock = np.arange(16000) / 8000
    voice = sum(np.sin(2 * np.pi * 180 * harmonic * clock) / harmonic for harmonic in range(1, 20))
    syllables = 0.1 * voice * np.clip(np.sin(2 * np.pi * 3 * clock), 0.02, 1)
    soundfile.write(tmp_path / "telephone.wav", syllables, 8000, subtype="ULAW")
    telephone = warnings_of(predictor, tmp_path / "telephone.wav", "oh no")
    assert "nothing above 4 kHz, unlike the recordings that the model was trained on" in telephone
    soundfile.write(tmp_path / "short.wav", syllables[800:1200], 8000)
    assert "0.05 s is too short to be an utterance" in warnings_of(predictor, tmp_path / "short.wav", "oh no")
    monkeypatch.setitem(predictor.metadata, "bandwidth_hz", 4250.0)
    assert "nothing above" not in warnings_of(predictor, tmp_path / "telephone.wav", "oh no")


def test_a_transcript_of_unknown_words_alone_is_told(predictor):
    unknown = "the vocabulary of the model knows no word of the transcript"
    assert unknown in warnings_of(predictor, None, "\U0001f9a4 \U0001f9a3")
    assert unknown not in warnings_of(predictor, None, "oh \U0001f9a4")
    assert unknown not in warnings_of(predictor, None, " ")


def test_what_a_model_does_not_use_is_named(predictor, tmp_path, monkeypatch):
    monkeypatch.setitem(predictor.metadata, "modalities", ["text"])
    assert "this model does not use audio: it was ignored" in warnings_of(predictor, tone(tmp_path / "a.wav"), "oh no")


def test_a_video_of_one_picture_says_that_nothing_moves(seen_export, tmp_path):
    path = write_video(tmp_path / "still.mp4", [grey(90)])
    assert "the video holds a single picture: nothing moves in it" in warnings_of(Predictor(seen_export), path, "oh no")
