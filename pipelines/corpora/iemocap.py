"""IEMOCAP: dialogues of ten actors in five sessions, played from scripts or improvised (Busso et al. 2008).

The folder holds Session1 to Session5 as released, in each dialog/EmoEvaluation/Ses01F_impro01.txt with the labels,
sentences/wav/Ses01F_impro01/Ses01F_impro01_F000.wav with the turns and, where it is there,
dialog/transcriptions/Ses01F_impro01.txt with the words. In Ses01F_impro01_F000 the last letter says who speaks; the
first one says who wears the markers. Both speakers of a session are on each other's recordings, so the published
folds leave whole sessions out.
"""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from pipelines.command import InputError
from pipelines.corpora.recordings import stop_on_part, stop_on_pointer
from pipelines.emotions import IEMOCAP
from pipelines.utterance import Corpus, Utterance

LICENCE = "for research, by the release form of SAIL, USC (Busso et al. 2008, doi 10.1007/s10579-008-9076-6)"

_WHOLE = {"recordings": 10039, "speakers": 10}
_SEXES = {"F": "female", "M": "male"}

# [6.2901 - 8.2357]	Ses01F_impro01_F000	neu	[2.5000, 2.5000, 2.5000]
_TURN = re.compile(
    r"\[\d+(?:\.\d+)?\s*-\s*\d+(?:\.\d+)?\]\s+(?P<turn>\S+)\s+(?P<emotion>\w+)\s+"
    r"\[(?P<valence>[\d.]+),\s*(?P<activation>[\d.]+),\s*(?P<dominance>[\d.]+)\]"
)
_NAME = re.compile(r"(?P<dialogue>Ses(?P<session>\d\d)[FM]_(?P<kind>impro|script)\w*?)_(?P<sex>[FM])[A-Z]{0,2}\d+")
_WORDS = re.compile(r"(?P<turn>Ses\S+)\s+\[[^\]]*\]:\s?(?P<words>.*)")


def read(source: Path, *, is_part: bool = False) -> Corpus:
    """Reads labels, words and the names of the turns.

    Args:
      source: The folder that holds Session1 to Session5, or one session.
      is_part: Whether fewer turns than the released corpus has are meant.

    Raises:
      InputError: A folder without sessions, a label that IEMOCAP does not have, turns without a recording, a part of
        the corpus that is not meant.
    """
    sessions = _sessions(source)
    utterances = sorted((one for session in sessions for one in _of_session(session)), key=lambda one: one.utterance_id)
    if not utterances:
        raise InputError(f"{source} holds no labelled turn of IEMOCAP in dialog/EmoEvaluation/*.txt: unpack it again.")
    missing = [one.audio for one in utterances if one.audio is not None and not one.audio.is_file()]
    if missing:
        raise InputError(
            f"{missing[0]} is not there, and {len(missing)} of {len(utterances)} labelled turns have no recording:"
            " unpack the whole release."
        )
    assert utterances[0].audio is not None
    stop_on_pointer(utterances[0].audio)
    stop_on_part("IEMOCAP", source, Counter(one.speaker for one in utterances), _WHOLE, is_part)
    found = sorted({utterance.speaker for utterance in utterances})
    return Corpus("IEMOCAP", source, LICENCE, IEMOCAP, tuple(utterances), folds=_folds(found))


def _sessions(source: Path) -> list[Path]:
    """Finds the sessions in a folder, or below its only folder, or the folder itself."""
    if not source.is_dir():
        raise InputError(f"{source} is not a folder: name the one that holds Session1, Session2, ... of IEMOCAP.")
    for folder in (source, *sorted(path for path in source.iterdir() if path.is_dir())):
        found = [path for path in sorted(folder.glob("Session*")) if (path / "dialog" / "EmoEvaluation").is_dir()]
        if found:
            return found
    if (source / "dialog" / "EmoEvaluation").is_dir():
        return [source]
    raise InputError(
        f"{source} holds no IEMOCAP, whose labels lie in Session1/dialog/EmoEvaluation: name the folder of the unpacked"
        " release (IEMOCAP_full_release)."
    )


def _of_session(session: Path) -> Iterator[Utterance]:
    for path in sorted((session / "dialog" / "EmoEvaluation").glob("Ses*.txt")):
        stop_on_pointer(path)
        words = _words(session / "dialog" / "transcriptions" / path.name)
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        for number, line in enumerate(lines, 1):
            if match := _TURN.match(line):
                yield _utterance(session, match, words, f"{path}, line {number}")


def _words(path: Path) -> dict[str, str]:
    """Reads what is said in the turns of a dialogue, where it is there."""
    if not path.is_file():
        return {}
    matches = map(_WORDS.match, path.read_text(encoding="utf-8", errors="replace").splitlines())
    return {match["turn"]: match["words"].strip() for match in matches if match}


def _utterance(session: Path, match: re.Match[str], words: dict[str, str], where: str) -> Utterance:
    turn, emotion = match["turn"], match["emotion"]
    name = _NAME.fullmatch(turn)
    if name is None:
        raise InputError(f"{where}: {turn} is no name of a turn such as Ses01F_impro01_F000: use the released file.")
    if emotion not in IEMOCAP:
        raise InputError(f"{where}: {emotion!r} is none of the labels {', '.join(IEMOCAP)}: use the released file.")
    return Utterance(
        utterance_id=turn,
        speaker=f"Ses{name['session']}{name['sex']}",
        emotion=emotion,
        audio=session / "sentences" / "wav" / name["dialogue"] / f"{turn}.wav",
        transcript=words.get(turn, ""),
        trial=turn,
        attributes={
            "session": name["session"],
            "sex": _SEXES[name["sex"]],
            "style": "scripted" if name["kind"] == "script" else "improvised",
            **{scale: match[scale] for scale in ("valence", "activation", "dominance")},
        },
        place=where,
    )


def _folds(speakers: list[str]) -> tuple[dict[str, tuple[str, ...]], ...]:
    """Makes the folds of leave-one-session-out: the next session validates."""
    sessions = sorted({speaker[:-1] for speaker in speakers})
    groups = [tuple(speaker for speaker in speakers if speaker[:-1] == session) for session in sessions]
    if len(groups) < 3:
        return ()
    following = [*groups[1:], groups[0]]
    return tuple(
        {"train": tuple(sorted(set(speakers) - {*test, *validation})), "validation": validation, "test": test}
        for test, validation in zip(groups, following, strict=True)
    )
