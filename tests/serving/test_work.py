"""The queue: batches, its bound, time-outs, failures, and its end. Events stand in for time."""

import asyncio
from threading import Event

import pytest

from dogeared.serving.work import QueueFullError, StoppingError, Worker


class Gate:
    """A handler that waits until it is let go, and notes what it got together."""

    def __init__(self):
        self.entered, self.open, self.batches = Event(), Event(), []

    def __call__(self, requests):
        self.batches.append(list(requests))
        self.entered.set()
        assert self.open.wait(10)
        if "bad" in requests:
            raise ValueError("bad")
        return [request.upper() for request in requests]


@pytest.fixture
def gate():
    return Gate()


def make(gate, **changes):
    worker = Worker({"a": gate}, **{"max_waiting": 2, "max_batch": 8, **changes})
    worker.start()
    return worker


async def begun(worker, gate, *requests):
    """Let the first request reach the handler, then put the others into the queue."""
    tasks = [asyncio.create_task(worker.do("a", requests[0], timeout_seconds=10))]
    await asyncio.to_thread(gate.entered.wait, 10)
    tasks += [asyncio.create_task(worker.do("a", request, timeout_seconds=10)) for request in requests[1:]]
    await asyncio.sleep(0)
    return tasks


def test_what_waits_is_done_together_and_what_is_too_much_is_refused(gate):
    async def work():
        worker = make(gate)
        tasks = await begun(worker, gate, "x", "y", "z")
        with pytest.raises(QueueFullError):
            await worker.do("a", "w", timeout_seconds=10)
        gate.open.set()
        assert await asyncio.gather(*tasks) == ["X", "Y", "Z"]
        assert gate.batches == [["x"], ["y", "z"]]
        await asyncio.to_thread(worker.stop)

    asyncio.run(work())


def test_one_bad_request_spoils_no_other(gate):
    async def work():
        worker = make(gate)
        tasks = await begun(worker, gate, "x", "bad", "z")
        gate.open.set()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert (results[0], results[2]) == ("X", "Z")
        assert isinstance(results[1], ValueError)
        await asyncio.to_thread(worker.stop)

    asyncio.run(work())


def test_nobody_waits_for_ever_and_what_nobody_waits_for_is_not_done(gate):
    async def work():
        worker = make(gate)
        tasks = await begun(worker, gate, "x")
        with pytest.raises(TimeoutError):
            await worker.do("a", "late", timeout_seconds=0.01)
        gate.open.set()
        assert await asyncio.gather(*tasks) == ["X"]
        await asyncio.to_thread(worker.stop)
        assert gate.batches == [["x"]]

    asyncio.run(work())


def test_who_has_gone_keeps_no_place(gate):
    async def work():
        worker = make(gate)
        tasks = await begun(worker, gate, "x")
        for late in ("late", "later"):
            with pytest.raises(TimeoutError):
                await worker.do("a", late, timeout_seconds=0.01)
        assert worker.num_waiting == 0
        tasks += [asyncio.create_task(worker.do("a", request, timeout_seconds=10)) for request in ("y", "z")]
        await asyncio.sleep(0)
        assert worker.num_waiting == 2
        with pytest.raises(QueueFullError):
            await worker.do("a", "w", timeout_seconds=10)
        gate.open.set()
        assert await asyncio.gather(*tasks) == ["X", "Y", "Z"]
        await asyncio.to_thread(worker.stop)

    asyncio.run(work())


def test_stopping_finishes_what_waits_and_takes_no_more(gate):
    async def work():
        worker = make(gate)
        tasks = await begun(worker, gate, "x", "y")
        stopped = asyncio.create_task(asyncio.to_thread(worker.stop))
        while not worker.is_stopping:
            await asyncio.sleep(0)
        with pytest.raises(StoppingError):
            await worker.do("a", "z", timeout_seconds=10)
        gate.open.set()
        assert await asyncio.gather(*tasks) == ["X", "Y"]
        await stopped

    asyncio.run(work())
