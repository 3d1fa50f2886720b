"""Is a difference between two systems more than chance? Paired tests over the questions that both answered.

Each question gives one difference. The **randomisation test** asks how often a difference of means as large would come
about if it were a coin's toss, question by question, which value belongs to which system: exactly, by all tosses,
where they are few, and else by random ones. The **bootstrap** draws the questions anew, with replacement, and reads
off between which ends the mean difference lies in 95 of 100 draws. Neither takes the values to be normal.

Source: Fisher 1935 and Noreen 1989 (randomisation); Efron 1979 (bootstrap, percentile interval); for retrieval, Smucker
et al. 2007.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from dogeared.errors import DataError

__all__ = ["NUM_DRAWS", "PairedComparison", "bootstrap_interval", "compare_paired", "randomization_p"]

NUM_DRAWS: Final = 10_000
"""How many random tosses and resamples are made."""

_VALUES_AT_ONCE = 4_000_000  # bounds memory to some 32 MB


@dataclass(frozen=True, kw_only=True)
class PairedComparison:
    """One measure of two systems on the same questions.

    Attributes:
        num_questions: How many were compared.
        mean_a: Of the first system.
        mean_b: Of the second.
        difference: Second less first.
        low: The lower end of the 95 % interval of the difference.
        high: The upper end.
        p: How probable a difference as large is by chance.
        wins: Questions on which the second is better.
        losses: Questions on which it is worse.
    """

    num_questions: int
    mean_a: float
    mean_b: float
    difference: float
    low: float
    high: float
    p: float
    wins: int
    losses: int


def compare_paired(a: Sequence[float], b: Sequence[float], *, seed: int = 0) -> PairedComparison:
    """Compare two systems by their values on the same questions, in the same order.

    Raises:
        DataError: There is no question.
    """
    assert len(a) == len(b), "values of the same questions"
    if not a:
        raise DataError("expected at least one question that both systems were measured on, found none to compare by")
    before, after = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    differences = after - before
    low, high = bootstrap_interval(differences, seed=seed)
    return PairedComparison(
        num_questions=len(differences),
        mean_a=float(before.mean()),
        mean_b=float(after.mean()),
        difference=float(differences.mean()),
        low=low,
        high=high,
        p=randomization_p(differences, seed=seed),
        wins=int((differences > 0).sum()),
        losses=int((differences < 0).sum()),
    )


def randomization_p(differences: NDArray[np.float64], *, seed: int = 0, num_draws: int = NUM_DRAWS) -> float:
    """Return how probable a mean difference as far from 0 is, if each question's sign were a coin's toss.

    Questions without a difference play no part. Where the signs of the others can fall in no more than ``num_draws``
    ways, all ways are counted; else as many are drawn, and the one that was observed is counted with them, so that the
    value is never 0.

    >>> randomization_p(np.array([1.0, 1.0, 1.0, 0.0]))  # of eight ways, +++ and ---
    0.25
    """
    changed = differences[differences != 0]
    if not len(changed):
        return 1.0
    # What falls short of the observed sum by no more than rounding is as large.
    observed = abs(changed.sum()) * (1 - 1e-12)
    if len(changed) < 63 and 2 ** len(changed) <= num_draws:
        ways = np.arange(2 ** len(changed))[:, None] >> np.arange(len(changed)) & 1
        return float((abs((1 - 2.0 * ways) @ changed) >= observed).mean())
    draw, as_large = np.random.default_rng(seed), 0
    for size in _parts(num_draws, len(changed)):
        signs = 1 - 2.0 * draw.integers(0, 2, size=(size, len(changed)))
        as_large += int((abs(signs @ changed) >= observed).sum())
    return (as_large + 1) / (num_draws + 1)


def bootstrap_interval(
    differences: NDArray[np.float64], *, seed: int = 0, num_draws: int = NUM_DRAWS, level: float = 0.95
) -> tuple[float, float]:
    """Return the ends between which the mean lies in ``level`` of all draws of the questions with replacement."""
    draw = np.random.default_rng(seed)
    means = [
        differences[draw.integers(len(differences), size=(size, len(differences)))].mean(axis=1)
        for size in _parts(num_draws, len(differences))
    ]
    low, high = np.quantile(np.concatenate(means), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _parts(num_draws: int, num_values: int) -> list[int]:
    """Cut draws into parts that fit into memory."""
    size = max(1, _VALUES_AT_ONCE // num_values)
    return [min(size, num_draws - start) for start in range(0, num_draws, size)]
