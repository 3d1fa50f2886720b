"""A server on this machine that speaks as the hub does when a folder is sent to it, and keeps what it got."""

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

__all__ = ["FakeHub", "fake_hub"]


class FakeHub(ThreadingHTTPServer):
    """Repositories in memory; every file is sent in the commit itself."""

    def __init__(self, token: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.token = token
        self.made: list[dict[str, Any]] = []
        self.files: dict[str, bytes] = {}
        self.unknown: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: FakeHub

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.headers.get("Authorization") != f"Bearer {self.server.token}":
            self._answer(401, {"error": "Invalid username or password."})
        elif self.path == "/api/repos/create":
            told = json.loads(body)
            self.server.made.append(told)
            name = f"{told.get('organization', 'me')}/{told['name']}"
            self._answer(200, {"url": f"{self.server.url}/{name}", "name": name, "id": "1"})
        elif self.path == "/api/validate-yaml":
            self._answer(200, {"errors": [], "warnings": []})
        elif self.path.endswith("/preupload/main"):
            files = [
                {"path": one["path"], "uploadMode": "regular", "shouldIgnore": False}
                for one in json.loads(body)["files"]
            ]
            self._answer(200, {"files": files})
        elif self.path.split("?")[0].endswith("/commit/main"):
            for line in body.splitlines():
                told = json.loads(line)
                if told["key"] == "file":
                    self.server.files[told["value"]["path"]] = base64.b64decode(told["value"]["content"])
            self._answer(200, {"commitUrl": f"{self.server.url}/me/model/commit/1", "commitOid": "1", "hookOutput": ""})
        else:
            self._unknown()

    def do_GET(self) -> None:
        if self.path.endswith("/revision/main") or "/api/models/" in self.path:
            self._answer(200, {"id": "me/model", "sha": "0" * 40, "siblings": [], "private": True})
        else:
            self._unknown()

    def _unknown(self) -> None:
        self.server.unknown.append(f"{self.command} {self.path}")
        self._answer(404, {"error": "nothing of the kind"})

    def _answer(self, status: int, value: Any) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: Any) -> None:
        """Say nothing."""


@contextmanager
def fake_hub(token: str = "hf_test") -> Iterator[FakeHub]:
    """Run one for the time of the block."""
    hub = FakeHub(token)
    thread = threading.Thread(target=hub.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.shutdown()
        hub.server_close()
        thread.join(10)
