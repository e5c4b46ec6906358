"""GoEmotions: Reddit comments, each with one or more of 28 labels (Demszky et al. 2020).

The folder holds train.tsv, dev.tsv and test.tsv, each row a comment, its label ids joined by commas, and its id; quotes
mean nothing there. A list of the labels beside them (labels.txt, or emotions.txt as published) must be the known one.
"""

from collections.abc import Iterator
from pathlib import Path

from pipelines.command import InputError
from pipelines.corpora.rows import ignored, without_repeats
from pipelines.emotions import GOEMOTIONS
from pipelines.file_kinds import foreign_kind
from pipelines.utterance import Corpus, Utterance

LICENCE = "Apache-2.0; comments as Reddit's users wrote them, crude language among them"

FILES = {"train": "train.tsv", "validation": "dev.tsv", "test": "test.tsv"}
"""Published split -> its file."""

_IDS = {str(number): emotion for number, emotion in enumerate(GOEMOTIONS)}


def read(source: Path) -> Corpus:
    """Reads the three published splits.

    Raises:
      InputError: A folder or file that is missing, another list of labels, a row that cannot be used, or two rows
        of one comment that contradict each other; names the row.
    """
    if not source.is_dir():
        raise InputError(f"{source} is not a folder: name the one that holds {', '.join(FILES.values())}.")
    for name in ("labels.txt", "emotions.txt"):
        _check_labels(source / name)
    utterances, num_repeats = without_repeats(_utterances(source))
    if not utterances:
        raise InputError(f"{source} holds no comment, only empty files: name the folder of the unpacked corpus.")
    return Corpus("GoEmotions", source, LICENCE, GOEMOTIONS, utterances, ignored(num_repeats), is_multi_label=True)


def _utterances(source: Path) -> Iterator[tuple[str, Utterance]]:
    """Yields the utterance of each row behind its file and line."""
    for split, name in FILES.items():
        for number, line in enumerate(_lines(source / name), 1):
            if line.strip():
                yield f"{name}, line {number}", _utterance(line, f"{source / name}, line {number}", split)


def _lines(path: Path) -> list[str]:
    """Splits at line feeds alone: comments may hold other characters at which Python splits lines."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(
            f"cannot read {path} ({error.strerror}): name the folder that holds {', '.join(FILES.values())}."
        ) from None
    if kind := foreign_kind(path):
        raise InputError(f"{path} {kind}")
    try:
        return [line.removesuffix("\r") for line in content.decode("utf-8-sig").split("\n")]
    except UnicodeDecodeError as error:
        number = content.count(b"\n", 0, error.start) + 1
        raise InputError(f"{path}, line {number} is not UTF-8 text ({error.reason}): save it as UTF-8.") from None


def _check_labels(path: Path) -> None:
    if path.exists() and tuple(line.strip() for line in _lines(path) if line.strip()) != GOEMOTIONS:
        raise InputError(
            f"{path} does not list the 28 labels of GoEmotions, {GOEMOTIONS[0]} to {GOEMOTIONS[-1]}, in their order:"
            " the label ids would mean something else, so use the published files."
        )


def _utterance(line: str, where: str, split: str) -> Utterance:
    cells = line.split("\t")
    if len(cells) != 3:
        raise InputError(
            f"{where} has {len(cells)} columns, not a comment, its label ids and its id, separated by tabs: correct it."
        )
    comment, ids, comment_id = cells
    if not comment.strip() or not comment_id.strip():
        raise InputError(f"{where} has an empty comment or id: fill it, or remove the row.")
    return Utterance(
        utterance_id=comment_id.strip(),
        speaker="",
        emotion="|".join(_emotions(ids, where)),
        transcript=comment,
        trial=comment_id.strip(),
        published_split=split,
        place=where,
    )


def _emotions(ids: str, where: str) -> list[str]:
    chosen = set(ids.split(","))
    unknown = sorted(chosen - set(_IDS))
    if unknown:
        raise InputError(f"{where}: {unknown[0]!r} is no label id from 0 to {len(_IDS) - 1}: correct it.")
    return [emotion for label_id, emotion in _IDS.items() if label_id in chosen]
