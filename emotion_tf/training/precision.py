"""In which numbers training steps are computed: bfloat16 halves what a processor moves, where it has the instructions.

Weights, losses, the optimizer and the head are float32 throughout, and so is the model that is validated, saved and
exported: a model of its own, which takes over the weights of the one that learns.

Source: Kalamkar et al. 2019, arXiv:1905.12322 (bfloat16 for training).
"""

import contextlib
import platform
from collections.abc import Iterator
from pathlib import Path

import keras

from emotion_tf.config import Config

FLAGS = ("avx512_bf16", "amx_bf16")
"""How Linux names the instructions of a processor that multiply bfloat16; both x86."""

_CPUINFO = Path("/proc/cpuinfo")

_CONVOLUTIONAL = ("cnn", "cnn_attention", "crnn", "resnet")
"""Audio networks whose steps take less time in bfloat16, which those of `transformer` and `efficientnet` do not."""

_NARROW = 16
"""Channels below which a convolution saves nothing in bfloat16."""


def has_bfloat16(cpuinfo: Path = _CPUINFO) -> bool:
    """Tells whether the processor multiplies bfloat16 by itself; False where that cannot be found out.

    Args:
      cpuinfo: What Linux says of the processors.
    """
    if not cpuinfo.is_file() or platform.machine().lower() not in ("x86_64", "amd64"):
        return False
    lines = cpuinfo.read_text(errors="replace").splitlines()
    flags = next((line.partition(":")[2].split() for line in lines if line.startswith("flags")), [])
    return any(flag in flags for flag in FLAGS)


def precision_of(config: Config, is_available: bool) -> str:
    """Decides in which numbers a model learns: "float32" or "bfloat16".

    Args:
      config: Of the run; auto takes bfloat16 where it saves time: for plain convolutional networks that are not narrow,
        and for pretrained text.
      is_available: Whether the processor multiplies bfloat16.
    """
    asked = config.training.precision
    if asked != "auto":
        return asked
    return "bfloat16" if is_available and _gains(config) else "float32"


def _gains(config: Config) -> bool:
    """Tells whether a step is quicker in bfloat16, as measured of each network."""
    if "text" in config.modalities and config.text.is_pretrained:
        return True
    widths = [0]
    if "video" in config.modalities:
        widths += config.video.channels
    reads_frames = "audio" in config.modalities and set(config.audio.features) != {"encoder"}
    if reads_frames and config.audio.model in _CONVOLUTIONAL:
        widths += config.audio.channels
    return max(widths) >= _NARROW


@contextlib.contextmanager
def computing_in(precision: str) -> Iterator[None]:
    """Lets layers that are made meanwhile compute in bfloat16, or float32; their weights are float32 either way."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16" if precision == "bfloat16" else "float32")
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def copy_weights(source: keras.Model, target: keras.Model) -> None:
    """Gives one model the weights of another that is built alike."""
    for given, taken in zip(source.weights, target.weights, strict=True):
        taken.assign(given)
