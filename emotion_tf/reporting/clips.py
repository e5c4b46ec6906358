"""Utterances in a report: what records hold of them, and how they are shown."""

import dataclasses
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from emotion_tf.reporting import pictures, plots
from emotion_tf.reporting.blocks import Clip, Picture
from emotion_tf.runs.predictions import SEPARATOR, emotion_probabilities
from pipelines.audio import SAMPLE_RATE
from pipelines.records import named_if_corrupt, parse, paths_of, read_metadata, serialised_records


@dataclasses.dataclass(frozen=True)
class Stored:
    """What records hold of one utterance.

    Attributes:
      log_mel: [num_frames, mel_bins], natural log; no frames where there is no sound.
      transcript: The words.
      waveform: [num_samples] int16; no samples where none are stored.
      images: A JPEG a frame; none where there is no video.
      face_boxes: [num_video_frames, 5].
      hop_seconds: Between two frames of log_mel.
    """

    log_mel: np.ndarray
    transcript: str
    waveform: np.ndarray
    images: tuple[bytes, ...]
    face_boxes: np.ndarray
    hop_seconds: float


def read_stored(records: Path, wanted: Iterable[str]) -> dict[str, Stored]:
    """Reads some utterances of complete records: utterance_id -> what is stored; those that are not there are absent.

    Raises:
      InputError: Records that are gone, incomplete or corrupt.
    """
    import tensorflow as tf

    metadata, ids = read_metadata(records), sorted(set(wanted))
    if not ids:
        return {}
    has = {"waveform": metadata.has_waveform, "video_frames": metadata.video, "face_boxes": metadata.video}
    fields = ("utterance_id", "log_mel", "transcript", *(name for name, is_there in has.items() if is_there))

    @tf.autograph.experimental.do_not_convert  # Nothing in it branches, and to read its source takes a second.
    def is_wanted(serialised: tf.Tensor) -> tf.Tensor:
        return tf.reduce_any(parse(serialised, ("utterance_id",), {})["utterance_id"] == tf.constant(ids))

    @tf.autograph.experimental.do_not_convert
    def read(serialised: tf.Tensor) -> dict[str, tf.Tensor]:
        return parse(serialised, fields, metadata.columns)

    shards = serialised_records(paths_of(records, sorted(metadata.shards)))
    chosen = shards.filter(is_wanted).map(read)
    hop_seconds = metadata.front_end["hop_seconds"]
    with named_if_corrupt(records):
        return {one["utterance_id"].decode(): _stored(one, hop_seconds) for one in chosen.as_numpy_iterator()}


def _stored(record: Mapping[str, Any], hop_seconds: float) -> Stored:
    return Stored(
        record["log_mel"],
        record["transcript"].decode(),
        record.get("waveform", np.zeros(0, np.int16)),
        tuple(record.get("video_frames", ())),
        record.get("face_boxes", np.zeros((0, 5), np.float32)),
        hop_seconds,
    )


def confident_errors(rows: pd.DataFrame, number: int) -> pd.DataFrame:
    """Picks the errors that a model was surest of, each utterance once, the surest first.

    Args:
      rows: Of predictions.csv.
      number: How many, at most.

    Returns:
      Rows with two further columns: wrong, an emotion that was named and is no label, and its probability, confidence.
    """
    probabilities, named, labelled = _named_and_labelled(rows)
    if probabilities.empty:
        return rows.iloc[:0].assign(wrong="", confidence=0.0)
    of_wrong = np.where(named & ~labelled, probabilities.to_numpy(), -1)
    found = rows.assign(wrong=np.array(list(probabilities))[of_wrong.argmax(axis=1)], confidence=of_wrong.max(axis=1))
    errors = found[found["confidence"] >= 0].sort_values(["confidence", "utterance_id"], ascending=[False, True])
    return errors.drop_duplicates("utterance_id").head(number)


def surest_right(rows: pd.DataFrame) -> str | None:
    """Picks the utterance of which a model named a label with the highest probability; None where it named none.

    Args:
      rows: Of predictions.csv.
    """
    probabilities, named, labelled = _named_and_labelled(rows)
    is_right = named & labelled
    if probabilities.empty or not is_right.any():
        return None
    of_right = np.where(is_right, probabilities.to_numpy(), -1).max(axis=1)
    return str(rows["utterance_id"].iloc[int(of_right.argmax())])


def _named_and_labelled(rows: pd.DataFrame) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    """Returns probabilities [num_rows, num_emotions], and which emotions were named and which are labels."""
    probabilities = emotion_probabilities(rows)
    names = list(probabilities)
    return probabilities, _memberships(rows["predicted"], names), _memberships(rows["label"], names)


def _memberships(cells: pd.Series, names: Sequence[str]) -> np.ndarray:
    sets = [set(cell.split(SEPARATOR)) for cell in cells]
    return np.array([[name in one for name in names] for one in sets], bool).reshape(len(sets), len(names))


def one_of_each(rows: pd.DataFrame, emotions: Sequence[str]) -> dict[str, str]:
    """Picks the first utterance of each emotion that occurs: emotion -> utterance_id; those of one label before others.

    Args:
      rows: Of predictions.csv.
      emotions: The label set, in label order.
    """
    ordered = rows.sort_values("utterance_id").drop_duplicates("utterance_id")
    found = {}
    for emotion in emotions:
        alone = ordered[ordered["label"] == emotion]
        among = ordered[[emotion in cell.split(SEPARATOR) for cell in ordered["label"]]]
        if len(among):
            found[emotion] = (alone if len(alone) else among)["utterance_id"].iloc[0]
    return found


def clip_of(stored: Stored, title: str, lines: Sequence[str], *, has_audio: bool) -> Clip:
    """Shows an utterance: spectrogram and sound where there is some, and the words.

    Args:
      stored: What records hold.
      title: Above it.
      lines: Below it.
      has_audio: Whether the sound goes into the report.
    """
    picture = None
    if len(stored.log_mel):
        seconds = len(stored.log_mel) * stored.hop_seconds
        alt = f"Spectrogram, {seconds:.1f} seconds: {title}."
        axes = f"left to right 0 to {seconds:.2f} seconds, from below {stored.log_mel.shape[1]} mel bands"
        picture = Picture(pictures.spectrogram(stored.log_mel), alt, f"Spectrogram: {axes}.")
    sound = _flac(stored.waveform) if has_audio and len(stored.waveform) else None
    return Clip(title, lines, stored.transcript, picture, sound)


def _flac(waveform: np.ndarray) -> bytes:
    """Packs int16 samples without loss, in half the room of a WAV."""
    import soundfile

    buffer = io.BytesIO()
    soundfile.write(buffer, waveform, SAMPLE_RATE, format="FLAC", subtype="PCM_16")
    return buffer.getvalue()


def frames_of_each(stored: Mapping[str, Stored], chosen: Mapping[str, str]) -> Picture | None:
    """Draws the frames of one video of each emotion; None where there are no videos.

    Args:
      stored: utterance_id -> what records hold.
      chosen: Emotion -> utterance_id.
    """
    import tensorflow as tf

    found = {emotion: stored[name] for emotion, name in chosen.items() if name in stored and stored[name].images}
    if not found:
        return None
    strips = {}
    for emotion, one in found.items():
        frames = [tf.io.decode_jpeg(image).numpy() / 255 for image in one.images]
        strips[emotion] = (np.stack(frames), one.face_boxes)
    caption = "Frames that are stored; green where a face was found, dotted red where the box is another frame's."
    alt = f"Frames of one video of each emotion: {', '.join(found)}."
    return Picture(plots.frame_strips(strips, ""), alt, caption, is_wide=True)
