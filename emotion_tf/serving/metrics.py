"""What Prometheus reads of a server: requests, their time, queues, sizes of batches, versions of models."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

CONTENT_TYPE = CONTENT_TYPE_LATEST

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_SIZES = (1, 2, 4, 8, 16, 32)


class Metrics:
    """The numbers of one server. Labels are routes, methods, statuses and names of models, never content."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        self._requests = Counter(
            "emotion_tf_requests", "Requests that were answered.", ("route", "method", "status"), registry=registry
        )
        self._seconds = Histogram(
            "emotion_tf_request_seconds", "From head to answer.", ("route",), buckets=_SECONDS, registry=registry
        )
        self._batches = Histogram(
            "emotion_tf_batch_size", "Utterances predicted at once.", ("model",), buckets=_SIZES, registry=registry
        )
        self._waiting = Gauge("emotion_tf_waiting", "Utterances in the queue.", ("model",), registry=registry)
        self._version = Gauge("emotion_tf_model_version", "Of the export.", ("model",), registry=registry)
        self.under_way = Gauge("emotion_tf_requests_under_way", "Requests now.", registry=registry)
        self.streams = Gauge("emotion_tf_streams", "Open streams.", registry=registry)

    def count_request(self, route: str, method: str, status: int, seconds: float) -> None:
        """Counts an answered request."""
        self._requests.labels(route, method, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def batches_of(self, name: str) -> Callable[[int], None]:
        """Returns what takes the sizes of the batches of a model."""
        return self._batches.labels(name).observe

    def show_model(self, name: str, version: int, num_waiting: Callable[[], int]) -> None:
        """Shows the version of a model that is served, and what waits for it."""
        self._version.labels(name).set(version)
        self._waiting.labels(name).set_function(num_waiting)

    def page(self) -> bytes:
        """Writes all numbers in the text format of Prometheus."""
        return generate_latest(self._registry)
