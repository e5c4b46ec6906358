"""Tests of emotion_tf.evaluation.uncertainty: the interval covers what it says, over speakers and not over clips."""

import numpy as np
import pytest
import scipy.stats

from emotion_tf.evaluation import uncertainty
from emotion_tf.evaluation.counts import accuracy, unweighted_average_recall
from emotion_tf.evaluation.uncertainty import (
    exchange_p,
    holm,
    permutation_p,
    smallest_p,
    speaker_interval,
    speaker_intervals,
)


def speakers(rates, num_clips=50, seed=0):
    """Counts [num_speakers, 2, 3] of speakers whose clips, all of the first emotion, are right at these rates."""
    hits = np.random.default_rng(seed).binomial(num_clips, rates)
    zeros, clips = np.zeros_like(hits), np.full_like(hits, num_clips)
    return np.stack([np.stack([hits, clips, hits], -1), np.stack([zeros, zeros, clips - hits], -1)], -2)


def test_one_speaker_says_nothing_about_others():
    assert speaker_interval(speakers([0.5]), accuracy) is None
    assert speaker_interval(speakers([0.4, 0.6]), accuracy) is None


def test_the_same_seed_gives_the_same_interval():
    table = speakers([0.4, 0.5, 0.9])
    assert speaker_interval(table, accuracy) == speaker_interval(table, accuracy)


def test_speakers_who_are_all_alike_leave_no_doubt():
    low, high = speaker_interval(np.tile([[3, 4, 3], [4, 4, 5]], (6, 1, 1)), accuracy)
    assert low == high == pytest.approx(7 / 8)


def test_it_is_wider_than_the_plain_percentiles():
    table = speakers([0.3, 0.5, 0.6, 0.7, 0.9])
    rng = np.random.default_rng(0)
    draws = rng.multinomial(5, np.full(5, 0.2), 10_000)
    plain = np.quantile(accuracy(np.einsum("rs,sij->rij", draws, table)), [0.025, 0.975])
    low, high = speaker_interval(table, accuracy)
    assert low < plain[0] < plain[1] < high


def test_clips_of_one_speaker_count_as_one():
    """Ten times the clips of the same speakers leave the interval as it is."""
    table = speakers([0.3, 0.5, 0.6, 0.7, 0.9])
    np.testing.assert_allclose(speaker_interval(table, accuracy), speaker_interval(10 * table, accuracy))


def test_it_is_that_of_resampled_means_but_for_the_width():
    rates = np.random.default_rng(0).normal(0.6, 0.1, 20)
    low, high = speaker_interval(rates, lambda sums: sums / 20)
    tail = scipy.stats.norm.cdf(-scipy.stats.t.ppf(0.975, 19) * np.sqrt(20 / 19))
    means = np.random.default_rng(7).choice(rates, (10_000, 20)).mean(axis=1)
    assert (low, high) == pytest.approx(np.quantile(means, [tail, 1 - tail]), abs=0.004)
    of_t = scipy.stats.t.interval(0.95, 19, rates.mean(), scipy.stats.sem(rates))
    assert (low, high) == pytest.approx(of_t, abs=0.008)


def test_what_speakers_add_may_have_any_shape():
    """Means over seeds of seeds that are alike are those of one seed."""
    table = speakers([0.3, 0.5, 0.6, 0.7, 0.9])
    seeds = np.stack([table, table], axis=1)
    found = speaker_interval(seeds, lambda sums: accuracy(sums).mean(axis=-1))
    assert found == pytest.approx(speaker_interval(table, accuracy))


def test_all_statistics_are_of_the_same_resamples():
    """The shares of hits and of misses are resampled alike: one interval mirrors the other."""
    table = speakers([0.3, 0.5, 0.6, 0.7, 0.9])
    found = speaker_intervals(
        {"counts": table, "misses": 50 - table[:, 0, 0]},
        {"hits": lambda sums: accuracy(sums["counts"]), "misses": lambda sums: sums["misses"] / 250},
    )
    assert found["misses"] == pytest.approx(tuple(1 - end for end in reversed(found["hits"])))
    assert found["hits"] == speaker_interval(table, accuracy)


def test_resamples_drawn_in_pieces_give_the_same_interval(monkeypatch):
    table = speakers(np.linspace(0.3, 0.9, 30))
    whole = speaker_interval(table, accuracy)
    monkeypatch.setattr(uncertainty, "LARGEST_ARRAY", 7 * 30 * 4)
    assert speaker_interval(table, accuracy) == pytest.approx(whole, abs=0.01)


def test_resamples_are_as_large_as_the_sample():
    resamples = []  # Speaker n adds 1 to the number n: sums are how often each was drawn.
    speaker_interval(np.eye(7), lambda sums: resamples.append(sums) or sums[:, 0])
    draws = np.concatenate(resamples)
    assert draws.shape == (uncertainty.NUM_RESAMPLES, 7)
    assert (draws.sum(axis=1) == 7).all()
    np.testing.assert_allclose(draws.mean(axis=0), 1, atol=0.06)
    np.testing.assert_allclose(draws.var(axis=0), 6 / 7, atol=0.1)


def test_thousands_of_units_are_resampled():
    """Where each clip is a unit of its own, the interval is that of a share: 1.96 standard errors to each side."""
    clips = speakers(np.full(3000, 0.6), num_clips=1)
    low, high = speaker_interval(clips, accuracy)
    rate = accuracy(clips.sum(axis=0))
    error = 1.96 * np.sqrt(rate * (1 - rate) / 3000)
    assert (low, high) == pytest.approx((rate - error, rate + error), abs=0.1 * error)


def test_speakers_who_lack_an_emotion_are_resampled_too():
    table = np.array([[[3, 4, 3], [0, 0, 1]], [[2, 4, 2], [0, 0, 2]], [[4, 4, 5], [1, 2, 1]]])
    low, high = speaker_interval(table, unweighted_average_recall)
    assert 0.5 <= low < high <= 0.75


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


def test_five_speakers_who_are_all_better_reach_one_in_sixteen():
    assert permutation_p(np.array([0.1, 0.2, 0.3, 0.1, 0.4])) == 0.0625 == smallest_p(5)


def test_the_p_value_counts_flips_by_hand():
    """Of the eight sums of +-1 +-2 +-3 the value 4 is reached by 4, -4, 6, -6."""
    assert permutation_p(np.array([-1.0, 2, 3])) == 0.5
    assert permutation_p(np.zeros(4)) == 1


@pytest.mark.parametrize("seed", range(4))
def test_the_exact_p_value_is_that_of_scipy(seed):
    differences = np.random.default_rng(seed).normal(0.4, 1, 9)
    expected = scipy.stats.permutation_test(
        (differences, np.zeros(9)), lambda x, y, axis: (x - y).sum(axis), permutation_type="samples", vectorized=True
    )
    assert permutation_p(differences) == pytest.approx(expected.pvalue, abs=1e-12)


def test_sums_that_are_equal_on_paper_are_ties():
    thirds = np.array([1, 2, -1, 3, 2, 1, -2, 1])
    assert permutation_p(thirds / 3 / 7) == permutation_p(thirds.astype(float))


def test_twenty_four_speakers_are_counted_and_not_drawn():
    assert permutation_p(np.full(24, 0.01)) == 2.0**-23 == smallest_p(24)


def test_random_flips_agree_with_counting_and_never_give_zero(monkeypatch):
    differences = np.random.default_rng(1).normal(0.3, 1, 14)
    exact = permutation_p(differences)
    monkeypatch.setattr(uncertainty, "MOST_ENUMERATED", 10)
    assert permutation_p(differences) == pytest.approx(exact, abs=4 * np.sqrt(exact / uncertainty.NUM_FLIPS))
    assert permutation_p(np.full(40, 0.1)) == smallest_p(40) == 1 / 100_001


def test_random_flips_of_equal_units_are_a_sign_test():
    """Thousands of utterances without a speaker: the wins and losses are a coin's."""
    differences = np.repeat([1 / 300, -1 / 300, 0.0], [90, 65, 3000])
    exact = scipy.stats.binomtest(90, 155).pvalue
    assert permutation_p(differences) == pytest.approx(exact, abs=4 * np.sqrt(exact / uncertainty.NUM_FLIPS))
    assert permutation_p(differences) == permutation_p(differences[::-1])


def test_p_values_of_equal_runs_are_uniform():
    """Two systems of the same ability, 200 times, speakers of unequal spread: false alarms stay at their level."""
    rng = np.random.default_rng(5)
    gaps = rng.normal(size=(200, 12)) * rng.gamma(1, size=(200, 12))
    p_values = np.array([permutation_p(gap) for gap in gaps])
    assert scipy.stats.kstest(p_values, "uniform").pvalue > 0.05
    assert 0.01 <= np.mean(p_values <= 0.05) <= 0.09


def test_ties_of_counted_clips_err_on_the_safe_side():
    rng = np.random.default_rng(5)
    abilities = rng.beta(6, 4, (200, 12))
    p_values = np.array([permutation_p(gap / 20) for gap in rng.binomial(20, abilities) - rng.binomial(20, abilities)])
    assert scipy.stats.kstest(p_values, "uniform", alternative="greater").pvalue > 0.05
    assert np.mean(p_values <= 0.05) <= 0.09


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.001, 0.9, 0.6]) == pytest.approx([1, 0.004, 1, 1])
    assert holm([0.2]) == [0.2]


def test_holm_rejects_what_stepping_down_rejects():
    rng = np.random.default_rng(2)
    for p_values in rng.beta(0.3, 2, (50, 6)):
        rejected, still = [False] * 6, True
        for step, index in enumerate(np.argsort(p_values)):
            still = still and p_values[index] <= 0.05 / (6 - step)
            rejected[index] = still
        assert [p <= 0.05 for p in holm(p_values)] == rejected


@pytest.mark.parametrize("num_units", [5, 10])
def test_exchanges_of_a_mean_are_flips_of_sign(num_units):
    one, other = np.random.default_rng(num_units).normal(0.3, 1, (2, num_units, 1))
    found = exchange_p(one, other, lambda sums: sums[..., 0])
    assert found == pytest.approx(permutation_p((one - other)[:, 0]))


def test_random_exchanges_agree_with_flips_of_sign():
    one, other = np.random.default_rng(0).normal(0.25, 1, (2, 40, 1)) * [[[1]], [[0]]]
    found, expected = exchange_p(one, other, lambda sums: sums[..., 0]), permutation_p(one[:, 0])
    assert found == pytest.approx(expected, abs=4 * np.sqrt(expected * (1 - expected) / 10_000))


def test_no_exchange_is_as_extreme_as_being_better_everywhere():
    for num_units in (6, 40):
        better, worse = np.ones((num_units, 1)), np.zeros((num_units, 1))
        assert exchange_p(better, worse, lambda sums: sums[..., 0]) == smallest_p(num_units, of_exchanges=True)
    assert smallest_p(6, of_exchanges=True) == 2**-5
    assert smallest_p(20, of_exchanges=True) == 1 / 10_001


def test_runs_that_agree_cannot_be_told_apart_by_exchanges():
    same = np.random.default_rng(0).random((30, 2))
    assert exchange_p(same, same, lambda sums: sums[..., 0] / sums[..., 1]) == 1
