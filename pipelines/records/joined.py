"""Records of several corpora as one: labels mapped, speakers kept apart, written once beside the first of them."""

import dataclasses
import hashlib
import itertools
import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipelines.command import InputError, import_tensorflow, progress_bar
from pipelines.emotions import LABEL_MAPS
from pipelines.files import locked, replacing
from pipelines.records.metadata import METADATA, Metadata, read_metadata, write_metadata
from pipelines.records.shards import named_if_corrupt, paths_of, serialised_records
from pipelines.speakers import people_of

JOINED = "joined"
"""Folder, beside the first of the records, that holds records of several corpora."""

_VERSION = 1

# What all must have in common, and how a user makes it so.
_COMMON = {
    "front_end": "front end",
    "acoustic": "acoustic features (--acoustic)",
    "video": "choice of video frames",
    "vocabulary_sha256": "vocabulary",
    "transcript_source": "source of words (--transcripts)",
    "context": "number of lines of context",
}

# Lists and counts of the whole that are those of the parts together.
_SUMS = ("num_videos", "num_videos_without_audio", "num_frames_without_face", "num_unknown_words")


@dataclasses.dataclass(frozen=True)
class _Part:
    """One of the records that are joined.

    Attributes:
      folder: Of the records.
      metadata: Theirs.
      label_map: Name of the map of their labels, or empty.
      targets: Of each label the emotion that it leads to, None: its utterances are left out.
    """

    folder: Path
    metadata: Metadata
    label_map: str
    targets: tuple[str | None, ...]

    @property
    def people(self) -> str:
        """How its speakers begin."""
        return people_of(self.metadata.corpus)


def join(folders: Sequence[Path], label_maps: Mapping[str, str]) -> Path:
    """Joins records, or finds them joined, perhaps once another process has done so.

    Speakers are called by their corpus, "CREMA-D/1001", so that two of one name stay two; those of RAVDESS's speech and
    song are the same people. Each utterance has its corpus among its attributes.

    Args:
      folders: Two or more folders of records.
      label_maps: One of the folders, as it is written or by its last part -> name of the map of its labels.

    Returns:
      The folder of the joined records.

    Raises:
      InputError: Records that do not go together, or hold one utterance twice; maps of none of them, or that leave
        label sets that differ.
    """
    parts = _parts(folders, label_maps)
    emotions = _emotions(parts)
    _stop_on_differing(parts)
    identity = [_VERSION, emotions, *([part.metadata.fingerprint, part.label_map] for part in parts)]
    fingerprint = hashlib.sha256(json.dumps(identity).encode()).hexdigest()
    name = "+".join(part.folder.resolve().name for part in parts)
    folder = parts[0].folder.parent / JOINED / f"{name}-{fingerprint[:8]}"
    if _is_finished(folder, fingerprint):  # Before the lock, which a folder that is only read does not give.
        return folder
    with locked(folder, "--records", waits=True):
        if not _is_finished(folder, fingerprint):
            (folder / METADATA).unlink(missing_ok=True)
            _write(folder, parts, emotions, fingerprint)
    return folder


def _is_finished(folder: Path, fingerprint: str) -> bool:
    try:
        return read_metadata(folder).fingerprint == fingerprint
    except InputError:
        return False


def _parts(folders: Sequence[Path], label_maps: Mapping[str, str]) -> list[_Part]:
    resolved = [folder.resolve() for folder in folders]
    if twice := [folder for folder in folders if resolved.count(folder.resolve()) > 1]:
        raise InputError(f"--records names {twice[0]} twice: name each folder once.")
    parts, used = [], set()
    for folder in folders:
        metadata = read_metadata(folder)
        if metadata.corpora:
            raise InputError(f"{folder} holds records of several corpora: name those of each alone.")
        if metadata.is_multi_label:
            raise InputError(f"{folder} hold several emotions an utterance, which are not joined: leave them out.")
        names = [name for name in label_maps if name in (str(folder), folder.resolve().name)]
        used |= set(names)
        label_map = label_maps[names[0]] if names else ""
        parts.append(_Part(folder, metadata, label_map, _targets(folder, metadata, label_map)))
    if unknown := sorted(set(label_maps) - used):
        raise InputError(
            f"--label-map {unknown[0]}={label_maps[unknown[0]]} is for none of {', '.join(map(str, folders))}: write"
            " FOLDER=NAME."
        )
    return parts


def _targets(folder: Path, metadata: Metadata, label_map: str) -> tuple[str | None, ...]:
    if not label_map:
        return tuple(metadata.emotions)
    known = LABEL_MAPS[label_map].targets
    if unknown := [label for label in metadata.emotions if label not in known]:
        raise InputError(f"--label-map {folder}={label_map} does not know the labels {', '.join(unknown)} of {folder}.")
    return tuple(known[label] for label in metadata.emotions)


def _emotions(parts: Sequence[_Part]) -> list[str]:
    """Finds the one label set of all: the largest, which holds each of the others, in its order."""
    held = [{target for target in part.targets if target} for part in parts]
    largest = max(held, key=len)
    for part, emotions in zip(parts, held, strict=True):
        if not emotions <= largest:
            whole = parts[held.index(largest)]
            raise InputError(
                f"the labels of {part.folder} are {', '.join(sorted(emotions))}, those of {whole.folder}"
                f" {', '.join(sorted(largest))}: map both to one label set with --label-map FOLDER=NAME FOLDER=NAME"
                " (python -m pipelines.prepare --list-label-maps)."
            )
    first = parts[held.index(largest)]
    order = LABEL_MAPS[first.label_map].emotions if first.label_map else first.metadata.emotions
    return [emotion for emotion in order if emotion in largest]


def _stop_on_differing(parts: Sequence[_Part]) -> None:
    first = parts[0]
    for part in parts[1:]:
        for name, what in _COMMON.items():
            if getattr(part.metadata, name) != getattr(first.metadata, name):
                raise InputError(
                    f"{part.folder} has another {what} than {first.folder}: prepare both with the same flags."
                )
        one, other = (
            {**(each.metadata.encoder or {}), "model": ""} if each.metadata.encoder else None for each in (first, part)
        )
        if one != other:
            raise InputError(f"{part.folder} has another encoder than {first.folder}: prepare both with the same one.")
        if part.metadata.has_audio != first.metadata.has_audio:
            raise InputError(f"of {first.folder} and {part.folder} one holds no recordings: join records of one kind.")


def _write(folder: Path, parts: Sequence[_Part], emotions: Sequence[str], fingerprint: str) -> None:
    """Writes the shards of all parts anew, one for each of theirs, and metadata.json last."""
    import_tensorflow()
    import tensorflow as tf

    shards = [(part, name) for part in parts for name in sorted(part.metadata.shards)]
    totals = [Counter[str]() for _ in parts]
    counts: dict[str, Counter[str]] = {}
    found: dict[str, str] = {}
    facts: dict[str, dict[str, Any]] = {}
    with progress_bar(sum(part.metadata.num_utterances for part in parts), "joining records", "clip") as bar:
        for number, (part, source) in enumerate(shards):
            name = f"{number:05d}-of-{len(shards):05d}.tfrecord"
            speakers: Counter[str] = Counter()
            with replacing(folder / name) as temporary, named_if_corrupt(part.folder):
                with tf.io.TFRecordWriter(str(temporary)) as writer:
                    for example, emotion in _examples(part, source, emotions):
                        text = example.features.feature
                        utterance_id, speaker = (
                            text[key].bytes_list.value[0].decode() for key in ("utterance_id", "speaker")
                        )
                        _stop_on_twice(found, utterance_id, part)
                        writer.write(example.SerializeToString(deterministic=True))
                        speakers[speaker] += 1
                        counts.setdefault(speaker, Counter())[emotion] += 1
                        totals[parts.index(part)]["utterances"] += 1
                        totals[parts.index(part)]["blank"] += not text["transcript"].bytes_list.value[0].strip()
                        bar.update()
                with temporary.open("rb") as file:
                    os.fsync(file.fileno())
            size = (folder / name).stat().st_size
            facts[name] = {"speakers": sorted(speakers), "num_utterances": sum(speakers.values()), "num_bytes": size}
    write_metadata(folder, _metadata(parts, emotions, fingerprint, facts, counts, totals))


def _examples(part: _Part, name: str, emotions: Sequence[str]) -> Iterator[tuple[Any, str]]:
    """Reads the records of a shard whose labels lead to an emotion, changed to be told from those of other corpora."""
    import tensorflow as tf

    for serialised in serialised_records(paths_of(part.folder, [name])).as_numpy_iterator():
        example = tf.train.Example.FromString(serialised)
        feature = example.features.feature
        labels = feature["label"].int64_list.value
        target = part.targets[labels[0]]
        if target is None:
            continue
        labels[:] = [emotions.index(target)]
        for key in ("utterance_id", "speaker", "trial"):
            value = feature[key].bytes_list.value
            if value[0]:
                value[0] = f"{part.people}/".encode() + value[0]
        attributes = feature["attributes"].bytes_list.value
        about = {**json.loads(attributes[0].decode()), "corpus": part.metadata.corpus}
        attributes[0] = json.dumps(about, ensure_ascii=False, sort_keys=True).encode()
        yield example, target


def _stop_on_twice(found: dict[str, str], utterance_id: str, part: _Part) -> None:
    other = found.setdefault(utterance_id, str(part.folder))
    if other != str(part.folder):
        raise InputError(f"{utterance_id} stands in {other} and in {part.folder}: name one of them.")


def _metadata(
    parts: Sequence[_Part],
    emotions: Sequence[str],
    fingerprint: str,
    shards: Mapping[str, dict[str, Any]],
    counts: Mapping[str, Counter[str]],
    totals: Sequence[Counter[str]],
) -> Metadata:
    """Collects the facts of the whole; hours are those of the parts, by the share of their utterances that is kept."""
    every = [part.metadata for part in parts]
    kept = [total["utterances"] for total in totals]
    if empty := [part for part, count in zip(parts, kept, strict=True) if not count]:
        raise InputError(f"no utterance of {empty[0].folder} is left: choose another --label-map for it.")
    return dataclasses.replace(
        every[0],
        corpus=" + ".join(dict.fromkeys(one.corpus for one in every)),
        source=", ".join(one.source for one in every),
        licence="; ".join(f"{one.corpus}: {one.licence}" for one in every),
        emotions=list(emotions),
        absent_emotions=[],
        label_map=", ".join(f"{part.metadata.corpus}={part.label_map}" for part in parts if part.label_map),
        shards=dict(shards),
        num_utterances=sum(kept),
        hours=sum(one.hours * count / one.num_utterances for one, count in zip(every, kept, strict=True)),
        num_multi_label=0,
        num_without_words=sum(total["blank"] for total in totals),
        counts={speaker: dict(of_one) for speaker, of_one in sorted(counts.items())},
        ignored=_ignored(parts, kept),
        fingerprint=fingerprint,
        only_train=_only_train(parts, counts),
        corpora={part.metadata.corpus: _about(part) for part in parts},
        **_facts_of_recordings(parts),
    )


def _about(part: _Part) -> dict[str, str]:
    about = {"records": str(part.folder), "people": part.people, "label_map": part.label_map}
    return about | {"fingerprint": part.metadata.fingerprint}


def _ignored(parts: Sequence[_Part], kept: Sequence[int]) -> dict[str, int]:
    """Counts what the readers of the corpora left out, and what the label maps do."""
    found: Counter[str] = Counter()
    for part, count in zip(parts, kept, strict=True):
        corpus = part.metadata.corpus
        found.update({f"{reason} ({corpus})": number for reason, number in part.metadata.ignored.items()})
        found.update({f"left out by {part.label_map} ({corpus})": part.metadata.num_utterances - count})
    return {reason: count for reason, count in found.items() if count}


def _only_train(parts: Sequence[_Part], counts: Mapping[str, Counter[str]]) -> dict[str, str]:
    found = {
        f"{part.people}/{speaker}": f"{part.people}/{name}"
        for part in parts
        for speaker, name in part.metadata.only_train.items()
    }
    return {speaker: name for speaker, name in found.items() if speaker in counts}


def _facts_of_recordings(parts: Sequence[_Part]) -> dict[str, Any]:
    """Joins what was found in the recordings; utterances are named as they are in the whole."""
    every = [part.metadata for part in parts]
    reaches = [one.bandwidth_hz for one in every if one.bandwidth_hz]
    named = {
        name: [f"{part.people}/{one}" for part in parts for one in getattr(part.metadata, name)]
        for name in ("silent", "without_face")
    }
    notes: dict[str, list[str]] = {}
    for part in parts:
        for note, utterances in part.metadata.notes.items():
            notes.setdefault(note, []).extend(f"{part.people}/{one}" for one in utterances)
    return {
        **named,
        **{name: sum(getattr(one, name) for one in every) for name in _SUMS},
        "notes": notes,
        "has_waveform": all(one.has_waveform for one in every),
        "longest_frames": max(one.longest_frames for one in every),
        "findings": dict(sum((Counter(one.findings) for one in every), Counter[str]())),
        "bandwidth_hz": min(reaches) if reaches else None,
        "skipped": list(itertools.chain(*(one.skipped for one in every))),
        "copies": list(itertools.chain(*(one.copies for one in every))),
    }
