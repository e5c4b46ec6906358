"""Tests of emotion_tf.fuse: rows meet by what they are, rules are fitted within folds, and mistakes are sentences."""

import json

import numpy as np
import pandas as pd
import pytest

from emotion_tf.evaluation import multilabel, rule_fitting
from emotion_tf.evaluation.joined_predictions import fit_set_of, fuse, join
from emotion_tf.fuse import main
from emotion_tf.models import late_rules
from emotion_tf.runs.predictions import PREFIX, is_multi_label, read_predictions
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
    parts = [("validation", "cd", 0), ("test", "ab", 0), ("validation", "ab", 1), ("test", "cd", 1)]
    tables = [rows_of(10 * number + n, split, who, fold=fold) for n, (split, who, fold) in enumerate(parts)]
    return pd.concat(tables, ignore_index=True).assign(**columns)


def several_of(seed=0, split="test", num_rows=40):
    """Random memberships, a probability each, of sentences without speakers."""
    truths = np.random.default_rng(99).random((num_rows, 3)) < 0.4
    truths[~truths.any(axis=1), 0] = True
    shares = 1 / (1 + np.exp(-np.random.default_rng(seed).normal(-2, 1, truths.shape) - 2 * truths))
    about = {"utterance_id": [f"{split}{number}" for number in range(num_rows)], "speaker": "", "split": split}
    named = {"label": multilabel.joined(truths, EMOTIONS), "predicted": "angry"}
    return pd.DataFrame(about | named | dict(zip(COLUMNS, shares.T, strict=True)))


@pytest.fixture
def write(tmp_path):
    """From tables to the paths of files a.csv, b.csv, ..."""

    def files(*tables, names="abcdef"):
        paths = [tmp_path / f"{name}.csv" for name, _ in zip(names, tables, strict=False)]
        for path, table in zip(paths, tables, strict=True):
            table.to_csv(path, index=False)
        return paths

    return files


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


def test_what_is_written_is_read_again_in_the_order_of_predictions_csv(write, tmp_path, capsys):
    tables = [folds_of(seed, sex="female", intensity="strong", remark="x", seed=0) for seed in (1, 2)]
    output = tmp_path / "new" / "fused.csv"
    main(["--predictions", *map(str, write(*tables)), "--rule", "product", "--output", str(output)])
    fused = read_predictions(output)
    first = ["utterance_id", "speaker", "split", "label", "predicted"]
    assert list(fused) == [*first, *COLUMNS, "sex", "intensity", "fold", "seed"]
    np.testing.assert_allclose(fused[COLUMNS], combined(tables, "product"), atol=1e-15)
    pd.testing.assert_frame_equal(fused[[*first[:4], "sex", "fold"]], tables[0][[*first[:4], "sex", "fold"]])
    facts = json.loads(output.with_suffix(".json").read_text())
    assert (facts["rule"], facts["num_rows"], facts["fits"]) == ("product", 72, [])
    assert sorted(path.name for path in output.parent.iterdir()) == ["fused.csv", "fused.json"]
    printed = capsys.readouterr().out
    assert "72 rows stand in every file, joined by utterance_id, split, fold and seed; without partner: " in printed
    assert "optimistic" not in printed
    for part in ("validation", "test"):
        assert f"{part} part\nrun " in printed
    assert [line.split()[0] for line in printed.splitlines()[-3:]] == ["a", "b", "fused"]


def test_rows_without_a_partner_are_left_out_and_counted(write, tmp_path, capsys):
    files = [str(path) for path in write(rows_of(1), rows_of(2).iloc[4:], rows_of(3).iloc[:-1])]
    main(["--predictions", *files, "--rule", "vote", "--output", str(tmp_path / "fused.csv")])
    printed = capsys.readouterr().out
    counts = ", ".join(f"{file} {number}" for file, number in zip(files, (5, 1, 4), strict=True))
    assert f"31 rows stand in every file, joined by utterance_id and split; without partner: {counts}\n" in printed
    assert len(read_predictions(tmp_path / "fused.csv")) == 31
    facts = json.loads((tmp_path / "fused.json").read_text())
    assert facts["without_partner"] == dict(zip(files, (5, 1, 4), strict=True))


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


def test_what_was_fitted_is_told_with_a_warning(write, tmp_path, capsys):
    tables = [folds_of(number) for number in (1, 2)]
    is_known = (tables[0]["fold"] == 0) & (tables[0]["split"] == "validation")
    tables = [table[~is_known | (table["label"] != "sad")] for table in tables]
    paths, output = write(*tables), tmp_path / "fused.csv"
    for rule in late_rules.FITTED:
        main(["--predictions", *map(str, paths), "--rule", rule, "--output", str(output)])
    fits = json.loads(output.with_suffix(".json").read_text())["fits"]
    assert [(fit["fold"], fit["num_utterances"], fit["speakers"]) for fit in fits] == [
        (0, 12, ["c", "d"]),
        (1, 18, ["a", "b"]),
    ]
    assert [fit["never_named"] for fit in fits] == [["sad"], []]
    assert np.shape(fits[0]["kernel"]) == (2, 3, 3)
    assert fits[0]["strength"] in rule_fitting.STRENGTHS
    printed = capsys.readouterr().out
    assert "fitted for  utterances  speakers  weight of a  weight of b\nfold 0" in printed
    assert "fold 0: no utterance to fit on is labelled sad: the stacker never says so" in printed
    assert "the weights were fitted on validation rows that are fused too: scores on these are optimistic" in printed


def test_weights_in_the_file_are_named_after_the_files(write, tmp_path):
    paths = write(*(pd.concat([rows_of(n), rows_of(n + 5, "validation", "xy")]) for n in (1, 2)))
    main(["--predictions", *map(str, paths), "--rule", "weighted", "--output", str(tmp_path / "fused.csv")])
    [fit] = json.loads((tmp_path / "fused.json").read_text())["fits"]
    assert list(fit["weights"]) == [str(path) for path in paths]
    assert sum(fit["weights"].values()) == pytest.approx(1)
    assert (fit["num_utterances"], fit["speakers"]) == (18, ["x", "y"])


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
    with pytest.raises(InputError, match=r"Utterance a0 of --fit-on stands in the test split of .*a.csv: fit on valid"):
        fused_of(paths[:2], "weighted", paths[2:4])
    with pytest.raises(InputError, match="Speaker a of --fit-on stands in the test split"):
        fused_of(paths[:2], "weighted", paths[4:])
    folds = write(folds_of(1), folds_of(2))
    assert len(fused_of(folds, "weighted", folds)[0]) == 2  # Tested in one fold, validated in the other.


def test_several_emotions_are_named_by_thresholds_of_the_fit_set(write, tmp_path, capsys):
    tables = [pd.concat([several_of(n), several_of(n + 2, "validation")], ignore_index=True) for n in (1, 2)]
    output = tmp_path / "fused.csv"
    main(["--predictions", *map(str, write(*tables)), "--rule", "weighted", "--output", str(output)])
    fused, [fit] = read_predictions(output), json.loads(output.with_suffix(".json").read_text())["fits"]
    assert is_multi_label(fused)
    truths = multilabel.memberships(tables[0]["label"], EMOTIONS)
    known = tables[0]["split"] == "validation"
    weights = rule_fitting.fit_weights(shares_of(*tables)[known], truths[known])
    assert list(fit["weights"].values()) == pytest.approx(list(weights))
    expected = combined(tables, "weighted", weights=weights, is_multi_label=True)
    np.testing.assert_allclose(fused[COLUMNS], expected, atol=1e-12)
    thresholds = multilabel.fit_thresholds(expected[known], truths[known])
    assert list(fit["thresholds"].values()) == pytest.approx(list(thresholds))
    assert list(fused["predicted"]) == multilabel.joined(multilabel.decide(expected, thresholds), EMOTIONS)
    assert list(fused["label"]) == list(tables[0]["label"])
    printed = capsys.readouterr().out
    assert "the thresholds were fitted on validation rows that are fused too" in printed
    assert "fused (weighted)" in printed
    assert "macro-F1" in printed


def test_several_emotions_without_a_fit_set_are_named_from_one_half(write, tmp_path, capsys):
    tables = several_of(1), several_of(2)
    paths = write(*tables)
    output = tmp_path / "fused.csv"
    main(["--predictions", *map(str, paths), "--rule", "product", "--output", str(output)])
    fused = read_predictions(output)
    expected = combined(tables, "product", is_multi_label=True)
    np.testing.assert_allclose(fused[COLUMNS], expected, atol=1e-12)
    named = multilabel.memberships(fused["predicted"], EMOTIONS)
    np.testing.assert_array_equal(named.any(axis=1), True)
    np.testing.assert_array_equal(
        named[(expected >= 0.5).any(axis=1)], (expected >= 0.5)[(expected >= 0.5).any(axis=1)]
    )
    assert (
        "without validation rows to fit thresholds on, emotions of probability 0.5 are named" in capsys.readouterr().out
    )
    for rule in late_rules.SINGLE_LABEL:
        with pytest.raises(InputError, match=f"--rule {rule} is for one emotion an utterance, and .*a.csv has several"):
            fused_of(paths, rule)


def test_names_of_several_emotions_may_stand_in_any_order(write):
    one, other = several_of(1), several_of(2)
    other["label"] = other["label"].str.split("|").map(lambda names: "|".join(reversed(names)))
    assert len(join(write(one, other))) == 40


def test_marks_of_the_runs_stay_with_what_is_fused(tmp_path, capsys):
    for name, marks in (("audio", ["synthetic"]), ("text", ["paired"])):
        (tmp_path / name).mkdir()
        rows_of(len(name)).to_csv(tmp_path / name / "predictions.csv", index=False)
        (tmp_path / name / "scores.json").write_text(json.dumps({"marks": marks}))
    folders = [str(tmp_path / name) for name in ("audio", "text")]
    main(["--predictions", *folders, "--rule", "mean", "--output", str(tmp_path / "fused.csv")])
    assert json.loads((tmp_path / "fused.json").read_text())["marks"] == ["synthetic", "paired"]
    lines = capsys.readouterr().out.splitlines()[-3:]
    assert [line.split()[0] for line in lines] == ["audio", "text", "fused"]
    assert lines[2].endswith("synthetic, paired")


def test_the_file_that_names_speakers_names_them(write):
    _, fused = fused_of(write(rows_of(1).assign(speaker=""), rows_of(2)))
    assert list(fused["speaker"]) == list(rows_of()["speaker"])


def relabelled(table, **values):
    return table.assign(**{name: [value, *table[name][1:]] for name, value in values.items()})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: relabelled(rows_of(2), label="sad"), "Utterance a0 has the label 'angry' in .*a.csv and 'sad' in "),
        (lambda: relabelled(rows_of(2), speaker="z"), "Utterance a0 has the speaker 'a' in .* and 'z' in .*b.csv"),
        (lambda: rows_of(2).rename(columns={COLUMNS[2]: PREFIX + "joy"}).assign(label="joy", predicted="joy"),
         "have other label sets .only one knows joy, sad.: fuse predictions of the same emotions"),
        (lambda: rows_of(2).drop(columns=COLUMNS), "b.csv has no probabilities to fuse: add a column probability_NAME"),
        (lambda: rows_of(2, speakers="xyz"), "No row stands in every file, joined by utterance_id and split"),
        (lambda: rows_of(2, "validation"), "No row stands in every file, joined by utterance_id and split"),
        (lambda: rows_of(2, fold=0), "a.csv has no column fold, and .*b.csv has one: add it, or take it out"),
        (lambda: rows_of(2, seed=0), "a.csv has no column seed, and .*b.csv has one"),
        (lambda: rows_of(2).assign(**{COLUMNS[0]: 0.9}), "a.csv holds distributions .*b.csv a probability of each"),
    ],
)  # fmt: skip
def test_what_cannot_be_joined_is_refused(write, make, message):
    with pytest.raises(InputError, match=message):
        join(write(rows_of(1), make()))


def test_a_rule_with_weights_needs_validation_rows_of_every_fold(write):
    with pytest.raises(InputError, match=r"No row with split=validation stands in each of .* --rule stacker is fitted"):
        fused_of(write(rows_of(1), rows_of(2)), "stacker")
    tables = [table[(table["fold"] == 0) | (table["split"] == "test")] for table in (folds_of(1), folds_of(2))]
    paths = write(*tables)
    with pytest.raises(InputError, match="No row of fold 1 with split=validation stands in each of"):
        fused_of(paths, "weighted")
    with pytest.raises(
        InputError, match=r"joined by utterance_id, split and fold, and .*d.csv by utterance_id and spl"
    ):
        fused_of(paths, "weighted", write(*tables, rows_of(1), rows_of(2), names="xyde")[2:])
    other = [table.rename(columns={COLUMNS[2]: PREFIX + "joy"}).replace("sad", "joy") for table in tables]
    with pytest.raises(InputError, match="have other label sets: give --fit-on predictions of the same emotions"):
        fused_of(paths, "weighted", write(*tables, *other, names="xyde")[2:])


def test_flags_that_make_no_sense_are_refused(write, tmp_path):
    one, other, third = map(str, write(rows_of(1), rows_of(2), rows_of(3)))
    (tmp_path / "run").mkdir()
    for name in ("config.json", "scores.json"):
        (tmp_path / "run" / name).write_text("{}")
    output = ["--rule", "mean", "--output", str(tmp_path / "fused.csv")]
    for arguments, message in [
        (["--predictions", one, *output], "Nothing to fuse .*a.csv with"),
        (["--predictions", one, other, one, *output], r"a.csv is named twice: give --predictions each file once"),
        (["--predictions", one, other, "--fit-on", one, *output], "--fit-on names 1 and --predictions 2 files"),
        (["--predictions", one, other, "--fit-on", third, third, *output], "c.csv is named twice: give --fit-on each"),
        (["--predictions", one, "absent.csv", *output], "absent.csv is not a file"),
        (["--predictions", one, other, *output[:-1], one], "a.csv is one of the files to read"),
        (["--predictions", one, other, *output[:-1], str(tmp_path)], "is a folder: give --output a file"),
        (["--predictions", one, other, *output[:-1], str(tmp_path / "x.json")], "does not end in .csv"),
        (["--predictions", one, other, *output[:-1], str(tmp_path / "run" / "x.csv")], "run holds a run, whose"),
    ]:
        with pytest.raises(InputError, match=message):
            main(arguments)
    assert not (tmp_path / "fused.csv").exists()
