"""Which round is best, and whether another is worth its cost. Decided on dev questions, by answer strings.

Pure functions over measures. Gold passages play no part: the measures by gold are not looked at.

Source: the paper stops when the retriever's order is close to the reader's and stable, and its own Table 1 has a last
round that is worse than the one before; hence the best is kept, not the last.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

__all__ = ["Candidate", "Name", "choose_best", "reason_to_stop"]

Name = int | Literal["untouched"]


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A retriever that might be the result.

    Attributes:
        name: Its round, or ``untouched`` for the student before any distillation.
        success: The dev measure that selects.
        em: Exact match of its reader on dev questions; None where it has no reader.
        overlap: The share of first five passages that retriever and reader agree on; None where it has no reader.
    """

    name: Name
    success: float
    em: float | None = None
    overlap: float | None = None

    @property
    def merit(self) -> tuple[float, float]:
        """What candidates are compared by: success first, exact match between equals."""
        return self.success, -1.0 if self.em is None else self.em


def choose_best(candidates: Sequence[Candidate]) -> Name:
    """Return the name of the best; the earliest of equals, so that work which gains nothing is not the result.

    >>> choose_best([Candidate(name="untouched", success=0.5), Candidate(name=0, success=0.6, em=0.3),
    ...              Candidate(name=1, success=0.7, em=0.4), Candidate(name=2, success=0.7, em=0.4)])
    1
    """
    return max(candidates, key=lambda candidate: candidate.merit).name


def reason_to_stop(rounds: Sequence[Candidate], *, patience: int, enough_overlap: float) -> str | None:
    """Say why no further round should follow; None where one should.

    Args:
        rounds: The distilled rounds so far, 1 and up. Whether they beat the start is not asked: from a weak start the
            first rounds climb towards it.
        patience: Rounds in a row without a better one that end the run.
        enough_overlap: Agreement that is high enough, once it has stopped growing.
    """
    if len(rounds) < 2:
        return None
    best = max(range(len(rounds)), key=lambda index: rounds[index].merit)
    if len(rounds) - 1 - best >= patience:
        since = f"{patience} round{'s' if patience > 1 else ''}"
        return f"dev has not improved for {since} (best is round {rounds[best].name})"
    last, before = rounds[-1].overlap, rounds[-2].overlap
    if last is not None and before is not None and last >= enough_overlap and last <= before:
        return f"retriever and reader agree on {last:.2f} of their first five passages, and no more than a round before"
    return None
