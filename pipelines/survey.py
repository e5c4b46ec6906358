"""What every recording of a corpus is like: a table with a row for each, measured of its files or of its records."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines import audio
from pipelines.audio.quality import Quality, inspect
from pipelines.audio.recording import LEVEL
from pipelines.audio.silence import (
    BLOCK_LENGTH,
    BLOCKS_SUSTAINED,
    TRIM_DB,
    block_energy_on_host,
    loud_span_on_host,
    sustained_on_host,
)
from pipelines.clips import Clip, read_segment
from pipelines.command import import_tensorflow, progress_bar
from pipelines.records.copies import Copies, Recording, draw_fingerprint, find_copies
from pipelines.records.decode_workers import decoding
from pipelines.records.metadata import read_metadata
from pipelines.records.schema import parse
from pipelines.records.shard_content import transformed
from pipelines.records.shards import named_if_corrupt, paths_of, serialised_records
from pipelines.utterance import Corpus, Segment, Utterance

if TYPE_CHECKING:
    import pandas as pd

LEAST_DB = -100.0
"""Digital silence, and what is softer than 16 bits can hold."""

_BATCH = 32

# Of the blocks of a clip, those that are softest: pauses and stops leave them to the noise.
_FLOOR_PERCENTILE = 10


@dataclasses.dataclass(frozen=True)
class Survey:
    """All recordings of a corpus.

    Attributes:
      name: Of the corpus.
      source: Where it was read from: the files, or the records.
      emotions: The label set, in label order.
      clips: A row for each recording or sentence that can be read, sorted by utterance_id. Always: utterance_id,
        speaker, emotion, split, trial, place. Of recordings: seconds, level_db (of its loud blocks, dB of full scale),
        floor_db (of the softest tenth of its blocks that are not digital silence), silent_start and silent_end
        (seconds before and behind what is loud), bandwidth_hz, clipped_share, snr_db, hum_hz, is_silent, and the fields
        of `pipelines.audio.file_facts.FileFacts`. NaN or missing: not known.
      unreadable: Utterance or file -> why it cannot be read.
      copies: Recordings that are copies of each other.
      notes: What was noticed while reading, a sentence -> utterances.
      ignored: Reason -> number of files or rows that the reader left out.
      is_multi_label: Whether an utterance may have several emotions.
      is_of_records: Whether it was made of records, whose recordings are at one level, 16 kHz and one channel;
        `floor_db` is then measured from the loud blocks.
    """

    name: str
    source: Path
    emotions: tuple[str, ...]
    clips: pd.DataFrame
    unreadable: Mapping[str, str]
    copies: Sequence[Copies]
    notes: Mapping[str, Sequence[str]]
    ignored: Mapping[str, int]
    is_multi_label: bool = False
    is_of_records: bool = False


def survey_corpus(corpus: Corpus, num_workers: int | None = None) -> Survey:
    """Reads and measures all recordings of a corpus, in worker processes; keeps no samples.

    Args:
      corpus: Its utterances; those without a recording are rows without measures.
      num_workers: Processes; None: one a core.
    """
    import pandas as pd

    rows, unreadable, recordings = [], {}, []
    notes: dict[str, list[str]] = {}
    batches = [corpus.utterances[start : start + _BATCH] for start in range(0, len(corpus.utterances), _BATCH)]
    with (
        progress_bar(len(corpus.utterances), f"checking {corpus.name}", "clip") as progress,
        decoding([list(batch) for batch in batches] if corpus.has_audio else [], num_workers, read=_read) as decoded,
    ):
        if corpus.has_audio:
            import_tensorflow()  # Only now: the workers decode meanwhile.
        for utterance, clip, fingerprint in _one_by_one(corpus, decoded):
            progress.update()
            if isinstance(clip, str):
                unreadable[utterance.utterance_id] = ": ".join(filter(None, (utterance.place, clip)))
                continue
            rows.append(_row_of(utterance) | _measures(clip))
            for note in clip.notes:
                notes.setdefault(note, []).append(utterance.utterance_id)
            if clip.waveform.any():
                sha256 = audio.sha256(clip.waveform)
                recordings.append(Recording(utterance.utterance_id, utterance.emotion, sha256, *fingerprint))
    return Survey(
        corpus.name,
        corpus.source,
        corpus.emotions,
        pd.DataFrame(rows, columns=None if rows else ["utterance_id", "speaker", "emotion", "split", "trial", "place"]),
        unreadable,
        find_copies(recordings),
        notes,
        corpus.ignored,
        corpus.is_multi_label,
    )


def survey_records(folder: Path) -> Survey:
    """Measures what records still tell of recordings.

    Args:
      folder: Complete records.

    Raises:
      InputError: Records that are not complete, or a corrupt shard.
    """
    import_tensorflow()
    import pandas as pd

    metadata = read_metadata(folder)
    with (
        named_if_corrupt(folder),
        progress_bar(metadata.num_utterances, f"checking {folder}", "record") as progress,
    ):
        rows = []
        for record in _records(folder):
            rows.append(_row_of_record(record, metadata.emotions) | _measures_of_record(record, metadata.settings))
            progress.update()
    return Survey(
        metadata.corpus,
        folder,
        tuple(metadata.emotions),
        pd.DataFrame(rows).sort_values("utterance_id", ignore_index=True),
        {one["utterance_id"]: one["reason"] for one in metadata.skipped},
        [Copies(tuple(one["utterances"]), tuple(one["emotions"]), one["is_identical"]) for one in metadata.copies],
        metadata.notes,
        metadata.ignored,
        metadata.is_multi_label,
        is_of_records=True,
    )


def _read(audio_path: Path | None, video_path: Path | None, segment: Segment | None = None) -> Clip:
    """Reads the recording of an utterance and measures it as it stands in its file."""
    if audio_path is None:
        return Clip(np.zeros(0, np.int16))
    recording = read_segment(audio_path, segment, with_facts=True)
    return Clip(recording.waveform, None, recording.peak, recording.bits, recording.notes, facts=recording.facts)


def _one_by_one(
    corpus: Corpus, decoded: Iterable[list[tuple[Utterance, Clip | str]]]
) -> Iterator[tuple[Utterance, Clip | str, tuple[int, str]]]:
    """Yields utterances, their clips, and the fingerprints that `prepare` draws of them with its default settings."""
    nothing = Clip(np.zeros(0, np.int16))
    if not corpus.has_audio:
        yield from ((utterance, nothing, (0, "")) for utterance in corpus.utterances)
        return
    transform = audio.compiled_features(audio.FrontEnd())
    for batch in decoded:
        waveforms = [(nothing if isinstance(clip, str) else clip).waveform for _, clip in batch]
        made = transformed(waveforms, transform)
        for (utterance, clip), features in zip(batch, made, strict=True):
            yield utterance, clip, draw_fingerprint(features["log_mel"])


def _row_of(utterance: Utterance) -> dict[str, Any]:
    return {
        "utterance_id": utterance.utterance_id,
        "speaker": utterance.speaker,
        "emotion": utterance.emotion,
        "split": utterance.published_split,
        "trial": utterance.trial,
        "place": utterance.place or str(utterance.audio or ""),
    }


def _measures(clip: Clip) -> dict[str, Any]:
    """Measures a recording that was read of its file; nothing where there is none."""
    if not len(clip.waveform) or clip.facts is None:
        return {}
    gain_db = 0.0 if clip.is_silent else 20 * np.log10(LEVEL / clip.peak)
    return {
        **clip.facts._asdict(),
        **_of_quality(clip.quality),
        **_loudness(clip.waveform, gain_db),
        "is_silent": clip.is_silent,
    }


def _of_quality(quality: Quality | None) -> dict[str, Any]:
    values = dataclasses.asdict(quality) if quality else {}
    return {name: np.nan if value is None else value for name, value in values.items() if name != "seconds"}


def _loudness(waveform: np.ndarray, gain_db: float) -> dict[str, float]:
    """Measures how loud a clip and its pauses are, and how long its silent ends.

    Args:
      waveform: [num_samples] int16, at one level.
      gain_db: What brought it there.
    """
    energy = block_energy_on_host(waveform) / 32768**2  # [num_blocks]
    lasting = sustained_on_host(energy, BLOCKS_SUSTAINED)
    first, end = loud_span_on_host(lasting, TRIM_DB)
    loud = energy[lasting >= lasting.max(initial=0.0) * 10 ** (-TRIM_DB / 10)] if end else energy
    block_seconds = BLOCK_LENGTH / audio.SAMPLE_RATE
    recorded = energy[energy > 0]  # Zeros were put there by a program.
    return {
        "level_db": _decibels(loud.mean() if len(loud) else 0.0, gain_db),
        "floor_db": _decibels(np.percentile(recorded, _FLOOR_PERCENTILE) if len(recorded) else 0.0, gain_db),
        "silent_start": first * block_seconds,
        "silent_end": (len(energy) - end) * block_seconds,
    }


def _decibels(energy: float, gain_db: float) -> float:
    return max(LEAST_DB, float(10 * np.log10(max(energy, 1e-30))) - gain_db)


def _records(folder: Path) -> Iterator[Mapping[str, Any]]:
    """Yields what is read of each record, in the order of the shards."""

    metadata = read_metadata(folder)
    fields = ["utterance_id", "speaker", "label", "published_split", "trial", "log_mel"]
    fields += ["waveform"] * metadata.has_waveform
    shards = paths_of(folder, sorted(metadata.shards))
    dataset = serialised_records(shards).map(lambda record: parse(record, fields, metadata.columns))
    yield from dataset.as_numpy_iterator()


def _row_of_record(record: Mapping[str, Any], emotions: Sequence[str]) -> dict[str, Any]:
    return {
        "utterance_id": record["utterance_id"].decode(),
        "speaker": record["speaker"].decode(),
        "emotion": "|".join(emotions[label] for label in record["label"]),
        "split": record["published_split"].decode(),
        "trial": record["trial"].decode(),
        "place": "",
    }


def _measures_of_record(record: Mapping[str, Any], front_end: audio.FrontEnd) -> dict[str, Any]:
    """Measures what a record holds: its samples where it stores them, or else its log-mel, whose ends are trimmed."""
    log_mel, waveform = record["log_mel"], record.get("waveform", np.zeros(0, np.int16))
    if not len(log_mel):
        return {"seconds": len(waveform) / audio.SAMPLE_RATE, "is_silent": True} if len(waveform) else {}
    if len(waveform):
        found = _loudness(waveform, 0.0)
        found["floor_db"] = max(LEAST_DB, found["floor_db"] - found.pop("level_db"))
        return {**dataclasses.asdict(inspect(waveform)), **found, "is_silent": False}
    energy = np.exp(2 * log_mel).sum(axis=1)  # [num_frames]
    seconds = (len(log_mel) - 1) * front_end.hop_seconds + front_end.frame_seconds
    loud = energy[energy >= energy.max() * 10 ** (-TRIM_DB / 10)].mean()
    floor = float(10 * np.log10(np.percentile(energy, _FLOOR_PERCENTILE) / loud))
    return {"seconds": seconds, "floor_db": max(LEAST_DB, floor), "is_silent": False}
