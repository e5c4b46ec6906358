"""RAVDESS, speech: recordings and videos of 24 actors in eight emotions (Livingstone & Russo 2018).

File names are modality-channel-emotion-intensity-statement-repetition-actor, for instance 03-01-05-02-01-01-12.wav.
Modality 01 is video with audio, 02 video alone, 03 audio alone of one and the same performance: a trial, which is one
utterance. Its audio is that of 03, else of 01; its video is that of 02, else of 01; its name is the first of 03, 01, 02
that is there. Both layouts are read, `Actor_NN/` folders and a flat folder, with song beside the speech or
without.

The same actors, all but one, also sing. Song is a corpus of its own (`read_song`), or joins the speech for training
alone: what actor 01 sings then has the speaker "01 song", who trains where actor 01 does and is in no other split.
"""

import dataclasses
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

from pipelines.audio import AUDIO_SUFFIXES, VIDEO_SUFFIXES
from pipelines.command import InputError
from pipelines.corpora import synthetic
from pipelines.corpora.recordings import stop_on_part
from pipelines.emotions import RAVDESS
from pipelines.utterance import Corpus, Utterance

NAME = "RAVDESS speech"

SONG = "RAVDESS song"

WITH_SONG = "RAVDESS speech with song"

LICENCE = "CC BY-NC-SA 4.0, doi 10.1371/journal.pone.0196391"

STATEMENTS = {"01": "Kids are talking by the door", "02": "Dogs are sitting by the door"}

_NAME = re.compile(r"\d\d(-\d\d){6}")
_NUM_ACTORS = 24
_SONG = {"recordings": 1012, "speakers": 23}
"""Of audio alone; there are no songs of actor 18."""

_CHANNELS = {"01": "speech", "02": "song"}
_MODALITIES = ("01", "02", "03")
_INTENSITIES = {"01": "normal", "02": "strong"}


def read(source: Path, *, with_song: bool = False) -> Corpus:
    """Reads the file names of the speech below a folder; opens no file.

    Args:
      source: The folder.
      with_song: Whether what the actors sing joins, for training alone.

    Raises:
      InputError: A folder that is missing or without RAVDESS speech, or a name whose codes do not exist; song that is
        asked for and not there.
    """
    speech, songs, ignored = _trials(source)
    if not speech:
        raise InputError(_nothing_found(source, "speech", {"song": len(songs)} | ignored))
    utterances = list(map(_utterance, speech))
    if not with_song:
        ignored = {**ignored, **({"song": sum(map(len, songs))} if songs else {})}
        return Corpus(NAME, source, LICENCE, RAVDESS, _sorted(utterances), ignored)
    if not songs:
        raise InputError(f"{source} holds no song such as 03-02-05-01-01-01-01.wav: add it, or leave --with-song out.")
    sung = [dataclasses.replace(one, speaker=f"{one.speaker} song") for one in map(_utterance, songs)]
    only_train = {one.speaker: one.speaker.removesuffix(" song") for one in sung}
    return Corpus(WITH_SONG, source, LICENCE, RAVDESS, _sorted([*utterances, *sung]), ignored, only_train=only_train)


def read_song(source: Path, *, is_part: bool = False) -> Corpus:
    """Reads the file names of the song below a folder as `read` does those of the speech.

    Args:
      source: The folder.
      is_part: Whether fewer songs than the published corpus has are meant.

    Raises:
      InputError: As `read`; a part of the corpus that is not meant.
    """
    speech, songs, ignored = _trials(source)
    if not songs:
        raise InputError(_nothing_found(source, "song", {"speech": len(speech)} | ignored))
    utterances = list(map(_utterance, songs))
    stop_on_part(SONG, source, Counter(one.speaker for one in utterances), _SONG, is_part)
    ignored = {**ignored, **({"speech": sum(map(len, speech))} if speech else {})}
    return Corpus(SONG, source, LICENCE, RAVDESS, _sorted(utterances), ignored)


def _trials(source: Path) -> tuple[list[dict[str, Path]], list[dict[str, Path]], dict[str, int]]:
    """Finds the trials of speech and of song below a folder, each modality -> path, and counts what is neither."""
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
        if kind in _CHANNELS.values() and path.stem[:2] in files:
            kind = "a second file of the same name"
        if kind not in _CHANNELS.values():
            ignored[kind] += 1
            continue
        _check_codes(path)
        trials.setdefault(trial_of(path.stem), files)[path.stem[:2]] = path
    speech, songs = ([files for trial, files in trials.items() if trial[:2] == channel] for channel in _CHANNELS)
    return speech, songs, dict(ignored)


def _sorted(utterances: Iterable[Utterance]) -> tuple[Utterance, ...]:
    return tuple(sorted(utterances, key=lambda utterance: utterance.utterance_id))


def trial_of(stem: str) -> str:
    """Names the performance: the file name without its modality, equal for audio and video of one trial."""
    return stem.partition("-")[2]


def is_named_so(stem: str) -> bool:
    """Whether a name has the shape of RAVDESS's."""
    return _NAME.fullmatch(stem) is not None


def _kind(path: Path) -> str:
    suffix = path.suffix.lower()
    is_audio = suffix in AUDIO_SUFFIXES
    if not (is_audio or suffix in VIDEO_SUFFIXES) or path.name.startswith(".") or not path.is_file():
        return "other"
    if not _NAME.fullmatch(path.stem):
        return "recordings without a RAVDESS name"
    # Audio that was taken out of a video is that of 03 once more; a video named 03 would be another one's.
    if is_audio and path.stem[:2] in ("01", "02"):
        return "audio taken out of a video"
    if not is_audio and path.stem[:2] == "03":
        return "video named as audio alone (03)"
    return _CHANNELS.get(path.stem[3:5], "speech")  # An unknown channel is refused by its codes.


def _check_codes(path: Path) -> None:
    modality, channel, emotion, intensity, statement, _, actor = path.stem.split("-")
    known = modality in _MODALITIES and channel in _CHANNELS and intensity in _INTENSITIES and statement in STATEMENTS
    if not known or not 1 <= int(emotion) <= len(RAVDESS) or not 1 <= int(actor) <= _NUM_ACTORS:
        codes = "modality 01-03, channel 01-02, emotion 01-08, intensity 01-02, statement 01-02, actor 01-24"
        raise InputError(f"{path} has a code that RAVDESS does not know ({codes}): correct its name or remove it.")


def _utterance(files: Mapping[str, Path]) -> Utterance:
    """Makes one utterance of the files of a trial, modality -> path."""
    path = next(files[modality] for modality in ("03", "01", "02") if modality in files)
    _, channel, emotion, intensity, statement, repetition, actor = path.stem.split("-")
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
            **({"channel": "song"} if channel == "02" else {}),
        },
    )


def _nothing_found(source: Path, wanted: str, held: Mapping[str, int]) -> str:
    beside = ", ".join(f"{count} {reason}" for reason, count in held.items() if count)
    found = f"only {beside}" if beside else "no recording at all"
    channel = next(code for code, name in _CHANNELS.items() if name == wanted)
    return (
        f"{source} holds no RAVDESS {wanted} such as Actor_01/03-{channel}-05-01-01-01-01.wav, {found}:"
        " name the folder of the unpacked corpus, or use --corpus manifest for recordings of your own."
    )
