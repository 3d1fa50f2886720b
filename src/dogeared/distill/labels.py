"""Teachers that look things up: the answer's string, gold labels, relevance from a file.

None of them reads. A question of whose passages none gets a mark above 0 says nothing, and is left out, as is one that
the file does not name; how many is said aloud.

Gold labels may also be mixed into what another teacher says, which is then supervised as well.

Marks are 0 and 1. Under a softmax at temperature 1 they are nearly flat: with them a teacher's temperature of about 0.1
makes sense.
"""

import logging
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import torch

from dogeared.data.readings import Readings
from dogeared.data.relevance_files import read_relevance_file
from dogeared.distill.teachers import Teacher, judge_where, nothing_said
from dogeared.evaluation.answers import AnswerMatcher, Language
from dogeared.records import Passage, PassageRelevance, Question

__all__ = ["AnswerString", "GivenRelevance", "Gold", "MixedWithGold"]

logger = logging.getLogger(__name__)


class AnswerString:
    """Marks the passages whose text holds one of the question's answers.

    It takes a passage for relevant that says the right words of something else; it costs next to nothing.

    Args:
        language: How an answer is found in a text, as in the measures.
    """

    def __init__(self, language: Language = "en") -> None:
        self._matcher = AnswerMatcher(language)

    def relevance(self, readings: Readings) -> Iterator[PassageRelevance]:
        """Judge the passages of every question that has an answer, in the order of the questions."""

        def mark(question: Question, passage: Passage) -> bool:
            return self._matcher.has_answer(question.answers, passage.text)

        return judge_where(
            lambda question: bool(question.answers), readings, lambda some: _marked(some, mark), lacking="answers"
        )


class Gold:
    """Marks the passages that are labelled as gold or near to it: supervised, unlike every other teacher.

    With it a student is trained on what it is measured by, as far as training questions go. Gold passages that are not
    among those retrieved play no part.
    """

    def relevance(self, readings: Readings) -> Iterator[PassageRelevance]:
        """Judge the passages of every question with gold labels, in the order of the questions."""

        def mark(question: Question, passage: Passage) -> bool:
            return passage.id in question.gold or passage.id in question.near_gold

        return judge_where(
            lambda question: bool(question.gold), readings, lambda some: _marked(some, mark), lacking="gold labels"
        )


class MixedWithGold:
    """Another teacher whose softmax gives a share to the passages labelled as gold: supervised.

    What comes out is such that its softmax at the same temperature is ``(1 - weight)`` times the teacher's, and
    ``weight`` divided evenly among the gold and near-gold passages that it judged. Where it judged none of them, its
    word stands alone; where it said nothing, nothing is said.

    Args:
        teacher: The other.
        weight: The share of labels, more than 0 and less than 1.
        temperature: At which the student will take the softmax.
    """

    def __init__(self, teacher: Teacher, *, weight: float, temperature: float) -> None:
        assert 0 < weight < 1, "labels alone, or none, are no mixture"
        self.teacher = teacher
        self.weight = weight
        self.temperature = temperature

    def relevance(self, readings: Readings) -> Iterator[PassageRelevance]:
        """Judge the passages of every question, in the order of the questions."""
        for question, item in zip(readings.questions, self.teacher.relevance(readings), strict=True):
            is_gold = torch.tensor([name in question.gold or name in question.near_gold for name in item.passage_ids])
            if not is_gold.any():
                yield item
                continue
            said = torch.tensor(item.relevance, dtype=torch.float64) / self.temperature
            labels = torch.full_like(said, -torch.inf).masked_fill(is_gold, -math.log(int(is_gold.sum())))
            mixed = torch.logaddexp(said.log_softmax(dim=0) + math.log(1 - self.weight), labels + math.log(self.weight))
            yield replace(item, relevance=tuple((mixed * self.temperature).tolist()))


class GivenRelevance:
    """Says what a file says. Passages that the file does not name are left out, never ranked below those it names.

    Args:
        file: Relevance made elsewhere, for passages that this retriever found.

    Raises:
        DataError: The file cannot be read.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._known = read_relevance_file(file)

    def relevance(self, readings: Readings) -> Iterator[PassageRelevance]:
        """Judge the passages of every question that the file names, in the order of the questions."""
        return judge_where(
            lambda question: question.id in self._known, readings, self._judge, lacking="relevance in the file"
        )

    def _judge(self, readings: Readings) -> Iterator[PassageRelevance]:
        num_unknown = 0
        for index, question in enumerate(readings.questions):
            known, ids = self._known[question.id], readings.passage_ids(index)
            judged = tuple(passage_id for passage_id in ids if passage_id in known)
            num_unknown += len(ids) - len(judged)
            yield PassageRelevance(
                question_id=question.id, passage_ids=judged, relevance=tuple(known[name] for name in judged)
            )
        if num_unknown:
            logger.warning(
                "%s names no relevance for %d of the retrieved passages; they are left out", self._file, num_unknown
            )


def _marked(readings: Readings, mark: Callable[[Question, Passage], bool]) -> Iterator[PassageRelevance]:
    num_silent = 0
    for index, question in enumerate(readings.questions):
        marks = tuple(float(mark(question, passage)) for passage in readings.passages(index))
        if any(marks):
            yield PassageRelevance(question_id=question.id, passage_ids=readings.passage_ids(index), relevance=marks)
        else:
            num_silent += 1
            yield nothing_said(question)
    if num_silent:
        logger.warning(
            "of %d of %d questions no passage retrieved is marked, so that they teach nothing",
            num_silent,
            len(readings),
        )
