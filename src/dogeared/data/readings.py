"""What a reader reads: each question with the first passages of its ranking.

Passages are named here and fetched from the corpus only when asked for, so that many questions with many passages
cost no memory.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from dogeared.data.corpus import Corpus
from dogeared.records import Passage, Question, Ranking

__all__ = ["Readings"]


@dataclass(frozen=True, kw_only=True)
class Readings:
    """Questions, and the passages that a reader gets with each.

    Attributes:
        questions: In the order in which results are returned.
        rankings: By question id; a question without one is read without passages.
        corpus: Where the passages are.
        num_passages: How many of each ranking are read, from the top.
        leave_out_gold: Whether the passages that a question is labelled with are passed over.
    """

    questions: Sequence[Question]
    rankings: Mapping[str, Ranking]
    corpus: Corpus
    num_passages: int
    leave_out_gold: bool = False

    def __len__(self) -> int:
        """Return the number of questions."""
        return len(self.questions)

    def passage_ids(self, index: int) -> tuple[str, ...]:
        """Name the passages of a question, best first."""
        question = self.questions[index]
        ranking = self.rankings.get(question.id)
        if ranking is None:
            return ()
        names = ranking.passage_ids
        if self.leave_out_gold:
            names = tuple(name for name in names if name not in question.gold)
        return names[: self.num_passages]

    def passages(self, index: int) -> list[Passage]:
        """Fetch the passages of a question, best first."""
        return self.corpus.passages(self.corpus.rows_of(self.passage_ids(index)))

    def batches(self, size: int) -> Iterator[range]:
        """Cut the questions into runs of at most ``size``."""
        for start in range(0, len(self), size):
            yield range(start, min(start + size, len(self)))
