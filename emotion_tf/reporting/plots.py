"""Pictures of a run: functions that draw one figure and return it, and `draw_scores`, which writes all of a split."""

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator, PercentFormatter

from emotion_tf.colours import colour_of
from emotion_tf.evaluation import metrics
from emotion_tf.evaluation.counts import TITLES, UAR
from pipelines.files import replacing

_STROKES = ("-", "--", (0, (7, 1)), "-.", (0, (4, 1, 1, 1, 1, 1)), (0, (1, 1)), (0, (7, 1, 3, 1)), (0, (2, 2)))
"""They are told apart in grey."""


def emotion_style(place: int) -> dict[str, Any]:
    """Chooses colour and stroke of an emotion by its place in the label set; 64 of them differ."""
    number = len(_STROKES)
    return {"color": colour_of(place), "linestyle": _STROKES[(place + place // number) % number]}


def save(figure: Figure, path: Path) -> None:
    """Writes a figure as PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)


def curves(history: pd.DataFrame, chance: float) -> Figure:
    """Draws the loss, and the score that chooses the epoch, over the epochs, beside each other.

    Args:
      history: Columns epoch, loss, val_loss, val_<score> (UAR, or else macro-F1) and, where utterances have one emotion
        each, accuracy.
      chance: The score of guessing, drawn as a line.
    """
    figure = Figure(figsize=(10, 4), layout="constrained")
    losses, scores = figure.subplots(1, 2)
    epochs = history["epoch"] + 1
    # Points: the line of a single epoch would be invisible.
    # It may lie above the other and be no worse: weights of rare emotions, smoothing and masks are in it.
    losses.plot(epochs, history["loss"], ".-", label="training (as weighted and masked)")
    losses.plot(epochs, history["val_loss"], ".-", label="validation")
    losses.set(xlabel="epoch", ylabel="loss (cross-entropy)", title="Loss")
    losses.legend()
    name = UAR if f"val_{UAR}" in history else "macro_f1"
    title, values = TITLES[name], history[f"val_{name}"]
    if "accuracy" in history:
        scores.plot(epochs, history["accuracy"], ".-", label="training accuracy (masked input)")
    scores.plot(epochs, values, ".-", color="tab:orange", label=f"validation {title}")
    scores.plot(epochs[values.idxmax()], values.max(), "o", color="tab:orange", label="kept")
    scores.axhline(chance, linestyle=":", color="grey", label="chance")
    scores.set(xlabel="epoch", ylabel=title, title="Recall" if name == UAR else title, ylim=(0, 1))
    scores.legend()
    for axes in (losses, scores):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure


def confusion_matrix(counts: np.ndarray, emotions: Sequence[str], title: str) -> Figure:
    """Draws counts [num_emotions, num_emotions] (rows are labels), coloured by the share of each row."""
    width = 2.6 + 0.7 * len(emotions)
    figure = Figure(figsize=(width, 1.6 + 0.62 * len(emotions)), layout="constrained")
    axes = figure.subplots()
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(len(emotions)), emotions, rotation=40, ha="right")
    axes.set_yticks(range(len(emotions)), emotions)
    axes.set(xlabel="predicted", ylabel="label")
    figure.suptitle(textwrap.fill(title, int(9 * width)))
    for (row, column), count in np.ndenumerate(counts):
        axes.text(column, row, count, ha="center", va="center", color="white" if shares[row, column] > 0.5 else "black")
    figure.colorbar(image, ax=axes, label="share of the label's clips", shrink=0.8)
    return figure


def per_emotion(scores: Mapping[str, Any], title: str) -> Figure:
    """Draws the F1 of each emotion as a bar with its precision and recall, the best above, and how often it occurs.

    Args:
      scores: What `metrics.scores` says of a split.
      title: Above the picture.
    """
    found = {name: numbers for name, numbers in scores["per_emotion"].items() if numbers["count"]}
    ranked = sorted(found, key=lambda name: (found[name]["f1"], name))
    figure = Figure(figsize=(7, 1.8 + 0.22 * len(ranked)), layout="constrained")
    axes = figure.subplots()
    axes.barh(ranked, [found[name]["f1"] for name in ranked], color="lightsteelblue", label="F1")
    for kind, marker in (("precision", ">"), ("recall", "o")):
        axes.plot([found[name][kind] for name in ranked], ranked, marker, markersize=4, label=kind)
    axes.axvline(scores["macro_f1"], linestyle="--", color="tab:red", label="macro-F1")
    axes.axvline(scores["chance"]["macro_f1"], linestyle=":", color="grey", label="chance")
    axes.set_yticks(range(len(ranked)), [f"{name} ({found[name]['count']})" for name in ranked], fontsize="small")
    axes.set(xlabel="share", xlim=(0, 1), ylim=(-0.8, len(ranked) - 0.2))
    figure.legend(loc="outside lower center", ncols=5, fontsize="small")
    figure.suptitle(textwrap.fill(title, 75), fontsize="medium")
    return figure


def spectrogram(log_mel: np.ndarray, title: str, hop_seconds: float) -> Figure:
    """Draws one log-mel [num_frames, mel_bins], time from left to right, low bands below."""
    figure = Figure(figsize=(7, 3), layout="constrained")
    axes = figure.subplots()
    extent = (0, len(log_mel) * hop_seconds, 0, log_mel.shape[1])
    image = axes.imshow(log_mel.T, origin="lower", aspect="auto", cmap="magma", extent=extent)
    axes.set(xlabel="seconds", ylabel="mel band")
    figure.suptitle(textwrap.fill(title, 90), fontsize="medium")
    figure.colorbar(image, ax=axes, label="normalised log magnitude")
    return figure


def frame_strips(strips: Mapping[str, tuple[np.ndarray, np.ndarray]], title: str) -> Figure:
    """Draws what a model reads of videos, a row each: its frames, 16 of them at most, and the face box in them.

    Args:
      strips: What stands before a row -> its frames [num_video_frames, height, width, channels] in [0, 1], and boxes
        [num_video_frames, 5]: left, top, width and height as shares of the frame, and 1 where the face was found, 0
        where the box is that of another frame.
      title: Above the picture.
    """
    chosen = {
        name: np.unique(np.linspace(0, len(frames) - 1, 16).round().astype(int)) for name, (frames, _) in strips.items()
    }
    strips = {name: (frames[chosen[name]], boxes[chosen[name]]) for name, (frames, boxes) in strips.items()}
    num_frames = max((len(frames) for frames, _ in strips.values()), default=1)
    figure = Figure(figsize=(1.6 + 0.7 * num_frames, 0.9 + 0.75 * len(strips)), layout="constrained")
    grid = figure.subplots(len(strips), num_frames, squeeze=False, gridspec_kw={"wspace": 0, "hspace": 0})
    for axes in grid.flat:
        axes.set(xticks=[], yticks=[])
    for row, (name, (frames, boxes)) in zip(grid, strips.items(), strict=True):
        row[0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize="small")
        for axes, frame, (left, top, width, height, is_found) in zip(row, frames, boxes, strict=False):
            axes.imshow(frame.squeeze(), cmap="gray", vmin=0, vmax=1)
            corner, size = (left * frame.shape[1], top * frame.shape[0]), (width * frame.shape[1], height * len(frame))
            colour, style = ("lime", "-") if is_found else ("red", ":")
            axes.add_patch(Rectangle(corner, *size, fill=False, edgecolor=colour, linestyle=style))
    figure.suptitle(textwrap.fill(title, 14 + 10 * num_frames), fontsize="medium")
    return figure


def reliability(bins: pd.DataFrame, before: pd.DataFrame | None, title: str, what: str = "accuracy") -> Figure:
    """Draws accuracy against confidence, and below how many clips have it.

    Args:
      bins: One row a bin of equal width: count, confidence and accuracy, NaN where empty.
      before: The same before calibration, or None.
      title: Above the picture.
      what: Is set against confidence: accuracy, or how often an emotion is there, of all pairs of it and an utterance.
    """
    is_accuracy = what == "accuracy"
    figure = Figure(figsize=(6, 6.5), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    above.plot((0, 1), (0, 1), ":", color="grey", label="perfectly calibrated")
    edges = np.linspace(0, 1, len(bins) + 1)
    drawn = [("before calibration", before, "tab:orange")] if before is not None else []
    for label, table, color in [*drawn, ("calibrated" if drawn else "this run", bins, "tab:blue")]:
        filled = table[table["count"] > 0]
        # Areas: a bin of three clips may lie anywhere.
        sizes = 10 + 250 * filled["count"] / table["count"].sum()
        above.plot(filled["confidence"], filled["accuracy"], ".-", color=color, label=label)
        above.scatter(filled["confidence"], filled["accuracy"], sizes, color=color, alpha=0.6, clip_on=False)
        below.stairs(table["count"], edges, color=color, fill=table is bins, alpha=0.6)
    above.set(ylabel=what, xlim=(0, 1), ylim=(0, 1))
    above.legend(loc="upper left")
    of = "the predicted emotion" if is_accuracy else "an emotion"
    below.set(xlabel=f"confidence (probability of {of})", ylabel="clips" if is_accuracy else "pairs")
    if is_accuracy:
        below.yaxis.set_major_locator(MaxNLocator(nbins=4, integer=True))
    else:
        below.set_yscale("log")  # Nearly all pairs lie in the lowest bin.
    figure.suptitle(textwrap.fill(title, 65), fontsize="medium")
    return figure


def roc(
    curves: Mapping[str, tuple[np.ndarray, np.ndarray]],
    title: str,
    emotions: Sequence[str] = (),
    areas: Mapping[str, float] | None = None,
) -> Figure:
    """Draws the ROC curve of each emotion against the rest.

    Args:
      curves: Emotion -> rates of false and of true positives, both rising from 0 to 1.
      title: Above the picture.
      emotions: The label set, whose order gives each emotion its colour; empty: that of the curves.
      areas: Emotion -> area to name: those of the scores are means over seeds; None: those under the curves.
    """
    areas = areas or {emotion: float(np.trapezoid(true, false)) for emotion, (false, true) in curves.items()}
    columns = 2 + len(curves) // 16
    figure = Figure(figsize=(2.7 * columns, 5.4 + 0.2 * -(-len(curves) // columns)), layout="constrained")
    axes = figure.subplots()
    for emotion, (false, true) in curves.items():
        style = emotion_style((emotions or list(curves)).index(emotion))
        axes.plot(false, true, linewidth=1.5, label=f"{emotion} ({areas[emotion]:.3f})", **style)
    axes.plot((0, 1), (0, 1), ":", color="grey", label="chance (0.500)")
    axes.set(xlabel="false positives (share of the other emotions' clips)", ylabel="true positives (recall)")
    axes.set(xlim=(-0.01, 1), ylim=(0, 1.01), aspect="equal")
    figure.legend(title="emotion (area under curve)", loc="outside lower center", ncols=columns, fontsize="small")
    figure.suptitle(textwrap.fill(title, 30 * columns), fontsize="medium")
    return figure


def selective(shares: Mapping[str, float], majority: float, title: str) -> Figure:
    """Draws the accuracy on the most confident clips against their share.

    Args:
      shares: Share of the clips that are kept ("1.0" to "0.1") -> accuracy on them.
      majority: Accuracy of always naming the commonest emotion, drawn as a line.
      title: Above the picture.
    """
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    kept = [float(share) for share in shares]
    axes.plot(kept, list(shares.values()), ".-", label="most confident clips")
    axes.axhline(shares[max(shares, key=float)], linestyle="--", color="tab:orange", label="all clips")
    axes.axhline(majority, linestyle=":", color="grey", label="majority class")
    axes.set(xlabel="share of clips kept, the most confident first", ylabel="accuracy", xlim=(0, 1.02), ylim=(0, 1.02))
    axes.xaxis.set_major_formatter(PercentFormatter(1))
    axes.legend()
    figure.suptitle(textwrap.fill(title, 70), fontsize="medium")
    return figure


def speakers(by_speaker: Mapping[str, Mapping[str, float]], chance: float, title: str) -> Figure:
    """Draws the UAR of each speaker as a dot, the best above.

    Args:
      by_speaker: Speaker -> scores with a `unweighted_average_recall`, as in `by` of scores.json.
      chance: UAR of guessing, drawn as a line.
      title: Above the picture.
    """
    uars = {name: scores["unweighted_average_recall"] for name, scores in by_speaker.items()}
    ranked = sorted(uars, key=lambda name: (uars[name], name))
    figure = Figure(figsize=(6.5, 1.6 + 0.22 * len(ranked)), layout="constrained")
    axes = figure.subplots()
    places, values = range(len(ranked)), [uars[name] for name in ranked]
    axes.hlines(places, chance, values, color="lightsteelblue")
    axes.plot(values, places, "o", label="speaker")
    axes.axvline(float(np.mean(values)), linestyle="--", color="tab:orange", label="mean of speakers")
    axes.axvline(chance, linestyle=":", color="grey", label="chance")
    axes.set_yticks(places, [shortened(name) for name in ranked], fontsize="small")
    axes.set(xlabel="UAR", xlim=(0, 1), ylim=(-0.8, len(ranked) - 0.2))
    figure.legend(loc="outside lower center", ncols=3, fontsize="small")
    figure.suptitle(textwrap.fill(title, 75), fontsize="medium")
    return figure


def shortened(name: str) -> str:
    """Leaves out the middle of a long name: both ends may tell it from others."""
    return name if len(name) <= 30 else f"{name[:16]}…{name[-13:]}"


def forest(compared: Mapping[str, Any]) -> Figure:
    """Draws the score of each run on the left, and the differences in points with their p-values on the right."""
    runs, pairs, metric = compared["runs"], compared["pairs"], compared["metric"]
    title = TITLES[metric]
    figure = Figure(figsize=(13, 1.8 + 0.45 * max(len(runs), len(pairs))), layout="constrained")
    scores, differences = figure.subplots(1, 2)
    _draw_rows(scores, runs, [_wrapped(run["name"], *(f"[{m}]" for m in run["marks"])) for run in runs], 1, metric)
    scores.axvline(compared["chance"][metric], linestyle=":", color="grey", label="chance")
    scores.set(
        xlabel=f"{title} ({compared['split']} split, 95 % over {compared['unit']}s)", title="Scores", xlim=(0, None)
    )
    scores.legend()
    _draw_rows(differences, pairs, [_wrapped(f"{pair['first']} -", pair["second"]) for pair in pairs], 100, metric)
    differences.axvline(0, linestyle=":", color="grey")
    differences.set(xlabel=f"difference in points of {title}", title="Differences")
    right = differences.secondary_yaxis("right")
    right.set_yticks(range(len(pairs)), [f"p = {pair['p_holm']:.2g}" for pair in pairs])
    right.set_ylabel("after Holm" if len(pairs) > 1 else "permutation test")
    return figure


def _draw_rows(axes: Any, rows: Sequence[dict[str, Any]], names: Sequence[str], scale: float, metric: str) -> None:
    """Draws a score and its interval a line, the first one on top."""
    for height, row in enumerate(rows):
        if row[f"{metric}_interval"]:
            axes.plot(scale * np.array(row[f"{metric}_interval"]), [height] * 2, color="tab:blue")
        axes.plot(scale * row[metric], height, "o", color="tab:blue")
    axes.set_yticks(range(len(rows)), names)
    axes.set_ylim(len(rows) - 0.5, -0.5)


def _wrapped(*names: str) -> str:
    """Sets names below each other where they would take too much of the picture's width, and shortens long ones."""
    short = [shortened(name) for name in names]
    return (" " if sum(map(len, short)) <= 28 else "\n").join(short)


def pixels(figure: Figure) -> np.ndarray:
    """Renders a figure to [height, width, 4] uint8, for TensorBoard."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())


def draw_scores(
    folder: Path,
    predictions: pd.DataFrame,
    scores: Mapping[str, Any],
    temperature: metrics.Temperature | None,
    marks: Sequence[str],
) -> None:
    """Writes all pictures of one split, <what>-<split>.png.

    They are confusion, speakers, roc, reliability and selective; of a multi-label one per-emotion, roc, reliability.

    Args:
      folder: Where they go; it and the one above it name the scores in the titles.
      predictions: Rows of predictions.csv, of one split.
      scores: What `metrics.scores` says of them.
      temperature: As `metrics.scores` takes it.
      marks: What the scores carry.
    """
    split, is_multi_label = predictions["split"].iloc[0], scores.get("is_multi_label", False)
    title = f"{folder.parent.name}, {split}{''.join(f' [{mark}]' for mark in marks)}"
    figures = _of_several(scores, title) if is_multi_label else _of_one(predictions, scores, title)
    if "area_under_curve" in scores:
        emotions = list(scores["counts"])
        before = metrics.reliability(predictions, temperature) if temperature is not None else None
        what = "share that carries it" if is_multi_label else "accuracy"
        areas = {name: found["area_under_curve"] for name, found in scores["per_emotion"].items()}
        figures["roc"] = roc(metrics.roc(predictions, emotions), title, emotions, areas)
        figures["reliability"] = reliability(metrics.reliability(predictions), before, title, what)
    for name, figure in figures.items():
        save(figure, folder / f"{name}-{split}.png")


def _of_one(predictions: pd.DataFrame, scores: Mapping[str, Any], title: str) -> dict[str, Figure]:
    """Draws what exists only where utterances have one emotion each."""
    emotions, name = list(scores["counts"]), UAR if scores["unit"] == "speaker" else "macro_f1"
    scored = f"{title}: {TITLES[name]} {scores[name]:.3f}"
    figures = {"confusion": confusion_matrix(metrics.confusion(predictions, emotions), emotions, scored)}
    by_speaker = {name: found for name, found in scores["by"].get("speaker", {}).items() if name}
    if by_speaker:
        figures["speakers"] = speakers(by_speaker, scores["chance"][UAR], scored)
    if "selective_accuracy" in scores:
        figures["selective"] = selective(scores["selective_accuracy"], scores["majority"]["accuracy"], title)
    return figures


def _of_several(scores: Mapping[str, Any], title: str) -> dict[str, Figure]:
    return {"per-emotion": per_emotion(scores, f"{title}: macro-F1 {scores['macro_f1']:.3f}")}
