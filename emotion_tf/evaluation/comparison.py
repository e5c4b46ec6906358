"""Compares predictions of the same utterances: differences, their intervals and p-values, in numbers and sentences."""

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from emotion_tf.runs.folder import Scored
from pipelines.command import InputError

if TYPE_CHECKING:
    import pandas as pd

UAR = "unweighted_average_recall"

LEVEL = 0.05
"""A p-value up to this, after Holm, is called a difference."""


@dataclasses.dataclass(frozen=True)
class Entry:
    """What takes part in a comparison: a run, a crossval, or the predictions of another toolkit.

    Args:
      name: Short, and unique in the comparison.
      path: Where it was read.
      predictions: Rows of predictions.csv.
      marks: What its scores carry.
      headline: The score that it puts first.
    """

    name: str
    path: Path
    predictions: "pd.DataFrame"
    marks: tuple[str, ...] = ()
    headline: str = UAR


@dataclasses.dataclass(frozen=True)
class Pairing:
    """The utterances that all entries have in one part, summed over each speaker.

    Args:
      emotions: The label set.
      tallies: Of each entry [num_units, num_seeds, num_emotions, 3]: hits, utterances labelled so and utterances that
        are said to be; averaged over folds.
      unit: "speaker", or "dialogue" or "utterance" where the corpus names no speakers.
      num_utterances: That all have.
      num_left_out: Utterances that only some entries have.
      is_multi_label: Whether utterances may have several emotions.
    """

    emotions: tuple[str, ...]
    tallies: tuple[np.ndarray, ...]
    unit: str
    num_utterances: int
    num_left_out: int
    is_multi_label: bool

    @property
    def hits(self) -> np.ndarray:
        """[num_entries, num_units, num_emotions], averaged over seeds."""
        return np.stack([tallies[..., 0].mean(axis=1) for tallies in self.tallies])

    @property
    def totals(self) -> np.ndarray:
        """[num_units, num_emotions] utterances."""
        return self.tallies[0][:, 0, :, 1]

    @property
    def counts(self) -> np.ndarray:
        """[num_emotions] utterances."""
        return self.totals.sum(axis=0)

    @property
    def second(self) -> str:
        """Names the score that stands beside the one compared: micro-F1 is accuracy where each has one emotion."""
        return "micro_f1" if self.is_multi_label else "accuracy"

    @property
    def units(self) -> str:
        """For example "20 speakers"."""
        return counted(len(self.totals), self.unit)


def read_entries(paths: Sequence[Path]) -> list[Entry]:
    """Reads what is to be compared, and gives each the shortest name that is its own.

    Raises:
      InputError: Fewer than two, one twice, no predictions, or different label sets.
    """
    files = [path / "predictions.csv" if path.is_dir() else path for path in paths]
    if len(files) < 2:
        raise InputError(f"Nothing to compare {paths[0]} with: name two runs or more.")
    for index, file in enumerate(files):
        if file.resolve() in [other.resolve() for other in files[:index]]:
            raise InputError(f"{paths[index]} is named twice: name each run once.")
    short = [path.resolve().name if path.is_dir() else path.stem for path in paths]
    names = [name if short.count(name) == 1 else str(path) for name, path in zip(short, paths, strict=True)]
    entries = [_read(name, path) for name, path in zip(names, paths, strict=True)]
    _check_label_sets(entries)
    return entries


def _read(name: str, path: Path) -> Entry:
    from emotion_tf.runs.predictions import is_multi_label, leaks, read_predictions

    if not path.is_dir():
        predictions = read_predictions(path)
        headline = "macro_f1" if is_multi_label(predictions) else UAR
        return Entry(name, path, predictions, tuple(leaks(predictions)), headline)
    run = Scored(path)
    if not (run.predictions_path.exists() and run.scores_path.exists()):
        raise InputError(
            f"{path} holds no finished run or crossval (predictions.csv or scores.json is missing):"
            " finish it, or name another folder or a CSV file of predictions."
        )
    scores = run.scores()
    return Entry(name, path, run.predictions(), tuple(scores["marks"]), scores.get("headline", UAR))


def _check_label_sets(entries: Sequence[Entry]) -> None:
    """Refuses entries of different label sets; without probabilities a file shows only the emotions that occur."""
    from emotion_tf.runs.predictions import emotions_of

    known = set().union(*(emotions_of(entry.predictions) for entry in entries))
    for entry in entries:
        is_complete = any(column.startswith("probability_") for column in entry.predictions)
        if is_complete and (missing := sorted(known - set(emotions_of(entry.predictions)))):
            raise InputError(
                f"{entry.name} does not know {', '.join(missing)}, which another run does:"
                " compare runs of the same label set."
            )


def choose_split(entries: Sequence[Entry], asked: str | None = None) -> str:
    """Returns the part that was asked for, else test where every entry has it, else validation.

    Raises:
      InputError: An entry without rows of the part.
    """
    for part in [asked] if asked else ["test", "validation"]:
        lacking = [entry.name for entry in entries if not (entry.predictions["split"] == part).any()]
        if not lacking:
            return part
    advice = "read its test split first, or compare --split validation" if part == "test" else "leave it out"
    also = "" if asked else ", and not every run has test rows"
    raise InputError(f"{lacking[0]} has no {part} rows{also}: {advice}.")


def choose_metric(entries: Sequence[Entry], asked: str | None = None) -> str:
    """Returns the score that was asked for, else the one that the entries put first, which is macro-F1 if any does.

    Raises:
      InputError: UAR of predictions with several emotions an utterance.
    """
    from emotion_tf.runs.predictions import is_multi_label

    several = [entry.name for entry in entries if is_multi_label(entry.predictions)]
    if asked == UAR and several:
        raise InputError(
            f"{several[0]} has several emotions an utterance, and UAR is of one each: give --metric macro_f1."
        )
    return asked or next((entry.headline for entry in entries if entry.headline != UAR), UAR)


def pair_up(entries: Sequence[Entry], part: str) -> Pairing:
    """Pairs the utterances of one part.

    Raises:
      InputError: No utterance in common, or another label or speaker of the same utterance.
    """
    import pandas as pd

    from emotion_tf.evaluation import counts
    from emotion_tf.runs.predictions import emotions_of, is_multi_label

    rows = [entry.predictions[entry.predictions["split"] == part] for entry in entries]
    _check_agreement(pd.concat([table.assign(entry=e.name) for e, table in zip(entries, rows, strict=True)]), part)
    held = [set(table["utterance_id"]) for table in rows]
    common = set.intersection(*held)
    if not common:
        raise InputError(
            f"No utterance stands in the {part} part of every run: compare runs of the same corpus and folds."
        )
    about = rows[0][rows[0]["utterance_id"].isin(common)].drop_duplicates("utterance_id")
    units = pd.Series(counts.units_of(about), about["utterance_id"])
    # A file without probabilities may never name an emotion that the others know.
    emotions = tuple(dict.fromkeys(emotion for entry in entries for emotion in emotions_of(entry.predictions)))
    return Pairing(
        emotions,
        tuple(_tallies(table[table["utterance_id"].isin(common)], units, emotions) for table in rows),
        counts.unit_of(about),
        len(common),
        len(set.union(*held)) - len(common),
        any(is_multi_label(entry.predictions) for entry in entries),
    )


def _tallies(rows: "pd.DataFrame", units: "pd.Series", emotions: Sequence[str]) -> np.ndarray:
    """Counts hits, labels and guesses: [num_units, num_seeds, num_emotions, 3]; an utterance weighs 1 in each seed."""
    from emotion_tf.evaluation.counts import codes_of
    from emotion_tf.evaluation.multilabel import memberships

    truths, decided = (memberships(rows[column], emotions) for column in ("label", "predicted"))
    seeds = codes_of(rows, "seed")
    sizes = rows.groupby(["utterance_id", seeds])["utterance_id"].transform("size").to_numpy()
    counted = np.stack([truths & decided, truths, decided], axis=-1) / sizes[:, None, None]
    sums = np.zeros((units.max() + 1, seeds.max() + 1, len(emotions), 3))
    np.add.at(sums, (units.loc[rows["utterance_id"]].to_numpy(), seeds), counted)
    return sums


def _check_agreement(rows: "pd.DataFrame", part: str) -> None:
    """Refuses rows of all entries (column entry) that call one utterance by two labels or speakers."""
    rows = rows.assign(label=rows["label"].str.split("|").map(sorted).str.join("|"))
    for column in ("label", "speaker"):
        seen = rows.drop_duplicates(["utterance_id", column])
        twice = seen[seen["utterance_id"].duplicated(keep=False)]
        if len(twice):
            one, other = twice[twice["utterance_id"] == twice["utterance_id"].iloc[0]].to_dict("records")[:2]
            if unnamed := [row["entry"] for row in (one, other) if not row[column]]:
                raise InputError(f"{unnamed[0]} names no {column} for {one['utterance_id']}: fill that column.")
            raise InputError(
                f"Utterance {one['utterance_id']} of the {part} part has the {column} '{one[column]}' in"
                f" {one['entry']} and '{other[column]}' in {other['entry']}: compare predictions of the same corpus."
            )


def score(sums: np.ndarray, metric: str) -> np.ndarray:
    """Takes a score of tallies.

    Args:
      sums: [..., num_seeds, num_emotions, 3] hits, utterances labelled so and utterances that are said to be.
      metric: "unweighted_average_recall", "macro_f1", "weighted_f1", "micro_f1" or "accuracy".

    Returns:
      [...], the mean over seeds; emotions that do not occur count for nothing in means over emotions.
    """
    from emotion_tf.evaluation import counts

    hits, carried, _ = np.moveaxis(sums, -1, 0)
    if metric == UAR:
        scores = counts.mean_of_present(counts.ratio(hits, carried), carried)
    elif metric == "macro_f1":
        scores = counts.macro_f1(sums)
    elif metric == "weighted_f1":
        scores = counts.ratio((counts.f1(sums) * carried).sum(axis=-1), carried.sum(axis=-1))
    elif metric == "micro_f1":
        scores = counts.f1(sums.sum(axis=-2))
    else:
        scores = counts.ratio(hits.sum(axis=-1), carried.sum(axis=-1))
    return scores.mean(axis=-1)


def compare(entries: Sequence[Entry], pairing: Pairing, part: str, metric: str = UAR) -> dict[str, Any]:
    """Scores every entry and compares every pair.

    Returns:
      What compare.json holds. Scores and differences are shares in [-1, 1]; of a pair `first` has the higher score.
    """
    from emotion_tf.evaluation.uncertainty import holm, smallest_p

    pairs = [_difference(entries, pairing, metric, *pair) for pair in itertools.combinations(range(len(entries)), 2)]
    smallest = smallest_p(len(pairing.totals), of_exchanges=metric != UAR)
    for pair, adjusted in zip(pairs, holm([pair["p"] for pair in pairs]), strict=True):
        pair["p_holm"] = adjusted
        pair["sentence"] = _sentence(pair, pairing, metric, len(pairs), smallest)
    return {
        "part": part,
        "metric": metric,
        "second": pairing.second,
        "unit": pairing.unit,
        "num_units": len(pairing.totals),
        "num_utterances": pairing.num_utterances,
        "num_left_out": pairing.num_left_out,
        **_proportions(pairing, metric),
        "smallest_p": smallest,
        "smallest_p_holm": min(1.0, smallest * len(pairs)),
        "runs": [_score(*found, metric, pairing.second) for found in zip(entries, pairing.tallies, strict=True)],
        "pairs": pairs,
    }


def _proportions(pairing: Pairing, metric: str) -> dict[str, Any]:
    """Scores two answers that hear nothing: one is chance, and one always names the commonest emotion."""
    counts, total = pairing.counts, pairing.num_utterances
    commonest, occurs = int(counts.argmax()), counts > 0
    # Every emotion always; or, where each utterance has one, every emotion that occurs equally often.
    share = 1 if pairing.is_multi_label else 1 / occurs.sum()
    guessed = np.stack([counts * share, counts, occurs * total * share], axis=-1)[None]
    always = np.zeros_like(guessed)
    always[0, :, 1] = counts
    always[0, commonest, [0, 2]] = counts[commonest], total
    majority = {name: float(score(always, name)) for name in (metric, pairing.second)}
    return {
        "chance": {metric: float(score(guessed, metric))},
        "majority": {"emotion": pairing.emotions[commonest], **majority},
    }


def _score(entry: Entry, tallies: np.ndarray, metric: str, second: str) -> dict[str, Any]:
    from emotion_tf.evaluation.uncertainty import speaker_interval

    return {
        "name": entry.name,
        "path": str(entry.path),
        "marks": list(entry.marks),
        "num_seeds": tallies.shape[1],
        metric: float(score(tallies.sum(axis=0), metric)),
        f"{metric}_interval": speaker_interval(tallies, lambda sums: score(sums, metric)),
        second: float(score(tallies.sum(axis=0), second)),
    }


def _difference(entries: Sequence[Entry], pairing: Pairing, metric: str, one: int, other: int) -> dict[str, Any]:
    """Compares two entries; the p-value is not corrected yet."""
    from emotion_tf.evaluation.uncertainty import speaker_intervals

    def difference(sums: Mapping[str, np.ndarray], name: str = metric) -> np.ndarray:
        return score(sums["one"], name) - score(sums["other"], name)

    def tables() -> dict[str, np.ndarray]:
        return {"one": pairing.tallies[one], "other": pairing.tallies[other]}

    if difference({name: table.sum(axis=0) for name, table in tables().items()}) < 0:
        one, other = other, one
    sums = {name: table.sum(axis=0) for name, table in tables().items()}
    return {
        "first": entries[one].name,
        "first_marks": list(entries[one].marks),
        "second": entries[other].name,
        "second_marks": list(entries[other].marks),
        metric: float(difference(sums)),
        f"{metric}_interval": speaker_intervals(tables(), {"": difference})[""],
        pairing.second: float(difference(sums, pairing.second)),
        "p": _p_value(pairing, metric, one, other),
    }


def _p_value(pairing: Pairing, metric: str, one: int, other: int) -> float:
    from emotion_tf.evaluation.uncertainty import exchange_p, permutation_p

    if metric == UAR:
        return permutation_p(speaker_differences(pairing.hits[one], pairing.hits[other], pairing.totals))
    tables = pairing.tallies[one], pairing.tallies[other]
    if tables[0].shape != tables[1].shape:  # Other numbers of seeds: what is exchanged is their mean.
        tables = tables[0].mean(axis=1, keepdims=True), tables[1].mean(axis=1, keepdims=True)
    return exchange_p(*tables, lambda sums: score(sums, metric))


def speaker_differences(hits: np.ndarray, other_hits: np.ndarray, totals: np.ndarray) -> np.ndarray:
    """Shares a difference of UAR out to speakers: to exchange the results of one of them flips the sign of its share.

    Args:
      hits, other_hits: [num_units, num_emotions], of two runs.
      totals: [num_units, num_emotions] utterances.

    Returns:
      [num_units], which add up to the difference.
    """
    occurs = totals.sum(axis=0) > 0
    return ((hits - other_hits)[:, occurs] / totals.sum(axis=0)[occurs]).mean(axis=1)


def _sentence(pair: dict[str, Any], pairing: Pairing, metric: str, num_pairs: int, smallest: float) -> str:
    """Says in plain words what came of a pair."""
    from emotion_tf.evaluation.metrics import TITLES

    one, other = (pair[name] + "".join(f" [{m}]" for m in pair[f"{name}_marks"]) for name in ("first", "second"))
    points, p_value = 100 * pair[metric], pair["p"]
    interval = ranged(pair[f"{metric}_interval"], pairing.unit)
    numbers = f"points {TITLES[metric]} {interval}, p {_equals(p_value)}"
    if num_pairs > 1:
        numbers += f" ({written_p(pair['p_holm'])} after Holm over {num_pairs} comparisons)"
    if pair["p_holm"] <= LEVEL:
        text = f"{one} beats {other} by {points:.1f} {numbers}, {pairing.units}"
    else:
        text = f"{one} and {other} cannot be told apart: {points:+.1f} {numbers}, {pairing.units}"
    return text + _bound(pairing.units, num_pairs, smallest) + "."


def _bound(units: str, num_pairs: int, smallest: float) -> str:
    """Says where no p-value could have been small enough; empty where one could."""
    if smallest * num_pairs <= LEVEL:
        return ""
    corrected = f" ({written_p(min(1.0, smallest * num_pairs))} after Holm over {num_pairs})" if num_pairs > 1 else ""
    return (
        f"; with {units} p cannot fall below {written_p(smallest)}{corrected}:"
        f" no difference can be called significant at {LEVEL} here"
    )


def ranged(interval: Sequence[float] | None, unit: str, scale: float = 100, digits: int = 1) -> str:
    if not interval:
        return f"[too few {unit}s]"
    low, high = (f"{scale * end:.{digits}f}" for end in interval)
    return f"[{low}, {high}]"


def written_p(p_value: float) -> str:
    return f"{p_value:.3g}" if p_value >= 0.0001 else "< 0.0001"


def _equals(p_value: float) -> str:
    return written_p(p_value) if p_value < 0.0001 else f"= {written_p(p_value)}"


def counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"
