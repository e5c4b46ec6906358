"""Tests of emotion_tf.serving.explain: contributions add up, and a cue that was planted is found where it is."""

from types import SimpleNamespace
from typing import NamedTuple

import keras
import numpy as np
import pytest
import soundfile
import tensorflow as tf
from test_video import grey, write_video

from emotion_tf.exporting import facts, saved_model
from emotion_tf.models.build import build_model
from emotion_tf.serving import Predictor
from emotion_tf.serving.explain import Explainer, integrate
from emotion_tf.serving.explanation import GRADIENTS, OCCLUSION
from pipelines import audio, text
from pipelines.command import InputError
from pipelines.files import write_json

BURST_SECONDS, BURST_HZ = 0.2, 3000
PLANTED_WORDS = {"happy": "sunshine", "calm": "sunshine", "angry": "debt", "sad": "debt"}


class Planted(NamedTuple):
    emotion: str
    waveform: np.ndarray
    transcript: str
    start: float


def gradients_of(function):
    """Makes what `integrate` takes of a function from x [batch, num_frames, columns] to [batch]."""

    def gradients(features, emotion):
        with tf.GradientTape() as tape:
            tape.watch(features["x"])
            found = function(features["x"])
        return found, {"x": tape.gradient(found, features["x"])}

    return gradients


def test_contributions_to_a_polynomial_are_its_terms():
    x, w = np.random.default_rng(0).standard_normal((2, 1, 5, 3)).astype(np.float32)
    function = gradients_of(lambda x: tf.reduce_sum(w * x + x**3, axis=(1, 2)))
    cells, difference, _ = integrate(function, {"x": tf.constant(x)}, ["x"], 0)
    np.testing.assert_allclose(cells["x"], (w * x + x**3)[0], atol=0.01)
    assert difference == pytest.approx(float((w * x + x**3).sum()), rel=1e-5)


def test_a_steep_function_gets_as_many_points_as_it_needs():
    x = tf.ones((1, 1, 1))
    easy = integrate(gradients_of(lambda x: tf.reduce_sum(x, axis=(1, 2))), {"x": x}, ["x"], 0)
    steep = gradients_of(lambda x: tf.reduce_sum(tf.sigmoid(3000 * (x - 0.5017)), axis=(1, 2)))
    cells, difference, num_steps = integrate(steep, {"x": x}, ["x"], 0)
    assert num_steps > easy[2]
    assert cells["x"].sum() == pytest.approx(difference, rel=0.01)


def test_points_are_the_midpoints_of_equal_steps_and_none_is_taken_twice():
    taken = []

    def recorded(x):
        taken.extend(x.numpy().ravel())
        return tf.reduce_sum(tf.sigmoid(300 * (x - 0.517)), axis=(1, 2))

    _, _, num_steps = integrate(gradients_of(recorded), {"x": tf.ones((1, 1, 1))}, ["x"], 0)
    assert num_steps > 32
    np.testing.assert_allclose(sorted(taken[2:]), (np.arange(num_steps) + 0.5) / num_steps, atol=1e-6)


@pytest.fixture(scope="module")
def planted(three_speakers):
    """Synthetic clips of four emotions: a burst of 3 kHz tells happy and angry, a word happy and calm from the rest."""
    rng, clips = np.random.default_rng(0), []
    for one in three_speakers.utterances:
        if one.emotion not in PLANTED_WORDS:
            continue
        waveform, rate = soundfile.read(one.audio, dtype="float32")
        start = rng.uniform(0.2, len(waveform) / rate - 0.3 - BURST_SECONDS)
        times = np.arange(round(BURST_SECONDS * rate)) / rate
        if one.emotion in ("happy", "angry"):
            waveform[round(start * rate) :][: len(times)] += 0.15 * np.sin(2 * np.pi * BURST_HZ * times)
        words = ["we", "saw", "them", "on", "the", "stairs", "today"]
        words.insert(rng.integers(1, len(words)), PLANTED_WORDS[one.emotion])
        clips.append(Planted(one.emotion, waveform, " ".join(words), start))
    return clips


@pytest.fixture(scope="module")
def explain_planted(planted, early_run, make_config, tmp_path_factory):
    """The explainer of an early fusion that was trained on them, in whole batches."""
    folder = tmp_path_factory.mktemp("planted")
    config, found = make_config("fusion", fusion="early", modality_dropout=0.0), early_run.metadata()
    keras.utils.set_random_seed(0)
    model = build_model(config, found.widths, text.own_tokenizer().vocabulary_size, found.prior)
    metadata = facts.export_metadata(early_run, model)
    waveforms = audio.pad_together([np.rint(32768 * clip.waveform).astype(np.int16) for clip in planted])
    raw = {"waveform": tf.constant(waveforms), "transcript": tf.constant([clip.transcript for clip in planted])}
    features = saved_model.raw_to_features(early_run, metadata, None)(raw)
    labels = np.array([found.emotions.index(clip.emotion) for clip in planted])
    model.compile(keras.optimizers.Adam(0.02), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit({name: features[name] for name in model.input}, labels, len(labels), epochs=60, verbose=0)
    saved_model.write_saved_model(model, None, metadata, early_run, folder / "1")
    write_json(folder / "metadata.json", metadata)
    return Explainer(Predictor(folder))


@pytest.mark.slow
def test_a_planted_burst_and_a_planted_word_are_found(planted, explain_planted, tmp_path):
    in_words, in_sound = [], []
    for clip in planted[::2]:
        soundfile.write(tmp_path / "clip.wav", clip.waveform, 16000)
        why = explain_planted(tmp_path / "clip.wav", clip.transcript)
        if why.emotion != clip.emotion:
            continue
        if clip.emotion in ("happy", "calm"):
            in_words.append(max(why.words, key=lambda word: word.nats).name == PLANTED_WORDS[clip.emotion])
        if clip.emotion in ("happy", "angry"):
            is_then = abs(why.time.seconds - clip.start - BURST_SECONDS / 2) < BURST_SECONDS / 2 + 0.02
            cells = np.maximum(why.time.cells, 0)
            of_burst = cells[np.ix_(is_then, abs(why.spectrogram.band_hz - BURST_HZ) < 200)]
            in_sound.append(of_burst.mean() > 5 * cells.mean())
        if clip.emotion == "happy":
            assert min(why.modalities, key=lambda modality: modality.nats).nats > 0  # Each has half of the label.
    assert min(len(in_words), len(in_sound)) >= 8  # Of twelve: the model has learned what was planted.
    assert np.mean(in_words) >= 0.8
    assert np.mean(in_sound) >= 0.8


@pytest.fixture(scope="module")
def clips(three_speakers):
    return [(one.audio, one.transcript) for one in three_speakers.utterances[::25]]


def test_contributions_add_up_to_the_difference_from_the_mean_sound(early_export, clips):
    predictor = Predictor(early_export)
    explainer = Explainer(predictor)
    for file, transcript in clips:
        why = explainer(file, transcript)
        assert why.time.method == GRADIENTS
        features = predictor.features_of(predictor.read(file, transcript).inputs)
        ends = [
            predictor.signature("features")(**features | {"log_mel": share * features["log_mel"]})
            for share in (0.0, 1.0)
        ]
        emotion = predictor.emotions.index(why.emotion)
        low, high = (np.log(end["probabilities"].numpy()[0, emotion]) for end in ends)
        assert why.time.difference == pytest.approx(high - low, abs=1e-4)
        assert abs(why.time.nats.sum() - (high - low)) <= 0.01 * max(abs(high - low), 0.01) + 1e-4
        np.testing.assert_allclose(why.time.cells.sum(axis=1), why.time.nats, atol=1e-9)


def test_words_and_modalities_are_what_predictions_without_them_say(early_export, clips):
    predictor, (file, transcript) = Predictor(early_export), clips[1]
    why, words = Explainer(predictor)(file, transcript), transcript.split()
    assert why.prediction.to_json() == predictor.predict(file, transcript).to_json()
    whole = np.log(why.prediction.probabilities[why.emotion])
    without = [predictor.predict(file, " ".join(words[:n] + words[n + 1 :])) for n in range(len(words))]
    expected = [whole - np.log(one.probabilities[why.emotion]) for one in without]
    assert [word.name for word in why.words] == words
    np.testing.assert_allclose([word.nats for word in why.words], expected, atol=1e-5)
    changes = why.prediction.changes_without
    assert {one.name: -one.nats for one in why.modalities} == pytest.approx(changes, abs=1e-5)


def test_silent_ends_that_are_cut_off_move_the_time_axis(early_export, clips, tmp_path):
    file, explainer = clips[1][0], Explainer(Predictor(early_export))
    waveform, rate = soundfile.read(file)
    soundfile.write(tmp_path / "late.wav", np.concatenate([np.zeros(rate), waveform]), rate)
    early, late = explainer(file), explainer(tmp_path / "late.wav")
    np.testing.assert_allclose(late.time.seconds, early.time.seconds + 1.0, atol=0.011)
    np.testing.assert_allclose(late.time.nats, early.time.nats, atol=1e-2)
    assert len(late.spectrogram.log_mel) == len(early.spectrogram.log_mel) + 100


def test_sound_of_a_model_on_states_of_an_encoder_is_silenced_bit_by_bit(encoder_run, exported, clips):
    predictor, (file, transcript) = Predictor(exported(encoder_run)), clips[0]
    assert "to_features" not in predictor.metadata["signatures"]
    why = Explainer(predictor)(file, transcript)
    assert (why.time.method, why.time.cells, why.words) == (OCCLUSION, None, ())
    inputs, place = predictor.read(file).inputs, 5
    start = round((why.time.seconds[place] - 0.1) * 16000)
    inputs["waveforms"][:, start : start + 3200] = 0
    without = predictor.predict_batch(**inputs).probabilities[0, predictor.emotions.index(why.emotion)]
    whole = why.prediction.probabilities[why.emotion]
    assert why.time.nats[place] == pytest.approx(np.log(whole) - np.log(without), abs=1e-4)
    assert why.time.difference == pytest.approx(why.modalities[0].nats, abs=1e-5)


def test_what_is_absent_contributes_nothing(early_export, clips):
    explainer, (file, transcript) = Explainer(Predictor(early_export)), clips[0]
    unheard, unsaid = explainer(None, transcript), explainer(file)
    assert (unheard.time, unheard.spectrogram, unsaid.words) == (None, None, ())
    assert dict(unheard.modalities)["audio"] == pytest.approx(0, abs=1e-6)
    assert dict(unsaid.modalities)["text"] == pytest.approx(0, abs=1e-6)


def test_frames_of_a_video_stay_while_its_sound_is_explained(seen_export, tmp_path):
    sound = 0.3 * np.sin(2 * np.pi * 220 * np.arange(96000) / 48000)
    file = write_video(tmp_path / "filmed.mp4", [grey(10 * number + 20) for number in range(20)], sound=sound)
    why = Explainer(Predictor(seen_export))(file, "oh no")
    assert [one.name for one in why.modalities] == ["audio", "text", "video"]
    assert abs(why.time.nats.sum() - why.time.difference) <= 0.01 * max(abs(why.time.difference), 0.01)


def test_an_export_of_before_is_to_be_made_again(early_export, clips, monkeypatch):
    predictor = Predictor(early_export)
    monkeypatch.setattr(predictor._model, "_loaded", SimpleNamespace(signatures=predictor._model._loaded.signatures))
    kept = {name: one for name, one in predictor._model._loaded.signatures.items() if name != "to_features"}
    monkeypatch.setattr(predictor._model._loaded, "signatures", kept)
    with pytest.raises(InputError, match="has no signature to_features: export the run again"):
        Explainer(predictor)(*clips[0])
