"""The readers that `--corpus` chooses from, and the flags that belong to some of them."""

import argparse
import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pipelines.command import InputError
from pipelines.corpora import (
    audformat_database,
    emobox,
    file_names,
    folders,
    goemotions,
    hugging_face,
    iemocap,
    kaldi,
    manifest,
    meld,
    ravdess,
    synthetic,
)
from pipelines.corpora.recordings import Speakers
from pipelines.corpora.tables import parse_columns
from pipelines.emotions import LABEL_MAPS, RAVDESS, describe_label_maps
from pipelines.parsers import Group, add_flag
from pipelines.settings import at_least
from pipelines.utterance import Corpus


@dataclasses.dataclass(frozen=True)
class _Asked:
    """What the command line asks of a reader.

    Attributes:
      source: The folder or file; None: none is named.
      emotions: Those of --emotions; none: not given.
      label_map: Name of the label map, or empty.
      columns: The text of --columns.
      speakers: How speakers are found where a corpus names none.
      is_part: Whether a part of a corpus is meant.
      with_song, with_video: Whether those join.
      leaking_fold: The fold of EmoBox that shares speakers and is meant; None: none.
      makes: Whether what is made, the synthetic corpus, is made now; else it is only described.
    """

    source: Path | None
    emotions: tuple[str, ...]
    label_map: str
    columns: str | None
    speakers: Speakers
    is_part: bool
    with_song: bool
    with_video: bool
    leaking_fold: int | None
    makes: bool

    def folder(self, name: str) -> Path:
        """Returns where a corpus lies: what is named, else data/<corpus>."""
        return self.source or Path("data") / name

    @property
    def labels(self) -> tuple[str, ...]:
        """Returns the labels that may be there, where they are declared: by --emotions or a label map."""
        return self.emotions or (tuple(LABEL_MAPS[self.label_map].targets) if self.label_map else ())


def _named(name: str) -> Callable[[_Asked], Corpus]:
    return lambda asked: file_names.read(asked.folder(name), name, is_part=asked.is_part)


def _read_synthetic(asked: _Asked) -> Corpus:
    folder = asked.folder("synthetic")
    if not asked.makes:
        return synthetic.plan(folder, with_video=asked.with_video)
    synthetic.make(folder, with_video=asked.with_video)
    return synthetic.read(folder)


def _read_manifest(asked: _Asked) -> Corpus:
    if asked.source is None:
        raise InputError("--corpus manifest needs --source FILE.csv, a CSV with the columns path,emotion,speaker.")
    columns = parse_columns(asked.columns, manifest.COLUMNS)
    return manifest.read(asked.source, asked.labels or RAVDESS, columns)


def _read_folders(asked: _Asked) -> Corpus:
    return folders.read(asked.folder("folders"), asked.emotions, asked.speakers)


def _read_kaldi(asked: _Asked) -> Corpus:
    return kaldi.read(asked.folder("kaldi"), asked.emotions, asked.speakers)


def _read_hugging_face(asked: _Asked) -> Corpus:
    columns = parse_columns(asked.columns, hugging_face.COLUMNS)
    return hugging_face.read(asked.folder("hf"), asked.emotions, asked.speakers, columns)


def _read_audformat(asked: _Asked) -> Corpus:
    columns = parse_columns(asked.columns, audformat_database.COLUMNS)
    return audformat_database.read(asked.folder("audformat"), asked.emotions, asked.speakers, columns)


READERS: Mapping[str, Callable[[_Asked], Corpus]] = {
    "ravdess": lambda asked: ravdess.read(asked.folder("ravdess"), with_song=asked.with_song),
    "ravdess-song": lambda asked: ravdess.read_song(asked.folder("ravdess-song"), is_part=asked.is_part),
    "crema-d": _named("crema-d"),
    "tess": _named("tess"),
    "emodb": _named("emodb"),
    "savee": _named("savee"),
    "iemocap": lambda asked: iemocap.read(asked.folder("iemocap"), is_part=asked.is_part),
    "meld": lambda asked: meld.read(asked.folder("meld")),
    "goemotions": lambda asked: goemotions.read(asked.folder("goemotions")),
    "manifest": _read_manifest,
    "folders": _read_folders,
    "audformat": _read_audformat,
    "hf": _read_hugging_face,
    "kaldi": _read_kaldi,
    "emobox": lambda asked: emobox.read(asked.folder("emobox"), asked.emotions, asked.leaking_fold),
    "synthetic": _read_synthetic,
}
"""Name on the command line -> what reads the corpus."""

OWN_LABELS = ("manifest", "folders", "audformat", "hf", "kaldi", "emobox")
"""Corpora whose labels are the user's: --emotions declares them. They are named by their folder."""

_BELONGS: Mapping[str, tuple[str, ...]] = {
    "emotions": OWN_LABELS,
    "columns": ("manifest", "hf", "audformat"),
    "speaker_regex": ("folders", "hf", "audformat", "kaldi"),
    "no_speakers": ("folders", "hf", "audformat", "kaldi"),
    "incomplete": ("ravdess-song", *file_names.CORPORA, "iemocap"),
    "with_song": ("ravdess",),
    "speaker_leaking": ("emobox",),
}
"""Flag -> the corpora that it is for."""


def add_arguments(group: Group, *, is_required: bool = True) -> None:
    """Adds --corpus and the flags of its readers.

    Args:
      group: Where.
      is_required: Whether a corpus must be named.
    """
    options: dict[str, Any] = {"required": is_required, "choices": READERS, "metavar": "NAME"}
    add_flag(group, "--corpus", "Read this corpus.", ", ".join(READERS), **options)
    sentence = "Read the corpus from this folder, or the manifest from this table."
    add_flag(group, "--source", sentence, type=Path, metavar="PATH", shown="data/<corpus>")
    sentence = "Take these labels of a corpus of your own, in this order, separated by commas."
    shown = f"of a manifest {','.join(RAVDESS)}, else those that are there"
    add_flag(group, "--emotions", sentence, _corpora("emotions"), metavar="A,B,...", shown=shown)
    sentence = "Map the labels of the corpus to others by this label map."
    add_flag(group, "--label-map", sentence, "one of --list-label-maps", choices=LABEL_MAPS, metavar="NAME")
    sentence = "List the label maps, with all their labels and sources, and end."
    add_flag(group, "--list-label-maps", sentence, action=_ListLabelMaps, nargs=0)
    sentence = "Find these columns under other names, for instance path=file,emotion=label."
    add_flag(group, "--columns", sentence, _corpora("columns"), metavar="NAME=COLUMN,...")
    sentence = "Find who speaks by the first group of this regular expression in the path."
    add_flag(group, "--speaker-regex", sentence, _corpora("speaker_regex"), metavar="PATTERN")
    sentence = "Read recordings whose speakers are unknown: --folds random alone, and scores carry speakers-unknown."
    add_flag(group, "--no-speakers", sentence, _corpora("no_speakers"), action="store_true")
    sentence = "Read a part of a corpus, which else is taken for a download that is not complete."
    add_flag(group, "--incomplete", sentence, _corpora("incomplete"), action="store_true")
    sentence = "Let what the actors sing train, too; songs never validate or test."
    add_flag(group, "--with-song", sentence, _corpora("with_song"), action="store_true")
    sentence = "Take this fold though speakers of its test split train; scores carry speaker-leaking."
    bounds = f"{at_least(1)}; {_corpora('speaker_leaking')}"
    add_flag(group, "--speaker-leaking", sentence, bounds, type=int, metavar="FOLD")


class _ListLabelMaps(argparse.Action):
    """Prints the label maps and ends, whatever other flags there are."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        print(describe_label_maps())
        parser.exit()


def _corpora(flag: str) -> str:
    names = _BELONGS[flag]
    return f"corpus {', '.join(names)} only" if len(names) == 1 else f"corpora {', '.join(names)} only"


def read(arguments: argparse.Namespace, *, makes: bool = True) -> Corpus:
    """Reads the corpus that the flags of `add_arguments` ask for; labels are those of the corpus.

    Args:
      arguments: The flags.
      makes: Whether the synthetic corpus is made where it is absent; else it is described, and its files may be absent.

    Raises:
      InputError: Flags of another corpus, or whatever is wrong with this one.
    """
    for name, corpora in _BELONGS.items():
        if getattr(arguments, name) not in (None, False) and arguments.corpus not in corpora:
            flag = name.replace("_", "-")
            if flag == "emotions":
                raise InputError(
                    f"--emotions declares the labels of a corpus of your own; {arguments.corpus} has its own: leave it"
                    " out."
                )
            raise InputError(f"--{flag} is for --corpus {' or '.join(corpora)}, not {arguments.corpus}: leave it out.")
    if arguments.speaker_regex and arguments.no_speakers:
        raise InputError("--speaker-regex finds speakers and --no-speakers leaves them out: give one of them.")
    asked = _Asked(
        source=arguments.source,
        emotions=_emotions(arguments.emotions),
        label_map=arguments.label_map or "",
        columns=arguments.columns,
        speakers=Speakers(arguments.speaker_regex or "", arguments.no_speakers),
        is_part=arguments.incomplete,
        with_song=arguments.with_song,
        with_video=arguments.with_video,
        leaking_fold=arguments.speaker_leaking,
        makes=makes,
    )
    return READERS[arguments.corpus](asked)


def name_of(arguments: argparse.Namespace, corpus: Corpus) -> str:
    """Names the folder of the records: as the corpus, or one of the user's as its file or folder."""
    return corpus.source.resolve().stem if arguments.corpus in OWN_LABELS else arguments.corpus


def _emotions(text: str | None) -> tuple[str, ...]:
    if not text:
        return ()
    emotions = tuple(emotion.strip() for emotion in text.split(","))
    if len(emotions) < 2 or len(set(emotions)) < len(emotions) or not all(emotions):
        raise InputError(f"--emotions {text} must name two or more different labels: A,B,...")
    if "|" in text:
        raise InputError(f"--emotions {text}: a label must not hold |, which joins several: rename it.")
    return emotions
