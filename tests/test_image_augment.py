"""Tests of pipelines.augment.image_augment: all frames of a video change alike."""

import numpy as np
import tensorflow as tf

from pipelines.augment import ImageAugment


def seed_of(number):
    return tf.constant([number, 0], tf.int64)


def seeded(count):
    """A dataset of seeds."""
    return tf.data.Dataset.range(count).map(lambda number: tf.stack([number, 0]))


def video(seed=0, num_frames=3, size=24, channels=1):
    """Frames that differ from each other, none of them black."""
    frames = 0.3 + 0.4 * np.random.default_rng(seed).random((num_frames, size, size, channels))
    return frames.astype(np.float32)


STILL = {"flip": 0.0, "shift": 0, "brightness": 0.0, "cutout": 0}


def changed_video(frames, seed=0, **values):
    augment = ImageAugment(**(STILL | values))
    return augment({"video_frames": tf.constant(frames)}, seed_of(seed))["video_frames"].numpy()


def test_frames_stay_where_nothing_is_asked_for():
    np.testing.assert_array_equal(changed_video(video()), video())


def test_a_video_is_mirrored_whole_or_not_at_all():
    found = [changed_video(video(), seed, flip=0.5) for seed in range(20)]
    is_mirrored = [bool((one == video()[:, :, ::-1]).all()) for one in found]
    assert 4 < sum(is_mirrored) < 16
    assert all(mirrored or (one == video()).all() for mirrored, one in zip(is_mirrored, found, strict=True))


def test_all_frames_of_a_video_move_alike_and_the_outermost_pixels_fill_the_gap():
    moves, padded = set(), np.pad(video(), [[0, 0], [2, 2], [2, 2], [0, 0]], "edge")
    for seed in range(20):
        found = changed_video(video(), seed, shift=2)
        fitting = [
            (down, right)
            for down in range(-2, 3)
            for right in range(-2, 3)
            if (found == padded[:, 2 - down :, 2 - right :][:, :24, :24]).all()
        ]
        assert len(fitting) == 1
        moves.add(fitting[0])
    assert len(moves) > 5


def test_brightness_changes_all_pixels_of_a_video_by_the_same_and_leaves_none_black():
    lighter = [changed_video(video(), seed, brightness=0.2) - video() for seed in range(10)]
    for change in lighter:
        np.testing.assert_allclose(change, np.full_like(change, change[0, 0, 0, 0]), atol=1e-6)
    assert np.ptp([change.mean() for change in lighter]) > 0.1
    dark = np.full((2, 8, 8, 1), 0.01, np.float32)
    assert all(changed_video(dark, seed, brightness=0.5).min() > 0 for seed in range(10))


def test_cutout_paints_one_square_of_all_frames_with_the_mean_of_the_video():
    for seed in range(10):
        frames = video(channels=3)
        found = changed_video(frames, seed, cutout=6)
        is_painted = (found != frames).any(axis=(0, 3))
        rows, columns = np.flatnonzero(is_painted.any(axis=1)), np.flatnonzero(is_painted.any(axis=0))
        assert 0 < len(rows) <= 6
        assert 0 < len(columns) <= 6
        assert is_painted[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
        expected = np.broadcast_to(frames.mean(axis=(0, 1, 2)), (3, is_painted.sum(), 3))
        np.testing.assert_allclose(found[:, is_painted], expected, atol=1e-6)


def test_an_absent_video_stays_absent_and_other_features_stay():
    absent = {"video_frames": tf.zeros([2, 8, 8, 1]), "log_mel": tf.ones([40, 16])}
    found = ImageAugment()(absent, seed_of(0))
    assert not found["video_frames"].numpy().any()
    np.testing.assert_array_equal(found["log_mel"], tf.ones([40, 16]))
    assert ImageAugment()({"log_mel": tf.ones([40, 16])}, seed_of(0)).keys() == {"log_mel"}


def test_videos_are_augmented_in_a_dataset_and_differ_from_seed_to_seed():
    dataset = seeded(3).map(lambda seed: ImageAugment()({"video_frames": video()}, seed))
    found = [example["video_frames"].numpy() for example in dataset]
    assert {one.shape for one in found} == {(3, 24, 24, 1)}
    assert not (found[0] == found[1]).all()
    assert not (found[1] == found[2]).all()
