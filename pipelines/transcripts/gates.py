"""Which of whisper's words are spoken and which are made up, by what whisper says of itself.

Neither number alone tells them apart: a phrase that whisper makes up for a breath is improbable or unlike speech, a
syllable that it repeats without end is probable and repetitive.
"""

import dataclasses
import math
from collections.abc import Iterable
from typing import NamedTuple


class Trial(NamedTuple):
    """What whisper hears in a window of up to 30 seconds at one temperature.

    Attributes:
      text: Empty or punctuation where there are no words.
      avg_logprob: Mean of the log-probabilities of its tokens, in nats.
      no_speech_prob: Probability that there is no speech in the window; no matter of the temperature.
      compression_ratio: Bytes of the text before and behind zlib.
      temperature: Of sampling; 0: the most probable token each time.
      advance: Seconds that are done with it; the next window begins behind them.
    """

    text: str
    avg_logprob: float
    no_speech_prob: float
    compression_ratio: float
    temperature: float = 0.0
    advance: float = 30.0

    @property
    def speech_score(self) -> float:
        """Log-probability that there is speech, plus that of a token, in nats."""
        return math.log(max(1 - self.no_speech_prob, 1e-9)) + self.avg_logprob


class Window(NamedTuple):
    """What was tried in a window.

    Attributes:
      trials: In their order; the last is the answer.
      is_accepted: Whether the words of the last count.
    """

    trials: tuple[Trial, ...]
    is_accepted: bool

    @property
    def trial(self) -> Trial:
        """The answer."""
        return self.trials[-1]


@dataclasses.dataclass(frozen=True)
class Gates:
    """Limits beyond which a trial holds no words.

    Attributes:
      highest_no_speech: Of `Trial.no_speech_prob`.
      lowest_score: Of `Trial.speech_score`.
      highest_compression_ratio: Of `Trial.compression_ratio`; a shout of joy repeats itself, too, but less.

    Source:
      The limit on no_speech_prob is whisper's own. `python -m benchmarks.whisper_gates` measures all three,
      the last on the words of MELD.
    """

    highest_no_speech: float = 0.6
    lowest_score: float = -1.25
    highest_compression_ratio: float = 2.0

    def accept(self, trial: Trial, *, is_behind_repetition: bool = False) -> bool:
        """Tells whether the words of a trial count; behind one that repeats itself they must repeat less."""
        highest = self.highest_compression_ratio
        if is_behind_repetition:
            highest = min(highest, usual_ratio(trial.text))
        return (
            self.is_speech_possible(trial)
            and trial.speech_score >= self.lowest_score
            and trial.compression_ratio <= highest
        )

    def is_speech_possible(self, trial: Trial) -> bool:
        """Tells whether another temperature could make it count."""
        most = math.log(max(1 - trial.no_speech_prob, 1e-9))
        return trial.no_speech_prob <= self.highest_no_speech and most >= self.lowest_score

    def judge(self, trials: Iterable[Trial]) -> "Window":
        """Tries until a trial counts, or none can.

        Args:
          trials: Of one window, one at least, the lowest temperature first; read no further than needed.
        """
        tried, has_repeated = [], False
        for trial in trials:
            tried.append(trial)
            if self.accept(trial, is_behind_repetition=has_repeated):
                return Window(tuple(tried), True)
            if not self.is_speech_possible(trial):
                break
            has_repeated |= trial.compression_ratio > self.highest_compression_ratio
        return Window(tuple(tried), False)

    def __str__(self) -> str:
        """Names the limits, for tables."""
        return (
            f"no_speech_prob <= {self.highest_no_speech:g}; ln(1 - no_speech_prob) + avg_logprob >="
            f" {self.lowest_score:g}; compression_ratio <= {self.highest_compression_ratio:g}, less behind repetition"
        )


def usual_ratio(text: str) -> float:
    """Says how far words of this length can be compressed at most, as a rule.

    A sample of a sound that repeats itself is otherwise taken as soon as it does so a little less: "see you, see, see".
    """
    return 1.3 + len(text) / 600
