"""Run a trained reader over many questions.

Answering needs the passages that each question shall be answered from; it does not retrieve.
"""

from collections.abc import Iterator, Sequence

import torch

from dogeared.compute import Precision, autocast, keep_freed_memory
from dogeared.data.readings import Readings
from dogeared.progress import bar
from dogeared.reader.extractive import ExtractiveReader
from dogeared.reader.fid import ReaderSettings
from dogeared.reader.kinds import Reader
from dogeared.records import Passage

__all__ = ["answer_questions", "question_batches", "questions_per_batch"]

_TOKENS_AT_ONCE, _TOKENS_AT_ONCE_ON_CPU = 131_072, 65_536


def questions_per_batch(settings: ReaderSettings, device: torch.device, *, num_passages: int) -> int:
    """Return how many questions with all their passages are run at once, so that memory stays bounded.

    Args:
        settings: Say how long a passage gets.
        device: Of the reader.
        num_passages: How many each question has, which may be more than the reader reads to answer.
    """
    at_once = _TOKENS_AT_ONCE_ON_CPU if device.type == "cpu" else _TOKENS_AT_ONCE
    return max(1, at_once // (max(1, num_passages) * settings.max_length_tokens))


def question_batches(reader: Reader, readings: Readings) -> Iterator[range]:
    """Cut questions with all passages of their readings into runs that a reader takes at once."""
    return readings.batches(questions_per_batch(reader.settings, reader.device, num_passages=readings.num_passages))


def answer_questions(reader: Reader, readings: Readings, *, precision: Precision = "auto") -> list[str]:
    """Write one answer to each question, in their order."""
    keep_freed_memory()
    reader.eval()
    answers: list[str] = []
    with bar("answer questions", total=len(readings), unit="questions") as progress:
        for part in question_batches(reader, readings):
            texts, passages = [readings.questions[i].text for i in part], [readings.passages(i) for i in part]
            with autocast(precision, reader.device):
                answers += [answer.strip() for answer in _answer(reader, texts, passages)]
            progress.advance(len(part))
    return answers


def _answer(reader: Reader, questions: Sequence[str], passages: Sequence[Sequence[Passage]]) -> list[str]:
    if isinstance(reader, ExtractiveReader):
        return reader.generate(reader.batch(questions, passages))
    return reader.generate(reader.batch(questions, passages))
