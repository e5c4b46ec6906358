"""Tests of benchmarks/audio_ablation.py: what it changes, and what it makes of the scores."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.stats

PATH = Path(__file__).parents[1] / "benchmarks" / "audio_ablation.py"


@pytest.fixture(scope="module")
def ablation():
    spec = importlib.util.spec_from_file_location("audio_ablation", PATH)
    module = importlib.util.module_from_spec(spec)
    sys.modules["audio_ablation"] = module  # Dataclasses look their module up.
    spec.loader.exec_module(module)
    yield module
    del sys.modules["audio_ablation"]


def rows_of(hits):
    """From hits [num_speakers, num_seeds, 4]; two clips are angry, two calm."""
    rows = []
    for (speaker, seed, clip), hit in np.ndenumerate(np.array(hits)):
        label, other = ("angry", "calm") if clip < 2 else ("calm", "angry")
        row = {"utterance_id": f"{speaker}-{clip}", "speaker": f"s{speaker}", "split": "validation", "seed": seed}
        rows.append(row | {"label": label, "predicted": label if hit else other})
    return pd.DataFrame(rows)


def test_every_setting_is_understood_and_differs_from_the_default_in_audio_alone(ablation):
    configs = {
        name: ablation.config_of(one, Path(one.records), ablation.EPOCHS) for name, one in ablation.SETTINGS.items()
    }
    default = configs.pop("default")
    assert len(configs) < 20
    for name, config in configs.items():
        assert config != default, name
        assert (config.folds, config.training.epochs) == ("lj5", ablation.EPOCHS)
        assert config.training.learning_rate == default.training.learning_rate


def test_crops_are_as_long_in_seconds_whatever_the_hop(ablation):
    hops = {"default": 0.01, "hop-20": 0.02, "hop-40": 0.04}
    for name, hop in hops.items():
        config = ablation.config_of(ablation.SETTINGS[name], Path("records"), 1)
        assert config.training.num_frames * hop == pytest.approx(1.28)


def test_a_difference_is_the_mean_over_speakers_with_an_interval_of_student(ablation):
    rng = np.random.default_rng(0)
    one, other = (rng.random((4, 2, 4)) < rate for rate in (0.4, 0.8))
    found = ablation.difference(rows_of(one), rows_of(other))
    by_speaker = (other.mean(axis=(1, 2)) - one.mean(axis=(1, 2))).tolist()
    reference = scipy.stats.ttest_1samp(by_speaker, 0)
    assert found["by_speaker"] == pytest.approx(dict(zip(["s0", "s1", "s2", "s3"], by_speaker, strict=True)))
    assert found["difference"] == pytest.approx(np.mean(by_speaker))
    assert found["interval"] == pytest.approx(list(reference.confidence_interval(0.95)))
    assert found["p"] == pytest.approx(reference.pvalue)


def test_equal_predictions_are_not_distinguishable_and_one_speaker_tells_nothing(ablation):
    rows = rows_of(np.ones((3, 2, 4), bool))
    same = ablation.judge({"a": ablation.difference(rows, rows)})["a"]
    assert (same["interval"], same["p"], same["verdict"]) == ([0, 0], 1, "not distinguishable")
    assert ablation.t_test(np.array([0.3])) == {"interval": None, "p": 1.0}


@pytest.mark.parametrize(
    ("interval", "p_holm", "verdict"),
    [
        (None, 1.0, "not distinguishable"),
        ([-0.1, 0.2], 0.3, "not distinguishable"),
        ([0.1, 0.2], 0.2, "perhaps better"),
        ([0.1, 0.2], 0.01, "better"),
        ([-0.2, -0.1], 0.01, "worse"),
    ],
)
def test_a_verdict_needs_the_interval_and_the_correction(ablation, interval, p_holm, verdict):
    assert ablation.verdict(interval, p_holm) == verdict


def test_the_deviation_over_seeds_ignores_folds_and_settings(ablation):
    scores = [{"fold-0-seed-0": 0.1, "fold-0-seed-1": 0.3, "fold-1-seed-0": 0.8, "fold-1-seed-1": 0.8}]
    assert ablation.seed_deviation(scores) == pytest.approx(0.1)
    assert ablation.seed_deviation([{"fold-0-seed-0": 0.1}]) is None


def test_the_table_has_a_row_a_setting_and_names_what_was_slow(ablation):
    about = {"change": "default", "uar": 0.5, "parameters": 1234, "minutes": 1.0}
    judged = {"difference": 0.02, "interval": [-0.05, 0.09], "p_holm": 1.0, "verdict": "not distinguishable"}
    result = {"speakers": ["03", "06"], "folds": ["lj5 0"], "num_seeds": 2, "epochs": 8, "seed_deviation": 0.021}
    settings = {"default": about, "slow": {**about, "change": "no masks", "minutes": 2.5, **judged}}
    text = ablation.table(result | {"minutes_allowed": 2, "settings": settings})
    assert "| no masks | 0.500 | +2.0 | -5.0 to +9.0 | 1 | not distinguishable | 1,234 | 2.5 |" in text
    assert "Longer than 2 minutes a fit as run here: slow." in text
    assert "Validation speakers 03, 06 of lj5 0, 2 seeds" in text
