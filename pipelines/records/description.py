"""The table that ends a preparation: what the records hold, what was left out, and what was noticed."""

import shutil
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipelines.audio.quality import FINDINGS
from pipelines.records.metadata import Metadata, kept_encoder
from pipelines.video import VideoSettings

_ROWS_OF_CLIPS = ("hours", "features", "skipped", "silent", "noticed", "quality", "copies")


def describe(metadata: Metadata, folder: Path) -> str:
    """Draws the table that ends a preparation."""
    counts = zip(metadata.emotions, metadata.emotion_counts(metadata.speakers), strict=True)
    megabytes = sum(shard["num_bytes"] for shard in metadata.shards.values()) / 1e6
    speakers = [speaker for speaker in metadata.speakers if speaker and speaker not in metadata.only_train]
    has_clips = metadata.has_audio or metadata.video is not None
    rows = {
        "corpus": metadata.corpus,
        "clips" if has_clips else "sentences": _count_of_utterances(metadata),
        "hours": f"{metadata.hours:.2f}",
        "speakers": (f"{len(speakers)}: {', '.join(speakers)}" if speakers else "-") + _describe_only_train(metadata),
        "emotions": ", ".join(f"{emotion} {count}" for emotion, count in counts) + _describe_absent(metadata),
        "features": ", ".join(
            f"{_described_columns(count)} columns {name}"
            for name, count in metadata.columns.items()
            if name != "face_boxes"
        ),
        **({"encoder": _describe_encoder(metadata.encoder, kept_encoder(folder))} if metadata.encoder else {}),
        **({"video": _describe_video(metadata, metadata.video_settings)} if metadata.video_settings else {}),
        "words": f"{metadata.transcript_source}; {_describe_words(metadata)}{_describe_context(metadata)}",
        "skipped": f"{len(metadata.skipped)} unreadable",
        "silent": ", ".join([str(len(metadata.silent)), *metadata.silent]),
        "noticed": "; ".join(f"{len(found)} clips: {note}" for note, found in metadata.notes.items()) or "0",
        "quality": _describe_quality(metadata),
        "copies": _describe_copies(metadata.copies),
        "ignored": ", ".join(f"{count} {reason}" for reason, count in metadata.ignored.items()) or "0",
        "records": f"{folder}: {len(metadata.shards)} shards, {megabytes:.1f} MB",
    }
    width = max(60, min(120, shutil.get_terminal_size((100, 24)).columns))
    return "\n".join(
        textwrap.fill(value, width, initial_indent=f"{name:<9} ", subsequent_indent=" " * 10, max_lines=8)
        for name, value in rows.items()
        if has_clips or name not in _ROWS_OF_CLIPS
    )


def _describe_only_train(metadata: Metadata) -> str:
    count = sum(sum(metadata.counts[speaker].values()) for speaker in metadata.only_train)
    return f"; {count} songs of {len(metadata.only_train)} of them train alone" if count else ""


def _described_columns(columns: int | tuple[int, ...]) -> str:
    return str(columns) if isinstance(columns, int) else " x ".join(map(str, columns))


def _describe_encoder(encoder: Mapping[str, Any], kept: Path) -> str:
    blocks = encoder["blocks"]
    of_blocks = f"block{'s' * (len(blocks) > 1)} {' '.join(map(str, blocks))}"
    megabytes = sum(file.stat().st_size for file in kept.glob("*")) / 1e6
    named = f"{encoder['kind']} {encoder['model']}, {of_blocks}, {encoder['steps_per_second']} steps a second"
    return f"{named}, weights of {megabytes:.1f} MB in {kept}"


def _describe_video(metadata: Metadata, settings: VideoSettings) -> str:
    """Says which frames there are, and what is lacking in them."""
    height, width, channels = settings.shape
    kind = "colour" if channels == 3 else "grey"
    facts = [
        f"{settings.num_frames} frames of {width}x{height}, {kind}, of {metadata.num_videos} clips",
        f"{metadata.num_videos_without_audio} of them without audio",
        f"{metadata.num_frames_without_face} frames without a face",
        ", ".join([f"{len(metadata.without_face)} clips without any", *metadata.without_face]),
    ]
    return "; ".join(facts)


def _describe_absent(metadata: Metadata) -> str:
    """Names the labels that were taken out of the label set, after those that it holds."""
    absent = ", ".join(metadata.absent_emotions)
    return f"; not in the label set, for no utterance has them: {absent}" if absent else ""


def _describe_copies(copies: Sequence[Mapping[str, Any]]) -> str:
    """Counts groups of copies and names them, those with two labels first, as they stand in the metadata."""
    of_two_labels = [group for group in copies if len(group["emotions"]) > 1]
    num_identical = sum(group["is_identical"] for group in copies)
    head = [
        f"{num_identical} groups of identical recordings, {len(copies) - num_identical} of near copies",
        *([f"{len(of_two_labels)} of them with two labels or more"] if of_two_labels else []),
    ]
    named = [f"{' = '.join(group['utterances'])} ({' or '.join(group['emotions'])})" for group in copies]
    return "; ".join([", ".join(head), *named]) if copies else "0"


def _describe_words(metadata: Metadata) -> str:
    unknown = f", {metadata.num_unknown_words} of unknown words alone" if metadata.num_unknown_words else ""
    return f"{metadata.num_without_words} without words{unknown}"


def _describe_context(metadata: Metadata) -> str:
    lines = "line" if metadata.context == 1 else f"{metadata.context} lines"
    return f"; the {lines} before in the dialogue as context" if metadata.context else ""


def _describe_quality(metadata: Metadata) -> str:
    """Says how many recordings have what fault, and up to where they reach."""
    found = [f"{metadata.findings[name]} {name}" for name in FINDINGS if name in metadata.findings]
    reach = [f"recordings reach {metadata.bandwidth_hz / 1000:g} kHz"] if metadata.bandwidth_hz else []
    return "; ".join([", ".join(found) or "nothing found", *reach])


def _count_of_utterances(metadata: Metadata) -> str:
    several = f", {metadata.num_multi_label} with two or more labels" if metadata.is_multi_label else ""
    return f"{metadata.num_utterances}{several}"
