"""Kaldi data folders: `wav.scp` and a table of emotions, with `utt2spk`, `text`, `segments` and `spk2gender`.

Each line is an identifier, a blank and a value. Emotions stand in `utt2emo` or `utt2emotion`. Paths are absolute, or
relative to the folder or to the one above it, as Kaldi and ESPnet write them. A `wav.scp` whose value is a command
(a pipe) is refused: it would have to be run. A folder of `train`, `dev` and `test` folders is one corpus with
published splits.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from pipelines.command import InputError
from pipelines.corpora.folders import SPLIT_NAMES, stop_on_others
from pipelines.corpora.recordings import Refusals, Speakers
from pipelines.utterance import Corpus, Segment, Utterance

LICENCE = "not stated (Kaldi data folder)"

_EMOTIONS = ("utt2emo", "utt2emotion")
_SEXES = {"f": "female", "m": "male"}


def read(source: Path, emotions: Sequence[str], speakers: Speakers) -> Corpus:
    """Reads a data folder, or one for each split.

    Args:
      source: The folder.
      emotions: The labels that may be there, in label order; none: those that are there, in alphabetical order.
      speakers: How speakers are found where there is no utt2spk.

    Raises:
      InputError: Files that are missing, lines that cannot be used (all of them are named), pipes, identifiers that
        only some files know.
    """
    refusals = Refusals(f"lines of {source}")
    utterances = [one for folder, split in _folders(source) for one in _of_folder(folder, split, speakers, refusals)]
    refusals.stop()
    found = tuple(sorted({utterance.emotion for utterance in utterances}))
    stop_on_others(found, emotions, str(source))
    names = [utterance.utterance_id for utterance in utterances]
    if twice := sorted({name for name in names if names.count(name) > 1} if len(set(names)) < len(names) else ()):
        raise InputError(f"{source}: the utterance {twice[0]} stands in two folders: give each a name of its own.")
    ordered = tuple(sorted(utterances, key=lambda utterance: utterance.utterance_id))
    return Corpus(source.resolve().name, source, LICENCE, tuple(emotions) or found, ordered)


def _folders(source: Path) -> list[tuple[Path, str]]:
    """Lists the data folders, each with its published split."""
    if (source / "wav.scp").is_file():
        return [(source, "")]
    inside = sorted(path for path in source.iterdir() if (path / "wav.scp").is_file()) if source.is_dir() else []
    if not inside:
        raise InputError(f"{source} is no Kaldi data folder: it, or folders in it, must hold wav.scp and utt2emo.")
    unknown = [folder.name for folder in inside if folder.name.lower() not in SPLIT_NAMES]
    if unknown:
        known = ", ".join(SPLIT_NAMES)
        raise InputError(f"{source / unknown[0]} is no split ({known}): name it so, or read it alone with --source.")
    return [(folder, SPLIT_NAMES[folder.name.lower()]) for folder in inside]


def _of_folder(folder: Path, split: str, speakers: Speakers, refusals: Refusals) -> Iterator[Utterance]:
    labels = next((path for name in _EMOTIONS if (path := folder / name).is_file()), None)
    if labels is None:
        raise InputError(f"{folder} has no {' or '.join(_EMOTIONS)}: write a line for each utterance, u001 happy.")
    emotions = _table(labels)
    recordings, segments = _table(folder / "wav.scp"), _table(folder / "segments", is_needed=False)
    people, words = (_table(folder / name, is_needed=False) for name in ("utt2spk", "text"))
    sexes = _table(folder / "spk2gender", is_needed=False)
    for name, (emotion, line) in emotions.items():
        with refusals.of_one():
            where = f"{labels}, line {line}"
            recording, segment = _stretch(name, segments, folder, where)
            path = _path(recording, recordings, folder, where)
            named = people.get(name, ("", 0))[0]
            speaker = speakers.of(str(path), named, f"{where}: {name}")
            sex = _SEXES.get(sexes.get(named, ("", 0))[0][:1].lower())
            yield Utterance(
                utterance_id=name,
                speaker=speaker,
                emotion=emotion,
                audio=path,
                transcript=words.get(name, ("", 0))[0],
                trial=name,
                published_split=split,
                attributes={"sex": sex} if sex else {},
                segment=segment,
                place=where,
            )


def _table(path: Path, *, is_needed: bool = True) -> dict[str, tuple[str, int]]:
    """Reads identifier -> (value, line)."""
    if not path.is_file():
        if is_needed:
            raise InputError(f"{path} is not there: name a Kaldi data folder that is whole.")
        return {}
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 text ({error.reason}): save it as UTF-8.") from None
    found: dict[str, tuple[str, int]] = {}
    for number, line in enumerate(lines, 1):
        name, _, value = line.strip().partition(" " if " " in line.strip() else "\t")
        if name and found.setdefault(name, (value.strip(), number))[1] != number:
            raise InputError(f"{path}, line {number}: {name} stands there twice: keep one line.")
    return found


def _stretch(
    name: str, segments: Mapping[str, tuple[str, int]], folder: Path, where: str
) -> tuple[str, Segment | None]:
    """Finds the recording of an utterance, and what of it is read."""
    if not segments:
        return name, None
    if name not in segments:
        raise InputError(f"{where}: {name} does not stand in {folder / 'segments'}: add it, or remove this line.")
    value, line = segments[name]
    parts = value.split()
    try:
        recording, start, end = parts[0], float(parts[1]), float(parts[2])
    except (IndexError, ValueError):
        raise InputError(
            f"{folder / 'segments'}, line {line} is not 'utterance recording start end': mend it."
        ) from None
    if end == -1:  # Kaldi's sign for the end of the recording.
        return recording, Segment(start, None)
    if not 0 <= start < end:
        raise InputError(
            f"{folder / 'segments'}, line {line}: the segment ends at {end:g} s and starts at {start:g} s."
        )
    return recording, Segment(start, end)


def _path(recording: str, recordings: Mapping[str, tuple[str, int]], folder: Path, where: str) -> Path:
    if recording not in recordings:
        raise InputError(f"{where}: {recording} does not stand in {folder / 'wav.scp'}: add it, or remove this line.")
    value, line = recordings[recording]
    place = f"{folder / 'wav.scp'}, line {line}"
    if value.endswith("|") or value.startswith("|"):
        raise InputError(f"{place} is a command (a pipe), which is not run: write the recordings out as files.")
    if not value or "\0" in value:
        raise InputError(f"{place} names no file: write the path of a recording.")
    candidates = [base / value for base in (folder, *folder.parents[:2], Path())]
    return next((path for path in candidates if path.exists()), folder / value)
