"""Tests of emotion_tf.evaluation.calibration: the temperature is the one that the logits were multiplied by."""

import numpy as np
import pandas as pd
import pytest
import scipy.special

from emotion_tf.evaluation.calibration import COLDEST, HOTTEST, fit_temperature, uncalibrated
from emotion_tf.probabilities import negative_log_likelihood, probabilities_of

SHARES = np.array([[0.5, 0.3, 0.2], [0.1, 0.1, 0.8]])


def calibrated():
    """Logits whose softmax is exactly how often each label occurs beside them: [20, 3], [20]."""
    counts = np.round(10 * SHARES).astype(int)
    labels = np.concatenate([np.repeat(np.arange(3), row) for row in counts])
    return np.log(SHARES).repeat(10, axis=0), labels


def drawn(seed=0, size=200):
    """Labels drawn at random from logits that are too sure of themselves."""
    rng = np.random.default_rng(seed)
    logits = 3 * rng.standard_normal((size, 4))
    labels = [rng.choice(4, p=row) for row in scipy.special.softmax(logits / 2, axis=1)]
    return logits, np.array(labels)


@pytest.mark.parametrize("temperature", [0.2, 0.5, 1.0, 2.1, 8.0])
@pytest.mark.parametrize("shift", [0.0, 100.0])
def test_logits_that_were_multiplied_by_a_temperature_give_it_back(temperature, shift):
    logits, labels = calibrated()
    assert fit_temperature(temperature * logits + shift, labels) == pytest.approx(temperature, rel=1e-4)


def test_no_temperature_of_a_fine_grid_is_better():
    logits, labels = drawn()
    found = fit_temperature(logits, labels)
    grid = np.geomspace(COLDEST, HOTTEST, 2001)
    losses = [negative_log_likelihood(logits / temperature, labels) for temperature in grid]
    assert found == pytest.approx(grid[np.argmin(losses)], rel=0.005)
    assert negative_log_likelihood(logits / found, labels) <= min(losses) + 1e-9
    assert found > 1


def test_a_split_that_is_all_right_or_all_wrong_stays_within_the_bounds():
    logits = 3 * np.eye(4)
    assert fit_temperature(logits, np.arange(4)) == pytest.approx(COLDEST, rel=1e-3)
    assert fit_temperature(logits, np.roll(np.arange(4), 1)) == pytest.approx(HOTTEST, rel=1e-3)


@pytest.mark.parametrize("logits", [np.zeros((3, 4)), np.full((3, 4), 1e4), 1e4 * np.eye(4)[:3], np.eye(4)[:3] * 1e-9])
def test_logits_without_a_best_temperature_still_get_one(logits):
    assert COLDEST <= fit_temperature(logits.astype(np.float32), np.array([0, 1, 3])) <= HOTTEST


def calibrated_memberships():
    """Logits whose sigmoid is exactly how often each emotion occurs beside them: [30, 2], [30, 2]."""
    shares = np.array([[0.5, 0.1], [0.3, 0.8], [0.9, 0.2]])
    memberships = np.concatenate([np.arange(10)[:, None] < np.round(10 * row) for row in shares])
    return scipy.special.logit(shares).repeat(10, axis=0), memberships


@pytest.mark.parametrize("temperature", [0.2, 1.0, 2.1, 8.0])
def test_logits_of_memberships_give_their_temperature_back(temperature):
    logits, memberships = calibrated_memberships()
    assert fit_temperature(temperature * logits, memberships) == pytest.approx(temperature, rel=1e-4)


@pytest.mark.parametrize("is_multi_label", [False, True])
def test_dividing_by_a_temperature_can_be_undone(is_multi_label):
    logits, temperature = drawn()[0], pd.Series(np.linspace(0.5, 2, 200))
    before, after = (
        pd.DataFrame(probabilities_of(values, is_multi_label=is_multi_label), columns=list("abcd"))
        for values in (logits, logits / temperature.to_numpy()[:, None])
    )
    found = uncalibrated(after, temperature, is_multi_label=is_multi_label)
    pd.testing.assert_frame_equal(found, before, rtol=1e-9)


def test_temperatures_find_their_rows_by_index():
    probabilities = pd.DataFrame(probabilities_of(drawn()[0], is_multi_label=False))
    temperatures, half = pd.Series(np.linspace(0.5, 2, 200)), probabilities[::2]
    expected = uncalibrated(half, temperatures[::2])
    pd.testing.assert_frame_equal(uncalibrated(half, temperatures[::-1]), expected)
