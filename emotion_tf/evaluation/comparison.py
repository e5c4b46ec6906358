"""Compares predictions of the same utterances: differences, their intervals and p-values over speakers."""

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from emotion_tf.evaluation.counts import (
    SCORES,
    UAR,
    chance_and_majority,
    codes_of,
    count_emotions,
    unit_of,
    units_of,
)
from emotion_tf.runs.folder import Run, Scored
from emotion_tf.runs.prediction_files import file_of, first_repeated, unique_names
from pipelines.command import InputError

if TYPE_CHECKING:
    import pandas as pd


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
    """The utterances that all entries have in one split, counted for each speaker.

    Args:
      emotions: The label set.
      tables: Of each entry what `counts.count_emotions` gives, [num_units, num_seeds, num_emotions, 3]; averaged over
        folds.
      unit: "speaker", or "dialogue" or "utterance" where the corpus names no speakers.
      num_utterances: That all have.
      num_left_out: Utterances that only some entries have.
      is_multi_label: Whether utterances may have several emotions.
    """

    emotions: tuple[str, ...]
    tables: tuple[np.ndarray, ...]
    unit: str
    num_utterances: int
    num_left_out: int
    is_multi_label: bool

    @property
    def hits(self) -> np.ndarray:
        """[num_entries, num_units, num_emotions], averaged over seeds."""
        return np.stack([table[..., 0].mean(axis=1) for table in self.tables])

    @property
    def totals(self) -> np.ndarray:
        """[num_units, num_emotions] utterances."""
        return self.tables[0][:, 0, :, 1]

    @property
    def second(self) -> str:
        """Names the score that stands beside the one compared: micro-F1 is accuracy where each has one emotion."""
        return "micro_f1" if self.is_multi_label else "accuracy"


def read_entries(paths: Sequence[Path]) -> list[Entry]:
    """Reads what is to be compared, and gives each the shortest name that is its own.

    Raises:
      InputError: Fewer than two, one twice, no predictions, scores of another version of this program, or different
        label sets.
    """
    if len(paths) < 2:
        raise InputError(f"nothing to compare {paths[0]} with: name two runs or more.")
    if twice := first_repeated([file_of(path) for path in paths]):
        raise InputError(f"{paths[twice]} is named twice: name each run once.")
    names = unique_names(paths, [path.resolve().name if path.is_dir() else path.stem for path in paths])
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
    _check_version(path)
    scores = run.scores()
    return Entry(name, path, run.predictions(), tuple(scores["marks"]), scores.get("headline", UAR))


def _check_version(folder: Path) -> None:
    """Refuses what another version of this program scored: a run, one on another corpus, or a cross-validation.

    Raises:
      InputError: It is of another version.
    """
    is_cross_corpus = folder.resolve().parent.name == "cross_corpus"
    runs = [folder.resolve().parents[1] if is_cross_corpus else folder, *folder.glob("fold-*-seed-*")]
    for run in runs:
        if (run / "config.json").exists():
            Run(run).metadata()


def _check_label_sets(entries: Sequence[Entry]) -> None:
    """Refuses entries of different label sets; without probabilities a file shows only the emotions that occur.

    Where one label set holds all others, utterances that all entries have carry labels that all of them know.
    """
    from emotion_tf.runs.predictions import emotions_of, holds_all, probability_columns

    if holds_all([emotions_of(entry.predictions) for entry in entries]):
        return
    known = set().union(*(emotions_of(entry.predictions) for entry in entries))
    for entry in entries:
        missing = sorted(known - set(emotions_of(entry.predictions)))
        if missing and probability_columns(entry.predictions):
            raise InputError(
                f"{entry.name} does not know {', '.join(missing)}, which another run does:"
                " compare runs of one label set, or of some of its labels."
            )


def choose_split(entries: Sequence[Entry], asked: str | None = None) -> str:
    """Returns the split that was asked for, else test where every entry has it, else validation.

    Raises:
      InputError: An entry without rows of the split.
    """
    for split in [asked] if asked else ["test", "validation"]:
        lacking = [entry.name for entry in entries if not (entry.predictions["split"] == split).any()]
        if not lacking:
            return split
    advice = "read its test split first, or compare --split validation" if split == "test" else "leave it out"
    also = "" if asked else ", and not every run has test rows"
    raise InputError(f"{lacking[0]} has no {split} rows{also}: {advice}.")


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


def pair_up(entries: Sequence[Entry], split: str) -> Pairing:
    """Pairs the utterances of one split.

    Raises:
      InputError: No utterance in common, or another label or speaker of the same utterance.
    """
    import pandas as pd

    from emotion_tf.runs.predictions import emotions_of, is_multi_label

    rows = {entry.name: entry.predictions[entry.predictions["split"] == split] for entry in entries}
    _check_agreement(rows, split)
    ids = [set(table["utterance_id"]) for table in rows.values()]
    common = set.intersection(*ids)
    if not common:
        raise InputError(
            f"no utterance stands in the {split} split of every run: compare runs of the same corpus and folds."
        )
    shared = [table[table["utterance_id"].isin(common)] for table in rows.values()]
    utterances = shared[0].drop_duplicates("utterance_id")
    units = pd.Series(units_of(utterances), utterances["utterance_id"])
    # A file without probabilities may never name an emotion that the others know.
    emotions = tuple(dict.fromkeys(emotion for entry in entries for emotion in emotions_of(entry.predictions)))
    return Pairing(
        emotions,
        tuple(_count(table, units, emotions) for table in shared),
        unit_of(utterances),
        len(common),
        len(set.union(*ids)) - len(common),
        any(is_multi_label(entry.predictions) for entry in entries),
    )


def _count(rows: "pd.DataFrame", units: "pd.Series", emotions: Sequence[str]) -> np.ndarray:
    """Counts as `count_emotions` does; an utterance weighs 1 in each seed, in however many folds it is."""
    from emotion_tf.evaluation.multilabel import memberships

    labelled, predicted = (memberships(rows[column], emotions) for column in ("label", "predicted"))
    seeds = codes_of(rows, "seed")
    num_folds = rows.groupby(["utterance_id", seeds])["utterance_id"].transform("size").to_numpy()
    numbers = units.loc[rows["utterance_id"]].to_numpy()
    return count_emotions(labelled, predicted, numbers, seeds, 1 / num_folds[:, None])


def _check_agreement(tables: "Mapping[str, pd.DataFrame]", split: str) -> None:
    from emotion_tf.runs.predictions import find_disagreement

    for column in ("label", "speaker"):
        if found := find_disagreement(tables, column):
            if lacking := [name for name, value in found.values if not value]:
                raise InputError(f"{lacking[0]} names no {column} for {found.utterance_id}: fill that column.")
            raise InputError(
                f"utterance {found.utterance_id} of the {split} split has the {column} {found}: compare predictions of"
                " the same corpus."
            )


def score(sums: np.ndarray, metric: str) -> np.ndarray:
    """Takes a score of counts [..., num_seeds, num_emotions, 3]: [...], the mean over seeds."""
    return SCORES[metric](sums).mean(axis=-1)


def compare(entries: Sequence[Entry], pairing: Pairing, split: str, metric: str = UAR) -> dict[str, Any]:
    """Scores every entry and compares every pair.

    Args:
      entries: At least two.
      pairing: What `pair_up` found.
      split: The name of the split.
      metric: A name of `counts.SCORES`.

    Returns:
      What compare.json holds, the sentences left out. Scores and differences are shares in [-1, 1]; of a pair `first`
      has the higher score.
    """
    from emotion_tf.evaluation.uncertainty import holm, smallest_p

    pairs = [_difference(entries, pairing, metric, *pair) for pair in itertools.combinations(range(len(entries)), 2)]
    for pair, adjusted in zip(pairs, holm([pair["p"] for pair in pairs]), strict=True):
        pair["p_holm"] = adjusted
    smallest = smallest_p(len(pairing.totals), of_exchanges=metric != UAR)
    proportions = chance_and_majority(
        pairing.totals.sum(axis=0),
        pairing.num_utterances,
        pairing.emotions,
        [metric],
        [metric, pairing.second],
        is_multi_label=pairing.is_multi_label,
    )
    return {
        "split": split,
        "metric": metric,
        "second": pairing.second,
        "unit": pairing.unit,
        "num_units": len(pairing.totals),
        "num_utterances": pairing.num_utterances,
        "num_left_out": pairing.num_left_out,
        **proportions,
        "smallest_p": smallest,
        "smallest_p_holm": min(1.0, smallest * len(pairs)),
        "runs": [_score(*found, metric, pairing.second) for found in zip(entries, pairing.tables, strict=True)],
        "pairs": pairs,
    }


def _score(entry: Entry, table: np.ndarray, metric: str, second: str) -> dict[str, Any]:
    from emotion_tf.evaluation.uncertainty import speaker_interval

    return {
        "name": entry.name,
        "path": str(entry.path),
        "marks": list(entry.marks),
        "num_seeds": table.shape[1],
        metric: float(score(table.sum(axis=0), metric)),
        f"{metric}_interval": speaker_interval(table, lambda sums: score(sums, metric)),
        second: float(score(table.sum(axis=0), second)),
    }


def _difference(entries: Sequence[Entry], pairing: Pairing, metric: str, one: int, other: int) -> dict[str, Any]:
    """Compares two entries; the p-value is not corrected yet."""
    from emotion_tf.evaluation.uncertainty import speaker_intervals

    def difference(sums: Mapping[str, np.ndarray], name: str = metric) -> np.ndarray:
        return score(sums["one"], name) - score(sums["other"], name)

    def tables() -> dict[str, np.ndarray]:
        return {"one": pairing.tables[one], "other": pairing.tables[other]}

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
    tables = pairing.tables[one], pairing.tables[other]
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
