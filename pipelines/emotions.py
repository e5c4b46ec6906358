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

CREMA_D = ("anger", "disgust", "fear", "happy", "neutral", "sad")
"""The six emotions of CREMA-D (Cao et al. 2014), as its page names them."""

TESS = ("angry", "disgust", "fear", "happy", "neutral", "ps", "sad")
"""The seven emotions of TESS, as its files name them; "ps": pleasant surprise (Pichora-Fuller & Dupuis 2020)."""

EMODB = ("anger", "boredom", "disgust", "fear", "happiness", "sadness", "neutral")
"""The seven emotions of EMO-DB (Burkhardt et al. 2005); fear is what its page calls anxiety/fear."""

SAVEE = ("anger", "disgust", "fear", "happiness", "neutral", "sadness", "surprise")
"""The seven emotions of SAVEE, as its Info.txt names them (Haq & Jackson 2009)."""

IEMOCAP = ("neu", "hap", "exc", "sad", "ang", "fru", "fea", "sur", "dis", "oth", "xxx")
"""The categories of IEMOCAP, as its EmoEvaluation files write them (Busso et al. 2008); xxx: the raters disagree."""

SIX = ("angry", "disgust", "fearful", "happy", "neutral", "sad")
"""Six classes: what RAVDESS shares with CREMA-D, TESS, EMO-DB and SAVEE."""

FOUR = ("angry", "happy", "neutral", "sad")
"""Four classes: those that most work on IEMOCAP reports."""


@dataclasses.dataclass(frozen=True)
class LabelMap:
    """A named way from the labels of one corpus to a label set.

    Attributes:
      emotions: The label set that the map leads to.
      targets: Label of the corpus -> emotion, or None where utterances of that label are dropped (and counted).
      is_multi_label: Whether an utterance may keep several emotions; else one with several is dropped (and counted).
      source: Where the meaning of the labels, or the map, comes from.
      ignores_case: Whether the labels are known in capitals, too; the targets then hold all three spellings.
    """

    emotions: tuple[str, ...]
    targets: Mapping[str, str | None]
    is_multi_label: bool = False
    source: str = ""
    ignores_case: bool = False


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

# What labels of other corpora mean among RAVDESS's; None: nothing of those eight.
_CREMA_D_NAMES = {"anger": "angry", "disgust": "disgust", "fear": "fearful", "happy": "happy", "neutral": "neutral"}
_CREMA_D_CODES = {"ANG": "angry", "DIS": "disgust", "FEA": "fearful", "HAP": "happy", "NEU": "neutral", "SAD": "sad"}
_TESS_NAMES = {"angry": "angry", "disgust": "disgust", "fear": "fearful", "happy": "happy", "neutral": "neutral"}
_TO_RAVDESS: Mapping[str, Mapping[str, str | None]] = {
    "ravdess": {emotion: emotion for emotion in RAVDESS},
    "meld": {label: _EKMAN_TO_RAVDESS[label] for label in MELD},
    # A table of one's own may hold the codes of the file names.
    "crema-d": {**_CREMA_D_CODES, **_CREMA_D_NAMES, "sad": "sad"},
    # The same emotion is "ps" in the files and Pleasant_surprise, or pleasant_surprised, in the folders.
    "tess": {
        **_TESS_NAMES,
        **dict.fromkeys(("ps", "pleasant_surprise", "pleasant_surprised"), "surprised"),
        "sad": "sad",
    },
    "emodb": {
        **{"anger": "angry", "boredom": None, "disgust": "disgust", "fear": "fearful", "happiness": "happy"},
        **{"sadness": "sad", "neutral": "neutral"},
    },
    "savee": {
        **{"anger": "angry", "disgust": "disgust", "fear": "fearful", "happiness": "happy", "neutral": "neutral"},
        **{"sadness": "sad", "surprise": "surprised"},
    },
    "iemocap": {
        **{"neu": "neutral", "hap": "happy", "exc": "happy", "sad": "sad", "ang": "angry", "fru": None},
        **{"fea": "fearful", "sur": "surprised", "dis": "disgust", "oth": None, "xxx": None},
    },
}

# Spellings that folders, tables and model hubs use for RAVDESS's eight, and for what none of the eight is.
_SPELLINGS: Mapping[str, tuple[str, ...]] = {
    "neutral": ("neutral", "neu", "neutrality"),
    "calm": ("calm", "calmness", "cal"),
    "happy": ("happy", "happiness", "hap", "joy", "joyful"),
    "sad": ("sad", "sadness"),
    "angry": ("angry", "anger", "ang"),
    "fearful": ("fearful", "fear", "fea", "afraid", "scared", "anxiety"),
    "disgust": ("disgust", "disgusted", "dis"),
    "surprised": ("surprised", "surprise", "sur", "ps", "pleasant_surprise", "pleasant_surprised"),
    "": (
        *("boredom", "bored", "boredem", "contempt", "excited", "excitement", "exc", "frustrated", "frustration"),
        *("fru", "other", "oth", "unknown", "xxx"),
    ),
}

_SOURCES: Mapping[str, str] = {
    "ravdess": "Livingstone & Russo 2018, doi 10.1371/journal.pone.0196391, table of file name codes",
    "meld": "Poria et al. 2019, arXiv 1810.02508; Ekman's names to RAVDESS's",
    "crema-d": "Cao et al. 2014, doi 10.1109/TAFFC.2014.2336244, and the README of the corpus (codes of file names)",
    "tess": "Pichora-Fuller & Dupuis 2020, doi 10.5683/SP2/E8H2MF (names of files; ps is pleasant surprise)",
    "emodb": "Burkhardt et al. 2005, and emodb.bilderbar.info (letters of file names); boredom is none of the others",
    "savee": "Haq & Jackson 2009, and Info.txt of the corpus (letters of file names)",
    "iemocap": "Busso et al. 2008, doi 10.1007/s10579-008-9076-6; exc joins hap, as work on four classes does",
    "spellings": "spellings of the corpora above and of common tables, in any case; no corpus of its own",
}


def _narrowed(targets: Mapping[str, str | None], emotions: tuple[str, ...]) -> dict[str, str | None]:
    """Drops what leads to an emotion that is not asked for."""
    return {label: target if target in emotions else None for label, target in targets.items()}


def _spellings(emotions: tuple[str, ...]) -> dict[str, str | None]:
    """Lists known spellings in small letters, capitalised and in capitals, each with its emotion."""
    found = _narrowed(_inverted(_SPELLINGS), emotions)
    cases = (str.lower, str.capitalize, str.upper)
    return {case(label): target for label, target in found.items() for case in cases}


def _of_corpora() -> dict[str, LabelMap]:
    """Makes the maps from each corpus to RAVDESS's eight, to six and to four classes."""
    maps = {}
    for corpus, targets in _TO_RAVDESS.items():
        for name, emotions in (("ravdess", RAVDESS), ("six", SIX), ("four", FOUR)):
            if corpus != name:
                source = _SOURCES[corpus]
                maps[f"{corpus}-{name}"] = LabelMap(emotions, _narrowed(targets, emotions), source=source)
    for name, emotions in (("ravdess", RAVDESS), ("six", SIX), ("four", FOUR)):
        source = _SOURCES["spellings"]
        maps[f"spellings-{name}"] = LabelMap(emotions, _spellings(emotions), source=source, ignores_case=True)
    return maps


_DEMSZKY = "Demszky et al. 2020, doi 10.18653/v1/2020.acl-main.372, ekman_mapping.json beside the data"
_EKMAN_NAMES = "names of one emotion each"

LABEL_MAPS: Mapping[str, LabelMap] = {
    "ravdess-seven": LabelMap(SEVEN, _RAVDESS_TO_SEVEN | {"calm": None}, source=_EKMAN_NAMES),
    "ravdess-seven-merged": LabelMap(SEVEN, _RAVDESS_TO_SEVEN | {"calm": "neutral"}, source=_EKMAN_NAMES),
    "goemotions-ekman": LabelMap(EKMAN, _GOEMOTIONS_TO_EKMAN, is_multi_label=True, source=_DEMSZKY),
    "goemotions-seven": LabelMap(
        SEVEN,
        {label: _EKMAN_TO_SEVEN[emotion] for label, emotion in _GOEMOTIONS_TO_EKMAN.items()},
        source=_DEMSZKY,
    ),
    # As Ekman's groups, but that GoEmotions' quiet pleasant labels stand for RAVDESS's calm.
    "goemotions-ravdess": LabelMap(
        RAVDESS,
        {label: _EKMAN_TO_RAVDESS[emotion] for label, emotion in _GOEMOTIONS_TO_EKMAN.items()}
        | dict.fromkeys(("approval", "caring", "relief"), "calm"),
        source=f"{_DEMSZKY}; approval, caring and relief are calm by this project's choice",
    ),
    "ekman-ravdess": LabelMap(RAVDESS, _EKMAN_TO_RAVDESS, source=_EKMAN_NAMES),
    "meld-seven": LabelMap(SEVEN, _EKMAN_TO_SEVEN, source=_EKMAN_NAMES),
    **_of_corpora(),
}


def describe_label_maps() -> str:
    """Lists every label map: the label set, which labels lead to each emotion, which are dropped, and the source."""
    blocks = []
    for name, found in LABEL_MAPS.items():
        labels = [label for label in found.targets if not found.ignores_case or label == label.lower()]
        groups = {emotion: [one for one in labels if found.targets[one] == emotion] for emotion in found.emotions}
        lines = [f"  {emotion} <- {', '.join(group) or '-'}" for emotion, group in groups.items()]
        dropped = [label for label in labels if found.targets[label] is None]
        lines += [f"  dropped: {', '.join(dropped)}"] * bool(dropped)
        case = ", in any case" if found.ignores_case else ""
        blocks.append("\n".join([f"{name}: {len(found.emotions)} emotions{case}", *lines, f"  source: {found.source}"]))
    return "\n\n".join(blocks)
