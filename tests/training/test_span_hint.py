"""Where answers stand among the tokens of all passages, and what pointing at them costs."""

import math
from dataclasses import replace

import pytest
import torch

from dogeared.batching import reader_batch
from dogeared.training.span_hint import HintedReader, fused_token_ids, hinted_batch, pointing_loss
from dogeared.training.train_reader import ReaderTraining, _Source
from tiny_readers import QUESTIONS, passage, tiny_reader, tiny_readings, tiny_tokenizer

PASSAGES = [
    [passage(0, "Anna wrote . Anna sang"), passage(1, "the tall tower")],
    [passage(2, "Cora sang")],
]


def test_tokens_are_laid_as_states_are(tmp_path):
    tokenizer = tiny_tokenizer("t5")
    batch = reader_batch(tokenizer, QUESTIONS[:2], PASSAGES, max_length_tokens=64, max_answer_tokens=8)
    token_ids = fused_token_ids(batch)
    assert ((token_ids >= 0) == batch.plan.mask).all()
    for row, passages in enumerate(PASSAGES):
        for number, one in enumerate(passages):
            of_passage = token_ids[row][batch.plan.passage_of_token[row] == number]
            assert tokenizer(one.text)["input_ids"][:-1] == of_passage[-len(one.text.split()) - 1 : -1].tolist()


def test_every_place_of_every_answer_is_marked(tmp_path):
    tokenizer = tiny_tokenizer("t5")
    batch = reader_batch(tokenizer, QUESTIONS[:2], PASSAGES, max_length_tokens=64, max_answer_tokens=8)
    hinted = hinted_batch(batch, tokenizer, [["Anna", "tall tower"], ["tall Cora"]])
    token_ids = fused_token_ids(batch)
    assert sorted(tokenizer.decode(token_ids[0][hinted.starts[0]]).split()) == ["Anna", "Anna", "tall"]
    assert sorted(tokenizer.decode(token_ids[0][hinted.ends[0]]).split()) == ["Anna", "Anna", "tower"]
    assert not hinted.starts[1].any()
    assert not hinted.ends[1].any()


def test_the_loss_by_hand():
    scores = torch.tensor([[1.0, 2.0, 0.0, 9.0], [1.0, 1.0, 1.0, 1.0]], requires_grad=True)
    mask = torch.tensor([[True, True, True, False], [True, True, True, True]])
    wanted = torch.tensor([[True, False, True, False], [False, False, False, False]])
    loss = pointing_loss(scores, mask, wanted)
    total = math.exp(1) + math.exp(2) + math.exp(0)
    assert loss.tolist() == pytest.approx([-math.log((math.exp(1) + math.exp(0)) / total), 0.0])
    loss.sum().backward()
    assert scores.grad is not None
    assert torch.isfinite(scores.grad).all()
    assert not scores.grad[1].any()  # nothing to point at, nothing to learn
    assert scores.grad[0, 3] == 0  # padding


def test_with_nothing_to_point_at_the_loss_is_zero():
    nothing = torch.zeros(1, 2, dtype=torch.bool)
    assert pointing_loss(torch.zeros(1, 2), torch.ones(1, 2, dtype=torch.bool), nothing).item() == 0.0


def test_a_hint_of_no_weight_is_the_readers_own_loss_and_one_with_weight_reaches_the_encoder(tmp_path):
    reader = tiny_reader("t5", tmp_path)
    batch = reader.batch(QUESTIONS[:2], PASSAGES, answers=["Anna", "Cora"])
    hinted = hinted_batch(batch, reader.tokenizer, [["Anna"], ["Cora"]])
    assert HintedReader(reader, 0.0)(hinted).item() == pytest.approx(reader(batch).item())
    model = HintedReader(reader, 1.0)
    (model(hinted) - reader(batch)).backward()
    assert any(p.grad is not None and p.grad.any() for p in reader.model.get_encoder().parameters())
    assert model.pointer.weight.grad is not None
    assert model.pointer.weight.grad.any()


def test_the_loss_of_a_step_with_hints_does_not_depend_on_how_it_is_cut(tmp_path):
    """Questions have hints or none, and labels of different length."""
    reader = tiny_reader("t5", tmp_path)
    answers = ["Anna", "tower Rome north", "Ghent", "Anna", "Emil built the tower by", "Bert", "nothing"]
    readings = tiny_readings(tmp_path, num_passages=4)
    questions = [replace(q, answers=(text,)) for q, text in zip(readings.questions, answers, strict=True)]
    readings = replace(readings, questions=questions)
    torch.manual_seed(0)
    hinted = HintedReader(reader, 1.0).eval()
    plain, losses = {}, {}
    for size in (0, 1, 2, 3):
        for model, found, weight in ((hinted, losses, 1.0), (reader, plain, 0.0)):
            settings = ReaderTraining(questions_per_step=len(answers), questions_per_batch=size, hint_weight=weight)
            batches = _Source(reader, readings, settings, seed=0, language="en").batches_of_step(0)
            whole = sum(batch.weight for batch in batches)
            with torch.no_grad():
                found[size] = sum(float(model(batch)) * batch.weight / whole for batch in batches)
    assert list(plain.values()) == pytest.approx([plain[0]] * 4, rel=1e-5)
    assert list(losses.values()) == pytest.approx([losses[0]] * 4, rel=1e-5)
    assert losses[0] > plain[0] + 1.0
