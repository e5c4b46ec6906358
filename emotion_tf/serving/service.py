"""Models that are served, and what decodes and transcribes uploads: what all protocols of a server share."""

from __future__ import annotations

import asyncio
import functools
import json
import logging
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np

from emotion_tf.serving.batching import Batcher
from emotion_tf.serving.metrics import Metrics
from emotion_tf.serving.prediction import Given, Prediction
from emotion_tf.serving.predictor import Predictor
from emotion_tf.serving.served_model import Model, Wanted
from emotion_tf.serving.server_settings import ServerSettings
from emotion_tf.serving.sources import as_file, read_upload
from emotion_tf.serving.timeline import Timeline, find_timeline
from emotion_tf.serving.versions import VersionWatch
from pipelines import isolation
from pipelines.audio import TooLongError
from pipelines.clips import Clip
from pipelines.command import InputError
from pipelines.transcripts.transcriber import Transcriber, WhisperSettings

LOG = logging.getLogger("emotion_tf.serve")

_NUM_HELPERS = 4

_T = TypeVar("_T")


class NotServedError(Exception):
    """A model, or a version of it, that this server does not have."""


class NotTranscribedError(Exception):
    """This server cannot transcribe; the text says why."""


class Upload(NamedTuple):
    """What is to be classified.

    Attributes:
      content: Of the recording or video; None: the transcript alone.
      transcript: What is said.
      transcribe: Whether whisper finds the words.
      with_embedding: Whether the prediction has its embedding.
    """

    content: bytes | None
    transcript: str = ""
    transcribe: bool = False
    with_embedding: bool = False


class Service:
    """What all protocols share.

    Args:
      predictors: Name -> model.
      settings: Limits.
      transcriber: A loaded whisper model; None: the usual one is loaded when it is first asked for.

    Attributes:
      settings: As given.
      metrics: What Prometheus reads.
      is_ready: Whether the models have answered once.
    """

    def __init__(
        self, predictors: Mapping[str, Predictor], settings: ServerSettings, transcriber: Transcriber | None = None
    ):
        self.settings, self.metrics = settings, Metrics()
        self._models = {name: self._served(name, one) for name, one in predictors.items()}
        self.is_ready = False
        self._transcriber = transcriber
        self._whisper: Batcher[Any, Any] = Batcher(list, max_waiting=settings.max_waiting)
        self._decoders = isolation.Processes(settings.num_workers, int(settings.worker_memory_bytes))
        # Two for each process: one prepares what the other one waits for.
        self._readers = ThreadPoolExecutor(2 * settings.num_workers, thread_name_prefix="reader")
        self._timelines = ThreadPoolExecutor(settings.num_workers, thread_name_prefix="timeline")
        self._helpers = ThreadPoolExecutor(_NUM_HELPERS, thread_name_prefix="helper")
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Warms the models up, starts the processes that decode, and begins to watch for new versions."""
        await asyncio.gather(*(self.aside(self._decoders.call, len, "") for _ in range(self.settings.num_workers)))
        for model in self._models.values():
            await model.warm_up()
            self.metrics.show_model(model.name, model.version, self._num_waiting(model.name))
            if self.settings.poll_seconds:
                self._begin(self._watch(model.name))
        self.is_ready = True

    async def close(self) -> None:
        """Finishes what is under way."""
        self.is_ready = False
        for task in self._tasks:
            task.cancel()
        for model in self._models.values():
            await model.queue.close()
        await self._whisper.close()
        for pool in (self._readers, self._timelines, self._helpers):
            pool.shutdown(wait=False, cancel_futures=True)
        self._decoders.end()

    def model(self, name: str, version: str | int | None = None) -> Model:
        """Finds a model; what awaits its answer uses it in a `with`, so that a newer version does not close it.

        Raises:
          NotServedError: There is none of that name, or it has another version.
        """
        found = self._models.get(name)
        if found is None or version not in (None, found.version, str(found.version)):
            suffix = "" if version is None else f", version {str(version)[:20]}"
            raise NotServedError(f"Servable not found for request: {name[:100]!r}{suffix}")
        return found

    async def aside(self, function: Callable[..., _T], *arguments: Any) -> _T:
        """Calls a function that needs some milliseconds outside of the event loop."""
        return await asyncio.get_running_loop().run_in_executor(self._helpers, function, *arguments)

    async def classify(self, model: Model, upload: Upload) -> Prediction:
        """Predicts one upload.

        Raises:
          InputError: What cannot be read or is too long.
          NotTranscribedError: There is no whisper here.
          OverloadedError: Too many wait already.
        """
        if upload.with_embedding:
            model.predictor.stop_without_embedding()
        if upload.transcribe:
            clip = await self._read(self._decoded, model, upload)
            given = await self._whisper.run(functools.partial(self._transcribed, model, clip))
        else:
            given = await self._read(self._given, model, upload)
        return await model.queue.submit(Wanted(given, upload.with_embedding))

    async def timeline(self, model: Model, content: bytes) -> Timeline:
        """Finds which emotion appears when in an upload.

        Raises:
          InputError: What cannot be read or is too long.
        """
        is_over = threading.Event()
        try:
            work = functools.partial(self._timeline, model, content, is_over)
            return await asyncio.get_running_loop().run_in_executor(self._timelines, work)
        finally:
            is_over.set()  # Nobody waits for it any more.

    async def _read(self, function: Callable[[Model, Upload], _T], model: Model, upload: Upload) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._readers, function, model, upload)

    def _given(self, model: Model, upload: Upload) -> Given:
        return model.predictor.take(self._decoded(model, upload), upload.transcript)

    def _decoded(self, model: Model, upload: Upload) -> Clip:
        """Decodes an upload in one of the processes that are kept for that: its bytes can harm nothing else."""
        if upload.content is None:
            return Clip(np.zeros(0, np.int16))
        predictor, settings = model.predictor, self.settings
        return read_upload(
            *(upload.content, predictor.video, predictor.front_end.silence_db),
            longest_seconds=settings.max_seconds,
            longest_wait=settings.timeout_seconds,
            decoders=self._decoders,
        )

    def _transcribed(self, model: Model, clip: Clip) -> Given:
        """Transcribes a recording, in the one thread of whisper."""
        if self._transcriber is None:
            try:
                self._transcriber = Transcriber(WhisperSettings())
            except InputError as error:
                raise NotTranscribedError(f"this server cannot transcribe: {error}") from None
        return model.predictor.take(clip, transcriber=self._transcriber)

    def _timeline(self, model: Model, content: bytes, is_over: threading.Event) -> Timeline:
        longest = self.settings.max_timeline_seconds

        def watch(seconds: float) -> None:
            if seconds > longest:
                raise TooLongError("the recording", f"more than {longest:g} s", longest)
            if is_over.is_set():
                raise asyncio.CancelledError

        options: dict[str, Any] = {"watch": watch, "decoders": self._decoders}
        with as_file(content) as path:
            return find_timeline(model.predictor, path, longest_wait=self.settings.timeout_seconds, **options)

    def _served(self, name: str, predictor: Predictor) -> Model:
        return Model(name, predictor, self.settings, self.metrics.batches_of(name))

    def _num_waiting(self, name: str) -> Callable[[], int]:
        return lambda: self._models[name].queue.num_waiting

    def _begin(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _watch(self, name: str) -> None:
        """Serves each new version of a model, once it has answered; requests that began with the old one keep it."""
        predictor = self._models[name].predictor
        watch = VersionWatch(predictor.path, predictor.folder)
        while True:
            await asyncio.sleep(self.settings.poll_seconds)
            found = await self.aside(watch.look)
            if found is None:
                continue
            try:
                successor = await self._loaded(name, found)
            except Exception as error:  # Whatever it is, the version that is served goes on.
                reason = str(error) if isinstance(error, InputError) else type(error).__name__
                _log(logging.ERROR, event="version refused", model=name, folder=str(found), reason=reason)
                continue
            retired, self._models[name] = self._models[name], successor
            watch.current = successor.predictor.folder
            self.metrics.show_model(name, successor.version, self._num_waiting(name))
            _log(logging.INFO, event="version served", model=name, version=successor.version)
            self._begin(retired.retire())

    async def _loaded(self, name: str, folder: Path) -> Model:
        """Loads a version, and lets it answer once."""
        predictor = await asyncio.to_thread(Predictor, folder, self.model(name).predictor.model_format)
        model = self._served(name, predictor)
        try:
            await model.warm_up()
        except BaseException:
            await model.queue.close()
            raise
        return model


def _log(level: int, **facts: Any) -> None:
    LOG.log(level, json.dumps({"time": round(time.time(), 3), **facts}))
