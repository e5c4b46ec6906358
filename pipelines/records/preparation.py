"""What is to be prepared: the writer follows it, and recognises its own work by it."""

import dataclasses
import functools
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipelines import audio, text
from pipelines.audio.speech_encoder import Encoder, EncoderSettings
from pipelines.command import InputError
from pipelines.records.metadata import SCHEMA_VERSION, kept_encoder
from pipelines.records.shards import EXPECTED_SECONDS, plan_shards
from pipelines.speakers import stop_on_alike
from pipelines.utterance import Corpus, Utterance
from pipelines.video import VideoSettings

_NUM_MEASURED = 50


@dataclasses.dataclass(frozen=True)
class Preparation:
    """What to prepare, how, and where to.

    Attributes:
      corpus: Its utterances, relabelled already, with their words.
      folder: Where the records go.
      front_end: The settings of log_mel.
      label_map: Name of the map that relabelled the corpus, or empty.
      store_waveform: Keeps the 16 kHz samples in the records.
      transcript_source: Name of the source of the words.
      origin: What words and choice of utterances depend on beside the corpus, as JSON holds it.
      has_acoustic: Stores the acoustic features beside the log-mel.
      encoder: Stores states of this encoder, too; None: of none.
      video: Stores frames of videos, too; None: of none.
      context: How many lines of its dialogue each utterance has before it at most; 0: none are stored.
    """

    corpus: Corpus
    folder: Path
    front_end: audio.FrontEnd
    label_map: str = ""
    store_waveform: bool = False
    transcript_source: str = "script"
    origin: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    has_acoustic: bool = False
    encoder: EncoderSettings | None = None
    video: VideoSettings | None = None
    context: int = 0

    def check(self) -> None:
        """Stops on what can be known before any recording is read.

        Raises:
          InputError: No utterances, one speaker in two spellings, settings that leave mel bands empty or acoustic
            features without room, or an encoder that there is not.
        """
        stop_on_nothing(self.corpus)
        stop_on_alike(self.corpus.speakers, str(self.corpus.source))
        if self.corpus.has_audio:
            audio.mel_matrix(self.front_end)
        if self.has_acoustic:
            audio.check_acoustic(self.front_end)
        if self.encoder is not None:
            _ = self.encoder.chosen_blocks

    @property
    def has_clips(self) -> bool:
        """Whether any utterance is a file to decode, of audio or of video."""
        return self.corpus.has_audio or (self.video is not None and self.corpus.has_video)

    @property
    def frame_features(self) -> tuple[str, ...]:
        """The fields that are computed of each frame."""
        return ("log_mel", "acoustic") if self.has_acoustic else ("log_mel",)

    @functools.cached_property
    def shards(self) -> dict[str, list[Utterance]]:
        """Shard -> its utterances."""
        return plan_shards(
            self.corpus.utterances,
            self.front_end,
            has_waveform=self.store_waveform,
            has_acoustic=self.has_acoustic,
            encoder_bytes_per_second=self.encoder.bytes_per_second if self.encoder else 0,
            num_video_frames=self.video.num_frames if self.video else 0,
        )

    @functools.cached_property
    def bytes_of_states(self) -> int:
        """Estimates what the states of the encoder take on disk, by the lengths of some recordings; 0 without one."""
        if self.encoder is None:
            return 0
        recordings = [utterance for utterance in self.corpus.utterances if utterance.audio is not None]
        some = recordings[:: max(1, len(recordings) // _NUM_MEASURED)]
        lengths = [seconds for seconds in map(_stated_seconds, some) if seconds is not None]
        mean = sum(lengths) / len(lengths) if lengths else EXPECTED_SECONDS
        return round(len(recordings) * mean * self.encoder.bytes_per_second)

    @property
    def kept_encoder(self) -> Path:
        """The folder that keeps the weights of the encoder, beside the shards."""
        return kept_encoder(self.folder)

    @functools.cached_property
    def loaded_encoder(self) -> Encoder | None:
        """The encoder, loaded at first use."""
        return Encoder(self.encoder) if self.encoder else None

    @functools.cached_property
    def fingerprints(self) -> dict[str, str]:
        """Shard -> hash of all that it depends on: settings, labels, words, size and date of the recordings."""
        settings = {
            "schema_version": SCHEMA_VERSION,
            "corpus": self.corpus.name,
            "emotions": self.corpus.emotions,
            "is_multi_label": self.corpus.is_multi_label,
            "label_map": self.label_map,
            "front_end": dataclasses.asdict(self.front_end),
            "store_waveform": self.store_waveform,
            "vocabulary": text.vocabulary_sha256(),
            "transcript_source": self.transcript_source,
            "origin": dict(self.origin),
            "acoustic": audio.ACOUSTIC if self.has_acoustic else None,
            "encoder": self.encoder.identity if self.encoder else None,
            "video": dataclasses.asdict(self.video) if self.video else None,
            **({"context": self.context} if self.context else {}),
        }
        base = self.corpus.source if self.corpus.source.is_dir() else self.corpus.source.parent
        return {
            name: _hash([settings, [_identity(utterance, base) for utterance in shard]])
            for name, shard in self.shards.items()
        }

    @functools.cached_property
    def fingerprint(self) -> str:
        """Hash of the whole."""
        return _hash(self.fingerprints)


def stop_on_nothing(corpus: Corpus) -> None:
    """Stops on a corpus of which no utterance is left.

    Raises:
      InputError: There is none; says what was left out.
    """
    if not corpus.utterances:
        reasons = ", ".join(f"{count} {reason}" for reason, count in corpus.ignored.items())
        raise InputError(f"{corpus.source}: no utterance is left to write ({reasons}): leave out less.")


def _stated_seconds(utterance: Utterance) -> float | None:
    """Returns the length of a recording, or of the stretch of it that is read; None where no header states one."""
    assert utterance.audio is not None
    start, end = utterance.segment or (0.0, None)
    whole = audio.stated_seconds(utterance.audio) if end is None else end
    return None if whole is None else max(0.0, whole - start)


def _identity(utterance: Utterance, base: Path) -> dict[str, Any]:
    """What the record of an utterance depends on: its fields, and place, size and date of its files."""
    values = {**vars(utterance), "attributes": dict(utterance.attributes)}
    del values["place"], values["line"]  # A row that moves in its table makes the same record.
    if not utterance.context:
        del values["context"]
    for name in ("audio", "video"):
        path = values[name]
        if path is not None:
            stat = path.stat() if path.exists() else None
            values[name] = [os.path.relpath(path, base), stat and stat.st_size, stat and stat.st_mtime_ns]
    return values


def _hash(values: Any) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
