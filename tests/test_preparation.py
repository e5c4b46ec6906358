"""Tests of pipelines.records.preparation: what makes other records, and what is wrong before any is written."""

import dataclasses
import re
import shutil
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
from test_prepare import manifest_of, noise, place_videos, read_back, run, tree

from pipelines import audio, records
from pipelines.audio.speech_encoder import Encoder, EncoderSettings
from pipelines.audio.whisper_checkpoint import find
from pipelines.command import InputError
from pipelines.corpora import ravdess
from pipelines.records import preparation, writer
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
    run(*two_clips, *with_encoder(encoder_checkpoint, "--encoder-blocks", 1, 4))
    printed, told = capsys.readouterr()
    assert "features  64 columns log_mel, 2 x 8 columns encoder" in printed
    named = r"encoder whisper random.pt, blocks 1 4, 25 steps a second, weights of 0\.[12] MB in"
    assert re.search(named, " ".join(printed.split()))
    about = f"the states of the encoder will take about 0.0 MB, and its weights 0.1 MB in {tmp_path / 'r'}"
    assert about in told
    metadata, found = records.read_metadata(tmp_path / "r"), read_back(tmp_path / "r")
    settings = EncoderSettings(str(encoder_checkpoint), (1, 4), "cpu")
    assert metadata.encoder == Encoder(settings).facts
    [expected] = Encoder(settings)([audio.decode(tmp_path / "a.wav")])
    by_speaker = {record["speaker"].decode(): record["encoder"] for record in found.values()}
    np.testing.assert_array_equal(by_speaker["1"], expected)
    assert by_speaker["2"].shape == (0, 2, 8)


def test_the_same_encoder_is_recognised_without_loading_it(
    two_clips, encoder_checkpoint, tmp_path, monkeypatch, capsys
):
    run(*two_clips, *with_encoder(encoder_checkpoint))
    monkeypatch.setattr(preparation, "Encoder", None)
    run(*two_clips, *with_encoder(encoder_checkpoint))
    assert "holds these records already" in capsys.readouterr().err
    for flags in ([], with_encoder(encoder_checkpoint, "--encoder-blocks", 1)):
        with pytest.raises(InputError, match="holds other records"):
            run(*(two_clips if flags else two_clips[:-2]), *flags)


def test_what_is_wrong_with_an_encoder_gets_a_sentence_and_costs_no_records(two_clips, encoder_checkpoint, tmp_path):
    run(*two_clips[:-2])
    before = tree(tmp_path / "r")
    (tmp_path / "bad.pt").write_text("no checkpoint")
    for flags, sentence in {
        ("--encoder-model", tmp_path / "bad.pt"): r"bad\.pt is no whisper checkpoint",
        ("--encoder-model", "basic"): "--encoder-model basic is neither a checkpoint file, nor a folder",
        ("--encoder-model", encoder_checkpoint, "--encoder-blocks", "0"): "--encoder-blocks 0 cannot work",
        ("--encoder-model", encoder_checkpoint, "--encoder-blocks", "2", "5"): "has blocks 1 to 4",
        ("--encoder-model", tmp_path): r"holds no weights of an encoder \(config\.json is missing\)",
    }.items():
        with pytest.raises(InputError, match=sentence):
            run(*two_clips, "--encoder", "whisper", *flags, "--overwrite")
    assert tree(tmp_path / "r") == before


def test_a_folder_of_weights_and_its_checkpoint_make_the_same_records(two_clips, encoder_checkpoint, tmp_path):
    kept = tmp_path / "kept"
    run(*two_clips, *with_encoder(encoder_checkpoint, "--encoder-save", kept))
    before = tree(tmp_path / "r")
    run(*two_clips, *with_encoder(kept))  # Recognised.
    run(*two_clips, *with_encoder(kept), "--overwrite")
    assert tree(tmp_path / "r") == before


def test_a_stopped_preparation_goes_on_to_the_same_bytes(two_clips, encoder_checkpoint, tmp_path, monkeypatch):
    run(*two_clips, *with_encoder(encoder_checkpoint))
    before = tree(tmp_path / "r")
    shutil.rmtree(tmp_path / "r")
    encode, given = Encoder.__call__, []

    def stop_at_the_second(self, waveforms):
        given.append(waveforms)
        if len(given) > 1:
            raise KeyboardInterrupt
        return encode(self, waveforms)

    monkeypatch.setattr(Encoder, "__call__", stop_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        run(*two_clips, *with_encoder(encoder_checkpoint))
    monkeypatch.setattr(Encoder, "__call__", encode)
    assert "metadata.json" not in tree(tmp_path / "r")
    run(*two_clips, *with_encoder(encoder_checkpoint))
    assert tree(tmp_path / "r") == before


def test_states_that_the_disk_has_no_room_for_are_refused(two_clips, encoder_checkpoint, tmp_path, monkeypatch):
    monkeypatch.setattr(writer.shutil, "disk_usage", lambda path: SimpleNamespace(free=99))
    with pytest.raises(
        InputError,
        match=r"will take about 0\.0 MB, and its weights 0\.1 MB, and the disk of .* has 0\.0 MB free: give another",
    ):
        run(*two_clips, *with_encoder(encoder_checkpoint))


def test_the_size_of_states_is_estimated_by_the_lengths_of_recordings(two_clips, encoder_checkpoint, tmp_path, plan):
    from pipelines.corpora import manifest

    corpus = manifest.read(tmp_path / "mine.csv", ("happy", "sad"))
    settings = EncoderSettings(str(encoder_checkpoint), (1, 2, 3))
    found = dataclasses.replace(plan, corpus=corpus, encoder=settings)
    assert found.bytes_of_states == 25 * 3 * 8 * 2  # Two recordings of half a second.
    assert plan.bytes_of_states == 0


def test_weights_up_to_the_last_block_used_are_kept_beside_the_shards(two_clips, encoder_checkpoint, tmp_path):
    run(*two_clips, *with_encoder(encoder_checkpoint, "--encoder-blocks", 1, 2))
    kept, whole = find(str(tmp_path / "r" / "encoder")), find(str(encoder_checkpoint))
    assert (kept.num_stored, kept.sizes, kept.sha256) == (2, whole.sizes, whole.sha256)
    blocks = kept.load().transformer_blocks
    for block, other in zip(blocks, whole.load().transformer_blocks[:2], strict=True):
        for one, expected in zip(block.get_weights(), other.get_weights(), strict=True):
            np.testing.assert_array_equal(one, expected)


def test_weights_that_are_kept_come_back_where_they_were_lost_and_go_with_their_records(
    two_clips, encoder_checkpoint, tmp_path
):
    flags = with_encoder(encoder_checkpoint)
    run(*two_clips, *flags)
    before = tree(tmp_path / "r")
    for lost in ("config.json", "model.weights.h5"):
        (tmp_path / "r" / "encoder" / lost).unlink()
        run(*two_clips, *flags)
        assert tree(tmp_path / "r") == before
    run(*two_clips, *flags, "--encoder-blocks", "4", "--overwrite")
    assert find(str(tmp_path / "r" / "encoder")).num_stored == 4
    run(*two_clips[:-2], "--overwrite")
    assert not (tmp_path / "r" / "encoder").exists()


def test_blocks_behind_those_that_are_kept_need_the_whole_encoder(two_clips, encoder_checkpoint, tmp_path):
    run(*two_clips, *with_encoder(encoder_checkpoint))
    shutil.copytree(tmp_path / "r" / "encoder", tmp_path / "kept")
    run(*two_clips, *with_encoder(tmp_path / "kept"))  # Blocks 2 and 3 are the default, though 4 is not there.
    with pytest.raises(
        InputError, match=r"kept holds blocks 1 to 3 of whisper random\.pt alone, and --encoder-blocks 4"
    ):
        run(*two_clips, *with_encoder(tmp_path / "kept", "--encoder-blocks", "4"), "--overwrite")


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
