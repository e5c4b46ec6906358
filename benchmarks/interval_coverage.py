"""Measures how often intervals hold the truth: `python -m benchmarks.interval_coverage [--simulations 2000]`.

Simulates corpora of the shape of RAVDESS (60 clips a speaker, 8 emotions) in which each speaker has an ability and each
speaker and emotion an offset, so that the scores of a model on endlessly many speakers are known by integration. Counts
how often the intervals of `emotion_tf.evaluation.uncertainty` hold them, beside intervals that resample clips, and
times `scores`. Writes results/interval_coverage.json beside this file.
"""

import argparse
import os
import statistics
import sys
import time
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.result_files import write_result
from emotion_tf.evaluation import metrics, uncertainty
from emotion_tf.evaluation.counts import NUM_BINS, SCORES
from emotion_tf.runs.predictions import PREFIX
from pipelines.command import run_command

SPEAKERS = (5, 10, 20, 24)
CLIPS = np.array([4, 8, 8, 8, 8, 8, 8, 8])
"""Of one speaker in each emotion."""

EASE = np.array([-0.6, 1.2, 0.6, 0.2, 1.8, 0.9, 1.0, 0.4])
"""Mean log-odds that the model gives to the right emotion."""

ABILITY, OFFSET, CLIP = 0.8, 0.8, 1.6
"""Standard deviations of these log-odds over speakers, over the emotions of a speaker, and over clips."""

RIVAL = 0.7
"""Share of the rest of the probability that one wrong emotion gets; it is predicted where that is more."""

CLIP_RESAMPLES = 2000
"""Enough for the contrast: these intervals miss by far."""

MEASURES = ("unweighted_average_recall", "accuracy", "negative_log_likelihood", "expected_calibration_error")


def main(argv: list[str] | None = None) -> None:
    """Simulates, prints a table and writes the result."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--simulations", type=int, default=2000)
    parser.add_argument("--repetitions", type=int, default=5, help="of the timing")
    arguments = parser.parse_args(argv)
    truth = population()
    result = {
        "cores": len(os.sched_getaffinity(0)),
        "simulations": arguments.simulations,
        "resamples": uncertainty.NUM_RESAMPLES,
        "truth": {name: round(value, 5) for name, value in truth.items()},
        "seconds_to_score_1440_clips": time_scores(arguments.repetitions),
        "speakers": {str(number): coverage(number, truth, arguments.simulations) for number in SPEAKERS},
    }
    write_result("interval_coverage", result)
    print(table(result))


def population() -> dict[str, float]:
    """Integrates the scores over all speakers and clips: the log-odds of an emotion are normal."""
    spread = np.sqrt(ABILITY**2 + OFFSET**2 + CLIP**2)
    z = np.linspace(-9, 9, 200_001)
    density = np.exp(-(z**2) / 2) / np.exp(-(z**2) / 2).sum()
    of_emotions = [_clip_scores(ease + spread * z) for ease in EASE]
    recall, loss = (np.array([density @ found[key] for found in of_emotions]) for key in ("hits", "loss"))
    shares = CLIPS / CLIPS.sum()
    gaps = np.zeros(NUM_BINS)
    for share, found in zip(shares, of_emotions, strict=True):
        bins = np.ceil(found["confidence"] * NUM_BINS).astype(int) - 1
        gaps += share * np.bincount(bins, density * (found["hits"] - found["confidence"]), NUM_BINS)
    return dict(
        zip(MEASURES, map(float, (recall.mean(), shares @ recall, shares @ loss, np.abs(gaps).sum())), strict=True)
    )


def coverage(num_speakers: int, truth: Mapping[str, float], num_simulations: int) -> dict[str, Any]:
    """Returns for each measure, over speakers and over clips, coverage and mean width of 95 % intervals."""
    found = []
    for seed in range(num_simulations):
        tables = simulate(num_speakers, np.random.default_rng((num_speakers, seed)))
        found.append([*speaker_intervals(tables, seed).values(), *clip_intervals(tables, seed).values()])
    ends = np.array(found)  # [num_simulations, num_intervals, 2]
    names = [*MEASURES, *(f"{name}_over_clips" for name in MEASURES[:2])]
    known = np.array([truth[name.removesuffix("_over_clips")] for name in names])
    covered = ((ends[..., 0] <= known) & (known <= ends[..., 1])).mean(axis=0)
    widths = (ends[..., 1] - ends[..., 0]).mean(axis=0)
    rows = zip(names, covered, widths, strict=True)
    return {name: {"coverage": round(float(share), 4), "width": round(float(width), 4)} for name, share, width in rows}


def simulate(num_speakers: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Draws speakers and their clips; returns tables of their sums: [num_speakers, ...]."""
    emotion = np.repeat(np.arange(len(CLIPS)), CLIPS)
    ability = rng.normal(0, ABILITY, (num_speakers, 1))
    offset = rng.normal(0, OFFSET, (num_speakers, len(CLIPS)))
    log_odds = EASE[emotion] + ability + offset[:, emotion] + rng.normal(0, CLIP, (num_speakers, len(emotion)))
    clips = _clip_scores(log_odds)  # [num_speakers, 60]
    predicted = np.where(clips["hits"], emotion, (emotion + 1) % len(CLIPS))
    speaker = np.arange(num_speakers)[:, None]
    confusions = np.zeros((num_speakers, len(CLIPS), len(CLIPS)))
    np.add.at(confusions, (speaker, emotion, predicted), 1)
    bins = np.zeros((num_speakers, NUM_BINS, 3))
    values = np.stack([np.ones_like(clips["loss"]), clips["hits"], clips["confidence"]], axis=-1)
    np.add.at(bins, (speaker, np.ceil(clips["confidence"] * NUM_BINS).astype(int) - 1), values)
    losses = np.stack([clips["loss"].sum(axis=1), np.full(num_speakers, len(emotion))], axis=-1)
    return {"confusion": confusions, "likelihood": losses, "bins": bins}


def counts_of(confusions: np.ndarray) -> np.ndarray:
    """Takes hits, labels and predictions of confusions: [..., num_emotions, num_emotions] -> [..., num_emotions, 3]."""
    hits = np.diagonal(confusions, axis1=-2, axis2=-1)
    return np.stack([hits, confusions.sum(axis=-1), confusions.sum(axis=-2)], axis=-1)


def speaker_intervals(tables: Mapping[str, np.ndarray], seed: int) -> dict[str, Any]:
    """Takes the intervals as `metrics.scores` does."""
    tables = {**tables, "counts": counts_of(tables["confusion"])}

    def value(sums: Mapping[str, np.ndarray], name: str) -> np.ndarray:
        table, measure = metrics.MEASURES[name]
        return measure(sums[table])

    return uncertainty.speaker_intervals(tables, {name: partial(value, name=name) for name in MEASURES}, seed=seed)


def clip_intervals(tables: Mapping[str, np.ndarray], seed: int) -> dict[str, Any]:
    """Resamples clips as if each were of another speaker, as most papers do: plain percentiles."""
    total = tables["confusion"].sum(axis=0)
    num_clips = int(total.sum())
    draws = np.random.default_rng(seed).multinomial(num_clips, total.ravel() / num_clips, CLIP_RESAMPLES)
    table = counts_of(draws.reshape(-1, *total.shape))
    return {name: np.quantile(SCORES[name](table), [0.025, 0.975]) for name in MEASURES[:2]}


def time_scores(repetitions: int) -> float:
    """Times all scores with all their intervals, before and after calibration, on 1440 clips of 24 speakers."""
    rng = np.random.default_rng(0)
    emotions = [f"emotion{index}" for index in range(8)]
    probabilities = rng.dirichlet(np.ones(8), 1440)
    predictions = pd.DataFrame(
        {
            "utterance_id": [f"u{number}" for number in range(1440)],
            "speaker": [f"{number % 24 + 1:02}" for number in range(1440)],
            "label": rng.choice(emotions, 1440),
            "predicted": np.array(emotions)[probabilities.argmax(axis=1)],
        }
        | {PREFIX + emotion: probabilities[:, index] for index, emotion in enumerate(emotions)}
    )
    seconds = []
    for _ in range(repetitions):
        start = time.perf_counter()
        metrics.scores(predictions, emotions, temperature=1.5)
        seconds.append(time.perf_counter() - start)
    return round(statistics.median(seconds), 3)


def table(result: Mapping[str, Any]) -> str:
    """Draws coverage and width, one line a measure and number of speakers."""
    lines = [f"{'95 % interval of':<40}{'speakers':>9}{'covers':>9}{'width':>8}"]
    for number, found in result["speakers"].items():
        lines += [f"{name:<40}{number:>9}{row['coverage']:>9.1%}{row['width']:>8.3f}" for name, row in found.items()]
    seconds = result["seconds_to_score_1440_clips"]
    return "\n".join([*lines, f"1440 clips, {result['resamples']} draws: all scores in {seconds:.2f} s"])


def _clip_scores(log_odds: np.ndarray) -> dict[str, np.ndarray]:
    """What a clip scores whose right emotion has these log-odds."""
    right = 1 / (1 + np.exp(-log_odds))
    wrong = RIVAL * (1 - right)
    return {"hits": right > wrong, "loss": -np.log(right), "confidence": np.maximum(right, wrong)}


if __name__ == "__main__":
    sys.exit(run_command(main))
