"""Records to batches: `make_dataset` is one chain from TFRecord shards to what a model takes."""

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

from pipelines import records, text
from pipelines.command import InputError
from pipelines.examples import Tensors, crop, to_batch, to_example, weigher
from pipelines.normalisation import Normalisation
from pipelines.stored_audio import WAVEFORM, Change, StoredAudio
from pipelines.tensorflow_runtime import as_written, untuned

MODALITIES = ("audio", "text", "video")

_SORTED_BATCHES = 50
"""Sentences of so many batches are sorted by length at once: padding nearly goes, and batches stay random."""

_SHARDS_AT_ONCE = 16
"""Shards that are read in turns: TensorFlow's own choice is the number of processors, and order would depend on it."""

_ORDER_OF_SHARDS = -3
"""Which number, put into the seed of an epoch, gives that of the order of shards; `_ordered` has -1 and -2."""

_PREPARED_BY = {"acoustic": "--acoustic", "encoder": "--encoder whisper", "waveform": "--store-waveform"}
"""Field of a record -> what stores it."""

_METADATA_FIELDS = ("utterance_id", "speaker", "attributes")


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
    corpus_weights: Mapping[str, Sequence[float]] | None = None,
    augment: Callable[[Tensors, tf.Tensor], Tensors] | None = None,
    change_waveform: Change | None = None,
    normalisation: Normalisation | None = None,
    tokenizer: text.Tokenizer | None = None,
    with_metadata: bool = False,
    cache: bool = True,
    shuffle_size: int | None = None,
    seed: int = 0,
    epochs: range = range(1),
) -> tf.data.Dataset:
    """Streams batches of the chosen utterances, those of some speakers as a rule.

    Args:
      folder: Complete records.
      members: Which utterances to read: values of the field `by`.
      modalities: Some of `MODALITIES`; what is not named is not read.
      by: "speaker", "published_split" or "utterance_id".
      audio_features: Which audio features are read: "log_mel", "mfcc", "acoustic", "encoder", "waveform", or several of
        them.
      shuffled: "audio", "transcripts", "video" or "labels", which are then shuffled among the chosen utterances, in the
        same way in every epoch; empty: nothing.
      batch_size: Utterances a batch; the last batch may be smaller.
      training: Brings utterances into another order in every epoch and crops long clips at a random place; text alone
        is batched with text of about its length. Without it the order is that of the shards and the crop is the middle.
      num_frames: Frames that every clip is cropped or padded to; None: no crop, padded to the batch's longest. States
        of an encoder and waveforms are never cropped.
      num_video_frames: Frames that are kept of a video in training, one drawn from each of as many equal stretches;
        None: all, as without training.
      max_tokens: Token ids kept of a transcript; None: all.
      class_weights: Label -> weight, added as sample weights; not for multi-label records.
      corpus_weights: Of records of several corpora, how the speakers of each begin -> weight of each label, added as
        sample weights in the place of class_weights.
      augment: Applied in training to one example, with a seed [2], after normalising and cropping, before padding.
      change_waveform: Applied in training to a stored waveform [num_samples] with a seed [2], from whose result the
        features are computed, and which is read where it is a feature itself; None: what is stored is read.
      normalisation: Statistics that bring clips to one scale; None: each clip by itself.
      tokenizer: Makes token_ids of the stored transcripts; None: the stored ids are read, or where records hold lines
        of context, the project's own tokenizer makes them.
      with_metadata: Adds {"utterance_id", "speaker", "attributes"} as the last element, of videos face_boxes
        [num_video_frames, 5] too.
      cache: Keeps parsed and normalised clips in memory (about 26 kB a second of speech; with acoustic 67 kB;
        waveforms that will change 32 kB), and frames of videos as they are decoded (16 grey ones of 64 x 64: 66 kB).
        Without it every epoch reads the shards anew, in training in another order, unless something is `shuffled`.
      shuffle_size: Clips that are held in memory to be brought into another order in training; None: all, a perfect
        shuffle. With fewer, and without cache, memory does not grow with the records.
      seed: Of order, crops and what is shuffled; what an epoch holds depends on it and the epoch's number alone.
      epochs: Which epochs come, one behind the other, in training.

    Returns:
      A dataset of (features, label[, weight][, metadata]). features: those of audio_features, each [batch, num_frames,
      columns] float32 normalised and padded with each clip's silence, num_frames [batch] int32; encoder [batch,
      num_steps, num_blocks, width] float32, padded with 0, and num_steps [batch] int32; waveform [batch, num_samples]
      float32 in [-1, 1], padded with 0 to whole half seconds; token_ids [batch, num_tokens] int32 padded with 0;
      video_frames [batch, num_video_frames, height, width, channels] float32 in [0, 1], zeros where a clip has no
      video. label: [batch] int32; of multi-label records [batch, num_emotions] float32, 1 for each label.

    Raises:
      InputError: Records that are not complete, or lack one of the speakers or a feature, or an unknown modality or
        feature, or a modality that is to be shuffled and is not read, or waveforms or speakers that are needed and are
        not there.
      ValueError: num_frames or max_tokens below 1, or class_weights that leave out a label or are for multi-label
        records.
    """
    metadata = records.read_metadata(folder)
    _check(folder, metadata, modalities, num_frames, max_tokens, class_weights)
    names = _audio_features(modalities, audio_features, folder, metadata)
    stored = StoredAudio(folder, metadata, names, normalisation, change_waveform if training else None)
    fields = _fields(modalities, stored, with_metadata)
    fields += ["speaker"] * (corpus_weights is not None and "speaker" not in fields)
    # Stored ids are those of the transcripts alone.
    cut = tokenizer or (text.own_tokenizer() if metadata.context else None)
    tokenise = functools.partial(_tokenise, tokenizer=cut, max_tokens=max_tokens) if cut else None
    read = _reader(folder, metadata, members, by, tokenise)
    read_wanted = stored.reader(read, fields)
    moved = _moved(shuffled, fields, stored) if shuffled else []
    weigh = weigher(corpus_weights) if corpus_weights is not None else None
    about = {"metadata": metadata, "stored": stored, "with_metadata": with_metadata, "weigh": weigh}

    def examples(shard_seed: tf.Tensor | None = None) -> tf.data.Dataset:
        """Reads clips, and makes of them what is the same in every epoch; normalised whole, as in an export."""
        found = read_wanted(shard_seed)
        # A control comes first: whatever follows treats a shuffled record as it treats any.
        found = _shuffled_among(found, read(moved, None), moved, metadata.num_utterances, seed) if moved else found
        return _map(found, to_example, **about)

    dataset = examples().cache() if cache else examples()
    # What a control shuffles depends on the order in which it is read.
    reorders = training and not cache and not moved
    sizes = {"num_frames": num_frames, "num_video_frames": num_video_frames, "max_tokens": max_tokens}

    def batches(epoch: tf.Tensor | int) -> tf.data.Dataset:
        """Makes of the clips the batches of an epoch; here comes what differs from epoch to epoch."""
        epoch_seed = tf.random.fold_in(tf.constant([seed, 0], tf.int64), tf.cast(epoch, tf.int64))
        found = examples(tf.random.fold_in(epoch_seed, _ORDER_OF_SHARDS)) if reorders else dataset
        found = _ordered(found, shuffle_size or metadata.num_utterances, epoch_seed) if training else found
        # Behind the order one random number an utterance, by its place, for the maps that use it run in parallel.
        found = _map(found.enumerate(), _with_random, epoch_seed=epoch_seed)
        # A waveform is changed whole, so that its features can be normalised whole, before the crop.
        found = _map(found, stored.recompute) if stored.recomputes else found
        # Masks come behind the crop, so that they fall on what is read.
        found = _map(found, crop, training=training, augment=augment if training else None, **sizes)
        # Padding comes last, with the silence of each clip: no step before it can mistake padding for frames.
        sorts = training and tuple(modalities) == ("text",)
        found = _of_like_lengths(found, batch_size, epoch_seed) if sorts else found.ragged_batch(batch_size)
        return _map(found, to_batch, num_frames=num_frames, class_weights=class_weights, with_metadata=with_metadata)

    epochs = epochs if training else range(1)
    found = tf.data.Dataset.range(epochs.start, epochs.stop).flat_map(as_written(batches)) if training else batches(0)
    counted = _counted(found, metadata, members, by, batch_size, len(epochs))
    return untuned(counted.prefetch(tf.data.AUTOTUNE))


def _map(dataset: tf.data.Dataset, function: Callable[..., Any], **options: Any) -> tf.data.Dataset:
    """Maps elements in parallel, in their order."""
    return dataset.map(as_written(functools.partial(function, **options)), num_parallel_calls=tf.data.AUTOTUNE)


def _check(
    folder: Path,
    metadata: records.Metadata,
    modalities: Sequence[str],
    num_frames: int | None,
    max_tokens: int | None,
    class_weights: Mapping[int, float] | None,
) -> None:
    """Refuses arguments of `make_dataset` that do not fit the records."""
    for name, size in (("num_frames", num_frames), ("max_tokens", max_tokens)):
        if size is not None and size < 1:
            raise ValueError(f"{name} is {size}, but must be at least 1, or None.")
    if class_weights is not None and metadata.is_multi_label:
        raise ValueError("class_weights are for records with one label each, and these are multi-label.")
    if class_weights is not None and sorted(class_weights) != list(range(len(metadata.emotions))):
        raise ValueError(f"class_weights are for labels {sorted(class_weights)}, not one for each of 0, 1, ...")
    unknown = [modality for modality in modalities if modality not in MODALITIES]
    if unknown or not modalities:
        raise InputError(f"there is no modality {', '.join(unknown) or '(none named)'}: use {', '.join(MODALITIES)}.")
    if "video" in modalities and metadata.video is None:
        raise InputError(f"{folder} hold no video: prepare them again with --video-frames.")


def _audio_features(
    modalities: Sequence[str], audio_features: Sequence[str], folder: Path, metadata: records.Metadata
) -> list[str]:
    """Lists the audio features that are read, those of frames first and in the order of `audio.FRAME_FEATURES`."""
    if "audio" not in modalities:
        return []
    unknown = [name for name in audio_features if name not in records.STORED]
    if unknown or not audio_features:
        raise InputError(
            f"there is no audio feature {', '.join(unknown) or '(none named)'}: use {', '.join(records.STORED)}."
        )
    held = {*metadata.columns, *([WAVEFORM] if metadata.has_waveform else [])}
    lacking = [name for name in audio_features if records.STORED[name] not in held]
    if lacking:
        flags = " ".join(dict.fromkeys(_PREPARED_BY[records.STORED[name]] for name in lacking))
        raise InputError(f"{folder} hold no {' and '.join(lacking)}: prepare them again with {flags}.")
    return [name for name in records.STORED if name in audio_features]


def _fields(modalities: Sequence[str], stored: StoredAudio, with_metadata: bool) -> list[str]:
    """Lists the fields of a record that are read."""
    chosen = {"audio": stored.fields, "text": ["token_ids"], "video": ["video_frames"]}
    fields = ["label", *(field for modality in modalities for field in chosen[modality])]
    about = (*_METADATA_FIELDS, *(["face_boxes"] if "video" in modalities else [])) if with_metadata else ()
    return list(dict.fromkeys([*fields, *about]))


def _reader(
    folder: Path,
    metadata: records.Metadata,
    members: Sequence[str],
    by: str,
    tokenise: Callable[[Tensors], Tensors] | None,
) -> Callable[[Sequence[str], tf.Tensor | None], tf.data.Dataset]:
    """Makes what reads fields of the chosen records, shards in turns; those without one of the speakers stay closed.

    Returns:
      From fields and the seed [2] of the order of the shards, None for that of their names, to a dataset of records.
    """
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
    turns = {"cycle_length": min(len(shards), _SHARDS_AT_ONCE), "block_length": 1, "deterministic": True}

    def read(fields: Sequence[str], seed: tf.Tensor | None) -> tf.data.Dataset:
        """Reads some fields of the chosen records."""
        names = list(dict.fromkeys([by, *fields]))
        cut = tokenise if "token_ids" in names else None
        if cut:
            words = ["transcript", "context"] if metadata.context else ["transcript"]
            names = [*(name for name in names if name != "token_ids"), *words]
        paths = records.paths_of(folder, shards, seed)
        found = paths.interleave(tf.data.TFRecordDataset, num_parallel_calls=tf.data.AUTOTUNE, **turns)
        parse = as_written(lambda serialised: records.parse(serialised, names, metadata.columns))
        found = found.map(parse, num_parallel_calls=tf.data.AUTOTUNE)
        found = found.filter(as_written(lambda record: chosen.lookup(record[by]) > 0))
        return found.map(as_written(cut), num_parallel_calls=tf.data.AUTOTUNE) if cut else found

    return read


def _tokenise(record: Tensors, tokenizer: text.Tokenizer, max_tokens: int | None) -> Tensors:
    """Puts token ids in the place of a record's transcript and context."""
    transcript, context = record["transcript"], record.get("context")
    contexts = None if context is None else context[tf.newaxis]
    token_ids = tokenizer(transcript[tf.newaxis], max_tokens, contexts)[0]  # [num_tokens]
    others = {name: value for name, value in record.items() if name not in ("transcript", "context")}
    return others | {"token_ids": token_ids}


def _moved(shuffled: str, fields: Sequence[str], stored: StoredAudio) -> list[str]:
    """Names the fields that change their record; for audio all others, which take less memory."""
    chosen = {
        "audio": set(stored.fields),
        "transcripts": {"token_ids"},
        "video": {"video_frames", "face_boxes"},
        "labels": {"label"},
    }[shuffled]
    if not chosen & set(fields):
        raise InputError(f"a model that reads no {shuffled} has none to shuffle: choose another --control.")
    return [name for name in fields if (name in chosen) != (shuffled == "audio")]


def _shuffled_among(
    dataset: tf.data.Dataset, others: tf.data.Dataset, moved: Sequence[str], num_utterances: int, seed: int
) -> tf.data.Dataset:
    """Gives each record the moved fields of another one, the same in every epoch and process."""
    permute = functools.partial(_permute, moved=moved, seed=seed)
    others = others.ragged_batch(num_utterances).map(as_written(permute)).unbatch()
    return tf.data.Dataset.zip(dataset, others).map(as_written(lambda record, other: record | other))


def _permute(batch: Tensors, moved: Sequence[str], seed: int) -> Tensors:
    """Puts the fields of all records at once into another order."""
    count = batch[moved[0]].shape[0] or tf.shape(batch[moved[0]])[0]
    order = tf.random.experimental.stateless_shuffle(tf.range(count), [seed, 0])
    return {name: tf.gather(batch[name], order) for name in moved}


def _ordered(dataset: tf.data.Dataset, size: int, seed: tf.Tensor, stream: int = 0) -> tf.data.Dataset:
    """Shuffles a dataset with a buffer of some size, inside a function of the graph, by a seed [2] that is a tensor."""
    # Of a global seed of 0, which keras.utils.set_random_seed(0) sets, TensorFlow 2.x would ask in Python whether the
    # other one is 0, too. This sets the one of the function's graph alone.
    tf.random.set_seed(1)
    drawn = tf.random.stateless_uniform([], tf.random.fold_in(seed, -1 - stream), 0, 2**31 - 1, tf.int64)
    return dataset.shuffle(size, seed=drawn)


def _with_random(index: tf.Tensor, example: Tensors, epoch_seed: tf.Tensor) -> tuple[Tensors, tf.Tensor]:
    """Puts a random number, 0 to 2^32 - 1, behind an example."""
    return example, tf.random.stateless_uniform([], tf.random.fold_in(epoch_seed, index), 0, 2**32, tf.int64)


def _of_like_lengths(dataset: tf.data.Dataset, batch_size: int, seed: tf.Tensor) -> tf.data.Dataset:
    """Batches sentences with others of about their length, in random order; recurrent steps over padding are lost."""
    windows = dataset.ragged_batch(_SORTED_BATCHES * batch_size).map(as_written(_sort_by_length))
    return _ordered(windows.unbatch().ragged_batch(batch_size), _SORTED_BATCHES, seed, stream=1)


def _sort_by_length(window: Tensors) -> Tensors:
    order = tf.argsort(window["token_ids"].row_lengths(), stable=True)
    return {name: tf.gather(values, order) for name, values in window.items()}


def _counted(
    dataset: tf.data.Dataset, metadata: records.Metadata, members: Sequence[str], by: str, size: int, num_epochs: int
) -> tf.data.Dataset:
    """States how many batches there are, where the counts of the metadata give it."""
    # They count labels, so utterances only where each has one.
    if by != "speaker" or metadata.is_multi_label:
        return dataset
    num_utterances = sum(metadata.emotion_counts(set(members)))
    return dataset.apply(tf.data.experimental.assert_cardinality(num_epochs * -(-num_utterances // size)))
