"""The content of a report, gathered once, so that the page and the document say the same."""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from emotion_tf.evaluation.comparison import choose_metric, compare, pair_up
from emotion_tf.evaluation.counts import TITLES
from emotion_tf.flags import command_of
from emotion_tf.reporting import about, pictures
from emotion_tf.reporting.blocks import Block, Clips, Code, Diagram, Items, Picture, Report, Section, Table, Text
from emotion_tf.reporting.clips import Stored, clip_of, confident_errors, frames_of_each, one_of_each, read_stored
from emotion_tf.reporting.explained import chosen, explainable, explained
from emotion_tf.reporting.run_section import SHOWN_ERRORS, run_section
from emotion_tf.reporting.subjects import Subject, common_split, enumerated
from emotion_tf.reporting.wording import format_interval, format_p, with_sentences
from pipelines.command import InputError
from pipelines.files import read_json

_MOST_SENTENCES = 6


def gather(subjects: Sequence[Subject], *, has_audio: bool = True, explains_every: bool = False) -> Report:
    """Gathers what a report says, and draws its figures.

    Args:
      subjects: What it is about.
      has_audio: Whether the sound of clips goes into it.
      explains_every: Whether answers of every run with an export are explained, or of the first alone.
    """
    split = common_split(subjects)
    compared, reason = _compared(subjects, split)
    to_explain = explainable(subjects, every=explains_every)
    stored, gone = _stored(subjects, split, to_explain)
    sections = [
        _trained(subjects, split),
        _results(subjects, split),
        _fusion(subjects, compared, reason),
        _without(subjects, split),
        _controls(subjects, split),
        _way(subjects),
        # How a model answers comes before how well.
        explained(to_explain, split, stored, gone),
        *(run_section(one, split, stored.get(one.config.records, {}), has_audio=has_audio) for one in subjects),
        _samples(subjects, split, stored, gone, has_audio=has_audio),
        _again(subjects),
    ]
    named = enumerated([one.name for one in subjects]) if len(subjects) <= 4 else f"{len(subjects)} runs"
    return Report(f"Emotion recognition: {named}", about.marks_of(subjects, split), [one for one in sections if one])


def _trained(subjects: Sequence[Subject], split: str) -> Section:
    untested = [one.name for one in subjects if "test" not in one.scores]
    blocks: list[Block] = [
        Items([about.trained_on(one) for one in subjects]),
        Items([about.split_by(one) for one in subjects]),
    ]
    if split == "test":
        reads = ", ".join(f"{one.scores.get('test_reads', 1)} by {one.name}" for one in subjects)
        blocks.append(Text(f"All scores below are of the test split, which was read this many times: {reads}."))
    else:
        blocks.append(
            Text(
                f"All scores below are of the validation split, for the test split was not read by"
                f" {enumerated(untested)}. Epochs and temperatures were chosen on it: it reads too high."
            )
        )
    return Section("What was trained on what", blocks)


def _results(subjects: Sequence[Subject], split: str) -> Section:
    """Sets scores beside chance, majority class and, on RAVDESS, what others published."""
    blocks: list[Block] = []
    for headline in dict.fromkeys(one.headline for one in subjects):
        chosen = {one.name: one for one in subjects if one.headline == headline}
        scores = {name: one.scores[split] for name, one in chosen.items()}
        blocks += [_scores_table(chosen, split, headline), _bars(scores, headline, split)]
    if about.has_anchors(subjects):
        blocks.append(
            Table(
                "What others reached on the speech of RAVDESS, eight emotions, for orientation: their folds, actors and"
                " scores differ",
                ("system", "score", "protocol", "source"),
                about.ANCHORS,
            )
        )
    return Section("Results", blocks)


def _scores_table(subjects: Mapping[str, Subject], split: str, headline: str) -> Table:
    """Sets the headline of each run beside chance and the majority class, and another score with its interval."""
    scores = {name: one.scores[split] for name, one in subjects.items()}
    wished = "weighted_f1" if headline == "macro_f1" else "accuracy"
    second = wished if all(wished in found for found in scores.values()) else "micro_f1"
    rows = []
    for name, found in scores.items():
        proportions = (f"{found[what][headline]:.3f}" for what in ("chance", "majority"))
        sizes = (str(found["num_utterances"]), str(found["num_units"]))
        cells = (*_ranged(found, headline), *proportions, *_ranged(found, second), *sizes)
        rows.append([name, subjects[name].kind, *cells])
    unit = next(iter(scores.values()))["unit"]
    head = ("run", "reads", TITLES[headline], "95 %", "chance", "majority class", TITLES[second], "95 %")
    caption = f"Scores of the {split} split, their 95 % intervals over {unit}s, chance and the majority class"
    return Table(caption, [*head, "utterances", f"{unit}s"], rows)


def _ranged(scores: Mapping[str, Any], name: str) -> tuple[str, str]:
    """Writes a score and its interval."""
    value = scores.get(name)
    interval = format_interval(scores.get(f"{name}_interval"), scores["unit"], 1, 3)
    return ("-", "-") if value is None else (f"{value:.3f}", interval)


def _bars(scores: Mapping[str, Mapping[str, Any]], headline: str, split: str) -> Picture:
    shown = "; ".join(f"{name} {found[headline]:.3f}" for name, found in scores.items())
    return Picture(
        pictures.side_by_side(scores, headline, split),
        f"Bars of {TITLES[headline]} with their intervals: {shown}.",
        f"{TITLES[headline]} of the {split} split, with 95 % intervals, chance and the majority class.",
    )


def _compared(subjects: Sequence[Subject], split: str) -> tuple[dict[str, Any] | None, str]:
    """Compares all runs over the utterances that all have, or says why it cannot be."""
    if len(subjects) < 2:
        return None, "one run alone is compared with none."
    entries = [one.entry for one in subjects]
    try:
        return with_sentences(compare(entries, pair_up(entries, split), split, choose_metric(entries))), ""
    except InputError as error:
        return None, str(error)


def _fusion(subjects: Sequence[Subject], compared: Mapping[str, Any] | None, reason: str) -> Section | None:
    """Tells what fusion adds to its branches, with the paired test of `emotion_tf.compare`."""
    reads = {one.name: one.modalities for one in subjects if not one.config.control}
    if not compared:
        several = len(subjects) > 1
        return Section("What fusion adds", [Text(f"The runs are not compared: {reason}")]) if several else None
    pairs = [
        pair
        for pair in compared["pairs"]
        if {pair["first"], pair["second"]} <= set(reads) and len(reads[pair["first"]]) != len(reads[pair["second"]])
    ]
    if not pairs:
        return None
    units = compared["unit"]
    caption = f"Differences over {compared['num_utterances']} utterances that every run has, of {compared['num_units']}"
    # Of many pairs the table is read, not sentences that repeat each other.
    sentences = [Items([pair["sentence"] for pair in pairs])] if len(pairs) <= _MOST_SENTENCES else []
    return Section("What fusion adds", [*sentences, _pairs_table(pairs, compared, f"{caption} {units}s")])


def _pairs_table(pairs: Sequence[Mapping[str, Any]], compared: Mapping[str, Any], caption: str) -> Table:
    metric = compared["metric"]
    rows = [
        [
            f"{pair['first']} - {pair['second']}",
            f"{pair[metric]:+.3f}",
            format_interval(pair[f"{metric}_interval"], compared["unit"], 1, 3),
            format_p(pair["p"]),
            format_p(pair["p_holm"]),
        ]
        for pair in pairs
    ]
    head = ("runs", f"difference of {TITLES[metric]}", "95 %", "p", f"p, Holm over {len(compared['pairs'])}")
    return Table(f"{caption}; permutation test over {compared['unit']}s", head, rows)


def _without(subjects: Sequence[Subject], split: str) -> Section | None:
    """Shows scores with each modality taken away at scoring, where a run reads several."""
    rows = []
    for one in subjects:
        whole = one.scores[split]
        for modality, found in whole.get("without", {}).items():
            rows.append([one.name, modality, *_ranged(found, one.headline), f"{whole[one.headline]:.3f}"])
    if not rows:
        return None
    text = "The same model, scored with one modality taken away from every utterance; it was trained with all."
    head = ("run", "without", "score", "95 %", "with all")
    return Section("Each modality removed", [Text(text), Table("Scores without a modality", head, rows)])


def _controls(subjects: Sequence[Subject], split: str) -> Section:
    """Shows runs whose link between input and label was cut, beside those that they are controls of."""
    rows = []
    for one in subjects:
        if not one.config.control:
            continue
        whole = [other for other in subjects if not other.config.control and other.kind == one.kind]
        found = one.scores[split]
        scores = _ranged(found, one.headline)
        beside = ", ".join(f"{other.scores[split][one.headline]:.3f} ({other.name})" for other in whole) or "not given"
        chance = f"{found['chance'][one.headline]:.3f}"
        rows.append([one.name, one.config.control, *scores, chance, beside, about.RULED_OUT[one.config.control]])
    if not rows:
        return Section("Controls", [Text(_NO_CONTROL)])
    head = ("run", "control", "score", "95 %", "chance", "without the control", "what it rules out")
    return Section("Controls", [Table("Runs that were trained with one link cut", head, rows)])


_NO_CONTROL = (
    "None of these runs is a control, so nothing here rules out that a gain comes from something other than its input:"
    " train the same with --control shuffled-transcripts, shuffled-audio, shuffled-video or permuted-labels, and name"
    " that run, too."
)


def _way(subjects: Sequence[Subject]) -> Section:
    most = max(subjects, key=lambda one: len(one.modalities))
    columns = about.way(most.metadata)
    caption = f"What happens to a file, in training and in use ({most.name})."
    return Section("From a file to an answer", [Diagram(columns, caption)])


def _stored(
    subjects: Sequence[Subject], split: str, to_explain: Sequence[Subject]
) -> tuple[dict[str, dict[str, Stored]], dict[str, str]]:
    """Reads the utterances to show from the records of each run: records -> them; and of those gone the reason."""
    wanted: dict[str, set[str]] = {}
    for one in subjects:
        rows = one.rows(split)
        ids = {*confident_errors(rows, SHOWN_ERRORS)["utterance_id"], *one_of_each(rows, one.emotions).values()}
        wanted.setdefault(one.config.records, set()).update(ids, chosen(one, split) if one in to_explain else ())
    found, gone = {}, {}
    for records, ids in wanted.items():
        try:
            found[records] = read_stored(Path(records), ids)
        except InputError as error:
            gone[records] = str(error)
    return found, gone


def _samples(
    subjects: Sequence[Subject],
    split: str,
    stored: Mapping[str, Mapping[str, Stored]],
    gone: Mapping[str, str],
    *,
    has_audio: bool,
) -> Section:
    """Shows one utterance of each emotion, once for all runs on the same records."""
    blocks: list[Block] = [Text(f"Clips cannot be shown: {reason}") for reason in gone.values()]
    for records, clips in stored.items():
        one = next(subject for subject in subjects if subject.config.records == records)
        chosen = {name: key for name, key in one_of_each(one.rows(split), one.emotions).items() if key in clips}
        speakers = one.rows(split).set_index("utterance_id")["speaker"]
        shown = [
            clip_of(clips[key], emotion, [*_spoken(key, speakers)], has_audio=has_audio)
            for emotion, key in chosen.items()
        ]
        blocks += [Clips(shown)] if shown else [Text(f"{records} hold none of the {split} utterances any more.")]
        frames = frames_of_each(clips, chosen)
        blocks += [frames] if frames else []
    return Section("One utterance of each emotion", blocks)


def _spoken(utterance_id: str, speakers: Any) -> Iterator[str]:
    yield utterance_id
    speaker = speakers.loc[[utterance_id]].iloc[0]
    if speaker:
        yield f"speaker {speaker}"


def _again(subjects: Sequence[Subject]) -> Section:
    """Tells versions, seeds, minutes and the commands that make the runs again."""
    rows, commands = [], []
    for one in subjects:
        seeds = ", ".join(dict.fromkeys(str(run.config().seed) for run in one.fits))
        made = [
            read_json(run.training_path, keys={"versions": dict, "epochs": list})
            for run in one.fits
            if run.training_path.exists()
        ]
        versions = ", ".join(f"{name} {number}" for name, number in (made[0]["versions"] if made else {}).items())
        rows.append([one.name, seeds, _minutes(made), versions or "not written by the version that trained it"])
        commands += [command_of(one.asked, one.scored.folder, one.num_seeds), *_test_commands(one)]
    table = Table("What made the runs", ("run", "seeds", "minutes of training", "versions"), rows)
    return Section("How to make it again", [table, Code("\n".join(map(shlex.join, commands)))])


def _minutes(made: Sequence[Mapping[str, Any]]) -> str:
    """Sums the time of all epochs; nothing is known of older runs, and late fusion trains nothing."""
    seconds = [epoch["seconds"] for one in made for epoch in one["epochs"]]
    return f"{sum(seconds) / 60:.1f}" if seconds else "-"


def _test_commands(subject: Subject) -> list[list[str]]:
    """Names the command that read the test split, where it was read."""
    if "test" not in subject.scores:
        return []
    if subject.num_seeds:
        return [[*command_of(subject.asked, subject.scored.folder, subject.num_seeds), "--split", "test"]]
    return [["python", "-m", "emotion_tf.evaluate", "--run", str(subject.scored.folder)]]
