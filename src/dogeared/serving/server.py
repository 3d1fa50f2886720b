"""Open a run and serve it until somebody says stop.

On loopback only requests that call this machine by its own names are let in: a page from elsewhere whose name was made
to lead here (DNS rebinding) cannot read what the service says.
On SIGTERM or Ctrl-C no more connections are taken, what was asked is answered, and the process ends.
"""

import ipaddress
import logging
import socket
from collections.abc import Callable, Sequence
from pathlib import Path

import uvicorn
from fastapi import FastAPI

from dogeared.errors import ResourceError
from dogeared.service import QuestionAnswering
from dogeared.serving.app import ServingSettings, create_app
from dogeared.serving.patience import patient_protocol
from dogeared.serving.threshold import find_threshold
from dogeared.serving.watch import PassageWatch

__all__ = ["hosts_let_in", "is_loopback", "make_server", "serve"]

logger = logging.getLogger(__name__)


def serve(
    folder: Path,
    *,
    host: str,
    port: int,
    hybrid: bool,
    settings: ServingSettings,
    on_ready: Callable[[str], None] = lambda address: None,
) -> None:
    """Serve a run, and return when the service was stopped.

    Args:
        folder: The directory of the run.
        host: Where to listen.
        port: The same; 0 takes any that is free.
        hybrid: Fuse the retriever with BM25.
        settings: Who is let in, and how many at once.
        on_ready: Called with the service's address once it can be asked.

    Raises:
        ArtifactError: There is no finished run.
        ResourceError: Nobody can listen there.
    """
    sockets = _bound(host, port)  # before the models are loaded, which takes a while
    service = QuestionAnswering.open(folder, hybrid=hybrid, both=True)
    threshold = find_threshold(folder, service).confidence
    if settings.token is None and not is_loopback(host):
        logger.warning(
            "%s can be reached from other machines, and no token is set: whoever reaches it can read the passages and "
            "ask; set DOGEARED_TOKEN, or stay on 127.0.0.1",
            host,
        )
    settings = settings.model_copy(update={"hosts": hosts_let_in(host, settings.hosts)})
    app = create_app(folder, service, threshold=threshold, settings=settings)
    server = make_server(app, host=host, port=port, settings=settings)
    try:
        with PassageWatch(folder, service, hybrid=hybrid):
            on_ready(f"http://{f'[{host}]' if ':' in host else host}:{sockets[0].getsockname()[1]}")
            server.run(sockets=sockets)
    except KeyboardInterrupt:
        logger.info("stopped")


def _bound(host: str, port: int) -> list[socket.socket]:
    """Take a port of every address that a name has; nobody is let in yet."""
    sockets: list[socket.socket] = []
    try:
        for family, kind, _, _, address in socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        ):
            bound = socket.socket(family, kind)
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sockets.append(bound)
            bound.bind(address)
    except (OSError, OverflowError) as error:
        for one in sockets:
            one.close()
        why = error.strerror if isinstance(error, OSError) else error
        raise ResourceError(f"{host}:{port}: cannot be listened on: {why}; choose another --port or --host") from error
    return sockets


def make_server(app: FastAPI, *, host: str, port: int, settings: ServingSettings) -> uvicorn.Server:
    """Make the server of an application, ready to run."""
    return uvicorn.Server(
        uvicorn.Config(
            app,
            host=host,
            port=port,
            http=patient_protocol(settings.head_seconds),
            ws="none",
            log_level="warning",
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=int(settings.timeout_seconds) + 1,
        )
    )


def hosts_let_in(host: str, named: Sequence[str]) -> tuple[str, ...]:
    """Say by which names of this machine a service may be asked; by any where none is said.

    >>> hosts_let_in("127.0.0.1", ["search.example.org"])
    ('search.example.org', '127.0.0.1', '[::1]', 'localhost')
    >>> hosts_let_in("0.0.0.0", [])
    ()
    """
    if not is_loopback(host):
        return tuple(named)
    bound = f"[{host}]" if ":" in host else host
    return tuple(dict.fromkeys((*named, bound, "127.0.0.1", "[::1]", "localhost")))


def is_loopback(host: str) -> bool:
    """Tell whether an address can be reached from this machine alone.

    >>> is_loopback("localhost"), is_loopback("::1"), is_loopback("0.0.0.0")
    (True, True, False)
    """
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
