"""Tests of pipelines.prepare: one command, the same bytes however often it was stopped, a sentence for bad input."""

import dataclasses
import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
import tensorflow as tf

from pipelines import audio, prepare, records, text
from pipelines.audio.speech_encoder import Encoder, EncoderSettings
from pipelines.command import InputError, run_command
from pipelines.corpora import goemotions, ravdess
from pipelines.files import UNFINISHED
from pipelines.records import decode_workers, preparation, shards, writer

ROOT = Path(prepare.__file__).parents[1]


def noise(seconds, seed=0):
    return 0.1 * np.random.default_rng(seed).standard_normal(round(seconds * 16000))


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """RAVDESS-like noise of five actors, eight clips each."""
    folder = tmp_path_factory.mktemp("clips")
    for actor in range(1, 6):
        for emotion in range(1, 9):
            path = folder / f"Actor_{actor:02}" / f"03-01-{emotion:02}-01-01-01-{actor:02}.wav"
            path.parent.mkdir(exist_ok=True)
            soundfile.write(path, noise(0.3 + 0.02 * emotion, 8 * actor + emotion), 16000)
    return folder


@pytest.fixture(scope="module")
def finished(clips, tmp_path_factory):
    folder = tmp_path_factory.mktemp("records") / "whole"
    run("--corpus", "ravdess", "--source", clips, "--records", folder)
    return folder


@pytest.fixture
def in_process(monkeypatch):
    """Decodes in this process: a worker costs a second, and few tests are about them."""

    class Executor:
        def __init__(self, *arguments):
            pass

        def __enter__(self):
            return self

        def __exit__(self, *error):
            pass

        def submit(self, function, *arguments):
            future = decode_workers.concurrent.futures.Future()
            future.set_result(function(*arguments))
            return future

        def shutdown(self, **settings):
            pass

    monkeypatch.setattr(decode_workers.concurrent.futures, "ProcessPoolExecutor", Executor)


def run(*arguments):
    """Runs the command in this process and raises what it would complain about."""
    prepare.main([*map(str, arguments), "--workers", "1"])


def status(*arguments):
    return run_command(prepare.main, [*map(str, arguments), "--workers", "1"])


def start(*arguments, **environment):
    """Starts the command as a terminal does: a process group of its own, Ctrl-C not ignored."""
    return subprocess.Popen(
        [sys.executable, "-m", "pipelines.prepare", *map(str, arguments)],
        cwd=ROOT,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def manifest_of(folder, rows, header="path,emotion,speaker"):
    (folder / "mine.csv").write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return folder / "mine.csv"


def tree(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def read_back(folder):
    """Reads every record: utterance_id -> fields as numpy."""
    metadata = records.read_metadata(folder)
    absent = ["waveform"] * (not metadata.has_waveform) + ["acoustic"] * (not metadata.acoustic)
    absent += ["encoder"] * (metadata.encoder is None)
    absent += ["video_frames", "face_boxes", "video_sha256"] * (metadata.video is None)
    fields = [name for name in records.SCHEMA if name not in absent]
    found = {}
    for name in metadata.shards:
        for serialised in tf.data.TFRecordDataset(str(folder / name)):
            parsed = records.parse(serialised, fields, metadata.columns)
            found[parsed["utterance_id"].numpy().decode()] = {name: value.numpy() for name, value in parsed.items()}
    return found


# What is written.


def test_records_hold_what_the_corpus_and_the_recordings_say(three_speakers, three_speaker_records):
    found = read_back(three_speaker_records)
    assert set(found) == {utterance.utterance_id for utterance in three_speakers.utterances}
    for utterance in three_speakers.utterances[::11]:
        record = found[utterance.utterance_id]
        waveform = audio.decode(utterance.audio)
        log_mel, num_frames = audio.log_mel(audio.to_float(waveform)[np.newaxis], audio.FrontEnd())
        np.testing.assert_allclose(record["log_mel"], log_mel[0, : num_frames[0]], atol=1e-5)
        np.testing.assert_array_equal(record["waveform"], waveform)
        assert record["audio_sha256"].decode() == audio.sha256(waveform)
        assert record["token_ids"].tolist() == text.token_ids([utterance.transcript]).to_list()[0]
        assert record["transcript"].decode() == utterance.transcript
        assert record["trial"].decode() == ravdess.trial_of(utterance.utterance_id)
        assert record["speaker"].decode() == utterance.speaker
        assert [three_speakers.emotions[label] for label in record["label"]] == [utterance.emotion]
        assert json.loads(record["attributes"]) == utterance.attributes


def test_metadata_counts_what_the_records_hold(three_speakers, three_speaker_records):
    metadata = records.read_metadata(three_speaker_records)
    samples = sum(len(audio.decode(utterance.audio)) for utterance in three_speakers.utterances)
    found = read_back(three_speaker_records)
    assert metadata.num_utterances == len(found) == 90
    assert metadata.hours == pytest.approx(samples / 16000 / 3600, abs=1e-4)
    assert metadata.longest_frames == max(len(record["log_mel"]) for record in found.values())
    assert metadata.emotion_counts(["01", "02", "03"]) == [6, 12, 12, 12, 12, 12, 12, 12]
    assert sorted(speaker for shard in metadata.shards.values() for speaker in shard["speakers"]) == ["01", "02", "03"]
    assert metadata.vocabulary_sha256 == text.vocabulary_sha256()
    assert metadata.transcript_source == "script"
    assert (metadata.is_multi_label, metadata.has_audio, metadata.num_multi_label) == (False, True, 0)
    assert metadata.settings == audio.FrontEnd()
    assert metadata.licence


def test_nothing_but_shards_and_metadata_remains(finished):
    metadata = records.read_metadata(finished)
    assert set(tree(finished)) == {*metadata.shards, "metadata.json"}


def test_settings_of_the_command_line_reach_the_front_end(clips, tmp_path, in_process):
    settings = "--frame-seconds 0.032 --hop-seconds 0.016 --mel-bins 40 --min-hz 100 --max-hz 7000 --trim-db off"
    run("--corpus", "ravdess", "--source", clips, "--records", tmp_path, *settings.split())
    front_end = records.read_metadata(tmp_path).settings
    assert front_end == audio.FrontEnd(0.032, 0.016, 512, 40, 100.0, 7000.0, trim_db=None)
    for record in read_back(tmp_path).values():
        assert record["log_mel"].shape[1] == 40


def test_acoustic_features_are_stored_on_request_beside_the_same_log_mel(clips, finished, tmp_path, in_process, capsys):
    run("--corpus", "ravdess", "--source", clips, "--records", tmp_path, "--acoustic")
    assert "features  64 columns log_mel, 103 columns acoustic" in capsys.readouterr().out
    metadata, found, plain = records.read_metadata(tmp_path), read_back(tmp_path), read_back(finished)
    assert metadata.acoustic == list(audio.ACOUSTIC)
    assert records.read_metadata(finished).acoustic == []
    for name, record in found.items():
        np.testing.assert_array_equal(record["log_mel"], plain[name]["log_mel"])
        assert record["acoustic"].shape == (len(record["log_mel"]), 103)
    name = "03-01-05-01-01-01-02"
    waveform = audio.to_float(audio.decode(clips / "Actor_02" / f"{name}.wav"))
    acoustic, _ = audio.acoustic(waveform[np.newaxis], audio.FrontEnd())
    np.testing.assert_allclose(
        found[name]["acoustic"], acoustic[0, : len(found[name]["acoustic"])], rtol=1e-4, atol=1e-4
    )


@pytest.fixture
def two_clips(tmp_path, monkeypatch, in_process):
    """The arguments that prepare two recordings, one of them silent, with a whisper checkpoint."""
    soundfile.write(tmp_path / "a.wav", noise(0.5), 16000)
    soundfile.write(tmp_path / "b.wav", np.zeros(8000), 16000)
    source = manifest_of(tmp_path, ["a.wav,happy,1", "b.wav,sad,2"])
    return ["--corpus", "manifest", "--source", source, "--records", tmp_path / "r", "--device", "cpu"]


def with_encoder(checkpoint, *flags):
    return ["--encoder", "whisper", "--encoder-model", checkpoint, *flags]


def test_states_of_an_encoder_are_stored_and_named(two_clips, encoder_checkpoint, tmp_path, capsys):
    run(*two_clips, *with_encoder(encoder_checkpoint, "--encoder-layer", 1))
    printed = capsys.readouterr().out
    assert "features  64 columns log_mel, 8 columns encoder" in printed
    assert "encoder   whisper random.pt, layer 1" in printed
    metadata, found = records.read_metadata(tmp_path / "r"), read_back(tmp_path / "r")
    settings = EncoderSettings(str(encoder_checkpoint), 1, "cpu")
    assert metadata.encoder == Encoder(settings).facts
    [expected] = Encoder(settings)([audio.decode(tmp_path / "a.wav")])
    by_speaker = {record["speaker"].decode(): record["encoder"] for record in found.values()}
    np.testing.assert_array_equal(by_speaker["1"], expected)
    assert by_speaker["2"].shape == (0, 8)


def test_the_same_encoder_is_recognised_without_loading_it(
    two_clips, encoder_checkpoint, tmp_path, monkeypatch, capsys
):
    run(*two_clips, *with_encoder(encoder_checkpoint))
    monkeypatch.setattr(preparation, "Encoder", None)
    run(*two_clips, *with_encoder(encoder_checkpoint))
    assert "holds these records already" in capsys.readouterr().err
    for flags in ([], with_encoder(encoder_checkpoint, "--encoder-layer", 1)):
        with pytest.raises(InputError, match="holds other records"):
            run(*(two_clips if flags else two_clips[:-2]), *flags)


def test_what_is_wrong_with_an_encoder_gets_a_sentence_and_costs_no_records(two_clips, encoder_checkpoint, tmp_path):
    run(*two_clips[:-2])
    before = tree(tmp_path / "r")
    (tmp_path / "bad.pt").write_text("no checkpoint")
    for flags, sentence in {
        ("--encoder-model", tmp_path / "bad.pt"): r"bad\.pt is no whisper checkpoint",
        ("--encoder-model", "basic"): "--encoder-model basic is neither a checkpoint file nor one of",
        ("--encoder-model", encoder_checkpoint, "--encoder-layer", "0"): "--encoder-layer 0 cannot work",
        ("--encoder-model", encoder_checkpoint, "--encoder-layer", "3"): "has layers 1 to 2",
    }.items():
        with pytest.raises(InputError, match=sentence):
            run(*two_clips, "--encoder", "whisper", *flags, "--overwrite")
    assert tree(tmp_path / "r") == before


def test_an_encoder_without_whisper_gets_the_command(two_clips, monkeypatch):
    monkeypatch.setitem(sys.modules, "whisper", None)
    with pytest.raises(InputError, match="whisper is not installed: "):
        run(*two_clips, "--encoder", "whisper")


@pytest.mark.parametrize("flag", ["--encoder-model", "--encoder-layer"])
def test_flags_of_an_encoder_need_one(two_clips, flag):
    with pytest.raises(InputError, match=f"{flag} belongs to --encoder whisper: add that, or leave this out"):
        run(*two_clips[:-2], flag, "1")


def test_the_device_belongs_to_whisper_in_either_place(two_clips):
    with pytest.raises(InputError, match="--device belongs to --transcripts whisper, not script"):
        run(*two_clips)


def test_a_label_map_relabels_drops_and_counts(clips, tmp_path, in_process):
    run("--corpus", "ravdess", "--source", clips, "--records", tmp_path, "--label-map", "ravdess-seven")
    metadata = records.read_metadata(tmp_path)
    assert metadata.num_utterances == 35
    assert metadata.label_map == "ravdess-seven"
    assert metadata.emotions[2] == "fear"
    assert metadata.ignored == {"calm (dropped by ravdess-seven)": 5}


def test_a_manifest_maps_the_labels_of_another_corpus(tmp_path, in_process):
    soundfile.write(tmp_path / "1001_ANG.wav", np.stack([noise(0.5)] * 2, axis=1), 24400)
    soundfile.write(tmp_path / "b.aiff", noise(0.5), 24400)
    (tmp_path / "b.aiff").rename(tmp_path / "Änne 2.wav")
    source = manifest_of(tmp_path, ["1001_ANG.wav,ANG,1001", f"{tmp_path}/Änne 2.wav,FEA,Änne"])
    run("--corpus", "manifest", "--source", source, "--label-map", "crema-d-ravdess", "--records", tmp_path / "r")
    labels = {name: record["label"].tolist() for name, record in read_back(tmp_path / "r").items()}
    assert labels == {"1001_ANG": [4], f"{tmp_path}/Änne 2": [5]}


def test_a_manifest_of_one_speaker_with_declared_labels_and_words(tmp_path, in_process, capsys):
    soundfile.write(tmp_path / "a.wav", noise(0.5), 16000)
    source = manifest_of(tmp_path, ['a.wav,keen,me,"Well, yes",train'], "path,emotion,speaker,transcript,split")
    run("--corpus", "manifest", "--source", source, "--emotions", "bored, keen", "--records", tmp_path / "r")
    (record,) = read_back(tmp_path / "r").values()
    assert (record["label"], record["transcript"], record["published_split"]) == ([1], b"Well, yes", b"train")
    assert len(records.read_metadata(tmp_path / "r").shards) == 1
    printed = capsys.readouterr().out
    assert "bored 0, keen 1" in printed
    assert "1: me" in printed


def test_silent_and_tiny_clips_are_kept_and_silence_is_counted(tmp_path, in_process, capsys):
    soundfile.write(tmp_path / "zero.wav", np.zeros(16000), 16000)
    soundfile.write(tmp_path / "hiss.wav", 1e-3 * noise(1), 16000)
    soundfile.write(tmp_path / "tiny.wav", noise(0.01), 16000)
    source = manifest_of(tmp_path, ["zero.wav,happy,a", "hiss.wav,happy,a", "tiny.wav,happy,b"])
    run("--corpus", "manifest", "--source", source, "--records", tmp_path / "r")
    found = read_back(tmp_path / "r")
    assert {name: len(record["log_mel"]) > 0 for name, record in found.items()} == {"zero": 0, "hiss": 1, "tiny": 1}
    assert len(found["tiny"]["log_mel"]) == 1
    assert found["zero"]["audio_sha256"] == b"" != found["hiss"]["audio_sha256"]
    assert records.read_metadata(tmp_path / "r").silent == ["hiss", "zero"]
    assert "2, hiss, zero" in capsys.readouterr().out


def test_long_recordings_among_short_ones_are_transformed_as_they_are_alone():
    front_end = audio.FrontEnd(trim_db=None)
    lengths = (16000, 100, 3 * writer._MAX_SAMPLES // 2, 0, 16000)
    waveforms = [np.random.default_rng(length).integers(-999, 999, length).astype(np.int16) for length in lengths]
    sizes = []

    def transform(batch):
        sizes.append(batch.size)
        return audio.compiled_features(front_end)(batch)

    frames = [features["log_mel"] for features in writer._transformed(waveforms, transform)]
    assert [len(one) for one in frames] == [98, 1, 1 + (lengths[2] - 400) // 160, 0, 98]
    assert sorted(sizes)[-1] == lengths[2]
    np.testing.assert_array_equal(frames[0], frames[4])


# The same command again.


def test_the_same_command_again_says_what_is_there_and_writes_nothing(clips, finished, capsys):
    before = {path: path.stat().st_mtime_ns for path in finished.iterdir()}
    capsys.readouterr()
    assert status("--corpus", "ravdess", "--source", clips, "--records", finished) == 0
    assert "clips     40" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in finished.iterdir()} == before


@pytest.mark.parametrize(
    "change", [["--mel-bins", "32"], ["--store-waveform"], ["--acoustic"], ["--label-map", "ravdess-seven"]]
)
def test_other_records_in_the_folder_are_not_replaced_unasked(clips, finished, change):
    before = tree(finished)
    with pytest.raises(
        InputError, match=r"holds other records \(RAVDESS speech, 40 utterances.*--overwrite to replace them"
    ):
        run("--corpus", "ravdess", "--source", clips, "--records", finished, *change)
    assert tree(finished) == before


def test_overwrite_replaces_other_records_without_a_trace(clips, finished, tmp_path, in_process):
    folder = tmp_path / "r"
    run("--corpus", "ravdess", "--source", clips, "--records", folder, "--mel-bins", "32", "--store-waveform")
    run("--corpus", "ravdess", "--source", clips, "--records", folder, "--overwrite")
    assert tree(folder) == tree(finished)


def test_files_of_others_in_the_folder_are_left_alone(clips, tmp_path, in_process):
    for name in ("train.tfrecord", "notes.json"):
        (tmp_path / name).write_text("not ours")
    left_over = {"00007-of-00009.tfrecord", f"{UNFINISHED}00007-of-00009.tfrecord"}
    for name in left_over:
        (tmp_path / name).write_text("left over by another plan")
    run("--corpus", "ravdess", "--source", clips, "--records", tmp_path)
    assert {"train.tfrecord", "notes.json"} <= set(tree(tmp_path))
    assert not left_over & set(tree(tmp_path))


def test_a_changed_recording_makes_other_records(clips, finished, tmp_path, in_process):
    shutil.copytree(clips, tmp_path / "clips")
    run("--corpus", "ravdess", "--source", tmp_path / "clips", "--records", tmp_path / "r")
    changed = next((tmp_path / "clips").rglob("*.wav"))
    soundfile.write(changed, noise(0.7), 16000)
    with pytest.raises(InputError, match="other settings, words or recordings"):
        run("--corpus", "ravdess", "--source", tmp_path / "clips", "--records", tmp_path / "r")


@pytest.mark.parametrize("content", ["{", '{"schema_version": 99}'])
def test_records_that_cannot_be_understood_are_left_alone_unless_overwritten(
    clips, finished, tmp_path, in_process, content
):
    shutil.copytree(finished, tmp_path / "r")
    (tmp_path / "r" / "metadata.json").write_text(content)
    with pytest.raises(InputError, match=r"is corrupt|has schema version 99"):
        run("--corpus", "ravdess", "--source", clips, "--records", tmp_path / "r")
    run("--corpus", "ravdess", "--source", clips, "--records", tmp_path / "r", "--overwrite")
    assert tree(tmp_path / "r") == tree(finished)


# Sentences without recordings.


def goemotions_of(folder, *rows):
    """Writes rows (comment, label ids, id) as the training split, and one row each as the others."""
    folder.mkdir()
    for name, split in {
        "train.tsv": rows,
        "dev.tsv": [("Hm", "1", "y")],
        "test.tsv": [("Have Fun", "17", "z")],
    }.items():
        (folder / name).write_text("".join("\t".join(row) + "\n" for row in split), encoding="utf-8")
    return folder


def test_records_of_sentences_hold_words_and_all_labels_and_no_sound(goemotions_like, goemotions_records):
    corpus, found = goemotions.read(goemotions_like), read_back(goemotions_records)
    ids = text.token_ids([utterance.transcript for utterance in corpus.utterances]).to_list()
    assert len(found) == len(corpus.utterances) == 240
    for utterance, token_ids in zip(corpus.utterances, ids, strict=True):
        record = found[utterance.utterance_id]
        assert tuple(corpus.emotions[label] for label in record["label"]) == utterance.emotions
        assert record["transcript"].decode() == utterance.transcript
        assert record["token_ids"].tolist() == token_ids
        assert record["published_split"].decode() == utterance.published_split
        assert (record["log_mel"].shape, record["audio_sha256"], record["speaker"]) == ((0, 64), b"", b"")


def test_metadata_of_sentences_counts_labels_and_utterances_apart(goemotions_records):
    metadata = records.read_metadata(goemotions_records)
    assert (metadata.is_multi_label, metadata.has_audio, metadata.has_waveform) == (True, False, False)
    assert (metadata.num_utterances, metadata.num_multi_label, metadata.num_without_words) == (240, 44, 0)
    assert sum(metadata.emotion_counts([""])) == 240 + 44
    assert sum(shard["num_utterances"] for shard in metadata.shards.values()) == 240
    assert (metadata.hours, metadata.longest_frames, metadata.silent, metadata.skipped) == (0, 0, [], [])


def test_sentences_are_prepared_without_processes_or_a_front_end(goemotions_like, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(writer, "decoding", lambda *arguments: pytest.fail("started processes"))
    monkeypatch.setattr(audio, "mel_matrix", lambda *arguments: pytest.fail("made a front end"))
    command = ("--corpus", "goemotions", "--source", goemotions_like, "--records", tmp_path / "r")
    run(*command, "--label-map", "goemotions-ekman")
    printed = capsys.readouterr().out.splitlines()
    assert printed[1].startswith("sentences 240, ")
    assert printed[1].endswith(" with two or more labels")
    assert "speakers  -" in printed
    assert "words     script; 0 without words" in printed
    assert not [line for line in printed if line.startswith(("clips", "hours", "silent", "skipped"))]
    assert records.read_metadata(tmp_path / "r").emotions[0] == "anger"


def test_front_end_flags_make_no_other_records_of_sentences(goemotions_like, tmp_path, capsys):
    command = ("--corpus", "goemotions", "--source", goemotions_like, "--records", tmp_path / "r")
    run(*command)
    before = tree(tmp_path / "r")
    run(*command, "--mel-bins", "40")
    assert "holds these records already" in capsys.readouterr().err
    assert tree(tmp_path / "r") == before
    with pytest.raises(InputError, match="GoEmotions has no recordings, so no waveforms: leave --store-waveform out"):
        run(*command, "--store-waveform")
    with pytest.raises(InputError, match="has no recordings, so no states of an encoder: leave --encoder out"):
        run(*command, "--encoder", "whisper")
    with pytest.raises(InputError, match="has no recordings, so no acoustic features: leave --acoustic out"):
        run(*command, "--acoustic")


def test_meld_is_prepared_with_its_dialogues(tmp_path):
    header = "Utterance,Speaker,Emotion,Sentiment,Dialogue_ID,Utterance_ID,Season,Episode\n"
    for split in ("train", "dev", "test"):
        (tmp_path / f"{split}_sent_emo.csv").write_text(header + "Hi!,Joey,joy,positive,0,1,8,21\n")
    run("--corpus", "meld", "--source", tmp_path, "--records", tmp_path / "r", "--label-map", "meld-seven")
    found = read_back(tmp_path / "r")
    dialogues = {json.loads(record["attributes"])["dialogue"] for record in found.values()}
    assert dialogues == {"train-0000", "validation-0000", "test-0000"}
    assert {record["label"].tolist()[0] for record in found.values()} == {3}
    assert not records.read_metadata(tmp_path / "r").is_multi_label


LONG = " ".join(f"Wörterbucheintrag{number}" for number in range(10_000))


def test_blank_long_and_foreign_transcripts_of_recordings_are_kept_whole(tmp_path, in_process, capsys):
    words = {
        "blank": "",
        "space": "\u3000 ",
        "emoji": "😂😭👍🏽",
        "japanese": "嬉しいです",
        "arabic": "أنا سعيد",
        "long": LONG,
    }
    for name in words:
        soundfile.write(tmp_path / f"{name}.wav", noise(0.1), 16000)
    rows = [f"{name}.wav,happy,{name},{said}" for name, said in words.items()]
    source = manifest_of(tmp_path, rows, "path,emotion,speaker,transcript")
    run("--corpus", "manifest", "--source", source, "--records", tmp_path / "r")
    found = read_back(tmp_path / "r")
    assert {name: record["transcript"].decode() for name, record in found.items()} == words | {"space": ""}
    lengths = {name: len(record["token_ids"]) for name, record in found.items()}
    assert (lengths["blank"], lengths["space"]) == (1, 1)
    assert lengths["long"] > 10_000
    assert min(lengths[name] for name in ("emoji", "japanese", "arabic")) > 1
    assert "words     script; 2 without words" in capsys.readouterr().out


def test_sentences_that_other_records_test_are_left_out_and_counted(tmp_path):
    tested = goemotions_of(tmp_path / "tested", ("Oh no", "2", "a"))
    run("--corpus", "goemotions", "--source", tested, "--records", tmp_path / "r")
    rows = [("have  fun", "0", "b"), ("HAVE FUN", "1", "c"), ("Have fun!", "2", "d"), ("oh no", "3", "e")]
    command = ("--corpus", "goemotions", "--source", goemotions_of(tmp_path / "more", *rows), "--records")
    run(*command, tmp_path / "less", "--exclude-sentences", tmp_path / "r")
    assert set(read_back(tmp_path / "less")) == {"d", "e", "y"}
    assert records.read_metadata(tmp_path / "less").ignored == {f"sentences that {tmp_path / 'r'} tests": 3}
    with pytest.raises(InputError, match="other settings, words or recordings"):
        run(*command, tmp_path / "less")


def test_blank_sentences_are_never_excluded_and_all_are_where_no_split_is_published(tmp_path, in_process):
    soundfile.write(tmp_path / "a.wav", noise(0.1), 16000)
    rows = ["a.wav,happy,a,oh no"]
    source = manifest_of(tmp_path, rows, "path,emotion,speaker,transcript")
    run("--corpus", "manifest", "--source", source, "--records", tmp_path / "r")
    corpus = goemotions.read(goemotions_of(tmp_path / "more", ("Oh no", "2", "a"), ("…", "2", "b")))
    blank = dataclasses.replace(corpus.utterances[1], transcript=" ")
    corpus = dataclasses.replace(corpus, utterances=(corpus.utterances[0], blank))
    kept = prepare._without_sentences(corpus, tmp_path / "r")
    assert [one.utterance_id for one in kept.utterances] == ["b"]


def test_excluding_every_sentence_or_reading_incomplete_records_is_refused(tmp_path):
    source = goemotions_of(tmp_path / "tested", ("Have fun", "2", "a"))
    command = ("--corpus", "goemotions", "--source", source, "--records", tmp_path / "r")
    with pytest.raises(InputError, match="holds no complete records"):
        run(*command, "--exclude-sentences", tmp_path)
    nothing = dataclasses.replace(goemotions.read(source), utterances=(), ignored={"song": 3})
    with pytest.raises(InputError, match=r"tested: no utterance is left to write \(3 song\)"):
        writer.prepare(writer.Preparation(nothing, tmp_path / "r", audio.FrontEnd()))


def test_other_words_make_other_records(clips, finished):
    plan = preparation.Preparation(ravdess.read(clips), finished, audio.FrontEnd())
    others = [{"transcript_source": "whisper base"}, {"origin": {"words": {"seed": 1}}}]
    fingerprints = {dataclasses.replace(plan, **other).fingerprint for other in [{}, *others]}
    assert len(fingerprints) == 3


def test_the_chosen_source_of_words_reaches_records_and_table(clips, tmp_path, in_process, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    run("--corpus", "ravdess", "--source", clips, "--records", tmp_path / "r", "--transcripts", "simulated")
    metadata = records.read_metadata(tmp_path / "r")
    assert metadata.transcript_source == "simulated"
    assert records.marks_of(metadata) == ["label-leaking"]
    assert {record["transcript"].decode() for record in read_back(tmp_path / "r").values()}.isdisjoint(
        ravdess.STATEMENTS.values()
    )
    assert "words     simulated; 0 without words" in capsys.readouterr().out


# Stopped in the middle.


def wait_for(process, folder, pattern):
    while not list(folder.glob(pattern)):
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.01)


def children_of(process):
    """Process ids of the group that a process leads, but its own."""
    found = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]
    return [pid for pid in found if pid != process.pid and is_running(pid) and os.getpgid(pid) == process.pid]


def is_running(pid):
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def assert_all_end(pids):
    assert len(pids) >= 2
    deadline = time.monotonic() + 10
    while any(map(is_running, pids)):
        assert time.monotonic() < deadline, "a worker outlived the command"
        time.sleep(0.05)


@pytest.fixture
def many_clips(tmp_path):
    """Enough work to be stopped in: 60 long recordings of 4 speakers."""
    soundfile.write(tmp_path / "long.flac", noise(30), 16000)
    for clip in range(60):
        os.link(tmp_path / "long.flac", tmp_path / f"{clip:02}.flac")
    return manifest_of(tmp_path, [f"{clip:02}.flac,happy,s{clip % 4}" for clip in range(60)])


def test_a_killed_run_leaves_no_process_and_continues_to_the_same_bytes(many_clips, tmp_path):
    command = ("--corpus", "manifest", "--source", many_clips, "--records")
    process = start(*command, tmp_path / "killed", "--workers", "2", PYTHONHASHSEED="1")
    wait_for(process, tmp_path / "killed", "00000-*.json")
    children = children_of(process)
    process.kill()
    process.communicate()
    done = tmp_path / "killed" / "00000-of-00004.tfrecord"
    written = done.stat().st_mtime_ns
    assert not (tmp_path / "killed" / "metadata.json").exists()
    assert_all_end(children)

    again = start(*command, tmp_path / "killed", "--workers", "1", PYTHONHASHSEED="2")
    output, errors = again.communicate()
    assert again.returncode == 0, errors
    assert done.stat().st_mtime_ns == written
    prepare.main([*map(str, command), str(tmp_path / "whole"), "--workers", "1"])
    assert tree(tmp_path / "killed") == tree(tmp_path / "whole")
    assert output.splitlines()[:3] == ["corpus    mine", "clips     60", "hours     0.50"]


def test_ctrl_c_ends_in_one_sentence_and_no_metadata(many_clips, tmp_path):
    process = start("--corpus", "manifest", "--source", many_clips, "--records", tmp_path / "r")
    wait_for(process, tmp_path / "r", f"{UNFINISHED}*")
    children = children_of(process)
    os.killpg(process.pid, signal.SIGINT)
    output, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert output == ""
    assert errors.splitlines()[-1].endswith("error: interrupted; the same command again continues where it stopped.")
    assert "Traceback" not in errors
    assert not list((tmp_path / "r").glob(f"{UNFINISHED}*"))
    assert not (tmp_path / "r" / "metadata.json").exists()
    assert_all_end(children)


def test_a_killed_worker_ends_in_a_sentence(many_clips, tmp_path, monkeypatch):
    monkeypatch.setattr(decode_workers, "_decode_all", _die)
    with pytest.raises(InputError, match="a decoding process was killed, perhaps for lack of memory"):
        run("--corpus", "manifest", "--source", many_clips, "--records", tmp_path / "r")
    assert list((tmp_path / "r").iterdir()) == []


def _die(*arguments):
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_full_disk_ends_in_a_sentence_and_no_metadata(clips, tmp_path, in_process, monkeypatch, capsys):
    """The same message came from a real full disk, a tmpfs, which only root can mount."""

    def full_disk(*arguments):
        raise tf.errors.ResourceExhaustedError(None, None, ".unfinished-a.tfrecord; No space left on device")

    monkeypatch.setattr(shards, "serialise", full_disk)
    assert status("--corpus", "ravdess", "--source", clips, "--records", tmp_path / "r") == 1
    assert "error: the disk is full" in capsys.readouterr().err
    assert list((tmp_path / "r").iterdir()) == []
    monkeypatch.undo()


def test_a_disk_that_fills_with_the_metadata_leaves_none(clips, finished, tmp_path, in_process, monkeypatch, capsys):
    def full_disk(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(writer, "write_metadata", full_disk)
        assert status("--corpus", "ravdess", "--source", clips, "--records", tmp_path / "r") == 1
    assert "error: the disk is full" in capsys.readouterr().err
    assert not (tmp_path / "r" / "metadata.json").exists()
    run("--corpus", "ravdess", "--source", clips, "--records", tmp_path / "r")
    assert tree(tmp_path / "r") == tree(finished)


# Videos.


def test_frames_of_videos_are_stored_counted_and_named_in_the_table(
    seen_speakers, three_speaker_records, video_records
):
    metadata, found = records.read_metadata(video_records), read_back(video_records)
    assert metadata.video == {"num_frames": 4, "size": 32, "is_colour": False}
    without = sum((one["face_boxes"][:, 4] == 0).sum() for one in found.values())
    assert metadata.num_videos == len(seen_speakers.utterances) == 90
    assert metadata.num_frames_without_face == without < 36
    assert metadata.num_videos_without_audio == 0
    assert {len(one["video_frames"]) for one in found.values()} == {4}
    assert len({one["video_sha256"] for one in found.values()}) == 90
    table = prepare.describe(metadata, video_records)
    assert f"4 frames of 32x32, grey, of 90 clips; 0 of them without audio; {without} frames" in " ".join(table.split())
    for name, one in read_back(three_speaker_records).items():  # All else is as it is without videos.
        for field, value in one.items():
            np.testing.assert_array_equal(found[name][field], value)


def place_videos(folder, names, pictures=6):
    cv2 = pytest.importorskip("cv2")
    rng = np.random.default_rng(0)
    for name in names:
        writer = cv2.VideoWriter(str(folder / name), cv2.VideoWriter_fourcc(*"mp4v"), 10, (64, 48))
        for _ in range(pictures):
            writer.write(rng.integers(0, 256, (48, 64, 3), np.uint8))
        writer.release()


def test_clips_with_sound_alone_pictures_alone_and_both_live_in_one_corpus(tmp_path, in_process, capsys):
    for name in ("03-01-01-01-01-01-01", "03-01-01-01-02-01-01"):
        soundfile.write(tmp_path / f"{name}.wav", noise(0.6), 16000)
    place_videos(tmp_path, ["02-01-01-01-02-01-01.mp4", "02-01-01-01-01-02-01.mp4"])
    shared = ("--corpus", "ravdess", "--source", tmp_path)
    run(*shared, "--records", tmp_path / "with-video", "--video-frames", "3", "--video-size", "32", "--colour")
    found = read_back(tmp_path / "with-video")
    held = {name: (len(one["log_mel"]) > 0, len(one["video_frames"])) for name, one in found.items()}
    assert held == {
        "03-01-01-01-01-01-01": (True, 0),
        "03-01-01-01-02-01-01": (True, 3),
        "02-01-01-01-01-02-01": (False, 3),
    }
    assert found["02-01-01-01-01-02-01"]["audio_sha256"] == b""
    metadata = records.read_metadata(tmp_path / "with-video")
    assert (metadata.num_videos, metadata.num_videos_without_audio, metadata.num_frames_without_face) == (2, 1, 6)
    assert metadata.without_face == ["02-01-01-01-01-02-01", "03-01-01-01-02-01-01"]
    table = " ".join(capsys.readouterr().out.split())
    assert "3 frames of 32x32, colour, of 2 clips; 1 of them without audio; 6 frames without a face; 2 clips" in table
    run(*shared, "--records", tmp_path / "audio")
    metadata = records.read_metadata(tmp_path / "audio")
    assert (metadata.num_utterances, metadata.video, metadata.num_videos) == (2, None, 0)
    assert metadata.ignored == {"video without audio (--video-frames reads it)": 1}


def test_videos_alone_are_a_corpus_without_sound(tmp_path, in_process, capsys):
    place_videos(tmp_path, [f"02-01-01-01-01-01-{actor:02}.mp4" for actor in range(1, 4)])
    run("--corpus", "ravdess", "--source", tmp_path, "--records", tmp_path / "r", "--video-frames", "2")
    metadata = records.read_metadata(tmp_path / "r")
    assert not metadata.has_audio
    assert metadata.num_videos == 3
    assert "clips     3" in capsys.readouterr().out
    with pytest.raises(InputError, match=r"no utterance is left to write \(3 video without audio"):
        run("--corpus", "ravdess", "--source", tmp_path, "--records", tmp_path / "none")


def test_a_manifest_may_name_videos_and_damaged_ones_are_all_named(tmp_path, in_process, capsys):
    place_videos(tmp_path, ["a.mp4", "cut.mp4"], 40)
    (tmp_path / "cut.mp4").write_bytes((tmp_path / "cut.mp4").read_bytes()[:3000])
    (tmp_path / "text.mp4").write_text("no video")
    source = manifest_of(tmp_path, [f"{name}.mp4,happy,{name}" for name in ("a", "cut", "text")])
    command = ("--corpus", "manifest", "--source", source, "--records", tmp_path / "r", "--video-frames", "2")
    assert status(*command) == 1
    errors = capsys.readouterr().err
    assert "error: 2 recordings cannot be read" in errors
    for name in ("cut.mp4", "text.mp4"):
        assert f"{name} cannot be read as a video" in errors
    assert status(*command, "--skip-bad") == 0
    assert len(read_back(tmp_path / "r")["a"]["video_frames"]) == 2


def test_a_changed_video_makes_other_records_only_where_videos_are_read(tmp_path, in_process):
    soundfile.write(tmp_path / "03-01-01-01-01-01-01.wav", noise(0.6), 16000)
    place_videos(tmp_path, ["02-01-01-01-01-01-01.mp4"])
    shared = ("--corpus", "ravdess", "--source", tmp_path, "--records")
    run(*shared, tmp_path / "with-video", "--video-frames", "2")
    run(*shared, tmp_path / "audio")
    place_videos(tmp_path, ["02-01-01-01-01-01-01.mp4"], 7)
    run(*shared, tmp_path / "audio")
    for flags in (("--video-frames", "2"), ("--video-frames", "3"), ()):
        with pytest.raises(InputError, match="holds other records"):
            run(*shared, tmp_path / "with-video", *flags)


def test_without_opencv_a_sentence_says_how_to_install_it(tmp_path, monkeypatch):
    place_videos(tmp_path, ["02-01-01-01-01-01-01.mp4"])
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(InputError, match=r"video needs OpenCV and PyAV: install them with pip install .*\.\[video\]"):
        run("--corpus", "ravdess", "--source", tmp_path, "--records", tmp_path / "r", "--video-frames", "2")


@pytest.mark.real_data
def test_the_real_video_becomes_a_record_with_a_face_in_every_frame(real_data, tmp_path, in_process):
    run("--corpus", "ravdess", "--source", real_data / "ravdess_video", "--records", tmp_path, "--video-frames", "16")
    metadata, [record] = records.read_metadata(tmp_path), read_back(tmp_path).values()
    assert record["utterance_id"] == b"01-01-07-02-02-01-01"
    assert metadata.num_frames_without_face == 0
    assert len(record["log_mel"]) > 200
    assert len(record["video_frames"]) == 16


# Bad input.


def test_unreadable_recordings_are_all_named_in_one_pass_and_left_out_on_request(tmp_path, in_process, capsys):
    soundfile.write(tmp_path / "good.wav", noise(0.5), 16000)
    good = (tmp_path / "good.wav").read_bytes()
    (tmp_path / "cut.wav").write_bytes(good[:5000])
    (tmp_path / "text.wav").write_text("Kids are talking by the door")
    soundfile.write(tmp_path / "nan.wav", np.full(9, np.nan), 16000, subtype="FLOAT")
    rows = [f"{name}.wav,happy,{name}" for name in ("good", "cut", "text", "nan", "absent")]
    command = ("--corpus", "manifest", "--source", manifest_of(tmp_path, rows), "--records", tmp_path / "r")
    for _ in range(2):
        assert status(*command) == 1
        errors = capsys.readouterr().err
        assert "error: 4 recordings cannot be read" in errors
        for reason in ("cut.wav is cut off", "text.wav cannot be", "nan.wav holds NaN", "absent.wav does not exist"):
            assert errors.count(reason) == 1
        assert not (tmp_path / "r" / "metadata.json").exists()

    assert status(*command, "--skip-bad") == 0
    metadata = records.read_metadata(tmp_path / "r")
    assert metadata.num_utterances == 1
    assert metadata.speakers == ("good",)
    assert {bad["utterance_id"] for bad in metadata.skipped} == {"cut", "text", "nan", "absent"}
    assert set(read_back(tmp_path / "r")) == {"good"}
    assert "4 unreadable" in capsys.readouterr().out
    assert status(*command) == 1


def test_a_mended_recording_is_read_by_the_next_run(tmp_path, in_process):
    (tmp_path / "a.wav").write_bytes(b"")
    command = (
        "--corpus",
        "manifest",
        "--source",
        manifest_of(tmp_path, ["a.wav,happy,a"]),
        "--records",
        tmp_path / "r",
    )
    with pytest.raises(InputError, match=r"1 recordings cannot be read(.|\n)*a\.wav is an empty file"):
        run(*command)
    soundfile.write(tmp_path / "a.wav", noise(0.5), 16000)
    run(*command)
    assert set(read_back(tmp_path / "r")) == {"a"}


def test_recordings_none_of_which_can_be_read_make_no_records(tmp_path, in_process):
    source = manifest_of(tmp_path, ["absent.wav,happy,a"])
    with pytest.raises(InputError, match="not one recording could be read"):
        run("--corpus", "manifest", "--source", source, "--records", tmp_path / "r", "--skip-bad")
    assert not (tmp_path / "r" / "metadata.json").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--corpus", "ravdess", "--source", "empty"], "holds no RAVDESS speech"),
        (["--corpus", "ravdess", "--source", "absent"], "is not a folder"),
        (["--corpus", "manifest"], r"needs --source FILE\.csv"),
        (["--corpus", "manifest", "--source", "absent.csv"], "is not a file"),
        (["--corpus", "manifest", "--source", "mine.csv", "--emotions", "sad,angry"], "line 2: the emotion 'happy'"),
        (["--corpus", "manifest", "--source", "mine.csv", "--emotions", "sad"], "must name two or more"),
        (["--corpus", "manifest", "--source", "mine.csv", "--emotions", "sad,sad"], "must name two or more"),
        (["--corpus", "manifest", "--source", "mine.csv", "--label-map", "crema-d-ravdess"], "line 2: the emotion"),
        (["--corpus", "manifest", "--source", "mine.csv", "--emotions", "sad|glad,happy"], "must not hold |"),
        (["--corpus", "ravdess", "--emotions", "sad,happy"], "ravdess has its own"),
        (["--corpus", "manifest", "--source", "mine.csv", "--video-frames", "4"], "mine in mine.csv holds no video"),
        (["--corpus", "manifest", "--source", "mine.csv", "--video-frames", "0"], "--video-frames 0 cannot work"),
        (["--corpus", "manifest", "--source", "mine.csv", "--colour"], "belong to --video-frames: add that"),
        (["--corpus", "manifest", "--source", "mine.csv", "--video-size", "64"], "belong to --video-frames: add that"),
        (["--corpus", "ravdess", "--with-video"], "ravdess has its own or none"),
        (["--corpus", "goemotions", "--source", "empty"], r"cannot read empty.train\.tsv"),
        (["--corpus", "meld"], "data.meld is not a folder"),
        (["--corpus", "manifest", "--source", "mine.csv", "--exclude-sentences", "empty"], "mine has recordings"),
        (["--corpus", "synthetic", "--source", "wrong"], "holds something other than a synthetic corpus"),
        (["--corpus", "manifest", "--source", "mine.csv", "--mel-bins", "200"], "mel bands would be empty"),
        (
            ["--corpus", "manifest", "--source", "mine.csv", "--acoustic", "--mel-bins", "32"],
            "32 are too few for the 40",
        ),
        (["--corpus", "manifest", "--source", "mine.csv", "--hop-seconds", "0"], "--hop-seconds 0.0 must be"),
        (["--corpus", "manifest", "--source", "mine.csv", "--fft-length", "100"], "is shorter than the window"),
        (["--corpus", "manifest", "--source", "mine.csv", "--max-hz", "9000"], "above the Nyquist"),
        (["--corpus", "manifest", "--source", "mine.csv", "--trim-db", "-1"], "is no threshold"),
        (["--corpus", "manifest", "--source", "mine.csv", "--records", "wrong/file"], "cannot be made"),
        (["--corpus", "manifest", "--source", "mine.csv", "--records", "wrong/file/below"], "cannot be made"),
    ],
)
def test_bad_input_ends_in_one_sentence_and_no_records(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "wrong").mkdir()
    (tmp_path / "wrong" / "file").touch()
    manifest_of(tmp_path, ["a.wav,happy,a"])
    before = sorted(tmp_path.rglob("*"))
    assert status(*arguments) == 1
    output, errors = capsys.readouterr()
    assert output == ""
    assert errors.startswith("error: ")
    assert errors.count("\n") == 1
    with pytest.raises(InputError, match=message):
        run(*arguments)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    "arguments",
    [
        ["--corpus", "iemocap"],
        ["--corpus", "ravdess", "--workers", "0"],
        ["--corpus", "ravdess", "--workers", "two"],
        ["--corpus", "ravdess", "--trim-db", "loud"],
        ["--corpus", "ravdess", "--mel-bins", "6.4"],
        ["--corpus", "ravdess", "--transcripts", "guess"],
        ["--corpus", "ravdess", "--label-map", "ekman"],
        [],
    ],
)
def test_arguments_that_mean_nothing_are_refused_with_the_usage(capsys, arguments):
    with pytest.raises(SystemExit, match="2"):
        prepare.main(arguments)
    assert "usage: python -m pipelines.prepare" in capsys.readouterr().err


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_is_refused(clips, tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(InputError, match="cannot be"):
        run("--corpus", "ravdess", "--source", clips, "--records", tmp_path)


# Real recordings.


@pytest.mark.real_data
def test_the_original_recordings_are_all_read(real_data, tmp_path, in_process):
    run("--corpus", "ravdess", "--source", real_data / "ravdess_original_wav", "--records", tmp_path)
    metadata = records.read_metadata(tmp_path)
    assert (metadata.num_utterances, metadata.skipped, metadata.silent) == (8, [], [])
    assert len(metadata.shards) == 4
    found = read_back(tmp_path)
    twins = [found[f"03-01-03-01-02-0{repetition}-07"]["audio_sha256"] for repetition in (1, 2)]
    assert twins[0] == twins[1]
    assert len({record["audio_sha256"] for record in found.values()}) == 7


def test_synthetic_videos_whose_making_was_broken_off_are_not_taken_for_all(seen_speakers):
    first, *others = seen_speakers.utterances
    few = dataclasses.replace(seen_speakers, utterances=(dataclasses.replace(first, video=None), *others))
    with pytest.raises(InputError, match="holds 89 of 90 videos: --with-video makes them"):
        prepare._stop_without_video(few, "synthetic")
    prepare._stop_without_video(seen_speakers, "synthetic")
