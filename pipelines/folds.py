"""Speaker-disjoint folds, published and generated, and their audit."""

import dataclasses
import json
import random
from collections.abc import Sequence
from pathlib import Path

from pipelines.command import InputError
from pipelines.utterance import SPLITS

LJ5_TEST = (
    ("02", "05", "14", "15", "16"),
    ("03", "06", "07", "13", "18"),
    ("10", "11", "12", "19", "20"),
    ("08", "17", "21", "23", "24"),
    ("01", "04", "09", "22"),
)
LJ5_VALIDATION = (("03", "06"), ("10", "11"), ("08", "17"), ("01", "14"), ("02", "05"))
"""Five folds over the 24 actors of RAVDESS. Source: Luna-Jimenez et al. 2021, doi 10.3390/s21227665."""


@dataclasses.dataclass(frozen=True)
class Fold:
    """Who trains, who validates, who tests.

    Attributes:
      train, validation, test: Speakers, sorted.
      absent: Speakers that the list names and the records lack.
    """

    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]
    absent: tuple[str, ...] = ()


def make_folds(name: str, speakers: Sequence[str], seed: int = 0) -> list[Fold]:
    """Makes the folds of one name for the speakers at hand.

    Args:
      name: "holdout", "lj5", or the path of a JSON file: a list of objects with lists of speakers under "train",
        "validation" and "test".
      speakers: The speakers of the records.
      seed: Of the generated folds; the same for every process and machine.

    Returns:
      The folds, not audited yet: one of them may lack test speakers where actors are absent.

    Raises:
      InputError: An unknown name, a file that is no such list, or too few speakers.
    """
    present = sorted(set(speakers))
    if name == "holdout":
        return [_holdout(present, seed)]
    if name == "lj5":
        return _literature("lj5", LJ5_TEST, LJ5_VALIDATION, present)
    if name.endswith(".json"):
        return _from_file(Path(name), present)
    raise InputError(f"there are no folds {name!r}: choose holdout, lj5, or a file that ends in .json.")


def choose_fold(name: str, index: int, speakers: Sequence[str], seed: int = 0) -> Fold:
    """Makes the folds of one name, takes one of them and audits it.

    Raises:
      InputError: As `make_folds`; a number that is none of theirs; a fold that fails the audit.
    """
    folds = make_folds(name, speakers, seed)
    if not 0 <= index < len(folds):
        raise InputError(f"--fold {index} is none of the {len(folds)} folds of {name}: they count from 0.")
    audit(folds[index], f"fold {index} of {name}")
    return folds[index]


def audit(fold: Fold, where: str) -> None:
    """Stops on a fold whose score could not be believed.

    Raises:
      InputError: A speaker in two parts, or a part without speakers.
    """
    for split in SPLITS:
        if not getattr(fold, split):
            raise InputError(f"{where} has no {split} speakers: give it at least one.")
    for one, other in (("train", "validation"), ("train", "test"), ("validation", "test")):
        shared = sorted(set(getattr(fold, one)) & set(getattr(fold, other)))
        if shared:
            raise InputError(
                f"{where}: speaker {', '.join(shared)} is in {one} and in {other}; scores would measure"
                " recognition of the speaker, so keep each speaker in one part."
            )


def _holdout(present: list[str], seed: int) -> Fold:
    """60/20/20 of the speakers, sorted, shuffled with the seed, cut."""
    if len(present) < 3:
        raise InputError(
            f"holdout needs at least three speakers, one each to train, validate and test, and the records hold"
            f" {len(present)}: prepare recordings of more speakers."
        )
    shuffled = list(present)
    random.Random(seed).shuffle(shuffled)
    share = max(1, round(0.2 * len(shuffled)))
    test, validation, train = shuffled[:share], shuffled[share : 2 * share], shuffled[2 * share :]
    return Fold(tuple(sorted(train)), tuple(sorted(validation)), tuple(sorted(test)))


def _literature(
    name: str, tests: Sequence[Sequence[str]], validations: Sequence[Sequence[str]], present: list[str]
) -> list[Fold]:
    """Folds of a published list for the actors present.

    Where fewer than two validation speakers are present, the first two present test speakers of the following folds,
    cyclically, take their place.
    """
    listed = sorted({speaker for test in tests for speaker in test})
    unlisted = sorted(set(present) - set(listed))
    if unlisted:
        raise InputError(
            f"{name} lists RAVDESS actors {listed[0]} to {listed[-1]}, and the records hold speaker"
            f" {', '.join(unlisted[:5])}: use --folds holdout, or a JSON file of your own."
        )
    absent = tuple(speaker for speaker in listed if speaker not in present)
    folds = []
    for index, validation in enumerate(validations):
        test = _kept(tests[index], present)
        validation = _kept(validation, present)
        if len(validation) < 2:
            following = [speaker for step in range(1, len(tests)) for speaker in tests[(index + step) % len(tests)]]
            validation = _kept(following, present)[:2]
        train = tuple(speaker for speaker in present if speaker not in test + validation)
        folds.append(Fold(train, tuple(sorted(validation)), test, absent))
    return folds


def _kept(speakers: Sequence[str], present: list[str]) -> tuple[str, ...]:
    return tuple(speaker for speaker in speakers if speaker in present)


def _from_file(path: Path, present: list[str]) -> list[Fold]:
    try:
        listed = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path} does not exist: give a JSON file of folds, or holdout, or lj5.") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is no readable JSON ({error}): write a list of folds.") from None
    if not isinstance(listed, list) or not listed:
        raise InputError(f"{path} holds no list of folds: write [{{train: [...], validation: [...], test: [...]}}].")
    return [_fold_of(entry, f"fold {index} of {path}", present) for index, entry in enumerate(listed)]


def _fold_of(entry: object, where: str, present: list[str]) -> Fold:
    parts = []
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
        parts.append(tuple(sorted(set(speakers))))
    return Fold(*parts)
