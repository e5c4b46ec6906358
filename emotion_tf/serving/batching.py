"""Requests that wait are answered together: one model, one thread, and a queue that is bounded."""

from __future__ import annotations

import asyncio
import collections
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Generic, NamedTuple, TypeVar

_Item = TypeVar("_Item")
_Answer = TypeVar("_Answer")
_T = TypeVar("_T")


class OverloadedError(Exception):
    """The queue is full: come back later."""


class _Waiting(NamedTuple):
    """An item, when it came, and where its answer goes."""

    item: Any
    since: float
    answer: asyncio.Future[Any]


class Batcher(Generic[_Item, _Answer]):
    """Collects items that come close together, and hands them to a function as one list.

    An item waits no longer than `wait_seconds` for others, unless the function is busy. Items whose callers have gone
    are dropped. Where a list fails, each of its items is tried alone, so that none spoils the others.

    Args:
      compute: From items to their answers; called in a thread of its own.
      wait_seconds: How long an item waits for others.
      max_batch: Items of one call.
      max_waiting: Items, and calls of `run`, that wait; more are refused at once.
      observe: Called with the number of items of each call.
    """

    def __init__(
        self,
        compute: Callable[[Sequence[_Item]], Sequence[_Answer]],
        *,
        wait_seconds: float = 0.005,
        max_batch: int = 32,
        max_waiting: int = 256,
        observe: Callable[[int], None] = lambda count: None,
    ):
        self._compute, self._observe = compute, observe
        self._wait_seconds, self._max_batch, self._max_waiting = wait_seconds, max_batch, max_waiting
        self._queue: collections.deque[_Waiting] = collections.deque()
        self._num_running = 0
        self._arrived, self._emptied = asyncio.Event(), asyncio.Event()
        self._emptied.set()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="model")
        self._task: asyncio.Task[None] | None = None

    @property
    def num_waiting(self) -> int:
        """Items and calls that have no answer yet, but for the batch that is computed."""
        return len(self._queue) + self._num_running

    async def submit(self, item: _Item) -> _Answer:
        """Waits for the answer to an item.

        Raises:
          OverloadedError: Too many wait already.
          Exception: What the function raises for this item.
        """
        self._stop_if_full()
        loop = asyncio.get_running_loop()
        if self._task is None:
            self._task = loop.create_task(self._work())
        answer = loop.create_future()
        self._queue.append(_Waiting(item, loop.time(), answer))
        self._arrived.set()
        self._emptied.clear()
        return await answer

    async def run(self, function: Callable[[], _T]) -> _T:
        """Calls a function in the thread of the model, between two batches.

        Raises:
          OverloadedError: Too many wait already.
          Exception: What the function raises.
        """
        self._stop_if_full()
        self._num_running += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, function)
        finally:
            self._num_running -= 1

    async def close(self) -> None:
        """Answers what waits, and ends the thread."""
        await self._emptied.wait()
        if self._task is not None:
            self._task.cancel()
        # What still runs there must not stop the event loop.
        await asyncio.to_thread(self._thread.shutdown)

    def _stop_if_full(self) -> None:
        if self.num_waiting >= self._max_waiting:
            raise OverloadedError(f"{self.num_waiting} utterances wait for the model")

    async def _work(self) -> None:
        while True:
            await self._arrived.wait()
            await self._wait_for_others()
            batch = [self._queue.popleft() for _ in range(min(self._max_batch, len(self._queue)))]
            await self._answer([one for one in batch if not one.answer.done()])
            if not self._queue:
                self._arrived.clear()
                self._emptied.set()

    async def _wait_for_others(self) -> None:
        if self._queue and len(self._queue) < self._max_batch:
            age = asyncio.get_running_loop().time() - self._queue[0].since
            await asyncio.sleep(max(0.0, self._wait_seconds - age))

    async def _answer(self, batch: Sequence[_Waiting]) -> None:
        if not batch:
            return
        self._observe(len(batch))
        items = [one.item for one in batch]
        try:
            answers = await asyncio.get_running_loop().run_in_executor(self._thread, self._compute, items)
        except Exception as error:
            if len(batch) > 1:
                for one in batch:
                    await self._answer([one])
            elif not batch[0].answer.done():
                batch[0].answer.set_exception(error)
            return
        for one, answer in zip(batch, answers, strict=True):
            if not one.answer.done():
                one.answer.set_result(answer)
