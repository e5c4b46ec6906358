"""A picture of a search: the score of each trial over each setting, and what mattered."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FormatStrFormatter, LogLocator, NullFormatter

from emotion_tf.tuning.space import Choice, Space

_COLUMNS = 3


def draw(
    space: Space,
    drawn: Sequence[Mapping[str, Sequence[str]]],
    scores: Sequence[float],
    is_finished: Sequence[bool],
    importance: Mapping[str, float] | None,
    headline: str,
) -> Figure:
    """Draws a panel for each flag, and one of what mattered where that is known.

    Args:
      space: What was searched.
      drawn: The settings of each trial.
      scores: The last of each trial, on the validation split.
      is_finished: Whether a trial came to its end.
      importance: Flag -> the squared error that shuffling it adds, in variances of the scores; None: not known.
      headline: Of the scores.
    """
    num_panels = len(space.flags) + bool(importance)
    rows = -(-num_panels // _COLUMNS)
    figure = Figure(figsize=(4 * min(num_panels, _COLUMNS), 3 * rows), layout="constrained")
    panels = figure.subplots(rows, min(num_panels, _COLUMNS), squeeze=False).ravel()
    ended, found = np.asarray(is_finished, bool), np.asarray(scores, float)
    for (flag, values), axes in zip(space.flags.items(), panels, strict=False):
        if isinstance(values, Choice):
            places = np.array([values.position(one[flag]) for one in drawn], float)
            axes.set_xticks(range(len(values.values)), [" ".join(words) or "given" for words in values.values])
            axes.set_xlim(-0.5, len(values.values) - 0.5)
            axes.tick_params(axis="x", labelrotation=30 if len(values.values) > 3 else 0)
        else:
            places = np.array([float(one[flag][0]) for one in drawn])
            if values.is_log:
                axes.set_xscale("log")
                axes.xaxis.set_major_locator(LogLocator(subs=(1, 3)))
                axes.xaxis.set_major_formatter(FormatStrFormatter("%g"))
                axes.xaxis.set_minor_formatter(NullFormatter())
            margin = 1.1 if values.is_log else 1
            step = 0 if values.is_log else 0.03 * (values.high - values.low)
            if values.high > values.low:
                axes.set_xlim(values.low / margin - step, values.high * margin + step)
        axes.scatter(places[~ended], found[~ended], s=24, facecolors="none", edgecolors="0.45", label="stopped early")
        axes.scatter(places[ended], found[ended], s=24, color="C0", label="to the end")
        axes.set_xlabel(flag)
        axes.set_ylabel(f"validation {headline}")
        axes.grid(alpha=0.3)
    panels[0].legend(fontsize="small")
    if importance:
        flags = sorted(importance, key=lambda flag: importance[flag])
        axes = panels[len(space.flags)]
        axes.barh(flags, [importance[flag] for flag in flags], color="0.5")
        axes.set_xlabel("error that shuffling it adds, in variances")
    for axes in panels[num_panels:]:
        axes.remove()
    return figure
