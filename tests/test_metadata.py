"""Tests of pipelines.records.metadata: what is written is what is read, and anything else is refused."""

import dataclasses
import json

import pytest
from test_schema import RECORD

from pipelines import records
from pipelines.audio import ACOUSTIC, FrontEnd
from pipelines.command import InputError


def metadata_of(folder):
    """Writes one shard and metadata that fit each other."""
    records.write_shard(folder / "0.tfrecord", [RECORD])
    metadata = records.Metadata(
        schema_version=records.SCHEMA_VERSION,
        corpus="mine",
        source="mine.csv",
        licence="mine",
        emotions=["happy", "sad"],
        absent_emotions=["calm"],
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
        num_unknown_words=0,
        findings={},
        bandwidth_hz=7750.0,
        counts={"b": {"happy": 2}, "a": {"sad": 1}},
        num_videos=0,
        num_videos_without_audio=0,
        num_frames_without_face=0,
        without_face=[],
        ignored={},
        skipped=[],
        silent=[],
        copies=[],
        notes={},
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


def test_metadata_is_read_as_it_was_written(tmp_path):
    metadata = metadata_of(tmp_path)
    assert records.read_metadata(tmp_path) == metadata
    assert metadata.speakers == ("a", "b")
    assert metadata.settings == FrontEnd()
    assert metadata.emotion_counts(["a", "b"]) == [2, 1]
    assert metadata.emotion_counts([]) == [0, 0]


def test_columns_are_those_of_what_the_records_hold(tmp_path):
    assert metadata_of(tmp_path).columns == {"log_mel": 64}
    edit(tmp_path, encoder={"kind": "whisper", "blocks": [2, 3, 4], "width": 512})
    assert records.read_metadata(tmp_path).columns == {"log_mel": 64, "encoder": (3, 512)}
    edit(tmp_path, encoder={"kind": "whisper", "blocks": [2]})
    with pytest.raises(InputError, match=r"is corrupt \('width'\): make the records again"):
        records.read_metadata(tmp_path)


def test_settings_of_video_are_checked(tmp_path):
    metadata_of(tmp_path)
    edit(tmp_path, video={"num_frames": 4, "size": 32, "is_colour": True})
    found = records.read_metadata(tmp_path)
    assert found.video_settings.shape == (32, 32, 3)
    assert found.columns == {"log_mel": 64, "face_boxes": 5}
    edit(tmp_path, video={"num_frames": 4, "length": 32})
    with pytest.raises(InputError, match=r"is corrupt .*'length'.*: make the records again"):
        records.read_metadata(tmp_path)


def test_metadata_names_the_acoustic_columns_that_this_program_computes(tmp_path):
    metadata_of(tmp_path)
    edit(tmp_path, acoustic=list(ACOUSTIC))
    assert records.read_metadata(tmp_path).columns == {"log_mel": 64, "acoustic": 103}
    edit(tmp_path, acoustic=list(ACOUSTIC[1:]))
    with pytest.raises(InputError, match="names other acoustic features than this program computes: make the"):
        records.read_metadata(tmp_path)


@pytest.mark.parametrize("where", ["absent", "file", "."])
def test_a_folder_without_metadata_holds_no_complete_records(tmp_path, where):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"holds no complete records \(metadata.json is missing\)"):
        records.read_metadata(tmp_path / where)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe{}", b'{"schema_version": 3}', b'{"schema_version": 3,}'])
def test_corrupt_metadata_is_named(tmp_path, content):
    (tmp_path / "metadata.json").write_bytes(content)
    with pytest.raises(InputError, match=r"metadata.json is corrupt .*make the records again with .*--overwrite"):
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
    with pytest.raises(InputError, match=rf"is corrupt \(missing or unknown: {name}\): make the records again"):
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
def test_scores_on_made_up_audio_or_words_are_marked(tmp_path, changes, marks):
    assert records.marks_of(dataclasses.replace(metadata_of(tmp_path), **changes)) == marks


def test_records_of_before_there_was_context_hold_none(context_records, tmp_path):
    values = json.loads((context_records / "metadata.json").read_text())
    for shard in values["shards"]:
        (tmp_path / shard).symlink_to(context_records / shard)
    del values["context"]
    (tmp_path / "metadata.json").write_text(json.dumps(values))
    assert [records.read_metadata(one).context for one in (context_records, tmp_path)] == [2, 0]
