"""What a step costs: seconds, and the most memory the process held while it ran.

Memory is sampled by a thread, because the system's own high-water mark is of the whole process and never falls. What
an accelerator held is added where there is one.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import torch

__all__ = ["measured_cost"]

_SAMPLE_SECONDS = 0.05


@contextmanager
def measured_cost() -> Iterator[dict[str, float]]:
    """Give a dictionary that holds ``seconds`` and ``peak_mb`` when the block ends."""
    cost: dict[str, float] = {}
    process = psutil.Process()
    peak = process.memory_info().rss
    done = threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(_SAMPLE_SECONDS):
            peak = max(peak, process.memory_info().rss)

    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    watcher = threading.Thread(target=watch, name="memory watcher", daemon=True)
    watcher.start()
    started = time.monotonic()
    try:
        yield cost
    finally:
        done.set()
        watcher.join()
        on_device = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 0
        cost["seconds"] = round(time.monotonic() - started, 3)
        cost["peak_mb"] = round((max(peak, process.memory_info().rss) + on_device) / 2**20, 1)
