"""Tests of emotion_tf.serving.predictor: which export is loaded, what it is given, and what it makes of it."""

import concurrent.futures
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import soundfile
from test_video import grey, write_video

from emotion_tf.serving.prediction import BatchPrediction
from emotion_tf.serving.predictor import Predictor
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


class Fixed(Predictor):
    """A predictor of given facts and results, without an export."""

    def __init__(self, metadata, batch):
        self.metadata, self.batch = metadata, batch

    def predict_batch(self, waveforms, transcripts):
        return self.batch


def test_several_emotions_are_named_the_most_probable_first():
    metadata = {"emotions": ["anger", "fear", "joy"], "is_multi_label": True, "modalities": ["text"], "marks": []}
    metadata |= {"longest_seconds": 0.0, "max_tokens": 64, "normalise": "clip", "video": None}
    metadata |= {"tokenizer": {"preset": ""}, "bandwidth_hz": None, "front_end": {}}
    batch = BatchPrediction(np.array([[0.2, 0.9, 0.6]], np.float32), np.array([[True, False, True]]), None)
    found = Fixed(metadata, batch).predict(None, "oh no")
    assert found.emotion == "fear"  # The most probable, though its threshold lies higher.
    assert found.emotions == ("joy", "anger")
    assert (found.shares, found.changes_without) == (None, None)  # Of a single modality.


def test_a_model_of_one_emotion_an_utterance_names_no_several(predictor):
    assert predictor.predict(None, "oh no").emotions is None


@pytest.fixture(scope="module")
def utterances(three_speakers):
    """Recordings of one to many syllables, with their words."""
    chosen = three_speakers.utterances[:24:2]
    return [one.audio for one in chosen], [one.transcript for one in chosen]


def test_answers_do_not_depend_on_how_many_are_asked_at_once(late_export, enrolled_export, utterances):
    for export in (late_export, enrolled_export):
        predictor = Predictor(export)
        batch = predictor.predict_many(*utterances, with_changes=True)
        for found, file, transcript in zip(batch, *utterances, strict=True):
            alone = predictor.predict(file, transcript)
            assert (found.file, found.transcript, found.warnings) == (file, transcript, alone.warnings)
            assert found.emotion == alone.emotion
            assert found.probabilities == pytest.approx(alone.probabilities, abs=1e-5)
            assert found.shares == (alone.shares and pytest.approx(alone.shares, abs=1e-5))
            changes = alone.changes_without
            assert found.changes_without == (changes and pytest.approx(changes, abs=1e-4))


def test_threads_share_a_predictor(predictor, utterances):
    expected = predictor.predict_many(*utterances, with_embedding=True)

    def ask(number):
        file, transcript = (values[number % len(values)] for values in utterances)
        return predictor.predict(file, transcript, with_embedding=True)

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(ask, range(5 * len(expected))))
    for number, answer in enumerate(answers):
        alone = expected[number % len(expected)]
        assert answer.file == alone.file
        assert answer.probabilities == pytest.approx(alone.probabilities, abs=1e-5)
        np.testing.assert_allclose(answer.embedding, alone.embedding, atol=1e-4)


def test_changes_are_made_where_they_are_asked_for(predictor, utterances):
    assert all(one.changes_without is None for one in predictor.predict_many(*utterances))
    assert predictor.predict(with_changes=False).changes_without is None


def test_an_embedding_is_what_the_last_layer_of_the_run_reads(predictor, early_run, utterances):
    files, transcripts = utterances
    given = [predictor.read(file, transcript) for file, transcript in zip(files, transcripts, strict=True)]
    found = predictor.predict_all_given(given, with_embedding=True)
    model = early_run.model()
    head = model.get_layer("emotions")
    network = keras.Model(model.input, head.input)
    for one, prediction in zip(given, found, strict=True):
        features = predictor.features_of(one.inputs)
        [expected] = network({name: features[name] for name in model.input}).numpy()
        np.testing.assert_allclose(prediction.embedding, expected, atol=1e-4)
    assert predictor.predict(files[0]).embedding is None
    assert "embedding" not in found[0].to_json()


def test_an_embedding_that_is_not_there_gets_a_sentence(late_export, predictor, monkeypatch):
    with pytest.raises(InputError, match="has no embedding: late fusion joins probabilities; take one of its runs"):
        Predictor(late_export).predict(None, "oh", with_embedding=True)
    monkeypatch.delitem(predictor.metadata, "embedding_dim")
    with pytest.raises(InputError, match="gives no embeddings: export the run again"):
        predictor.predict(None, "oh", with_embedding=True)


def test_a_file_its_bytes_and_its_samples_get_one_answer(predictor, tmp_path):
    file = tone(tmp_path / "a.wav", 44100, channels=2)
    samples, rate = soundfile.read(file, dtype="int16")
    alone = predictor.predict(file, "oh no")
    for source, options in (
        (str(file), {}),
        (file.read_bytes(), {}),
        (samples, {"sample_rate": rate}),
        (samples[:, 0], {"sample_rate": float(rate)}),
        (samples / 32768, {"sample_rate": rate}),
    ):
        found = predictor.predict(source, "oh no", **options)
        assert found.file == (file if isinstance(source, str) else None)
        assert (found.emotion, found.seconds, found.warnings) == (alone.emotion, alone.seconds, alone.warnings)
        assert found.probabilities == pytest.approx(alone.probabilities, abs=1e-6)
    mixed = predictor.predict_many([file, samples, None], ["oh no"] * 3, sample_rate=rate)
    assert [one.emotion for one in mixed[:2]] == [alone.emotion] * 2


def test_a_transcript_for_each_or_for_none(predictor, utterances):
    assert [one.transcript for one in predictor.predict_many(utterances[0])] == [""] * len(utterances[0])
    assert predictor.predict_many([]) == []
    with pytest.raises(InputError, match="1 transcripts for 2 recordings: give one for each"):
        predictor.predict_many(utterances[0][:2], ["oh"])


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
    refused(long, "long.mp4 is 61 s long, and an utterance has at most 30 s: predict it over time with --timeline")
    refused(write_video(tmp_path / "mute.mp4", [grey(9)] * 3), "mute.mp4 holds pictures alone, and no sound", predictor)
    (tmp_path / "text.mp4").write_text("no video")
    refused(tmp_path / "text.mp4", "text.mp4 cannot be read as audio or video")
    refused(tmp_path / "none.mp4", "none.mp4 does not exist")


def test_a_file_of_sound_alone_is_a_recording_whatever_it_is_called(video_predictor, tmp_path):
    sound = 0.3 * np.sin(2 * np.pi * 220 * np.arange(48000) / 48000)
    warnings = video_predictor.predict(write_video(tmp_path / "sound.mp4", [], sound=sound), "oh no").warnings
    assert "video is missing: the prediction rests on audio and text alone" in warnings
