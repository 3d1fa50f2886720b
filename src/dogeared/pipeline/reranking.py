"""The step that puts the passages of a ranking into a teacher's order: lexical recall, then a slower judge.

Whoever judged them, a cross-encoder, a language model or the reader itself, the result is a ranking like any other,
which can be measured, and from which a reader can be trained. In a run with a re-ranker the readers of all rounds read
such a ranking; what is measured, compared and distilled of the retriever stays its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dogeared.artifacts import read_manifest
from dogeared.data.corpus import Corpus
from dogeared.data.rankings import read_rankings, read_relevance, write_rankings
from dogeared.data.readings import Readings
from dogeared.distill.choosing import choose_teacher
from dogeared.distill.teachers import Teacher
from dogeared.errors import ArtifactError
from dogeared.pipeline.config import Experiment
from dogeared.pipeline.layout import RoundFolder
from dogeared.pipeline.making import Facts, make_from
from dogeared.pipeline.scoring import RANKINGS_FILE, RELEVANCE_FILE, score_passages
from dogeared.records import PassageRelevance, Question, Ranking
from dogeared.retrieval.base import Retriever

__all__ = ["Reranking", "load_reranker", "ranking_to_read", "rerank", "reranked"]


def ranking_to_read(here: RoundFolder, *, data: Path, experiment: Experiment) -> Path:
    """Make, if the experiment has a re-ranker, the ranking in its order; return what readers of this round read."""
    if experiment.reranker.kind == "none":
        return here.ranking
    score_passages(
        here.reranker_relevance,
        data=data,
        ranking=here.ranking,
        reader=None,
        experiment=experiment,
        splits=["train", "dev", "test"],
        teacher=experiment.reranker.teacher,
        depth=experiment.reranker.num_passages,
    )
    rerank(here.reranked, ranking=here.ranking, relevance=[here.reranker_relevance])
    return here.reranked


@dataclass(frozen=True, kw_only=True)
class Reranking:
    """A loaded re-ranker.

    Attributes:
        judge: Says how relevant passages are, without answers.
        num_passages: How many of a question it judges.
    """

    judge: Teacher
    num_passages: int

    def retrieve(self, retriever: Retriever, questions: Sequence[Question], k: int, corpus: Corpus) -> list[Ranking]:
        """Retrieve, and put what was found in order, as a run does before its readers read."""
        found = retriever.retrieve(questions, max(k, self.num_passages))
        by_question = {ranking.question_id: ranking for ranking in found}
        readings = Readings(questions=questions, rankings=by_question, corpus=corpus, num_passages=self.num_passages)
        judged = self.judge.relevance(readings)
        rankings = [reranked(ranking, item) for ranking, item in zip(found, judged, strict=True)]
        return [
            Ranking(question_id=one.question_id, passage_ids=one.passage_ids[:k], scores=one.scores[:k])
            for one in rankings
        ]


def load_reranker(experiment: Experiment) -> Reranking | None:
    """Load the re-ranker of an experiment; None where it has none.

    Raises:
        ModelError: Its model cannot be loaded.
    """
    settings = experiment.reranker
    if settings.kind == "none":
        return None
    judge = choose_teacher(
        settings.teacher,
        reader=None,
        aggregation=experiment.relevance,
        language="en",  # which no re-ranker asks
        precision=experiment.reader_training.precision,
    )
    return Reranking(judge=judge, num_passages=settings.num_passages)


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
