"""Tests of emotion_tf.fit: what the command line makes of its flags, and what a run holds before it is trained."""

import argparse
import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from test_folder import with_epoch

from emotion_tf.config import AudioConfig, TrainingConfig
from emotion_tf.fit import fit, main
from emotion_tf.flags import add_arguments
from emotion_tf.runs.folder import Run
from pipelines import files, normalisation
from pipelines.command import InputError, run_command
from pipelines.files import locked


@pytest.fixture
def trained(monkeypatch):
    """Collects what would be trained, instead of training it."""
    collected = []
    monkeypatch.setattr("emotion_tf.training.train.train", lambda run, replicas: collected.append(run))
    monkeypatch.setattr("emotion_tf.training.train.fuse", collected.append)
    return collected


@pytest.fixture
def folder(tmp_path, monkeypatch, trained):
    """A working folder without records; nothing is trained in it."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def with_records(folder, three_speaker_records):
    """A working folder with one folder of records."""
    (folder / "data" / "records").mkdir(parents=True)
    (folder / "data" / "records" / "synthetic").symlink_to(three_speaker_records)
    return folder


def changed_records(source, folder, **values):
    """A copy of records that differ in metadata.json."""
    shutil.copytree(source, folder)
    metadata = json.loads((folder / "metadata.json").read_text())
    (folder / "metadata.json").write_text(json.dumps(metadata | values))
    return folder


def test_the_bare_command_finds_the_records_and_names_the_run(with_records, trained):
    main(["--branch", "audio"])
    [run] = trained
    assert str(run.folder) == "saved_models/synthetic-audio-1"
    assert run.config().training == TrainingConfig()
    assert run.metadata().marks == ["synthetic"]


def test_the_fold_is_drawn_by_its_own_seed_and_not_by_that_of_the_weights(with_records, trained):
    flags = ([], ["--seed", "1"], *(["--fold-seed", str(seed)] for seed in (0, 1, 2)))
    for number, chosen in enumerate(flags):
        main(["--branch", "text", "--run", str(number), *chosen])
    bare, *drawn = (run.metadata().fold for run in trained)
    assert bare == drawn[0] == drawn[1]
    assert len({bare, *drawn}) > 1
    assert [run.config().seed for run in trained] == [0, 1, 0, 0, 0]


def test_the_audit_of_the_fold_and_the_mark_of_a_control_are_written_before_training(with_records, trained):
    main(["--branch", "fusion", "--control", "shuffled-audio"])
    [run] = trained
    audit, fold = json.loads(run.audit_path.read_text()), run.metadata().fold
    assert {name: split["speakers"] for name, split in audit["splits"].items()} == {
        name: list(getattr(fold, name)) for name in ("train", "validation", "test")
    }
    assert run.config().control == "shuffled-audio"
    assert run.metadata().marks == ["synthetic", "shuffled-audio"]


def test_a_random_fold_is_marked_in_the_run(with_records, trained):
    main(["--branch", "text", "--folds", "random"])
    assert trained[0].metadata().fold.by == "utterance_id"
    assert "speaker-leaking" in trained[0].metadata().marks


def test_fusion_without_flags_is_early_and_from_scratch(with_records, trained):
    main(["--branch", "fusion"])
    config = trained[0].config()
    assert (config.fusion, config.sources) == ("early", ())
    assert (config.modalities, config.join, config.training.modality_dropout) == (("audio", "text"), "concat", 0)
    assert str(trained[0].folder) == "saved_models/synthetic-fusion-1"


def test_modalities_and_their_join_are_chosen_by_flags(with_records, trained):
    main(["--branch", "fusion", "--modalities", "text", "audio", "--join", "gated", "--modality-dropout", "0.2"])
    main(["--branch", "fusion", "--modalities", "audio", "--control", "shuffled-audio", "--normalise", "training"])
    joined, alone = (run.config() for run in trained)
    found = (joined.modalities, joined.join, joined.training.modality_dropout)
    assert found == (("audio", "text"), "gated", 0.2)
    assert (alone.modalities, alone.join) == (("audio",), "")


def test_the_bare_command_goes_on_with_an_unfinished_run_and_passes_a_finished_one(with_records, trained):
    main(["--branch", "text"])
    main(["--branch", "text"])
    trained[0].write_scores({})
    main(["--branch", "text"])
    assert [run.folder.name for run in trained] == ["synthetic-text-1", "synthetic-text-1", "synthetic-text-2"]


def test_without_records_a_sentence_names_make_fit(folder):
    with pytest.raises(InputError, match=r"no complete records under data/records: `make fit`"):
        main(["--branch", "audio"])


def test_late_fusion_reads_the_records_of_its_runs(folder, trained, audio_run, text_run):
    main(["--branch", "fusion", "--fusion", "late", "--runs", str(audio_run.folder), str(text_run.folder)])
    assert Path(trained[0].config().records).resolve() == Path(audio_run.config().records).resolve()


def test_of_several_records_one_must_be_chosen(with_records, three_speaker_records):
    (with_records / "data" / "records" / "other").symlink_to(three_speaker_records)
    with pytest.raises(InputError, match=r"choose one: --records data/records/other, --records data/records/synthetic"):
        main(["--branch", "audio"])


@pytest.mark.parametrize(
    ("flag", "word", "number"),
    [("--noise-snr-db", "off", 0.0), ("--patience", "off", 1), ("--release-rate", "auto", 0.5)],
)
def test_words_of_flags_say_what_0_cannot(with_records, trained, audio_run, flag, word, number):
    name, init = flag.strip("-").replace("-", "_"), ["--init-audio", str(audio_run.folder)]
    main(["--branch", "fusion", *init, flag, word])
    main(["--branch", "fusion", *init, flag, str(number)])
    assert [getattr(run.config().training, name) for run in trained] == [None, number]


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--epochs", "0"], "--epochs 0 cannot work: give a number of at least 1"),
        (["--batch-size", "-3"], "--batch-size -3 cannot work"),
        (["--learning-rate", "nan"], "--learning-rate nan cannot work"),
        (["--mixup", "nan"], "--mixup nan cannot work"),
        (["--seed", "-1"], "--seed -1 cannot work"),
        (["--seed", str(2**40)], "--seed .* cannot work"),
        (["--fold", "1"], "--fold 1 is none of the 1 folds of holdout"),
        (["--fold", "-1"], "--fold -1 is none"),
        (["--folds", "nonsense"], "there are no folds 'nonsense'"),
        (["--folds", "published"], "no utterance of a published split train, validation, test"),
        (["--folds", "group-kfold", "--num-folds", "4"], "--num-folds 4 cannot work for the 3 speakers"),
        (["--control", "shuffled-transcripts"], "changes nothing for --branch audio"),
        (["--records", "nowhere"], "nowhere holds no complete records"),
        (["--init-video", "x"], "belong to --branch fusion"),
        (["--encoder-release", "-1"], "--encoder-release -1 cannot work: give a number of at least 0"),
        (["--encoder-release", "1"], "--encoder-release is of a branch with --audio-features encoder"),
        (["--fusion", "early"], "belong to --branch fusion"),
        (["--modalities", "audio"], "--modalities belongs to --branch fusion --fusion early"),
        (["--join", "gated"], "--join changes nothing where early fusion does not join modalities"),
        (["--freeze-epochs", "1"], "are of branches to start from: give --init-audio, --init-text or --init-video"),
        (["--release-rate", "0.1"], "are of branches to start from: give --init-audio, --init-text or --init-video"),
        (["--modality-dropout", "0.1"], "--modality-dropout changes nothing where early fusion does not join"),
        (["--control", "shuffled-video"], "changes nothing for --branch audio"),
        (["--patience", "0"], "--patience 0 cannot work: give a number of at least 1, or off"),
        (["--video-frames", "8"], "--video-frames changes nothing for --branch audio"),
        (["--video-pooling", "gru"], "changes nothing here, where no video branch is trained"),
        (["--image-flip", "2"], "--image-flip 2.0 cannot work: give a number from 0 to 1"),
        (["--time-shift", "-1"], "--time-shift -1 cannot work: give a number of at least 0"),
        (["--speed", "0.6"], r"--speed 0.6 cannot work: give a number from 0 to 0\.5"),
        (["--noise-snr-db", "-3"], "--noise-snr-db -3.0 cannot work: give a number from 0 to 100, or off"),
        (["--gain-db", "nan"], "--gain-db nan cannot work: give a number from 0 to 60"),
    ],
)
def test_bad_flags_get_one_sentence_and_leave_no_run(with_records, trained, capsys, flags, sentence):
    with pytest.raises(InputError, match=sentence):
        main(["--branch", "audio", *flags])
    assert run_command(main, ["--branch", "audio", *flags]) == 1
    assert capsys.readouterr().err.count("\n") == 1
    assert not trained
    assert not (with_records / "saved_models").exists()


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--fusion", "late"], "joins trained runs: give it two or more"),
        (["--fusion", "late", "--runs", "a"], "joins trained runs: give it two or more"),
        (["--fusion", "late", "--runs", "a", "b", "--init-text", "t"], r"and no --init-\*"),
        (["--runs", "a", "b"], "--runs belongs to --fusion late"),
        (["--init-audio", "nowhere"], "nowhere holds no run"),
        (["--fusion", "late", "--runs", "a", "b", "--control", "permuted-labels"], "late fusion has none"),
        (["--fusion", "late", "--runs", "nowhere", "x"], "nowhere holds no run"),
        (["--fusion", "late", "--runs", "a", "b", "./a"], "--runs names a twice: name each run once"),
        (["--rule", "vote"], "--rule and --label-map belong to --fusion late"),
        (["--label-map", "goemotions-seven"], "--rule and --label-map belong to --fusion late"),
        (["--fusion", "late", "--runs", "a", "b", "--normalise", "clip"], "with --init-audio or --runs it is that of"),
        (
            ["--fusion", "late", "--runs", "a", "b", "--modalities", "text"],
            "--modalities belongs to --branch fusion --fus",
        ),
        (["--fusion", "late", "--runs", "a", "b", "--join", "concat"], "--join changes nothing where early fusion"),
        (
            ["--init-audio", "a", "--epochs", "3", "--freeze-epochs", "3", "--release-rate", "0.1"],
            "--release-rate changes nothing where --freeze-epochs 3 last the whole training",
        ),
        (
            ["--init-audio", "a", "--release-rate", "0"],
            "--release-rate 0.0 cannot work: give a number above 0 to 1, or auto",
        ),
        (
            ["--modalities", "video", "--video-frames", "0"],
            "--video-frames 0 cannot work: give a number of at least 1, or all",
        ),
        (["--modalities", "text", "--join", "gated"], "--join changes nothing where early fusion does not join"),
        (["--modalities", "audio", "--modality-dropout", "0.2"], "--modality-dropout changes nothing where early"),
        (["--modalities", "text", "text"], "--modalities text text cannot work"),
        (["--modalities", "text", "--normalise", "clip"], "--normalise changes nothing for --modalities text"),
        (["--modalities", "text", "--init-audio", "a"], "--init-audio changes nothing for --modalities text"),
        (["--modalities", "audio", "--init-text", "a"], "--init-text changes nothing for --modalities audio"),
        (["--init-video", "a"], "--init-video changes nothing for --modalities audio text"),
        (["--modalities", "audio", "video"], "hold no video: prepare them with --video-frames"),
        (["--modalities", "audio", "--control", "shuffled-transcripts"], "changes nothing for --modalities audio"),
        (["--modalities", "text", "--audio-model", "cnn"], "changes nothing here, where no audio branch is trained"),
        (["--init-audio", "a", "--normalise", "clip"], "with --init-audio or --runs it is that of those runs"),
    ],
)
def test_flags_of_fusion_that_do_not_fit_get_a_sentence(with_records, trained, flags, sentence):
    with pytest.raises(InputError, match=sentence):
        main(["--branch", "fusion", *flags])
    assert not trained


def test_a_branch_takes_over_the_widths_of_the_run_it_starts_from(with_records, trained, audio_run):
    main(["--branch", "fusion", "--init-audio", str(audio_run.folder)])
    assert trained[0].config().audio == audio_run.config().audio == AudioConfig((4,), 4, 4)


def test_an_unfinished_run_does_not_go_on_with_records_that_changed(
    tmp_path, trained, make_config, three_speaker_records
):
    copy = changed_records(three_speaker_records, tmp_path / "records")
    config = make_config("audio", records=str(copy))
    fit(config, Run(tmp_path / "run"))
    with_epoch(trained[0])
    shutil.rmtree(copy)
    changed_records(three_speaker_records, copy, longest_frames=1000)
    with pytest.raises(InputError, match=r"the records or folds changed since .* was started"):
        fit(config, Run(tmp_path / "run"))
    fit(config, Run(tmp_path / "run"), overwrite=True)
    assert len(trained) == 2


def test_a_run_cannot_replace_the_run_it_starts_from(tmp_path, trained, make_config, audio_run, text_run):
    config = make_config("fusion", fusion="late", runs=(str(audio_run.folder), str(text_run.folder)))
    with pytest.raises(InputError, match="cannot be the run to write and one to start from"):
        fit(config, Run(audio_run.folder), overwrite=True)
    assert audio_run.is_finished


def test_every_setting_of_training_has_a_flag():
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    flags = parser.format_help()
    assert all("--" + field.name.replace("_", "-") in flags for field in dataclasses.fields(TrainingConfig))


def test_statistics_are_of_all_columns_that_are_read(folder, trained, acoustic_records):
    flags = ["--records", str(acoustic_records), "--audio-features", "acoustic", "--normalise", "enrolled"]
    main(["--branch", "audio", *flags])
    found = trained[0].normalisation()
    assert {name: len(mean) for name, mean in found.mean.items()} == {"log_mel": 64, "acoustic": 103}
    assert found.vectors(["acoustic"])[1].min() > 0


def test_the_run_holds_the_statistics_of_its_training_split_before_training(with_records, trained):
    main(["--branch", "audio", "--normalise", "training"])
    [run] = trained
    expected = normalisation.fit(
        with_records / "data/records/synthetic", "training", ["log_mel"], run.metadata().fold.train
    )
    assert run.normalisation() == expected
    assert "enrolled speaker" not in run.metadata().marks
    assert "training split" in json.loads(run.audit_path.read_text())["fitted"]["normalisation"]
    main(["--branch", "audio", "--run", "plain"])
    assert trained[1].normalisation() is None
    assert not trained[1].normalisation_path.exists()


def test_scores_that_need_the_speakers_other_clips_are_marked(with_records, trained, capsys, monkeypatch):
    monkeypatch.setattr(normalisation, "fit", lambda *arguments: normalisation.Normalisation("enrolled", {}, {}, 3))
    main(["--branch", "fusion", "--normalise", "enrolled"])
    assert trained[0].metadata().marks == ["synthetic", "enrolled speaker"]
    fitted = json.loads(trained[0].audit_path.read_text())["fitted"]["normalisation"]
    assert "every other clip of the speaker, in whatever split" in fitted
    assert "3 utterances are their speaker's only ones: training statistics stand in" in capsys.readouterr().out


def test_a_run_that_goes_on_keeps_its_statistics(with_records, trained):
    flags = ["--branch", "audio", "--normalise", "training"]
    main(flags)
    kept = dataclasses.replace(trained[0].normalisation(), num_alone=7)
    files.write_json(trained[0].normalisation_path, dataclasses.asdict(kept))
    with_epoch(trained[0])
    main(flags)
    assert trained[1].folder == trained[0].folder
    assert trained[1].normalisation() == kept


def test_text_alone_has_nothing_to_normalise(with_records, trained):
    with pytest.raises(InputError, match="--normalise changes nothing for --branch text"):
        main(["--branch", "text", "--normalise", "training"])


def test_late_fusion_takes_over_the_statistics_of_its_runs(tmp_path, trained, make_config, enrolled_run, text_run):
    runs = (str(text_run.folder), str(enrolled_run.folder))
    fit(make_config("fusion", fusion="late", runs=runs), Run(tmp_path / "run"))
    assert trained[0].normalisation() == enrolled_run.normalisation()
    assert "enrolled speaker" in trained[0].metadata().marks


def test_early_fusion_fits_the_statistics_of_the_run_that_it_starts_from_again(with_records, trained, enrolled_run):
    main(["--branch", "fusion", "--init-audio", str(enrolled_run.folder)])
    assert trained[0].config().normalise == "enrolled"
    assert trained[0].normalisation() == enrolled_run.normalisation()


def test_a_run_that_another_process_trains_is_left_alone(make_config, trained, tmp_path):
    run = Run(tmp_path / "run")
    fit(make_config("text"), run)
    with locked(run.folder, "--run"), pytest.raises(InputError, match=r"another process is writing to .*/run"):
        fit(make_config("text", seed=1), run, overwrite=True)
    assert run.config() == make_config("text")


def test_what_is_refused_leaves_no_run(make_config, trained, tmp_path):
    with pytest.raises(InputError, match="hold no video"):
        fit(make_config("video"), Run(tmp_path / "run"))
    assert not trained
    assert not (tmp_path / "run").exists()


def test_a_fit_that_fails_in_its_first_epoch_leaves_its_name_free(make_config, trained, tmp_path, monkeypatch):
    def fail(run, replicas):
        assert run.metadata_path.exists()
        raise InputError("the loss became nan")

    run = Run(tmp_path / "run")
    with monkeypatch.context() as patch:
        patch.setattr("emotion_tf.training.train.train", fail)
        with pytest.raises(InputError, match="the loss became nan"):
            fit(make_config("text"), run)
    assert not run.folder.exists()
    fit(make_config("text", seed=1), run)
    fit(make_config("text", seed=2), run)  # As after a kill in the first epoch.
    assert run.config().seed == 2


def test_overwrite_goes_on_with_what_the_same_command_began(make_config, trained, tmp_path):
    """Whoever gives an interrupted command again, --overwrite in it, keeps the epochs that are done."""
    run, config = Run(tmp_path / "run"), make_config("text")
    fit(config, run)
    for goes_on in (False, True):
        with_epoch(run)
        fit(config, run, overwrite=True)
        assert run.has_epochs is goes_on
    assert run.config() == config
    fit(config, run, overwrite=True, anew=True)
    assert not run.has_epochs
    with_epoch(run)
    fit(make_config("text", seed=1), run, overwrite=True)
    assert not run.has_epochs
    with_epoch(run)
    run.write_scores({"marks": []})
    fit(make_config("text", seed=1), run, overwrite=True)
    assert not run.has_epochs


def test_overwrite_begins_anew_where_going_on_failed(make_config, trained, tmp_path, monkeypatch):
    def fail(run, replicas):
        raise InputError("a checkpoint is corrupt: train again with --overwrite")

    run, config = Run(tmp_path / "run"), make_config("text")
    fit(config, run, overwrite=True)
    with_epoch(run)
    with monkeypatch.context() as patch:
        patch.setattr("emotion_tf.training.train.train", fail)
        with pytest.raises(InputError, match="is corrupt"):
            fit(config, run, overwrite=True)
    assert run.has_epochs
    fit(config, run, overwrite=True)
    assert not run.has_epochs


def test_a_run_of_another_version_is_refused_and_replaced(make_config, trained, tmp_path):
    run, config = Run(tmp_path / "run"), make_config("text")
    fit(config, run)
    with_epoch(run)
    values = json.loads(run.metadata_path.read_text())
    del values["run_version"]
    run.metadata_path.write_text(json.dumps(values))
    with pytest.raises(
        InputError, match=r"run/metadata\.json is of a run that another version .* again with --overwrit"
    ):
        fit(config, run)
    fit(config, run, overwrite=True)
    assert run.metadata().emotions == trained[0].metadata().emotions


@pytest.mark.slow
def test_late_fusion_joins_a_run_of_video_with_one_of_audio(video_run, video_records, make_config, fitted):
    audio_run = fitted("audio-beside-video", make_config("audio", records=str(video_records), epochs=1))
    runs = (str(audio_run.folder), str(video_run.folder))
    late = fitted("late-seen", make_config("fusion", records=str(video_records), fusion="late", runs=runs))
    columns = [name for name in late.predictions() if name.startswith("probability_")]
    of_audio, of_video = (run.predictions()[columns].to_numpy() for run in (audio_run, video_run))
    for without, joined in (("", (of_audio + of_video) / 2), ("video", of_audio), ("audio", of_video)):
        calibrated = joined ** (1 / late.temperature())
        expected = calibrated / calibrated.sum(axis=1, keepdims=True)
        np.testing.assert_allclose(late.predictions(without)[columns], expected, atol=1e-5)
    assert {"share_video", "change_without_video"} <= set(late.predictions())
    assert (late.plots / "frames.png").exists()


def test_a_control_of_shuffled_video_trains(video_records, make_config, fitted):
    run = fitted("shuffled-video", make_config("video", records=str(video_records), control="shuffled-video", epochs=1))
    assert "shuffled-video" in run.scores()["marks"]
