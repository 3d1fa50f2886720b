"""The command line: what goes wrong becomes a message and an exit code, never a traceback."""

import signal

import pytest
from typer.testing import CliRunner

import dogeared
from dogeared import api
from dogeared.cli import app
from dogeared.errors import DataError
from dogeared.stopping import Stopped


@pytest.fixture(autouse=True)
def _terminal_left_alone(monkeypatch):
    """What the command line sets up for its process would stay for the tests after it."""
    monkeypatch.setattr("dogeared.cli._set_up_output", lambda **_: None)


def invoke(*arguments):
    return CliRunner().invoke(app, arguments)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run"], "Missing option"),
        (["nonsense"], "No such command"),
        (["run", "--questions", "q.jsonl", "--out", "o", "--nonsense"], "No such option"),
    ],
)
def test_a_command_that_was_typed_wrong_is_explained(arguments, said):
    done = invoke(*arguments)
    assert done.exit_code == 2
    assert said in done.stderr


def test_a_setting_that_is_wrong_is_named_and_nothing_is_done(tmp_path):
    done = invoke("run", "--questions", "q.jsonl", "--out", str(tmp_path / "run"), "--set", "reader.modle=x")
    assert done.exit_code == 2
    assert done.stderr == "dogeared: reader.modle: there is no such setting; did you mean reader.model?\n"
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (DataError("expected text", file="q.jsonl", line=3), 2, "dogeared: q.jsonl:3: expected text\n"),
        (KeyboardInterrupt("train reader was stopped after step 3 and saved"), 130,
         "\ndogeared: train reader was stopped after step 3 and saved. Run the same command again to go on.\n"),
        (Stopped("stopped by SIGTERM", signal.SIGTERM), 143,
         "\ndogeared: stopped by SIGTERM. Run the same command again to go on.\n"),
        (KeyboardInterrupt(), 130, "\ndogeared: stopped. Run the same command again to go on.\n"),
    ],
)  # fmt: skip
def test_errors_and_stops_have_their_exit_codes(monkeypatch, error, code, said):
    def failing(*_, **__):
        raise error

    monkeypatch.setattr(api, "run_experiment", failing)
    done = invoke("run", "--questions", "q.jsonl", "--out", "o")
    assert (done.exit_code, done.stderr) == (code, said)


def test_an_error_of_ours_is_not_hidden(monkeypatch):
    def failing(*_, **__):
        raise AssertionError("a bug")

    monkeypatch.setattr(api, "run_experiment", failing)
    assert isinstance(invoke("run", "--questions", "q.jsonl", "--out", "o").exception, AssertionError)


def test_the_version_is_printed():
    done = invoke("--version")
    assert (done.exit_code, done.stdout) == (0, f"{dogeared.__version__}\n")


def test_validate_counts_what_is_odd(tmp_path):
    questions = tmp_path / "questions.jsonl"
    questions.write_text('{"question": "Who?"}\n{"question": "Who?"}\n{"question": "Where?"}\n', encoding="utf-8")
    done = invoke("validate", str(questions))
    assert done.exit_code == 0
    assert "  warning: 3 questions without an answer\n" in done.stdout
    assert "  warning: 1 questions whose text stands in an earlier row\n" in done.stdout


@pytest.mark.parametrize("option", ["--per-passage", "--max-questions", "--max-words"])
@pytest.mark.parametrize("number", ["0", "-1"])
def test_cloze_wants_numbers_of_one_or_more(tmp_path, option, number):
    passages, out = tmp_path / "p.jsonl", tmp_path / "q.jsonl"
    passages.write_text('{"id": "1", "text": "She was born in Warsaw to a teacher."}\n', encoding="utf-8")
    done = invoke("cloze", "--passages", str(passages), "--out", str(out), option, number)
    assert (done.exit_code, out.exists()) == (2, False)
    assert option in done.stderr


def test_cloze_that_finds_nothing_to_leave_out_says_so_and_writes_nothing(tmp_path):
    passages, out = tmp_path / "p.jsonl", tmp_path / "q.jsonl"
    passages.write_text('{"id": "1", "text": "there is nothing to be asked for in here."}\n', encoding="utf-8")
    done = invoke("cloze", "--passages", str(passages), "--out", str(out))
    assert (done.exit_code, out.exists()) == (2, False)
    assert "found none, so no question can be made" in done.stderr
