"""Is this teacher worth learning from? Asked before each distillation.

A reader that has not learned to read gives a signal that is useless or harmful. Two things can be seen without any
relevance label: whether its order puts passages that hold an answer higher than the retrieval order did, and whether
its softmax over passages says anything at all, being neither flat nor all on one passage. How sharp it is depends on
the size of a teacher's numbers, which means nothing in itself: ``temperature_of_entropy`` takes it away.

Source: the finding that attention distillation works only with a reader that reads well is from "Unveiling the Magic"
(arXiv 2402.11794); the check is ours.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

__all__ = ["JudgedPassages", "check_teacher", "normalized_entropy", "temperature_of_entropy"]

FLAT = 0.999
"""Mean entropy, as a share of the largest possible, above which a softmax says nothing."""
ONE_HOT = 0.001
"""Below this it leaves nothing to learn but its first passage."""
_ABOVE_TIES = 0.01
_ENOUGH = 2_000  # questions to know a mean by
_REACH = math.log(1e6)  # each way from the largest difference of two passages
_HALVINGS = 40  # to a relative 3e-11


@dataclass(frozen=True, kw_only=True)
class JudgedPassages:
    """The passages of one question in the retriever's order, best first.

    Attributes:
        relevance: The teacher's.
        holds_answer: Whether the text of each holds an answer.
    """

    relevance: Sequence[float]
    holds_answer: Sequence[bool]


def check_teacher(
    questions: Iterable[JudgedPassages], *, temperature: float = 1.0, reads: bool = True
) -> dict[str, float | int | list[str]]:
    """Compare a teacher's order with the retriever's, and look at the shape of its softmax.

    Order is compared on questions where it can differ: some passages hold an answer and some do not.

    Args:
        questions: Best taken from questions that the teacher was not trained on.
        temperature: That of the teacher in the loss to come.
        reads: Whether the teacher is a trained reader, which warnings name and which can be trained anew.

    Returns:
        ``mrr_teacher`` and ``mrr_retrieval``, the mean reciprocal rank of the first passage with an answer;
        ``first_teacher`` and ``first_retrieval``, how often it stands first; ``entropy``, between 0 (one-hot) and 1
        (flat); ``num_questions`` and ``num_compared``; and ``warnings``, empty for a teacher worth learning from.
    """
    questions = [question for question in questions if len(question.relevance) >= 2]
    broken = [question for question in questions if not all(map(math.isfinite, question.relevance))]
    questions = [question for question in questions if all(map(math.isfinite, question.relevance))]
    ranks = [(_first_rank(_best_first(q)), _first_rank(q.holds_answer)) for q in questions if _can_differ(q)]
    entropies = [normalized_entropy(question.relevance, temperature=temperature) for question in questions]
    report: dict[str, float | int | list[str]] = {"num_questions": len(questions), "num_compared": len(ranks)}
    warnings = []
    who, longer = ("reader", "train the reader longer") if reads else ("teacher", "choose another teacher")
    if broken:
        warnings.append(
            f"the {who}'s relevance is not a finite number for {len(broken)} of {len(broken) + len(questions)} "
            "questions, and would destroy the retriever; "
            + ("train the reader anew with a lower learning rate, or in fp32" if reads else longer)
        )
    if reads and not questions and not broken:
        warnings.append(
            "the reader judged no two passages of any question, so that nothing is known of it as a teacher; raise "
            "reader.num_passages, or do without distillation (rounds.max = 0)"
        )
    if questions and not any(any(question.holds_answer) for question in questions):
        warnings.append(
            f"none of the passages of {len(questions)} questions holds an answer word for word, so that nothing can be "
            f"said of the {who}, and most likely nothing was learned; check that answers are worded as in the passages"
        )
    if ranks:
        mrr_teacher = sum(1 / teacher for teacher, _ in ranks) / len(ranks)
        mrr_retrieval = sum(1 / retrieval for _, retrieval in ranks) / len(ranks)
        report |= {
            "mrr_teacher": mrr_teacher,
            "mrr_retrieval": mrr_retrieval,
            "first_teacher": sum(teacher == 1 for teacher, _ in ranks) / len(ranks),
            "first_retrieval": sum(retrieval == 1 for _, retrieval in ranks) / len(ranks),
        }
        if mrr_teacher <= mrr_retrieval:
            warnings.append(
                f"the {who}'s order puts passages with an answer no higher than the retriever's did (mean reciprocal "
                f"rank {mrr_teacher:.3f} against {mrr_retrieval:.3f}), so the retriever has nothing to learn from it; "
                + (f"{longer}, on several passages a question" if reads else longer)
            )
    if entropies:
        entropy = sum(entropies) / len(entropies)
        report["entropy"] = entropy
        if entropy > FLAT:
            warnings.append(
                f"the {who}'s softmax over passages is flat (entropy {entropy:.5f} of the largest possible) and tells "
                f"no passage from another; lower retriever_training.teacher_temperature, or {longer}"
            )
        if entropy < ONE_HOT:
            warnings.append(
                f"the {who}'s softmax over passages lies on one passage (entropy {entropy:.5f} of the largest "
                "possible); raise retriever_training.teacher_temperature to let it tell the others apart"
            )
    report["warnings"] = warnings
    return report


def normalized_entropy(relevance: Sequence[float], *, temperature: float = 1.0) -> float:
    """Return the entropy of the softmax of one question's relevance as a share of log n; 0 one-hot, 1 flat."""
    top = max(relevance)
    weights = [math.exp((value - top) / temperature) for value in relevance]
    total = sum(weights)
    entropy = -sum(weight / total * math.log(weight / total) for weight in weights if weight > 0)
    return entropy / math.log(len(relevance))


def temperature_of_entropy(questions: Iterable[Sequence[float]], entropy: float) -> float:
    """Return the temperature at which softmaxes have this normalised entropy in the mean.

    Entropy rises with temperature, so the place is found by halving. Passages that a teacher cannot tell apart share
    their weight at any temperature; where they keep the mean entropy above the one asked for, it is brought down by 99
    of the 100 parts that it can fall by.

    Args:
        questions: The relevance of the passages of each. Questions with fewer than two passages or with numbers that
            are not finite are left out; of many, 2,000 at equal distances are looked at.
        entropy: As a share of the largest possible, more than 0 and less than 1.

    Returns:
        1 where no question has passages of different relevance: then no temperature makes a difference.
    """
    known = [one for one in questions if len(one) >= 2 and all(map(math.isfinite, one))]
    spread = max((max(one) - min(one) for one in known), default=0.0)
    if spread == 0:
        return 1.0
    known = known[:: math.ceil(len(known) / _ENOUGH)]

    def mean_entropy(log_temperature: float) -> float:
        temperature = math.exp(log_temperature)
        return sum(normalized_entropy(one, temperature=temperature) for one in known) / len(known)

    low, high = math.log(spread) - _REACH, math.log(spread) + _REACH
    of_ties = mean_entropy(low)
    wanted = max(entropy, of_ties + _ABOVE_TIES * (1 - of_ties))
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if mean_entropy(middle) < wanted else (low, middle)
    return math.exp(high)


def _best_first(question: JudgedPassages) -> list[bool]:
    order = sorted(range(len(question.relevance)), key=lambda place: -question.relevance[place])
    return [question.holds_answer[place] for place in order]


def _can_differ(question: JudgedPassages) -> bool:
    return any(question.holds_answer) and not all(question.holds_answer)


def _first_rank(holds_answer: Sequence[bool]) -> int:
    return list(holds_answer).index(True) + 1
