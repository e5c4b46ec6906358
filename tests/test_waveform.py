"""Tests of pipelines.audio.waveform: what is done with waveforms on the host."""

import numpy as np
import pytest

from pipelines import audio


def test_int16_samples_are_fractions_of_32768():
    samples = np.random.default_rng(0).integers(-32768, 32768, 1000).astype(np.int16)
    np.testing.assert_array_equal(audio.to_float(samples) * 32768, samples)


def test_pad_together_puts_zeros_behind_the_shorter_ones():
    batch = audio.pad_together([np.array([16384], np.int16), np.array([1, -32768], np.int16)])
    assert batch.dtype == np.float32
    assert batch.tolist() == [[0.5, 0.0], [1 / 32768, -1.0]]
    assert audio.pad_together([]).shape == (0, 1)
    assert audio.pad_together([np.zeros(0, np.int16)]).shape == (1, 1)


@pytest.mark.parametrize(("peak", "expected"), [(0.0, True), (32.4 / 32768, True), (33 / 32768, False), (0.5, False)])
def test_a_peak_60_db_below_full_scale_is_silent(peak, expected):
    assert audio.is_silent(peak) is expected


def test_the_hash_is_of_the_samples():
    one = np.array([1, 2, 3], np.int16)
    assert audio.sha256(one) == audio.sha256(one.astype(">i2")) != audio.sha256(one[::-1])
