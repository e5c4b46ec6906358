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

The clips come from a source-filter model (Fant 1960): a glottal pulse train and aspiration noise through moving
formants, in syllables. The prosody groups differ in what remains after each band of a log-mel loses its mean and the
clip its scale: pitch range and contour, syllable rate, pauses, stress and tremor; and also in pitch level, loudness and
spectral tilt.

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
from pipelines.emotions import RAVDESS
from pipelines.utterance import Corpus, Utterance

SAMPLE_RATE = 16000
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
                _write(source / clip.path, _wav(_speak(_GROUPS[clip.group], voices[clip.speaker], rng)))
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
        writer.writerow((clip.stem, _draw_sentence(clip.theme, rng)))
    return table.getvalue().encode()


def _wav(waveform: np.ndarray) -> bytes:
    """Packs a waveform [num_samples] in [-1, 1) as a mono 16-bit wav file."""
    samples = np.clip(np.round(waveform * 32768), -32768, 32767).astype("<i2")
    packed = io.BytesIO()
    with wave.open(packed, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
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


# A theme is a row of templates, a template a row of slots, a slot a row of choices.
_PEOPLE = ("my sister", "my brother", "our neighbour", "the teacher", "an old friend", "my aunt", "the new cook")
_PLACES = ("in the garden", "at the station", "in the kitchen", "at the office", "near the harbour", "on the stairs")
_TIMES = ("today", "this morning", "last night", "after lunch", "on Sunday", "before the lesson", "in the evening")

_PLEASANT_DEEDS = (
    "brought me fresh flowers",
    "sang a lovely song",
    "shared some sweet apples",
    "thanked us with a smile",
    "told the children a funny story",
    "gave me a warm hug",
)
_PLEASANT_TIMES = ("danced", "laughed", "played with the puppies", "enjoyed the sunshine", "celebrated")
_PLEASANT_THINGS = ("kind words", "beautiful music", "good company", "gift", "delicious soup")

_LOSSES = (
    "broke my favourite cup",
    "threw away the old letters",
    "spoiled the clean carpet",
    "left without saying goodbye",
    "lost the only photo of my grandfather",
    "forgot about the sick dog",
)
_LOST = ("missed the funeral", "wasted all the food", "lost the house", "argued about the debt", "buried the bird")
_LOST_THINGS = ("stolen ring", "dirty dishes", "cruel remark", "broken promise", "ruined coat")

_EVENTS = (
    "heard a knock at the door",
    "saw a light behind the window",
    "opened a sealed envelope",
    "noticed footsteps outside",
    "found a key under the mat",
    "answered the phone and nobody spoke",
)
_EVENT_SIGHTS = ("saw a stranger", "waited for the lift", "watched the clouds", "followed the signs", "met a crowd")
_EVENT_THINGS = ("parcel", "sudden announcement", "unknown visitor", "noise from upstairs", "message on the screen")

_THEMES = {
    "pleasant": (
        (_PEOPLE, _PLEASANT_DEEDS, _PLACES, _TIMES),
        (("we", "they", "you and I"), _PLEASANT_TIMES, ("with",), _PEOPLE, _TIMES),
        (("I remember", "we talked about", "nobody expected"), ("the",), _PLEASANT_THINGS, ("from",), _PEOPLE, _PLACES),
    ),
    "loss": (
        (_PEOPLE, _LOSSES, _PLACES, _TIMES),
        (("we", "they", "you and I"), _LOST, ("with",), _PEOPLE, _TIMES),
        (("I remember", "we talked about", "nobody expected"), ("the",), _LOST_THINGS, ("from",), _PEOPLE, _PLACES),
    ),
    "event": (
        (_PEOPLE, _EVENTS, _PLACES, _TIMES),
        (("we", "they", "you and I"), _EVENT_SIGHTS, ("with",), _PEOPLE, _TIMES),
        (("I remember", "we talked about", "nobody expected"), ("the",), _EVENT_THINGS, ("from",), _PEOPLE, _PLACES),
    ),
}


def _draw_sentence(theme: str, rng: np.random.Generator) -> str:
    """Draws a sentence of a theme."""
    templates = _THEMES[theme]
    template = templates[rng.integers(len(templates))]
    words = " ".join(slot[rng.integers(len(slot))] for slot in template)
    return words[0].upper() + words[1:] + "."


@dataclasses.dataclass(frozen=True)
class _Voice:
    """What a speaker keeps in all clips.

    Attributes:
      f0_hz: Pitch at rest.
      formant_scale: [num_formants] against the vowel table; a shorter vocal tract has higher formants.
      level_db: Loudness against the other speakers.
      rate_scale: Habitual syllable rate against the other speakers.
      tilt_db: Habitual spectral tilt, per octave.
    """

    f0_hz: float
    formant_scale: np.ndarray
    level_db: float
    rate_scale: float
    tilt_db: float


def _draw_voice(seed: int, speaker: int) -> _Voice:
    rng = np.random.default_rng([seed, _VOICE_STREAM, speaker])
    lowest_hz, highest_hz, tract = (90.0, 140.0, 1.0) if _sex(speaker) == "male" else (165.0, 235.0, 1.16)
    return _Voice(
        f0_hz=rng.uniform(lowest_hz, highest_hz),
        formant_scale=tract * rng.uniform(0.94, 1.06) * rng.uniform(0.96, 1.04, len(_BANDWIDTHS_HZ)),
        level_db=rng.uniform(-4.0, 4.0),
        rate_scale=rng.uniform(0.9, 1.1),
        tilt_db=rng.uniform(-1.5, 1.5),
    )


@dataclasses.dataclass(frozen=True)
class _Prosody:
    """How a clip is said.

    Attributes:
      pitch: Above the voice's pitch at rest, semitones.
      accent: Rise of the pitch on a fully stressed syllable, semitones.
      slope: Of the pitch over the clip, semitones per second.
      tremor: Amplitude of a quick wobble of the pitch, semitones.
      level_db: Loudness.
      stress_db: Loudness of a fully stressed syllable above an unstressed one.
      tilt_db: Spectral tilt per octave; loud speech has less of it.
      rate: Syllables and pauses per second.
      pause: Probability of a pause after a syllable.
    """

    pitch: float
    accent: float
    slope: float
    tremor: float
    level_db: float
    stress_db: float
    tilt_db: float
    rate: float
    pause: float


_GROUPS = {
    "low": _Prosody(-2.0, 1.5, -2.0, 0.1, -5.0, 3.0, -4.0, 3.0, 0.35),
    "mid": _Prosody(0.5, 4.0, 0.0, 0.8, -1.0, 6.0, -2.0, 4.4, 0.18),
    "high": _Prosody(3.0, 8.0, 4.0, 0.2, 4.0, 12.0, 0.0, 6.0, 0.03),
}
# Standard deviations inside a group, so that neighbouring groups overlap in every single cue.
_SPREAD = _Prosody(1.0, 1.0, 1.2, 0.1, 1.5, 1.5, 0.8, 0.35, 0.0)


def _draw_prosody(group: _Prosody, rng: np.random.Generator) -> _Prosody:
    means, deviations = np.array(dataclasses.astuple(group)), np.array(dataclasses.astuple(_SPREAD))
    return _Prosody(*means + deviations * np.clip(rng.standard_normal(len(means)), -2.0, 2.0))


@dataclasses.dataclass(frozen=True)
class _Syllables:
    """The syllables of a clip, each array [num_syllables].

    Attributes:
      start: Seconds from the start of the clip.
      seconds: Duration without the pause that may follow.
      stress: From 0 to 1.
      onset: Row of `_ONSETS`.
      locus_hz: Second formant during the onset.
      vowel: Row of `_VOWELS_HZ`.
      clip_seconds: Duration of the whole clip, silent ends included; one number.
    """

    start: np.ndarray
    seconds: np.ndarray
    stress: np.ndarray
    onset: np.ndarray
    locus_hz: np.ndarray
    vowel: np.ndarray
    clip_seconds: float


def _draw_syllables(prosody: _Prosody, rate_scale: float, rng: np.random.Generator) -> _Syllables:
    lead, speech, tail = rng.uniform(0.1, 0.2), rng.uniform(1.0, 1.75), rng.uniform(0.1, 0.2)
    num_syllables = max(3, round(speech * prosody.rate * rate_scale))
    stress = rng.uniform(0.0, 1.0, num_syllables)
    shares = (0.8 + 0.4 * stress) * rng.uniform(0.85, 1.15, num_syllables)
    shares[-1] *= 1.3  # final lengthening
    pauses = (rng.random(num_syllables) < prosody.pause) * rng.uniform(0.5, 1.0, num_syllables)
    pauses[-1] = 0.0
    second = speech / (shares + pauses).sum()
    return _Syllables(
        start=lead + second * (np.cumsum(shares + pauses) - shares - pauses),
        seconds=second * shares,
        stress=stress,
        onset=rng.integers(len(_ONSETS), size=num_syllables),
        locus_hz=rng.uniform(900.0, 2000.0, num_syllables),
        vowel=rng.integers(len(_VOWELS_HZ), size=num_syllables),
        clip_seconds=lead + speech + tail,
    )


_HOP = 128  # samples in a frame; a track holds one number a frame
_WINDOW = np.hanning(3 * _HOP + 1)[:-1] / 1.5  # three overlapping windows sum to one
_FFT = 4 * _HOP
_FREQUENCIES_HZ = np.fft.rfftfreq(_FFT, 1.0 / SAMPLE_RATE)

# Men's means of Peterson & Barney (1952), Table II, without the rhotic vowel; above them, those of a neutral tract.
_VOWELS_HZ = np.array(
    [
        (270.0, 2290.0, 3010.0, 3500.0, 4500.0),
        (390.0, 1990.0, 2550.0, 3500.0, 4500.0),
        (530.0, 1840.0, 2480.0, 3500.0, 4500.0),
        (660.0, 1720.0, 2410.0, 3500.0, 4500.0),
        (730.0, 1090.0, 2440.0, 3500.0, 4500.0),
        (570.0, 840.0, 2410.0, 3500.0, 4500.0),
        (440.0, 1020.0, 2240.0, 3500.0, 4500.0),
        (300.0, 870.0, 2240.0, 3500.0, 4500.0),
        (640.0, 1190.0, 2390.0, 3500.0, 4500.0),
    ]
)
_BANDWIDTHS_HZ = np.array((70.0, 90.0, 130.0, 200.0, 280.0))

_ONSET_SHARE = 0.3  # of a syllable
_ONSETS = np.array([(0.02, 0.0), (0.05, 1.0), (0.4, 0.0)])
"""Loudness of voice and of friction in stops, fricatives and sonorants (nasals and glides)."""


def _speak(group: _Prosody, voice: _Voice, rng: np.random.Generator) -> np.ndarray:
    """Makes one clip.

    Args:
      group: Means of the prosody.
      voice: Who speaks.
      rng: Of everything that differs between two clips of one group and speaker.

    Returns:
      Waveform [num_samples] in [-1, 1).
    """
    prosody = _draw_prosody(group, rng)
    syllables = _draw_syllables(prosody, voice.rate_scale, rng)
    times = np.arange(0.5, syllables.clip_seconds * SAMPLE_RATE / _HOP) * _HOP / SAMPLE_RATE
    now = np.maximum(np.searchsorted(syllables.start, times, side="right") - 1, 0)
    inside = (times - syllables.start[now]) / syllables.seconds[now]  # 0 to 1 within a syllable, above in a pause

    tremor = prosody.tremor * np.sin(2.0 * np.pi * (rng.uniform(5.5, 7.5) * times + rng.random()))
    loudness, friction = _loudness(syllables, now, inside, prosody.stress_db, tremor)
    source = _source(_f0_hz(syllables, times, prosody, voice, tremor), loudness, rng)
    tilt_db = prosody.tilt_db + voice.tilt_db + syllables.stress[now]
    speech = _filter(source, _formants_hz(syllables, now, inside) * voice.formant_scale, tilt_db)
    speech /= np.sqrt(np.mean(np.square(speech)))
    hiss = np.diff(rng.standard_normal(len(speech) + 1)) * _upsampled(friction)
    level = 0.03 * 10.0 ** ((prosody.level_db + voice.level_db) / 20.0)
    return level * (speech + hiss) + 1e-4 * rng.standard_normal(len(speech))


def _f0_hz(
    syllables: _Syllables, times: np.ndarray, prosody: _Prosody, voice: _Voice, tremor: np.ndarray
) -> np.ndarray:
    """Draws the pitch over the clip: a line, a bump on every stressed syllable, and the tremor."""
    middles = syllables.start + 0.5 * syllables.seconds
    distance = (times[:, None] - middles) / (0.6 * syllables.seconds)  # [num_frames, num_syllables]
    bumps = (syllables.stress * np.exp(-np.square(distance))).sum(axis=1)
    line = prosody.pitch + prosody.slope * (times - times.mean())
    return voice.f0_hz * 2.0 ** ((line + prosody.accent * bumps + tremor) / 12.0)


def _loudness(
    syllables: _Syllables, now: np.ndarray, inside: np.ndarray, stress_db: float, tremor: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Shapes the loudness of the voice and of the friction over the clip."""
    is_onset = (inside >= 0.0) & (inside < _ONSET_SHARE)
    vowel = np.clip((inside - _ONSET_SHARE) / (1.0 - _ONSET_SHARE), 0.0, 1.0)  # 0 to 1 within the vowel
    stress = 10.0 ** ((stress_db * (syllables.stress[now] - 0.5) + 5.0 * tremor) / 20.0)
    onset_voice, onset_friction = _ONSETS[syllables.onset[now]].T
    voice = stress * np.where(is_onset, onset_voice, np.sin(np.pi * vowel) ** 0.5)
    is_burst = (onset_voice < 0.03) & (np.abs(inside - _ONSET_SHARE) < 0.05)
    friction = 0.18 * stress * np.where(is_burst, 0.6, is_onset * onset_friction)
    return _smooth(voice, 5), _smooth(friction, 3)


def _formants_hz(syllables: _Syllables, now: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Moves the formants [num_frames, num_formants] from the locus of each onset to its vowel."""
    targets = _VOWELS_HZ[syllables.vowel[now]]
    is_onset = inside < _ONSET_SHARE
    targets[is_onset, 0] = 280.0
    targets[is_onset, 1] = syllables.locus_hz[now][is_onset]
    return np.stack([_smooth(track, 9) for track in targets.T], axis=1)


def _source(f0_hz: np.ndarray, loudness: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Makes the excitation [num_samples]: the flow of the glottis, differentiated, and aspiration noise.

    Source:
      Rosenberg (1971), Effect of glottal pulse shape on the quality of natural vowels, pulse C.
    """
    jitter = 1.0 + 0.01 * _smooth(rng.standard_normal(len(f0_hz)), 3)
    phase = np.cumsum(_upsampled(f0_hz * jitter)) / SAMPLE_RATE % 1.0
    opening = 0.5 - 0.5 * np.cos(np.pi * phase / 0.4)
    closing = np.cos(0.5 * np.pi * (phase - 0.4) / 0.2)
    flow = np.where(phase < 0.4, opening, np.where(phase < 0.6, closing, 0.0))
    aspiration = 0.01 * rng.standard_normal(len(flow))
    return _upsampled(loudness) * (np.diff(flow, prepend=0.0) + aspiration)


def _filter(source: np.ndarray, formants_hz: np.ndarray, tilt_db: np.ndarray) -> np.ndarray:
    """Sends a source through moving formants by overlap-add.

    Args:
      source: [num_frames * _HOP].
      formants_hz: [num_frames, num_formants].
      tilt_db: [num_frames], per octave above 300 Hz.

    Returns:
      Waveform [num_frames * _HOP].
    """
    response = np.exp2(tilt_db[:, None] / 6.02 * np.log2(np.maximum(_FREQUENCIES_HZ, 300.0) / 300.0))
    for track, bandwidth_hz in zip(formants_hz.T[:, :, None], _BANDWIDTHS_HZ, strict=True):
        stiffness = np.square(track)
        response = response * stiffness / (stiffness - np.square(_FREQUENCIES_HZ) + 1j * bandwidth_hz * _FREQUENCIES_HZ)
    padded = np.pad(source, (_HOP, _HOP))
    pieces = np.lib.stride_tricks.sliding_window_view(padded, len(_WINDOW))[::_HOP] * _WINDOW
    filtered = np.fft.irfft(np.fft.rfft(pieces, _FFT) * response, _FFT).reshape(len(response), -1, _HOP)
    output = np.zeros((len(response) + 4, _HOP))
    for part in range(4):
        output[part : part + len(response)] += filtered[:, part]
    return output[1 : len(response) + 1].ravel()


def _smooth(track: np.ndarray, num_frames: int) -> np.ndarray:
    """Smooths a track by a Hann window."""
    window = np.hanning(num_frames + 2)[1:-1]
    return np.convolve(np.pad(track, num_frames // 2, mode="edge"), window / window.sum(), mode="valid")


def _upsampled(track: np.ndarray) -> np.ndarray:
    """Interpolates a track to samples."""
    samples = np.arange(len(track) * _HOP)
    return np.interp(samples, _HOP * (np.arange(len(track)) + 0.5), track)
