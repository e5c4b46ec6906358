"""Tests of pipelines.records.shards: no speaker is in two shards, and what is read of all of them."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from test_metadata import metadata_of, size_of
from test_schema import RECORD

from pipelines import records
from pipelines.audio import FrontEnd
from pipelines.command import InputError
from pipelines.normalisation import read_sums
from pipelines.records import shards
from pipelines.utterance import Utterance


def utterances_of(**counts):
    return [
        Utterance(f"{speaker}-{n:03}", speaker, "happy", Path("clip.wav"))
        for speaker, count in counts.items()
        for n in range(count)
    ]


def id_of(utterance):
    return utterance.utterance_id


def test_a_shard_that_fails_leaves_nothing_behind(tmp_path):
    def failing():
        yield RECORD
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        records.write_shard(tmp_path / "0.tfrecord", failing())
    assert list(tmp_path.iterdir()) == []


def test_no_speaker_is_in_two_shards_and_no_utterance_is_lost():
    utterances = utterances_of(a=5, b=1, c=30, d=7, e=7, f=2)
    shards = records.plan_shards(utterances[::-1], FrontEnd(), False)
    speakers = [{utterance.speaker for utterance in shard} for shard in shards.values()]
    assert len(shards) == 4
    assert sum(map(len, speakers)) == len(set.union(*speakers)) == 6
    assert {one for shard in shards.values() for one in map(id_of, shard)} == set(map(id_of, utterances))
    for shard in shards.values():
        assert shard == sorted(shard, key=id_of)


def test_shards_are_of_equal_size_where_speakers_allow():
    shards = records.plan_shards(utterances_of(a=10, b=10, c=10, d=10, e=5, f=5, g=5, h=5), FrontEnd(), False)
    assert [len(shard) for shard in shards.values()] == [15] * 4


def test_a_large_corpus_has_shards_of_10_to_100_megabytes():
    utterances = utterances_of(**{f"s{speaker}": 200 for speaker in range(100)})
    for mel_bins, has_waveform, has_acoustic in ((64, False, False), (128, True, False), (64, False, True)):
        shards = records.plan_shards(utterances, FrontEnd(mel_bins=mel_bins), has_waveform, has_acoustic)
        second = 4 * (mel_bins + 103 * has_acoustic) * 100 + has_waveform * 32000
        assert len(shards) > 4
        assert all(10e6 < len(shard) * 4 * second < 100e6 for shard in shards.values())


def test_one_speaker_makes_one_shard():
    assert list(records.plan_shards(utterances_of(a=9), FrontEnd(), False)) == ["00000-of-00001.tfrecord"]


def test_equal_sentences_without_a_speaker_share_a_shard():
    utterances = [Utterance(f"{n:03}", "", "happy", transcript=f"sentence {n % 50}") for n in range(200)]
    shards = records.plan_shards(utterances, FrontEnd(), False)
    sentences = [{utterance.transcript for utterance in shard} for shard in shards.values()]
    assert len(shards) == 4
    assert sum(map(len, sentences)) == len(set.union(*sentences)) == 50


def test_sentences_alone_fit_few_shards_however_many_they_are():
    utterances = [Utterance(f"{n:05}", "", "happy", transcript=f"sentence {n}") for n in range(54_263)]
    assert len(records.plan_shards(utterances, FrontEnd(), False)) == 4


def test_a_plan_makes_room_for_the_states_of_an_encoder():
    utterances = utterances_of(**{f"s{speaker}": 200 for speaker in range(100)})
    for width in (384, 2 * 512):  # One block of whisper's tiny, two of base.
        shards = records.plan_shards(utterances, FrontEnd(), False, False, 50 * width)
        assert all(10e6 < len(shard) * 4 * (25600 + 50 * width) < 100e6 for shard in shards.values())


def index_of(folder, *shards):
    """Writes shards of changes to RECORD, and reads their index."""
    metadata = metadata_of(folder)
    found = {}
    for number, changes in enumerate(shards):
        path = folder / f"{number}.tfrecord"
        records.write_shard(path, [RECORD | change for change in changes])
        found[path.name] = {"speakers": [], "num_utterances": len(changes), "num_bytes": path.stat().st_size}
    reverse = dict(reversed(found.items()))
    records.write_metadata(folder, dataclasses.replace(metadata, shards=reverse))
    return records.read_index(folder)


def test_the_index_holds_what_the_shards_hold_in_the_order_of_their_names(tmp_path):
    changes = [{"utterance_id": f"{n:03}", "label": [n, 9][: 1 + n % 2], "published_split": "test"} for n in range(600)]
    index = index_of(tmp_path, changes[:300], changes[300:])
    assert index["utterance_id"].tolist() == [change["utterance_id"] for change in changes]
    assert index["label"].tolist() == list(range(600))
    assert index["labels"].tolist() == [tuple(change["label"]) for change in changes]
    for name in ("speaker", "trial", "audio_sha256", "transcript", "video_sha256"):
        assert index[name].unique().tolist() == [RECORD[name]]
    assert set(index["published_split"]) == {"test"}
    assert index["has_audio"].dtype == bool


def test_the_index_knows_which_records_have_audio(tmp_path):
    silent = {"log_mel": np.zeros((0, 4), np.float32)}
    assert index_of(tmp_path, [{}, silent])["has_audio"].tolist() == [True, False]


def test_a_record_of_words_alone_has_no_audio(tmp_path):
    metadata = metadata_of(tmp_path)
    words = {name: value for name, value in RECORD.items() if name not in ("log_mel", "waveform")}
    records.write_shard(tmp_path / "0.tfrecord", [words])
    shards = {"0.tfrecord": metadata.shards["0.tfrecord"] | {"num_bytes": size_of(tmp_path)}}
    records.write_metadata(tmp_path, dataclasses.replace(metadata, shards=shards))
    assert records.read_index(tmp_path)["has_audio"].tolist() == [False]


READERS = {
    "index": records.read_index,
    "examples": lambda folder: records.read_examples(folder, [RECORD["utterance_id"]], 1, "utterance_id"),
    "statistics": lambda folder: read_sums(folder, ["log_mel"]),
}


@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
@pytest.mark.parametrize("place", [5, 20, -2], ids=["length", "record", "checksum"])
def test_a_shard_with_a_flipped_byte_is_named_wherever_it_is_read(tmp_path, read, place):
    metadata_of(tmp_path)
    content = bytearray((tmp_path / "0.tfrecord").read_bytes())
    content[place] ^= 255
    (tmp_path / "0.tfrecord").write_bytes(bytes(content))
    with pytest.raises(InputError, match=r"0\.tfrecord is corrupt, .* again with python -m pipelines.prepare"):
        read(tmp_path)


@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
def test_a_shard_that_goes_while_it_is_read_is_named(tmp_path, read, monkeypatch):
    metadata_of(tmp_path)
    metadata = records.read_metadata(tmp_path)
    monkeypatch.setattr(shards, "read_metadata", lambda folder: metadata)
    monkeypatch.setattr(records, "read_metadata", lambda folder: metadata)
    (tmp_path / "0.tfrecord").unlink()
    with pytest.raises(InputError, match=r"0\.tfrecord is gone: bring it back, or prepare these records again"):
        read(tmp_path)


@pytest.mark.parametrize("num_bytes", [1, 11], ids=str)
def test_a_shard_that_ends_between_records_is_named(tmp_path, num_bytes):
    metadata_of(tmp_path)
    content = (tmp_path / "0.tfrecord").read_bytes()
    (tmp_path / "0.tfrecord").write_bytes(content + content[:num_bytes])
    with pytest.raises(InputError, match=r"0\.tfrecord is missing or cut off"):
        records.read_index(tmp_path)


def test_errors_of_another_cause_stay_what_they_are(tmp_path):
    metadata_of(tmp_path)
    with pytest.raises(tf.errors.InvalidArgumentError, match="other"), records.named_if_corrupt(tmp_path):
        raise tf.errors.InvalidArgumentError(None, None, "other")


@pytest.mark.parametrize("has_waveform", [True, False])
def test_examples_have_their_words_and_samples_where_they_are_stored(tmp_path, has_waveform):
    metadata = metadata_of(tmp_path)
    written = [RECORD | {"utterance_id": f"{n}", "transcript": f"😂 {n}"} for n in range(9)]
    left_out = () if has_waveform else ("waveform",)
    records.write_shard(
        tmp_path / "0.tfrecord", [{name: one[name] for name in one if name not in left_out} for one in written]
    )
    shards = {"0.tfrecord": metadata.shards["0.tfrecord"] | {"num_bytes": size_of(tmp_path)}}
    records.write_metadata(tmp_path, dataclasses.replace(metadata, has_waveform=has_waveform, shards=shards))
    found = records.read_examples(tmp_path, ["1", "3", "5", "7", "8"], 2, "utterance_id")
    assert [example.transcript for example in found] == ["😂 1", "😂 5"]
    for example in found:
        np.testing.assert_array_equal(example.waveform, RECORD["waveform"] if has_waveform else [])
        assert example.waveform.dtype == np.int16
        assert example.images == []


def test_examples_have_the_pictures_of_records_with_video(tmp_path):
    metadata = metadata_of(tmp_path)
    video = {"num_frames": 2, "size": 32, "is_colour": False}
    records.write_metadata(tmp_path, dataclasses.replace(metadata, video=video))
    [example] = records.read_examples(tmp_path, [RECORD["utterance_id"]], 3, "utterance_id")
    assert example.images == RECORD["video_frames"]
