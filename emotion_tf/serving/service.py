"""Models that are served, each with its queue, and what decodes uploads: what all protocols of a server share."""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, TypeVar

import numpy as np

from emotion_tf.serving.batching import Batcher
from emotion_tf.serving.metrics import Metrics
from emotion_tf.serving.prediction import Given, Prediction
from emotion_tf.serving.predictor import Predictor
from emotion_tf.serving.server_settings import ServerSettings
from emotion_tf.serving.sources import as_file, read_upload
from emotion_tf.serving.timeline import Timeline, find_timeline
from pipelines.audio import SAMPLE_RATE, TooLongError
from pipelines.clips import Clip

NUM_READERS = 4
"""Threads that wait for the process that decodes, which does one thing after the other."""

_T = TypeVar("_T")


class NotServedError(Exception):
    """A model, or a version of it, that this server does not have."""


class Wanted(NamedTuple):
    """An utterance, and what its answer shall hold."""

    given: Given
    with_embedding: bool = False
    with_changes: bool = True


class Model:
    """A model that is served.

    Attributes:
      name: In paths.
      predictor: The export.
      version: Its number.
      queue: Where utterances wait for it.
    """

    def __init__(self, name: str, predictor: Predictor, settings: ServerSettings, metrics: Metrics):
        self.name, self.predictor = name, predictor
        self.version = int(predictor.folder.name) if predictor.folder.name.isdigit() else 1
        observe = metrics.add_model(name, self.version, lambda: self.queue.num_waiting)
        self.queue: Batcher[Wanted, Prediction] = Batcher(
            self._predict,
            wait_seconds=settings.batch_wait_seconds,
            max_batch=settings.max_batch,
            max_waiting=settings.max_waiting,
            observe=observe,
        )

    def _predict(self, wanted: Sequence[Wanted]) -> list[Prediction]:
        """Predicts utterances together that want the same."""
        answers: list[Prediction | None] = [None] * len(wanted)
        for options in dict.fromkeys(one[1:] for one in wanted):
            places = [place for place, one in enumerate(wanted) if one[1:] == options]
            given = [wanted[place].given for place in places]
            with_embedding, with_changes = options
            found = self.predictor.predict_all_given(given, with_embedding=with_embedding, with_changes=with_changes)
            for place, prediction in zip(places, found, strict=True):
                answers[place] = prediction
        return [answer for answer in answers if answer is not None]

    def warm_up(self) -> None:
        """Predicts once, so that the first request waits for no compiler."""
        noise = np.random.default_rng(0).integers(-3000, 3000, SAMPLE_RATE).astype(np.int16)
        self._predict([Wanted(self.predictor.read(noise, "hello", sample_rate=SAMPLE_RATE))])


class Service:
    """What all protocols share.

    Args:
      predictors: Name -> model.
      settings: Limits.

    Attributes:
      models: Name -> served model.
      metrics: What Prometheus reads.
      is_ready: Whether the models have answered once.
    """

    def __init__(self, predictors: Mapping[str, Predictor], settings: ServerSettings):
        self.settings, self.metrics = settings, Metrics()
        self.models = {name: Model(name, one, settings, self.metrics) for name, one in predictors.items()}
        self.is_ready = False
        self._readers = ThreadPoolExecutor(NUM_READERS, thread_name_prefix="reader")
        # Of streams: they do not wait for the process that decodes.
        self._helpers = ThreadPoolExecutor(NUM_READERS, thread_name_prefix="helper")

    async def open(self) -> None:
        """Warms the models up."""
        for model in self.models.values():
            await model.queue.run(model.warm_up)
        self.is_ready = True

    async def close(self) -> None:
        """Finishes what is under way."""
        self.is_ready = False
        for model in self.models.values():
            await model.queue.close()
        self._readers.shutdown(wait=False, cancel_futures=True)
        self._helpers.shutdown(wait=False, cancel_futures=True)

    def model(self, name: str, version: str | int | None = None) -> Model:
        """Finds a model.

        Raises:
          NotServedError: There is none of that name, or it has another version.
        """
        found = self.models.get(name)
        if found is None or version not in (None, found.version, str(found.version)):
            suffix = "" if version is None else f", version {str(version)[:20]}"
            raise NotServedError(f"Servable not found for request: {name[:100]!r}{suffix}")
        return found

    async def aside(self, function: Callable[..., _T], *arguments: Any) -> _T:
        """Calls a function that needs some milliseconds outside of the event loop."""
        return await asyncio.get_running_loop().run_in_executor(self._helpers, function, *arguments)

    async def classify(self, model: Model, content: bytes | None, transcript: str, with_embedding: bool) -> Prediction:
        """Predicts one upload.

        Args:
          model: The model.
          content: Of the recording or video; None: the transcript alone.
          transcript: What is said.
          with_embedding: Whether the prediction has its embedding.

        Raises:
          InputError: What cannot be read or is too long.
          OverloadedError: Too many wait already.
        """
        if with_embedding:
            model.predictor.stop_without_embedding()
        given = await asyncio.get_running_loop().run_in_executor(self._readers, self._read, model, content, transcript)
        return await model.queue.submit(Wanted(given, with_embedding))

    def _read(self, model: Model, content: bytes | None, transcript: str) -> Given:
        """Decodes an upload in the process that is kept for that, the only one that its bytes can harm."""
        predictor = model.predictor
        clip = Clip(np.zeros(0, np.int16))
        if content is not None:
            clip = read_upload(
                content,
                predictor.video,
                predictor.front_end.silence_db,
                longest_seconds=self.settings.max_seconds,
                longest_wait=self.settings.timeout_seconds,
            )
        return predictor.take(clip, transcript)

    async def timeline(self, model: Model, content: bytes) -> Timeline:
        """Finds which emotion appears when in an upload.

        Raises:
          InputError: What cannot be read or is too long.
        """
        is_over = threading.Event()
        try:
            work = functools.partial(self._timeline, model, content, is_over)
            return await asyncio.get_running_loop().run_in_executor(self._readers, work)
        finally:
            is_over.set()  # Nobody waits for it any more.

    def _timeline(self, model: Model, content: bytes, is_over: threading.Event) -> Timeline:
        longest = self.settings.max_timeline_seconds

        def watch(seconds: float) -> None:
            if seconds > longest:
                raise TooLongError("the recording", f"more than {longest:g} s", longest)
            if is_over.is_set():
                raise asyncio.CancelledError

        with as_file(content) as path:
            return find_timeline(model.predictor, path, watch=watch, longest_wait=self.settings.timeout_seconds)
