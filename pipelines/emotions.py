"""Label sets, and the explicit, named maps between them."""

import dataclasses
from collections.abc import Mapping

RAVDESS = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")
"""The eight emotions of RAVDESS in the order of its file names (Livingstone & Russo 2018)."""

SEVEN = ("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise")
"""Seven classes that several corpora can be mapped to."""


@dataclasses.dataclass(frozen=True)
class LabelMap:
    """A named way from the labels of one corpus to a label set.

    Attributes:
      emotions: The label set that the map leads to.
      targets: Label of the corpus -> emotion, or None where utterances of that label are dropped (and counted).
    """

    emotions: tuple[str, ...]
    targets: Mapping[str, str | None]


_RAVDESS_TO_SEVEN = {
    "neutral": "neutral",
    "happy": "happy",
    "sad": "sad",
    "angry": "angry",
    "fearful": "fear",
    "disgust": "disgust",
    "surprised": "surprise",
}

LABEL_MAPS: Mapping[str, LabelMap] = {
    "ravdess-seven": LabelMap(SEVEN, _RAVDESS_TO_SEVEN | {"calm": None}),
    "ravdess-seven-merged": LabelMap(SEVEN, _RAVDESS_TO_SEVEN | {"calm": "neutral"}),
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
