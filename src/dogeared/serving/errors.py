"""Every error as JSON of one shape, with a status that says whose it is and a code for programs."""

import logging
import re
from collections.abc import Mapping

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from dogeared.errors import ArtifactError, DataError
from dogeared.serving.work import QueueFullError, StoppingError

__all__ = ["add_error_handlers", "error_response"]

logger = logging.getLogger(__name__)

_CODES = {400: "bad_json", 404: "not_found", 405: "method_not_allowed"}
RETRY_AFTER_SECONDS = 1


def error_response(
    status: int, code: str, message: str, *, param: str | None = None, headers: Mapping[str, str] | None = None
) -> JSONResponse:
    """Make the answer to a request that failed."""
    kind = "server_error" if status >= 500 else "invalid_request_error"
    # A lone surrogate is no text that can be sent; the name of a field may hold one.
    clean = None if param is None else param.encode("utf-8", "replace").decode()[:200]
    body = {"error": {"message": message, "type": kind, "param": clean, "code": code}}
    return JSONResponse(body, status_code=status, headers=dict(headers or {}))


def _is_alternative(part: int | str) -> bool:
    """Tell the name of one of several types that a field may have from the name of a field."""
    return isinstance(part, str) and re.fullmatch(r"constrained-str|list\[.*\]|Document", part) is not None


def add_error_handlers(app: FastAPI) -> None:
    """Turn whatever goes wrong in ``app`` into such an answer."""

    @app.exception_handler(HTTPException)
    async def _http(request: Request, error: HTTPException) -> JSONResponse:
        path, method = request.url.path, request.method
        messages = {
            400: "expected a body of JSON in UTF-8, got something else",
            404: f"there is no {path[:200]}; GET /openapi.json lists what there is",
            405: f"{path[:200]} does not take {method}; GET /openapi.json says what it takes",
        }
        message = messages.get(error.status_code, str(error.detail)).encode("utf-8", "replace").decode()
        code = _CODES.get(error.status_code, "error")
        return error_response(error.status_code, code, message, headers=error.headers)

    @app.exception_handler(RequestValidationError)
    async def _validation(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        if first["type"] == "json_invalid":
            return error_response(400, "bad_json", f"expected a body of JSON: {first['ctx']['error']}")
        field = ".".join(str(part) for part in first["loc"] if part != "body" and not _is_alternative(part))
        return error_response(422, "invalid", first["msg"], param=field or None)

    @app.exception_handler(DataError)
    async def _data(request: Request, error: DataError) -> JSONResponse:
        return error_response(422, "invalid", error.reason, param=error.field)

    @app.exception_handler(ArtifactError)
    async def _artifact(request: Request, error: ArtifactError) -> JSONResponse:
        code = "no_vectors" if request.url.path == "/v1/embeddings" else "no_retriever"
        return error_response(400, code, str(error))

    @app.exception_handler(QueueFullError)
    async def _full(request: Request, error: QueueFullError) -> JSONResponse:
        headers = {"Retry-After": str(RETRY_AFTER_SECONDS)}
        return error_response(429, "queue_full", "too many requests wait already; try again soon", headers=headers)

    @app.exception_handler(StoppingError)
    async def _stopping(request: Request, error: StoppingError) -> JSONResponse:
        return error_response(503, "stopping", "the service is being stopped")

    @app.exception_handler(TimeoutError)
    async def _timeout(request: Request, error: TimeoutError) -> JSONResponse:
        return error_response(504, "timeout", "it took too long; ask for fewer passages, or again when less is asked")

    @app.exception_handler(Exception)
    async def _anything(request: Request, error: Exception) -> JSONResponse:
        logger.error("%s %s failed", request.method, request.url.path, exc_info=error)
        return error_response(500, "internal", "something broke in the service; its log says what")
