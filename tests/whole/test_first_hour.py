"""The first hour of the documents, command by command, on fewer people and with fewer steps."""

import json
import re
import runpy
import shlex
from pathlib import Path

import pytest
from starlette.testclient import TestClient
from typer.testing import CliRunner

from dogeared.cli import app
from dogeared.service import QuestionAnswering
from dogeared.serving.app import create_app

PAGE = Path(__file__).parent.parent.parent / "docs" / "first-hour.md"
FEWER = ("num_people=100, num_dev_people=12, num_test_people=12", "num_people=4, num_dev_people=1, num_test_people=1")
SMALLER = [
    "reader.num_passages=4",
    "reader_training.steps=2",
    "reader_training.questions_per_step=4",
    "retriever_training.steps=2",
    "retriever_training.questions_per_step=4",
    "retriever_training.num_passages=4",
]


def blocks():
    """Each code block with its language, and what the page says it prints."""
    found = re.findall(r"^```(\w*)\n(.*?)^```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    return [
        (language, code, found[place + 1][1] if found[place + 1 : place + 2] else "")
        for place, (language, code) in enumerate(found)
        if language not in ("text", "json")
    ]


def shape(printed):
    """The words of what is printed, whatever the numbers, bars and blanks."""
    return re.findall(r"[a-z][a-z ]+[a-z]", re.sub(r"[\d.,]+", " ", printed))


@pytest.fixture
def run_command(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("dogeared.cli._set_up_output", lambda **_: None)

    def run(line):
        program, *arguments = shlex.split(line)
        assert program == "dogeared"
        if arguments[0] == "run":
            arguments += [part for setting in SMALLER for part in ("--set", setting)]
        done = CliRunner().invoke(app, arguments, env={"COLUMNS": "100"})
        assert done.exit_code == 0, done.output
        return done.stdout

    return run


def test_the_first_hour(run_command, tmp_path):
    ran = []
    for language, code, told in blocks():
        if language == "python":
            (tmp_path / "block.py").write_text(code.replace(*FEWER), encoding="utf-8")
            runpy.run_path(str(tmp_path / "block.py"))
        elif language == "toml":
            (tmp_path / "shorter.toml").write_text(code, encoding="utf-8")
        elif language == "sh":
            _ask_over_http(code, told, tmp_path / "runs" / "mine")
        elif code.startswith("dogeared serve"):
            continue  # it would serve for ever; the block after it asks the same application
        elif code.startswith("dogeared"):
            printed = run_command(code.strip())
            name = code.split()[1]
            ran.append(name)
            if name in ("chunk", "validate"):
                assert shape(printed) == shape(told)
            for line in ("untouched student", "first retrieval (bm25)", "train_reader", "all is well", "relevance"):
                assert (line in printed) == (line in told), (line, name)
    assert ran == ["chunk", "validate", "run", "run", "search", "ask", "doctor"]
    assert (tmp_path / "runs" / "mine" / "report.html").is_file()


def _ask_over_http(code, told, run):
    address, body = re.search(r"http://127\.0\.0\.1:8800(\S+)", code), re.search(r"-d '(.*?)'", code)
    assert address is not None
    assert body is not None
    with TestClient(create_app(run, QuestionAnswering.open(run), threshold=None)) as client:
        given = client.post(address[1], json=json.loads(body[1]))
    assert given.status_code == 200
    assert given.json().keys() == json.loads(told).keys()
