"""Transcribed words: openai-whisper on decoded recordings, gated against silence, each recording transcribed once.

whisper and torch are imported when there is a recording to transcribe, and not where the cache holds all of them.
"""

import argparse
import dataclasses
import functools
import re
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pipelines import audio, whisper_models
from pipelines.clips import read_segment
from pipelines.command import InputError, progress_bar
from pipelines.parsers import Group, add_flag
from pipelines.transcripts.cache import TranscriptCache
from pipelines.utterance import Corpus, Utterance

SILENT_RMS_DB = -65.0
"""Softer recordings (dB of full scale) are not handed to whisper; the softest of 1,200 clips of RAVDESS reads -60."""

SHORTEST_SECONDS = 0.1
"""Shorter recordings hold no word, and whisper would invent some."""

NO_SPEECH = 0.6
"""Segments that whisper takes for no speech with a higher probability are dropped, whatever that of their words."""

_GATES = f"rms >= {SILENT_RMS_DB:g} dB; {SHORTEST_SECONDS:g} s or more; no_speech_prob <= {NO_SPEECH:g}"
_COLUMNS = ("audio_sha256", "utterance_id", "device", "seconds", "no_speech_prob", "transcript")


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
      no_speech_prob: The highest of its segments; None where a gate kept the recording from whisper.
    """

    transcript: str
    seconds: float
    no_speech_prob: float | None = None


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
        self._model = whisper_models.load(settings.model, self.device, "--whisper-model")
        if not self._model.is_multilingual and self._language not in (None, "en"):
            raise InputError(f"the whisper model {self.name} is for English only: leave --language out.")

    def __call__(self, waveform: np.ndarray, peak: float | None = None) -> Transcription:
        """Transcribes one recording; the same words each time.

        Args:
          waveform: [num_samples] int16 at 16 kHz, of any length.
          peak: Of the recording before it was brought to its level; None: that of the waveform.

        Source:
          Radford et al., Robust Speech Recognition via Large-Scale Weak Supervision, 2022, section 4.5, without its
          fallback to sampling.
        """
        import whisper

        seconds = len(waveform) / audio.SAMPLE_RATE
        if is_silent(waveform, peak):
            return Transcription("", seconds)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Performing inference on CPU when CUDA is available")
            result = whisper.transcribe(
                self._model,
                audio.to_float(waveform),
                temperature=0.0,
                condition_on_previous_text=False,
                # The segments are gated below, so that their probabilities are known.
                no_speech_threshold=None,
                language=self._language,
                fp16=self.device == "cuda",
            )
        segments = result["segments"]
        spoken = "".join(segment["text"] for segment in segments if segment["no_speech_prob"] <= NO_SPEECH)
        return Transcription(
            " ".join(spoken.split()), seconds, max((segment["no_speech_prob"] for segment in segments), default=0.0)
        )


def transcribed(corpus: Corpus, settings: WhisperSettings, folder: Path) -> Corpus:
    """Puts transcribed words into a corpus.

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
    return dataclasses.replace(
        corpus,
        utterances=tuple(
            dataclasses.replace(one, transcript=cache.get(hashes[one.utterance_id]) or "") for one in corpus.utterances
        ),
    )


def cache_name(identity: Mapping[str, str]) -> str:
    """Names the CSV of a model and language; checkpoints of one name differ by the start of their hash."""
    parts = ["whisper", identity["model"], identity["model_sha256"][:8], identity["language"]]
    # What is neither a file nor a model's name is refused later; until then it must not name folders.
    return re.sub(r"[/\\]", "_", "-".join(filter(None, parts))) + ".csv"


def is_silent(waveform: np.ndarray, peak: float | None = None) -> bool:
    """Tells whether a waveform [num_samples] int16 of this peak is too short or too soft to hold a word."""
    if len(waveform) < SHORTEST_SECONDS * audio.SAMPLE_RATE:
        return True
    samples = waveform.astype(np.float64) / 32768
    if peak is not None and samples.any():
        samples *= peak / np.abs(samples).max()
    rms = np.sqrt(np.mean(samples**2))
    return bool(np.abs(samples).max() <= audio.SILENT_PEAK / 32768 or rms < 10 ** (SILENT_RMS_DB / 20))


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
    no_speech = "" if found.no_speech_prob is None else f"{found.no_speech_prob:.4f}"
    return {
        "audio_sha256": sha256,
        "utterance_id": utterance.utterance_id,
        "device": device,
        "seconds": f"{found.seconds:.3f}",
        "no_speech_prob": no_speech,
        "transcript": found.transcript,
    }


def _language(whisper: Any, language: str) -> str | None:
    """Returns the code of a language, or None for detection."""
    if language == "auto":
        return None
    known = whisper.tokenizer.LANGUAGES
    code = whisper.tokenizer.TO_LANGUAGE_CODE.get(language, language)
    if code not in known:
        raise InputError(f"whisper has no language {language!r}: give auto or one of {', '.join(sorted(known))}.")
    return code
