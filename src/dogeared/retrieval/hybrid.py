"""Two retrievers as one: by words and by vectors.

``rank`` adds up reciprocal ranks, ``1 / (rank_constant + rank)``, and looks at no score; ``score`` adds up scores after
each list was stretched to reach from 0 to 1. In both a passage that one of them did not find gets nothing from it, and
``dense_weight`` says how much the vectors count. At 0 and 1 the result is the list of one of them, as it was.

Among equals the one that stands higher in either list comes first, and then the one found by words; ids play no part.
A list that holds one score throughout counts 1 for each passage in it.

Source: Cormack, Clarke and Buettcher 2009 (reciprocal rank fusion, with 60 for the constant).
"""

from collections.abc import Mapping, Sequence
from typing import Literal

from pydantic import Field

from dogeared.records import Question, Ranking
from dogeared.retrieval.base import Retriever
from dogeared.settings import Settings

__all__ = ["HybridRetriever", "HybridSettings", "fuse"]


class HybridSettings(Settings):
    """How a ranking by words and one by vectors become one."""

    method: Literal["rank", "score"] = "rank"
    """``rank`` adds up reciprocal ranks and needs no scale; ``score`` adds up scores, each list stretched to 0 to 1."""

    dense_weight: float = Field(default=0.5, ge=0, le=1)
    """How much the vectors count; the words count the rest. 0 is words alone, 1 vectors alone."""

    rank_constant: float = Field(default=60.0, ge=0)
    """With ``rank``: the higher, the less the first ranks stand out from those below."""


class HybridRetriever:
    """Asks two retrievers and fuses what they return.

    Args:
        lexical: Finds passages by words.
        dense: Finds passages by vectors.
        settings: How the two count.
        depth: How many passages each is asked for, or more where more are wanted. The result depends on it.
    """

    def __init__(self, lexical: Retriever, dense: Retriever, settings: HybridSettings, *, depth: int) -> None:
        self.lexical = lexical
        self.dense = dense
        self.settings = settings
        self.depth = depth

    @property
    def name(self) -> str:
        """What reports call it."""
        return f"{self.dense.name} + {self.lexical.name}"

    def retrieve(self, questions: Sequence[Question], k: int) -> list[Ranking]:
        """Return a ranking for each question, in the order of the questions."""
        depth = max(k, self.depth)
        found = zip(self.lexical.retrieve(questions, depth), self.dense.retrieve(questions, depth), strict=True)
        return [fuse(lexical, dense, k, self.settings) for lexical, dense in found]


def fuse(lexical: Ranking, dense: Ranking, k: int, settings: HybridSettings) -> Ranking:
    """Return the ``k`` best passages of two rankings of one question.

    Args:
        lexical: By words; may be empty.
        dense: By vectors; may be empty.
        k: How many to return; fewer where the two hold fewer.
        settings: How the two count. A ranking with the weight 0 adds no passage.
    """
    assert lexical.question_id == dense.question_id, "rankings of one question"
    parts = [
        (ranking, weight)
        for ranking, weight in ((lexical, 1 - settings.dense_weight), (dense, settings.dense_weight))
        if weight
    ]
    totals: dict[str, float] = {}
    places: dict[str, int] = {}
    for ranking, weight in parts:
        for place, (passage_id, value) in enumerate(_values(ranking, settings).items()):
            totals[passage_id] = totals.get(passage_id, 0.0) + weight * value
            places[passage_id] = min(place, places.get(passage_id, place))
    # Sorting is stable, and passages found by words were entered first.
    best = sorted(totals, key=lambda passage_id: (-totals[passage_id], places[passage_id]))[:k]
    return Ranking(
        question_id=lexical.question_id,
        passage_ids=tuple(best),
        scores=tuple(totals[passage_id] for passage_id in best),
    )


def _values(ranking: Ranking, settings: HybridSettings) -> Mapping[str, float]:
    """Return what each passage of a ranking gets from it, best first."""
    if settings.method == "rank":
        values = [1 / (settings.rank_constant + rank) for rank in range(1, len(ranking.passage_ids) + 1)]
    elif ranking.scores:
        lowest, span = min(ranking.scores), max(ranking.scores) - min(ranking.scores)
        values = [(score - lowest) / span if span else 1.0 for score in ranking.scores]
    else:
        values = []
    return dict(zip(ranking.passage_ids, values, strict=True))
