"""Tests of emotion_tf.exporting.variables: each weight once, and in half the size where that is asked for."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from emotion_tf.exporting.variables import StoredVariables
from pipelines.command import InputError


@pytest.fixture
def model():
    inputs = keras.Input((3,))
    return keras.Model(inputs, keras.layers.BatchNormalization()(keras.layers.Dense(2, name="dense")(inputs)))


def test_float32_variables_are_those_of_the_models_and_shared_ones_stand_once(model):
    other = keras.Model(model.input, model.get_layer("dense").output)
    stored = StoredVariables([model, other], "float32")
    assert [id(value) for value in stored.values] == [id(weight.value) for weight in model.weights]
    with stored.in_use():
        np.testing.assert_array_equal(model(np.ones((1, 3))), model(np.ones((1, 3))))


def test_float16_variables_are_cast_when_they_are_used_and_no_other_is_captured(model):
    stored, inputs = StoredVariables([model], "float16"), tf.constant([[0.3, -1.2, 2.0]])

    @tf.function
    def predict(values):
        with stored.in_use():
            return model(values)

    found, expected = predict(inputs), model(inputs)
    assert found.dtype == tf.float32
    np.testing.assert_allclose(found, expected, rtol=2e-3, atol=1e-4)
    assert np.abs(found - expected).max() > 0
    captured = {id(one) for one in predict.get_concrete_function(inputs).variables}
    assert captured <= {id(value) for value in stored.values}
    assert {value.dtype for value in stored.values} == {tf.float16}


def test_weights_beyond_float16_are_refused(model):
    model.get_layer("dense").bias.assign([1.0, 1e6])
    with pytest.raises(InputError, match=r"--variables float16 does not hold weights up to 1e\+06: leave it out"):
        StoredVariables([model], "float16")
