"""Tests of benchmarks/functionals.py: an SVM on functionals that keeps speakers apart."""

import sys
import types

import numpy as np
import pandas as pd
import pytest

from benchmarks import functionals
from emotion_tf.runs.folder import Scored
from pipelines.command import InputError

EMOTIONS = ("neutral", "calm", "happy")


def table_of(num_speakers=6, noise=0.3, shift=0.0):
    """Three columns that tell the emotion, a constant one, and one that only tells the speaker."""
    rng, rows, values = np.random.default_rng(3), [], []
    for speaker in range(1, num_speakers + 1):
        for clip in range(12):
            label = clip % 3
            row = {"utterance_id": f"{speaker}-{clip}", "speaker": f"{speaker:02}", "label": label, "sex": "female"}
            rows.append(row)
            values.append([*(np.eye(3)[label] * 100 + noise * 100 * rng.standard_normal(3)), 7.0, speaker + shift])
    return functionals.Table(np.array(values, np.float32), pd.DataFrame(rows), EMOTIONS)


def parts(table):
    return table.of(("01", "02", "03", "04")), table.of(("05",)), [table.of(("06",))]


def test_an_svm_learns_and_its_probabilities_are_distributions():
    table = table_of()
    [probabilities] = functionals.fit(*parts(table))
    assert probabilities.sum(axis=1) == pytest.approx(np.ones(12))
    assert (probabilities.argmax(axis=1) == parts(table)[2][0].labels).mean() > 0.9


def test_nothing_is_learned_of_the_tested_speakers():
    train, validation, [test] = parts(table_of())
    [before] = functionals.fit(train, validation, [test])
    louder = functionals.Table(test.values * 9, test.utterances, EMOTIONS)
    [alone, _] = functionals.fit(train, validation, [test, louder])
    np.testing.assert_array_equal(before, alone)


def test_each_fold_tests_its_own_speakers_once(tmp_path):
    found = functionals.crossval(table_of(6), "loso", ("validation", "test"))
    test = found[found["split"] == "test"]
    assert sorted(test["utterance_id"]) == sorted(table_of(6).utterances["utterance_id"])
    assert set(test["fold"]) == set(range(6))
    assert list(found)[:5] == ["utterance_id", "speaker", "split", "label", "predicted"]
    assert set(functionals.crossval(table_of(6), "loso", ("validation",))["split"]) == {"validation"}


@pytest.fixture
def smile(monkeypatch):
    """A package opensmile whose functionals are the peak and the length of a waveform; counts what it is given."""
    seen = []

    class Smile:
        def __init__(self, feature_set, feature_level):
            assert (feature_set, feature_level) == ("set", "functionals")

        def process_signal(self, signal, sampling_rate):
            seen.append((signal.dtype, sampling_rate))
            return pd.DataFrame([[np.abs(signal).max(), len(signal), np.nan]])

    package = types.ModuleType("opensmile")
    package.Smile = Smile
    package.FeatureSet = types.SimpleNamespace(eGeMAPSv02="set")
    package.FeatureLevel = types.SimpleNamespace(Functionals="functionals")
    monkeypatch.setitem(sys.modules, "opensmile", package)
    return seen


def test_the_command_writes_scores_and_extracts_once(noise_clips, smile, tmp_path, capsys):
    flags = ["--features", "egemaps", "--source", str(noise_clips), "--folds", "loso", "--run", str(tmp_path / "run")]
    functionals.main(flags)
    assert set(smile) == {(np.dtype("float32"), 16000)}
    assert "test" not in Scored(tmp_path / "run").scores()
    functionals.main([*flags, "--split", "test"])
    assert len(smile) == 40
    scores = Scored(tmp_path / "run").scores()
    assert scores["test"]["num_utterances"] == 40
    assert scores["test"]["speakers"] == ["01", "02", "03", "04", "05"]
    assert "test: UAR" in capsys.readouterr().out


def test_functionals_of_another_set_are_extracted_anew(tmp_path, smile):
    path = tmp_path / "features.npz"
    np.savez(path, values=np.ones((1, 2)), names=np.array(["a"]), features=np.array("egemaps"))
    assert functionals._read(path, "egemaps", ["a"]) is not None
    assert functionals._read(path, "compare", ["a"]) is None
    assert functionals._read(path, "egemaps", ["b"]) is None


def test_a_missing_package_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "opensmile", None)
    with pytest.raises(InputError, match=r"opensmile cannot be imported .*\[benchmarks\]"):
        functionals.extract([], "egemaps")
