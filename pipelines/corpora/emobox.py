"""EmoBox: lists of 32 corpora with folds (Ma et al. 2024), read as they lie in its repository, audited first.

The folder is that of one corpus, `EmoBox/data/emodb`, with `emodb.jsonl`, `data.seg.wrd.stm` (who speaks),
`label_map.json` and `fold_1/emodb_train_fold_1.jsonl`, `..._test_fold_1.jsonl`, some with `..._valid_fold_1.jsonl`.
Recordings lie where the lists say, `downloads/...` below the folder of EmoBox.

Folds of speakers go to `folds.json` beside the records. The folds of many corpora hold the same speakers in training
and test: those are refused by name, or one of them is read as published splits, whose scores carry "speaker-leaking".
"""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipelines.command import InputError
from pipelines.corpora.folders import stop_on_others
from pipelines.corpora.recordings import Refusals, stop_on_pointer
from pipelines.utterance import SPLITS, Corpus, Segment, Utterance

LICENCE = "that of the corpus; lists and folds: EmoBox, MIT, arXiv 2406.07162"

_NAMES = {"train": "train", "validation": "valid", "test": "test"}
"""Split -> its name in EmoBox's files."""

_NUM_NAMED = 5


def read(source: Path, emotions: tuple[str, ...], leaking_fold: int | None = None) -> Corpus:
    """Reads the lists of one corpus, and audits its folds.

    Args:
      source: The folder of one corpus in EmoBox's data.
      emotions: The labels that may be there, in label order; none: those of label_map.json, in alphabetical order.
      leaking_fold: The fold, counted from 1 as EmoBox does, whose splits are read though they share speakers.

    Raises:
      InputError: Files that are missing or cannot be used, with their lines; folds that share speakers, unless one is
        asked for; a fold that is asked for and shares none.
    """
    name = source.resolve().name
    rows = _rows(source / f"{name}.jsonl")
    speakers, folds = _speakers(source), _read_folds(source, name)
    labels = _label_map(source)
    base = _base(source, rows)
    refusals, utterances = Refusals(f"rows of {source / name}.jsonl"), []
    for key, (row, where) in rows.items():
        with refusals.of_one():
            utterances.append(_utterance(key, row, where, base, labels, speakers))
    refusals.stop()
    found = tuple(sorted({utterance.emotion for utterance in utterances}))
    stop_on_others(found, emotions, str(source))
    assert utterances[0].audio is not None
    stop_on_pointer(utterances[0].audio)
    leaking = {number: shared for number, fold in folds.items() if (shared := _shared(fold, speakers))}
    corpus = Corpus(f"EmoBox {name}", source, LICENCE, emotions or found, _sorted(utterances))
    if leaking_fold is not None:
        return _with_splits(corpus, folds, leaking, leaking_fold)
    if leaking:
        raise InputError(_refusal(source, leaking, folds, speakers))
    return _with_folds(corpus, list(folds.values()), speakers)


def _rows(path: Path) -> dict[str, tuple[dict[str, Any], str]]:
    """Reads a list: key -> (row, place)."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise InputError(
            f"cannot read {path} ({error.strerror}): name the folder of one corpus in EmoBox, such as data/emodb."
        ) from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 text ({error.reason}): use the published file.") from None
    stop_on_pointer(path)
    found: dict[str, tuple[dict[str, Any], str]] = {}
    for number, line in enumerate(lines, 1):
        where = f"{path}, line {number}"
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            key = str(row["key"])
            _ = row["wav"], row["emo"]
        except (ValueError, KeyError, TypeError):
            raise InputError(f"{where} is no JSON with key, wav and emo: use the published file.") from None
        found[key] = (row, where)
    if not found:
        raise InputError(f"{path} holds no row: use the published file.")
    return found


def _speakers(source: Path) -> dict[str, str]:
    """Reads who speaks: the third word of each line of data.seg.wrd.stm."""
    path = source / "data.seg.wrd.stm"
    if not path.is_file():
        raise InputError(f"{path} is not there, which says who speaks: clone EmoBox whole.")
    lines = [line.split() for line in path.read_text(encoding="utf-8").splitlines()]
    return {words[0]: words[2] for words in lines if len(words) > 2}


def _label_map(source: Path) -> dict[str, str]:
    """Reads the names that EmoBox gives the labels of the corpus; none where it has none."""
    path = source / "label_map.json"
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return {str(label): str(name) for label, name in found.items()}
    except (ValueError, AttributeError) as error:
        raise InputError(f"{path} is no map of labels ({error}): use the published file.") from None


def _read_folds(source: Path, name: str) -> dict[int, dict[str, list[str]]]:
    """Reads the keys of each split of each fold, counted from 1."""
    numbers = sorted(int(path.name[5:]) for path in source.glob("fold_*") if path.name[5:].isdigit())
    folds = {}
    for number in numbers:
        folder = source / f"fold_{number}"
        paths = {split: folder / f"{name}_{word}_fold_{number}.jsonl" for split, word in _NAMES.items()}
        folds[number] = {split: list(_rows(path)) for split, path in paths.items() if path.is_file()}
        if not {"train", "test"} <= set(folds[number]):
            raise InputError(f"{folder} lacks {paths['train'].name} or {paths['test'].name}: clone EmoBox whole.")
    if not folds:
        raise InputError(f"{source} holds no fold_1: clone EmoBox whole.")
    return folds


def _base(source: Path, rows: Mapping[str, tuple[dict[str, Any], str]]) -> Path:
    """Finds the folder below which the recordings lie, by the first of them."""
    first = str(next(iter(rows.values()))[0]["wav"])
    folder = source.resolve()
    candidates = [folder, *folder.parents[:3], Path.cwd()]
    found = next((base for base in candidates if (base / first).is_file()), None)
    if found is None:
        raise InputError(
            f"{first} lies neither below {candidates[2]} nor below the folders around it: put the recordings where"
            f" EmoBox's lists say, {candidates[2] / first}."
        )
    return found


def _utterance(
    key: str, row: Mapping[str, Any], where: str, base: Path, labels: Mapping[str, str], speakers: Mapping[str, str]
) -> Utterance:
    emotion = str(row["emo"])
    if labels and emotion not in labels:
        raise InputError(f"{where}: label_map.json does not know the label {emotion!r}: use the published files.")
    if key not in speakers:
        raise InputError(f"{where}: data.seg.wrd.stm does not say who speaks {key}: use the published files.")
    has_segment = "start_time" in row and "end_time" in row
    return Utterance(
        utterance_id=key,
        speaker=speakers[key],
        emotion=labels.get(emotion, emotion),
        audio=base / str(row["wav"]),
        trial=key,
        segment=Segment(float(row["start_time"]), float(row["end_time"])) if has_segment else None,
        place=where,
    )


def _shared(fold: Mapping[str, list[str]], speakers: Mapping[str, str]) -> list[str]:
    """Lists the speakers of the test split who also train or validate."""
    people = {split: {speakers.get(key, "") for key in keys} for split, keys in fold.items()}
    fitted = people["train"] | people.get("validation", set())
    return sorted(people["test"] & fitted)


def _refusal(
    source: Path, leaking: Mapping[int, list[str]], folds: Mapping[int, Any], speakers: Mapping[str, str]
) -> str:
    number, shared = next(iter(leaking.items()))
    named = ", ".join(shared[:_NUM_NAMED]) + ", ..." * (len(shared) > _NUM_NAMED)
    return (
        f"{source}: {len(leaking)} of its {len(folds)} folds share speakers between training and test (fold {number}:"
        f" {len(shared)} of {len(set(speakers.values()))} speakers, {named}), so scores would measure recognition of"
        " the speaker: prepare the corpus with its own --corpus and choose --folds of speakers, or take a fold as it is"
        f" with --speaker-leaking {number}, which marks every score speaker-leaking."
    )


def _with_splits(
    corpus: Corpus, folds: Mapping[int, Mapping[str, list[str]]], leaking: Mapping[int, list[str]], number: int
) -> Corpus:
    """Gives each utterance the published split of one fold; where none validates, every fifth that would train does."""
    if number not in folds:
        raise InputError(
            f"--speaker-leaking {number} is none of the folds {', '.join(map(str, folds))} of {corpus.name}."
        )
    if number not in leaking:
        raise InputError(
            f"fold {number} of {corpus.name} shares no speaker between training and test: leave --speaker-leaking out."
        )
    split_of = {key: split for split in SPLITS for key in folds[number].get(split, ())}
    if "validation" not in folds[number]:
        split_of |= dict.fromkeys(sorted(folds[number]["train"])[::5], "validation")
    utterances = (
        dataclasses.replace(one, published_split=split_of[one.utterance_id])
        for one in corpus.utterances
        if one.utterance_id in split_of
    )
    return dataclasses.replace(corpus, utterances=tuple(utterances))


def _with_folds(corpus: Corpus, folds: list[dict[str, list[str]]], speakers: Mapping[str, str]) -> Corpus:
    """Turns folds of keys into folds of speakers; where none validates, the first two who test in the next fold do."""
    people = [
        {split: sorted({speakers[key] for key in keys if key in speakers}) for split, keys in fold.items()}
        for fold in folds
    ]
    made = []
    for number, fold in enumerate(people):
        following = people[(number + 1) % len(people)]["test"]
        validation = fold.get("validation") or [one for one in following if one not in fold["test"]][:2]
        validation = validation or fold["train"][:1]
        train = [one for one in fold["train"] if one not in validation]
        made.append({"train": tuple(train), "validation": tuple(validation), "test": tuple(fold["test"])})
    return dataclasses.replace(corpus, folds=tuple(made))


def _sorted(utterances: list[Utterance]) -> tuple[Utterance, ...]:
    return tuple(sorted(utterances, key=lambda utterance: utterance.utterance_id))
