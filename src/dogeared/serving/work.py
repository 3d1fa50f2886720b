"""A bounded queue before one thread that uses the models, and takes what waits together.

Requests that came while the thread was busy are done in one batch, those of one kind in one call. When a batch fails,
each of it is done alone, so that one bad request spoils no other. Who waits too long is told so; what nobody waits for
any more is not begun. There is no HTTP here.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from threading import Condition, Thread
from typing import Any

__all__ = ["QueueFullError", "StoppingError", "Worker"]

Handler = Callable[[Sequence[Any]], Sequence[Any]]


class QueueFullError(Exception):
    """As many requests wait as may."""


class StoppingError(Exception):
    """No more requests are taken."""


@dataclass(frozen=True, eq=False)
class _Job:
    kind: str
    request: Any
    result: "Future[Any]" = field(default_factory=Future)


class Worker:
    """The thread and its queue; ``start`` it before the first request.

    Args:
        handlers: For each kind, what makes results of requests, one each and in their order.
        max_waiting: How many requests may wait, those in work not counted.
        max_batch: How many are done together.
        on_batch: Told the size of each batch.
    """

    def __init__(
        self,
        handlers: Mapping[str, Handler],
        *,
        max_waiting: int,
        max_batch: int,
        on_batch: Callable[[int], None] = lambda size: None,
    ) -> None:
        self._handlers = handlers
        self._max_waiting = max_waiting
        self._max_batch = max_batch
        self._on_batch = on_batch
        self._waiting: deque[_Job] = deque()
        self._changed = Condition()
        self._stopping = False
        self._thread: Thread | None = None

    @property
    def num_waiting(self) -> int:
        """How many requests wait; one whose client has gone waits no more."""
        with self._changed:
            return sum(not job.result.cancelled() for job in self._waiting)

    @property
    def is_stopping(self) -> bool:
        """Whether no more requests are taken."""
        return self._stopping

    def start(self) -> None:
        """Begin to work, for the first time or after ``stop``."""
        self._stopping = False
        self._thread = Thread(target=self._work, name="dogeared-models", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Take no more requests, finish those that wait, and return when all is done."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()

    async def do(self, kind: str, request: Any, *, timeout_seconds: float) -> Any:
        """Wait for the result of a request.

        Raises:
            QueueFullError: Too many wait already.
            StoppingError: The worker was stopped.
            TimeoutError: It took too long.
        """
        job = _Job(kind, request)
        with self._changed:
            if self._stopping:
                raise StoppingError
            if len(self._waiting) >= self._max_waiting:
                for gone in [job for job in self._waiting if job.result.cancelled()]:
                    self._waiting.remove(gone)
            if len(self._waiting) >= self._max_waiting:
                raise QueueFullError
            self._waiting.append(job)
            self._changed.notify_all()
        return await asyncio.wait_for(asyncio.wrap_future(job.result), timeout_seconds)

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._stopping)
                if not self._waiting:
                    return
                jobs = [self._waiting.popleft() for _ in range(min(self._max_batch, len(self._waiting)))]
            wanted = [job for job in jobs if job.result.set_running_or_notify_cancel()]
            for kind in dict.fromkeys(job.kind for job in wanted):
                self._do([job for job in wanted if job.kind == kind])

    def _do(self, jobs: Sequence[_Job]) -> None:
        try:
            self._on_batch(len(jobs))
            results = self._handlers[jobs[0].kind]([job.request for job in jobs])
        except Exception as error:
            if len(jobs) == 1:
                jobs[0].result.set_exception(error)
            else:
                for job in jobs:
                    self._do([job])
            return
        for job, result in zip(jobs, results, strict=True):
            job.result.set_result(result)
