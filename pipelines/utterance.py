"""Utterance: one labelled recording or sentence; Corpus: all utterances, and what its reader left out."""

import dataclasses
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from pipelines.command import InputError
from pipelines.emotions import LABEL_MAPS

SPLITS = ("train", "validation", "test")


class Segment(NamedTuple):
    """A stretch of a file, in seconds from its beginning; without an end it goes on to that of the file."""

    start: float = 0.0
    end: float | None = None

    def __str__(self) -> str:
        """For example "1.5-2.75"."""
        return "-".join("end" if seconds is None else f"{seconds:.6f}".rstrip("0").rstrip(".") for seconds in self)


@dataclasses.dataclass(frozen=True)
class Utterance:
    """One labelled recording or sentence.

    Attributes:
      utterance_id: Unique in its corpus (RAVDESS: the file's stem).
      speaker: As the corpus writes it (RAVDESS: "01" to "24"); empty for corpora without speakers.
      emotion: A name of the corpus's label set; in a multi-label corpus all names, joined by "|" in label order.
      audio: The recording, or the video whose audio is read, or None.
      transcript: The words that the corpus gives; empty where it gives none.
      trial: The performance; equal for all modalities of one trial. Defaults to the utterance_id.
      published_split: "train", "validation", "test", or empty.
      attributes: Anything else that the corpus says: intensity, statement, sex, repetition, ...
      video: The video whose frames are read, or None.
      segment: What is read of audio and video, or None: all of them.
      context: The lines of its dialogue that stand before it for a model, the oldest first.
      line: Its number in the dialogue that attributes["dialogue"] names; None where it belongs to none.
      place: Where the corpus names the utterance, for sentences ("mine.csv, line 3"); empty where that is no help.
    """

    utterance_id: str
    speaker: str
    emotion: str
    audio: Path | None = None
    transcript: str = ""
    trial: str = ""
    published_split: str = ""
    attributes: Mapping[str, str] = dataclasses.field(default_factory=dict)
    video: Path | None = None
    segment: Segment | None = None
    context: tuple[str, ...] = ()
    line: int | None = dataclasses.field(default=None, compare=False)
    place: str = dataclasses.field(default="", compare=False)

    @property
    def emotions(self) -> tuple[str, ...]:
        """The names in `emotion`."""
        return tuple(self.emotion.split("|"))


@dataclasses.dataclass(frozen=True)
class Corpus:
    """The utterances of one corpus.

    Attributes:
      name: Of the corpus, as tables show it.
      source: The folder or file it was read from.
      licence: Its licence, or what is known of it.
      emotions: The label set, in label order.
      utterances: Sorted by utterance_id.
      ignored: Reason -> number of files or rows that were left out on purpose.
      is_multi_label: Whether utterances may have several emotions.
      absent_emotions: Labels that were taken out of the label set because no utterance has them.
      folds: Published folds of speakers, each split -> speakers, where whoever published the corpus made any.
      only_train: Speaker whose utterances may train, and never validate or test -> the speaker that this person is
        called where all utterances may: the songs of actors who also speak.
    """

    name: str
    source: Path
    licence: str
    emotions: tuple[str, ...]
    utterances: tuple[Utterance, ...]
    ignored: Mapping[str, int] = dataclasses.field(default_factory=dict)
    is_multi_label: bool = False
    absent_emotions: tuple[str, ...] = ()
    folds: tuple[Mapping[str, tuple[str, ...]], ...] = ()
    only_train: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @property
    def speakers(self) -> tuple[str, ...]:
        """All speakers, sorted."""
        return tuple(sorted({utterance.speaker for utterance in self.utterances}))

    @property
    def has_audio(self) -> bool:
        """Whether any utterance has a recording."""
        return any(utterance.audio is not None for utterance in self.utterances)

    @property
    def has_video(self) -> bool:
        """Whether any utterance has a video."""
        return any(utterance.video is not None for utterance in self.utterances)

    def with_present_emotions(self) -> "Corpus":
        """Takes the labels that no utterance has out of the label set, whose order stays."""
        present = {emotion for utterance in self.utterances for emotion in utterance.emotions}
        absent = tuple(emotion for emotion in self.emotions if emotion not in present)
        emotions = tuple(emotion for emotion in self.emotions if emotion in present)
        return dataclasses.replace(self, emotions=emotions, absent_emotions=self.absent_emotions + absent)

    def audio_only(self) -> "Corpus":
        """Takes the videos away; utterances that had nothing else are left out and counted in `ignored`."""
        kept = [one for one in self.utterances if one.audio is not None or one.video is None]
        count = len(self.utterances) - len(kept)
        ignored = {**self.ignored, **({"video without audio (--video-frames reads it)": count} if count else {})}
        return dataclasses.replace(
            self, utterances=tuple(dataclasses.replace(one, video=None) for one in kept), ignored=ignored
        )

    def relabelled(self, label_map: str) -> "Corpus":
        """Maps every emotion through a map of `pipelines.emotions`; what the map drops is counted in `ignored`.

        Of an utterance with several emotions those that the map drops go, and those that it merges become one.

        Raises:
          InputError: The map does not exist, or has no entry for a label of this corpus.
        """
        if label_map not in LABEL_MAPS:
            raise InputError(f"there is no label map {label_map!r}: choose one of {', '.join(sorted(LABEL_MAPS))}.")
        chosen = LABEL_MAPS[label_map]
        dropped: Counter[str] = Counter()
        kept = []
        for utterance in self.utterances:
            targets = _targets(utterance, label_map)
            if not targets:
                dropped[f"{utterance.emotion} (dropped by {label_map})"] += 1
            elif len(targets) > 1 and not chosen.is_multi_label:
                dropped[f"two or more emotions (dropped by {label_map})"] += 1
            else:
                kept.append(dataclasses.replace(utterance, emotion="|".join(targets)))
        return dataclasses.replace(
            self,
            emotions=chosen.emotions,
            utterances=tuple(kept),
            ignored={**self.ignored, **dropped},
            is_multi_label=self.is_multi_label and chosen.is_multi_label,
        )


def _targets(utterance: Utterance, label_map: str) -> list[str]:
    """Maps the emotions of one utterance, each once, in label order."""
    chosen = LABEL_MAPS[label_map]
    unknown = [label for label in utterance.emotions if label not in chosen.targets]
    if unknown:
        raise InputError(
            f"label map {label_map} does not know the label {unknown[0]!r} of {utterance.utterance_id}:"
            f" it maps {', '.join(chosen.targets)}."
        )
    found = {chosen.targets[label] for label in utterance.emotions}
    return [emotion for emotion in chosen.emotions if emotion in found]
