"""What every retriever is: questions in, rankings out.

The method needs nothing else of a retriever, so that a round can start from BM25, from vectors or from rankings that
somebody else has made.
"""

from collections.abc import Sequence
from typing import Protocol

from dogeared.records import Question, Ranking

__all__ = ["Retriever"]


class Retriever(Protocol):
    """Finds passages for questions."""

    @property
    def name(self) -> str:
        """What reports call it."""
        ...

    def retrieve(self, questions: Sequence[Question], k: int) -> list[Ranking]:
        """Return a ranking for each question, in the order of the questions.

        The same questions give the same rankings whenever they are asked, and however they are grouped.

        Args:
            questions: What to look for; only their texts and ids matter.
            k: At least 1. A ranking holds at most that many passages, each once; fewer, where the retriever has no
                more.
        """
        ...
