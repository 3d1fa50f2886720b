"""Open a run and serve it until somebody says stop.

On SIGTERM or Ctrl-C no more connections are taken, what was asked is answered, and the process ends.
"""

import ipaddress
import logging
from pathlib import Path

import uvicorn

from dogeared.service import QuestionAnswering
from dogeared.serving.app import ServingSettings, create_app
from dogeared.serving.threshold import find_threshold

__all__ = ["is_loopback", "serve"]

logger = logging.getLogger(__name__)


def serve(folder: Path, *, host: str, port: int, hybrid: bool, settings: ServingSettings) -> None:
    """Serve a run, and return when the service was stopped.

    Raises:
        ArtifactError: There is no finished run.
    """
    service = QuestionAnswering.open(folder, hybrid=hybrid, both=True)
    threshold = find_threshold(folder, service).confidence
    if settings.token is None and not is_loopback(host):
        logger.warning(
            "%s can be reached from other machines, and no token is set: whoever reaches it can read the passages and "
            "ask; set DOGEARED_TOKEN, or stay on 127.0.0.1",
            host,
        )
    app = create_app(folder, service, threshold=threshold, settings=settings)
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            host=host,
            port=port,
            log_level="warning",
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=int(settings.timeout_seconds) + 1,
        )
    )
    try:
        server.run()
    except KeyboardInterrupt:
        logger.info("stopped")


def is_loopback(host: str) -> bool:
    """Tell whether an address can be reached from this machine alone.

    >>> is_loopback("localhost"), is_loopback("::1"), is_loopback("0.0.0.0")
    (True, True, False)
    """
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
