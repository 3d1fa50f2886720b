"""Measure rankings: how often, and how high, a passage stands that answers the question.

A passage is a hit by **gold**, where somebody has said which passages answer the question, or by **answer string**,
where it holds an answer word for word. The measures themselves are those of ir_measures; this module decides what they
are given. Each is between 0 and 1, and is first a value of one question, kept for paired tests, and then a mean.

``success@k`` is 1 if a hit stands among the first k passages; the papers on DPR and FiD print it as R@k. A ranking
shorter than k is measured as it is. A question that no ranking is there for counts 0.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

import ir_measures
from ir_measures import RR, Success, nDCG

from dogeared.errors import DataError
from dogeared.evaluation.answers import AnswerMatcher, Language
from dogeared.records import Question, Ranking

__all__ = [
    "MEASURES",
    "answer_judgments",
    "evaluate_retrieval",
    "gold_judgments",
    "mean_measures",
    "measure_each_question",
    "measure_rankings",
    "retrieval_by_question",
]

MEASURES: Final[Mapping[str, ir_measures.Measure]] = {
    "success@1": Success @ 1,
    "success@5": Success @ 5,
    "success@20": Success @ 20,
    "success@100": Success @ 100,
    "mrr@10": RR @ 10,
    "ndcg@10": nDCG @ 10,
}
"""What is measured of each ranking, by the name used in every report."""

_DEPTH = 100  # of the deepest measure: what stands below it need not be judged


def measure_each_question(
    rankings: Iterable[Ranking], judgments: Mapping[str, Mapping[str, int]]
) -> dict[str, dict[str, float]]:
    """Return the `MEASURES` of each judged question, by its id.

    The order of a ranking is taken as it stands. Evaluation after TREC's manner sorts by score and breaks ties by
    passage id, which would reorder passages that our retrievers have put in a definite order; what is handed to
    ir_measures is therefore the rank.

    Args:
        rankings: At most one a question. Those of questions without judgment are passed over.
        judgments: Which passages are hits: for each question the relevance of passages by their id. It decides which
            questions are measured; one for which it names no passage counts 0.

    Raises:
        DataError: Two rankings are of one question.
    """
    run: dict[str, dict[str, float]] = {}
    for ranking in rankings:
        if ranking.question_id in run:
            raise DataError(
                f"expected one ranking a question, found two of {ranking.question_id!r}; a mean over both would count "
                "the question twice. Keep one of them"
            )
        if ranking.question_id in judgments:
            run[ranking.question_id] = {passage: -float(rank) for rank, passage in enumerate(ranking.passage_ids)}
    judged = {question: dict(relevance) for question, relevance in judgments.items()}
    names = {measure: name for name, measure in MEASURES.items()}
    values: dict[str, dict[str, float]] = {question: {} for question in judged}
    for metric in ir_measures.iter_calc(list(names), judged, run):
        values[metric.query_id][names[metric.measure]] = float(metric.value)
    return {question: {name: measures[name] for name in MEASURES} for question, measures in values.items()}


def measure_rankings(rankings: Iterable[Ranking], judgments: Mapping[str, Mapping[str, int]]) -> dict[str, float]:
    """Return the mean of each of the `MEASURES` over all judged questions; see `measure_each_question`.

    Raises:
        DataError: No question is judged, or two rankings are of one question.
    """
    return mean_measures(measure_each_question(rankings, judgments))


def mean_measures(values: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Average each measure over the questions that have it.

    Args:
        values: For each question, measures by name, as `measure_each_question` and `retrieval_by_question` return them.

    Raises:
        DataError: There is no question.
    """
    if not values:
        raise DataError(
            "expected at least one question with gold passages or answers, found none; there is nothing to measure "
            "retrieval by. Add `gold` or `answers` to the questions, or leave measuring out"
        )
    columns: dict[str, list[float]] = {}
    for measures in values.values():
        for name, value in measures.items():
            columns.setdefault(name, []).append(value)
    return {name: sum(column) / len(column) for name, column in columns.items()}


def gold_judgments(questions: Iterable[Question]) -> dict[str, dict[str, int]]:
    """Judge by gold: each ``gold`` and ``near_gold`` passage of a question is a hit, and they count alike.

    Questions without gold are left out. The ideal ranking of nDCG holds all of them, near-duplicates too.
    """
    return {
        question.id: dict.fromkeys((*question.gold, *question.near_gold), 1) for question in questions if question.gold
    }


def answer_judgments(
    questions: Iterable[Question],
    rankings: Iterable[Ranking],
    passage_text: Callable[[list[str]], list[str]],
    language: Language = "en",
) -> dict[str, dict[str, int]]:
    """Judge by answer string: each retrieved passage whose text holds an answer is a hit.

    Only the first 100 passages of each ranking are looked at, and nothing is known of the rest of the corpus. So nDCG
    compares a ranking with the best order of these very passages, not with the best that could have been retrieved:
    it tells how well hits are put first, and rankings of different retrievers should not be compared by it alone.

    Args:
        questions: Those without answers are left out.
        rankings: What was retrieved. A question without ranking is judged to have no hit.
        passage_text: Returns the texts, without titles, of the passages with these ids, in their order.
        language: How texts are taken apart; see `dogeared.evaluation.answers`.
    """
    matcher = AnswerMatcher(language)
    retrieved = {ranking.question_id: list(ranking.passage_ids[:_DEPTH]) for ranking in rankings}
    judgments = {}
    for question in questions:
        if question.answers:
            passages = retrieved.get(question.id, [])
            texts = passage_text(passages) if passages else []
            judgments[question.id] = {
                passage: 1
                for passage, text in zip(passages, texts, strict=True)
                if matcher.has_answer(question.answers, text)
            }
    return judgments


def retrieval_by_question(
    questions: Sequence[Question],
    rankings: Sequence[Ranking],
    passage_text: Callable[[list[str]], list[str]],
    language: Language = "en",
) -> dict[str, dict[str, float]]:
    """Return what `evaluate_retrieval` averages, for each question by its id, as paired tests need it.

    A question with gold or answers has all `MEASURES`, by gold where it has gold and else by answer string; one with
    answers has ``answer_success@k`` as well, by answer string. Other questions are left out.
    """
    by_gold = gold_judgments(questions)
    by_answer = answer_judgments(questions, rankings, passage_text, language)
    values = measure_each_question(rankings, by_answer | by_gold)
    for question, measures in measure_each_question(rankings, by_answer).items():
        values[question] |= {f"answer_{name}": value for name, value in measures.items() if name.startswith("success@")}
    return {question.id: values[question.id] for question in questions if question.id in values}


def evaluate_retrieval(
    questions: Sequence[Question],
    rankings: Sequence[Ranking],
    passage_text: Callable[[list[str]], list[str]],
    language: Language = "en",
) -> dict[str, float]:
    """Measure a retriever on questions, by gold passages where they are known and by answer strings.

    Args:
        questions: Those with neither gold nor answers cannot be judged; they are left out, and counted.
        rankings: What the retriever returned, at most one ranking a question.
        passage_text: Returns the texts, without titles, of the passages with these ids, in their order.
        language: How texts are taken apart to look for answers; see `dogeared.evaluation.answers`.

    Returns:
        The mean of each of the `MEASURES`, by gold where a question has it and else by answer string;
        ``answer_success@k`` over the questions with answers, absent where none has any; and the counts
        ``num_questions`` (measured), ``num_by_gold`` (of them), ``num_with_answers`` (of them), ``num_left_out``.

    Raises:
        DataError: No question can be judged, or two rankings are of one question.
    """
    values = retrieval_by_question(questions, rankings, passage_text, language)
    return {
        **mean_measures(values),
        "num_questions": len(values),
        "num_by_gold": sum(bool(question.gold) for question in questions),
        "num_with_answers": sum(bool(question.answers) for question in questions),
        "num_left_out": len(questions) - len(values),
    }
