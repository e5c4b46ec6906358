"""Tests of emotion_tf.serving.enrolment: statistics over the speaker's other recordings, and over those alone."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from test_predictor import tone

from emotion_tf.serving import Predictor
from emotion_tf.serving.enrolment import EnrolledRecording, statistics_of
from pipelines import audio
from pipelines.command import InputError
from pipelines.normalisation import Sums


def test_without_a_frame_there_are_no_statistics():
    assert statistics_of([], np.ones(2)) is None


def test_what_was_never_heard_of_a_speaker_has_a_deviation_of_zero():
    steps = np.array([[1.0, 2.0], [3.0, 2.0]])
    recording = EnrolledRecording(Path("a.wav"), "", Sums.of(np.zeros((0, 1)), steps))
    mean, std = statistics_of([recording], np.full(3, 0.1))
    assert (mean.tolist(), std.tolist()) == ([0, 2, 2], [0, 1, 0.1])


@pytest.fixture(scope="module")
def predictor(enrolled_export):
    return Predictor(enrolled_export)


@pytest.fixture(scope="module")
def recordings(three_speakers):
    """Four recordings of one speaker."""
    return [one.audio for one in three_speakers.utterances if one.speaker == "02"][:4]


def frames_of(path):
    waveform = audio.to_float(audio.decode(path))[None]
    features, num_frames = audio.frame_features(waveform, audio.FrontEnd(), ["log_mel"])
    return features["log_mel"].numpy()[0, : int(num_frames[0])].astype(np.float64)


def test_enrolled_recordings_normalise_the_clip_as_numpy_says(predictor, recordings):
    file, *others = recordings
    found = predictor.predict(file, enrolled=predictor.enrol(others))
    frames = np.concatenate([frames_of(other) for other in others])
    speaker = {"speaker_mean": frames.mean(axis=0)[None], "speaker_std": frames.std(axis=0)[None]}
    [expected] = predictor.predict_batch(audio.pad_together([audio.decode(file)]), [""], **speaker).probabilities
    assert list(found.probabilities.values()) == pytest.approx(expected.tolist(), abs=1e-5)
    assert "the model carries the mark 'enrolled speaker'" in found.warnings
    without = predictor.predict(file)
    assert without.probabilities != found.probabilities
    assert "no speaker is enrolled (--enrol): the statistics of training stand in" in without.warnings


def test_the_recording_itself_is_not_enrolled_whatever_its_name(predictor, recordings, tmp_path):
    file, *others = recordings
    copy = tmp_path / "copy.wav"
    shutil.copy(file, copy)
    expected = predictor.predict(file, enrolled=predictor.enrol(others))
    for same in (file, copy):
        found = predictor.predict(file, enrolled=predictor.enrol([same, *others]))
        assert found.probabilities == expected.probabilities
        assert f"{same}: this recording itself, so not enrolled for it" in found.warnings
    alone = predictor.predict(file, enrolled=predictor.enrol([copy]))
    assert "no sound of the speaker beside this is enrolled: the statistics of training stand in" in alone.warnings
    assert alone.probabilities == predictor.predict(file).probabilities


def test_a_recording_that_is_enrolled_twice_changes_nothing_where_it_is_alone(predictor, recordings):
    file, other, *_ = recordings
    once, twice = (predictor.predict(file, enrolled=predictor.enrol([other] * count)) for count in (1, 2))
    assert list(once.probabilities.values()) == pytest.approx(list(twice.probabilities.values()), abs=1e-6)


def test_silent_recordings_enrol_no_speaker(predictor, recordings, tmp_path):
    soundfile.write(tmp_path / "silent.wav", np.zeros(16000), 16000)
    found = predictor.predict(recordings[0], enrolled=predictor.enrol([tmp_path / "silent.wav"]))
    assert found.probabilities == predictor.predict(recordings[0]).probabilities


def test_a_bad_recording_to_enrol_gets_a_sentence(predictor, tmp_path):
    with pytest.raises(InputError, match=r"none\.wav does not exist"):
        predictor.enrol([tmp_path / "none.wav"])
    with pytest.raises(InputError, match="is 70 s long, and an utterance has at most 30 s"):
        predictor.enrol([tone(tmp_path / "long.wav", seconds=70)])
    with pytest.raises(InputError, match=r"0\.10 s are too short to enrol a speaker"):
        predictor.enrol([tone(tmp_path / "short.wav", seconds=0.1)])
