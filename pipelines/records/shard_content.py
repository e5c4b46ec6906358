"""The records of a shard, made of decoded batches of utterances: features, token ids and what was counted."""

import hashlib
import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from tqdm import tqdm

from pipelines import audio, text
from pipelines.clips import Clip
from pipelines.records.counters import Counters
from pipelines.records.decode_workers import Decoded
from pipelines.records.preparation import Preparation
from pipelines.utterance import Utterance
from pipelines.video import NUM_BOX_COLUMNS, Frames

_BATCH = 32
_SENTENCE_BATCH = 2048

# Long recordings are transformed a few at a time: this many samples, padding included, at once (about 4 minutes).
_MAX_SAMPLES = _BATCH * 8 * audio.SAMPLE_RATE


def batches_of(preparation: Preparation, shard: Sequence[Utterance]) -> list[list[Utterance]]:
    """Cuts a shard into the batches whose features are computed together; records depend on them in the last bit."""
    size = _BATCH if preparation.has_clips else _SENTENCE_BATCH
    return [list(shard[start : start + size]) for start in range(0, len(shard), size)]


def without_clips(batches: Sequence[list[Utterance]]) -> Iterator[Decoded]:
    """Gives sentences what stands for a clip."""
    nothing = Clip(np.zeros(0, np.int16))
    return iter([[(utterance, nothing) for utterance in batch] for batch in batches])


def records_of(
    preparation: Preparation, batches: Iterable[Decoded], counters: Counters, progress: tqdm
) -> Iterator[dict[str, Any]]:
    """Makes the records of one shard, and counts them.

    Args:
      preparation: What is asked for.
      batches: Of `batches_of`, decoded.
      counters: Get what is counted.
      progress: Gets each record.
    """
    for batch in batches:
        readable = [(utterance, clip) for utterance, clip in batch if not isinstance(clip, str)]
        for utterance, reason in batch:
            if isinstance(reason, str):
                counters.skip(utterance, reason)
        token_ids = text.token_ids([utterance.transcript for utterance, _ in readable]).to_list()
        features = _features(preparation, [clip.waveform for _, clip in readable])
        for (utterance, clip), ids, frames in zip(readable, token_ids, features, strict=True):
            record = _record(preparation, utterance, clip, np.asarray(ids), frames)
            counters.count(utterance, clip, record)
            yield record
            progress.update()
        progress.update(len(batch) - len(readable))


def _features(preparation: Preparation, waveforms: Sequence[np.ndarray]) -> Iterable[Mapping[str, np.ndarray]]:
    """Makes the features of each clip of a batch; without recordings they have no frames and cost nothing."""
    names, front_end = preparation.frame_features, preparation.front_end
    if not preparation.corpus.has_audio:
        nothing = {name: np.zeros((0, audio.num_columns(name, front_end)), np.float32) for name in names}
        return [nothing] * len(waveforms)
    made: Iterable[Mapping[str, np.ndarray]] = transformed(waveforms, audio.compiled_features(front_end, names))
    if preparation.loaded_encoder is None:
        return made
    pairs = zip(made, preparation.loaded_encoder(waveforms), strict=True)
    return ({**features, "encoder": states} for features, states in pairs)


def transformed(waveforms: Sequence[np.ndarray], transform: Callable[..., Any]) -> Iterator[dict[str, np.ndarray]]:
    """Transforms waveforms, as many at once as memory allows, which depends on nothing but their lengths.

    Args:
      waveforms: [num_samples] int16 each.
      transform: From a batch to features and their lengths, as `pipelines.audio.compiled_features` makes it.

    Returns:
      Name of a feature -> [num_frames, columns], for each waveform.
    """
    while waveforms:
        longest = itertools.accumulate(map(len, waveforms), max)
        fitting = sum(1 for count, length in enumerate(longest, 1) if count * length <= _MAX_SAMPLES)
        head, waveforms = waveforms[: max(1, fitting)], waveforms[max(1, fitting) :]
        features, num_frames = transform(audio.pad_together(head))
        features = {name: values.numpy() for name, values in features.items()}
        for number, count in enumerate(num_frames.numpy()):
            yield {name: values[number, :count] for name, values in features.items()}


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
        # Absent audio is no recording that could be found twice.
        "audio_sha256": audio.sha256(clip.waveform) if clip.waveform.any() else "",
        "published_split": utterance.published_split,
        "transcript": utterance.transcript,
        "token_ids": token_ids,
        **frames,
    }
    if preparation.context:
        record["context"] = "\n".join(utterance.context)
    if preparation.store_waveform:
        record["waveform"] = clip.waveform
    return record | (_record_of_video(clip.frames) if preparation.video else {})


def _record_of_video(frames: Frames | None) -> dict[str, Any]:
    """Makes the fields of a video; without one they hold nothing."""
    images = frames.images if frames else []
    return {
        "video_frames": images,
        "face_boxes": frames.boxes if frames else np.zeros((0, NUM_BOX_COLUMNS), np.float32),
        "video_sha256": hashlib.sha256(b"".join(images)).hexdigest() if images else "",
    }
