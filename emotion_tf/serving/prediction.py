"""What an exported model says: of a batch in arrays, of one utterance by names, with warnings in sentences."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pipelines import audio, text
from pipelines.audio.quality import findings_of, inspect
from pipelines.clips import Clip
from pipelines.command import InputError


class BatchPrediction(NamedTuple):
    """What a model says of a batch.

    Attributes:
      probabilities: [batch, num_emotions] float32, calibrated, in the order of `Predictor.emotions`.
      predicted: [batch, num_emotions] bool: the most probable emotion or, of a model of several emotions an utterance,
        those that reach their thresholds.
      shares: [batch, num_modalities] float32, the weight of each modality in the order of `Predictor.modalities`, 0 for
        an absent one; None where the model weighs none.
      embedding: [batch, embedding_dim] float32, what the last layer reads; None where the export gives none.
    """

    probabilities: np.ndarray
    predicted: np.ndarray
    shares: np.ndarray | None
    embedding: np.ndarray | None = None

    def rows(self, chosen: slice) -> "BatchPrediction":
        """Takes some utterances of the batch."""
        shares, embedding = (None if values is None else values[chosen] for values in self[2:])
        return BatchPrediction(self.probabilities[chosen], self.predicted[chosen], shares, embedding)


@dataclasses.dataclass(frozen=True)
class Given:
    """One utterance as it was read.

    Attributes:
      file: The recording or video; None for a transcript alone.
      clip: What was read of it.
      transcript: As given or transcribed.
      inputs: Arguments of `Predictor.predict_batch`, a batch of one.
      warnings: Of the transcriber and of what is known of the speaker.
      context: The lines before it in its dialogue, the oldest first.
    """

    file: Path | None
    clip: Clip
    transcript: str
    inputs: dict[str, np.ndarray]
    warnings: tuple[str, ...]
    context: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Prediction:
    """What a model says of one utterance.

    Attributes:
      file: The recording or video; None for what was no file, and for a transcript alone.
      transcript: As given or transcribed.
      emotion: The most probable.
      emotions: Those that reach their thresholds, the most probable first; None for a model of one an utterance.
      probabilities: Emotion -> calibrated probability, in the order of the model's labels.
      shares: Modality -> its weight in the fusion, 0 for an absent one; None where the model weighs none.
      changes_without: Modality -> change of the log-probability of `emotion` without it, in nats: below 0 where the
        modality speaks for that emotion; None for a model of one modality, and where it was not asked for.
      seconds: Length of the audio.
      warnings: Sentences that a reader of the prediction should know.
      embedding: [embedding_dim] float32, what the last layer reads; None where it was not asked for.
      context: The lines before it in its dialogue, the oldest first; None where none were given.
    """

    file: Path | None
    transcript: str
    emotion: str
    emotions: tuple[str, ...] | None
    probabilities: dict[str, float]
    shares: dict[str, float] | None
    changes_without: dict[str, float] | None
    seconds: float
    warnings: tuple[str, ...]
    embedding: np.ndarray | None = dataclasses.field(default=None, compare=False, repr=False)
    context: tuple[str, ...] | None = None

    def to_json(self) -> dict[str, Any]:
        """Returns the object that `python -m emotion_tf.predict` prints: rounded, and of None the file alone."""
        found = {
            "file": None if self.file is None else printable(str(self.file)),
            "transcript": self.transcript,
            "context": None if self.context is None else list(self.context),
            "emotion": self.emotion,
            "emotions": None if self.emotions is None else list(self.emotions),
            "probabilities": _rounded(self.probabilities),
            "shares": _rounded(self.shares),
            "changes_without": _rounded(self.changes_without),
            "seconds": round(self.seconds, 3),
            "warnings": list(self.warnings),
        }
        return {name: value for name, value in found.items() if value is not None or name == "file"}


def stop_on_lines(context: Sequence[str], num_lines: int) -> None:
    """Stops on more lines of context than a model reads.

    Args:
      context: The lines before an utterance.
      num_lines: How many the model reads at most; 0: none.
    """
    if len(context) > num_lines:
        reads = f"{num_lines} at most" if num_lines else "none"
        raise InputError(f"{len(context)} lines of context are given, and this model reads {reads}: give no more.")


def _rounded(numbers: Mapping[str, float] | None) -> dict[str, float] | None:
    return None if numbers is None else {name: round(number, 6) for name, number in numbers.items()}


def printable(argument: str) -> str:
    """Replaces bytes of an argument that are no UTF-8: they fit neither into a model nor into JSON."""
    return argument.encode(errors="surrogateescape").decode(errors="replace")


def warnings_of(metadata: Mapping[str, Any], clip: Clip, transcript: str) -> Iterator[str]:
    """Says in sentences what a reader of a prediction should know.

    Args:
      metadata: Of the export.
      clip: What was read of the file.
      transcript: What is said.
    """
    modalities, has_audio = metadata["modalities"], bool(clip.waveform.any())
    is_present = {"audio": has_audio, "text": bool(transcript.strip()), "video": clip.frames is not None}
    yield from _absences([modality for modality in modalities if is_present[modality]], modalities)
    ignored = [modality for modality in is_present if is_present[modality] and modality not in modalities]
    yield from (f"this model does not use {modality}: it was ignored" for modality in ignored)
    if "audio" in modalities:
        yield from clip.notes
    if "audio" in modalities and has_audio:
        yield from _of_audio(clip, metadata["longest_seconds"], metadata["bandwidth_hz"])
    if clip.frames and (lost := clip.frames.num_without_face):
        yield f"no face was found in {lost} of the {len(clip.frames.images)} frames that were looked at"
    if clip.frames and clip.frames.num_pictures == 1 < len(clip.frames.images):
        yield "the video holds a single picture: nothing moves in it"
    if "text" in modalities and len(transcript.split()) > metadata["max_tokens"] // 2:
        yield f"the transcript is long: no more than its first {metadata['max_tokens']} word pieces are read"
    if "text" in modalities and _is_unknown(transcript, metadata["tokenizer"]):
        yield "the vocabulary of the model knows no word of the transcript"
    yield from (f"the model carries the mark {mark!r}" for mark in metadata["marks"])


def _absences(present: list[str], modalities: list[str]) -> Iterator[str]:
    """Names the modalities of a model that an utterance lacks."""
    missing = [modality for modality in modalities if modality not in present]
    if not present:
        nothing = f"nothing that this model reads ({' and '.join(modalities)}) is present"
        yield f"{nothing}: the prediction is the training prior"
    elif missing:
        verb = "is" if len(missing) == 1 else "are"
        yield f"{' and '.join(missing)} {verb} missing: the prediction rests on {' and '.join(present)} alone"


def _is_unknown(transcript: str, tokenizer: Mapping[str, str]) -> bool:
    """Asks the vocabulary of this program; a pretrained one is not at hand, and spells nearly everything."""
    return not tokenizer["preset"] and text.knows_no_word(transcript)


def _of_audio(clip: Clip, longest: float, usual_hz: float | None) -> Iterator[str]:
    """Warns of a recording that is faulty, or unlike those of training.

    Args:
      clip: With samples that are not all zeros.
      longest: Seconds of the longest clip of training.
      usual_hz: Up to where the clips of training reach; None: not known.
    """
    seconds = len(clip.waveform) / audio.SAMPLE_RATE
    if seconds > 2 * longest:
        yield f"{seconds:.1f} s is much longer than the clips it was trained on (up to {longest:.1f} s of speech)"
    if clip.is_silent:
        yield "the recording is almost silent"
    else:
        yield from findings_of(clip.quality or inspect(clip.waveform, clip.peak, clip.bits), usual_hz).values()
