"""Pictures of a run. Each function draws one figure and returns it; `save` writes it as PNG."""

import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator


def save(figure: Figure, path: Path) -> None:
    """Writes a figure as PNG, under a temporary name first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".tmp")
    try:
        figure.savefig(temporary, format="png", dpi=110)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def curves(history: pd.DataFrame, chance: float) -> Figure:
    """Draws loss and UAR over the epochs, beside each other.

    Args:
      history: Columns epoch, loss, val_loss, val_unweighted_average_recall, val_accuracy.
      chance: UAR of guessing, drawn as a line.
    """
    figure = Figure(figsize=(10, 4), layout="constrained")
    losses, recalls = figure.subplots(1, 2)
    epochs = history["epoch"] + 1
    # Points: the line of a single epoch would not be seen.
    losses.plot(epochs, history["loss"], ".-", label="training")
    losses.plot(epochs, history["val_loss"], ".-", label="validation")
    losses.set(xlabel="epoch", ylabel="loss (cross-entropy)", title="Loss")
    losses.legend()
    best = history["val_unweighted_average_recall"].idxmax()
    recalls.plot(epochs, history["accuracy"], ".-", label="training accuracy (masked input)")
    recalls.plot(epochs, history["val_unweighted_average_recall"], ".-", label="validation UAR")
    recalls.plot(epochs[best], history["val_unweighted_average_recall"][best], "o", color="tab:orange", label="kept")
    recalls.axhline(chance, linestyle=":", color="grey", label="chance")
    recalls.set(xlabel="epoch", ylabel="share of clips", title="Recall", ylim=(0, 1))
    recalls.legend()
    for axes in (losses, recalls):
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


def pixels(figure: Figure) -> np.ndarray:
    """Renders a figure to [height, width, 4] uint8, for TensorBoard."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())
