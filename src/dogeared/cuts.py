"""How many texts were longer than a model reads: counted where they become tokens, and said once a step.

What stands beyond a model's limit is not read, and nothing fails; whoever has long passages should know. A text counts
if it fills the limit, for that costs nothing to see; one that ends just there counts too. A text that is read in many
steps of a training counts each time.

Nothing is counted where nobody asked for it, as in a service.
"""

import logging
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from threading import Lock

__all__ = ["count_cuts", "say_cuts"]

logger = logging.getLogger(__name__)

_lock = Lock()  # a thread tokenizes ahead of the one that encodes
_counting: list[Counter[tuple[str, int, bool]]] = []


def count_cuts(setting: str, limit: int | None, lengths: Iterable[int]) -> None:
    """Count texts, and those of them that fill the limit.

    Args:
        setting: The name of the setting that bounds them.
        limit: How many tokens it allows; None for no bound.
        lengths: How many tokens each text has left.
    """
    if _counting and limit is not None:
        is_full = Counter(length >= limit for length in lengths)
        with _lock:
            for counter in _counting:
                counter.update({(setting, limit, full): number for full, number in is_full.items()})


@contextmanager
def say_cuts(step: str) -> Iterator[None]:
    """Count for the time of a step, and warn at its end of the texts that were cut, if any were."""
    counter: Counter[tuple[str, int, bool]] = Counter()
    _counting.append(counter)
    try:
        yield
    finally:
        _counting.pop()
    for (setting, limit, full), number in sorted(counter.items()):
        if full:
            logger.warning(
                "%s: %d of %d texts fill the %d tokens of %s; what they have beyond was not read. Raise it, or cut "
                "passages shorter",
                step,
                number,
                number + counter[setting, limit, False],
                limit,
                setting,
            )
