"""The audit of a fold: nothing may stand in two of its splits by which a model would know what it is tested on."""

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pipelines.command import InputError
from pipelines.folds import BY_UTTERANCE, Fold
from pipelines.utterance import SPLITS

if TYPE_CHECKING:
    import pandas as pd

# What must stand in one split only: the name that a person reads -> the column.
_KINDS = {
    "speakers": "person",
    "trials": "trial",
    "recordings": "recording",
    "videos": "pictures",
    "sentences": "sentence",
}


@dataclasses.dataclass(frozen=True)
class Findings:
    """What an audit found in a fold that it did not stop.

    Attributes:
      marks: What every score of the fold has to carry.
      splits: Split -> {"speakers": [...], "num_utterances": N}.
      left_out: Utterances in no split.
      overlaps: How many speakers, trials, recordings (identical samples) and sentences stand in more than one split.
    """

    marks: tuple[str, ...]
    splits: dict[str, dict[str, Any]]
    left_out: int
    overlaps: dict[str, int]


def audit(fold: Fold, index: "pd.DataFrame", where: str) -> Findings:
    """Stops on a fold whose scores would mislead, and marks one whose splits are not independent.

    In folds of speakers no speaker, no trial and no identical samples may stand in two splits (absent and all-zero
    audio excepted). Under "published" and "random" overlaps are the corpus's own, or meant, and become marks.

    Args:
      fold: As `pipelines.folds.make_folds` makes it.
      index: The records, as `pipelines.records.read_index` gives them.
      where: Names the fold in a sentence, for instance "fold 0 of lj5".

    Raises:
      InputError: An empty split; in folds of speakers, the first of what stands in two splits, with two utterances.
    """
    _stop_on_lists(fold, index, where)
    rows = comparable(index.assign(split=fold.splits(index)))
    splits = {split: _facts_of(rows[rows["split"] == split]) for split in SPLITS}
    empty = [split for split in SPLITS if not splits[split]["num_utterances"]]
    if empty:
        raise InputError(f"{where} has no {empty[0]} utterances: choose other folds, or prepare more recordings.")
    chosen = rows[rows["split"] != ""]
    shared = {kind: _in_two_splits(chosen, column) for kind, column in _KINDS.items()}
    _stop_on_only_train(chosen, where)
    if fold.by == "speaker":
        _stop_on_shared(shared, where)
    overlaps = {kind: found[_KINDS[kind]].nunique() for kind, found in shared.items()}
    return Findings(_marks(fold, overlaps), splits, len(rows) - len(chosen), overlaps)


def _stop_on_lists(fold: Fold, index: "pd.DataFrame", where: str) -> None:
    """Stops on what the lists alone show: in the rows, a speaker of two lists stands in the last of them only."""
    for split in SPLITS:
        if not getattr(fold, split):
            raise InputError(f"{where} has no {split} speakers: give it at least one, or {BY_UTTERANCE}.")
    pairs = (("train", "validation"), ("train", "test"), ("validation", "test"))
    found = [
        (speaker, one, other)
        for one, other in pairs
        for speaker in sorted(set(getattr(fold, one)) & set(getattr(fold, other)))
    ]
    if found:
        speaker, one, other = found[0]
        example = index.loc[index[fold.by] == speaker, "utterance_id"].min()
        raise InputError(
            f"{where}: speaker {speaker} is in {one} and in {other}, for instance with {example}{_more(found)};"
            " scores would measure recognition of the speaker, so keep each speaker in one split."
        )


def _more(found: Sequence[object]) -> str:
    return f" (and {len(found) - 1} more)" if len(found) > 1 else ""


def comparable(rows: "pd.DataFrame") -> "pd.DataFrame":
    """Sorts rows of an index by utterance and adds what is compared between splits.

    Returns:
      The rows with further columns: recording, the hash of the samples, empty without audio; pictures, that of
      the frames, empty without video; sentence, the transcript in its one spelling, empty where blank; person, the
      speaker, unless the index says more.
    """
    return rows.assign(
        person=rows["person"] if "person" in rows else rows["speaker"],
        recording=rows["audio_sha256"].where(rows["has_audio"], ""),
        pictures=rows["video_sha256"],
        sentence=sentences_of(rows["transcript"].tolist()),
    ).sort_values("utterance_id")


def sentences_of(transcripts: Sequence[str]) -> list[str]:
    """Brings transcripts into the one spelling in which they are compared; blank ones become empty."""
    from pipelines import text

    different = list(dict.fromkeys(transcripts))
    sentences = dict(zip(different, (one.decode() for one in text.normalise(different).numpy()), strict=True))
    return [sentences[transcript] for transcript in transcripts]


def _facts_of(rows: "pd.DataFrame") -> dict[str, Any]:
    return {"speakers": sorted(set(rows["speaker"]) - {""}), "num_utterances": len(rows)}


def _in_two_splits(rows: "pd.DataFrame", column: str) -> "pd.DataFrame":
    """Keeps the first utterance of each split, for each value of a column that stands in more than one split."""
    known = rows[rows[column] != ""].drop_duplicates([column, "split"])
    return known[known.duplicated(column, keep=False)].sort_values([column, "utterance_id"])


def _stop_on_only_train(rows: "pd.DataFrame", where: str) -> None:
    """Stops where an utterance validates or tests that may train alone."""
    if "only_train" not in rows:
        return
    wrong = rows[rows["only_train"] & (rows["split"] != "train")]
    if len(wrong):
        first = wrong.iloc[0]
        raise InputError(
            f"{where}: {first['utterance_id']} is in {first['split']}{_more(range(len(wrong)))}, and what its speaker"
            " sings may train alone: choose folds of the other speakers."
        )


def _stop_on_shared(shared: "dict[str, pd.DataFrame]", where: str) -> None:
    people, trials = shared["speakers"], shared["trials"]
    recordings, videos = shared["recordings"], shared["videos"]
    if len(people):
        raise InputError(
            f"{where}: {_pair(people, 'person')} are of one person ({people['person'].iloc[0]}); scores would measure"
            " recognition of the speaker, so keep each person in one split."
        )
    if len(trials):
        raise InputError(
            f"{where}: {_pair(trials, 'trial')} are one trial ({trials['trial'].iloc[0]}); keep the recordings of one"
            " performance in one split, or give each performance a trial of its own."
        )
    if len(recordings):
        raise InputError(
            f"{where}: {_pair(recordings, 'recording')} hold identical samples; remove the copy, or keep both in one"
            " split."
        )
    if len(videos):
        raise InputError(
            f"{where}: {_pair(videos, 'pictures')} hold identical pictures; remove the copy, or keep both in one split."
        )


def _pair(shared: "pd.DataFrame", column: str) -> str:
    """Names two utterances, their splits, and how many more such pairs there are."""
    (_, one), (_, other) = shared.head(2).iterrows()
    more = _more(range(shared[column].nunique()))
    return f"{one['utterance_id']} in {one['split']} and {other['utterance_id']} in {other['split']}{more}"


def _marks(fold: Fold, overlaps: dict[str, int]) -> tuple[str, ...]:
    if fold.by == "speaker":
        return ()
    leaking = ("speaker-leaking",) if overlaps["speakers"] else ()
    return leaking + ((f"text-overlap {overlaps['sentences']}",) if overlaps["sentences"] else ())
