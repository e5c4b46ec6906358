"""Diagrams of fused models: what goes in, what is joined and how, as boxes and arrows."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import keras
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from emotion_tf.config import AUDIO_FEATURES, Config
from emotion_tf.models.inputs import modalities_of
from emotion_tf.reporting.plots import shortened


class Box(NamedTuple):
    """A box of a diagram.

    Attributes:
      title: What it is.
      lines: What there is to say of it.
      feeds: Which boxes of the next column an arrow leads to.
    """

    title: str
    lines: Sequence[str] = ()
    feeds: Sequence[int] = (0,)


def early(model: keras.Model, config: Config) -> list[list[Box]]:
    """Describes early fusion: inputs, branches, join, emotions."""
    inputs, branches = [], []
    for number, modality in enumerate(config.modalities):
        inputs.append(_input(model, modality, (number,)))
        branches.append(Box(f"{modality} branch", [*_models(config, modality), _size(model, f"{modality}_")]))
    dropped = config.training.modality_dropout
    about = [_size(model, "fusion_"), *([f"modality dropout {dropped:g}"] if dropped else [])]
    join = Box(f"join: {config.join}", about)
    return [
        inputs,
        branches,
        [join],
        [Box("emotions", [f"{model.output.shape[-1]} logits", _size(model, "emotions")])],
    ]


def late(model: keras.Model, sources: Mapping[str, keras.Model], weights: Sequence[float] = ()) -> list[list[Box]]:
    """Describes late fusion: inputs, runs, rule, emotions.

    Args:
      model: The fused one.
      sources: Name of a run -> its model.
      weights: Of each run, where the rule has fitted such.
    """
    modalities, rule = modalities_of(model), model.get_layer("late_rule").rule
    heard = [modalities_of(source) for source in sources.values()]
    inputs = [
        _input(model, name, [number for number, of_run in enumerate(heard) if name in of_run]) for name in modalities
    ]
    runs = [
        Box(shortened(name), [" and ".join(of_run), f"{source.count_params():,} parameters"])
        for (name, source), of_run in zip(sources.items(), heard, strict=True)
    ]
    shown = [f"weights {', '.join(f'{weight:.2f}' for weight in weights)}"] if len(weights) else []
    return [inputs, runs, [Box(f"rule: {rule}", shown)], [Box("emotions", [f"{model.output.shape[-1]} logits"])]]


def _input(model: keras.Model, modality: str, feeds: Sequence[int]) -> Box:
    of_modality = {"audio": AUDIO_FEATURES, "text": ("token_ids",), "video": ("video_frames",)}[modality]
    names = [name for name in of_modality if name in model.input]
    return Box(modality, [_shape(name, model.input[name]) for name in names], feeds)


def _shape(name: str, tensor: keras.KerasTensor) -> str:
    """Writes an input with its shape, that of one utterance."""
    lengths = {"encoder": "num_steps", "token_ids": "num_tokens", "video_frames": "num_video_frames"}
    length = lengths.get(name, "num_frames")
    return f"{name} [{', '.join([length, *map(str, tensor.shape[2:])])}]"


def _models(config: Config, modality: str) -> list[str]:
    """Names what a branch is made of, and where its weights come from."""
    features = config.audio.features if modality == "audio" else ()
    model = f"frame CNN, {config.video.pooling}" if modality == "video" else getattr(config, modality).model
    names = [] if features == ("encoder",) else [model]
    names += ["head on encoder states"] * ("encoder" in features)
    source, epochs = getattr(config, f"init_{modality}"), config.training.freeze_epochs
    names += [f"from {shortened(Path(source).name)}"] if source else []
    return names + [f"frozen epochs: {epochs}"] * bool(source and epochs)


def _size(model: keras.Model, prefix: str) -> str:
    layers = [layer for layer in model.layers if layer.name.startswith(prefix)]
    return f"{sum(layer.count_params() for layer in layers if layer.weights):,} parameters"


def draw(columns: Sequence[Sequence[Box]], title: str) -> Figure:
    """Draws how a model is put together: columns of boxes from left to right, and arrows between neighbours.

    Args:
      columns: Such as inputs, branches, join and emotions, or inputs, runs, rule and emotions.
      title: Above the picture.
    """
    line, gap, letter = 0.19, 0.5, 0.078  # Inches: a line's height, between boxes, a letter's width.
    texts = [[len(text) for box in column for text in (box.title, *box.lines)] for column in columns]
    widths = [0.3 + letter * max(found) for found in texts]
    tallest = max(len(column) * (gap / 2 + max(_height(box, line) for box in column)) for column in columns)
    size = (sum(widths) + gap * (len(columns) + 1), tallest + gap)
    figure = Figure(figsize=size)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, size[0]), ylim=(0, size[1]))
    axes.axis("off")
    axes.text(size[0] / 2, size[1] - 0.1, title, ha="center", va="top", fontsize="medium")
    lefts = [gap * (number + 1) + sum(widths[:number]) for number in range(len(columns))]
    # Columns of equally many boxes have them at equal heights, whatever stands in them.
    middles = [[tallest * (1 - (row + 0.5) / len(column)) + 0.1 for row in range(len(column))] for column in columns]
    for number, column in enumerate(columns):
        for box, middle in zip(column, middles[number], strict=True):
            _draw_box(axes, box, (lefts[number], middle), widths[number], line)
            for target in box.feeds if number + 1 < len(columns) else ():
                ends = (lefts[number + 1], middles[number + 1][target]), (lefts[number] + widths[number], middle)
                axes.annotate("", *ends, arrowprops={"arrowstyle": "-|>", "color": "dimgrey", "shrinkA": 3})
    return figure


def _height(box: Box, line: float) -> float:
    return line * (1 + len(box.lines)) + 0.2


def _draw_box(axes: Any, box: Box, place: tuple[float, float], width: float, line: float) -> None:
    """Draws a box, its left edge and its middle at a place."""
    (left, middle), height = place, _height(box, line)
    edges, shape = ((left, middle - height / 2), width, height), "round,pad=0,rounding_size=0.08"
    axes.add_patch(FancyBboxPatch(*edges, boxstyle=shape, facecolor="aliceblue", edgecolor="steelblue"))
    for number, text in enumerate((box.title, *box.lines)):
        above = middle + height / 2 - 0.1 - line * (number + 0.5)
        weight = "normal" if number else "bold"
        axes.text(left + width / 2, above, text, ha="center", va="center", fontsize=9, weight=weight)
