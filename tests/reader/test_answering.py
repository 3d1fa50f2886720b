"""Answers come one a question, in order, however many are read at once."""

from pathlib import Path

import pytest
import torch

from dogeared import progress
from dogeared.reader import answering
from dogeared.reader.answering import answer_questions, questions_per_batch
from dogeared.reader.fid import FusionInDecoder, ReaderSettings
from tiny_readers import PASSAGES, QUESTIONS, tiny_reader, tiny_readings


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> FusionInDecoder:
    """A reader that says different things to different questions, if nothing true."""
    reader = tiny_reader("t5", tmp_path_factory.mktemp("reader"), num_passages=4)
    batch = reader.batch(QUESTIONS, [PASSAGES[:2], PASSAGES[2:3], PASSAGES[3:]], answers=["Anna", "Rome", "the river"])
    optimizer = torch.optim.Adam(reader.parameters(), lr=1e-2)
    for _ in range(40):
        loss = reader(batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return reader


@pytest.mark.parametrize("size", [1, 3, 100])
def test_each_question_gets_the_answer_it_gets_alone(
    reader: FusionInDecoder, size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(answering, "questions_per_batch", lambda settings, device, num_passages: size)
    readings = tiny_readings(tmp_path)
    alone = [reader.generate(reader.batch([q.text], [readings.passages(i)])) for i, q in enumerate(readings.questions)]
    answers = answer_questions(reader, readings, precision="fp32")
    assert answers == [answer.strip() for [answer] in alone]
    assert len(set(answers)) >= 3


def test_dropout_is_off(tmp_path: Path):
    reader = tiny_reader("bart", tmp_path).train()
    readings = tiny_readings(tmp_path)
    answers = answer_questions(reader, readings, precision="fp32")
    assert not reader.training
    assert answers == answer_questions(reader, readings, precision="fp32")


def test_surrounding_space_is_no_part_of_an_answer(
    reader: FusionInDecoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(FusionInDecoder, "generate", lambda self, batch: [" Anna \n"] * len(batch.num_passages))
    assert answer_questions(reader, tiny_readings(tmp_path)) == ["Anna"] * 7


def test_progress_is_told_in_questions(reader: FusionInDecoder, tmp_path: Path):
    told = []

    class Listener:
        def start(self, name, total, unit):
            told.append((name, total, unit))
            return self

        def stop(self, bar):
            told.append("stop")

        def advance(self, amount=1, note=""):
            told.append(amount)

    with progress.listen(Listener()):
        answer_questions(reader, tiny_readings(tmp_path))
    assert told == [("answer questions", 7, "questions"), 7, "stop"]


@pytest.mark.parametrize(
    ("num_passages", "max_length_tokens", "expected"),
    # 65,536 tokens at once: 13 * 5,000 = 65,000 fit and 14 do not; one question is always read.
    [(20, 250, 13), (0, 64, 1024), (1, 64, 1024), (1000, 250, 1)],
)
def test_memory_bounds_how_many_are_read_at_once(num_passages: int, max_length_tokens: int, expected: int):
    settings = ReaderSettings(num_passages=20, max_length_tokens=max_length_tokens)
    assert questions_per_batch(settings, torch.device("cpu"), num_passages=num_passages) == expected
    assert questions_per_batch(settings, torch.device("cuda"), num_passages=num_passages) >= expected


def test_passages_that_are_read_count_and_not_those_of_the_settings(
    reader: FusionInDecoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(answering, "_TOKENS_AT_ONCE_ON_CPU", 4 * 64 * 2)  # two questions of the reader's four passages
    sizes, make = [], reader.batch
    monkeypatch.setattr(reader, "batch", lambda texts, found: sizes.append(len(texts)) or make(texts, found))
    for num_passages in (4, 2):
        answer_questions(reader, tiny_readings(tmp_path / str(num_passages), num_passages=num_passages))
    assert sizes == [2, 2, 2, 1, 4, 3]
