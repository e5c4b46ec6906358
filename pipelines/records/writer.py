"""Writes the records of a corpus: `prepare` takes five steps.

1. Records that the same preparation finished before are recognised; other ones in the folder are refused.
2. Worker processes decode the files of each shard in batches, while this process computes features of those before.
3. Each shard is written whole, with its counters in a file beside it: a stopped run continues after it.
4. Files that cannot be read are all named; they end the run unless they are to be skipped.
5. The counters are added up, and metadata.json says that the records are complete.
"""

import contextlib
import dataclasses
import hashlib
import itertools
import json
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from pipelines import audio, text
from pipelines.audio.whisper_checkpoint import remove_kept
from pipelines.cluster import connected
from pipelines.command import InputError, import_tensorflow, progress_bar
from pipelines.files import locked, write_json
from pipelines.records.counters import Counters
from pipelines.records.decode_workers import Decoded, decoding
from pipelines.records.metadata import METADATA, SCHEMA_VERSION, Metadata, read_metadata, write_metadata
from pipelines.records.preparation import Preparation
from pipelines.records.shard_content import batches_of, records_of, without_clips
from pipelines.records.shards import relabel_shard, remove_unfinished, write_shard
from pipelines.utterance import Corpus, Utterance


def prepare(
    preparation: Preparation,
    num_workers: int | None = None,
    *,
    skip_bad: bool = False,
    overwrite: bool = False,
    cluster: str = "",
) -> Metadata:
    """Writes the records of a corpus, or finishes or recognises those that are there.

    Args:
      preparation: What, how and where to.
      num_workers: Decoding processes; None: one a core.
      skip_bad: Leaves unreadable recordings out instead of stopping.
      overwrite: Replaces other records in the folder.
      cluster: Address of a cluster of Ray that makes the shards, as `pipelines.cluster.join` takes it; empty: this
        process makes them.

    Returns:
      The metadata of complete records.

    Raises:
      InputError: What `Preparation.check` stops on, other records in the folder, another process that writes to it, no
        cluster at the address, or unreadable recordings (all of them are named).
    """
    preparation.check()
    finished = _finished_before(preparation, overwrite)
    if finished is not None:
        _stop_on_skipped(preparation.corpus, finished.skipped, skip_bad)
        if preparation.encoder is not None and not preparation.encoder.is_kept(preparation.kept_encoder):
            with locked(preparation.folder, "--records"):
                _keep_encoder(preparation)
        print(f"{preparation.folder} holds these records already, complete", file=sys.stderr)
        return finished
    _tell_size(preparation)
    _ = preparation.loaded_encoder  # What is wrong with it, or with the cluster, must not cost the records there.
    with _cluster_at(cluster), locked(preparation.folder, "--records"):
        _clear(preparation, reads_again=overwrite or not skip_bad)
        _keep_encoder(preparation)
        counters = _write_shards(preparation, num_workers, on_cluster=bool(cluster))
        _stop_on_skipped(preparation.corpus, [bad for one in counters.values() for bad in one.skipped], skip_bad)
        metadata = _metadata(preparation, _with_read_emotions(preparation, counters), counters)
        write_metadata(preparation.folder, metadata)
        for name in counters:
            _counters_path(preparation.folder, name).unlink(missing_ok=True)
    return metadata


def _cluster_at(address: str) -> contextlib.AbstractContextManager[None]:
    return connected(address) if address else contextlib.nullcontext()


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


def _tell_size(preparation: Preparation) -> None:
    """Says how much the states of an encoder will take, and stops where the disk is smaller."""
    needed = preparation.bytes_of_states
    if not needed:
        return
    folder = preparation.folder.absolute()
    free = shutil.disk_usage(next(path for path in (folder, *folder.parents) if path.exists())).free
    weights = preparation.encoder.bytes_of_weights if preparation.encoder else 0
    about = f"the states of the encoder will take about {needed / 1e6:,.1f} MB, and its weights {weights / 1e6:,.1f} MB"
    if needed + weights > free:
        raise InputError(
            f"{about}, and the disk of {folder} has {free / 1e6:,.1f} MB free: give another --records, or fewer"
            " --encoder-blocks."
        )
    print(f"{about} in {preparation.folder}", file=sys.stderr)


def _clear(preparation: Preparation, *, reads_again: bool) -> None:
    """Removes what the preparation has no use for: old metadata first, then shards of another one.

    Args:
      preparation: What is asked for.
      reads_again: Removes shards, too, that lack recordings, which may be readable by now.
    """
    folder = preparation.folder
    (folder / METADATA).unlink(missing_ok=True)
    # Names of ours alone: the folder may hold records that another program made.
    ours = f"{'[0-9]' * 5}-of-{'[0-9]' * 5}.tfrecord"
    for path in (*folder.glob(ours), *folder.glob(f"{ours}.json")):
        counters = _read_counters(preparation, path.name.removesuffix(".json"))
        if counters is None or (reads_again and counters.skipped):
            path.unlink()
    remove_unfinished(folder)


def _keep_encoder(preparation: Preparation) -> None:
    """Keeps the weights of the encoder beside the shards, or removes those of another preparation."""
    folder, settings = preparation.kept_encoder, preparation.encoder
    if settings is None:
        remove_kept(folder)
    elif not settings.is_kept(folder) and preparation.loaded_encoder is not None:
        preparation.loaded_encoder.keep(folder)


def _counters_path(folder: Path, name: str) -> Path:
    return folder / f"{name}.json"


def _read_counters(preparation: Preparation, name: str) -> Counters | None:
    """Returns the counters of a shard that is finished and still what the preparation asks for."""
    if not (preparation.folder / name).exists():
        return None
    try:
        values = json.loads(_counters_path(preparation.folder, name).read_text(encoding="utf-8"))
        fingerprint, counters = values["fingerprint"], Counters(**values["counters"])
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return counters if fingerprint == preparation.fingerprints.get(name) else None


def _write_shards(preparation: Preparation, num_workers: int | None, *, on_cluster: bool) -> dict[str, Counters]:
    """Writes the shards that are not there yet, here or on the cluster joined; returns the counters of all."""
    folder, total = preparation.folder, len(preparation.corpus.utterances)
    found = {name: _read_counters(preparation, name) for name in preparation.shards}
    pending = {name: shard for name, shard in preparation.shards.items() if found[name] is None}
    unit = "clip" if preparation.has_clips else "sentence"
    with progress_bar(total, f"preparing {preparation.corpus.name}", unit) as progress:
        progress.update(total - sum(map(len, pending.values())))
        if on_cluster and pending:
            from pipelines.records.cluster_writer import write_on_cluster

            written = write_on_cluster(preparation, pending, progress)
        else:
            written = _write_here(preparation, pending, num_workers, progress)
        for name, counters in written:
            found[name] = counters
            values = {"fingerprint": preparation.fingerprints[name], "counters": dataclasses.asdict(counters)}
            write_json(_counters_path(folder, name), values)
    return {name: counters for name, counters in found.items() if counters is not None}


def _write_here(
    preparation: Preparation, pending: Mapping[str, list[Utterance]], num_workers: int | None, progress: tqdm
) -> Iterator[tuple[str, Counters]]:
    """Writes shards one after the other; yields the counters of each."""
    of_shards = {name: batches_of(preparation, shard) for name, shard in pending.items()}
    with _decoded(preparation, list(itertools.chain(*of_shards.values())), num_workers) as decoded:
        if pending:
            import_tensorflow()  # Only now: the workers decode meanwhile.
        for name, batches in of_shards.items():
            counters = Counters()
            shard_batches = itertools.islice(decoded, len(batches))
            write_shard(preparation.folder / name, records_of(preparation, shard_batches, counters, progress))
            yield name, counters


def _decoded(
    preparation: Preparation, batches: Sequence[list[Utterance]], num_workers: int | None
) -> contextlib.AbstractContextManager[Iterator[Decoded]]:
    """Decodes in other processes; sentences alone need none."""
    if preparation.has_clips:
        return decoding(batches, num_workers, preparation.video, preparation.front_end.silence_db)
    return contextlib.nullcontext(without_clips(batches))


def _stop_on_skipped(corpus: Corpus, skipped: Sequence[Mapping[str, str]], skip_bad: bool) -> None:
    if skipped and not skip_bad:
        places = {utterance.utterance_id: utterance.place for utterance in corpus.utterances}
        named = [": ".join(filter(None, (places.get(bad["utterance_id"]), bad["reason"]))) for bad in skipped]
        reasons = "\n".join(f"  {reason}" for reason in named)
        raise InputError(
            f"{len(skipped)} recordings cannot be read; mend or remove them, or leave them out with --skip-bad:"
            f"\n{reasons}"
        )


def _with_read_emotions(preparation: Preparation, counters: Mapping[str, Counters]) -> Corpus:
    """Takes labels out of the label set, and of the shards, of which no utterance could be read."""
    corpus = preparation.corpus
    read = {emotion for one in counters.values() for counts in one.counts.values() for emotion in counts}
    kept = tuple(emotion for emotion in corpus.emotions if emotion in read)
    if not kept or kept == corpus.emotions:
        return corpus
    numbers = {corpus.emotions.index(emotion): number for number, emotion in enumerate(kept)}
    for name in counters:
        # First: what a kill leaves without counters is written again.
        _counters_path(preparation.folder, name).unlink(missing_ok=True)
        relabel_shard(preparation.folder / name, numbers)
    lost = tuple(emotion for emotion in corpus.emotions if emotion not in read)
    return dataclasses.replace(corpus, emotions=kept, absent_emotions=corpus.absent_emotions + lost)


def _metadata(preparation: Preparation, corpus: Corpus, counters: Mapping[str, Counters]) -> Metadata:
    total = sum(counters.values(), Counters())
    if not total.num_utterances:
        raise InputError(f"{corpus.source}: not one recording could be read, so there are no records to write.")
    return Metadata(
        schema_version=SCHEMA_VERSION,
        corpus=corpus.name,
        source=str(corpus.source),
        licence=corpus.licence,
        emotions=list(corpus.emotions),
        absent_emotions=list(corpus.absent_emotions),
        label_map=preparation.label_map,
        front_end=dataclasses.asdict(preparation.front_end),
        acoustic=list(audio.ACOUSTIC) if preparation.has_acoustic else [],
        encoder=preparation.loaded_encoder.facts if preparation.loaded_encoder else None,
        video=dataclasses.asdict(preparation.video) if preparation.video else None,
        vocabulary_sha256=text.vocabulary_sha256(),
        transcript_source=preparation.transcript_source,
        context=preparation.context,
        is_multi_label=corpus.is_multi_label,
        has_audio=corpus.has_audio,
        has_waveform=preparation.store_waveform,
        shards={name: _shard(preparation.folder / name, one) for name, one in counters.items()},
        ignored=dict(corpus.ignored),
        fingerprint=preparation.fingerprint,
        only_train={speaker: name for speaker, name in corpus.only_train.items() if speaker in total.counts},
        **total.facts,
    )


def _shard(path: Path, counters: Counters) -> dict[str, Any]:
    return {
        "speakers": sorted(counters.counts),
        "num_utterances": counters.num_utterances,
        "num_bytes": path.stat().st_size,
        "sha256": _sha256(path),
    }


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
