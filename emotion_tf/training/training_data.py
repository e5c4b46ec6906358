"""The training split as `model.fit` takes it: batches without end, augmented and weighted."""

import functools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from emotion_tf.config import Config, TrainingConfig
from emotion_tf.evaluation.split import shuffled_in_training
from emotion_tf.runs.compatibility import RunInputs
from emotion_tf.runs.metadata import RunMetadata
from pipelines import text
from pipelines.audio import FrontEnd
from pipelines.augment import (
    Augment,
    BandLimit,
    ImageAugment,
    MixUp,
    SpecAugment,
    StateMask,
    Tensors,
    TextAugment,
    TimeShift,
    WaveformChange,
    WaveformShift,
)
from pipelines.dataset import make_dataset
from pipelines.tensorflow_runtime import as_written

_LAST_EPOCH = 2**20

# The upper end of a telephone's band (ITU-T G.712).
_NARROWEST_HZ = 3400.0


def training_dataset(
    config: Config, metadata: RunMetadata, inputs: RunInputs, seed: int, first_epoch: int = 0
) -> tf.data.Dataset:
    """Streams the training split without end, as `model.fit` takes it: features, one- or multi-hot labels, weights.

    There are weights where each emotion is to have the same in sum, or nearer to it. Order, crops, masks and mixtures
    differ from epoch to epoch, and depend on the seed and the number of the epoch alone.

    Args:
      config: Of the run.
      metadata: Of the run.
      inputs: What the model reads.
      seed: The same one gives the same batches.
      first_epoch: Where to begin: a run that goes on gets the batches that it would have got.
    """
    training, num_emotions = config.training, len(metadata.emotions)
    num_frames, tokenizer = _num_frames(training, metadata), inputs.tokenizer or text.own_tokenizer()
    dataset = make_dataset(
        Path(config.records),
        metadata.fold.train,
        config.modalities,
        by=metadata.fold.by,
        shuffled=shuffled_in_training(config.control),
        batch_size=training.batch_size,
        training=True,
        audio_features=config.audio.inputs,
        num_frames=num_frames,
        num_video_frames=training.video_frames,
        max_tokens=training.max_tokens,
        class_weights=_class_weights(training, metadata),
        corpus_weights=_corpus_weights(training, metadata),
        augment=_augment(config, num_frames, tokenizer, FrontEnd(**metadata.front_end)),
        change_waveform=_change_waveform(training, metadata),
        normalisation=inputs.normalisation,
        tokenizer=inputs.tokenizer,
        cache=training.shuffle_size is None,
        shuffle_size=training.shuffle_size,
        seed=seed,
        epochs=range(first_epoch, _LAST_EPOCH),
    )
    if not metadata.is_multi_label:
        dataset = dataset.map(
            as_written(lambda features, label, *weight: (features, tf.one_hot(label, num_emotions), *weight))
        )
    mixes = training.mixup > 0 and config.modalities == ("audio",)
    first_batch = first_epoch * -(-metadata.num_training // training.batch_size)
    return _mixed(dataset, MixUp(training.mixup), seed, first_batch) if mixes else dataset


def _mixed(dataset: tf.data.Dataset, mixup: MixUp, seed: int, first_batch: int) -> tf.data.Dataset:
    """Mixes the clips of each batch, by its number over all epochs."""

    def mix(number: tf.Tensor, batch: tuple[Tensors | tf.Tensor, ...]) -> tuple[Tensors | tf.Tensor, ...]:
        return mixup(*batch, seed=tf.random.fold_in(tf.constant([seed, 1], tf.int64), number))

    return dataset.enumerate(first_batch).map(as_written(mix), num_parallel_calls=tf.data.AUTOTUNE)


def _num_frames(training: TrainingConfig, metadata: RunMetadata) -> int:
    """Returns the frames that clips are cropped or padded to: no more than the longest has, unless speed changes it."""
    if training.changes_waveforms:
        return training.num_frames
    return min(training.num_frames, max(1, metadata.longest_frames) + training.time_shift)


def _change_waveform(training: TrainingConfig, metadata: RunMetadata) -> WaveformChange | None:
    trim_db = FrontEnd(**metadata.front_end).silence_db
    changes = WaveformChange(training.speed, training.noise_snr_db, training.gain_db, trim_db)
    return changes if training.changes_waveforms else None


def _augment(config: Config, num_frames: int, tokenizer: text.Tokenizer, front_end: FrontEnd) -> Augment | None:
    """Joins the augmentations of one training example; None where there are none."""
    training = config.training
    steps: list[Augment] = []
    if "audio" in config.modalities and training.time_shift:
        steps.append(TimeShift(training.time_shift, num_frames))
        steps.append(WaveformShift(training.time_shift * front_end.hop_length))
    if "audio" in config.modalities and training.band_limit and config.normalise == "clip":
        steps.append(BandLimit(training.band_limit, front_end.bands_below(_NARROWEST_HZ)))
    if "audio" in config.modalities:
        names = ("mel_shift", "mel_mask", "num_mel_masks", "frame_mask", "num_frame_masks")
        steps.append(SpecAugment(**{name: getattr(training, name) for name in names}))
    if "encoder" in config.audio.features and "audio" in config.modalities and training.state_mask:
        steps.append(StateMask(training.state_mask))
    shares = (training.word_dropout, training.word_swap, training.word_mask)
    if "text" in config.modalities and any(shares):
        steps.append(TextAugment(tokenizer, *shares))
    if "video" in config.modalities:
        of_images = ("flip", "shift", "brightness", "cutout")
        steps.append(ImageAugment(**{name: getattr(training, f"image_{name}") for name in of_images}))
    return functools.partial(_in_turn, steps) if steps else None


def _in_turn(steps: Sequence[Augment], example: Tensors, seed: tf.Tensor) -> Tensors:
    """Applies augmentations to one example, each with a seed of its own."""
    for number, step in enumerate(steps):
        example = step(example, tf.random.fold_in(seed, number))
    return example


def _class_weights(training: TrainingConfig, metadata: RunMetadata) -> dict[int, float] | None:
    """Weighs each emotion by a power of its rarity, utterances by 1 on average; None: each utterance the same."""
    has_clips = metadata.has_audio or metadata.video is not None
    power = training.weight_power(has_clips=has_clips, is_multi_label=metadata.is_multi_label)
    if metadata.is_multi_label or not power or _is_balanced(training, metadata):
        return None
    counts = np.array(metadata.training_counts)
    weights = counts**-power
    return dict(enumerate((weights * counts.sum() / (weights * counts).sum()).tolist()))


def _is_balanced(training: TrainingConfig, metadata: RunMetadata) -> bool:
    """Whether several corpora are weighed against each other."""
    return training.balance != "none" and len(metadata.corpus_counts) > 1


def _corpus_weights(training: TrainingConfig, metadata: RunMetadata) -> dict[str, list[float]] | None:
    """Weighs each corpus the same in sum, and within it emotions as --class-weights or, to the full, as --balance says.

    Returns:
      How the speakers of a corpus begin -> weight of an utterance of each emotion, 1 on average over all of them; None:
      no weights, for there is one corpus, or none are asked for.
    """
    if not _is_balanced(training, metadata):
        return None
    has_clips = metadata.has_audio or metadata.video is not None
    power = 1.0 if training.balance == "emotion" else training.weight_power(has_clips=has_clips, is_multi_label=False)
    total = sum(map(sum, metadata.corpus_counts.values()))
    num_corpora = sum(any(counts) for counts in metadata.corpus_counts.values())
    found = {}
    for name, counts in metadata.corpus_counts.items():
        rarity = np.array([count**-power if count else 0.0 for count in counts])
        share = (rarity * counts).sum()
        found[name] = (rarity * total / (num_corpora * share) if share else rarity).tolist()
    return found
