"""What every benchmark hands back, and how time is taken.

A group of benchmarks is a module of this folder with a function ``measure(options) -> dict[str, Row]``. All that is
compared is timed in one run, by turns, so that a machine that slows down slows all of them.
"""

import gc
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from dogeared import compute

__all__ = ["Options", "Row", "Seconds", "best_seconds", "more_and_before", "multiplies_bfloat16"]


@dataclass(frozen=True, kw_only=True)
class Options:
    """How to measure.

    Attributes:
        names: The rows that are wanted; all where empty. A group may hand back more.
        quick: Small models and few repetitions: shows that a benchmark runs, and no more.
        repeats: How often each side is timed; the best time counts, the other side's turn comes in between.
        seed: Of all that is random.
        data: The folder of data sets, for groups that need real text.
        scratch: A folder for files, emptied by whoever called.
        clock: What is measured: the time on the wall, or the time of the processor, which other work on the machine
            does not lengthen; the latter says nothing where several threads compute.
    """

    scratch: Path
    data: Path
    names: Sequence[str] = ()
    quick: bool = False
    repeats: int = 3
    seed: int = 0
    clock: Callable[[], float] = time.perf_counter

    def wants(self, *names: str) -> bool:
        """Whether one of these rows is wanted."""
        return not self.names or any(name in self.names for name in names)


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the table.

    Attributes:
        unit: What the seconds are of: a question, 1,000 passages, a search.
        seconds: Ours.
        textbook_seconds: Of the textbook way, in the same run.
        floor_seconds: Of the counted operations at the machine's measured rate.
        figures: Whatever else was measured: differences of results, bytes, shares.
    """

    unit: str
    seconds: float
    textbook_seconds: float | None = None
    floor_seconds: float | None = None
    figures: Mapping[str, float] = field(default_factory=dict)

    @property
    def ratio_to_textbook(self) -> float | None:
        """How many times faster than the textbook way; higher is better."""
        return None if self.textbook_seconds is None else self.textbook_seconds / self.seconds

    @property
    def ratio_to_floor(self) -> float | None:
        """How many times the floor; lower is better, and 1 cannot be beaten."""
        return None if self.floor_seconds is None else self.seconds / self.floor_seconds

    def as_json(self) -> dict[str, Any]:
        """Return everything, the ratios first."""
        return {"ratio_to_textbook": self.ratio_to_textbook, "ratio_to_floor": self.ratio_to_floor, **asdict(self)}


class Seconds(float):
    """What a side took, said by itself, because it ran where this process's clock does not tell."""


def best_seconds(
    sides: Mapping[str, Callable[[], Any]], *, repeats: int, clock: Callable[[], float]
) -> dict[str, float]:
    """Time several ways of doing the same, by turns, and return the best time of each.

    Each runs once before, untimed. A side that returns :class:`Seconds` took these.
    """
    best = dict.fromkeys(sides, float("inf"))
    for run in sides.values():
        run()
    for _ in range(repeats):
        for name, run in sides.items():
            gc.collect()
            began = clock()
            took = run()
            best[name] = min(best[name], took if isinstance(took, Seconds) else clock() - began)
    return best


def more_and_before(few: float, many: float, sizes: tuple[int, int]) -> tuple[float, float]:
    """Return the seconds that one more of a work takes, and those that it takes before its first.

    Args:
        few: The seconds of little.
        many: Of much.
        sizes: How much either was.

    >>> more_and_before(5.0, 9.0, (1, 3))
    (2.0, 3.0)
    """
    more = (many - few) / (sizes[1] - sizes[0])
    return more, few - sizes[0] * more


def multiplies_bfloat16() -> bool:
    """Whether this CPU multiplies matrices in bfloat16; rows in bfloat16 are measured only then."""
    return compute.multiplies_bfloat16(torch.device("cpu"))
