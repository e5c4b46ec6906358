"""The one schema of a record: its fields, to bytes and back."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines.audio import FrontEnd, num_columns

if TYPE_CHECKING:
    import tensorflow as tf

# One entry a field of a record, for writer and reader alike. Arrays are raw little-endian values of this type, whose
# axes behind the first are those of `Metadata.columns`; "text" is UTF-8; "numbers" one int64 or more; "images" a JPEG
# each.
SCHEMA: Mapping[str, str] = {
    "utterance_id": "text",
    "speaker": "text",
    "label": "numbers",
    "attributes": "text",
    "trial": "text",
    "audio_sha256": "text",
    "published_split": "text",
    "transcript": "text",
    "context": "text",
    "token_ids": "int32",
    "log_mel": "float32",
    "acoustic": "float32",
    "encoder": "float16",
    "waveform": "int16",
    "video_frames": "images",
    "face_boxes": "float32",
    "video_sha256": "text",
}

STORED = {
    "log_mel": "log_mel",
    "mfcc": "acoustic",
    "acoustic": "acoustic",
    "encoder": "encoder",
    "waveform": "waveform",
}
"""Audio feature -> the field of a record that it is read from."""


def serialise(record: Mapping[str, Any]) -> bytes:
    """Turns a record into the bytes of a `tf.train.Example`, the same bytes for the same record.

    Args:
      record: Fields of `SCHEMA`; those that a corpus has nothing for may be absent.
    """
    import tensorflow as tf

    features = {}
    for name, value in record.items():
        kind = SCHEMA[name]
        if kind == "numbers":
            features[name] = tf.train.Feature(int64_list=tf.train.Int64List(value=value))
        else:
            features[name] = tf.train.Feature(bytes_list=tf.train.BytesList(value=_stored(kind, value)))
    example = tf.train.Example(features=tf.train.Features(feature=features))
    return example.SerializeToString(deterministic=True)


def _stored(kind: str, value: Any) -> list[bytes]:
    if kind == "images":
        return list(value)
    return [value.encode() if kind == "text" else np.asarray(value, np.dtype(kind).newbyteorder("<")).tobytes()]


def parse(
    serialised: "tf.Tensor", fields: Sequence[str], columns: Mapping[str, int | tuple[int, ...]]
) -> "dict[str, tf.Tensor]":
    """Reads fields of one record, as a graph op.

    Args:
      serialised: A scalar string.
      fields: Names of `SCHEMA`.
      columns: Fields that are tables -> their numbers of columns, of encoder (num_blocks, width): `Metadata.columns`.

    Returns:
      Field -> tensor: strings are scalars, log_mel and acoustic are [num_frames, columns], encoder is [num_steps,
      num_blocks, width], face_boxes is [num_video_frames, 5], label (int64), token_ids, waveform and video_frames
      (strings, a JPEG each) are vectors.
    """
    import tensorflow as tf

    numbers = tf.io.FixedLenSequenceFeature([], tf.int64, allow_missing=True)
    images = tf.io.FixedLenSequenceFeature([], tf.string, allow_missing=True)
    stored = tf.io.FixedLenFeature([], tf.string)
    features = {name: {"numbers": numbers, "images": images}.get(SCHEMA[name], stored) for name in fields}
    parsed = tf.io.parse_single_example(serialised, features)
    for name in fields:
        if SCHEMA[name] not in ("text", "numbers", "images"):
            parsed[name] = tf.io.decode_raw(parsed[name], tf.as_dtype(SCHEMA[name]))
        if name in columns:
            parsed[name] = tf.reshape(parsed[name], (-1, *np.atleast_1d(columns[name]).tolist()))
    return parsed


def frames_of(record: Mapping[str, Any], names: Sequence[str], front_end: FrontEnd) -> dict[str, Any]:
    """Picks features of frames [num_frames, columns] out of the fields of one record, tensors or arrays."""
    return {name: record[STORED[name]][:, : num_columns(name, front_end)] for name in names}
