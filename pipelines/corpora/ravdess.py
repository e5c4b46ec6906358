"""RAVDESS, speech: recordings and videos of 24 actors in eight emotions (Livingstone & Russo 2018).

File names are modality-channel-emotion-intensity-statement-repetition-actor, for instance 03-01-05-02-01-01-12.wav.
Modality 01 is video with audio, 02 video alone, 03 audio alone of one and the same performance: a trial, which is one
utterance. Its audio is that of 03, else of 01; its video is that of 02, else of 01; its name is the first of 03, 01, 02
that is there. Both layouts are read, `Actor_NN/` folders and a flat folder, with song beside the speech or
without.
"""

import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from pipelines.audio import AUDIO_SUFFIXES, VIDEO_SUFFIXES
from pipelines.command import InputError
from pipelines.corpora import synthetic
from pipelines.emotions import RAVDESS
from pipelines.utterance import Corpus, Utterance

NAME = "RAVDESS speech"

LICENCE = "CC BY-NC-SA 4.0, doi 10.1371/journal.pone.0196391"

STATEMENTS = {"01": "Kids are talking by the door", "02": "Dogs are sitting by the door"}

_NAME = re.compile(r"\d\d(-\d\d){6}")
_NUM_ACTORS = 24
_MODALITIES = ("01", "02", "03")
_INTENSITIES = {"01": "normal", "02": "strong"}


def read(source: Path) -> Corpus:
    """Reads the file names below a folder; opens no file.

    Raises:
      InputError: A folder that is missing or without RAVDESS speech, or a name whose codes do not exist.
    """
    if not source.is_dir():
        raise InputError(
            f"{source} is not a folder: name the one that holds RAVDESS's Actor_01, Actor_02, ... folders."
        )
    if (source / synthetic.MARKER).exists():
        raise InputError(f"{source} is the synthetic corpus, not RAVDESS: read it with --corpus synthetic.")
    ignored: Counter[str] = Counter()
    trials: dict[str, dict[str, Path]] = {}
    for path in sorted(source.rglob("*")):
        kind = _kind(path)
        if kind == "other":
            continue
        files = trials.get(trial_of(path.stem), {})
        if kind == "speech" and path.stem[:2] in files:
            kind = "a second file of the same name"
        if kind != "speech":
            ignored[kind] += 1
            continue
        _check_codes(path)
        trials.setdefault(trial_of(path.stem), files)[path.stem[:2]] = path
    if not trials:
        raise InputError(_nothing_found(source, ignored))
    utterances = sorted(map(_utterance, trials.values()), key=lambda utterance: utterance.utterance_id)
    return Corpus(NAME, source, LICENCE, RAVDESS, tuple(utterances), dict(ignored))


def trial_of(stem: str) -> str:
    """Names the performance: the file name without its modality, equal for audio and video of one trial."""
    return stem.partition("-")[2]


def _kind(path: Path) -> str:
    suffix = path.suffix.lower()
    is_audio = suffix in AUDIO_SUFFIXES
    if not (is_audio or suffix in VIDEO_SUFFIXES) or path.name.startswith(".") or not path.is_file():
        return "other"
    if not _NAME.fullmatch(path.stem):
        return "recordings without a RAVDESS name"
    if path.stem[3:5] == "02":
        return "song"
    # Audio that was taken out of a video is that of 03 once more; a video named 03 would be another one's.
    if is_audio and path.stem[:2] in ("01", "02"):
        return "audio taken out of a video"
    return "video named as audio alone (03)" if not is_audio and path.stem[:2] == "03" else "speech"


def _check_codes(path: Path) -> None:
    modality, channel, emotion, intensity, statement, _, actor = path.stem.split("-")
    known = modality in _MODALITIES and channel == "01" and intensity in _INTENSITIES and statement in STATEMENTS
    if not known or not 1 <= int(emotion) <= len(RAVDESS) or not 1 <= int(actor) <= _NUM_ACTORS:
        codes = "modality 01-03, channel 01-02, emotion 01-08, intensity 01-02, statement 01-02, actor 01-24"
        raise InputError(f"{path} has a code that RAVDESS does not know ({codes}): correct its name or remove it.")


def _utterance(files: Mapping[str, Path]) -> Utterance:
    """Makes one utterance of the files of a trial, modality -> path."""
    path = next(files[modality] for modality in ("03", "01", "02") if modality in files)
    _, _, emotion, intensity, statement, repetition, actor = path.stem.split("-")
    return Utterance(
        utterance_id=path.stem,
        speaker=actor,
        emotion=RAVDESS[int(emotion) - 1],
        audio=files.get("03", files.get("01")),
        video=files.get("02", files.get("01")),
        transcript=STATEMENTS[statement],
        trial=trial_of(path.stem),
        attributes={
            "intensity": _INTENSITIES[intensity],
            "statement": statement,
            "repetition": repetition,
            "sex": "male" if int(actor) % 2 else "female",
        },
    )


def _nothing_found(source: Path, ignored: Counter[str]) -> str:
    beside = ", ".join(f"{count} {reason}" for reason, count in ignored.items())
    found = f"only {beside}" if beside else "no recording at all"
    return (
        f"{source} holds no RAVDESS speech such as Actor_01/03-01-05-01-01-01-01.wav, {found}:"
        " name the folder of the unpacked corpus, or use --corpus manifest for recordings of your own."
    )
