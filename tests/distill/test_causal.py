"""The likelihood of an answer under a language model, against the library's own loss, prompt by prompt."""

import logging
from dataclasses import replace

import pytest
import torch

from dogeared.distill import causal
from dogeared.distill.causal import CausalLikelihood, load_causal, prompt_ids
from dogeared.errors import ModelError
from tiny_causal import CAUSAL, save_tiny_causal, tiny_causal
from tiny_readers import PASSAGES, QUESTIONS, tiny_readings

ANSWERS = ["Anna", "in Rome", "the long river", "", "Emil built the tower", "Oslo", "Paris"]


@pytest.fixture(params=CAUSAL)
def kind(request):
    return request.param


@pytest.fixture
def readings(tmp_path):
    plain = tiny_readings(tmp_path)
    answered = zip(plain.questions, ANSWERS, strict=True)
    return replace(plain, questions=[replace(q, answers=(a, "song") if a else ()) for q, a in answered])


@torch.no_grad()
def by_hand(kind, question, passage, answer):
    """Minus the library's loss, of a prompt tokenized as one text."""
    model, tokenizer = tiny_causal(kind)
    prompt = f"{passage.title}\n{passage.text}\n\nQuestion: {question}\nAnswer:"
    ids = tokenizer(prompt, add_special_tokens=False)["input_ids"]
    ids = ids if tokenizer.bos_token_id is None else [tokenizer.bos_token_id, *ids]
    ends = tokenizer(answer, add_special_tokens=False)["input_ids"]
    labels = torch.tensor([[-100] * len(ids) + ends])
    return -model(input_ids=torch.tensor([[*ids, *ends]]), labels=labels).loss.item()


@pytest.mark.parametrize("tokens_at_once", [1, 100, 8_192])
def test_it_equals_the_librarys_loss(kind, readings, tokens_at_once, monkeypatch, caplog):
    monkeypatch.setattr(causal, "_TOKENS_AT_ONCE", tokens_at_once)
    with caplog.at_level(logging.WARNING):
        found = list(CausalLikelihood(*tiny_causal(kind)).relevance(readings))
    assert "1 of 7 questions have no answers" in caplog.text
    assert [item.question_id for item in found] == [question.id for question in readings.questions]
    assert [len(item.relevance) for item in found] == [0, 1, 2, 0, 4, 4, 0]
    assert [item.passage_ids for item in found] == [readings.passage_ids(i) if i != 3 else () for i in range(7)]
    for index, item in enumerate(found):
        question = readings.questions[index]
        for passage, value in zip(readings.passages(index) if item.relevance else (), item.relevance, strict=True):
            assert value == pytest.approx(by_hand(kind, question.text, passage, question.answers[0]), abs=2e-5)
    assert len({round(value, 4) for value in found[4].relevance}) > 1


def test_a_passage_is_cut_to_fit_and_nothing_else_is(kind):
    _, tokenizer = tiny_causal(kind)
    (whole,), _ = prompt_ids(tokenizer, QUESTIONS[0], PASSAGES[:1], "Anna Cora", max_length_tokens=200)
    num_passage = len(tokenizer(f"the book {PASSAGES[0].text}", add_special_tokens=False)["input_ids"])
    num_before = num_passage + (tokenizer.bos_token_id is not None)
    (cut,), num_answer = prompt_ids(
        tokenizer, QUESTIONS[0], PASSAGES[:1], "Anna Cora", max_length_tokens=len(whole) - 3
    )
    assert num_answer == 2
    assert cut == whole[: num_before - 3] + whole[num_before:]
    short = len(whole) - num_passage  # room for question and answer, and for nothing else
    (none,), _ = prompt_ids(tokenizer, QUESTIONS[0], PASSAGES[:1], "Anna Cora", max_length_tokens=short)
    assert none == whole[: num_before - num_passage] + whole[num_before:]
    with pytest.raises(ModelError, match=rf"expected room for a question and its answer, {short - 1} are too few"):
        prompt_ids(tokenizer, QUESTIONS[0], PASSAGES[:1], "Anna Cora", max_length_tokens=short - 1)
    with pytest.raises(ModelError, match=r"teacher\.max_length_tokens: expected room for a question and its answer, 5"):
        prompt_ids(tokenizer, QUESTIONS[0], PASSAGES[:1], "Anna", max_length_tokens=5)


def test_a_saved_model_is_loaded_and_what_is_none_is_refused(kind, readings, tmp_path):
    name = save_tiny_causal(kind, tmp_path / "model")
    loaded = list(CausalLikelihood(*load_causal(name)).relevance(readings))
    assert loaded == list(CausalLikelihood(*tiny_causal(kind)).relevance(readings))
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / "config.json").write_text("{}")
    with pytest.raises(ModelError, match=r"teacher\.model: expected a decoder-only language model"):
        load_causal(str(tmp_path / "none"))


def test_on_a_cpu_a_model_saved_in_half_precision_computes_in_single(kind, tmp_path):
    model, tokenizer = tiny_causal(kind)
    model.bfloat16().save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    loaded, _ = load_causal(str(tmp_path))
    assert loaded.dtype == (torch.float32 if loaded.device.type == "cpu" else torch.bfloat16)
