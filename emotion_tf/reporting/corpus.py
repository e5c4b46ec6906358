"""What a checked corpus is like, as text and as a page with pictures."""

from collections.abc import Iterator, Sequence

import numpy as np
from matplotlib.figure import Figure

from emotion_tf.colours import colour_of
from emotion_tf.evaluation.corpus import Summary
from emotion_tf.evaluation.corpus_findings import SEVERITIES
from emotion_tf.reporting import html, pictures
from emotion_tf.reporting.blocks import Block, Picture, Report, Section, Table, Text
from emotion_tf.reporting.plots import shortened
from emotion_tf.reporting.tables import align
from emotion_tf.reporting.wording import format_count, format_interval

_MOST_SPEAKERS = 60
"""Of more the table shows the first; check.json holds all."""

_MOST_NAMED = 12

_INK, _BAR = "#0a0b0c", "#6f9fcf"


def text(summary: Summary) -> str:
    """Writes what is printed."""
    blocks = [_head(summary), "\n".join(_findings(summary))]
    for title, rows in _tables(summary):
        blocks.append(f"{title}\n{align(rows)}")
    return "\n\n".join(blocks)


def page(summary: Summary) -> str:
    """Writes the whole page."""
    with pictures.theme():
        sections = [
            Section("Findings", _finding_blocks(summary)),
            Section("Clips", _clip_blocks(summary)),
            Section("Recordings", _recording_blocks(summary)),
            Section("What tells the label", _cue_blocks(summary)),
        ]
        report = Report(f"Check of {summary.survey.name}", {}, [one for one in sections if one.blocks])
        return html.page(report)


def _head(summary: Summary) -> str:
    speakers = len([speaker for speaker in summary.counts if speaker])
    hours = f", {summary.hours:.2f} h" if summary.hours else ""
    clips = format_count(len(summary.survey.clips), "clip" if summary.hours else "sentence")
    return (
        f"{summary.survey.name} in {summary.survey.source}: {clips} of {format_count(speakers, 'speaker')}"
        f" in {format_count(len(summary.emotions), 'emotion')}{hours}"
    )


def _findings(summary: Summary) -> Iterator[str]:
    counts = [sum(one.severity == severity for one in summary.findings) for severity in SEVERITIES]
    yield ", ".join(format_count(count, name) for count, name in zip(counts, SEVERITIES, strict=True))
    for one in summary.findings:
        yield f"{one.severity}: {one.sentence}"


def _tables(summary: Summary) -> Iterator[tuple[str, Sequence[Sequence[str]]]]:
    yield f"clips by speaker and emotion{_shown(summary)}", _count_rows(summary)
    if summary.measures:
        yield "by emotion (5 % / median / 95 %)", _measure_rows(summary)
    if summary.formats:
        yield "kinds of files", _format_rows(summary)
    if summary.cues:
        yield "how well a classifier tells the label by these alone, on other speakers", _cue_rows(summary)


def _shown(summary: Summary) -> str:
    count = len(summary.counts)
    return f" (the first {_MOST_SPEAKERS} of {count} speakers)" if count > _MOST_SPEAKERS else ""


def _count_rows(summary: Summary) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = [("speaker", *summary.emotions, "all")]
    for speaker, counts in list(summary.counts.items())[:_MOST_SPEAKERS]:
        numbers = [counts.get(emotion, 0) for emotion in summary.emotions]
        rows.append((speaker or "(none)", *map(str, numbers), str(sum(numbers))))
    totals = [sum(counts.get(emotion, 0) for counts in summary.counts.values()) for emotion in summary.emotions]
    return [*rows, ("all", *map(str, totals), str(sum(totals)))]


def _measure_rows(summary: Summary) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = [("emotion", "clips", "speakers", *summary.measures.values())]
    for emotion, found in summary.by_emotion().items():
        quantiles = [" / ".join(f"{value:.1f}" for value in found[name]) for name in summary.measures]
        rows.append((emotion, str(found["num_clips"]), str(found["num_speakers"]), *quantiles))
    return rows


def _format_rows(summary: Summary) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = [("kind", "sample rate", "channels", "clips")]
    for one in summary.formats:
        rows.append((one["encoding"], f"{one['sample_rate']} Hz", str(one["num_channels"]), str(one["count"])))
    return rows


def _cue_rows(summary: Summary) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = [("cue", "UAR", "95 %", "chance", "beats chance")]
    for one in summary.cues:
        interval = format_interval(one.interval, "speaker", scale=1, digits=3)
        answer = "not known" if one.interval is None else "yes" if one.beats_chance else "no"
        rows.append((one.cue, f"{one.uar:.3f}", interval, f"{one.chance:.3f}", answer))
    return rows


def _finding_blocks(summary: Summary) -> list[Block]:
    blocks: list[Block] = [Text(f"{_head(summary)}.")]
    if not summary.findings:
        return [*blocks, Text("Nothing is wrong.")]
    rows = [(one.severity, one.sentence, _utterances(one.utterances)) for one in summary.findings]
    return [*blocks, Table(next(_findings(summary)), ("severity", "finding", "utterances"), rows)]


def _utterances(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST_NAMED} more: check.json" if len(names) > _MOST_NAMED else ""
    return ", ".join(names[:_MOST_NAMED]) + more


def _clip_blocks(summary: Summary) -> list[Block]:
    head, *rows = _count_rows(summary)
    blocks: list[Block] = []
    if summary.counts and summary.emotions:
        alt = f"Clips by speaker, {len(summary.counts)} rows, and emotion; the numbers stand in the table below."
        blocks.append(Picture(count_map(summary), alt, "The darker, the more clips; crossed out: none."))
    return [*blocks, Table(f"Clips by speaker and emotion{_shown(summary)}.", head, rows)]


def _recording_blocks(summary: Summary) -> list[Block]:
    if not summary.measures:
        return []
    blocks: list[Block] = []
    for name, title in summary.measures.items():
        medians = ", ".join(f"{emotion} {found[name][1]:.1f}" for emotion, found in summary.by_emotion().items())
        alt = f"Boxes of {title}, one an emotion. Medians: {medians}."
        blocks.append(
            Picture(boxes(summary, name, title), alt, f"{title[0].upper()}{title[1:]}: quartiles, 5 and 95 %.")
        )
    head, *rows = _measure_rows(summary)
    blocks.append(Table("By emotion: 5 % / median / 95 %.", head, rows))
    if summary.formats:
        head, *rows = _format_rows(summary)
        blocks.append(Table("Kinds of files.", head, rows))
    if summary.survey.is_of_records:
        blocks.append(Text("Records keep neither level, rate nor channels of the files: check the corpus for these."))
    return blocks


def _cue_blocks(summary: Summary) -> list[Block]:
    if not summary.cues:
        return []
    explained = (
        "A decision tree is given these measures and nothing else, and predicts speakers that it was not trained on."
        " Noise floor, silent ends and kind of file are of the recording, though loud speech raises a noise floor, too."
        " Loudness and duration are of the speaker, too: a model that scores no more has found no more."
    )
    shown = "; ".join(f"{one.cue} {one.uar:.3f}" for one in summary.cues)
    alt = f"UAR by cue, chance {summary.cues[0].chance:.3f}: {shown}."
    head, *rows = _cue_rows(summary)
    caption = "UAR by cue; thin lines: 95 % over speakers."
    return [Text(explained), Picture(cue_bars(summary), alt, caption), Table("UAR by cue.", head, rows)]


def count_map(summary: Summary) -> Figure:
    """Draws the numbers of clips as a map, a row each speaker, a column each emotion."""
    counts = np.array([[of.get(emotion, 0) for emotion in summary.emotions] for of in summary.counts.values()])
    height = min(12.0, 1.6 + 0.22 * len(counts))
    figure = Figure(figsize=(1.6 + 0.55 * len(summary.emotions), height), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(counts, cmap="Blues", vmin=0, aspect="auto", interpolation="nearest")
    rows, columns = np.nonzero(counts == 0)
    axes.plot(columns, rows, "x", color="tab:red", markersize=4)
    axes.set_xticks(range(len(summary.emotions)), summary.emotions, rotation=40, ha="right")
    step = max(1, len(counts) // 50)
    names = [shortened(speaker) or "(none)" for speaker in summary.counts]
    axes.set_yticks(range(0, len(counts), step), names[::step], fontsize="small")
    axes.set_ylabel("speaker")
    figure.colorbar(image, ax=axes, label="clips")
    return figure


def boxes(summary: Summary, name: str, title: str) -> Figure:
    """Draws a measure as a box for each emotion."""
    figure = Figure(figsize=(5.4, 1.2 + 0.32 * len(summary.emotions)), layout="constrained")
    axes = figure.subplots()
    values = [summary.of_emotion(emotion)[name].dropna() for emotion in summary.emotions]
    drawn = axes.boxplot(
        values,
        orientation="horizontal",
        whis=(5, 95),
        sym=".",
        patch_artist=True,
        widths=0.6,
        medianprops={"color": _INK},
        whiskerprops={"color": _INK},
        capprops={"color": _INK},
        flierprops={"markersize": 2, "markeredgecolor": "#808080"},
    )
    for place, box in enumerate(drawn["boxes"]):
        box.set(facecolor=colour_of(place), edgecolor=_INK)
    axes.set_yticks(range(1, len(values) + 1), summary.emotions)
    axes.invert_yaxis()
    axes.set_xlabel(title)
    return figure


def cue_bars(summary: Summary) -> Figure:
    """Draws how well each cue tells the label, with its interval, and chance as a line."""
    figure = Figure(figsize=(6.4, 1.3 + 0.4 * len(summary.cues)), layout="constrained")
    axes = figure.subplots()
    for row, one in enumerate(summary.cues):
        axes.barh(row, one.uar, color=_BAR, edgecolor=_INK, linewidth=0.5)
        if one.interval:
            axes.plot(one.interval, [row, row], color=_INK, marker="|", markersize=9)
    axes.axvline(summary.cues[0].chance, linestyle=":", color=_INK, label="chance")
    axes.set_yticks(range(len(summary.cues)), [one.cue for one in summary.cues])
    axes.set(xlim=(0, 1), ylim=(len(summary.cues) - 0.4, -0.6), xlabel="UAR on other speakers (share)")
    axes.legend(loc="lower right")
    return figure
