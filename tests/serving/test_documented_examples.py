"""What the OpenAPI document and docs/service.md give as examples is what the service takes and gives."""

import json
import re
import shutil
from pathlib import Path

import pytest
import schemathesis
from schemathesis.specs.openapi.checks import content_type_conformance, response_schema_conformance

from dogeared.service import QuestionAnswering
from dogeared.serving import schemas
from dogeared.serving.app import create_app
from dogeared.serving.words import cut_words

DOCUMENT = (Path(__file__).parents[2] / "docs" / "service.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def app(tiny_run, tmp_path_factory):
    """A service whose best retriever has vectors, so that every operation has something to say."""
    folder = Path(shutil.copytree(tiny_run, tmp_path_factory.mktemp("examples") / "run"))
    file = folder / "results.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"best": 1}))
    return create_app(folder, QuestionAnswering.open(folder, both=True), threshold=None)


@pytest.fixture(scope="module")
def document(app):
    return json.loads(json.dumps(app.openapi()))


def resolved(document, schema):
    """Follow a reference, as the body of each operation here is one."""
    return document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]


def operations(document):
    return [(method, path, one) for path, of in document["paths"].items() for method, one in of.items()]


def body_examples(document, operation):
    if "requestBody" not in operation:
        return [None]
    schema = resolved(document, operation["requestBody"]["content"]["application/json"]["schema"])
    return schema.get("examples", [])


def test_every_operation_has_examples(document):
    assert len(operations(document)) == 7
    for method, path, one in operations(document):
        assert body_examples(document, one), f"{method} {path}: no example of a body"
        given = one["responses"]["200"]["content"]
        if "application/json" in given:
            assert resolved(document, given["application/json"]["schema"])["examples"], f"{method} {path}: no answer"


def test_every_example_is_answered_as_the_document_says(app, document):
    schema = schemathesis.openapi.from_asgi("/openapi.json", app)
    answered = 0
    for method, path, operation in operations(document):
        for example in body_examples(document, operation):
            body = {} if example is None else {"body": example, "media_type": "application/json"}
            case = schema[path][method.upper()].Case(**body)
            response = case.call()
            assert response.status_code == 200, f"{method} {path} {example}: {response.text}"
            case.validate_response(response, checks=(response_schema_conformance, content_type_conformance))
            answered += 1
    assert answered == 2 + 1 + 2 + 2 + 3  # ask, search, embeddings, rerank, and three that take no body


@pytest.mark.parametrize(
    "model",
    [
        schemas.AskResponse,
        schemas.SearchResponse,
        schemas.EmbeddingsResponse,
        schemas.RerankResponse,
        schemas.RoundsResponse,
        schemas.Health,
    ],
)
def test_every_example_of_an_answer_fits_its_schema(model):
    for example in model.model_json_schema()["examples"]:
        made = model.model_validate_json(json.dumps(example), strict=True)
        assert json.loads(made.model_dump_json(exclude_unset=True)) == example


@pytest.mark.parametrize(("path", "model"), [("/v1/ask", schemas.AskResponse), ("/v1/rounds", schemas.RoundsResponse)])
def test_the_answers_in_the_documents_fit_their_schema(path, model):
    block = re.search(rf"^## `\w+ {path}`$.*?^```json\n(.*?)^```$", DOCUMENT, flags=re.DOTALL | re.MULTILINE)
    assert block is not None
    example = json.loads(block[1])
    made = model.model_validate_json(block[1], strict=True)
    assert json.loads(made.model_dump_json(exclude_unset=True)) == example


def test_the_words_of_the_documented_answer_stand_in_its_text():
    (example,) = schemas.AskResponse.model_json_schema()["examples"]
    (passage,) = example["passages"]
    assert [tuple(word) for word in passage["words"]] == cut_words(passage["text"])
    words, tokens = len(passage["words"]), len(example["answer_tokens"])
    assert [len(row) for row in passage["token_relevance"]] == [words] * tokens
    assert len(passage["token_share"]) == tokens
