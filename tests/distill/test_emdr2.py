"""The answer's likelihood with the passage summed out, against sums in plain probabilities."""

import math

import pytest
import torch
import torch.nn.functional as F

from dogeared.distill.emdr2 import emdr2_of_answers, emdr2_of_tokens, likelihood_grid
from dogeared.records import AnswerLikelihood

ABSENT = torch.tensor([[False] * 4, [False, False, True, True], [False, True, True, True]])
OUTPUTS = torch.tensor([[True, True, True], [True, True, False], [True, False, False]])


def drawn(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Scores that want a gradient, and log-likelihoods by passage and token."""
    draw = torch.Generator().manual_seed(seed)
    score = torch.randn(3, 4, generator=draw, dtype=torch.float64).requires_grad_()
    tokens = -3 * torch.rand(3, 4, 3, generator=draw, dtype=torch.float64)
    return score, tokens.masked_fill(ABSENT[:, :, None], -math.inf)


def whole(tokens: torch.Tensor) -> torch.Tensor:
    return tokens.masked_fill(~OUTPUTS[:, None, :] & ~ABSENT[:, :, None], 0.0).sum(dim=2)


def shares(score: torch.Tensor, question: int, temperature: float) -> list[float]:
    weights = [
        0.0 if ABSENT[question, passage] else math.exp(score[question, passage].item() / temperature)
        for passage in range(4)
    ]
    return [weight / sum(weights) for weight in weights]


@pytest.mark.parametrize("temperature", [1.0, 0.1, 3.0])
def test_of_answers_equals_a_sum_over_passages(temperature):
    score, tokens = drawn()
    expected = 0.0
    for question in range(3):
        prior = shares(score, question, temperature)
        present = [p for p in range(4) if not ABSENT[question, p]]
        chance = sum(
            prior[p] * math.prod(tokens[question, p, t].exp().item() for t in range(3) if OUTPUTS[question, t])
            for p in present
        )
        expected -= math.log(chance) / 3
    found = emdr2_of_answers(score, whole(tokens), student_temperature=temperature)
    assert found.item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("temperature", [1.0, 0.1, 3.0])
def test_of_tokens_equals_a_sum_over_passages_for_each_token(temperature):
    score, tokens = drawn()
    expected = 0.0
    for question in range(3):
        prior = shares(score, question, temperature)
        real = [t for t in range(3) if OUTPUTS[question, t]]
        costs = [-math.log(sum(prior[p] * tokens[question, p, t].exp().item() for p in range(4))) for t in real]
        expected += sum(costs) / len(real) / 3
    found = emdr2_of_tokens(score, tokens, OUTPUTS, student_temperature=temperature)
    assert found.item() == pytest.approx(expected, rel=1e-9)


def test_one_passage_and_one_token_give_the_cross_entropy_of_the_reader():
    logits, label = torch.randn(1, 9, generator=torch.Generator().manual_seed(1)), torch.tensor([4])
    expected = F.cross_entropy(logits, label).item()
    likelihood = logits.log_softmax(dim=1)[:, label]
    score = torch.tensor([[2.5]])
    assert emdr2_of_answers(score, likelihood).item() == pytest.approx(expected, rel=1e-6)
    assert emdr2_of_tokens(score, likelihood[:, :, None], torch.tensor([[True]])).item() == pytest.approx(expected)


def test_one_token_makes_both_forms_equal():
    score, tokens = drawn()
    one = torch.tensor([[True], [True], [True]])
    of_tokens = emdr2_of_tokens(score, tokens[:, :, :1], one)
    torch.testing.assert_close(of_tokens, emdr2_of_answers(score, tokens[:, :, 0]))


@pytest.mark.parametrize("form", ["answers", "tokens"])
def test_the_gradient_is_prior_minus_posterior_and_absent_passages_get_none(form):
    score, tokens = drawn()
    likelihood = tokens.clone().requires_grad_()
    if form == "answers":
        emdr2_of_answers(score, whole(likelihood)).backward()
        posterior = torch.softmax(
            score.detach().masked_fill(ABSENT, -math.inf).log_softmax(dim=1) + whole(tokens), dim=1
        )
        prior = score.detach().masked_fill(ABSENT, -math.inf).softmax(dim=1)
        torch.testing.assert_close(score.grad, (prior - posterior) / 3)
    else:
        emdr2_of_tokens(score, likelihood, OUTPUTS).backward()
    assert torch.isfinite(score.grad).all()
    assert (score.grad[ABSENT] == 0).all()
    assert (score.grad[:2][~ABSENT[:2]] != 0).all()
    assert likelihood.grad is None
    torch.testing.assert_close(score.grad.sum(dim=1), torch.zeros(3, dtype=torch.float64))


def test_finite_differences_agree():
    _, tokens = drawn()
    score = torch.randn(3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(3)).requires_grad_()
    assert torch.autograd.gradcheck(lambda s: emdr2_of_answers(s, whole(tokens)), (score,))
    assert torch.autograd.gradcheck(lambda s: emdr2_of_tokens(s, tokens, OUTPUTS), (score,))


@pytest.mark.parametrize("junk", [0.0, -1e9, 7.0, math.nan])
def test_tokens_after_the_answer_and_scores_of_absent_passages_never_count(junk):
    score, tokens = drawn()
    padded = tokens.masked_fill(~OUTPUTS[:, None, :] & ~ABSENT[:, :, None], junk)
    spoiled = score.detach().masked_fill(ABSENT, 99.0)
    assert torch.equal(emdr2_of_tokens(spoiled, padded, OUTPUTS), emdr2_of_tokens(score.detach(), tokens, OUTPUTS))
    assert torch.equal(emdr2_of_answers(spoiled, whole(tokens)), emdr2_of_answers(score.detach(), whole(tokens)))


@pytest.mark.parametrize("junk", [-math.inf, math.nan])
def test_what_stands_behind_an_answer_spoils_no_gradient(junk):
    score, tokens = drawn()
    padded = tokens.masked_fill(~OUTPUTS[:, None, :] & ~ABSENT[:, :, None], junk)
    found, wanted = (
        torch.autograd.grad(emdr2_of_tokens(score, likelihood, OUTPUTS), score)[0] for likelihood in (padded, tokens)
    )
    torch.testing.assert_close(found, wanted, rtol=0, atol=0)


def test_the_order_of_passages_does_not_matter():
    score, tokens = drawn()
    order = torch.tensor([2, 0, 3, 1])
    torch.testing.assert_close(
        emdr2_of_tokens(score[:, order], tokens[:, order], OUTPUTS), emdr2_of_tokens(score, tokens, OUTPUTS)
    )


def test_likelihoods_of_unequal_answers_and_rankings_are_laid_out():
    judged = [
        AnswerLikelihood(question_id="a", passage_ids=("x", "y", "z"), log_likelihood=((-1.0,), (-2.0,), (-3.0,))),
        AnswerLikelihood(question_id="b", passage_ids=("x",), log_likelihood=((-4.0, -5.0),)),
    ]
    grid, mask = likelihood_grid(judged, num_passages=2)
    assert grid.tolist() == [[[-1.0, 0.0], [-2.0, 0.0]], [[-4.0, -5.0], [-math.inf, -math.inf]]]
    assert mask.tolist() == [[True, False], [True, True]]
    alone = [
        emdr2_of_tokens(torch.zeros(1, len(one.passage_ids[:2])), *likelihood_grid([one], num_passages=2)).item()
        for one in judged
    ]
    assert emdr2_of_tokens(torch.zeros(2, 2), grid, mask).item() == pytest.approx(sum(alone) / 2)
