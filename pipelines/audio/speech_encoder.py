"""States of a pretrained, frozen encoder of speech: whisper's, of each clip by itself and only as long as the clip.

keras and TensorFlow are imported when the encoder is loaded.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines import audio
from pipelines.audio import whisper_checkpoint
from pipelines.audio.recording import LEVEL
from pipelines.audio.whisper_checkpoint import Checkpoint
from pipelines.command import InputError, import_tensorflow

if TYPE_CHECKING:
    import tensorflow as tf

    from pipelines.audio.whisper_encoder import WhisperEncoder

KINDS = ("whisper",)

STEPS_PER_SECOND = 25
"""Two positions of whisper's, of 20 ms each, are pooled to one."""

_WINDOW_LENGTH = 30 * audio.SAMPLE_RATE

# Lengths in whole half seconds: oneDNN keeps a compiled kernel for each one that it has seen.
_LENGTH_UNIT = audio.SAMPLE_RATE // 2

# Several at once fill a GPU; on a processor they are no faster, and padding costs.
_WINDOWS_AT_ONCE = {"cpu": 1, "cuda": 16}


@dataclasses.dataclass(frozen=True)
class EncoderSettings:
    """Which states.

    Attributes:
      model: A name of whisper's own, the path of a checkpoint, or a folder of Keras weights.
      blocks: Blocks behind which they are taken, counted from 1; none: all but the first and the last.
      device: "cpu", "cuda", or empty: cuda where there is one.
      save: A folder that keeps Keras weights of the whole encoder; None: none does.
    """

    model: str = "base"
    blocks: tuple[int, ...] = ()
    device: str = ""
    save: Path | None = None

    @functools.cached_property
    def checkpoint(self) -> Checkpoint:
        """The encoder, found and not loaded.

        Raises:
          InputError: What `whisper_checkpoint.find` stops on.
        """
        return whisper_checkpoint.find(self.model)

    @functools.cached_property
    def chosen_blocks(self) -> tuple[int, ...]:
        """The blocks, in rising order.

        Raises:
          InputError: One that the encoder does not have, or one twice.
        """
        count = self.checkpoint.sizes.num_blocks
        blocks = self.blocks or tuple(range(2, count)) or (count,)
        wrong = sorted({block for block in blocks if not 1 <= block <= count or blocks.count(block) > 1})
        if not wrong and max(blocks) > self.checkpoint.num_stored:
            raise InputError(f"{self.model} holds blocks 1 to {self.checkpoint.num_stored} of whisper"
                             f" {self.checkpoint.name} alone, and --encoder-blocks {' '.join(map(str, blocks))} needs"
                             " more: give --encoder-model the whole encoder.")  # fmt: skip
        if wrong:
            raise InputError(f"--encoder-blocks {' '.join(map(str, blocks))} cannot work ({wrong[0]}): whisper"
                             f" {self.checkpoint.name} has blocks 1 to {count}, and each is given once.")  # fmt: skip
        return tuple(sorted(blocks))

    @property
    def identity(self) -> dict[str, Any]:
        """What the states depend on beside the waveform, known before weights are loaded; the device hardly matters."""
        return {"kind": "whisper", "sha256": self.checkpoint.sha256, "blocks": list(self.chosen_blocks)}

    @property
    def facts(self) -> dict[str, Any]:
        """What metadata say of the states: kind, model, sha256 of the checkpoint, blocks, width, steps_per_second."""
        names = {"model": self.checkpoint.name, "width": self.checkpoint.sizes.width}
        return self.identity | names | {"steps_per_second": STEPS_PER_SECOND}

    @property
    def bytes_per_second(self) -> int:
        """How much a second of speech takes on disk."""
        return 2 * STEPS_PER_SECOND * len(self.chosen_blocks) * self.checkpoint.sizes.width

    @property
    def bytes_of_weights(self) -> int:
        """How much the weights up to the last block used take on disk."""
        sizes = self.checkpoint.sizes
        return 4 * dataclasses.replace(sizes, num_blocks=max(self.chosen_blocks)).num_parameters

    def is_kept(self, folder: Path) -> bool:
        """Whether a folder holds these weights, as `Encoder.keep` writes them."""
        return self.checkpoint.is_kept(folder, max(self.chosen_blocks))

    def load(self) -> WhisperEncoder:
        """Loads the encoder, cut off behind the last of the blocks, and keeps its weights where that is asked for.

        Raises:
          InputError: What `Checkpoint.load` stops on.
        """
        blocks, whole = self.chosen_blocks, self.checkpoint.load()
        if self.save is not None:
            self.checkpoint.save(whole, self.save)
        return whole.with_blocks(blocks)


class Encoder:
    """A loaded encoder that reads recordings.

    Attributes:
      facts: `EncoderSettings.facts`.

    Raises:
      InputError: There is no such model, block or device, weights cannot be read, or do not fit into memory.
    """

    def __init__(self, settings: EncoderSettings):
        self.facts = settings.facts
        self._checkpoint = settings.checkpoint
        self._device = _device_of(settings.device)
        with self._placed():
            self._model = settings.load()
            self._encode = compiled(self._model)

    def keep(self, folder: Path) -> None:
        """Writes Keras weights up to the last block used, which a run is exported with."""
        self._checkpoint.keep(self._model, folder)

    def __call__(self, waveforms: Sequence[np.ndarray]) -> Iterator[np.ndarray]:
        """Encodes recordings, one after the other; neighbours change no more than rounding does.

        Args:
          waveforms: [num_samples] int16 at 16 kHz each; zeros at the end are padding. Longer ones than 30 s are
            encoded in windows of 30 s.

        Yields:
          [num_steps, num_blocks, width] float16 of each, mean-pooled to 25 steps a second; none where it is absent.
          float16 rounds a value by 2 ** -11 of it at most.
        """
        cut = [_windows(waveform) for waveform in waveforms]
        states = self._states(itertools.chain.from_iterable(cut))
        nothing = np.zeros((0, len(self.facts["blocks"]), self.facts["width"]), np.float16)
        for windows in cut:
            yield np.concatenate([nothing, *itertools.islice(states, len(windows))])

    def _states(self, windows: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Encodes windows, a few at once, as they are asked for: [num_steps, num_blocks, width] float16 each."""
        waiting = iter(windows)
        while batch := list(itertools.islice(waiting, _WINDOWS_AT_ONCE[self._device])):
            length = -(-max(map(len, batch)) // _LENGTH_UNIT) * _LENGTH_UNIT
            padded = np.stack([np.pad(window, (0, length - len(window))) for window in batch])
            with self._placed():
                encoded = self._encode(padded)
            for states, num_steps in zip(*map(np.asarray, encoded), strict=True):
                yield states[:num_steps].astype(np.float16)  # Rounded already.

    def _placed(self) -> contextlib.AbstractContextManager[Any]:
        """Puts what is computed on the device."""
        import keras

        return keras.device({"cpu": "cpu:0", "cuda": "gpu:0"}[self._device])


def compiled(encoder: WhisperEncoder) -> Callable[[np.ndarray], tuple[Any, Any]]:
    """Makes a function of int16 waveforms [batch, num_samples] that returns rounded states and their counts.

    With TensorFlow it is traced once, for any length.
    """
    import keras
    import tensorflow as tf

    from pipelines.audio.whisper_encoder import as_stored

    def encode(waveform: Any) -> tuple[Any, Any]:
        """Reads waveforms."""
        encoded = encoder(waveform)
        return as_stored(encoded["encoder"]), encoded["num_steps"]

    if keras.backend.backend() != "tensorflow":
        return lambda waveform: tuple(map(keras.ops.convert_to_numpy, encode(waveform)))
    return tf.function(encode, input_signature=[tf.TensorSpec([None, None], tf.int16)], autograph=False)


def graph_states(encoder: WhisperEncoder, waveform: tf.Tensor) -> dict[str, tf.Tensor]:
    """Computes as graph ops what records hold of a waveform: it is brought to their level, encoded and rounded.

    Args:
      encoder: Cut off behind the last of the blocks.
      waveform: [batch, num_samples] float32 in [-1, 1) at 16 kHz, zeros behind each clip's end.

    Returns:
      encoder [batch, num_steps, num_blocks, width] float32, and num_steps [batch] int32, 0 for a clip of zeros.
    """
    from pipelines.audio.whisper_encoder import as_stored

    encoded = encoder(levelled(waveform))
    return {"encoder": as_stored(encoded["encoder"]), "num_steps": encoded["num_steps"]}


def levelled(waveform: tf.Tensor) -> tf.Tensor:
    """Brings each clip [batch, num_samples] to the level of recordings, as graph ops.

    One that was read as a recording, or is silent, stays as it is.
    """
    import tensorflow as tf

    peak = tf.reduce_max(tf.abs(waveform), axis=1, keepdims=True)
    is_left = (tf.abs(peak - LEVEL) < 1.5 / 32768) | (peak <= audio.SILENT_PEAK / 32768)
    return waveform * tf.where(is_left, 1.0, LEVEL / tf.maximum(peak, 1e-9))


def _device_of(device: str) -> str:
    """Finds where to compute: "cpu" or "cuda".

    Raises:
      InputError: "cuda" where there is none.
    """
    import_tensorflow()
    import tensorflow as tf

    has_gpu = bool(tf.config.list_physical_devices("GPU"))
    if device == "cuda" and not has_gpu:
        raise InputError("--device cuda finds no GPU that TensorFlow can use: leave it out, or give --device cpu.")
    return device or ("cuda" if has_gpu else "cpu")


def _windows(waveform: np.ndarray) -> list[np.ndarray]:
    """Cuts a recording, without the zeros at its end, into windows of 30 s; the last is shorter."""
    kept = np.trim_zeros(waveform, "b")
    return [kept[start : start + _WINDOW_LENGTH] for start in range(0, len(kept), _WINDOW_LENGTH)]
