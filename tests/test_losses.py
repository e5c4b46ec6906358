"""Tests of emotion_tf.training.losses: rare emotions weigh more, and the best logit is that of the true probability."""

import keras
import numpy as np
import pytest

from emotion_tf.training.losses import RareWeightedCrossentropy


def test_without_power_it_is_binary_cross_entropy():
    rng = np.random.default_rng(0)
    logits, labels = rng.standard_normal((5, 3)).astype("float32"), rng.random((5, 3)) < 0.4
    expected = keras.losses.BinaryCrossentropy(from_logits=True)(labels.astype("float32"), logits)
    found = RareWeightedCrossentropy([0.1, 0.2, 0.9], 0.0)(labels.astype("float32"), logits)
    assert float(found) == pytest.approx(float(expected), abs=1e-6)


def test_one_value_is_what_the_formula_says():
    """Share 0.2 and power 0.5 weigh the positives by 2; the logit 0 becomes log 2, whose sigmoid is 2/3."""
    loss = RareWeightedCrossentropy([0.2], 0.5)
    assert float(loss(np.ones((1, 1), "float32"), np.zeros((1, 1), "float32"))) == pytest.approx(2 * np.log(3 / 2))
    assert float(loss(np.zeros((1, 1), "float32"), np.zeros((1, 1), "float32"))) == pytest.approx(np.log(3))


@pytest.mark.parametrize("power", [0.3, 1.0])
def test_the_best_logit_is_that_of_the_true_share(power):
    """Of 100 utterances 5 have the emotion: no logit on a fine grid is better than log(5 / 95)."""
    labels = np.zeros((100, 1), "float32")
    labels[:5] = 1
    loss = RareWeightedCrossentropy([0.05], power)
    grid = np.linspace(-6, 2, 801)
    losses = [float(loss(labels, np.full((100, 1), logit, "float32"))) for logit in grid]
    assert grid[np.argmin(losses)] == pytest.approx(np.log(5 / 95), abs=0.02)


def test_it_is_rebuilt_from_its_config():
    loss = RareWeightedCrossentropy([0.1, 0.5], 0.3)
    assert RareWeightedCrossentropy.from_config(loss.get_config()).get_config() == loss.get_config()


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_an_emotion_that_all_or_none_have_gives_a_finite_loss(share):
    loss = RareWeightedCrossentropy([share], 1.0)
    assert np.isfinite(float(loss(np.ones((2, 1), "float32"), np.full((2, 1), 30.0, "float32"))))
