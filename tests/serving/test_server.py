"""A real process: it serves, and on SIGTERM it ends by itself."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import psutil
import pytest
from typer.testing import CliRunner

from dogeared.cli import app
from dogeared.serving.threshold import find_threshold


def other_addresses() -> list[str]:
    """The addresses of this machine that others can reach."""
    found = [
        one.address for several in psutil.net_if_addrs().values() for one in several if one.family == socket.AF_INET
    ]
    return [address for address in found if not address.startswith("127.")]


def ask(url: str, question: str) -> int | None:
    try:
        return httpx.post(f"{url}/v1/ask", json={"question": question}, timeout=60).status_code
    except httpx.TransportError:
        return None


def in_the_works(url: str) -> bool:
    """Whether more is asked than answered: something waits in the queue."""
    text = httpx.get(f"{url}/metrics", timeout=30).text
    return float(re.search(r"^dogeared_waiting (\S+)$", text, flags=re.MULTILINE).group(1)) > 0


def test_a_port_that_is_taken_is_told_before_anything_is_loaded(run_folder):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = CliRunner().invoke(app, ["-q", "serve", str(run_folder), "--port", str(taken.getsockname()[1])])
    assert done.exit_code == 2
    assert re.search(r"127\.0\.0\.1:\d+: cannot be listened on: Address already in use; choose another", done.output)
    assert "http://" not in done.output
    nowhere = CliRunner().invoke(app, ["-q", "serve", str(run_folder), "--host", "nobody.invalid"])
    assert (nowhere.exit_code, "cannot be listened on" in nowhere.output) == (2, True)


def test_a_service_answers_and_stops_when_told(run_folder, service):
    find_threshold(run_folder, service)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "dogeared.cli", "serve", str(run_folder), "--port", str(port)]
    process = subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, stderr=subprocess.PIPE, text=True)
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            assert process.poll() is None, process.stderr.read()
            try:
                assert httpx.get(f"{url}/healthz").json() == {"status": "ok"}
                break
            except httpx.TransportError:
                time.sleep(0.1)
        assert httpx.post(f"{url}/v1/ask", json={"question": "Who?"}, timeout=30).status_code == 200
        for address in other_addresses():
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection((address, port), timeout=5)
        with ThreadPoolExecutor(8) as pool:
            asked = [pool.submit(ask, url, f"Who was number {number}?") for number in range(64)]
            while not in_the_works(url):
                assert not all(one.done() for one in asked), "all were answered before it was stopped"
            process.send_signal(signal.SIGTERM)
            answered = [one.result() for one in asked]
        # What was asked is answered; who came later finds nobody, or is told.
        assert 200 in answered
        assert set(answered) <= {200, 503, None}
        _, said = process.communicate(timeout=60)
        assert process.returncode in (0, -signal.SIGTERM)  # uvicorn raises the signal again when it is done
        assert "Traceback" not in said
    finally:
        process.kill()
        process.communicate()
