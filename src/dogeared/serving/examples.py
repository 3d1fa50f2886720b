"""One or two examples of what each endpoint takes and gives, for the OpenAPI document.

A test asks every request of a running service, and holds every answer against its schema.
"""

from typing import Any

__all__ = [
    "ASK_REQUESTS",
    "ASK_RESPONSES",
    "EMBEDDINGS_REQUESTS",
    "EMBEDDINGS_RESPONSES",
    "HEALTH_RESPONSES",
    "RERANK_REQUESTS",
    "RERANK_RESPONSES",
    "ROUNDS_RESPONSES",
    "SEARCH_REQUESTS",
    "SEARCH_RESPONSES",
]

_AFTER = {"side": "after", "name": "demo:encoder", "round": 2}
_FOUND = {"rank": 1, "id": "p1", "title": "Marie Curie", "text": "She was born in Warsaw.", "score": 0.71}

ASK_REQUESTS: list[dict[str, Any]] = [
    {"question": "Where was Marie Curie born?"},
    {"question": "Where was Marie Curie born?", "num_passages": 5, "retriever": "before", "token_relevance": False},
]
SEARCH_REQUESTS: list[dict[str, Any]] = [{"question": "Where was Marie Curie born?", "num_passages": 10}]
ASK_RESPONSES: list[dict[str, Any]] = [
    {
        "question": "Where was Marie Curie born?",
        "found": True,
        "answer": "Warsaw",
        "candidate": "Warsaw",
        "confidence": 0.83,
        "threshold": 0.41,
        "retriever": _AFTER,
        "answer_tokens": ["Warsaw", "</s>"],
        "passages": [
            {
                **_FOUND,
                "relevance": 2.4,
                "words": [[0, 3], [4, 7], [8, 12], [13, 15], [16, 23]],
                "token_share": [1.0, 1.0],
                "token_relevance": [[0.02, 0.05, 0.1, 0.02, 0.6], [0.1, 0.1, 0.1, 0.1, 0.2]],
            }
        ],
    }
]
SEARCH_RESPONSES: list[dict[str, Any]] = [
    {"question": "Where was Marie Curie born?", "retriever": _AFTER, "passages": [_FOUND]}
]
EMBEDDINGS_REQUESTS: list[dict[str, Any]] = [
    {"input": "Where was Marie Curie born?"},
    {"input": ["She was born in Warsaw."], "input_type": "passage", "encoding_format": "base64"},
]
EMBEDDINGS_RESPONSES: list[dict[str, Any]] = [
    {
        "object": "list",
        "model": "demo:encoder",
        "data": [{"object": "embedding", "index": 0, "embedding": [0.12, -0.4, 0.91]}],
        "usage": {"prompt_tokens": 5, "total_tokens": 5},
    }
]
RERANK_REQUESTS: list[dict[str, Any]] = [
    {"query": "Where was Marie Curie born?", "documents": ["She was born in Warsaw.", "It rained."], "top_n": 1},
    {
        "query": "Where was Marie Curie born?",
        "documents": [{"text": "She was born in Warsaw.", "title": "Marie Curie"}, {"text": "It rained."}],
        "return_documents": True,
    },
]
RERANK_RESPONSES: list[dict[str, Any]] = [
    {
        "model": "reader",
        "results": [{"index": 0, "relevance_score": 0.93, "document": {"text": "She was born in Warsaw."}}],
    }
]
ROUNDS_RESPONSES: list[dict[str, Any]] = [
    {
        "best": 2,
        "improved": True,
        "selected_by": "answer_success@5",
        "stopped": "all rounds asked for are done",
        "retrievers": {"before": {"side": "before", "name": "bm25", "round": 0}, "after": _AFTER},
        "threshold": 0.41,
        "rounds": [
            {
                "round": 0,
                "retriever": {"name": "bm25", "dev": {"success@1": 0.15}, "test": {"success@1": 0.15}},
                "reranked": None,
                "reader": {"dev": {"em": 0.82}, "test": {"em": 0.84}},
                "teacher_check": {"mrr_teacher": 0.9, "mrr_retrieval": 0.4, "warnings": []},
                "agreement": {"overlap@5": 0.61},
            }
        ],
    }
]
HEALTH_RESPONSES: list[dict[str, Any]] = [{"status": "ok"}]
