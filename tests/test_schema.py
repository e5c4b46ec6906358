"""Tests of pipelines.records.schema: what is written is what is read."""

import numpy as np
import tensorflow as tf

from pipelines import records

RECORD = {
    "utterance_id": "03-01-05",
    "speaker": "ä 01",
    "label": [4, 7],
    "attributes": '{"sex": "female"}',
    "trial": "01-05",
    "audio_sha256": "ab",
    "published_split": "",
    "transcript": "Kids are talking 😂",
    "context": "How are you?\nFine.",
    "token_ids": np.array([2, 8191], np.int32),
    "log_mel": np.linspace(-11.5, 3, 12).reshape(3, 4).astype(np.float32),
    "acoustic": np.arange(15, dtype=np.float32).reshape(3, 5),
    "encoder": np.array([[[1, -2], [3, 4], [5, 6]], [[0.1, 65504], [7, 8], [9, 0]]], np.float16),
    "waveform": np.array([-32768, 0, 32767], np.int16),
    "video_frames": [b"a JPEG", b"another"],
    "face_boxes": np.array([[0.1, 0.1, 0.8, 0.8, 1], [0, 0, 1, 1, 0]], np.float32),
    "video_sha256": "cd",
}

COLUMNS = {"log_mel": 4, "acoustic": 5, "encoder": (3, 2), "face_boxes": 5}


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
