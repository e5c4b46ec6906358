"""Ways to do one thing, timed in turn, so that what else the machine does meets them alike."""

import contextlib
import multiprocessing
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from multiprocessing.connection import Connection
from typing import Any

Calls = Mapping[str, Callable[[], Any]]


def in_turn(calls: Calls, repetitions: int, warm_up: int = 1) -> dict[str, list[float]]:
    """Times calls one after the other, again and again.

    Args:
      calls: Name of a way -> what is timed.
      repetitions: Measured rounds.
      warm_up: Rounds before them, which trace and compile.

    Returns:
      Name of a way -> seconds of each round.
    """
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(warm_up + repetitions):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            if number >= warm_up:
                seconds[name].append(time.perf_counter() - start)
    return seconds


@contextlib.contextmanager
def in_process(make: Callable[..., Calls], *arguments: Any) -> Iterator[dict[str, Callable[[], Any]]]:
    """Makes calls in a process of their own: threads and memory of one library then do not trouble another one.

    Args:
      make: A function of a module that returns calls by name; it runs in that process.
      arguments: For it.

    Returns:
      A context whose value are calls of the same names, each of which waits for that of the process and returns what
      that returned. The process ends with the context.

    Raises:
      RuntimeError: A call, or making them, failed over there.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, make, arguments))
    process.start()
    theirs.close()  # So that its end shows here.

    def ask(name: str) -> Any:
        ours.send(name)
        return _answer(ours)

    def call_of(name: str) -> Callable[[], Any]:
        return lambda: ask(name)

    try:
        yield {name: call_of(name) for name in _answer(ours)}
    finally:
        ours.close()
        process.terminate()
        process.join()


def _answer(connection: Connection) -> Any:
    try:
        error, value = connection.recv()
    except EOFError:
        raise RuntimeError("the process of a benchmark ended: its own output says why.") from None
    if error:
        raise RuntimeError(error)
    return value


def _serve(connection: Connection, make: Callable[..., Calls], arguments: Sequence[Any]) -> None:
    """Does what is asked for by name, until the other end is closed."""
    calls: Calls = {}
    while True:
        try:
            if calls:
                connection.send(("", calls[connection.recv()]()))
            else:
                calls = make(*arguments)
                connection.send(("", list(calls)))
        except EOFError:
            return
        except Exception as error:
            connection.send((f"{type(error).__name__}: {error}", None))


def compared(
    what: str, seconds: Mapping[str, Sequence[float]], pairs: Sequence[tuple[str, str]], count: int, unit: str
) -> dict[str, Any]:
    """Makes of seconds what results say of ways that were timed in turn.

    Args:
      what: Is done.
      seconds: Name of a way -> seconds of each round.
      pairs: (ours, theirs): names of ways that are set side by side.
      count: How many of the unit a round is; 0: the result is in seconds.
      unit: Of what is counted, "clips/s" for instance.

    Returns:
      what, unit, the median of each way, all rounds, and of each pair how many times as fast ours is: the median over
      rounds of their ratio, with the least and the largest.
    """

    def shown(value: float) -> float:
        return float(f"{count / value if count else value:.4g}")

    ratios = []
    for ours, theirs in pairs:
        of_rounds = [other / own for own, other in zip(seconds[ours], seconds[theirs], strict=True)]
        found = [round(value, 3) for value in (statistics.median(of_rounds), min(of_rounds), max(of_rounds))]
        ratios.append({"ours": ours, "theirs": theirs, "times_as_fast": found[0], "least": found[1], "most": found[2]})
    return {
        "what": what,
        "unit": unit,
        "medians": {name: shown(statistics.median(values)) for name, values in seconds.items()},
        "all": {name: [shown(value) for value in values] for name, values in seconds.items()},
        "ratios": ratios,
    }
