"""Tests of emotion_tf.fuse: what was fused and fitted is written and printed, and mistakes are sentences."""

import functools
import json

import numpy as np
import pandas as pd
import pytest
from test_joined_predictions import (
    COLUMNS,
    EMOTIONS,
    combined,
    folds_of,
    fused_of,
    rows_of,
    several_of,
    shares_of,
    write_files,
)

from emotion_tf import late_rules
from emotion_tf.evaluation import multilabel, rule_fitting
from emotion_tf.fuse import main
from emotion_tf.runs.predictions import is_multi_label, read_predictions
from pipelines.command import InputError


@pytest.fixture
def write(tmp_path):
    return functools.partial(write_files, tmp_path)


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
    for split in ("validation", "test"):
        assert f"{split} split\nrun " in printed
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


def test_what_was_fitted_is_printed_with_a_warning(write, tmp_path, capsys):
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


def test_files_to_fit_on_in_another_order_are_refused_where_names_tell_it(write, tmp_path, capsys):
    known = rows_of(3, "validation", "xy"), rows_of(4, "validation", "xy")
    named = write(rows_of(1), rows_of(2), *known, names=["audio", "text", "val_audio", "val_text"])
    audio, text, audio_known, text_known = map(str, named)
    rest = ["--rule", "weighted", "--output", str(tmp_path / "fused.csv")]
    with pytest.raises(InputError, match=r"val_text.csv stands in the place of .*audio.csv, and is named after .*text"):
        main(["--predictions", audio, text, "--fit-on", text_known, audio_known, *rest])
    assert not (tmp_path / "fused.csv").exists()
    main(["--predictions", audio, text, "--fit-on", audio_known, text_known, *rest])
    printed = capsys.readouterr().out
    assert f"fit set of {audio}: {audio_known}\nfit set of {text}: {text_known}\n" in printed


def test_several_emotions_are_predicted_by_thresholds_of_the_fit_set(write, tmp_path, capsys):
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


def test_several_emotions_without_a_fit_set_are_predicted_from_one_half(write, tmp_path, capsys):
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


def test_flags_that_make_no_sense_are_refused(write, tmp_path):
    one, other, third = map(str, write(rows_of(1), rows_of(2), rows_of(3)))
    (tmp_path / "run").mkdir()
    for name in ("config.json", "scores.json"):
        (tmp_path / "run" / name).write_text("{}")
    output = ["--rule", "mean", "--output", str(tmp_path / "fused.csv")]
    for arguments, message in [
        (["--predictions", one, *output], "nothing to fuse .*a.csv with"),
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
