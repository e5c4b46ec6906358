"""Label sets, and the explicit, named maps between them."""

import dataclasses
from collections.abc import Mapping

RAVDESS = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")
"""The eight emotions of RAVDESS in the order of its file names (Livingstone & Russo 2018)."""

SEVEN = ("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise")
"""Seven classes that several corpora can be mapped to."""

GOEMOTIONS = (
    *("admiration", "amusement", "anger", "annoyance", "approval", "caring", "confusion", "curiosity", "desire"),
    *("disappointment", "disapproval", "disgust", "embarrassment", "excitement", "fear", "gratitude", "grief", "joy"),
    *("love", "nervousness", "optimism", "pride", "realization", "relief", "remorse", "sadness", "surprise", "neutral"),
)
"""The 28 labels of GoEmotions in the order of its label ids (Demszky et al. 2020)."""

EKMAN = ("anger", "disgust", "fear", "joy", "neutral", "sadness", "surprise")
"""Ekman's six emotions and neutral, as Demszky et al. name their groups."""

MELD = ("neutral", "surprise", "fear", "sadness", "joy", "disgust", "anger")
"""The seven emotions of MELD (Poria et al. 2019)."""


@dataclasses.dataclass(frozen=True)
class LabelMap:
    """A named way from the labels of one corpus to a label set.

    Attributes:
      emotions: The label set that the map leads to.
      targets: Label of the corpus -> emotion, or None where utterances of that label are dropped (and counted).
      is_multi_label: Whether an utterance may keep several emotions; else one with several is dropped (and counted).
    """

    emotions: tuple[str, ...]
    targets: Mapping[str, str | None]
    is_multi_label: bool = False


def _inverted(groups: Mapping[str, tuple[str, ...]]) -> dict[str, str]:
    """Turns emotion -> labels into label -> emotion."""
    return {label: emotion for emotion, labels in groups.items() for label in labels}


_RAVDESS_TO_SEVEN = {
    "neutral": "neutral",
    "happy": "happy",
    "sad": "sad",
    "angry": "angry",
    "fearful": "fear",
    "disgust": "disgust",
    "surprised": "surprise",
}

# Source: ekman_mapping.json beside the data of Demszky et al. 2020.
_EKMAN_GROUPS = {
    "anger": ("anger", "annoyance", "disapproval"),
    "disgust": ("disgust",),
    "fear": ("fear", "nervousness"),
    "joy": (
        *("admiration", "amusement", "approval", "caring", "desire", "excitement"),
        *("gratitude", "joy", "love", "optimism", "pride", "relief"),
    ),
    "neutral": ("neutral",),
    "sadness": ("disappointment", "embarrassment", "grief", "remorse", "sadness"),
    "surprise": ("confusion", "curiosity", "realization", "surprise"),
}

_EKMAN_TO_SEVEN = {
    "anger": "angry",
    "disgust": "disgust",
    "fear": "fear",
    "joy": "happy",
    "neutral": "neutral",
    "sadness": "sad",
    "surprise": "surprise",
}

_EKMAN_TO_RAVDESS = _EKMAN_TO_SEVEN | {"fear": "fearful", "surprise": "surprised"}

_GOEMOTIONS_TO_EKMAN = _inverted(_EKMAN_GROUPS)

LABEL_MAPS: Mapping[str, LabelMap] = {
    "ravdess-seven": LabelMap(SEVEN, _RAVDESS_TO_SEVEN | {"calm": None}),
    "ravdess-seven-merged": LabelMap(SEVEN, _RAVDESS_TO_SEVEN | {"calm": "neutral"}),
    "goemotions-ekman": LabelMap(EKMAN, _GOEMOTIONS_TO_EKMAN, is_multi_label=True),
    "goemotions-seven": LabelMap(
        SEVEN, {label: _EKMAN_TO_SEVEN[emotion] for label, emotion in _GOEMOTIONS_TO_EKMAN.items()}
    ),
    # As Ekman's groups, but that GoEmotions' quiet pleasant labels stand for RAVDESS's calm.
    "goemotions-ravdess": LabelMap(
        RAVDESS,
        {label: _EKMAN_TO_RAVDESS[emotion] for label, emotion in _GOEMOTIONS_TO_EKMAN.items()}
        | dict.fromkeys(("approval", "caring", "relief"), "calm"),
    ),
    "ekman-ravdess": LabelMap(RAVDESS, _EKMAN_TO_RAVDESS),
    "meld-seven": LabelMap(SEVEN, _EKMAN_TO_SEVEN),
    # Codes of CREMA-D's file names (Cao et al. 2014).
    "crema-d-ravdess": LabelMap(
        RAVDESS,
        {"ANG": "angry", "DIS": "disgust", "FEA": "fearful", "HAP": "happy", "NEU": "neutral", "SAD": "sad"},
    ),
    # Names in TESS's files and folders; "ps" is its pleasant surprise (Pichora-Fuller & Dupuis 2020).
    "tess-ravdess": LabelMap(
        RAVDESS,
        {
            "angry": "angry",
            "disgust": "disgust",
            "fear": "fearful",
            "happy": "happy",
            "neutral": "neutral",
            "ps": "surprised",
            "pleasant_surprise": "surprised",
            "sad": "sad",
        },
    ),
}
