"""Tests of emotion_tf.late_rules: every rule is its formula, in numpy and in the graph."""

import keras
import numpy as np
import pytest
import scipy.special

from emotion_tf.late_rules import FITTED, RULES, SINGLE_LABEL, combine
from emotion_tf.probabilities import FLOOR

NUM_RUNS, NUM_EMOTIONS = 3, 4

SEVERAL = [rule for rule in RULES if rule not in SINGLE_LABEL]


def ordinary(seed=0, size=200, num_runs=NUM_RUNS):
    """Random distributions: float64 [size, num_runs, 4], exact in float32."""
    drawn = np.random.default_rng(seed).dirichlet(np.full(NUM_EMOTIONS, 0.5), (size, num_runs))
    return drawn.astype(np.float32).astype(np.float64)


def extreme(seed=0, size=400):
    """Probabilities that leave no room for error: 0, 1e-30, 1, and others so near 0 that only logarithms tell."""
    choices = np.array([0, 1e-30, 1, 1e-12, 0.5, 2e-29, 1e-3], np.float32)
    return np.random.default_rng(seed).choice(choices, (size, NUM_RUNS, NUM_EMOTIONS)).astype(np.float64)


def presences(probabilities, seed=0):
    """Each run is there in two of three utterances; in some there is none."""
    return (np.random.default_rng(seed).random(probabilities.shape[:2]) < 0.67).astype(np.float64)


def parameters(rule, seed=0):
    """What a fitted rule needs, exact in float32."""
    rng = np.random.default_rng(seed)
    if rule == "weighted":
        return {"weights": np.array([0.5, 0.375, 0.125])}
    if rule == "stacker":
        kernel = rng.normal(0, 0.3, (NUM_RUNS, NUM_EMOTIONS, NUM_EMOTIONS)).astype(np.float32)
        return {"kernel": kernel.astype(np.float64), "bias": np.array([0.5, -0.25, 0, 1])}
    return {}


def by_hand(probabilities, rule, weights=None, kernel=None, bias=None):
    """One utterance whose runs, [num_runs, num_emotions], are all present."""
    logs = np.log(np.maximum(probabilities, 1e-30))
    if rule == "mean":
        return probabilities.mean(axis=0)
    if rule == "logit_mean":
        return scipy.special.softmax(logs.mean(axis=0))
    if rule == "product":
        return scipy.special.softmax(logs.sum(axis=0))
    if rule == "vote":
        return np.bincount(probabilities.argmax(axis=1), minlength=NUM_EMOTIONS) / len(probabilities)
    if rule == "weighted":
        return sum(weight * row for weight, row in zip(weights, probabilities, strict=True))
    return scipy.special.softmax(bias + sum(row @ matrix for row, matrix in zip(logs, kernel, strict=True)))


def several_by_hand(probabilities, rule, weights=None):
    logits = np.log(np.maximum(probabilities, 1e-30)) - np.log(np.maximum(1 - probabilities, 1e-30))
    if rule in ("logit_mean", "product"):
        return scipy.special.expit(logits.mean(axis=0) if rule == "logit_mean" else logits.sum(axis=0))
    return by_hand(probabilities, rule, weights)


def of_present(one, here, rule, formula):
    """The formula on the runs that are there; fitted parameters follow them as `combine` says."""
    given = parameters(rule)
    if "weights" in given:
        kept = given["weights"][here]
        given = {"weights": kept / kept.sum()}
    if "kernel" in given:
        given["kernel"] = given["kernel"][here] * (len(here) / here.sum())
    return formula(one[here], rule, **given)


def in_graph(probabilities, is_present, rule, **options):
    """Fuses with keras.ops in float32, as late fusion does."""
    tensors = {name: keras.ops.array(value, "float32") for name, value in parameters(rule).items()}
    arrays = (keras.ops.array(value, "float32") for value in (probabilities, is_present))
    return keras.ops.convert_to_numpy(combine(*arrays, rule, xp=keras.ops, **tensors, **options))


@pytest.mark.parametrize("make", [ordinary, extreme])
@pytest.mark.parametrize("rule", RULES)
def test_a_rule_is_its_formula_over_the_runs_that_are_present(rule, make):
    probabilities = make()
    is_present = presences(probabilities)
    found = combine(probabilities, is_present, rule, **parameters(rule))
    for one, here, fused in zip(probabilities, is_present.astype(bool), found, strict=True):
        expected = of_present(one, here, rule, by_hand) if here.any() else 1 / NUM_EMOTIONS
        np.testing.assert_allclose(fused, expected, atol=1e-6)
    assert (is_present.sum(axis=1) == 0).any()


@pytest.mark.parametrize("make", [ordinary, extreme])
@pytest.mark.parametrize("rule", SEVERAL)
def test_with_several_emotions_each_has_a_formula_of_its_own(rule, make):
    probabilities = make()
    is_present = presences(probabilities)
    found = combine(probabilities, is_present, rule, is_multi_label=True, **parameters(rule))
    for one, here, fused in zip(probabilities, is_present.astype(bool), found, strict=True):
        expected = of_present(one, here, rule, several_by_hand) if here.any() else 0.5
        np.testing.assert_allclose(fused, expected, atol=1e-6)


@pytest.mark.parametrize("make", [ordinary, extreme])
@pytest.mark.parametrize("rule", RULES)
def test_the_graph_gives_in_float32_what_numpy_gives_in_float64(rule, make):
    probabilities = make(seed=1, size=2000)
    is_present = presences(probabilities)
    for is_multi_label in (False, True)[: 1 + (rule in SEVERAL)]:
        expected = combine(probabilities, is_present, rule, is_multi_label=is_multi_label, **parameters(rule))
        found = in_graph(probabilities, is_present, rule, is_multi_label=is_multi_label)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_is_part_of_a_model(rule):
    inputs = keras.Input((NUM_RUNS, NUM_EMOTIONS)), keras.Input((NUM_RUNS,))
    tensors = {name: value.astype(np.float32) for name, value in parameters(rule).items()}
    model = keras.Model(inputs, combine(*inputs, rule, xp=keras.ops, **tensors))
    assert (model.output.shape, model.output.dtype) == ((None, NUM_EMOTIONS), "float32")
    probabilities = extreme(size=8)
    arrays = [array.astype(np.float32) for array in (probabilities, presences(probabilities))]
    np.testing.assert_allclose(model(arrays), combine(*arrays, rule, **tensors), atol=1e-6)


@pytest.mark.parametrize("rule", RULES)
def test_what_absent_runs_hold_is_not_read(rule):
    probabilities = ordinary()
    is_present = presences(probabilities)
    spoilt = np.where(is_present[:, :, None] > 0, probabilities, np.nan)
    found, expected = (combine(one, is_present, rule, **parameters(rule)) for one in (spoilt, probabilities))
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(in_graph(spoilt, is_present, rule), in_graph(probabilities, is_present, rule))


@pytest.mark.parametrize("rule", RULES)
def test_fused_probabilities_are_distributions(rule):
    for probabilities in (ordinary(), extreme()):
        for is_present in (presences(probabilities), np.ones(probabilities.shape[:2])):
            # Rows of `extreme` sum to anything: rules that are linear in them leave that as it is.
            scaled = probabilities / np.maximum(probabilities.sum(axis=-1, keepdims=True), FLOOR)
            scaled[probabilities.sum(axis=-1) == 0] = 1 / NUM_EMOTIONS
            found = combine(scaled, is_present, rule, **parameters(rule))
            assert (found >= 0).all()
            np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-12)


def test_runs_that_rule_out_each_other_s_choice_are_even():
    """Each gives one emotion all and the others nothing: no run has the last word."""
    probabilities = np.eye(NUM_EMOTIONS)[None, :NUM_RUNS]
    for rule, third in (("logit_mean", 1e-10), ("product", 1e-30)):
        expected = np.array([1, 1, 1, third]) / (3 + third)
        np.testing.assert_allclose(combine(probabilities, np.ones((1, 3)), rule), [expected], rtol=1e-9)
        np.testing.assert_allclose(in_graph(probabilities, np.ones((1, 3)), rule), [expected], atol=1e-6)


def test_ties_of_a_vote_are_broken_by_the_mean_in_float32_too():
    one, other = [0.5, 0.3, 0.2, 0], [0.1, 0.6, 0.3, 0]
    probabilities, here = np.array([[one, other], [other, one]]), np.ones((2, 2))
    found = combine(probabilities, here, "vote")
    np.testing.assert_allclose(found, [[0.5, 0.5, 0, 0]] * 2, atol=1e-6)
    assert found.argmax(axis=1).tolist() == [1, 1]
    assert in_graph(probabilities, here, "vote").argmax(axis=1).tolist() == [1, 1]
    tied = ordinary(size=2000, num_runs=4)
    shares = np.stack([by_hand(one, "vote") for one in tied])
    winners = np.where(shares == shares.max(axis=1, keepdims=True), tied.mean(axis=1), -1).argmax(axis=1)
    assert (winners != shares.argmax(axis=1)).any()
    np.testing.assert_array_equal(combine(tied, np.ones((2000, 4)), "vote").argmax(axis=1), winners)
    np.testing.assert_array_equal(in_graph(tied, np.ones((2000, 4)), "vote").argmax(axis=1), winners)


def test_a_run_of_no_weight_still_counts_where_it_is_alone():
    probabilities = ordinary(size=1)
    found = combine(probabilities, np.array([[0.0, 1, 1]]), "weighted", weights=np.array([1.0, 0, 0]))
    np.testing.assert_allclose(found, probabilities[:, 1:].mean(axis=1))


def test_rules_that_do_not_exist_or_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="no rule 'median': choose from mean, "):
        combine(ordinary(), np.ones((200, 3)), "median")
    for rule in SINGLE_LABEL:
        with pytest.raises(ValueError, match=f"no rule '{rule}' with several emotions an utterance"):
            combine(ordinary(), np.ones((200, 3)), rule, is_multi_label=True)
    assert set(FITTED) < set(RULES)
