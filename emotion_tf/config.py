"""How to build and train a model: frozen dataclasses, JSON in and out."""

import dataclasses
import json
import math
from collections.abc import Mapping
from typing import Any

from pipelines.command import InputError

BRANCHES = ("audio", "text", "fusion")


@dataclasses.dataclass(frozen=True)
class AudioConfig:
    """The residual CNN on log-mels.

    Attributes:
      channels: Of each residual stage; every stage but the first halves time and frequency.
      attention_dim: Width of the hidden layer of attention pooling.
      embedding_dim: Width of the branch's output.
      dropout: Share of the embedding dropped in training.
    """

    channels: tuple[int, ...] = (32, 64, 128, 160)
    attention_dim: int = 128
    embedding_dim: int = 128
    dropout: float = 0.4


@dataclasses.dataclass(frozen=True)
class TextConfig:
    """The stacked bidirectional GRU on WordPiece ids.

    Attributes:
      word_dim: Width of a piece's embedding.
      gru_units: Units of each layer, one direction.
      attention_dim: Width of the hidden layer of attention pooling.
      embedding_dim: Width of the branch's output.
      dropout: Share of pieces' embeddings, states and the branch's output dropped in training.
    """

    word_dim: int = 128
    gru_units: tuple[int, ...] = (96, 96)
    attention_dim: int = 128
    embedding_dim: int = 128
    dropout: float = 0.4


@dataclasses.dataclass(frozen=True)
class TrainingConfig:
    """The course of one training.

    Attributes:
      epochs: At most; the cosine ends there.
      batch_size: Utterances a step.
      learning_rate: At its highest, after the warm-up.
      warm_up_epochs: Epochs over which the rate rises from near 0.
      weight_decay: Of AdamW.
      label_smoothing: Share of the target given to all emotions alike.
      ema_share: The moving average of the weights, which is what is kept, looks back over this share of all steps; 0:
        no average.
      patience: Epochs without a better validation UAR before training stops; 0: never.
      num_frames: Frames that training clips are cropped or padded to.
      max_tokens: Token ids kept of a transcript.
      mel_shift: Bands that training clips are shifted by at most.
      mel_mask, num_mel_masks: SpecAugment, widest mask over bands and how many.
      frame_mask, num_frame_masks: SpecAugment, widest mask over frames and how many.
      mixup: Share of another clip mixed in at most, audio only; 0: none.
      confusion_every: Epochs between confusion matrices of the validation part; 0: none.
    """

    epochs: int = 60
    batch_size: int = 32
    learning_rate: float = 2e-3
    warm_up_epochs: int = 3
    weight_decay: float = 1e-2
    label_smoothing: float = 0.1
    ema_share: float = 0.05
    patience: int = 0
    num_frames: int = 256
    max_tokens: int = 64
    mel_shift: int = 3
    mel_mask: int = 10
    num_mel_masks: int = 2
    frame_mask: int = 25
    num_frame_masks: int = 2
    mixup: float = 0.4
    confusion_every: int = 10

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "num_frames", "max_tokens"):
            _require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        for name in ("warm_up_epochs", "weight_decay", "patience", "mel_shift", "confusion_every"):
            _require(0 <= getattr(self, name) < math.inf, name, getattr(self, name), "at least 0")
        for name in ("mel_mask", "num_mel_masks", "frame_mask", "num_frame_masks"):
            _require(getattr(self, name) >= 0, name, getattr(self, name), "at least 0")
        for name in ("label_smoothing", "ema_share", "mixup"):
            _require(0 <= getattr(self, name) < 1, name, getattr(self, name), "from 0 to below 1")
        _require(0 < self.learning_rate < math.inf, "learning_rate", self.learning_rate, "above 0")


def _require(holds: bool, name: str, value: float, wanted: str) -> None:
    if not holds:
        raise InputError(f"--{name.replace('_', '-')} {value} cannot work: give a number {wanted}.")


@dataclasses.dataclass(frozen=True)
class Config:
    """Everything that decides what a run becomes; its config.json.

    Attributes:
      branch: "audio", "text" or "fusion".
      records: Folder of the records.
      folds, fold: Which speakers train, validate and test.
      seed: Of folds, weights, order and masks.
      fusion: "early" or "late" for the branch "fusion", else empty.
      init_audio, init_text: Runs whose trained branches early fusion starts from; empty: from scratch.
      runs: The runs that late fusion averages.
    """

    branch: str
    records: str
    folds: str = "holdout"
    fold: int = 0
    seed: int = 0
    fusion: str = ""
    init_audio: str = ""
    init_text: str = ""
    runs: tuple[str, ...] = ()
    audio: AudioConfig = AudioConfig()
    text: TextConfig = TextConfig()
    training: TrainingConfig = TrainingConfig()

    @property
    def is_late(self) -> bool:
        """Whether trained runs are averaged and nothing is trained."""
        return self.fusion == "late"

    @property
    def sources(self) -> tuple[str, ...]:
        """The runs that this one starts from or averages."""
        return tuple(source for source in (self.init_audio, self.init_text, *self.runs) if source)

    @property
    def modalities(self) -> tuple[str, ...]:
        """What a model of this config listens to; late fusion asks its runs instead."""
        return ("audio", "text") if self.branch == "fusion" else (self.branch,)

    def to_json(self) -> str:
        """Writes the config as JSON."""
        return json.dumps(dataclasses.asdict(self), indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "Config":
        """Reads what `to_json` wrote.

        Raises:
          ValueError, TypeError, KeyError: Text that is no such JSON.
        """
        values = json.loads(text)
        for name, part in (("audio", AudioConfig), ("text", TextConfig), ("training", TrainingConfig)):
            values[name] = part(**_tuples(values[name]))
        return cls(**_tuples(values))


def _tuples(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
