"""Likelihood teachers against the library's own loss, with every pair encoded anew."""

import logging
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from dogeared.data.rankings import read_likelihoods, write_likelihoods
from dogeared.data.readings import Readings
from dogeared.distill import likelihood
from dogeared.distill.likelihood import AnswerLikelihoods, of_whole_answer, select_states
from dogeared.reader.fid import FusionInDecoder
from dogeared.records import Passage
from tiny_readers import KINDS, PASSAGES, QUESTIONS, tiny_reader, tiny_readings

ANSWERS = ["Anna", "in Rome", "the long river", "", "Emil built the tower", "Oslo", "Paris"]
COUNTS = [0, 1, 2, 3, 4, 4, 0]


@pytest.fixture(scope="module", params=KINDS)
def reader(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> FusionInDecoder:
    return tiny_reader(request.param, tmp_path_factory.mktemp("reader"))


@pytest.fixture
def readings(tmp_path: Path) -> Readings:
    """Questions with 0, 1, 2, ... passages and answers of many lengths; the one with three has no answer."""
    plain = tiny_readings(tmp_path)
    questions = [
        replace(question, answers=(answer, "another") if answer else ())
        for question, answer in zip(plain.questions, ANSWERS, strict=True)
    ]
    return replace(plain, questions=questions)


@torch.no_grad()
def loss(reader: FusionInDecoder, question: str, passages: list[Passage], answer: str) -> float:
    """The library's cross-entropy of the answer, read from these passages and nothing else."""
    batch = reader.batch([question], [passages], answers=[answer])
    if len(passages) > 1:
        return reader(batch).item()
    (pair,) = batch.chunks
    inputs = {"input_ids": pair.token_ids, "attention_mask": pair.mask.long()}
    return reader.model(**inputs, labels=batch.labels).loss.item()


def num_tokens(reader: FusionInDecoder, answer: str) -> int:
    return len(reader.tokenizer(answer, add_special_tokens=False)["input_ids"]) + 1


def by_hand(reader: FusionInDecoder, kind: str, question: str, passages: list[Passage], answer: str) -> list[float]:
    values = []
    for index, passage in enumerate(passages):
        alone = -loss(reader, question, [passage], answer)
        match kind:
            case "perplexity":
                values.append(alone)
            case "likelihood":
                values.append(alone * num_tokens(reader, answer))
            case "leave_one_out":
                values.append(loss(reader, question, passages[:index] + passages[index + 1 :], answer))
            case "perplexity_reduction":
                closed_book = math.exp(loss(reader, question, [], answer))
                values.append((closed_book - math.exp(-alone)) / closed_book)
    return values


@pytest.mark.filterwarnings("ignore:Version v4.12.0:FutureWarning")  # EncoderDecoderModel, whenever it is given labels
@pytest.mark.parametrize("kind", ["perplexity", "likelihood", "leave_one_out", "perplexity_reduction"])
@pytest.mark.parametrize("tokens_at_once", [1, 70, 16_384])
def test_it_equals_encoding_everything_anew(reader, readings, kind, tokens_at_once, monkeypatch):
    monkeypatch.setattr(likelihood, "_TOKENS_AT_ONCE", tokens_at_once)
    judged = list(AnswerLikelihoods(reader, kind, precision="fp32").relevance(readings))
    assert [item.question_id for item in judged] == [question.id for question in readings.questions]
    for index, item in enumerate(judged):
        question = readings.questions[index]
        if not question.answers:
            assert item.passage_ids == item.relevance == ()
            continue
        assert item.passage_ids == readings.passage_ids(index)
        assert len(item.relevance) == COUNTS[index]
        expected = by_hand(reader, kind, question.text, readings.passages(index), question.answers[0])
        assert list(item.relevance) == pytest.approx(expected, abs=2e-5)
        if len(item.relevance) > 1:
            assert len(set(item.relevance)) > 1


def test_each_pair_is_encoded_once(reader, readings, monkeypatch):
    encoded = []
    fuse = reader.fuse
    monkeypatch.setattr(reader, "fuse", lambda batch: encoded.append(int(batch.num_passages.sum())) or fuse(batch))
    for kind, times in (("perplexity", 1), ("leave_one_out", 2), ("perplexity_reduction", 2)):
        encoded.clear()
        list(AnswerLikelihoods(reader, kind, precision="fp32").relevance(readings))
        assert len(encoded) == times  # all in one batch; and once each question alone, where closed book is asked
        assert sum(encoded) == sum(COUNTS) - 3


def test_questions_without_answers_are_left_out_and_counted(reader, readings, caplog):
    for kind in ("perplexity", "likelihood"):
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            list(AnswerLikelihoods(reader, kind, precision="fp32").relevance(readings))
        assert "1 of 7 questions have no answers" in caplog.text


def test_tokens_are_not_judged_by_what_is_left_out(reader, readings):
    with pytest.raises(AssertionError, match="all passages but one"):
        AnswerLikelihoods(reader, "leave_one_out").of_tokens(readings)


def test_what_is_no_token_of_an_answer_has_no_likelihood(reader):
    batch = reader.batch(QUESTIONS[:2], [PASSAGES[:1], PASSAGES[1:2]], answers=["Anna", "the old tower"])
    with torch.inference_mode():
        found = reader.log_likelihood(reader.fuse(batch), batch.labels)
    assert (batch.labels[0] < 0).sum() == 2
    assert torch.equal(found == 0.0, batch.labels < 0)


def test_dropout_is_off_and_batches_do_not_matter(reader, readings, monkeypatch):
    whole = list(AnswerLikelihoods(reader.train(), "leave_one_out", precision="fp32").relevance(readings))
    monkeypatch.setattr("dogeared.reader.answering.questions_per_batch", lambda settings, device, num_passages: 1)
    single = list(AnswerLikelihoods(reader.train(), "leave_one_out", precision="fp32").relevance(readings))
    for one, other in zip(whole, single, strict=True):
        assert one.relevance == pytest.approx(other.relevance, abs=1e-5)
    assert not reader.training


def test_the_likelihood_of_a_token_is_the_softmax_of_the_librarys_logits(reader, readings, tmp_path):
    found = list(AnswerLikelihoods(reader, "likelihood", precision="fp32").of_tokens(readings))
    write_likelihoods(found, tmp_path / "likelihoods.parquet")
    assert list(read_likelihoods(tmp_path / "likelihoods.parquet").values()) == found
    item, question = found[4], readings.questions[4]
    for passage, row in zip(readings.passages(4), item.log_likelihood, strict=True):
        batch = reader.batch([question.text], [[passage]], answers=[question.answers[0]])
        with torch.no_grad():
            logits = reader.decode(reader.fuse(batch), reader.decoder_inputs(batch.labels))[0]
        expected = [logits[t].softmax(dim=0)[label].log().item() for t, label in enumerate(batch.labels[0])]
        assert row == pytest.approx(expected, abs=1e-5)
    assert found[3].log_likelihood == ()
    assert [len(item.log_likelihood) for item in found] == [0, 1, 2, 0, 4, 4, 0]
    assert of_whole_answer(item).relevance == pytest.approx([sum(row) for row in item.log_likelihood])


def test_chosen_states_are_those_of_reading_less(reader):
    with torch.inference_mode():
        whole = reader.fuse(reader.batch(QUESTIONS[:2], [PASSAGES[:4], PASSAGES[1:3]]))
        less = reader.fuse(reader.batch([QUESTIONS[1], QUESTIONS[0]], [PASSAGES[2:3], [PASSAGES[0], PASSAGES[3]]]))
        question = torch.tensor([1, 0])
        owner = whole.passage_of_token[question]
        keep = torch.stack([owner[0] == 1, (owner[1] == 0) | (owner[1] == 3)])
        found = select_states(whole, question, keep)
    assert torch.equal(found.mask, less.mask)
    torch.testing.assert_close(found.states, less.states, rtol=0.0, atol=1e-5)
    assert set(found.passage_of_token[0].tolist()) <= {1, -1}
    assert set(found.passage_of_token[1].tolist()) <= {0, 3, -1}
    assert torch.equal(found.passage_of_token < 0, ~found.mask)
    assert found.num_passages.tolist() == [2, 4]
