"""Tests of pipelines.augment.frame_augment: what is hidden, limited, shifted and moved, and what stays."""

import warnings

import numpy as np
import pytest
import tensorflow as tf

from pipelines import audio
from pipelines.augment import BandLimit, SpecAugment, StateMask, TimeShift
from pipelines.augment.frame_augment import shift_bands

PLAIN = SpecAugment(mel_shift=0, num_mel_masks=0, num_frame_masks=0)


def clip(num_frames=40, mel_bins=16):
    """No sample of it is 0, which is what masks write."""
    return tf.constant(1 + np.random.default_rng(0).random((num_frames, mel_bins)), tf.float32)


def seed_of(number):
    return tf.constant([number, 0], tf.int64)


def seeded(count):
    """A dataset of seeds."""
    return tf.data.Dataset.range(count).map(lambda number: tf.stack([number, 0]))


def augmented(augment, log_mel, seed=0):
    return augment({"log_mel": log_mel}, seed_of(seed))["log_mel"].numpy()


def test_a_limited_band_looks_like_a_clip_that_a_filter_has_limited():
    rng, front_end = np.random.default_rng(0), audio.FrontEnd(trim_db=None)
    waveform = 0.1 * np.repeat(rng.uniform(0.2, 1, 20), 1600) * rng.standard_normal(32000)
    spectrum = np.fft.rfft(waveform)
    spectrum[np.fft.rfftfreq(32000, 1 / 16000) > 5000] = 0

    def log_mel(samples):
        features, num_frames = audio.frame_features(
            tf.constant(samples[np.newaxis], tf.float32), front_end, ["log_mel"]
        )
        return audio.normalise(features["log_mel"], num_frames)[0]

    wanted = log_mel(np.fft.irfft(spectrum)).numpy()
    num_left = front_end.bands_below(5000)
    augment = BandLimit(1.0, num_left)
    found = next(
        one for one in (augmented(augment, log_mel(waveform), n) for n in range(99)) if not one[:, num_left:].any()
    )
    # The bands beside the edge and the tails of windows differ.
    assert np.abs(found - wanted)[:, : num_left - 1].mean() < 0.05
    assert np.abs(wanted[:, num_left + 1 :]).max() < 0.1


def test_a_share_of_clips_is_limited_and_the_least_bands_stay():
    limited = [augmented(BandLimit(0.3, 10), clip(), seed) for seed in range(200)]
    num_left = [int((one != 0).all(axis=0).sum()) for one in limited]
    assert min(num_left) == 10
    assert set(num_left) == set(range(10, 17))
    assert 30 < sum(count < 16 for count in num_left) < 90
    for one, count in zip(limited, num_left, strict=True):
        assert (one[:, count:] == 0).all()
        assert np.square(one).sum() == pytest.approx(np.square(clip()).sum(), rel=1e-5)


def test_narrower_spectrograms_than_the_least_keep_one_band_less():
    assert (augmented(BandLimit(1.0, 99), clip()) == 0).any(axis=0).tolist() == 15 * [False] + [True]


def test_a_clip_of_silence_is_limited_to_silence():
    assert not augmented(BandLimit(1.0, 4), tf.zeros([5, 16])).any()


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


def test_masks_are_distributed_as_those_of_tensorflow_io():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Its native kernels do not load here; the masks need none.
        import tensorflow_io as tfio

    augment = SpecAugment(mel_shift=0, mel_mask=6, num_mel_masks=1, num_frame_masks=0)
    ours = seeded(3000).map(lambda seed: augment({"log_mel": clip()}, seed)["log_mel"][0] == 0)
    tf.random.set_seed(0)
    theirs = tf.data.Dataset.range(3000).map(lambda number: tfio.audio.freq_mask(clip(), 6)[0] == 0)
    shares = [np.mean(list(hidden.as_numpy_iterator()), axis=0) for hidden in (ours, theirs)]
    np.testing.assert_allclose(*shares, atol=0.04)  # Four standard errors of a difference are 0.037.


def test_the_same_seed_gives_the_same_masks_and_another_gives_others():
    first, again, other = (augmented(SpecAugment(), clip(), seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


@pytest.mark.parametrize("num_frames", [0, 1, 3, 4, 5])
@pytest.mark.parametrize("mel_bins", [2, 64])
def test_short_clips_and_wide_masks_do_not_fail_inside_a_map(num_frames, mel_bins):
    augment = SpecAugment(mel_mask=1000, frame_mask=1000)
    dataset = seeded(1).map(lambda seed: augment({"log_mel": clip(num_frames, mel_bins)}, seed))
    [example] = dataset
    assert example["log_mel"].shape == (num_frames, mel_bins)


def test_text_alone_stays():
    example = {"token_ids": tf.constant([2, 5])}
    assert SpecAugment()(example, seed_of(0)) is example


def test_masks_over_frames_hide_all_features_at_the_same_ones_and_masks_over_bands_only_log_mel():
    example = {"log_mel": clip(), "acoustic": clip(mel_bins=5), "label": tf.constant(3)}
    found = SpecAugment(mel_shift=0, frame_mask=9)(example, seed_of(4))
    hidden = {name: found[name].numpy() == 0 for name in ("log_mel", "acoustic")}
    is_frame_hidden = hidden["acoustic"].all(axis=1)
    np.testing.assert_array_equal(hidden["log_mel"].all(axis=1), is_frame_hidden)
    np.testing.assert_array_equal(hidden["acoustic"].any(axis=1), is_frame_hidden)
    assert 0 < is_frame_hidden.sum() < 20
    assert hidden["log_mel"].all(axis=0).any()
    assert found["label"] == 3


def test_features_without_bands_keep_their_columns():
    example = {"mfcc": clip(mel_bins=8)}
    found = SpecAugment(num_frame_masks=0)(example, seed_of(0))["mfcc"]
    np.testing.assert_array_equal(found, example["mfcc"])


SILENCE = -9.0


def moved(num_frames, frames=12, window=50, count=200, first=0):
    """Clips whose frame number n holds n + 1, moved: the values of each, silence as it stands there."""
    column = tf.range(1.0, num_frames + 1)[:, None]
    example = {
        "log_mel": tf.repeat(column, 3, axis=1),
        "log_mel_silence": tf.fill([3], SILENCE),
        "label": tf.constant(2),
    }
    shift = TimeShift(frames, window)
    for found in seeded(first + count).skip(first).map(lambda seed: shift(example, seed)):
        assert found["label"] == 2
        values = found["log_mel"].numpy()
        assert values.shape[1] == 3
        assert (values == values[:, :1]).all()
        yield values[:, 0].tolist()


def test_a_clip_moves_behind_silence_or_loses_its_start():
    shifts = set()
    for values in moved(30):
        silent = values.count(SILENCE)
        assert values[:silent] == [SILENCE] * silent
        lost = int(values[silent]) - 1
        assert values[silent:] == list(range(lost + 1, 31))
        assert silent == 0 or lost == 0
        shifts.add(silent - lost)
    assert shifts == set(range(-7, 13))  # At most a quarter of the clip is lost, and 12 frames are moved by.


def test_what_passes_the_window_is_cut_off_and_is_no_more_than_a_quarter():
    found = list(moved(48))
    assert max(map(len, found)) == 50
    assert {values.count(SILENCE) for values in found} == set(range(13))
    full = list(moved(50, frames=1000))
    assert max(values.count(SILENCE) for values in full) == 50 // 4 == 50 - min(map(len, full))


@pytest.mark.parametrize("num_frames", [0, 1, 3])
def test_an_absent_clip_stays_and_a_short_one_loses_nothing(num_frames):
    for values in moved(num_frames, count=20):
        assert [value for value in values if value != SILENCE] == list(range(1, num_frames + 1))
        assert num_frames or not values


def test_a_move_is_the_same_for_the_same_seed_and_leaves_text_alone():
    shifts = [[len(values) for values in moved(20, count=10, first=first)] for first in (0, 0, 5)]
    assert shifts[0] == shifts[1]
    assert shifts[0][5:] == shifts[2][:5]
    assert len(set(shifts[0])) > 2
    example = {"token_ids": tf.constant([2])}
    assert TimeShift(3, 9)(example, seed_of(0)) is example


def test_stretches_of_states_are_hidden_in_all_blocks():
    states = tf.ones([40, 3, 5], tf.float16)
    widths = set()
    for seed in range(30):
        hidden = StateMask(8)({"encoder": states}, seed_of(seed))["encoder"].numpy() == 0
        is_step = hidden.all(axis=(1, 2))
        np.testing.assert_array_equal(hidden.any(axis=(1, 2)), is_step)
        widths.add(int(is_step.sum()))
    assert max(widths) <= 14
    assert len(widths) > 4
    assert np.diff(np.flatnonzero(is_step)).max(initial=0) < 40


@pytest.mark.parametrize("num_steps", [0, 1, 3, 4, 9])
def test_short_clips_lose_at_most_a_quarter_to_each_mask(num_steps):
    [found] = seeded(1).map(lambda seed: StateMask(99)({"encoder": tf.ones([num_steps, 2, 3])}, seed)["encoder"])
    assert found.shape == (num_steps, 2, 3)
    assert (found.numpy() == 0).all(axis=(1, 2)).sum() <= 2 * (num_steps // 4)


def test_a_clip_without_states_stays():
    example = {"log_mel": clip()}
    assert StateMask(5)(example, seed_of(0)) is example
