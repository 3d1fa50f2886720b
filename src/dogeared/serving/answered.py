"""What is asked of a run, and what it answers: plain records.

Scores and relevance are comparable within one question only. How these become JSON is elsewhere.
"""

from dataclasses import dataclass
from typing import Literal

from dogeared.records import Passage
from dogeared.serving.reading import PassageAttention

__all__ = ["Answered", "Asked", "Found", "Side"]

Side = Literal["before", "after"]
"""Which retriever: the one that the run started from, or that of its best round."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """A question as it is asked.

    Attributes:
        question: Any text that is not blank.
        k: How many passages; as many as the reader was trained with where None. More cost more, linearly.
        side: Which retriever finds them.
        attention: Whether to tell what each answer token saw.
    """

    question: str
    k: int | None = None
    side: Side = "after"
    attention: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """A passage that was retrieved for a question.

    Attributes:
        passage: The passage.
        score: The retriever's; comparable within one question only.
        relevance: The reader's; comparable within one question only. None where no reader was asked.
        attention: What each answer token saw of it; None where nobody asked or the reader has no decoder.
    """

    passage: Passage
    score: float
    relevance: float | None = None
    attention: PassageAttention | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Answered:
    """A question with its answer and what it was read from.

    Attributes:
        question: As it was asked, without surrounding space.
        answer: What the reader wrote; may be empty.
        passages: All that the reader read, best first.
        confidence: How sure the reader was, from 0 to 1.
        side: Which retriever found the passages.
        answer_tokens: The answer token by token, the end token too; empty where attention was not asked for.
    """

    question: str
    answer: str
    passages: tuple[Found, ...]
    confidence: float
    side: Side = "after"
    answer_tokens: tuple[str, ...] = ()
