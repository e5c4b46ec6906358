"""What is wrong with a corpus, in sentences: its labels and speakers, its recordings, and what tells the label."""

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from emotion_tf.evaluation.cues import CUES, OF_RECORDING, CueScore
from pipelines.audio.channels import CANCELLED, DEAD
from pipelines.audio.quality import MAX_CLIPPED_SHARE, MIN_SECONDS, MIN_SNR_DB, is_narrow
from pipelines.command import InputError
from pipelines.speakers import stop_on_alike
from pipelines.survey import Survey

if TYPE_CHECKING:
    import pandas as pd

SEVERITIES = ("error", "warning", "note")
"""An error makes scores wrong or stops `prepare`; a warning may; a note is good to know."""

MAX_OFFSET = 0.01
"""Of full scale: more is an offset of the sound card, not of the speech."""

MAX_FLAT_SHARE = 0.0005
"""Of samples in flat tops: one top of two milliseconds in four seconds."""

LARGEST_IMBALANCE = 10
"""The commonest label over the rarest."""

FEWEST_CLIPS = 10
"""Of a label: fewer are a handful in each split."""

MOST_SILENCE = 0.7
"""Of a clip."""

LONGEST_RATIO = 5
"""A clip over the median."""

_NAMED = 3


@dataclasses.dataclass(frozen=True)
class Finding:
    """Something that is wrong.

    Attributes:
      kind: Its name, one word or several joined by "_".
      severity: One of `SEVERITIES`.
      sentence: What is wrong, and what to do about it.
      utterances: Whose recordings it concerns; empty where it concerns the whole.
    """

    kind: str
    severity: str
    sentence: str
    utterances: tuple[str, ...] = ()


def find_all(survey: Survey, cues: Sequence[CueScore]) -> list[Finding]:
    """Lists what is wrong with a corpus, the most severe first.

    Args:
      survey: Of its recordings.
      cues: What tells the label, as `cues.score_cues` found it.
    """
    clips = survey.clips
    found = [
        *_of_reading(survey),
        *_of_speakers(clips, str(survey.source)),
        *_of_labels(clips, survey.emotions),
        *_of_splits(clips),
        *_of_copies(survey),
        *(_of_recordings(clips) if "seconds" in clips else ()),
        *_of_cues(cues, survey),
    ]
    return sorted(found, key=lambda one: SEVERITIES.index(one.severity))


def _of_reading(survey: Survey) -> Iterator[Finding]:
    """Yields what cannot be read, was left out, or was noticed."""
    if survey.unreadable:
        reason = next(iter(survey.unreadable.values()))
        count = len(survey.unreadable)
        yield Finding(
            "unreadable", "error", f"{_count(count)} cannot be read, such as: {reason}", tuple(survey.unreadable)
        )
    for reason, count in survey.ignored.items():
        yield Finding("left_out", "note", f"{count} left out by the reader: {reason}.")
    severities = {DEAD: ("dead_channel", "warning"), CANCELLED: ("cancelled_channels", "warning")}
    for note, utterances in survey.notes.items():
        kind, severity = severities.get(note, ("noticed", "note"))
        yield Finding(kind, severity, f"{_named(utterances)}: {note}.", tuple(utterances))


def _of_speakers(clips: "pd.DataFrame", source: str) -> Iterator[Finding]:
    is_unnamed = clips["speaker"] == ""
    if is_unnamed.any():
        yield Finding(
            "no_speaker",
            "warning",
            f"{_count(int(is_unnamed.sum()))} without a speaker: whether a test speaker was trained on is not known.",
            _ids(clips[is_unnamed]) if not is_unnamed.all() else (),
        )
    try:
        stop_on_alike(clips["speaker"], source)
    except InputError as error:
        yield Finding("speakers_alike", "error", str(error))
    num_speakers = clips.loc[~is_unnamed, "speaker"].nunique()
    if 0 < num_speakers < 3:
        yield Finding(
            "few_speakers",
            "warning",
            f"only {num_speakers} of the three speakers that a speaker-independent split needs at least: scores say"
            " nothing of new speakers.",
        )


def _of_labels(clips: "pd.DataFrame", emotions: Sequence[str]) -> Iterator[Finding]:
    """Yields labels that are rare or tied to a speaker, and the other way around."""
    if clips.empty:
        return
    rows = clips.assign(emotion=clips["emotion"].str.split("|")).explode("emotion")
    counts = rows["emotion"].value_counts()
    for emotion in emotions:
        if emotion not in counts:
            yield Finding("absent_label", "warning", f"no clip is labelled {emotion}: a model cannot learn it.")
        elif counts[emotion] < FEWEST_CLIPS:
            count = _count(int(counts[emotion]))
            yield Finding("rare_label", "warning", f"only {count} labelled {emotion}: merge it, or leave it out.")
    if len(counts) > 1 and counts.iloc[0] > LARGEST_IMBALANCE * counts.iloc[-1]:
        ratio = counts.iloc[0] / counts.iloc[-1]
        yield Finding(
            "imbalance",
            "warning",
            f"{counts.index[0]} is {ratio:.0f} times as common as {counts.index[-1]}: read UAR, not accuracy.",
        )
    named = rows[rows["speaker"] != ""]
    if named["speaker"].nunique() < 2:
        return
    for emotion, of_label in named.groupby("emotion"):
        if of_label["speaker"].nunique() == 1:
            speaker = of_label["speaker"].iloc[0]
            yield Finding(
                "label_of_one_speaker",
                "error",
                f"all {_count(len(of_label))} labelled {emotion} are of the speaker {speaker}: a model learns the voice"
                " and no speaker-independent split can test it.",
                _ids(of_label),
            )
    kinds = named.groupby("speaker")["emotion"].nunique()
    if len(single := kinds[kinds == 1]) and named["emotion"].nunique() > 1:
        yield Finding(
            "speaker_of_one_label",
            "warning",
            f"{len(single)} of {len(kinds)} speakers have one label only ({_named(list(single.index))}): the voice"
            " tells it.",
        )


def _of_splits(clips: "pd.DataFrame") -> Iterator[Finding]:
    """Yields speakers and performances that the published splits share."""
    split = clips[clips["split"] != ""]
    for column, kind in (("speaker", "speaker"), ("trial", "performance")):
        named = split[split[column] != ""]
        shared = named.groupby(column)["split"].nunique()
        shared = shared[shared > 1]
        if len(shared):
            yield Finding(
                f"split_shares_{column}s",
                "error",
                f"the published splits share {len(shared)} of {named[column].nunique()} {kind}s"
                f" ({_named(list(shared.index))}): scores on them are too high; use --folds of whole speakers.",
            )


def _of_copies(survey: Survey) -> Iterator[Finding]:
    """Yields copies, each group once; those of several labels, speakers or splits are errors."""
    of_utterance = survey.clips.set_index("utterance_id")[["speaker", "split"]]
    for one in survey.copies:
        rows = of_utterance[of_utterance.index.isin(one.utterances)]
        what = "identical recordings" if one.is_identical else "nearly identical recordings"
        differing = [
            name
            for name, count in (
                ("labels", len(one.emotions)),
                ("speakers", rows["speaker"].nunique()),
                ("splits", rows["split"].nunique()),
            )
            if count > 1
        ]
        suffix = f" with different {' and '.join(differing)}" if differing else ""
        yield Finding(
            "identical" if one.is_identical else "nearly_identical",
            "error" if differing else "warning",
            f"{what}{suffix}, of which one should stay: {_named(one.utterances)}.",
            one.utterances,
        )


def _of_recordings(clips: "pd.DataFrame") -> Iterator[Finding]:
    """Yields what is wrong with single recordings, a finding for each kind, and formats that differ."""
    for kind, severity, is_found, what in (*_lengths(clips), *_qualities(clips)):
        if is_found.any():
            ids = _ids(clips[is_found])
            yield Finding(kind, severity, f"{_count(len(ids))} {what}: {_named(ids)}.", ids)
    yield from _of_formats(clips)


def _column(clips: "pd.DataFrame", name: str) -> "pd.Series":
    """Returns a measure, NaN where it is not known."""
    import pandas as pd

    return clips[name] if name in clips else pd.Series(float("nan"), clips.index)


def _lengths(clips: "pd.DataFrame") -> Iterator[tuple[str, str, "pd.Series", str]]:
    """Yields conditions on lengths and silence: kind, severity, which clips meet it, and what they are."""
    is_silent, seconds = _column(clips, "is_silent") == True, clips["seconds"]  # noqa: E712  (missing ones are NaN)
    median, ends = seconds.median(), _column(clips, "silent_start") + _column(clips, "silent_end")
    what = "silent: there is nothing to learn from; remove them or copy them again"
    yield "silent", "error", is_silent, what
    yield "short", "warning", seconds < MIN_SECONDS, f"shorter than {MIN_SECONDS:g} s, which no utterance is"
    what = f"more than {LONGEST_RATIO} times as long as the median ({median:.1f} s): not cut, perhaps"
    yield "long", "warning", seconds > LONGEST_RATIO * median, what
    what = f"of which more than {MOST_SILENCE:.0%} is silence before and behind what is said"
    yield "mostly_silence", "note", ~is_silent & (ends > MOST_SILENCE * seconds), what


def _qualities(clips: "pd.DataFrame") -> Iterator[tuple[str, str, "pd.Series", str]]:
    """Yields conditions on the sound, as `_lengths` does on lengths."""
    is_flat = _column(clips, "flat_share") > MAX_FLAT_SHARE
    is_clipped = is_flat | (_column(clips, "clipped_share") > MAX_CLIPPED_SHARE)
    yield "clipped", "warning", is_clipped, "clipped: their peaks are flat, which no program mends"
    what = f"with an offset (DC) above {MAX_OFFSET:.0%} of full scale; reading removes it"
    yield "offset", "note", _column(clips, "offset").abs() > MAX_OFFSET, what
    what = f"with a signal-to-noise ratio below {MIN_SNR_DB:g} dB"
    yield "noisy", "warning", _column(clips, "snr_db") < MIN_SNR_DB, what
    bandwidth_hz = _column(clips, "bandwidth_hz")
    usual_hz = bandwidth_hz.median()
    what = f"narrower than most, which reach {usual_hz:.0f} Hz"
    yield "narrow", "warning", bandwidth_hz.map(lambda hz: is_narrow(hz, usual_hz)).astype(bool), what
    yield "hum", "note", _column(clips, "hum_hz").notna(), "in which the mains hum"


def _of_formats(clips: "pd.DataFrame") -> Iterator[Finding]:
    for name, what in (("sample_rate", "sample rates"), ("num_channels", "numbers of channels"), ("encoding", "kinds")):
        if name not in clips:
            continue
        counts = clips[name].dropna().value_counts()
        if len(counts) > 1:
            rare = clips[clips[name].notna() & (clips[name] != counts.index[0])]
            shown = ", ".join(f"{value:g}" if name != "encoding" else value for value in counts.index[:_NAMED])
            yield Finding(
                f"mixed_{name.removesuffix('s')}s",
                "note",
                f"files of {len(counts)} {what} ({shown}); {counts.iloc[0]} of {counts.sum()} are of the first.",
                _ids(rare),
            )


def _of_cues(cues: Sequence[CueScore], survey: Survey) -> Iterator[Finding]:
    for one in cues:
        if not one.beats_chance or one.interval is None:
            continue
        low, high = one.interval
        trimmed = " (`prepare` trims them)" if one.cue == "silent ends" and not survey.is_of_records else ""
        meaning = (
            "the corpus tells the label by its recording, and a model may learn microphone, room or cutting instead of"
            " speech"
            if one.cue in OF_RECORDING
            else "a model has to score more to show that it knows more; the recordings differ, or people are louder or"
            " slower in some emotions"
        )
        yield Finding(
            "label_by_recording",
            "warning" if one.cue in (*OF_RECORDING, next(iter(CUES))) else "note",
            f"a classifier of {one.cue}{trimmed} alone has a UAR of {one.uar:.3f} [{low:.3f}, {high:.3f}] on speakers"
            f" that it was not trained on, with chance at {one.chance:.3f}: {meaning}.",
        )


def _ids(clips: "pd.DataFrame") -> tuple[str, ...]:
    return tuple(clips["utterance_id"])


def _count(number: int) -> str:
    return f"{number} {'clip' if number == 1 else 'clips'}"


def _named(names: Iterable[str]) -> str:
    """Names the first few."""
    listed = list(names)
    more = f" and {len(listed) - _NAMED} more" if len(listed) > _NAMED else ""
    return ", ".join(map(str, listed[:_NAMED])) + more
