"""How to train: one frozen dataclass whose fields are settings, and flags of `fit`, in the order of their groups."""

import dataclasses
import functools

from pipelines.command import InputError
from pipelines.settings import SHARE, Bounds, above, at_least, check, setting, up_to

CLASS_WEIGHTS = {
    "auto": "balanced for records of clips, root for records of text alone",
    "balanced": "each emotion counts the same in sum",
    "root": "each emotion counts by the root of its frequency",
    "none": "each utterance counts the same",
}
"""How utterances of one emotion each are weighted, and what that means."""

BALANCES = {
    "corpus": "each corpus counts the same in sum, and within it --class-weights hold",
    "emotion": "each emotion of each corpus counts the same in sum, whatever --class-weights are",
    "none": "--class-weights alone, over all corpora together",
}
"""How utterances of several corpora are weighted, and what that means."""

KEPT_EPOCHS = {
    "auto": "loss for a head on states of an encoder alone, score for all else",
    "score": "the best validation score, UAR or macro-F1",
    "loss": "the least validation loss",
    "last": "the last one",
}
"""Which epoch's weights are kept, and what that means."""

PRECISIONS = {
    "auto": "bfloat16 where the processor multiplies it by itself and the model gains by it, else float32",
    "float32": "single precision",
    "bfloat16": "steps of training in bfloat16, and all else in single precision",
}
"""In which numbers a model learns, and what that means."""

TRANSFER = "start from trained branches"
EARLY_FUSION = "early fusion"
TRAINING = "training"
LOSS = "loss"
INPUTS = "length of inputs in training"
AUGMENTATION = ("augmentation of audio", "augmentation of text", "augmentation of video")

_training, _loss, _inputs, _audio, _text, _video, _early, _transfer = (
    functools.partial(setting, group=title) for title in (TRAINING, LOSS, INPUTS, *AUGMENTATION, EARLY_FUSION, TRANSFER)
)

RELEASED_RATE = 0.1
"""Multiplier of the learning rate of branches that were frozen first, where no other is given."""


@dataclasses.dataclass(frozen=True)
class TrainingConfig:
    """The course of one training; each field says what it is.

    Raises:
      InputError: A number that cannot work.
    """

    epochs: int = _training(
        60, "Train for at most N epochs; the learning rate falls along a cosine that ends there.", at_least(1)
    )
    batch_size: int = _training(32, "Take N utterances a step.", at_least(1))
    learning_rate: float = _training(
        2e-3, "Let the learning rate rise to this value in the warm-up, then fall.", above(0), unit="RATE"
    )
    warm_up_epochs: int = _training(3, "Let the learning rate rise for N epochs.", at_least(0))
    weight_decay: float = _training(
        1e-2, "Shrink each weight by this share, times the learning rate, a step (AdamW).", at_least(0), unit="SHARE"
    )
    ema_share: float = _training(
        0.05,
        "Validate and keep a moving average of the weights that looks back over this share of all steps; 0: the weights"
        " themselves.",
        SHARE,
        unit="SHARE",
    )
    patience: int | None = _training(
        None, "Stop after N epochs without a better validation score.", at_least(1), word="off"
    )
    keep_epoch: str = _training("auto", "Keep the weights of the epoch with this.", choices=KEPT_EPOCHS)
    precision: str = _training("auto", "Compute the steps of training in these numbers.", choices=PRECISIONS)
    shuffle_size: int | None = _training(
        None,
        "Hold N utterances in memory to shuffle them and read the records anew in each epoch, in another order of their"
        " shards, so that memory does not grow with the records; all: read them once and hold all.",
        at_least(1),
        word="all",
    )
    confusion_every: int = _training(
        10, "Draw the confusion matrix of the validation split every N epochs; 0: never.", at_least(0)
    )

    label_smoothing: float = _loss(
        0.1,
        "Spread this share of the target over all emotions, in corpora with one emotion an utterance.",
        SHARE,
        unit="SHARE",
    )
    class_weights: str = _loss(
        "auto", "Weight utterances by their emotion, in corpora with one emotion an utterance.", choices=CLASS_WEIGHTS
    )
    balance: str = _loss(
        "corpus", "Weight utterances of several corpora, which are joined by --records DIR DIR.", choices=BALANCES
    )
    rare_weight: float = _loss(
        0.5,
        "Weight utterances that have an emotion by (absent / present) to this power, in corpora with several emotions"
        " an utterance; 0: all the same.",
        at_least(0),
        unit="POWER",
    )

    num_frames: int = _inputs(256, "Crop or pad the audio features of training clips to N frames.", at_least(1))
    max_tokens: int = _inputs(64, "Keep the first N token ids of a transcript, in training and scoring.", at_least(1))
    video_frames: int | None = _inputs(
        None,
        "Draw N frames of a training video, one of each of N equal stretches.",
        at_least(1),
        word="all",
    )

    time_shift: int = _audio(
        0,
        "Move training clips by at most N frames: later, behind silence, or earlier, without their start.",
        at_least(0),
    )
    speed: float = _audio(
        0.0,
        "Make training clips faster or slower by at most this share, with their pitch; needs prepare --store-waveform.",
        up_to(0.5),
        unit="SHARE",
    )
    noise_snr_db: float | None = _audio(
        None,
        "Add pink noise to training clips at a signal-to-noise ratio of DB to DB + 20 decibels; needs prepare"
        " --store-waveform.",
        up_to(100),
        unit="DB",
        word="off",
    )
    gain_db: float = _audio(
        0.0,
        "Make training clips louder or softer by at most this many decibels; needs prepare --store-waveform."
        " --normalise clip takes most of it away again.",
        up_to(60),
        unit="DB",
    )
    band_limit: float = _audio(
        0.3,
        "Take the upper mel bands out of this share of training clips, from a frequency above 3.4 kHz on, as telephones"
        " and codecs do; for --normalise clip.",
        SHARE,
        unit="SHARE",
    )
    mel_shift: int = _audio(3, "Shift training clips by at most N mel bands, up or down.", at_least(0))
    mel_mask: int = _audio(10, "Hide fewer than N neighbouring mel bands with each mask (SpecAugment).", at_least(0))
    num_mel_masks: int = _audio(2, "Draw N masks over mel bands a clip.", at_least(0))
    frame_mask: int = _audio(
        25,
        "Hide fewer than N neighbouring frames, at most a quarter of the clip, with each mask (SpecAugment).",
        at_least(0),
    )
    num_frame_masks: int = _audio(2, "Draw N masks over frames a clip.", at_least(0))
    state_mask: int = _audio(
        0,
        "Hide fewer than N neighbouring states of an encoder, 25 a second and at most a quarter of the clip, with each"
        " of two masks.",
        at_least(0),
    )
    mixup: float = _audio(
        0.4,
        "Mix at most this share of another clip, label included, into half of the training clips; audio branch only.",
        SHARE,
        unit="SHARE",
    )

    word_dropout: float = _text(0.0, "Leave out this share of the words of a training transcript.", SHARE, unit="SHARE")
    word_swap: float = _text(
        0.0, "Let this share of the words change places with a neighbour in training.", SHARE, unit="SHARE"
    )
    word_mask: float = _text(
        0.0, "Replace this share of the words by the unknown token in training.", SHARE, unit="SHARE"
    )

    image_flip: float = _video(0.5, "Mirror a training video with this probability.", up_to(1), unit="PROBABILITY")
    image_shift: int = _video(4, "Move training videos by at most N pixels, in both directions.", at_least(0))
    image_brightness: float = _video(
        0.2, "Make training videos lighter or darker by at most this share of the whole range.", SHARE, unit="SHARE"
    )
    image_cutout: int = _video(16, "Paint over a square of N x N pixels in training videos.", at_least(0))

    modality_dropout: float = _early(
        0.0,
        "Take each modality for absent with this probability in training, but never all of an utterance.",
        SHARE,
        unit="PROBABILITY",
    )

    freeze_epochs: int = _transfer(
        0,
        "Keep the branches of --init-* frozen for N epochs; as many as --epochs: throughout.",
        at_least(0),
    )
    release_rate: float | None = _transfer(
        None,
        "Multiply the learning rate of the branches of --init-* by this, once they learn; auto:"
        f" {RELEASED_RATE} if they were frozen first, else 1.",
        Bounds(0, 1, is_above=True),
        unit="MULTIPLIER",
        word="auto",
    )

    def __post_init__(self) -> None:
        check(self)
        if self.keep_epoch == "last" and self.patience is not None:
            raise InputError(
                "--patience counts epochs since the best, which --keep-epoch last does not look for: give one of both."
            )

    @property
    def branch_rate(self) -> float:
        """Multiplier of the learning rate of the branches that a training starts from, once they learn."""
        return self.release_rate or (RELEASED_RATE if self.freeze_epochs else 1.0)

    @property
    def changes_waveforms(self) -> bool:
        """Whether features are computed anew in training, of changed waveforms."""
        return self.speed > 0 or self.noise_snr_db is not None or self.gain_db > 0

    def weight_power(self, *, has_clips: bool, is_multi_label: bool) -> float:
        """Tells by which power of its rarity an utterance of an emotion weighs more in training; 0: all weigh the same.

        Emotions of texts differ in number by tens; weighed the same in sum, the rare ones are named far too often.
        """
        if is_multi_label:
            return self.rare_weight
        powers = {"balanced": 1.0, "root": 0.5, "none": 0.0, "auto": 1.0 if has_clips else 0.5}
        return powers[self.class_weights]
