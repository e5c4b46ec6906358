"""Tests of pipelines.audio.channels: what is left of several channels."""

import numpy as np
import pytest

from pipelines.audio.channels import CANCELLED, DEAD, mixed

SURROUND = ("FL", "FR", "FC", "LFE", "BL", "BR")


def noise(seed=0, num_samples=4000, loudness=0.1):
    samples = np.random.default_rng(seed).standard_normal(num_samples).astype(np.float32) * np.float32(loudness)
    return samples - samples.mean(dtype=np.float64).astype(np.float32)


def mix(*channels, names=None):
    return mixed(np.stack(channels, axis=1), names)


def test_channels_are_averaged():
    mono, notes = mix(noise(0), noise(1))
    np.testing.assert_allclose(mono, (noise(0) + noise(1)) / 2, atol=1e-6)
    assert notes == ()
    np.testing.assert_allclose(mix(noise(0))[0], noise(0), atol=1e-6)


def test_of_opposite_channels_the_louder_is_taken_and_said():
    mono, notes = mix(0.9 * noise(), -noise())
    np.testing.assert_allclose(mono, -noise(), atol=1e-6)
    assert notes == (CANCELLED,)
    # Two microphones of which one is wired the wrong way, each with noise of its own.
    _, notes = mix(noise(0) + noise(1, loudness=0.03), -noise(0) + noise(2, loudness=0.03))
    assert notes == (CANCELLED,)


@pytest.mark.parametrize("dead", [np.zeros(4000, np.float32), np.full(4000, 0.02, np.float32), noise(1, 4000, 5e-4)])
def test_a_dead_channel_leaves_the_good_one_as_it_is(dead):
    for channels in ((noise(), dead), (dead, noise())):
        mono, notes = mix(*channels)
        np.testing.assert_allclose(mono, noise(), atol=1e-6)
        assert notes == (DEAD,)


def test_a_soft_channel_counts_like_the_other():
    mono, notes = mix(noise(0), 0.02 * noise(1))
    np.testing.assert_allclose(mono, noise(0) / 2 + 0.01 * noise(1), atol=1e-6)
    assert notes == ()


def test_silence_is_silence_whatever_its_offset():
    for channels in ([np.zeros(100)], [np.full(100, 0.3)], [np.full(100, 0.3), np.zeros(100)]):
        mono, notes = mix(*np.float32(channels))
        assert not mono.any()
        assert notes == ()
    assert mixed(np.zeros((0, 2), np.float32))[0].shape == (0,)


def test_the_offset_of_each_channel_is_removed_and_padding_stays_zero():
    padded = np.concatenate([np.zeros(50, np.float32), noise() + np.float32(0.1), np.zeros(70, np.float32)])
    mono, _ = mix(padded, padded)
    np.testing.assert_allclose(mono[50:-70], noise(), atol=1e-6)
    assert not mono[:50].any()
    assert not mono[-70:].any()


def test_surround_sound_is_mixed_as_its_layout_says():
    silence = np.zeros(4000, np.float32)
    channels = dict.fromkeys(SURROUND, silence)
    mono, notes = mix(*(channels | {"FC": noise()}).values(), names=SURROUND)
    np.testing.assert_allclose(mono, noise(), atol=1e-6)
    assert notes == ()  # Most channels of a film are silent.
    mono, _ = mix(*(channels | {"FC": noise(0), "LFE": 5 * noise(1)}).values(), names=SURROUND)
    np.testing.assert_allclose(mono, noise(0), atol=1e-6)
    mono, _ = mix(*(channels | {"FC": noise(0), "BL": noise(1)}).values(), names=SURROUND)
    np.testing.assert_allclose(mono, (noise(0) + 0.5 * noise(1)) / 1.5, atol=1e-6)
    # What stands in the channel of low frequencies alone is better than nothing.
    mono, _ = mix(*(channels | {"LFE": noise()}).values(), names=SURROUND)
    np.testing.assert_allclose(mono, noise(), atol=1e-6)


def test_channels_without_names_count_alike():
    mono, _ = mix(*(noise(seed) for seed in range(4)))
    np.testing.assert_allclose(mono, np.mean([noise(seed) for seed in range(4)], axis=0), atol=1e-6)
