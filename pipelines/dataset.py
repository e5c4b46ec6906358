"""Records to batches: `make_dataset` is one chain from TFRecord shards to what a model takes."""

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

from pipelines import audio, records, text, video
from pipelines.command import InputError
from pipelines.normalisation import Normalisation
from pipelines.stored_audio import Change, Sound

MODALITIES = ("audio", "text", "video")

_SORTED_BATCHES = 50
"""Sentences of so many batches are sorted by length at once: padding nearly goes, and batches stay random."""

_PREPARED_BY = {"acoustic": "--acoustic", "encoder": "--encoder whisper"}
"""Field of a record -> what stores it."""

_METADATA_FIELDS = ("utterance_id", "speaker", "attributes")
_ABOUT = (*_METADATA_FIELDS, "face_boxes")

Tensors = dict[str, tf.Tensor]


def make_dataset(
    folder: Path,
    members: Sequence[str],
    modalities: Sequence[str] = ("audio", "text"),
    *,
    by: str = "speaker",
    audio_features: Sequence[str] = ("log_mel",),
    shuffled: str = "",
    batch_size: int = 32,
    training: bool = False,
    num_frames: int | None = None,
    num_video_frames: int | None = None,
    max_tokens: int | None = None,
    class_weights: Mapping[int, float] | None = None,
    augment: Callable[[Tensors], Tensors] | None = None,
    change_waveform: Change | None = None,
    normalisation: Normalisation | None = None,
    tokenizer: text.Tokenizer | None = None,
    with_metadata: bool = False,
    cache: bool = True,
    seed: int = 0,
) -> tf.data.Dataset:
    """Streams batches of the chosen utterances, those of some speakers as a rule.

    Args:
      folder: Complete records.
      members: Which utterances to read: values of the field `by`.
      modalities: Some of `MODALITIES`; what is not named is not read.
      by: "speaker", "published_split" or "utterance_id".
      audio_features: What of the sound is read: "log_mel", "mfcc", "acoustic", "encoder", or several of them.
      shuffled: "audio", "transcripts", "video" or "labels", which are then dealt anew among the chosen utterances, in
        the same way in every epoch; empty: nothing.
      batch_size: Utterances a batch; the last batch may be smaller.
      training: Shuffles anew in every epoch and crops long clips at a random place; words without sound are batched
        with others of about their length. Without it the order is that of the shards and the crop is the middle.
      num_frames: Frames that every clip is cropped or padded to; None: no crop, padded to the batch's longest. States
        of an encoder are never cropped.
      num_video_frames: Frames that are left of a video in training, one drawn of each of as many equal stretches; None:
        all, as without training.
      max_tokens: Token ids kept of a transcript; None: all.
      class_weights: Label -> weight, added as sample weights; not for multi-label records.
      augment: Applied in training to one example after normalising and cropping, before padding.
      change_waveform: Applied in training to a stored waveform [num_samples] with a seed [2], and the features are
        computed of what comes out; None: the stored features are read.
      normalisation: Statistics that bring clips to one scale; None: each clip by itself.
      tokenizer: Makes token_ids of the stored transcripts; None: the stored ids are read.
      with_metadata: Adds {"utterance_id", "speaker", "attributes"} as the last element, of videos face_boxes
        [num_video_frames, 5] too.
      cache: Keeps parsed and normalised clips in memory (about 26 kB a second of speech; with acoustic 67 kB;
        waveforms that will change 32 kB), and frames of videos as they are decoded (16 grey ones of 64 x 64: 66 kB).
      seed: Of order, crops and what is shuffled; the same seed gives the same batches in the same epoch.

    Returns:
      A dataset of (features, label[, weight][, metadata]). features: those of audio_features, each [batch, num_frames,
      columns] float32 normalised and padded with each clip's silence, num_frames [batch] int32; encoder [batch,
      num_steps, width] float32 as it is stored, padded with 0, and num_steps [batch] int32; token_ids [batch,
      num_tokens] int32 padded with 0; video_frames [batch, num_video_frames, height, width, channels] float32 in
      [0, 1], zeros where a clip has no video. label: [batch] int32; of multi-label records [batch, num_emotions]
      float32, 1 for each label.

    Raises:
      InputError: Records that are not complete, or lack one of the speakers or a feature, or an unknown modality or
        feature, or a modality that is to be shuffled and is not read, or waveforms or speakers that are needed and are
        not there.
      ValueError: num_frames or max_tokens below 1, or class_weights that leave out a label or are for multi-label
        records.
    """
    metadata = records.read_metadata(folder)
    _check_sizes(num_frames, max_tokens)
    _check_weights(class_weights, metadata)
    heard = _heard(modalities, audio_features, folder, metadata)
    of_frames = [name for name in heard if name in audio.FRAME_FEATURES]
    sound = Sound(folder, metadata, of_frames, normalisation, change_waveform if training else None)
    if "video" in modalities and metadata.video is None:
        raise InputError(f"{folder} hold no video: prepare them again with --video-frames.")
    fields = _fields(modalities, sound, heard, with_metadata)
    read = functools.partial(_read, folder, metadata, members, by, tokenise=_tokenise(tokenizer, max_tokens))
    dataset = sound.with_speakers(read, fields)
    if shuffled:
        moved = _moved(shuffled, fields, sound)
        others = read(moved).ragged_batch(metadata.num_utterances)
        dataset = tf.data.Dataset.zip(dataset, others.map(_shuffle(moved, seed)).unbatch())
        dataset = dataset.map(lambda record, other: record | other)
    dataset = dataset.map(_to_example(metadata, sound, with_metadata), num_parallel_calls=tf.data.AUTOTUNE)
    # Normalised before the cache (the same in every epoch), shuffled and cropped after it (different in every epoch);
    # a waveform is changed after it, and what is heard of it normalised then.
    if cache:
        dataset = dataset.cache()
    if training:
        dataset = dataset.shuffle(metadata.num_utterances, seed=seed)
    randoms = tf.data.Dataset.random(seed=seed, rerandomize_each_iteration=True)
    dataset = tf.data.Dataset.zip(dataset, randoms)
    dataset = dataset.map(sound.hear, num_parallel_calls=tf.data.AUTOTUNE) if sound.changes else dataset
    crop = _crop(num_frames, num_video_frames, max_tokens, training)
    dataset = dataset.map(crop, num_parallel_calls=tf.data.AUTOTUNE)
    if training and augment is not None:
        dataset = dataset.map(augment)  # One after the other: its random numbers come from one generator.
    sorts = training and tuple(modalities) == ("text",)
    dataset = _batches_of_like_lengths(dataset, batch_size, seed) if sorts else dataset.ragged_batch(batch_size)
    to_batch = _to_batch(num_frames, class_weights, with_metadata)
    dataset = dataset.map(to_batch, num_parallel_calls=tf.data.AUTOTUNE)
    # Labels are counted, so utterances only where each has one.
    if by == "speaker" and not metadata.is_multi_label:
        num_utterances = sum(metadata.emotion_counts(set(members)))
        dataset = dataset.apply(tf.data.experimental.assert_cardinality(-(-num_utterances // batch_size)))
    return dataset.prefetch(tf.data.AUTOTUNE)


def _check_sizes(num_frames: int | None, max_tokens: int | None) -> None:
    for name, size in (("num_frames", num_frames), ("max_tokens", max_tokens)):
        if size is not None and size < 1:
            raise ValueError(f"{name} is {size}, but must be at least 1, or None.")


def _check_weights(class_weights: Mapping[int, float] | None, metadata: records.Metadata) -> None:
    if class_weights is not None and metadata.is_multi_label:
        raise ValueError("class_weights are for records with one label each, and these are multi-label.")
    if class_weights is not None and sorted(class_weights) != list(range(len(metadata.emotions))):
        raise ValueError(f"class_weights are for labels {sorted(class_weights)}, not one for each of 0, 1, ...")


def _heard(
    modalities: Sequence[str], audio_features: Sequence[str], folder: Path, metadata: records.Metadata
) -> list[str]:
    """Lists the features of sound that are read, those of frames in the order of `audio.FRAME_FEATURES` and first."""
    unknown = [modality for modality in modalities if modality not in MODALITIES]
    if unknown or not modalities:
        raise InputError(f"there is no modality {', '.join(unknown) or '(none named)'}: use {', '.join(MODALITIES)}.")
    if "audio" not in modalities:
        return []
    unknown = [name for name in audio_features if name not in records.STORED]
    if unknown or not audio_features:
        raise InputError(
            f"there is no feature of sound {', '.join(unknown) or '(none named)'}: use {', '.join(records.STORED)}."
        )
    lacking = [name for name in audio_features if records.STORED[name] not in metadata.columns]
    if lacking:
        flags = " ".join(dict.fromkeys(_PREPARED_BY[records.STORED[name]] for name in lacking))
        raise InputError(f"{folder} hold no {' and '.join(lacking)}: prepare them again with {flags}.")
    return [name for name in records.STORED if name in audio_features]


def _fields(modalities: Sequence[str], sound: Sound, heard: Sequence[str], with_metadata: bool) -> list[str]:
    chosen = {
        "audio": [*sound.fields, *(["encoder"] if "encoder" in heard else [])],
        "text": ["token_ids"],
        "video": ["video_frames"],
    }
    fields = ["label", *(field for modality in modalities for field in chosen[modality])]
    about = (*_METADATA_FIELDS, *(["face_boxes"] if "video" in modalities else [])) if with_metadata else ()
    return list(dict.fromkeys([*fields, *about]))


def _read(
    folder: Path,
    metadata: records.Metadata,
    members: Sequence[str],
    by: str,
    fields: Sequence[str],
    tokenise: Callable[[Tensors], Tensors] | None,
) -> tf.data.Dataset:
    """Interleaves the shards and keeps the chosen records; shards without one of the speakers are not opened."""
    shards = dict(sorted(metadata.shards.items()))
    if by == "speaker":
        absent = sorted(set(members) - set(metadata.speakers))
        if absent or not members:
            raise InputError(
                f"{folder} holds no speaker {', '.join(absent) or '(none named)'}:"
                f" it holds {', '.join(metadata.speakers)}."
            )
        shards = {name: shard for name, shard in shards.items() if set(shard["speakers"]) & set(members)}
    keys = tf.constant(sorted(set(members)))
    chosen = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(keys, tf.ones_like(keys, tf.int32)), 0)
    columns = metadata.columns
    fields = list(dict.fromkeys([by, *fields]))
    if tokenise is not None:
        fields = ["transcript" if name == "token_ids" else name for name in fields]
    dataset = tf.data.Dataset.from_tensor_slices([str(folder / name) for name in shards])
    dataset = dataset.interleave(tf.data.TFRecordDataset, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    dataset = dataset.map(lambda s: records.parse(s, fields, columns), num_parallel_calls=tf.data.AUTOTUNE)
    dataset = dataset.filter(lambda record: chosen.lookup(record[by]) > 0)
    is_tokenised = tokenise is not None and "transcript" in fields
    return dataset.map(tokenise, num_parallel_calls=tf.data.AUTOTUNE) if is_tokenised else dataset


def _tokenise(tokenizer: text.Tokenizer | None, max_tokens: int | None) -> Callable[[Tensors], Tensors] | None:
    """Puts token ids in the place of a record's transcript."""
    if tokenizer is None:
        return None

    def tokenise(record: Tensors) -> Tensors:
        token_ids = tokenizer(record["transcript"][tf.newaxis], max_tokens)[0]
        return {name: value for name, value in record.items() if name != "transcript"} | {"token_ids": token_ids}

    return tokenise


def _moved(shuffled: str, fields: Sequence[str], sound: Sound) -> list[str]:
    """Names the fields that change their record; for audio all others, which take less memory."""
    chosen = {
        "audio": {*sound.fields, "encoder"},
        "transcripts": {"token_ids"},
        "video": {"video_frames", "face_boxes"},
        "labels": {"label"},
    }[shuffled]
    if not chosen & set(fields):
        raise InputError(f"a model that reads no {shuffled} has none to shuffle: choose another --control.")
    return [name for name in fields if (name in chosen) != (shuffled == "audio")]


def _shuffle(moved: Sequence[str], seed: int) -> Callable[[Tensors], Tensors]:
    """Puts the fields of all records at once into another order, the same in every epoch and process."""

    def shuffle(batch: Tensors) -> Tensors:
        count = batch[moved[0]].shape[0] or tf.shape(batch[moved[0]])[0]
        order = tf.random.experimental.stateless_shuffle(tf.range(count), [seed, 0])
        return {name: tf.gather(batch[name], order) for name in moved}

    return shuffle


def _to_example(metadata: records.Metadata, sound: Sound, with_metadata: bool) -> Callable[[Tensors], Tensors]:
    """Keeps what a model and its user need, features of sound normalised over the whole clip."""
    num_emotions, settings = len(metadata.emotions), metadata.video_settings

    def to_label(labels: tf.Tensor) -> tf.Tensor:
        if metadata.is_multi_label:
            return tf.reduce_max(tf.one_hot(labels, num_emotions), axis=0)
        return tf.cast(labels[0], tf.int32)

    def to_example(record: Tensors) -> Tensors:
        example = {"label": to_label(record["label"])} | sound.to_features(record)
        example |= {name: record[name] for name in ("encoder", "token_ids") if name in record}
        if settings and "video_frames" in record:
            example["video_frames"] = video.decode_frames(record["video_frames"], settings)
        return example | ({name: record[name] for name in _ABOUT if name in record} if with_metadata else {})

    return to_example


def _crop(
    num_frames: int | None, num_video_frames: int | None, max_tokens: int | None, training: bool
) -> Callable[[Tensors, tf.Tensor], Tensors]:
    """Cuts clips that are longer than num_frames: anywhere in training, else in the middle; makes pictures of bytes."""

    def crop(example: Tensors, random: tf.Tensor) -> Tensors:
        heard = [name for name in audio.FRAME_FEATURES if name in example]
        if heard and num_frames is not None:
            spare = tf.maximum(tf.shape(example[heard[0]], tf.int64)[0] - num_frames, 0)
            start = random % (spare + 1) if training else spare // 2
            example = example | {name: example[name][start : start + num_frames] for name in heard}
        if "token_ids" in example:
            example = example | {"token_ids": example["token_ids"][:max_tokens]}
        if "video_frames" in example:
            frames = example["video_frames"]
            frames = _some_of(frames, num_video_frames, random) if training and num_video_frames else frames
            example = example | {"video_frames": tf.cast(frames, tf.float32) / 255}
        return example

    return crop


def _some_of(frames: tf.Tensor, count: int, random: tf.Tensor) -> tf.Tensor:
    """Draws one frame of each of `count` equal stretches of a video, in their order; all where there are no more."""
    if count >= frames.shape[0]:
        return frames
    noise = tf.random.stateless_uniform([count], tf.stack([random, 1]))
    places = (tf.range(count, dtype=tf.float32) + noise) * frames.shape[0] / count
    chosen = tf.gather(frames, tf.minimum(tf.cast(places, tf.int32), frames.shape[0] - 1))
    return tf.ensure_shape(chosen, [count, *frames.shape[1:]])


def _batches_of_like_lengths(dataset: tf.data.Dataset, batch_size: int, seed: int) -> tf.data.Dataset:
    """Batches sentences with others of about their length, in random order; recurrent steps over padding are lost."""

    def sort(window: Tensors) -> Tensors:
        order = tf.argsort(window["token_ids"].row_lengths(), stable=True)
        return {name: tf.gather(values, order) for name, values in window.items()}

    windows = dataset.ragged_batch(_SORTED_BATCHES * batch_size).map(sort)
    return windows.unbatch().ragged_batch(batch_size).shuffle(_SORTED_BATCHES, seed=seed)


def _to_batch(
    num_frames: int | None, class_weights: Mapping[int, float] | None, with_metadata: bool
) -> Callable[[Tensors], tuple[Any, ...]]:
    """Pads a batch and puts it in the order that `model.fit` takes."""

    def to_batch(batch: Tensors) -> tuple[Any, ...]:
        features = {}
        for name in audio.FRAME_FEATURES:
            if name in batch:
                features["num_frames"] = tf.cast(batch[name].row_lengths(), tf.int32)
                features[name] = _pad_with(batch[name], batch[f"{name}_silence"], num_frames)
        if "encoder" in batch:
            features["num_steps"] = tf.cast(batch["encoder"].row_lengths(), tf.int32)
            features["encoder"] = _pad_steps(batch["encoder"])
        if "token_ids" in batch:
            features["token_ids"] = batch["token_ids"].to_tensor()
        if "video_frames" in batch:
            features["video_frames"] = batch["video_frames"]
        parts: tuple[Any, ...] = (features, batch["label"])
        if class_weights is not None:
            weights = tf.constant([class_weights[label] for label in range(len(class_weights))], tf.float32)
            parts += (tf.gather(weights, batch["label"]),)
        return parts + (({name: batch[name] for name in _ABOUT if name in batch},) if with_metadata else ())

    return to_batch


def _pad_with(values: tf.RaggedTensor, silence: tf.Tensor, num_frames: int | None) -> tf.Tensor:
    """Pads each clip with a row of its own; to one frame at least.

    Args:
      values: [batch, (num_frames), columns].
      silence: [batch, columns].
      num_frames: Frames to pad to; None: those of the longest clip.
    """
    dense = values.to_tensor(shape=[None, num_frames, silence.shape[1]])
    dense = tf.pad(dense, [[0, 0], [0, tf.maximum(1 - tf.shape(dense)[1], 0)], [0, 0]])
    is_frame = tf.sequence_mask(values.row_lengths(), tf.shape(dense)[1])[:, :, tf.newaxis]
    return tf.ensure_shape(tf.where(is_frame, dense, silence[:, tf.newaxis]), [None, num_frames, silence.shape[1]])


def _pad_steps(states: tf.RaggedTensor) -> tf.Tensor:
    """Pads states [batch, (num_steps), width] with zeros, to one step at least, and makes them float32."""
    dense = tf.cast(states.to_tensor(), tf.float32)
    dense = tf.pad(dense, [[0, 0], [0, tf.maximum(1 - tf.shape(dense)[1], 0)], [0, 0]])
    return tf.ensure_shape(dense, [None, None, states.shape[2]])
