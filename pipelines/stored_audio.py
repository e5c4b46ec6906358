"""How the audio of a record becomes features: the stored ones, or those of its changed waveform; normalised."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from pipelines import audio, records
from pipelines.command import InputError
from pipelines.normalisation import (
    STATES,
    Normalisation,
    least_std,
    make_leave_one_out,
    normalise,
    normalise_states,
    parts_of,
    speaker_sums,
)
from pipelines.tensorflow_runtime import as_written

WAVEFORM = "waveform"
"""What a model reads that begins with an encoder."""

_SPEAKER_FIELDS = ("speaker_mean", "speaker_std")

Tensors = dict[str, tf.Tensor]

Change = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
"""From a waveform [num_samples] and a seed [2] to another waveform."""


@dataclasses.dataclass(frozen=True)
class StoredAudio:
    """Which audio features are read of some records, and how.

    Attributes:
      folder: The records.
      metadata: Theirs.
      names: Features, those of frames in the order of `audio.FRAME_FEATURES`, and behind them `STATES` and `WAVEFORM`;
        none: no audio is read.
      normalisation: Statistics that bring clips to one scale; None: each clip by itself.
      change: Applied to waveforms, of which the features of frames are computed then; None: both are read as stored.

    Raises:
      InputError: Waveforms that are to be changed and are not stored.
    """

    folder: Path
    metadata: records.Metadata
    names: Sequence[str]
    normalisation: Normalisation | None = None
    change: Change | None = None

    def __post_init__(self) -> None:
        if self.recomputes and not self.metadata.has_waveform:
            raise InputError(f"{self.folder} hold no waveforms to change: prepare them again with --store-waveform.")

    @property
    def frame_names(self) -> tuple[str, ...]:
        """The features of frames."""
        return audio.frame_names(self.names)

    @property
    def recomputes(self) -> bool:
        """Whether waveforms are changed, and features of frames computed from them."""
        return self.change is not None and bool(self.frame_names or WAVEFORM in self.names)

    @property
    def fields(self) -> list[str]:
        """The fields of a record that are read."""
        of_frames = [WAVEFORM] if self.recomputes else [records.STORED[name] for name in self.frame_names]
        return list(dict.fromkeys([*of_frames, *(name for name in self.names if name in (STATES, WAVEFORM))]))

    def reader(
        self, read: Callable[[Sequence[str], tf.Tensor | None], tf.data.Dataset], fields: Sequence[str]
    ) -> Callable[[tf.Tensor | None], tf.data.Dataset]:
        """Makes what reads fields of records and adds, where speakers are enrolled, the statistics of a clip's others.

        They go with the clip, also where it is shuffled to another utterance later.

        Args:
          read: From fields of `records.SCHEMA` and the seed of the order of the shards, None for the usual one, to a
            dataset of records that hold them.
          fields: Those that are wanted.

        Returns:
          From such a seed to a dataset of records: field -> tensor; speaker_mean and speaker_std [num_columns] float32
          where added.
        """
        if not self.names or self.normalisation is None or self.normalisation.mode != "enrolled":
            return lambda seed: read(fields, seed)
        least = least_std(self.names, self.metadata.settings, self.metadata.encoder)
        leave_one_out = make_leave_one_out(speaker_sums(self.folder, self.names), self.normalisation, self.names, least)

        def with_statistics(record: Tensors) -> Tensors:
            """Puts the statistics beside the wanted fields of one record."""
            speaker = leave_one_out(record["speaker"], *parts_of(record, self.names, self.metadata.settings))
            return {name: record[name] for name in fields} | dict(zip(_SPEAKER_FIELDS, speaker, strict=True))

        needed = list(dict.fromkeys([*fields, "speaker", *(records.STORED[name] for name in self.names)]))
        return lambda seed: read(needed, seed).map(as_written(with_statistics), num_parallel_calls=tf.data.AUTOTUNE)

    def to_features(self, record: Tensors) -> Tensors:
        """Normalises the stored features of a record; of one whose waveform will change, keeps what that needs.

        Returns:
          Feature of frames -> [num_frames, columns] float32, `<name>_silence` -> [columns]; or waveform [num_samples]
          int16 and, where speakers are enrolled, their statistics. And encoder [num_steps, num_blocks, width], and
          waveform where it is a feature.
        """
        found = {}
        if STATES in self.names:
            found[STATES] = normalise_states(record[STATES][tf.newaxis], self.normalisation, *_speaker_of(record))[0]
        if self.recomputes:
            return found | {name: record[name] for name in (WAVEFORM, *_SPEAKER_FIELDS) if name in record}
        found |= {name: record[name] for name in self.names if name == WAVEFORM}
        return found | (self._scaled(self._stored(record), record) if self.frame_names else {})

    def recompute(self, example: Tensors, random: tf.Tensor) -> tuple[Tensors, tf.Tensor]:
        """Changes the waveform of an example, computes features as the writer of records does, and normalises them.

        Args:
          example: What `to_features` kept, among others.
          random: A number that decides how the waveform changes.

        Returns:
          The example with features in the place of the waveform, or beside it [num_samples] float32 where it is a
          feature; and the number.
        """
        assert self.change is not None
        waveform = tf.cast(example[WAVEFORM], tf.float32) / 32768.0  # [num_samples]
        waveform = self.change(waveform, tf.stack([random, 0]))  # [num_samples], not always as many
        kept = {name: value for name, value in example.items() if name not in (WAVEFORM, *_SPEAKER_FIELDS)}
        kept |= {name: waveform for name in self.names if name == WAVEFORM}
        if not self.frame_names:
            return kept, random
        batch, num_frames = audio.frame_features(waveform[tf.newaxis], self.metadata.settings, self.frame_names)
        features = {name: values[0, : num_frames[0]] for name, values in batch.items()}  # [num_frames, columns] each
        return kept | self._scaled(features, example), random

    def _stored(self, record: Tensors) -> Tensors:
        return records.frames_of(record, self.frame_names, self.metadata.settings)

    def _scaled(self, features: Tensors, record: Mapping[str, tf.Tensor]) -> Tensors:
        """Normalises features [num_frames, columns] of a clip; adds `<name>_silence` [columns], what pads each."""
        num_frames = tf.shape(features[self.frame_names[0]])[:1]  # [1]
        # One more frame, of silence: normalised with the clip, it is what the clip is padded with.
        rows = {name: audio.silence_row(name, self.metadata.settings)[np.newaxis] for name in self.frame_names}
        # [1, num_frames + 1, columns] each.
        longer = {name: tf.concat([features[name], row], axis=0)[tf.newaxis] for name, row in rows.items()}
        scaled = normalise(longer, num_frames, self.normalisation, *_speaker_of(record))
        silence = {f"{name}_silence": values[0, -1] for name, values in scaled.items()}
        return {name: values[0, :-1] for name, values in scaled.items()} | silence


def _speaker_of(record: Mapping[str, tf.Tensor]) -> list[tf.Tensor]:
    """Picks the statistics of a record's speaker, [1, num_columns] each; none where there are none."""
    return [record[name][tf.newaxis] for name in _SPEAKER_FIELDS if name in record]
