"""Tests of emotion_tf.compare: what is printed and written of a comparison."""

import functools
import io
import json
import re

import pandas as pd
import pytest
from test_comparison import make_run, random_hits, rows_of, write_file

from emotion_tf.compare import main
from pipelines.command import InputError


@pytest.fixture
def make(tmp_path):
    return functools.partial(make_run, tmp_path)


def several(predicted, **columns):
    """Ten sentences, a dialogue each, of joy, and every other one of fear as well."""
    rows = {"utterance_id": [f"u{number}" for number in range(10)], "speaker": "", "split": "test"}
    rows |= {"label": ["joy", "joy|fear"] * 5, "predicted": predicted, "dialogue": list("abcdefghij")}
    return pd.DataFrame(rows).assign(**columns)


def test_several_emotions_are_compared_by_macro_f1_over_dialogues(tmp_path, capsys):
    right, half = several(["joy", "fear|joy"] * 5), several("joy")
    files = [str(write_file(tmp_path / f"{name}.csv", table)) for name, table in (("right", right), ("half", half))]
    main(files)
    output = capsys.readouterr().out
    assert "test split: 10 utterances that every run has, of 10 dialogues" in output
    assert "right and half cannot be told apart: +50.0 points macro-F1 [" in output
    assert "p = 0.0625, 10 dialogues" in output  # Five differ: 2 of the 2 ** 5 ways to exchange them are as extreme.
    with pytest.raises(InputError, match="right has several emotions an utterance, and UAR is of one each"):
        main([*files, "--metric", "uar"])


def test_only_utterances_of_every_run_count(make, capsys):
    long, short = rows_of([[1, 1, 0, 0]] * 4), rows_of([[1, 1]] * 3)
    main([str(make("long", long)), str(make("short", short))])
    head = capsys.readouterr().out.splitlines()[0]
    assert (
        head
        == "test split: 6 utterances that every run has, of 3 speakers; left out because only some runs have"
        + (" them: 10")
    )


def test_without_speakers_each_utterance_counts_on_its_own(make, capsys):
    one = make("one", rows_of(random_hits(1, 60, 0.9), speaker=""))
    other = make("other", rows_of(random_hits(1, 60, 0.4, seed=1), speaker=""))
    main([str(one), str(other)])
    output = capsys.readouterr().out
    assert "which name no speakers, so that each counts on its own" in output
    assert "one beats other by" in output
    assert output.endswith(", 60 utterances.\n")


def test_the_output_shows_runs_pairs_and_sentences_and_writes_nothing(make, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    runs = [make("runs/early", random_hits(6, rate=0.9), ["synthetic"]), make("runs/text", random_hits(6, rate=0.4))]
    before = sorted(tmp_path.rglob("*"))
    main([str(run) for run in runs])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "test split: 60 utterances that every run has, of 6 speakers"
    assert lines[2].split()[:2] == ["run", "UAR"]
    assert lines[3].split()[0] == "early"
    assert lines[3].endswith("synthetic")
    assert lines[7].startswith("early - text")
    assert lines[9].startswith("early [synthetic] beats text by")
    assert sorted(tmp_path.rglob("*")) == before


def test_output_holds_what_was_printed_and_a_picture(make, tmp_path):
    runs = [str(make(name, random_hits(6, rate=rate))) for name, rate in (("early", 0.9), ("text", 0.4))]
    main([*runs, "--output", str(tmp_path / "deep" / "here")])
    stored = json.loads((tmp_path / "deep" / "here" / "compare.json").read_text())
    assert [run["name"] for run in stored["runs"]] == ["early", "text"]
    assert stored["pairs"][0]["sentence"].startswith("early beats text")
    assert (tmp_path / "deep" / "here" / "compare.png").read_bytes().startswith(b"\x89PNG")


def test_predictions_of_another_toolkit_compare_with_a_run(make, tmp_path, capsys):
    """A file without probabilities may never name an emotion that the run knows."""
    rows = rows_of(random_hits(6, rate=0.9))
    file = write_file(tmp_path / "svm.csv", rows)
    known = rows_of(random_hits(6, rate=0.4)).assign(probability_angry=0.5, probability_calm=0.5, probability_sad=0.0)
    main([str(file), str(make("ours", known))])
    assert "svm beats ours by" in capsys.readouterr().out


def test_output_must_be_a_folder(make):
    one = make("one", [[1, 0]] * 3)
    with pytest.raises(InputError, match=r"one/scores.json is a file: give --output a folder"):
        main([str(one), str(one), "--output", str(one / "scores.json")])


def test_the_formats_hold_the_numbers_of_the_text(make, capsys):
    runs = [str(make(name, random_hits(6, rate=rate))) for name, rate in (("my_run", 0.9), ("b&w", 0.4))]
    printed = {}
    for name in ("text", "markdown", "latex", "csv"):
        main([*runs, "--format", name])
        printed[name] = capsys.readouterr().out
    main(runs)
    assert capsys.readouterr().out == printed["text"]
    [score] = re.findall(r"^my_run +(\d\.\d{3})", printed["text"], re.MULTILINE)
    [difference] = re.findall(r"^my_run - b&w +([-+]\d+\.\d)", printed["text"], re.MULTILINE)
    assert f"| my\\_run | {score} | " in printed["markdown"]
    assert f"my\\_run - b\\&w & {difference} & " in printed["latex"]
    table = pd.read_csv(io.StringIO(printed["csv"]))
    assert table["kind"].tolist() == ["score", "score", "difference"]
    assert f"{table['value'][0]:.3f}" == score
    assert f"{100 * table['value'][2]:+.1f}" == difference
    assert table["value"][2] == pytest.approx(table["value"][0] - table["value"][1])


def test_tables_of_markdown_have_one_width_and_latex_closes_what_it_opens(make, capsys):
    runs = [str(make(name, random_hits(6, rate=rate))) for name, rate in (("one", 0.9), ("other", 0.4))]
    main([*runs, "--format", "markdown"])
    tables = [block.splitlines() for block in capsys.readouterr().out.split("\n\n") if block.startswith("|")]
    assert [len({line.count(" | ") for line in table if "---" not in line}) for table in tables] == [1, 1]
    main([*runs, "--format", "latex"])
    found = capsys.readouterr().out
    assert re.findall(r"\\begin\{(\w+)", found) == ["table", "tabular"] * 2
    assert found.count("\\end{") == 4
    rows = [line for line in found.splitlines() if line.endswith("\\\\")]
    widths = [len(one) + 1 for one in re.findall(r"tabular\}\{l(r+)\}", found)]
    assert {line.count(" & ") + 1 for line in rows} == set(widths)


def test_no_name_is_an_argument_of_the_end_of_a_row_of_latex(make, capsys):
    runs = [str(make(name, random_hits(6, rate=rate))) for name, rate in (("[one]", 0.9), ("*other|", 0.4))]
    main([*runs, "--format", "latex"])
    found = capsys.readouterr().out
    assert "\n{}[one] & " in found
    assert "\n{}*other$|$ & " in found
    assert not re.search(r"\\\\\s*[\[*]", found)


def test_without_an_interval_cells_of_csv_are_empty(make, capsys):
    runs = [str(make(name, random_hits(2, rate=rate))) for name, rate in (("one", 0.9), ("other", 0.4))]
    main([*runs, "--format", "csv"])
    assert pd.read_csv(io.StringIO(capsys.readouterr().out))[["low", "high"]].isna().all(axis=None)
