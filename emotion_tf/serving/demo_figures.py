"""What the page draws as HTML: bars, waveform and spectrogram with axes, a timeline. It scales with the page, is read
by screen readers, and takes its ink from the page, light or dark.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

import numpy as np

from emotion_tf.colours import colour_of
from emotion_tf.serving.explanation import Spectrogram
from emotion_tf.serving.table import NOT_SURE
from emotion_tf.serving.timeline import POINTS_PER_SECOND, Timeline
from pipelines.audio import SAMPLE_RATE

STYLE = """
[data-testid="stMainBlockContainer"] { padding-top: 3rem; }
[data-testid="stAudioInput"] > div { height: auto; min-height: 4.25rem; padding-block: 0.4rem; }
[data-testid="stCaptionContainer"] { color: inherit !important; opacity: 0.9; }
.etf-bars { width: 100%; border-collapse: collapse; font-size: 0.95rem; margin: 0 0 0.5rem; }
.etf-bars th, .etf-bars td { padding: 0.15rem 0.4rem 0.15rem 0; border: 0; text-align: left; font-weight: 400; }
.etf-bars th { width: 6.2rem; white-space: nowrap; }
.etf-bars td:last-child { width: 3rem; text-align: right; font-variant-numeric: tabular-nums; padding-right: 0; }
.etf-bars .most th, .etf-bars .most td { font-weight: 700; }
.etf-track { position: relative; height: 1.05rem; border-radius: 3px; background: rgba(128, 128, 128, 0.18); }
.etf-fill { height: 100%; border-radius: 3px; min-width: 1px; transition: width 0.2s; }
.etf-line { position: absolute; top: -0.2rem; bottom: -0.2rem; border-left: 2px dashed currentColor; opacity: 0.7; }
.etf-hidden { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%);
  white-space: nowrap; }
.etf-figure { margin: 0; color: var(--st-text-color, inherit); font-family: var(--st-font, inherit); }
.etf-row { margin-top: 0.4rem; display: grid; grid-template-columns: 3.4rem 1fr; column-gap: 0.4rem;
  font-size: 0.8rem; }
.etf-label { text-align: right; position: relative; }
.etf-label span { position: absolute; right: 0; transform: translateY(50%); }
.etf-plot { position: relative; cursor: pointer; overflow: hidden; border-left: 1px solid rgba(128, 128, 128, 0.6);
  border-bottom: 1px solid rgba(128, 128, 128, 0.6); }
.etf-plot svg, .etf-plot img { position: absolute; inset: 0; width: 100%; height: 100%; display: block; }
.etf-wave { height: 5rem; }
.etf-mel { height: 10rem; }
.etf-band { height: 2.6rem; cursor: default; }
.etf-axis { position: relative; height: 1.3rem; }
.etf-axis span { position: absolute; transform: translateX(-50%); }
.etf-axis .etf-first { transform: none; }
.etf-axis .etf-last { transform: translateX(-100%); }
.etf-unit { text-align: center; font-size: 0.8rem; margin-left: 3.8rem; }
.etf-head { position: absolute; top: 0; bottom: 0; width: 2px; background: currentColor; pointer-events: none;
  display: none; }
.etf-segment { position: absolute; top: 0; height: 100%; border: 0; border-radius: 2px; padding: 0; cursor: pointer;
  min-width: 3px; }
.etf-segment:focus-visible, .etf-list button:focus-visible { outline: 3px solid currentColor; outline-offset: -3px; }
.etf-legend { display: flex; flex-wrap: wrap; gap: 0.2rem 0.9rem; margin: 0.5rem 0 0; padding: 0; list-style: none;
  font-size: 0.85rem; }
.etf-legend i { display: inline-block; width: 0.8rem; height: 0.8rem; border-radius: 2px; margin-right: 0.3rem;
  vertical-align: -0.08rem; }
.etf-list { max-height: 14rem; overflow-y: auto; margin: 0.6rem 0 0; padding: 0; list-style: none;
  font-size: 0.9rem; border: 1px solid rgba(128, 128, 128, 0.35); border-radius: 4px; }
.etf-list button { width: 100%; display: grid; grid-template-columns: 0.8rem 7.5rem 1fr auto; gap: 0.5rem;
  align-items: center; padding: 0.35rem 0.6rem; min-height: 2rem; border: 0; background: none; color: inherit;
  font: inherit; text-align: left; cursor: pointer; }
.etf-list button:hover { background: rgba(128, 128, 128, 0.18); }
.etf-list i { width: 0.8rem; height: 0.8rem; border-radius: 2px; }
"""
"""Of everything here; the live tab draws bars of the same kind."""

_MOST_POINTS = 800
_STEPS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1200)
_MOST_TICKS = 7
_TICKS_HZ = (250, 500, 1000, 2000, 4000, 8000)
_COLOUR_MAP = "magma"


def bars(probabilities: Mapping[str, float], emotion: str, least: float | None = None, title: str = "") -> str:
    """Draws a bar for each emotion, in the order of the labels, each in its colour, with its number.

    Args:
      probabilities: Emotion -> probability.
      emotion: The one to set in bold; empty: none.
      least: Where a line shows what counts as sure; None: there is none.
      title: What screen readers read first.
    """
    line = "" if least is None else f'<div class="etf-line" style="left:{100 * least:.1f}%"></div>'
    rows = "".join(
        f'<tr{" class=most" if name == emotion else ""}><th scope="row">{escape(name)}</th><td>'
        f'<div class="etf-track" aria-hidden="true"><div class="etf-fill" style="width:{100 * value:.1f}%;'
        f'background:{colour_of(place)}"></div>{line}</div></td><td>{value:.2f}</td></tr>'
        for place, (name, value) in enumerate(probabilities.items())
    )
    head = f'<caption class="etf-hidden">{escape(title or "Probability of each emotion")}</caption>'
    return f'<table class="etf-bars">{head}<tbody>{rows}</tbody></table>'


def sound(waveform: np.ndarray, spectrogram: Spectrogram | None) -> str:
    """Draws a clip: waveform and log-mel spectrogram over seconds, bands in Hz.

    Args:
      waveform: [num_samples] int16 at 16 kHz.
      spectrogram: None where the front end finds no sound.
    """
    seconds = len(waveform) / SAMPLE_RATE
    mel = ""
    if spectrogram is not None:
        name = f"Log-mel spectrogram, {spectrogram.band_hz[0]:.0f} to {spectrogram.band_hz[-1]:.0f} Hz"
        image = f'<img alt="{name}" src="data:image/png;base64,{_png(spectrogram.log_mel)}">'
        mel = _row(_hertz(spectrogram.band_hz), "etf-mel", image)
    wave = _wave(_envelope(waveform), f"Waveform, {seconds:.2f} seconds")
    return _figure([_row("<span style='bottom:50%'>wave</span>", "etf-wave", wave), mel], seconds)


def timeline(found: Timeline, least: float = 0.0) -> str:
    """Draws a timeline: waveform, a button for each segment that plays from there, and the same as a list.

    Args:
      found: The timeline.
      least: Segments whose probability is lower are pale, and called not sure in the list.
    """
    step = max(1, -(-len(found.envelope) // _MOST_POINTS))
    points = found.envelope[: len(found.envelope) // step * step].reshape(-1, step, 2)
    envelope = np.stack([points[:, :, 0].min(axis=1), points[:, :, 1].max(axis=1)], axis=1)
    width = len(points) * step / POINTS_PER_SECOND / max(found.seconds, 1e-3)
    places = {emotion: place for place, emotion in enumerate(found.emotions)}
    buttons, lines = [], []
    for segment in found.segments:
        colour, most = colour_of(places[segment.emotion]), max(segment.probabilities)
        when = f"{clock(segment.start)} to {clock(segment.end)}"
        said = segment.emotion if most >= least else f"{NOT_SURE} ({segment.emotion})"
        label = f"{when}, {said}, {most:.2f}: play from here"
        pale = "" if most >= least else "opacity:0.35;"
        left, share = 100 * segment.start / found.seconds, 100 * segment.seconds / found.seconds
        # The list below is for the keyboard: hundreds of stops in a row of slivers are of no use.
        buttons.append(
            f'<button type="button" class="etf-segment" tabindex="-1" aria-hidden="true" data-start="{segment.start}"'
            f' title="{escape(label)}" style="{pale}left:{left:.3f}%;width:{share:.3f}%;background:{colour}"></button>'
        )
        lines.append(
            f'<li><button type="button" data-start="{segment.start}" aria-label="{escape(label)}">'
            f'<i style="{pale}background:{colour}"></i><span>{when}</span><span>{escape(said)}</span>'
            f"<span>{most:.2f}</span></button></li>"
        )
    rows = [
        _row("<span style='bottom:50%'>wave</span>", "etf-wave", _wave(envelope, "Waveform", width)),
        _row("<span style='bottom:50%'>emotion</span>", "etf-band", "".join(buttons)),
    ]
    listed = f'<ol class="etf-list" aria-label="Segments" tabindex="0">{"".join(lines)}</ol>' if lines else ""
    return _figure(rows, found.seconds) + legend(found.emotions) + listed


def legend(emotions: Iterable[str]) -> str:
    """Names the colours of emotions."""
    entries = "".join(
        f'<li><i style="background:{colour_of(place)}"></i>{escape(emotion)}</li>'
        for place, emotion in enumerate(emotions)
    )
    return f'<ul class="etf-legend" aria-label="Colours">{entries}</ul>'


def clock(seconds: float) -> str:
    """Writes minutes and seconds, for instance 1:05.2."""
    tenths = round(10 * seconds)
    return f"{tenths // 600}:{tenths % 600 // 10:02d}.{tenths % 10}"


def with_boxes(images: Sequence[bytes], boxes: np.ndarray) -> list[np.ndarray]:
    """Draws the box of the face into frames.

    Args:
      images: A JPEG a frame.
      boxes: [num_frames, 5], as `pipelines.video.NUM_BOX_COLUMNS` says.

    Returns:
      RGB pictures; those without a face are left as they are.
    """
    from pipelines.video import import_opencv

    cv2 = import_opencv()
    drawn = []
    for image, (left, top, width, height, is_found) in zip(images, boxes, strict=True):
        picture = cv2.cvtColor(cv2.imdecode(np.frombuffer(image, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
        rows, columns = picture.shape[:2]
        if is_found:
            start, end = (left * columns, top * rows), ((left + width) * columns, (top + height) * rows)
            corners = [tuple(min(round(value), size - 2) for value, size in zip(at, (columns, rows), strict=True))
                       for at in (start, end)]  # fmt: skip
            picture = cv2.rectangle(np.ascontiguousarray(picture), *corners, (86, 180, 233), 2)
        drawn.append(picture)
    return drawn


def _figure(rows: Iterable[str], seconds: float) -> str:
    unit = "minutes:seconds" if seconds > 60 else "seconds"
    marks = "".join(_mark(at, seconds) for at in _ticks(seconds))
    axis = f'<div class="etf-row"><div></div><div class="etf-axis" aria-hidden="true">{marks}</div></div>'
    body = "".join(rows) + axis + f'<div class="etf-unit" aria-hidden="true">{unit}</div>'
    return f'<figure class="etf-figure" data-seconds="{seconds}">{body}</figure>'


def _mark(at: float, seconds: float) -> str:
    share = at / max(seconds, 1e-3)
    kind = " class=etf-first" if share < 0.02 else " class=etf-last" if share > 0.97 else ""
    return f'<span{kind} style="left:{100 * share:.2f}%">{_tick(at, seconds)}</span>'


def _tick(at: float, seconds: float) -> str:
    return f"{int(at) // 60}:{int(at) % 60:02d}" if seconds > 60 else f"{at:g}"


def _ticks(seconds: float) -> list[float]:
    step = next((step for step in _STEPS if seconds / step < _MOST_TICKS), _STEPS[-1])
    return [round(number * step, 3) for number in range(int(seconds / step) + 1)]


def _row(label: str, kind: str, content: str) -> str:
    head = '<div class="etf-head" aria-hidden="true"></div>'
    return (
        f'<div class="etf-row"><div class="etf-label {kind.replace("etf-", "etf-of-")}" aria-hidden="true">{label}'
        f'</div><div class="etf-plot {kind}">{content}{head}</div></div>'
    )


def _hertz(band_hz: np.ndarray) -> str:
    """Labels bands, whose rows are evenly spaced."""
    rows = np.arange(len(band_hz)) + 0.5
    chosen = [hertz for hertz in _TICKS_HZ if band_hz[0] <= hertz <= band_hz[-1]]
    heights = 100 * np.interp(chosen, band_hz, rows) / len(band_hz)
    return "".join(
        f'<span style="bottom:{height:.1f}%">{hertz}{" Hz" if hertz == chosen[-1] else ""}</span>'
        for hertz, height in zip(chosen, heights, strict=True)
    )


def _envelope(waveform: np.ndarray) -> np.ndarray:
    """Finds the lowest and the highest sample of each point: [num_points, 2] in [-1, 1)."""
    length = max(1, -(-len(waveform) // _MOST_POINTS))
    padded = np.pad(waveform, (0, -len(waveform) % length)).reshape(-1, length) / 32768
    return np.stack([padded.min(axis=1), padded.max(axis=1)], axis=1)


def _wave(envelope: np.ndarray, name: str, width: float = 1.0) -> str:
    """Draws an envelope over a share of the width, as high as its loudest place."""
    if not len(envelope):
        return ""
    envelope = envelope / max(float(np.abs(envelope).max()), 1e-3)
    upper = [f"{x},{100 - 95 * high:.1f}" for x, (_, high) in enumerate(envelope)]
    lower = [f"{x},{100 - 95 * low:.1f}" for x, (low, _) in reversed(list(enumerate(envelope)))]
    wide = max(len(envelope) - 1, 1) / max(width, 1e-3)
    return (
        f'<svg role="img" aria-label="{escape(name)}" viewBox="0 0 {wide:.2f} 200" preserveAspectRatio="none">'
        f'<polygon points="{" ".join([*upper, *lower])}" fill="currentColor" stroke="currentColor"'
        ' stroke-width="1" vector-effect="non-scaling-stroke" opacity="0.75"/></svg>'
    )


def _png(log_mel: np.ndarray) -> str:
    """Colours a spectrogram [num_frames, mel_bins], low bands at the bottom, as a PNG in base64."""
    from matplotlib import image

    written = io.BytesIO()
    image.imsave(written, log_mel.T, cmap=_COLOUR_MAP, origin="lower", format="png")
    return base64.b64encode(written.getvalue()).decode()


def picture_of(draw: Any, *, is_dark: bool = False) -> bytes:
    """Draws a figure of Matplotlib as a PNG, on light or dark ground.

    Args:
      draw: Makes the figure.
    """
    from matplotlib import style

    written = io.BytesIO()
    with style.context("dark_background" if is_dark else "default"):
        draw().savefig(written, format="png", dpi=180)
    return written.getvalue()
