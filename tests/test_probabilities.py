"""Tests of emotion_tf.probabilities, by hand and against scikit-learn."""

import numpy as np
import pytest
import scipy.special
import sklearn.metrics
from test_calibration import drawn

from emotion_tf.probabilities import negative_log_likelihood, probabilities_of


def test_the_likelihood_is_that_of_scikit_learn():
    logits, labels = drawn()
    expected = sklearn.metrics.log_loss(labels, scipy.special.softmax(logits, axis=1), labels=range(4))
    assert negative_log_likelihood(logits, labels) == pytest.approx(expected, abs=1e-9)


def test_the_likelihood_of_memberships_is_the_mean_over_emotions_of_that_of_scikit_learn():
    logits = 3 * np.random.default_rng(0).standard_normal((50, 3))
    memberships = np.random.default_rng(1).random((50, 3)) < 0.3
    shares = probabilities_of(logits, is_multi_label=True)
    expected = [sklearn.metrics.log_loss(memberships[:, k], shares[:, k]) for k in range(3)]
    assert negative_log_likelihood(logits, memberships) == pytest.approx(np.mean(expected), abs=1e-9)


def test_a_certain_logit_on_the_wrong_side_costs_itself():
    """log of the sigmoid, not of its rounded value: at 1000 that is 0."""
    assert negative_log_likelihood(np.array([[1000.0]]), np.array([[False]])) == pytest.approx(1000)


def test_probabilities_are_a_softmax_or_a_sigmoid_each():
    logits = np.log(np.array([[1.0, 3.0]], np.float32))
    np.testing.assert_allclose(probabilities_of(logits, is_multi_label=False), [[0.25, 0.75]], rtol=1e-6)
    np.testing.assert_allclose(probabilities_of(logits, is_multi_label=True), [[0.5, 0.75]], rtol=1e-6)
