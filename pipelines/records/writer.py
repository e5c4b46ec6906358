"""Writes the records of a corpus: decodes, computes features, writes shards of whole speakers, then metadata.json."""

import collections
import contextlib
import dataclasses
import functools
import hashlib
import itertools
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from pipelines import audio, text
from pipelines.audio.speech_encoder import Encoder, EncoderSettings
from pipelines.clips import Clip
from pipelines.command import InputError, import_tensorflow, make_folder, progress_bar
from pipelines.files import UNFINISHED, write_json
from pipelines.records.decode_workers import Decoded, decoding
from pipelines.records.metadata import METADATA, SCHEMA_VERSION, Metadata, read_metadata, write_metadata
from pipelines.records.shards import plan_shards, write_shard
from pipelines.utterance import Corpus, Utterance
from pipelines.video import NUM_BOX_COLUMNS, Frames, VideoSettings

_BATCH = 32
_SENTENCE_BATCH = 2048

# Long recordings are transformed a few at a time: this many samples, padding included, at once (about 4 minutes).
_MAX_SAMPLES = _BATCH * 8 * audio.SAMPLE_RATE


@dataclasses.dataclass(frozen=True)
class Preparation:
    """What to prepare, how, and where to.

    Attributes:
      corpus: Its utterances, relabelled already, with their words.
      folder: Where the records go.
      front_end: The settings of log_mel.
      label_map: Name of the map that relabelled the corpus, or empty.
      store_waveform: Keeps the 16 kHz samples in the records.
      transcript_source: Name of the source of the words.
      origin: What words and choice of utterances depend on beside the corpus, as JSON holds it.
      has_acoustic: Stores the acoustic features beside the log-mel.
      encoder: Stores states of this encoder, too; None: of none.
      video: Stores frames of videos, too; None: of none.
    """

    corpus: Corpus
    folder: Path
    front_end: audio.FrontEnd
    label_map: str = ""
    store_waveform: bool = False
    transcript_source: str = "script"
    origin: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    has_acoustic: bool = False
    encoder: EncoderSettings | None = None
    video: VideoSettings | None = None

    @property
    def has_clips(self) -> bool:
        """Whether any utterance is a recording that is read, of sound or of pictures."""
        return self.corpus.has_audio or (self.video is not None and self.corpus.has_video)

    @property
    def frame_features(self) -> tuple[str, ...]:
        """The fields that are computed of each frame."""
        return ("log_mel", "acoustic") if self.has_acoustic else ("log_mel",)

    @functools.cached_property
    def shards(self) -> dict[str, list[Utterance]]:
        """Shard -> its utterances."""
        num_video_frames = self.video.num_frames if self.video else 0
        stored = (self.store_waveform, self.has_acoustic, self.encoder is not None, num_video_frames)
        return plan_shards(self.corpus.utterances, self.front_end, *stored)

    @functools.cached_property
    def loaded_encoder(self) -> Encoder | None:
        """The encoder, loaded at first use."""
        return Encoder(self.encoder) if self.encoder else None

    @functools.cached_property
    def fingerprints(self) -> dict[str, str]:
        """Shard -> hash of all that it depends on: settings, labels, words, size and date of the recordings."""
        settings = {
            "schema_version": SCHEMA_VERSION,
            "corpus": self.corpus.name,
            "emotions": self.corpus.emotions,
            "is_multi_label": self.corpus.is_multi_label,
            "label_map": self.label_map,
            "front_end": dataclasses.asdict(self.front_end),
            "store_waveform": self.store_waveform,
            "vocabulary": text.vocabulary_sha256(),
            "transcript_source": self.transcript_source,
            "origin": dict(self.origin),
            # Not where there are none, so that older records are recognised.
            **({"acoustic": audio.ACOUSTIC} if self.has_acoustic else {}),
            **({"encoder": self.encoder.identity} if self.encoder else {}),
            **({"video": dataclasses.asdict(self.video)} if self.video else {}),
        }
        base = self.corpus.source if self.corpus.source.is_dir() else self.corpus.source.parent
        return {
            name: _hash([settings, [_identity(utterance, base) for utterance in shard]])
            for name, shard in self.shards.items()
        }

    @functools.cached_property
    def fingerprint(self) -> str:
        """Hash of the whole."""
        return _hash(self.fingerprints)


@dataclasses.dataclass
class _Summary:
    """What is known of one finished shard; kept beside it until metadata.json is written."""

    fingerprint: str
    num_utterances: int = 0
    num_multi_label: int = 0
    num_without_words: int = 0
    counts: dict[str, dict[str, int]] = dataclasses.field(default_factory=dict)
    silent: list[str] = dataclasses.field(default_factory=list)
    skipped: list[dict[str, str]] = dataclasses.field(default_factory=list)
    num_samples: int = 0
    longest_frames: int = 0
    num_with_video: int = 0
    num_without_sound: int = 0
    num_frames_without_face: int = 0
    without_face: list[str] = dataclasses.field(default_factory=list)


def prepare(
    preparation: Preparation, num_workers: int | None = None, *, skip_bad: bool = False, overwrite: bool = False
) -> Metadata:
    """Writes the records of a corpus, or finishes or recognises those that are there.

    Args:
      preparation: What, how and where to.
      num_workers: Decoding processes; None: one a core.
      skip_bad: Leaves unreadable recordings out instead of stopping.
      overwrite: Replaces other records in the folder.

    Returns:
      The metadata of complete records.

    Raises:
      InputError: No utterances, settings that leave mel bands empty or acoustic features without room, other records in
        the folder, or unreadable recordings (all of them are named).
    """
    stop_on_nothing(preparation.corpus)
    if preparation.corpus.has_audio:
        audio.mel_matrix(preparation.front_end)
    if preparation.has_acoustic:
        audio.check_acoustic(preparation.front_end)
    finished = _finished_before(preparation, overwrite)
    if finished is not None:
        _stop_on_skipped(finished.skipped, skip_bad)
        print(f"{preparation.folder} holds these records already, complete", file=sys.stderr)
        return finished
    _ = preparation.loaded_encoder  # What is wrong with it must not cost the records that are there.
    _clear(preparation)
    summaries = _write_shards(preparation, num_workers)
    _stop_on_skipped([bad for summary in summaries.values() for bad in summary.skipped], skip_bad)
    metadata = _metadata(preparation, summaries)
    write_metadata(preparation.folder, metadata)
    for name in summaries:
        _summary_path(preparation.folder, name).unlink()
    return metadata


def _identity(utterance: Utterance, base: Path) -> dict[str, Any]:
    values = {**vars(utterance), "attributes": dict(utterance.attributes)}
    for field, name in (("audio", "file"), ("video", "video")):
        path = values.pop(field)
        if path is not None:
            stat = path.stat() if path.exists() else None
            values[name] = [os.path.relpath(path, base), stat and stat.st_size, stat and stat.st_mtime_ns]
    return values


def _hash(values: Any) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def _finished_before(preparation: Preparation, overwrite: bool) -> Metadata | None:
    """Returns the metadata of records that this very preparation finished before."""
    folder = preparation.folder
    if overwrite or not (folder / METADATA).exists():
        return None
    metadata = read_metadata(folder)
    if metadata.fingerprint != preparation.fingerprint:
        raise InputError(
            f"{folder} holds other records ({metadata.corpus}, {metadata.num_utterances} utterances; other settings,"
            " words or recordings): give another --records, or --overwrite to replace them."
        )
    return metadata


def _clear(preparation: Preparation) -> None:
    """Removes what the plan has no use for: old metadata first, then shards that are not this preparation's."""
    folder = preparation.folder
    make_folder(folder, "--records")
    (folder / METADATA).unlink(missing_ok=True)
    # Names of ours alone: the folder may hold records that another program made.
    ours = f"{'[0-9]' * 5}-of-{'[0-9]' * 5}.tfrecord"
    for path in (*folder.glob(ours), *folder.glob(f"{ours}.json")):
        if _read_summary(preparation, path.name.removesuffix(".json")) is None:
            path.unlink()
    for path in folder.glob(f"{UNFINISHED}{ours}*"):
        path.unlink()


def _summary_path(folder: Path, name: str) -> Path:
    return folder / f"{name}.json"


def _read_summary(preparation: Preparation, name: str) -> _Summary | None:
    """Returns the summary of a shard that is finished and still what the plan asks for."""
    if not (preparation.folder / name).exists():
        return None
    try:
        values = json.loads(_summary_path(preparation.folder, name).read_text(encoding="utf-8"))
        summary = _Summary(**values)
    except (OSError, ValueError, TypeError):
        return None
    return summary if summary.fingerprint == preparation.fingerprints.get(name) else None


def _write_shards(preparation: Preparation, num_workers: int | None) -> dict[str, _Summary]:
    """Writes the shards that are not there yet; returns the summaries of all."""
    folder, total = preparation.folder, len(preparation.corpus.utterances)
    found = {name: _read_summary(preparation, name) for name in preparation.shards}
    summaries = {name: summary for name, summary in found.items() if summary is not None}
    pending = {name: shard for name, shard in preparation.shards.items() if name not in summaries}
    size = _BATCH if preparation.has_clips else _SENTENCE_BATCH
    batches = [shard[start : start + size] for shard in pending.values() for start in range(0, len(shard), size)]
    unit = "clip" if preparation.has_clips else "sentence"
    with (
        progress_bar(total, f"preparing {preparation.corpus.name}", unit) as progress,
        _decoded(preparation, batches, num_workers) as decoded,
    ):
        progress.update(total - sum(map(len, batches)))
        if pending:
            import_tensorflow()  # Only now: the workers decode meanwhile.
        for name, shard in pending.items():
            summary = _Summary(preparation.fingerprints[name])
            shard_batches = itertools.islice(decoded, -(-len(shard) // size))
            write_shard(folder / name, _records(preparation, shard_batches, summary, progress))
            write_json(_summary_path(folder, name), dataclasses.asdict(summary))
            summaries[name] = summary
    return {name: summaries[name] for name in preparation.shards}


def _decoded(
    preparation: Preparation, batches: Sequence[list[Utterance]], num_workers: int | None
) -> contextlib.AbstractContextManager[Iterator[Decoded]]:
    """Decodes in other processes; sentences alone need none."""
    if preparation.has_clips:
        return decoding(batches, num_workers, preparation.video)
    nothing = Clip(np.zeros(0, np.int16))
    return contextlib.nullcontext(iter([[(utterance, nothing) for utterance in batch] for batch in batches]))


def _records(
    preparation: Preparation,
    batches: Iterable[Decoded],
    summary: _Summary,
    progress: tqdm,
) -> Iterator[dict[str, Any]]:
    """Makes the records of one shard and fills its summary."""
    for batch in batches:
        readable = [(utterance, found) for utterance, found in batch if not isinstance(found, str)]
        reasons = {utterance.utterance_id: found for utterance, found in batch if isinstance(found, str)}
        summary.skipped += [{"utterance_id": name, "reason": reason} for name, reason in reasons.items()]
        token_ids = text.token_ids([utterance.transcript for utterance, _ in readable]).to_list()
        features = _features(preparation, [clip.waveform for _, clip in readable])
        for (utterance, clip), ids, frames in zip(readable, token_ids, features, strict=True):
            record = _record(preparation, utterance, clip, np.asarray(ids), frames)
            _count(summary, utterance, clip, record)
            yield record
            progress.update()
        progress.update(len(reasons))


def _features(preparation: Preparation, waveforms: Sequence[np.ndarray]) -> Iterable[Mapping[str, np.ndarray]]:
    """Makes the features of each clip of a batch; without recordings they have no frames and cost nothing."""
    names, front_end = preparation.frame_features, preparation.front_end
    if not preparation.corpus.has_audio:
        nothing = {name: np.zeros((0, audio.num_columns(name, front_end)), np.float32) for name in names}
        return [nothing] * len(waveforms)
    made: Iterable[Mapping[str, np.ndarray]] = _transformed(waveforms, audio.compiled_features(front_end, names))
    if preparation.loaded_encoder is None:
        return made
    pairs = zip(made, preparation.loaded_encoder(waveforms), strict=True)
    return ({**features, "encoder": states} for features, states in pairs)


def _transformed(waveforms: Sequence[np.ndarray], transform: Callable[..., Any]) -> Iterator[dict[str, np.ndarray]]:
    """Transforms waveforms, as many at once as memory allows, which depends on nothing but their lengths."""
    while waveforms:
        longest = itertools.accumulate(map(len, waveforms), max)
        fitting = sum(1 for count, length in enumerate(longest, 1) if count * length <= _MAX_SAMPLES)
        head, waveforms = waveforms[: max(1, fitting)], waveforms[max(1, fitting) :]
        features, num_frames = transform(audio.pad_together(head))
        features = {name: values.numpy() for name, values in features.items()}
        for number, count in enumerate(num_frames.numpy()):
            yield {name: values[number, :count] for name, values in features.items()}


def _count(summary: _Summary, utterance: Utterance, clip: Clip, record: Mapping[str, Any]) -> None:
    counts = summary.counts.setdefault(utterance.speaker, {})
    for emotion in utterance.emotions:
        counts[emotion] = counts.get(emotion, 0) + 1
    summary.num_utterances += 1
    summary.num_multi_label += len(utterance.emotions) > 1
    summary.num_without_words += len(record["token_ids"]) == 1
    summary.num_samples += len(clip.waveform)
    summary.longest_frames = max(summary.longest_frames, len(record["log_mel"]))
    if len(clip.waveform) and np.abs(clip.waveform.astype(np.int32)).max() <= audio.SILENT_PEAK:
        summary.silent.append(utterance.utterance_id)
    if clip.frames is not None:
        summary.num_with_video += 1
        summary.num_without_sound += not len(clip.waveform)
        summary.num_frames_without_face += clip.frames.num_without_face
        if clip.frames.num_without_face == len(clip.frames.images):
            summary.without_face.append(utterance.utterance_id)


def _record(
    preparation: Preparation,
    utterance: Utterance,
    clip: Clip,
    token_ids: np.ndarray,
    frames: Mapping[str, np.ndarray],
) -> dict[str, Any]:
    record: dict[str, Any] = {
        "utterance_id": utterance.utterance_id,
        "speaker": utterance.speaker,
        "label": [preparation.corpus.emotions.index(emotion) for emotion in utterance.emotions],
        "attributes": json.dumps(dict(utterance.attributes), ensure_ascii=False, sort_keys=True),
        "trial": utterance.trial,
        # Absent sound is no recording that could be found twice.
        "audio_sha256": audio.sha256(clip.waveform) if clip.waveform.any() else "",
        "published_split": utterance.published_split,
        "transcript": utterance.transcript,
        "token_ids": token_ids,
        **frames,
    }
    if preparation.store_waveform:
        record["waveform"] = clip.waveform
    return record | (_record_of_video(clip.frames) if preparation.video else {})


def _record_of_video(frames: Frames | None) -> dict[str, Any]:
    """Makes the fields of what was seen; without a video they hold nothing."""
    images = frames.images if frames else []
    return {
        "video_frames": images,
        "face_boxes": frames.boxes if frames else np.zeros((0, NUM_BOX_COLUMNS), np.float32),
        "video_sha256": hashlib.sha256(b"".join(images)).hexdigest() if images else "",
    }


def _stop_on_skipped(skipped: Sequence[Mapping[str, str]], skip_bad: bool) -> None:
    if skipped and not skip_bad:
        reasons = "\n".join(f"  {bad['reason']}" for bad in skipped)
        raise InputError(
            f"{len(skipped)} recordings cannot be read; mend or remove them, or leave them out with --skip-bad:"
            f"\n{reasons}"
        )


def stop_on_nothing(corpus: Corpus) -> None:
    if not corpus.utterances:
        reasons = ", ".join(f"{count} {reason}" for reason, count in corpus.ignored.items())
        raise InputError(f"{corpus.source}: no utterance is left to write ({reasons}): leave out less.")


def _metadata(preparation: Preparation, summaries: Mapping[str, _Summary]) -> Metadata:
    corpus, counts = preparation.corpus, _counts(summaries.values())
    if not counts:
        raise InputError(f"{corpus.source}: not one recording could be read, so there are no records to write.")
    num_samples = sum(summary.num_samples for summary in summaries.values())
    return Metadata(
        schema_version=SCHEMA_VERSION,
        corpus=corpus.name,
        source=str(corpus.source),
        licence=corpus.licence,
        emotions=list(corpus.emotions),
        label_map=preparation.label_map,
        front_end=dataclasses.asdict(preparation.front_end),
        acoustic=list(audio.ACOUSTIC) if preparation.has_acoustic else [],
        encoder=preparation.loaded_encoder.facts if preparation.loaded_encoder else None,
        video=dataclasses.asdict(preparation.video) if preparation.video else None,
        seen=_seen_in_all(summaries.values()) if preparation.video else {},
        vocabulary_sha256=text.vocabulary_sha256(),
        transcript_source=preparation.transcript_source,
        is_multi_label=corpus.is_multi_label,
        has_audio=corpus.has_audio,
        has_waveform=preparation.store_waveform,
        shards={name: _shard(preparation.folder / name, summary) for name, summary in summaries.items()},
        num_utterances=sum(summary.num_utterances for summary in summaries.values()),
        num_multi_label=sum(summary.num_multi_label for summary in summaries.values()),
        num_without_words=sum(summary.num_without_words for summary in summaries.values()),
        hours=round(num_samples / audio.SAMPLE_RATE / 3600, 4),
        longest_frames=max(summary.longest_frames for summary in summaries.values()),
        counts=counts,
        ignored=dict(corpus.ignored),
        skipped=[bad for summary in summaries.values() for bad in summary.skipped],
        silent=[name for summary in summaries.values() for name in summary.silent],
        fingerprint=preparation.fingerprint,
    )


def _seen_in_all(summaries: Iterable[_Summary]) -> dict[str, Any]:
    """Adds up what was seen of the videos of all shards."""
    found = list(summaries)
    return {
        "num_clips": sum(summary.num_with_video for summary in found),
        "without_sound": sum(summary.num_without_sound for summary in found),
        "num_frames_without_face": sum(summary.num_frames_without_face for summary in found),
        "without_face": sorted(name for summary in found for name in summary.without_face),
    }


def _counts(summaries: Iterable[_Summary]) -> dict[str, dict[str, int]]:
    """Adds up the counts of all shards: speaker -> emotion -> number of records."""
    counts: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    for summary in summaries:
        for speaker, count in summary.counts.items():
            counts[speaker].update(count)
    return {speaker: dict(count) for speaker, count in sorted(counts.items())}


def _shard(path: Path, summary: _Summary) -> dict[str, Any]:
    return {
        "speakers": sorted(summary.counts),
        "num_utterances": summary.num_utterances,
        "num_bytes": path.stat().st_size,
    }
