"""Intervals and tests that hold for new speakers: speakers are the sample, not clips."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeAlias

import numpy as np
import scipy.stats

NUM_RESAMPLES = 10_000

MOST_ENUMERATED = 24
"""Up to so many speakers (all of RAVDESS) every flip of signs is counted: 2 ** 23 sums, 64 MiB."""

NUM_FLIPS = 100_000
"""Random flips beyond."""

MOST_EXCHANGED = 14
"""Up to so many units every exchange of results is scored: 2 ** 13."""

NUM_EXCHANGES = 10_000
"""Random exchanges beyond."""

FEWEST_SPEAKERS = 3
"""Of two speakers every resample is one, the other, or both: no interval comes of it."""

LARGEST_ARRAY = 4_000_000
"""Numbers (of 8 bytes) in one array: a corpus without speakers has thousands of units, too many to draw at once."""

Interval: TypeAlias = tuple[float, float]
Statistic: TypeAlias = Callable[[np.ndarray], np.ndarray]
Tables: TypeAlias = Mapping[str, np.ndarray]


def speaker_interval(
    by_speaker: np.ndarray, statistic: Statistic, level: float = 0.95, seed: int = 0
) -> Interval | None:
    """Bootstraps one statistic over speakers, as `speaker_intervals` does many.

    Args:
      by_speaker: [num_speakers, ...] what each speaker adds, such as counts of labels and predictions.
      statistic: From sums over resampled speakers [num_resamples, ...] to values [num_resamples].
      level: Coverage that the interval aims at.
      seed: Of the resampling.

    Returns:
      Lower and upper end; None for fewer than three speakers, who say too little about others.
    """
    return speaker_intervals({"": by_speaker}, {"": lambda sums: statistic(sums[""])}, level, seed)[""]


def speaker_intervals(
    by_speaker: Tables, statistics: Mapping[str, Callable[[Tables], np.ndarray]], level: float = 0.95, seed: int = 0
) -> dict[str, Interval | None]:
    """Bootstraps statistics over the same resampled speakers: t-expanded percentile intervals.

    On simulated corpora of the shape of RAVDESS, 95 % intervals of UAR cover 94 to 96 % over 10, 20 and 24 speakers and
    92 % over 5 (benchmarks/interval_coverage.py). A studentised bootstrap covers 95 % over 5, at nearly three times the
    width.

    Args:
      by_speaker: Name of a table -> [num_speakers, ...] what each speaker adds to it.
      statistics: Name of a number -> from tables summed over resampled speakers, [num_resamples, ...] each, to its
        values [num_resamples].
      level: Coverage that the intervals aim at.
      seed: Of the resampling.

    Returns:
      Name of a number -> lower and upper end; None for fewer than three speakers.

    Source:
      Hesterberg 2015, doi 10.1080/00031305.2015.1089789, section 3.2: percentiles widened by Student's t and
      sqrt(n / (n - 1)), for plain ones are too narrow over few speakers.
    """
    num_speakers = len(next(iter(by_speaker.values())))
    if num_speakers < FEWEST_SPEAKERS:
        return dict.fromkeys(statistics)
    flat = {name: np.reshape(table, (num_speakers, -1)).astype(float) for name, table in by_speaker.items()}

    def values_of(chosen: np.ndarray, axis: int) -> np.ndarray:
        draws = _num_draws(chosen)
        sums = {name: (draws @ flat[name]).reshape(-1, *table.shape[1:]) for name, table in by_speaker.items()}
        return np.stack([statistic(sums) for statistic in statistics.values()])  # [num_statistics, num_resamples]

    # Numbers of speakers are resampled, not their tables: so one draw serves all tables and statistics.
    interval = scipy.stats.bootstrap(
        (np.arange(num_speakers),),
        values_of,
        n_resamples=NUM_RESAMPLES,
        batch=max(1, LARGEST_ARRAY // max(num_speakers, *(table.shape[1] for table in flat.values()))),
        vectorized=True,
        confidence_level=1 - 2 * _tail(num_speakers, level),
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    ends = zip(interval.low.tolist(), interval.high.tolist(), strict=True)
    return dict(zip(statistics, ends, strict=True))


def _num_draws(chosen: np.ndarray) -> np.ndarray:
    """Counts how often each resample, a row of numbers of speakers, holds each speaker: the shape stays."""
    num_resamples, num_speakers = chosen.shape
    places = chosen + num_speakers * np.arange(num_resamples)[:, None]
    return np.bincount(places.ravel(), minlength=places.size).reshape(places.shape).astype(float)


def _tail(num_speakers: int, level: float) -> float:
    """Share of resamples to leave out at each end."""
    quantile = scipy.stats.t.ppf((1 + level) / 2, num_speakers - 1) * np.sqrt(num_speakers / (num_speakers - 1))
    return float(scipy.stats.norm.cdf(-quantile))


def permutation_p(differences: np.ndarray, seed: int = 0) -> float:
    """Tests whether two runs could have exchanged their results, two-sided, by flips of sign over speakers.

    Up to `MOST_ENUMERATED` speakers every flip is counted; beyond, `NUM_FLIPS` random ones.

    Args:
      differences: [num_units] shares of the difference.
      seed: Of the random flips.

    Source:
      Phipson and Smyth 2010, doi 10.2202/1544-6115.1585: the data count as one of the random flips.
    """
    # Our own: scipy.stats.permutation_test takes 3.1 s to count the flips of 20 speakers, this 5 ms.
    # Sums that are equal on paper differ in their last bits: the margin counts them as ties.
    extreme = abs(differences.sum()) - 1e-9 * np.abs(differences).sum()
    if len(differences) > MOST_ENUMERATED:
        return (_count_flips(np.abs(differences), extreme, seed) + 1) / (NUM_FLIPS + 1)
    sums = differences[:1]  # Its sign stands still: the other half of the flips mirrors this one.
    for difference in differences[1:]:
        sums = np.concatenate([sums + difference, sums - difference])
    return float(np.mean(np.abs(sums) >= extreme))


def exchange_p(one: np.ndarray, other: np.ndarray, statistic: Statistic, seed: int = 0) -> float:
    """Tests, two-sided, whether two runs could have exchanged their results, for scores that are no mean over units.

    Up to `MOST_EXCHANGED` units every exchange is counted; beyond, `NUM_EXCHANGES` random ones.

    Args:
      one, other: [num_units, ...] what each unit adds in each run, such as counts of hits.
      statistic: From sums over units [num_exchanges, ...] to scores [num_exchanges].
      seed: Of the random exchanges.

    Source:
      Phipson and Smyth 2010, doi 10.2202/1544-6115.1585: the data count as one of the random exchanges.
    """
    middle, half = (one + other).sum(axis=0) / 2, np.reshape(one - other, (len(one), -1)) / 2
    num_extreme = num_drawn = 0
    extreme = abs(float((statistic(one.sum(axis=0)[None]) - statistic(other.sum(axis=0)[None]))[0])) - 1e-12
    for signs in _signs(len(one), np.random.default_rng(seed)):
        moved = np.reshape(signs @ half, (len(signs), *middle.shape))
        num_extreme += int(np.sum(np.abs(statistic(middle + moved) - statistic(middle - moved)) >= extreme))
        num_drawn += len(signs)
    is_random = len(one) > MOST_EXCHANGED
    return (num_extreme + is_random) / (num_drawn + is_random)


def _signs(num_units: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Yields which units keep (1) and exchange (-1) their results, [num_exchanges, num_units], piece by piece."""
    if num_units <= MOST_EXCHANGED:
        # The first unit keeps its own: the other half mirrors this one.
        numbers = np.arange(2 ** (num_units - 1))[:, None] >> np.arange(num_units) & 1
        yield 1.0 - 2 * numbers[:, ::-1]
        return
    piece = max(1, LARGEST_ARRAY // num_units)
    for start in range(0, NUM_EXCHANGES, piece):
        yield rng.integers(2, size=(min(piece, NUM_EXCHANGES - start), num_units), dtype=np.int8) * 2.0 - 1


def _count_flips(sizes: np.ndarray, extreme: float, seed: int) -> int:
    """Counts random flips whose sum is as extreme; units of equal size are drawn as one binomial number."""
    rng = np.random.default_rng(seed)
    sizes, num_equal = np.unique(sizes, return_counts=True)
    num_extreme = 0
    for _ in range(10):  # In tenths, for memory's sake.
        num_kept = rng.binomial(num_equal, 0.5, (NUM_FLIPS // 10, len(sizes)))
        num_extreme += int(np.sum(np.abs((2 * num_kept - num_equal) @ sizes) >= extreme))
    return num_extreme


def smallest_p(num_units: int, *, of_exchanges: bool = False) -> float:
    """Returns the p-value that `permutation_p`, or `exchange_p`, gives where one run is better on every speaker."""
    most, num_random = (MOST_EXCHANGED, NUM_EXCHANGES) if of_exchanges else (MOST_ENUMERATED, NUM_FLIPS)
    return 2.0 ** (1 - num_units) if num_units <= most else 1 / (num_random + 1)


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusts p-values for their number, so that the chance of any false alarm stays below the level.

    Source:
      Holm 1979, A simple sequentially rejective multiple test procedure, Scandinavian Journal of Statistics 6.
    """
    order = np.argsort(p_values, kind="stable")
    raised = np.asarray(p_values)[order] * np.arange(len(order), 0, -1)
    adjusted = np.empty(len(order))
    adjusted[order] = np.minimum(np.maximum.accumulate(raised), 1)
    return adjusted.tolist()
