"""Tests of emotion_tf.training.optimizer: one schedule, several rates, and AdamW where the multiplier is 1."""

import keras
import numpy as np
import pytest

from emotion_tf.training.optimizer import MultiRateAdamW


@pytest.fixture
def model():
    inputs = keras.Input((2,))
    model = keras.Model(inputs, keras.layers.Dense(1, name="new")(keras.layers.Dense(3, name="old")(inputs)))
    for number, weight in enumerate(model.weights):
        weight.assign(np.random.default_rng(number).standard_normal(weight.shape))
    return model


def slow_of(model, multiplier):
    return {variable.path: multiplier for variable in model.get_layer("old").trainable_variables}


def steps(model, optimizer, count=1):
    """Trains on one batch and returns how far each layer's kernel moved."""
    model.compile(optimizer, "mse")
    before = {name: model.get_layer(name).get_weights()[0] for name in ("old", "new")}
    for _ in range(count):
        model.train_on_batch(np.array([[1.0, 2], [3, -4]]), np.array([[1.0], [2]]))
    return {name: model.get_layer(name).get_weights()[0] - before[name] for name in before}


def test_the_first_step_moves_slow_weights_by_their_share_of_the_rate(model):
    moved = steps(model, MultiRateAdamW(0.1, slow_of(model, 0.01), weight_decay=0.0))
    # The first step of Adam is the rate itself, in the direction of the gradient.
    np.testing.assert_allclose(np.abs(moved["new"]), 0.1, rtol=1e-3)
    np.testing.assert_allclose(np.abs(moved["old"]), 0.001, rtol=1e-2)


def test_both_rates_follow_the_schedule(model):
    schedule = keras.optimizers.schedules.PiecewiseConstantDecay([0], [0.1, 0.0])
    optimizer = MultiRateAdamW(schedule, slow_of(model, 0.5), weight_decay=0.0)
    assert np.abs(steps(model, optimizer)["old"]).max() > 0.01
    moved = steps(model, optimizer, 2)
    assert not moved["old"].any()
    assert not moved["new"].any()


@pytest.mark.parametrize(("multiplier", "decay"), [(1.0, 0.0), (None, 0.0), (None, 0.3)])
def test_without_slow_weights_it_is_adamw(model, multiplier, decay):
    """At a multiplier of 1 weights move as any, but do not decay."""
    schedule, start = keras.optimizers.schedules.CosineDecay(0.05, 10), model.get_weights()
    multipliers = slow_of(model, multiplier) if multiplier else None
    ours = steps(model, MultiRateAdamW(schedule, multipliers, weight_decay=decay), 5)
    model.set_weights(start)
    keras_own = steps(model, keras.optimizers.AdamW(schedule, decay), 5)
    for name in ours:
        np.testing.assert_array_equal(ours[name], keras_own[name])


def test_a_step_evaluates_the_schedule_as_often_for_many_weights_as_for_few(model):
    class Counting(keras.optimizers.schedules.CosineDecay):
        calls = 0

        def __call__(self, step):
            type(self).calls += 1
            return super().__call__(step)

    steps(model, MultiRateAdamW(Counting(0.05, 10), weight_decay=0.1))
    assert 0 < Counting.calls < len(model.trainable_variables)


def test_slow_weights_do_not_decay(model):
    start = model.get_layer("old").get_weights()[0]
    model.compile(MultiRateAdamW(0.1, slow_of(model, 0.5), weight_decay=1.0), "mse")
    weights = model.get_layer("new").get_weights()
    model.get_layer("new").set_weights([np.zeros_like(weights[0]), weights[1]])  # No gradient reaches "old".
    model.train_on_batch(np.ones((1, 2)), np.ones((1, 1)))
    np.testing.assert_array_equal(model.get_layer("old").get_weights()[0], start)


def test_paths_that_the_model_lacks_are_refused(model):
    with pytest.raises(ValueError, match="nowhere"):
        MultiRateAdamW(0.1, {"nowhere": 0.5}).build(model.trainable_variables)


def test_weights_and_averages_of_a_resumed_training_go_on_as_if_never_stopped(model, tmp_path):
    def made():
        return MultiRateAdamW(0.05, slow_of(model, 0.1), weight_decay=0.01, use_ema=True, ema_momentum=0.5)

    start = model.get_weights()
    steps(model, made(), 4)
    expected, averages = model.get_weights(), model.optimizer.variables
    expected_state = [np.array(variable) for variable in averages]
    model.set_weights(start)
    steps(model, made(), 2)
    model.save_weights(tmp_path / "x.weights.h5")
    model.compile(made(), "mse")
    model.optimizer.build(model.trainable_variables)
    model.load_weights(tmp_path / "x.weights.h5")
    for _ in range(2):
        model.train_on_batch(np.array([[1.0, 2], [3, -4]]), np.array([[1.0], [2]]))
    for found, wanted in zip(model.get_weights(), expected, strict=True):
        np.testing.assert_array_equal(found, wanted)
    for found, wanted in zip(model.optimizer.variables, expected_state, strict=True):
        np.testing.assert_array_equal(np.array(found), wanted)


def test_its_config_makes_the_same_optimizer_again(model):
    optimizer = MultiRateAdamW(0.05, slow_of(model, 0.1), list(slow_of(model, 0.1)), 3, weight_decay=0.01)
    again = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    assert isinstance(again, MultiRateAdamW)
    assert (again.multipliers, again.weight_decay) == (slow_of(model, 0.1), 0.01)
    assert (again.frozen, again.unfreeze_step) == (list(slow_of(model, 0.1)), 3)


def test_held_weights_and_their_averages_stay_to_the_last_bit_until_the_release(model):
    slow = slow_of(model, 0.1)
    optimizer = MultiRateAdamW(0.05, slow, list(slow), 7, weight_decay=0.1, use_ema=True, ema_momentum=0.9)
    start = [variable.numpy() for variable in model.trainable_variables]
    assert np.abs(steps(model, optimizer, 7)["new"]).max() > 0.01
    averages = dict(
        zip((v.path for v in model.trainable_variables), optimizer._model_variables_moving_average, strict=True)
    )
    for variable, value in zip(model.trainable_variables, start, strict=True):
        is_frozen = variable.path in slow
        assert (variable.numpy() == value).all() == is_frozen
        assert (averages[variable.path].numpy() == value).all() == is_frozen
    model.train_on_batch(np.array([[1.0, 2], [3, -4]]), np.array([[1.0], [2]]))
    for path in slow:
        [(variable, value)] = [
            (v.numpy(), x) for v, x in zip(model.trainable_variables, start, strict=True) if v.path == path
        ]
        assert 0 < np.abs(variable - value).max() < 0.02
        assert (averages[path].numpy() != value).any()


def test_what_is_held_must_be_slow(model):
    with pytest.raises(ValueError, match="frozen variables must be slow ones, and nowhere are not"):
        MultiRateAdamW(0.1, slow_of(model, 0.1), ["nowhere"])
