"""The training split as `model.fit` takes it: batches without end, augmented and weighted."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from emotion_tf.config import Config, TrainingConfig
from emotion_tf.evaluation.split import shuffled_in_training
from emotion_tf.runs.compatibility import tokenizer_of
from pipelines import text
from pipelines.audio import FrontEnd
from pipelines.augment import ImageAugment, MixUp, SpecAugment, Tensors, TextAugment, TimeShift, WaveformChange
from pipelines.dataset import make_dataset
from pipelines.normalisation import Normalisation


def training_dataset(
    config: Config, metadata: dict[str, Any], seed: int, normalisation: Normalisation | None = None
) -> tf.data.Dataset:
    """Streams the training split without end, as `model.fit` takes it: features, one- or multi-hot labels, weights.

    The weights, where there are any, give each emotion the same in sum. Order, crops, masks and mixtures differ from
    epoch to epoch, and are the same for the same seed; it becomes TensorFlow's global seed.
    """
    tf.random.set_seed(seed)
    num_frames = _num_frames(config.training, metadata)
    training, num_emotions = config.training, len(metadata["emotions"])
    dataset = make_dataset(
        Path(config.records),
        metadata["fold"]["train"],
        config.modalities,
        by=metadata["fold"]["by"],
        shuffled=shuffled_in_training(config.control),
        batch_size=training.batch_size,
        training=True,
        audio_features=config.audio.features,
        num_frames=num_frames,
        num_video_frames=training.video_frames,
        max_tokens=training.max_tokens,
        class_weights=_class_weights(training, metadata),
        augment=_augment(config, num_frames),
        change_waveform=_change_waveform(training, metadata),
        normalisation=normalisation,
        tokenizer=tokenizer_of(config),
        seed=seed,
    )
    if not metadata["is_multi_label"]:
        dataset = dataset.map(lambda features, label, *weight: (features, tf.one_hot(label, num_emotions), *weight))
    mixes = training.mixup > 0 and config.modalities == ("audio",)
    dataset = dataset.map(MixUp(training.mixup)) if mixes else dataset
    # One iterator for all epochs: a new one would draw the masks of the first epoch again.
    return dataset.repeat()


def _num_frames(training: TrainingConfig, metadata: dict[str, Any]) -> int:
    """Tells the window of training clips: no longer than the longest, where they stay as they are."""
    if training.changes_waveforms:
        return training.num_frames
    return min(training.num_frames, max(1, metadata["longest_frames"]) + training.time_shift)


def _change_waveform(training: TrainingConfig, metadata: dict[str, Any]) -> WaveformChange | None:
    trim_db = FrontEnd(**metadata["front_end"]).silence_db
    changes = WaveformChange(training.speed, training.noise_snr_db, training.gain_db, trim_db)
    return changes if training.changes_waveforms else None


def _augment(config: Config, num_frames: int) -> Callable[[Tensors], Tensors] | None:
    """Joins what is done to one training example; None where nothing is."""
    training = config.training
    steps: list[Callable[[Tensors], Tensors]] = []
    if "audio" in config.modalities and training.time_shift:
        steps.append(TimeShift(training.time_shift, num_frames))
    if "audio" in config.modalities:
        names = ("mel_shift", "mel_mask", "num_mel_masks", "frame_mask", "num_frame_masks")
        steps.append(SpecAugment(**{name: getattr(training, name) for name in names}))
    shares = (training.word_dropout, training.word_swap, training.word_mask)
    if "text" in config.modalities and any(shares):
        steps.append(TextAugment(tokenizer_of(config) or text.own_tokenizer(), *shares))
    if "video" in config.modalities:
        of_images = ("flip", "shift", "brightness", "cutout")
        steps.append(ImageAugment(**{name: getattr(training, f"image_{name}") for name in of_images}))
    return (lambda example: functools.reduce(lambda done, step: step(done), steps, example)) if steps else None


def _class_weights(training: TrainingConfig, metadata: dict[str, Any]) -> dict[int, float] | None:
    """Weighs each emotion by a power of its rarity, utterances by 1 on average; None: each utterance the same."""
    has_clips, is_multi_label = metadata["has_audio"] or metadata.get("video") is not None, metadata["is_multi_label"]
    power = training.weight_power(has_clips=has_clips, is_multi_label=is_multi_label)
    if is_multi_label or not power:
        return None
    counts = np.array(metadata["training_counts"])
    weights = counts**-power
    return dict(enumerate((weights * counts.sum() / (weights * counts).sum()).tolist()))
