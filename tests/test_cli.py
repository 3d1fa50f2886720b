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
