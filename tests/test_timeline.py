"""Tests of emotion_tf.serving.timeline: which emotion appears when, with a model that hears pitch alone."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile

from emotion_tf.serving import timeline as timeline_module
from emotion_tf.serving.predictor import Predictor
from emotion_tf.serving.timeline import Timeline, TimelineSettings, find_segments, find_timeline
from pipelines.audio.voice import CHUNK_LENGTH, Turn
from pipelines.command import InputError

EMOTIONS = ("neutral", "angry")
LOW, HIGH = 200, 1000


class PitchModel:
    """Takes a window for angry if most of it is the high tone; refuses windows without sound."""

    emotions = EMOTIONS
    modalities = ("audio",)
    folder = Path("export")

    def __init__(self):
        self.metadata = {"modalities": ["audio"], "normalise": "clip", "bandwidth_hz": None, "marks": ["synthetic"]}
        self.num_windows = 0

    def predict_batch(self, waveforms, transcripts):
        assert list(transcripts) == [""] * len(waveforms)
        peaks = np.abs(waveforms).max(axis=1)
        assert (peaks > 0.8).all(), "each window is brought to one level"
        assert (peaks < 1).all()
        self.num_windows += len(waveforms)
        crossings = np.array([np.diff(np.signbit(row[: np.flatnonzero(row)[-1]])).mean() for row in waveforms]) * 8000
        high = np.clip((crossings - LOW) / (HIGH - LOW), 0.01, 0.99)
        return SimpleNamespace(probabilities=np.stack([1 - high, high], axis=1))


@pytest.fixture
def loud_is_speech(monkeypatch):
    """Takes tones for speech: a network that knows voices does not."""

    class Gate:
        def __init__(self):
            self.rest = np.zeros(0, np.float32)

        def __call__(self, waveform):
            samples = np.concatenate([self.rest, waveform])
            whole = len(samples) // CHUNK_LENGTH * CHUNK_LENGTH
            self.rest = samples[whole:]
            return np.abs(samples[:whole]).reshape(-1, CHUNK_LENGTH).max(axis=1).astype(np.float32) * 4

    monkeypatch.setattr("pipelines.audio.voice.VoiceGate", Gate)
    monkeypatch.setattr(timeline_module.isolation, "iterate_file", lambda function, path, **options: function(path))


def tones(*parts):
    """Joins (frequency or 0, seconds) at 16 kHz."""
    pieces = [0.25 * np.sin(2 * np.pi * hertz * np.arange(round(16000 * seconds)) / 16000) for hertz, seconds in parts]
    return np.concatenate(pieces).astype(np.float32)


def find(tmp_path, waveform, model=None, **settings):
    soundfile.write(tmp_path / "clip.wav", waveform, 16000, subtype="FLOAT")
    return find_timeline(model or PitchModel(), tmp_path / "clip.wav", TimelineSettings(**settings))


@pytest.mark.usefixtures("loud_is_speech")
def test_an_emotion_ends_where_another_one_begins(tmp_path):
    found = find(tmp_path, tones((LOW, 10), (HIGH, 10)), window_seconds=1, hop_seconds=0.5, smooth_seconds=0)
    assert [segment.emotion for segment in found.segments] == list(EMOTIONS)
    calm, angry = found.segments
    assert calm.start == 0
    assert calm.end == angry.start == pytest.approx(10, abs=0.5)
    assert angry.end == found.seconds == 20
    assert found.seconds_of() == pytest.approx({"neutral": calm.seconds, "angry": angry.seconds})


@pytest.mark.usefixtures("loud_is_speech")
def test_where_nobody_speaks_the_model_is_not_asked(tmp_path):
    model = PitchModel()
    found = find(tmp_path, tones((LOW, 3), (0, 20), (HIGH, 3)), model)
    assert [(segment.emotion, round(segment.start), round(segment.end)) for segment in found.segments] == [
        ("neutral", 0, 3),
        ("angry", 23, 26),
    ]
    assert model.num_windows < 12
    assert np.isnan(found.probabilities[8:18]).all()


@pytest.mark.usefixtures("loud_is_speech")
@pytest.mark.parametrize("seconds", [0.8, 3, 3.5, 10.4, 33])
def test_every_moment_of_speech_belongs_to_a_segment_whatever_the_length(tmp_path, seconds):
    found = find(tmp_path, tones((HIGH, seconds)))
    [segment] = found.segments
    assert (segment.start, segment.end) == pytest.approx((0, seconds), abs=0.05)
    assert segment.emotion == "angry"
    assert len(found.probabilities) == int(np.ceil(seconds))
    assert not np.isnan(found.probabilities).any()


@pytest.mark.usefixtures("loud_is_speech")
def test_the_length_of_blocks_changes_nothing(tmp_path, monkeypatch):
    waveform = tones((LOW, 7.3), (0, 2), (HIGH, 9.1), (LOW, 4))
    whole = find(tmp_path, waveform)
    monkeypatch.setattr("pipelines.audio.long_recording.read_blocks.__defaults__", (1.7,))
    parts = find(tmp_path, waveform)
    np.testing.assert_allclose(whole.probabilities, parts.probabilities, atol=1e-6)
    assert whole.segments == parts.segments
    np.testing.assert_allclose(whole.envelope, parts.envelope, atol=1e-6)


@pytest.mark.usefixtures("loud_is_speech")
def test_smoothing_takes_a_short_change_away(tmp_path):
    waveform = tones((LOW, 8), (HIGH, 1), (LOW, 8))
    rough = find(tmp_path, waveform, window_seconds=1, hop_seconds=1, smooth_seconds=0)
    smooth = find(tmp_path, waveform, window_seconds=1, hop_seconds=1, smooth_seconds=5)
    assert [segment.emotion for segment in rough.segments] == ["neutral", "angry", "neutral"]
    assert [segment.emotion for segment in smooth.segments] == ["neutral"]


@pytest.mark.usefixtures("loud_is_speech")
def test_silence_has_no_segment_and_says_so(tmp_path):
    found = find(tmp_path, np.zeros(16000 * 5, np.float32))
    assert found.segments == ()
    assert "nobody speaks in the recording" in found.warnings


@pytest.mark.usefixtures("loud_is_speech")
def test_marks_and_absent_modalities_are_told(tmp_path):
    model = PitchModel()
    model.metadata["modalities"] = ["audio", "text"]
    assert set(find(tmp_path, tones((LOW, 4)), model).warnings) == {
        "text of the model is taken for absent",
        "the model carries the mark 'synthetic'",
    }


@pytest.mark.usefixtures("loud_is_speech")
def test_what_ails_most_of_the_speech_is_told(tmp_path):
    noise = np.random.default_rng(0).standard_normal(6 * 16000).astype(np.float32)
    assert "most of the speech is noisy" in find(tmp_path, 0.1 * noise).warnings
    assert find(tmp_path, tones((LOW, 6))).warnings == ("the model carries the mark 'synthetic'",)


def test_a_model_without_sound_has_no_timeline(tmp_path):
    model = PitchModel()
    model.modalities = ("text",)
    with pytest.raises(InputError, match="reads no sound"):
        find_timeline(model, tmp_path / "clip.wav")


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"window_seconds": 0.1}, "--window 0.1 cannot work"),
        ({"window_seconds": 31}, "--window 31 cannot work"),
        ({"hop_seconds": 4}, "--hop 4 cannot work"),
        ({"hop_seconds": 0}, "--hop 0 cannot work"),
        ({"smooth_seconds": -1}, "--smooth -1 cannot work"),
        ({"window_seconds": float("nan")}, "--window nan cannot work"),
    ],
)
def test_lengths_that_cannot_work_are_refused(settings, sentence):
    with pytest.raises(InputError, match=sentence):
        TimelineSettings(**settings)


def test_a_hop_that_hardly_touches_a_turn_takes_the_emotion_of_its_neighbour():
    probabilities = np.array([[0.9, 0.1], [0.2, 0.8], [0.2, 0.8], [0.9, 0.1]])
    [segment] = find_segments([Turn(0.7, 3.2)], probabilities, 1.0, EMOTIONS)
    assert (segment.start, segment.end, segment.emotion) == (0.7, 3.2, "angry")
    assert segment.probabilities == pytest.approx((0.2, 0.8))


def test_a_hop_without_an_answer_takes_the_nearest_one():
    probabilities = np.array([[np.nan, np.nan], [0.2, 0.8], [np.nan, np.nan]])
    [segment] = find_segments([Turn(0.0, 3.0)], probabilities, 1.0, EMOTIONS)
    assert segment.emotion == "angry"
    assert find_segments([Turn(0.0, 1.0)], probabilities, 1.0, EMOTIONS) == ()


def test_a_real_export_answers_windows_like_files_of_them(early_export, tmp_path, three_speakers):
    predictor = Predictor(early_export)
    waveform, sample_rate = soundfile.read(three_speakers.utterances[0].audio)
    assert sample_rate == 16000
    seconds = len(waveform) / 16000
    soundfile.write(tmp_path / "clip.wav", waveform, 16000)
    found = find_timeline(predictor, tmp_path / "clip.wav", TimelineSettings(max(0.5, seconds), 0.5, 0))
    assert isinstance(found, Timeline)
    expected = np.array(list(predictor.predict(tmp_path / "clip.wav").probabilities.values()))
    for hop in found.probabilities[~np.isnan(found.probabilities[:, 0])]:
        np.testing.assert_allclose(hop, expected, atol=0.02)
