"""Records on disk: the one schema, its writer and its reader, shards of whole speakers, and metadata.json.

A folder of records is complete when it holds metadata.json, which is written last.
"""

import dataclasses
import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pipelines.audio import ACOUSTIC, SAMPLE_RATE, FrontEnd, num_columns
from pipelines.command import InputError
from pipelines.encoder import STEPS_PER_SECOND
from pipelines.utterance import Utterance
from pipelines.video import NUM_BOX_COLUMNS, VideoSettings

if TYPE_CHECKING:
    import pandas as pd
    import tensorflow as tf

SCHEMA_VERSION = 2

METADATA = "metadata.json"

# One entry a field of a record, for writer and reader alike. Arrays are raw little-endian values of this type, whose
# last axis (if they have two) is told by `Metadata.columns`; "text" is UTF-8; "numbers" one int64 or more; "images" a
# JPEG each.
SCHEMA: Mapping[str, str] = {
    "utterance_id": "text",
    "speaker": "text",
    "label": "numbers",
    "attributes": "text",
    "trial": "text",
    "audio_sha256": "text",
    "published_split": "text",
    "transcript": "text",
    "token_ids": "int32",
    "log_mel": "float32",
    "acoustic": "float32",
    "encoder": "float16",
    "waveform": "int16",
    "video_frames": "images",
    "face_boxes": "float32",
    "video_sha256": "text",
}

# What holds for records that were made before metadata.json said so.
_OLDER: Mapping[str, Any] = {"acoustic": [], "encoder": None, "video": None, "seen": {}}

STORED = {"log_mel": "log_mel", "mfcc": "acoustic", "acoustic": "acoustic", "encoder": "encoder"}
"""Feature of sound -> the field of a record that it is read from."""

# Shards of this size are read fast and fit a shuffle; a small corpus is still cut in four, to be read side by side.
_SHARD_BYTES = 32 * 2**20
_MIN_SHARDS = 4
_EXPECTED_SECONDS = 4.0
_EXPECTED_WORDS_BYTES = 500
_EXPECTED_ENCODER_WIDTH = 768
_EXPECTED_IMAGE_BYTES = 2000


@dataclasses.dataclass(frozen=True)
class Metadata:
    """Facts of a folder of records; the keys of its metadata.json.

    Attributes:
      schema_version: Of the records.
      corpus, source, licence: Where they come from.
      emotions: The label set, in label order.
      label_map: The map that led to it, or empty.
      front_end: The settings of log_mel.
      acoustic: Names of the columns of acoustic; none where records hold no acoustic.
      encoder: Whose states records hold: {"kind", "model", "sha256" of the checkpoint, "layer", "width",
        "steps_per_second"}; None: nobody's.
      video: The settings of video_frames; None where records hold none.
      seen: Of video: {"num_clips", "num_frames_without_face", "without_face": [utterance_id, ...], "without_sound":
        number of clips with pictures alone}; empty where records hold none.
      vocabulary_sha256: Of the vocabulary that made the token ids.
      transcript_source: Where the words come from: "script", "simulated", "paired" or "whisper MODEL".
      is_multi_label: Whether a record may have several labels.
      has_audio: Whether the corpus has recordings; without them every log_mel has no frames.
      has_waveform: Whether records hold waveforms.
      shards: Shard -> {"speakers": [...], "num_utterances": N, "num_bytes": N}.
      num_utterances, hours, longest_frames: Of all records together; hours of decoded sound.
      num_multi_label: Records with two labels or more.
      num_without_words: Records whose transcript is blank.
      counts: Speaker -> emotion -> number of records; one with two labels counts twice.
      ignored: Reason -> number of files or rows that the corpus's reader left out on purpose.
      skipped: Recordings that cannot be read, each {"utterance_id", "reason"}.
      silent: Utterances whose recording is silent.
      fingerprint: Hash of settings and sources, to recognise the same command.
    """

    schema_version: int
    corpus: str
    source: str
    licence: str
    emotions: list[str]
    label_map: str
    front_end: dict[str, Any]
    acoustic: list[str]
    encoder: dict[str, Any] | None
    video: dict[str, Any] | None
    seen: dict[str, Any]
    vocabulary_sha256: str
    transcript_source: str
    is_multi_label: bool
    has_audio: bool
    has_waveform: bool
    shards: dict[str, dict[str, Any]]
    num_utterances: int
    hours: float
    longest_frames: int
    num_multi_label: int
    num_without_words: int
    counts: dict[str, dict[str, int]]
    ignored: dict[str, int]
    skipped: list[dict[str, str]]
    silent: list[str]
    fingerprint: str

    @property
    def speakers(self) -> tuple[str, ...]:
        """All speakers, sorted."""
        return tuple(sorted(self.counts))

    def emotion_counts(self, speakers: Iterable[str]) -> list[int]:
        """Counts the labels of each emotion, in label order, over some speakers."""
        chosen = [self.counts[speaker] for speaker in speakers]
        return [sum(count.get(emotion, 0) for count in chosen) for emotion in self.emotions]

    @property
    def settings(self) -> FrontEnd:
        """The settings of log_mel, as an object."""
        return FrontEnd(**self.front_end)

    @property
    def columns(self) -> dict[str, int]:
        """The fields that are tables, and their numbers of columns."""
        acoustic = {"acoustic": len(self.acoustic)} if self.acoustic else {}
        encoder = {"encoder": self.encoder["width"]} if self.encoder else {}
        faces = {"face_boxes": NUM_BOX_COLUMNS} if self.video else {}
        return {"log_mel": self.settings.mel_bins} | acoustic | encoder | faces

    @property
    def video_settings(self) -> VideoSettings | None:
        """The settings of video_frames, as an object."""
        return VideoSettings(**self.video) if self.video else None


def read_metadata(folder: Path) -> Metadata:
    """Reads metadata.json and makes sure that its shards are there.

    Raises:
      InputError: No complete records, a metadata.json that is no such file, another schema version, a missing shard.
    """
    again = "make them again with python -m pipelines.prepare --overwrite"
    path = folder / METADATA
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(
            f"{folder} holds no complete records ({METADATA} is missing): finish python -m pipelines.prepare."
        ) from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is corrupt ({error}): {again}.") from None
    version = values.get("schema_version") if isinstance(values, dict) else None
    if version != SCHEMA_VERSION:
        raise InputError(f"{path} has schema version {version}, and this program reads {SCHEMA_VERSION}: {again}.")
    names = {field.name for field in dataclasses.fields(Metadata)}
    values = _OLDER | values
    if set(values) != names:
        differing = ", ".join(sorted(set(values) ^ names))
        raise InputError(f"{path} is corrupt (missing or unknown: {differing}): {again}.")
    try:
        metadata = Metadata(**values)
        metadata.emotion_counts(metadata.speakers)
        _ = metadata.columns, metadata.video_settings
        if metadata.acoustic not in ([], list(ACOUSTIC)):
            raise InputError(f"{path} names other acoustic features than this program computes: {again}.")
        for name, shard in metadata.shards.items():
            if not (folder / name).is_file() or (folder / name).stat().st_size != shard["num_bytes"]:
                raise InputError(f"{folder / name} is missing or cut off: {again}.")
    except (TypeError, KeyError, AttributeError) as error:
        raise InputError(f"{path} is corrupt ({error}): {again}.") from None
    return metadata


def marks_of(metadata: Metadata) -> list[str]:
    """Names what every score on these records has to carry."""
    of_source = {"simulated": "label-leaking", "paired": "paired"}
    marks = ["synthetic"] if metadata.corpus == "synthetic" else []
    return marks + [mark for source, mark in of_source.items() if metadata.transcript_source == source]


def write_metadata(folder: Path, metadata: Metadata) -> None:
    """Writes metadata.json, which says that the records are complete."""
    write_json(folder / METADATA, dataclasses.asdict(metadata))


def write_json(path: Path, values: Any) -> None:
    """Writes JSON to a temporary name and renames it, so that no reader meets half a file."""
    temporary = path.with_name(path.name + ".tmp")
    try:
        temporary.write_text(json.dumps(values, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def plan_shards(
    utterances: Sequence[Utterance],
    front_end: FrontEnd,
    has_waveform: bool,
    has_acoustic: bool = False,
    has_encoder: bool = False,
    num_video_frames: int = 0,
) -> dict[str, list[Utterance]]:
    """Deals whole speakers to shards of about equal size.

    Sentences without a speaker go by a hash of the text, so that equal sentences share a shard.

    Returns:
      File name of each shard -> its utterances, sorted by utterance_id.
    """
    groups: dict[str, list[Utterance]] = {}
    for utterance in sorted(utterances, key=lambda utterance: utterance.utterance_id):
        groups.setdefault(utterance.speaker or _bucket(utterance.transcript), []).append(utterance)
    num_columns = front_end.mel_bins + has_acoustic * len(ACOUSTIC)
    bytes_a_second = 4 * num_columns / front_end.hop_seconds + has_waveform * 2 * SAMPLE_RATE
    # The width is known once the encoder is loaded, which a plan must not wait for.
    bytes_a_second += has_encoder * 2 * _EXPECTED_ENCODER_WIDTH * STEPS_PER_SECOND
    num_recordings = sum(utterance.audio is not None for utterance in utterances)
    num_videos = sum(utterance.video is not None for utterance in utterances)
    expected = num_recordings * _EXPECTED_SECONDS * bytes_a_second + len(utterances) * _EXPECTED_WORDS_BYTES
    expected += num_videos * num_video_frames * _EXPECTED_IMAGE_BYTES
    num_shards = min(len(groups), max(_MIN_SHARDS, round(expected / _SHARD_BYTES)))
    shards: list[list[Utterance]] = [[] for _ in range(num_shards)]
    for speaker in sorted(groups, key=lambda speaker: (-len(groups[speaker]), speaker)):
        min(shards, key=len).extend(groups[speaker])
    return {
        f"{index:05d}-of-{num_shards:05d}.tfrecord": sorted(shard, key=lambda utterance: utterance.utterance_id)
        for index, shard in enumerate(shards)
    }


def _bucket(transcript: str) -> str:
    return "sentences-" + hashlib.sha256(transcript.encode()).hexdigest()[:2]


def write_shard(path: Path, records: Iterable[Mapping[str, Any]]) -> None:
    """Writes records to a temporary name and renames it once they are safe on disk."""
    import tensorflow as tf

    temporary = path.with_name(path.name + ".tmp")
    try:
        with tf.io.TFRecordWriter(str(temporary)) as writer:
            for record in records:
                writer.write(serialise(record))
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def serialise(record: Mapping[str, Any]) -> bytes:
    """Turns a record into the bytes of a `tf.train.Example`, the same bytes for the same record.

    Args:
      record: Fields of `SCHEMA`; those that a corpus lacks may be absent.
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


def parse(serialised: "tf.Tensor", fields: Sequence[str], columns: Mapping[str, int]) -> "dict[str, tf.Tensor]":
    """Reads fields of one record, as a graph op.

    Args:
      serialised: A scalar string.
      fields: Names of `SCHEMA`.
      columns: Fields that are tables -> their numbers of columns, `Metadata.columns`.

    Returns:
      Field -> tensor: strings are scalars, log_mel and acoustic are [num_frames, columns], encoder is [num_steps,
      width], face_boxes is [num_video_frames, 5], label (int64), token_ids, waveform and video_frames (strings, a JPEG
      each) are vectors.
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
            parsed[name] = tf.reshape(parsed[name], [-1, columns[name]])
    return parsed


def frames_of(record: Mapping[str, Any], names: Sequence[str], front_end: FrontEnd) -> dict[str, Any]:
    """Picks features of frames [num_frames, columns] out of the fields of one record, tensors or arrays."""
    return {name: record[STORED[name]][:, : num_columns(name, front_end)] for name in names}


def read_index(folder: Path) -> "pd.DataFrame":
    """Reads what folds and audits need of each record, from the shards themselves.

    Args:
      folder: Complete records.

    Returns:
      One row a record, shards in the order of their names: utterance_id, speaker, trial, audio_sha256,
      published_split, transcript, video_sha256 (strings), label (int, the first one), labels (a tuple of all),
      has_sound (False where log_mel holds no frame).

    Raises:
      InputError: Records that are not complete, or a shard that is cut off or no TFRecord.
    """
    import pandas as pd
    import tensorflow as tf

    texts = ("utterance_id", "speaker", "trial", "audio_sha256", "published_split", "transcript")
    features = {name: tf.io.FixedLenFeature([], tf.string) for name in texts}
    features |= {name: tf.io.FixedLenFeature([], tf.string, b"") for name in ("log_mel", "video_sha256")}
    features["label"] = tf.io.RaggedFeature(tf.int64)

    def to_columns(serialised: "tf.Tensor") -> "dict[str, tf.Tensor]":
        columns = tf.io.parse_example(serialised, features)
        labels, has_sound = columns.pop("label"), tf.strings.length(columns.pop("log_mel")) > 0
        return columns | {"labels": labels.flat_values, "counts": labels.row_lengths(), "has_sound": has_sound}

    shards = [str(folder / name) for name in sorted(read_metadata(folder).shards)]
    try:
        batches = list(tf.data.TFRecordDataset(shards).batch(256).map(to_columns).as_numpy_iterator())
    except (tf.errors.DataLossError, tf.errors.InvalidArgumentError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{folder} holds a corrupt shard ({reason}): prepare it again with --overwrite.") from None
    columns = {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}
    index = {name: [value.decode() for value in columns[name]] for name in (*texts, "video_sha256")}
    ends = np.cumsum(columns["counts"])
    labels = [tuple(one.tolist()) for one in np.split(columns["labels"], ends[:-1])]
    index |= {"label": columns["labels"][ends - columns["counts"]], "labels": labels}
    return pd.DataFrame(index | {"has_sound": columns["has_sound"]})


class Example(NamedTuple):
    """What one record holds before anything is computed of it.

    Attributes:
      waveform: [num_samples] int16; no samples where none are stored.
      transcript: The words.
      images: A JPEG a frame of the video; none where there is none.
    """

    waveform: np.ndarray
    transcript: str
    images: list[bytes]


def read_examples(folder: Path, members: Sequence[str], count: int, by: str = "speaker") -> list[Example]:
    """Reads stored waveforms, words and pictures, spread evenly over some records.

    Args:
      folder: Complete records.
      members: Which of them: values of the field `by`.
      count: How many, at most.
      by: "speaker", "published_split" or "utterance_id".

    Returns:
      At most `count` examples.
    """
    import tensorflow as tf

    metadata, chosen = read_metadata(folder), set(members)
    shards = [
        str(folder / name)
        for name, shard in metadata.shards.items()
        if by != "speaker" or set(shard["speakers"]) & chosen
    ]
    stored = ["waveform"] * metadata.has_waveform + ["video_frames"] * (metadata.video is not None)
    fields = tuple(dict.fromkeys((by, "transcript", *stored)))
    dataset = tf.data.TFRecordDataset(shards).map(lambda record: parse(record, fields, metadata.columns))
    found = [
        Example(
            record.get("waveform", np.zeros(0, np.int16)),
            record["transcript"].decode(),
            list(record.get("video_frames", ())),
        )
        for record in dataset.as_numpy_iterator()
        if record[by].decode() in chosen
    ]
    return found[:: max(1, len(found) // count)][:count]
