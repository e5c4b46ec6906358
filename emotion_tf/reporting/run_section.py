"""The section of one run in a report: model, training, confusion, curves, groups, errors."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from emotion_tf.evaluation import metrics
from emotion_tf.evaluation.counts import TITLES, UAR
from emotion_tf.reporting import pictures, plots
from emotion_tf.reporting.blocks import Block, Clip, Clips, Diagram, Epochs, Picture, Section, Table, Text
from emotion_tf.reporting.boxes import Box
from emotion_tf.reporting.clips import Stored, clip_of, confident_errors
from emotion_tf.reporting.subjects import Subject
from emotion_tf.reporting.wording import format_count, format_interval
from emotion_tf.runs.folder import Run
from emotion_tf.runs.metadata import AGAIN
from pipelines.files import read_json

SHOWN_ERRORS = 10


def run_section(subject: Subject, split: str, stored: Mapping[str, Stored], *, has_audio: bool) -> Section:
    """Gathers the section of one run.

    Args:
      subject: The run.
      split: Whose scores are shown.
      stored: utterance_id -> what records hold, of the utterances to show.
      has_audio: Whether the sound of clips goes into the report.
    """
    scores, rows = subject.scores[split], subject.rows(split)
    # Pictures first: they stand side by side.
    blocks = [*_model(subject), *_training(subject), *_confusion(subject, rows, split)]
    blocks += [*_probabilities(subject, rows, scores), *_groups(scores)]
    blocks += [*_of_each_emotion(scores, split), *_of_each_group(scores), *_of_each_fit(subject, split)]
    errors = Section("Most confident errors", [*_errors(subject, rows, stored, has_audio=has_audio)])
    return Section(f"Run {subject.name}", blocks, [errors])


def _model(subject: Subject) -> Iterator[Block]:
    """Draws the model; of a run of before there is the picture alone that fit drew."""
    first = subject.fits[0]
    caption = f"The model of {subject.name}: {subject.kind}."
    if first.graph_path.exists():
        found = read_json(first.graph_path, AGAIN, {"columns": list})["columns"]
        columns = [[Box(*box) for box in column] for column in found]
        yield Diagram(columns, caption)
    elif (picture := first.plots / "graph.png").exists():
        yield Picture(picture.read_bytes(), caption, caption, is_wide=True)


def _training(subject: Subject) -> Iterator[Block]:
    """Draws loss and score over the epochs, and the confusion matrix of each epoch; late fusion trains nothing."""
    histories = [history for run in subject.fits if (history := _history(run)) is not None]
    if histories:
        chance = subject.scores["validation"]["chance"][subject.headline]
        fits = "" if len(histories) == 1 else f", of {format_count(len(histories), 'fit')}"
        best = ", ".join(f"{history[f'val_{subject.headline}'].max():.3f}" for history in histories)
        yield Picture(
            pictures.curves(histories, subject.headline, chance),
            f"Training curves: loss and {TITLES[subject.headline]} by epoch; the best validation scores are {best}.",
            f"Training of {subject.name}{fits}. Losses of training are weighted and masked: they may lie above.",
        )
    if epochs := _epochs(subject):
        yield epochs


def _history(run: Run) -> pd.DataFrame | None:
    """Reads history.csv; None where there is none, as in late fusion, or none that can be read."""
    try:
        history = pd.read_csv(run.history_path)
    except (OSError, ValueError):
        return None
    return history if len(history) else None


def _epochs(subject: Subject) -> Epochs | None:
    """Collects the confusion matrix of the validation split after each epoch, summed over fits."""
    found = [
        [one["confusion"] for one in read_json(run.training_path, AGAIN, {"epochs": list})["epochs"]]
        for run in subject.fits
        if run.training_path.exists()
    ]
    found = [matrices for matrices in found if matrices and all(matrices)]
    if not found or len(found) < len(subject.fits):
        return None
    length = min(map(len, found))
    counts = np.sum([np.array(matrices[:length]) for matrices in found], axis=0)
    recalls = [_recall(one) for one in counts]
    of = f", summed over {format_count(len(found), 'fit')}" if len(found) > 1 else ""
    titles = [f"validation, epoch {epoch + 1} of {length}{of}" for epoch in range(length)]
    # Fits of several folds keep epochs of their own: the last one stands for all.
    kept = int(np.argmax(recalls)) if len(found) == 1 else length - 1
    return Epochs(subject.metadata.emotions, titles, counts, kept)


def _recall(counts: np.ndarray) -> float:
    """Takes UAR of a confusion matrix."""
    sums = counts.sum(axis=1)
    return float((counts.diagonal()[sums > 0] / sums[sums > 0]).mean())


def _confusion(subject: Subject, rows: pd.DataFrame, split: str) -> Iterator[Block]:
    """Shows which emotion was taken for which, where utterances have one each."""
    if subject.scores[split].get("is_multi_label"):
        return
    seeds = subject.scores[split]["num_seeds"]
    of = f", summed over {format_count(seeds, 'seed')}" if seeds > 1 else ""
    yield Epochs(subject.emotions, [f"{split}, the kept model{of}"], metrics.confusion(rows, subject.emotions)[None], 0)


def _of_each_emotion(scores: Mapping[str, Any], split: str) -> Iterator[Block]:
    names = {"precision": "precision", "recall": "recall", "f1": "F1", "area_under_curve": "AUC"}
    of_each = scores["per_emotion"]
    shown = {key: title for key, title in names.items() if any(key in found for found in of_each.values())}
    cells = [
        [emotion, *("-" if found.get(key) is None else f"{found[key]:.3f}" for key in shown), str(found["count"])]
        for emotion, found in of_each.items()
    ]
    yield Table(f"Scores of each emotion, {split} split", ("emotion", *shown.values(), "utterances"), cells)


def _of_each_fit(subject: Subject, split: str) -> Iterator[Block]:
    """Sets the score of each fit of a cross-validation in a row a fold and a column a seed."""
    found = subject.scores.get("fold_by_seed", {}).get(split, {})
    if not found:
        return
    places = {name: tuple(name.removeprefix("fold-").split("-seed-")) for name in found}
    folds, seeds = (sorted({place[axis] for place in places.values()}, key=int) for axis in (0, 1))
    of_place = {places[name]: f"{score:.3f}" for name, score in found.items()}
    rows = [[f"fold {fold}", *(of_place.get((fold, seed), "-") for seed in seeds)] for fold in folds]
    caption = (
        f"{TITLES[subject.headline]} of each fit, {split} split: folds differ in their {subject.scores[split]['unit']}s"
    )
    yield Table(caption, ("fold", *(f"seed {seed}" for seed in seeds)), rows)


def _probabilities(subject: Subject, rows: pd.DataFrame, scores: Mapping[str, Any]) -> Iterator[Block]:
    """Draws ROC curves, reliability and selective accuracy, where there are probabilities."""
    if "expected_calibration_error" not in scores:
        return
    areas = {name: found.get("area_under_curve") for name, found in scores["per_emotion"].items()}
    named = ", ".join(f"{name} {area:.3f}" for name, area in areas.items() if area is not None)
    pooled = " Curves are of all seeds together, areas are means over seeds." if scores["num_seeds"] > 1 else ""
    yield Picture(
        plots.roc(metrics.roc(rows, subject.emotions), "", subject.emotions, areas),
        f"ROC curves of each emotion against the rest; areas under them: {named or 'none'}.",
        f"ROC curve of each emotion against the rest.{pooled}",
    )
    yield _reliability(subject, rows, scores)
    if found := scores.get("selective_accuracy"):
        text = ", ".join(f"{float(share):.0%} {value:.3f}" for share, value in found.items())
        yield Picture(
            plots.selective(found, scores["majority"]["accuracy"], ""),
            f"Accuracy on the most confident share of the clips: {text}.",
            "Accuracy on the clips that remain when those of low confidence are left out (coverage).",
        )


def _reliability(subject: Subject, rows: pd.DataFrame, scores: Mapping[str, Any]) -> Picture:
    temperatures = subject.temperatures
    before = None if temperatures is None else metrics.reliability(rows, temperatures.loc[rows.index])
    error = f"{scores['expected_calibration_error']:.3f}"
    if found := scores.get("uncalibrated"):
        error += f", before calibration {found['expected_calibration_error']:.3f}"
    what = "share that carries it" if scores.get("is_multi_label") else "accuracy"
    return Picture(
        plots.reliability(metrics.reliability(rows), before, "", what),
        f"Reliability: {what} by confidence. Expected calibration error {error}.",
        f"Reliability, on the dotted line where confidence is true. Expected calibration error {error}.",
    )


def _groups(scores: Mapping[str, Any]) -> Iterator[Block]:
    """Draws bars by speaker, sex, intensity and statement, as far as the corpus names them, and tells intervals."""
    by = {group: members for group, members in scores["by"].items() if members}
    if not by:
        return
    name = "macro_f1" if scores.get("is_multi_label") else UAR
    found = "; ".join(
        f"{group}: " + ", ".join(f"{one} {of[name]:.3f}" for one, of in pictures.chosen_members(members, name).items())
        for group, members in by.items()
    )
    large = [group for group, members in by.items() if len(members) > pictures.MOST_MEMBERS]
    caption = [f"{TITLES[name]} by {', '.join(by)}, beside all together (dashed) and chance (dotted)."]
    caption += [f"Of the {group}s the lowest and the highest are shown." for group in large]
    yield Picture(
        pictures.groups(by, name, scores[name], scores["chance"][name]),
        f"Bars of {TITLES[name]} by group. {found}.",
        " ".join([*caption, *_bar_intervals(by, scores["unit"])]),
    )


def _bar_intervals(by: Mapping[str, Mapping[str, Mapping[str, Any]]], unit: str) -> Iterator[str]:
    """Says what the intervals of bars are over, and why there are none where there are none."""
    members = [of for group, found in by.items() if group != unit for of in found.values()]
    if any("num_units" not in of for of in members):
        yield "Bars have no intervals: an earlier version wrote these scores."
        return
    if members:
        yield f"Thin lines are 95 % intervals over the {unit}s of a bar."
    if unit in by:
        yield f"A {unit} has none: clips of one {unit} are no sample of {unit}s."


def _of_each_group(scores: Mapping[str, Any]) -> Iterator[Block]:
    """Sets the score of each member of groups of several speakers beside its interval and what it rests on."""
    name, unit, rows = "macro_f1" if scores.get("is_multi_label") else UAR, scores["unit"], []
    by: Mapping[str, Mapping[str, Mapping[str, Any]]] = scores["by"]
    for group, members in by.items():
        for one, of in pictures.chosen_members(members, name).items() if group != unit else ():
            interval = format_interval(of[f"{name}_interval"], unit, 1, 3) if "num_units" in of else "-"
            sizes = str(of["num_utterances"]), str(of.get("num_units", "-"))
            rows.append([f"{group} {one}", f"{of[name]:.3f}", interval, *sizes])
    if rows:
        head = ("group", TITLES[name], f"95 % over {unit}s", "utterances", f"{unit}s")
        yield Table(f"{TITLES[name]} by group", head, rows)


def _errors(subject: Subject, rows: pd.DataFrame, stored: Mapping[str, Stored], *, has_audio: bool) -> Iterator[Block]:
    """Shows the errors that the model was surest of."""
    if subject.config.control:
        yield Text("A control: what the model read of a clip is not what belongs to it, so its errors are not shown.")
        return
    errors = confident_errors(rows, SHOWN_ERRORS)
    if errors.empty:
        yield Text("There are no errors to show.")
        return
    yield Clips([_error(row, stored, has_audio=has_audio) for _, row in errors.iterrows()])


def _error(row: pd.Series, stored: Mapping[str, Stored], *, has_audio: bool) -> Clip:
    title = f"{row['label'].replace('|', ', ')} taken for {row['wrong']}"
    lines = [
        f"confidence {row['confidence']:.3f}",
        row["utterance_id"],
        *[f"speaker {row['speaker']}"] * bool(row["speaker"]),
    ]
    found = stored.get(row["utterance_id"])
    return clip_of(found, title, lines, has_audio=has_audio) if found else Clip(title, lines, None)
