"""Tests of emotion_tf.uncertainty: the interval covers what it says, over speakers and not over clips."""

import numpy as np
import pytest

from emotion_tf import uncertainty
from emotion_tf.metrics import accuracy
from emotion_tf.uncertainty import speaker_interval


def speakers(rates, num_clips=50, seed=0):
    """Confusions [num_speakers, 2, 2] of speakers who are understood at these rates."""
    hits = np.random.default_rng(seed).binomial(num_clips, rates)
    zeros = np.zeros_like(hits)
    return np.stack([np.stack([hits, num_clips - hits], -1), np.stack([zeros, zeros], -1)], -2)


def test_one_speaker_says_nothing_about_others():
    assert speaker_interval(speakers([0.5]), accuracy) is None
    assert speaker_interval(speakers([0.4, 0.6]), accuracy) is None


def test_the_same_seed_gives_the_same_interval():
    confusions = speakers([0.4, 0.5, 0.9])
    assert speaker_interval(confusions, accuracy) == speaker_interval(confusions, accuracy)


def test_speakers_who_are_all_alike_leave_no_doubt():
    low, high = speaker_interval(np.tile([[3, 1], [0, 4]], (6, 1, 1)), accuracy)
    assert low == high == pytest.approx(7 / 8)


def test_it_is_wider_than_the_plain_percentiles():
    confusions = speakers([0.3, 0.5, 0.6, 0.7, 0.9])
    rng = np.random.default_rng(0)
    draws = rng.multinomial(5, np.full(5, 0.2), 10_000)
    plain = np.quantile(accuracy(np.einsum("rs,sij->rij", draws, confusions)), [0.025, 0.975])
    low, high = speaker_interval(confusions, accuracy)
    assert low < plain[0] < plain[1] < high


def test_clips_of_one_speaker_count_as_one():
    """Ten times the clips of the same speakers leave the interval as it is."""
    confusions = speakers([0.3, 0.5, 0.6, 0.7, 0.9])
    np.testing.assert_allclose(speaker_interval(confusions, accuracy), speaker_interval(10 * confusions, accuracy))


@pytest.mark.parametrize(("num_speakers", "lowest", "highest"), [(5, 0.89, 0.95), (20, 0.92, 0.97)])
def test_it_covers_what_its_docstring_says_on_simulated_corpora(num_speakers, lowest, highest, monkeypatch):
    monkeypatch.setattr(uncertainty, "NUM_RESAMPLES", 1000)
    rng = np.random.default_rng(1)
    covered = []
    for corpus in range(600):
        rates = rng.beta(12, 8, num_speakers)  # mean 0.6
        low, high = speaker_interval(speakers(rates, seed=1000 + corpus), accuracy, seed=corpus)
        covered.append(low <= 0.6 <= high)
    assert lowest <= np.mean(covered) <= highest
