"""Tests of late fusion by other weights: with the fitted ones it is what the export says."""

import numpy as np
import pytest

from emotion_tf.late_rules import combine
from emotion_tf.serving.late_weights import own_of, weighed, weights_of

EMOTIONS = ("calm", "happy", "sad")
OWN = {"audio": [0.7, 0.2, 0.1], "text": [0.3, 0.6, 0.1]}
METADATA = {
    "is_multi_label": False,
    "late_rule": {"rule": "weighted", "modalities": [["audio"], ["text"]], "weights": [0.8, 0.2], "temperature": 0.5},
}


def named(rows):
    return {name: dict(zip(EMOTIONS, row, strict=True)) for name, row in rows.items()}


def tempered(probabilities, temperature):
    powers = np.asarray(probabilities) ** (1 / temperature)
    return powers / powers.sum()


@pytest.mark.parametrize("rule", ["mean", "weighted", "product", "logit_mean"])
def test_fitted_weights_give_what_the_rule_gives(rule):
    weights = [0.8, 0.2] if rule == "weighted" else [1.0, 1.0]
    rows = np.array([list(OWN.values())])
    fitted = {"weights": np.array(weights)} if rule == "weighted" else {}
    expected = tempered(combine(rows, np.ones((1, 2)), rule, **fitted)[0], 0.5)
    found = weighed(named(OWN), dict(zip(OWN, weights, strict=True)), rule, 0.5)
    np.testing.assert_allclose(list(found.values()), expected, atol=1e-9)


def test_a_run_with_all_the_weight_decides_alone_under_the_temperature():
    found = weighed(named(OWN), {"audio": 1.0, "text": 0.0}, "mean", 0.5)
    np.testing.assert_allclose(list(found.values()), tempered(OWN["audio"], 0.5), atol=1e-9)


def test_weights_of_zero_count_as_equal_ones():
    none, equal = ({"audio": weight, "text": weight} for weight in (0.0, 1.0))
    assert weighed(named(OWN), none, "mean", 1.0) == pytest.approx(weighed(named(OWN), equal, "mean", 1.0))


def test_the_temperature_of_the_fusion_is_undone():
    sharpened = dict(zip(EMOTIONS, tempered(OWN["audio"], 0.25), strict=True))
    np.testing.assert_allclose(list(own_of(sharpened, 0.25).values()), OWN["audio"], atol=1e-9)


def test_weights_are_found_where_each_run_reads_one_modality_of_its_own():
    assert weights_of(METADATA) == {"audio": 0.8, "text": 0.2}


@pytest.mark.parametrize(
    "change",
    [
        {"rule": "stacker", "weights": None},
        {"rule": "vote"},
        {"modalities": [["audio"], ["audio"]]},
        {"modalities": [["audio"], ["audio", "text"]]},
    ],
)
def test_other_late_fusions_have_no_weights_to_move(change):
    assert weights_of(METADATA | {"late_rule": METADATA["late_rule"] | change}) is None


def test_other_models_have_no_weights_to_move():
    assert weights_of(METADATA | {"late_rule": None}) is None
    assert weights_of({"is_multi_label": False}) is None
    assert weights_of(METADATA | {"is_multi_label": True}) is None
