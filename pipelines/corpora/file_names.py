"""Corpora whose file names say everything: CREMA-D, TESS, EMO-DB and SAVEE, one entry of `CORPORA` each.

Any depth of folders is read, so the makers' archives and other people's copies of them: `AudioWAV/` of CREMA-D,
`OAF_angry/` of TESS, `wav/` of EMO-DB, `AudioData/DC/a01.wav` and `ALL/DC_a01.wav` of SAVEE.
"""

import csv
import dataclasses
import re
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

from pipelines.command import InputError
from pipelines.corpora import ravdess
from pipelines.corpora.recordings import files_below, is_recording, stop_on_part, stop_on_pointer
from pipelines.emotions import CREMA_D, EMODB, SAVEE, TESS
from pipelines.utterance import Corpus, Utterance

_Groups = Mapping[str, str]


@dataclasses.dataclass(frozen=True)
class NamedCorpus:
    """A corpus whose file names hold speaker, emotion and sentence.

    Attributes:
      name: As tables show it.
      licence: Its licence, or what is known of it.
      emotions: The label set, in label order.
      codes: Code of the file names -> emotion.
      example: Where a recording lies, for sentences.
      shape: A regular expression of which every name is, the groups speaker, emotion and sentence among them.
      known: Group -> the codes that exist; a name of the shape with another one is of no known release.
      recordings, speakers: How many the published corpus has.
      attributes: Makes attributes of the groups of a name.
      words: What is said, by the groups of a name; empty where the makers give no list.
      name_of: Makes the name of a recording of its path.
    """

    name: str
    licence: str
    emotions: tuple[str, ...]
    codes: Mapping[str, str]
    example: str
    shape: str
    known: Mapping[str, frozenset[str]]
    recordings: int
    speakers: int
    attributes: Callable[[_Groups], dict[str, str]]
    words: Callable[[_Groups], str] = lambda groups: ""
    name_of: Callable[[Path], str] = lambda path: path.stem

    def match(self, path: Path) -> re.Match[str] | None:
        """Reads the name of a recording; None where it is not of this corpus."""
        return re.fullmatch(self.shape, self.name_of(path))


CREMA_D_SENTENCES = {
    "IEO": "It's eleven o'clock",
    "TIE": "That is exactly what happened",
    "IOM": "I'm on my way to the meeting",
    "IWW": "I wonder what this is about",
    "TAI": "The airplane is almost full",
    "MTI": "Maybe tomorrow it will be cold",
    "IWL": "I would like a new alarm clock",
    "ITH": "I think I have a doctor's appointment",
    "DFA": "Don't forget a jacket",
    "ITS": "I think I've seen this before",
    "TSI": "The surface is slick",
    "WSI": "We'll stop in a couple of minutes",
}
"""The twelve sentences of CREMA-D. Source: README of the corpus."""

# The level X stands in one published name, 1040_ITH_SAD_X.wav.
_CREMA_D_LEVELS = {"LO": "low", "MD": "medium", "HI": "high", "XX": "unspecified", "X": "unspecified"}

EMODB_SENTENCES = {
    "a01": "Der Lappen liegt auf dem Eisschrank.",
    "a02": "Das will sie am Mittwoch abgeben.",
    "a04": "Heute abend könnte ich es ihm sagen.",
    "a05": "Das schwarze Stück Papier befindet sich da oben neben dem Holzstück.",
    "a07": "In sieben Stunden wird es soweit sein.",
    "b01": "Was sind denn das für Tüten, die da unter dem Tisch stehen?",
    "b02": "Sie haben es gerade hochgetragen und jetzt gehen sie wieder runter.",
    "b03": "An den Wochenenden bin ich jetzt immer nach Hause gefahren und habe Agnes besucht.",
    "b09": "Ich will das eben wegbringen und dann mit Karl was trinken gehen.",
    "b10": "Die wird auf dem Platz sein, wo wir sie immer hinlegen.",
}
"""The ten sentences of EMO-DB. Source: emodb.bilderbar.info."""

# Sex and age of the actors. Source: emodb.bilderbar.info.
_EMODB_ACTORS = {
    "03": ("male", "31"),
    "08": ("female", "34"),
    "09": ("female", "21"),
    "10": ("male", "32"),
    "11": ("male", "26"),
    "12": ("male", "30"),
    "13": ("female", "32"),
    "14": ("female", "35"),
    "15": ("male", "25"),
    "16": ("female", "31"),
}

_TESS_AGES = {"OAF": "64", "YAF": "26"}

_SAVEE_SPEAKERS = frozenset({"DC", "JE", "JK", "KL"})
_SAVEE_STEM = re.compile(r"(sa|su|[adfhn])\d\d")


def _savee_name(path: Path) -> str:
    """Names a recording of SAVEE with its speaker, whom the makers' archive has as the folder."""
    is_in_folder = _SAVEE_STEM.fullmatch(path.stem) and path.parent.name in _SAVEE_SPEAKERS
    return f"{path.parent.name}_{path.stem}" if is_in_folder else path.stem


CORPORA: Mapping[str, NamedCorpus] = {
    "crema-d": NamedCorpus(
        name="CREMA-D",
        licence="Open Database License 1.0, doi 10.1109/TAFFC.2014.2336244",
        emotions=CREMA_D,
        codes=dict(zip(("ANG", "DIS", "FEA", "HAP", "NEU", "SAD"), CREMA_D, strict=True)),
        example="AudioWAV/1001_DFA_ANG_XX.wav",
        shape=r"(?P<speaker>1\d{3})_(?P<sentence>[A-Z]{3})_(?P<emotion>[A-Z]{3})_(?P<level>[A-Z]{1,2})",
        known={"sentence": frozenset(CREMA_D_SENTENCES), "level": frozenset(_CREMA_D_LEVELS)},
        recordings=7442,
        speakers=91,
        attributes=lambda groups: {
            "intensity": _CREMA_D_LEVELS[groups["level"]],
            "statement": groups["sentence"],
        },
        words=lambda groups: CREMA_D_SENTENCES[groups["sentence"]],
    ),
    "tess": NamedCorpus(
        name="TESS",
        licence="CC BY-NC-ND 4.0, doi 10.5683/SP2/E8H2MF",
        emotions=TESS,
        codes={emotion: emotion for emotion in TESS},
        example="OAF_angry/OAF_back_angry.wav",
        # One published name lacks a letter: OA_bite_neutral.wav.
        shape=r"(?P<speaker>[OY]AF)_(?P<sentence>[a-z']+)_(?P<emotion>[a-z]+)",
        known={},
        recordings=2800,
        speakers=2,
        attributes=lambda groups: {"word": groups["sentence"], "sex": "female", "age": _TESS_AGES[groups["speaker"]]},
        words=lambda groups: f"Say the word {groups['sentence']}",
        name_of=lambda path: re.sub(r"^OA_", "OAF_", path.stem),
    ),
    "emodb": NamedCorpus(
        name="EMO-DB",
        licence="not stated by the makers, who ask to cite Burkhardt et al. 2005 (Interspeech)",
        emotions=EMODB,
        codes=dict(zip("WLEAFTN", EMODB, strict=True)),
        example="wav/03a01Fa.wav",
        shape=r"(?P<speaker>\d\d)(?P<sentence>[a-z]\d\d)(?P<emotion>[A-Z])(?P<version>[a-z]?)",
        known={"speaker": frozenset(_EMODB_ACTORS), "sentence": frozenset(EMODB_SENTENCES)},
        recordings=535,
        speakers=10,
        attributes=lambda groups: {
            "statement": groups["sentence"],
            "version": groups["version"],
            "sex": _EMODB_ACTORS[groups["speaker"]][0],
            "age": _EMODB_ACTORS[groups["speaker"]][1],
        },
        words=lambda groups: EMODB_SENTENCES[groups["sentence"]],
    ),
    "savee": NamedCorpus(
        name="SAVEE",
        licence="for research, after registration with the makers (Haq & Jackson 2009)",
        emotions=SAVEE,
        codes=dict(zip(("a", "d", "f", "h", "n", "sa", "su"), SAVEE, strict=True)),
        example="AudioData/DC/a01.wav",
        shape=r"(?P<speaker>[A-Z]{2})_(?P<emotion>[a-z]{1,2})(?P<sentence>\d\d)",
        known={"speaker": _SAVEE_SPEAKERS},
        recordings=480,
        speakers=4,
        attributes=lambda groups: {"sentence": groups["emotion"] + groups["sentence"], "sex": "male"},
        name_of=_savee_name,
    ),
}
"""Name of a corpus on the command line -> how its files are named."""


def read(source: Path, corpus: str, *, is_part: bool = False) -> Corpus:
    """Reads the file names below a folder.

    Args:
      source: The folder.
      corpus: A name of `CORPORA`.
      is_part: Whether fewer recordings than the published corpus has are meant.

    Raises:
      InputError: A folder that is missing, of another corpus or of a part of this one; names whose codes do not exist;
        files that stand for others.
    """
    found = CORPORA[corpus]
    ignored: Counter[str] = Counter()
    recordings: dict[str, Path] = {}
    videos: dict[str, Path] = {}
    for path in files_below(source, f"{found.name}, such as {found.example}"):
        if found.match(path) is None:
            ignored[f"files without a name of {found.name}"] += is_recording(path)
            continue
        files = recordings if is_recording(path) else videos
        if files.setdefault(found.name_of(path), path) is not path:
            ignored["a second file of the same name"] += 1
    if not recordings:
        raise InputError(_nothing_found(source, found))
    _stop_on_codes(found, recordings)
    stop_on_pointer(next(iter(recordings.values())))
    about = _demographics(source) if corpus == "crema-d" else {}
    utterances = [_utterance(found, name, path, videos.get(name), about) for name, path in recordings.items()]
    counts = Counter(utterance.speaker for utterance in utterances)
    whole = {"recordings": found.recordings, "speakers": found.speakers}
    stop_on_part(found.name, source, counts, whole, is_part)
    ordered = tuple(sorted(utterances, key=lambda utterance: utterance.utterance_id))
    left_out = {reason: count for reason, count in ignored.items() if count}
    return Corpus(found.name, source, found.licence, found.emotions, ordered, left_out)


def _utterance(
    found: NamedCorpus, name: str, path: Path, video: Path | None, about: Mapping[str, Mapping[str, str]]
) -> Utterance:
    match = found.match(path)
    assert match is not None
    groups = match.groupdict()
    attributes = {**found.attributes(groups), **about.get(groups["speaker"], {})}
    return Utterance(
        utterance_id=name,
        speaker=groups["speaker"],
        emotion=found.codes[groups["emotion"]],
        audio=path,
        video=video,
        transcript=found.words(groups),
        trial=name,
        attributes={key: value for key, value in attributes.items() if value},
    )


def _stop_on_codes(found: NamedCorpus, recordings: Mapping[str, Path]) -> None:
    """Refuses names of the right shape whose codes no known release has."""
    known = {**found.known, "emotion": frozenset(found.codes)}
    unknown = []
    for path in recordings.values():
        match = found.match(path)
        if match is not None and any(match[group] not in codes for group, codes in known.items()):
            unknown.append(path)
    if unknown:
        emotions = ", ".join(found.codes)
        more = f" (and {len(unknown) - 1} more)" if len(unknown) > 1 else ""
        raise InputError(
            f"{min(unknown)}{more} has a code that {found.name} does not know (emotions {emotions}; example"
            f" {found.example}): it is of another release or corpus, so correct its name or remove it."
        )


def _nothing_found(source: Path, wanted: NamedCorpus) -> str:
    """Says what a folder holds instead, where that is a corpus that is known."""
    files = [path for path in files_below(source, wanted.name) if is_recording(path)]
    counts = {name: sum(one.match(path) is not None for path in files) for name, one in CORPORA.items()}
    counts["ravdess"] = sum(ravdess.is_named_so(path.stem) for path in files)
    name, count = max(counts.items(), key=lambda item: item[1])
    if count:
        return (
            f"{source} holds no {wanted.name}: {count} of its {len(files)} recordings have names of {name}, so read it"
            f" with --corpus {name}."
        )
    held = f"{len(files)} recordings of other names" if files else "no recording at all"
    return (
        f"{source} holds no {wanted.name} recording such as {wanted.example}, {held}: name the folder of the unpacked"
        " corpus, or use --corpus folders or manifest for recordings of your own."
    )


def _demographics(source: Path) -> dict[str, dict[str, str]]:
    """Reads sex and age of the actors of CREMA-D from its VideoDemographics.csv, in or beside the folder."""
    places = [folder / "VideoDemographics.csv" for folder in (source, source.parent)]
    path = next((place for place in places if place.is_file()), None)
    if path is None:
        return {}
    stop_on_pointer(path)
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    if rows and not {"ActorID", "Age", "Sex"} <= set(rows[0]):
        raise InputError(f"{path} lacks ActorID, Age or Sex: use the published file, or remove it.")
    return {row["ActorID"]: {"sex": row["Sex"].strip().lower(), "age": row["Age"].strip()} for row in rows}
