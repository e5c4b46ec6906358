"""Joins predictions of several toolkits row by row, and fuses them by a late rule that is fitted within each fold."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from emotion_tf import late_rules
from emotion_tf.evaluation import rule_fitting
from emotion_tf.runs.folder import Scored
from pipelines.command import InputError

if TYPE_CHECKING:
    import pandas as pd


@dataclasses.dataclass(frozen=True)
class Joined:
    """The rows that every file has, in the order of the first.

    Args:
      paths: The files.
      tables: The rows of each, in the same order.
      key: The columns that they were joined by.
      emotions: The label set, in the label order of the first file.
      num_alone: Rows of each file that another one lacks.
      is_multi_label: Whether utterances may have several emotions.
      marks: What the scores of each file carry.
    """

    paths: tuple[Path, ...]
    tables: "tuple[pd.DataFrame, ...]"
    key: tuple[str, ...]
    emotions: tuple[str, ...]
    num_alone: tuple[int, ...]
    is_multi_label: bool
    marks: tuple[tuple[str, ...], ...]

    def __len__(self) -> int:
        return len(self.tables[0])

    def where(self, **values: Any) -> "Joined":
        """Picks the rows that have these values in these columns."""
        is_chosen = np.ones(len(self), bool)
        for column, value in values.items():
            is_chosen &= (self.tables[0][column] == value).to_numpy()
        return dataclasses.replace(self, tables=tuple(table[is_chosen] for table in self.tables))

    def fits(self) -> "Iterator[tuple[dict[str, int], Joined]]":
        """Yields each fold and seed, as far as the files have such columns, and its rows."""
        columns = list(self.key[2:])
        if not columns:
            yield {}, self
            return
        for values in self.tables[0][columns].drop_duplicates().sort_values(columns).to_dict("records"):
            yield {column: int(value) for column, value in values.items()}, self.where(**values)

    @property
    def probabilities(self) -> np.ndarray:
        """[num_rows, num_files, num_emotions]."""
        from emotion_tf.runs.predictions import emotion_probabilities

        return np.stack([emotion_probabilities(table)[list(self.emotions)] for table in self.tables], axis=1)

    @property
    def memberships(self) -> np.ndarray:
        """Which emotions each row is labelled with: bool [num_rows, num_emotions]."""
        from emotion_tf.evaluation.multilabel import memberships

        return memberships(self.tables[0]["label"], self.emotions)

    @property
    def all_marks(self) -> tuple[str, ...]:
        """Of all files together: what is fused of them carries these."""
        return tuple(dict.fromkeys(mark for marks in self.marks for mark in marks))

    @property
    def speakers(self) -> "pd.Series":
        """Of each row, as the first file that names any has them; empty where none does."""
        return next((table for table in self.tables if table["speaker"].any()), self.tables[0])["speaker"]


@dataclasses.dataclass(frozen=True)
class Fit:
    """What was fitted for one fold and seed.

    Args:
      place: Columns fold and seed -> their values, as far as there are such.
      num_utterances: That it was fitted on; 0: nothing was fitted.
      speakers: Theirs.
      parameters: What `late_rules.combine` takes.
      strength: Inverse strength of the stacker's penalty.
      never_named: Emotions that no utterance is labelled with, which the stacker never predicts.
      thresholds: [num_emotions] from which probability on each emotion is predicted; None: the most probable alone is.
    """

    place: Mapping[str, int]
    num_utterances: int = 0
    speakers: tuple[str, ...] = ()
    parameters: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    strength: float | None = None
    never_named: tuple[str, ...] = ()
    thresholds: np.ndarray | None = None

    @property
    def name(self) -> str:
        """For example "fold 0, seed 1"."""
        return ", ".join(f"{column} {value}" for column, value in self.place.items()) or "all rows"


def join(paths: Sequence[Path]) -> Joined:
    """Reads files of predictions and joins their rows.

    Raises:
      InputError: Files without probabilities, of other label sets or folds, another label or speaker of the same
        utterance, or no row in common.
    """
    import pandas as pd

    from emotion_tf.runs.predictions import emotions_of, is_multi_label, read_predictions

    tables = [read_predictions(path) for path in paths]
    _check_emotions(paths, tables)
    tables = _with_all_emotions(tables)
    _check_agreement(paths, tables, "label")
    _check_agreement(paths, tables, "speaker")
    is_several = [is_multi_label(table) for table in tables]
    if any(is_several) and not all(is_several):
        one, several = paths[is_several.index(False)], paths[is_several.index(True)]
        raise InputError(
            f"{one} holds distributions over emotions and {several} a probability of each on its own: make them alike"
            " (divide the probabilities of a row by their sum)."
        )
    key = ["utterance_id", "split", *_fit_columns(paths, tables)]
    indexed = [table.set_index(pd.MultiIndex.from_frame(table[key])) for table in tables]
    common = indexed[0].index
    for table in indexed[1:]:
        common = common[common.isin(table.index)]
    if not len(common):
        raise InputError(
            f"no row stands in every file, joined by {enumeration(key)}: fuse predictions of the same utterances."
        )
    rows = tuple(table.loc[common].reset_index(drop=True) for table in indexed)
    num_alone = tuple(len(table) - len(common) for table in tables)
    marks = tuple(_marks(path, table) for path, table in zip(paths, tables, strict=True))
    return Joined(tuple(paths), rows, tuple(key), emotions_of(tables[0]), num_alone, all(is_several), marks)


def _check_emotions(paths: Sequence[Path], tables: "Sequence[pd.DataFrame]") -> None:
    from emotion_tf.runs.predictions import PREFIX, emotions_of, holds_all, probability_columns

    for path, table in zip(paths, tables, strict=True):
        if not probability_columns(table):
            raise InputError(f"{path} has no probabilities to fuse: add a column {PREFIX}NAME for each emotion.")
        differing = sorted(set(emotions_of(table)) ^ set(emotions_of(tables[0])))
        if differing and not holds_all([emotions_of(one) for one in tables]):
            raise InputError(
                f"{paths[0]} and {path} have other label sets (only one knows {', '.join(differing)}): fuse"
                " predictions of the same emotions."
            )


def _with_all_emotions(tables: "Sequence[pd.DataFrame]") -> "list[pd.DataFrame]":
    """Gives emotions that only some files know a probability of 0 in the others."""
    from emotion_tf.runs.predictions import PREFIX, emotions_of

    every = dict.fromkeys(emotion for table in tables for emotion in emotions_of(table))
    absent = [{PREFIX + emotion: 0.0 for emotion in every if PREFIX + emotion not in table} for table in tables]
    return [table.assign(**columns) for table, columns in zip(tables, absent, strict=True)]


def _check_agreement(paths: Sequence[Path], tables: "Sequence[pd.DataFrame]", column: str) -> None:
    """Refuses two labels, or two speakers, of one utterance; a file that names no speakers contradicts none."""
    from emotion_tf.runs.predictions import find_disagreement

    named = {str(path): table[table[column] != ""] for path, table in zip(paths, tables, strict=True)}
    if found := find_disagreement(named, column):
        raise InputError(
            f"utterance {found.utterance_id} has the {column} {found}: fuse predictions of the same corpus."
        )


def _fit_columns(paths: Sequence[Path], tables: "Sequence[pd.DataFrame]") -> list[str]:
    """Names those of fold and seed that every file has."""
    for column in ("fold", "seed"):
        lacking = [path for path, table in zip(paths, tables, strict=True) if column not in table]
        if lacking and len(lacking) < len(paths):
            other = next(path for path in paths if path not in lacking)
            raise InputError(
                f"{lacking[0]} has no column {column}, and {other} has one: add it, or take it out of every file."
            )
    return [column for column in ("fold", "seed") if column in tables[0]]


def fit_set_of(joined: Joined, rule: str, fit_on: Sequence[Path] = ()) -> Joined:
    """Finds the rows with split=validation that weights, or thresholds, are fitted on.

    Args:
      joined: What is fused.
      rule: One of `late_rules.RULES`.
      fit_on: Files whose rows they are; none: those of `joined`.

    Returns:
      None of the rows where there are none, and none are needed.

    Raises:
      InputError: A rule that cannot be fitted here, that needs no fit, or would be fitted on test speakers.
    """
    if joined.is_multi_label and rule in late_rules.SINGLE_LABEL:
        raise InputError(f"--rule {rule} is for one emotion an utterance, and {joined.paths[0]} has several each.")
    if fit_on and rule not in late_rules.FITTED and not joined.is_multi_label:
        raise InputError(f"--rule {rule} has nothing to fit: leave --fit-on out, or choose weighted or stacker.")
    found = joined
    if fit_on:
        found = join(fit_on)
        _check_alike(joined, found)
    fit_set = dataclasses.replace(found.where(split="validation"), emotions=joined.emotions)
    if rule in late_rules.FITTED or fit_on:
        for place, _ in joined.fits():
            if not len(fit_set.where(**place)):
                _refuse_without_fit_set(rule, place, found)
    if fit_on:
        _check_test(joined, fit_set)
    return fit_set


def _check_alike(joined: Joined, found: Joined) -> None:
    """Refuses a fit set of other emotions or folds than what is fused."""
    one, other = joined.paths[0], found.paths[0]
    if set(joined.emotions) != set(found.emotions) or joined.is_multi_label != found.is_multi_label:
        raise InputError(f"{one} and {other} have other label sets: give --fit-on predictions of the same emotions.")
    if joined.key != found.key:
        raise InputError(
            f"{one} is joined by {enumeration(joined.key)}, and {other} by {enumeration(found.key)}: give the files of"
            " --fit-on the same columns fold and seed."
        )


def _refuse_without_fit_set(rule: str, place: Mapping[str, int], found: Joined) -> None:
    of = "".join(f" of {column} {value}" for column, value in place.items())
    raise InputError(
        f"no row{of} with split=validation stands in each of {enumeration(found.paths)}, and --rule {rule} is fitted on"
        " such rows: name files that hold them with --fit-on, or choose a rule without weights."
    )


def _check_test(joined: Joined, fit_set: Joined) -> None:
    """Refuses to fit on the utterances or speakers that are then tested, within a fold and seed."""
    for place, rows in joined.fits():
        test, fitted = rows.where(split="test"), fit_set.where(**place)
        named = {
            "utterance": (test.tables[0]["utterance_id"], fitted.tables[0]["utterance_id"]),
            "speaker": (test.speakers, fitted.speakers),
        }
        for what, (tested, used) in named.items():
            if both := sorted((set(tested) & set(used)) - {""}):
                raise InputError(
                    f"{what} {both[0]} of --fit-on stands in the test split of {joined.paths[0]}:"
                    " fit on validation speakers only."
                )


def fuse(joined: Joined, rule: str, fit_set: Joined) -> "tuple[list[Fit], pd.DataFrame]":
    """Fits the rule within each fold and seed, and fuses all rows.

    Args:
      joined: What to fuse.
      rule: One of `late_rules.RULES`.
      fit_set: What `fit_set_of` found.

    Returns:
      What was fitted, and the rows of the table to write.
    """
    import pandas as pd

    fits, tables = [], []
    for place, rows in joined.fits():
        fits.append(_fit(rule, place, fit_set.where(**place)))
        tables.append(_table(rows, _combined(rows, rule, fits[-1].parameters), fits[-1]))
    return fits, pd.concat(tables).sort_index()


def _fit(rule: str, place: Mapping[str, int], rows: Joined) -> Fit:
    if rule not in late_rules.FITTED and not rows.is_multi_label:
        return Fit(place)
    if not len(rows):
        return Fit(place, thresholds=np.full(len(rows.emotions), 0.5))
    truths, speakers = rows.memberships, rows.speakers
    fit = Fit(place, len(rows), tuple(sorted({*speakers} - {""})))
    if rule == "weighted":
        labels = truths if rows.is_multi_label else truths.argmax(axis=1)
        fit = dataclasses.replace(fit, parameters={"weights": rule_fitting.fit_weights(rows.probabilities, labels)})
    if rule == "stacker":
        data = rows.probabilities, truths.argmax(axis=1), speakers
        strength = rule_fitting.choose_strength(*data)
        parameters = dict(zip(("kernel", "bias"), rule_fitting.fit_stacker(*data, strength), strict=True))
        fit = dataclasses.replace(fit, parameters=parameters, strength=strength, never_named=_without_label(rows))
    if rows.is_multi_label:
        from emotion_tf.evaluation.multilabel import fit_thresholds

        fit = dataclasses.replace(fit, thresholds=fit_thresholds(_combined(rows, rule, fit.parameters), truths))
    return fit


def _without_label(rows: Joined) -> tuple[str, ...]:
    return tuple(np.array(rows.emotions)[~rows.memberships.any(axis=0)].tolist())


def _combined(rows: Joined, rule: str, parameters: Mapping[str, np.ndarray]) -> np.ndarray:
    probabilities = rows.probabilities
    is_present = np.ones(probabilities.shape[:2])
    return late_rules.combine(probabilities, is_present, rule, is_multi_label=rows.is_multi_label, **parameters)


def _table(rows: Joined, probabilities: np.ndarray, fit: Fit) -> "pd.DataFrame":
    """Makes the rows of predictions.csv of one fold and seed."""
    from emotion_tf.evaluation.multilabel import decide, with_names
    from emotion_tf.runs.predictions import predictions_table

    first, memberships = rows.tables[0], rows.memberships
    utterances = first.assign(speaker=rows.speakers, label=memberships.argmax(axis=1))
    table = predictions_table(utterances, probabilities, rows.emotions, first["split"])
    if fit.thresholds is not None:
        predicted = decide(probabilities, fit.thresholds)
        table = with_names(table, rows.emotions, label=memberships, predicted=predicted)
    return table.assign(**fit.place)


def _marks(path: Path, table: "pd.DataFrame") -> tuple[str, ...]:
    """What the scores of the run carry whose predictions the file holds, and what its rows show themselves."""
    from emotion_tf.runs.predictions import leaks

    run = Scored(path.parent)
    is_of_run = path.name == run.predictions_path.name and run.scores_path.exists()
    return tuple(dict.fromkeys([*(run.scores().get("marks", []) if is_of_run else []), *leaks(table)]))


def enumeration(names: Sequence[Any]) -> str:
    """For example "fold, seed and split"."""
    return " and ".join(filter(None, [", ".join(map(str, names[:-1])), str(names[-1])]))
