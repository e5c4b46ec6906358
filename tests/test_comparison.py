"""Tests of emotion_tf.evaluation.comparison: runs are paired over utterances and tested over speakers."""

import dataclasses
import functools
import itertools
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import sklearn.metrics

from emotion_tf.evaluation import comparison, uncertainty
from emotion_tf.evaluation.comparison import Entry, choose_split, compare, pair_up, read_entries
from emotion_tf.runs.folder import Run
from pipelines.command import InputError

EMOTIONS = ("angry", "calm")


def rows_of(hits, *, split="test", speaker="s{}", **columns):
    """From [num_speakers][num_clips] hits to rows; labels alternate between angry and calm."""
    rows = []
    for number, of_speaker in enumerate(hits):
        for clip, hit in enumerate(of_speaker):
            row = {"utterance_id": f"{number}-{clip}", "speaker": speaker.format(number), "split": split}
            rows.append(row | {"label": EMOTIONS[clip % 2], "predicted": EMOTIONS[(clip + 1 - hit) % 2]} | columns)
    return pd.DataFrame(rows)


def write_file(path, rows):
    rows.to_csv(path, index=False)
    return path


def compared(*paths):
    entries = read_entries(paths)
    return compare(entries, pair_up(entries, "test"), "test")


def compared_hits(hits, marks=()):
    """From the hits of each run, by its name, to what comes of comparing them; the marks are those of the last one."""
    entries = [Entry(name, Path(name), rows_of(of_run)) for name, of_run in hits.items()]
    entries[-1] = dataclasses.replace(entries[-1], marks=tuple(marks))
    return compare(entries, pair_up(entries, "test"), "test")


def make_run(folder, name, hits, marks=(), **columns):
    """Writes hits, or rows, as the folder of a run; returns the folder."""
    run = folder / name
    run.mkdir(parents=True)
    (run / "scores.json").write_text(json.dumps({"marks": list(marks)}))
    rows = hits if isinstance(hits, pd.DataFrame) else rows_of(hits, **columns)
    rows.to_csv(run / "predictions.csv", index=False)
    return run


@pytest.fixture
def make(tmp_path):
    return functools.partial(make_run, tmp_path)


def random_hits(num_speakers, num_clips=10, rate=0.6, seed=0):
    return np.random.default_rng(seed).random((num_speakers, num_clips)) < rate


def test_scores_and_differences_are_those_of_scikit_learn(make):
    """A speaker with more clips, and of one emotion, weighs by emotion and not by clip."""
    hits = [[[1, 0, 1], [1, 1], [0, 1, 0, 1, 1]], [[1, 1, 1], [0, 1], [0, 0, 0, 0, 1]]]
    tables = [rows_of(of_run) for of_run in hits]
    found = compared(*(make(f"run{number}", table) for number, table in enumerate(tables)))
    recalls = [sklearn.metrics.recall_score(t["label"], t["predicted"], average="macro") for t in tables]
    rates = [sklearn.metrics.accuracy_score(t["label"], t["predicted"]) for t in tables]
    assert [run["unweighted_average_recall"] for run in found["runs"]] == pytest.approx(recalls)
    assert [run["accuracy"] for run in found["runs"]] == pytest.approx(rates)
    [pair] = found["pairs"]
    assert (pair["first"], pair["second"]) == ("run0", "run1")
    assert pair["unweighted_average_recall"] == pytest.approx(recalls[0] - recalls[1])
    assert pair["accuracy"] == pytest.approx(rates[0] - rates[1])
    assert found["majority"] == {"emotion": "angry", "accuracy": 0.6, "unweighted_average_recall": 0.5}


@pytest.mark.parametrize("average", ["macro", "weighted"])
def test_f1_and_its_difference_are_those_of_scikit_learn(make, average):
    tables = [rows_of(random_hits(6, rate=rate, seed=seed)) for seed, rate in enumerate((0.8, 0.5))]
    entries = read_entries([make(f"run{number}", table) for number, table in enumerate(tables)])
    found = compare(entries, pair_up(entries, "test"), "test", f"{average}_f1")
    expected = [sklearn.metrics.f1_score(table["label"], table["predicted"], average=average) for table in tables]
    assert [run[f"{average}_f1"] for run in found["runs"]] == pytest.approx(expected)
    [pair] = found["pairs"]
    assert pair[f"{average}_f1"] == pytest.approx(expected[0] - expected[1])
    low, high = pair[f"{average}_f1_interval"]
    assert low < pair[f"{average}_f1"] < high
    assert found["chance"][f"{average}_f1"] == pytest.approx(0.5)
    always = sklearn.metrics.f1_score(tables[0]["label"], ["angry"] * 60, average=average)
    assert found["majority"] == {"emotion": "angry", f"{average}_f1": pytest.approx(always), "accuracy": 0.5}


def test_the_metric_is_the_headline_of_the_runs_unless_asked(make):
    runs = [make(name, random_hits(4)) for name in ("one", "two")]
    assert comparison.choose_metric(read_entries(runs)) == "unweighted_average_recall"
    (runs[1] / "scores.json").write_text(json.dumps({"marks": [], "headline": "macro_f1"}))
    assert comparison.choose_metric(read_entries(runs)) == "macro_f1"
    assert comparison.choose_metric(read_entries(runs), "weighted_f1") == "weighted_f1"


def test_f1_of_seeds_is_the_mean_of_theirs(make):
    seeds = [rows_of(random_hits(3, seed=seed), fold=0, seed=seed) for seed in (0, 1)]
    entries = read_entries([make("seeds", pd.concat(seeds)), make("single", random_hits(3, seed=2))])
    found = compare(entries, pair_up(entries, "test"), "test", "macro_f1")
    expected = [sklearn.metrics.f1_score(table["label"], table["predicted"], average="macro") for table in seeds]
    assert found["runs"][0]["macro_f1"] == pytest.approx(np.mean(expected))
    assert 0 < found["pairs"][0]["p"] <= 1


def test_exchanging_a_speaker_flips_the_sign_of_their_share(make):
    one, other = rows_of(random_hits(3)), rows_of(random_hits(3, seed=1))
    exchanged = [one.copy(), other.copy()]
    is_second = one["speaker"] == "s1"
    exchanged[0].loc[is_second, "predicted"] = other["predicted"]
    exchanged[1].loc[is_second, "predicted"] = one["predicted"]

    def shares(*tables):
        entries = read_entries([make(f"run{next(numbers)}", table) for table in tables])
        pairing = pair_up(entries, "test")
        return comparison.speaker_differences(*pairing.hits, pairing.totals)

    numbers = itertools.count()
    np.testing.assert_allclose(shares(*exchanged), shares(one, other) * [1, -1, 1])


def test_hits_are_averaged_over_seeds_first(make):
    """Two seeds that are right in turn are a run that is right half of the time."""
    seeds = pd.concat([rows_of([[1] * 4] * 3, fold=0, seed=0), rows_of([[0] * 4] * 3, fold=0, seed=1)])
    found = compared(make("seeds", seeds), make("single", [[1, 0, 0, 1]] * 3))
    assert [run["unweighted_average_recall"] for run in found["runs"]] == [0.5, 0.5]
    assert [run["num_seeds"] for run in found["runs"]] == [2, 1]
    assert found["pairs"][0]["p"] == 1


def test_the_interval_of_speakers_who_gain_alike_is_the_gain(make):
    found = compared(make("better", [[1, 1, 1, 0]] * 6), make("worse", [[1, 0, 1, 0]] * 6))
    [pair] = found["pairs"]
    assert pair["unweighted_average_recall_interval"] == pytest.approx((0.25, 0.25))
    assert pair["p"] == 2**-5


def test_the_interval_of_the_difference_is_paired(make):
    """Hard and easy speakers move both runs together: the difference is known better than either score."""
    rates = np.linspace(0, 1, 12)
    better = [[1] * round(8 * r) + [0] * (8 - round(8 * r)) for r in rates * 0.9 + 0.1]
    worse = [[1] * round(8 * r) + [0] * (8 - round(8 * r)) for r in rates * 0.9]
    found = compared(make("better", better), make("worse", worse))
    widths = [np.ptp(row["unweighted_average_recall_interval"]) for row in (*found["runs"], *found["pairs"])]
    assert widths[2] < 0.5 * min(widths[:2])


def test_every_pair_is_compared_and_the_better_one_comes_first(make):
    found = compared(*(make(name, random_hits(8, rate=rate)) for name, rate in (("c", 0.2), ("a", 0.9), ("b", 0.5))))
    assert [(pair["first"], pair["second"]) for pair in found["pairs"]] == [("a", "c"), ("b", "c"), ("a", "b")]
    p_values = [pair["p"] for pair in found["pairs"]]
    assert [pair["p_holm"] for pair in found["pairs"]] == uncertainty.holm(p_values)


def test_test_is_compared_where_every_run_has_it_else_validation(make):
    validation = rows_of([[1, 0]] * 3, split="validation")
    both = make("both", pd.concat([validation, rows_of([[1, 1]] * 3)]))
    first, second = make("first", validation), make("second", validation)
    assert choose_split(read_entries([both, first])) == "validation"
    assert choose_split(read_entries([both, make("tested", [[0, 1]] * 3)])) == "test"
    assert choose_split(read_entries([both, first]), "validation") == "validation"
    with pytest.raises(InputError, match="first has no test rows: read its test split first"):
        choose_split(read_entries([both, first, second]), "test")
    with pytest.raises(InputError, match="tested has no validation rows, and not every run has test rows"):
        choose_split(read_entries([both, first, first.parent / "tested"]))


def test_equal_names_are_told_apart_by_their_folders(make, tmp_path):
    paths = [make("one/audio", [[1, 0]] * 3), make("two/audio", [[1, 0]] * 3), make("text", [[1, 0]] * 3)]
    assert [entry.name for entry in read_entries(paths)] == [str(paths[0]), str(paths[1]), "text"]


def test_what_cannot_be_compared_gets_a_sentence(make, tmp_path):
    one = make("one", [[1, 0]] * 3)
    with pytest.raises(InputError, match=r"nothing to compare .*one with"):
        read_entries([one])
    with pytest.raises(InputError, match="is named twice"):
        read_entries([one, one / "predictions.csv"])
    (tmp_path / "begun").mkdir()
    with pytest.raises(InputError, match="begun holds no finished run or crossval"):
        read_entries([one, tmp_path / "begun"])
    sad = rows_of([[1, 0]] * 3).assign(probability_angry=0.5, probability_calm=0.5, probability_sad=0.0)
    happy = sad.rename(columns={"probability_sad": "probability_happy"})
    with pytest.raises(InputError, match="sad does not know happy, which another run does"):
        read_entries([make("sad", sad), make("happy", happy)])


@pytest.mark.parametrize("place", ["", "cross_corpus/other", "fold-0-seed-0"])
def test_runs_of_another_version_are_refused(make, make_run_metadata, place):
    one, hits = make("one", [[1, 0]] * 3), [[1, 1]] * 3
    old = make("old", hits)
    scored = make(f"old/{place}", hits) if place.startswith("cross") else old
    run = Run(old / place) if place.startswith("fold") else Run(old)
    run.folder.mkdir(exist_ok=True)
    run.config_path.write_text("{}")
    run.write_metadata(make_run_metadata())
    assert len(read_entries([one, scored])) == 2
    values = json.loads(run.metadata_path.read_text())
    run.metadata_path.write_text(json.dumps({name: value for name, value in values.items() if name != "run_version"}))
    with pytest.raises(
        InputError, match=r"is of a run that another version .* \(it has no run_version, .*: train again"
    ):
        read_entries([one, scored])


def test_runs_of_other_corpora_get_a_sentence(make):
    one = rows_of([[1, 0]] * 3)
    runs = {
        "other": one.assign(utterance_id="x" + one["utterance_id"]),
        "speakers": one.assign(speaker=one["speaker"].replace("s1", "s9")),
        "labels": one.assign(label=one["label"].mask(one["utterance_id"] == "1-0", "calm")),
    }
    first = make("one", one)
    sentences = {
        "other": "no utterance stands in the test split of every run",
        "speakers": "utterance 1-0 of the test split has the speaker 's1' in one and 's9' in speakers",
        "labels": "utterance 1-0 of the test split has the label 'angry' in one and 'calm' in labels",
    }
    for name, table in runs.items():
        with pytest.raises(InputError, match=sentences[name]):
            compared(first, make(name, table))


def test_folds_that_disagree_within_a_crossval_get_a_sentence(make):
    folds = pd.concat([rows_of([[1, 0]] * 3, fold=0, seed=0), rows_of([[1, 0]] * 3, fold=1, seed=0)])
    folds = folds.assign(label=np.where(folds["fold"] == 1, "calm", folds["label"]))
    with pytest.raises(InputError, match="'angry' in folds and 'calm' in folds"):
        compared(make("folds", folds), make("one", [[1, 0]] * 3))


def test_a_file_that_names_no_speakers_is_asked_for_them(make, tmp_path):
    named = make("named", [[1, 0], [0, 1]])
    unnamed = write_file(tmp_path / "unnamed.csv", rows_of([[1, 0], [0, 1]], speaker=""))
    with pytest.raises(InputError, match="unnamed names no speaker for 0-0: fill that column"):
        compared(named, unnamed)


def test_a_run_that_knows_fewer_emotions_is_compared_on_what_both_have(make):
    few = rows_of([[1, 0, 1]] * 3).assign(probability_angry=0.5, probability_calm=0.5)
    extra = few.assign(utterance_id="sad-" + few["utterance_id"], label="sad", predicted="sad")
    many = pd.concat([few, extra]).assign(probability_angry=0.25, probability_calm=0.25, probability_sad=0.5)
    many = many[[*few.columns[:5], "probability_sad", "probability_calm", "probability_angry"]]
    found = compared(make("few", few), make("many", many))
    assert (found["num_utterances"], found["num_left_out"]) == (9, 9)
    assert [run["unweighted_average_recall"] for run in found["runs"]] == [0.5, 0.5]
