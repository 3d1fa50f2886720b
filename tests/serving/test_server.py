"""A real process: it serves, and on SIGTERM it ends by itself."""

import os
import signal
import socket
import subprocess
import sys
import time

import httpx

from dogeared.serving.threshold import find_threshold


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
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=60)
        assert process.returncode in (0, -signal.SIGTERM)  # uvicorn raises the signal again when it is done
        assert "Traceback" not in said
    finally:
        process.kill()
        process.wait()
