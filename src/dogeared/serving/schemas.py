"""What the endpoints take and give, for checks and for the OpenAPI document.

Our own endpoints refuse fields that they do not know; those in other services' shapes ignore them, because clients of
these send fields that mean nothing here.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from dogeared.serving.examples import (
    ASK_REQUESTS,
    ASK_RESPONSES,
    EMBEDDINGS_REQUESTS,
    EMBEDDINGS_RESPONSES,
    HEALTH_RESPONSES,
    RERANK_REQUESTS,
    RERANK_RESPONSES,
    ROUNDS_RESPONSES,
    SEARCH_REQUESTS,
    SEARCH_RESPONSES,
)

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


def _model(examples: list[Any], *, extra: Literal["forbid", "ignore"] = "forbid") -> ConfigDict:
    return ConfigDict(extra=extra, json_schema_extra={"examples": examples})


class AskRequest(BaseModel):
    """A question to answer."""

    model_config = _model(ASK_REQUESTS)

    question: Question
    num_passages: int | None = Field(default=None, ge=1, le=MAX_PASSAGES)
    retriever: RetrieverSide = "after"
    token_relevance: bool = True


class SearchRequest(BaseModel):
    """A question to find passages for."""

    model_config = _model(SEARCH_REQUESTS)

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

    model_config = _model(ASK_RESPONSES, extra="ignore")

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

    model_config = _model(SEARCH_RESPONSES, extra="ignore")

    question: str
    retriever: UsedRetriever
    passages: list[FoundPassage]


class EmbeddingsRequest(BaseModel):
    """Texts to encode, in the shape of OpenAI's API; ``input_type`` is ours."""

    model_config = _model(EMBEDDINGS_REQUESTS, extra="ignore")

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

    model_config = _model(EMBEDDINGS_RESPONSES, extra="ignore")

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

    model_config = _model(RERANK_REQUESTS, extra="ignore")

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

    model_config = _model(RERANK_RESPONSES, extra="ignore")

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

    model_config = _model(ROUNDS_RESPONSES, extra="ignore")

    best: int | Literal["untouched"]
    improved: bool
    selected_by: str
    stopped: str | None
    retrievers: Retrievers
    threshold: float | None
    rounds: list[Round]


class Health(BaseModel):
    """Whether questions are taken."""

    model_config = _model(HEALTH_RESPONSES, extra="ignore")

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
