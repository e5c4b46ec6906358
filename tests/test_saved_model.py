"""Tests of emotion_tf.exporting.saved_model: signatures, and predictions like the run's, whatever is absent."""

import dataclasses
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_text  # noqa: F401  (a SavedModel needs its ops)

from emotion_tf import export as export_module
from emotion_tf.config import AudioConfig
from emotion_tf.evaluation.multilabel import decide, joined
from emotion_tf.evaluation.split import split_of
from emotion_tf.export import export
from emotion_tf.exporting import facts, saved_model, verify
from emotion_tf.exporting.encoder import load_encoder
from emotion_tf.fit import fit
from emotion_tf.runs.folder import Run
from emotion_tf.serving.predictor import Predictor
from pipelines import audio, text
from pipelines.command import InputError
from pipelines.files import write_json
from pipelines.normalisation import Sums
from pipelines.records import read_examples
from pipelines.video import to_array

pytestmark = pytest.mark.usefixtures("compared_here")


@pytest.fixture(scope="module")
def loaded(early_export):
    return tf.saved_model.load(str(early_export / "1"))


@pytest.fixture(scope="module")
def text_export(text_run, tmp_path_factory):
    """An export of a run that reads text alone; the comparison in a new process has its own tests."""
    folder = tmp_path_factory.mktemp("exports") / "text"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(export_module, "verify_export", lambda *arguments: (0.0, "clips"))
        export(text_run, folder)
    return folder


@pytest.fixture
def agreeing(monkeypatch):
    monkeypatch.setattr(export_module, "verify_export", lambda *arguments: (0.0, "clips"))


def noise(num_samples, seed=0):
    return (0.1 * np.random.default_rng(seed).standard_normal(num_samples)).astype(np.float32)


def serve(loaded, waveform, transcripts):
    signature = loaded.signatures["serving_default"]
    return signature(waveform=tf.constant(waveform, tf.float32), transcript=tf.constant(transcripts, tf.string))


def together(*waveforms):
    batch = np.zeros((len(waveforms), max(map(len, waveforms))), np.float32)
    for row, waveform in zip(batch, waveforms, strict=True):
        row[: len(waveform)] = waveform
    return batch


def test_its_signatures_have_these_names_types_and_shapes(loaded):
    assert set(loaded.signatures) == {"serving_default", "features", "to_features"}
    specs = {name: loaded.signatures[name].structured_input_signature[1] for name in loaded.signatures}
    found = {name: {key: (s.dtype.name, s.shape.as_list()) for key, s in spec.items()} for name, spec in specs.items()}
    assert found["serving_default"] == {"waveform": ("float32", [None, None]), "transcript": ("string", [None])}
    assert found["features"] == {
        "log_mel": ("float32", [None, None, 64]),
        "num_frames": ("int32", [None]),
        "token_ids": ("int32", [None, None]),
    }
    outputs = loaded.signatures["to_features"].structured_outputs
    assert found["to_features"] == found["serving_default"]
    assert {key: spec.dtype.name for key, spec in outputs.items()} == {
        key: name for key, (name, _) in found["features"].items()
    }
    for signature in (loaded.signatures["serving_default"], loaded.signatures["features"]):
        outputs = {key: spec.dtype.name for key, spec in signature.structured_outputs.items()}
        assert outputs == {
            "probabilities": "float32",
            "emotions": "string",
            "predicted": "bool",
            "embedding": "float32",
        }


def test_signatures_are_the_same_where_the_run_lacks_a_modality(text_export, loaded):
    text = tf.saved_model.load(str(text_export / "1"))
    for name in ("serving_default", "features"):
        found, expected = (model.signatures[name].structured_input_signature[1] for model in (text, loaded))
        assert set(found) == set(expected)
    silent, loud = (
        serve(text, waveform, ["oh no", ""])["probabilities"]
        for waveform in (np.zeros((2, 1)), together(noise(9000))[[0, 0]])
    )
    np.testing.assert_array_equal(silent, loud)


def test_emotions_are_the_names_in_every_row_and_probabilities_add_up(loaded, early_run):
    found = serve(loaded, together(noise(20000), noise(9000)), ["oh no", ""])
    names = [name.encode() for name in early_run.metadata().emotions]
    assert found["emotions"].numpy().tolist() == [names, names]
    np.testing.assert_allclose(found["probabilities"].numpy().sum(axis=1), 1, atol=1e-6)


def test_one_emotion_is_predicted_the_most_probable(loaded):
    found = serve(loaded, together(noise(20000), noise(9000)), ["oh no", ""])
    probabilities, predicted = found["probabilities"].numpy(), found["predicted"].numpy()
    assert predicted.sum(axis=1).tolist() == [1, 1]
    assert predicted.argmax(axis=1).tolist() == probabilities.argmax(axis=1).tolist()


def test_a_batch_equals_one_by_one(loaded):
    waveforms = [noise(20000), noise(301), noise(9000, 1)]
    transcripts = ["oh no", "what a lovely day it was", ""]
    beside = serve(loaded, together(*waveforms), transcripts)["probabilities"]
    alone = [
        serve(loaded, waveform[None], [transcript])["probabilities"][0]
        for waveform, transcript in zip(waveforms, transcripts, strict=True)
    ]
    np.testing.assert_allclose(beside, alone, atol=1e-5)


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        (lambda one: np.where(np.arange(one.size) == 1000, np.nan, one), "waveform holds NaN or infinite values"),
        (lambda one: np.where(np.arange(one.size) == 1000, -np.inf, one), "waveform holds NaN or infinite values"),
        (lambda one: np.rint(one * 32768), "waveform has a peak above 2 and must be from -1 to 1: divide int16 by"),
    ],
    ids=["NaN", "infinite", "int16"],
)
def test_samples_that_are_no_sound_are_refused_also_beside_others(loaded, changed, sentence):
    with pytest.raises(tf.errors.InvalidArgumentError, match=sentence):
        serve(loaded, np.stack([noise(20000), changed(noise(20000))]), ["oh no", "oh no"])
    assert np.isfinite(serve(loaded, noise(20000)[None] * 4, ["oh no"])["probabilities"]).all()


def test_features_that_are_no_numbers_are_refused(loaded):
    features = {
        "log_mel": tf.fill([1, 20, 64], np.float32("nan")),
        "num_frames": tf.constant([20]),
        "token_ids": tf.constant([[2]]),
    }
    with pytest.raises(tf.errors.InvalidArgumentError, match="log_mel holds NaN or infinite values"):
        loaded.signatures["features"](**features)


@pytest.mark.parametrize("waveform", [np.zeros((2, 0)), np.zeros((2, 1)), np.zeros((2, 20000))])
@pytest.mark.parametrize("transcript", ["", "  \n"])
def test_with_everything_absent_probabilities_are_the_training_prior(loaded, early_run, waveform, transcript):
    found = serve(loaded, waveform, [transcript, transcript])["probabilities"]
    np.testing.assert_allclose(found, [early_run.metadata().prior] * 2, atol=1e-6)


def to_features(run, metadata, waveform, transcripts):
    raw = {"waveform": tf.constant(waveform), "transcript": tf.constant(transcripts)}
    return saved_model.raw_to_features(run, metadata, None)(raw)


def test_the_features_signature_predicts_like_serving_default(loaded, early_run, early_export):
    waveform, transcripts = together(noise(20000), noise(9000)), ["oh no", ""]
    features = to_features(
        early_run, json.loads((early_export / "1" / "metadata.json").read_text()), waveform, transcripts
    )
    found = loaded.signatures["features"](**features)["probabilities"]
    np.testing.assert_allclose(found, serve(loaded, waveform, transcripts)["probabilities"], atol=1e-6)
    raw = {"waveform": tf.constant(waveform), "transcript": tf.constant(transcripts)}
    for name, values in loaded.signatures["to_features"](**raw).items():
        np.testing.assert_allclose(values, features[name], atol=1e-5)


def test_an_export_that_reads_acoustic_features_computes_them_and_takes_them(early_run, tmp_path):
    import keras

    inputs = {name: keras.Input((None, size), name=name) for name, size in (("log_mel", 64), ("acoustic", 103))}
    inputs["num_frames"] = keras.Input((), dtype="int32", name="num_frames")
    joined = keras.layers.Concatenate()([inputs["log_mel"], inputs["acoustic"]])
    logits = keras.layers.Dense(8)(keras.ops.mean(joined, axis=1))
    model = keras.Model(inputs, logits + 0.0 * keras.ops.cast(inputs["num_frames"], "float32")[:, None])
    metadata = facts.export_metadata(early_run, model)
    assert metadata["audio_features"] == ["log_mel", "acoustic"]
    saved_model.write_saved_model(model, None, metadata, early_run, tmp_path)
    loaded = tf.saved_model.load(str(tmp_path))
    spec = loaded.signatures["features"].structured_input_signature[1]
    assert {name: one.shape.as_list() for name, one in spec.items()} == {
        "log_mel": [None, None, 64],
        "acoustic": [None, None, 103],
        "num_frames": [None],
        "token_ids": [None, None],
    }
    waveform, transcripts = together(noise(20000), noise(9000)), ["oh no", ""]
    features = to_features(early_run, metadata, waveform, transcripts)
    computed, num_frames = audio.frame_features(waveform, audio.FrontEnd(), ["acoustic"])
    np.testing.assert_allclose(
        features["acoustic"], audio.normalise_frames(computed, num_frames)["acoustic"], atol=1e-3
    )
    served = serve(loaded, waveform, transcripts)["probabilities"]
    np.testing.assert_allclose(loaded.signatures["features"](**features)["probabilities"], served, atol=1e-5)
    expected = tf.nn.softmax(model({name: features[name] for name in inputs}))
    np.testing.assert_allclose(served, expected, atol=1e-5)


def encoder_config(make_config, folder, *features):
    config = make_config("audio", epochs=1, records=str(folder))
    return dataclasses.replace(config, audio=dataclasses.replace(config.audio, features=features))


@pytest.fixture(scope="module")
def encoder_export(encoder_run, exported):
    """The export of a run on states of an encoder alone."""
    return exported(encoder_run)


@pytest.fixture(scope="module")
def waveform_run(make_config, states_and_waveforms, fitted):
    """A run on states and frames of them."""
    return fitted("states-and-frames", encoder_config(make_config, states_and_waveforms, "log_mel", "encoder"))


def test_a_run_on_states_of_an_encoder_takes_waveforms_and_states(encoder_run, tmp_path):
    sentence = "50 examples of states of stored clips and 50 examples of generated clips (none stored) to"
    assert sentence in export(encoder_run, tmp_path / "export")
    metadata = json.loads((tmp_path / "export" / "1" / "metadata.json").read_text())
    assert (metadata["signatures"], metadata["audio_features"]) == (["serving_default", "features"], ["encoder"])
    assert (metadata["encoder"]["model"], metadata["encoder"]["blocks"]) == ("random.pt", [2, 3])
    loaded = tf.saved_model.load(str(tmp_path / "export" / "1"))
    specs = {name: loaded.signatures[name].structured_input_signature[1] for name in loaded.signatures}
    assert {name: spec.shape.as_list() for name, spec in specs["features"].items()} == {
        "encoder": [None, None, 2, 8],
        "num_steps": [None],
        "token_ids": [None, None],
    }
    assert set(specs["serving_default"]) == {"waveform", "transcript"}
    stored = split_of(encoder_run, "validation", ["audio"], ["encoder"])
    rows = encoder_run.predictions().set_index("utterance_id").loc[stored.utterances["utterance_id"]]
    [features] = stored.features
    found = loaded.signatures["features"](token_ids=tf.fill([len(rows), 1], 2), **features)
    expected = rows[[f"probability_{emotion}" for emotion in metadata["emotions"]]].to_numpy()
    np.testing.assert_allclose(found["probabilities"], expected, atol=2e-6)
    assert found["emotions"].numpy()[0].astype(str).tolist() == metadata["emotions"]


def test_waveforms_get_the_probabilities_of_their_stored_states(waveform_run, tmp_path):
    assert "agrees with the run on 50 examples of stored clips to" in export(waveform_run, tmp_path / "export")
    config, metadata = waveform_run.config(), waveform_run.metadata()
    examples = read_examples(Path(config.records), metadata.fold.validation, 30)
    predictor = Predictor(tmp_path / "export")
    waveforms = audio.pad_together([one.waveform for one in examples])
    expected = waveform_run.predictions()[[f"probability_{emotion}" for emotion in metadata.emotions]].to_numpy()
    found = predictor.predict_batch(waveforms, [""] * 30).probabilities
    np.testing.assert_allclose(found, expected, atol=1e-4)
    softer = predictor.predict_batch(0.03 * waveforms, [""] * 30).probabilities
    np.testing.assert_allclose(softer, expected, atol=1e-4)


@pytest.mark.parametrize("features", [("encoder",), pytest.param(("log_mel", "encoder"), marks=pytest.mark.slow)])
def test_states_are_normalised_as_in_training(features, make_config, states_and_waveforms, tmp_path):
    config = dataclasses.replace(encoder_config(make_config, states_and_waveforms, *features), normalise="training")
    run = Run(tmp_path / "run")
    fit(config, run)
    assert "agrees with the run on 50 examples of stored clips to" in export(run, run.export)
    examples = read_examples(states_and_waveforms, run.metadata().fold.validation, 30)
    waveforms = audio.pad_together([one.waveform for one in examples])
    expected = run.predictions()[[f"probability_{emotion}" for emotion in run.metadata().emotions]].to_numpy()
    np.testing.assert_allclose(Predictor(run.export).predict_batch(waveforms, [""] * 30)[0], expected, atol=1e-4)


def test_absent_silent_short_and_long_audio_get_an_answer(encoder_export, encoder_run):
    loaded = tf.saved_model.load(str(encoder_export / "1"))
    found = serve(loaded, together(noise(100), noise(20000), np.zeros(1)), ["", "", ""])["probabilities"].numpy()
    np.testing.assert_allclose(found[2], encoder_run.metadata().prior, atol=1e-5)
    np.testing.assert_allclose(serve(loaded, np.zeros((1, 0)), [""])["probabilities"][0], found[2], atol=1e-6)
    np.testing.assert_allclose(serve(loaded, noise(100)[None], [""])["probabilities"][0], found[0], atol=1e-5)
    np.testing.assert_allclose(serve(loaded, noise(20000)[None], [""])["probabilities"][0], found[1], atol=1e-5)
    silent = serve(loaded, noise(20000)[None] * 1e-3, [""])["probabilities"].numpy()
    assert np.isfinite(silent).all()
    long = serve(loaded, noise(45 * 16000)[None], [""])["probabilities"].numpy()
    np.testing.assert_allclose(long.sum(), 1, atol=1e-5)


@pytest.mark.parametrize("value", [np.nan, 30000.0])
def test_an_encoder_gets_no_samples_that_are_no_sound(encoder_export, value):
    loaded = tf.saved_model.load(str(encoder_export / "1"))
    with pytest.raises(tf.errors.InvalidArgumentError, match="waveform h"):
        serve(loaded, np.full((1, 16000), value), [""])


def test_a_file_is_predicted_without_torch_and_whisper(encoder_export, three_speakers):
    [file, *_] = [one.audio for one in three_speakers.utterances]
    code = (
        "import sys\n"
        "class Missing:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.partition('.')[0] in ('torch', 'whisper'):\n"
        "            raise ImportError(name)\n"
        "sys.meta_path.insert(0, Missing())\n"
        "from emotion_tf.predict import main\n"
        "main(sys.argv[1:])\n"
    )
    command = [sys.executable, "-c", code, "--model", str(encoder_export), str(file)]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert json.loads(printed)["probabilities"] == Predictor(encoder_export).predict(file).to_json()["probabilities"]


def bytes_of_variables(folder):
    return sum(path.stat().st_size for path in (folder / "1" / "variables").glob("variables.data*"))


def test_weights_are_stored_once_and_half_as_large_in_float16(encoder_run, encoder_export, tmp_path):
    weights = load_encoder(encoder_run, None).count_params() + encoder_run.model().count_params()
    slack = 9000  # The graph of objects.
    assert 4 * weights < bytes_of_variables(encoder_export) < 4 * weights + slack
    assert "agrees with the run on" in export(encoder_run, tmp_path / "half", variables="float16")
    assert 2 * weights < bytes_of_variables(tmp_path / "half") < 2 * weights + slack
    assert json.loads((tmp_path / "half" / "1" / "metadata.json").read_text())["variables"] == "float16"
    waveforms = together(noise(20000), noise(9000))
    found, expected = (
        Predictor(folder).predict_batch(waveforms, ["", ""]).probabilities
        for folder in (tmp_path / "half", encoder_export)
    )
    np.testing.assert_allclose(found, expected, atol=1e-3)
    assert np.abs(found - expected).max() > 0


def test_states_on_the_scale_of_training_join_frames_on_that_of_each_clip(make_config, states_and_waveforms, tmp_path):
    heads = [Run(tmp_path / "states"), Run(tmp_path / "frames")]
    states = encoder_config(make_config, states_and_waveforms, "encoder")
    fit(dataclasses.replace(states, normalise="training"), heads[0])
    fit(encoder_config(make_config, states_and_waveforms, "log_mel"), heads[1])
    late, runs = Run(tmp_path / "late"), tuple(str(run.folder) for run in heads)
    fit(make_config("fusion", fusion="late", records=str(states_and_waveforms), runs=runs), late)
    names = late.metadata().emotions
    columns = [f"probability_{emotion}" for emotion in names]
    joined, *alone = (run.predictions().set_index("utterance_id")[columns] for run in (late, *heads))
    # The mean rule, calibrated anew: what is most probable of the mean of both stays so.
    mean = (alone[0].loc[joined.index] + alone[1].loc[joined.index]) / 2
    np.testing.assert_array_equal(joined.to_numpy().argmax(axis=1), mean.to_numpy().argmax(axis=1))
    assert "agrees with the run on 50 examples of stored clips to" in export(late, late.export)
    metadata = json.loads((late.export / "1" / "metadata.json").read_text())
    assert (metadata["normalise"], metadata["normalised_by_clip"]) == ("training", ["log_mel"])
    units = {name: metadata["interface"]["features"]["inputs"][name]["unit"] for name in ("log_mel", "encoder")}
    assert units["log_mel"].endswith("normalised clip by clip")
    assert units["encoder"] == "states, normalised (normalise)"
    examples = read_examples(states_and_waveforms, late.metadata().fold.validation, 30)
    waveforms = audio.pad_together([one.waveform for one in examples])
    found = Predictor(late.export).predict_batch(waveforms, [""] * 30)[0]
    np.testing.assert_allclose(found, joined.to_numpy(), atol=1e-4)
    written = json.loads(late.normalisation_path.read_text())
    for names in (["log_mel", "nope"], ["log_mel", "encoder"], 5):
        late.normalisation_path.write_text(json.dumps(written | {"by_clip": names}))
        with pytest.raises(InputError, match=r"normalisation\.json is corrupt"):
            late.normalisation()


@pytest.mark.slow
@pytest.mark.parametrize("fusion", ["early", "late"])
def test_encoder_states_beside_frames_and_text_export_all_their_inputs(
    fusion, make_config, encoder_run, audio_run, text_run, tmp_path
):
    config = make_config("fusion", fusion=fusion, epochs=1, records=encoder_run.config().records)
    if fusion == "early":
        config = dataclasses.replace(config, audio=AudioConfig((4,), 4, 4, features=("log_mel", "encoder")))
    else:
        config = dataclasses.replace(config, runs=tuple(str(run.folder) for run in (audio_run, encoder_run, text_run)))
    run = Run(tmp_path / "run")
    fit(config, run)
    assert set(run.model().input) == {"log_mel", "num_frames", "encoder", "num_steps", "token_ids"}
    assert "50 examples of states of stored clips and 50 examples of generated" in export(run, tmp_path / "export")
    loaded = tf.saved_model.load(str(tmp_path / "export" / "1"))
    assert set(loaded.signatures["features"].structured_input_signature[1]) == set(run.model().input)
    features = verify._stored_features(run, run.model())
    found = loaded.signatures["features"](**features)["probabilities"]
    np.testing.assert_allclose(found, tf.nn.softmax(run.model()(features)), atol=1e-5)


def test_stored_clips_get_the_probabilities_of_predictions_csv(early_export, early_run):
    config, metadata = early_run.config(), early_run.metadata()
    examples = read_examples(Path(config.records), metadata.fold.validation, 30)
    waveforms, transcripts = (
        audio.pad_together([one.waveform for one in examples]),
        [one.transcript for one in examples],
    )
    found = Predictor(early_export).predict_batch(waveforms, transcripts).probabilities
    columns = [f"probability_{emotion}" for emotion in metadata.emotions]
    expected = early_run.predictions()[columns].to_numpy()
    np.testing.assert_allclose(np.sort(found, axis=0), np.sort(expected, axis=0), atol=1e-5)


def test_metadata_says_what_a_user_of_the_export_must_know(early_export):
    metadata = json.loads((early_export / "1" / "metadata.json").read_text())
    assert (metadata["modalities"], metadata["audio_features"]) == (["audio", "text"], ["log_mel"])
    assert metadata["marks"] == ["synthetic"]
    assert (metadata["sample_rate"], metadata["max_tokens"], metadata["run"]) == (16000, 64, "early")
    assert len(metadata["emotions"]) == 8


def test_metadata_holds_headline_and_accuracy_of_the_splits_that_were_read(early_export, early_run):
    metadata, scores = json.loads((early_export / "1" / "metadata.json").read_text()), early_run.scores()
    assert set(metadata["scores"]) == {"test", "validation"} & set(scores)
    found, stored = metadata["scores"]["validation"], scores["validation"]
    assert (found["num_utterances"], found["unit"]) == (stored["num_utterances"], "speaker")
    name = "unweighted_average_recall"
    expected = {"name": "UAR", "score": stored[name], "interval": stored[f"{name}_interval"], "chance": 0.125}
    assert found[name] == expected
    assert found["accuracy"]["score"] == stored["accuracy"]
    assert metadata["late_rule"] is None


def test_metadata_of_a_late_fusion_holds_its_rule(late_export, late_run):
    late = json.loads((late_export / "1" / "metadata.json").read_text())["late_rule"]
    assert (late["rule"], late["modalities"], late["weights"]) == ("mean", [["audio"], ["text"]], [1.0, 1.0])
    assert late["temperature"] == pytest.approx(late_run.temperature(), rel=1e-6)


@pytest.fixture(scope="module")
def goemotions_export(goemotions_run, tmp_path_factory):
    """What the command says, and the export of a run on text of several emotions an utterance."""
    folder = tmp_path_factory.mktemp("exports") / "goemotions"
    return export(goemotions_run, folder), folder


def test_records_of_text_alone_are_compared_on_their_sentences(goemotions_export):
    assert "agrees with the run on 50 examples of stored sentences" in goemotions_export[0]


def test_an_export_of_several_emotions_names_those_of_predictions_csv(goemotions_export, goemotions_run):
    metadata = json.loads((goemotions_export[1] / "1" / "metadata.json").read_text())
    fold = goemotions_run.metadata().fold
    examples = read_examples(Path(goemotions_run.config().records), fold.validation, 100, fold.by)
    waveforms, transcripts = (
        audio.pad_together([one.waveform for one in examples]),
        [one.transcript for one in examples],
    )
    probabilities, predicted, shares, _ = Predictor(goemotions_export[1]).predict_batch(waveforms, transcripts)
    assert shares is None
    stored = goemotions_run.predictions()
    expected = stored.filter(like="probability_").to_numpy()
    np.testing.assert_allclose(np.sort(probabilities, axis=0), np.sort(expected, axis=0), atol=1e-5)
    assert np.abs(probabilities.sum(axis=1) - 1).max() > 0.01
    found = joined(predicted, metadata["emotions"])
    assert sorted(found) == sorted(stored["predicted"])
    assert metadata["is_multi_label"]
    assert list(metadata["thresholds"].values()) == goemotions_run.thresholds().tolist()


@pytest.mark.parametrize(
    ("probabilities", "expected"),
    [
        ([0.5, 0.2, 0.1], [True, True, False]),
        ([0.1, 0.19, 0.8], [False, True, False]),  # None is reached, and the second comes closest.
        ([0.5, 0.1, 0.9], [True, False, True]),
    ],
)
def test_emotions_are_named_as_multilabel_decides(probabilities, expected):
    metadata = {"emotions": ["a", "b", "c"], "thresholds": {"a": 0.4, "b": 0.2, "c": 0.85}}
    rows = np.array([probabilities], np.float32)
    found = saved_model._decide(tf.constant(rows), metadata).numpy()
    np.testing.assert_array_equal(found, [expected])
    np.testing.assert_array_equal(found, decide(rows, np.array([0.4, 0.2, 0.85], np.float32)))


def leave_one_out(run):
    """Of each validation clip: waveform, and mean and deviation over the speaker's other clips, by numpy."""
    fold, folder = run.metadata().fold, Path(run.config().records)
    waveforms = [one.waveform for one in read_examples(folder, fold.validation, 30)]
    clips = []
    for waveform in waveforms:
        features, num_frames = audio.frame_features(audio.to_float(waveform)[None], audio.FrontEnd(), ["log_mel"])
        clips.append(features["log_mel"].numpy()[0, : int(num_frames[0])].astype(np.float64))
    others = [np.concatenate(clips[:index] + clips[index + 1 :]) for index in range(len(clips))]
    return waveforms, np.stack([one.mean(axis=0) for one in others]), np.stack([one.std(axis=0) for one in others])


def test_an_export_of_enrolled_speakers_predicts_as_the_run_from_their_other_clips(enrolled_export, enrolled_run):
    waveforms, means, deviations = leave_one_out(enrolled_run)
    assert len(enrolled_run.metadata().fold.validation) == 1
    given = audio.pad_together(waveforms), [""] * len(waveforms)
    predict = Predictor(enrolled_export).predict_batch
    found = predict(*given, speaker_mean=means, speaker_std=deviations).probabilities
    expected = enrolled_run.predictions().filter(like="probability_").to_numpy()
    np.testing.assert_allclose(np.sort(found, axis=0), np.sort(expected, axis=0), atol=1e-5)
    assert np.abs(predict(*given).probabilities - found).max() > 1e-3


def test_an_export_of_enrolled_speakers_has_two_more_inputs(enrolled_export, enrolled_run):
    loaded = tf.saved_model.load(str(enrolled_export / "1"))
    spec = loaded.signatures["serving_default"].structured_input_signature[1]
    found = {name: (one.dtype.name, one.shape.as_list()) for name, one in spec.items()}
    assert found == {
        "waveform": ("float32", [None, None]),
        "transcript": ("string", [None]),
        "speaker_mean": ("float32", [None, 64]),
        "speaker_std": ("float32", [None, 64]),
    }
    features = loaded.signatures["features"].structured_input_signature[1]
    assert set(features) == {"log_mel", "num_frames", "token_ids"}
    metadata = json.loads((enrolled_export / "1" / "metadata.json").read_text())
    assert (metadata["normalise"], metadata["marks"]) == ("enrolled", ["synthetic", "enrolled speaker"])


def test_recordings_are_summed_in_the_export_whatever_stands_beside_them(enrolled_export):
    loaded = tf.saved_model.load(str(enrolled_export / "1"))
    waveform = noise(9000)
    found = loaded.signatures["enrol"](waveform=tf.constant(together(noise(20000), waveform, np.zeros(5))))
    features, [num_frames] = audio.frame_features(waveform[None], audio.FrontEnd(), ["log_mel"])
    expected = Sums.of(features["log_mel"].numpy()[0, : int(num_frames)])
    for name in ("counts", "total", "squares"):
        np.testing.assert_allclose(found[name][1], getattr(expected, name), rtol=1e-5)
        np.testing.assert_array_equal(found[name][2], 0)


@pytest.fixture(scope="module")
def enrolled_states_run(make_config, states_and_waveforms, fitted):
    """A run on states and frames that normalises both by the speaker's other clips."""
    config = encoder_config(make_config, states_and_waveforms, "log_mel", "encoder")
    return fitted("enrolled-states", dataclasses.replace(config, normalise="enrolled"))


def test_states_of_enrolled_speakers_give_the_probabilities_of_the_run(enrolled_states_run, exported, three_speakers):
    predictor, metadata = Predictor(exported(enrolled_states_run)), enrolled_states_run.metadata()
    assert "enrolled speaker" in metadata.marks
    specs = predictor.signature("serving_default").structured_input_signature[1]
    assert [specs[name].shape.as_list() for name in saved_model.SPEAKER_INPUTS] == [[None, 64 + 2 * 8]] * 2
    [speaker] = metadata.fold.validation
    files = {one.utterance_id: one.audio for one in three_speakers.utterances if one.speaker == speaker}
    enrolled, rows = predictor.enrol(list(files.values())), enrolled_states_run.predictions().iloc[::9]
    expected = rows[[f"probability_{emotion}" for emotion in metadata.emotions]].to_numpy()
    found, plain = (
        [list(predictor.predict(files[name], enrolled=others).probabilities.values()) for name in rows["utterance_id"]]
        for others in (enrolled, [])
    )
    worst, without = (np.abs(np.array(values) - expected).max() for values in (found, plain))
    assert worst < 1e-4 < 3e-4 < without


@pytest.mark.slow
@pytest.mark.parametrize("fusion", ["early", "late"])
def test_fusions_of_states_of_enrolled_speakers_are_exported(
    fusion, make_config, enrolled_states_run, text_run, tmp_path
):
    config = make_config("fusion", fusion=fusion, epochs=1, records=enrolled_states_run.config().records)
    if fusion == "early":
        features = AudioConfig((4,), 4, 4, features=("log_mel", "encoder"))
        config = dataclasses.replace(config, audio=features, normalise="enrolled")
    else:
        config = dataclasses.replace(config, runs=(str(enrolled_states_run.folder), str(text_run.folder)))
    run = Run(tmp_path / "run")
    fit(config, run)
    assert set(run.normalisation().mean) == {"log_mel", "encoder"}
    assert "agrees with the run on 50 examples of stored clips to" in export(run, tmp_path / "export")


@pytest.mark.slow
def test_states_by_statistics_of_training_are_exported(make_config, states_and_waveforms, tmp_path):
    config = encoder_config(make_config, states_and_waveforms, "encoder")
    run = Run(tmp_path / "run")
    fit(dataclasses.replace(config, normalise="training"), run)
    assert "agrees with the run on 50 examples of stored clips to" in export(run, tmp_path / "export")
    assert Predictor(tmp_path / "export").metadata["signatures"] == ["serving_default", "features"]


def test_training_statistics_are_built_in_and_stand_for_a_speaker_who_is_not_enrolled(enrolled_export, enrolled_run):
    predictor = Predictor(enrolled_export)
    waveforms, rows, zeros = together(noise(20000), noise(9000)), np.ones((2, 1)), np.zeros((2, 64))

    def predict(**speaker):
        return predictor.predict_batch(waveforms, ["", ""], **speaker).probabilities

    np.testing.assert_array_equal(predict(), predict(speaker_mean=5 + zeros, speaker_std=zeros))
    mean, deviation = enrolled_run.normalisation().vectors(["log_mel"])
    np.testing.assert_allclose(predict(), predict(speaker_mean=rows * mean, speaker_std=rows * deviation), atol=1e-6)


def test_training_statistics_of_a_run_are_constants_of_its_export(enrolled_export, enrolled_run, tmp_path, agreeing):
    """The same model and statistics, without speakers: no further input, and the same as for a speaker not enrolled."""
    run = Run(tmp_path / "run")
    shutil.copytree(enrolled_run.folder, run.folder)
    write_json(run.normalisation_path, dataclasses.asdict(run.normalisation()) | {"mode": "training"})
    export(run, run.export)
    predictor, given = Predictor(run.export), (together(noise(20000), noise(9000)), ["", ""])
    assert set(predictor.signature("serving_default").structured_input_signature[1]) == {"waveform", "transcript"}
    expected = Predictor(enrolled_export).predict_batch(*given).probabilities
    np.testing.assert_allclose(predictor.predict_batch(*given).probabilities, expected, atol=1e-6)


def test_an_export_that_reads_video_takes_frames_in_both_signatures(seen_export, seen_run):
    loaded = tf.saved_model.load(str(seen_export / "1"))
    for name in ("serving_default", "features"):
        spec = loaded.signatures[name].structured_input_signature[1]["video_frames"]
        assert (spec.shape.as_list(), spec.dtype) == ([None, None, 32, 32, 1], tf.float32)
    metadata = json.loads((seen_export / "1" / "metadata.json").read_text())
    assert metadata["modalities"] == ["audio", "text", "video"]
    assert metadata["video"] == {"num_frames": 4, "size": 32, "is_colour": False}
    assert loaded.signatures["serving_default"].structured_outputs["shares"].shape[1] == 3


def test_an_export_that_reads_no_video_takes_no_frames(loaded):
    assert "video_frames" not in loaded.signatures["serving_default"].structured_input_signature[1]


def test_stored_videos_get_the_probabilities_of_predictions_csv_whatever_is_left_out(seen_export, seen_run):
    config, metadata = seen_run.config(), seen_run.metadata()
    examples = read_examples(Path(config.records), metadata.fold.validation, 30)
    predictor, columns = Predictor(seen_export), [f"probability_{emotion}" for emotion in metadata.emotions]
    waveforms, transcripts = (
        audio.pad_together([one.waveform for one in examples]),
        [one.transcript for one in examples],
    )
    frames = np.stack([to_array(one.images, predictor.video) for one in examples])
    given = {
        "": (waveforms, transcripts, frames),
        "audio": (0 * waveforms, transcripts, frames),
        "text": (waveforms, [""] * len(transcripts), frames),
        "video": (waveforms, transcripts, None),
    }
    for without, (*arrays, video_frames) in given.items():
        found = predictor.predict_batch(*arrays, video_frames=video_frames).probabilities
        expected = seen_run.predictions(without)[columns].to_numpy()
        np.testing.assert_allclose(np.sort(found, axis=0), np.sort(expected, axis=0), atol=1e-5)


def test_an_export_reads_lines_of_context_as_its_run_does(context_run, context_records, exported):
    predictor, model = Predictor(exported(context_run)), context_run.model()
    stored = read_examples(context_records, ["validation"], 20, "published_split")
    tokenizer, words = text.own_tokenizer(), [one.transcript for one in stored]
    contexts = [one.context for one in stored]
    assert any(contexts)
    quiet = np.zeros((len(stored), 1600), np.float32)
    found = predictor.predict_batch(quiet, words, contexts=contexts).probabilities
    ids = tokenizer(words, 16, contexts).to_tensor().numpy()
    np.testing.assert_allclose(found, tf.nn.softmax(model({"token_ids": ids})), atol=1e-5)
    assert np.abs(found - predictor.predict_batch(quiet, words).probabilities).max() > 1e-5
