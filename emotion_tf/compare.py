"""Compares runs over the same utterances: `python -m emotion_tf.compare saved_models/A saved_models/B ...`.

Each RUN is the folder of a run or of a crossval, or a CSV file in the format of predictions.csv, of any toolkit.
Prints the scores of each, and for each pair the difference with its 95 % interval over speakers, the p-value of a
permutation test over speakers, before and after Holm's correction, and a plain sentence.
`--part validation|test` chooses the part, `--output FOLDER` writes compare.json and compare.png there.
"""

import argparse
import dataclasses
import itertools
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from emotion_tf.run import Scored
from pipelines.command import InputError, run_command
from pipelines.records import write_json

if TYPE_CHECKING:
    import pandas as pd

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
    """

    name: str
    path: Path
    predictions: "pd.DataFrame"
    marks: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Pairing:
    """The utterances that all entries have in one part, summed over each speaker.

    Args:
      emotions: Those that occur.
      hits: [num_entries, num_units, num_emotions], averaged over seeds and folds.
      totals: [num_units, num_emotions] utterances.
      unit: "speaker", or "utterance" where the corpus names no speakers.
      num_left_out: Utterances that only some entries have.
    """

    emotions: tuple[str, ...]
    hits: np.ndarray
    totals: np.ndarray
    unit: str
    num_left_out: int

    @property
    def units(self) -> str:
        """For example "20 speakers"."""
        return _count(len(self.totals), self.unit)


def main(argv: list[str] | None = None) -> None:
    """Parses the command line, compares and prints.

    Raises:
      InputError: What cannot be compared.
    """
    parser = argparse.ArgumentParser(prog="python -m emotion_tf.compare", description=str(__doc__).splitlines()[0])
    parser.add_argument(
        "runs", type=Path, nargs="+", metavar="RUN", help="folder of a run or a crossval, or a CSV file of predictions"
    )
    parser.add_argument(
        "--part",
        choices=("validation", "test"),
        help="the part to compare (default: test where every RUN has it, else validation)",
    )
    parser.add_argument("--output", type=Path, metavar="FOLDER", help="write compare.json and compare.png here")
    arguments = parser.parse_args(argv)
    if arguments.output and arguments.output.exists() and not arguments.output.is_dir():
        raise InputError(f"{arguments.output} is a file: give --output a folder.")
    entries = read_entries(arguments.runs)
    part = choose_part(entries, arguments.part)
    compared = compare(entries, pair_up(entries, part), part)
    if arguments.output:
        write(compared, arguments.output)
    print(report(compared))


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
    from emotion_tf.predictions import leaks, read_predictions

    if not path.is_dir():
        predictions = read_predictions(path)
        return Entry(name, path, predictions, tuple(leaks(predictions)))
    run = Scored(path)
    if not (run.predictions_path.exists() and run.scores_path.exists()):
        raise InputError(
            f"{path} holds no finished run or crossval (predictions.csv or scores.json is missing):"
            " finish it, or name another folder or a CSV file of predictions."
        )
    return Entry(name, path, run.predictions(), tuple(run.scores()["marks"]))


def _check_label_sets(entries: Sequence[Entry]) -> None:
    """Refuses entries of different label sets; without probabilities a file shows only the emotions that occur."""
    from emotion_tf.predictions import emotions_of

    known = set().union(*(emotions_of(entry.predictions) for entry in entries))
    for entry in entries:
        is_complete = any(column.startswith("probability_") for column in entry.predictions)
        if is_complete and (missing := sorted(known - set(emotions_of(entry.predictions)))):
            raise InputError(
                f"{entry.name} does not know {', '.join(missing)}, which another run does:"
                " compare runs of the same label set."
            )


def choose_part(entries: Sequence[Entry], asked: str | None = None) -> str:
    """Returns the part that was asked for, else test where every entry has it, else validation.

    Raises:
      InputError: An entry without rows of the part.
    """
    for part in [asked] if asked else ["test", "validation"]:
        lacking = [entry.name for entry in entries if not (entry.predictions["split"] == part).any()]
        if not lacking:
            return part
    advice = "read its test part first, or compare --part validation" if part == "test" else "leave it out"
    also = "" if asked else ", and not every run has test rows"
    raise InputError(f"{lacking[0]} has no {part} rows{also}: {advice}.")


def pair_up(entries: Sequence[Entry], part: str) -> Pairing:
    """Pairs the utterances of one part; the hits of an utterance are averaged over seeds and folds first.

    Raises:
      InputError: No utterance in common, or another label or speaker of the same utterance.
    """
    import pandas as pd

    from emotion_tf.predictions import emotions_of

    rows = [entry.predictions[entry.predictions["split"] == part] for entry in entries]
    _check_agreement(pd.concat([table.assign(entry=e.name) for e, table in zip(entries, rows, strict=True)]), part)
    hits = pd.concat(
        [(table["label"] == table["predicted"]).groupby(table["utterance_id"]).mean() for table in rows],
        axis=1,
        keys=range(len(rows)),
    ).sort_index()
    common = hits.dropna()
    if common.empty:
        raise InputError(
            f"No utterance stands in the {part} part of every run: compare runs of the same corpus and folds."
        )
    about = rows[0].drop_duplicates("utterance_id").set_index("utterance_id").loc[common.index]
    named = (about["speaker"] != "").any()
    units, speakers = pd.factorize(about["speaker"] if named else about.index, sort=True)
    emotions = [emotion for emotion in emotions_of(entries[0].predictions) if (about["label"] == emotion).any()]
    labels = pd.Categorical(about["label"], categories=emotions).codes
    sums = np.zeros((len(entries) + 1, len(speakers), len(emotions)))
    for target, values in zip(sums, [*common.to_numpy().T, np.ones(len(common))], strict=True):
        np.add.at(target, (units, labels), values)
    return Pairing(tuple(emotions), sums[:-1], sums[-1], "speaker" if named else "utterance", len(hits) - len(common))


def _check_agreement(rows: "pd.DataFrame", part: str) -> None:
    """Refuses rows of all entries (column entry) that call one utterance by two labels or speakers."""
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


def unweighted_average_recall(sums: np.ndarray) -> np.ndarray:
    """Averages recalls, or their differences, over the emotions that occur.

    Args:
      sums: [..., 2, num_emotions] hits (or differences of hits) and utterances.

    Returns:
      [...].
    """
    hits, totals = sums[..., 0, :], sums[..., 1, :]
    recalls = np.divide(hits, totals, out=np.zeros(hits.shape), where=totals > 0)
    return recalls.sum(axis=-1) / np.maximum((totals > 0).sum(axis=-1), 1)


def compare(entries: Sequence[Entry], pairing: Pairing, part: str) -> dict[str, Any]:
    """Scores every entry and compares every pair.

    Returns:
      What compare.json holds. Scores and differences are shares in [-1, 1]; of a pair `first` has the higher UAR.
    """
    from emotion_tf.uncertainty import holm, smallest_p

    counts = pairing.totals.sum(axis=0)
    pairs = [_difference(entries, pairing, *pair) for pair in itertools.combinations(range(len(entries)), 2)]
    smallest = smallest_p(len(pairing.totals))
    for pair, adjusted in zip(pairs, holm([pair["p"] for pair in pairs]), strict=True):
        pair["p_holm"] = adjusted
        pair["sentence"] = _sentence(pair, pairing, len(pairs), smallest)
    return {
        "part": part,
        "unit": pairing.unit,
        "num_units": len(pairing.totals),
        "num_utterances": int(counts.sum()),
        "num_left_out": pairing.num_left_out,
        "chance": {"unweighted_average_recall": 1 / len(counts)},
        "majority": {
            "emotion": pairing.emotions[counts.argmax()],
            "accuracy": float(counts.max() / counts.sum()),
            "unweighted_average_recall": 1 / len(counts),
        },
        "smallest_p": smallest,
        "smallest_p_holm": min(1.0, smallest * len(pairs)),
        "runs": [_score(entry, hits, pairing.totals) for entry, hits in zip(entries, pairing.hits, strict=True)],
        "pairs": pairs,
    }


def _score(entry: Entry, hits: np.ndarray, totals: np.ndarray) -> dict[str, Any]:
    from emotion_tf.uncertainty import speaker_interval

    by_unit = np.stack([hits, totals], axis=1)  # [num_units, 2, num_emotions]
    return {
        "name": entry.name,
        "path": str(entry.path),
        "marks": list(entry.marks),
        "num_seeds": int(entry.predictions["seed"].nunique()) if "seed" in entry.predictions else 1,
        "unweighted_average_recall": float(unweighted_average_recall(by_unit.sum(axis=0))),
        "unweighted_average_recall_interval": speaker_interval(by_unit, unweighted_average_recall),
        "accuracy": float(hits.sum() / totals.sum()),
    }


def _difference(entries: Sequence[Entry], pairing: Pairing, one: int, other: int) -> dict[str, Any]:
    """Compares two entries; the p-value is not corrected yet."""
    from emotion_tf.uncertainty import permutation_p, speaker_interval

    differences = speaker_differences(pairing.hits[one], pairing.hits[other], pairing.totals)
    if differences.sum() < 0:
        one, other, differences = other, one, -differences
    gained = pairing.hits[one] - pairing.hits[other]
    return {
        "first": entries[one].name,
        "first_marks": list(entries[one].marks),
        "second": entries[other].name,
        "second_marks": list(entries[other].marks),
        "unweighted_average_recall": float(differences.sum()),
        "unweighted_average_recall_interval": speaker_interval(
            np.stack([gained, pairing.totals], axis=1), unweighted_average_recall
        ),
        "accuracy": float(gained.sum() / pairing.totals.sum()),
        "p": permutation_p(differences),
    }


def speaker_differences(hits: np.ndarray, other_hits: np.ndarray, totals: np.ndarray) -> np.ndarray:
    """Shares a difference of UAR out to speakers: to exchange the results of one of them flips the sign of its share.

    Args:
      hits, other_hits: [num_units, num_emotions], of two runs.
      totals: [num_units, num_emotions] utterances; every emotion occurs.

    Returns:
      [num_units], which add up to the difference.
    """
    return ((hits - other_hits) / totals.sum(axis=0)).mean(axis=1)


def _sentence(pair: dict[str, Any], pairing: Pairing, num_pairs: int, smallest: float) -> str:
    """Says in plain words what came of a pair."""
    one, other = (pair[name] + "".join(f" [{m}]" for m in pair[f"{name}_marks"]) for name in ("first", "second"))
    points, p_value = 100 * pair["unweighted_average_recall"], pair["p"]
    interval = _range(pair["unweighted_average_recall_interval"], pairing.unit)
    numbers = f"points UAR {interval}, p {_equals(p_value)}"
    if num_pairs > 1:
        numbers += f" ({_p(pair['p_holm'])} after Holm over {num_pairs} comparisons)"
    if pair["p_holm"] <= LEVEL:
        text = f"{one} beats {other} by {points:.1f} {numbers}, {pairing.units}"
    else:
        text = f"{one} and {other} cannot be told apart: {points:+.1f} {numbers}, {pairing.units}"
    return text + _bound(pairing.units, num_pairs, smallest) + "."


def _bound(units: str, num_pairs: int, smallest: float) -> str:
    """Says where no p-value could have been small enough; empty where one could."""
    if smallest * num_pairs <= LEVEL:
        return ""
    corrected = f" ({_p(min(1.0, smallest * num_pairs))} after Holm over {num_pairs})" if num_pairs > 1 else ""
    return (
        f"; with {units} p cannot fall below {_p(smallest)}{corrected}:"
        f" no difference can be called significant at {LEVEL} here"
    )


def report(compared: dict[str, Any]) -> str:
    """Draws the scores, the differences and the sentences of what `compare` returned."""
    from emotion_tf.tables import align

    units = _count(compared["num_units"], compared["unit"])
    head = f"{compared['part']} part: {_count(compared['num_utterances'], 'utterance')} that every run has"
    if compared["unit"] == "speaker":
        head += f", of {units}"
    else:
        head += ", which name no speakers, so that each counts on its own"
    if compared["num_left_out"]:
        head += f"; left out because only some runs have them: {compared['num_left_out']}"
    sentences = [pair["sentence"] for pair in compared["pairs"]]
    return "\n".join([head, "", align(_score_rows(compared)), "", align(_pair_rows(compared)), "", *sentences])


def _score_rows(compared: dict[str, Any]) -> list[tuple[str, ...]]:
    majority, unit = compared["majority"], compared["unit"]
    rows: list[tuple[str, ...]] = [
        ("run", "UAR", "95 %", "chance", "accuracy", f"majority ({majority['emotion']})", f"{unit}s", "seeds", "marks")
    ]
    for run in compared["runs"]:
        rows.append(
            (
                run["name"],
                f"{run['unweighted_average_recall']:.3f}",
                _range(run["unweighted_average_recall_interval"], unit, scale=1, digits=3),
                f"{compared['chance']['unweighted_average_recall']:.3f}",
                f"{run['accuracy']:.3f}",
                f"{majority['accuracy']:.3f}",
                str(compared["num_units"]),
                str(run["num_seeds"]),
                ", ".join(run["marks"]) or "-",
            )
        )
    return rows


def _pair_rows(compared: dict[str, Any]) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = [("difference in points", "UAR", "95 %", "p", "p (Holm)", "accuracy")]
    for pair in compared["pairs"]:
        rows.append(
            (
                f"{pair['first']} - {pair['second']}",
                f"{100 * pair['unweighted_average_recall']:+.1f}",
                _range(pair["unweighted_average_recall_interval"], compared["unit"]),
                _p(pair["p"]),
                _p(pair["p_holm"]),
                f"{100 * pair['accuracy']:+.1f}",
            )
        )
    return rows


def _range(interval: Sequence[float] | None, unit: str, scale: float = 100, digits: int = 1) -> str:
    if not interval:
        return f"[too few {unit}s]"
    low, high = (f"{scale * end:.{digits}f}" for end in interval)
    return f"[{low}, {high}]"


def _p(p_value: float) -> str:
    return f"{p_value:.3g}" if p_value >= 0.0001 else "< 0.0001"


def _equals(p_value: float) -> str:
    return _p(p_value) if p_value < 0.0001 else f"= {_p(p_value)}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"


def write(compared: dict[str, Any], folder: Path) -> None:
    """Writes compare.json and compare.png."""
    from emotion_tf import plots

    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "compare.json", compared)
    plots.save(plots.forest(compared), folder / "compare.png")


if __name__ == "__main__":
    sys.exit(run_command(main))
