"""Draws an explanation: the sound and where in it the model found what it says, its words, its modalities."""

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from emotion_tf.colours import colour_of
from emotion_tf.serving.explanation import GRADIENTS, Contribution, Explanation, Spectrogram, TimeContributions
from emotion_tf.serving.prediction import printable
from pipelines.files import replacing, write_json

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FOR, AGAINST = "tab:red", "tab:blue"
"""Colours of what speaks for the emotion, and against it."""

_TICKS_HZ = (250, 500, 1000, 2000, 4000, 8000)
_MOST_WORDS = 40

_FEWEST_BARS = 3
"""Bars beside names are no thicker than so many would be: a single one would be a square."""

_LEAST_NATS = 0.01
"""Where an axis of bars ends at least: what is far smaller looks so."""


def draw(explanation: Explanation, width: float = 9.0) -> "Figure":
    """Draws one explanation; what an utterance or a model lacks is left out.

    Args:
      explanation: What to draw.
      width: Of the figure, in inches.

    Returns:
      Probabilities of all emotions in the order of the labels and modalities on top; then the spectrogram with what
      speaks for (red) and against (blue) the emotion, the same over time, and a bar for each word.
    """
    from matplotlib.figure import Figure

    has_sound, words = explanation.spectrogram is not None, explanation.words[:_MOST_WORDS]
    heights = [2.3, *([2.6, 1.6] if has_sound else []), *([1.9] if words else [])]
    figure = Figure(figsize=(width, 1.0 + sum(heights)), layout="constrained")
    rows = figure.add_gridspec(len(heights), 1, height_ratios=heights)
    top = rows[0].subgridspec(1, 2, width_ratios=(3, 2))
    _draw_probabilities(figure.add_subplot(top[0]), explanation)
    _draw_bars(figure.add_subplot(top[1]), explanation.modalities, "modalities (left out)")
    if explanation.spectrogram is not None:
        image, curve = figure.add_subplot(rows[1]), figure.add_subplot(rows[2])
        _draw_sound(image, explanation.spectrogram, explanation.time)
        _draw_curve(curve, image, explanation.time)
    if words:
        _draw_bars(figure.add_subplot(rows[-1]), words, "words (each left out)", is_upright=True)
    figure.suptitle(_title(explanation, round(10.5 * width)), fontsize="medium")
    return figure


def save(explanation: Explanation, folder: Path, name: str) -> Path:
    """Writes name.json and name.png to a folder that exists; returns the path of the picture."""
    write_json(folder / f"{name}.json", explanation.to_json())
    path = folder / f"{name}.png"
    with replacing(path) as temporary:
        draw(explanation).savefig(temporary, format="png", dpi=110)
    return path


def _ink(axes: Any) -> Any:
    """Tells the colour of lines and frames, which differs between themes."""
    return axes.spines["left"].get_edgecolor()


def _title(explanation: Explanation, num_letters: int) -> str:
    """Names the utterance and what the colours mean, in lines of so many letters."""
    prediction = explanation.prediction
    name = printable(prediction.file.name) if prediction.file else "no recording"
    said = f": “{textwrap.shorten(prediction.transcript, 80)}”" if prediction.transcript.strip() else ""
    what = f"what speaks for (red) and against (blue) {explanation.emotion}, in nats of its log-probability"
    return "\n".join([*textwrap.wrap(f"{name}{said}", num_letters), *textwrap.wrap(what, num_letters)])


def _draw_probabilities(axes: Any, explanation: Explanation) -> None:
    found = explanation.prediction.probabilities
    names, places = list(found), range(len(found))
    bars = axes.barh(places, list(found.values()), color=[colour_of(place) for place in places])
    axes.bar_label(bars, [f"{value:.2f}" for value in found.values()], padding=2, fontsize="x-small")
    axes.set_yticks(places, names, fontsize="small" if len(names) <= 10 else 4)
    axes.get_yticklabels()[names.index(explanation.emotion)].set_fontweight("bold")
    axes.set(xlim=(0, 1.12), xlabel="probability")
    axes.invert_yaxis()


def _draw_bars(axes: Any, parts: Sequence[Contribution], title: str, *, is_upright: bool = False) -> None:
    """Draws a bar each, over the names or beside them."""
    places, nats = range(len(parts)), [part.nats for part in parts]
    colours = [FOR if value > 0 else AGAINST for value in nats]
    names = [textwrap.shorten(part.name, 20, placeholder="…") for part in parts]
    if is_upright:
        axes.bar(places, nats, color=colours)
        axes.set_xticks(places, names, rotation=30 if len(names) > 8 else 0, ha="right" if len(names) > 8 else "center")
        axes.axhline(0, color=_ink(axes), linewidth=0.8)
        axes.set(ylabel="nats", title=title)
    else:
        axes.barh(places, nats, color=colours)
        axes.set_yticks(places, names)
        axes.axvline(0, color=_ink(axes), linewidth=0.8)
        middle, half = (len(parts) - 1) / 2, max(len(parts), _FEWEST_BARS) / 2
        axes.set(xlabel="nats", title=title, ylim=(middle + half, middle - half))
    if max(map(abs, nats)) < _LEAST_NATS:
        (axes.set_ylim if is_upright else axes.set_xlim)(-_LEAST_NATS, _LEAST_NATS)
    axes.title.set_fontsize("medium")


def _draw_sound(axes: Any, sound: Spectrogram, time: TimeContributions | None) -> None:
    """Draws the spectrogram in grey, silence like the ground, and over it what its cells contribute; their frames may
    begin later."""
    num_frames, num_bands = sound.log_mel.shape
    extent = (0, num_frames * sound.hop_seconds, -0.5, num_bands - 0.5)
    greys = "Greys_r" if sum(axes.get_facecolor()[:3]) < 1.5 else "Greys"
    axes.imshow(sound.log_mel.T, origin="lower", aspect="auto", cmap=greys, extent=extent)
    if time is not None and time.cells is not None:
        start = time.seconds[0] - sound.hop_seconds / 2
        own = (start, start + len(time.seconds) * sound.hop_seconds, *extent[2:])
        # Single cells are far larger than most: the last hundredth would hide the rest.
        limit = float(np.percentile(np.abs(time.cells), 99)) or 1.0
        strength = np.clip(time.cells.T / limit, -1, 1)
        options = {"origin": "lower", "aspect": "auto", "extent": own, "interpolation": "bilinear"}
        axes.imshow(strength, cmap="bwr", vmin=-1, vmax=1, alpha=np.abs(strength) * 0.8, **options)
    axes.set(xlim=extent[:2], ylim=extent[2:], ylabel="Hz")
    ticks = [hertz for hertz in _TICKS_HZ if sound.band_hz[0] <= hertz <= sound.band_hz[-1]]
    axes.set_yticks(np.interp(ticks, sound.band_hz, np.arange(num_bands)), ticks)
    axes.tick_params(labelbottom=False)


def _draw_curve(axes: Any, image: Any, time: TimeContributions | None) -> None:
    """Draws contributions over time below the spectrogram."""
    axes.sharex(image)
    axes.set(xlabel="seconds")
    axes.axhline(0, color=_ink(axes), linewidth=0.8)
    if time is None:
        return
    for sign, colour in ((1, FOR), (-1, AGAINST)):
        where = sign * time.nats >= 0
        axes.fill_between(time.seconds, time.nats, where=where, interpolate=True, color=colour, alpha=0.6, linewidth=0)
    axes.plot(time.seconds, time.nats, color=_ink(axes), linewidth=0.6)
    by_frame = time.method == GRADIENTS
    axes.set_ylabel("nats a frame" if by_frame else "nats a window")
    sums = f", in all {time.nats.sum():+.2f} nats" if by_frame else ""
    axes.set_title(f"{time.method} over time{sums}", fontsize="medium")
