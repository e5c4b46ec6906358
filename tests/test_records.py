"""Tests of pipelines.records: what is written is what is read, and no speaker is in two shards."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from pipelines import records
from pipelines.audio import ACOUSTIC, FrontEnd
from pipelines.command import InputError
from pipelines.utterance import Utterance

RECORD = {
    "utterance_id": "03-01-05",
    "speaker": "ä 01",
    "label": [4, 7],
    "attributes": '{"sex": "female"}',
    "trial": "01-05",
    "audio_sha256": "ab",
    "published_split": "",
    "transcript": "Kids are talking 😂",
    "token_ids": np.array([2, 8191], np.int32),
    "log_mel": np.linspace(-11.5, 3, 12).reshape(3, 4).astype(np.float32),
    "acoustic": np.arange(15, dtype=np.float32).reshape(3, 5),
    "encoder": np.array([[1, -2], [0.1, 65504]], np.float16),
    "waveform": np.array([-32768, 0, 32767], np.int16),
    "video_frames": [b"a JPEG", b"another"],
    "face_boxes": np.array([[0.1, 0.1, 0.8, 0.8, 1], [0, 0, 1, 1, 0]], np.float32),
    "video_sha256": "cd",
}


COLUMNS = {"log_mel": 4, "acoustic": 5, "encoder": 2, "face_boxes": 5}


def read_back(path, fields=tuple(RECORD)):
    return [records.parse(serialised, fields, COLUMNS) for serialised in tf.data.TFRecordDataset(str(path))]


def assert_equals(parsed, expected):
    assert set(parsed) == set(expected)
    for name, value in expected.items():
        found = parsed[name].numpy()
        if isinstance(value, str):
            assert found.decode() == value
        elif isinstance(value, list) and isinstance(value[0], bytes):
            assert found.tolist() == value
        else:
            np.testing.assert_array_equal(found, value)
            assert found.dtype == np.asarray(value).dtype
            assert found.shape == np.shape(value)


def utterances_of(**counts):
    return [
        Utterance(f"{speaker}-{n:03}", speaker, "happy", Path("clip.wav"))
        for speaker, count in counts.items()
        for n in range(count)
    ]


def id_of(utterance):
    return utterance.utterance_id


def metadata_of(folder):
    """Writes one shard and metadata that fit each other."""
    records.write_shard(folder / "0.tfrecord", [RECORD])
    metadata = records.Metadata(
        schema_version=records.SCHEMA_VERSION,
        corpus="mine",
        source="mine.csv",
        licence="mine",
        emotions=["happy", "sad"],
        label_map="",
        front_end=dataclasses.asdict(FrontEnd()),
        acoustic=[],
        encoder=None,
        video=None,
        vocabulary_sha256="",
        transcript_source="script",
        is_multi_label=False,
        has_audio=True,
        has_waveform=True,
        shards={"0.tfrecord": {"speakers": ["b", "a"], "num_utterances": 3, "num_bytes": size_of(folder)}},
        num_utterances=3,
        hours=0.1,
        longest_frames=3,
        num_multi_label=0,
        num_without_words=0,
        counts={"b": {"happy": 2}, "a": {"sad": 1}},
        num_videos=0,
        num_videos_without_audio=0,
        num_frames_without_face=0,
        without_face=[],
        ignored={},
        skipped=[],
        silent=[],
        fingerprint="",
    )
    records.write_metadata(folder, metadata)
    return metadata


def size_of(folder):
    return (folder / "0.tfrecord").stat().st_size


def edit(folder, *absent, **changes):
    """Takes facts out of metadata.json, and changes others."""
    path = folder / "metadata.json"
    values = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({name: value for name, value in values.items() if name not in absent}))


def test_a_record_is_read_as_it_was_written_eagerly_and_in_a_dataset(tmp_path):
    assert set(RECORD) == set(records.SCHEMA)
    records.write_shard(tmp_path / "0.tfrecord", [RECORD, RECORD])
    for parsed in read_back(tmp_path / "0.tfrecord"):
        assert_equals(parsed, RECORD)
    dataset = tf.data.TFRecordDataset(str(tmp_path / "0.tfrecord"))
    for parsed in dataset.map(lambda serialised: records.parse(serialised, list(RECORD), COLUMNS)):
        assert_equals(parsed, RECORD)


def test_only_the_fields_asked_for_are_read(tmp_path):
    records.write_shard(tmp_path / "0.tfrecord", [RECORD])
    (parsed,) = read_back(tmp_path / "0.tfrecord", ("label", "speaker"))
    assert_equals(parsed, {"label": [4, 7], "speaker": "ä 01"})


def test_an_absent_recording_has_no_frames(tmp_path):
    records.write_shard(tmp_path / "0.tfrecord", [RECORD | {"log_mel": np.zeros((0, 4), np.float32)}])
    (parsed,) = read_back(tmp_path / "0.tfrecord", ("log_mel",))
    assert parsed["log_mel"].shape == (0, 4)


def test_the_same_record_gives_the_same_bytes_whatever_the_order_of_its_fields():
    assert records.serialise(RECORD) == records.serialise(dict(reversed(RECORD.items())))


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


def test_metadata_is_read_as_it_was_written(tmp_path):
    metadata = metadata_of(tmp_path)
    assert records.read_metadata(tmp_path) == metadata
    assert metadata.speakers == ("a", "b")
    assert metadata.settings == FrontEnd()
    assert metadata.emotion_counts(["a", "b"]) == [2, 1]
    assert metadata.emotion_counts([]) == [0, 0]


def test_a_plan_makes_room_for_the_states_of_an_encoder():
    utterances = utterances_of(**{f"s{speaker}": 200 for speaker in range(100)})
    shards = records.plan_shards(utterances, FrontEnd(), False, False, True)
    for width in (384, 1280):  # Of whisper's tiny and large.
        assert all(10e6 < len(shard) * 4 * (25600 + 50 * width) < 100e6 for shard in shards.values())


def test_columns_are_those_of_what_the_records_hold(tmp_path):
    assert metadata_of(tmp_path).columns == {"log_mel": 64}
    edit(tmp_path, encoder={"kind": "whisper", "width": 512})
    assert records.read_metadata(tmp_path).columns == {"log_mel": 64, "encoder": 512}
    edit(tmp_path, encoder={"kind": "whisper"})
    with pytest.raises(InputError, match=r"is corrupt \('width'\): make them again"):
        records.read_metadata(tmp_path)


def test_settings_of_video_are_checked(tmp_path):
    metadata_of(tmp_path)
    edit(tmp_path, video={"num_frames": 4, "size": 32, "is_colour": True})
    found = records.read_metadata(tmp_path)
    assert found.video_settings.shape == (32, 32, 3)
    assert found.columns == {"log_mel": 64, "face_boxes": 5}
    edit(tmp_path, video={"num_frames": 4, "length": 32})
    with pytest.raises(InputError, match=r"is corrupt .*'length'.*: make them again"):
        records.read_metadata(tmp_path)


def test_metadata_names_the_acoustic_columns_that_this_program_computes(tmp_path):
    metadata_of(tmp_path)
    edit(tmp_path, acoustic=list(ACOUSTIC))
    assert records.read_metadata(tmp_path).columns == {"log_mel": 64, "acoustic": 103}
    edit(tmp_path, acoustic=list(ACOUSTIC[1:]))
    with pytest.raises(InputError, match="names other acoustic features than this program computes: make them again"):
        records.read_metadata(tmp_path)


@pytest.mark.parametrize("where", ["absent", "file", "."])
def test_a_folder_without_metadata_holds_no_complete_records(tmp_path, where):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"holds no complete records \(metadata.json is missing\)"):
        records.read_metadata(tmp_path / where)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe{}", b'{"schema_version": 3}', b'{"schema_version": 3,}'])
def test_corrupt_metadata_is_named(tmp_path, content):
    (tmp_path / "metadata.json").write_bytes(content)
    with pytest.raises(InputError, match=r"metadata.json is corrupt .*make them again with .*--overwrite"):
        records.read_metadata(tmp_path)


@pytest.mark.parametrize(
    "changes",
    [
        {"shards": 5},
        {"shards": {"0.tfrecord": {}}},
        {"shards": {"0.tfrecord": 5}},
        {"counts": 5},
        {"counts": {"a": 5}},
        {"encoder": {"kind": "whisper"}},
        {"front_end": {"mel_bins": "many"}},
        {"front_end": {"bands": 64}},
        {"something": "else"},
    ],
)
def test_metadata_of_another_shape_is_corrupt(tmp_path, changes):
    metadata_of(tmp_path)
    edit(tmp_path, **changes)
    with pytest.raises(InputError, match="is corrupt"):
        records.read_metadata(tmp_path)


@pytest.mark.parametrize("name", ["emotions", "acoustic", "encoder", "video", "num_videos"])
def test_metadata_that_lacks_a_fact_is_corrupt(tmp_path, name):
    metadata_of(tmp_path)
    edit(tmp_path, name)
    with pytest.raises(InputError, match=rf"is corrupt \(missing or unknown: {name}\): make them again"):
        records.read_metadata(tmp_path)


@pytest.mark.parametrize("content", ['{"schema_version": 2}', '{"schema_version": 99}', "{}", "[]", "5"])
def test_another_schema_version_is_refused(tmp_path, content):
    (tmp_path / "metadata.json").write_text(content)
    with pytest.raises(InputError, match=r"has schema version .*, and this program reads 3"):
        records.read_metadata(tmp_path)


def test_a_missing_or_shortened_shard_is_noticed(tmp_path):
    metadata_of(tmp_path)
    content = (tmp_path / "0.tfrecord").read_bytes()
    (tmp_path / "0.tfrecord").write_bytes(content[:-1])
    with pytest.raises(InputError, match=r"0\.tfrecord is missing or cut off"):
        records.read_metadata(tmp_path)
    (tmp_path / "0.tfrecord").unlink()
    with pytest.raises(InputError, match=r"0\.tfrecord is missing or cut off"):
        records.read_metadata(tmp_path)


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


def test_the_index_knows_which_records_have_sound(tmp_path):
    silent = {"log_mel": np.zeros((0, 4), np.float32)}
    assert index_of(tmp_path, [{}, silent])["has_audio"].tolist() == [True, False]


def test_a_record_of_words_alone_has_no_sound(tmp_path):
    metadata = metadata_of(tmp_path)
    words = {name: value for name, value in RECORD.items() if name not in ("log_mel", "waveform")}
    records.write_shard(tmp_path / "0.tfrecord", [words])
    shards = {"0.tfrecord": metadata.shards["0.tfrecord"] | {"num_bytes": size_of(tmp_path)}}
    records.write_metadata(tmp_path, dataclasses.replace(metadata, shards=shards))
    assert records.read_index(tmp_path)["has_audio"].tolist() == [False]


def test_a_shard_with_a_flipped_byte_is_named(tmp_path):
    metadata_of(tmp_path)
    content = bytearray((tmp_path / "0.tfrecord").read_bytes())
    content[20] ^= 255
    (tmp_path / "0.tfrecord").write_bytes(bytes(content))
    with pytest.raises(InputError, match="holds a corrupt shard"):
        records.read_index(tmp_path)


@pytest.mark.parametrize(
    ("changes", "marks"),
    [
        ({}, []),
        ({"corpus": "synthetic"}, ["synthetic"]),
        ({"transcript_source": "simulated"}, ["label-leaking"]),
        ({"corpus": "synthetic", "transcript_source": "paired"}, ["synthetic", "paired"]),
        ({"transcript_source": "whisper base"}, []),
    ],
)
def test_scores_on_made_up_sound_or_words_are_marked(tmp_path, changes, marks):
    assert records.marks_of(dataclasses.replace(metadata_of(tmp_path), **changes)) == marks


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
