"""metadata.json: the facts of a folder of records, written last, which says that they are complete."""

import dataclasses
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pipelines import audio
from pipelines.audio import ACOUSTIC, FrontEnd
from pipelines.command import InputError
from pipelines.files import write_json
from pipelines.records.remote import refresh, url_of
from pipelines.speakers import person_of
from pipelines.video import NUM_BOX_COLUMNS, VideoSettings

SCHEMA_VERSION = 3

METADATA = "metadata.json"


@dataclasses.dataclass(frozen=True)
class Metadata:
    """Facts of a folder of records; the keys of its metadata.json.

    Attributes:
      schema_version: Of the records.
      corpus, source, licence: Where they come from.
      emotions: The label set, in label order: those that occur.
      absent_emotions: Labels that were declared, or that the map leads to, and that no readable utterance has.
      label_map: The map that led to it, or empty.
      front_end: The settings of log_mel.
      acoustic: Names of the columns of acoustic; none where records hold no acoustic.
      encoder: Whose states records hold: {"kind", "model", "sha256" of the checkpoint, "blocks", "width",
        "steps_per_second"}; None where records hold none.
      video: The settings of video_frames; None where records hold none.
      vocabulary_sha256: Of the vocabulary that made the token ids.
      transcript_source: Where the words come from: "script", "simulated", "paired" or "whisper MODEL".
      is_multi_label: Whether a record may have several labels.
      has_audio: Whether the corpus has recordings; without them every log_mel has no frames.
      has_waveform: Whether records hold waveforms.
      shards: Shard -> {"speakers": [...], "num_utterances": N, "num_bytes": N, "sha256": S}.
      num_utterances, hours, longest_frames: Of all records together; hours of decoded audio.
      num_multi_label: Records with two labels or more.
      num_without_words: Records whose transcript is blank.
      num_unknown_words: Records whose transcript has words, of which the vocabulary knows none.
      findings: What is wrong with recordings that can be read, one of `pipelines.audio.quality.FINDINGS` -> number of
        recordings; narrow are those that reach far less high than the median.
      bandwidth_hz: Up to where the recordings reach, their median; None where that is known of none.
      counts: Speaker -> emotion -> number of records; one with two labels counts twice.
      num_videos, num_videos_without_audio: Utterances with frames, and those of them that have frames alone.
      num_frames_without_face: Frames of all videos in which no face was found.
      without_face: Utterances with frames of which none shows a face.
      ignored: Reason -> number of files or rows that the corpus's reader left out on purpose.
      skipped: Recordings that cannot be read, each {"utterance_id", "reason"}.
      silent: Utterances whose recording is silent.
      copies: Recordings that are copies of each other, as `pipelines.records.copies.Copies` says it; those of several
        labels first.
      notes: What was noticed of recordings while they were read, a sentence -> utterances.
      fingerprint: Hash of settings and sources, to recognise the same command.
      context: How many lines of its dialogue stand before an utterance at most; 0: records hold none.
      only_train: Speaker whose utterances may train, and never validate or test -> the name that this person has
        otherwise, as `pipelines.utterance.Corpus` says it.
      corpora: Of records of several corpora: name of each -> {"records", "people" (how its speakers begin),
        "label_map", "fingerprint"}; empty where they are of one.
    """

    schema_version: int
    corpus: str
    source: str
    licence: str
    emotions: list[str]
    absent_emotions: list[str]
    label_map: str
    front_end: dict[str, Any]
    acoustic: list[str]
    encoder: dict[str, Any] | None
    video: dict[str, Any] | None
    vocabulary_sha256: str
    transcript_source: str
    is_multi_label: bool
    has_audio: bool
    has_waveform: bool
    shards: dict[str, dict[str, Any]]
    num_utterances: int
    hours: float
    longest_frames: int
    num_multi_label: int
    num_without_words: int
    num_unknown_words: int
    findings: dict[str, int]
    bandwidth_hz: float | None
    counts: dict[str, dict[str, int]]
    num_videos: int
    num_videos_without_audio: int
    num_frames_without_face: int
    without_face: list[str]
    ignored: dict[str, int]
    skipped: list[dict[str, str]]
    silent: list[str]
    copies: list[dict[str, Any]]
    notes: dict[str, list[str]]
    fingerprint: str
    context: int = 0
    only_train: dict[str, str] = dataclasses.field(default_factory=dict)
    corpora: dict[str, dict[str, str]] = dataclasses.field(default_factory=dict)

    @property
    def speakers(self) -> tuple[str, ...]:
        """All speakers, sorted."""
        return tuple(sorted(self.counts))

    def person_of(self, speaker: str) -> str:
        """Names the person behind a speaker as other records do that hold utterances of that person."""
        return person_of(speaker, "" if self.corpora else self.corpus, self.only_train)

    def emotion_counts(self, speakers: Iterable[str]) -> list[int]:
        """Counts the labels of each emotion, in label order, over some speakers."""
        chosen = [self.counts[speaker] for speaker in speakers]
        return [sum(count.get(emotion, 0) for count in chosen) for emotion in self.emotions]

    @property
    def settings(self) -> FrontEnd:
        """The settings of log_mel, as an object."""
        return FrontEnd(**self.front_end)

    @property
    def columns(self) -> dict[str, int | tuple[int, ...]]:
        """The fields that are tables, and their numbers of columns; of encoder those of blocks and of columns."""
        columns: dict[str, int | tuple[int, ...]] = {"log_mel": self.settings.mel_bins}
        if self.acoustic:
            columns["acoustic"] = len(self.acoustic)
        if self.encoder:
            columns["encoder"] = shape_of_states(self.encoder)
        if self.video:
            columns["face_boxes"] = NUM_BOX_COLUMNS
        return columns

    @property
    def video_settings(self) -> VideoSettings | None:
        """The settings of video_frames, as an object."""
        return VideoSettings(**self.video) if self.video else None


def read_metadata(folder: Path) -> Metadata:
    """Reads metadata.json and makes sure that its shards are there; those of a URL come when they are read.

    Raises:
      InputError: No complete records, a metadata.json that is no such file, another schema version, a missing shard, or
        a URL that cannot be read.
    """
    refresh(folder)
    again = "make the records again with python -m pipelines.prepare --overwrite"
    path = folder / METADATA
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(
            f"{folder} holds no complete records ({METADATA} is missing): finish python -m pipelines.prepare."
        ) from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is corrupt ({error}): {again}.") from None
    version = values.get("schema_version") if isinstance(values, dict) else None
    if version != SCHEMA_VERSION:
        raise InputError(f"{path} has schema version {version}, and this program reads {SCHEMA_VERSION}: {again}.")
    names = {field.name for field in dataclasses.fields(Metadata)}
    # Records of before there were these hold none.
    if differing := sorted((set(values) ^ names) - {"context", "only_train", "corpora"}):
        raise InputError(f"{path} is corrupt (missing or unknown: {', '.join(differing)}): {again}.")
    try:
        metadata = Metadata(**values)
        metadata.emotion_counts(metadata.speakers)
        _ = metadata.columns, metadata.video_settings
        if metadata.acoustic not in ([], list(ACOUSTIC)):
            raise InputError(f"{path} names other acoustic features than this program computes: {again}.")
        for name, shard in ({} if url_of(folder) else metadata.shards).items():
            if not (folder / name).is_file() or (folder / name).stat().st_size != shard["num_bytes"]:
                raise InputError(f"{folder / name} is missing or cut off: {again}.")
    except (TypeError, KeyError, AttributeError) as error:
        raise InputError(f"{path} is corrupt ({error}): {again}.") from None
    return metadata


def marks_of(metadata: Metadata) -> list[str]:
    """Names what every score on these records has to carry."""
    of_source = {"simulated": "label-leaking", "paired": "paired"}
    marks = ["synthetic"] if "synthetic" in (metadata.corpus, *metadata.corpora) else []
    marks += [mark for source, mark in of_source.items() if metadata.transcript_source == source]
    # Sentences have no speakers to be known; recordings have.
    marks += ["speakers-unknown"] * (metadata.has_audio and "" in metadata.counts)
    return marks + [f"context {metadata.context}"] * bool(metadata.context)


def write_metadata(folder: Path, metadata: Metadata) -> None:
    """Writes metadata.json, which says that the records are complete."""
    write_json(folder / METADATA, dataclasses.asdict(metadata))


def kept_encoder(folder: Path) -> Path:
    """Names the folder of records that keeps the weights of their encoder."""
    return folder / "encoder"


def shape_of_states(encoder: Mapping[str, Any]) -> tuple[int, int]:
    """Returns the numbers of blocks and of columns of a step, by the facts of an encoder."""
    return len(encoder["blocks"]), int(encoder["width"])


def widths_of(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Lists the features that records hold, by the metadata of the records or of a run.

    Returns:
      Audio feature -> its columns, of encoder (num_blocks, width), of waveform (); video_frames -> height, width and
        channels of a frame, where there are any.
    """
    widths: dict[str, Any] = {"log_mel": metadata["front_end"]["mel_bins"]}
    if names := metadata.get("acoustic"):
        widths |= {"mfcc": audio.NUM_MFCC_COLUMNS, "acoustic": len(names)}
    if encoder := metadata.get("encoder"):
        widths["encoder"] = shape_of_states(encoder)
    if metadata.get("has_waveform"):
        widths["waveform"] = ()
    if settings := metadata.get("video"):
        widths["video_frames"] = VideoSettings(**settings).shape
    return widths
