"""Tests of emotion_tf.serving.predictor: which export is loaded, what it is given, and what it makes of it."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from test_video import grey, write_video

from emotion_tf.serving.prediction import BatchPrediction
from emotion_tf.serving.predictor import Predictor, find_version, leave_out
from pipelines import audio
from pipelines.clips import read_clip
from pipelines.command import InputError
from pipelines.video import read_frames, to_array


@pytest.fixture(scope="module")
def predictor(early_export):
    return Predictor(early_export)


def tone(path, sample_rate=16000, seconds=1.5, channels=1, **settings):
    """Writes a buzz of 220 Hz with all its harmonics, in syllables, the same at each rate."""
    times = np.arange(round(seconds * sample_rate)) / sample_rate
    frequencies = np.arange(220, min(7900, 0.49 * sample_rate), 220)
    phases = np.random.default_rng(0).uniform(0, 2 * np.pi, 40)[: len(frequencies)]
    buzz = sum(
        np.sin(2 * np.pi * frequency * times + phase) for frequency, phase in zip(frequencies, phases, strict=True)
    )
    samples = 0.04 * buzz * np.sin(2 * np.pi * 2 * times) ** 2
    soundfile.write(path, np.tile(samples[:, None], channels), sample_rate, **settings)
    return path


def test_importing_serving_imports_neither_tensorflow_nor_keras():
    code = "import emotion_tf.serving, sys; assert not {'tensorflow', 'keras'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[1], check=True)


def test_the_example_of_the_docstring_works(early_export, tmp_path, monkeypatch, capsys):
    lines = [line[8:] for line in Predictor.__doc__.splitlines() if line.startswith(8 * " ") or not line]
    (tmp_path / "saved_models").mkdir()
    (tmp_path / "saved_models" / "synthetic-early").symlink_to(early_export)
    tone(tmp_path / "clip.wav")
    monkeypatch.chdir(tmp_path)
    exec("\n".join(lines), {})
    emotion, probability = capsys.readouterr().out.split()
    assert emotion in Predictor(early_export).emotions
    assert 0 < float(probability) < 1


def test_what_is_left_out_is_zeros_or_empty_in_some_rows_alone():
    inputs = {"waveforms": np.ones((2, 3)), "transcripts": np.array(["oh", "no"], object)}
    for modality in ("audio", "text", "video"):
        leave_out(inputs, modality, 1)
    assert inputs["waveforms"].tolist() == [[1, 1, 1], [0, 0, 0]]
    assert inputs["transcripts"].tolist() == ["oh", ""]


def test_a_batch_is_predicted_as_its_utterances_one_by_one(predictor):
    waveforms, transcripts = np.random.default_rng(0).uniform(-0.1, 0.1, (3, 9000)), ["oh no", "", "hello"]
    batch = predictor.predict_batch(waveforms, transcripts)
    assert batch.probabilities.shape == batch.predicted.shape == (3, len(predictor.emotions))
    for row, (waveform, transcript) in enumerate(zip(waveforms, transcripts, strict=True)):
        alone = probabilities_of(predictor, waveform[np.newaxis], [transcript])
        np.testing.assert_allclose(batch.probabilities[row], alone, atol=1e-5)


@pytest.mark.parametrize(("scale", "sentence"), [(np.nan, "NaN or infinite"), (32768, "a peak above 2")])
def test_samples_that_are_no_sound_get_a_sentence(predictor, scale, sentence):
    waveforms = np.random.default_rng(0).uniform(-0.1, 0.1, (1, 9000)) * scale
    with pytest.raises(InputError, match=f"^the model refuses its input: waveform .*{sentence}.*[a-z0-9]\\.$"):
        predictor.predict_batch(waveforms, [""])


def test_with_everything_absent_probabilities_are_the_training_prior(predictor, early_run):
    found = predictor.predict().probabilities
    prior = dict(zip(early_run.metadata().emotions, early_run.metadata().prior, strict=True))
    assert found == pytest.approx(prior, abs=1e-5)


def test_a_stored_recording_gets_the_calibrated_probabilities_of_predictions_csv(predictor, early_run, three_speakers):
    row = early_run.predictions().iloc[0]
    utterance = next(one for one in three_speakers.utterances if one.utterance_id == row["utterance_id"])
    found = predictor.predict(utterance.audio, utterance.transcript).probabilities
    assert found == pytest.approx({emotion: row[f"probability_{emotion}"] for emotion in found}, abs=1e-4)


def test_a_change_is_that_of_the_log_probability_without_a_modality(predictor, tmp_path):
    file = tone(tmp_path / "a.wav")
    whole = predictor.predict(file, "oh no")
    for modality, rest in (("audio", predictor.predict(None, "oh no")), ("text", predictor.predict(file))):
        change = np.log(rest.probabilities[whole.emotion]) - np.log(whole.probabilities[whole.emotion])
        assert whole.changes_without[modality] == pytest.approx(change, abs=1e-4)
    assert whole.shares is None  # Of a concatenation.


def test_a_model_that_weighs_its_modalities_gives_their_shares(late_export, tmp_path):
    predictor, file = Predictor(late_export), tone(tmp_path / "a.wav")
    assert predictor.predict(file, "oh no").shares == {"audio": 0.5, "text": 0.5}
    assert predictor.predict(file).shares == {"audio": 1, "text": 0}
    assert predictor.predict(file).changes_without["text"] == pytest.approx(0, abs=1e-6)
    assert predictor.predict().shares == {"audio": 0, "text": 0}


def test_a_run_an_export_and_a_version_are_found(early_export, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.json").write_text("{}")
    with pytest.raises(InputError, match=r"has no export: make it with python -m emotion_tf.export --run"):
        find_version(run)
    (run / "export").symlink_to(early_export)
    assert find_version(run) == find_version(early_export) == find_version(early_export / "1") == early_export / "1"


def test_the_newest_version_is_taken(tmp_path):
    for version in ("2", "10"):
        (tmp_path / version).mkdir()
        (tmp_path / version / "saved_model.pb").touch()
    assert find_version(tmp_path).name == "10"


def test_a_folder_that_is_no_model_gets_a_sentence(tmp_path):
    for folder in (tmp_path, str(tmp_path / "nowhere")):
        with pytest.raises(InputError, match="holds no exported model: name a run"):
            Predictor(folder)


def test_a_corrupt_export_gets_a_sentence(early_export, tmp_path):
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "saved_model.pb").write_bytes(b"cut off")
    with pytest.raises(InputError, match=r"metadata\.json is missing or corrupt"):
        Predictor(tmp_path)
    for content in ("{", "[]", "null"):
        (tmp_path / "metadata.json").write_text(content)
        with pytest.raises(InputError, match=r"metadata\.json is missing or corrupt .*: export the run again"):
            Predictor(tmp_path)
    metadata = json.loads((early_export / "metadata.json").read_text())
    lacking = {name: value for name, value in metadata.items() if name not in ("marks", "video")}
    (tmp_path / "metadata.json").write_text(json.dumps(lacking))
    with pytest.raises(InputError, match=r"metadata\.json lacks marks, video: export the run again"):
        Predictor(tmp_path)
    (tmp_path / "metadata.json").write_text(json.dumps(metadata))
    with pytest.raises(InputError, match="does not load"):
        Predictor(tmp_path)


class Fixed(Predictor):
    """A predictor of given facts and results, without an export."""

    def __init__(self, metadata, batch):
        self.metadata, self.batch = metadata, batch

    def predict_batch(self, waveforms, transcripts):
        return self.batch


def test_several_emotions_are_named_the_most_probable_first():
    metadata = {"emotions": ["anger", "fear", "joy"], "is_multi_label": True, "modalities": ["text"], "marks": []}
    metadata |= {"longest_seconds": 0.0, "max_tokens": 64, "normalise": "clip", "video": None}
    metadata |= {"tokenizer": {"preset": ""}, "bandwidth_hz": None}
    batch = BatchPrediction(np.array([[0.2, 0.9, 0.6]], np.float32), np.array([[True, False, True]]), None)
    found = Fixed(metadata, batch).predict(None, "oh no")
    assert found.emotion == "fear"  # The most probable, though its threshold lies higher.
    assert found.emotions == ("joy", "anger")
    assert (found.shares, found.changes_without) == (None, None)  # Of a single modality.


def test_a_model_of_one_emotion_an_utterance_names_no_several(predictor):
    assert predictor.predict(None, "oh no").emotions is None


@pytest.fixture(scope="module")
def video_predictor(seen_export):
    return Predictor(seen_export)


@pytest.fixture
def filmed(tmp_path):
    """A video of grey pictures, two seconds long, with a tone."""
    sound = 0.3 * np.sin(2 * np.pi * 220 * np.arange(96000) / 48000)
    return write_video(tmp_path / "filmed.mp4", [grey(10 * number + 20) for number in range(20)], sound=sound)


def probabilities_of(predictor, *arrays, **further):
    [probabilities] = predictor.predict_batch(*arrays, **further).probabilities
    return probabilities


def test_audio_and_frames_of_a_video_are_read(video_predictor, filmed):
    found, settings = video_predictor.predict(filmed, "oh no"), video_predictor.video
    clip = read_clip(filmed, filmed, settings)
    waveform, frames = audio.pad_together([clip.waveform]), to_array(clip.frames.images, settings)[np.newaxis]
    expected = probabilities_of(video_predictor, waveform, ["oh no"], video_frames=frames)
    assert list(found.probabilities.values()) == pytest.approx(expected, abs=1e-5)
    assert found.seconds == pytest.approx(2, abs=0.1)
    assert "no face was found in 4 of the 4 frames" in " | ".join(found.warnings)
    rest = probabilities_of(video_predictor, waveform, ["oh no"])
    change = np.log(rest[expected.argmax()]) - np.log(expected.max())
    assert found.changes_without["video"] == pytest.approx(change, abs=1e-4)
    assert set(found.changes_without) == set(found.shares) == {"audio", "text", "video"}


def test_frames_are_taken_where_the_front_end_of_the_model_begins(video_predictor, tmp_path, monkeypatch):
    tone = np.sin(2 * np.pi * 220 * np.arange(96000) / 48000)
    sound = tone * np.repeat([0.03, 0.3], 48000)  # The first second is 20 dB softer.
    file = write_video(tmp_path / "rising.mp4", [grey(10 * number + 20) for number in range(20)], sound=sound)
    whole = video_predictor.predict(file, "oh no").probabilities
    monkeypatch.setitem(video_predictor.metadata["front_end"], "trim_db", 10.0)
    found, settings = video_predictor.predict(file, "oh no").probabilities, video_predictor.video
    clip = read_clip(file, file, settings, 10.0)
    frames = to_array(clip.frames.images, settings)[np.newaxis]
    waveform = audio.pad_together([clip.waveform])
    expected = probabilities_of(video_predictor, waveform, ["oh no"], video_frames=frames)
    assert list(found.values()) == pytest.approx(expected, abs=1e-5)
    assert found != whole


def test_a_video_without_sound_is_predicted_from_its_frames(video_predictor, seen_run, seen_speakers):
    row = seen_run.predictions().iloc[0]
    utterance = next(one for one in seen_speakers.utterances if one.utterance_id == row["utterance_id"])
    found, settings = video_predictor.predict(utterance.video, utterance.transcript), video_predictor.video
    assert "audio is missing: the prediction rests on text and video alone" in found.warnings
    # Without sound the frames are spread over the whole clip, not over its spoken part.
    frames = to_array(read_frames(utterance.video, settings).images, settings)[np.newaxis]
    expected = probabilities_of(video_predictor, np.zeros((1, 1)), [utterance.transcript], video_frames=frames)
    assert list(found.probabilities.values()) == pytest.approx(expected, abs=1e-5)


def test_a_model_of_audio_reads_that_of_a_video_and_one_of_video_copes_without(
    predictor, video_predictor, filmed, tmp_path
):
    found = predictor.predict(filmed, "oh no")
    expected = probabilities_of(predictor, audio.pad_together([audio.decode(filmed)]), ["oh no"])
    assert list(found.probabilities.values()) == pytest.approx(expected, abs=1e-5)
    file = tone(tmp_path / "a.wav")
    warnings = video_predictor.predict(file, "oh no").warnings
    assert "video is missing: the prediction rests on audio and text alone" in warnings
    warnings = video_predictor.predict(file).warnings
    assert "text and video are missing: the prediction rests on audio alone" in warnings


def test_videos_that_cannot_be_used_get_one_sentence_each(video_predictor, predictor, tmp_path):
    def refused(path, sentence, by=video_predictor):
        with pytest.raises(InputError, match=sentence):
            by.predict(path)

    long = write_video(tmp_path / "long.mp4", [grey(9)] * 3, [0, 30000, 61000])
    refused(long, "long.mp4 is 61 s long, and an utterance has at most 60 s: cut it up")
    refused(write_video(tmp_path / "mute.mp4", [grey(9)] * 3), "mute.mp4 holds pictures alone, and no sound", predictor)
    (tmp_path / "text.mp4").write_text("no video")
    refused(tmp_path / "text.mp4", "text.mp4 cannot be read as audio or video")
    refused(tmp_path / "none.mp4", "none.mp4 does not exist")


def test_a_file_of_sound_alone_is_a_recording_whatever_it_is_called(video_predictor, tmp_path):
    sound = 0.3 * np.sin(2 * np.pi * 220 * np.arange(48000) / 48000)
    warnings = video_predictor.predict(write_video(tmp_path / "sound.mp4", [], sound=sound), "oh no").warnings
    assert "video is missing: the prediction rests on audio and text alone" in warnings
