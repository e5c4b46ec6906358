"""predictions.csv: the one table that scores are read from, of our runs and of any toolkit."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from pipelines.command import InputError
from pipelines.speakers import stop_on_alike
from pipelines.utterance import SPLITS

GROUPS = ("speaker", "sex", "intensity", "statement", "corpus")
"""Columns that scores are broken down by."""

PREFIX = "probability_"

DIALOGUE = "dialogue"
"""Column that names the conversation of an utterance, where a corpus of text has such."""

REQUIRED = ("utterance_id", "speaker", "split", "label", "predicted")

SEPARATOR = "|"
"""Between the names of the emotions of one utterance, in a multi-label table."""

_ROUNDING = 0.005
"""How far each probability may be from its exact value: other toolkits write two or three digits."""

_EXACT = 1e-4
"""How far probabilities of one distribution may sum from 1 once they are read: softmax in float32 is not exact."""


def predictions_table(
    utterances: pd.DataFrame, probabilities: np.ndarray, emotions: Sequence[str], split: str
) -> pd.DataFrame:
    """Makes the rows of predictions.csv, where utterances have one emotion each.

    Args:
      utterances: Columns utterance_id, speaker and label (a number), and any of sex, intensity, statement, dialogue;
        one row an utterance.
      probabilities: [num_utterances, num_emotions].
      emotions: Their names, in label order.
      split: The split that they belong to.

    Returns:
      Columns utterance_id, speaker, split, label, predicted (names), then probability_<emotion> in label order, then
      the groups and the dialogue, as far as `utterances` has them.
    """
    names = np.array(emotions)
    table = pd.DataFrame(
        {
            "utterance_id": utterances["utterance_id"],
            "speaker": utterances["speaker"],
            "split": split,
            "label": names[utterances["label"]],
            "predicted": names[probabilities.argmax(axis=1)],
        }
    )
    for index, emotion in enumerate(emotions):
        table[PREFIX + emotion] = probabilities[:, index]
    for name in (*GROUPS[1:], DIALOGUE):
        if name in utterances:
            table[name] = utterances[name]
    return table


def probability_columns(predictions: pd.DataFrame) -> list[str]:
    """Names the columns probability_<emotion>, in their order."""
    return [column for column in predictions if column.startswith(PREFIX)]


def emotion_probabilities(predictions: pd.DataFrame) -> pd.DataFrame:
    """Picks the columns of probabilities, and calls them by their emotions."""
    return predictions[probability_columns(predictions)].rename(columns=lambda column: column.removeprefix(PREFIX))


def is_multi_label(predictions: pd.DataFrame) -> bool:
    """Tells whether utterances may have several emotions: names are joined, or probabilities sum to other than 1."""
    return _is_joined(predictions) or bool((_distances(predictions) > _EXACT).any())


def _is_joined(predictions: pd.DataFrame) -> bool:
    return any(predictions[column].str.contains(SEPARATOR, regex=False).any() for column in ("label", "predicted"))


def _distances(predictions: pd.DataFrame) -> pd.Series:
    """How far the probabilities of each row sum from 1; 0 where there are none."""
    columns = probability_columns(predictions)
    return (predictions[columns].sum(axis=1) - 1).abs() if columns else pd.Series(0.0, predictions.index)


def emotions_of(predictions: pd.DataFrame) -> tuple[str, ...]:
    """Names the label set: that of the probability columns in their order, else all labels and guesses, sorted."""
    named = tuple(emotion_probabilities(predictions))
    cells = {*predictions["label"], *predictions["predicted"]}
    return named or tuple(sorted({name for cell in cells for name in cell.split(SEPARATOR)}))


class Disagreement(NamedTuple):
    """Two tables that call one utterance by two labels, or by two speakers; `values` holds their names and cells."""

    utterance_id: str
    values: tuple[tuple[str, str], tuple[str, str]]

    def __str__(self) -> str:
        return " and ".join(f"'{cell}' in {name}" for name, cell in self.values)


def find_disagreement(tables: Mapping[str, pd.DataFrame], column: str) -> Disagreement | None:
    """Finds the first utterance of which two rows disagree.

    Args:
      tables: Name of a table -> its rows of predictions.csv.
      column: "label" or "speaker".
    """
    rows = pd.concat([table[["utterance_id", column]].assign(table=name) for name, table in tables.items()])
    # In whatever order several labels stand, they are the same.
    is_label = column == "label"
    rows["cell"] = rows[column].str.split(SEPARATOR).map(sorted).str.join(SEPARATOR) if is_label else rows[column]
    distinct = rows.drop_duplicates(["utterance_id", "cell"])
    differing = distinct[distinct["utterance_id"].duplicated(keep=False)]
    if differing.empty:
        return None
    first = differing["utterance_id"].iloc[0]
    one, other, *_ = differing.loc[differing["utterance_id"] == first, ["table", column]].itertuples(index=False)
    return Disagreement(first, (tuple(one), tuple(other)))


def holds_all(label_sets: Sequence[Sequence[str]]) -> bool:
    """Whether one of several label sets holds all others: then emotions are the same where their names are."""
    largest = max(map(set, label_sets), key=len)
    return all(largest.issuperset(labels) for labels in label_sets)


def leaks(predictions: pd.DataFrame) -> list[str]:
    """Marks what a file shows against itself: "speaker-leaking" where one fit has a speaker in two splits."""
    fits = [column for column in ("fold", "seed") if column in predictions]
    known = predictions[predictions["speaker"] != ""]
    splits = known.groupby([*fits, "speaker"])["split"].nunique()
    return ["speaker-leaking"] if (splits > 1).any() else []


def read_predictions(path: Path) -> pd.DataFrame:
    """Reads a table in the format of predictions.csv, from any toolkit.

    Args:
      path: UTF-8, comma-separated, with a header; columns in any order.

    Returns:
      Text columns utterance_id, speaker (empty where no speakers are named), split, label, predicted, and any others as
      text; where they exist probability_<emotion> (float64) and fold, seed (int64). Several emotions of an utterance
      are joined by "|". The probabilities of a row sum to 1, but in a multi-label table.

    Raises:
      InputError: A file that is missing, is no CSV, lacks a column or holds a row that cannot be scored: the
        sentence names the line.
    """
    table = _text(path)
    _check_names(path, table)
    for column in ("fold", "seed"):
        if column in table:
            table[column] = _whole_numbers(path, table[column])
    _check_probabilities(path, table)
    _check_repetition(path, table)
    stop_on_alike(table["speaker"], str(path))
    return table.reset_index(drop=True)


def _text(path: Path) -> pd.DataFrame:
    """Reads all cells as text; the index holds their line numbers."""
    if not path.is_file():
        raise InputError(f"{path} is not a file: name a CSV with the columns {', '.join(REQUIRED)}.")
    try:
        # utf-8-sig: spreadsheets write a byte order mark.
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, skipinitialspace=True, strict=True)
            header = _header(path, next(reader, []))
            rows = [(reader.line_num, [cell.strip() for cell in row]) for row in reader if any(row)]
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 text ({error.reason}): save it as CSV in UTF-8.") from None
    except csv.Error as error:
        raise InputError(f"{path} is no CSV ({error}): save it as comma-separated values.") from None
    if not rows:
        raise InputError(f"{path} holds a header and no rows: add a row for each utterance.")
    cells = [_fitted(row, len(header), f"{path}, line {line}") for line, row in rows]
    return pd.DataFrame(cells, columns=header, index=[line for line, _ in rows], dtype=str)


def _header(path: Path, cells: Sequence[str]) -> list[str]:
    header = [cell.strip() for cell in cells]
    while header and not header[-1]:  # Spreadsheets end every line in commas.
        header.pop()
    if missing := [column for column in REQUIRED if column not in header]:
        raise InputError(
            f"{path} has no column {', '.join(missing)} (found: {', '.join(header) or 'nothing'}): its first line must"
            f" name {','.join(REQUIRED)}, separated by commas."
        )
    if "" in header:
        raise InputError(f"{path}: column {header.index('') + 1} has no name: give it one, or remove it.")
    if twice := [column for column in header if header.count(column) > 1]:
        raise InputError(f"{path} has the column {twice[0]} twice: keep one of them.")
    return header


def _fitted(row: list[str], width: int, where: str) -> list[str]:
    if any(row[width:]):
        raise InputError(f"{where} has more cells than the header: put cells that hold a comma in double quotes.")
    if len(row) < width:
        raise InputError(f"{where} has fewer cells than the header, cut off perhaps: write the file anew.")
    return row[:width]


def _first(is_bad: pd.Series) -> int:
    """Returns the line of the first bad row; 0 where all are good."""
    return int(is_bad.idxmax()) if is_bad.any() else 0


def _check_names(path: Path, table: pd.DataFrame) -> None:
    for column in ("utterance_id", "label", "predicted"):
        if line := _first(table[column] == ""):
            raise InputError(f"{path}, line {line}: the cell {column} is empty: fill it, or remove the row.")
    if line := _first(~table["split"].isin(SPLITS)):
        split = table.loc[line, "split"]
        raise InputError(f"{path}, line {line}: the split {split!r} is none of {', '.join(SPLITS)}: correct it.")
    if table["speaker"].any() and (line := _first(table["speaker"] == "")):
        raise InputError(f"{path}, line {line}: the cell speaker is empty, but other rows name one: fill it.")
    _check_emotions(path, table)


def _check_emotions(path: Path, table: pd.DataFrame) -> None:
    emotions = emotions_of(table)
    for column in ("label", "predicted"):
        unknown = {
            cell: next((n for n in cell.split(SEPARATOR) if n not in emotions), None) for cell in {*table[column]}
        }
        if line := _first(table[column].map(unknown).notna()):
            raise InputError(
                f"{path}, line {line}: {column} {unknown[table.loc[line, column]]!r} has no column of probabilities"
                f" (there are {', '.join(emotions)}): correct it, or add the column."
            )
        if line := _first(table[column].map(lambda cell: not all(cell.split(SEPARATOR)))):
            cell = table.loc[line, column]
            raise InputError(
                f"{path}, line {line}: {column} {cell!r} lacks a name beside a bar: fill it, or remove the bar."
            )


def _whole_numbers(path: Path, cells: pd.Series) -> pd.Series:
    if line := _first(~cells.str.fullmatch(r"[0-9]{1,18}")):
        raise InputError(
            f"{path}, line {line}: the {cells.name} {cells[line]!r} is no whole number: count {cells.name}s from 0."
        )
    return cells.astype(np.int64)


def _check_probabilities(path: Path, table: pd.DataFrame) -> None:
    """Turns the probability columns into numbers, in place."""
    columns = probability_columns(table)
    for column in columns:
        numbers = pd.to_numeric(table[column], errors="coerce").astype(np.float64)
        # Softmax in float32 comes out at 1.0000001 at times.
        if line := _first(~numbers.between(-1e-6, 1 + 1e-6)):
            cell = table.loc[line, column]
            raise InputError(f"{path}, line {line}: {column} is {cell!r}: write a number from 0 to 1.")
        table[column] = numbers.clip(0, 1)
    if not _is_joined(table):
        _make_distributions(path, table, columns)


def _make_distributions(path: Path, table: pd.DataFrame, columns: Sequence[str]) -> None:
    """Lets rounded probabilities sum to 1, in place, unless most rows show that they are no distributions."""
    distances, sums = _distances(table), table[columns].sum(axis=1)
    is_off = distances > _ROUNDING * len(columns) + 1e-9
    if is_off.mean() > 0.5:
        return
    if line := _first(is_off):
        raise InputError(
            f"{path}, line {line}: the probabilities sum to {sums[line]:.4g}: write a distribution that sums to 1."
        )
    is_rounded = distances > 1e-6
    table.loc[is_rounded, columns] = table.loc[is_rounded, columns].div(sums[is_rounded], axis=0)


def _check_repetition(path: Path, table: pd.DataFrame) -> None:
    key = [column for column in ("utterance_id", "split", "fold", "seed") if column in table]
    if line := _first(table.duplicated(key)):
        first = _first((table[key] == table.loc[line, key]).all(axis=1))
        named = ", ".join(f"{column} {table.loc[line, column]}" for column in key)
        raise InputError(f"{path}, line {line} repeats line {first} ({named}): keep one of them.")
    if "seed" in table:
        _check_seeds(path, table)


def _check_seeds(path: Path, table: pd.DataFrame) -> None:
    """Refuses seeds that hold different utterances: their mean would be of unlike things."""
    for split, rows in table.groupby("split"):
        of_seeds = rows.groupby("seed")["utterance_id"].agg(lambda ids: frozenset(ids))
        if of_seeds.nunique() > 1:
            other = of_seeds[of_seeds != of_seeds.iloc[0]].index[0]
            raise InputError(
                f"{path}: seeds {of_seeds.index[0]} and {other} hold different utterances in the {split} split:"
                " give every seed the same ones."
            )
