"""The scale of features: statistics over training frames, or over a speaker's other clips, in place of a clip's own.

`pipelines.audio.normalise` looks at one clip alone. What is here looks further, so it is fitted at `fit` time, written
to the run, and marked where it needs recordings of the same speaker.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines import audio, records
from pipelines.command import InputError
from pipelines.records.metadata import shape_of_states

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
        [num_blocks * width] over all steps.
      num_alone: Utterances of the records whose speaker has no other clip with audio; with "enrolled" the statistics of
        training stand in for them.
      by_clip: Features that are read as with "clip" all the same, by a run of that which late fusion joins.
    """

    mode: str
    mean: Mapping[str, Sequence[float]]
    std: Mapping[str, Sequence[float]]
    num_alone: int = 0
    by_clip: Sequence[str] = ()

    def with_features_of(self, other: Normalisation) -> Normalisation:
        """Adds features that another run of the same mode and training split reads."""
        return dataclasses.replace(self, mean={**self.mean, **other.mean}, std={**self.std, **other.std})

    def with_clips(self, names: Sequence[str]) -> Normalisation:
        """Leaves features to the statistics of each clip."""
        mean, std = ({name: of[name] for name in of if name not in names} for of in (self.mean, self.std))
        return dataclasses.replace(self, mean=mean, std=std, by_clip=tuple(names))

    def scale_of(self, name: str) -> str:
        """Names the mode of a feature."""
        return "clip" if name in self.by_clip else self.mode

    def vectors(self, names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Joins mean and std of the columns of some features, [num_columns] float64 each."""
        mean, std = (np.concatenate([of[name] for name in names]) for of in (self.mean, self.std))
        return mean, std


@dataclasses.dataclass(frozen=True)
class Sums:
    """Streaming sums over frames and steps.

    Attributes:
      num_clips: Clips with audio.
      counts: [num_columns] float64: how many frames, or steps of an encoder, each column was summed over.
      total, squares: [num_columns] float64.
    """

    num_clips: int
    counts: np.ndarray
    total: np.ndarray
    squares: np.ndarray

    @classmethod
    def of(cls, *parts: np.ndarray) -> Sums:
        """Sums one clip, whose parts are [num_frames, columns] or [num_steps, columns]; an absent one adds nothing."""
        wide = [part.astype(np.float64) for part in parts]
        counts = np.repeat([float(len(part)) for part in parts], [part.shape[1] for part in parts])
        total, squares = (np.concatenate(found) for found in zip(*map(_sums_of_part, wide), strict=True))
        return cls(int(any(map(len, parts))), counts, total, squares)

    def __add__(self, other: Sums) -> Sums:
        return Sums(
            self.num_clips + other.num_clips,
            self.counts + other.counts,
            self.total + other.total,
            self.squares + other.squares,
        )

    def statistics(self, least: np.ndarray | float) -> tuple[np.ndarray, np.ndarray]:
        """Returns mean and std [num_columns] float64, the latter at least `least`."""
        counts = np.maximum(self.counts, 1.0)
        mean = self.total / counts
        variance = np.maximum(self.squares / counts - np.square(mean), 0.0)
        return mean, np.maximum(np.sqrt(variance), least)


def _sums_of_part(wide: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return wide.sum(axis=0), np.einsum("fc,fc->c", wide, wide)


def pooled(sums: Iterable[Sums], num_columns: int) -> Sums:
    """Adds sums up; those of nothing are zero."""
    return sum(sums, Sums.of(np.zeros((0, num_columns))))


def num_columns(name: str, front_end: audio.FrontEnd, encoder: Mapping[str, Any] | None = None) -> int:
    """Counts what is normalised of one of `audio.FRAME_FEATURES`, or of `STATES`, by the facts of their encoder."""
    if name != STATES:
        return audio.num_columns(name, front_end)
    return math.prod(shape_of_states(encoder or {}))


def least_std(names: Sequence[str], front_end: audio.FrontEnd, encoder: Mapping[str, Any] | None = None) -> np.ndarray:
    """Joins what the columns of some features are divided by at least: [num_columns]; arguments as `num_columns`."""
    return np.concatenate(
        [
            np.full(num_columns(name, front_end, encoder), _LEAST_STD_OF_STATES)
            if name == STATES
            else audio.least_std(name, front_end)
            for name in names
        ]
    )


def fit(folder: Path, mode: str, names: Sequence[str], members: Sequence[str], by: str = "speaker") -> Normalisation:
    """Fits statistics on the training split of some records.

    Args:
      folder: Complete records.
      mode: "training" or "enrolled".
      names: Of `audio.FRAME_FEATURES`, in that order, and behind them `STATES`.
      members: The training split: values of the field `by`.
      by: "speaker", "published_split" or "utterance_id".

    Raises:
      InputError: "enrolled" for records without speakers.
    """
    metadata = records.read_metadata(folder)
    of_speakers = speaker_sums(folder, names) if mode == "enrolled" else {}
    if of_speakers and by == "speaker":
        chosen = [of_speakers[name] for name in dict.fromkeys(members) if name in of_speakers]
    else:
        chosen = list(read_sums(folder, names, members, by).values())
    least = least_std(names, metadata.settings, metadata.encoder)
    ends = np.cumsum([num_columns(name, metadata.settings, metadata.encoder) for name in names])[:-1]
    mean, std = (
        {name: columns.tolist() for name, columns in zip(names, np.split(values, ends), strict=True)}
        for values in pooled(chosen, len(least)).statistics(least)
    )
    return Normalisation(mode, mean, std, sum(one.num_clips == 1 for one in of_speakers.values()))


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
    """Sums the stored features of each speaker over some records (None: all), in one pass."""
    import tensorflow as tf

    metadata, chosen = records.read_metadata(folder), None if members is None else set(members)
    fields = tuple(dict.fromkeys((by, "speaker", *(records.STORED[name] for name in names))))

    def parse(serialised: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tuple[tf.Tensor, ...]]:
        """Reads of a record what tells whether it is chosen, its speaker, and what is summed."""
        record = records.parse(serialised, fields, metadata.columns)
        return record[by], record["speaker"], parts_of(record, names, metadata.settings)

    shards = records.paths_of(folder, sorted(metadata.shards))
    dataset = records.serialised_records(shards).map(parse, num_parallel_calls=tf.data.AUTOTUNE)
    sums: dict[str, Sums] = {}
    with records.named_if_corrupt(folder):
        for member, name, parts in dataset.as_numpy_iterator():
            if chosen is None or member.decode() in chosen:
                speaker, found = name.decode(), Sums.of(*parts)
                sums[speaker] = sums[speaker] + found if speaker in sums else found
    return sums


def parts_of(record: Mapping[str, tf.Tensor], names: Sequence[str], front_end: audio.FrontEnd) -> tuple[tf.Tensor, ...]:
    """Joins what is normalised of a record, as graph ops.

    Returns:
      Features of frames [num_frames, columns], and states [num_steps, num_blocks * width], as far as they are among the
      names.
    """
    import tensorflow as tf

    frames = records.frames_of(record, audio.frame_names(names), front_end)
    parts = [tf.concat(list(frames.values()), axis=1)] if frames else []
    if STATES in names:
        states = record[STATES]
        parts.append(tf.reshape(states, (-1, math.prod(states.shape[1:]))))
    return tuple(parts)


def make_leave_one_out(
    sums: Mapping[str, Sums], normalisation: Normalisation, names: Sequence[str], least: np.ndarray
) -> Callable[..., tuple[tf.Tensor, tf.Tensor]]:
    """Makes the graph function that finds the statistics of a speaker's other clips.

    Args:
      sums: Of each speaker, over all clips.
      normalisation: Stands in for a speaker without another clip.
      names: Features that the columns belong to.
      least: [num_columns], of `least_std`.

    Returns:
      From speaker (scalar string) and the parts of one of that speaker's clips, as `parts_of` joins them, to mean and
      std [num_columns] float32 over the others.
    """
    import tensorflow as tf

    speakers = sorted(sums)
    places = tf.lookup.KeyValueTensorInitializer(tf.constant(speakers), tf.range(len(speakers)))
    table = tf.lookup.StaticHashTable(places, -1)
    counts, totals, squares = (
        tf.constant(np.stack([getattr(sums[speaker], of) for speaker in speakers]))
        for of in ("counts", "total", "squares")
    )
    fitted = [tf.constant(values, tf.float64) for values in normalisation.vectors(names)]

    def leave_one_out(speaker: tf.Tensor, *parts: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Takes a clip's sums off those of its speaker."""
        place, wide = table.lookup(speaker), [tf.cast(part, tf.float64) for part in parts]
        own = [tf.fill(part.shape[1:], tf.cast(tf.shape(part)[0], tf.float64)) for part in wide]
        num_others = tf.gather(counts, place) - tf.concat(own, axis=0)  # [num_columns], like all below
        count = tf.maximum(num_others, 1.0)
        total = tf.concat([tf.reduce_sum(part, axis=0) for part in wide], axis=0)
        square = tf.concat([tf.reduce_sum(tf.square(part), axis=0) for part in wide], axis=0)
        mean = (tf.gather(totals, place) - total) / count
        variance = (tf.gather(squares, place) - square) / count - tf.square(mean)
        std = tf.maximum(tf.sqrt(tf.maximum(variance, 0.0)), least)
        is_alone = num_others < 1.0
        mean, std = (tf.where(is_alone, *both) for both in zip(fitted, (mean, std), strict=True))
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
      mean, std: [batch, num_columns] of each clip's speaker over the columns of all features, and behind them those of
        states, where the mode is "enrolled"; a row of std that is all zero stands for a speaker who is not enrolled,
        and a single zero for the std of training.

    Returns:
      The same names and shapes.
    """
    import tensorflow as tf

    if normalisation is None:
        return audio.normalise_frames(features, num_frames)
    if by_clip := {name: features[name] for name in features if name in normalisation.by_clip}:
        others = {name: features[name] for name in features if name not in by_clip}
        found = audio.normalise_frames(by_clip, num_frames)
        found |= normalise(others, num_frames, normalisation, mean, std) if others else {}
        return {name: found[name] for name in features}
    own = normalisation.vectors(list(features))
    if mean is not None and std is not None:
        mean, std = mean[:, : len(own[0])], std[:, : len(own[0])]
    mean, std = _or_fitted(mean, std, *own)  # [batch or 1, num_columns]
    joined = tf.concat(list(features.values()), axis=2)  # [batch, max_frames, num_columns]
    scaled = (joined - mean[:, tf.newaxis]) / std[:, tf.newaxis]
    widths = [values.shape[2] for values in features.values()]
    return dict(zip(features, tf.split(scaled, widths, axis=2), strict=True))


def normalise_states(
    states: tf.Tensor,
    normalisation: Normalisation | None,
    mean: tf.Tensor | None = None,
    std: tf.Tensor | None = None,
) -> tf.Tensor:
    """Brings a batch of states of an encoder to one scale, each column of each block by itself.

    Args:
      states: [batch, num_steps, num_blocks, width] float16 or float32.
      normalisation: What was fitted; None: they stay as they are.
      mean, std: As `normalise` takes them.

    Returns:
      The same shape, float32 where they were changed.
    """
    import tensorflow as tf

    if normalisation is None or STATES in normalisation.by_clip:
        return states
    own = normalisation.vectors([STATES])
    if mean is not None and std is not None:
        mean, std = mean[:, -len(own[0]) :], std[:, -len(own[0]) :]
    mean, std = (tf.reshape(of, (-1, 1, *states.shape[2:])) for of in _or_fitted(mean, std, *own))
    return (tf.cast(states, tf.float32) - mean) / std


def _or_fitted(
    mean: tf.Tensor | None, std: tf.Tensor | None, fitted_mean: np.ndarray, fitted_std: np.ndarray
) -> tuple[tf.Tensor, tf.Tensor]:
    """Lets what was fitted, [num_columns], stand in where there is no speaker, or one who is not enrolled.

    Returns:
      mean and std: [batch, num_columns], or [1, num_columns] where none is given.
    """
    import tensorflow as tf

    own = [tf.constant(values[np.newaxis], tf.float32) for values in (fitted_mean, fitted_std)]
    if mean is None or std is None:
        return own[0], own[1]
    is_enrolled = tf.reduce_any(std != 0.0, axis=1, keepdims=True)  # [batch, 1]
    # What never varied in the recordings of an enrolled speaker must not be divided by 0.
    return tf.where(is_enrolled, mean, own[0]), tf.where(std != 0.0, std, own[1])
