"""Whether the scores of a run can be believed: its fold, its sources, and what was fitted on which split.

The fold itself is audited by `pipelines.fold_audit.audit`. Here its test split is compared with the utterances that the
sources of a run, and their own sources, were trained or validated on. A run's audit.json holds the result.
"""

import dataclasses
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emotion_tf.config import Config
from emotion_tf.late_rules import FITTED
from emotion_tf.runs.folder import Run
from emotion_tf.runs.metadata import RunMetadata
from pipelines import fold_audit, folds
from pipelines.command import InputError
from pipelines.files import read_json, write_json
from pipelines.records import Metadata, read_index, read_metadata

if TYPE_CHECKING:
    import pandas as pd

# Marks that speak of the splits of a run's own fold, not of what it was trained on.
_FOLD_MARKS = ("speaker-leaking", "speakers-unknown", "text-overlap")

UNCHECKED = "source-unchecked"
"""A run that a score rests on, or its records, are gone: what it was trained on cannot be compared with the test."""

_PLURALS = {"speaker": "speakers", "utterance_id": "utterances", "published_split": "published splits"}
_SAME = {
    "trial": "the same trial",
    "recording": "the same samples",
    "pictures": "the same pictures",
    "sentence": "the same sentence",
}


@dataclasses.dataclass(frozen=True)
class _TestSplit:
    """The utterances that a score is of, and the words for a leak into them.

    Attributes:
      test: The rows of the test split, as `fold_audit.comparable` gives them.
      fitted: Those of the training and validation splits of the same fold. What the test split shares with them was
        stopped or marked by the audit of the fold, and is no leak of a source.
      corpus: Name of their corpus.
      unit: "speaker" or "utterance_id": what sources on the same corpus must not share with the test split.
      indices: Folder of records -> its rows, None where they are gone; filled as they are read.
      where, owner, advice: Parts of the sentence about a leak; owner is followed by what the test split holds.
      stops_on_sentences: Whether a source that was trained on a test sentence stops the run; else it is counted.
      records: Folder of the tested records, for advice on a source of another corpus.
    """

    test: "pd.DataFrame"
    fitted: "pd.DataFrame"
    corpus: str
    unit: str
    indices: "dict[Path, pd.DataFrame | None]"
    where: str
    owner: str
    advice: str
    stops_on_sentences: bool
    records: str = ""

    def rows_of(self, folder: Path, corpus: str) -> "pd.DataFrame | None":
        """Reads the rows of other records; None where they are gone, or became those of another corpus."""
        folder = folder.resolve()
        if folder not in self.indices:
            try:
                is_same = read_metadata(folder).corpus == corpus
                self.indices[folder] = fold_audit.comparable(read_index(folder)) if is_same else None
            except InputError:
                self.indices[folder] = None
        return self.indices[folder]

    def leaks(self, rows: "pd.DataFrame", column: str) -> "pd.DataFrame":
        """Picks the rows whose value of a column stands in the test split, and in no other split of the fold."""
        return rows[rows[column].isin(set(self.test[column]) - set(self.fitted[column]) - {""})]

    def stop_on(self, run: Run, leaks: "pd.DataFrame", column: str) -> None:
        """Names a leak by its first pair of utterances."""
        first, num_more = leaks.iloc[0], leaks[column].nunique() - 1
        test_id = self.test.loc[self.test[column] == first[column], "utterance_id"].iloc[0]
        split = f"in its {first['split']} split"
        if column == "person":
            pair = f"for instance with {first['utterance_id']} there and {test_id} here"
            what = f"speaker {first['speaker']} {split}, whom {self.owner}, {pair}"
        elif column == "utterance_id":
            what = f"{test_id} {split}, which {self.owner}"
        else:
            what = f"{first['utterance_id']} {split}, {_SAME[column]} as {test_id}, which {self.owner}"
        more = f" (and {num_more} more)" if num_more else ""
        raise InputError(f"{self.where}: {run.folder} has {what}{more}; {self._advice_for(run, column)}.")

    def _advice_for(self, run: Run, column: str) -> str:
        corpus = run.metadata().corpus
        if column != "sentence" or corpus == self.corpus:
            return self.advice
        return (
            "the score would be of what the model was trained on, so prepare"
            f" {corpus} again with --exclude-sentences {self.records} and train on that"
        )


def audit_run(
    config: Config, index: "pd.DataFrame", facts: Metadata | RunMetadata, fold: folds.Fold, where: str
) -> dict[str, Any]:
    """Audits a fold and the sources of a run: nothing that they were trained or validated on may be tested.

    Args:
      config: Of the run; its `sources` and, recursively, theirs are compared.
      index: Its records, as `pipelines.records.read_index` gives them.
      facts: Of the records, or of the run.
      fold: Of the run.
      where: Names the fold in a sentence, for instance "fold 0 of lj5".

    Returns:
      What audit.json holds: folds, fold, by, splits, left_out and overlaps of the fold; sources, each {"run",
      "shared_speakers" (with the test split), "checked"} and, where sentences count, "validated_sentences"; marks;
      fitted.

    Raises:
      InputError: A fold or a source that makes the score unbelievable.
    """
    found = fold_audit.audit(fold, index, where)
    split = _test_split(config, index, facts.corpus, fold, where) if config.sources else None
    sources, marks = _check_sources(split, _all_sources(config)) if split else ([], [])
    return {
        "folds": config.folds,
        "fold": config.fold,
        "by": fold.by,
        "splits": found.splits,
        "left_out": found.left_out,
        "overlaps": found.overlaps,
        "sources": sources,
        "marks": list(dict.fromkeys([*found.marks, *marks])),
        "fitted": _fitted(config, facts, found),
    }


def audit_again(run: Run) -> dict[str, Any]:
    """Audits a run on its records, as they are now, and writes audit.json; where that was gone, it is said.

    Returns:
      As `audit_run`.

    Raises:
      InputError: As `audit_run`; or the records are gone.
    """
    config, metadata, is_gone = run.config(), run.metadata(), not run.audit_path.exists()
    index = read_index(Path(config.records))
    audit = audit_run(config, index, metadata, metadata.fold, f"fold {config.fold} of {config.folds}")
    write_json(run.audit_path, audit)
    if is_gone:
        print(f"note: {run.audit_path} was gone: made again, of {config.records} as they are now", file=sys.stderr)
    return audit


def read_audit(run: Run) -> dict[str, Any]:
    """Reads audit.json of a run, which is made again where it is gone.

    Raises:
      InputError: It is corrupt, or gone and cannot be made again.
    """
    if not run.audit_path.exists():
        try:
            return audit_again(run)
        except InputError as error:
            raise InputError(f"{run.audit_path} is gone and cannot be made again: {error}") from None
    return read_json(run.audit_path, "remove it, and it is made again", {"splits": dict})


def audit_cross_corpus(run: Run, index: "pd.DataFrame", corpus: str, where: str) -> dict[str, Any]:
    """Audits a run that is to be scored on every utterance of other records.

    Args:
      run: A finished run; neither it nor its sources may have been trained or validated on the records.
      index: The other records.
      corpus: Name of their corpus.
      where: Names run and records in a sentence.

    Returns:
      As `audit_run`; every utterance is in the split "test".

    Raises:
      InputError: Samples, or speakers or trials of the same corpus, that the run was trained or validated on.
    """
    rows = fold_audit.comparable(index)
    speakers = sorted(set(index["speaker"]) - {""})
    split = _TestSplit(
        test=rows,
        fitted=rows[:0],
        corpus=corpus,
        unit="speaker" if speakers else "utterance_id",
        indices={},
        where=where,
        owner="these records hold",
        advice="the score would be of what the model was trained on, so choose records of others",
        stops_on_sentences=False,
    )
    sources, marks = _check_sources(split, [run.require_finished(), *_all_sources(run.config())])
    return {
        "folds": None,
        "fold": None,
        "by": split.unit,
        "splits": {"test": {"speakers": speakers, "num_utterances": len(index)}},
        "left_out": 0,
        "overlaps": {},
        "sources": sources,
        "marks": marks,
        "fitted": {"model": f"{run.folder} as it is; nothing is fitted on these records"},
    }


def _test_split(config: Config, index: "pd.DataFrame", corpus: str, fold: folds.Fold, where: str) -> _TestSplit:
    rows = fold_audit.comparable(index)
    splits = fold.splits(rows)
    return _TestSplit(
        test=rows[splits == "test"],
        fitted=rows[splits.isin(["train", "validation"])],
        corpus=corpus,
        unit="speaker" if fold.by == "speaker" else "utterance_id",
        indices={Path(config.records).resolve(): rows},
        where=where,
        owner="this fold tests",
        advice="the score would be of what the model was trained on, so choose a run of the same fold",
        stops_on_sentences=True,
        records=config.records,
    )


def _all_sources(config: Config) -> list[Run]:
    """Lists the sources of a run, their sources, and so on, each once."""
    found: dict[Path, Run] = {}
    pending = list(config.sources)
    while pending:
        run = Run(Path(pending.pop(0)))
        if found.setdefault(run.folder.resolve(), run) is run and _exists(run):
            pending += run.config().sources
    return list(found.values())


def _exists(run: Run) -> bool:
    return run.config_path.exists() and run.metadata_path.exists()


def _check_sources(split: _TestSplit, runs: Iterable[Run]) -> tuple[list[dict[str, Any]], list[str]]:
    """Compares what each run was trained or validated on with the test split.

    Returns:
      One entry of audit.json a run, and the marks that come of them.
    """
    entries, marks = [], []
    for run in runs:
        gone = (_entry(run, [], "nothing (the run is gone)"), [UNCHECKED])
        entry, new = _check_source(split, run) if _exists(run) else gone
        entries.append(entry)
        marks += new
    return entries, list(dict.fromkeys(marks))


def _entry(run: Run, speakers: list[str], checked: str) -> dict[str, Any]:
    return {"run": str(run.folder), "shared_speakers": speakers, "checked": checked}


def _check_source(split: _TestSplit, run: Run) -> tuple[dict[str, Any], list[str]]:
    """Stops on what a run shares with the test split; returns its entry of audit.json and its marks."""
    rows, columns, checked = _fitted_rows(split, run)
    for column in columns:
        leaks = split.leaks(rows, column)
        if len(leaks):
            split.stop_on(run, leaks, column)
    is_same_corpus = run.metadata().corpus == split.corpus
    shared = split.test["speaker"][split.test["person"].isin(set(rows["person"]) - {""})]
    speakers = sorted(set(shared))
    entry = _entry(run, speakers, checked)
    marks = [*_inherited_marks(run, split, is_same_corpus), *["speaker-leaking"] * bool(speakers)]
    marks += [UNCHECKED] * (not columns)
    if len(rows) and not (_has_speakers(rows) and _has_speakers(split.test)):
        marks += _check_sentences(split, run, rows, entry)
    return entry, marks


def _has_speakers(rows: "pd.DataFrame") -> bool:
    return bool((rows["speaker"] != "").any())


def _fitted_rows(split: _TestSplit, run: Run) -> "tuple[pd.DataFrame, Sequence[str], str]":
    """Finds the utterances that a run was trained or validated on.

    Returns:
      Their rows with their split, the columns to compare, and words for what is compared.
    """
    import pandas as pd

    metadata = run.metadata()
    rows = split.rows_of(Path(run.config().records), metadata.corpus)
    is_same_corpus = metadata.corpus == split.corpus
    unit = "person" if split.unit == "speaker" else split.unit
    # People are called alike in all records, trials and utterances in those of one corpus.
    of_others = ("person",) if unit == "person" else ()
    columns: tuple[str, ...] = (*((unit, "trial") if is_same_corpus else of_others), "recording", "pictures")
    checked = f"{_PLURALS[split.unit]}, trials and recordings" if is_same_corpus else "recordings (another corpus)"
    if rows is not None and is_same_corpus:
        # Its records may have been prepared anew with fewer speakers since: its fold still lists them all.
        rows = pd.concat([rows, split.fitted, split.test]).drop_duplicates("utterance_id")
    elif rows is None and is_same_corpus:
        rows, columns = pd.concat([split.fitted, split.test]), (unit,)
        checked = f"{_PLURALS[metadata.fold.by]} (its records are gone)"
    elif rows is None:
        rows, columns, checked = split.test[:0], (), "nothing (its records are gone)"
    rows = rows.assign(split=metadata.fold.splits(rows))
    return rows[rows["split"].isin(["train", "validation"])], columns, checked


def _check_sentences(split: _TestSplit, run: Run, rows: "pd.DataFrame", entry: dict[str, Any]) -> list[str]:
    """Compares sentences where a corpus has no speakers to compare, and returns marks.

    A sentence that the run was trained on stops it; those that it was validated on are counted in its entry.
    """
    leaks = split.leaks(rows, "sentence")
    trained = leaks[leaks["split"] == "train"]
    if len(trained) and split.stops_on_sentences:
        split.stop_on(run, trained, "sentence")
    entry["validated_sentences"] = leaks.loc[leaks["split"] == "validation", "sentence"].nunique()
    overlap = 0 if split.stops_on_sentences else leaks["sentence"].nunique()
    return [f"text-overlap {overlap}"] * bool(overlap)


def _inherited_marks(run: Run, split: _TestSplit, is_same_corpus: bool) -> list[str]:
    """Reads the marks of a source, those of its fold only where it is one of the same corpus.

    How many lines of context are read is said of the records, not of what a training began with.
    """
    marks = run.metadata().marks
    of_others = ("context",) if split.stops_on_sentences and is_same_corpus else ("context", *_FOLD_MARKS)
    return [mark for mark in marks if not mark.startswith(of_others)]


def _fitted(config: Config, facts: Metadata | RunMetadata, found: fold_audit.Findings) -> dict[str, str]:
    """Says on which split every number was fitted that was fitted on data, or could have been."""
    training = f"training split, {found.splits['train']['num_utterances']} utterances"
    validation = f"validation split, {found.splits['validation']['num_utterances']} utterances"
    start = f", starting from {', '.join(config.sources)}" if config.sources else ""
    has_clips = facts.has_audio or facts.video is not None
    weighs = config.training.weight_power(has_clips=has_clips, is_multi_label=facts.is_multi_label)
    late = f"none trained; those of {', '.join(config.sources)}"
    return {
        "class_weights": training if weighs and not config.is_late else "none",
        "prior": training,
        "weights": late if config.is_late else training + start,
        "kept_epoch": "none" if config.is_late else validation,
        "temperature": validation,
        "thresholds": validation if facts.is_multi_label else "none",
        "rule": validation if config.rule in FITTED else "none",
        "normalisation": _normalisation(config, training),
        "vocabulary": _vocabulary(config, facts),
        "front_end": "nothing fitted: fixed settings",
    }


def _normalisation(config: Config, training: str) -> str:
    if config.is_late:
        return f"those of {', '.join(config.sources)}"
    if config.normalise == "enrolled":
        return f"every other clip of the speaker, in whatever split; without one: {training}"
    return training if config.normalise == "training" else "nothing fitted: each clip by its own mean and deviation"


def _vocabulary(config: Config, facts: Metadata | RunMetadata) -> str:
    if config.is_late:
        return f"those of {', '.join(config.sources)}"
    if "text" in config.modalities and config.text.is_pretrained:
        return f"of the preset {config.text.preset}, fixed; its sha256 stands in metadata.json"
    return f"training split of GoEmotions, fixed, sha256 {facts.vocabulary_sha256}"
