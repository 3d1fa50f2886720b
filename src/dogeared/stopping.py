"""Ctrl-C and SIGTERM: they end the work where it is whole, and tell which of them came.

Between steps, and in steps that are made anew or go on from a shard, there is nothing to wait for: ``stop_on_signals``
ends them where they are. A piece of work that must not be torn, such as an optimizer step, is put into
``finish_first``: a signal becomes a request, and the piece ends by itself. A second signal ends it at once.

What is done between a signal and the end is not here. Handlers are set in the main thread alone, as the system wants.
"""

import logging
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

__all__ = ["StopRequest", "Stopped", "finish_first", "stop_on_signals"]

logger = logging.getLogger(__name__)

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopped(KeyboardInterrupt):
    """Somebody wants the work to end, and it did.

    Attributes:
        number: The signal that came.
    """

    def __init__(self, reason: str, number: int = signal.SIGINT) -> None:
        self.number = number
        super().__init__(reason)


@dataclass
class StopRequest:
    """Whether a signal came since the piece of work began.

    Attributes:
        number: The signal; None as long as there was none.
    """

    number: int | None = None

    @property
    def came(self) -> bool:
        """Tell whether to stop."""
        return self.number is not None


@contextmanager
def stop_on_signals() -> Iterator[None]:
    """Let Ctrl-C and SIGTERM raise ``Stopped`` wherever the block is.

    A parent that had them ignored, as ``nohup`` does, is obeyed.

    Raises:
        Stopped: One of them came.
    """

    def stop(number: int, _: Any) -> None:
        raise Stopped(f"stopped by {signal.Signals(number).name}", number)

    with _handled_by(stop):
        yield


@contextmanager
def finish_first() -> Iterator[StopRequest]:
    """Turn Ctrl-C and SIGTERM into a request for the time of the block; a second one raises at once.

    Raises:
        Stopped: A second signal came.
    """
    request = StopRequest()

    def note(number: int, _: Any) -> None:
        name = signal.Signals(number).name
        if request.came:
            raise Stopped(f"stopped at once by a second {name}", number)
        request.number = number
        logger.warning("%s: finishing the current step, then saving", name)

    with _handled_by(note):
        yield request


@contextmanager
def _handled_by(handler: Callable[[int, Any], None]) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    for number, old in before.items():
        if old is not signal.SIG_IGN:
            signal.signal(number, handler)
    try:
        yield
    finally:
        for number, old in before.items():
            # None stands for a handler that was not set from Python, and cannot be set again from it.
            signal.signal(number, signal.SIG_DFL if old is None else old)
