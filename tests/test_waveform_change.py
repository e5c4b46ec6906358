"""Tests of pipelines.augment.waveform_change: what speed, noise and gain do to a waveform."""

import numpy as np
import pytest
import tensorflow as tf

from pipelines import audio
from pipelines.augment import WaveformChange, WaveformShift
from pipelines.augment.waveform_change import add_noise, change_speed, pink_noise

ALL = WaveformChange(speed=0.1, noise_snr_db=10.0, gain_db=6.0)


def sine(hz=440.0, num_samples=16000, scale=0.5):
    return tf.constant(scale * np.sin(2 * np.pi * hz * np.arange(num_samples) / 16000), tf.float32)


def seeds(count):
    return tf.constant([[number, 0] for number in range(count)], tf.int64)


def changed_waveforms(change, waveform, count=20):
    """Inside a map that runs side by side; the first ones are the same eagerly."""
    dataset = tf.data.Dataset.from_tensor_slices(seeds(count))
    mapped = dataset.map(lambda seed: change(waveform, seed), num_parallel_calls=4)
    found = list(mapped.as_numpy_iterator())
    for one, seed in zip(found, seeds(2), strict=False):
        np.testing.assert_allclose(one, change(waveform, seed), atol=1e-5)
    return found


@pytest.mark.parametrize("num_samples", [0, 1, 2, 401, 16000])
def test_a_silent_waveform_stays_silent(num_samples):
    for waveform in changed_waveforms(ALL, tf.zeros([num_samples]), 3):
        assert not waveform.any()
        assert len(waveform) == pytest.approx(num_samples, rel=0.12)


def test_waveforms_differ_by_seed_and_stay_in_range():
    found = changed_waveforms(WaveformChange(0.1, 1.0, 20.0), sine(scale=0.99))
    assert len({waveform.tobytes() for waveform in found}) == 20
    assert max(np.abs(waveform).max() for waveform in found) == 1.0
    assert all(np.isfinite(waveform).all() for waveform in found)


@pytest.mark.parametrize("dtype", [tf.int16, tf.float32])
def test_a_shift_puts_zeros_before_a_clip_or_takes_its_start(dtype):
    waveform = tf.cast(tf.range(1, 41), dtype)
    shift = WaveformShift(15)
    found = changed_waveforms(lambda clip, seed: shift({"waveform": clip}, seed)["waveform"], waveform, 200)
    shifts = [len(one) - 40 for one in found]
    assert (min(shifts), max(shifts)) == (-10, 15)
    for one, moved in zip(found, shifts, strict=True):
        np.testing.assert_array_equal(one, np.pad(np.arange(1, 41)[max(-moved, 0) :], (max(moved, 0), 0)))


def test_gain_is_up_or_down_in_decibels():
    found = changed_waveforms(WaveformChange(gain_db=6.0), sine(), 60)
    gains = [20 * np.log10(waveform[1:100] / sine()[1:100]) for waveform in found]
    assert max(np.ptp(gain) for gain in gains) < 1e-3
    levels = [gain.mean() for gain in gains]
    assert -6 <= min(levels) < -4
    assert 4 < max(levels) <= 6


@pytest.mark.parametrize("rate", [0.9, 1.0, 1.1])
def test_speed_moves_length_and_pitch(rate):
    found = change_speed(sine(), tf.constant(rate)).numpy()
    assert len(found) == round(16000 / rate)
    np.testing.assert_allclose(found[:-2], sine(440 * rate, len(found))[:-2], atol=0.01)


def test_speeds_lie_within_their_share():
    lengths = [len(waveform) for waveform in changed_waveforms(WaveformChange(speed=0.1), sine(), 60)]
    assert 16000 / 1.1 - 1 <= min(lengths) < 15000
    assert 17000 < max(lengths) <= 16000 / 0.9 + 1


def test_noise_lies_as_far_below_the_clip_as_asked():
    clean = sine()
    noise = add_noise(clean, tf.constant(12.0), seeds(1)[0]) - clean
    snr_db = 10 * np.log10(np.mean(np.square(clean)) / np.mean(np.square(noise)))
    assert snr_db == pytest.approx(12, abs=0.5)


def test_noise_is_drawn_from_its_level_to_20_decibels_less():
    found = changed_waveforms(WaveformChange(noise_snr_db=5.0), sine(), 60)
    powers = [10 * np.log10(np.mean(np.square(sine())) / np.mean(np.square(one - sine()))) for one in found]
    assert 4.5 < min(powers) < 8
    assert 22 < max(powers) < 25.5


def test_0_decibels_are_noise_as_loud_as_the_clip_and_none_is_no_noise():
    found = changed_waveforms(WaveformChange(noise_snr_db=0.0), sine(scale=0.1), 60)
    powers = [
        10 * np.log10(np.mean(np.square(sine(scale=0.1))) / np.mean(np.square(one - sine(scale=0.1)))) for one in found
    ]
    assert -0.5 < min(powers) < 3
    assert 17 < max(powers) < 20.5
    np.testing.assert_array_equal(changed_waveforms(WaveformChange(noise_snr_db=None), sine(), 2)[0], sine())


def num_frames_of(waveform):
    return int(audio.frame_features(waveform[None], audio.FrontEnd(), ["log_mel"])[1][0])


def test_zeros_behind_a_clip_stay_padding():
    waveform = tf.concat([sine(num_samples=5000), tf.zeros([3000])], axis=0)
    found = add_noise(waveform, tf.constant(5.0), seeds(1)[0]).numpy()
    assert not found[5000:].any()
    assert (found[:5000] != waveform[:5000].numpy()).any()
    assert num_frames_of(found) <= 1 + (5000 - 400) // 160


def test_silent_ends_get_no_noise_and_are_trimmed_as_before():
    soft = 1e-3 * np.random.default_rng(0).standard_normal(8000).astype(np.float32)
    waveform = tf.concat([soft, sine(num_samples=8000), soft], axis=0)
    found = add_noise(waveform, tf.constant(3.0), seeds(1)[0])
    np.testing.assert_array_equal(found[:7900], waveform[:7900])
    np.testing.assert_array_equal(found[16100:], waveform[16100:])
    assert abs(num_frames_of(found) - num_frames_of(waveform)) <= 2


def test_an_offset_is_silence_and_gets_no_noise():
    quiet = tf.fill([8000], 0.3)
    waveform = tf.concat([quiet, sine(num_samples=8000), quiet], axis=0)
    found = add_noise(waveform, tf.constant(3.0), seeds(1)[0])
    np.testing.assert_array_equal(found[:8000], quiet)
    np.testing.assert_array_equal(found[16000:], quiet)


def test_noise_reaches_as_far_as_the_threshold_of_silence_says():
    soft = 0.02 * np.random.default_rng(0).standard_normal(8000).astype(np.float32)  # 25 dB below the sine.
    waveform = tf.concat([soft, sine(num_samples=8000), soft], axis=0)
    for trim_db, is_changed in ((20.0, False), (30.0, True)):
        found = WaveformChange(noise_snr_db=5.0, trim_db=trim_db)(waveform, seeds(1)[0])
        assert (found[:7900] != waveform[:7900]).numpy().any() == is_changed
        assert (found[8100:15900] != waveform[8100:15900]).numpy().any()


def test_noise_is_pink_above_50_hz_and_white_below():
    noise = np.concatenate([pink_noise(tf.constant(16000), seed).numpy() for seed in seeds(20)])
    power = np.square(np.abs(np.fft.rfft(noise.reshape(20, -1), axis=1))).mean(axis=0)  # 1 Hz a bin.
    bands = [power[low : 2 * low].mean() for low in (1, 10, 100, 1000, 2000)]
    assert bands[0] == pytest.approx(bands[1], rel=0.7)
    assert bands[2] / bands[3] == pytest.approx(10, rel=0.2)
    assert bands[3] / bands[4] == pytest.approx(2, rel=0.1)
    assert np.mean(np.square(noise)) == pytest.approx(1, rel=0.05)
