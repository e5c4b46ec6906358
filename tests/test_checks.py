"""Tests of emotion_tf.training.checks: what is refused before a run begins, and what is known of it then."""

import dataclasses
import json
import shutil

import pandas as pd
import pytest

from emotion_tf.config import AudioConfig, VideoConfig
from emotion_tf.runs.folder import Run
from emotion_tf.training import checks
from emotion_tf.training.checks import check, with_branches
from pipelines import records
from pipelines.command import InputError
from pipelines.folds import Fold
from pipelines.video import VideoSettings

OTHERS = ["neutral", "calm", "happy", "sad", "angry", "fearful", "surprised", "bored"]


def changed_records(source, folder, **values):
    """A copy of records that differ in metadata.json."""
    shutil.copytree(source, folder)
    metadata = json.loads((folder / "metadata.json").read_text())
    (folder / "metadata.json").write_text(json.dumps(metadata | values))
    return folder


def early(make_config, **values):
    return make_config("fusion", fusion="early", **values)


def late(make_config, *runs, **values):
    return make_config("fusion", fusion="late", runs=tuple(str(run.folder) for run in runs), **values)


def test_metadata_holds_the_fold_and_the_prior_of_its_training_split(audio_run, three_speaker_records):
    metadata, found = audio_run.metadata(), records.read_metadata(three_speaker_records)
    assert sum(len(getattr(metadata.fold, split)) for split in ("train", "validation", "test")) == 3
    counts = found.emotion_counts(metadata.fold.train)
    assert metadata.training_counts == counts
    assert metadata.prior == pytest.approx([count / sum(counts) for count in counts])


def test_metadata_of_several_emotions_counts_labels_and_utterances_apart(goemotions_run):
    metadata = goemotions_run.metadata()
    assert (metadata.is_multi_label, metadata.has_audio, metadata.headline) == (True, False, "macro_f1")
    assert metadata.num_training == 168
    assert sum(metadata.training_counts) == 168 + 28
    assert metadata.prior == pytest.approx([7 / 168] * 28)
    assert sum(metadata.prior) > 1


def test_metadata_of_clips_of_one_emotion_each_ranks_by_recall(audio_run):
    metadata = audio_run.metadata()
    found = (metadata.is_multi_label, metadata.has_audio, metadata.headline)
    assert found == (False, True, "unweighted_average_recall")
    assert metadata.num_training == sum(metadata.training_counts)


def test_the_marks_of_the_transcripts_are_those_of_the_run(tmp_path, make_config, three_speaker_records):
    changed = changed_records(three_speaker_records, tmp_path / "records", transcript_source="simulated")
    assert check(make_config("text", records=str(changed))).metadata.marks == ["synthetic", "label-leaking"]


def test_permuted_labels_start_from_no_run_of_true_ones(make_config, audio_run):
    """What was learned from true labels would show."""
    with pytest.raises(InputError, match="was trained on true labels: start a run of permuted labels from such runs"):
        check(early(make_config, control="permuted-labels", init_audio=str(audio_run.folder)))


def test_a_run_of_another_branch_cannot_start_a_branch(make_config, text_run):
    with pytest.raises(InputError, match="is a run of the branch text: give one of --branch audio"):
        with_branches(early(make_config, init_audio=str(text_run.folder)))


def test_an_unfinished_run_cannot_start_a_branch(make_config, tmp_path):
    Run(tmp_path / "begun").start(make_config("audio"))
    with pytest.raises(InputError, match="begun is not finished"):
        with_branches(early(make_config, init_audio=str(tmp_path / "begun")))


def test_a_run_of_another_version_cannot_start_a_branch(make_config, audio_run, tmp_path):
    run = Run(tmp_path / "before")
    shutil.copytree(audio_run.folder, run.folder)
    values = json.loads(run.metadata_path.read_text())
    del values["run_version"]
    run.metadata_path.write_text(json.dumps(values))
    for completed in (with_branches, check):
        with pytest.raises(InputError, match="is of a run that another version of this program trained"):
            completed(early(make_config, init_audio=str(run.folder)))


def test_a_branch_takes_over_the_widths_of_the_run_it_starts_from(make_config, audio_run):
    config = dataclasses.replace(early(make_config, init_audio=str(audio_run.folder)), audio=AudioConfig())
    assert with_branches(config).audio == audio_run.config().audio == AudioConfig((4,), 4, 4)


def test_a_video_branch_goes_on_in_early_fusion_with_its_own_sizes(video_run, make_config):
    config = early(make_config, modalities=("audio", "video"), init_video=str(video_run.folder))
    config = dataclasses.replace(config, video=VideoConfig((9,)))
    assert with_branches(config).video == video_run.config().video
    with pytest.raises(InputError, match=r"--init-audio .* is a run of the branch video: give one of --branch audio"):
        with_branches(dataclasses.replace(config, init_audio=str(video_run.folder)))


def test_a_branch_takes_over_the_normalisation_of_the_run_it_starts_from(enrolled_run, audio_run, make_config):
    assert with_branches(early(make_config, init_audio=str(enrolled_run.folder))).normalise == "enrolled"
    with pytest.raises(InputError, match="was trained with --normalise clip, not training: give the same"):
        check(early(make_config, init_audio=str(audio_run.folder), normalise="training"))


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"front_end": {"mel_bins": 32}}, "has another front end than these records"),
        ({"emotions": OTHERS, "counts": {"01": dict.fromkeys(OTHERS, 3)}}, "none leads from those to these"),
        ({"vocabulary_sha256": "other"}, "has another vocabulary than these records"),
    ],
)
def test_a_run_on_records_that_do_not_fit_is_not_joined(
    tmp_path, make_config, three_speaker_records, audio_run, text_run, values, sentence
):
    changed = changed_records(three_speaker_records, tmp_path / "records", **values)
    with pytest.raises(InputError, match=sentence):
        check(late(make_config, audio_run, text_run, records=str(changed)))


def test_a_branch_may_go_on_under_other_labels_but_not_on_other_inputs(
    tmp_path, make_config, three_speaker_records, audio_run, text_run
):
    emotions = ["neutral", "calm", "happy", "sad", "angry", "fearful", "surprised", "disgust"]
    changed = changed_records(three_speaker_records, tmp_path / "records", emotions=emotions, vocabulary_sha256="other")
    config = early(make_config, records=str(changed), init_audio=str(audio_run.folder))
    assert check(config).metadata.emotions == emotions
    with pytest.raises(InputError, match="has another vocabulary than these records"):
        check(make_config("text", records=str(changed), init_text=str(text_run.folder)))


def test_a_run_that_was_fitted_on_a_test_speaker_is_refused(tmp_path, make_config, audio_run):
    fold = audio_run.metadata().fold
    swapped = [{"train": fold.test, "validation": fold.validation, "test": fold.train}]
    (tmp_path / "folds.json").write_text(json.dumps(swapped))
    with pytest.raises(InputError, match="in its train split, whom this fold tests"):
        check(early(make_config, folds=str(tmp_path / "folds.json"), init_audio=str(audio_run.folder)))


def test_a_run_that_was_fitted_on_a_video_of_a_test_speaker_is_refused(video_run, video_records, make_config):
    values = {"modalities": ("audio", "video"), "init_video": str(video_run.folder), "fold_seed": 1}
    with pytest.raises(InputError, match="whom this fold tests"):
        check(early(make_config, records=str(video_records), **values))


@pytest.mark.parametrize(
    ("fold", "sentence"),
    [
        ({"train": ["01"], "validation": ["02"], "test": []}, "has no test speakers"),
        ({"train": ["01"], "validation": ["02"], "test": ["99"]}, "99"),
        ({"train": ["01"], "validation": ["02"], "test": ["02"]}, "is in validation and in test"),
    ],
)
def test_a_fold_that_cannot_be_believed_is_refused(tmp_path, make_config, fold, sentence):
    (tmp_path / "folds.json").write_text(json.dumps([fold]))
    with pytest.raises(InputError, match=sentence):
        check(make_config("audio", folds=str(tmp_path / "folds.json")))


def test_an_emotion_without_training_clips_is_named(make_config, three_speaker_records, monkeypatch):
    index = records.read_index(three_speaker_records)
    monkeypatch.setattr(checks, "read_index", lambda folder: index[index["label"] != 1])
    with pytest.raises(
        InputError, match="the training split of holdout fold 0 has no utterance of calm: choose a --fold"
    ):
        check(make_config("audio"))


def test_an_emotion_that_only_others_have_is_named_with_them(
    make_config, three_speaker_records, audio_run, monkeypatch
):
    index = records.read_index(three_speaker_records)
    [tested] = audio_run.metadata().fold.test
    monkeypatch.setattr(
        checks, "read_index", lambda folder: index[(index["label"] != 1) | (index["speaker"] == tested)]
    )
    sentence = rf"has no utterance of calm \(only speaker {tested} has any\): .* in which a speaker who has any trains"
    with pytest.raises(InputError, match=sentence):
        check(make_config("audio"))
    monkeypatch.setattr(checks, "read_index", lambda folder: index[index["label"] != 1])
    with pytest.raises(InputError, match="random fold 0 has no utterance of calm: choose another --fold-seed, or prep"):
        check(make_config("audio", folds="random"))


def test_label_sets_that_no_model_can_learn_are_refused(make_config, three_speaker_records, tmp_path):
    counts = records.read_metadata(three_speaker_records).counts
    one = {speaker: {"calm": 3} for speaker in counts}
    less = {speaker: {**of_speaker, "calm": 0} for speaker, of_speaker in counts.items()}
    for name, changed, sentence in (
        ("one", one, "one hold one emotion, calm, and a model tells two or more apart"),
        ("less", less, "less hold no utterance of calm, which their label set names: mend one of the recordings"),
    ):
        folder = changed_records(three_speaker_records, tmp_path / name, counts=changed)
        with pytest.raises(InputError, match=sentence):
            check(make_config("audio", records=str(folder)))


def test_records_without_words_train_nothing_that_reads_text(
    make_config, three_speaker_records, text_run, audio_run, tmp_path
):
    total = records.read_metadata(three_speaker_records).num_utterances
    silent = str(changed_records(three_speaker_records, tmp_path / "mute", num_without_words=total))
    sentence = "mute hold no words, and text is read of words alone: prepare them with --transcripts whisper"
    for config in (
        make_config("text", records=silent),
        early(make_config, records=silent),
        late(make_config, audio_run, text_run, records=silent),
    ):
        with pytest.raises(InputError, match=sentence):
            check(config)
    check(make_config("audio", records=silent))
    some = str(changed_records(three_speaker_records, tmp_path / "some", num_without_words=total - 1))
    check(make_config("text", records=some))


def test_a_speaker_with_most_utterances_is_told_and_the_draw_stays(make_config, three_speaker_records, monkeypatch):
    index = records.read_index(three_speaker_records)
    before = check(make_config("audio"))
    assert before.notes == ()
    fold = before.metadata.fold
    is_first = (index["speaker"] == fold.validation[0]) | ~index.duplicated(["speaker", "label"])
    monkeypatch.setattr(checks, "read_index", lambda folder: index[is_first])
    checked = check(make_config("audio"))
    assert checked.metadata.fold == fold
    [note] = checked.notes
    assert note.startswith(
        f"of 46 utterances speaker {fold.validation[0]} alone has 30, and 8 train, 30 validate and 8"
    )
    assert check(make_config("audio", folds="random")).notes == ()


def test_a_run_that_knows_fewer_emotions_joins_by_name_and_that_is_told(make_config, audio_run, text_run, tmp_path):
    few = Run(tmp_path / "few")
    shutil.copytree(text_run.folder, few.folder)
    values = json.loads(few.metadata_path.read_text())
    few.metadata_path.write_text(json.dumps(values | {"emotions": values["emotions"][:-2]}))
    lacking = " and no ".join(values["emotions"][-2:])
    notes = check(late(make_config, audio_run, few)).notes
    assert notes == (f"{few.folder} knows no {lacking}: its probability of that is 0",)


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
def test_a_branch_that_the_records_cannot_feed_is_refused(make_config, branch, audio, sentence):
    config = make_config(branch, fusion="early" if branch == "fusion" else "")
    with pytest.raises(InputError, match=sentence):
        check(dataclasses.replace(config, audio=AudioConfig(**audio)))


@pytest.mark.parametrize("branch", ["audio", "fusion"])
def test_records_of_text_alone_train_no_branch_on_audio(goemotions_records, make_config, branch):
    values = {"records": str(goemotions_records), "folds": "published"}
    with pytest.raises(InputError, match="hold text alone, no audio: train --branch text on them"):
        check(make_config(branch, fusion="early" if branch == "fusion" else "", **values))


def test_records_of_text_alone_train_early_fusion_of_text_alone(goemotions_records, make_config):
    values = {"records": str(goemotions_records), "folds": "published", "modalities": ("text",)}
    assert not check(early(make_config, **values)).metadata.has_audio


def test_records_without_video_train_no_branch_on_video(make_config, audio_run, video_run):
    sentence = "hold no video: prepare them with --video-frames"
    values = {"modalities": ("text", "video")}
    configs = (make_config("video"), early(make_config, **values), late(make_config, audio_run, video_run))
    for config in configs:
        with pytest.raises(InputError, match=sentence):
            check(config)


def test_a_run_of_video_says_which_frames_it_reads_and_refuses_others(
    seen_speakers, video_run, video_records, make_config, prepared
):
    assert video_run.metadata().video == {"num_frames": 4, "size": 32, "is_colour": False}
    assert video_run.metadata().headline == "unweighted_average_recall"
    assert (video_run.plots / "frames.png").exists()
    others = prepared("video-48", seen_speakers, video=VideoSettings(4, 48))
    values = {"modalities": ("audio", "video"), "init_video": str(video_run.folder)}
    with pytest.raises(InputError, match=r"has another choice of video frames .* than these records"):
        check(early(make_config, records=str(others), **values))


def test_several_emotions_have_no_class_weights(goemotions_records, make_config):
    config = make_config("text", records=str(goemotions_records), folds="published", class_weights="balanced")
    with pytest.raises(InputError, match="--class-weights balanced needs one emotion an utterance"):
        check(config)


@pytest.mark.parametrize("field", ["speed", "noise_snr_db", "gain_db"])
def test_records_without_waveforms_have_none_to_change(make_config, three_speaker_records, tmp_path, field):
    changed = str(changed_records(three_speaker_records, tmp_path / "bare", has_waveform=False))
    with pytest.raises(InputError, match=r"bare hold none: prepare them again with --store-waveform"):
        check(make_config("audio", records=changed, **{field: 0.2}))
    check(make_config("text", records=changed, **{field: 0.2}))


def test_states_of_an_encoder_are_of_waveforms_as_they_are(make_config):
    config = make_config("audio", gain_db=3)
    with pytest.raises(InputError, match="change waveforms, and --audio-features encoder are stored once"):
        check(dataclasses.replace(config, audio=AudioConfig(features=("encoder",))))


RELEASES = [
    ({"features": ("log_mel",)}, {}, {}, "--encoder-release is of a branch with --audio-features encoder: add it"),
    ({"encoder_release": 4}, {}, {}, r"--encoder-release 4 cannot work: .* is 3, so give a number from 1 to 3"),
    ({}, {"has_waveform": False}, {}, r"trains on waveforms, and .* hold none: prepare them again with --store-wav"),
    ({}, {"encoder": None}, {}, "hold no encoder features: prepare them with --encoder whisper"),
    ({}, {}, {}, r"starts from the weights of the records' encoder, and .*encoder does not hold them: prepare"),
    ({}, {}, {"normalise": "training"}, "--normalise training changes stored states, and with --encoder-release none"),
]


@pytest.mark.parametrize(("audio", "facts", "values", "sentence"), RELEASES)
def test_what_cannot_be_released_gets_a_sentence(
    released_config, states_and_waveforms, tmp_path, audio, facts, values, sentence
):
    records = changed_records(states_and_waveforms, tmp_path / "changed", **facts)
    if "does not hold them" in sentence:
        shutil.rmtree(records / "encoder")
    config = dataclasses.replace(released_config, records=str(records), **values)
    with pytest.raises(InputError, match=sentence):
        check(dataclasses.replace(config, audio=dataclasses.replace(config.audio, **audio)))


def test_a_released_encoder_masks_no_states_and_starts_from_a_run_of_the_same(released_config, released_run):
    masked = dataclasses.replace(released_config.training, state_mask=5)
    with pytest.raises(InputError, match="--state-mask changes stored states, and with --encoder-release none"):
        check(dataclasses.replace(released_config, training=masked))
    config = dataclasses.replace(released_config, init_audio=str(released_run.folder))
    check(config)
    facts = released_run.metadata().encoder | {"sha256": "0" * 64}
    other = dataclasses.replace(released_run.metadata(), encoder=facts)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Run, "metadata", lambda run: other)
        with pytest.raises(InputError, match="has another encoder than these records"):
            check(config)


def test_states_of_an_encoder_are_enrolled_and_marked(make_config, encoder_records):
    config = make_config("audio", records=str(encoder_records), normalise="enrolled")
    for features in (("encoder",), ("log_mel", "encoder")):
        checked = check(dataclasses.replace(config, audio=AudioConfig(features=features)))
        assert "enrolled speaker" in checked.metadata.marks


def test_records_without_speakers_enrol_none(tmp_path, make_config, three_speaker_records):
    counts = records.read_metadata(three_speaker_records).counts
    nameless = changed_records(three_speaker_records, tmp_path / "records", counts={"": next(iter(counts.values()))})
    with pytest.raises(InputError, match="name no speakers, and --normalise enrolled rests on a speaker's other clips"):
        check(make_config("audio", records=str(nameless), normalise="enrolled"))


def test_late_fusion_takes_runs_of_another_corpus_through_a_named_map(make_config, audio_run, goemotions_run):
    runs = (audio_run, goemotions_run)
    with pytest.raises(InputError, match=r"name a map between them \(--label-map goemotions-ravdess\)"):
        check(late(make_config, *runs))
    assert check(late(make_config, *runs, label_maps=("goemotions-ravdess",))).inputs.modalities == ("audio", "text")
    with pytest.raises(InputError, match="--label-map meld-seven is for none of"):
        check(late(make_config, *runs, label_maps=("goemotions-ravdess", "meld-seven")))


def test_a_run_of_one_emotion_an_utterance_does_not_join_those_of_several(
    make_config, goemotions_records, goemotions_run, text_run
):
    values = {"records": str(goemotions_records), "folds": "published"}
    with pytest.raises(InputError, match="names other emotions than these records, or one an utterance"):
        check(late(make_config, goemotions_run, text_run, **values))
    for rule in ("vote", "stacker"):
        with pytest.raises(InputError, match=f"--rule {rule} needs one emotion an utterance"):
            check(late(make_config, goemotions_run, goemotions_run, rule=rule, **values))


def test_late_fusion_reads_as_many_tokens_as_its_runs(make_config, text_run, audio_run, tmp_path):
    assert with_branches(late(make_config, text_run, audio_run)).training.max_tokens == 64
    longer = Run(tmp_path / "longer")
    shutil.copytree(text_run.folder, longer.folder)
    config = text_run.config()
    training = dataclasses.replace(config.training, max_tokens=9)
    longer.config_path.write_text(dataclasses.replace(config, training=training).to_json())
    assert with_branches(late(make_config, longer, audio_run)).training.max_tokens == 9
    with pytest.raises(InputError, match="--max-tokens differs"):
        with_branches(late(make_config, text_run, longer))


def test_late_fusion_reads_audio_on_one_scale(make_config, enrolled_run, audio_run, text_run):
    with pytest.raises(
        InputError, match=r"\(--normalise enrolled\), .* \(--normalise clip\) read audio features on se"
    ):
        check(late(make_config, enrolled_run, audio_run))
    checked = check(late(make_config, text_run, enrolled_run))
    assert checked.inputs.normalisation == enrolled_run.normalisation()
    assert "enrolled speaker" in checked.metadata.marks


def test_few_utterances_train_though_many_speakers_do_and_that_is_told():
    fold = Fold(("a", "b"), ("c",), ("d",))
    even = pd.DataFrame({"speaker": list("aabbccdd")})
    assert checks._balance_notes(fold, even) == []
    [note] = checks._balance_notes(fold, pd.DataFrame({"speaker": list("abcccdddzzzzzzzzz")}))
    assert note.startswith("of 8 utterances 2 train, 3 validate and 3 test: folds are of speakers")
    assert checks._balance_notes(Fold(("a",), ("c",), ("d",)), even) == []


def test_runs_with_context_and_records_without_do_not_go_together(make_config, context_run, context_records, text_run):
    published = {"folds": "published", "records": str(context_records)}
    with pytest.raises(InputError, match=r"hold lines of dialogues as context, and --folds random divides dialogues"):
        check(make_config("text", **published | {"folds": "random"}))
    with pytest.raises(InputError, match=r"has another number of lines of context \(prepare --context\) than these"):
        check(late(make_config, text_run, context_run, **published))
    with pytest.raises(InputError, match=r"has another number of lines of context \(prepare --context\) than these"):
        check(late(make_config, text_run, context_run))
    found = check(make_config("text", init_text=str(text_run.folder), **published)).metadata
    assert (found.context, [mark for mark in found.marks if mark.startswith("context")]) == (2, ["context 2"])
    without = check(make_config("text", init_text=str(context_run.folder))).metadata
    assert (without.context, [mark for mark in without.marks if mark.startswith("context")]) == (0, [])
    with pytest.raises(InputError, match="--max-tokens 2 cannot work for --text-model gru: give a number of 3 or more"):
        check(make_config("text", max_tokens=2, **published))
