"""Writes shards of records on a cluster of Ray: each is a task, which is tried again where its machine goes.

A task does for its shard what `pipelines.records.writer` does on one machine, in the same batches, so the records are
the same to the byte. Every machine must reach the corpus and the folder of the records under the same paths; the
weights of an encoder it reads from that folder.
"""

import contextlib
import dataclasses
import functools
import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from pipelines import processes
from pipelines.audio.speech_encoder import Encoder, EncoderSettings
from pipelines.command import InputError, import_tensorflow
from pipelines.records.counters import Counters
from pipelines.records.decode_workers import decoded_here
from pipelines.records.preparation import Preparation
from pipelines.records.shard_content import batches_of, records_of, without_clips
from pipelines.records.shards import remove_unfinished, write_shard
from pipelines.utterance import Utterance

_NUM_TRIES = 4


def write_on_cluster(
    preparation: Preparation, pending: Mapping[str, Sequence[Utterance]], progress: tqdm
) -> Iterator[tuple[str, Counters]]:
    """Writes shards side by side on the cluster that this process has joined; yields the counters of each when done.

    Args:
      preparation: What is asked for; the weights of its encoder are kept in its folder already.
      pending: Shard -> its utterances.
      progress: Gets the utterances of each shard.

    Raises:
      InputError: A shard whose task failed or was lost each time, or where something cannot be read or written. The
        others come to their end first.
    """
    import ray

    # Without what is loaded here, which cannot be sent.
    shared = ray.put(dataclasses.replace(preparation, encoder=_kept(preparation)))
    task = ray.remote(num_cpus=1, max_retries=_NUM_TRIES - 1)(_write)
    working = {task.remote(shared, name, pending[name], str(Path.cwd())): name for name in pending}
    failures = []
    while working:
        for done in ray.wait(list(working))[0]:
            name = working.pop(done)
            try:
                found = ray.get(done)
            except ray.exceptions.RayTaskError as error:  # It would come again.
                found = f"{name} was not written, for its task failed ({_reason(error.cause)})"
            except ray.exceptions.RayError:
                found = f"{name} was not written, for its task was lost {_NUM_TRIES} times, perhaps for lack of memory"
            if isinstance(found, str):
                failures.append(found)
            else:
                progress.update(len(pending[name]))
                yield name, found
    remove_unfinished(preparation.folder)
    if missing := [name for name in pending if not failures and not (preparation.folder / name).exists()]:
        failures.append(
            f"{preparation.folder / missing[0]} was written on another machine, whose folder of that name is not this"
            " one: give --records a folder that all machines share"
        )
    if failures:
        raise InputError(f"{failures[0].rstrip('.')}: run the same command again, which goes on where it stopped.")


def _kept(preparation: Preparation) -> EncoderSettings | None:
    """Leads an encoder to the weights that are kept beside the shards."""
    settings = preparation.encoder
    if settings is None:
        return None
    folder = str(preparation.kept_encoder.absolute())
    return dataclasses.replace(settings, model=folder, blocks=settings.chosen_blocks, save=None)


def _write(preparation: Preparation, name: str, shard: Sequence[Utterance], folder: str) -> Counters | str:
    """Writes one shard; returns its counters, or a sentence that says why it could not.

    Args:
      preparation: What is asked for.
      name: Of the shard.
      shard: Its utterances.
      folder: Where relative paths begin.
    """
    with contextlib.suppress(OSError):
        os.chdir(folder)
    # Or recordings would count as unreadable, and go on to do so once they can be reached.
    for path in (preparation.folder, *[preparation.corpus.source] * preparation.has_clips):
        if not path.exists():
            return f"{path} does not exist on {platform.node()}, and every machine must reach it under this path"
    processes.limit_threads(1)
    import_tensorflow()
    import tensorflow as tf

    try:
        if preparation.encoder:
            vars(preparation)["loaded_encoder"] = _loaded(preparation.encoder)
        batches = batches_of(preparation, shard)
        trim_db = preparation.front_end.silence_db
        read = decoded_here(batches, preparation.video, trim_db) if preparation.has_clips else without_clips(batches)
        counters = Counters()
        with tqdm(disable=True) as progress:
            records: Any = records_of(preparation, read, counters, progress)
            write_shard(preparation.folder / name, records, is_shared=True)
    except InputError as error:
        return str(error)
    except (OSError, tf.errors.OpError) as error:
        return f"{preparation.folder / name} could not be written on {platform.node()} ({_reason(error)})"
    return counters


def _reason(error: BaseException) -> str:
    """Returns the first line of what an error says, or its name."""
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".: ")


@functools.lru_cache(maxsize=1)
def _loaded(settings: EncoderSettings) -> Encoder:
    """Loads an encoder once in the life of a worker."""
    return Encoder(settings)
