"""What becomes of a record on its way into a batch: an example, its crop, and the order that `model.fit` takes."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import tensorflow as tf

from pipelines import audio, records, video
from pipelines.padding import pad_samples, pad_steps, pad_with
from pipelines.stored_audio import WAVEFORM, StoredAudio

Tensors = dict[str, tf.Tensor]

_ABOUT = ("utterance_id", "speaker", "attributes", "face_boxes")
"""Fields that are told of an example and no model reads."""


def weigher(corpus_weights: Mapping[str, Sequence[float]]) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
    """Makes what finds the weight of an utterance by its speaker, "CREMA-D/1001", and its label."""
    names = sorted(corpus_weights)
    rows = tf.constant(range(len(names)), tf.int32)
    places = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(tf.constant(names), rows), -1)
    weights = tf.constant([list(corpus_weights[name]) for name in names], tf.float32)  # [num_corpora, num_emotions]

    def weigh(speaker: tf.Tensor, label: tf.Tensor) -> tf.Tensor:
        """Returns a scalar."""
        place = places.lookup(tf.strings.split(speaker, "/", maxsplit=1)[0])
        return weights[place, label]

    return weigh


def to_example(
    record: Tensors,
    metadata: records.Metadata,
    stored: StoredAudio,
    with_metadata: bool,
    weigh: Callable[[tf.Tensor, tf.Tensor], tf.Tensor] | None = None,
) -> Tensors:
    """Keeps what a model and its user need, audio features normalised over the whole clip."""
    example = {"label": _to_label(record["label"], metadata)} | stored.to_features(record)
    example |= {name: record[name] for name in ("token_ids",) if name in record}
    example |= {"weight": weigh(record["speaker"], example["label"])} if weigh else {}
    settings = metadata.video_settings
    if settings and "video_frames" in record:
        example["video_frames"] = video.decode_frames(record["video_frames"], settings)
    return example | ({name: record[name] for name in _ABOUT if name in record} if with_metadata else {})


def _to_label(labels: tf.Tensor, metadata: records.Metadata) -> tf.Tensor:
    """Takes the only label, a scalar; of multi-label records puts 1 for each, [num_emotions]."""
    if metadata.is_multi_label:
        return tf.reduce_max(tf.one_hot(labels, len(metadata.emotions)), axis=0)
    return tf.cast(labels[0], tf.int32)


def crop(
    example: Tensors,
    random: tf.Tensor,
    num_frames: int | None,
    num_video_frames: int | None,
    max_tokens: int | None,
    training: bool,
    augment: Callable[[Tensors, tf.Tensor], Tensors] | None,
) -> Tensors:
    """Cuts clips that are longer than num_frames: anywhere in training, else in the middle; makes pictures of bytes."""
    names = [name for name in audio.FRAME_FEATURES if name in example]
    if names and num_frames is not None:
        spare = tf.maximum(tf.shape(example[names[0]], tf.int64)[0] - num_frames, 0)
        start = random % (spare + 1) if training else spare // 2
        example = example | {name: example[name][start : start + num_frames] for name in names}
    if "token_ids" in example:
        example = example | {"token_ids": example["token_ids"][:max_tokens]}
    if "video_frames" in example:
        frames = example["video_frames"]
        frames = _some_of(frames, num_video_frames, random) if training and num_video_frames else frames
        example = example | {"video_frames": tf.cast(frames, tf.float32) / 255}
    return example if augment is None else augment(example, tf.stack([random, 2]))


def _some_of(frames: tf.Tensor, count: int, random: tf.Tensor) -> tf.Tensor:
    """Draws one frame of each of `count` equal stretches of a video, in their order; all where there are no more."""
    if count >= frames.shape[0]:
        return frames
    noise = tf.random.stateless_uniform([count], tf.stack([random, 1]))
    places = (tf.range(count, dtype=tf.float32) + noise) * frames.shape[0] / count
    chosen = tf.gather(frames, tf.minimum(tf.cast(places, tf.int32), frames.shape[0] - 1))
    return tf.ensure_shape(chosen, [count, *frames.shape[1:]])


def to_batch(
    batch: Tensors, num_frames: int | None, class_weights: Mapping[int, float] | None, with_metadata: bool
) -> tuple[Any, ...]:
    """Pads a batch and puts it in the order that `model.fit` takes."""
    features = {}
    for name in audio.FRAME_FEATURES:
        if name in batch:
            features["num_frames"] = tf.cast(batch[name].row_lengths(), tf.int32)
            features[name] = pad_with(batch[name], batch[f"{name}_silence"], num_frames)
    if "encoder" in batch:
        features["num_steps"] = tf.cast(batch["encoder"].row_lengths(), tf.int32)
        features["encoder"] = pad_steps(batch["encoder"])
    if WAVEFORM in batch:
        features[WAVEFORM] = pad_samples(batch[WAVEFORM])
    if "token_ids" in batch:
        features["token_ids"] = batch["token_ids"].to_tensor()
    if "video_frames" in batch:
        features["video_frames"] = batch["video_frames"]
    elements: tuple[Any, ...] = (features, batch["label"])
    if "weight" in batch:
        elements += (batch["weight"],)
    elif class_weights is not None:
        weights = tf.constant([class_weights[label] for label in range(len(class_weights))], tf.float32)
        elements += (tf.gather(weights, batch["label"]),)
    return elements + (({name: batch[name] for name in _ABOUT if name in batch},) if with_metadata else ())
