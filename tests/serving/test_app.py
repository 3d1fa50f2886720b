"""Every endpoint, in process: what it gives, and what it says to what it cannot take."""

import base64
import struct
from concurrent.futures import ThreadPoolExecutor

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from pydantic import ValidationError
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from starlette.testclient import TestClient

from dogeared.service import Asked
from dogeared.serving.app import ServingSettings, create_app


@pytest.fixture(scope="module")
def app(run_folder, service):
    return create_app(run_folder, service, threshold=None)


@pytest.fixture(scope="module")
def client(app):
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


def made(run_folder, service, threshold=None, **changes):
    return TestClient(create_app(run_folder, service, threshold=threshold, settings=ServingSettings(**changes)))


def test_ask_gives_what_the_service_answers(client, service):
    given = client.post("/v1/ask", json={"question": " Who was it? ", "num_passages": 3}).json()
    (expected,) = service.ask_many([Asked(question="Who was it?", k=3, attention=True)])
    assert (given["question"], given["candidate"]) == ("Who was it?", expected.answer)
    assert given["confidence"] == pytest.approx(expected.confidence, rel=1e-4)
    assert [one["id"] for one in given["passages"]] == [one.passage.id for one in expected.passages]
    assert [one["relevance"] for one in given["passages"]] == pytest.approx(
        [one.relevance for one in expected.passages], abs=1e-4
    )
    plain = client.post("/v1/ask", json={"question": "Who was it?", "num_passages": 3, "token_relevance": False}).json()
    assert plain["candidate"] == given["candidate"]
    assert plain["confidence"] == pytest.approx(given["confidence"], rel=1e-2)  # what bfloat16 rounds away
    for one in given["passages"]:
        assert len(one["token_share"]) == len(one["token_relevance"]) == len(given["answer_tokens"])


def test_both_sides_of_the_distillation_answer(client):
    sides = {
        side: client.post("/v1/ask", json={"question": "Who?", "retriever": side}).json()
        for side in ("before", "after")
    }
    rounds = client.get("/v1/rounds").json()
    assert rounds["retrievers"] == {side: given["retriever"] for side, given in sides.items()}
    assert [one["round"] for one in rounds["rounds"]] == ["untouched", 0, 1]


def test_below_the_threshold_nothing_is_found(run_folder, service):
    with made(run_folder, service, threshold=1.1) as client:
        given = client.post("/v1/ask", json={"question": "Who?", "token_relevance": False}).json()
    assert (given["found"], given["answer"], given["answer_tokens"]) == (False, None, [])


def test_search_finds_what_the_service_finds(client, service):
    given = client.post("/v1/search", json={"question": "Who?", "num_passages": 4}).json()
    assert [one["id"] for one in given["passages"]] == [one.passage.id for one in service.search("Who?", k=4)]


def test_rerank_orders_by_the_reader(client):
    documents = ["It rained.", {"text": "She played the flute.", "title": "Ada"}, "Nobody knows."]
    body = {"query": "Who played?", "documents": documents, "return_documents": True}
    results = client.post("/v1/rerank", json=body).json()["results"]
    assert sorted(one["index"] for one in results) == [0, 1, 2]
    scores = [one["relevance_score"] for one in results]
    assert scores == sorted(scores, reverse=True)
    assert sum(scores) == pytest.approx(1)
    assert len(client.post("/v1/rerank", json={**body, "top_n": 1}).json()["results"]) == 1


def test_embeddings_come_in_both_encodings(client, service):
    body = {"input": ["Who?", "Where was it?"], "model": "anything", "user": "ignored"}
    answered = client.post("/v1/embeddings", json=body)
    if "bm25" in service.retriever_name:
        assert answered.json()["error"]["code"] == "no_vectors"
        return
    vectors = [one["embedding"] for one in answered.json()["data"]]
    packed = client.post("/v1/embeddings", json={**body, "encoding_format": "base64"}).json()["data"]
    for one, vector in zip(packed, vectors, strict=True):
        raw = base64.b64decode(one["embedding"])
        assert struct.unpack(f"<{len(vector)}f", raw) == pytest.approx(vector, rel=1e-6)


@pytest.mark.parametrize(
    ("method", "path", "content", "kind", "status", "code"),
    [
        ("GET", "/nothing", None, None, 404, "not_found"),
        ("GET", "/../../etc/passwd", None, None, 404, "not_found"),
        ("GET", "/v1/ask", None, None, 405, "method_not_allowed"),
        ("POST", "/healthz", b"{}", "application/json", 405, "method_not_allowed"),
        ("POST", "/v1/ask", b"{", "application/json", 400, "bad_json"),
        ("POST", "/v1/ask", b"\xff\xfe", "application/json", 400, "bad_json"),
        ("POST", "/v1/ask", b"[" * 100_000, "application/json", 400, "bad_json"),
        ("POST", "/v1/ask", b"{}", "text/plain", 415, "wrong_content_type"),
        ("POST", "/v1/ask", b" " * ((1 << 20) + 1), "application/json", 413, "too_large"),
        ("POST", "/v1/ask", b"", "application/json", 422, "invalid"),
        ("POST", "/v1/ask", b'{"question": "\\u2003 "}', "application/json", 422, "invalid"),
        ("POST", "/v1/ask", b'{"question": "\\ud800"}', "application/json", 422, "invalid"),
        ("POST", "/v1/ask", b'{"question": "Who?", "\\ud800": 1}', "application/json", 422, "invalid"),
        ("POST", "/v1/ask", b'{"question": "Who?", "num_passages": 101}', "application/json", 422, "invalid"),
        ("POST", "/v1/ask", b'{"question": "Who?", "num_passages": NaN}', "application/json", 422, "invalid"),
        ("POST", "/v1/ask", b'{"question": "' + b"a" * 2_001 + b'"}', "application/json", 422, "invalid"),
        ("POST", "/v1/rerank", b'{"query": "Who?", "documents": []}', "application/json", 422, "invalid"),
    ],
)
def test_every_error_is_json_of_one_shape(client, method, path, content, kind, status, code):
    answered = client.request(method, path, content=content, headers={} if kind is None else {"Content-Type": kind})
    assert (answered.status_code, answered.json()["error"]["code"]) == (status, code)
    assert set(answered.json()["error"]) == {"message", "type", "param", "code"}


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("/v1/embeddings", {"input": [1, 2]}, "input"),
        ("/v1/embeddings", {"input": {"text": "a"}}, "input"),
        ("/v1/rerank", {"query": "Who?", "documents": ["a", {"title": "b"}]}, "documents.1"),
        ("/v1/ask", {"question": "Who?", "num_passages": "many"}, "num_passages"),
        ("/v1/ask", {"question": "Who?", "k": 1}, "k"),
    ],
)
def test_an_error_names_the_field_as_its_sender_does(client, path, body, param):
    assert client.post(path, json=body).json()["error"]["param"] == param


@pytest.mark.parametrize("path", ["/", "/page.js", "/healthz"])
def test_whether_it_is_there_can_be_asked_without_its_content(client, path):
    answered = client.head(path)
    assert (answered.status_code, answered.content) == (200, b"")
    assert answered.headers["content-type"] == client.get(path).headers["content-type"]


@pytest.mark.parametrize("question", ["</s><pad>", "\x00\x1f", "🙂" * 400, "<script>alert(1)</script>", "' OR 1=1 --"])
def test_strange_questions_are_answered(client, question):
    assert client.post("/v1/ask", json={"question": question}).status_code == 200


def test_what_the_models_break_on_is_an_error_without_details(run_folder, service, monkeypatch):
    monkeypatch.setattr(type(service), "search_many", lambda self, asked: 1 / 0)
    app = create_app(run_folder, service, threshold=None)
    with TestClient(app, raise_server_exceptions=False) as client:
        answered = client.post("/v1/search", json={"question": "Who?"})
    assert (answered.status_code, answered.json()["error"]["code"]) == (500, "internal")
    assert "division" not in answered.text


def test_the_token_is_asked_for(run_folder, service):
    with made(run_folder, service, token="secret") as client:
        assert client.get("/healthz").status_code == 200
        for path in ("/v1/rounds", "/metrics", "/openapi.json"):
            assert client.get(path).json()["error"]["code"] == "unauthorized"
            assert client.get(path, headers={"Authorization": "Bearer secre"}).status_code == 401
            assert client.get(path, headers={"Authorization": "Bearer secret"}).status_code == 200


def test_a_token_read_from_a_file_with_a_line_break_is_the_token_alone(run_folder, service):
    with made(run_folder, service, token="secret\n") as client:
        assert client.get("/metrics", headers={"Authorization": "Bearer secret"}).status_code == 200
        assert client.get("/metrics", headers={"Authorization": "Bearer wrong"}).status_code == 401
    with pytest.raises(ValidationError, match="token"):
        ServingSettings(token=" \n")


@pytest.mark.parametrize(
    ("given", "status"),
    [("bearer secret", 200), ("BEARER  secret", 200), ("Basic secret", 401), ("secret", 401), ("Bearer", 401)],
)
def test_the_scheme_before_the_token_may_be_written_in_any_case(run_folder, service, given, status):
    with made(run_folder, service, token="secret") as client:
        assert client.get("/metrics", headers={"Authorization": given}).status_code == status


def test_a_full_queue_and_a_time_out_are_told(run_folder, service):
    with made(run_folder, service, max_waiting=0) as client:
        answered = client.post("/v1/ask", json={"question": "Who?"})
        assert (answered.status_code, answered.headers["Retry-After"]) == (429, "1")
        assert answered.json()["error"]["code"] == "queue_full"


def test_who_waits_too_long_is_told(run_folder, service):
    with made(run_folder, service, timeout_seconds=0.05) as client:
        with service._models:  # as if somebody else used the models
            answered = client.post("/v1/ask", json={"question": "Who?"})
        assert (answered.status_code, answered.json()["error"]["code"]) == (504, "timeout")


def test_many_at_once_all_get_their_answer(client):
    questions = [f"Who was number {number}?" for number in range(64)]

    def ask(question):
        return client.post("/v1/ask", json={"question": question, "num_passages": 2, "token_relevance": False})

    with ThreadPoolExecutor(32) as pool:
        answered = list(pool.map(ask, questions))
    assert [one.status_code for one in answered] == [200] * 64
    assert [one.json()["question"] for one in answered] == questions
    text = client.get("/metrics").text
    assert 'dogeared_requests_total{method="POST",path="/v1/ask",status="200"}' in text
    assert 'path="/nothing"' not in text


def test_a_browser_loads_nothing_from_elsewhere(client):
    assert "default-src 'self'" in client.get("/healthz").headers["Content-Security-Policy"]


def test_requests_made_from_the_openapi_document_break_nothing(run_folder, service):
    schema = schemathesis.openapi.from_asgi("/openapi.json", create_app(run_folder, service, threshold=None))
    checks = (not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance)
    bounded = settings(
        max_examples=6,
        deadline=None,
        phases=(Phase.explicit, Phase.generate),
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    operations = [one.ok() for one in schema.get_all_operations()]
    assert len(operations) == 7
    for operation in operations:

        @bounded
        @given(case=operation.as_strategy())
        def check(case):
            case.call_and_validate(checks=checks)

        check()
