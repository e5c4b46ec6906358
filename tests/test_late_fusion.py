"""Tests of emotion_tf.models.late_fusion: rules over trained models, as one graph."""

import itertools

import keras
import numpy as np
import pytest
import scipy.special
from test_branches import text_batch
from test_build import (
    AUDIO_ALONE,
    BOTH,
    NOTHING,
    PRIOR,
    TEXT_ALONE,
    batch,
    build,
    build_early,
    build_multi_label,
    probabilities,
    sigmoids,
)

from emotion_tf.evaluation.calibration import set_temperature
from emotion_tf.late_rules import RULES
from emotion_tf.models.inputs import modalities_of
from emotion_tf.models.late_fusion import late_fusion, shares_model, stack

RNG = np.random.default_rng(0)
FITTED = {
    "weighted": {"weights": [0.6, 0.3, 0.1]},
    "stacker": {"kernel": RNG.normal(size=(3, 3, 3)).tolist(), "bias": [0.1, -0.4, 0.3]},
}
EVERYTHING = batch(BOTH, AUDIO_ALONE, TEXT_ALONE, NOTHING, (20, [2, 9, 5]))


@pytest.fixture(scope="module")
def models():
    return {"audio": build("audio"), "text": build("text"), "second": build("text", seed=1)}


def by_hand(rule, present, weights=None, kernel=None, bias=None):
    """A rule over the probabilities [num_models, num_emotions] of the models that are present."""
    logs, count = np.log(np.maximum(present, 1e-30)), len(present)
    if rule == "vote":
        places = np.eye(present.shape[1])[present.argmax(axis=1)]
        return places.mean(axis=0)
    return {
        "mean": lambda: present.sum(axis=0) / count,
        "logit_mean": lambda: scipy.special.softmax(logs.sum(axis=0) / count),
        "product": lambda: scipy.special.softmax(logs.sum(axis=0)),
        "weighted": lambda: weights @ present / weights.sum(),
        "stacker": lambda: scipy.special.softmax(np.einsum("mk,mke->e", logs, kernel) * 3 / count + bias),
    }[rule]()


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_is_that_by_hand_for_every_subset_of_modalities(models, rule):
    stacked = np.stack([probabilities(model, EVERYTHING) for model in models.values()], axis=1)
    fused = probabilities(late_fusion(models, PRIOR, rule, fitted=FITTED.get(rule)), EVERYTHING)
    present = np.array([[1, 1, 1], [1, 0, 0], [0, 1, 1], [0, 0, 0], [1, 1, 1]], bool)
    for found, of_utterance, there in zip(fused, stacked, present, strict=True):
        fitted = {name: np.array(values) for name, values in FITTED.get(rule, {}).items()}
        fitted |= {name: values[there] for name, values in fitted.items() if name != "bias"}
        expected = by_hand(rule, of_utterance[there].astype(np.float64), **fitted) if there.any() else PRIOR
        np.testing.assert_allclose(found, expected, atol=2e-6)


def test_votes_that_are_even_are_parted_by_the_mean(models):
    pair = {name: models[name] for name in ("audio", "text")}
    stacked = np.stack([probabilities(model, EVERYTHING) for model in pair.values()], axis=1)
    even = np.flatnonzero(
        (stacked.argmax(axis=2)[:, 0] != stacked.argmax(axis=2)[:, 1]) & [True, False, False, False, True]
    )
    assert len(even)
    found = probabilities(late_fusion(pair, PRIOR, "vote"), EVERYTHING)
    means = stacked.mean(axis=1)
    for row in even:
        first, second = stacked[row].argmax(axis=1)
        assert found[row].argmax() == (first if means[row, first] > means[row, second] else second)


@pytest.mark.parametrize("rule", RULES)
def test_a_saved_rule_gives_the_same_and_its_shares_when_loaded_in_safe_mode(models, rule, tmp_path):
    model = late_fusion(models, PRIOR, rule, fitted=FITTED.get(rule))
    set_temperature(model, 1.7)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    np.testing.assert_array_equal(probabilities(loaded, EVERYTHING), probabilities(model, EVERYTHING))
    if rule != "stacker":
        np.testing.assert_array_equal(shares_model(loaded)(EVERYTHING), shares_model(model)(EVERYTHING))


@pytest.mark.parametrize("rule", RULES)
def test_probabilities_of_0_and_1_give_finite_logits(models, rule):
    extreme = build("text", seed=2)
    extreme.get_layer("emotions").bias.assign([-1e4, 1e4, 0])
    fused = late_fusion(models | {"second": extreme}, PRIOR, rule, fitted=FITTED.get(rule))
    assert np.isfinite(fused(EVERYTHING)).all()
    np.testing.assert_allclose(probabilities(fused, EVERYTHING).sum(axis=1), 1, atol=1e-5)


def test_shares_are_weights_summed_over_the_models_of_each_present_modality(models):
    both, audio, text, nothing = [1 / 3, 2 / 3], [1, 0], [0, 1], [0, 0]
    found = shares_model(late_fusion(models, PRIOR))(EVERYTHING)
    np.testing.assert_allclose(found, [both, audio, text, nothing, both], atol=1e-6)
    found = shares_model(late_fusion(models, PRIOR, "weighted", fitted=FITTED["weighted"]))(EVERYTHING)
    np.testing.assert_allclose(found[0], [0.6, 0.4], atol=1e-6)
    found = shares_model(late_fusion(models, PRIOR, "weighted", fitted={"weights": [1.0, 0.0, 0.0]}))(EVERYTHING)
    np.testing.assert_allclose(found[:3], [audio, audio, text], atol=1e-6)


def test_shares_are_found_in_a_model_that_a_new_process_loads(models, tmp_path):
    keras.utils.clear_session()  # Forgets which names are taken, as a new process does.
    late_fusion(models, PRIOR).save(tmp_path / "model.keras")
    keras.utils.clear_session()
    loaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    np.testing.assert_allclose(shares_model(loaded)(EVERYTHING)[0], [1 / 3, 2 / 3], atol=1e-6)


def test_there_are_no_shares_where_no_weights_are_of_one_modality_each(models):
    assert shares_model(late_fusion(models, PRIOR, "stacker", fitted=FITTED["stacker"])) is None
    assert shares_model(late_fusion({name: models[name] for name in ("text", "second")}, PRIOR)) is None
    assert shares_model(models["audio"]) is None
    assert shares_model(late_fusion({"early": build_early(), "text": models["text"]}, PRIOR)) is None


def test_a_model_of_several_emotions_joins_by_its_mapped_probabilities_over_their_sum(models):
    several = build_multi_label(5)
    targets = [2, 0, None]
    fused = late_fusion({"audio": models["audio"], "text": several}, PRIOR, targets=[None, targets])
    found = sigmoids(several, EVERYTHING)
    mapped = np.stack([found[:, 1], np.zeros(len(found)), found[:, 0]], axis=1)
    mapped /= mapped.sum(axis=1, keepdims=True)
    expected = (probabilities(models["audio"], EVERYTHING) + mapped) / 2
    np.testing.assert_allclose(probabilities(fused, EVERYTHING)[[0, 4]], expected[[0, 4]], atol=1e-6)
    np.testing.assert_allclose(probabilities(fused, EVERYTHING)[2], mapped[2], atol=1e-6)


def test_a_map_to_another_order_only_reorders(models):
    fused = late_fusion({"one": models["text"], "two": models["text"]}, PRIOR, targets=[[1, 2, 0], [1, 2, 0]])
    expected = probabilities(models["text"], EVERYTHING)[:, [2, 0, 1]]
    np.testing.assert_allclose(probabilities(fused, EVERYTHING)[[0, 2]], expected[[0, 2]], atol=1e-6)


def test_probabilities_are_uniform_where_no_probable_emotion_is_mapped():
    several = build_multi_label(5)
    several.get_layer("emotions").bias.assign([-1e4, -1e4, 1e4])
    fused = late_fusion({"one": several, "two": several}, PRIOR, targets=[[0, 1, None], [0, 1, None]])
    np.testing.assert_allclose(probabilities(fused, batch(BOTH)), [[1 / 3] * 3], atol=1e-6)


def test_stacked_models_give_their_probabilities_and_which_are_present(models):
    stacked, present = stack(models, 3)(EVERYTHING)
    assert stacked.shape == (5, 3, 3)
    np.testing.assert_array_equal(present, [[1, 1, 1], [1, 0, 0], [0, 1, 1], [0, 0, 0], [1, 1, 1]])


@pytest.mark.parametrize("names", list(itertools.combinations(("audio", "text", "second"), 2)))
def test_inputs_are_those_of_the_models(models, names):
    fused = late_fusion({name: models[name] for name in names}, PRIOR)
    wanted = {modality for name in names for modality in modalities_of(models[name])}
    assert set(modalities_of(fused)) == wanted


def test_late_fusion_is_the_average_by_hand(models):
    chosen = {name: models[name] for name in ("audio", "text", "second")}
    features = batch(BOTH, (20, [2, 9, 5]))
    expected = np.mean([probabilities(model, features) for model in chosen.values()], axis=0)
    np.testing.assert_allclose(probabilities(late_fusion(chosen, PRIOR), features), expected, atol=1e-6)


def test_late_fusion_averages_calibrated_probabilities():
    chosen = {name: build(branch, seed=3) for name, branch in (("one", "audio"), ("two", "text"))}
    features = batch(BOTH, (20, [2, 9, 5]))
    logits = [model({key: features[key] for key in model.input}).numpy() for model in chosen.values()]
    for model, temperature in zip(chosen.values(), (0.5, 3.0), strict=True):
        set_temperature(model, temperature)
    expected = np.mean([scipy.special.softmax(x / t, axis=1) for x, t in zip(logits, (0.5, 3.0), strict=True)], axis=0)
    np.testing.assert_allclose(probabilities(late_fusion(chosen, PRIOR), features), expected, atol=1e-6)


def test_late_fusion_leaves_an_absent_modality_out(models):
    fused = late_fusion({name: models[name] for name in ("audio", "text", "second")}, PRIOR)
    found = probabilities(fused, batch(AUDIO_ALONE, TEXT_ALONE, NOTHING))
    np.testing.assert_allclose(found[0], probabilities(models["audio"], batch(AUDIO_ALONE))[0], atol=1e-6)
    both_texts = [probabilities(models[name], batch(TEXT_ALONE))[0] for name in ("text", "second")]
    np.testing.assert_allclose(found[1], np.mean(both_texts, axis=0), atol=1e-6)
    np.testing.assert_allclose(found[2], PRIOR, atol=1e-6)


def test_late_fusion_takes_models_of_one_modality_and_fused_ones(models):
    texts = late_fusion({"one": models["text"], "two": models["second"]}, PRIOR)
    assert list(texts.input) == ["token_ids"]
    fused = late_fusion({"one": build_early(), "two": models["text"]}, PRIOR)
    expected = np.mean([probabilities(model, batch(BOTH)) for model in (build_early(), models["text"])], axis=0)
    np.testing.assert_allclose(probabilities(fused, batch(BOTH)), expected, atol=1e-6)


def test_late_fusion_of_several_emotions_averages_each_probability_and_saves_so(tmp_path):
    chosen = {str(seed): build_multi_label(seed) for seed in (0, 1)}
    features = batch(TEXT_ALONE, (0, [2, 9, 5]))
    expected = np.mean([sigmoids(model, features) for model in chosen.values()], axis=0)
    fused = late_fusion(chosen, PRIOR, is_multi_label=True)
    np.testing.assert_allclose(sigmoids(fused, features), expected, atol=1e-6)
    np.testing.assert_allclose(sigmoids(fused, batch(NOTHING)), [PRIOR], atol=1e-6)
    set_temperature(fused, 1.7)
    fused.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    everything = batch(TEXT_ALONE, NOTHING)
    np.testing.assert_array_equal(sigmoids(loaded, everything), sigmoids(fused, everything))


@pytest.mark.parametrize("rule", ["mean", "weighted"])
def test_several_emotions_in_another_order_are_joined_by_name(rule, tmp_path):
    chosen = {str(seed): build_multi_label(seed) for seed in (0, 1)}
    features = batch(TEXT_ALONE, (0, [2, 9, 5]))
    one, other = (sigmoids(model, features) for model in chosen.values())
    fitted = {"weights": [0.5, 0.5]} if rule == "weighted" else {}
    fused = late_fusion(chosen, PRIOR, rule, True, [None, [2, 1, 0]], fitted)
    np.testing.assert_allclose(sigmoids(fused, features), (one + other[:, ::-1]) / 2, atol=1e-6)
    fused.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    np.testing.assert_array_equal(sigmoids(loaded, features), sigmoids(fused, features))


def test_probabilities_of_0_and_1_have_finite_logits():
    model = build_multi_label(0)
    model.get_layer("emotions").bias.assign([-1e4, 1e4, 0])
    logits = late_fusion({"one": model}, PRIOR, is_multi_label=True)(text_batch([[2, 7, 4]], 3)).numpy()
    assert np.isfinite(logits).all()
    assert (logits[0, 0] < -10) & (logits[0, 1] > 10)
