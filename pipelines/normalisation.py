"""The scale of features: statistics over training frames, or over a speaker's other clips, in place of a clip's own.

`pipelines.audio.normalise` looks at one clip alone. What is here looks further, so it is fitted at `fit` time, written
to the run, and marked where it needs recordings of the same speaker.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipelines import audio, records
from pipelines.command import InputError

if TYPE_CHECKING:
    import tensorflow as tf

MODES = {
    "clip": "each clip by its own mean and standard deviation",
    "training": "by those of the training split",
    "enrolled": "by those of the speaker's own other clips",
}

ENROLLED_MARK = "enrolled speaker"
"""What scores carry that need other recordings of the speaker."""

STATES = "encoder"
"""The feature that is no feature of frames: its steps are other ones, its columns those of all blocks in a row."""

_LEAST_STD_OF_STATES = 1e-3


@dataclasses.dataclass(frozen=True)
class Normalisation:
    """Statistics that bring frames to one scale, fitted on the training split; a run's normalisation.json.

    Attributes:
      mode: "training" or "enrolled"; the latter needs the speaker's own statistics and falls back to these.
      mean, std: Feature -> mean and standard deviation of each of its columns, over all training frames; of encoder
        [num_blocks * width] over all steps, where the mode is "training".
      num_alone: Utterances of the records whose speaker has no other clip with audio; with "enrolled" the statistics of
        training stand in for them.
    """

    mode: str
    mean: Mapping[str, Sequence[float]]
    std: Mapping[str, Sequence[float]]
    num_alone: int = 0

    def with_features_of(self, other: Normalisation) -> Normalisation:
        """Adds features that another run of the same mode and training split reads."""
        return dataclasses.replace(self, mean={**self.mean, **other.mean}, std={**self.std, **other.std})

    def vectors(self, names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Joins mean and std of the columns of some features, [num_columns] float64 each."""
        mean, std = (np.concatenate([of[name] for name in names]) for of in (self.mean, self.std))
        return mean, std


@dataclasses.dataclass(frozen=True)
class Sums:
    """Streaming sums over frames.

    Attributes:
      num_clips: Clips with audio.
      num_frames: Of all of them.
      total, squares: [num_columns] float64.
    """

    num_clips: int
    num_frames: int
    total: np.ndarray
    squares: np.ndarray

    @classmethod
    def of(cls, frames: np.ndarray) -> Sums:
        """Sums one clip, [num_frames, num_columns]; an absent one counts for nothing."""
        wide = frames.astype(np.float64)
        return cls(int(len(frames) > 0), len(frames), wide.sum(axis=0), np.square(wide).sum(axis=0))

    def __add__(self, other: Sums) -> Sums:
        return Sums(
            self.num_clips + other.num_clips,
            self.num_frames + other.num_frames,
            self.total + other.total,
            self.squares + other.squares,
        )

    def statistics(self, least: np.ndarray | float) -> tuple[np.ndarray, np.ndarray]:
        """Returns mean and std [num_columns] float64, the latter at least `least`."""
        count = max(self.num_frames, 1)
        mean = self.total / count
        variance = np.maximum(self.squares / count - np.square(mean), 0.0)
        return mean, np.maximum(np.sqrt(variance), least)


def pooled(sums: Sequence[Sums], num_columns: int) -> Sums:
    """Adds sums up; those of nothing are zero."""
    return sum(sums, Sums.of(np.zeros((0, num_columns))))


def least_std(names: Sequence[str], front_end: audio.FrontEnd) -> np.ndarray:
    """Joins what the columns of some features are divided by at least: [num_columns]."""
    return np.concatenate([audio.least_std(name, front_end) for name in names])


def fit(folder: Path, mode: str, names: Sequence[str], members: Sequence[str], by: str = "speaker") -> Normalisation:
    """Fits statistics on the training split of some records.

    Args:
      folder: Complete records.
      mode: "training" or "enrolled".
      names: Of `audio.FRAME_FEATURES`, in that order; and `STATES`, which "training" alone changes.
      members: The training split: values of the field `by`.
      by: "speaker", "published_split" or "utterance_id".

    Raises:
      InputError: "enrolled" for records without speakers.
    """
    front_end = records.read_metadata(folder).settings
    has_states, names = STATES in names and mode == "training", [name for name in names if name != STATES]
    least = least_std(names, front_end)
    sums = pooled(list(read_sums(folder, names, members, by).values()), len(least))
    num_alone = 0
    if mode == "enrolled":
        num_alone = sum(one.num_clips == 1 for one in speaker_sums(folder, names).values())
    ends = np.cumsum([audio.num_columns(name, front_end) for name in names])[:-1]
    mean, std = (
        {name: columns.tolist() for name, columns in zip(names, np.split(values, ends), strict=True)}
        for values in sums.statistics(least)
    )
    if has_states:
        of_states = sum(read_sums(folder, [STATES], members, by).values(), Sums.of(np.zeros((0, 1))))
        mean[STATES], std[STATES] = (values.tolist() for values in of_states.statistics(_LEAST_STD_OF_STATES))
    return Normalisation(mode, mean, std, num_alone)


def require_speakers(folder: Path, metadata: records.Metadata) -> None:
    """Refuses records whose utterances have no speaker to enrol.

    Raises:
      InputError: Such records.
    """
    if "" in metadata.counts:
        raise InputError(
            f"{folder} name no speakers, and --normalise enrolled rests on a speaker's other clips: give clip or"
            " training."
        )


def speaker_sums(folder: Path, names: Sequence[str]) -> dict[str, Sums]:
    """Sums all clips of each speaker of some records.

    Raises:
      InputError: Records without speakers.
    """
    require_speakers(folder, records.read_metadata(folder))
    return read_sums(folder, names)


def read_sums(
    folder: Path, names: Sequence[str], members: Sequence[str] | None = None, by: str = "speaker"
) -> dict[str, Sums]:
    """Sums the stored features of each speaker over some records (None: all), in one pass; `STATES` alone."""
    import tensorflow as tf

    metadata, chosen = records.read_metadata(folder), None if members is None else set(members)
    fields = tuple(dict.fromkeys((by, "speaker", *(records.STORED[name] for name in names))))
    shards = [str(folder / name) for name in sorted(metadata.shards)]
    dataset = tf.data.TFRecordDataset(shards).map(lambda s: records.parse(s, fields, metadata.columns))
    sums: dict[str, Sums] = {}
    with records.named_if_corrupt(folder):
        for record in dataset.as_numpy_iterator():
            if chosen is None or record[by].decode() in chosen:
                speaker, found = record["speaker"].decode(), Sums.of(_columns_of(record, names, metadata.settings))
                sums[speaker] = sums[speaker] + found if speaker in sums else found
    return sums


def _columns_of(record: Mapping[str, np.ndarray], names: Sequence[str], front_end: audio.FrontEnd) -> np.ndarray:
    """Joins the columns of some features of frames, or of states: [num_frames or num_steps, num_columns]."""
    if list(names) == [STATES]:
        return record[STATES].reshape(len(record[STATES]), -1)
    return np.concatenate(list(records.frames_of(record, names, front_end).values()), axis=1)


def make_leave_one_out(
    sums: Mapping[str, Sums], normalisation: Normalisation, names: Sequence[str], front_end: audio.FrontEnd
) -> Callable[[tf.Tensor, tf.Tensor], tuple[tf.Tensor, tf.Tensor]]:
    """Makes the graph function that finds the statistics of a speaker's other clips.

    Args:
      sums: Of each speaker, over all clips.
      normalisation: Stands in for a speaker without another clip.
      names: Features that the columns belong to.
      front_end: Theirs.

    Returns:
      From speaker (scalar string) and one of that speaker's clips [num_frames, num_columns] to mean and std
      [num_columns] float32 over the others.
    """
    import tensorflow as tf

    speakers = sorted(sums)
    places = tf.lookup.KeyValueTensorInitializer(tf.constant(speakers), tf.range(len(speakers)))
    table = tf.lookup.StaticHashTable(places, -1)
    counts = tf.constant([sums[speaker].num_frames for speaker in speakers], tf.float64)
    totals = tf.constant(np.stack([sums[speaker].total for speaker in speakers]))
    squares = tf.constant(np.stack([sums[speaker].squares for speaker in speakers]))
    fitted, least = normalisation.vectors(names), least_std(names, front_end).astype(np.float64)

    def leave_one_out(speaker: tf.Tensor, frames: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Takes a clip's sums off those of its speaker."""
        place, frames = table.lookup(speaker), tf.cast(frames, tf.float64)
        num_others = tf.gather(counts, place) - tf.cast(tf.shape(frames)[0], tf.float64)
        count = tf.maximum(num_others, 1.0)
        mean = (tf.gather(totals, place) - tf.reduce_sum(frames, axis=0)) / count
        square = (tf.gather(squares, place) - tf.reduce_sum(tf.square(frames), axis=0)) / count
        std = tf.maximum(tf.sqrt(tf.maximum(square - tf.square(mean), 0.0)), least)
        mean, std = (
            tf.where(num_others < 1.0, tf.constant(stand_in), own)
            for stand_in, own in zip(fitted, (mean, std), strict=True)
        )
        return tf.cast(mean, tf.float32), tf.cast(std, tf.float32)

    return leave_one_out


def normalise(
    features: Mapping[str, tf.Tensor],
    num_frames: tf.Tensor,
    normalisation: Normalisation | None,
    mean: tf.Tensor | None = None,
    std: tf.Tensor | None = None,
) -> dict[str, tf.Tensor]:
    """Brings a batch to one scale; frames behind a clip's end keep holding its silence.

    Args:
      features: Name -> [batch, max_frames, columns] float32, in the order of `audio.FRAME_FEATURES`.
      num_frames: [batch] int32.
      normalisation: What was fitted; None: each clip by itself (`pipelines.audio.normalise_frames`).
      mean, std: [batch, num_columns] of each clip's speaker over the columns of all features, where the mode is
        "enrolled"; a row of std that is all zero stands for a speaker who is not enrolled, and a single zero for the
        std of training.

    Returns:
      The same names and shapes.
    """
    import tensorflow as tf

    if normalisation is None:
        return audio.normalise_frames(features, num_frames)
    own = [tf.constant(values[np.newaxis], tf.float32) for values in normalisation.vectors(list(features))]
    if mean is None or std is None:
        mean, std = own
    else:
        is_enrolled = tf.reduce_any(std != 0.0, axis=1, keepdims=True)  # [batch, 1]
        # What never varied in the recordings of an enrolled speaker must not be divided by 0.
        mean, std = tf.where(is_enrolled, mean, own[0]), tf.where(std != 0.0, std, own[1])
    joined = tf.concat(list(features.values()), axis=2)  # [batch, max_frames, num_columns]
    scaled = (joined - mean[:, tf.newaxis]) / std[:, tf.newaxis]
    widths = [values.shape[2] for values in features.values()]
    return dict(zip(features, tf.split(scaled, widths, axis=2), strict=True))


def normalise_states(states: tf.Tensor, normalisation: Normalisation | None) -> tf.Tensor:
    """Brings the states of an encoder to one scale, each column of each block by itself.

    Args:
      states: [..., num_blocks, width] float16 or float32.
      normalisation: What was fitted; without statistics of states, or None: they stay as they are.

    Returns:
      The same shape, float32 where they were changed.
    """
    import tensorflow as tf

    if normalisation is None or STATES not in normalisation.mean:
        return states
    shape = states.shape[-2:]
    mean, std = (tf.constant(values, tf.float32, shape) for values in normalisation.vectors([STATES]))
    return (tf.cast(states, tf.float32) - mean) / std
