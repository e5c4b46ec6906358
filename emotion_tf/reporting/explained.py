"""Why a model answers as it does, in a report: its export explains the surest right answer and the surest errors."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from emotion_tf.reporting.blocks import Block, Picture, Section, Table, Text
from emotion_tf.reporting.clips import Stored, confident_errors, surest_right
from emotion_tf.reporting.subjects import Subject, enumerated
from emotion_tf.serving import Predictor
from emotion_tf.serving.explain import Explainer
from emotion_tf.serving.explanation import GRADIENTS, Contribution, Explanation
from emotion_tf.serving.explanation_plot import draw
from emotion_tf.serving.prediction import Given
from pipelines.clips import Clip
from pipelines.command import InputError
from pipelines.video import Frames

_NUM_ERRORS = 3

_WIDTH = 5.4
"""Inches of a picture, as of others in the report."""

_MOST_WORDS = 3
"""Words that the alternative text of a picture names."""

_MOST_DIFFERENCE = 0.02
"""By how much a probability of the export may differ from that in predictions.csv; more is said."""


def explainable(subjects: Sequence[Subject], *, every: bool) -> list[Subject]:
    """Picks the first run with an export, or every one; no control, which read what belongs to other utterances."""
    found = [
        one
        for one in subjects
        if not one.num_seeds and not one.config.control and (one.scored.folder / "export").is_dir()
    ]
    return found if every else found[:1]


def chosen(subject: Subject, split: str) -> list[str]:
    """Picks the utterances to explain: the surest right answer, then the surest errors."""
    rows = subject.rows(split)
    right = surest_right(rows)
    return [*([right] if right else []), *confident_errors(rows, _NUM_ERRORS)["utterance_id"]]


def explained(
    subjects: Sequence[Subject],
    split: str,
    stored: Mapping[str, Mapping[str, Stored]],
    gone: Mapping[str, str],
) -> Section | None:
    """Gathers the section; None without any run to explain.

    Args:
      subjects: What `explainable` picked.
      split: Whose scores are shown.
      stored: Records -> utterance_id -> what they hold, of those that were `chosen`.
      gone: Records that cannot be read -> the reason.
    """
    if not subjects:
        return None
    sections = []
    for one in subjects:
        records = one.config.records
        blocks = [*_blocks(one, split, stored.get(records, {}), gone.get(records, ""))]
        sections.append(Section(f"Answers of {one.name}", blocks))
    return Section("Why these answers", [], sections)


def _blocks(subject: Subject, split: str, stored: Mapping[str, Stored], reason: str) -> Iterator[Block]:
    clips = {name: stored[name] for name in chosen(subject, split) if name in stored}
    if "audio" in subject.modalities and any(len(one.log_mel) and not len(one.waveform) for one in clips.values()):
        reason = f"{subject.config.records} hold no waveforms: prepare them again with --store-waveform."
    try:
        found = {} if reason else _explanations(subject.scored.folder, clips)
    except InputError as error:
        reason = str(error)
    # An export of another version, or half of one, fails in many ways; the rest of the report is no worse for it.
    except Exception as error:
        what = (str(error).splitlines() or [""])[0] or type(error).__name__
        reason = f"the export cannot be used ({what}): export the run again."
    if reason or not found:
        yield Text(f"Answers are not explained: {reason or f'the records hold none of the {split} utterances.'}")
        return
    rows = subject.rows(split).drop_duplicates("utterance_id").set_index("utterance_id")
    yield Text(_method([*found.values()], split))
    yield from (_picture(name, one, rows.loc[name]) for name, one in found.items())
    if any(one.time for one in found.values()):
        yield _completeness(found)
    yield from map(Text, _differences(found, rows))


def _explanations(run: Path, clips: Mapping[str, Stored]) -> dict[str, Explanation]:
    """Explains what the export of a run predicts of stored utterances."""
    explainer = Explainer(Predictor(run))
    return {name: explainer.explain(_given(explainer.predictor, name, one)) for name, one in clips.items()}


def _given(predictor: Predictor, name: str, stored: Stored) -> Given:
    frames = Frames([*stored.images], stored.face_boxes, len(stored.images)) if stored.images else None
    return predictor.take(Clip(stored.waveform, frames), stored.transcript, file=Path(name))


def _method(found: Sequence[Explanation], split: str) -> str:
    """Says which utterances these are, and how they are explained."""
    sentences = [
        f"Of the {split} split: the right answer of which the model was surest, then its most confident errors, each as"
        " its export predicts it. Every number is a contribution to the log-probability of the most probable emotion,"
        " in nats: red speaks for it, blue against it."
    ]
    for method, baseline in dict.fromkeys((one.time.method, one.time.baseline) for one in found if one.time):
        sentences.append(f"Where in the sound: {method}, compared with {baseline}.")
    parts = [*["words"] * any(one.words for one in found), "modalities"]
    sentences.append(f"{enumerated(parts).capitalize()}: each is left out in turn; these need not add up.")
    return " ".join(sentences)


def _picture(name: str, explanation: Explanation, row: pd.Series) -> Picture:
    labels = row["label"].replace("|", ", ")
    probability = explanation.prediction.probabilities[explanation.emotion]
    caption = f"{name}: {explanation.emotion} ({probability:.0%}); labelled {labels}."
    parts = [f"Why the model answers {explanation.emotion} of {name}, labelled {labels}"]
    parts.append(f"modalities: {_listed(explanation.modalities)}")
    if words := sorted(explanation.words, key=lambda word: -abs(word.nats))[:_MOST_WORDS]:
        parts.append(f"strongest words: {_listed(words)}")
    if time := explanation.time:
        most, least = int(np.argmax(time.nats)), int(np.argmin(time.nats))
        parts.append(f"the sound speaks most for it at {time.seconds[most]:.2f} seconds")
        parts.append(f"and most against it at {time.seconds[least]:.2f} seconds")
    return Picture(draw(explanation, _WIDTH), f"{'; '.join(parts)}.", caption)


def _listed(contributions: Sequence[Contribution]) -> str:
    return ", ".join(f"{one.name} {one.nats:+.2f} nats" for one in contributions)


def _completeness(found: Mapping[str, Explanation]) -> Table:
    """Sets the sum of the contributions over time beside what it is to explain."""
    rows = []
    for name, time in ((name, one.time) for name, one in found.items() if one.time):
        total = float(time.nats.sum())
        gap = f"{abs(total - time.difference):.4f}" if time.method == GRADIENTS else "need not be 0"
        rows.append([name, f"{total:+.4f}", f"{time.difference:+.4f}", gap, str(time.num_steps)])
    steps = "points" if any(one.time and one.time.method == GRADIENTS for one in found.values()) else "windows"
    head = ("utterance", "sum", "to explain", "missing", steps)
    return Table("How complete the contributions over time are, in nats", head, rows)


def _differences(found: Mapping[str, Explanation], rows: pd.DataFrame) -> Iterator[str]:
    """Says where an export answers otherwise than the run did."""
    for name, one in found.items():
        here, there = one.prediction.probabilities[one.emotion], float(rows.loc[name, f"probability_{one.emotion}"])
        if abs(here - there) > _MOST_DIFFERENCE:
            yield (
                f"The export gives {one.emotion} of {name} {here:.0%}, predictions.csv {there:.0%}: it is of another"
                " state of the run, or the run normalises by the speaker's other clips, which are not given here."
            )
