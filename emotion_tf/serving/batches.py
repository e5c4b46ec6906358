"""Many utterances in few calls of a model: which of them go together, and their arrays as one batch."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from pipelines.audio import SAMPLE_RATE

MAX_ROWS = 32

MAX_SECONDS_OF_SOUND = 128.0
"""Of a batch, padding included: activations of a network grow with it."""

STEP = SAMPLE_RATE // 4
"""Samples of which the length of a batch is a multiple: kernels are kept for each new length, and many fill memory."""


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
        if batch and (rows > MAX_ROWS or rows * lengths[place] > MAX_SECONDS_OF_SOUND * SAMPLE_RATE):
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
    num_samples = -(-max(map(len, waveforms)) // STEP) * STEP
    batch: dict[str, np.ndarray] = {"waveforms": np.zeros((len(inputs), num_samples), np.float32)}
    for row, waveform in zip(batch["waveforms"], waveforms, strict=True):
        row[: len(waveform)] = waveform
    batch["transcripts"] = np.concatenate([given["transcripts"] for given in inputs])
    for name in ("video_frames", "speaker_mean", "speaker_std"):
        found = [given.get(name) for given in inputs]
        present = [values for values in found if values is not None]
        if present:
            shape = (1, *np.max([values.shape[1:] for values in present], axis=0))
            batch[name] = np.concatenate([_padded(values, shape) for values in found])
    return batch


def leave_out(inputs: Mapping[str, np.ndarray], modality: str, rows: Any) -> None:
    """Makes a modality absent in some rows of the arguments of `Predictor.predict_batch`, in place.

    Samples and frames become zeros and transcripts empty. The graph then finds it absent in the features, as
    `emotion_tf.models.inputs.presence` defines it.
    """
    name = {"audio": "waveforms", "text": "transcripts", "video": "video_frames"}[modality]
    if name in inputs:
        inputs[name][rows] = "" if modality == "text" else 0


def _padded(values: np.ndarray | None, shape: tuple[int, ...]) -> np.ndarray:
    """Puts zeros behind the first axis of an utterance, or everywhere."""
    padded = np.zeros(shape, np.float32)
    if values is not None:
        padded[:, : values.shape[1]] = values
    return padded
