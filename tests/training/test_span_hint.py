"""Where answers stand among the tokens of all passages, and what pointing at them costs."""

import math

import pytest
import torch

from dogeared.batching import reader_batch
from dogeared.training.span_hint import HintedReader, fused_token_ids, hinted_batch, pointing_loss
from tiny_readers import QUESTIONS, passage, tiny_reader, tiny_tokenizer

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
    assert loss.item() == pytest.approx(-math.log((math.exp(1) + math.exp(0)) / total))
    loss.backward()
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
