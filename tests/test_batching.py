"""Tests of emotion_tf.serving.batching: who waits is answered together, and never too many wait."""

import asyncio
import threading

import pytest

from emotion_tf.serving.batching import Batcher, OverloadedError


def run(test):
    """Runs a test of a batcher whose function doubles, and raises on negative numbers; yields the sizes it saw."""

    async def main():
        sizes, free = [], threading.Event()
        free.set()

        def compute(items):
            free.wait(5)
            if min(items) < 0:
                raise ValueError(f"{min(items)} is negative")
            return [2 * item for item in items]

        batcher = Batcher(compute, wait_seconds=0.02, max_batch=4, max_waiting=6, observe=sizes.append)
        try:
            await test(batcher, sizes, free)
        finally:
            free.set()
            await batcher.close()

    asyncio.run(main())


def test_those_that_come_together_are_answered_together_in_bounded_batches():
    async def test(batcher, sizes, free):
        assert await asyncio.gather(*map(batcher.submit, range(6))) == [0, 2, 4, 6, 8, 10]
        assert sizes == [4, 2]
        assert await batcher.submit(21) == 42

    run(test)


def test_one_that_fails_spoils_no_other():
    async def test(batcher, sizes, free):
        found = await asyncio.gather(*map(batcher.submit, (1, -2, 3)), return_exceptions=True)
        assert (found[0], found[2]) == (2, 6)
        assert str(found[1]) == "-2 is negative"

    run(test)


def test_more_than_may_wait_are_refused_at_once():
    async def test(batcher, sizes, free):
        free.clear()
        busy = [asyncio.ensure_future(batcher.submit(0))]
        await asyncio.sleep(0.1)
        busy += [asyncio.ensure_future(batcher.submit(number)) for number in range(6)]
        await asyncio.sleep(0)
        assert batcher.num_waiting == 6
        with pytest.raises(OverloadedError, match="6 utterances wait"):
            await batcher.submit(1)
        with pytest.raises(OverloadedError):
            await batcher.run(int)
        free.set()
        assert await asyncio.gather(*busy) == [0, 0, 2, 4, 6, 8, 10]
        assert batcher.num_waiting == 0

    run(test)


def test_those_whose_callers_have_gone_are_not_computed():
    async def test(batcher, sizes, free):
        waiting = [asyncio.ensure_future(batcher.submit(number)) for number in range(3)]
        await asyncio.sleep(0)
        waiting[1].cancel()
        assert await asyncio.gather(waiting[0], waiting[2]) == [0, 4]
        assert sizes == [2]

    run(test)


def test_closing_answers_what_waits():
    async def test(batcher, sizes, free):
        waiting = [asyncio.ensure_future(batcher.submit(number)) for number in range(3)]
        await asyncio.sleep(0)
        await batcher.close()
        assert [one.result() for one in waiting] == [0, 2, 4]

    run(test)


def test_other_calls_run_in_the_same_thread():
    async def test(batcher, sizes, free):
        names = [await batcher.run(lambda: threading.current_thread().name) for _ in range(2)]
        assert names[0] == names[1]
        assert names[0].startswith("model")

    run(test)
