"""The built-in synthetic corpus: speech-like clips and sentences, each of which carries half of the label.

An emotion is a cell of a grid of prosody groups and sentence themes:

                pleasant   loss       event
    low         calm       sad        neutral
    mid         -          disgust    fearful
    high        happy      angry      surprised

A clip is made from its group, its speaker's voice and random numbers; a sentence from its theme and random numbers.
Neither is told the emotion. So given the group the audio holds no further information about the emotion, given the
theme the sentence holds none, and a perfect classifier of one modality alone reaches a UAR of 3/8, while both
together tell all eight emotions. Intensity, statement and repetition are slots of the file name, as in RAVDESS, and
change nothing that can be heard or read.

Layout, as in RAVDESS:

    SOURCE/synthetic.json                            written first: what made this folder, and from which seed
    SOURCE/Actor_01/03-01-05-01-02-01-01.wav         modality, channel, emotion, intensity, statement, repetition, actor
    SOURCE/sentences.csv                             written last: utterance_id,transcript of every clip
"""

import csv
import dataclasses
import io
import itertools
import json
import os
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.command import InputError, progress_bar
from pipelines.corpora.synthetic import speech
from pipelines.corpora.synthetic.sentences import draw_sentence
from pipelines.emotions import RAVDESS
from pipelines.utterance import Corpus, Utterance

NUM_SPEAKERS = 20

_MADE_BY = "pipelines.corpora.synthetic"
_VERSION = 1
MARKER = "synthetic.json"
_SENTENCES = "sentences.csv"

_GROUPS_AND_THEMES = {
    "neutral": ("low", "event"),
    "calm": ("low", "pleasant"),
    "happy": ("high", "pleasant"),
    "sad": ("low", "loss"),
    "angry": ("high", "loss"),
    "fearful": ("mid", "event"),
    "disgust": ("mid", "loss"),
    "surprised": ("high", "event"),
}

# First numbers of the random streams. Seed sequences are padded with zeros, so none of them, nor a clip's number, is 0.
_VOICE_STREAM, _AUDIO_STREAM, _TEXT_STREAM = 1, 2, 3


def make(source: Path, seed: int = 0) -> None:
    """Makes what is absent of the synthetic corpus; the same seed gives the same bytes.

    Args:
      source: An absent or empty folder, or one that an earlier call began with the same seed.
      seed: Of voices, clips and sentences; not negative.

    Raises:
      InputError: The folder holds something else.
    """
    _make(source, seed, NUM_SPEAKERS)


def read(source: Path) -> Corpus:
    """Reads a complete synthetic corpus.

    Args:
      source: A folder that `make` filled.

    Returns:
      The corpus, with audio and transcript in every utterance.

    Raises:
      InputError: The folder is not a synthetic corpus, or not a complete one.
    """
    marker = _read_marker(source)
    if marker is None or marker.get("version") != _VERSION:
        raise InputError(
            f"{source} is not a synthetic corpus of version {_VERSION} (by its {MARKER}): make one in an empty folder."
        )
    clips = list(_clips(marker["num_speakers"]))
    transcripts = _read_sentences(source / _SENTENCES)
    absent = [clip.stem for clip in clips if not transcripts.get(clip.stem) or not (source / clip.path).is_file()]
    if absent:
        raise InputError(
            f"the synthetic corpus in {source} lacks {len(absent)} of {len(clips)} clips or their sentences"
            f" ({absent[0]} first): make it again in the same folder, which finishes it."
        )
    utterances = [_utterance(source, clip, transcripts[clip.stem]) for clip in clips]
    return Corpus(
        name="synthetic",
        source=source,
        licence="none needed (generated)",
        emotions=RAVDESS,
        utterances=tuple(sorted(utterances, key=lambda utterance: utterance.utterance_id)),
    )


def _make(source: Path, seed: int, num_speakers: int) -> None:
    _claim(source, seed, num_speakers)
    clips = list(_clips(num_speakers))
    absent = [clip for clip in clips if not (source / clip.path).is_file()]
    if absent:
        voices = {speaker: _draw_voice(seed, speaker) for speaker in {clip.speaker for clip in absent}}
        with progress_bar(len(absent), "making the synthetic corpus", "clip") as progress:
            for clip in absent:
                rng = np.random.default_rng([seed, _AUDIO_STREAM, clip.speaker, clip.number])
                _write(source / clip.path, _wav(speech.speak(speech.GROUPS[clip.group], voices[clip.speaker], rng)))
                progress.update()
    if not (source / _SENTENCES).is_file():
        _write(source / _SENTENCES, _sentence_table(clips, seed))


@dataclasses.dataclass(frozen=True)
class _Clip:
    """A place in the corpus: `number` counts a speaker's clips from 1."""

    speaker: int
    number: int
    emotion: str
    intensity: int
    statement: int

    @property
    def stem(self) -> str:
        code = RAVDESS.index(self.emotion) + 1
        return f"03-01-{code:02}-{self.intensity:02}-{self.statement:02}-01-{self.speaker:02}"

    @property
    def path(self) -> str:
        return f"Actor_{self.speaker:02}/{self.stem}.wav"

    @property
    def group(self) -> str:
        return _GROUPS_AND_THEMES[self.emotion][0]

    @property
    def theme(self) -> str:
        return _GROUPS_AND_THEMES[self.emotion][1]


def _clips(num_speakers: int) -> Iterator[_Clip]:
    # As in RAVDESS, neutral has no strong intensity.
    slots = [slot for slot in itertools.product(RAVDESS, (1, 2), (1, 2)) if slot[:2] != ("neutral", 2)]
    for speaker in range(1, num_speakers + 1):
        for number, (emotion, intensity, statement) in enumerate(slots, start=1):
            yield _Clip(speaker, number, emotion, intensity, statement)


def _utterance(source: Path, clip: _Clip, transcript: str) -> Utterance:
    return Utterance(
        utterance_id=clip.stem,
        speaker=f"{clip.speaker:02}",
        emotion=clip.emotion,
        audio=source / clip.path,
        transcript=transcript,
        trial=clip.stem[3:],
        attributes={
            "intensity": ("normal", "strong")[clip.intensity - 1],
            "statement": f"{clip.statement:02}",
            "repetition": "01",
            "sex": _sex(clip.speaker),
            "synthetic": "true",
        },
    )


def _sex(speaker: int) -> str:
    return "male" if speaker % 2 else "female"


def _claim(source: Path, seed: int, num_speakers: int) -> None:
    """Writes the marker of a synthetic folder, or checks the one that is there."""
    wanted = {"made_by": _MADE_BY, "version": _VERSION, "seed": seed, "num_speakers": num_speakers}
    found = _read_marker(source)
    if found is None:
        # Hidden files (.gitkeep, .DS_Store) make no corpus.
        if source.exists() and not (source.is_dir() and all(path.name.startswith(".") for path in source.iterdir())):
            raise InputError(f"{source} holds something other than a synthetic corpus: choose an empty folder for it.")
        _write(source / MARKER, json.dumps(wanted, indent=2).encode() + b"\n")
    elif found != wanted:
        raise InputError(
            f"{source / MARKER} describes another synthetic corpus ({_describe(found)}) than the one to make"
            f" ({_describe(wanted)}): choose another folder, or remove this one."
        )


def _describe(marker: dict[str, Any]) -> str:
    return ", ".join(f"{key.replace('_', ' ')} {marker.get(key)}" for key in ("version", "seed", "num_speakers"))


def _read_marker(source: Path) -> dict[str, Any] | None:
    """Reads synthetic.json; None where there is none that this module wrote."""
    try:
        marker = json.loads((source / MARKER).read_bytes())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    ours = isinstance(marker, dict) and marker.get("made_by") == _MADE_BY
    return marker if ours and isinstance(marker.get("num_speakers"), int) else None


def _read_sentences(path: Path) -> dict[str, str]:
    """Reads sentences.csv; empty where it is absent."""
    if not path.is_file():
        return {}
    with path.open(encoding="utf-8", newline="") as file:
        return {row.get("utterance_id", ""): row.get("transcript") or "" for row in csv.DictReader(file)}


def _sentence_table(clips: list[_Clip], seed: int) -> bytes:
    table = io.StringIO(newline="")
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(("utterance_id", "transcript"))
    for clip in clips:
        rng = np.random.default_rng([seed, _TEXT_STREAM, clip.speaker, clip.number])
        writer.writerow((clip.stem, draw_sentence(clip.theme, rng)))
    return table.getvalue().encode()


def _draw_voice(seed: int, speaker: int) -> speech.Voice:
    return speech.draw_voice(_sex(speaker), np.random.default_rng([seed, _VOICE_STREAM, speaker]))


def _wav(waveform: np.ndarray) -> bytes:
    """Packs a waveform [num_samples] in [-1, 1) as a mono 16-bit wav file."""
    samples = np.clip(np.round(waveform * 32768), -32768, 32767).astype("<i2")
    packed = io.BytesIO()
    with wave.open(packed, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(speech.SAMPLE_RATE)
        file.writeframes(samples.tobytes())
    return packed.getvalue()


def _write(path: Path, content: bytes) -> None:
    """Writes a file so that it is there whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        partial.write_bytes(content)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
