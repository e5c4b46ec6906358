"""States of a pretrained, frozen encoder of speech: what openai-whisper's decoder attends to.

whisper and torch are imported when the encoder is loaded.
"""

import dataclasses
import functools
import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from pipelines import audio, whisper_models
from pipelines.command import InputError

KINDS = ("whisper",)

STEPS_PER_SECOND = 25
"""Two steps of whisper's, of 20 ms each, are pooled to one."""

STEP_LENGTH = audio.SAMPLE_RATE // STEPS_PER_SECOND
"""Samples that a step stands for."""

_WINDOW_LENGTH = 30 * audio.SAMPLE_RATE
_WINDOW_STEPS = _WINDOW_LENGTH // STEP_LENGTH

# Several at once fill a GPU; on a processor they are no faster.
_WINDOWS_AT_ONCE = {"cpu": 1, "cuda": 16}
_LARGEST = np.finfo(np.float16).max


@dataclasses.dataclass(frozen=True)
class EncoderSettings:
    """Which states.

    Attributes:
      model: A name of whisper's own, or the path of a checkpoint.
      layer: The block after which they are taken, counted from 1; None: the last.
      device: "cpu", "cuda", or empty: cuda where there is one.
    """

    model: str = "base"
    layer: int | None = None
    device: str = ""

    @functools.cached_property
    def identity(self) -> dict[str, Any]:
        """What the states depend on beside the waveform, known before anything is loaded; the device hardly matters."""
        sha256 = whisper_models.checkpoint_sha256(self.model)
        return {"kind": "whisper", "model": whisper_models.name_of(self.model), "sha256": sha256, "layer": self.layer}


class Encoder:
    """A loaded encoder, cut off behind one of its blocks.

    The layer norm at its end belongs to the last block: states of earlier ones are taken as they are.

    Attributes:
      facts: Of the states, for metadata: kind, model, sha256 of the checkpoint, layer, width, steps_per_second.

    Raises:
      InputError: whisper is not installed, there is no such model, layer or device, or a file is no checkpoint.
    """

    def __init__(self, settings: EncoderSettings):
        whisper = whisper_models.import_whisper()
        self._device = whisper_models.device_of(settings.device)
        model = whisper_models.load(settings.model, self._device, "--encoder-model")
        dims, identity = model.dims, settings.identity
        if dims.n_audio_ctx != 2 * _WINDOW_STEPS:
            raise InputError(f"the encoder of {identity['model']} does not read 30 s: give one of whisper's own.")
        self._num_mels, self._encoder = dims.n_mels, model.encoder
        layer = self._cut(settings.layer, identity["model"])
        self.facts: dict[str, Any] = identity | {
            # A name stands for one checkpoint: its address holds the hash that whisper checks the download against.
            "sha256": identity["sha256"] or whisper._MODELS[settings.model].split("/")[-2],
            "layer": layer,
            "width": dims.n_audio_state,
            "steps_per_second": STEPS_PER_SECOND,
        }

    def __call__(self, waveforms: Sequence[np.ndarray]) -> Iterator[np.ndarray]:
        """Encodes recordings, one after the other; neighbours change no more than rounding does.

        Args:
          waveforms: [num_samples] int16 at 16 kHz each; zeros at the end are padding. Longer ones than 30 s are
            encoded in windows of 30 s.

        Yields:
          [num_steps, width] float16 of each, mean-pooled to 25 steps a second: the steps that hold its samples; none
          where it is absent. float16 rounds a value by 2 ** -11 of it at most.

        Source: Radford et al., Robust Speech Recognition via Large-Scale Weak Supervision, 2022, section 2.2.
        """
        cut = [_windows(waveform) for waveform in waveforms]
        states = self._states(itertools.chain.from_iterable(cut))
        for windows in cut:
            nothing = np.zeros((0, self.facts["width"]), np.float16)
            yield np.concatenate([nothing, *itertools.islice(states, len(windows))])

    def _states(self, windows: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Encodes windows, a few at once, as they are asked for: [num_steps, width] float16 each."""
        waiting = iter(windows)
        while batch := list(itertools.islice(waiting, _WINDOWS_AT_ONCE[self._device])):
            for window, states in zip(batch, self._encode(batch), strict=True):
                yield states[: -(-len(window) // STEP_LENGTH)]

    def _encode(self, windows: Sequence[np.ndarray]) -> np.ndarray:
        """Encodes windows of 30 s at most: [batch, 750, width] float16."""
        import torch
        from whisper.audio import log_mel_spectrogram, pad_or_trim

        waveforms = [torch.from_numpy(audio.to_float(window)).to(self._device) for window in windows]
        # One by one: whisper measures loudness against the loudest of all that it is given.
        mels = [log_mel_spectrogram(pad_or_trim(waveform, _WINDOW_LENGTH), self._num_mels) for waveform in waveforms]
        with torch.inference_mode():
            states = self._encoder(torch.stack(mels))  # [batch, 1500, width]
        pooled = states.reshape(len(windows), _WINDOW_STEPS, 2, -1).mean(dim=2).cpu().numpy()  # [batch, 750, width]
        # whisper itself runs in float16, so that its states fit; those of another checkpoint must not become infinite.
        return np.clip(pooled, -_LARGEST, _LARGEST).astype(np.float16)

    def _cut(self, layer: int | None, name: str) -> int:
        """Drops what comes after a block, so that it is not computed; returns the layer."""
        import torch

        num_layers = len(self._encoder.blocks)
        layer = num_layers if layer is None else layer
        if not 1 <= layer <= num_layers:
            raise InputError(f"--encoder-layer {layer} cannot work: whisper {name} has layers 1 to {num_layers}.")
        if layer < num_layers:
            self._encoder.blocks = self._encoder.blocks[:layer]
            self._encoder.ln_post = torch.nn.Identity()
        return layer


def _windows(waveform: np.ndarray) -> list[np.ndarray]:
    """Cuts a recording, without the zeros at its end, into windows of 30 s; the last is shorter."""
    kept = np.trim_zeros(waveform, "b")
    return [kept[start : start + _WINDOW_LENGTH] for start in range(0, len(kept), _WINDOW_LENGTH)]
