"""How to build the branches: one frozen dataclass each; most fields are settings, and flags of `fit`."""

import dataclasses
from collections.abc import Sequence

from pipelines.command import InputError
from pipelines.settings import SHARE, Bounds, above, at_least, check, setting

AUDIO_FEATURES = ("log_mel", "mfcc", "acoustic", "encoder")
"""What an audio branch may read, in the order in which it joins them."""

AUDIO_INPUTS = (*AUDIO_FEATURES, "waveform")
"""What models read of the audio, in that order: features, and waveforms where the model begins with the encoder."""

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

PRETRAINED = ("pretrained", "distilbert")
"""Text models that start from a preset; the second name is that of a time when there was only one."""

TEXT_MODELS = ("gru", "lstm", "transformer", *PRETRAINED)

TEXT_POOLINGS = ("attention", "mean")

VIDEO_POOLINGS = ("mean", "attention", "gru")

MAX_POSITIONS = 512
"""Steps that a transformer tells apart by their place."""


@dataclasses.dataclass(frozen=True)
class AudioConfig:
    """The branch on audio features; each model reads the fields that belong to it.

    Attributes:
      attention_dim: Width of the hidden layer of attention pooling.
      embedding_dim: Width of the branch's output.

    The other fields say what they are. Features come in the order of `AUDIO_FEATURES`, whatever order they are given
    in. Channels and units are those of the model where they are empty.

    Raises:
      InputError: Features or sizes that cannot work.
    """

    channels: tuple[int, ...] = setting(
        (), "Give each block or stage of the network N channels.", at_least(1), models=AUDIO_CHANNELS
    )
    attention_dim: int = 128
    embedding_dim: int = 128
    dropout: float = setting(
        0.4,
        "Drop this share of the audio embedding in training, and a quarter of it in the layers of cnn, crnn, gru and"
        " transformer.",
        SHARE,
        unit="SHARE",
    )
    model: str = setting("cnn_attention", "Use this network on the frames of audio features.", choices=AUDIO_MODELS)
    features: tuple[str, ...] = setting(
        ("log_mel",),
        "Read these audio features; mfcc and acoustic need prepare --acoustic, encoder needs prepare --encoder.",
        choices=AUDIO_FEATURES,
        unit="FEATURE",
    )
    units: tuple[int, ...] = setting((), "Give each recurrent layer N units.", at_least(1), models=AUDIO_UNITS)
    width: int = setting(
        128,
        "Make the states of the transformer N wide.",
        at_least(1),
        models=("transformer",),
    )
    layers: int = setting(4, "Stack N transformer layers.", at_least(1), models=("transformer",))
    heads: int = setting(
        4, "Give each attention layer N heads; they must divide --audio-width.", at_least(1), models=("transformer",)
    )
    encoder_release: int = setting(
        0,
        "Begin with the encoder, and train its last N blocks, up to the last that is read; needs prepare --encoder and"
        " --store-waveform.",
        at_least(0),
        flag="encoder_release",
    )
    encoder_rate: float = setting(
        1e-4,
        "Let the learning rate of these blocks rise to this value.",
        above(0),
        unit="RATE",
        flag="encoder_rate",
    )

    def __post_init__(self) -> None:
        for name, of_model in (("channels", AUDIO_CHANNELS), ("units", AUDIO_UNITS)):
            # A frozen dataclass has no other way to fill a field in.
            object.__setattr__(self, name, getattr(self, name) or of_model.get(self.model, ()))
        check(self, "audio_")
        if self.model == "transformer" and self.width % self.heads:
            raise InputError(f"--audio-heads {self.heads} cannot work: give a number that divides {self.width}.")
        _check_features(self.features)
        object.__setattr__(self, "features", tuple(name for name in AUDIO_FEATURES if name in self.features))

    @property
    def inputs(self) -> tuple[str, ...]:
        """What a model reads, of `AUDIO_INPUTS`: waveforms in the place of states where the encoder is released."""
        is_released = self.encoder_release > 0
        return tuple("waveform" if name == "encoder" and is_released else name for name in self.features)

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

    The other fields say what they are.

    Raises:
      InputError: Sizes that cannot work, or no preset where one is needed.
    """

    word_dim: int = setting(
        128,
        "Embed each word piece in N dimensions.",
        at_least(1),
        models=("gru", "lstm", "transformer"),
        flag="word_dim",
    )
    units: tuple[int, ...] = setting(
        (96, 96),
        "Stack bidirectional layers of N units in each direction.",
        at_least(1),
        count=at_least(1),
        models=("gru", "lstm"),
    )
    attention_dim: int = 128
    embedding_dim: int = 128
    dropout: float = 0.5
    model: str = setting("gru", "Use this network on the token ids of the transcript.", choices=TEXT_MODELS)
    layers: int = setting(2, "Stack N transformer layers.", at_least(1), models=("transformer",))
    heads: int = setting(
        4,
        "Give each attention layer N heads; they must divide --word-dim.",
        at_least(1),
        models=("transformer",),
    )
    preset: str = setting(
        "",
        "Start from this pretrained encoder: the name of a keras-hub preset, a preset folder or a Hugging Face folder.",
        unit="NAME",
        models=PRETRAINED,
    )
    freeze: bool = setting(False, "Keep the pretrained model frozen.", models=PRETRAINED)
    preset_rate: float = setting(
        5e-5,
        "Let the learning rate of the pretrained model rise to this value.",
        above(0),
        unit="RATE",
        models=PRETRAINED,
    )
    layer_decay: float = setting(
        1.0,
        "Multiply the learning rate by this from each layer of the pretrained model to the one below.",
        Bounds(0, 1, is_above=True),
        unit="FACTOR",
        models=PRETRAINED,
        flag="layer_decay",
    )
    release: int = setting(
        0, "Train the upper N layers of the pretrained model alone; 0: all.", at_least(0), models=PRETRAINED
    )
    states: int = setting(
        1,
        "Read the hidden states of the last N layers of the pretrained model, summed with learned weights.",
        at_least(1),
        models=PRETRAINED,
    )
    pooling: str = setting(
        "attention", "Pool the states of tokens in this way.", choices=TEXT_POOLINGS, models=PRETRAINED
    )

    def __post_init__(self) -> None:
        check(self, "text_")
        if self.model == "transformer" and self.word_dim % self.heads:
            raise InputError(f"--text-heads {self.heads} cannot work: give a number that divides {self.word_dim}.")
        if self.is_pretrained and not self.preset:
            raise InputError(
                f"--text-model {self.model} needs --text-preset: name a preset such as distil_bert_base_en_uncased, a"
                " preset folder or a Hugging Face folder."
            )

    @property
    def is_pretrained(self) -> bool:
        """Whether the branch starts from a preset, with a tokenizer of its own."""
        return self.model in PRETRAINED


@dataclasses.dataclass(frozen=True)
class VideoConfig:
    """The branch on frames of videos.

    Attributes:
      attention_dim: Width of the hidden layer of attention pooling.
      embedding_dim: Width of the embedding of a frame, and of the branch's output.

    The other fields say what they are.

    Raises:
      InputError: Sizes that cannot work.
    """

    channels: tuple[int, ...] = setting(
        (16, 32, 64, 96), "Stack convolutions of N channels on each frame.", at_least(1), count=Bounds(1, 5)
    )
    attention_dim: int = 128
    embedding_dim: int = 128
    dropout: float = setting(
        0.4,
        "Drop this share of the video embedding in training, and a quarter of it behind each convolution.",
        SHARE,
        unit="SHARE",
    )
    pooling: str = setting("mean", "Pool the frames over time in this way.", choices=VIDEO_POOLINGS)

    def __post_init__(self) -> None:
        check(self, "video_")
