"""Tests of pipelines.records.writer: the same bytes however often it was stopped, and nothing half written."""

import errno
import json
import os
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
import tensorflow as tf
from test_prepare import faulty_manifest, manifest_of, noise, read_back, run, start, status, tree

from pipelines import audio, prepare, records, text
from pipelines.command import InputError
from pipelines.corpora import goemotions, ravdess
from pipelines.files import UNFINISHED, locked
from pipelines.records import decode_workers, shard_content, shards, writer


def test_records_hold_what_the_corpus_and_the_recordings_say(three_speakers, three_speaker_records):
    found = read_back(three_speaker_records)
    assert set(found) == {utterance.utterance_id for utterance in three_speakers.utterances}
    for utterance in three_speakers.utterances[::11]:
        record = found[utterance.utterance_id]
        waveform = audio.decode(utterance.audio)
        batch = audio.to_float(waveform)[np.newaxis]
        features, num_frames = audio.frame_features(batch, audio.FrontEnd(), ["log_mel"])
        np.testing.assert_allclose(record["log_mel"], features["log_mel"][0, : num_frames[0]], atol=1e-5)
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


def test_nothing_but_shards_and_metadata_remains(noise_records):
    metadata = records.read_metadata(noise_records)
    assert set(tree(noise_records)) == {*metadata.shards, "metadata.json"}


def test_acoustic_features_are_stored_on_request_beside_the_same_log_mel(
    noise_clips, noise_records, tmp_path, in_process, capsys
):
    run("--corpus", "ravdess", "--source", noise_clips, "--records", tmp_path, "--acoustic")
    assert "features  64 columns log_mel, 103 columns acoustic" in capsys.readouterr().out
    metadata, found, plain = records.read_metadata(tmp_path), read_back(tmp_path), read_back(noise_records)
    assert metadata.acoustic == list(audio.ACOUSTIC)
    assert records.read_metadata(noise_records).acoustic == []
    for name, record in found.items():
        np.testing.assert_array_equal(record["log_mel"], plain[name]["log_mel"])
        assert record["acoustic"].shape == (len(record["log_mel"]), 103)
    name = "03-01-05-01-01-01-02"
    waveform = audio.to_float(audio.decode(noise_clips / "Actor_02" / f"{name}.wav"))
    acoustic = audio.frame_features(waveform[np.newaxis], audio.FrontEnd(), ["acoustic"])[0]["acoustic"]
    np.testing.assert_allclose(
        found[name]["acoustic"], acoustic[0, : len(found[name]["acoustic"])], rtol=1e-4, atol=1e-4
    )


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


def test_a_label_of_which_nothing_can_be_read_leaves_the_label_set(tmp_path, in_process, capsys):
    for name in ("good", "better", "best"):
        soundfile.write(tmp_path / f"{name}.wav", noise(0.3, len(name)), 16000)
    (tmp_path / "bad.wav").write_bytes((tmp_path / "good.wav").read_bytes()[:500])
    rows = ["good.wav,happy,a", "bad.wav,calm,a", "better.wav,sad,b", "best.wav,neutral,c"]
    command = ["--corpus", "manifest", "--source", manifest_of(tmp_path, rows), "--records", tmp_path / "r"]
    run(*command, "--skip-bad")
    assert "neutral 1, happy 1, sad 1; not in the label set" in capsys.readouterr().out
    metadata, found = records.read_metadata(tmp_path / "r"), read_back(tmp_path / "r")
    assert metadata.emotions == ["neutral", "happy", "sad"]
    assert metadata.absent_emotions == ["angry", "fearful", "disgust", "surprised", "calm"]
    named = {name: [metadata.emotions[label] for label in record["label"]] for name, record in found.items()}
    assert named == {"good": ["happy"], "better": ["sad"], "best": ["neutral"]}
    before = tree(tmp_path / "r")
    run(*command, "--skip-bad")
    assert "complete" in capsys.readouterr().err
    assert tree(tmp_path / "r") == before


def test_records_that_another_process_writes_are_left_alone(noise_clips, tmp_path, in_process):
    with locked(tmp_path / "r", "--records"), pytest.raises(InputError, match=r"another process is writing to .*/r"):
        run("--corpus", "ravdess", "--source", noise_clips, "--records", tmp_path / "r")
    assert not any((tmp_path / "r").iterdir())


def test_what_is_wrong_with_recordings_and_words_is_counted(tmp_path, in_process):
    run("--corpus", "manifest", "--source", faulty_manifest(tmp_path), "--records", tmp_path / "r")
    metadata = records.read_metadata(tmp_path / "r")
    assert metadata.findings == {"clipped": 1, "hum": 1, "narrow": 1, "noisy": 1, "short": 1}
    assert metadata.bandwidth_hz == 8000
    assert (metadata.num_without_words, metadata.num_unknown_words) == (1, 2)


def test_long_recordings_among_short_ones_are_transformed_as_they_are_alone():
    front_end = audio.FrontEnd(trim_db=None)
    lengths = (16000, 100, 3 * shard_content._MAX_SAMPLES // 2, 0, 16000)
    waveforms = [np.random.default_rng(length).integers(-999, 999, length).astype(np.int16) for length in lengths]
    sizes = []

    def transform(batch):
        sizes.append(batch.size)
        return audio.compiled_features(front_end)(batch)

    frames = [features["log_mel"] for features in shard_content.transformed(waveforms, transform)]
    assert [len(one) for one in frames] == [98, 1, 1 + (lengths[2] - 400) // 160, 0, 98]
    assert sorted(sizes)[-1] == lengths[2]
    # The matrix product of a batch rounds otherwise than that of another, on some processors.
    np.testing.assert_allclose(frames[0], frames[4], atol=1e-5)


def test_records_of_sentences_hold_words_and_all_labels_and_no_audio(goemotions_like, goemotions_records):
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


def test_the_same_command_again_says_what_is_there_and_writes_nothing(noise_clips, noise_records, capsys):
    before = {path: path.stat().st_mtime_ns for path in noise_records.iterdir()}
    capsys.readouterr()
    assert status("--corpus", "ravdess", "--source", noise_clips, "--records", noise_records) == 0
    assert "clips     40" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in noise_records.iterdir()} == before


@pytest.mark.parametrize(
    "change", [["--mel-bins", "32"], ["--store-waveform"], ["--acoustic"], ["--label-map", "ravdess-seven"]]
)
def test_other_records_in_the_folder_are_not_replaced_unasked(noise_clips, noise_records, change):
    before = tree(noise_records)
    with pytest.raises(
        InputError, match=r"holds other records \(RAVDESS speech, 40 utterances.*--overwrite to replace them"
    ):
        run("--corpus", "ravdess", "--source", noise_clips, "--records", noise_records, *change)
    assert tree(noise_records) == before


def test_overwrite_replaces_other_records_without_a_trace(noise_clips, noise_records, tmp_path, in_process):
    folder = tmp_path / "r"
    run("--corpus", "ravdess", "--source", noise_clips, "--records", folder, "--mel-bins", "32", "--store-waveform")
    run("--corpus", "ravdess", "--source", noise_clips, "--records", folder, "--overwrite")
    assert tree(folder) == tree(noise_records)


def test_files_of_others_in_the_folder_are_left_alone(noise_clips, tmp_path, in_process):
    for name in ("train.tfrecord", "notes.json"):
        (tmp_path / name).write_text("not ours")
    left_over = {"00007-of-00009.tfrecord", f"{UNFINISHED}00007-of-00009.tfrecord"}
    for name in left_over:
        (tmp_path / name).write_text("left over by another plan")
    run("--corpus", "ravdess", "--source", noise_clips, "--records", tmp_path)
    assert {"train.tfrecord", "notes.json"} <= set(tree(tmp_path))
    assert not left_over & set(tree(tmp_path))


@pytest.mark.parametrize("content", ["{", '{"schema_version": 99}'])
def test_records_that_cannot_be_understood_are_left_alone_unless_overwritten(
    noise_clips, noise_records, tmp_path, in_process, content
):
    shutil.copytree(noise_records, tmp_path / "r")
    (tmp_path / "r" / "metadata.json").write_text(content)
    with pytest.raises(InputError, match=r"is corrupt|has schema version 99"):
        run("--corpus", "ravdess", "--source", noise_clips, "--records", tmp_path / "r")
    run("--corpus", "ravdess", "--source", noise_clips, "--records", tmp_path / "r", "--overwrite")
    assert tree(tmp_path / "r") == tree(noise_records)


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


@pytest.mark.slow
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


@pytest.mark.parametrize(
    ("number", "status", "word"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")]
)
def test_ctrl_c_and_sigterm_end_in_one_sentence_and_no_metadata(many_clips, tmp_path, number, status, word):
    process = start("--corpus", "manifest", "--source", many_clips, "--records", tmp_path / "r")
    wait_for(process, tmp_path / "r", f"{UNFINISHED}*")
    children = children_of(process)
    os.killpg(process.pid, number)
    output, errors = process.communicate(timeout=30)
    assert process.returncode == status, errors
    assert output == ""
    assert errors.splitlines()[-1].endswith(f"error: {word}; the same command again continues where it stopped.")
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


def test_a_full_disk_ends_in_a_sentence_and_no_metadata(noise_clips, tmp_path, in_process, monkeypatch, capsys):
    """The same message came from a real full disk, a tmpfs, which only root can mount."""

    def full_disk(*arguments):
        raise tf.errors.ResourceExhaustedError(None, None, ".unfinished-a.tfrecord; No space left on device")

    monkeypatch.setattr(shards, "serialise", full_disk)
    assert status("--corpus", "ravdess", "--source", noise_clips, "--records", tmp_path / "r") == 1
    assert "error: the disk is full" in capsys.readouterr().err
    assert list((tmp_path / "r").iterdir()) == []
    monkeypatch.undo()


def test_a_disk_that_fills_with_the_metadata_leaves_none(
    noise_clips, noise_records, tmp_path, in_process, monkeypatch, capsys
):
    def full_disk(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(writer, "write_metadata", full_disk)
        assert status("--corpus", "ravdess", "--source", noise_clips, "--records", tmp_path / "r") == 1
    assert "error: the disk is full" in capsys.readouterr().err
    assert not (tmp_path / "r" / "metadata.json").exists()
    run("--corpus", "ravdess", "--source", noise_clips, "--records", tmp_path / "r")
    assert tree(tmp_path / "r") == tree(noise_records)


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


def test_what_could_not_be_read_is_read_again_unless_it_may_be_skipped(tmp_path, in_process, monkeypatch):
    for name in ("a", "b", "c"):
        soundfile.write(tmp_path / f"{name}.wav", noise(0.3, ord(name)), 16000)
    source = manifest_of(tmp_path, [f"{name}.wav,happy,{name}" for name in ("a", "b", "c")])
    command = ("--corpus", "manifest", "--source", source, "--records", tmp_path / "r")
    read_clip = decode_workers.read_clip

    def failing(path, *given, **options):
        if path.name == "b.wav":
            raise InputError(f"{path} cannot be read: the disk is away.")
        return read_clip(path, *given, **options)

    with monkeypatch.context() as away:
        away.setattr(decode_workers, "read_clip", failing)
        assert status(*command) == 1
    assert status(*command) == 0
    assert set(read_back(tmp_path / "r")) == {"a", "b", "c"}
