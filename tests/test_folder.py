"""Tests of emotion_tf.runs.folder: when a run may start in a folder, and how its files are read."""

import dataclasses
import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

from emotion_tf.config import Config, TrainingConfig
from emotion_tf.runs import folder as folder_module
from emotion_tf.runs.folder import Run, next_free
from pipelines import files
from pipelines.command import InputError
from pipelines.text_presets import preset_tokenizer

CONFIG = Config("audio", "data/records/x")
OTHER = dataclasses.replace(CONFIG, seed=1, training=TrainingConfig(epochs=3))


@pytest.fixture
def started(tmp_path):
    run = Run(tmp_path / "run")
    run.start(CONFIG)
    return run


def with_epoch(run):
    """Gives a run a checkpoint, so that there is something to go on with."""
    run.checkpoints.mkdir(exist_ok=True)
    (run.checkpoints / "last-0000.weights.h5").touch()
    return run


@pytest.fixture
def finished(started):
    started.write_scores({"marks": [], "test_reads": 0})
    return started


def test_a_started_run_holds_its_config_and_is_not_finished(started):
    assert started.config() == CONFIG
    assert not started.is_finished


def test_an_unfinished_run_of_the_same_config_goes_on(started):
    started.history_path.write_text("epoch\n0\n")
    with_epoch(started).start(CONFIG)
    assert started.history_path.exists()


def test_a_run_without_an_epoch_begins_anew_whatever_its_config_was(started):
    started.history_path.write_text("epoch\n")
    started.start(OTHER)
    assert started.config() == OTHER
    assert [path.name for path in started.folder.iterdir()] == ["config.json"]


def test_a_run_is_removed_only_where_it_holds_nothing(finished, tmp_path):
    finished.remove_if_empty()
    assert finished.is_finished
    going_on, empty = Run(tmp_path / "other"), Run(tmp_path / "empty")
    for run in (going_on, empty):
        run.start(CONFIG)
    with_epoch(going_on)
    for run in (going_on, empty):
        run.remove_if_empty()
    assert going_on.has_epochs
    assert not empty.folder.exists()


def test_another_config_is_refused_by_name(started):
    with_epoch(started)
    with pytest.raises(InputError, match="unfinished run with another seed, training: give another --run"):
        started.start(OTHER)


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A working directory with records and two runs; the second starts from the first, by paths relative to it."""
    (tmp_path / "project" / "data" / "records" / "x").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "project")
    Run(Path("saved_models/first")).start(CONFIG)
    Run(Path("saved_models/second")).start(dataclasses.replace(CONFIG, runs=("saved_models/first",)))
    return tmp_path / "project"


def paths_of(folder):
    config = Run(folder).config()
    return [Path(path).resolve() for path in (config.records, *config.runs)]


def test_paths_of_a_run_lead_to_records_and_runs_from_every_folder(project, tmp_path, monkeypatch):
    wanted = [project / "data/records/x", project / "saved_models/first"]
    assert Run(Path("saved_models/second")).config().records == CONFIG.records
    assert paths_of(Path("saved_models/second")) == wanted
    shutil.copytree(project / "saved_models/second", tmp_path / "elsewhere/copy")
    (tmp_path / "linked").symlink_to(project / "saved_models/second")
    # Of another project with records of the same name.
    (tmp_path / "other" / "data" / "records" / "x").mkdir(parents=True)
    for folder in (tmp_path / "other", project / "saved_models"):
        monkeypatch.chdir(folder)
        for run in (project / "saved_models/second", tmp_path / "linked", tmp_path / "elsewhere/copy"):
            assert paths_of(run) == wanted


def test_paths_of_a_project_that_moved_lead_to_what_moved_with_it(project, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    project.rename(tmp_path / "moved")
    assert paths_of(Path("moved/saved_models/second"))[0] == tmp_path / "moved/data/records/x"


def test_a_run_goes_on_from_another_folder_by_the_same_paths(project, monkeypatch):
    run = with_epoch(Run(project / "saved_models/first"))
    monkeypatch.chdir(project / "data")
    run.start(dataclasses.replace(CONFIG, records="records/x"))
    with pytest.raises(InputError, match="another records"):
        run.start(CONFIG)


def test_a_finished_run_is_refused(finished):
    with pytest.raises(InputError, match=r"holds a finished run: read it with .*evaluate.* or --overwrite"):
        finished.start(CONFIG)


def test_overwrite_replaces_a_run_and_removes_it_once_another_is_finished(finished):
    finished.start(OTHER, overwrite=True)
    assert {path.name for path in finished.folder.iterdir()} == {"config.json", ".replaced"}
    assert finished.config() == OTHER
    with_epoch(finished).write_scores({"marks": [], "test_reads": 0})
    finished.remove_replaced()
    assert {path.name for path in finished.folder.iterdir()} == {"config.json", "checkpoints", "scores.json"}


def test_a_run_that_was_to_be_replaced_comes_back_where_the_other_one_has_no_epoch(finished):
    finished.history_path.write_text("epoch\n0\n")
    before = {path.name: path.read_bytes() for path in finished.folder.iterdir()}
    finished.start(OTHER, overwrite=True)
    # As after a kill, of which the next command of any kind begins anew.
    finished.start(OTHER)
    finished.remove_if_empty()
    assert {path.name: path.read_bytes() for path in finished.folder.iterdir()} == before


def test_overwriting_once_more_keeps_the_finished_run_and_not_the_attempt(finished):
    finished.start(OTHER, overwrite=True)
    with_epoch(finished).start(CONFIG, overwrite=True)
    finished.remove_if_empty()
    assert finished.is_finished
    assert not finished.has_epochs


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_of_other_files_is_left_alone(tmp_path, overwrite):
    (tmp_path / "thesis.txt").write_text("x")
    with pytest.raises(InputError, match="holds files that are no run"):
        Run(tmp_path).start(CONFIG, overwrite=overwrite)
    assert (tmp_path / "thesis.txt").exists()


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_file_is_no_folder(tmp_path, overwrite):
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="is a file: give --run a folder"):
        Run(tmp_path / "file").start(CONFIG, overwrite=overwrite)


def test_a_missing_and_an_unfinished_run_get_a_sentence(started, tmp_path):
    with pytest.raises(InputError, match="holds no run"):
        Run(tmp_path / "nowhere").require_finished()
    with pytest.raises(InputError, match=r"is not finished: run the same .*fit command again"):
        started.require_finished()


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"branch": 1}', "\udcff"])
def test_a_corrupt_config_gets_a_sentence(started, content):
    started.config_path.write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(InputError, match=r"config\.json is corrupt"):
        started.config()


def written_before(run, metadata):
    """A finished run as versions without a run_version wrote it."""
    files.write_json(run.metadata_path, {key: v for key, v in metadata.to_json().items() if key != "run_version"})
    run.write_scores({"marks": [], "test_reads": 0})
    return run


def test_a_run_of_another_version_is_refused_before_its_other_files_seem_corrupt(started, make_run_metadata):
    run = written_before(started, make_run_metadata())
    run.config_path.write_text('{"branch": "audio", "a_setting_of_before": 1}')
    sentence = r"metadata\.json is of a run that another version .* \(it has no run_version, .*: train again"
    for read in (run.require_finished, run.metadata, run.config):
        with pytest.raises(InputError, match=sentence):
            read()


def test_an_unfinished_run_of_another_version_does_not_go_on(started, make_run_metadata):
    written_before(started, make_run_metadata())
    started.scores_path.unlink()
    with pytest.raises(InputError, match="another version of this program trained"):
        started.refuse_changed(make_run_metadata())


def test_a_run_does_not_go_on_with_other_facts(started, make_run_metadata):
    started.write_metadata(make_run_metadata())
    started.refuse_changed(make_run_metadata())
    with pytest.raises(InputError, match="the records or folds changed since"):
        started.refuse_changed(make_run_metadata(prior=[0.5, 0.5]))


def test_a_cross_validation_is_no_run_and_one_of_its_runs_is_named(tmp_path):
    (tmp_path / "cv").mkdir()
    (tmp_path / "cv" / "crossval.json").write_text("{}")
    for name in ("fold-0-seed-0", "fold-3-seed-0"):
        with pytest.raises(InputError, match=f"holds a cross-validation: name one of its runs, such as .*/cv/{name};"):
            Run(tmp_path / "cv").require_finished()
        (tmp_path / "cv" / "fold-3-seed-0").mkdir(exist_ok=True)
        (tmp_path / "cv" / "fold-1-seed-0.log").touch()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        (name, content)
        for name in ("metadata", "scores", "temperature", "model")
        for content in (None, b"", b"PK cut off", b"[]", b"null")
    ],
)
def test_a_missing_or_corrupt_file_gets_a_sentence(started, name, content):
    paths = {"model": started.model_path, "temperature": started.calibration_path}
    path = paths.get(name, started.folder / f"{name}.json")
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=f"{path.name} is missing or corrupt"):
        getattr(started, name)()


@pytest.mark.parametrize(
    ("name", "content"), [("scores", "{}"), ("scores", '{"marks": 1}'), ("temperature", '{"temperature": "1"}')]
)
def test_json_of_another_kind_gets_a_sentence(started, name, content):
    path = {"scores": started.scores_path, "temperature": started.calibration_path}[name]
    path.write_text(content)
    with pytest.raises(InputError, match=rf"{path.name} is missing or corrupt \((without|another kind of) "):
        getattr(started, name)()


@pytest.mark.parametrize(
    ("content", "what"), [(None, "is missing: train again"), (b"", "has no column"), (b"\xff", "is not UTF-8")]
)
def test_missing_or_corrupt_predictions_get_a_sentence(started, content, what):
    if content is not None:
        started.predictions_path.write_bytes(content)
    with pytest.raises(InputError, match=rf"predictions\.csv {what}"):
        started.predictions()


def test_speakers_keep_their_leading_zero(started):
    names = {"utterance_id": ["07"], "speaker": ["01"], "split": ["test"], "label": ["calm"], "predicted": ["calm"]}
    started.write_predictions(pd.DataFrame(names | {"probability_calm": [1 / 3], "probability_sad": [2 / 3]}))
    assert started.predictions()["speaker"][0] == "01"
    assert started.predictions()["utterance_id"][0] == "07"
    assert started.predictions()["probability_calm"][0] == pytest.approx(1 / 3, abs=1e-7)


def test_a_table_that_cannot_be_written_leaves_the_one_before(tmp_path, monkeypatch):
    path = tmp_path / "history.csv"
    files.write_csv(path, pd.DataFrame({"epoch": [0]}))

    def fail(self, path, **settings):
        path.write_text("half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pd.DataFrame, "to_csv", fail)
    with pytest.raises(OSError, match="No space"):
        files.write_csv(path, pd.DataFrame({"epoch": [0, 1]}))
    assert path.read_text() == "epoch\n0\n"
    assert list(tmp_path.iterdir()) == [path]


def test_the_bare_command_goes_on_with_its_own_unfinished_run_or_takes_the_next_number(tmp_path, monkeypatch):
    monkeypatch.setattr(folder_module, "ROOT", tmp_path)
    assert next_free("x-audio", CONFIG) == tmp_path / "x-audio-1"
    Run(tmp_path / "x-audio-1").start(CONFIG)
    Run(tmp_path / "x-audio-1").write_scores({})
    Run(tmp_path / "x-audio-2").start(OTHER)
    assert next_free("x-audio", CONFIG) == tmp_path / "x-audio-3"
    Run(tmp_path / "x-audio-3").start(CONFIG)
    assert next_free("x-audio", CONFIG) == tmp_path / "x-audio-3"
    assert next_free("x-audio", OTHER) == tmp_path / "x-audio-2"


def test_scores_on_other_records_go_below_the_run_by_the_name_of_their_folder(started, tmp_path, monkeypatch):
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    for path in (Path(), tmp_path / "other", Path("../other/")):
        assert started.cross_corpus(path).folder == started.folder / "cross_corpus" / "other"


def test_scores_are_json(finished):
    assert json.loads(finished.scores_path.read_text()) == finished.scores()


def test_statistics_that_are_gone_get_a_sentence_where_a_run_was_trained_with_them(enrolled_run, tmp_path):
    run = Run(shutil.copytree(enrolled_run.folder, tmp_path / "run"))
    run.normalisation_path.unlink()
    with pytest.raises(InputError, match=r"normalisation\.json is missing .* --overwrite"):
        run.normalisation()


def test_a_tokenizer_that_is_gone_or_another_one_gets_a_sentence(started, make_run_metadata, tiny_preset):
    run, tokenizer = started, preset_tokenizer(tiny_preset)
    run.write_metadata(make_run_metadata(tokenizer={"preset": tokenizer.preset, "sha256": tokenizer.sha256}))
    tokenizer.write(run.tokenizer_path)
    assert run.tokenizer().sha256 == tokenizer.sha256
    pieces = run.tokenizer_path / "vocabulary.txt"
    pieces.write_text("".join(pieces.read_text().splitlines(True)[:-1]))
    with pytest.raises(InputError, match=r"tokenizer is not the tokenizer that .* was trained with: train again"):
        run.tokenizer()
    shutil.rmtree(run.tokenizer_path)
    with pytest.raises(InputError, match=r"tokenizer is missing or corrupt"):
        run.tokenizer()


def test_a_model_that_is_no_archive_is_not_said_to_be_missing(started):
    started.model_path.write_bytes(b"none")
    with pytest.raises(
        InputError, match=r"model\.keras is missing or corrupt \(cut off, or no .*: train again with --"
    ):
        started.model()


def test_a_corrupt_file_of_statistics_gets_a_sentence(enrolled_run, tmp_path):
    run, whole = Run(tmp_path), json.loads(enrolled_run.normalisation_path.read_text())
    shutil.copy(enrolled_run.metadata_path, run.metadata_path)
    cut = {"mean": {"log_mel": whole["mean"]["log_mel"][1:]}}
    zero = {"std": {"log_mel": [0.0] * len(whole["mean"]["log_mel"])}}
    changes = (cut, zero, {"std": {}}, {"mean": []}, {"mean": {"chroma": [1.0]}})
    for content in ("{", "{}", "[]", *(json.dumps(whole | change) for change in changes)):
        run.normalisation_path.write_text(content)
        with pytest.raises(InputError, match=r"normalisation\.json is (missing or )?corrupt .* --overwrite"):
            run.normalisation()
