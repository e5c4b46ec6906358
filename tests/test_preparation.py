"""Tests of pipelines.records.preparation: what makes other records, and what is wrong before any is written."""

import dataclasses
import shutil
import sys

import numpy as np
import pytest
import soundfile
from test_prepare import manifest_of, noise, place_videos, read_back, run, tree

from pipelines import audio, records
from pipelines.audio.speech_encoder import Encoder, EncoderSettings
from pipelines.command import InputError
from pipelines.corpora import ravdess
from pipelines.records import preparation
from pipelines.records.preparation import Preparation
from pipelines.video import VideoSettings


@pytest.fixture
def plan(noise_clips, tmp_path):
    """A preparation of 40 clips of five speakers."""
    return Preparation(ravdess.read(noise_clips), tmp_path, audio.FrontEnd())


@pytest.mark.parametrize(
    "change",
    [
        {"transcript_source": "whisper base"},
        {"origin": {"words": {"seed": 1}}},
        {"front_end": audio.FrontEnd(mel_bins=32)},
        {"label_map": "ravdess-seven"},
        {"store_waveform": True},
        {"has_acoustic": True},
        {"video": VideoSettings()},
        {"video": VideoSettings(size=32)},
    ],
)
def test_other_words_and_settings_make_other_records(plan, change):
    assert dataclasses.replace(plan).fingerprint == plan.fingerprint
    assert dataclasses.replace(plan, **change).fingerprint != plan.fingerprint


def test_another_speaker_makes_another_shard_and_leaves_the_others(plan):
    first = plan.corpus.utterances[0]
    others = (dataclasses.replace(first, transcript="hm"), *plan.corpus.utterances[1:])
    changed = dataclasses.replace(plan, corpus=dataclasses.replace(plan.corpus, utterances=others))
    differing = {name for name, found in plan.fingerprints.items() if changed.fingerprints[name] != found}
    assert differing == {name for name, shard in plan.shards.items() if first in shard}
    assert len(differing) == 1 < len(plan.shards)


def test_a_folder_may_move_with_its_recordings(plan, noise_clips, tmp_path):
    shutil.copytree(noise_clips, tmp_path / "moved")
    moved = dataclasses.replace(plan, corpus=ravdess.read(tmp_path / "moved"))
    assert moved.fingerprint == plan.fingerprint


def test_what_cannot_work_is_found_before_a_recording_is_read(plan):
    plan.check()
    for change, sentence in [
        ({"corpus": dataclasses.replace(plan.corpus, utterances=(), ignored={"song": 3})}, r"left to write \(3 song\)"),
        ({"front_end": audio.FrontEnd(mel_bins=200)}, "mel bands would be empty"),
        ({"front_end": audio.FrontEnd(mel_bins=32), "has_acoustic": True}, "32 are too few for the 40"),
    ]:
        with pytest.raises(InputError, match=sentence):
            dataclasses.replace(plan, **change).check()


def test_a_changed_recording_makes_other_records(noise_clips, tmp_path, in_process):
    shutil.copytree(noise_clips, tmp_path / "clips")
    run("--corpus", "ravdess", "--source", tmp_path / "clips", "--records", tmp_path / "r")
    changed = next((tmp_path / "clips").rglob("*.wav"))
    soundfile.write(changed, noise(0.7), 16000)
    with pytest.raises(InputError, match="other settings, words or recordings"):
        run("--corpus", "ravdess", "--source", tmp_path / "clips", "--records", tmp_path / "r")


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
