"""The same server on Ray Serve: its app on replicas in a cluster, behind Ray's proxy."""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from emotion_tf.serving.server_settings import ServerSettings
from pipelines.cluster import LOCAL, join
from pipelines.command import InputError

if TYPE_CHECKING:
    from fastapi import FastAPI

NAME = "emotion_tf"
"""Of the application in the cluster."""

_ONGOING_SHARE = 0.5
"""Of the requests that a replica may have under way: with more, another replica is started."""


class Cluster(NamedTuple):
    """Where to deploy.

    Attributes:
      address: As `pipelines.cluster.join` takes it.
      num_replicas: At most; as many as are needed run.
      least_replicas: Those that always run.
      host, port: Where the proxy on each node listens.
      tls: Paths of certificate and key on the nodes; None: without.
    """

    address: str
    num_replicas: int = 1
    least_replicas: int = 1
    host: str = "127.0.0.1"
    port: int = 8501
    tls: tuple[str, str] | None = None


@contextlib.contextmanager
def deployed(
    models: Mapping[str, Path],
    settings: ServerSettings,
    cluster: Cluster,
    joined: Callable[[], None] = lambda: None,
) -> Iterator[None]:
    """Deploys the server, and takes it down at the end.

    Every node needs this package and the folders of the models under the same paths.

    Args:
      models: Name -> a run, an export folder or a version folder.
      settings: Limits, of each replica.
      cluster: Where.
      joined: Called once Ray has started or was joined, before anything is deployed.

    Raises:
      InputError: Ray is not installed, there is no such cluster, or the models cannot be served there.
    """
    ray = join(cluster.address, log_level="warning")
    from ray import serve

    try:
        joined()
        try:
            serve.start(proxy_location="EveryNode", http_options=_http_options(cluster, settings))
            serve.run(_application(serve, models, settings, cluster), name=NAME, route_prefix="/")
        except (RuntimeError, TimeoutError) as error:
            raise InputError(f"the cluster cannot serve the models ({error}): its logs say more.") from None
        yield
    finally:
        _leave(ray, serve, cluster)


class _SignalledError(BaseException):
    """A signal came: no handler of ordinary errors on the way may keep it."""


def serve_until_signal(models: Mapping[str, Path], settings: ServerSettings, cluster: Cluster) -> None:
    """Deploys the server, and takes it down when SIGTERM or Ctrl-C comes, be it during the start.

    Raises:
      InputError: As `deployed` does.
    """
    try:
        with deployed(models, settings, cluster, joined=_raise_on_signals):
            print(f"serving on {cluster.host}, port {cluster.port} of each node", file=sys.stderr)
            while True:
                signal.pause()
    except _SignalledError:
        return


def _raise_on_signals() -> None:
    """Makes signals end the main thread; after Ray was joined, whose own handler aborts."""

    def end(number: int, frame: Any) -> None:
        raise _SignalledError

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)


def _leave(ray: Any, serve: Any, cluster: Cluster) -> None:
    """Takes the application down, and the cluster where it is of this command."""
    serve.delete(NAME)
    if cluster.address == LOCAL:
        serve.shutdown()
    ray.shutdown()


def _http_options(cluster: Cluster, settings: ServerSettings) -> dict[str, Any]:
    options: dict[str, Any] = {"host": cluster.host, "port": cluster.port}
    # The app answers 504 itself; this is for replicas that are gone.
    options["request_timeout_s"] = settings.timeout_seconds + 5
    if cluster.tls:
        options["ssl_certfile"], options["ssl_keyfile"] = cluster.tls
    return options


def _application(serve: Any, models: Mapping[str, Path], settings: ServerSettings, cluster: Cluster) -> Any:
    """Makes what each replica runs: the app of one machine."""
    paths = {name: str(path.resolve()) for name, path in models.items()}

    def build() -> FastAPI:
        from emotion_tf.serving.app import create_app
        from emotion_tf.serving.predictor import Predictor

        return create_app({name: Predictor(path, settings.model_format) for name, path in paths.items()}, settings)

    scaling = {
        "min_replicas": min(cluster.least_replicas, cluster.num_replicas),
        "max_replicas": cluster.num_replicas,
        "target_ongoing_requests": max(1.0, _ONGOING_SHARE * settings.max_requests),
    }
    deployment = serve.deployment(
        serve.ingress(build)(),
        name=NAME,
        autoscaling_config=scaling,
        # The app refuses more itself, with a sentence.
        max_ongoing_requests=settings.max_requests + settings.max_streams + 8,
        graceful_shutdown_timeout_s=settings.timeout_seconds + 1,
        health_check_period_s=2.0,
        health_check_timeout_s=10.0,
        ray_actor_options={"num_cpus": 1},
    )
    return deployment.bind()
