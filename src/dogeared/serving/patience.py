"""How long a connection may take to say what it wants.

uvicorn waits for the head of a request as long as a client likes, and each that waits holds a connection: enough of
those, one byte now and then, and nobody else gets in. Here the head must be whole some seconds after its first byte, or
after the connection was made, else the connection is closed without an answer, which nobody would read. How long the
body may take is held elsewhere, and what an idle connection may wait for its next request by uvicorn.
"""

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

__all__ = ["patient_protocol"]


def patient_protocol(head_seconds: float) -> type[H11Protocol]:
    """Make uvicorn's protocol with a limit on the time that the head of a request takes."""

    class PatientProtocol(H11Protocol):
        _limit: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._limit = self.loop.call_later(head_seconds, transport.close)

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if self.conn.their_state is not h11.IDLE:
                self._lift_limit()
            elif self._limit is None:
                self._limit = self.loop.call_later(head_seconds, self.transport.close)

        def connection_lost(self, exc: Exception | None) -> None:
            self._lift_limit()
            super().connection_lost(exc)

        def _lift_limit(self) -> None:
            if self._limit is not None:
                self._limit.cancel()
                self._limit = None

    return PatientProtocol
