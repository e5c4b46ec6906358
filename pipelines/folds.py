"""Folds, published and generated: which speakers train, validate and test."""

import dataclasses
import itertools
import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.command import InputError
from pipelines.utterance import SPLITS

if TYPE_CHECKING:
    import pandas as pd

NAMES = ("holdout", "lj5", "emobox6", "loso", "group-kfold", "published", "random")
"""Folds on a command line, beside the path of a JSON file."""

LJ5_TEST = (
    ("02", "05", "14", "15", "16"),
    ("03", "06", "07", "13", "18"),
    ("10", "11", "12", "19", "20"),
    ("08", "17", "21", "23", "24"),
    ("01", "04", "09", "22"),
)
LJ5_VALIDATION = (("03", "06"), ("10", "11"), ("08", "17"), ("01", "14"), ("02", "05"))
"""Five folds over the 24 actors of RAVDESS. Source: Luna-Jimenez et al. 2021, doi 10.3390/s21227665."""

EMOBOX6_TEST = (
    ("01", "11", "20", "21"),
    ("04", "10", "12", "14"),
    ("08", "09", "19", "23"),
    ("03", "05", "07", "24"),
    ("02", "15", "16", "18"),
    ("06", "13", "17", "22"),
)
"""Six folds over the same actors, without validation splits. Source: EmoBox, Ma et al. 2024, arXiv 2406.07162."""

BY_UTTERANCE = "choose --folds random, or published where the corpus has splits, which may test a speaker who trains"


@dataclasses.dataclass(frozen=True)
class Fold:
    """Which speakers, or utterances, train, validate and test.

    Attributes:
      train, validation, test: Values of one column of the index, sorted.
      absent: Speakers that the list names and that are not in the records.
      by: That column: "speaker", "published_split" or "utterance_id".
    """

    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]
    absent: tuple[str, ...] = ()
    by: str = "speaker"

    def splits(self, index: "pd.DataFrame") -> "pd.Series":
        """Names the split of each row of an index: "train", "validation", "test" or ""."""
        import pandas as pd

        split_of = {value: split for split in SPLITS for value in getattr(self, split)}
        return pd.Series([split_of.get(value, "") for value in index[self.by]], index.index, str, "split")


def make_folds(name: str, index: "pd.DataFrame", *, num_folds: int = 5, seed: int = 0) -> list[Fold]:
    """Makes the folds of one name for some records.

    Args:
      name: One of `NAMES`, or the path of a JSON file: a list of objects with lists of speakers under "train",
        "validation" and "test".
      index: The records, as `pipelines.records.read_index` gives them.
      num_folds: Of group-kfold.
      seed: Of holdout, group-kfold and random; the same folds in every process and on every machine.

    Returns:
      The folds, before `pipelines.fold_audit`: one of them may be without test speakers where actors are absent.

    Raises:
      InputError: An unknown name, a file that is no such list, too few speakers, or none.
    """
    if "only_train" in index and index["only_train"].any():
        may_test = index[~index["only_train"]]
        folds = make_folds(name, may_test, num_folds=num_folds, seed=seed)
        return [_with_only_train(fold, may_test, index[index["only_train"]]) for fold in folds]
    if name == "published":
        return [_published(index)]
    if name == "random":
        return [_random(index, seed)]
    if name not in NAMES and not name.endswith(".json"):
        raise InputError(f"there are no folds {name!r}: choose {', '.join(NAMES)}, or a file that ends in .json.")
    present = _speakers(name, index)
    if name == "holdout":
        return [_holdout(present, seed, index)]
    if name == "lj5":
        return _literature("lj5", LJ5_TEST, LJ5_VALIDATION, present)
    if name == "emobox6":
        return _literature("emobox6", EMOBOX6_TEST, [()] * len(EMOBOX6_TEST), present)
    if name == "loso":
        return _leave_one_out(present)
    if name == "group-kfold":
        return _group_kfold(present, num_folds, seed)
    return _from_file(Path(name), present)


def _with_only_train(fold: Fold, may_test: "pd.DataFrame", only_train: "pd.DataFrame") -> Fold:
    """Lets utterances train that may do nothing else: those of people who train, at random all."""
    people = set(may_test["person"][fold.splits(may_test) == "train"])
    joining = only_train if fold.by == "utterance_id" else only_train[only_train["person"].isin(people)]
    return dataclasses.replace(fold, train=tuple(sorted({*fold.train, *joining[fold.by]})))


def choose_fold(name: str, number: int, index: "pd.DataFrame", *, num_folds: int = 5, seed: int = 0) -> Fold:
    """Makes the folds of one name and takes one of them; its audit is another step.

    Raises:
      InputError: As `make_folds`; a number that is none of theirs.
    """
    folds = make_folds(name, index, num_folds=num_folds, seed=seed)
    if not 0 <= number < len(folds):
        raise InputError(f"--fold {number} is none of the {len(folds)} folds of {name}: they count from 0.")
    return folds[number]


def _speakers(name: str, index: "pd.DataFrame") -> list[str]:
    present = sorted(set(index["speaker"]))
    if "" in present:
        raise InputError(
            f"{name} splits by speaker, and the records hold utterances without one: use --folds published or random."
        )
    return present


def _published(index: "pd.DataFrame") -> Fold:
    """Takes the split that the corpus was published with."""
    missing = [split for split in SPLITS if split not in set(index["published_split"])]
    if missing:
        raise InputError(
            f"the records have no utterance of a published split {', '.join(missing)}: choose other folds, or prepare"
            " them with a column split in the manifest."
        )
    return Fold(("train",), ("validation",), ("test",), by="published_split")


def _random(index: "pd.DataFrame", seed: int) -> Fold:
    utterances = sorted(index["utterance_id"])
    if len(utterances) < 3:
        raise InputError(f"random needs at least three utterances, and the records hold {len(utterances)}: add some.")
    return dataclasses.replace(_cut(utterances, seed), by="utterance_id")


def _holdout(present: list[str], seed: int, index: "pd.DataFrame") -> Fold:
    """Cuts the speakers, of several corpora those of each; a corpus of one or two speakers trains alone."""
    _require_speakers("holdout", present, 3, "one each to train, validate and test")
    person_of = dict(zip(index["speaker"], index["person"], strict=True)) if "person" in index else {}
    corpora: dict[str, list[str]] = {}
    for speaker in present:
        corpora.setdefault(person_of.get(speaker, "").partition("/")[0], []).append(speaker)
    cuts = [_cut(speakers, seed) for speakers in corpora.values() if len(speakers) > 2]
    if len(corpora) == 1 or not cuts:
        return _cut(present, seed)
    few = [speaker for speakers in corpora.values() if len(speakers) < 3 for speaker in speakers]
    train = [*few, *itertools.chain(*(cut.train for cut in cuts))]
    validation, test = (sorted(itertools.chain(*(getattr(cut, split) for cut in cuts))) for split in SPLITS[1:])
    return Fold(tuple(sorted(train)), tuple(validation), tuple(test))


def _require_speakers(name: str, present: list[str], least: int, roles: str) -> None:
    if len(present) < least:
        raise InputError(
            f"{name} needs at least {least} speakers, {roles}, and the records hold {len(present)}: prepare recordings"
            f" of more speakers, or {BY_UTTERANCE}."
        )


def _cut(units: Sequence[str], seed: int) -> Fold:
    """Shuffles sorted units with the seed and cuts them, 60/20/20."""
    shuffled = list(units)
    random.Random(seed).shuffle(shuffled)
    share = max(1, round(0.2 * len(shuffled)))
    test, validation, train = shuffled[:share], shuffled[share : 2 * share], shuffled[2 * share :]
    return Fold(tuple(sorted(train)), tuple(sorted(validation)), tuple(sorted(test)))


def _literature(
    name: str, tests: Sequence[Sequence[str]], validations: Sequence[Sequence[str]], present: list[str]
) -> list[Fold]:
    """Makes the folds of a published list for the actors present."""
    listed = sorted({speaker for test in tests for speaker in test})
    unlisted = sorted(set(present) - set(listed))
    if unlisted:
        raise InputError(
            f"{name} lists RAVDESS actors {listed[0]} to {listed[-1]}, and the records hold speaker"
            f" {', '.join(unlisted[:5])}: use --folds holdout, or a JSON file of your own."
        )
    absent = tuple(speaker for speaker in listed if speaker not in present)
    kept_tests = [_kept(test, present) for test in tests]
    kept_validations = [_kept(validation, present) for validation in validations]
    folds = _folds(kept_tests, _filled(kept_tests, kept_validations))
    return [dataclasses.replace(fold, absent=absent) for fold in folds]


def _leave_one_out(present: list[str]) -> list[Fold]:
    _require_speakers("loso", present, 4, "one to test, two to validate and one to train")
    tests = [(speaker,) for speaker in present]
    return _folds(tests, _filled(tests, [()] * len(tests)))


def _filled(tests: Sequence[tuple[str, ...]], validations: Sequence[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Completes the validation speakers of every fold.

    Where a list leaves fewer than two, the first two test speakers of the following folds, cyclically, take their
    place.
    """
    filled = []
    for number, validation in enumerate(validations):
        following = itertools.chain(*tests[number + 1 :], *tests[:number])
        filled.append(validation if len(validation) >= 2 else tuple(itertools.islice(following, 2)))
    return filled


def _folds(tests: Sequence[tuple[str, ...]], validations: Sequence[tuple[str, ...]]) -> list[Fold]:
    """Makes folds of test and validation speakers: all others train."""
    speakers = set(itertools.chain(*tests))
    return [
        Fold(tuple(sorted(speakers - {*test, *validation})), tuple(sorted(validation)), tuple(sorted(test)))
        for test, validation in zip(tests, validations, strict=True)
    ]


def _kept(speakers: Sequence[str], present: list[str]) -> tuple[str, ...]:
    return tuple(speaker for speaker in speakers if speaker in present)


def _group_kfold(present: list[str], num_folds: int, seed: int) -> list[Fold]:
    """Makes groups of speakers whose sizes differ by at most one; each group tests once and validates once."""
    _require_speakers("group-kfold", present, 3, "a group each to train, validate and test")
    if not 3 <= num_folds <= len(present):
        raise InputError(
            f"--num-folds {num_folds} cannot work for the {len(present)} speakers of the records: give at least 3,"
            " one group each to train, validate and test, and at most one a speaker."
        )
    shuffled = list(present)
    random.Random(seed).shuffle(shuffled)
    groups = [tuple(shuffled[start::num_folds]) for start in range(num_folds)]
    return _folds(groups, [*groups[1:], groups[0]])


def _from_file(path: Path, present: list[str]) -> list[Fold]:
    try:
        listed = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path} does not exist: give a JSON file of folds, or {', '.join(NAMES)}.") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is no readable JSON ({error}): write a list of folds.") from None
    if not isinstance(listed, list) or not listed:
        raise InputError(f"{path} holds no list of folds: write [{{train: [...], validation: [...], test: [...]}}].")
    return [_fold_of(entry, f"fold {number} of {path}", present) for number, entry in enumerate(listed)]


def _fold_of(entry: object, where: str, present: list[str]) -> Fold:
    found = []
    for split in SPLITS:
        speakers = entry.get(split) if isinstance(entry, dict) else None
        if not isinstance(speakers, list) or not all(isinstance(speaker, str) for speaker in speakers):
            raise InputError(f'{where} has no list of speakers under "{split}": write them as strings, ["01", "02"].')
        absent = sorted(set(speakers) - set(present))
        if absent:
            raise InputError(
                f"{where} names speaker {', '.join(absent)} under {split}, whom the records do not hold"
                f" (they hold {', '.join(present)}): correct the file."
            )
        found.append(tuple(sorted(set(speakers))))
    train, validation, test = found
    return Fold(train, validation, test)
