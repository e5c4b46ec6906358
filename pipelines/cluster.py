"""A connection to Ray, which runs work on several machines, or on the cores of this one."""

import contextlib
import os
import secrets
import signal
import socket
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pipelines.command import InputError, is_disk_full
from pipelines.processes import num_cores

LOCAL = "local"
"""On this machine alone, in a cluster that ends with the command."""

_AUTO = "auto"
_CLIENT = "ray://"
_SECONDS_TO_ANSWER = 5

ADDRESS_HELP = "Run on Ray: local (the cores of this machine), auto (the cluster of this machine), or HOST:PORT."


@contextlib.contextmanager
def connected(address: str) -> Iterator[None]:
    """Connects to a cluster, and leaves it behind.

    Args:
      address: As `join` takes it.

    Raises:
      InputError: As `join`.
    """
    ray = join(address)
    try:
        yield
    finally:
        ray.shutdown()


def join(address: str, *, log_level: str = "error") -> Any:
    """Connects to a cluster; returns the package ray, whose `shutdown` leaves it.

    Args:
      address: `LOCAL`; "auto": the cluster that `ray start` made on this machine; or HOST:PORT of its head.
      log_level: Of what Ray says.

    Raises:
      InputError: That is no address, Ray is not installed, or no cluster answers there.
    """
    place = _place(address)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # It would send what it runs on to its makers.
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # Tables that no verbosity turns off.
    if address == LOCAL:
        # Ray listens on every interface. Whoever knows no token may run nothing; the one in the home folder stays.
        os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=secrets.token_hex(32))
    try:
        import ray
    except ImportError:
        raise InputError("Ray is not installed: python -m pip install 'emotion_tf[ray]'.") from None
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": log_level}
    on_sigterm = signal.getsignal(signal.SIGTERM)
    try:
        if address == LOCAL:
            ray.init(LOCAL, num_cpus=num_cores(), include_dashboard=False, **options)
        else:
            if place:  # Ray itself tries twenty times, 40 s each.
                socket.create_connection(place, timeout=_SECONDS_TO_ANSWER).close()
            ray.init(address, **options)
    except Exception as error:
        if is_disk_full(error):
            raise
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        advice = "free memory and cores" if address == LOCAL else "start one with ray start --head"
        raise InputError(f"--ray {address}: no cluster answers there ({reason}): {advice}.") from None
    if callable(on_sigterm):  # Ray's own handler ends the process without a word.
        signal.signal(signal.SIGTERM, on_sigterm)
    return ray


def share_of_machine(nodes: Sequence[Mapping[str, Any]], threads: int) -> tuple[int, int]:
    """Says what each fit asks of a cluster: cores, of which a machine must have as many, and a GPU where there are any.

    Args:
      nodes: As `ray.nodes` gives them.
      threads: Cores to ask for at most.
    """
    found = [node["Resources"] for node in nodes if node["Alive"]]
    with_gpu = [resources for resources in found if resources.get("GPU", 0) >= 1]
    most = max((int(resources.get("CPU", 0)) for resources in with_gpu or found), default=0)
    return max(1, min(threads, most)), min(1, len(with_gpu))


def _place(address: str) -> tuple[str, int] | None:
    """Takes an address apart into host and port; None: Ray finds the cluster on this machine.

    Raises:
      InputError: It is no address.
    """
    if address in (LOCAL, _AUTO):
        return None
    host, _, port = address.removeprefix(_CLIENT).rpartition(":")
    if not host or not (port.isascii() and port.isdecimal()):
        raise InputError(f"--ray {address} is no address: give {LOCAL}, {_AUTO}, or HOST:PORT of a cluster's head.")
    return host.strip("[]"), int(port)
