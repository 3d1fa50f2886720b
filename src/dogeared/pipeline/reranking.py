"""The step that puts the passages of a ranking into a teacher's order: lexical recall, then a slower judge.

Whoever judged them, a cross-encoder, a language model or the reader itself, the result is a ranking like any other,
which can be measured, and from which a reader can be trained.
"""

from collections.abc import Sequence
from pathlib import Path

from dogeared.artifacts import read_manifest
from dogeared.data.rankings import read_rankings, read_relevance, write_rankings
from dogeared.errors import ArtifactError
from dogeared.pipeline.making import Facts, make_from
from dogeared.pipeline.scoring import RANKINGS_FILE, RELEVANCE_FILE
from dogeared.records import PassageRelevance, Ranking

__all__ = ["rerank", "reranked"]


def rerank(out: Path, *, ranking: Path, relevance: Sequence[Path]) -> None:
    """Make a ranking in the order of relevance.

    Args:
        out: The artifact to make.
        ranking: What was retrieved; questions of which nothing was said keep their order.
        relevance: What was said of its passages; of several artifacts, the first that speaks of a question counts.

    Raises:
        ArtifactError: None of the relevance is about this ranking.
    """

    def work(folder: Path, facts: Facts) -> None:
        said: dict[str, PassageRelevance] = {}
        for one in reversed(relevance):
            said |= read_relevance(one / RELEVANCE_FILE)
        rankings = read_rankings(ranking / RANKINGS_FILE)
        judged = [name for name, item in rankings.items() if name in said and said[name].passage_ids]
        if not judged:
            raise ArtifactError(
                f"{ranking}: expected relevance of its passages to put them in order by, found none; name the "
                "artifacts of `dogeared score` made from this ranking, for the splits that are wanted (--split)"
            )
        facts["retriever"] = f"{read_manifest(ranking).facts.get('retriever', 'given')}, re-ranked"
        facts["num_reranked"] = len(judged)
        write_rankings(
            [reranked(item, said[name]) if name in said else item for name, item in rankings.items()],
            folder / RANKINGS_FILE,
        )

    inputs = {"ranking": ranking} | {f"relevance-{number}": one for number, one in enumerate(relevance)}
    make_from(out, "rerank", {}, inputs, work)


def reranked(ranking: Ranking, judged: PassageRelevance) -> Ranking:
    """Put the passages of one question in order: those judged by relevance, then the others as they were.

    Equals keep the retriever's order. The score of a judged passage is its relevance; the others go on from the lowest
    of these in steps of one, because their own scores are on another scale.
    """
    relevance = dict(zip(judged.passage_ids, judged.relevance, strict=True))
    first = sorted((name for name in ranking.passage_ids if name in relevance), key=lambda name: -relevance[name])
    rest = [name for name in ranking.passage_ids if name not in relevance]
    if not first:
        return ranking
    lowest = relevance[first[-1]]
    scores = [relevance[name] for name in first] + [lowest - 1.0 - place for place in range(len(rest))]
    return Ranking(question_id=ranking.question_id, passage_ids=(*first, *rest), scores=tuple(scores))
