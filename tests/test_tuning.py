"""Tests of emotion_tf.tune and emotion_tf.tuning: what is searched, what is drawn, what mattered, what is written."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from emotion_tf import fit, tune
from emotion_tf.runs.folder import Run
from emotion_tf.tune import Tuning
from emotion_tf.tuning.importance import importances
from emotion_tf.tuning.search import Trial
from emotion_tf.tuning.space import Choice, Range, Space, read_space, words_of
from pipelines.command import InputError

ROOT = Path(__file__).parents[1]
SPACE = """
learning-rate: {from: 1e-4, to: 1e-2, scale: log}
--text-model: [gru, lstm]
batch_size: {from: 8, to: 32}
audio-channels: [[8, 16], [4]]
"""


@pytest.fixture
def space_of(tmp_path):
    def read(text):
        path = tmp_path / "space.yaml"
        path.write_text(text)
        return read_space(path, fit.make_parser())

    return read


def test_a_space_names_flags_with_or_without_hyphens(space_of):
    assert space_of(SPACE).flags == {
        "--learning-rate": Range(1e-4, 1e-2, is_log=True),
        "--text-model": Choice((("gru",), ("lstm",))),
        "--batch-size": Range(8, 32, is_whole=True),
        "--audio-channels": Choice((("8", "16"), ("4",))),
    }


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "holds no search space"),
        ("- epochs", "holds no search space"),
        ("learning-rate: [0.1", "space.yaml, line 1: no YAML"),
        ("learning-rat: [0.1]", "no flag --learning-rat; did you mean --learning-rate"),
        ("records: [a, b]", "--records is the same for all trials"),
        ("init-audio: [a]", "--init-audio is the same for all trials"),
        ("epochs: 3", "--epochs needs a list of values or a range"),
        ("epochs: []", "--epochs needs a list"),
        ("epochs: [3, 3]", "lists a value twice"),
        ("epochs: [3]\n--epochs: [4]", "names --epochs twice"),
        ("epochs: {from: 3}", "from or to is missing"),
        ("epochs: {from: 3, to: 4, step: 1}", "step is unknown"),
        ("epochs: {from: a, to: 4}", "from and to must be numbers"),
        ("epochs: {from: 5, to: 4}", "the lower first"),
        ("epochs: {from: 0, to: 4, scale: log}", "must begin above 0"),
        ("epochs: {from: 1, to: 4, scale: cubic}", "scale cubic cannot work"),
        ("epochs: {from: 1.5, to: 4, whole: true}", "are not whole numbers"),
        ("patience: [off, 5]", '--patience cannot be false, as YAML reads off and no: write "off", in quotes'),
        ("epochs: [2024-13-45]", "no YAML"),
        ("epochs: [!!int abc]", "no YAML"),
        ("devices: [1, 2]", "--devices is the same for all trials"),
        (f"epochs: {{from: 1, to: {'9' * 400}}}", "from and to must be numbers"),
    ],
)
def test_what_cannot_be_searched_is_said_in_a_sentence(space_of, text, said):
    with pytest.raises(InputError, match=said):
        space_of(text)


def test_draws_are_inside_their_ranges_and_the_same_each_time(space_of):
    space = space_of(SPACE)
    drawn = [space.draw(3, number) for number in range(200)]
    assert drawn == [space.draw(3, number) for number in range(200)]
    assert drawn[:5] != [space.draw(4, number) for number in range(5)]
    rates = np.array([float(one["--learning-rate"][0]) for one in drawn])
    assert ((rates >= 1e-4) & (rates <= 1e-2)).all()
    # Even on a log scale: of 200 even draws no quartile strays further but once in a thousand times.
    quartiles = np.log10(np.quantile(rates, [0.25, 0.5, 0.75]))
    np.testing.assert_allclose(quartiles, [-3.5, -3, -2.5], atol=2 * 3.3 * 0.5 / np.sqrt(200))
    assert {int(one["--batch-size"][0]) for one in drawn} == set(range(8, 33))
    assert {one["--audio-channels"] for one in drawn} == {("8", "16"), ("4",)}


def test_a_small_space_gives_each_setting_once():
    space = Space({"--text-model": Choice((("gru",), ("lstm",), ("transformer",)))})
    assert sorted(one["--text-model"] for one in space.distinct(0, 20)) == [("gru",), ("lstm",), ("transformer",)]
    assert space.distinct(0, 2) == space.distinct(0, 20)[:2]  # More trials are further ones.


def test_words_of_a_trial_are_those_of_a_command_line():
    assert words_of({"--audio-channels": ("8", "16"), "--balance": ()}) == ["--audio-channels", "8", "16", "--balance"]


def test_settings_that_matter_are_found_and_others_are_not(space_of):
    space = space_of("learning-rate: {from: 1e-4, to: 1e-2, scale: log}\ntext-model: [gru, lstm]\nword-drop: [0, 1]"
                     .replace("word-drop:", "word-dropout:"))  # fmt: skip
    drawn, rng = [space.draw(0, number) for number in range(60)], np.random.default_rng(0)
    scores = [
        0.4 + 0.2 * space.flags["--learning-rate"].position(one["--learning-rate"])
        + 0.1 * (one["--text-model"] == ("lstm",)) + rng.normal(0, 0.01)
        for one in drawn
    ]  # fmt: skip
    found = importances(space, drawn, scores)
    flags = found["flags"]
    assert found["explained"] > 0.8
    assert flags["--learning-rate"] > 0.3
    assert flags["--text-model"] > 0.3
    assert abs(flags["--word-dropout"]) < 0.05


def test_scores_of_chance_explain_nothing(space_of):
    space = space_of("epochs: {from: 1, to: 1000}")
    drawn = [space.draw(0, number) for number in range(40)]
    assert importances(space, drawn, np.random.default_rng(1).normal(size=40).tolist())["explained"] < 0.1


def test_of_few_trials_nothing_is_said_to_matter(space_of):
    space = space_of("epochs: [1, 2]")
    assert importances(space, [space.draw(0, 0)] * 9, list(range(9))) == {"explained": None, "flags": None}


def history(run, scores, losses=None):
    run.folder.mkdir(parents=True)
    columns = {"val_unweighted_average_recall": scores, "val_loss": losses or [1.0] * len(scores)}
    pd.DataFrame(columns).to_csv(run.history_path, index=False)


@pytest.mark.parametrize(
    ("keep", "expected"), [("score", [0.2, 0.5, 0.5]), ("loss", [0.2, 0.2, 0.4]), ("last", [0.2, 0.5, 0.4])]
)
def test_a_trial_scores_as_the_weights_that_it_would_keep(make_config, tmp_path, keep, expected):
    run = Run(tmp_path / "trial")
    history(run, [0.2, 0.5, 0.4], [2.0, 3.0, 1.0])
    one = Trial({}, make_config("text", keep_epoch=keep), run)
    assert one.scores("unweighted_average_recall") == expected


@pytest.fixture
def searched(make_config, space_of, tmp_path):
    """A search of twelve trials as it lies there when all have ended, one of which failed."""
    space = space_of("learning-rate: {from: 1e-4, to: 1e-2, scale: log}\ntext-model: [gru, lstm]")
    tuning, config = Tuning(tmp_path / "search"), make_config("text")
    trials = []
    for number, drawn in enumerate(space.distinct(0, 12)):
        one = Trial(drawn, config, Run(tuning.folder / "trials" / f"trial-{number:03d}"))
        height = space.flags["--learning-rate"].position(drawn["--learning-rate"])
        if number == 5:
            one.run.folder.mkdir(parents=True)
            one.log_path.write_text("hello\nerror: the loss became nan in epoch 1\n")
        else:
            history(one.run, [0.2 + height / 10, 0.3 + height / 10][: 1 + number % 2])
            (one.run.scores_path if number % 2 else one.stopped_path).write_text("{}")
        trials.append(one)
    tuning.settings_path.write_text('{"seed": 0, "space": {}, "config": {}}')
    return space, tuning, trials


def test_a_report_names_the_best_and_what_mattered(searched):
    space, tuning, trials = searched
    text = tuning.report(space, trials, "unweighted_average_recall")
    table = pd.read_csv(tuning.trials_path).set_index("trial")
    assert table["state"].value_counts().to_dict() == {"stopped": 6, "finished": 5, "failed": 1}
    best = table[table["state"] == "finished"]["learning-rate"].idxmax()
    found = json.loads(tuning.settings_path.read_text())["found"]
    assert found["best"] == best
    assert found["compared_after_epochs"] == 1
    assert found["flags"]["--learning-rate"] > found["flags"]["--text-model"]
    assert f"best: {tuning.folder / 'trials' / best}, validation UAR 0.3" in text
    assert (tuning.plots / "tune.png").stat().st_size > 10_000


def test_without_a_finished_trial_the_reason_of_a_failed_one_is_given(searched):
    space, tuning, trials = searched
    with pytest.raises(InputError, match=r"no trial came to its end; trial-005 .*: the loss became nan in epoch 1"):
        tuning.report(space, [one for one in trials if not one.run.is_finished], "unweighted_average_recall")


def test_a_search_of_another_space_is_refused_and_overwritten_on_demand(space_of, make_config, tmp_path):
    tuning, config = Tuning(tmp_path / "search"), make_config("text")
    tuning.start(space_of("epochs: [1, 2]"), config, 0, overwrite=False)
    tuning.start(space_of("epochs: [1, 2]"), config, 0, overwrite=False)
    with pytest.raises(InputError, match="holds a search with another space"):
        tuning.start(space_of("epochs: [1, 3]"), config, 0, overwrite=False)
    (tuning.folder / "trials").mkdir()
    tuning.start(space_of("epochs: [1, 3]"), config, 0, overwrite=True)
    assert not (tuning.folder / "trials").exists()


def test_a_folder_of_something_else_is_refused(space_of, make_config, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="holds files that are no search"):
        Tuning(tmp_path).start(space_of("epochs: [1]"), make_config("text"), 0, overwrite=True)
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_settings_that_do_not_go_together_are_named(space_of, three_speaker_records, tmp_path):
    space = space_of("audio-units: [8]")
    words = ["--branch", "audio", "--records", str(three_speaker_records)]
    with pytest.raises(InputError, match="the space draws --audio-units 8: "):
        Tuning(tmp_path).trials(space, words, 0, 1)


def test_flags_of_the_search_are_not_given_to_fit():
    argv = ["--space", "s.yaml", "--run", "DIR", "--branch", "text", "--trials", "3", "--epochs", "2", "--fold", "1"]
    assert tune._fit_words(argv) == ["--branch", "text", "--epochs", "2", "--fold", "1", "--seed", "0"]


def test_an_address_that_does_not_answer_costs_no_search(space_of, three_speaker_records, tmp_path, monkeypatch):
    def refuse(address):
        raise InputError(f"--ray {address}: no cluster answers there")

    space_of("epochs: [1, 2]")
    monkeypatch.setattr(tune, "connected", refuse)
    kept = tmp_path / "search" / "tune.json"
    kept.parent.mkdir()
    kept.write_text('{"seed": 1, "space": {}, "config": {}}')
    flags = ["--space", str(tmp_path / "space.yaml"), "--branch", "text", "--records", str(three_speaker_records)]
    with pytest.raises(InputError, match="no cluster answers there"):
        tune.main([*flags, "--run", str(kept.parent), "--overwrite", "--ray", "auto"])
    assert json.loads(kept.read_text())["seed"] == 1


@pytest.mark.slow
def test_a_search_stops_trials_early_goes_on_and_reads_no_test_split(three_speaker_records, tmp_path):
    pytest.importorskip("ray")
    space = tmp_path / "space.yaml"
    space.write_text("learning-rate: {from: 1e-4, to: 1e-2, scale: log}\ntext-model: [gru, lstm]\n")
    command = [
        *(sys.executable, "-m", "emotion_tf.tune", "--space", "space.yaml", "--branch", "text"),
        # Ray starts trials in folders of their own.
        *("--records", os.path.relpath(three_speaker_records, tmp_path), "--run", "search", "--epochs", "4"),
        *("--fewest-epochs", "1", "--text-units", "4", "--word-dim", "4", "--max-tokens", "16"),
    ]
    how: dict[str, Any] = {"cwd": tmp_path, "env": os.environ | {"PYTHONPATH": str(ROOT)}, "text": True}
    with subprocess.Popen([*command, "--trials", "3"], stderr=subprocess.PIPE, **how) as stopped:
        first = tmp_path / "search" / "trials" / "trial-000.log"
        while not first.exists() and stopped.poll() is None:
            time.sleep(0.5)
        stopped.send_signal(signal.SIGINT)
        said = stopped.communicate(timeout=120)[1]
    assert stopped.returncode == 130, said
    assert "interrupted; the same command again continues" in said
    for count in ("3", "5"):
        done = subprocess.run([*command, "--trials", count], check=True, capture_output=True, **how)
        table = pd.read_csv(tmp_path / "search" / "trials.csv")
        assert len(table) == int(count)
        assert set(table["state"]) <= {"finished", "stopped"}
        assert "finished" in set(table["state"])
        assert "best: " in done.stdout
    for path in (tmp_path / "search" / "trials").glob("*/scores.json"):
        scores = json.loads(path.read_text())
        assert scores["test_reads"] == 0
        assert "test" not in scores
    again = subprocess.run([*command, "--trials", "5", "--epochs", "5"], capture_output=True, check=False, **how)
    assert again.returncode != 0
    assert "holds a search with another config" in again.stderr
