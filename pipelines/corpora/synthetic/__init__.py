"""The built-in synthetic corpus: speech-like clips, sentences and drawn faces, each of which shows some of the label.

An emotion is a cell of a grid of prosody groups and sentence themes, with an expression of the face in brackets:

                pleasant         loss                event
    low         calm (smile)     sad (droop)         neutral (rest)
    mid         -                disgust (grimace)   fearful (startled)
    high        happy (smile)    angry (scowl)       surprised (startled)

A clip is made from its group, its speaker's voice and random numbers; a sentence from its theme and random numbers; a
video from its expression, its speaker's looks and random numbers. The emotion itself enters nowhere. So given the group
the audio holds no further information about the emotion, given the theme the sentence holds none, given the expression
the video holds none. A perfect classifier of audio or text alone reaches a UAR of 3/8, one of video alone 6/8. Audio
with text, or with video, decides between all eight; text adds nothing to video. A video is as long as its clip, whose
length depends on none of the three. Intensity, statement and repetition are slots of the file name, as in RAVDESS, and
change neither audio, text nor video.

Layout, as in RAVDESS:

    SOURCE/synthetic.json                            written first: what made this folder, and from which seed
    SOURCE/Actor_01/03-01-05-01-02-01-01.wav         modality, channel, emotion, intensity, statement, repetition, actor
    SOURCE/sentences.csv                             written after the clips: utterance_id,transcript of each
    SOURCE/Actor_01/02-01-05-01-02-01-01.mp4         last, where videos are asked for: the pictures of 03-...
"""

import csv
import dataclasses
import io
import itertools
import json
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pipelines.command import InputError, progress_bar
from pipelines.corpora.synthetic import acting, faces, speech
from pipelines.corpora.synthetic.sentences import draw_sentence
from pipelines.emotions import RAVDESS
from pipelines.files import replacing
from pipelines.utterance import Corpus, Utterance
from pipelines.video import import_opencv

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

_EXPRESSIONS = {
    "neutral": "rest",
    "calm": "smile",
    "happy": "smile",
    "sad": "droop",
    "angry": "scowl",
    "fearful": "startled",
    "disgust": "grimace",
    "surprised": "startled",
}

# First numbers of the random streams. Seed sequences are padded with zeros, so none of them, nor a clip's number, is 0.
_VOICE_STREAM, _AUDIO_STREAM, _TEXT_STREAM, _FACE_STREAM, _VIDEO_STREAM = 1, 2, 3, 4, 5


def make(source: Path, seed: int = 0, with_video: bool = False, num_speakers: int = NUM_SPEAKERS) -> None:
    """Makes what is absent of the synthetic corpus; the same seed gives the same bytes.

    Args:
      source: An absent or empty folder, or one that an earlier call began with the same seed.
      seed: Of voices, clips, sentences and faces; not negative.
      with_video: Whether to make videos, too, be it of clips that an earlier call made without.
      num_speakers: Voices, of 30 clips each; one has the same clips in a corpus of any size.

    Raises:
      InputError: The folder holds something else, or OpenCV, which draws the videos, is not installed.
    """
    _make(source, seed, num_speakers, with_video)


def read(source: Path) -> Corpus:
    """Reads a complete synthetic corpus.

    Args:
      source: A folder that `make` filled.

    Returns:
      The corpus, with audio and transcript in every utterance, and video where it was made.

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
    return _corpus(source, [_utterance(source, clip, transcripts[clip.stem]) for clip in clips])


def plan(source: Path, with_video: bool = False) -> Corpus:
    """Describes the corpus that `make` would make or finish in a folder, and makes nothing."""
    utterances = [_utterance(source, clip, _sentence(clip, seed=0)) for clip in _clips(NUM_SPEAKERS)]
    if with_video:
        videos = (source / clip.video_path for clip in _clips(NUM_SPEAKERS))
        pairs = zip(utterances, videos, strict=True)
        utterances = [dataclasses.replace(utterance, video=video) for utterance, video in pairs]
    return _corpus(source, utterances)


def _corpus(source: Path, utterances: list[Utterance]) -> Corpus:
    return Corpus(
        name="synthetic",
        source=source,
        licence="none needed (generated)",
        emotions=RAVDESS,
        utterances=tuple(sorted(utterances, key=lambda utterance: utterance.utterance_id)),
    )


class Example(NamedTuple):
    """A clip of the corpus without its folder.

    Attributes:
      emotion: Its label.
      wav: The bytes that `make` writes.
      transcript: Its sentence.
    """

    emotion: str
    wav: bytes
    transcript: str


def examples(speaker: int, seed: int = 0) -> list[Example]:
    """Makes the first clip of each emotion of a speaker, and writes nothing."""
    firsts: dict[str, _Clip] = {}
    for clip in _clips(NUM_SPEAKERS):
        if clip.speaker == speaker:
            firsts.setdefault(clip.emotion, clip)
    voice = _draw_voice(seed, speaker)
    return [Example(clip.emotion, _recording(clip, voice, seed), _sentence(clip, seed)) for clip in firsts.values()]


def _make(source: Path, seed: int, num_speakers: int, with_video: bool = False) -> None:
    if with_video:
        import_opencv()  # If it is not installed, nothing is made.
    _claim(source, seed, num_speakers)
    clips = list(_clips(num_speakers))
    absent = [clip for clip in clips if not (source / clip.path).is_file()]
    if absent:
        voices = {speaker: _draw_voice(seed, speaker) for speaker in {clip.speaker for clip in absent}}
        with progress_bar(len(absent), "making the synthetic corpus", "clip") as progress:
            for clip in absent:
                _write(source / clip.path, _recording(clip, voices[clip.speaker], seed))
                progress.update()
    if not (source / _SENTENCES).is_file():
        _write(source / _SENTENCES, _sentence_table(clips, seed))
    if with_video:
        _make_videos(source, seed, clips)


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
        """Name of the file without its suffix."""
        code = RAVDESS.index(self.emotion) + 1
        return f"03-01-{code:02}-{self.intensity:02}-{self.statement:02}-01-{self.speaker:02}"

    @property
    def path(self) -> str:
        """The recording, from the folder of the corpus."""
        return f"Actor_{self.speaker:02}/{self.stem}.wav"

    @property
    def video_path(self) -> str:
        """The video, from the folder of the corpus."""
        return f"Actor_{self.speaker:02}/02{self.stem[2:]}.mp4"

    @property
    def group(self) -> str:
        """The prosody group, of which the recording is made."""
        return _GROUPS_AND_THEMES[self.emotion][0]

    @property
    def theme(self) -> str:
        """The theme, of which the sentence is made."""
        return _GROUPS_AND_THEMES[self.emotion][1]

    @property
    def expression(self) -> str:
        """The expression of the face, of which the video is made."""
        return _EXPRESSIONS[self.emotion]


def _clips(num_speakers: int) -> Iterator[_Clip]:
    # As in RAVDESS, neutral has no strong intensity.
    slots = [slot for slot in itertools.product(RAVDESS, (1, 2), (1, 2)) if slot[:2] != ("neutral", 2)]
    for speaker in range(1, num_speakers + 1):
        for number, (emotion, intensity, statement) in enumerate(slots, start=1):
            yield _Clip(speaker, number, emotion, intensity, statement)


def _make_videos(source: Path, seed: int, clips: list[_Clip]) -> None:
    absent = [clip for clip in clips if not (source / clip.video_path).is_file()]
    if not absent:
        return
    looks = {speaker: _draw_face(seed, speaker) for speaker in {clip.speaker for clip in absent}}
    with progress_bar(len(absent), "drawing the faces", "video") as progress:
        for clip in absent:
            rng = np.random.default_rng([seed, _VIDEO_STREAM, clip.speaker, clip.number])
            num_frames = max(1, round(_seconds(source / clip.path) * acting.FRAME_RATE))
            frames = acting.act(faces.EXPRESSIONS[clip.expression], looks[clip.speaker], num_frames, rng)
            acting.write_video(source / clip.video_path, frames)
            progress.update()


def _utterance(source: Path, clip: _Clip, transcript: str) -> Utterance:
    video = source / clip.video_path
    return Utterance(
        utterance_id=clip.stem,
        speaker=f"{clip.speaker:02}",
        emotion=clip.emotion,
        audio=source / clip.path,
        video=video if video.is_file() else None,
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
    writer.writerows((clip.stem, _sentence(clip, seed)) for clip in clips)
    return table.getvalue().encode()


def _recording(clip: _Clip, voice: speech.Voice, seed: int) -> bytes:
    """Speaks a clip as a wav file."""
    rng = np.random.default_rng([seed, _AUDIO_STREAM, clip.speaker, clip.number])
    return _wav(speech.speak(speech.GROUPS[clip.group], voice, rng))


def _sentence(clip: _Clip, seed: int) -> str:
    return draw_sentence(clip.theme, np.random.default_rng([seed, _TEXT_STREAM, clip.speaker, clip.number]))


def _draw_voice(seed: int, speaker: int) -> speech.Voice:
    return speech.draw_voice(_sex(speaker), np.random.default_rng([seed, _VOICE_STREAM, speaker]))


def _draw_face(seed: int, speaker: int) -> faces.Face:
    return faces.draw_face(_sex(speaker), np.random.default_rng([seed, _FACE_STREAM, speaker]))


def _seconds(path: Path) -> float:
    """Reads how long a clip is."""
    with wave.open(str(path), "rb") as file:
        return file.getnframes() / file.getframerate()


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
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path, is_shared=True) as temporary:
        temporary.write_bytes(content)
