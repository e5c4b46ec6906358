"""Recordings in a folder for each emotion: `angry/anna_01.wav`, at any depth, also below `train/` and `test/`.

The emotion is the name of the folder that holds a recording. Who speaks stands in the path, where `--speaker-regex`
finds it; without that the corpus is refused, or read with `--no-speakers`. Folders named train, validation (val, dev,
valid) and test above those of the emotions are published splits.
"""

from collections.abc import Sequence
from pathlib import Path

from pipelines.command import InputError
from pipelines.corpora.recordings import Refusals, Speakers, files_below, stop_on_pointer
from pipelines.utterance import Corpus, Utterance

LICENCE = "not stated (folders)"

SPLIT_NAMES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "valid", "val", "dev", "development"), "validation"),
    **dict.fromkeys(("test", "testing", "eval", "evaluation"), "test"),
}
"""Name of a folder or file -> published split."""


def read(source: Path, emotions: Sequence[str], speakers: Speakers) -> Corpus:
    """Reads the paths below a folder.

    Args:
      source: The folder.
      emotions: The labels that may be there, in label order; none: those that are there, in alphabetical order.
      speakers: How the speaker of a recording is found.

    Raises:
      InputError: No recordings in folders, an emotion that is none of those that may be there, recordings without a
        speaker; all of them are named.
    """
    paths = files_below(source, "a folder of recordings for each emotion")
    refusals, utterances = Refusals(f"recordings below {source}"), []
    stop_on_flat(source, paths)
    stop_on_pointer(paths[0])
    found = tuple(sorted({path.parent.name for path in paths}))
    stop_on_others(found, emotions, str(source))
    if speakers == Speakers():
        speakers.of("", "", str(source))  # One sentence for all.
    for path in paths:
        with refusals.of_one():
            utterances.append(_utterance(source, path, speakers))
    refusals.stop()
    ordered, num_twice = _without_twins(utterances)
    left_out = {"a second file of the same name": num_twice} if num_twice else {}
    return Corpus(source.resolve().name, source, LICENCE, tuple(emotions) or found, ordered, left_out)


def stop_on_flat(source: Path, paths: Sequence[Path]) -> None:
    """Refuses a folder without recordings, or with some that lie in no folder of an emotion."""
    flat = [path for path in paths if path.parent == source]
    if not paths or flat:
        what = f"{flat[0].name} lies in it directly" if flat else "it holds no recording"
        raise InputError(
            f"{source} is not made of a folder for each emotion, such as {source.name}/angry/anna_01.wav ({what}): move"
            " recordings into folders, or list them for --corpus manifest."
        )


def stop_on_others(found: Sequence[str], emotions: Sequence[str], where: str) -> None:
    """Refuses labels that are none of those that may be there."""
    others = [label for label in found if label not in emotions]
    if emotions and others:
        raise InputError(
            f"{where} has the labels {', '.join(others)}, which are none of {', '.join(emotions)}: declare your"
            " own with --emotions, or map them with --label-map (--list-label-maps lists the maps)."
        )


def _utterance(source: Path, path: Path, speakers: Speakers) -> Utterance:
    relative = path.relative_to(source)
    name = relative.with_suffix("").as_posix()
    splits = [SPLIT_NAMES[part.lower()] for part in relative.parts[:-2] if part.lower() in SPLIT_NAMES]
    return Utterance(
        utterance_id=name,
        speaker=speakers.of(relative.as_posix(), "", str(path)),
        emotion=path.parent.name,
        audio=path,
        video=path,  # Its content decides whether it is one.
        trial=name,
        published_split=splits[0] if splits else "",
    )


def _without_twins(utterances: Sequence[Utterance]) -> tuple[tuple[Utterance, ...], int]:
    """Keeps the first of several files that differ in their suffix alone; wav files come first."""
    found: dict[str, Utterance] = {}
    for utterance in utterances:
        found.setdefault(utterance.utterance_id, utterance)
    return tuple(found[name] for name in sorted(found)), len(utterances) - len(found)
