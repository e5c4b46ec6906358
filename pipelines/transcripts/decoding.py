"""Decoding with whisper: windows of 30 seconds, each at higher temperatures where what was heard is no speech.

As `whisper.transcribe` does it, but each window is encoded once, no more tokens are sampled than its seconds can hold,
and samples are drawn with a seed. whisper and torch are imported where they are used.
"""

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from pipelines import audio
from pipelines.transcripts.gates import Gates, Trial, Window

TEMPERATURES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
"""The temperatures of whisper, tried in this order."""

SHORTEST_SECONDS = 0.1
"""What is shorter holds no word, and whisper would invent some."""

# Fast English has 7 tokens a second, and languages that spell a letter with several tokens have 20.
_TOKENS_PER_SECOND = {"en": 12}
_TOKENS_PER_SECOND_OF_OTHERS = 24
_SPARE_TOKENS = 16

_FRAMES_PER_SECOND = 100
_WINDOW_FRAMES = 30 * _FRAMES_PER_SECOND
# Two timestamps lie this far apart.
_TIMESTAMP_SECONDS = 0.02


@dataclasses.dataclass(frozen=True)
class Decoding:
    """What whisper hears in a recording.

    Attributes:
      windows: In their order.
      detected: Code of the language that the first window is most probably in.
      probability: Of that; None of models for English only, which cannot tell.
      used: Code of the language that was decoded.
    """

    windows: tuple[Window, ...]
    detected: str
    probability: float | None
    used: str

    @property
    def transcript(self) -> str:
        """The words that count, with one blank between them; punctuation alone is none."""
        texts = [window.trial.text for window in self.windows if window.is_accepted]
        return " ".join(" ".join(text for text in texts if any(map(str.isalnum, text))).split())


class Decoder:
    """A whisper model that decodes recordings under gates.

    Args:
      model: A `whisper.model.Whisper`.
      language: Code of the language to decode; None: that of the first window.
      gates: What counts as words.
    """

    def __init__(self, model: Any, language: str | None, gates: Gates):
        from whisper.tokenizer import get_tokenizer

        self._model, self._language, self._gates = model, language, gates
        self._tokenizer = get_tokenizer(model.is_multilingual, num_languages=model.num_languages)
        self._is_half = model.device.type == "cuda"

    def __call__(self, waveform: np.ndarray) -> Decoding:
        """Decodes a waveform [num_samples] int16 at 16 kHz; the same words each time.

        Source:
          Radford et al., Robust Speech Recognition via Large-Scale Weak Supervision, 2022, section 4.5.
        """
        with _seeded(waveform):
            return self._decode(*self._mel(waveform))

    def _decode(self, mel: Any, num_frames: int) -> Decoding:
        features = self._encode(mel, 0, num_frames)
        detected, probability = self._detect(features)
        used = self._language or detected
        start, windows = 0, list[Window]()
        while not windows or num_frames - start >= SHORTEST_SECONDS * _FRAMES_PER_SECOND:
            features = self._encode(mel, start, num_frames) if windows else features
            window = self._gates.judge(self._trials(features, num_frames - start, used))
            windows.append(window)
            # A window without words is done with as a whole.
            start += round(window.trial.advance * _FRAMES_PER_SECOND) if window.is_accepted else _WINDOW_FRAMES
        return Decoding(tuple(windows), detected, probability, used)

    def _mel(self, waveform: np.ndarray) -> tuple[Any, int]:
        """Computes log-mels [num_mels, num_frames + 3000], a window of silence behind those of the waveform."""
        import whisper

        samples = whisper.audio.N_SAMPLES
        mel = whisper.log_mel_spectrogram(audio.to_float(waveform), self._model.dims.n_mels, padding=samples)
        return mel, mel.shape[-1] - _WINDOW_FRAMES

    def _encode(self, mel: Any, start: int, end: int) -> Any:
        """Encodes a window: [1500, width]."""
        import torch
        import whisper

        window = whisper.pad_or_trim(mel[:, start : min(end, start + _WINDOW_FRAMES)], _WINDOW_FRAMES)
        dtype = torch.float16 if self._is_half else torch.float32
        return self._model.encoder(window[None].to(self._model.device, dtype))[0]

    def _detect(self, features: Any) -> tuple[str, float | None]:
        """Finds the most probable language of an encoded window, and its probability."""
        if not self._model.is_multilingual:
            return "en", None
        _, probabilities = self._model.detect_language(features)
        language = max(probabilities, key=probabilities.get)
        return language, probabilities[language]

    def _trials(self, features: Any, num_frames: int, language: str) -> Iterator[Trial]:
        """Decodes an encoded window, of which this many frames hold sound, at one temperature after the other."""
        import whisper

        seconds = min(num_frames, _WINDOW_FRAMES) / _FRAMES_PER_SECOND
        longest = min(self._model.dims.n_text_ctx // 2, token_limit(seconds, language))
        for temperature in TEMPERATURES:
            options = whisper.DecodingOptions(
                language=language, temperature=temperature, sample_len=longest, fp16=self._is_half
            )
            yield self._trial(self._model.decode(features, options), seconds)

    def _trial(self, result: Any, seconds: float) -> Trial:
        """Takes what whisper found in a window of this length."""
        end, advance = finished(result.tokens, self._tokenizer.timestamp_begin)
        text = self._tokenizer.decode([token for token in result.tokens[:end] if token < self._tokenizer.eot])
        return Trial(
            text.strip(),
            result.avg_logprob,
            result.no_speech_prob,
            result.compression_ratio,
            result.temperature,
            seconds if advance is None else max(advance, SHORTEST_SECONDS),
        )


@contextlib.contextmanager
def _seeded(waveform: np.ndarray) -> Iterator[None]:
    """Seeds what torch draws by the samples of a waveform, for as long as this lasts; and follows no gradients."""
    import torch

    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(int(audio.sha256(waveform)[:15], 16))
        yield


def token_limit(seconds: float, language: str) -> int:
    """Says how many tokens the words of so many seconds have at most."""
    return round(_SPARE_TOKENS + _TOKENS_PER_SECOND.get(language, _TOKENS_PER_SECOND_OF_OTHERS) * seconds)


def finished(tokens: Sequence[int], timestamp_begin: int) -> tuple[int, float | None]:
    """Finds where the segments of a window end; the next window begins there.

    Args:
      tokens: Words between timestamps, each of which ends a segment or begins one.
      timestamp_begin: The token of 0 s; greater ones are later by 0.02 s each.

    Returns:
      The number of tokens that count, and the seconds that they reach to; None: the whole window.

    Source:
      `whisper.transcribe`.
    """
    is_time = [token >= timestamp_begin for token in tokens]
    ends = [place for place in range(1, len(tokens)) if is_time[place - 1] and is_time[place]]
    # One timestamp at the end says that nothing is spoken behind it.
    if not ends or is_time[-2:] == [False, True]:
        return len(tokens), None
    return ends[-1], (tokens[ends[-1] - 1] - timestamp_begin) * _TIMESTAMP_SECONDS
