"""How to build and train a model: frozen dataclasses, JSON in and out.

`branch_config` and `training_config` hold what belongs to the branches and to the course of a training.
"""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from emotion_tf.config.branch_config import (
    AUDIO_FEATURES,
    AUDIO_INPUTS,
    AUDIO_MODELS,
    MAX_POSITIONS,
    PRETRAINED,
    TEXT_MODELS,
    VIDEO_POOLINGS,
    AudioConfig,
    TextConfig,
    VideoConfig,
)
from emotion_tf.config.training_config import CLASS_WEIGHTS, TrainingConfig
from pipelines.command import InputError

__all__ = [
    "AUDIO_FEATURES",
    "AUDIO_INPUTS",
    "AUDIO_MODELS",
    "BRANCHES",
    "CLASS_WEIGHTS",
    "CONTROLS",
    "DEFAULT_JOIN",
    "FUSED",
    "JOIN_MEANINGS",
    "MAX_POSITIONS",
    "MODALITIES",
    "PRETRAINED",
    "TEXT_MODELS",
    "VIDEO_POOLINGS",
    "AudioConfig",
    "Config",
    "TextConfig",
    "TrainingConfig",
    "VideoConfig",
]

BRANCHES = ("audio", "text", "video", "fusion")

MODALITIES = ("audio", "text", "video")
"""In the order in which they are joined."""

FUSED = ("audio", "text")
"""What early fusion joins where no modalities are given."""

JOIN_MEANINGS = {
    "concat": "embeddings side by side",
    "gated": "projections weighted by a gate that reads all of them",
    "cross_attention": "steps of each attend to those of the others, then gated",
}
"""How early fusion joins branches, and what that means."""

DEFAULT_JOIN = "concat"

CONTROLS = ("shuffled-transcripts", "shuffled-audio", "shuffled-video", "permuted-labels")
"""What a score is compared with: what is left of it when one link is cut.

Transcripts, recordings or videos are shuffled among the utterances of a split, in training and scoring; labels are
permuted among the training utterances.
"""


@dataclasses.dataclass(frozen=True)
class Config:
    """Everything that decides what a run becomes; its config.json.

    Attributes:
      branch: One of `BRANCHES`.
      records: Folder of the records.
      folds, fold: Which utterances train, validate and test.
      num_folds: Of group-kfold.
      fold_seed: Of the folds that are drawn: holdout, group-kfold, random.
      seed: Of weights, order and masks, and of a control.
      control: One of `CONTROLS`, or empty.
      normalise: Which statistics bring audio features to one scale, one of `pipelines.normalisation.MODES`; late fusion
        asks its runs instead.
      fusion: "early" or "late" for the branch "fusion", else empty.
      init_audio, init_text, init_video: Runs whose trained branches early fusion, or that branch, starts from; empty:
        from scratch.
      runs: The runs that late fusion joins.
      rule: By which late fusion joins them, one of `emotion_tf.late_rules.RULES`; empty where nothing is fused
        late.
      label_maps: Names of the maps from labels of such runs to those of the records.
      modalities: Some of `MODALITIES`, in that order, that a model of this config reads; late fusion asks its runs
        instead. Empty: the branch, or `FUSED` for fusion.
      join: Of early fusion of several modalities, one of `JOIN_MEANINGS`, `DEFAULT_JOIN` where it is empty; else empty.

    Raises:
      InputError: Modalities or a join that cannot work.
    """

    branch: str
    records: str
    folds: str = "holdout"
    fold: int = 0
    num_folds: int = 5
    fold_seed: int = 0
    seed: int = 0
    control: str = ""
    fusion: str = ""
    init_audio: str = ""
    init_text: str = ""
    init_video: str = ""
    runs: tuple[str, ...] = ()
    rule: str = ""
    label_maps: tuple[str, ...] = ()
    modalities: tuple[str, ...] = ()
    join: str = ""
    normalise: str = "clip"
    audio: AudioConfig = dataclasses.field(default_factory=AudioConfig)
    text: TextConfig = dataclasses.field(default_factory=TextConfig)
    video: VideoConfig = dataclasses.field(default_factory=VideoConfig)
    training: TrainingConfig = dataclasses.field(default_factory=TrainingConfig)

    def __post_init__(self) -> None:
        chosen = self.modalities or (FUSED if self.branch == "fusion" else (self.branch,))
        if set(chosen) - set(MODALITIES) or len(set(chosen)) < len(chosen):
            given = "--modalities " + " ".join(chosen)
            raise InputError(f"{given} cannot work: give some of {', '.join(MODALITIES)}, each once.")
        if self.join not in ("", *JOIN_MEANINGS):
            raise InputError(f"--join {self.join} cannot work: give one of {', '.join(JOIN_MEANINGS)}.")
        # A frozen dataclass has no other way to fill a field in.
        object.__setattr__(self, "modalities", tuple(name for name in MODALITIES if name in chosen))
        is_joined = len(self.modalities) > 1 and not self.is_late
        object.__setattr__(self, "join", (self.join or DEFAULT_JOIN) if is_joined else "")

    @property
    def is_late(self) -> bool:
        """Whether the probabilities of trained runs are joined and no branch is trained."""
        return self.fusion == "late"

    @property
    def kept_epoch(self) -> str:
        """Which epoch's weights are kept: "score", "loss" or "last".

        A head on states learns in few epochs, and scores of few speakers jump more than it still learns.
        """
        is_head = self.modalities == ("audio",) and self.audio.features == ("encoder",)
        chosen = self.training.keep_epoch
        return ("loss" if is_head else "score") if chosen == "auto" else chosen

    @property
    def sources(self) -> tuple[str, ...]:
        """The runs that this one starts from or joins."""
        return (*self.inits.values(), *self.runs)

    @property
    def inits(self) -> dict[str, str]:
        """The runs whose branches this one starts from: modality -> run."""
        found = {"audio": self.init_audio, "text": self.init_text, "video": self.init_video}
        return {modality: source for modality, source in found.items() if source}

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
        parts = {"audio": AudioConfig, "text": TextConfig, "video": VideoConfig, "training": TrainingConfig}
        for name, kind in parts.items():
            values[name] = kind(**_tuples(values[name]))
        return cls(**_tuples(values))


def _tuples(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
