"""How to build and train a model: frozen dataclasses, JSON in and out."""

import dataclasses
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pipelines.command import InputError

BRANCHES = ("audio", "text", "video", "fusion")

MODALITIES = ("audio", "text", "video")
"""In the order in which they are joined."""

FUSED = ("audio", "text")
"""What early fusion joins where nobody says."""

JOINS = {
    "concat": "embeddings side by side",
    "gated": "projections weighed by a gate that sees all",
    "cross_attention": "steps of each attend to those of the others, then gated",
}

AUDIO_FEATURES = ("log_mel", "mfcc", "acoustic", "encoder")
"""What an audio branch may hear, in the order in which it joins them."""

AUDIO_MODELS = ("cnn", "cnn_attention", "crnn", "gru", "resnet", "efficientnet", "transformer")

AUDIO_CHANNELS = {
    "cnn": (32, 64, 96, 128, 160),
    "cnn_attention": (32, 64, 128, 160),
    "crnn": (32, 64, 96, 128),
    "resnet": (24, 48, 96, 128),
}
"""Of each block or stage, where no others are given."""

AUDIO_UNITS = {"crnn": (96,), "gru": (256, 256, 128)}
"""Of each recurrent layer, where no others are given."""

VIDEO_POOLINGS = ("mean", "attention", "gru")

TEXT_MODELS = ("gru", "lstm", "transformer", "distilbert")

CLASS_WEIGHTS = ("auto", "balanced", "root", "none")

MAX_POSITIONS = 512
"""Token ids that the transformer tells apart by their place."""

CONTROLS = {
    "shuffled-transcripts": "transcripts are dealt anew among the utterances of a part, in training and scoring",
    "shuffled-audio": "recordings are dealt anew among the utterances of a part, in training and scoring",
    "shuffled-video": "videos are dealt anew among the utterances of a part, in training and scoring",
    "permuted-labels": "labels are dealt anew among the training utterances",
}
"""What a score is held against: what is left of it when one link is cut."""


def _setting(
    default: Any, meaning: str, choices: Sequence[str] | None = None, models: Iterable[str] = (), flag: str = ""
) -> Any:
    """Makes a field whose meaning is also the help of its flag.

    Args:
      default: Of the field.
      meaning: What it is.
      choices: What it may be; None: anything.
      models: Of a branch, which of its models read the field; none named: all. A mapping gives each its default.
      flag: Of a branch, where it is not --<modality>-<field>.
    """
    about = {"help": meaning, "choices": choices, "models": models, "flag": flag}
    return dataclasses.field(default=default, metadata=about)


@dataclasses.dataclass(frozen=True)
class AudioConfig:
    """The branch on features of sound; each model reads the fields that belong to it.

    Attributes:
      attention_dim: Width of the hidden layer of attention pooling.
      embedding_dim: Width of the branch's output.

    The other fields say what they are, and are flags of `python -m emotion_tf.fit`. Features come in the order of
    `AUDIO_FEATURES`, whatever order they are given in. Channels and units are those of the model where they are empty.

    Raises:
      InputError: Features or sizes that cannot work.
    """

    channels: tuple[int, ...] = _setting((), "of each block or stage", models=AUDIO_CHANNELS)
    attention_dim: int = 128
    embedding_dim: int = 128
    dropout: float = _setting(
        0.4, "share of the embedding dropped in training; a quarter of it in layers of cnn, crnn, gru, transformer"
    )
    model: str = _setting("cnn_attention", "", AUDIO_MODELS)
    features: tuple[str, ...] = _setting(("log_mel",), "what it hears", AUDIO_FEATURES)
    units: tuple[int, ...] = _setting((), "of each recurrent layer", models=AUDIO_UNITS)
    width: int = _setting(128, "of a patch", models=("transformer",))
    layers: int = _setting(4, "how many", models=("transformer",))
    heads: int = _setting(4, "how many", models=("transformer",))

    def __post_init__(self) -> None:
        for name, of_model in (("channels", AUDIO_CHANNELS), ("units", AUDIO_UNITS)):
            # A frozen dataclass has no other way to fill a field in.
            object.__setattr__(self, name, getattr(self, name) or of_model.get(self.model, ()))
            _require(min(getattr(self, name), default=1) >= 1, f"audio_{name}", min(getattr(self, name), default=1))
        for name in ("width", "layers", "heads"):
            _require(getattr(self, name) >= 1, f"audio_{name}", getattr(self, name))
        _require(0 <= self.dropout < 1, "audio_dropout", self.dropout, "from 0 to below 1")
        if self.model == "transformer" and self.width % self.heads:
            raise InputError(f"--audio-heads {self.heads} cannot work: give a number that divides {self.width}.")
        _check_features(self.features)
        object.__setattr__(self, "features", tuple(name for name in AUDIO_FEATURES if name in self.features))

    @property
    def least_columns(self) -> int:
        """Columns of frame features that the model needs at least."""
        # Stages of cnn_attention halve columns and drop an odd one, but for the first, which rounds up.
        return {"cnn_attention": 2 ** len(self.channels) - 1, "efficientnet": 32}.get(self.model, 1)


def _check_features(features: Sequence[str]) -> None:
    given = "--audio-features " + " ".join(features)
    if set(features) - set(AUDIO_FEATURES) or len(set(features)) < max(1, len(features)):
        raise InputError(f"{given} cannot work: give some of {', '.join(AUDIO_FEATURES)}, each once.")
    if {"mfcc", "acoustic"} <= set(features):
        raise InputError(f"{given} hold mfcc twice, for acoustic begins with it: leave mfcc out.")


@dataclasses.dataclass(frozen=True)
class TextConfig:
    """The branch on token ids; each model reads the fields that belong to it.

    Attributes:
      attention_dim: Width of the hidden layer of attention pooling.
      embedding_dim: Width of the branch's output.
      dropout: Share of pieces' embeddings, states and the branch's output dropped in training.

    The other fields say what they are, and are flags of `python -m emotion_tf.fit`.

    Raises:
      InputError: Sizes that cannot work, or no preset where one is needed.
    """

    word_dim: int = _setting(
        128, "width of a piece's embedding", models=("gru", "lstm", "transformer"), flag="word_dim"
    )
    units: tuple[int, ...] = _setting((96, 96), "of each layer, one direction", models=("gru", "lstm"))
    attention_dim: int = 128
    embedding_dim: int = 128
    dropout: float = 0.5
    model: str = _setting("gru", "", TEXT_MODELS)
    layers: int = _setting(2, "how many", models=("transformer",))
    heads: int = _setting(4, "how many", models=("transformer",))
    preset: str = _setting("", "name, or folder of keras-nlp, Hugging Face", models=("distilbert",))
    freeze: bool = _setting(False, "it stays as it is", models=("distilbert",))
    preset_rate: float = _setting(5e-5, "learning rate of its own at its highest", models=("distilbert",))

    def __post_init__(self) -> None:
        _require(min(self.units, default=0) >= 1, "text_units", min(self.units, default=0))
        for name, value in (("text_layers", self.layers), ("text_heads", self.heads), ("word_dim", self.word_dim)):
            _require(value >= 1, name, value)
        _require(0 < self.preset_rate < math.inf, "text_preset_rate", self.preset_rate, "above 0")
        if self.model == "transformer" and self.word_dim % self.heads:
            raise InputError(f"--text-heads {self.heads} cannot work: give a number that divides {self.word_dim}.")
        if self.model == "distilbert" and not self.preset:
            raise InputError(
                "--text-model distilbert needs --text-preset: name a preset such as distil_bert_base_en_uncased, a"
                " preset folder or a Hugging Face folder."
            )


@dataclasses.dataclass(frozen=True)
class VideoConfig:
    """The branch on frames of videos.

    Attributes:
      attention_dim: Width of the hidden layer of attention pooling.
      embedding_dim: Width of what is said of a frame, and of the branch's output.

    The other fields say what they are, and are flags of `python -m emotion_tf.fit`.

    Raises:
      InputError: Sizes that cannot work.
    """

    channels: tuple[int, ...] = _setting((16, 32, 64, 96), "of each convolution")
    attention_dim: int = 128
    embedding_dim: int = 128
    dropout: float = _setting(0.4, "share of the embedding dropped in training; a quarter of it behind convolutions")
    pooling: str = _setting("mean", "of frames over time", VIDEO_POOLINGS)

    def __post_init__(self) -> None:
        _require(min(self.channels, default=0) >= 1, "video_channels", min(self.channels, default=0))
        _require(len(self.channels) <= 5, "video_channels", len(self.channels), "of them up to 5")
        _require(0 <= self.dropout < 1, "video_dropout", self.dropout, "from 0 to below 1")
        if self.pooling not in VIDEO_POOLINGS:
            raise InputError(f"--video-pooling {self.pooling} cannot work: give one of {', '.join(VIDEO_POOLINGS)}.")


_AT_LEAST_ONE = ("epochs", "batch_size", "num_frames", "max_tokens")
_AT_LEAST_ZERO = (
    *("freeze_epochs", "rare_weight", "warm_up_epochs", "weight_decay", "patience", "confusion_every", "time_shift"),
    *("mel_shift", "mel_mask", "num_mel_masks", "frame_mask", "num_frame_masks"),
    *("video_frames", "image_shift", "image_cutout"),
)
_BELOW_ONE = (
    *("label_smoothing", "ema_share", "mixup", "word_dropout", "word_swap", "word_mask", "modality_dropout"),
    "image_brightness",
)
_UP_TO = {"speed": 0.5, "noise_snr_db": 100.0, "gain_db": 60.0, "release_rate": 1.0, "image_flip": 1.0}
"""Fields of a training and what they may be."""


@dataclasses.dataclass(frozen=True)
class TrainingConfig:
    """The course of one training; each field says what it is, and is a flag of `python -m emotion_tf.fit`.

    Raises:
      InputError: A number that cannot work.
    """

    epochs: int = _setting(60, "at most; the cosine ends there")
    batch_size: int = _setting(32, "utterances a step")
    learning_rate: float = _setting(2e-3, "at its highest, after the warm-up")
    warm_up_epochs: int = _setting(3, "over which the rate rises from near 0")
    weight_decay: float = _setting(1e-2, "of AdamW")
    label_smoothing: float = _setting(
        0.1, "share of the target given to all emotions alike; none where utterances have several"
    )
    class_weights: str = _setting(
        "auto",
        "balanced: each emotion weighs the same in sum; root: as the root of its number; none: each utterance does;"
        " auto: balanced for records of clips, root for words alone",
        CLASS_WEIGHTS,
    )
    rare_weight: float = _setting(
        0.5, "several emotions an utterance: power of absent / present by which those with one weigh more; 0: none"
    )
    ema_share: float = _setting(0.05, "share of all steps that the weights' average looks back over; 0: no average")
    patience: int = _setting(0, "epochs without a better validation score before training stops; 0: never")
    num_frames: int = _setting(256, "frames that training clips are cropped or padded to")
    max_tokens: int = _setting(64, "token ids kept of a transcript")
    time_shift: int = _setting(
        0, "frames that training clips are moved by at most: later, behind silence, or earlier, without their start"
    )
    speed: float = _setting(
        0.0, "share that training clips become faster or slower by at most, with their pitch; needs stored waveforms"
    )
    noise_snr_db: float = _setting(
        0.0, "pink noise so far below training clips in dB, up to 20 dB further; needs stored waveforms; 0: none"
    )
    gain_db: float = _setting(
        0.0,
        "decibels that training clips become louder or softer by at most; needs stored waveforms; where each clip is"
        " normalised by itself next to nothing of it is left",
    )
    mel_shift: int = _setting(3, "bands that training clips are shifted by at most")
    mel_mask: int = _setting(10, "widest mask over bands (SpecAugment)")
    num_mel_masks: int = _setting(2, "how many of them")
    frame_mask: int = _setting(25, "widest mask over frames (SpecAugment)")
    num_frame_masks: int = _setting(2, "how many of them")
    video_frames: int = _setting(0, "frames drawn of a training video, one of each of as many stretches; 0: all")
    image_flip: float = _setting(0.5, "probability that a training video is mirrored")
    image_shift: int = _setting(4, "pixels that training videos are moved by at most")
    image_brightness: float = _setting(0.2, "share of the whole range that they become lighter or darker by at most")
    image_cutout: int = _setting(16, "side in pixels of a square of them that is painted over; 0: none")
    mixup: float = _setting(0.4, "share of another clip mixed in at most, audio only; 0: none")
    word_dropout: float = _setting(0.0, "share of words left out in training")
    word_swap: float = _setting(0.0, "share of words that change places with a neighbour in training")
    word_mask: float = _setting(0.0, "share of words made unknown in training")
    modality_dropout: float = _setting(
        0.0, "early fusion: probability that a modality counts as absent in training, where another one is there"
    )
    freeze_epochs: int = _setting(
        0, "epochs for which branches of --init-* stay as they are; as many as --epochs: throughout"
    )
    release_rate: float = _setting(
        0.0, "share of the learning rate at which these branches learn, once they do; 0: 0.1 if frozen first, else 1"
    )
    confusion_every: int = _setting(10, "epochs between confusion matrices of the validation split; 0: none")

    def __post_init__(self) -> None:
        for name in _AT_LEAST_ONE:
            _require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        for name in _AT_LEAST_ZERO:
            _require(0 <= getattr(self, name) < math.inf, name, getattr(self, name), "at least 0")
        for name in _BELOW_ONE:
            _require(0 <= getattr(self, name) < 1, name, getattr(self, name), "from 0 to below 1")
        for name, highest in _UP_TO.items():
            _require(0 <= getattr(self, name) <= highest, name, getattr(self, name), f"from 0 to {highest:g}")
        if self.class_weights not in CLASS_WEIGHTS:
            raise InputError(
                f"--class-weights {self.class_weights} cannot work: give one of {', '.join(CLASS_WEIGHTS)}."
            )
        _require(0 < self.learning_rate < math.inf, "learning_rate", self.learning_rate, "above 0")

    @property
    def branch_rate(self) -> float:
        """Share of the learning rate at which branches learn that a training starts from, once they do."""
        return self.release_rate or (0.1 if self.freeze_epochs else 1.0)

    @property
    def changes_waveforms(self) -> bool:
        """Whether features are computed anew in training, of changed waveforms."""
        return max(self.speed, self.noise_snr_db, self.gain_db) > 0

    def weight_power(self, *, has_clips: bool, is_multi_label: bool) -> float:
        """Tells by which power of its rarity an utterance of an emotion weighs more in training; 0: all weigh the same.

        Emotions of texts differ in number by tens; weighed the same in sum, the rare ones are named far too often.
        """
        if is_multi_label:
            return self.rare_weight
        powers = {"balanced": 1.0, "root": 0.5, "none": 0.0, "auto": 1.0 if has_clips else 0.5}
        return powers[self.class_weights]


def _require(holds: bool, name: str, value: float, wanted: str = "at least 1") -> None:
    if not holds:
        raise InputError(f"--{name.replace('_', '-')} {value} cannot work: give a number {wanted}.")


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
      normalise: Which statistics bring sound to one scale, one of `pipelines.normalisation.MODES`; late fusion asks its
        runs instead.
      fusion: "early" or "late" for the branch "fusion", else empty.
      init_audio, init_text, init_video: Runs whose trained branches early fusion starts from; empty: from scratch.
      runs: The runs that late fusion joins.
      rule: By which late fusion joins them, one of `emotion_tf.models.late_rules.RULES`; empty where nothing is fused
        late.
      label_maps: Names of the maps from labels of such runs to those of the records.
      modalities: Some of `MODALITIES`, in that order: what a model of this config listens to; late fusion asks its runs
        instead. Empty: the branch, or `FUSED` for fusion.
      join: Of early fusion of several modalities, one of `JOINS`, concat where it is empty; else empty.

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
    audio: AudioConfig = AudioConfig()
    text: TextConfig = TextConfig()
    video: VideoConfig = VideoConfig()
    training: TrainingConfig = TrainingConfig()

    def __post_init__(self) -> None:
        chosen = self.modalities or (FUSED if self.branch == "fusion" else (self.branch,))
        if set(chosen) - set(MODALITIES) or len(set(chosen)) < len(chosen):
            given = "--modalities " + " ".join(chosen)
            raise InputError(f"{given} cannot work: give some of {', '.join(MODALITIES)}, each once.")
        if self.join not in ("", *JOINS):
            raise InputError(f"--join {self.join} cannot work: give one of {', '.join(JOINS)}.")
        # A frozen dataclass has no other way to fill a field in.
        object.__setattr__(self, "modalities", tuple(name for name in MODALITIES if name in chosen))
        is_joined = len(self.modalities) > 1 and not self.is_late
        object.__setattr__(self, "join", (self.join or "concat") if is_joined else "")

    @property
    def is_late(self) -> bool:
        """Whether the answers of trained runs are joined and no branch is trained."""
        return self.fusion == "late"

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
        for name in parts.keys() & values.keys():  # Runs of before there was video say nothing of it.
            values[name] = parts[name](**_tuples(values[name]))
        return cls(**_tuples(values))


def _tuples(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
