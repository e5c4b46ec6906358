"""A model that is served: an export of one version, and the queue of what waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from emotion_tf.serving.batching import Batcher
from emotion_tf.serving.prediction import Given, Prediction
from emotion_tf.serving.predictor import Predictor
from emotion_tf.serving.server_settings import ServerSettings
from emotion_tf.serving.versions import number_of
from pipelines.audio import SAMPLE_RATE


class Wanted(NamedTuple):
    """An utterance, and what its answer shall hold."""

    given: Given
    with_embedding: bool = False
    with_changes: bool = True


class Model:
    """A version of a model that is served.

    Args:
      name: In paths.
      predictor: The export.
      settings: Limits.
      observe: Called with the number of utterances of each batch.

    Attributes:
      name, predictor: As given.
      version: Its number.
      queue: Where utterances wait for it.
    """

    def __init__(self, name: str, predictor: Predictor, settings: ServerSettings, observe: Callable[[int], None]):
        self.name, self.predictor = name, predictor
        self.version = number_of(predictor.folder)
        self.queue: Batcher[Wanted, Prediction] = Batcher(
            self._predict,
            wait_seconds=settings.batch_wait_seconds,
            max_batch=settings.max_batch,
            max_waiting=settings.max_waiting,
            observe=observe,
        )
        self._num_users, self._is_free = 0, asyncio.Event()
        self._is_free.set()

    def __enter__(self) -> Model:
        """Begins to use it: until the end it is not closed."""
        self._num_users += 1
        self._is_free.clear()
        return self

    def __exit__(self, *_: object) -> None:
        self._num_users -= 1
        if not self._num_users:
            self._is_free.set()

    async def warm_up(self) -> None:
        """Predicts once, so that the first request waits for no compiler."""
        await self.queue.run(self._answer_noise)

    async def retire(self) -> None:
        """Waits until nobody uses it, and closes it."""
        await self._is_free.wait()
        await self.queue.close()

    def _answer_noise(self) -> None:
        noise = np.random.default_rng(0).integers(-3000, 3000, SAMPLE_RATE).astype(np.int16)
        self._predict([Wanted(self.predictor.read(noise, "hello", sample_rate=SAMPLE_RATE))])

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
