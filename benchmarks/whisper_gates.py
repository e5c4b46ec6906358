"""Measures the gates of whisper on speech, and on sounds in which nothing is said.

`python -m benchmarks.whisper_gates --source data/ravdess --models tiny.en base` transcribes clips of RAVDESS, as they
are and in noise; what is before and behind the words in them (room tone, breath); breaths, laughter and stuck syllables
made of them; and tones, hum, clicks and noise. Every other speaker is for choosing the limits, the rest reports on
them. Prints and writes results/whisper_gates.json beside this file: for each model and kind of sound the words without
gates, with the gate on no_speech_prob alone and with all of them, what whisper says of itself, and the seconds of the
processors; and how many utterances of MELD repeat themselves more than the gates allow.
"""

import argparse
import collections
import json
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.result_files import write_result
from pipelines import audio
from pipelines.audio.recording import LEVEL
from pipelines.audio.silence import TRIM_DB, block_energy_on_host, loud_span_on_host
from pipelines.command import InputError, run_command
from pipelines.corpora import meld, ravdess
from pipelines.transcripts.decoding import Decoding
from pipelines.transcripts.gates import Gates, Trial
from pipelines.transcripts.transcriber import Transcriber, WhisperSettings
from pipelines.transcripts.word_errors import word_error_rate, words
from pipelines.utterance import Utterance

SPEECH = ("speech", "speech in noise")
"""The kinds of sound that hold words."""

NOISE_SNR_DB = 10.0
_RATE = audio.SAMPLE_RATE
_PAUSE_SECONDS = 0.05
_SHORTEST_PAUSE_SECONDS = 0.3


class Sound(NamedTuple):
    """A sound to transcribe.

    Attributes:
      kind: Of speech, or what it is.
      speaker: Whose clip it was made of; empty where of none.
      script: What is said in it.
      waveform: [num_samples] int16 at 16 kHz, at the level of a recording.
    """

    kind: str
    speaker: str
    script: str
    waveform: np.ndarray


class Heard(NamedTuple):
    """What a model made of a sound, in how many seconds of the processors."""

    sound: Sound
    decoding: Decoding
    seconds: float


def main(argv: list[str] | None = None) -> None:
    """Transcribes, prints and writes what was heard."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--source", type=Path, default=Path("data/ravdess"))
    parser.add_argument("--meld", type=Path, default=Path("data/meld"))
    parser.add_argument("--models", nargs="+", default=["tiny.en", "base"], help="names or checkpoints")
    parser.add_argument("--clips", type=int, default=3, help="of each speaker, evenly taken (%(default)s)")
    parser.add_argument("--device", default="")
    arguments = parser.parse_args(argv)
    clips = clips_of_speakers(ravdess.read(arguments.source).utterances, arguments.clips)
    sounds = [*sounds_of(clips), *sounds_of_nobody()]
    sentences = [one.transcript for one in meld.read(arguments.meld).utterances]
    models = {}
    for model in arguments.models:
        transcriber = Transcriber(WhisperSettings(model, device=arguments.device))
        models[transcriber.name] = measure(hear(transcriber, sounds))
        print(json.dumps({transcriber.name: models[transcriber.name]}, indent=1), flush=True)
    result = {"source": arguments.source.name, "clips_a_speaker": arguments.clips, "gates": str(Gates())}
    write_result("whisper_gates", result | {"meld": repetitive(sentences), "models": models})


def repetitive(sentences: Sequence[str]) -> dict[str, int]:
    """Counts sentences that whisper's gates would drop as repetitive, by their text alone."""
    from whisper.utils import compression_ratio

    trials = [Trial(one, 0.0, 0.0, compression_ratio(one)) for one in sentences if one]
    return {
        "sentences": len(trials),
        "too_repetitive": sum(not Gates().accept(one) for one in trials),
        "too_repetitive_behind_repetition": sum(not Gates().accept(one, is_behind_repetition=True) for one in trials),
    }


def clips_of_speakers(utterances: Iterable[Utterance], number: int) -> Mapping[str, list[Utterance]]:
    """Takes so many clips of each speaker, evenly.

    Raises:
      InputError: There are none.
    """
    of_speaker = collections.defaultdict(list)
    for utterance in utterances:
        of_speaker[utterance.speaker].append(utterance)
    if not of_speaker:
        raise InputError("there are no recordings: name a folder of some with --source.")
    places = {speaker: np.linspace(0, len(found) - 1, number).astype(int) for speaker, found in of_speaker.items()}
    return {speaker: [of_speaker[speaker][place] for place in places[speaker]] for speaker in sorted(of_speaker)}


def sounds_of(clips: Mapping[str, Sequence[Utterance]]) -> Iterator[Sound]:
    """Makes the sounds of speakers: their clips, and of the first of each what holds no words."""
    rng = np.random.default_rng(0)
    for speaker, utterances in clips.items():
        waveforms = [audio.decode(one.audio) for one in utterances if one.audio]
        for utterance, waveform in zip(utterances, waveforms, strict=True):
            yield Sound("speech", speaker, utterance.transcript, waveform)
        first = audio.to_float(waveforms[0]).astype(np.float64)
        noisy = first + _noise(rng, len(first)) * np.sqrt(np.mean(first**2) * 10 ** (-NOISE_SNR_DB / 10))
        yield Sound("speech in noise", speaker, utterances[0].transcript, _levelled(noisy))
        yield from (Sound("room and breath", speaker, "", end) for end in _ends(waveforms[0]))
        yield Sound("made breath", speaker, "", _levelled(_breath(rng)))
        yield Sound("made laughter", speaker, "", _levelled(_laughter(first, rng)))
        yield Sound("stuck syllable", speaker, "", _levelled(np.tile(_loudest(first, 0.25), 20)))


def sounds_of_nobody() -> Iterator[Sound]:
    """Makes tones, hum, clicks and noise, two seconds each."""
    rng, clock = np.random.default_rng(1), np.arange(2 * _RATE) / _RATE
    made = {f"tone {hz}": np.sin(2 * np.pi * hz * clock) for hz in (220, 440, 1000)}
    made |= {
        f"hum {hz}": np.sum([np.sin(2 * np.pi * hz * n * clock) / n for n in (1, 2, 3)], axis=0) for hz in (50, 60)
    }
    for count in (1, 4, 16):
        clicks = 1e-3 * _noise(rng, len(clock))
        clicks[rng.integers(0, len(clock), count)] = 1
        made[f"clicks {count}"] = clicks
    made |= {f"noise {number}": _noise(rng, len(clock)) for number in range(3)}
    return (Sound("tone, hum, clicks, noise", "", "", _levelled(waveform)) for waveform in made.values())


def hear(transcriber: Transcriber, sounds: Sequence[Sound]) -> list[Heard]:
    """Transcribes sounds."""
    heard = []
    for sound in sounds:
        start = time.process_time()
        decoding = transcriber(sound.waveform).decoding
        if decoding is not None:
            heard.append(Heard(sound, decoding, time.process_time() - start))
    return heard


def measure(heard: Sequence[Heard]) -> dict[str, Any]:
    """Sums up what a model heard: of the speakers to choose on the limits that part both, of the rest all else."""
    speakers = sorted({one.sound.speaker for one in heard} - {""})
    choosing = set(speakers[::2])
    reported = [one for one in heard if one.sound.speaker not in choosing]
    kinds = dict.fromkeys(one.sound.kind for one in reported)
    return {
        "speakers_to_choose_on": sorted(choosing),
        "chosen_on": limits([one for one in heard if one.sound.speaker in choosing]),
        "reported_on": limits(reported),
        "kinds": {kind: of_kind([one for one in reported if one.sound.kind == kind]) for kind in kinds},
    }


def limits(heard: Sequence[Heard]) -> dict[str, Any]:
    """Says between which values the limits part speech from the rest, by the most probable words of first windows.

    Returns:
      The worst values of speech; the best score of all else that neither no_speech_prob nor repetition gives away;
      and the share of speech, in noise too, that was taken for the language it was decoded in.
    """
    first = [(one.sound.kind, one.decoding.windows[0].trials[0]) for one in heard]
    speech = [trial for kind, trial in first if kind == "speech"]
    bounds = Gates(lowest_score=-np.inf)
    rest = [trial.speech_score for kind, trial in first if kind not in SPEECH and bounds.accept(trial)]
    of_speech = [one.decoding for one in heard if one.sound.kind in SPEECH]
    return {
        "speech_lowest_score": round(min(trial.speech_score for trial in speech), 3),
        "speech_highest_no_speech": round(max(trial.no_speech_prob for trial in speech), 3),
        "speech_highest_compression_ratio": round(max(trial.compression_ratio for trial in speech), 2),
        "rest_highest_score": round(max(rest), 3) if rest else None,
        "share_of_speech_in_its_language": round(float(np.mean([one.detected == one.used for one in of_speech])), 3),
        "lowest_language_probability": min(
            (round(one.probability, 3) for one in of_speech if one.probability), default=None
        ),
    }


def of_kind(heard: Sequence[Heard]) -> dict[str, Any]:
    """Counts words of sounds of one kind by gates, and their seconds."""
    most_probable = [[window.trials[0] for window in one.decoding.windows] for one in heard]
    transcripts = {
        "none": [_text(trials, Gates(1.0, -np.inf, np.inf)) for trials in most_probable],
        "no_speech_prob": [
            _text(trials, Gates(lowest_score=-np.inf, highest_compression_ratio=np.inf)) for trials in most_probable
        ],
        "all": [one.decoding.transcript for one in heard],
    }
    found: dict[str, Any] = {"sounds": len(heard)}
    found["words"] = {gates: sum(len(words(one)) for one in texts) for gates, texts in transcripts.items()}
    found["sounds_with_words"] = {gates: sum(bool(words(one)) for one in texts) for gates, texts in transcripts.items()}
    if any(one.sound.script for one in heard):
        scripts = [one.sound.script for one in heard]
        errors = {gates: word_error_rate(scripts, texts) for gates, texts in transcripts.items()}
        found["word_errors"] = {gates: one.num_errors for gates, one in errors.items()}
        found["script_words"] = errors["all"].num_words
    seconds = [one.seconds for one in heard]
    return found | {"seconds_median": round(float(np.median(seconds)), 2), "seconds_longest": round(max(seconds), 2)}


def _text(trials: Sequence[Trial], gates: Gates) -> str:
    return " ".join(trial.text for trial in trials if gates.accept(trial))


def _ends(waveform: np.ndarray) -> Iterator[np.ndarray]:
    """Cuts off what is before and behind the words of a clip, each brought to the level of a recording."""
    energy = block_energy_on_host(waveform)
    first, end = loud_span_on_host(energy, TRIM_DB)
    length, pause = len(waveform) // len(energy), round(_PAUSE_SECONDS * _RATE)
    for part in (waveform[: max(0, first * length - pause)], waveform[end * length + pause :]):
        if len(part) >= _SHORTEST_PAUSE_SECONDS * _RATE and part.any():
            yield _levelled(part)


def _breath(rng: np.random.Generator) -> np.ndarray:
    """Makes noise about 1 to 2 kHz that swells and fades."""
    length = round(_RATE * rng.uniform(0.8, 1.5))
    hz = np.maximum(np.fft.rfftfreq(length, 1 / _RATE), 1)
    octaves = np.log2(hz / rng.uniform(900, 2000))
    return np.fft.irfft(np.fft.rfft(_noise(rng, length)) * np.exp(-0.5 * octaves**2), length) * np.hanning(length)


def _laughter(waveform: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Repeats the loudest vowel of a clip five times a second, softer each time, with breath in between."""
    vowel = _loudest(waveform, 0.12)
    vowel = vowel * np.minimum(1, 6 * np.hanning(len(vowel))) / np.abs(vowel).max()
    breath = 0.02 * _noise(rng, round(0.08 * _RATE))
    return np.concatenate([0.85**number * np.concatenate([vowel, breath]) for number in range(8)])


def _loudest(waveform: np.ndarray, seconds: float) -> np.ndarray:
    length = round(seconds * _RATE)
    start = max(0, int(np.abs(waveform).argmax()) - length // 2)
    return waveform[start : start + length]


def _noise(rng: np.random.Generator, length: int) -> np.ndarray:
    return rng.normal(size=length)


def _levelled(waveform: np.ndarray) -> np.ndarray:
    """Brings samples to the level of a recording that was read: int16."""
    return np.rint(waveform * (LEVEL * 32768 / np.abs(waveform).max())).astype(np.int16)


if __name__ == "__main__":
    sys.exit(run_command(main))
