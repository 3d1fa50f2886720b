"""How often a reader answers dev questions right, measured while it learns, to keep its best weights.

How often that is, and what is done with it, is the loop's.
"""

from collections.abc import Callable
from dataclasses import replace

from dogeared.compute import Precision
from dogeared.data.readings import Readings
from dogeared.evaluation.answers import Language, exact_match
from dogeared.reader.answering import answer_questions
from dogeared.reader.kinds import Reader

__all__ = ["dev_exact_match"]


def dev_exact_match(
    reader: Reader, readings: Readings | None, *, most: int, precision: Precision, language: Language
) -> Callable[[], float] | None:
    """Return what measures the exact match of a reader as it is when called; None where there is nothing to ask.

    Args:
        reader: The one that learns.
        readings: Dev questions with passages; those without answers are passed over.
        most: How many are asked, from the first on.
        precision: Of matrix products.
        language: How answers are compared.
    """
    judged = [question for question in readings.questions if question.answers] if readings is not None else []
    if readings is None or not judged:
        return None
    part = replace(readings, questions=judged[:most])

    def measure() -> float:
        written = answer_questions(reader, part, precision=precision)
        right = [exact_match(answer, q.answers, language) for answer, q in zip(written, part.questions, strict=True)]
        return sum(right) / len(right)

    return measure
