"""Rankings that are there already, as a retriever.

Passages often come with the questions: FiD's files list them, and a TREC run is nothing else. Training can start from
them as from any other retriever. Reading those files is `dogeared.data`'s part.
"""

from collections.abc import Iterable, Sequence

from dogeared.errors import DataError
from dogeared.records import Question, Ranking

__all__ = ["GivenRetriever"]


class GivenRetriever:
    """Returns the rankings that it was given.

    Args:
        rankings: One a question. They may be of any length, and stand in any order.
        name: What reports call it, such as the file that the rankings come from.

    Raises:
        DataError: Two rankings are of one question.
    """

    def __init__(self, rankings: Iterable[Ranking], name: str = "given") -> None:
        self.name = name
        self._rankings: dict[str, Ranking] = {}
        for ranking in rankings:
            if ranking.question_id in self._rankings:
                raise DataError(
                    f"expected one ranking a question, found two of {ranking.question_id!r}; it is not plain which one "
                    "is meant. Keep one of them",
                    file=name,
                )
            self._rankings[ranking.question_id] = ranking

    def retrieve(self, questions: Sequence[Question], k: int) -> list[Ranking]:
        """Return the first ``k`` passages of each question's ranking, or all where they are fewer.

        Raises:
            DataError: A question has no ranking; the message names it.
        """
        return [self._ranking(question.id, k) for question in questions]

    def _ranking(self, question_id: str, k: int) -> Ranking:
        ranking = self._rankings.get(question_id)
        if ranking is None:
            raise DataError(
                f"expected a ranking of every question, found none of {question_id!r} among {len(self._rankings)}; a "
                "reader cannot answer without passages. Add its passages, or leave the question out",
                file=self.name,
            )
        return Ranking(question_id=question_id, passage_ids=ranking.passage_ids[:k], scores=ranking.scores[:k])
