"""A question's best passage against other questions' passages, and never against its own."""

import math

import pytest
import torch
from torch import nn

from dogeared.distill.contrastive import contrastive_loss, in_batch_negatives

OWN = [[10, 11, 12], [12, 13], [14, 10], [15]]
"""Passages of four questions: 12 and 10 stand in two lists."""


def rows() -> tuple[torch.Tensor, torch.Tensor]:
    pairs = [(passage, question) for question, passages in enumerate(OWN) for passage in passages]
    passages, questions = zip(*pairs, strict=True)
    return torch.tensor(passages), torch.tensor(questions)


def test_negatives_are_the_others_passages_each_once_and_never_one_s_own():
    passages, questions = rows()
    mask = in_batch_negatives(passages, questions, num_questions=4)
    assert mask.shape == (4, 8)
    for question, own in enumerate(OWN):
        negatives = passages[mask[question]].tolist()
        assert sorted(negatives) == sorted({10, 11, 12, 13, 14, 15} - set(own))


def test_it_is_the_cross_entropy_of_the_positive_among_its_negatives():
    passages, questions = rows()
    mask = in_batch_negatives(passages, questions, num_questions=4)
    score = torch.randn(4, 8, generator=torch.Generator().manual_seed(0))
    positive = torch.tensor([1, 4, 5, 7])
    costs = []
    for question in range(4):
        among = [positive[question].item(), *mask[question].nonzero().squeeze(1).tolist()]
        costs.append(nn.functional.cross_entropy(score[question, among][None] / 0.5, torch.tensor([0])).item())
    found = contrastive_loss(score, positive, mask, temperature=0.5).item()
    assert found == pytest.approx(sum(costs) / 4, abs=1e-6)
    assert contrastive_loss(score / 0.5, positive, mask).item() == pytest.approx(found, abs=1e-6)


def test_a_hot_temperature_makes_all_equal():
    passages, questions = rows()
    mask = in_batch_negatives(passages, questions, num_questions=4)
    score = torch.randn(4, 8, generator=torch.Generator().manual_seed(0))
    expected = sum(math.log(1 + count) for count in (3, 4, 4, 5)) / 4
    found = contrastive_loss(score, torch.tensor([1, 4, 5, 7]), mask, temperature=1e9).item()
    assert found == pytest.approx(expected, abs=1e-5)


def test_the_gradient_pulls_the_positive_pushes_negatives_and_leaves_the_rest():
    passages, questions = rows()
    mask = in_batch_negatives(passages, questions, num_questions=4)
    score = torch.randn(4, 8, generator=torch.Generator().manual_seed(0)).requires_grad_()
    positive = torch.tensor([1, 4, 5, 7])
    contrastive_loss(score, positive, mask).backward()
    is_positive = torch.zeros_like(mask).scatter(1, positive[:, None], True)
    assert (score.grad[is_positive] < 0).all()
    assert (score.grad[mask] > 0).all()
    assert not score.grad[~mask & ~is_positive].any()
    assert score.grad.sum(dim=1).abs().max() < 1e-6


def test_one_question_alone_has_no_negatives_and_costs_nothing():
    mask = in_batch_negatives(torch.tensor([3, 4]), torch.tensor([0, 0]), num_questions=1)
    score = torch.tensor([[0.3, 0.7]], requires_grad=True)
    loss = contrastive_loss(score, torch.tensor([1]), mask)
    loss.backward()
    assert loss.item() == 0.0
    assert score.grad.tolist() == [[0.0, 0.0]]
