"""Tests of pipelines.augment: what is hidden, shifted and mixed, and what stays."""

import numpy as np
import pytest
import tensorflow as tf

from pipelines.augment import MixUp, SpecAugment, shift_bands

PLAIN = SpecAugment(mel_shift=0, num_mel_masks=0, num_frame_masks=0)


def clip(num_frames=40, mel_bins=16):
    """No sample of it is 0, which is what masks write."""
    return tf.constant(1 + np.random.default_rng(0).random((num_frames, mel_bins)), tf.float32)


def augmented(augment, log_mel, seed=0):
    tf.random.set_seed(seed)
    return augment({"log_mel": log_mel})["log_mel"].numpy()


@pytest.mark.parametrize(("shift", "expected"), [(0, [1, 2, 3]), (1, [1, 1, 2]), (-1, [2, 3, 3]), (-5, [3, 3, 3])])
def test_bands_move_and_the_outermost_fills_the_gap(shift, expected):
    np.testing.assert_array_equal(shift_bands(tf.constant([[1.0, 2.0, 3.0]]), shift), [expected])


def test_without_shift_and_masks_nothing_changes():
    np.testing.assert_array_equal(augmented(PLAIN, clip()), clip())


def test_a_band_mask_hides_neighbouring_bands_at_all_times():
    augment = SpecAugment(mel_shift=0, mel_mask=6, num_mel_masks=1, num_frame_masks=0)
    widths = set()
    for seed in range(20):
        hidden = augmented(augment, clip(), seed) == 0
        assert (hidden == hidden[0]).all()
        bands = np.flatnonzero(hidden[0])
        assert len(bands) == 0 or np.ptp(bands) == len(bands) - 1
        widths.add(len(bands))
    assert max(widths) < 6
    assert len(widths) > 2


def test_a_frame_mask_hides_at_most_a_quarter_of_the_clip():
    augment = SpecAugment(mel_shift=0, num_mel_masks=0, frame_mask=25, num_frame_masks=1)
    for seed in range(20):
        hidden = augmented(augment, clip(12), seed) == 0
        assert (hidden == hidden[:, :1]).all()
        assert hidden[:, 0].sum() <= 3


def test_the_same_global_seed_gives_the_same_masks_and_another_gives_others():
    first, again, other = (augmented(SpecAugment(), clip(), seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


@pytest.mark.parametrize("num_frames", [0, 1, 3, 4, 5])
@pytest.mark.parametrize("mel_bins", [2, 64])
def test_short_clips_and_wide_masks_do_not_fail_inside_a_map(num_frames, mel_bins):
    augment = SpecAugment(mel_mask=1000, frame_mask=1000)
    dataset = tf.data.Dataset.from_tensors({"log_mel": clip(num_frames, mel_bins)}).map(augment)
    [example] = dataset
    assert example["log_mel"].shape == (num_frames, mel_bins)


def test_words_alone_stay():
    example = {"token_ids": tf.constant([2, 5])}
    assert SpecAugment()(example) is example


def mixed(share=0.4, seed=0):
    tf.random.set_seed(seed)
    features = {"log_mel": tf.random.normal([64, 5, 3]), "num_frames": tf.range(64, dtype=tf.int32)}
    label, weight = tf.one_hot(tf.range(64), 64), tf.range(64.0)
    return features, label, weight, *MixUp(share)(features, label, weight)


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


def test_sound_and_label_are_mixed_in_the_same_share():
    features, _, _, new_features, new_label, _ = mixed()
    share = 1 - tf.linalg.diag_part(new_label)[:, None, None]
    expected = (1 - share) * features["log_mel"] + share * tf.roll(features["log_mel"], 1, 0)
    np.testing.assert_allclose(new_features["log_mel"], expected, atol=1e-6)
    np.testing.assert_allclose(tf.reduce_sum(new_label, axis=1), 1, atol=1e-6)


def test_a_mixed_clip_is_as_long_as_the_longer_of_the_two():
    features, _, _, new_features, new_label, _ = mixed()
    is_mixed = tf.linalg.diag_part(new_label).numpy() < 1
    expected = np.maximum(features["num_frames"], np.roll(features["num_frames"], 1))
    np.testing.assert_array_equal(new_features["num_frames"][is_mixed], expected[is_mixed])
