"""What is counted while records are written: the counters of a shard, which add up to those of all records."""

import collections
import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from pipelines import audio, text
from pipelines.audio.quality import Quality, findings_of, is_narrow
from pipelines.clips import Clip
from pipelines.records.copies import Recording, draw_fingerprint, find_copies
from pipelines.utterance import Utterance

_Counts = dict[str, dict[str, int]]


@dataclasses.dataclass
class Counters:
    """Counters over some records; what is not said here stands at the field of the same name in `Metadata`.

    Attributes:
      num_samples: Of decoded audio.
      recordings: The fields of a `Recording` for each record with audio or video, by which copies are found.
      bandwidths: Hz up to where recordings reach, as text because JSON knows no other keys -> number of recordings.
    """

    num_utterances: int = 0
    num_multi_label: int = 0
    num_without_words: int = 0
    num_samples: int = 0
    longest_frames: int = 0
    counts: _Counts = dataclasses.field(default_factory=dict)
    skipped: list[dict[str, str]] = dataclasses.field(default_factory=list)
    silent: list[str] = dataclasses.field(default_factory=list)
    notes: dict[str, list[str]] = dataclasses.field(default_factory=dict)
    num_videos: int = 0
    num_videos_without_audio: int = 0
    num_frames_without_face: int = 0
    without_face: list[str] = dataclasses.field(default_factory=list)
    recordings: list[list[Any]] = dataclasses.field(default_factory=list)
    num_unknown_words: int = 0
    findings: dict[str, int] = dataclasses.field(default_factory=dict)
    bandwidths: dict[str, int] = dataclasses.field(default_factory=dict)

    def skip(self, utterance: Utterance, reason: str) -> None:
        """Counts an utterance that cannot be read."""
        self.skipped.append({"utterance_id": utterance.utterance_id, "reason": reason})

    def count(self, utterance: Utterance, clip: Clip, record: Mapping[str, Any]) -> None:
        """Counts an utterance, what was decoded of it, and its record."""
        of_speaker = self.counts.setdefault(utterance.speaker, {})
        for emotion in utterance.emotions:
            of_speaker[emotion] = of_speaker.get(emotion, 0) + 1
        self.num_utterances += 1
        self.num_multi_label += len(utterance.emotions) > 1
        self.num_without_words += len(record["token_ids"]) == 1
        self.num_unknown_words += text.is_unknown(record["token_ids"])
        self.num_samples += len(clip.waveform)
        self.longest_frames = max(self.longest_frames, len(record["log_mel"]))
        if clip.is_silent:
            self.silent.append(utterance.utterance_id)
        elif len(clip.waveform) and clip.quality:
            self._count_quality(clip.quality)
        for note in clip.notes:
            self.notes.setdefault(note, []).append(utterance.utterance_id)
        if clip.frames is not None:
            self.num_videos += 1
            self.num_videos_without_audio += not len(clip.waveform)
            self.num_frames_without_face += clip.frames.num_without_face
            if clip.frames.num_without_face == len(clip.frames.images):
                self.without_face.append(utterance.utterance_id)
        if sha256 := record["audio_sha256"] or record.get("video_sha256", ""):
            fingerprint = draw_fingerprint(record["log_mel"])
            self.recordings.append([utterance.utterance_id, utterance.emotion, sha256, *fingerprint])

    def _count_quality(self, quality: Quality) -> None:
        found = findings_of(quality, None)
        self.findings = _sum(self.findings, dict.fromkeys(found, 1))
        if quality.bandwidth_hz is not None:
            self.bandwidths = _sum(self.bandwidths, {f"{quality.bandwidth_hz:.0f}": 1})

    def __add__(self, other: "Counters") -> "Counters":
        """Adds numbers, and appends lists."""
        both = {name: (value, getattr(other, name)) for name, value in vars(self).items()}
        longest, counts, (some, others) = both.pop("longest_frames"), both.pop("counts"), both.pop("notes")
        notes = {note: some.get(note, []) + others.get(note, []) for note in {**some, **others}}
        sums = {name: _sum(*both.pop(name)) for name in ("findings", "bandwidths")}
        added = {name: one + another for name, (one, another) in both.items()}
        return Counters(**{**added, **sums}, longest_frames=max(longest), counts=_added(*counts), notes=notes)

    @property
    def bandwidth_hz(self) -> float | None:
        """The median of where recordings reach; None where that is known of none."""
        values = [float(hz) for hz, count in self.bandwidths.items() for _ in range(count)]
        return float(np.median(values)) if values else None

    @property
    def facts(self) -> dict[str, Any]:
        """All counters as `Metadata` holds them."""
        values = dataclasses.asdict(self)
        hours = round(values.pop("num_samples") / audio.SAMPLE_RATE / 3600, 4)
        copies = find_copies([Recording(*one) for one in values.pop("recordings")])
        usual = self.bandwidth_hz
        narrow = sum(count for hz, count in values.pop("bandwidths").items() if is_narrow(float(hz), usual))
        values |= {"findings": self.findings | ({"narrow": narrow} if narrow else {}), "bandwidth_hz": usual}
        named = {"silent": sorted(self.silent), "without_face": sorted(self.without_face)}
        notes = {note: sorted(found) for note, found in sorted(self.notes.items())}
        return {**values, **named, "hours": hours, "notes": notes, "copies": [one.to_json() for one in copies]}


def _sum(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    """Adds up name -> number, and sorts the names."""
    total = collections.Counter(one) + collections.Counter(other)
    return {name: total[name] for name in sorted(total)}


def _added(one: _Counts, other: _Counts) -> _Counts:
    """Adds up speaker -> emotion -> number, and sorts the speakers."""
    total: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    for speaker, count in (*one.items(), *other.items()):
        total[speaker].update(count)
    return {speaker: dict(total[speaker]) for speaker in sorted(total)}
