"""metadata.json of a run: the facts of its records and its fold that it is trained, scored and exported with."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipelines.command import InputError
from pipelines.files import read_json
from pipelines.folds import Fold
from pipelines.records.metadata import widths_of

RUN_VERSION = 2
"""Of the files of a run: it rises with every change that earlier runs cannot be read with."""


AGAIN = "train again with --overwrite"
"""What mends the files of a run."""


@dataclasses.dataclass(frozen=True)
class RunMetadata:
    """Facts of a run that its config does not hold; the keys of its metadata.json.

    Attributes:
      corpus: Name of the corpus of the records.
      marks: What every score of the run has to carry, for instance "synthetic".
      emotions: The label set, in label order.
      is_multi_label: Whether an utterance may have several emotions.
      has_audio: Whether the corpus has recordings; the model may read something else.
      headline: The score that chooses the best epoch, a name of `emotion_tf.evaluation.counts.HEADLINES`.
      modalities: What the model reads, some of `emotion_tf.config.MODALITIES` in that order.
      audio_features: What of the audio it reads, some of `emotion_tf.config.AUDIO_INPUTS` in that order.
      front_end: The settings of log_mel.
      acoustic: Names of the columns of acoustic; none where the records hold no acoustic.
      encoder: Whose states the model reads, as `pipelines.records.Metadata` says it; None where it reads none.
      video: The settings of video_frames; None where the model reads no video.
      vocabulary_sha256: Of the vocabulary that made the token ids of the records.
      tokenizer: Of the model's token ids: {"preset": name, or empty for the vocabulary of the records, "sha256"}.
      transcript_source: Where the words come from, as `pipelines.records.Metadata` says it.
      longest_frames: Frames of the longest clip of the records.
      has_waveform: Whether the records hold waveforms.
      bandwidth_hz: Up to where the recordings of the records reach, their median; None where that is known of none.
      fold: Which utterances train, validate and test.
      training_counts: Labels of each emotion in the training split, in label order.
      num_training: Utterances of the training split.
      prior: Share of the training utterances that have each emotion, in label order.
      context: How many lines of its dialogue the model reads before an utterance at most; 0: none.
      corpus_counts: Of records of several corpora: how the speakers of each begin -> labels of each emotion in the
        training split, in label order; empty where they are of one.
      label_map: What mapped the labels of the records, as `pipelines.records.Metadata` says it.
    """

    corpus: str
    marks: list[str]
    emotions: list[str]
    is_multi_label: bool
    has_audio: bool
    headline: str
    modalities: tuple[str, ...]
    audio_features: tuple[str, ...]
    front_end: dict[str, Any]
    acoustic: list[str]
    encoder: dict[str, Any] | None
    video: dict[str, Any] | None
    vocabulary_sha256: str
    tokenizer: dict[str, str]
    transcript_source: str
    longest_frames: int
    has_waveform: bool
    bandwidth_hz: float | None
    fold: Fold
    training_counts: list[int]
    num_training: int
    prior: list[float]
    context: int = 0
    corpus_counts: dict[str, list[int]] = dataclasses.field(default_factory=dict)
    label_map: str = ""

    @property
    def widths(self) -> dict[str, Any]:
        """Feature of audio -> its columns; video_frames -> height, width and channels, where the model reads them."""
        return widths_of(vars(self))

    def to_json(self) -> dict[str, Any]:
        """Returns what metadata.json holds: the attributes, and the version of the run."""
        return {"run_version": RUN_VERSION, **dataclasses.asdict(self)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "RunMetadata":
        """Makes the metadata of what metadata.json holds.

        Raises:
          ValueError, TypeError, AttributeError: Keys that are missing or unknown, or values of another kind.
        """
        found = {name: value for name, value in values.items() if name != "run_version"}
        # Runs of before there were these have none.
        later = {"context", "corpus_counts", "label_map"}
        if differing := (found.keys() ^ {field.name for field in dataclasses.fields(cls)}) - later:
            raise ValueError(f"missing or unknown: {', '.join(sorted(differing))}")
        found |= {name: tuple(found[name]) for name in ("modalities", "audio_features")}
        found["fold"] = Fold(**{name: _as_written(value) for name, value in found["fold"].items()})
        return cls(**found)


def _as_written(value: Any) -> Any:
    """Makes tuples of lists: JSON knows no tuples."""
    return tuple(value) if isinstance(value, list) else value


def read_run_metadata(path: Path) -> RunMetadata:
    """Reads metadata.json of a run.

    Raises:
      InputError: A file that is missing or corrupt, or of a run that another version of this program trained.
    """
    values = read_json(path, AGAIN)
    version = values.get("run_version") if isinstance(values, dict) else None
    if isinstance(values, dict) and version != RUN_VERSION:
        found = "no run_version" if version is None else f"run_version {version}"
        raise InputError(
            f"{path} is of a run that another version of this program trained (it has {found}, and this one reads"
            f" run_version {RUN_VERSION}): {AGAIN}."
        )
    try:
        return RunMetadata.from_json(values)
    except (ValueError, TypeError, AttributeError) as error:
        raise InputError(f"{path} is corrupt ({error}): {AGAIN}.") from None
