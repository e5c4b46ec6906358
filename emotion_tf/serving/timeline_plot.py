"""A timeline as a picture: the waveform, which emotion is found when, and how probable each is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from emotion_tf.colours import colour_of
from emotion_tf.serving.prediction import printable
from emotion_tf.serving.timeline import POINTS_PER_SECOND, Timeline

_MOST_POINTS = 2000
_MOST_SECONDS = 300.0
_STEPS, _MOST_MARKS = (1, 2, 5, 10, 15, 30, 60, 120, 240), 12


def draw_timeline(timeline: Timeline, path: Path) -> None:
    """Draws a timeline as a PNG.

    Args:
      timeline: What was found.
      path: The file to write.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 6), layout="constrained")
    FigureCanvasAgg(figure)
    waveform, bars, probabilities = figure.subplots(3, sharex=True, height_ratios=(3, 1, 4))
    _draw_waveform(waveform, timeline)
    _draw_segments(bars, timeline)
    _draw_probabilities(probabilities, timeline)
    _mark_time(probabilities, max(timeline.seconds, 1e-3))
    _name_emotions(figure, timeline)
    figure.suptitle(printable(timeline.file.name).replace("$", r"\$"))
    figure.savefig(path, dpi=100, format="png")


def _mark_time(axes: Any, seconds: float) -> None:
    """Marks the axis of time, in whole minutes where it is long."""
    axes.set_xlim(0, seconds)
    axes.set_xlabel("time (minutes)" if seconds > _MOST_SECONDS else "time (seconds)")
    if seconds > _MOST_SECONDS:
        step = next((step for step in _STEPS if seconds / 60 / step <= _MOST_MARKS), _STEPS[-1])
        axes.set_xticks(np.arange(0, seconds, 60 * step))
        axes.xaxis.set_major_formatter(lambda value, _: f"{value / 60:g}")


def _draw_waveform(axes: Any, timeline: Timeline) -> None:
    """Draws the envelope, of at most some thousand points."""
    envelope = timeline.envelope
    step = max(1, -(-len(envelope) // _MOST_POINTS))
    envelope = envelope[: len(envelope) // step * step].reshape(-1, step, 2)
    times = np.arange(len(envelope)) * step / POINTS_PER_SECOND
    axes.fill_between(times, envelope[:, :, 0].min(axis=1), envelope[:, :, 1].max(axis=1), color="0.4", step="post")
    axes.set_ylabel("waveform")


def _draw_segments(axes: Any, timeline: Timeline) -> None:
    """Draws a bar for each segment."""
    for place, emotion in enumerate(timeline.emotions):
        spans = [(one.start, one.seconds) for one in timeline.segments if one.emotion == emotion]
        axes.broken_barh(spans, (0, 1), color=colour_of(place))
    axes.set_yticks([])
    axes.set_ylim(0, 1)
    axes.set_ylabel("emotion")


def _draw_probabilities(axes: Any, timeline: Timeline) -> None:
    """Stacks the probabilities of each hop; where nobody speaks there is a gap."""
    edges = np.append(np.arange(len(timeline.probabilities)) * timeline.hop_seconds, timeline.seconds)
    lower = np.zeros(len(timeline.probabilities))
    for place in range(len(timeline.emotions)):
        upper = lower + timeline.probabilities[:, place]
        axes.stairs(upper, edges, baseline=lower, fill=True, color=colour_of(place))
        lower = upper
    axes.set_ylim(0, 1)
    axes.set_ylabel("probability")


def _name_emotions(figure: Any, timeline: Timeline) -> None:
    """Says what the colours mean, below all."""
    from matplotlib.patches import Patch

    patches = [Patch(color=colour_of(place), label=emotion) for place, emotion in enumerate(timeline.emotions)]
    figure.legend(handles=patches, loc="outside lower center", ncols=min(8, len(patches)), frameon=False)
