"""Tests of emotion_tf.evaluation.joined_predictions: rows meet by what they are, rules are fitted within folds."""

import functools

import numpy as np
import pandas as pd
import pytest

from emotion_tf import late_rules
from emotion_tf.evaluation import multilabel, rule_fitting
from emotion_tf.evaluation.joined_predictions import enumeration, fit_set_of, fuse, join
from emotion_tf.runs.predictions import PREFIX
from pipelines.command import InputError

EMOTIONS = ("angry", "calm", "sad")
COLUMNS = [PREFIX + emotion for emotion in EMOTIONS]


def rows_of(number=0, /, split="test", speakers="abcd", num_clips=9, **columns):
    """Random predictions of the same clips for every seed, better than chance."""
    rng = np.random.default_rng(number)
    names = [(speaker, f"{speaker}{clip}") for speaker in speakers for clip in range(num_clips)]
    labels = np.arange(len(names)) % 3
    logits = rng.normal(0, 1, (len(names), 3)) + 1.5 * np.eye(3)[labels]
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    table = pd.DataFrame(names, columns=["speaker", "utterance_id"])
    chosen = {"label": np.array(EMOTIONS)[labels], "predicted": np.array(EMOTIONS)[shares.argmax(axis=1)]}
    return table.assign(split=split, **chosen, **dict(zip(COLUMNS, shares.T, strict=True)), **columns)


def folds_of(number=0, /, **columns):
    """Two folds: who is validated in one is tested in the other."""
    splits = [("validation", "cd", 0), ("test", "ab", 0), ("validation", "ab", 1), ("test", "cd", 1)]
    tables = [rows_of(10 * number + n, split, who, fold=fold) for n, (split, who, fold) in enumerate(splits)]
    return pd.concat(tables, ignore_index=True).assign(**columns)


def several_of(seed=0, split="test", num_rows=40):
    """Random memberships, a probability each, of sentences without speakers."""
    truths = np.random.default_rng(99).random((num_rows, 3)) < 0.4
    truths[~truths.any(axis=1), 0] = True
    shares = 1 / (1 + np.exp(-np.random.default_rng(seed).normal(-2, 1, truths.shape) - 2 * truths))
    about = {"utterance_id": [f"{split}{number}" for number in range(num_rows)], "speaker": "", "split": split}
    named = {"label": multilabel.joined(truths, EMOTIONS), "predicted": "angry"}
    return pd.DataFrame(about | named | dict(zip(COLUMNS, shares.T, strict=True)))


def write_files(folder, *tables, names="abcdef"):
    """Writes tables to a.csv, b.csv, ...; returns their paths."""
    paths = [folder / f"{name}.csv" for name, _ in zip(names, tables, strict=False)]
    for path, table in zip(paths, tables, strict=True):
        table.to_csv(path, index=False)
    return paths


@pytest.fixture
def write(tmp_path):
    return functools.partial(write_files, tmp_path)


def fused_of(paths, rule="mean", fit_on=()):
    joined = join(paths)
    return fuse(joined, rule, fit_set_of(joined, rule, fit_on))


def shares_of(*tables):
    return np.stack([table[COLUMNS].to_numpy() for table in tables], axis=1)


def combined(tables, rule, **parameters):
    shares = shares_of(*tables)
    return late_rules.combine(shares, np.ones(shares.shape[:2]), rule, **parameters)


def labels_of(table):
    return table["label"].map(EMOTIONS.index).to_numpy()


@pytest.mark.parametrize("rule", ["mean", "logit_mean", "product", "vote"])
def test_rows_meet_by_utterance_whatever_their_order_and_the_order_of_emotions(write, rule):
    tables = rows_of(1), rows_of(2)
    shuffled = tables[1].sample(frac=1, random_state=0)[[*tables[1].columns[:5], *COLUMNS[::-1]]]
    fits, fused = fused_of(write(tables[0], shuffled), rule)
    np.testing.assert_allclose(fused[COLUMNS], combined(tables, rule), atol=1e-12)
    np.testing.assert_array_equal(fused["predicted"], np.array(EMOTIONS)[combined(tables, rule).argmax(axis=1)])
    pd.testing.assert_frame_equal(fused[["utterance_id", "label"]], tables[0][["utterance_id", "label"]])
    assert not fits[0].num_utterances


@pytest.mark.parametrize("rule", late_rules.FITTED)
def test_a_rule_is_fitted_on_the_validation_rows_of_each_fold_and_seed(write, rule):
    tables = [pd.concat([folds_of(n, seed=0), folds_of(n + 2, seed=1)], ignore_index=True) for n in (1, 5)]
    fits, fused = fused_of(write(*tables), rule)
    assert [fit.place for fit in fits] == [{"fold": fold, "seed": seed} for fold in (0, 1) for seed in (0, 1)]
    assert fits[0].speakers == ("c", "d")
    for fit in fits:
        here = [table[(table["fold"] == fit.place["fold"]) & (table["seed"] == fit.place["seed"])] for table in tables]
        known = [table[table["split"] == "validation"] for table in here]
        if rule == "weighted":
            parameters = {"weights": rule_fitting.fit_weights(shares_of(*known), labels_of(known[0]))}
        else:
            fitted = rule_fitting.fit_stacker(shares_of(*known), labels_of(known[0]), known[0]["speaker"])
            parameters = dict(zip(("kernel", "bias"), fitted, strict=True))
        expected = combined(here, rule, **parameters)
        np.testing.assert_allclose(fused.loc[here[0].index, COLUMNS], expected, atol=1e-12)


def test_the_fit_set_may_be_other_files(write):
    tests = rows_of(1), rows_of(2)
    known = rows_of(3, "validation", "xy"), rows_of(4, "validation", "xy")[[*rows_of().columns[:5], *COLUMNS[::-1]]]
    paths = write(*tests, *known, names=["a", "b", "a_val", "b_val"])
    [fit], fused = fused_of(paths[:2], "weighted", paths[2:])
    weights = rule_fitting.fit_weights(shares_of(*known), labels_of(known[0]))
    np.testing.assert_allclose(fit.parameters["weights"], weights)
    np.testing.assert_allclose(fused[COLUMNS], combined(tests, "weighted", weights=weights), atol=1e-12)
    with pytest.raises(InputError, match="--rule mean has nothing to fit: leave --fit-on out"):
        fused_of(paths[:2], "mean", paths[2:])


def test_nothing_is_fitted_on_those_who_are_tested_in_the_same_fold(write):
    tables = rows_of(1), rows_of(2)
    same = [rows_of(seed, "validation", "ax") for seed in (3, 4)]
    other = [table.assign(utterance_id="other-" + table["utterance_id"]) for table in same]
    paths = write(*tables, *same, *other)
    with pytest.raises(InputError, match=r"utterance a0 of --fit-on stands in the test split of .*a.csv: fit on valid"):
        fused_of(paths[:2], "weighted", paths[2:4])
    with pytest.raises(InputError, match="speaker a of --fit-on stands in the test split"):
        fused_of(paths[:2], "weighted", paths[4:])
    folds = write(folds_of(1), folds_of(2))
    assert len(fused_of(folds, "weighted", folds)[0]) == 2  # Tested in one fold, validated in the other.


def test_names_of_several_emotions_may_stand_in_any_order(write):
    one, other = several_of(1), several_of(2)
    other["label"] = other["label"].str.split("|").map(lambda names: "|".join(reversed(names)))
    assert len(join(write(one, other))) == 40


def test_the_file_that_names_speakers_names_them(write):
    _, fused = fused_of(write(rows_of(1).assign(speaker=""), rows_of(2)))
    assert list(fused["speaker"]) == list(rows_of()["speaker"])


def relabelled(table, **values):
    return table.assign(**{name: [value, *table[name][1:]] for name, value in values.items()})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: relabelled(rows_of(2), label="sad"), "utterance a0 has the label 'angry' in .*a.csv and 'sad' in "),
        (lambda: relabelled(rows_of(2), speaker="z"), "utterance a0 has the speaker 'a' in .* and 'z' in .*b.csv"),
        (lambda: rows_of(2).rename(columns={COLUMNS[2]: PREFIX + "joy"}).assign(label="joy", predicted="joy"),
         "have other label sets .only one knows joy, sad.: fuse predictions of the same emotions"),
        (lambda: rows_of(2).drop(columns=COLUMNS), "b.csv has no probabilities to fuse: add a column probability_NAME"),
        (lambda: rows_of(2, speakers="xyz"), "no row stands in every file, joined by utterance_id and split"),
        (lambda: rows_of(2, "validation"), "no row stands in every file, joined by utterance_id and split"),
        (lambda: rows_of(2, fold=0), "a.csv has no column fold, and .*b.csv has one: add it, or take it out"),
        (lambda: rows_of(2, seed=0), "a.csv has no column seed, and .*b.csv has one"),
        (lambda: rows_of(2).assign(**{COLUMNS[0]: 0.9}), "a.csv holds distributions .*b.csv a probability of each"),
    ],
)  # fmt: skip
def test_what_cannot_be_joined_is_refused(write, make, message):
    with pytest.raises(InputError, match=message):
        join(write(rows_of(1), make()))


def test_a_rule_with_weights_needs_validation_rows_of_every_fold(write):
    with pytest.raises(InputError, match=r"no row with split=validation stands in each of .* --rule stacker is fitted"):
        fused_of(write(rows_of(1), rows_of(2)), "stacker")
    tables = [table[(table["fold"] == 0) | (table["split"] == "test")] for table in (folds_of(1), folds_of(2))]
    paths = write(*tables)
    with pytest.raises(InputError, match="no row of fold 1 with split=validation stands in each of"):
        fused_of(paths, "weighted")
    with pytest.raises(
        InputError, match=r"joined by utterance_id, split and fold, and .*d.csv by utterance_id and spl"
    ):
        fused_of(paths, "weighted", write(*tables, rows_of(1), rows_of(2), names="xyde")[2:])
    other = [table.rename(columns={COLUMNS[2]: PREFIX + "joy"}).replace("sad", "joy") for table in tables]
    with pytest.raises(InputError, match="have other label sets: give --fit-on predictions of the same emotions"):
        fused_of(paths, "weighted", write(*tables, *other, names="xyde")[2:])


def test_names_are_enumerated_as_in_a_sentence():
    assert enumeration(["fold"]) == "fold"
    assert enumeration(["fold", "seed", "split"]) == "fold, seed and split"


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_an_emotion_that_one_file_does_not_know_has_no_probability_there(write, order):
    """Labels in another order, and fewer of them, meet by name."""
    whole, few = rows_of(1), rows_of(2)
    few = few[few["label"] != "calm"].drop(columns=COLUMNS[1])
    few[[COLUMNS[0], COLUMNS[2]]] = few[[COLUMNS[0], COLUMNS[2]]].div(few[[COLUMNS[0], COLUMNS[2]]].sum(axis=1), axis=0)
    few["predicted"] = np.where(few[COLUMNS[0]] > 0.5, "angry", "sad")
    few = few[[*few.columns[:-2], COLUMNS[2], COLUMNS[0]]]
    tables = [(whole, few)[place] for place in order]
    joined = join(write(*tables))
    assert set(joined.emotions) == set(EMOTIONS)
    [_], fused = fuse(joined, "mean", fit_set_of(joined, "mean"))
    common = whole[whole["label"] != "calm"].reset_index(drop=True)
    expected = (common[COLUMNS] + few.reset_index(drop=True).assign(**{COLUMNS[1]: 0.0})[COLUMNS]) / 2
    assert len(fused) == len(common)
    np.testing.assert_allclose(fused[COLUMNS], expected, atol=1e-12)
