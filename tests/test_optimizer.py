"""Tests of emotion_tf.training.optimizer: schedule, loss, learning-rate multipliers, and AdamW where there are none."""

from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf

from emotion_tf.config import AudioConfig, Config, TextConfig, TrainingConfig
from emotion_tf.models.build import build_model
from emotion_tf.training import optimizer
from emotion_tf.training.optimizer import MultiRateAdamW


@pytest.fixture
def model():
    inputs = keras.Input((2,))
    model = keras.Model(inputs, keras.layers.Dense(1, name="new")(keras.layers.Dense(3, name="old")(inputs)))
    for number, weight in enumerate(model.weights):
        weight.assign(np.random.default_rng(number).standard_normal(weight.shape))
    return model


def multipliers_of(model, multiplier):
    """The same multiplier for all variables of the layer "old"."""
    return {variable.path: multiplier for variable in model.get_layer("old").trainable_variables}


def steps(model, optimizer, count=1):
    """Trains on one batch and returns how far each layer's kernel moved."""
    model.compile(optimizer, "mse")
    before = {name: model.get_layer(name).get_weights()[0] for name in ("old", "new")}
    for _ in range(count):
        model.train_on_batch(np.array([[1.0, 2], [3, -4]]), np.array([[1.0], [2]]))
    return {name: model.get_layer(name).get_weights()[0] - before[name] for name in before}


def test_the_first_step_moves_weights_by_their_share_of_the_learning_rate(model):
    moved = steps(model, MultiRateAdamW(0.1, multipliers_of(model, 0.01), weight_decay=0.0))
    # The first step of Adam is the rate itself, in the direction of the gradient.
    np.testing.assert_allclose(np.abs(moved["new"]), 0.1, rtol=1e-3)
    np.testing.assert_allclose(np.abs(moved["old"]), 0.001, rtol=1e-2)


def test_both_rates_follow_the_schedule(model):
    schedule = keras.optimizers.schedules.PiecewiseConstantDecay([0], [0.1, 0.0])
    optimizer = MultiRateAdamW(schedule, multipliers_of(model, 0.5), weight_decay=0.0)
    assert np.abs(steps(model, optimizer)["old"]).max() > 0.01
    moved = steps(model, optimizer, 2)
    assert not moved["old"].any()
    assert not moved["new"].any()


@pytest.mark.parametrize(("multiplier", "decay"), [(1.0, 0.0), (None, 0.0), (None, 0.3)])
def test_without_multipliers_it_is_adamw(model, multiplier, decay):
    """At a multiplier of 1 weights move as any, but do not decay."""
    schedule, start = keras.optimizers.schedules.CosineDecay(0.05, 10), model.get_weights()
    multipliers = multipliers_of(model, multiplier) if multiplier else None
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


def test_weights_with_a_multiplier_do_not_decay(model):
    start = model.get_layer("old").get_weights()[0]
    model.compile(MultiRateAdamW(0.1, multipliers_of(model, 0.5), weight_decay=1.0), "mse")
    weights = model.get_layer("new").get_weights()
    model.get_layer("new").set_weights([np.zeros_like(weights[0]), weights[1]])  # No gradient reaches "old".
    model.train_on_batch(np.ones((1, 2)), np.ones((1, 1)))
    np.testing.assert_array_equal(model.get_layer("old").get_weights()[0], start)


def test_paths_that_the_model_lacks_are_refused(model):
    with pytest.raises(ValueError, match="nowhere"):
        MultiRateAdamW(0.1, {"nowhere": 0.5}).build(model.trainable_variables)


def test_weights_and_averages_of_a_resumed_training_go_on_as_if_never_stopped(model, tmp_path):
    def made():
        return MultiRateAdamW(0.05, multipliers_of(model, 0.1), weight_decay=0.01, use_ema=True, ema_momentum=0.5)

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
    optimizer = MultiRateAdamW(0.05, multipliers_of(model, 0.1), list(multipliers_of(model, 0.1)), 3, weight_decay=0.01)
    again = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    assert isinstance(again, MultiRateAdamW)
    assert (again.multipliers, again.weight_decay) == (multipliers_of(model, 0.1), 0.01)
    assert (again.frozen, again.unfreeze_step) == (list(multipliers_of(model, 0.1)), 3)


def test_frozen_weights_and_their_averages_stay_to_the_last_bit_until_they_are_unfrozen(model):
    multipliers = multipliers_of(model, 0.1)
    options = {"weight_decay": 0.1, "use_ema": True, "ema_momentum": 0.9}
    optimizer = MultiRateAdamW(0.05, multipliers, list(multipliers), 7, **options)
    start = [variable.numpy() for variable in model.trainable_variables]
    assert np.abs(steps(model, optimizer, 7)["new"]).max() > 0.01
    averages = dict(
        zip((v.path for v in model.trainable_variables), optimizer._model_variables_moving_average, strict=True)
    )
    for variable, value in zip(model.trainable_variables, start, strict=True):
        is_frozen = variable.path in multipliers
        assert (variable.numpy() == value).all() == is_frozen
        assert (averages[variable.path].numpy() == value).all() == is_frozen
    model.train_on_batch(np.array([[1.0, 2], [3, -4]]), np.array([[1.0], [2]]))
    for path in multipliers:
        [(variable, value)] = [
            (v.numpy(), x) for v, x in zip(model.trainable_variables, start, strict=True) if v.path == path
        ]
        assert 0 < np.abs(variable - value).max() < 0.02
        assert (averages[path].numpy() != value).any()


def test_what_is_frozen_needs_a_multiplier(model):
    with pytest.raises(ValueError, match="frozen variables need a learning-rate multiplier, and nowhere have none"):
        MultiRateAdamW(0.1, multipliers_of(model, 0.1), ["nowhere"])


def loss_of(config, is_multi_label=False):
    return optimizer.make_loss(config.training, SimpleNamespace(is_multi_label=is_multi_label, prior=[0.5, 0.5]))


def compiled(steps=10, **values):
    """A tiny text model with the optimizer of a config."""
    config = Config("text", "x", text=TextConfig(2, (2,), 2, 2), training=TrainingConfig(**values))
    model = build_model(config, {"log_mel": 8}, 20, [0.5, 0.5])
    optimizer.compile_model(model, config, steps, loss_of(config))
    return model


def test_the_rate_warms_up_in_a_line_and_falls_with_a_cosine():
    schedule = compiled(steps=10, epochs=10, warm_up_epochs=2, learning_rate=1e-3).optimizer._learning_rate
    rates = np.array([float(schedule(step)) for step in range(101)])
    np.testing.assert_allclose(rates[:21], 1e-5 + np.arange(21) / 20 * (1e-3 - 1e-5), rtol=1e-4)
    falling = 0.5 * 1e-3 * (1 + np.cos(np.pi * np.arange(81) / 80))
    np.testing.assert_allclose(rates[20:], falling, atol=1e-8)


def test_a_warm_up_longer_than_the_training_still_trains():
    schedule = compiled(steps=2, epochs=1, warm_up_epochs=3, learning_rate=1e-3).optimizer._learning_rate
    assert [float(schedule(step)) for step in range(2)] == pytest.approx([1e-5, 1e-3])


def test_the_average_looks_back_over_its_share_of_all_steps():
    optimizer = compiled(steps=20, epochs=10, ema_share=0.1, weight_decay=0.03).optimizer
    assert (optimizer.use_ema, optimizer.ema_momentum) == (True, pytest.approx(1 - 1 / 20))
    assert optimizer.weight_decay == 0.03
    assert not compiled(ema_share=0.0).optimizer.use_ema


def test_normalisation_looks_back_as_far_as_the_average_of_the_weights():
    config = Config("audio", "x", audio=AudioConfig((4, 4), 2, 2), training=TrainingConfig(epochs=10, ema_share=0.1))
    model = build_model(config, {"log_mel": 8}, 20, [0.5, 0.5])
    optimizer.compile_model(model, config, 20, loss_of(config))
    momenta = [layer.momentum for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    assert momenta == pytest.approx([1 - 1 / 20] * 5)


def test_the_loss_is_cross_entropy_with_smoothed_labels():
    logits = np.array([[2.0, -1.0, 0.5]], np.float32)
    target = np.array([[0.9 + 0.1 / 3, 0.1 / 3, 0.1 / 3]])
    expected = -(target * (logits - np.log(np.exp(logits).sum()))).sum()
    loss = compiled(label_smoothing=0.1).loss
    assert float(loss(np.array([[1.0, 0.0, 0.0]]), logits)) == pytest.approx(expected, rel=1e-5)


def test_the_loss_of_several_emotions_is_binary_cross_entropy_without_smoothing():
    config = Config("text", "x", text=TextConfig(2, (2,), 2, 2), training=TrainingConfig(label_smoothing=0.1))
    model = build_model(config, {"log_mel": 8}, 20, [0.5, 0.5], is_multi_label=True)
    optimizer.compile_model(model, config, 10, loss_of(config, is_multi_label=True))
    logits, carried = np.array([[2.0, -1.0]], np.float32), np.array([[1.0, 1.0]])
    expected = np.mean([np.log1p(np.exp(-2.0)), np.log1p(np.exp(1.0))])
    assert float(model.loss(carried, logits)) == pytest.approx(expected, rel=1e-5)


def test_the_training_step_is_traced_once():
    """Half of the time of a short training would go into a second time."""
    traced = []

    class Loss(keras.losses.CategoricalCrossentropy):
        def call(self, label, logits):
            traced.append(label.shape)
            return super().call(label, logits)

    inputs = keras.Input((3,), name="x")
    model = keras.Model({"x": inputs}, keras.layers.Dense(2)(inputs))
    optimizer.compile_model(model, Config("text", "x"), 2, Loss(from_logits=True))
    dataset = tf.data.Dataset.from_tensors(({"x": tf.ones((4, 3))}, tf.one_hot([0, 1, 0, 1], 2))).repeat()
    history = model.fit(dataset, steps_per_epoch=2, epochs=2, verbose=0, shuffle=False).history
    assert len(traced) == 1
    assert set(history) == {"accuracy", "loss"}
