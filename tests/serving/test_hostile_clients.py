"""Clients that a test client cannot be: slow ones, ones that lie about their body, ones that leave; over sockets."""

import json
import socket
import threading
import time

import pytest

from dogeared.serving.app import ServingSettings, create_app
from dogeared.serving.server import hosts_let_in, make_server

HEAD_SECONDS = 0.5


@pytest.fixture(scope="module")
def port(run_folder, service):
    """A running service whose patience is short."""
    settings = ServingSettings(
        timeout_seconds=2.0, head_seconds=HEAD_SECONDS, hosts=hosts_let_in("127.0.0.1", ["mine"])
    )
    app = create_app(run_folder, service, threshold=None, settings=settings)
    server = make_server(app, host="127.0.0.1", port=0, settings=settings)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive(), "the service did not start"
        thread.join(0.02)
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    thread.join(10)


def request(*headers: str, path: str = "/v1/search", host: str = "localhost") -> bytes:
    lines = (f"POST {path} HTTP/1.1", f"Host: {host}", "Content-Type: application/json", *headers)
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def sent(port: int, *parts: bytes) -> tuple[int, dict]:
    """Send parts, and read one answer."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
        for part in parts:
            client.sendall(part)
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += client.recv(65_536)
        head, _, body = answer.partition(b"\r\n\r\n")
        length = next(int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if b"content-length" in line)
        while len(body) < length:
            body += client.recv(65_536)
    return int(head.split()[1]), json.loads(body)


GOOD = b'{"question": "Who?", "num_passages": 1}'


def is_alive(port: int) -> bool:
    status, told = sent(port, request(f"Content-Length: {len(GOOD)}"), GOOD)
    return status == 200 and told["question"] == "Who?"


def test_a_body_that_does_not_come_is_not_waited_for(port):
    status, told = sent(port, request("Content-Length: 1000"), b'{"question": ')
    assert (status, told["error"]["code"]) == (408, "timeout")
    assert is_alive(port)


def test_a_body_of_unsaid_length_is_cut_off_at_the_limit(port):
    chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    status, told = sent(port, request("Transfer-Encoding: chunked"), *[chunk] * 17)
    assert (status, told["error"]["code"]) == (413, "too_large")
    assert is_alive(port)


def test_a_length_that_is_a_lie_brings_nothing_down(port):
    status, told = sent(port, request("Content-Length: 99999999999999999999"), b"{}")
    assert (status, told["error"]["code"]) == (413, "too_large")
    assert is_alive(port)


@pytest.mark.parametrize(
    "body",
    [
        b'{"question": "\xff\xfe"}',
        b'{"question": ' * 20_000,
        b'{"question": "a", "question": "b", "num_passages": 1e999}',
        b'{"question": "' + "\u202e\u0000\ufeff".encode() + b'"}',
        b'{"question": {"$ne": null}}',
        b"null",
        b'"Who?"',
    ],
)
def test_what_is_no_question_is_refused_in_json(port, body):
    status, told = sent(port, request(f"Content-Length: {len(body)}"), body)
    assert status in (400, 422)
    assert told["error"]["type"] == "invalid_request_error"
    assert is_alive(port)


@pytest.mark.parametrize("question", ["\u202eWho?\u200d", "e\u0301" * 300, "👩‍👩‍👧‍👦 في أي مدينة؟ 谁", "\ufdfa" * 100])
def test_odd_writing_is_answered(port, question):
    body = json.dumps({"question": question, "num_passages": 1}).encode()
    status, told = sent(port, request(f"Content-Length: {len(body)}"), body)
    assert (status, told["question"]) == (200, question.strip())


def test_clients_that_leave_are_not_worked_for_to_the_end_of_time(port):
    for _ in range(50):
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(request(f"Content-Length: {len(GOOD)}") + GOOD[:5])
    assert is_alive(port)


def closed_after(client: socket.socket, *, drip: bytes = b"") -> float:
    """Send a drop now and then until the service closes the connection, and tell how long that took."""
    began = time.monotonic()
    client.settimeout(0.1)
    while time.monotonic() - began < 20:
        try:
            if drip:
                client.sendall(drip)
            if client.recv(65_536) == b"":
                return time.monotonic() - began
        except TimeoutError:
            continue
        except ConnectionError:
            return time.monotonic() - began
    raise AssertionError("the connection was left open")


@pytest.mark.parametrize(
    ("first", "drip"),
    [(b"", b""), (b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n", b"X: y\r\n"), (b"G", b"")],
    ids=["nothing", "a header now and then", "one byte"],
)
def test_headers_that_do_not_end_are_not_waited_for(port, first, drip):
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(first)
        assert HEAD_SECONDS * 0.9 < closed_after(client, drip=drip) < HEAD_SECONDS + 5
    assert is_alive(port)


def answer(client: socket.socket) -> bytes:
    """Read until the body of one answer is there."""
    answer = b""
    while not answer.endswith(b"}"):
        answer += client.recv(65_536)
    return answer


def test_a_second_request_on_a_connection_may_not_drip_either(port):
    with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
        for _ in range(2):
            client.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert answer(client).startswith(b"HTTP/1.1 200")
        client.sendall(b"GET /healthz HTTP/1.1\r\n")
        assert closed_after(client, drip=b"X: y\r\n") < HEAD_SECONDS + 5


def test_a_long_answer_is_not_cut_off_by_the_limit_on_headers(port, service):
    with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
        with service._models:  # as if the models were busy for longer than headers may take
            client.sendall(request(f"Content-Length: {len(GOOD)}") + GOOD)
            time.sleep(HEAD_SECONDS * 1.5)
        assert answer(client).startswith(b"HTTP/1.1 200")


def test_many_that_say_nothing_keep_nobody_out(port):
    silent = [socket.create_connection(("127.0.0.1", port)) for _ in range(200)]
    try:
        assert is_alive(port)
        assert closed_after(silent[-1]) < HEAD_SECONDS + 5
    finally:
        for client in silent:
            client.close()


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8800", "127.0.0.1:1", "[::1]:8800", "mine"])
def test_the_names_of_this_machine_are_let_in(port, host):
    status, told = sent(port, request(f"Content-Length: {len(GOOD)}", host=host), GOOD)
    assert (status, told["question"]) == (200, "Who?")


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example:8800", "127.0.0.1.evil.example", "[::2]", ""])
@pytest.mark.parametrize("path", ["/v1/search", "/"])
def test_other_names_are_not_so_that_no_page_from_elsewhere_can_read(port, host, path):
    status, told = sent(port, request(f"Content-Length: {len(GOOD)}", host=host, path=path), GOOD)
    assert (status, told["error"]["code"]) == (400, "wrong_host")
    assert is_alive(port)
