"""Tests of emotion_tf.training.transfer: branches start as they were trained, and stay so while they are frozen."""

import dataclasses

import keras
import numpy as np
import pytest

from emotion_tf.models.build import build_model
from emotion_tf.models.early_fusion import JOINS
from emotion_tf.models.late_fusion import late_fusion
from emotion_tf.runs.compatibility import inputs_of
from emotion_tf.training import train, transfer


def test_early_fusion_starts_from_exactly_the_weights_of_its_branches(early_run, audio_run, text_run):
    config = early_run.config()
    model = build_model(config, {"log_mel": 64}, 8192, early_run.metadata().prior)
    transfer.load_branches(model, config, early_run.metadata().emotions)
    copied = 0
    for source, prefix in ((audio_run.model(), "audio_"), (text_run.model(), "text_")):
        for layer in source.layers:
            if layer.name.startswith(prefix):
                for ours, theirs in zip(model.get_layer(layer.name).get_weights(), layer.get_weights(), strict=True):
                    np.testing.assert_array_equal(ours, theirs)
                    copied += 1
    assert copied > 30
    trained = early_run.model().get_layer("text_embedding").get_weights()[0]
    assert (trained != text_run.model().get_layer("text_embedding").get_weights()[0]).any()


@pytest.mark.parametrize("join", JOINS)
def test_early_fusion_of_trained_branches_starts_as_the_product_of_their_probabilities(
    join, make_config, early_run, audio_run, text_run
):
    sources = {"init_audio": str(audio_run.folder), "init_text": str(text_run.folder)}
    metadata = early_run.metadata()
    config = make_config("fusion", fusion="early", join=join, **sources)
    early = train.make_model(config, metadata, inputs_of(early_run), 2)
    branches = {"audio": audio_run.model(), "text": text_run.model()}
    late = late_fusion(branches, metadata.prior, rule="product")
    rng = np.random.default_rng(0)
    features = {
        "log_mel": rng.standard_normal((4, 40, 64)).astype(np.float32),
        "num_frames": np.array([40, 31, 0, 0], np.int32),
        "token_ids": np.array([[2, 7, 4], [2, 0, 0], [2, 9, 5], [2, 0, 0]], np.int32),
    }
    found, expected = (keras.ops.softmax(model(features)).numpy() for model in (early, late))
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert np.abs(found[0] - found[1]).max() > 1e-4


@pytest.mark.parametrize("count", [8, 5])
def test_a_head_is_taken_over_by_name_in_any_order_and_of_fewer_emotions(make_config, early_run, audio_run, count):
    config = make_config("fusion", fusion="early", init_audio=str(audio_run.folder))
    known = audio_run.metadata().emotions
    emotions = known[::-1][:count]
    metadata = dataclasses.replace(early_run.metadata(), emotions=emotions, prior=[1 / count] * count)
    model = train.make_model(config, metadata, inputs_of(early_run), 2)
    trained = audio_run.model()
    kernel = trained.get_layer("emotions").kernel.numpy() / float(trained.get_layer("logits").temperature)
    found = model.get_layer("fusion_audio_emotions").kernel.numpy()
    np.testing.assert_allclose(found, kernel[:, [known.index(emotion) for emotion in emotions]], rtol=1e-6)


def test_a_branch_of_other_emotions_brings_no_head(make_config, early_run, audio_run):
    config = make_config("fusion", fusion="early", init_audio=str(audio_run.folder))
    metadata = dataclasses.replace(early_run.metadata(), emotions=list("abcdefgh"))
    model = train.make_model(config, metadata, inputs_of(early_run), 2)
    assert not model.get_layer("fusion_audio_emotions").kernel.numpy().any()
    assert model.get_layer("emotions").kernel.numpy().any()


def test_branches_frozen_throughout_leave_the_join_and_the_heads_to_train(make_config, early_run, audio_run, text_run):
    sources = {"init_audio": str(audio_run.folder), "init_text": str(text_run.folder)}
    config = make_config("fusion", fusion="early", freeze_epochs=2, **sources)
    model = train.make_model(config, early_run.metadata(), inputs_of(early_run), 2)
    trained = {variable.path.split("/")[0] for variable in model.trainable_variables}
    assert trained == {"fusion_hidden", "emotions", "fusion_audio_emotions", "fusion_text_emotions"}
    assert model.optimizer.multipliers == {}


def test_without_freezing_a_loaded_branch_learns_as_any_unless_it_has_a_multiplier(make_config, early_run, audio_run):
    config = make_config("fusion", fusion="early", init_audio=str(audio_run.folder))
    model = train.make_model(config, early_run.metadata(), inputs_of(early_run), 2)
    assert model.optimizer.multipliers == {}
    assert all(layer.trainable for layer in model.layers)
    slower = dataclasses.replace(config, training=dataclasses.replace(config.training, release_rate=0.1))
    optimizer = train.make_model(slower, early_run.metadata(), inputs_of(early_run), 2).optimizer
    assert set(optimizer.multipliers.values()) == {0.1}
    assert all(path.startswith("audio_") for path in optimizer.multipliers)
    assert (optimizer.frozen, optimizer.unfreeze_step) == ([], 0)


def test_layers_inside_of_models_follow_the_model_that_holds_them():
    inputs = keras.Input((2,))
    inner = keras.Model(inputs, keras.layers.Dense(1, name="deep")(inputs), name="inner")
    outer = keras.Model(inputs, keras.layers.Dense(1, name="last")(inner(inputs)))
    names = [layer.name for layer in transfer.with_nested(outer.layers)]
    assert names.index("inner") < names.index("deep") < names.index("last")
