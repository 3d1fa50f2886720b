"""What programs get, as plain JSON values: the same from the service as from ``dogeared ask --json``.

docs/service.md says what each field means.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from dogeared.pipeline.layout import RunFolder
from dogeared.pipeline.results import read_results
from dogeared.service import Answered, Found, QuestionAnswering, Side

__all__ = ["answer_json", "choices_json", "retriever_json", "rounds_json", "search_json"]


def answer_json(answered: Answered, service: QuestionAnswering, threshold: float | None) -> dict[str, Any]:
    """Put an answer down, or that there is none of which the reader is sure enough."""
    found = bool(answered.answer) and (threshold is None or answered.confidence >= threshold)
    return {
        "question": answered.question,
        "found": found,
        "answer": answered.answer if found else None,
        "candidate": answered.answer,
        "confidence": answered.confidence,
        "threshold": threshold,
        "retriever": retriever_json(service, answered.side),
        "answer_tokens": list(answered.answer_tokens),
        "passages": [_read_passage(rank, one) for rank, one in enumerate(answered.passages, start=1)],
    }


def choices_json(question: str, shares: Mapping[str, float], service: QuestionAnswering, side: Side) -> dict[str, Any]:
    """Put down how likely each of several answers is among them."""
    return {
        "question": question,
        "retriever": retriever_json(service, side),
        "choices": [{"answer": answer, "share": share} for answer, share in shares.items()],
    }


def search_json(question: str, found: Sequence[Found], service: QuestionAnswering, side: Side) -> dict[str, Any]:
    """Put down what was found."""
    return {
        "question": question,
        "retriever": retriever_json(service, side),
        "passages": [_passage(rank, one) for rank, one in enumerate(found, start=1)],
    }


def retriever_json(service: QuestionAnswering, side: Side) -> dict[str, Any]:
    """Say which retriever it was."""
    return {"side": side, "name": service.sides[side], "round": service.round if side == "after" else 0}


def rounds_json(run: RunFolder, service: QuestionAnswering, threshold: float | None) -> dict[str, Any]:
    """Put down the measures of all rounds, the untouched student first."""
    results = read_results(run)
    untouched = dict(results["untouched"])
    nothing = {"dev": None, "test": None}
    first = {"round": "untouched", "retriever": untouched, "reader": nothing}
    sides: tuple[Side, ...] = ("before", "after")
    keys = ("round", "retriever", "reranked", "reader", "teacher_check", "agreement")
    return {
        **{key: results[key] for key in ("best", "improved", "selected_by", "stopped")},
        "retrievers": {side: retriever_json(service, side) if side in service.sides else None for side in sides},
        "threshold": threshold,
        "rounds": [{key: one.get(key) for key in keys} for one in (first, *results["rounds"])],
    }


def _passage(rank: int, found: Found) -> dict[str, Any]:
    passage = found.passage
    return {"rank": rank, "id": passage.id, "title": passage.title, "text": passage.text, "score": found.score}


def _read_passage(rank: int, found: Found) -> dict[str, Any]:
    saw = found.attention
    return {
        **_passage(rank, found),
        "relevance": found.relevance,
        "words": [] if saw is None else [list(word) for word in saw.words],
        "token_share": [] if saw is None else list(saw.token_share),
        "token_relevance": [] if saw is None else [list(row) for row in saw.token_relevance],
    }
