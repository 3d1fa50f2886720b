"""Ten questions on which a run changed most, with their passages before and after.

Chosen by how far the first passage that answers has moved, on a scale on which from 8 to 4 is as far as from 2 to 1.
At least two of the ten rose and two fell, where there are such. Nothing is computed by a model: passages, relevance
and predictions are read from what the rounds left on disk.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dogeared.data.rankings import read_rankings, read_relevance
from dogeared.evaluation.answers import AnswerMatcher, answer_spans
from dogeared.evaluation.ranking import answer_judgments, gold_judgments
from dogeared.pipeline.config import Experiment
from dogeared.pipeline.dataset import Dataset
from dogeared.pipeline.steps import RANKINGS_FILE, RELEVANCE_FILE
from dogeared.records import PassageRelevance, Question, Ranking
from dogeared.reporting.contenders import Contender

__all__ = ["Example", "Examples", "ShownPassage", "Side", "choose_questions", "find_examples", "softmax"]

NUM_QUESTIONS = 10
NUM_EACH_WAY = 2
NUM_SHOWN = 20
NUM_SHOWN_AT_ONCE = 3


@dataclass(frozen=True, kw_only=True)
class ShownPassage:
    """A passage as it stands in a ranking.

    Attributes:
        rank: From 1.
        title: May be empty.
        pieces: Its text, cut where an answer begins or ends; the second of a pair tells whether the piece is one.
        score: The retriever's.
        hit: ``gold`` where it is known to answer; ``answer`` where it holds an answer and no more is known; ``mention``
            where it holds an answer though others are known to answer; None where it is none of these.
        share: Of the reader's softmax over the passages it read; None where it did not read this one.
    """

    rank: int
    title: str
    pieces: Sequence[tuple[str, bool]]
    score: float
    hit: str | None
    share: float | None


@dataclass(frozen=True, kw_only=True)
class Side:
    """What one contender found for a question.

    Attributes:
        contender: Who.
        first_hit: The rank of the first passage that answers; None where there is none.
        prediction: What its reader wrote; None where it has no reader.
        is_right: Whether that is an answer; None where it is not known.
        shown: The first passages, and the first hit where it stands below them.
        folded: The others, down to a depth.
        num_passages: In the ranking.
    """

    contender: Contender
    first_hit: int | None
    prediction: str | None
    is_right: bool | None
    shown: Sequence[ShownPassage]
    folded: Sequence[ShownPassage]
    num_passages: int


@dataclass(frozen=True, kw_only=True)
class Example:
    """A question with both sides, and the largest share of relevance on either, which bars are drawn against."""

    question: Question
    before: Side
    after: Side
    largest_share: float


@dataclass(frozen=True, kw_only=True)
class Examples:
    """The questions, and how many moved in all.

    Attributes:
        split: Where they are from.
        before: The first retrieval.
        after: The result, or the round that came closest where the first retrieval is the result.
        examples: The furthest risen first.
        num_risen: Questions of the split whose first hit stands higher after; the others likewise.
    """

    split: str
    before: Contender
    after: Contender
    examples: Sequence[Example]
    num_risen: int
    num_fallen: int
    num_same: int


def find_examples(
    dataset: Dataset, experiment: Experiment, before: Contender, after: Contender, split: str
) -> Examples | None:
    """Choose questions of a split and gather what there is to show of them; None where none can be judged."""
    questions = {question.id: question for question in dataset.split(split)}
    rankings = [read_rankings(one.folder.ranking / RANKINGS_FILE) for one in (before, after)]
    ranks = [_first_hits(list(questions.values()), ranking, dataset, experiment) for ranking in rankings]
    if not ranks[0]:
        return None
    moves = {
        question: math.log(_depth(ranks[0][question], experiment) / _depth(ranks[1].get(question), experiment))
        for question in ranks[0]
    }
    relevance = [_relevance(one) for one in (before, after)]
    show = _Show(dataset, experiment)
    temperatures = [
        experiment.retriever_training.temperature_of(one.relevance for one in judged.values()) for judged in relevance
    ]
    examples = []
    for question in choose_questions(moves):
        sides = [
            show.side(questions[question], who, ranking[question], rank[question], judged.get(question), temperature)
            for who, ranking, rank, judged, temperature in zip(
                (before, after), rankings, ranks, relevance, temperatures, strict=True
            )
        ]
        shares = [p.share for side in sides for p in (*side.shown, *side.folded) if p.share is not None]
        left, right = sides
        examples.append(
            Example(question=questions[question], before=left, after=right, largest_share=max(shares, default=1.0))
        )
    return Examples(
        split=split,
        before=before,
        after=after,
        examples=examples,
        num_risen=sum(move > 0 for move in moves.values()),
        num_fallen=sum(move < 0 for move in moves.values()),
        num_same=sum(move == 0 for move in moves.values()),
    )


def choose_questions(moves: Mapping[str, float]) -> list[str]:
    """Name the questions to show, the furthest risen first.

    >>> choose_questions({"a": 0.5, "b": -1.0, "c": 2.0})
    ['c', 'a', 'b']
    """
    by_distance = sorted(moves, key=lambda question: -abs(moves[question]))
    risen = [question for question in by_distance if moves[question] > 0]
    fallen = [question for question in by_distance if moves[question] < 0]
    chosen = [*risen[:NUM_EACH_WAY], *fallen[:NUM_EACH_WAY]]
    chosen += [question for question in by_distance if question not in chosen][: NUM_QUESTIONS - len(chosen)]
    return sorted(chosen, key=lambda question: -moves[question])


def softmax(values: Sequence[float], temperature: float = 1.0) -> list[float]:
    """Turn relevance into shares that add up to 1."""
    if not values:
        return []
    weights = [math.exp((value - max(values)) / temperature) for value in values]
    return [weight / sum(weights) for weight in weights]


class _Show:
    """Turns a ranking into what is shown of it."""

    def __init__(self, dataset: Dataset, experiment: Experiment) -> None:
        self.dataset = dataset
        self.experiment = experiment
        self.matcher = AnswerMatcher(experiment.settled_language)

    def side(
        self,
        question: Question,
        contender: Contender,
        ranking: Ranking,
        first_hit: int | None,
        judged: PassageRelevance | None,
        temperature: float,
    ) -> Side:
        # By name: a reader of what a re-ranker put in order judges other passages than the first of this ranking.
        shares = (
            {} if judged is None else dict(zip(judged.passage_ids, softmax(judged.relevance, temperature), strict=True))
        )
        ranks = set(range(1, min(len(ranking.passage_ids), NUM_SHOWN) + 1)) | ({first_hit} if first_hit else set())
        passages = [self._passage(question, ranking, rank, shares) for rank in sorted(ranks)]
        line = contender.by_question.get(question.id, {})
        return Side(
            contender=contender,
            first_hit=first_hit,
            prediction=line.get("prediction"),
            is_right=bool(line["em"]) if "em" in line else None,
            shown=[p for p in passages if p.rank <= NUM_SHOWN_AT_ONCE or p.rank == first_hit],
            folded=[p for p in passages if p.rank > NUM_SHOWN_AT_ONCE and p.rank != first_hit],
            num_passages=len(ranking.passage_ids),
        )

    def _passage(self, question: Question, ranking: Ranking, rank: int, shares: Mapping[str, float]) -> ShownPassage:
        passage_id = ranking.passage_ids[rank - 1]
        passage = self.dataset.corpus.passage(self.dataset.corpus.row_of(passage_id))
        hit = None
        if passage_id in (*question.gold, *question.near_gold):
            hit = "gold"
        elif self.matcher.has_answer(question.answers, passage.text):
            hit = "mention" if question.gold else "answer"
        return ShownPassage(
            rank=rank,
            title=passage.title,
            pieces=_pieces(
                passage.text, answer_spans(question.answers, passage.text, self.experiment.settled_language)
            ),
            score=ranking.scores[rank - 1],
            hit=hit,
            share=shares.get(passage_id),
        )


def _first_hits(
    questions: Sequence[Question], rankings: Mapping[str, Ranking], dataset: Dataset, experiment: Experiment
) -> dict[str, int | None]:
    """Rank the first hit of each question that can be judged: by gold where it has gold, else by answer string."""
    ranked = [rankings[question.id] for question in questions if question.id in rankings]
    judgments = answer_judgments(questions, ranked, dataset.passage_texts, experiment.settled_language)
    judgments |= gold_judgments(questions)
    return {
        ranking.question_id: next(
            (
                rank
                for rank, passage in enumerate(ranking.passage_ids, start=1)
                if passage in judgments[ranking.question_id]
            ),
            None,
        )
        for ranking in ranked
        if ranking.question_id in judgments
    }


def _depth(rank: int | None, experiment: Experiment) -> int:
    """A hit that was not found counts as if it stood behind the last passage."""
    return experiment.num_passages + 1 if rank is None else rank


def _relevance(contender: Contender) -> dict[str, PassageRelevance]:
    file = contender.folder.relevance_eval / RELEVANCE_FILE
    return read_relevance(file) if file.is_file() else {}


def _pieces(text: str, spans: Sequence[tuple[int, int]]) -> list[tuple[str, bool]]:
    pieces, done = [], 0
    for start, end in spans:
        pieces += [(text[done:start], False), (text[start:end], True)]
        done = end
    return [piece for piece in (*pieces, (text[done:], False)) if piece[0]]
