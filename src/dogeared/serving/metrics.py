"""What Prometheus is told: requests and their seconds, batches, and how many wait.

Each service has a registry of its own, so that several can live in one process. Paths that do not exist are counted
as one, or anybody could fill the memory with names.
"""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

__all__ = ["Metrics"]


class Metrics:
    """The counters of one service."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        labels = ("path", "method", "status")
        self._requests = Counter("dogeared_requests", "Requests that were answered.", labels, registry=self._registry)
        self._seconds = Histogram(
            "dogeared_request_seconds", "From request to answer.", ("path",), registry=self._registry
        )
        self._batch = Histogram(
            "dogeared_batch_size",
            "Requests that were done together.",
            buckets=(1, 2, 4, 8, 16, 32, 64),
            registry=self._registry,
        )
        self._waiting = Gauge("dogeared_waiting", "Requests that wait.", registry=self._registry)

    def watch_queue(self, count: Callable[[], int]) -> None:
        """Ask ``count`` whenever somebody wants to know how many wait."""
        self._waiting.set_function(count)

    def note_batch(self, size: int) -> None:
        """Count a batch."""
        self._batch.observe(size)

    def note_request(self, *, path: str, method: str, status: int, seconds: float) -> None:
        """Count a request; ``path`` must be one of few."""
        self._requests.labels(path, method, str(status)).inc()
        self._seconds.labels(path).observe(seconds)

    def text(self) -> bytes:
        """Write all down as Prometheus reads it."""
        return generate_latest(self._registry)
