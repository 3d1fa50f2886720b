"""What the endpoints take and give, for checks and for the OpenAPI document.

Our own endpoints refuse fields that they do not know; those in other services' shapes ignore them, because clients of
these send fields that mean nothing here.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = [
    "AskRequest",
    "AskResponse",
    "EmbeddingsRequest",
    "EmbeddingsResponse",
    "ErrorResponse",
    "Health",
    "RerankRequest",
    "RerankResponse",
    "RoundsResponse",
    "SearchRequest",
    "SearchResponse",
]

MAX_QUESTION = 2_000
MAX_TEXT = 20_000
MAX_PASSAGES = 100
MAX_TEXTS = 256

Question = Annotated[str, Field(min_length=1, max_length=MAX_QUESTION, pattern=r"\S")]
Text = Annotated[str, Field(min_length=1, max_length=MAX_TEXT, pattern=r"\S")]
RetrieverSide = Literal["before", "after"]


_AFTER = {"side": "after", "name": "demo:encoder", "round": 2}
_FOUND = {"rank": 1, "id": "p1", "title": "Marie Curie", "text": "She was born in Warsaw.", "score": 0.71}


def _model(*examples: dict[str, Any], extra: Literal["forbid", "ignore"] = "forbid") -> ConfigDict:
    return ConfigDict(extra=extra, json_schema_extra={"examples": list(examples)})


class AskRequest(BaseModel):
    """A question to answer."""

    model_config = _model(
        {"question": "Where was Marie Curie born?"},
        {"question": "Where was Marie Curie born?", "num_passages": 5, "retriever": "before", "token_relevance": False},
    )

    question: Question
    num_passages: int | None = Field(default=None, ge=1, le=MAX_PASSAGES)
    retriever: RetrieverSide = "after"
    token_relevance: bool = True


class SearchRequest(BaseModel):
    """A question to find passages for."""

    model_config = _model({"question": "Where was Marie Curie born?", "num_passages": 10})

    question: Question
    num_passages: int = Field(default=10, ge=1, le=MAX_PASSAGES)
    retriever: RetrieverSide = "after"


class UsedRetriever(BaseModel):
    """Which retriever it was."""

    side: RetrieverSide
    name: str
    round: int | Literal["untouched"]


class FoundPassage(BaseModel):
    """A passage in the order of the retriever."""

    rank: int
    id: str
    title: str
    text: str
    score: float


class ReadPassage(FoundPassage):
    """A passage that the reader read; docs/service.md explains the fields."""

    relevance: float
    words: list[tuple[int, int]]
    token_share: list[float]
    token_relevance: list[list[float]]


class AskResponse(BaseModel):
    """An answer, or that there is none of which the reader is sure enough."""

    model_config = _model(
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
        },
        extra="ignore",
    )

    question: str
    found: bool
    answer: str | None
    candidate: str
    confidence: float
    threshold: float | None
    retriever: UsedRetriever
    answer_tokens: list[str]
    passages: list[ReadPassage]


class SearchResponse(BaseModel):
    """What was found."""

    model_config = _model(
        {"question": "Where was Marie Curie born?", "retriever": _AFTER, "passages": [_FOUND]}, extra="ignore"
    )

    question: str
    retriever: UsedRetriever
    passages: list[FoundPassage]


class EmbeddingsRequest(BaseModel):
    """Texts to encode, in the shape of OpenAI's API; ``input_type`` is ours."""

    model_config = _model(
        {"input": "Where was Marie Curie born?"},
        {"input": ["She was born in Warsaw."], "input_type": "passage", "encoding_format": "base64"},
        extra="ignore",
    )

    input: Text | Annotated[list[Text], Field(min_length=1, max_length=MAX_TEXTS)]
    model: str | None = Field(default=None, max_length=200)
    input_type: Literal["query", "passage"] = "query"
    encoding_format: Literal["float", "base64"] = "float"


class Embedding(BaseModel):
    """One vector: numbers, or base64 of little-endian float32."""

    object: Literal["embedding"] = "embedding"
    index: int
    embedding: list[float] | str


class Usage(BaseModel):
    """Words, not tokens: what tokens are is the model's own business."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingsResponse(BaseModel):
    """Vectors in the order of the texts."""

    model_config = _model(
        {
            "object": "list",
            "model": "demo:encoder",
            "data": [{"object": "embedding", "index": 0, "embedding": [0.12, -0.4, 0.91]}],
            "usage": {"prompt_tokens": 5, "total_tokens": 5},
        },
        extra="ignore",
    )

    object: Literal["list"] = "list"
    model: str
    data: list[Embedding]
    usage: Usage


class Document(BaseModel):
    """A text to judge."""

    model_config = ConfigDict(extra="ignore")

    text: Text
    title: str = Field(default="", max_length=MAX_QUESTION)


class RerankRequest(BaseModel):
    """Documents to order, in the shape of Cohere's and Jina's API."""

    model_config = _model(
        {"query": "Where was Marie Curie born?", "documents": ["She was born in Warsaw.", "It rained."], "top_n": 1},
        {
            "query": "Where was Marie Curie born?",
            "documents": [{"text": "She was born in Warsaw.", "title": "Marie Curie"}, {"text": "It rained."}],
            "return_documents": True,
        },
        extra="ignore",
    )

    query: Question
    documents: list[Text | Document] = Field(min_length=1, max_length=MAX_PASSAGES)
    top_n: int | None = Field(default=None, ge=1)
    return_documents: bool = False
    model: str | None = Field(default=None, max_length=200)


class ReturnedDocument(BaseModel):
    """A document as it came, without its title."""

    text: str


class RerankResult(BaseModel):
    """The place of a document in the request, and its share of the relevance."""

    index: int
    relevance_score: float
    document: ReturnedDocument | None = None


class RerankResponse(BaseModel):
    """Best first."""

    model_config = _model(
        {
            "model": "reader",
            "results": [{"index": 0, "relevance_score": 0.93, "document": {"text": "She was born in Warsaw."}}],
        },
        extra="ignore",
    )

    model: str
    results: list[RerankResult]


class SplitMeasures(BaseModel):
    """Measures by name on dev and test questions; null where they were not measured."""

    name: str | None = None
    dev: dict[str, Any] | None = None
    test: dict[str, Any] | None = None


class Round(BaseModel):
    """One round in numbers; ``reranked`` is null where nothing was re-ranked."""

    round: int | Literal["untouched"]
    retriever: SplitMeasures
    reranked: SplitMeasures | None = None
    reader: SplitMeasures
    teacher_check: dict[str, Any] | None
    agreement: dict[str, Any] | None


class Retrievers(BaseModel):
    """The two that can be compared."""

    before: UsedRetriever | None
    after: UsedRetriever


class RoundsResponse(BaseModel):
    """The run in numbers."""

    model_config = _model(
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
        },
        extra="ignore",
    )

    best: int | Literal["untouched"]
    improved: bool
    selected_by: str
    stopped: str | None
    retrievers: Retrievers
    threshold: float | None
    rounds: list[Round]


class Health(BaseModel):
    """Whether questions are taken."""

    model_config = _model({"status": "ok"}, extra="ignore")

    status: Literal["ok"]


class ErrorBody(BaseModel):
    """What went wrong, and with which field."""

    message: str
    type: Literal["invalid_request_error", "server_error"]
    param: str | None
    code: str


class ErrorResponse(BaseModel):
    """Every error has this shape."""

    error: ErrorBody
