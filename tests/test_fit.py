"""Tests of emotion_tf.fit: what the command line makes of flags, records, folds and other runs."""

import argparse
import dataclasses
import json
import shutil

import numpy as np
import pytest

from emotion_tf.config import AudioConfig, TrainingConfig, VideoConfig
from emotion_tf.fit import fit, main
from emotion_tf.flags import add_arguments
from emotion_tf.runs.folder import Run
from emotion_tf.training import checks
from emotion_tf.training.checks import with_branches
from pipelines import files, normalisation, records
from pipelines.command import InputError, run_command
from pipelines.video import VideoSettings


@pytest.fixture
def trained(monkeypatch):
    """Collects what would be trained, instead of training it."""
    collected = []
    monkeypatch.setattr("emotion_tf.training.train.train", collected.append)
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
    assert run.metadata()["marks"] == ["synthetic"]


def test_the_fold_is_drawn_by_its_own_seed_and_not_by_that_of_the_weights(with_records, trained):
    flags = ([], ["--seed", "1"], *(["--fold-seed", str(seed)] for seed in (0, 1, 2)))
    for number, chosen in enumerate(flags):
        main(["--branch", "text", "--run", str(number), *chosen])
    bare, *drawn = (json.dumps(run.metadata()["fold"]) for run in trained)
    assert bare == drawn[0] == drawn[1]
    assert len({bare, *drawn}) > 1
    assert [run.config().seed for run in trained] == [0, 1, 0, 0, 0]


def test_the_audit_of_the_fold_and_the_mark_of_a_control_are_written_before_training(with_records, trained):
    main(["--branch", "fusion", "--control", "shuffled-audio"])
    [run] = trained
    audit, fold = json.loads(run.audit_path.read_text()), run.metadata()["fold"]
    assert {split: part["speakers"] for split, part in audit["parts"].items()} == {
        split: fold[split] for split in ("train", "validation", "test")
    }
    assert run.config().control == "shuffled-audio"
    assert run.metadata()["marks"] == ["synthetic", "shuffled-audio"]


def test_permuted_labels_start_from_no_run_of_true_ones(with_records, trained, audio_run):
    """What was learned from true labels would show."""
    with pytest.raises(InputError, match="was trained on true labels: start a run of permuted labels from such runs"):
        main(["--branch", "fusion", "--control", "permuted-labels", "--init-audio", str(audio_run.folder)])


def test_a_random_fold_is_marked_in_the_run(with_records, trained):
    main(["--branch", "text", "--folds", "random"])
    assert trained[0].metadata()["fold"]["by"] == "utterance_id"
    assert "speaker-leaking" in trained[0].metadata()["marks"]


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


@pytest.mark.parametrize(
    ("flag", "word", "number"),
    [("--noise-snr-db", "off", 0.0), ("--patience", "off", 1), ("--release-rate", "auto", 0.5)],
)
def test_words_of_flags_say_what_0_cannot(with_records, trained, audio_run, flag, word, number):
    name, init = flag.strip("-").replace("-", "_"), ["--init-audio", str(audio_run.folder)]
    main(["--branch", "fusion", *init, flag, word])
    main(["--branch", "fusion", *init, flag, str(number)])
    assert [getattr(run.config().training, name) for run in trained] == [None, number]


def test_without_records_a_sentence_names_make_fit(folder):
    with pytest.raises(InputError, match=r"no complete records under data/records: `make fit`"):
        main(["--branch", "audio"])


def test_of_several_records_one_must_be_chosen(with_records, three_speaker_records):
    (with_records / "data" / "records" / "other").symlink_to(three_speaker_records)
    with pytest.raises(InputError, match=r"choose one: --records data/records/other, --records data/records/synthetic"):
        main(["--branch", "audio"])


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--epochs", "0"], "--epochs 0 cannot work: give a number at least 1"),
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
        (["--init-audio", "x"], "belong to --branch fusion"),
        (["--fusion", "early"], "belong to --branch fusion"),
        (["--modalities", "audio"], "--modalities belongs to --branch fusion --fusion early"),
        (["--join", "gated"], "--join changes nothing where early fusion does not join modalities"),
        (["--freeze-epochs", "1"], "are of branches to start from: give --init-audio, --init-text or --init-video"),
        (["--release-rate", "0.1"], "are of branches to start from: give --init-audio, --init-text or --init-video"),
        (["--modality-dropout", "0.1"], "--modality-dropout changes nothing where early fusion does not join"),
        (["--control", "shuffled-video"], "changes nothing for --branch audio"),
        (["--video-frames", "8"], "--video-frames changes nothing for --branch audio"),
        (["--patience", "0"], "--patience 0 cannot work: give a number at least 1, or off"),
        (["--video-pooling", "gru"], "change nothing here, where no video branch is trained"),
        (["--image-flip", "2"], "--image-flip 2.0 cannot work: give a number from 0 to 1"),
        (["--time-shift", "-1"], "--time-shift -1 cannot work: give a number at least 0"),
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
            "--video-frames 0 cannot work: give a number at least 1, or all",
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
        (["--modalities", "text", "--audio-model", "cnn"], "change nothing here, where no audio branch is trained"),
        (["--init-audio", "a", "--normalise", "clip"], "with --init-audio or --runs it is that of those runs"),
    ],
)
def test_flags_of_fusion_that_do_not_fit_get_a_sentence(with_records, trained, flags, sentence):
    with pytest.raises(InputError, match=sentence):
        main(["--branch", "fusion", *flags])
    assert not trained


def test_a_run_of_another_branch_cannot_start_a_branch(with_records, text_run):
    with pytest.raises(InputError, match="is a run of the branch text: give one of --branch audio"):
        main(["--branch", "fusion", "--init-audio", str(text_run.folder)])


def test_an_unfinished_run_cannot_start_a_branch(with_records, make_config):
    Run(with_records / "begun").start(make_config("audio"))
    with pytest.raises(InputError, match="begun is not finished"):
        main(["--branch", "fusion", "--init-audio", "begun"])


def test_a_branch_takes_over_the_widths_of_the_run_it_starts_from(with_records, trained, audio_run):
    main(["--branch", "fusion", "--init-audio", str(audio_run.folder)])
    assert trained[0].config().audio == audio_run.config().audio == AudioConfig((4,), 4, 4)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"front_end": {"mel_bins": 32}}, "has another front end than these records"),
        (
            {"emotions": ["neutral", "calm", "happy", "sad", "angry", "fearful", "surprised", "bored"]},
            "none leads from those to these",
        ),
        ({"vocabulary_sha256": "other"}, "has another vocabulary than these records"),
    ],
)
def test_a_run_on_records_that_do_not_fit_is_refused(
    tmp_path, trained, make_config, three_speaker_records, audio_run, text_run, values, sentence
):
    changed = changed_records(three_speaker_records, tmp_path / "records", **values)
    runs = (str(audio_run.folder), str(text_run.folder))
    with pytest.raises(InputError, match=sentence):
        fit(make_config("fusion", fusion="late", records=str(changed), runs=runs), Run(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_a_branch_may_go_on_under_other_labels_but_not_on_other_inputs(
    tmp_path, make_config, three_speaker_records, audio_run, text_run
):
    emotions = ["neutral", "calm", "happy", "sad", "angry", "fearful", "surprised", "disgust"]
    changed = changed_records(three_speaker_records, tmp_path / "records", emotions=emotions, vocabulary_sha256="other")
    starts = {"init_audio": str(audio_run.folder), "init_text": str(text_run.folder)}
    config = make_config("fusion", fusion="early", records=str(changed), init_audio=starts["init_audio"])
    assert checks.check(config)[0]["emotions"] == emotions
    with pytest.raises(InputError, match="has another vocabulary than these records"):
        checks.check(make_config("text", records=str(changed), init_text=starts["init_text"]))


def test_a_run_that_knows_a_test_speaker_is_refused(tmp_path, trained, make_config, audio_run):
    fold = audio_run.metadata()["fold"]
    swapped = [{"train": fold["test"], "validation": fold["validation"], "test": fold["train"]}]
    (tmp_path / "folds.json").write_text(json.dumps(swapped))
    config = make_config("fusion", fusion="early", folds=str(tmp_path / "folds.json"), init_audio=str(audio_run.folder))
    with pytest.raises(InputError, match="in its train split, whom this fold tests"):
        fit(config, Run(tmp_path / "run"))


@pytest.mark.parametrize(
    ("fold", "sentence"),
    [
        ({"train": ["01"], "validation": ["02"], "test": []}, "has no test speakers"),
        ({"train": ["01"], "validation": ["02"], "test": ["99"]}, "99"),
        ({"train": ["01"], "validation": ["02"], "test": ["02"]}, "is in validation and in test"),
    ],
)
def test_a_fold_that_cannot_be_believed_is_refused(with_records, trained, fold, sentence):
    (with_records / "folds.json").write_text(json.dumps([fold]))
    with pytest.raises(InputError, match=sentence):
        main(["--branch", "audio", "--folds", "folds.json"])
    assert not trained


def test_an_emotion_without_training_clips_is_named(tmp_path, trained, make_config, three_speaker_records, monkeypatch):
    index = records.read_index(three_speaker_records)
    monkeypatch.setattr(checks, "read_index", lambda folder: index[index["label"] != 1])
    with pytest.raises(InputError, match="the training split of holdout fold 0 has no utterance of calm"):
        fit(make_config("audio"), Run(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_an_unfinished_run_does_not_go_on_with_records_that_changed(
    tmp_path, trained, make_config, three_speaker_records
):
    copy = changed_records(three_speaker_records, tmp_path / "records")
    config = make_config("audio", records=str(copy))
    fit(config, Run(tmp_path / "run"))
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


def test_metadata_holds_the_fold_and_the_prior_of_its_training_part(audio_run, three_speaker_records):
    metadata, found = audio_run.metadata(), records.read_metadata(three_speaker_records)
    assert sum(len(metadata["fold"][split]) for split in ("train", "validation", "test")) == 3
    counts = found.emotion_counts(metadata["fold"]["train"])
    assert metadata["training_counts"] == counts
    assert metadata["prior"] == pytest.approx([count / sum(counts) for count in counts])


def test_every_setting_of_training_has_a_flag():
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    flags = parser.format_help()
    assert all("--" + field.name.replace("_", "-") in flags for field in dataclasses.fields(TrainingConfig))


def test_metadata_of_several_emotions_counts_labels_and_utterances_apart(goemotions_run):
    metadata = goemotions_run.metadata()
    assert (metadata["is_multi_label"], metadata["has_audio"], metadata["headline"]) == (True, False, "macro_f1")
    assert metadata["num_training"] == 168
    assert sum(metadata["training_counts"]) == 168 + 28
    assert metadata["prior"] == pytest.approx([7 / 168] * 28)
    assert sum(metadata["prior"]) > 1


def test_metadata_of_one_emotion_each_with_sound_ranks_by_recall(audio_run):
    metadata = audio_run.metadata()
    found = (metadata["is_multi_label"], metadata["has_audio"], metadata["headline"])
    assert found == (False, True, "unweighted_average_recall")
    assert metadata["num_training"] == sum(metadata["training_counts"])


@pytest.mark.parametrize(
    ("audio", "sentence"),
    [
        ({"features": ("log_mel", "acoustic")}, "hold no acoustic features: prepare them with --acoustic"),
        ({"features": ("mfcc",)}, "hold no mfcc features: prepare them with --acoustic"),
        ({"features": ("encoder",)}, "hold no encoder features: prepare them with --encoder"),
        (
            {"channels": (2,) * 7},
            "--audio-model cnn_attention needs 127 columns or more, and .* hold 64: prepare them with more --mel-bins",
        ),
    ],
)
@pytest.mark.parametrize("branch", ["audio", "fusion"])
def test_a_branch_that_the_records_cannot_feed_is_refused_before_a_run_begins(
    tmp_path, trained, make_config, branch, audio, sentence
):
    config = make_config(branch, fusion="early" if branch == "fusion" else "")
    with pytest.raises(InputError, match=sentence):
        fit(dataclasses.replace(config, audio=AudioConfig(**audio)), Run(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("branch", ["audio", "fusion"])
def test_records_of_words_alone_train_no_branch_that_listens(
    goemotions_records, trained, tmp_path, make_config, branch
):
    values = {"records": str(goemotions_records), "folds": "published"}
    with pytest.raises(InputError, match="hold words alone, no sound: train --branch text on them"):
        fit(make_config(branch, fusion="early" if branch == "fusion" else "", **values), Run(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_records_of_words_alone_train_early_fusion_of_words_alone(goemotions_records, make_config):
    values = {"records": str(goemotions_records), "folds": "published", "modalities": ("text",)}
    assert not checks.check(make_config("fusion", fusion="early", **values))[0]["has_audio"]


def test_several_emotions_have_no_class_weights(goemotions_records, trained, tmp_path, make_config):
    config = make_config("text", records=str(goemotions_records), folds="published", class_weights="balanced")
    with pytest.raises(InputError, match="--class-weights balanced needs one emotion an utterance"):
        fit(config, Run(tmp_path / "run"))


def test_the_marks_of_the_words_are_those_of_the_run(tmp_path, trained, make_config, three_speaker_records):
    changed = changed_records(three_speaker_records, tmp_path / "records", transcript_source="simulated")
    fit(make_config("text", records=str(changed)), Run(tmp_path / "run"))
    assert trained[0].metadata()["marks"] == ["synthetic", "label-leaking"]


def test_a_run_from_before_several_emotions_is_read_as_one_of_one(audio_run, tmp_path):
    run = Run(tmp_path / "run")
    run.folder.mkdir()
    new = ("is_multi_label", "has_audio", "headline")
    old = {name: value for name, value in audio_run.metadata().items() if name not in new}
    run.metadata_path.write_text(json.dumps(old))
    assert run.metadata() == audio_run.metadata()


@pytest.mark.parametrize("flag", ["--speed", "--noise-snr-db", "--gain-db"])
def test_records_without_waveforms_have_none_to_change(with_records, trained, three_speaker_records, tmp_path, flag):
    changed = changed_records(three_speaker_records, tmp_path / "bare", has_waveform=False)
    with pytest.raises(InputError, match=r"bare hold none: prepare them again with --store-waveform"):
        main(["--branch", "audio", "--records", str(changed), flag, "0.2"])
    main(["--branch", "text", "--records", str(changed), flag, "0.2"])
    assert len(trained) == 1


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--gain-db", "3"], "change waveforms, and --audio-features encoder are stored once"),
        (["--normalise", "training"], "--normalise training changes nothing for --audio-features encoder"),
    ],
)
def test_states_of_an_encoder_stay_as_they_are(with_records, trained, flags, sentence):
    with pytest.raises(InputError, match=sentence):
        main(["--branch", "audio", "--audio-features", "encoder", *flags])


def test_statistics_are_of_all_columns_that_are_heard(folder, trained, acoustic_records):
    flags = ["--records", str(acoustic_records), "--audio-features", "acoustic", "--normalise", "enrolled"]
    main(["--branch", "audio", *flags])
    found = trained[0].normalisation()
    assert {name: len(mean) for name, mean in found.mean.items()} == {"log_mel": 64, "acoustic": 103}
    assert found.vectors(["acoustic"])[1].min() > 0


def test_the_run_holds_the_statistics_of_its_training_part_before_training(with_records, trained):
    main(["--branch", "audio", "--normalise", "training"])
    [run] = trained
    expected = normalisation.fit(
        with_records / "data/records/synthetic", "training", ["log_mel"], run.metadata()["fold"]["train"]
    )
    assert run.normalisation() == expected
    assert "enrolled speaker" not in run.metadata()["marks"]
    assert "training split" in json.loads(run.audit_path.read_text())["fitted"]["normalisation"]
    main(["--branch", "audio", "--run", "plain"])
    assert trained[1].normalisation() is None
    assert not trained[1].normalisation_path.exists()


def test_scores_that_need_the_speakers_other_clips_are_marked(with_records, trained, capsys, monkeypatch):
    monkeypatch.setattr(normalisation, "fit", lambda *arguments: normalisation.Normalisation("enrolled", {}, {}, 3))
    main(["--branch", "fusion", "--normalise", "enrolled"])
    assert trained[0].metadata()["marks"] == ["synthetic", "enrolled speaker"]
    fitted = json.loads(trained[0].audit_path.read_text())["fitted"]["normalisation"]
    assert "every other clip of the speaker, in whatever part" in fitted
    assert "3 utterances are their speaker's only ones: training statistics stand in" in capsys.readouterr().out


def test_a_run_that_goes_on_keeps_its_statistics(with_records, trained):
    flags = ["--branch", "audio", "--normalise", "training"]
    main(flags)
    kept = dataclasses.replace(trained[0].normalisation(), num_alone=7)
    files.write_json(trained[0].normalisation_path, dataclasses.asdict(kept))
    main(flags)
    assert trained[1].folder == trained[0].folder
    assert trained[1].normalisation() == kept


def test_words_alone_have_nothing_to_normalise(with_records, trained):
    with pytest.raises(InputError, match="--normalise changes nothing for --branch text"):
        main(["--branch", "text", "--normalise", "training"])


def test_records_without_speakers_enrol_nobody(tmp_path, trained, make_config, three_speaker_records):
    nameless = changed_records(three_speaker_records, tmp_path / "records", counts={"": {}})
    with pytest.raises(InputError, match="name no speakers, and --normalise enrolled rests on a speaker's other clips"):
        fit(make_config("audio", records=str(nameless), normalise="enrolled"), Run(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_a_branch_takes_over_the_normalisation_of_the_run_it_starts_from(
    with_records, trained, enrolled_run, audio_run, make_config
):
    main(["--branch", "fusion", "--init-audio", str(enrolled_run.folder)])
    assert trained[0].config().normalise == "enrolled"
    assert trained[0].normalisation() == enrolled_run.normalisation()
    config = make_config("fusion", fusion="early", init_audio=str(audio_run.folder), normalise="training")
    with pytest.raises(InputError, match="was trained with --normalise clip, not training: give the same"):
        checks.check(config)


def late(make_config, *runs, **values):
    return make_config("fusion", fusion="late", runs=tuple(str(run.folder) for run in runs), **values)


def test_late_fusion_takes_runs_of_another_corpus_through_a_named_map(
    tmp_path, trained, make_config, audio_run, goemotions_run
):
    with pytest.raises(InputError, match=r"name a map between them \(--label-map goemotions-ravdess\)"):
        fit(late(make_config, audio_run, goemotions_run), Run(tmp_path / "run"))
    fit(late(make_config, audio_run, goemotions_run, label_maps=("goemotions-ravdess",)), Run(tmp_path / "run"))
    assert trained == [Run(tmp_path / "run")]
    with pytest.raises(InputError, match="--label-map meld-seven is for none of"):
        fit(
            late(make_config, audio_run, goemotions_run, label_maps=("goemotions-ravdess", "meld-seven")), Run(tmp_path)
        )


def test_a_run_of_one_emotion_an_utterance_does_not_join_those_of_several(
    tmp_path, trained, make_config, goemotions_records, goemotions_run, text_run
):
    values = {"records": str(goemotions_records), "folds": "published"}
    with pytest.raises(InputError, match="names other emotions than these records, or one an utterance"):
        fit(late(make_config, goemotions_run, text_run, **values), Run(tmp_path / "run"))
    for rule in ("vote", "stacker"):
        with pytest.raises(InputError, match=f"--rule {rule} needs one emotion an utterance"):
            fit(late(make_config, goemotions_run, goemotions_run, rule=rule, **values), Run(tmp_path / "run"))


def test_late_fusion_reads_as_many_words_as_its_runs(make_config, text_run, audio_run, tmp_path):
    assert with_branches(late(make_config, text_run, audio_run)).training.max_tokens == 64
    longer = Run(tmp_path / "longer")
    shutil.copytree(text_run.folder, longer.folder)
    config = text_run.config()
    training = dataclasses.replace(config.training, max_tokens=9)
    longer.config_path.write_text(dataclasses.replace(config, training=training).to_json())
    assert with_branches(late(make_config, longer, audio_run)).training.max_tokens == 9
    with pytest.raises(InputError, match="--max-tokens differs"):
        with_branches(late(make_config, text_run, longer))


def test_late_fusion_hears_one_clip_on_one_scale(tmp_path, trained, make_config, enrolled_run, audio_run, text_run):
    with pytest.raises(InputError, match=r"\(--normalise enrolled\), .* \(--normalise clip\) hear one clip on several"):
        fit(late(make_config, enrolled_run, audio_run), Run(tmp_path / "run"))
    assert not (tmp_path / "run").exists()
    fit(late(make_config, text_run, enrolled_run), Run(tmp_path / "run"))
    assert trained[0].normalisation() == enrolled_run.normalisation()
    assert "enrolled speaker" in trained[0].metadata()["marks"]
    other = Run(tmp_path / "other")
    shutil.copytree(enrolled_run.folder, other.folder)
    found = enrolled_run.normalisation()
    changed = dataclasses.replace(found, mean={"log_mel": [1.0, *found.mean["log_mel"][1:]]})
    files.write_json(other.normalisation_path, dataclasses.asdict(changed))
    with pytest.raises(InputError, match="have statistics of different training splits: join runs of one fold"):
        fit(late(make_config, enrolled_run, other), Run(tmp_path / "another"))


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


def test_records_without_video_train_no_branch_that_sees(trained, tmp_path, make_config):
    for branch, values in (("video", {}), ("fusion", {"fusion": "early", "modalities": ("text", "video")})):
        with pytest.raises(InputError, match="hold no video: prepare them with --video-frames"):
            fit(make_config(branch, **values), Run(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_a_run_that_sees_knows_what_it_saw_and_refuses_other_frames(
    seen_speakers, video_run, video_records, make_config, prepared, tmp_path, trained
):
    assert video_run.metadata()["video"] == {"num_frames": 4, "size": 32, "is_colour": False}
    assert video_run.metadata()["headline"] == "unweighted_average_recall"
    assert (video_run.plots / "frames.png").exists()
    others = prepared("video-48", seen_speakers, video=VideoSettings(4, 48))
    values = {"fusion": "early", "modalities": ("audio", "video"), "init_video": str(video_run.folder)}
    with pytest.raises(InputError, match=r"has another choice of video frames .* than these records"):
        fit(make_config("fusion", records=str(others), **values), Run(tmp_path / "run"))


def test_a_video_branch_goes_on_in_early_fusion_with_its_own_sizes(video_run, make_config):
    config = make_config("fusion", fusion="early", modalities=("audio", "video"), init_video=str(video_run.folder))
    config = dataclasses.replace(config, video=VideoConfig((9,)))
    assert with_branches(config).video == video_run.config().video
    with pytest.raises(InputError, match=r"--init-audio .* is a run of the branch video: give one of --branch audio"):
        with_branches(dataclasses.replace(config, init_audio=str(video_run.folder)))


def test_late_fusion_joins_a_run_that_sees_with_one_that_hears(video_run, video_records, make_config, fitted):
    audio_run = fitted("audio-beside-video", make_config("audio", records=str(video_records), epochs=1))
    runs = (str(audio_run.folder), str(video_run.folder))
    late = fitted("late-seen", make_config("fusion", records=str(video_records), fusion="late", runs=runs))
    columns = [name for name in late.predictions() if name.startswith("probability_")]
    heard, seen = (run.predictions()[columns].to_numpy() for run in (audio_run, video_run))
    for without, joined in (("", (heard + seen) / 2), ("video", heard), ("audio", seen)):
        calibrated = joined ** (1 / late.temperature())
        expected = calibrated / calibrated.sum(axis=1, keepdims=True)
        np.testing.assert_allclose(late.predictions(without)[columns], expected, atol=1e-5)
    assert {"share_video", "change_without_video"} <= set(late.predictions())
    assert (late.plots / "frames.png").exists()


def test_a_run_that_knows_a_test_speaker_by_sight_is_refused(video_run, video_records, make_config, tmp_path, trained):
    values = {"fusion": "early", "modalities": ("audio", "video"), "init_video": str(video_run.folder)}
    config = make_config("fusion", records=str(video_records), fold_seed=1, **values)
    with pytest.raises(InputError, match="whom this fold tests"):
        fit(config, Run(tmp_path / "run"))


def test_a_control_of_shuffled_video_trains(video_records, make_config, fitted):
    run = fitted("shuffled-video", make_config("video", records=str(video_records), control="shuffled-video", epochs=1))
    assert "shuffled-video" in run.scores()["marks"]
