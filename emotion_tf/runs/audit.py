"""Whether a score could be believed: the fold, the runs that a run starts from or fuses, what was fitted on what.

The fold itself is audited by `pipelines.folds.audit`; here its test split is held against everything that the sources
of a run, and their own sources, were trained or validated on. What comes of it is a run's audit.json.
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emotion_tf.config import Config
from emotion_tf.models.late_rules import FITTED
from emotion_tf.runs.folder import Run
from pipelines import folds
from pipelines.command import InputError
from pipelines.records import read_index, read_metadata

if TYPE_CHECKING:
    import pandas as pd

# Marks that speak of the splits of a run's own fold, not of what it was trained on.
_FOLD_MARKS = ("speaker-leaking", "text-overlap")

UNCHECKED = "source-unchecked"
"""A run that a score rests on, or its records, are gone: nobody can say what it knows."""

_PLURALS = {"speaker": "speakers", "utterance_id": "utterances", "published_split": "published splits"}
_SAME = {
    "trial": "the same trial",
    "recording": "the same samples",
    "pictures": "the same pictures",
    "sentence": "the same sentence",
}


@dataclasses.dataclass(frozen=True)
class _Exam:
    """What is tested, and how a leak into it is told.

    Attributes:
      test: The rows of the test split, as `folds.comparable` gives them.
      own: Those of the fold's own training and validation splits. What the test split shares with them is the fold's
        doing, which its own audit stopped or marked, and no leak of a source.
      corpus: Name of their corpus.
      unit: "speaker" or "utterance_id": what no source may know of the same corpus.
      indices: Folder of records -> its rows, None where they are gone; filled as they are read.
      where, tests, advice: Parts of the sentence about a leak.
      stops_on_sentences: Whether a source that was trained on a test sentence stops; else it counts.
      records: Folder of the tested records, for advice on a source of another corpus.
    """

    test: "pd.DataFrame"
    own: "pd.DataFrame"
    corpus: str
    unit: str
    indices: "dict[Path, pd.DataFrame | None]"
    where: str
    tests: str
    advice: str
    stops_on_sentences: bool
    records: str = ""

    def rows(self, folder: Path, corpus: str) -> "pd.DataFrame | None":
        """Reads the rows of other records; None where they are gone, or became those of another corpus."""
        folder = folder.resolve()
        if folder not in self.indices:
            try:
                is_same = read_metadata(folder).corpus == corpus
                self.indices[folder] = folds.comparable(read_index(folder)) if is_same else None
            except InputError:
                self.indices[folder] = None
        return self.indices[folder]

    def met(self, known: "pd.DataFrame", column: str) -> "pd.DataFrame":
        """Picks the known rows whose value of a column stands in the test split, and in no other split of the fold."""
        return known[known[column].isin(set(self.test[column]) - set(self.own[column]) - {""})]

    def stop_on(self, run: Run, met: "pd.DataFrame", column: str) -> None:
        """Names a leak by its first pair of utterances."""
        known = met.iloc[0]
        test_id = self.test.loc[self.test[column] == known[column], "utterance_id"].iloc[0]
        split = f"in its {known['split']} split"
        num_more = met[column].nunique() - 1
        more = f" (and {num_more} more)" if num_more else ""
        if column == "speaker":
            pair = f"for instance with {known['utterance_id']} there and {test_id} here"
            what = f"speaker {known['speaker']} {split}, whom {self.tests}, {pair}"
        elif column == "utterance_id":
            what = f"{test_id} {split}, which {self.tests}"
        else:
            what = f"{known['utterance_id']} {split}, {_SAME[column]} as {test_id}, which {self.tests}"
        advice, corpus = self.advice, run.metadata()["corpus"]
        if column == "sentence" and corpus != self.corpus:
            advice = (
                "the score would be of what is known already, so prepare"
                f" {corpus} again with --exclude-sentences {self.records} and train on that"
            )
        raise InputError(f"{self.where}: {run.folder} has {what}{more}; {advice}.")


def audit_run(
    config: Config, index: "pd.DataFrame", metadata: Mapping[str, Any], fold: folds.Fold, where: str
) -> dict[str, Any]:
    """Audits a fold and the sources of a run: whatever they were trained or validated on may not be tested.

    Args:
      config: Of the run; its `sources` and, recursively, theirs are looked at.
      index: Its records, as `pipelines.records.read_index` gives them.
      metadata: Of the records or the run: "corpus" and "vocabulary_sha256" are read.
      fold: Of the run.
      where: Names the fold in a sentence, for instance "fold 0 of lj5".

    Returns:
      What audit.json holds: folds, fold, by, splits, left_out and overlaps of the fold; sources, each {"run",
      "known_test_speakers", "checked"} and, where sentences count, "validated_sentences"; marks; fitted.

    Raises:
      InputError: A fold or a source that makes the score unbelievable.
    """
    found = folds.audit(fold, index, where)
    exam = _exam_of(config, index, metadata, fold, where) if config.sources else None
    sources, marks = _check_sources(exam, _with_sources(config)) if exam else ([], [])
    return {
        "folds": config.folds,
        "fold": config.fold,
        "by": fold.by,
        "splits": found.splits,
        "left_out": found.left_out,
        "overlaps": found.overlaps,
        "sources": sources,
        "marks": list(dict.fromkeys([*found.marks, *marks])),
        "fitted": _fitted(config, metadata, found),
    }


def audit_cross_corpus(run: Run, index: "pd.DataFrame", corpus: str, where: str) -> dict[str, Any]:
    """Audits a run that is to be scored on every utterance of other records.

    Args:
      run: A finished run; it and its sources may know none of the records.
      index: The other records.
      corpus: Name of their corpus.
      where: Names run and records in a sentence.

    Returns:
      As `audit_run`; every utterance is in the split "test".

    Raises:
      InputError: Samples, or speakers or trials of the same corpus, that the run was trained or validated on.
    """
    rows = folds.comparable(index)
    speakers = sorted(set(index["speaker"]) - {""})
    exam = _Exam(
        test=rows,
        own=rows[:0],
        corpus=corpus,
        unit="speaker" if speakers else "utterance_id",
        indices={},
        where=where,
        tests="these records hold",
        advice="the score would be of what is known already, so choose records of others",
        stops_on_sentences=False,
    )
    sources, marks = _check_sources(exam, [run.require_finished(), *_with_sources(run.config())])
    return {
        "folds": None,
        "fold": None,
        "by": exam.unit,
        "splits": {"test": {"speakers": speakers, "num_utterances": len(index)}},
        "left_out": 0,
        "overlaps": {},
        "sources": sources,
        "marks": marks,
        "fitted": {"model": f"{run.folder} as it is; nothing is fitted on these records"},
    }


def _exam_of(config: Config, index: "pd.DataFrame", metadata: Mapping[str, Any], fold: folds.Fold, where: str) -> _Exam:
    rows = folds.comparable(index)
    splits = fold.splits(rows)
    return _Exam(
        test=rows[splits == "test"],
        own=rows[splits.isin(["train", "validation"])],
        corpus=metadata["corpus"],
        unit="speaker" if fold.by == "speaker" else "utterance_id",
        indices={Path(config.records).resolve(): rows},
        where=where,
        tests="this fold tests",
        advice="the score would be of what is known already, so choose a run of the same fold",
        stops_on_sentences=True,
        records=config.records,
    )


def _with_sources(config: Config) -> list[Run]:
    """Lists the sources of a run, their sources, and so on, each once."""
    found: dict[Path, Run] = {}
    pending = list(config.sources)
    while pending:
        run = Run(Path(pending.pop(0)))
        if found.setdefault(run.folder.resolve(), run) is run and _is_there(run):
            pending += run.config().sources
    return list(found.values())


def _is_there(run: Run) -> bool:
    return run.config_path.exists() and run.metadata_path.exists()


def _check_sources(exam: _Exam, runs: Iterable[Run]) -> tuple[list[dict[str, Any]], list[str]]:
    """Holds each run against the test split.

    Returns:
      One entry of audit.json a run, and the marks that come of them.
    """
    entries, marks = [], []
    for run in runs:
        if not _is_there(run):
            entries.append({"run": str(run.folder), "known_test_speakers": [], "checked": "nothing (the run is gone)"})
            marks.append(UNCHECKED)
            continue
        entry, new = _check(exam, run)
        entries.append(entry)
        marks += new
    return entries, list(dict.fromkeys(marks))


def _check(exam: _Exam, run: Run) -> tuple[dict[str, Any], list[str]]:
    known, columns, checked = _known(exam, run)
    for column in columns:
        met = exam.met(known, column)
        if len(met):
            exam.stop_on(run, met, column)
    is_same = run.metadata()["corpus"] == exam.corpus
    speakers = sorted(set(known["speaker"]) & set(exam.test["speaker"]) - {""}) if is_same else []
    entry: dict[str, Any] = {"run": str(run.folder), "known_test_speakers": speakers, "checked": checked}
    marks = _inherited(run, exam, is_same) + ["speaker-leaking"] * bool(speakers) + [UNCHECKED] * (not columns)
    if len(known) and not (_has_speakers(known) and _has_speakers(exam.test)):
        marks += _check_sentences(exam, run, known, entry)
    return entry, marks


def _has_speakers(rows: "pd.DataFrame") -> bool:
    return bool((rows["speaker"] != "").any())


def _known(exam: _Exam, run: Run) -> "tuple[pd.DataFrame, Sequence[str], str]":
    """Finds what a run was trained or validated on.

    Returns:
      Its rows with their split, the columns to compare, and words for them.
    """
    import pandas as pd

    metadata = run.metadata()
    rows = exam.rows(Path(run.config().records), metadata["corpus"])
    is_same = metadata["corpus"] == exam.corpus
    fold = folds.Fold(**metadata["fold"])
    columns: tuple[str, ...] = (*((exam.unit, "trial") if is_same else ()), "recording", "pictures")
    checked = f"{_PLURALS[exam.unit]}, trials and recordings" if is_same else "recordings (another corpus)"
    if rows is not None and is_same:
        # Its records may have been made anew of fewer speakers since: its lists say whom it knows.
        rows = pd.concat([rows, exam.own, exam.test]).drop_duplicates("utterance_id")
    elif rows is None:
        rows, columns = (pd.concat([exam.own, exam.test]), (exam.unit,)) if is_same else (exam.test[:0], ())
        checked = f"{_PLURALS[fold.by] if is_same else 'nothing'} (its records are gone)"
    known = rows.assign(split=fold.splits(rows))
    return known[known["split"].isin(["train", "validation"])], columns, checked


def _check_sentences(exam: _Exam, run: Run, known: "pd.DataFrame", entry: dict[str, Any]) -> list[str]:
    """Compares sentences, where a corpus has no speakers to compare: a trained one stops, validated ones count."""
    met = exam.met(known, "sentence")
    trained = met[met["split"] == "train"]
    if len(trained) and exam.stops_on_sentences:
        exam.stop_on(run, trained, "sentence")
    entry["validated_sentences"] = met.loc[met["split"] == "validation", "sentence"].nunique()
    overlap = 0 if exam.stops_on_sentences else met["sentence"].nunique()
    return [f"text-overlap {overlap}"] * bool(overlap)


def _inherited(run: Run, exam: _Exam, is_same: bool) -> list[str]:
    """Reads the marks of a source, those of its fold only where it is one of the same corpus."""
    marks = run.metadata().get("marks", [])
    if exam.stops_on_sentences and is_same:
        return marks
    return [mark for mark in marks if not mark.startswith(_FOLD_MARKS)]


def _fitted(config: Config, metadata: Mapping[str, Any], found: folds.Findings) -> dict[str, str]:
    """Says where every number comes from that was fitted on data, or could have been."""
    training = f"training split, {found.splits['train']['num_utterances']} utterances"
    validation = f"validation split, {found.splits['validation']['num_utterances']} utterances"
    start = f", starting from {', '.join(config.sources)}" if config.sources else ""
    is_multi_label = metadata.get("is_multi_label", False)
    has_clips = metadata.get("has_audio", True) or metadata.get("video") is not None
    weighs = config.training.weight_power(has_clips=has_clips, is_multi_label=is_multi_label)
    late = f"none trained; those of {', '.join(config.sources)}"
    return {
        "class_weights": training if weighs and not config.is_late else "none",
        "prior": training,
        "weights": late if config.is_late else training + start,
        "kept_epoch": "none" if config.is_late else validation,
        "temperature": validation,
        "thresholds": validation if is_multi_label else "none",
        "rule": validation if config.rule in FITTED else "none",
        "normalisation": _normalisation(config, training),
        "vocabulary": _vocabulary(config, metadata),
        "front_end": "nothing fitted: fixed settings",
    }


def _normalisation(config: Config, training: str) -> str:
    if config.is_late:
        return f"those of {', '.join(config.sources)}"
    if config.normalise == "enrolled":
        return f"every other clip of the speaker, in whatever split; without one: {training}"
    return training if config.normalise == "training" else "nothing fitted: each clip by its own mean and deviation"


def _vocabulary(config: Config, metadata: Mapping[str, Any]) -> str:
    if config.is_late:
        return f"those of {', '.join(config.sources)}"
    if "text" in config.modalities and config.text.model == "distilbert":
        return f"of the preset {config.text.preset}, fixed; its sha256 stands in metadata.json"
    return f"training split of GoEmotions, fixed, sha256 {metadata['vocabulary_sha256']}"
