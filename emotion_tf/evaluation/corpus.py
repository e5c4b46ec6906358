"""What is said of a corpus: numbers by speaker and emotion, what is wrong, and what tells the label."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from emotion_tf.evaluation.corpus_findings import Finding, find_all
from emotion_tf.evaluation.cues import CueScore, score_cues
from pipelines.survey import Survey

if TYPE_CHECKING:
    import pandas as pd

MEASURES: Mapping[str, str] = {
    "seconds": "duration in seconds",
    "level_db": "loudness in dB of full scale",
    "floor_db": "noise floor in dB of full scale",
}
"""Columns of a survey that are shown by emotion -> what they are."""

_OF_RECORDS = {"floor_db": "noise floor in dB below the loudness"}

_QUANTILES = (0.05, 0.5, 0.95)


@dataclasses.dataclass(frozen=True)
class Summary:
    """A checked corpus.

    Attributes:
      survey: Its recordings.
      counts: Speaker -> emotion -> number of clips; a clip of two emotions counts twice.
      findings: What is wrong, the most severe first.
      cues: What tells the label.
    """

    survey: Survey
    counts: Mapping[str, Mapping[str, int]]
    findings: Sequence[Finding]
    cues: Sequence[CueScore]

    @property
    def hours(self) -> float:
        """Of all recordings together."""
        clips = self.survey.clips
        return float(clips["seconds"].sum()) / 3600 if "seconds" in clips else 0.0

    @property
    def emotions(self) -> tuple[str, ...]:
        """Those that occur, in label order."""
        present = {emotion for counts in self.counts.values() for emotion in counts}
        return tuple(emotion for emotion in self.survey.emotions if emotion in present)

    @property
    def measures(self) -> dict[str, str]:
        """Columns that are known and shown by emotion -> what they are."""
        titles = {**MEASURES, **(_OF_RECORDS if self.survey.is_of_records else {})}
        clips = self.survey.clips
        return {name: title for name, title in titles.items() if name in clips and clips[name].notna().any()}

    @property
    def formats(self) -> list[dict[str, Any]]:
        """Kinds of files, the commonest first, each with its `count`; none of records."""
        names = ["encoding", "sample_rate", "num_channels"]
        if not set(names) <= set(self.survey.clips):
            return []
        counts = self.survey.clips[names].dropna().value_counts()
        return [
            {"encoding": encoding, "sample_rate": int(rate), "num_channels": int(channels), "count": int(count)}
            for (encoding, rate, channels), count in counts.items()
        ]

    def of_emotion(self, emotion: str) -> "pd.DataFrame":
        """Returns the clips of an emotion."""
        clips = self.survey.clips
        return clips[[emotion in labels.split("|") for labels in clips["emotion"]]]

    def by_emotion(self) -> dict[str, dict[str, Any]]:
        """Emotion -> clips, speakers, and of each measure the quantiles 0.05, 0.5 and 0.95."""
        found = {}
        for emotion in self.emotions:
            clips = self.of_emotion(emotion)
            quantiles = {name: clips[name].quantile(list(_QUANTILES)).round(3).tolist() for name in self.measures}
            speakers = clips.loc[clips["speaker"] != "", "speaker"].nunique()
            found[emotion] = {"num_clips": len(clips), "num_speakers": speakers, **quantiles}
        return found

    def to_json(self) -> dict[str, Any]:
        """Returns what check.json holds."""
        survey = self.survey
        return {
            "corpus": survey.name,
            "source": str(survey.source),
            "is_of_records": survey.is_of_records,
            "num_clips": len(survey.clips),
            "num_speakers": len([speaker for speaker in self.counts if speaker]),
            "hours": round(self.hours, 4),
            "emotions": list(self.emotions),
            "findings": [dataclasses.asdict(one) for one in self.findings],
            "cues": [dataclasses.asdict(one) | {"beats_chance": one.beats_chance} for one in self.cues],
            "counts": self.counts,
            "by_emotion": self.by_emotion(),
            "formats": self.formats,
            "unreadable": dict(survey.unreadable),
        }


def summarise(survey: Survey) -> Summary:
    """Finds what is wrong with a surveyed corpus."""
    clips = survey.clips
    cues = [] if survey.is_multi_label else score_cues(clips)
    rows = clips.assign(emotion=clips["emotion"].astype(str).str.split("|")).explode("emotion")
    table = rows.groupby(["speaker", "emotion"]).size()
    counts: dict[str, dict[str, int]] = {}
    for (speaker, emotion), count in table.items():
        counts.setdefault(speaker, {})[emotion] = int(count)
    return Summary(survey, counts, find_all(survey, cues), cues)
