"""Tests of emotion_tf.crossval: every fold and seed a run of its own, trained once, whatever was killed on the way."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from emotion_tf import crossval as crossval_module
from emotion_tf.config import Config
from emotion_tf.crossval import Crossval, Fit, main
from emotion_tf.runs.predictions import PREFIX
from pipelines import records
from pipelines.command import InputError, run_command
from pipelines.files import locked


@pytest.fixture(scope="module")
def flags(three_speaker_records):
    """Three folds of one speaker each, one epoch a fit."""
    chosen = {"branch": "text", "records": three_speaker_records, "folds": "group-kfold", "num-folds": 3}
    chosen |= {"epochs": 1, "max-tokens": 4, "batch-size": 30, "processes": 2}
    return [word for name, value in chosen.items() for word in (f"--{name}", str(value))]


@pytest.fixture(scope="module")
def whole(flags, tmp_path_factory):
    """A finished cross-validation of three fits. Nobody may change it."""
    folder = tmp_path_factory.mktemp("crossval") / "whole"
    main(["--run", str(folder), *flags])
    return Crossval(folder)


def copy_of(crossval, folder):
    shutil.copytree(crossval.folder, folder)
    return Crossval(folder)


def interrupt(crossval, fold):
    """Leaves of a fit what a kill in the middle of its training leaves."""
    run = crossval.run(fold, 0)
    for path in (run.scores_path, run.predictions_path, run.calibration_path, run.model_path):
        path.unlink()
    assert run.checkpoints.exists()
    return run


@pytest.fixture(scope="module")
def mended(whole, flags, tmp_path_factory):
    """The same cross-validation after one of its fits was killed, finished together with the test splits."""
    crossval = copy_of(whole, tmp_path_factory.mktemp("crossval") / "mended")
    interrupt(crossval, 1)
    main(["--run", str(crossval.folder), *flags, "--split", "test"])
    return crossval


@pytest.fixture
def without_processes(monkeypatch):
    """Fails where a fit would be started."""
    monkeypatch.setattr(crossval_module, "_start", lambda one, *rest: pytest.fail(f"started {one.run.folder}"))


def config_of(crossval):
    return crossval.run(0, 0).config()


def probabilities_of(table):
    return table.filter(like=PREFIX).to_numpy()


def test_every_fold_is_a_run_of_its_own_with_a_log(whole):
    names = {path.name for path in whole.folder.iterdir()}
    fits = {f"fold-{fold}-seed-0" for fold in range(3)}
    logs = {f"{name}.log" for name in fits}
    assert names == fits | logs | {"crossval.json", "predictions.csv", "scores.json", "plots"}
    for fold in range(3):
        run = whole.run(fold, 0).require_finished()
        assert (run.config().fold, run.config().seed, run.config().num_folds) == (fold, 0, 3)
        assert "UAR" in (whole.folder / f"fold-{fold}-seed-0.log").read_text()
        assert "test" not in run.scores()


def test_every_speaker_validates_and_tests_once(whole):
    folds = [whole.run(fold, 0).metadata().fold for fold in range(3)]
    for split in ("validation", "test"):
        assert sorted(speaker for fold in folds for speaker in getattr(fold, split)) == ["01", "02", "03"]


def test_pooled_predictions_are_those_of_the_fits_with_fold_and_seed_at_the_very_end(whole):
    table = whole.predictions()
    runs = [whole.run(fold, 0).predictions() for fold in range(3)]
    assert list(table) == [*runs[0], "fold", "seed"]
    assert list(table["fold"]) == [0] * 30 + [1] * 30 + [2] * 30
    assert set(table["seed"]) == {0}
    assert set(table["split"]) == {"validation"}
    pd.testing.assert_frame_equal(table.drop(columns=["fold", "seed"]), pd.concat(runs, ignore_index=True))


def test_pooled_scores_are_of_all_utterances_together_each_with_its_own_temperature(whole):
    scores, table = whole.scores(), whole.predictions()
    found = scores["validation"]
    assert (scores["marks"], scores["test_reads"]) == (["synthetic"], 0)
    assert (found["num_utterances"], found["speakers"]) == (90, ["01", "02", "03"])
    assert found["accuracy"] == pytest.approx((table["label"] == table["predicted"]).mean())
    fits = [whole.run(fold, 0).scores()["validation"]["uncalibrated"] for fold in range(3)]
    before = np.mean([fit["negative_log_likelihood"] for fit in fits])
    assert found["uncalibrated"]["negative_log_likelihood"] == pytest.approx(before, abs=1e-4)
    assert (whole.plots / "confusion-validation.png").exists()


def test_nothing_is_trained_again_and_the_table_has_a_line_a_fold(whole, flags, tmp_path, capsys, without_processes):
    crossval = copy_of(whole, tmp_path / "again")
    before = crossval.scores()
    crossval.scores_path.unlink()
    main(["--run", str(crossval.folder), *flags])
    assert crossval.scores() == before
    output = capsys.readouterr().out
    assert output.startswith(f"{crossval.folder} validation: UAR ")
    *_, head, first, _, third, mean = output.splitlines()
    assert head.split() == ["UAR", "seed", "0", "mean"]
    assert (first.split()[:2], third.split()[:2], mean.split()[0]) == (["fold", "0"], ["fold", "2"], "mean")
    uar = whole.run(0, 0).scores()["validation"]["unweighted_average_recall"]
    assert first.split()[2:] == [f"{uar:.3f}"] * 2


def test_a_killed_fit_is_trained_again_from_its_first_epoch_and_gives_the_same(whole, mended):
    log = (mended.folder / "fold-1-seed-0.log").read_text()
    assert "epoch 1/1" in log
    assert "goes on" not in log
    for fold in range(3):
        found, expected = (one.run(fold, 0).predictions() for one in (mended, whole))
        found = found[found["split"] == "validation"]
        assert list(found["utterance_id"]) == list(expected["utterance_id"])
        np.testing.assert_allclose(probabilities_of(found), probabilities_of(expected), atol=1e-6)


def test_fits_that_were_finished_are_not_trained_again(whole, mended):
    for fold in (0, 2):
        old, new = (one.run(fold, 0).model_path.stat().st_mtime_ns for one in (whole, mended))
        assert old == new
    assert mended.run(1, 0).model_path.stat().st_mtime_ns != whole.run(1, 0).model_path.stat().st_mtime_ns


def test_part_test_reads_every_test_part_once(mended, flags, capsys, without_processes):
    main(["--run", str(mended.folder), *flags, "--split", "test"])
    scores, table = mended.scores(), mended.predictions()
    assert scores["test_reads"] == 1
    assert {mended.run(fold, 0).scores()["test_reads"] for fold in range(3)} == {1}
    assert scores["test"]["num_utterances"] == scores["validation"]["num_utterances"] == 90
    tests = table[table["split"] == "test"]
    assert sorted(tests["utterance_id"]) == sorted(table.loc[table["split"] == "validation", "utterance_id"])
    assert (tests.groupby("fold")["speaker"].nunique() == 1).all()
    assert "the test split was read 1 time\n" in capsys.readouterr().out
    assert "epoch 1/" in (mended.folder / "fold-0-seed-0.log").read_text()  # Reading leaves the words of training.


def test_choosing_goes_on_after_the_test_splits_were_read(mended, flags, without_processes):
    main(["--run", str(mended.folder), *flags, "--split", "validation"])
    assert "test" in mended.scores()


def test_a_fit_that_fails_names_its_log_and_its_sentence_and_the_others_are_kept(whole, flags, tmp_path, capfd):
    crossval = copy_of(whole, tmp_path / "failing")
    run = crossval.run(2, 0)
    shutil.rmtree(run.folder)
    run.folder.mkdir()
    (run.folder / "thesis.txt").write_text("x")
    assert run_command(main, ["--run", str(crossval.folder), *flags]) == 1
    [line] = [line for line in capfd.readouterr().err.splitlines() if line.startswith("error: ")]
    assert line.startswith(f"error: {run.folder} failed ({run.folder}.log): {run.folder} holds files that are no run")
    assert crossval.run(0, 0).is_finished
    assert (run.folder / "thesis.txt").exists()


@pytest.fixture
def one(tmp_path):
    """A fit that is never run."""
    config = Config("text", "x")
    return Fit(0, 0, config, Crossval(tmp_path).run(0, 0))


def test_the_last_words_of_a_fit_tell_why_it_failed_unless_it_was_killed(one):
    one.log_path.write_text("epoch 1/9\nTraceback:\nRuntimeError: no such thing\n\n")
    assert one.failure(1).endswith(".log): RuntimeError: no such thing")
    assert "it was killed, perhaps for lack of memory" in one.failure(-9)
    one.log_path.unlink()
    assert "it was killed" in one.failure(1)


def test_epochs_are_counted_while_a_fit_runs_and_all_are_done_once_it_is_finished(one):
    assert one.epochs_done == 0
    one.run.folder.mkdir()
    one.run.history_path.write_text("epoch,loss\n0,1\n1,1\n")
    assert one.epochs_done == 2
    one.run.write_scores({})
    assert one.epochs_done == one.config.training.epochs


@pytest.mark.parametrize(
    ("extra", "what"),
    [
        (["--epochs", "2"], "training"),
        (["--num-folds", "2"], "num_folds"),
        (["--control", "permuted-labels"], "control"),
        (["--folds", "loso", "--fold-seed", "3"], "folds, fold_seed"),
    ],
)
def test_another_config_is_refused_by_name(whole, flags, without_processes, extra, what):
    with pytest.raises(InputError, match=f"holds a cross-validation with another {what}: give another --run"):
        main(["--run", str(whole.folder), *flags, *extra])


def test_the_part_to_score_is_no_part_of_the_config(whole):
    assert "split" not in json.loads(whole.config_path.read_text())["config"]


def test_more_seeds_may_follow_and_fewer_may_not(whole, tmp_path):
    crossval = copy_of(whole, tmp_path / "more")
    config = config_of(whole)
    fits = crossval.start(config, 2)
    assert [(fit.fold, fit.seed, fit.run.is_finished) for fit in fits] == [
        (fold, seed, seed == 0) for fold in range(3) for seed in range(2)
    ]
    assert [fit.config.seed for fit in fits] == [0, 1] * 3
    with pytest.raises(InputError, match=r"holds a cross-validation with another number of seeds \(2\)"):
        crossval.start(config, 1)


def test_overwrite_replaces_a_cross_validation_and_nothing_else(whole, tmp_path):
    crossval = copy_of(whole, tmp_path / "old")
    config = dataclasses.replace(config_of(whole), fold_seed=3)
    crossval.start(config, 1, overwrite=True)
    assert [path.name for path in crossval.folder.iterdir()] == ["crossval.json"]
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "thesis.txt").write_text("x")
    for overwrite in (True, False):
        with pytest.raises(InputError, match="holds files that are no cross-validation"):
            Crossval(tmp_path / "notes").start(config, 1, overwrite=overwrite)
        with pytest.raises(InputError, match="is a file: give --run a folder"):
            Crossval(tmp_path / "notes" / "thesis.txt").start(config, 1, overwrite=overwrite)
    assert (tmp_path / "notes" / "thesis.txt").exists()


@pytest.mark.parametrize("content", ["{}", "[]", "null", '{"seeds": 1', '{"seeds": "1", "config": {}}'])
def test_a_corrupt_crossval_json_gets_a_sentence_and_is_replaced(whole, tmp_path, content):
    crossval = copy_of(whole, tmp_path / "copy")
    crossval.config_path.write_text(content)
    with pytest.raises(InputError, match=r"crossval\.json is missing or corrupt \(.*\): make it again with --over"):
        crossval.start(config_of(whole), 1)
    crossval.start(config_of(whole), 1, overwrite=True)
    assert [path.name for path in crossval.folder.iterdir()] == ["crossval.json"]
    assert crossval.settings() == whole.settings()


def test_overwrite_leaves_fits_that_another_process_trains_alone(whole, tmp_path):
    crossval = copy_of(whole, tmp_path / "copy")
    folder = crossval.run(0, 0).folder
    with locked(folder, "--run"), pytest.raises(InputError, match=r"another process is writing to .*fold-0-seed-0"):
        crossval.start(dataclasses.replace(config_of(whole), fold_seed=1), 1, overwrite=True)
    assert crossval.run(0, 0).is_finished


@pytest.mark.parametrize("extra", [[], ["--seeds", "2"], ["--overwrite"]])
def test_a_second_command_in_the_same_folder_changes_nothing(whole, flags, tmp_path, without_processes, extra):
    crossval = copy_of(whole, tmp_path / "copy")
    interrupt(crossval, 1)
    log = (crossval.folder / "fold-1-seed-0.log").read_text()
    with locked(crossval.folder, "--run"), pytest.raises(InputError, match=r"another process is writing to .*copy: "):
        main(["--run", str(crossval.folder), *flags, *extra])
    assert (crossval.folder / "fold-1-seed-0.log").read_text() == log
    assert crossval.settings() == whole.settings()


def test_the_folder_is_kept_from_others_while_fits_are_trained(whole, flags, tmp_path, monkeypatch):
    crossval = copy_of(whole, tmp_path / "copy")

    def refuse(*arguments):
        with pytest.raises(InputError, match="another process is writing to"), locked(crossval.folder, "--run"):
            pass
        raise InputError("stopped")

    monkeypatch.setattr(crossval_module, "run_all", refuse)
    with pytest.raises(InputError, match="stopped"):
        main(["--run", str(crossval.folder), *flags])
    with locked(crossval.folder, "--run"):
        pass


def test_without_a_cluster_nothing_is_removed(whole, flags, tmp_path, monkeypatch):
    def refuse(address):
        raise InputError(f"--ray {address}: no cluster answers there")

    monkeypatch.setattr(crossval_module, "connected", refuse)
    crossval = copy_of(whole, tmp_path / "copy")
    for folder in (crossval.folder, tmp_path / "new"):
        with pytest.raises(InputError, match="--ray nowhere:1: no cluster answers"):
            main(["--run", str(folder), *flags, "--fold-seed", "3", "--overwrite", "--ray", "nowhere:1"])
    assert all(crossval.run(fold, 0).is_finished for fold in range(3))
    assert not (tmp_path / "new").exists()


def test_a_folder_that_cannot_be_written_gets_a_sentence(flags, tmp_path, without_processes, monkeypatch):
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match=r"file/new cannot be made \(Not a directory\): give another folder to --run"):
        main(["--run", str(tmp_path / "file" / "new"), *flags])
    (tmp_path / "kept").mkdir()
    monkeypatch.setattr("pipelines.command.os.access", lambda *rest: False)
    with pytest.raises(InputError, match="kept cannot be written to: give another folder to --run"):
        main(["--run", str(tmp_path / "kept"), *flags])
    assert not list((tmp_path / "kept").iterdir())


def test_overwrite_goes_on_with_what_the_same_command_began(whole, tmp_path):
    """Whoever gives an interrupted command again, --overwrite in it, keeps the fits that are finished."""
    crossval = copy_of(whole, tmp_path / "begun")
    interrupt(crossval, 1)
    fits = crossval.start(config_of(whole), 1, overwrite=True)
    assert [fit.run.is_finished for fit in fits] == [True, False, True]
    again = copy_of(whole, tmp_path / "finished").start(config_of(whole), 1, overwrite=True)
    assert not any(fit.run.is_finished for fit in again)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["begun", "finished"]


def test_finished_fits_of_other_records_are_not_pooled_with_new_ones(whole, tmp_path):
    crossval = copy_of(whole, tmp_path / "changed")
    metadata = crossval.run(2, 0).metadata()
    fold = dataclasses.replace(metadata.fold, train=(*metadata.fold.train, "99"))
    crossval.run(2, 0).write_metadata(dataclasses.replace(metadata, fold=fold))
    with pytest.raises(InputError, match=r"the records or folds changed since .*fold-2-seed-0 was started"):
        crossval.start(config_of(whole), 1)


def test_sources_must_be_cross_validations_outside_the_folder(whole, tmp_path):
    def start(folder, source):
        runs = (str(source), str(whole.folder))
        config = dataclasses.replace(config_of(whole), branch="fusion", fusion="late", runs=runs)
        Crossval(folder).start(config, 1, overwrite=True)

    with pytest.raises(InputError, match="fold-0-seed-0 is no cross-validation, and sources of one must be"):
        start(tmp_path / "late", whole.run(0, 0).folder)
    outer = copy_of(whole, tmp_path / "outer")
    inner = copy_of(whole, outer.folder / "inner")
    with pytest.raises(InputError, match="inner cannot lie in the folder that is written"):
        start(outer.folder, inner.folder)
    assert inner.config_path.exists()


@pytest.mark.slow
def test_every_fit_may_start_from_one_run_on_other_records(whole, goemotions_run, tmp_path):
    source = str(goemotions_run.folder)
    fits = Crossval(tmp_path / "transfer").start(dataclasses.replace(config_of(whole), init_text=source), 2)
    assert {fit.config.init_text for fit in fits} == {source}
    same = dataclasses.replace(config_of(whole), init_text=str(whole.run(0, 0).folder))
    link = tmp_path / "link"
    link.symlink_to(same.records, target_is_directory=True)
    for folder in (same.records, str(link)):
        with pytest.raises(InputError, match="or a run on other records"):
            Crossval(tmp_path / "same").start(dataclasses.replace(same, records=folder), 1)


def test_sources_are_the_same_fold_and_seed_of_their_cross_validation(whole, tmp_path):
    config = dataclasses.replace(
        config_of(whole), branch="fusion", fusion="late", runs=(str(whole.folder), str(whole.folder))
    )
    fits = Crossval(tmp_path / "late").start(config, 1)
    for fold, fit in enumerate(fits):
        assert fit.config.runs == (str(whole.run(fold, 0).folder),) * 2
    with pytest.raises(InputError, match="made with --seeds 1, fewer than the 2 here"):
        Crossval(tmp_path / "later").start(config, 2)
    assert not (tmp_path / "later").exists()


def test_sources_of_other_folds_are_refused_before_anything_is_trained(whole, tmp_path):
    config = dataclasses.replace(
        config_of(whole), branch="fusion", fusion="late", runs=(str(whole.folder), str(whole.folder))
    )
    others = [
        seed
        for seed in range(1, 9)
        if crossval_module.folds.make_folds("group-kfold", _index(config), num_folds=3, seed=seed)[0].test
        != whole.run(0, 0).metadata().fold.test
    ]
    with pytest.raises(InputError, match=r"fold-0-seed-0 has speaker .*, whom this fold tests"):
        Crossval(tmp_path / "late").start(dataclasses.replace(config, fold_seed=others[0]), 1)
    assert not (tmp_path / "late").exists()


def _index(config):
    return records.read_index(Path(config.records))


def test_a_branch_to_start_from_gives_its_widths_and_its_own_fold(whole, tmp_path):
    config = dataclasses.replace(config_of(whole), branch="fusion", fusion="early", init_text=str(whole.folder))
    fit = Crossval(tmp_path)._fit(config, 2, 0)
    assert fit.config.init_text == str(whole.run(2, 0).folder)
    assert fit.config.text == whole.run(2, 0).config().text
    assert (fit.config.fold, fit.run.folder.name) == (2, "fold-2-seed-0")


@pytest.mark.parametrize(
    ("extra", "sentence"),
    [
        (["--seeds", "0"], "--seeds 0 cannot work: give 1 or more"),
        (["--processes", "-1"], "--processes -1 cannot work"),
        (["--folds", "nonsense"], "there are no folds 'nonsense'"),
        (["--records", "nowhere"], "nowhere holds no complete records"),
        (["--control", "shuffled-audio"], "changes nothing for --branch text"),
        (["--num-folds", "9"], "--num-folds 9 cannot work for the 3 speakers"),
    ],
)
def test_bad_flags_get_a_sentence_and_leave_no_folder(flags, tmp_path, without_processes, extra, sentence):
    with pytest.raises(InputError, match=sentence):
        main(["--run", str(tmp_path / "new"), *flags, *extra])
    assert not (tmp_path / "new").exists()


def test_a_seed_is_not_taken_for_a_number_of_seeds(flags, tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["--run", str(tmp_path / "new"), *flags, "--seed", "7"])
    assert "unrecognized arguments: --seed 7" in capsys.readouterr().err


@pytest.mark.slow
def test_a_corpus_of_words_is_pooled_by_macro_f1(goemotions_records, make_config, tmp_path):
    """Each fit names emotions with thresholds of its own, and the pooled score takes them as they were named."""
    crossval = Crossval(tmp_path / "words")
    fits = []
    for seed in (0, 1):
        config = make_config("text", records=str(goemotions_records), folds="published", epochs=1, seed=seed)
        fits.append(Fit(0, seed, config, crossval.run(0, seed)))
        crossval_module._fit_and_score(fits[-1], "test")
    scores, table = crossval.pool(fits), crossval.predictions()
    assert (scores["headline"], scores["test"]["num_seeds"], scores["test_reads"]) == ("macro_f1", 2, 1)
    of_fits = [one.run.scores()["test"]["macro_f1"] for one in fits]
    assert of_fits[0] != of_fits[1]
    assert list(scores["fold_by_seed"]["test"].values()) == of_fits
    assert scores["test"]["macro_f1"] == pytest.approx(np.mean(of_fits))
    for one in fits:
        assert list(table["predicted"][table["seed"] == one.seed]) == list(one.run.predictions()["predicted"])
    assert crossval.table().splitlines()[0].split() == ["macro-F1", "seed", "0", "seed", "1", "mean"]


def test_scores_without_a_modality_are_pooled(late_run, tmp_path):
    crossval = Crossval(tmp_path / "late")
    fits = [Fit(0, seed, late_run.config(), crossval.run(0, seed)) for seed in (0, 1)]
    for one in fits:
        shutil.copytree(late_run.folder, one.run.folder)
    scores = crossval.pool(fits)["validation"]
    of_fit = late_run.scores()["validation"]
    for modality in ("audio", "text"):
        assert list(crossval.predictions(modality)["seed"]) == [0] * 30 + [1] * 30
        assert scores["without"][modality]["num_seeds"] == 2
        assert scores["without"][modality]["accuracy"] == of_fit["without"][modality]["accuracy"]
