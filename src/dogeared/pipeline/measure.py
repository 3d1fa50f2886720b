"""Measure one round: its retriever, its reader, and how far they agree.

Writes what a program needs (``measures.json``) and what a report shows (``predictions.jsonl``): nothing here trains,
chooses or stops anything.
"""

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dogeared.data.readings import Readings
from dogeared.distill.check import JudgedPassages, check_teacher
from dogeared.evaluation.agreement import in_teacher_order, mean_agreement
from dogeared.evaluation.answers import AnswerMatcher, exact_match, f1
from dogeared.evaluation.ranking import evaluate_retrieval, retrieval_by_question
from dogeared.pipeline.config import Experiment
from dogeared.pipeline.dataset import Dataset
from dogeared.reader.answering import answer_questions
from dogeared.reader.kinds import Reader
from dogeared.records import PassageRelevance, Question, Ranking

__all__ = ["MEASURES_FILE", "PREDICTIONS_FILE", "measure", "read_predictions"]

logger = logging.getLogger(__name__)

MEASURES_FILE = "measures.json"
PREDICTIONS_FILE = "predictions.jsonl"


def measure(
    folder: Path,
    *,
    dataset: Dataset,
    rankings: Mapping[str, Ranking],
    reader: Reader | None,
    relevance: Mapping[str, PassageRelevance],
    experiment: Experiment,
    teacher: Mapping[str, PassageRelevance] | None = None,
    read: Mapping[str, Ranking] | None = None,
) -> None:
    """Write the measures of a ranking, and of the reader that answers from it, on dev and test questions.

    Args:
        folder: Where to write.
        dataset: Questions and passages.
        rankings: What to measure, by question id.
        reader: None to measure the ranking alone.
        relevance: What the reader said of the passages; may be empty.
        experiment: For language and lengths.
        teacher: What the teacher said, where it is not the reader; it is checked in the reader's place.
        read: What the reader reads, and is measured too, where it is another order than the retriever's.
    """
    found: dict[str, Any] = {"retriever": {}, "reader": {}}
    lines: list[str] = []
    for split in ("dev", "test"):
        questions = dataset.split(split)
        if not any(question.gold or question.answers for question in questions):
            if questions:
                logger.warning(
                    "none of the %d %s questions has an answer or a gold passage: they are not measured",
                    len(questions),
                    split,
                )
            continue
        ranked = [rankings[question.id] for question in questions if question.id in rankings]
        arguments = (questions, ranked, dataset.passage_texts, experiment.settled_language)
        found["retriever"][split] = evaluate_retrieval(*arguments)
        rows: dict[str, dict[str, Any]] = {question.id: {"id": question.id, "split": split} for question in questions}
        for question_id, values in retrieval_by_question(*arguments).items():
            rows[question_id]["retriever"] = values
        if read is not None:
            reread = [read[question.id] for question in questions if question.id in read]
            found.setdefault("reranked", {})[split] = evaluate_retrieval(questions, reread, *arguments[2:])
        if reader is not None:
            found["reader"][split] = _answer(questions, read or rankings, dataset, reader, experiment, rows)
        lines += [json.dumps(row, ensure_ascii=False) for row in rows.values()]
    dev = [question for question in dataset.split("dev") if question.id in relevance]
    if dev:
        found["teacher_check"] = _check(dev, relevance if teacher is None else teacher, dataset, experiment)
        found["agreement"] = _agreement(dev, rankings, relevance)
    (folder / MEASURES_FILE).write_text(json.dumps(found, indent=1), encoding="utf-8")
    (folder / PREDICTIONS_FILE).write_text("\n".join(lines) + "\n", encoding="utf-8")


def read_predictions(folder: Path) -> list[dict[str, Any]]:
    """Read what was measured of each question, one a line; a text within may hold what else ends a line in Unicode."""
    lines = (folder / PREDICTIONS_FILE).read_text(encoding="utf-8").split("\n")
    return [json.loads(line) for line in lines if line]


def _answer(
    questions: Sequence[Question],
    rankings: Mapping[str, Ranking],
    dataset: Dataset,
    reader: Reader,
    experiment: Experiment,
    rows: dict[str, dict[str, Any]],
) -> dict[str, float]:
    """Answer all questions, note what was answered, and return the mean measures of those whose answers are known."""
    readings = Readings(
        questions=questions, rankings=rankings, corpus=dataset.corpus, num_passages=experiment.reader.num_passages
    )
    right, overlap = [], []
    written = answer_questions(reader, readings, precision=experiment.reader_training.precision)
    for question, prediction in zip(questions, written, strict=True):
        rows[question.id]["prediction"] = prediction
        if question.answers:
            right.append(exact_match(prediction, question.answers, experiment.settled_language))
            overlap.append(f1(prediction, question.answers, experiment.settled_language))
            rows[question.id] |= {"em": float(right[-1]), "f1": overlap[-1]}
    if not right:
        return {"num_questions": 0}
    return {"em": sum(right) / len(right), "f1": sum(overlap) / len(overlap), "num_questions": len(right)}


def _check(
    questions: Sequence[Question],
    relevance: Mapping[str, PassageRelevance],
    dataset: Dataset,
    experiment: Experiment,
) -> dict[str, Any]:
    """Ask whether the teacher is worth learning from, on questions that no reader was trained on."""
    matcher = AnswerMatcher(experiment.settled_language)
    judged = []
    for question in questions:
        item = relevance[question.id]
        texts = dataset.passage_texts(item.passage_ids)
        holds = [matcher.has_answer(question.answers, text) for text in texts]
        judged.append(JudgedPassages(relevance=item.relevance, holds_answer=holds))
    return check_teacher(
        judged,
        temperature=experiment.retriever_training.temperature_of(one.relevance for one in judged),
        reads=experiment.teacher.reads,
    )


def _agreement(
    questions: Sequence[Question], rankings: Mapping[str, Ranking], relevance: Mapping[str, PassageRelevance]
) -> dict[str, float]:
    """Compare the retriever's order with the reader's, over the passages that the reader read."""
    listed = []
    for question in questions:
        item, ranking = relevance[question.id], rankings[question.id]
        score_of = dict(zip(ranking.passage_ids, ranking.scores, strict=True))
        listed.append(in_teacher_order([score_of[name] for name in item.passage_ids], item.relevance))
    if not any(len(scores) >= 2 for scores in listed):
        return {}
    return mean_agreement(listed)
