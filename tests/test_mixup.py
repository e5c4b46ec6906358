"""Tests of pipelines.augment.mixup: half of the clips are mixed, with their labels, and the others stay."""

import numpy as np
import tensorflow as tf

from pipelines.augment import MixUp


def seed_of(number):
    return tf.constant([number, 0], tf.int64)


def mixed(share=0.4, seed=0):
    tf.random.set_seed(seed)
    features = {"log_mel": tf.random.normal([64, 5, 3]), "num_frames": tf.range(64, dtype=tf.int32)}
    label, weight = tf.one_hot(tf.range(64), 64), tf.range(64.0)
    return features, label, weight, *MixUp(share)(features, label, weight, seed=seed_of(seed))


def test_half_of_the_clips_are_mixed_and_the_others_stay():
    features, label, weight, new_features, new_label, new_weight = mixed()
    own_share = tf.linalg.diag_part(new_label).numpy()
    stayed = own_share == 1
    assert 16 < stayed.sum() < 48
    assert own_share.min() >= 0.6
    np.testing.assert_array_equal(new_features["log_mel"][stayed], features["log_mel"][stayed])
    np.testing.assert_array_equal(new_features["num_frames"][stayed], features["num_frames"][stayed])
    np.testing.assert_array_equal(new_label[stayed], label[stayed])
    np.testing.assert_array_equal(new_weight, weight)


def test_audio_and_label_are_mixed_in_the_same_share():
    features, _, _, new_features, new_label, _ = mixed()
    share = 1 - tf.linalg.diag_part(new_label)[:, None, None]
    expected = (1 - share) * features["log_mel"] + share * tf.roll(features["log_mel"], 1, 0)
    np.testing.assert_allclose(new_features["log_mel"], expected, atol=1e-6)
    np.testing.assert_allclose(tf.reduce_sum(new_label, axis=1), 1, atol=1e-6)


def test_waveforms_are_mixed_as_features_are():
    label, waveform = tf.one_hot(tf.range(64), 64), tf.random.stateless_normal([64, 7], [0, 0])
    features, new_label = MixUp()({"waveform": waveform}, label, seed=seed_of(0))
    share = 1 - tf.linalg.diag_part(new_label)[:, None]
    expected = (1 - share) * waveform + share * tf.roll(waveform, 1, 0)
    np.testing.assert_allclose(features["waveform"], expected, atol=1e-6)


def test_a_mixed_clip_is_as_long_as_the_longer_of_the_two():
    features, _, _, new_features, new_label, _ = mixed()
    is_mixed = tf.linalg.diag_part(new_label).numpy() < 1
    expected = np.maximum(features["num_frames"], np.roll(features["num_frames"], 1))
    np.testing.assert_array_equal(new_features["num_frames"][is_mixed], expected[is_mixed])


def test_every_audio_feature_is_mixed_in_the_same_share():
    tf.random.set_seed(0)
    features = {name: tf.random.normal([32, 5, 3]) for name in ("log_mel", "acoustic")}
    features["encoder"] = tf.random.normal([32, 5, 2, 3])
    counts = {name: tf.random.uniform([32], 1, 6, tf.int32) for name in ("num_frames", "num_steps")}
    words = tf.ones([32, 2], tf.int32)
    found, label = MixUp(0.4)(features | counts | {"token_ids": words}, tf.one_hot(tf.range(32), 32), seed=seed_of(0))
    shares = 1 - tf.linalg.diag_part(label)
    for name, values in features.items():
        share = tf.reshape(shares, [32, *[1] * (len(values.shape) - 1)])
        np.testing.assert_allclose(found[name], (1 - share) * values + share * tf.roll(values, 1, 0), atol=1e-6)
    is_mixed = shares.numpy() > 0
    for name, values in counts.items():
        expected = np.where(is_mixed, np.maximum(values, np.roll(values, 1)), values)
        np.testing.assert_array_equal(found[name], expected)
    assert found["token_ids"] is words
