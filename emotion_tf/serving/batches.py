"""Many utterances in few calls of a model: which of them go together, and their arrays as one batch."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from pipelines.audio import SAMPLE_RATE
from pipelines.video import VideoSettings

MAX_ROWS = 32

MAX_SECONDS_OF_SOUND = 128.0
"""Of a batch, padding included: activations of a network grow with it."""

_LEAST_ROWS = 4
"""A batch of as many costs as little a row as a larger one, so that it need not take what is longer."""

_MOST_PADDING = 1.1
"""Times the length of the shortest utterance of such a batch: more would be predicted for nothing."""

STEP = SAMPLE_RATE // 4
"""Samples of which the length of a batch is a multiple: kernels are kept for each new length, and many fill memory."""

_ARGUMENTS = {"audio": "waveforms", "text": "transcripts", "video": "video_frames"}
"""Of `Predictor.predict_batch`, by modality."""


def in_batches(lengths: Sequence[int], rows_each: int = 1) -> Iterator[list[int]]:
    """Puts utterances of like length together, so that there is little padding.

    Args:
      lengths: Samples of each.
      rows_each: Rows that each takes of a batch.

    Yields:
      Places in `lengths`; each place comes once.
    """
    batch: list[int] = []
    for place in sorted(range(len(lengths)), key=lengths.__getitem__):
        rows = (len(batch) + 1) * rows_each
        is_full = rows > MAX_ROWS or rows * lengths[place] > MAX_SECONDS_OF_SOUND * SAMPLE_RATE
        is_unlike = len(batch) >= _LEAST_ROWS and lengths[place] > _MOST_PADDING * lengths[batch[0]] + STEP
        if batch and (is_full or is_unlike):
            yield batch
            batch = []
        batch.append(place)
    if batch:
        yield batch


def together(inputs: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Makes one batch of several batches of one.

    Args:
      inputs: Arguments of `Predictor.predict_batch`, each of one utterance; frames and speakers may lack in some.

    Returns:
      The same arguments of all of them: sound with zeros behind the shorter ones, zeros for what lacks.
    """
    waveforms = [given["waveforms"][0] for given in inputs]
    num_samples = max(1, -(-max(map(len, waveforms)) // STEP)) * STEP
    batch: dict[str, np.ndarray] = {"waveforms": np.zeros((len(inputs), num_samples), np.float32)}
    for row, waveform in zip(batch["waveforms"], waveforms, strict=True):
        row[: len(waveform)] = waveform
    for name in ("transcripts", "contexts"):
        if name in inputs[0]:
            batch[name] = np.concatenate([given[name] for given in inputs])
    for name in ("video_frames", "speaker_mean", "speaker_std"):
        found = [given.get(name) for given in inputs]
        present = [values for values in found if values is not None]
        if present:
            shape = (1, *np.max([values.shape[1:] for values in present], axis=0))
            batch[name] = np.concatenate([_padded(values, shape) for values in found])
    return batch


def to_tensors(
    given: Mapping[str, Any], video: VideoSettings | None, num_columns: int, *, has_context: bool
) -> dict[str, Any]:
    """Makes the inputs of the signature `serving_default` of the arguments of `Predictor.predict_batch`.

    Args:
      given: The arguments; what lacks, or is None, becomes zeros, or empty.
      video: Of a model that reads video; None: it reads none.
      num_columns: Of the statistics of speakers; 0: the model takes none.
      has_context: Whether the model reads lines of context.
    """
    import tensorflow as tf

    waveforms, count = given["waveforms"], len(given["waveforms"])
    texts = {"transcript": "transcripts"} | ({"context": "contexts"} if has_context else {})
    empty: dict[str, tuple[int, ...]] = {"video_frames": (count, 1, *video.shape)} if video else {}
    empty |= dict.fromkeys(("speaker_mean", "speaker_std"), (count, num_columns)) if num_columns else {}
    inputs = {"waveform": tf.constant(waveforms, tf.float32)}
    for name, argument in texts.items():
        found = given.get(argument)
        inputs[name] = tf.constant([""] * count if found is None else list(found), tf.string)
    for name, shape in empty.items():
        found = given.get(name)
        inputs[name] = tf.constant(np.zeros(shape) if found is None else found, tf.float32)
    return inputs


def holds(inputs: Mapping[str, np.ndarray], modality: str) -> bool:
    """Tells whether arguments of `Predictor.predict_batch` of one utterance hold a modality."""
    if modality == "text":
        return bool(inputs["transcripts"][0].strip())
    values = inputs.get(_ARGUMENTS[modality])
    return values is not None and bool(values.any())


def without(inputs: Mapping[str, np.ndarray], modality: str | None) -> Mapping[str, np.ndarray]:
    """Returns arguments of `Predictor.predict_batch` of one utterance without a modality; None: as they are."""
    if modality is None:
        return inputs
    if modality == "video":
        return {name: values for name, values in inputs.items() if name != "video_frames"}
    empty = np.zeros((1, 0), np.float32) if modality == "audio" else np.array([""], object)
    return {**inputs, _ARGUMENTS[modality]: empty}


def leave_out(inputs: Mapping[str, np.ndarray], modality: str, rows: Any) -> None:
    """Makes a modality absent in some rows of the arguments of `Predictor.predict_batch`, in place.

    Samples and frames become zeros and transcripts empty. The graph then finds it absent in the features, as
    `emotion_tf.models.inputs.presence` defines it.
    """
    name = _ARGUMENTS[modality]
    if name in inputs:
        inputs[name][rows] = "" if modality == "text" else 0


def _padded(values: np.ndarray | None, shape: tuple[int, ...]) -> np.ndarray:
    """Puts zeros behind the first axis of an utterance, or everywhere."""
    padded = np.zeros(shape, np.float32)
    if values is not None:
        padded[:, : values.shape[1]] = values
    return padded
