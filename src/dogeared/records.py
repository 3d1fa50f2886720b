"""The things that exist: what every other module speaks in.

All are frozen and keyword-only, hold plain Python values, and compute nothing beyond a property. The words are the
field's: a **question** is asked by a person, a **passage** is what a retriever fetches, a **score** is a retriever's
number, a **relevance** is a teacher's number. Tensors and file formats live elsewhere.
"""

from dataclasses import dataclass

__all__ = ["AnswerLikelihood", "Passage", "PassageRelevance", "Question", "Ranking"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Passage:
    """A piece of text that can be retrieved.

    Attributes:
        id: Unique in its corpus.
        title: The name of what the text is about; may be empty.
        text: Never empty.
    """

    id: str
    title: str
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """What is asked, and what is known about it.

    Attributes:
        id: Unique among the questions.
        text: The question itself.
        answers: Strings of which each one is a right answer; empty where unknown. Only these supervise training.
        split: ``train``, ``dev`` or ``test``.
        gold: Ids of passages known to answer. Measured against, never trained on, selected by or stopped by; but for
            the one teacher that is named after them and is supervised.
        near_gold: Ids of passages that count as hits beside ``gold``, such as near-duplicates of it.
        target: The one answer that a reader shall learn to give; None where any of ``answers`` does.
    """

    id: str
    text: str
    answers: tuple[str, ...] = ()
    split: str = "train"
    gold: tuple[str, ...] = ()
    near_gold: tuple[str, ...] = ()
    target: str | None = None

    @property
    def taught_answers(self) -> tuple[str, ...]:
        """What a reader is trained to answer, and asked the likelihood of: ``target``, or else any right answer."""
        return self.answers if self.target is None else (self.target,)


@dataclass(frozen=True, kw_only=True, slots=True)
class Ranking:
    """The passages a retriever returned for one question, best first.

    Attributes:
        question_id: Whose ranking this is.
        passage_ids: Best first, each at most once; shorter than asked for where the corpus is small.
        scores: One a passage, not increasing.
    """

    question_id: str
    passage_ids: tuple[str, ...]
    scores: tuple[float, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class PassageRelevance:
    """What a teacher says of the passages of one question.

    Attributes:
        question_id: Whose passages these are.
        passage_ids: In the order in which the reader got them, which is the retriever's.
        relevance: One number a passage, higher for more useful; comparable within this question only.
    """

    question_id: str
    passage_ids: tuple[str, ...]
    relevance: tuple[float, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class AnswerLikelihood:
    """How likely a reader finds each token of a question's answer, given one passage at a time.

    Attributes:
        question_id: Whose answer this is.
        passage_ids: In the order of the ranking.
        log_likelihood: For each passage one number a token, the end token's last; as many for each.
    """

    question_id: str
    passage_ids: tuple[str, ...]
    log_likelihood: tuple[tuple[float, ...], ...]
