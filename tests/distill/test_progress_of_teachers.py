"""Teachers that take a while say how far they are, question by question, and compute in the precision they are told."""

from dataclasses import replace

import pytest
import torch

from dogeared.distill.causal import CausalLikelihood
from dogeared.distill.causal_attention import CausalAttention
from dogeared.distill.cross_encoder import CrossEncoderTeacher
from dogeared.distill.likelihood import AnswerLikelihoods
from dogeared.distill.posterior import PassagePosterior
from dogeared.distill.teachers import CrossAttention
from dogeared.progress import listen
from dogeared.reader.extractive import ExtractiveReader
from dogeared.reader.fid import ReaderSettings
from tiny_causal import tiny_causal
from tiny_readers import save_cross_encoder, save_tiny, tiny_reader, tiny_readings


def span_reader(folder) -> ExtractiveReader:
    torch.manual_seed(0)
    settings = {"model": str(save_tiny("bert", folder / "bert")), "max_length_tokens": 64, "max_answer_tokens": 3}
    return ExtractiveReader.load(ReaderSettings(kind="extractive", **settings)).eval()


TEACHERS = {
    "attention": lambda folder, precision: CrossAttention(tiny_reader("t5", folder), precision=precision),
    "likelihood": lambda folder, precision: AnswerLikelihoods(
        tiny_reader("t5", folder), "perplexity", precision=precision
    ),
    "posterior": lambda folder, precision: PassagePosterior(span_reader(folder), precision=precision),
    "cross-encoder": lambda folder, precision: CrossEncoderTeacher(
        save_cross_encoder(folder / "cross"), precision=precision
    ),
    "causal likelihood": lambda folder, precision: CausalLikelihood(*tiny_causal("gpt2")),
    "causal attention": lambda folder, precision: CausalAttention(*tiny_causal("gpt2")),
}


class Watcher:
    """Writes down what is reported."""

    def __init__(self) -> None:
        self.started: list[tuple[str, int, str]] = []
        self.done = 0

    def start(self, name: str, total: int, unit: str):
        self.started.append((name, total, unit))
        return self

    def advance(self, amount: int = 1, note: str = "") -> None:
        self.done += amount

    def stop(self, bar) -> None:
        pass


def answered(folder):
    plain = tiny_readings(folder)
    return replace(plain, questions=[replace(question, answers=("Anna",)) for question in plain.questions])


@pytest.mark.parametrize("name", sorted(TEACHERS))
def test_each_question_is_one_step_of_progress(name, tmp_path):
    readings = answered(tmp_path)
    with listen(watcher := Watcher()):
        assert len(list(TEACHERS[name](tmp_path, "fp32").relevance(readings))) == 7
    assert watcher.started == [("score passages", 7, "questions")]
    assert watcher.done == 7


@pytest.mark.parametrize("name", ["attention", "likelihood", "posterior"])
def test_passages_that_are_judged_bound_a_batch_and_not_those_that_are_read_to_answer(name, tmp_path, monkeypatch):
    readings = answered(tmp_path)
    teacher = TEACHERS[name](tmp_path, "fp32")
    # A student compares four passages where its reader reads one: by those, four questions would be one batch.
    teacher.reader.settings = teacher.reader.settings.model_copy(update={"num_passages": 1})
    monkeypatch.setattr("dogeared.reader.answering._TOKENS_AT_ONCE_ON_CPU", 4 * 64)
    sizes, make = [], teacher.reader.batch

    def spy(texts, found, **answers):
        sizes.append(sum(map(len, found)))
        return make(texts, found, **answers)

    monkeypatch.setattr(teacher.reader, "batch", spy)
    list(teacher.relevance(readings))
    assert sizes
    assert max(sizes) <= 4


@pytest.mark.parametrize(
    ("name", "tolerance"),
    # The posterior adds up the scores of two tokens, and a cross-encoder's head is not fed with a mean over tokens.
    [("attention", 5e-3), ("likelihood", 5e-3), ("posterior", 1e-2), ("cross-encoder", 2e-2)],
)
def test_half_precision_rounds(name, tolerance, tmp_path):
    readings = answered(tmp_path)

    def judged(precision: str) -> torch.Tensor:
        rows = [torch.tensor(item.relevance) for item in TEACHERS[name](tmp_path, precision).relevance(readings)]
        return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)

    whole, half = judged("fp32"), judged("bf16")
    assert not torch.equal(half, whole)
    torch.testing.assert_close(half, whole, rtol=0.0, atol=tolerance)
    with pytest.raises(AssertionError):  # so close that each passage is told from its neighbour
        torch.testing.assert_close(half[:, [1, 0, 2, 3]], whole, rtol=0.0, atol=3 * tolerance)
