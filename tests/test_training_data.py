"""Tests of emotion_tf.training.training_data: weights, controls and augmentations of the training split."""

import dataclasses

import numpy as np
import pytest

from emotion_tf.config import TrainingConfig
from emotion_tf.runs.compatibility import inputs_of
from emotion_tf.training import training_data
from emotion_tf.training.training_data import training_dataset
from pipelines.normalisation import Normalisation


def batches(config, run, seed, count):
    dataset = training_dataset(config, run.metadata(), inputs_of(run), seed)
    return [(features, label.numpy(), weight.numpy()) for features, label, weight in dataset.take(count)]


def test_each_emotion_has_the_same_weight_in_sum(text_run):
    steps = -(-sum(text_run.metadata().training_counts) // 16)
    found = batches(text_run.config(), text_run, 0, steps)
    sums = sum((label * weight[:, None]).sum(axis=0) for _, label, weight in found)
    np.testing.assert_allclose(sums, sums[0], rtol=1e-5)
    assert sum(len(weight) for *_, weight in found) == pytest.approx(sums.sum(), rel=1e-5)


def labels_of(run, control):
    """The labels of one epoch of training, without their order, and the words that go with them."""
    config = dataclasses.replace(run.config(), control=control, seed=1)
    found = batches(config, run, 1, -(-sum(run.metadata().training_counts) // 16))
    rows = [
        (ids[ids > 0].tobytes(), int(label.argmax()))
        for features, labels, _ in found
        for ids, label in zip(features["token_ids"].numpy(), labels, strict=True)
    ]
    return sorted(rows)


@pytest.mark.parametrize("control", ["permuted-labels", "shuffled-transcripts"])
def test_a_control_cuts_words_from_labels_in_training_and_keeps_both(text_run, control):
    true, cut = labels_of(text_run, ""), labels_of(text_run, control)
    assert true != cut
    for column in (0, 1):
        assert sorted(row[column] for row in true) == sorted(row[column] for row in cut)


def test_masks_and_order_differ_from_epoch_to_epoch_and_are_the_same_for_the_same_seed(audio_run):
    config = audio_run.config()
    first, second = batches(config, audio_run, 3, 2), batches(config, audio_run, 3, 4)
    for (features, *_), (again, *_) in zip(first, second[:2], strict=True):
        np.testing.assert_array_equal(features["log_mel"], again["log_mel"])
    is_hidden = [np.all(features["log_mel"].numpy() == 0, axis=1) for features, *_ in second]
    assert len({hidden.tobytes() for hidden in is_hidden}) == 4


@pytest.mark.parametrize(
    ("wanted", "has_audio", "is_multi_label", "expected"),
    [
        ("auto", True, False, {0: 2.0, 1: 2 / 3}),
        ("auto", False, False, {0: 40 / (10 + 300**0.5), 1: 40 / (30 + 300**0.5)}),
        ("auto", True, True, None),
        ("balanced", False, False, {0: 2.0, 1: 2 / 3}),
        ("root", True, False, {0: 40 / (10 + 300**0.5), 1: 40 / (30 + 300**0.5)}),
        ("none", True, False, None),
    ],
)
def test_emotions_weigh_by_a_power_of_rarity_and_utterances_by_one_on_average(
    make_run_metadata, wanted, has_audio, is_multi_label, expected
):
    facts = {"training_counts": [10, 30], "has_audio": has_audio, "is_multi_label": is_multi_label}
    found = training_data._class_weights(TrainingConfig(class_weights=wanted), make_run_metadata(**facts))
    assert found == (pytest.approx(expected) if expected else None)


def test_several_emotions_are_multi_hot_in_training_and_none_is_weighted(goemotions_run):
    metadata = goemotions_run.metadata()
    dataset = training_dataset(goemotions_run.config(), metadata, inputs_of(goemotions_run), 0)
    labels = np.concatenate([label.numpy() for _, label in dataset.take(-(-metadata.num_training // 24))])
    assert labels.shape == (168, 28)
    np.testing.assert_array_equal(labels.sum(axis=0), metadata.training_counts)
    assert sorted(set(labels.sum(axis=1))) == [1, 2]


def test_permuted_labels_of_several_emotions_move_together(goemotions_run):
    def pairs(control):
        config = dataclasses.replace(goemotions_run.config(), control=control)
        dataset = training_dataset(config, goemotions_run.metadata(), inputs_of(goemotions_run), 0).take(7)
        rows = [zip(x["token_ids"].numpy(), y.numpy(), strict=True) for x, y in dataset]
        return sorted((ids[ids > 0].tobytes(), label.tobytes()) for batch in rows for ids, label in batch)

    true, cut = pairs(""), pairs("permuted-labels")
    assert true != cut
    for column in (0, 1):
        assert sorted(row[column] for row in true) == sorted(row[column] for row in cut)


def test_noise_keeps_off_the_silent_ends_that_the_front_end_trims(audio_run):
    training = TrainingConfig(noise_snr_db=5.0)
    for trim_db, expected in ((40.0, 40.0), (None, 30.0)):
        metadata = dataclasses.replace(audio_run.metadata(), front_end={"trim_db": trim_db})
        assert training_data._change_waveform(training, metadata).trim_db == expected
    assert training_data._change_waveform(TrainingConfig(), metadata) is None


AUGMENTED = {"band_limit": 0.99, "time_shift": 8, "speed": 0.1, "noise_snr_db": 15.0, "gain_db": 6.0}


@pytest.mark.parametrize(("name", "value"), [*AUGMENTED.items(), ("noise_snr_db", 0.0)])
def test_each_augmentation_changes_training_clips_differs_by_epoch_and_keeps_shapes_and_labels(audio_run, name, value):
    config, metadata = audio_run.config(), audio_run.metadata()
    off = {"band_limit": 0.0, "mel_shift": 0, "num_mel_masks": 0, "num_frame_masks": 0, "mixup": 0.0}
    values = {**off, name: value}
    config = dataclasses.replace(config, training=dataclasses.replace(config.training, **values))
    statistics = Normalisation("training", {"log_mel": [-8.0] * 64}, {"log_mel": [2.0] * 64})
    inputs = dataclasses.replace(inputs_of(audio_run), normalisation=statistics)
    steps = -(-metadata.num_training // config.training.batch_size)
    found, again = (list(training_dataset(config, metadata, inputs, 3).take(2 * steps)) for _ in range(2))
    for (features, *_), (same, *_) in zip(found, again, strict=True):
        np.testing.assert_array_equal(features["log_mel"], same["log_mel"])
        assert features["log_mel"].shape[1:] == (32, 64)
        assert features["num_frames"].numpy().max() <= 32
        assert np.isfinite(features["log_mel"]).all()
    first, second = (
        {
            features["log_mel"][row].numpy().tobytes()
            for features, *_ in epoch
            for row in range(len(features["log_mel"]))
        }
        for epoch in (found[:steps], found[steps:])
    )
    assert len(first & second) < 0.2 * len(first)
    labels = sum(label.numpy().sum(axis=0) for _, label, _ in found[:steps])
    np.testing.assert_array_equal(labels, metadata.training_counts)
