"""What a model refuses of its inputs: the sentences of the graph of an export, and of LiteRT."""

MAX_PEAK = 2.0
"""What is louder was never divided: by 32768 where samples are integers, by 255 where pixels are."""

_SCALES = {"waveform": "from -1 to 1: divide int16 by 32768", "video_frames": "from 0 to 1"}

WITH_PEAK = tuple(_SCALES)
"""Inputs that have a scale."""


def not_finite(name: str) -> str:
    """Words the fault of an input with values that are no numbers."""
    return f"{name} holds NaN or infinite values"


def too_loud(name: str) -> str:
    """Words the fault of an input that nothing divided."""
    return f"{name} has a peak above {MAX_PEAK:g} and must be {_SCALES[name]}"
