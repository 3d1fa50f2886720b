"""What stands before the endpoints: who may ask and by which name, how much may be sent, and what a browser may load.

A body is read whole, up to the limit and in time, before an endpoint sees any of it. The page, ``/healthz``
and files of the page need no token: they hold nothing of the run.
"""

import asyncio
import hmac
import time
from collections.abc import Callable, Collection

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dogeared.serving.errors import error_response
from dogeared.serving.metrics import Metrics

__all__ = ["Guard"]

_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
_SECRET_PATHS = ("/v1/", "/metrics", "/openapi.json")


class Guard:
    """Wraps an application.

    Args:
        app: The application.
        token: What a request must bear, not blank; None to let everybody ask.
        max_body_bytes: The longest body.
        body_seconds: How long sending it may take.
        hosts: The names that the service may be asked by; none to let any pass.
        paths: The paths that are counted by name.
        metrics: Where requests are counted.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        token: str | None,
        max_body_bytes: int,
        body_seconds: float,
        hosts: Collection[str],
        paths: Collection[str],
        metrics: Metrics,
    ) -> None:
        self._app = app
        self._token = None if token is None else token.encode()
        self._max_body_bytes = max_body_bytes
        self._body_seconds = body_seconds
        self._hosts = frozenset(host.lower() for host in hosts)
        self._paths = frozenset(paths)
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or answer it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status = time.perf_counter(), 500

        async def send_on(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        try:
            await self._pass(scope, receive, send_on)
        finally:
            path = scope["path"] if scope["path"] in self._paths else "other"
            method = scope["method"] if scope["method"] in ("GET", "HEAD", "POST") else "other"
            seconds = time.perf_counter() - began
            self._metrics.note_request(path=path, method=method, status=status, seconds=seconds)

    async def _pass(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        if self._hosts and (host := _without_port(headers.get("host", ""))) not in self._hosts:
            message = f"this service may not be asked by the name {host[:200]!r}; --allow-host lets a name in"
            await error_response(400, "wrong_host", message)(scope, receive, send)
            return
        if self._token is not None and scope["path"].startswith(_SECRET_PATHS):
            scheme, _, given = headers.get("authorization", "").partition(" ")
            if scheme.lower() != "bearer" or not hmac.compare_digest(given.strip().encode("latin-1"), self._token):
                asked = {"WWW-Authenticate": "Bearer"}
                message = "expected the service's token: Authorization: Bearer TOKEN"
                await error_response(401, "unauthorized", message, headers=asked)(scope, receive, send)
                return
        if scope["method"] != "POST" or scope["path"] not in self._paths:
            await self._app(scope, receive, send)
            return
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json":
            message = "expected a body with Content-Type: application/json"
            await error_response(415, "wrong_content_type", message)(scope, receive, send)
            return
        try:
            body = await asyncio.wait_for(self._body(headers, receive), self._body_seconds)
        except TimeoutError:
            await error_response(408, "timeout", "the body took too long to arrive")(scope, receive, send)
            return
        if body is None:
            message = f"expected a body of at most {self._max_body_bytes:,} bytes"
            close = {"Connection": "close"}
            await error_response(413, "too_large", message, headers=close)(scope, receive, send)
            return
        await self._app(scope, _replay(body, receive), send)

    async def _body(self, headers: Headers, receive: Receive) -> bytes | None:
        """Read the body; None where it is too large, without reading what is too much."""
        told = headers.get("content-length", "0")
        if told.isascii() and told.isdigit() and int(told[:20]) > self._max_body_bytes:
            return None
        body = bytearray()
        while True:
            message = await receive()
            body += message.get("body", b"")
            if len(body) > self._max_body_bytes:
                return None
            if message["type"] != "http.request" or not message.get("more_body", False):
                return bytes(body)


def _without_port(host: str) -> str:
    """Cut the port off a Host header; an address of IPv6 stands in brackets."""
    address, bracket, _ = host.partition("]")
    return (address + bracket if bracket else host.partition(":")[0]).strip().lower()


def _replay(body: bytes, receive: Receive) -> Callable[[], "asyncio.Future[Message]"] | Receive:
    """Hand out a body that was read already, then whatever comes after it."""
    left = [body]

    async def replayed() -> Message:
        if left:
            return {"type": "http.request", "body": left.pop(), "more_body": False}
        return await receive()

    return replayed
