"""Shards of records: which utterance lies in which, how they are written, and what is read of all of them."""

import contextlib
import hashlib
import itertools
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pipelines.audio import ACOUSTIC, SAMPLE_RATE, FrontEnd
from pipelines.command import InputError
from pipelines.files import UNFINISHED, replacing
from pipelines.records.metadata import read_metadata
from pipelines.records.remote import fetched, url_of
from pipelines.records.schema import parse, serialise
from pipelines.tensorflow_runtime import as_written, untuned
from pipelines.utterance import Utterance

if TYPE_CHECKING:
    import pandas as pd
    import tensorflow as tf

# Shards of this size are read fast and fit a shuffle; a small corpus is still cut in four, to be read side by side.
_SHARD_BYTES = 32 * 2**20
_MIN_SHARDS = 4
EXPECTED_SECONDS = 4.0
_EXPECTED_WORDS_BYTES = 500
_EXPECTED_IMAGE_BYTES = 2000


def plan_shards(
    utterances: Sequence[Utterance],
    front_end: FrontEnd,
    has_waveform: bool,
    has_acoustic: bool = False,
    encoder_bytes_per_second: int = 0,
    num_video_frames: int = 0,
) -> dict[str, list[Utterance]]:
    """Distributes whole speakers over shards of about equal size.

    Sentences without a speaker are grouped by a hash of the text, so that equal sentences share a shard.

    Returns:
      File name of each shard -> its utterances, sorted by utterance_id.
    """
    groups: dict[str, list[Utterance]] = {}
    for utterance in sorted(utterances, key=lambda utterance: utterance.utterance_id):
        groups.setdefault(utterance.speaker or _bucket(utterance.transcript), []).append(utterance)
    num_columns = front_end.mel_bins + has_acoustic * len(ACOUSTIC)
    bytes_a_second = 4 * num_columns / front_end.hop_seconds + has_waveform * 2 * SAMPLE_RATE
    bytes_a_second += encoder_bytes_per_second
    num_recordings = sum(utterance.audio is not None for utterance in utterances)
    num_videos = sum(utterance.video is not None for utterance in utterances)
    expected = num_recordings * EXPECTED_SECONDS * bytes_a_second + len(utterances) * _EXPECTED_WORDS_BYTES
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


def remove_unfinished(folder: Path) -> None:
    """Removes what was left of shards when the processes that wrote them were killed."""
    ours = f"{'[0-9]' * 5}-of-{'[0-9]' * 5}.tfrecord"
    for path in (*folder.glob(f"{UNFINISHED}{ours}*"), *folder.glob(f"{UNFINISHED}*-{ours}")):
        path.unlink(missing_ok=True)


def write_shard(path: Path, records: Iterable[Mapping[str, Any]], *, is_shared: bool = False) -> None:
    """Writes the records of one shard; the file takes its name once they are safe on disk.

    Args:
      path: The shard.
      records: What it holds.
      is_shared: Whether another process may write the same shard at the same time.
    """
    import tensorflow as tf

    with replacing(path, is_shared=is_shared) as temporary:
        with tf.io.TFRecordWriter(str(temporary)) as writer:
            for record in records:
                writer.write(serialise(record))
        with temporary.open("rb") as file:
            os.fsync(file.fileno())


def relabel_shard(path: Path, numbers: Mapping[int, int]) -> None:
    """Writes a shard anew with other numbers for its labels: number -> number in the new label set."""
    import tensorflow as tf

    with replacing(path) as temporary:
        with tf.io.TFRecordWriter(str(temporary)) as writer:
            for serialised in serialised_records([path]).as_numpy_iterator():
                example = tf.train.Example.FromString(serialised)
                labels = example.features.feature["label"].int64_list.value
                labels[:] = [numbers[label] for label in labels]
                writer.write(example.SerializeToString(deterministic=True))
        with temporary.open("rb") as file:
            os.fsync(file.fileno())


def serialised_records(paths: "Sequence[Path] | tf.data.Dataset") -> "tf.data.Dataset":
    """Streams the records of shards as they are stored.

    Args:
      paths: Of the shards; those of `paths_of` may be of a URL.
    """
    import tensorflow as tf

    return untuned(tf.data.TFRecordDataset([str(path) for path in paths] if isinstance(paths, Sequence) else paths))


def paths_of(folder: Path, names: Iterable[str], seed: "tf.Tensor | None" = None) -> "tf.data.Dataset":
    """Streams the paths of shards, for `TFRecordDataset`; one of a URL is fetched when its path is asked for.

    Args:
      folder: The records.
      names: Of the shards.
      seed: [2], of the order in which they come; None: that of the names.
    """
    import tensorflow as tf

    named = tf.constant([str(folder / name) for name in names], tf.string)
    if seed is not None:
        named = tf.random.experimental.stateless_shuffle(named, seed)
    paths = tf.data.Dataset.from_tensor_slices(named)
    if not url_of(folder):
        return paths

    def fetch(path: bytes) -> bytes:
        return str(fetched(folder, Path(path.decode()).name)).encode()

    def fetch_in_graph(path: "tf.Tensor") -> "tf.Tensor":
        found = tf.numpy_function(fetch, [path], tf.string)
        found.set_shape([])
        return found

    return paths.map(as_written(fetch_in_graph), num_parallel_calls=1, deterministic=True)


def read_index(folder: Path) -> "pd.DataFrame":
    """Reads what folds and audits need of each record, from the shards themselves.

    Args:
      folder: Complete records.

    Returns:
      One row a record, shards in the order of their names: utterance_id, speaker, trial, audio_sha256,
      published_split, transcript, video_sha256 (strings), label (int, the first one), labels (a tuple of all),
      has_audio (False where log_mel holds no frame), person (the speaker, called alike in all records that hold that
      person), only_train (whether the utterance may not validate or test).

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
        """Parses a batch of records."""
        columns = tf.io.parse_example(serialised, features)
        labels, has_audio = columns.pop("label"), tf.strings.length(columns.pop("log_mel")) > 0
        return columns | {"labels": labels.flat_values, "counts": labels.row_lengths(), "has_audio": has_audio}

    metadata = read_metadata(folder)
    shards = paths_of(folder, sorted(metadata.shards))
    with named_if_corrupt(folder):
        batches = list(serialised_records(shards).batch(256).map(to_columns).as_numpy_iterator())
    columns = {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}
    index = {name: [value.decode() for value in columns[name]] for name in (*texts, "video_sha256")}
    ends = np.cumsum(columns["counts"])
    labels = [tuple(one.tolist()) for one in np.split(columns["labels"], ends[:-1])]
    index |= {"label": columns["labels"][ends - columns["counts"]], "labels": labels}
    index |= {"person": [metadata.person_of(one) for one in index["speaker"]]}
    index |= {"only_train": [one in metadata.only_train for one in index["speaker"]]}
    return pd.DataFrame(index | {"has_audio": columns["has_audio"]})


@contextlib.contextmanager
def named_if_corrupt(folder: Path) -> Iterator[None]:
    """Names the shard where TensorFlow finds data lost or no records while it reads complete records in this context.

    Raises:
      InputError: A corrupt shard. Errors that have another cause stay what they are.
    """
    try:
        yield
    except Exception as error:
        import tensorflow as tf

        if not isinstance(error, tf.errors.DataLossError | tf.errors.InvalidArgumentError | tf.errors.NotFoundError):
            raise
        for name in sorted(read_metadata(folder).shards):
            # What keeps a shard of a URL away is said there.
            shard = fetched(folder, name)
            if not _is_readable(shard):
                if url := url_of(folder):
                    shard.unlink(missing_ok=True)
                    raise InputError(
                        f"{shard} was corrupt, and is removed: run the same command again, which fetches it from {url};"
                        " if it is corrupt there, too, prepare these records again."
                    ) from None
                if not shard.exists():
                    raise InputError(f"{shard} is gone: bring it back, or prepare these records again.") from None
                raise InputError(
                    f"{folder / name} is corrupt, a disk or a copy that went wrong perhaps: make these records again"
                    " with python -m pipelines.prepare --overwrite."
                ) from None
        raise


def _is_readable(shard: Path) -> bool:
    """Reads all of a shard, whose checksums TensorFlow compares."""
    import tensorflow as tf

    features = {"utterance_id": tf.io.FixedLenFeature([], tf.string)}
    try:
        for serialised in serialised_records([shard]):
            tf.io.parse_single_example(serialised, features)
    except tf.errors.OpError:
        return False
    return True


class Example(NamedTuple):
    """What one record holds before anything is computed of it.

    Attributes:
      waveform: [num_samples] int16; no samples where none are stored.
      transcript: The words.
      images: A JPEG a frame of the video; none where there is none.
      states: [num_steps, num_blocks, width] float16 of an encoder; None where none are stored.
      context: The lines before, the oldest first, one a line; empty where none are stored.
    """

    waveform: np.ndarray
    transcript: str
    images: list[bytes]
    states: np.ndarray | None = None
    context: str = ""


def read_examples(folder: Path, members: Sequence[str], count: int, by: str = "speaker") -> list[Example]:
    """Reads stored waveforms, words and pictures, spread evenly over some records.

    Args:
      folder: Complete records.
      members: Which of them: values of the field `by`.
      count: How many, at most.
      by: "speaker", "published_split" or "utterance_id".

    Returns:
      At most `count` examples.

    Raises:
      InputError: Records that are not complete, or a corrupt shard.
    """

    metadata, chosen = read_metadata(folder), set(members)
    shards = [name for name, shard in metadata.shards.items() if by != "speaker" or set(shard["speakers"]) & chosen]
    has = {
        "waveform": metadata.has_waveform,
        "video_frames": metadata.video,
        "encoder": metadata.encoder,
        "context": metadata.context,
    }
    fields = tuple(dict.fromkeys((by, "transcript", *(name for name, is_there in has.items() if is_there))))
    serialised = serialised_records(paths_of(folder, shards))

    def read(fields: Sequence[str]) -> Iterator[Mapping[str, Any]]:
        """Reads some fields of the chosen records."""
        parsed = serialised.map(lambda record: parse(record, fields, metadata.columns))
        return (record for record in parsed.as_numpy_iterator() if record[by].decode() in chosen)

    with named_if_corrupt(folder):
        step = max(1, sum(1 for _ in read((by,))) // count)
        return [
            Example(
                record.get("waveform", np.zeros(0, np.int16)),
                record["transcript"].decode(),
                list(record.get("video_frames", ())),
                record.get("encoder"),
                record.get("context", b"").decode(),
            )
            for record in itertools.islice(read(fields), 0, step * count, step)
        ]
