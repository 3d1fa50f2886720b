"""The endpoints: each checks what came, hands it to the queue, and writes down what comes back.

docs/service.md is the contract. The page's files are listed once, when the application is made: nothing else of the
disk can be asked for.
"""

import asyncio
import base64
import math
import struct
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

from fastapi import FastAPI
from fastapi.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from pydantic import StringConstraints

from dogeared import __version__
from dogeared.pipeline.layout import RunFolder
from dogeared.records import Passage
from dogeared.service import Answered, Asked, Found, QuestionAnswering
from dogeared.serving import schemas
from dogeared.serving.errors import add_error_handlers, error_response
from dogeared.serving.guard import Guard
from dogeared.serving.metrics import Metrics
from dogeared.serving.shapes import answer_json, rounds_json, search_json
from dogeared.serving.work import Worker
from dogeared.settings import Settings

__all__ = ["ServingSettings", "create_app"]

_PAGE = Path(__file__).parent / "page"
_MEDIA_TYPES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".json": "application/json"}
_MEDIA_TYPES |= {".svg": "image/svg+xml", ".png": "image/png", ".ico": "image/x-icon"}
_ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": schemas.ErrorResponse, "description": text}
    for status, text in {
        400: "No JSON, this run has nothing of the kind, or the service may not be asked by this Host.",
        401: "The token is missing or wrong.",
        408: "The body took too long to arrive.",
        413: "The body is too large.",
        415: "The body is not said to be JSON.",
        422: "A field is not as it should be.",
        429: "Too many requests wait; Retry-After says how many seconds to wait.",
        500: "Something broke.",
        503: "The service is being stopped.",
        504: "It took too long.",
    }.items()
}
_READ_ERRORS: dict[int | str, dict[str, Any]] = {status: _ERRORS[status] for status in (401, 500)}
_STOPPING: dict[int | str, dict[str, Any]] = {503: _ERRORS[503]}


class ServingSettings(Settings):
    """What the service lets through, and how long it waits."""

    token: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)] | None = None
    """What every request must bear; None to let everybody ask. Blanks and line breaks at its ends, which a file of it
    has and no header can bear, are not part of it."""
    max_body_bytes: int = 1 << 20
    """The longest body."""
    max_waiting: int = 64
    """How many requests may wait; further ones are told to come back."""
    max_batch: int = 16
    """How many requests are done together."""
    timeout_seconds: float = 60.0
    """The longest wait for an answer, and for a body."""
    head_seconds: float = 10.0
    """The longest wait for a request's headers."""
    hosts: tuple[str, ...] = ()
    """The names that the service may be asked by (the Host header, without a port); none to let any pass."""


def create_app(
    folder: Path, service: QuestionAnswering, *, threshold: float | None, settings: ServingSettings | None = None
) -> FastAPI:
    """Make the application of one run.

    Args:
        folder: The directory of the run, for its measures.
        service: Its models.
        threshold: The least confidence of an answer that is shown; None to show all.
        settings: Limits.
    """
    settings = settings or ServingSettings()
    metrics = Metrics()
    worker = Worker(
        _handlers(service), max_waiting=settings.max_waiting, max_batch=settings.max_batch, on_batch=metrics.note_batch
    )
    metrics.watch_queue(lambda: worker.num_waiting)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        worker.start()
        yield
        await asyncio.to_thread(worker.stop)

    app = FastAPI(
        title="dogeared",
        version=__version__,
        description="Answers from a run of dogeared, and what the reader saw.",
        lifespan=lifespan,
        docs_url=None,  # both load scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.worker = worker
    add_error_handlers(app)
    _add_questions(app, service, worker, threshold=threshold, seconds=settings.timeout_seconds)
    _add_others(app, service, worker, seconds=settings.timeout_seconds)
    _add_state(app, folder, service, worker, metrics, threshold)
    pages = _add_page(app)
    api = {"/v1/ask", "/v1/search", "/v1/embeddings", "/v1/rerank", "/v1/rounds", "/healthz", "/metrics"}
    app.add_middleware(
        Guard,
        token=settings.token,
        max_body_bytes=settings.max_body_bytes,
        body_seconds=settings.timeout_seconds,
        hosts=settings.hosts,
        paths=api | pages | {"/openapi.json"},
        metrics=metrics,
    )
    return app


def _handlers(service: QuestionAnswering) -> dict[str, Any]:
    def embed(requests: Sequence[tuple[list[str], bool]]) -> list[list[list[float]]]:
        return [service.embed(texts, as_passages=as_passages) for texts, as_passages in requests]

    def judge(requests: Sequence[tuple[str, list[Passage]]]) -> list[list[float]]:
        return [service.judge(query, passages) for query, passages in requests]

    return {"ask": service.ask_many, "search": service.search_many, "embed": embed, "judge": judge}


def _add_questions(
    app: FastAPI, service: QuestionAnswering, worker: Worker, *, threshold: float | None, seconds: float
) -> None:
    @app.post("/v1/ask", response_model=schemas.AskResponse, responses=_ERRORS, summary="Answer a question")
    async def ask(request: schemas.AskRequest) -> dict[str, Any]:
        asked = Asked(
            question=request.question,
            k=request.num_passages,
            side=request.retriever,
            attention=request.token_relevance,
        )
        answered: Answered = await worker.do("ask", asked, timeout_seconds=seconds)
        return answer_json(answered, service, threshold)

    @app.post("/v1/search", response_model=schemas.SearchResponse, responses=_ERRORS, summary="Find passages")
    async def search(request: schemas.SearchRequest) -> dict[str, Any]:
        asked = Asked(question=request.question, k=request.num_passages, side=request.retriever)
        found: list[Found] = await worker.do("search", asked, timeout_seconds=seconds)
        return search_json(request.question.strip(), found, service, request.retriever)


def _add_others(app: FastAPI, service: QuestionAnswering, worker: Worker, *, seconds: float) -> None:
    @app.post(
        "/v1/embeddings",
        response_model=schemas.EmbeddingsResponse,
        responses=_ERRORS,
        summary="Encode texts (OpenAI's shape)",
    )
    async def embeddings(request: schemas.EmbeddingsRequest) -> dict[str, Any]:
        texts = [request.input] if isinstance(request.input, str) else request.input
        vectors = await worker.do("embed", (texts, request.input_type == "passage"), timeout_seconds=seconds)
        encode = _base64 if request.encoding_format == "base64" else list
        num_words = sum(len(text.split()) for text in texts)
        return {
            "object": "list",
            "model": service.retriever_name,
            "data": [
                {"object": "embedding", "index": index, "embedding": encode(vector)}
                for index, vector in enumerate(vectors)
            ],
            "usage": {"prompt_tokens": num_words, "total_tokens": num_words},
        }

    @app.post(
        "/v1/rerank",
        response_model=schemas.RerankResponse,
        response_model_exclude_none=True,
        responses=_ERRORS,
        summary="Order documents by the reader (Cohere's and Jina's shape)",
    )
    async def rerank(request: schemas.RerankRequest) -> dict[str, Any]:
        passages = [
            Passage(id=str(index), title="", text=document)
            if isinstance(document, str)
            else Passage(id=str(index), title=document.title, text=document.text)
            for index, document in enumerate(request.documents)
        ]
        shares = _softmax(await worker.do("judge", (request.query, passages), timeout_seconds=seconds))
        order = sorted(range(len(shares)), key=lambda index: -shares[index])[: request.top_n]
        return {
            "model": "reader",
            "results": [
                {
                    "index": index,
                    "relevance_score": shares[index],
                    "document": {"text": passages[index].text} if request.return_documents else None,
                }
                for index in order
            ],
        }


def _add_state(
    app: FastAPI,
    folder: Path,
    service: QuestionAnswering,
    worker: Worker,
    metrics: Metrics,
    threshold: float | None,
) -> None:
    rounds_of_run = rounds_json(RunFolder(folder), service, threshold)

    @app.get("/v1/rounds", response_model=schemas.RoundsResponse, responses=_READ_ERRORS, summary="The run in numbers")
    async def rounds() -> dict[str, Any]:
        return rounds_of_run

    @app.get("/healthz", response_model=schemas.Health, responses=_STOPPING, summary="Whether questions are taken")
    async def healthz() -> JSONResponse:
        if worker.is_stopping:
            return error_response(503, "stopping", "the service is being stopped")
        return JSONResponse({"status": "ok"})

    app.add_api_route("/healthz", healthz, methods=["HEAD"], include_in_schema=False)  # what load balancers ask

    @app.get("/metrics", response_class=PlainTextResponse, responses=_READ_ERRORS, summary="For Prometheus")
    async def metrics_text() -> Response:
        return Response(metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


def _add_page(app: FastAPI) -> set[str]:
    """Serve each file of the page under its name, and the first page at the root; return their paths."""
    paths = set()
    for file in sorted(path for path in _PAGE.rglob("*") if path.suffix in _MEDIA_TYPES):
        name = file.relative_to(_PAGE).as_posix()
        for path in ("/", "/index.html") if name == "index.html" else (f"/{name}",):
            app.add_api_route(path, _sender(file), methods=["GET", "HEAD"], include_in_schema=False)
            paths.add(path)
    return paths


def _sender(file: Path) -> Any:
    async def send() -> FileResponse:
        return FileResponse(file, media_type=_MEDIA_TYPES[file.suffix], headers={"Cache-Control": "no-cache"})

    return send


def _base64(vector: Sequence[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode("ascii")


def _softmax(values: Sequence[float]) -> list[float]:
    top = max(values)
    weights = [math.exp(value - top) for value in values]
    return [weight / sum(weights) for weight in weights]
