"""Which questions one can learn from what a teacher said: those with two passages or more to choose between.

What is learned, and how, is with each training.
"""

import logging
from collections.abc import Mapping, Sequence

from dogeared.errors import TrainingError
from dogeared.records import PassageRelevance, Question

__all__ = ["taught_questions"]

logger = logging.getLogger(__name__)


def taught_questions(questions: Sequence[Question], relevance: Mapping[str, PassageRelevance]) -> list[Question]:
    """Return the questions that teach something; the others are left out and counted aloud.

    Args:
        questions: Training questions; answers and gold ids are not looked at.
        relevance: What the teacher said, by question id.

    Raises:
        TrainingError: The teacher was not asked about one of them.
    """
    if unjudged := [question.id for question in questions if question.id not in relevance]:
        raise TrainingError(
            f"expected relevance of every training question, found none of {len(unjudged)} of {len(questions)}, the "
            f"first of them {unjudged[0]!r}; have the training questions judged (dogeared score --split train)"
        )
    taught = [question for question in questions if len(relevance[question.id].passage_ids) >= 2]
    if left_out := len(questions) - len(taught):
        logger.warning(
            "%d of %d training questions have fewer than two passages and teach nothing", left_out, len(questions)
        )
    return taught
