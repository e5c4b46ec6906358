"""Tests of benchmarks/recognition.py and recognition_rows.py: what is run in which order, and what rows hold."""

import json
import os
import subprocess

import numpy as np
import pandas as pd
import pytest

from benchmarks import functionals, recognition, recognition_rows, result_files
from benchmarks.recognition import MODELS, Bench
from emotion_tf import crossval, evaluate, fit
from emotion_tf.evaluation import metrics
from emotion_tf.runs.folder import Run, Scored
from pipelines import prepare
from pipelines.command import InputError

EMOTIONS = ("calm", "sad", "angry", "happy")


def rows_of(confidence, split="test", seeds=1):
    """Rows of six speakers, 40 clips each; the predicted emotion has a probability, and is right as often as that."""
    rng, rows = np.random.default_rng(1), []
    for seed in range(seeds):
        for clip in range(240):
            label = EMOTIONS[clip % 4]
            others = [emotion for emotion in EMOTIONS if emotion != label]
            predicted = label if rng.random() < confidence else others[rng.integers(3)]
            row = {"utterance_id": f"{clip:03}", "speaker": f"{clip // 40:02}", "split": split, "label": label}
            row |= {"predicted": predicted} | {f"probability_{emotion}": (1 - confidence) / 3 for emotion in EMOTIONS}
            rows.append(row | {f"probability_{predicted}": confidence, "fold": 0, "seed": seed})
    return pd.DataFrame(rows)


def write_scores(folder, splits=("validation", "test"), seeds=1):
    """Makes the files of a cross-validation that rows are made of."""
    folder.mkdir(parents=True, exist_ok=True)
    predictions = pd.concat([rows_of(0.6, split, seeds) for split in splits], ignore_index=True)
    scored = Scored(folder)
    scored.write_predictions(predictions)
    by_split = {split: metrics.scores(predictions[predictions["split"] == split], EMOTIONS) for split in splits}
    scored.write_scores({"marks": ["synthetic"], **by_split, "test_reads": 1})
    return scored


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path / "ravdess", tmp_path / "records", tmp_path / "runs")


@pytest.fixture
def ran(bench, monkeypatch):
    """The commands that a bench gives, which write scores and nothing else."""
    commands = []

    def run(command):
        commands.append(command)
        if command[0] in ("emotion_tf.crossval", "benchmarks.functionals"):
            folder = bench.folder / command[command.index("--run") + 1].rpartition("/")[2]
            write_scores(folder, ("validation", "test")[: 1 + ("test" in command)])

    monkeypatch.setattr(recognition, "_run", run)
    return commands


def test_every_command_is_understood(bench):
    parsers = {
        "emotion_tf.fit": fit.make_parser(),
        "emotion_tf.crossval": crossval.make_parser(),
        "emotion_tf.evaluate": evaluate.make_parser(),
        "benchmarks.functionals": functionals._parser(),
        "pipelines.prepare": prepare.make_parser(),
    }
    for records in recognition.ENCODERS:
        module, *arguments = bench.preparing(records)
        assert parsers[module].parse_args(arguments).records == bench.records / records
    for name in MODELS:
        for module, *arguments in bench.training(name) + bench.training(name, "test"):
            parsers[module].parse_args(arguments)


def test_sources_come_before_what_joins_them():
    assert recognition.with_sources(["base-cnn-late"]) == ["cnn", "base", "base-cnn-late"]
    for place, model in enumerate(MODELS.values()):
        assert set(model.sources) <= set(list(MODELS)[:place])


def test_what_joins_one_seed_has_one_seed(bench):
    for name, model in MODELS.items():
        if not model.joins_seeds:
            assert bench.seeds_of(name) <= min([bench.seeds_of(source) for source in model.sources], default=3)


def test_seeds_are_joined_of_each_fold(bench):
    joined = [one.folder.relative_to(bench.folder) for one in bench.joined("base-cnn-3-seeds", 4)]
    assert list(map(str, joined)) == [*(f"base/fold-4-seed-{seed}" for seed in range(3)), "cnn/fold-4-seed-0"]


def test_shown_commands_name_no_folder_of_this_machine(capsys):
    recognition.main(["--commands", "--models", "base", "--folder", "/elsewhere"])
    printed = capsys.readouterr().out
    assert printed.startswith("# base\npython -m pipelines.prepare --corpus ravdess --source data/ravdess")
    assert "--seeds 3 --split test --run saved_models/recognition/base" in printed
    assert " /" not in printed


def test_records_are_made_once_and_all_tests_are_read_at_the_end(bench, ran):
    bench.folder.mkdir()
    measured = recognition.Measured(bench)
    for split in ("validation", "test"):
        for name in ("cnn", "base", "base-cnn-late"):
            measured.train(name, split)
    kinds = [(command[0], command[-1].rpartition("/")[2], "test" in command) for command in ran]
    prepared = [name for module, name, _ in kinds if module == "pipelines.prepare"]
    assert prepared == ["log-mel", "base"]
    trained = [(name, is_test) for module, name, is_test in kinds if module == "emotion_tf.crossval"]
    names = ("cnn", "base", "base-cnn-late")
    assert trained == [(name, False) for name in names] + [(name, True) for name in names]
    assert measured.preparation_seconds("log-mel") is not None
    assert measured.preparation_seconds("tiny.en") is None


def test_what_is_done_is_not_done_again_unless_its_command_changes(bench, ran):
    bench.folder.mkdir()
    recognition.Measured(bench).train("egemaps-svm", "validation")
    recognition.Measured(bench).train("egemaps-svm", "test")
    again = recognition.Measured(bench)
    again.train("egemaps-svm", "validation")
    assert (len(ran), again.fresh) == (2, set())
    more = recognition.Measured(Bench(bench.source, bench.records, bench.folder, num_seeds=4))
    more.train("tiny.en", "validation")
    assert more.fresh == {"tiny.en"}


def test_records_that_others_made_have_no_minutes(bench, ran):
    (bench.records / "log-mel").mkdir(parents=True)
    (bench.records / "log-mel" / "metadata.json").write_text("{}")
    bench.folder.mkdir()
    measured = recognition.Measured(bench)
    measured.train("cnn", "validation")
    assert measured.preparation_seconds("log-mel") is None


def test_a_model_that_fails_stops_what_joins_it_and_nothing_else():
    failures = {}

    def train(name):
        if name == "cnn":
            raise InputError("cnn failed.")

    for name in ("cnn", "base", "base-cnn-late", "cnn"):
        recognition._attempt(name, failures, train)
    assert failures == {"cnn": "cnn failed.", "base-cnn-late": "base-cnn-late joins cnn, which failed."}


def test_a_command_that_fails_is_named(monkeypatch):
    monkeypatch.setattr(subprocess, "run", lambda command, check: subprocess.CompletedProcess(command, 1))
    with pytest.raises(InputError, match=r"python -m emotion_tf.fit --run x failed"):
        recognition._run(["emotion_tf.fit", "--run", "x"])
    monkeypatch.setattr(subprocess, "run", lambda command, check: subprocess.CompletedProcess(command, 130))
    with pytest.raises(KeyboardInterrupt):
        recognition._run(["emotion_tf.fit", "--run", "x"])


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--seeds", "0"], "--seeds 0 cannot work"),
        (["--seeds", "2", "--models", "base-3-seeds"], "base-3-seeds joins 3 seeds: give --seeds 3 or more"),
        (
            ["--checkpoints", "nowhere", "--models", "base-cnn-late"],
            "nowhere/base.pt does not exist: give --checkpoints",
        ),
    ],
)
def test_mistakes_are_told_before_anything_is_run(flags, sentence, tmp_path):
    with pytest.raises(InputError, match=sentence):
        recognition.main([*flags, "--folder", str(tmp_path / "runs")])
    assert not (tmp_path / "runs").exists()


def test_rows_of_other_models_stay(bench, ran, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(result_files, "FOLDER", tmp_path / "results")
    monkeypatch.setattr(recognition, "row", lambda bench, measured, name: dict(FOUND, title=name))
    flags = ["--source", str(bench.source), "--records", str(bench.records), "--folder", str(bench.folder)]
    recognition.main([*flags, "--models", "compare-svm"])
    recognition.main([*flags, "--models", "egemaps-svm"])
    found = json.loads((tmp_path / "results" / "recognition.json").read_text())
    assert list(found["models"]) == ["egemaps-svm", "compare-svm"]
    recognition.main([*flags, "--models", "cnn", "--epochs", "2"])
    assert list(json.loads((tmp_path / "results" / "recognition.json").read_text())["models"]) == list(found["models"])
    assert "| cnn |" in capsys.readouterr().out.rpartition("| model")[2]


FOUND = {
    "title": "one",
    "commit": "abc",
    "uar": 0.5,
    "uar_interval": [0.4, 0.6],
    "accuracy": 0.51,
    "accuracy_interval": None,
    "ece": 0.05,
    "true_ece": 0.03,
    "num_seeds": 3,
    "preparation_minutes": None,
    "training_minutes": 1.25,
    "parameters": 250_000,
    "frozen_parameters": 17_200_000,
    "real_time_factor": None,
    "marks": ["one seed", "enrolled speaker"],
    "commands": ["python -m a", "python -m b"],
}


def test_the_table_ends_with_published_scores():
    drawn = recognition_rows.table({"models": {"one": FOUND}})
    assert drawn[0]["UAR"] == "0.500 [0.400, 0.600]"
    assert drawn[0]["accuracy"] == "0.510"
    assert (drawn[0]["minutes"], drawn[0]["parameters"], drawn[0]["frozen"]) == ("? + 1.2", "250 k", "17.2 M")
    assert drawn[0]["marks"] == "one seed, enrolled speaker"
    assert [(row.get("UAR"), row.get("accuracy")) for row in drawn[1:]] == [("0.623", None), (None, "0.818")]
    assert all(row["marks"] == "published" for row in drawn[1:])


def test_commands_that_rows_share_stand_once():
    models = {"one": FOUND, "two": FOUND | {"commands": ["python -m a", "python -m c"]}}
    assert recognition_rows.commands({"models": models}).split("\n")[1:-1] == [f"python -m {name}" for name in "abc"]


def test_scores_are_those_of_the_test_split_with_its_marks(tmp_path):
    scored = write_scores(tmp_path, seeds=2)
    found, test = recognition_rows.scores(scored, ["one seed"]), scored.scores()["test"]
    assert found["uar"] == test["unweighted_average_recall"]
    assert found["ece_interval"] == test["expected_calibration_error_interval"]
    assert (found["num_seeds"], found["num_clips"], found["num_actors"]) == (2, 240, 6)
    assert found["marks"] == ["synthetic", "one seed"]


def test_a_test_split_that_was_not_read_is_refused(tmp_path):
    with pytest.raises(InputError, match="has no scores of the test split"):
        recognition_rows.scores(write_scores(tmp_path, ("validation",)))


def test_the_error_of_true_probabilities_is_that_of_chance():
    # All clips are in one bin: the mean distance of a share of 240 from 0.6.
    expected = np.abs(np.random.default_rng(5).binomial(240, 0.6, 100_000) / 240 - 0.6).mean()
    assert recognition_rows.true_ece(rows_of(0.6), 4000) == pytest.approx(expected, rel=0.03)
    assert recognition_rows.true_ece(rows_of(0.6, seeds=3), 2000) == pytest.approx(expected, rel=0.03)
    sure = rows_of(0.6).assign(**{f"probability_{emotion}": float(emotion == "sad") for emotion in EMOTIONS})
    assert recognition_rows.true_ece(sure, 10) == 0


def test_minutes_are_those_of_the_median_fit(tmp_path):
    runs = [Run(tmp_path / str(seconds)) for seconds in (60, 90, 600)]
    for run in runs:
        run.folder.mkdir()
        run.config_path.touch()
        run.model_path.touch()
        os.utime(run.config_path, (1000, 1000))
        os.utime(run.model_path, (1000 + int(run.folder.name),) * 2)
    assert recognition_rows.training_minutes(runs) == 1.5


def test_a_run_without_an_export_of_waveforms_has_no_real_time_factor(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(subprocess, "run", lambda command, check: subprocess.CompletedProcess(command, 1))
    assert recognition_rows.real_time_factor(Run(tmp_path), tmp_path) is None
    assert f"no real-time factor of {tmp_path}" in capsys.readouterr().out


def test_an_exported_run_has_a_real_time_factor(audio_run, exported, noise_clips, tmp_path):
    run = Run(tmp_path)
    (tmp_path / "export").symlink_to(exported(audio_run))
    assert recognition_rows.real_time_factor(run, noise_clips) > 0


def test_frozen_blocks_are_counted_up_to_the_last_that_is_read(encoder_run):
    found = recognition_rows.num_parameters(encoder_run, "tiny.en")
    assert found["parameters"] == encoder_run.model().count_params()
    # Convolutions 532,224, positions 576,000, and three blocks of 1,774,464.
    assert found["frozen_parameters"] == 3 * 384 * (80 + 384) + 2 * 384 + 1500 * 384 + 3 * (12 * 384**2 + 13 * 384)


def test_an_audio_run_has_no_frozen_parameters(audio_run):
    assert set(recognition_rows.num_parameters(audio_run, "log-mel")) == {"parameters"}
