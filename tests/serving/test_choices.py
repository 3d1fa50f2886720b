"""Multiple choice: the likelihood of each listed answer is the library's, and nothing else comes out."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from dogeared.cli import app
from dogeared.errors import ConfigError, DataError
from dogeared.reader.extractive import ExtractiveReader
from dogeared.service import QuestionAnswering
from dogeared.serving.choices import choice_likelihoods
from tiny_readers import PASSAGES, QUESTIONS, tiny_reader

CHOICES = ["Anna", "the old tower", "Ghent", "painted a blue river"]


@pytest.mark.parametrize("kind", ["t5", "bart"])
@pytest.mark.parametrize("num_passages", [0, 1, 3])
def test_likelihoods_are_those_of_the_plain_model(tmp_path, kind, num_passages):
    reader = tiny_reader(kind, tmp_path)
    found = choice_likelihoods(reader, QUESTIONS[0], PASSAGES[:num_passages], CHOICES, precision="fp32")
    for choice, value in zip(CHOICES, found.tolist(), strict=True):
        batch = reader.batch([QUESTIONS[0]], [PASSAGES[:num_passages]], answers=[choice])
        with torch.no_grad():
            assert value == pytest.approx(-reader(batch).item() * batch.weight, abs=1e-4)
    assert len({round(value, 3) for value in found.tolist()}) == 4


@pytest.mark.parametrize("choices", [["one"], ["one", "one"], ["one", " "], []])
def test_what_is_no_choice_is_refused(tmp_path, choices):
    with pytest.raises(DataError, match="two or more different answers"):
        choice_likelihoods(tiny_reader("t5", tmp_path), QUESTIONS[0], [], choices)


@pytest.mark.parametrize("choices", [["Anna", "Anna "], ["Ghent", "qqq", "zzz"]])
def test_choices_that_the_reader_cannot_tell_apart_are_refused(tmp_path, choices):
    """Blanks at the ends are no tokens, and words that the tokenizer does not know are all the same one."""
    said = f"got {choices[-2]!r} and {choices[-1]!r}, which are the same tokens"
    with pytest.raises(DataError, match=said):
        choice_likelihoods(tiny_reader("t5", tmp_path), QUESTIONS[0], [], choices)


def test_an_answer_that_would_be_cut_is_refused(tmp_path):
    with pytest.raises(DataError, match="at most 6 tokens"):
        choice_likelihoods(tiny_reader("t5", tmp_path), QUESTIONS[0], [], ["Anna", "Bert painted a blue river in Oslo"])


def test_a_reader_of_spans_is_refused():
    reader = object.__new__(ExtractiveReader)
    with pytest.raises(ConfigError, match="a reader that writes answers"):
        choice_likelihoods(reader, "who ?", [], ["a", "b"])


def test_a_run_answers_with_a_choice(tiny_run):
    shown = CliRunner().invoke(app, ["ask", str(tiny_run), "who was she ?", "--choice", "the sea", "--choice", "she"])
    assert shown.exit_code == 0, shown.output
    lines = [line.split("  ") for line in shown.stdout.splitlines()]
    assert {answer for _, answer in lines} == {"the sea", "she"}
    shares = [float(share) for share, _ in lines]
    assert sum(shares) == pytest.approx(1, abs=2e-3)
    assert shares == sorted(shares, reverse=True)


def test_a_choice_is_made_from_what_either_retriever_finds_and_printed_as_asked(tiny_run, tmp_path):
    folder = Path(shutil.copytree(tiny_run, tmp_path / "run"))
    results = folder / "results.json"
    results.write_text(json.dumps(json.loads(results.read_text()) | {"best": 1}))
    service = QuestionAnswering.open(folder, both=True)
    command = ["-q", "ask", str(folder), "who was she ?", "--choice", "the sea", "--choice", "she", "-k", "2", "--json"]
    for side, options in (("after", []), ("before", ["--before"])):
        shown = CliRunner().invoke(app, [*command, *options])
        assert shown.exit_code == 0, shown.output
        said = json.loads(shown.stdout)
        expected = service.choose("who was she ?", ["the sea", "she"], k=2, side=side)
        assert [one["answer"] for one in said["choices"]] == list(expected)
        assert [one["share"] for one in said["choices"]] == pytest.approx(list(expected.values()))
        assert (said["question"], said["retriever"]["side"]) == ("who was she ?", side)
    refused = CliRunner().invoke(app, [*command, "--rerank"])
    assert "--rerank: expected none with --choice" in str(refused.exception) + refused.output
