"""Tests of emotion_tf.models.head: temperature, prior, and logits of given probabilities."""

import keras
import numpy as np
import pytest
import scipy.special
from test_build import BOTH, NOTHING, PRIOR, VOCABULARY_SIZE, WIDTHS, batch, build, build_early, probabilities, sigmoids

from emotion_tf.config import Config, TextConfig
from emotion_tf.evaluation.calibration import set_temperature
from emotion_tf.models.build import build_model
from emotion_tf.models.early_fusion import JOINS
from emotion_tf.models.head import CalibratedLogits, logits_of
from emotion_tf.models.late_fusion import late_fusion


def test_logits_are_divided_by_the_temperature_where_anything_is_present_and_else_of_the_prior():
    layer, logits = CalibratedLogits(PRIOR), np.float32([[1, -2, 0.5], [1, -2, 0.5]])
    layer.build((None, 3), (None,))
    layer.temperature.assign(2.0)
    found = layer(logits, np.array([True, False]))
    np.testing.assert_allclose(found, [logits[0] / 2, np.log(PRIOR)], rtol=1e-6)


@pytest.mark.parametrize(("is_multi_label", "inverse"), [(False, scipy.special.softmax), (True, scipy.special.expit)])
def test_logits_of_probabilities_give_them_back_and_are_finite_at_0_and_1(is_multi_label, inverse):
    given = np.float32([0.2, 0.5, 0.3, 0, 1e-20] if not is_multi_label else [0.2, 0.5, 0.3, 0, 1])
    found = logits_of(given, is_multi_label).numpy()
    assert np.isfinite(found).all()
    np.testing.assert_allclose(inverse(found), given, atol=1e-6)


def test_the_layer_is_rebuilt_from_its_config():
    layer = CalibratedLogits(PRIOR, is_multi_label=True, name="logits")
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert again.get_config() == layer.get_config()


@pytest.mark.parametrize("name", ["audio", "text", *JOINS])
def test_with_everything_absent_probabilities_are_the_training_prior(name):
    model = build_early(name) if name in JOINS else build(name)
    np.testing.assert_allclose(probabilities(model, batch(NOTHING)), [PRIOR], atol=1e-6)


@pytest.mark.parametrize("name", ["audio", "text", "early", "late"])
def test_a_temperature_divides_the_logits_and_leaves_the_prior_of_absent_input(name):
    texts = {str(seed): build("text", seed=seed) for seed in (0, 1)}
    model = {"early": build_early, "late": lambda: late_fusion(texts, PRIOR)}.get(name, lambda: build(name))()
    features = {key: value for key, value in batch(BOTH, BOTH, NOTHING).items() if key in model.input}
    before = model(features).numpy()
    set_temperature(model, 2.5)
    after = model(features).numpy()
    np.testing.assert_allclose(after[:2], before[:2] / 2.5, rtol=1e-6)
    np.testing.assert_allclose(keras.ops.softmax(after)[2], PRIOR, atol=1e-6)
    assert np.abs(after[0] - before[0]).max() > 0.01


def test_training_leaves_the_temperature_alone():
    model = build("text")
    assert "temperature" not in {variable.name for variable in model.trainable_variables}
    assert float(build_model(Config("text", "x"), WIDTHS, 20, PRIOR).get_layer("logits").temperature) == 1


def test_with_several_emotions_the_prior_and_the_start_are_a_sigmoid_each():
    config = Config("text", "x", text=TextConfig(4, (4,), 4, 6))
    model = build_model(config, WIDTHS, VOCABULARY_SIZE, PRIOR, is_multi_label=True)
    np.testing.assert_allclose(sigmoids(model, batch(NOTHING)), [PRIOR], atol=1e-6)
    np.testing.assert_allclose(scipy.special.expit(model.get_layer("emotions").bias), PRIOR, atol=1e-6)
