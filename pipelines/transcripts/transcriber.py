"""Transcribed words: openai-whisper on decoded recordings, gated against silence and against what it makes up.

Each recording is transcribed once.
whisper and torch are imported when there is a recording to transcribe, and not where the cache holds all of them.
"""

import argparse
import dataclasses
import functools
import hashlib
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pipelines import audio, whisper_models
from pipelines.clips import read_segment
from pipelines.command import InputError, progress_bar
from pipelines.parsers import Group, add_flag
from pipelines.transcripts.cache import TranscriptCache
from pipelines.transcripts.decoding import SHORTEST_SECONDS, Decoder, Decoding
from pipelines.transcripts.gates import Gates
from pipelines.transcripts.languages import Hearing, describe_languages, remark_on
from pipelines.utterance import Corpus, Utterance

SILENT_RMS_DB = -65.0
"""Recordings whose loudest second is softer (dB of full scale) are not handed to whisper."""

_GATES = f"rms of a second >= {SILENT_RMS_DB:g} dB; {SHORTEST_SECONDS:g} s or more; {Gates()}"
_COLUMNS = (
    "audio_sha256",
    "utterance_id",
    "device",
    "seconds",
    "used_language",
    "detected_language",
    "language_probability",
    "no_speech_prob",
    "avg_logprob",
    "compression_ratio",
    "temperature",
    "transcript",
)


def add_whisper_arguments(parser: Group) -> None:
    """Adds the flags of whisper; each is None where it is not given."""
    sentence = "Transcribe with this model: tiny, base, small.en, ..., downloaded at first use, or a checkpoint file."
    add_flag(parser, "--whisper-model", sentence, metavar="NAME", shown=WhisperSettings.model)
    sentence = "Run whisper on this device."
    add_flag(parser, "--device", sentence, choices=whisper_models.DEVICES, shown="cuda where there is one")
    sentence = "Transcribe this language, a code such as en; auto detects it in each clip."
    add_flag(parser, "--language", sentence, metavar="CODE", shown=WhisperSettings.language)


@dataclasses.dataclass(frozen=True)
class WhisperSettings:
    """Which whisper model transcribes, and where.

    Attributes:
      model: A name of whisper's own, or the path of a checkpoint.
      language: Code or English name of the language spoken; "auto" detects it in each recording.
      device: "cpu", "cuda", or empty: cuda where there is one.
    """

    model: str = "base"
    language: str = "en"
    device: str = ""

    @classmethod
    def of(cls, arguments: argparse.Namespace) -> "WhisperSettings":
        """Reads the flags of `add_whisper_arguments`."""
        defaults = cls()
        return cls(
            arguments.whisper_model or defaults.model,
            (arguments.language or defaults.language).lower(),
            arguments.device or defaults.device,
        )

    @property
    def name(self) -> str:
        """The model as tables name it: without the folder of a checkpoint."""
        return whisper_models.name_of(self.model)

    @functools.cached_property
    def identity(self) -> dict[str, str]:
        """What the words depend on beside the recording; the device is left out, for the words rarely do."""
        sha256 = whisper_models.checkpoint_sha256(self.model)
        return {"model": self.name, "model_sha256": sha256, "language": self.language, "gates": _GATES}


@dataclasses.dataclass(frozen=True)
class Transcription:
    """What was transcribed of one recording.

    Attributes:
      transcript: Empty where there are no words.
      seconds: Length of the recording.
      decoding: What whisper heard; None where a gate kept the recording from it.
    """

    transcript: str
    seconds: float
    decoding: Decoding | None = None

    @property
    def hearing(self) -> Hearing:
        """The language that was detected, that which was decoded, and whether there are words."""
        if self.decoding is None:
            return Hearing()
        found = self.decoding
        return Hearing(found.detected, found.probability, found.used, has_words=bool(self.transcript))


class Transcriber:
    """A loaded whisper model.

    Raises:
      InputError: whisper is not installed, there is no such model, language or device, or a file is no checkpoint.
    """

    def __init__(self, settings: WhisperSettings):
        self.name = settings.name
        whisper = whisper_models.import_whisper()
        self._language = _language(whisper, settings.language)
        self.device = whisper_models.device_of(settings.device)
        model = whisper_models.load(settings.model, self.device, "--whisper-model")
        if not model.is_multilingual and self._language not in (None, "en"):
            raise InputError(f"the whisper model {self.name} is for English only: leave --language out.")
        self._decode = Decoder(model, self._language, Gates())

    def __call__(self, waveform: np.ndarray, peak: float | None = None) -> Transcription:
        """Transcribes one recording; the same words each time.

        Args:
          waveform: [num_samples] int16 at 16 kHz, of any length.
          peak: Of the recording before it was brought to its level; None: that of the waveform.
        """
        seconds = len(waveform) / audio.SAMPLE_RATE
        if is_silent(waveform, peak):
            return Transcription("", seconds)
        decoding = self._decode(waveform)
        return Transcription(decoding.transcript, seconds, decoding)

    def remarks(self, found: Transcription) -> list[str]:
        """Says in sentences what a reader of a transcription should know."""
        return [f"transcribed by whisper {self.name}", *remark_on(found.hearing, is_auto=self._language is None)]


def transcribed(corpus: Corpus, settings: WhisperSettings, folder: Path) -> Corpus:
    """Puts transcribed words into a corpus, and tells their languages on stderr.

    Recordings that cannot be read get none; decoding names them later.

    Args:
      corpus: Of recordings.
      settings: Which whisper model transcribes.
      folder: Where the CSV of words is kept; a row is added as soon as a clip is transcribed.

    Raises:
      InputError: See `Transcriber` and `TranscriptCache`.
    """
    cache = TranscriptCache(folder / cache_name(settings.identity), settings.identity, _COLUMNS)
    hash_file = functools.lru_cache(maxsize=1)(whisper_models.file_sha256)  # Of the segments of one file.
    hashes = {one.utterance_id: _hash_of(one, hash_file) for one in corpus.utterances}
    absent = [one for one in corpus.utterances if cache.get(hashes[one.utterance_id]) is None]
    _transcribe(absent, hashes, cache, settings)
    hearings = [_hearing_of(cache.row(hashes[one.utterance_id])) for one in corpus.utterances]
    for sentence in describe_languages(hearings, is_auto=settings.language == "auto"):
        print(f"whisper {settings.name}: {sentence}", file=sys.stderr)
    return dataclasses.replace(
        corpus,
        utterances=tuple(
            dataclasses.replace(one, transcript=cache.get(hashes[one.utterance_id]) or "") for one in corpus.utterances
        ),
    )


def cache_name(identity: Mapping[str, str]) -> str:
    """Names the CSV of a model, gates and language; checkpoints of one name differ by the start of their hash."""
    gates = hashlib.sha256(identity["gates"].encode()).hexdigest()[:8]
    parts = ["whisper", identity["model"], identity["model_sha256"][:8], gates, identity["language"]]
    # What is neither a file nor a model's name is refused later; until then it must not name folders.
    return re.sub(r"[/\\]", "_", "-".join(filter(None, parts))) + ".csv"


def is_silent(waveform: np.ndarray, peak: float | None = None) -> bool:
    """Tells whether a waveform is too short or too soft to hold a word.

    Args:
      waveform: [num_samples] int16 at 16 kHz, at whatever level.
      peak: Of the recording itself, as a share of full scale; None: that of the waveform.
    """
    if len(waveform) < SHORTEST_SECONDS * audio.SAMPLE_RATE or not waveform.any():
        return True
    samples = waveform.astype(np.float64) / 32768
    highest = float(np.abs(samples).max())
    peak = highest if peak is None else peak
    return audio.is_silent(peak) or _loudest_rms(samples) * peak / highest < 10 ** (SILENT_RMS_DB / 20)


def _loudest_rms(samples: np.ndarray) -> float:
    """Finds the RMS of the loudest second, so that no long silence hides a word."""
    energy = np.concatenate([[0.0], np.cumsum(samples**2)])
    length = min(len(samples), audio.SAMPLE_RATE)
    return float(np.sqrt((energy[length:] - energy[:-length]).max() / length))


def _hash_of(utterance: Utterance, hash_file: Callable[[Path], str]) -> str:
    """Returns the hash of the recording and its segment, or nothing where there is none that could be read."""
    try:
        sha256 = hash_file(utterance.audio) if utterance.audio else ""
    except OSError:
        return ""
    return f"{sha256} {utterance.segment}" if utterance.segment else sha256


def _transcribe(
    utterances: list[Utterance], hashes: Mapping[str, str], cache: TranscriptCache, settings: WhisperSettings
) -> None:
    """Fills the cache for recordings that it does not hold; equal recordings are transcribed once."""
    pending: dict[str, Utterance] = {}
    for utterance in utterances:
        pending.setdefault(hashes[utterance.utterance_id], utterance)
    pending.pop("", None)
    if not pending:
        return
    # Loaded for the first recording that can be read: one that never can costs a later run nothing.
    transcriber = functools.cache(lambda: Transcriber(settings))
    with progress_bar(len(pending), f"transcribing with whisper {settings.name}", "clip") as progress:
        for sha256, utterance in pending.items():
            recording = _read(utterance)
            if recording is not None:
                found = transcriber()(recording.waveform, recording.peak)
                cache.add(_row(sha256, utterance, found, transcriber().device))
            progress.update()


def _read(utterance: Utterance) -> audio.Recording | None:
    try:
        return None if utterance.audio is None else read_segment(utterance.audio, utterance.segment)
    except InputError:
        return None


def _row(sha256: str, utterance: Utterance, found: Transcription, device: str) -> dict[str, str]:
    hearing = found.hearing
    trials = [window.trial for window in found.decoding.windows] if found.decoding else []
    return {
        "audio_sha256": sha256,
        "utterance_id": utterance.utterance_id,
        "device": device,
        "seconds": f"{found.seconds:.3f}",
        "used_language": hearing.used,
        "detected_language": hearing.detected,
        "language_probability": "" if hearing.probability is None else f"{hearing.probability:.4f}",
        # Of several windows the worst.
        "no_speech_prob": f"{max(one.no_speech_prob for one in trials):.4f}" if trials else "",
        "avg_logprob": f"{min(one.avg_logprob for one in trials):.4f}" if trials else "",
        "compression_ratio": f"{max(one.compression_ratio for one in trials):.4f}" if trials else "",
        "temperature": f"{max(one.temperature for one in trials):g}" if trials else "",
        "transcript": found.transcript,
    }


def _hearing_of(row: Mapping[str, str]) -> Hearing:
    """Reads the languages of a row of the cache; an empty row has none."""
    probability = row.get("language_probability")
    return Hearing(
        row.get("detected_language", ""),
        float(probability) if probability else None,
        row.get("used_language", ""),
        has_words=bool(row.get("transcript")),
    )


def _language(whisper: Any, language: str) -> str | None:
    """Returns the code of a language, or None for detection."""
    if language == "auto":
        return None
    known = whisper.tokenizer.LANGUAGES
    code = whisper.tokenizer.TO_LANGUAGE_CODE.get(language, language)
    if code not in known:
        raise InputError(f"whisper has no language {language!r}: give auto or one of {', '.join(sorted(known))}.")
    return code
