"""Tests of emotion_tf.evaluation.rule_fitting: no other weights are better, and the stacker is scikit-learn's."""

import numpy as np
import pytest
import sklearn.linear_model
from test_late_rules import NUM_EMOTIONS, NUM_RUNS, extreme, ordinary, presences

from emotion_tf.evaluation import rule_fitting
from emotion_tf.evaluation.calibration import fit_temperature
from emotion_tf.evaluation.rule_fitting import choose_strength, fit_stacker, fit_weights
from emotion_tf.late_rules import combine
from emotion_tf.probabilities import FLOOR, negative_log_likelihood


def drawn_labels(probabilities, weights, seed=0):
    """Labels that really come from the runs in these proportions."""
    rng = np.random.default_rng(seed)
    pooled = np.tensordot(probabilities, weights, (1, 0))
    return np.array([rng.choice(len(row), p=row / row.sum()) for row in pooled])


def calibrated_loss(weights, probabilities, labels):
    """The negative log-likelihood of a weighted sum after its own temperature, by `evaluation.calibration`."""
    logs = np.log(np.maximum(np.tensordot(probabilities, weights, (1, 0)), FLOOR))
    return negative_log_likelihood(logs / fit_temperature(logs, labels), labels)


@pytest.mark.parametrize("seed", range(4))
def test_no_weights_make_the_labels_more_likely(seed):
    probabilities = ordinary(seed, 300)
    truth = np.random.default_rng(seed).dirichlet(np.full(NUM_RUNS, 0.5))
    labels = drawn_labels(probabilities, truth, seed)
    found = fit_weights(probabilities, labels)
    grid = [(i / 10, j / 10, 1 - (i + j) / 10) for i in range(11) for j in range(11 - i)]
    least = min(calibrated_loss(np.array(weights), probabilities, labels) for weights in grid)
    assert calibrated_loss(found, probabilities, labels) <= least + 1e-6
    assert found.min() >= 0
    assert found.sum() == pytest.approx(1, abs=1e-15)


def test_runs_that_know_different_things_both_get_weight():
    """One knows the half of the emotions, a little surer, one the place within a half: only both know the emotion."""
    labels = np.arange(400) % 4
    halves, places = np.eye(2)[labels // 2] * 0.9 + 0.05, np.eye(2)[labels % 2] * 0.8 + 0.1
    first, second = np.repeat(halves, 2, axis=1) / 2, np.tile(places, 2) / 2
    probabilities = np.stack([first, second], axis=1)
    weights = fit_weights(probabilities, labels)
    assert weights.min() > 0.1
    fused = combine(probabilities, np.ones((400, 2)), "weighted", weights=weights)
    np.testing.assert_array_equal(fused.argmax(axis=1), labels)


def test_a_run_that_is_always_sure_and_right_gets_all_the_weight():
    probabilities = ordinary()
    labels = np.arange(200) % NUM_EMOTIONS
    probabilities[:, 1] = np.eye(NUM_EMOTIONS)[labels]
    np.testing.assert_allclose(fit_weights(probabilities, labels), [0, 1, 0], atol=1e-3)


@pytest.mark.parametrize("size", [2, 300])
def test_weights_of_runs_that_are_much_alike_are_no_worse_than_equal_ones(size):
    probabilities = 0.999 * ordinary(5, size, 1) + 0.001 * ordinary(6, size, 5)
    labels = drawn_labels(probabilities, np.full(5, 0.2))
    found = fit_weights(probabilities, labels)
    assert found.sum() == pytest.approx(1)
    equal = calibrated_loss(np.full(5, 0.2), probabilities, labels)
    assert calibrated_loss(found, probabilities, labels) <= equal + 1e-9


def test_equal_runs_get_equal_weights():
    probabilities = ordinary()[:, :1].repeat(3, axis=1)
    np.testing.assert_allclose(fit_weights(probabilities, np.arange(200) % NUM_EMOTIONS), [1 / 3] * 3)
    np.testing.assert_allclose(fit_weights(np.zeros((5, 2, 4)), np.zeros(5, int)), [0.5, 0.5])


def test_each_yes_and_no_of_several_emotions_counts_for_the_weights():
    """Memberships of one emotion are labels of two: present, and absent."""
    probabilities = ordinary()[:, :, :1]
    labels = drawn_labels(np.concatenate([1 - probabilities, probabilities], axis=-1), [0.6, 0.3, 0.1])
    expected = fit_weights(np.concatenate([1 - probabilities, probabilities], axis=-1), labels)
    np.testing.assert_allclose(fit_weights(probabilities, labels[:, None]), expected, atol=1e-6)


def stacked(probabilities, kernel, bias):
    return combine(probabilities, np.ones(probabilities.shape[:2]), "stacker", kernel=kernel, bias=bias)


@pytest.mark.parametrize("strength", [0.001, 1.0])
def test_the_stacker_is_logistic_regression_on_standardised_logarithms(strength):
    probabilities = ordinary()
    labels = drawn_labels(probabilities, [0.6, 0.3, 0.1])
    logs = np.log(np.maximum(probabilities, FLOOR)).reshape(200, -1)
    features = (logs - logs.mean(axis=0)) / logs.std(axis=0)
    expected = sklearn.linear_model.LogisticRegression(C=strength, tol=1e-10, max_iter=5000).fit(features, labels)
    kernel, bias = fit_stacker(probabilities, labels, None, strength)
    assert (kernel.shape, bias.shape) == ((NUM_RUNS, NUM_EMOTIONS, NUM_EMOTIONS), (NUM_EMOTIONS,))
    np.testing.assert_allclose(stacked(probabilities, kernel, bias), expected.predict_proba(features), atol=1e-5)


def test_two_emotions_are_stacked_like_more():
    probabilities = ordinary()[..., :2] + 0.01
    probabilities /= probabilities.sum(axis=-1, keepdims=True)
    labels = drawn_labels(probabilities, [0.6, 0.3, 0.1])
    logs = np.log(probabilities).reshape(200, -1)
    features = (logs - logs.mean(axis=0)) / logs.std(axis=0)
    expected = sklearn.linear_model.LogisticRegression(C=0.1, tol=1e-10).fit(features, labels).predict_proba(features)
    np.testing.assert_allclose(
        stacked(probabilities, *fit_stacker(probabilities, labels, None, 0.1)), expected, atol=1e-5
    )


def test_the_stacker_learns_that_a_run_mistakes_one_emotion_for_another():
    """The runs predict emotion 1 wherever it is emotion 0, and the other way round."""
    labels = np.arange(200) % NUM_EMOTIONS
    swapped = np.array([1, 0, 2, 3])[labels]
    probabilities = 0.1 * ordinary() + 0.9 * np.eye(NUM_EMOTIONS)[swapped][:, None]
    groups = np.arange(200) // 50
    kernel, bias = fit_stacker(probabilities, labels, groups)
    np.testing.assert_array_equal(stacked(probabilities, kernel, bias).argmax(axis=1), labels)
    again = fit_stacker(probabilities, labels, groups)
    np.testing.assert_array_equal(kernel, again[0])
    np.testing.assert_array_equal(bias, again[1])


@pytest.mark.parametrize("labels", [[1, 2, 1, 2, 2, 1], [2] * 6])
def test_an_emotion_without_labels_is_never_predicted(labels):
    kernel, bias = fit_stacker(extreme(size=6), np.array(labels), None)
    for probabilities in (extreme(seed=7), ordinary()):
        found = combine(probabilities, presences(probabilities), "stacker", kernel=kernel, bias=bias)
        some = presences(probabilities).any(axis=1)
        assert set(found[some].argmax(axis=1)) <= set(labels)


@pytest.mark.parametrize("given", [np.eye(4)[np.arange(60) % 4], np.zeros((60, 4)), extreme(size=60)[:, 0]])
def test_fits_are_finite_and_quiet_at_probabilities_of_0_and_1(given):
    labels = np.arange(60) % NUM_EMOTIONS
    probabilities = np.stack([given, given], axis=1)
    kernel, bias = fit_stacker(probabilities, labels, np.arange(60) // 20)
    assert np.isfinite(kernel).all()
    assert np.isfinite(bias).all()
    np.testing.assert_allclose(fit_weights(probabilities, labels), [0.5, 0.5])


def test_the_strength_is_the_best_for_speakers_who_are_left_out():
    probabilities = ordinary()
    labels = drawn_labels(probabilities, [0.6, 0.3, 0.1])
    groups = np.array(["a", "b", "c", "d"])[np.arange(200) % 4]
    likelihoods = {}
    for strength in rule_fitting.STRENGTHS:
        scores = []
        for group in "abcd":
            fitted = fit_stacker(probabilities[groups != group], labels[groups != group], None, strength)
            left = stacked(probabilities[groups == group], *fitted)
            scores.append(np.log(left[np.arange(50), labels[groups == group]]).sum())
        likelihoods[strength] = sum(scores)
    assert choose_strength(probabilities, labels, groups) == max(likelihoods, key=likelihoods.get)


def test_noise_is_shrunk_more_than_what_speakers_share():
    labels = np.random.default_rng(0).integers(0, NUM_EMOTIONS, 200)
    groups = np.arange(200) // 40
    shared = 0.2 * ordinary() + 0.8 * np.eye(NUM_EMOTIONS)[labels][:, None]
    assert choose_strength(shared, labels, groups) > choose_strength(ordinary(), labels, groups)


def test_without_speakers_to_leave_out_the_middle_strength_is_taken():
    labels = np.arange(200) % NUM_EMOTIONS
    for groups in (None, ["anna"] * 200):
        assert choose_strength(ordinary(), labels, groups) == 0.01
    assert choose_strength(ordinary(), labels, [f"s{number}" for number in range(200)]) in rule_fitting.STRENGTHS
