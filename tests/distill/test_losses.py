"""The loss is the divergence of equation 5, one softmax a question, in the scale its name says."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from dogeared.distill.losses import Reduction, kl_divergence

INF = math.inf
REDUCTIONS: tuple[Reduction, ...] = ("batch_mean", "reference")


def by_hand(score: list[float], relevance: list[float]) -> float:
    """KL(softmax(relevance) || softmax(score)) of the passages of one question that are there."""
    present = [place for place, value in enumerate(relevance) if value > -INF]

    def softmax(values: list[float]) -> list[float]:
        weights = [math.exp(values[place]) for place in present]
        return [weight / sum(weights) for weight in weights]

    return sum(p * math.log(p / q) for p, q in zip(softmax(relevance), softmax(score), strict=True))


def random_rows(seed: int = 0, *, questions: int = 3, passages: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(questions, passages, generator=draw), torch.randn(questions, passages, generator=draw) * 2


def test_hand_numbers():
    # Teacher 3/4, 1/4; student 1/2, 1/2.
    loss = kl_divergence(torch.zeros(1, 2), torch.tensor([[math.log(3.0), 0.0]]))
    assert loss.item() == pytest.approx(0.75 * math.log(1.5) + 0.25 * math.log(0.5), abs=1e-7)
    # The other way round is another number: the teacher is what is averaged over.
    loss = kl_divergence(torch.tensor([[math.log(3.0), 0.0]]), torch.zeros(1, 2))
    assert loss.item() == pytest.approx(0.5 * math.log(2 / 3) + 0.5 * math.log(2.0), abs=1e-6)


def test_several_questions_are_averaged():
    score, relevance = random_rows()
    expected = [by_hand(s, r) for s, r in zip(score.tolist(), relevance.tolist(), strict=True)]
    assert kl_divergence(score, relevance).item() == pytest.approx(sum(expected) / 3, abs=1e-6)
    assert len({round(value, 3) for value in expected}) == 3


def test_batch_mean_is_what_torch_calls_batchmean():
    score, relevance = random_rows()
    theirs = nn.KLDivLoss(reduction="batchmean")(score.log_softmax(1), relevance.softmax(1))
    torch.testing.assert_close(kl_divergence(score, relevance), theirs)


@pytest.mark.filterwarnings("ignore:.*reduction.*mean.*:UserWarning")  # torch's own, about the very thing compared
@pytest.mark.parametrize("passages", [2, 5, 100])
def test_reference_is_torch_s_default_and_so_divided_by_the_number_of_passages(passages: int):
    score, relevance = random_rows(passages=passages)
    theirs = nn.KLDivLoss()(score.log_softmax(1), relevance.softmax(1))
    ours = kl_divergence(score, relevance, reduction="reference")
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(ours * passages, kl_divergence(score, relevance))


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("temperatures", [(1.0, 1.0), (0.5, 3.0)])
def test_the_gradient_equals_finite_differences(reduction: Reduction, temperatures: tuple[float, float]):
    score, relevance = (rows.double() for rows in random_rows())
    relevance[1, 2:] = -INF

    def loss(score: torch.Tensor) -> torch.Tensor:
        student, teacher = temperatures
        return kl_divergence(
            score, relevance, student_temperature=student, teacher_temperature=teacher, reduction=reduction
        )

    score.requires_grad_()
    loss(score).backward()
    step = 1e-6
    for place in np.ndindex(score.shape):
        moved = torch.zeros_like(score)
        moved[place] = step
        with torch.no_grad():
            slope = (loss(score + moved) - loss(score - moved)) / (2 * step)
        assert score.grad[place].item() == pytest.approx(slope.item(), abs=1e-8)
    assert score.grad.abs().max() > 0.01


def test_the_gradient_is_student_less_teacher():
    score, relevance = random_rows(questions=1)
    score.requires_grad_()
    kl_divergence(score, relevance).backward()
    torch.testing.assert_close(score.grad, score.detach().softmax(1) - relevance.softmax(1))


def test_equal_softmaxes_cost_nothing_and_pull_nowhere():
    _, relevance = random_rows()
    score = (relevance + torch.tensor([[5.0], [-7.0], [0.0]])).requires_grad_()
    loss = kl_divergence(score, relevance)
    loss.backward()
    assert loss.item() == pytest.approx(0.0, abs=1e-6)
    assert score.grad.abs().max() < 1e-6


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_the_order_of_passages_and_of_questions_does_not_matter(reduction: Reduction):
    score, relevance = random_rows()
    relevance[0, 3] = -INF
    loss = kl_divergence(score, relevance, reduction=reduction)
    for questions, passages in (([2, 0, 1], [0, 1, 2, 3]), ([0, 1, 2], [3, 1, 0, 2])):
        moved = kl_divergence(score[questions][:, passages], relevance[questions][:, passages], reduction=reduction)
        torch.testing.assert_close(moved, loss)


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_one_softmax_covers_one_question(reduction: Reduction):
    """Other questions' scores leave this question's share of the loss, and its gradient, bit for bit as they were."""
    score, relevance = random_rows()

    def own(others: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        whole = torch.cat([score[:1], others]).requires_grad_()
        kl_divergence(whole, relevance, reduction=reduction).backward()
        # What the others cost is known: they are compared as a batch of their own.
        rest = kl_divergence(others, relevance[1:], reduction=reduction) * 2
        return whole.grad[0], kl_divergence(whole.detach(), relevance, reduction=reduction) * 3 - rest

    gradient, loss = own(score[1:])
    for changed in (score[1:] + 10 * torch.randn(2, 4), torch.zeros(2, 4)):
        changed_gradient, changed_loss = own(changed)
        assert torch.equal(changed_gradient, gradient)
        torch.testing.assert_close(changed_loss, loss, rtol=0.0, atol=1e-5)
    assert loss.item() == pytest.approx(kl_divergence(score[:1], relevance[:1], reduction=reduction).item(), abs=1e-6)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("junk", [0.0, 1e4, -1e4])
def test_absent_passages_change_nothing_and_get_no_gradient(reduction: Reduction, junk: float):
    score, relevance = random_rows()
    score.requires_grad_()
    loss = kl_divergence(score, relevance, reduction=reduction)
    loss.backward()
    wider_score = torch.cat([score.detach(), torch.full((3, 2), junk)], dim=1).requires_grad_()
    wider = kl_divergence(wider_score, torch.cat([relevance, torch.full((3, 2), -INF)], dim=1), reduction=reduction)
    wider.backward()
    torch.testing.assert_close(wider, loss)
    torch.testing.assert_close(wider_score.grad[:, :4], score.grad)
    assert wider_score.grad[:, 4:].tolist() == [[0.0, 0.0]] * 3


def test_questions_with_fewer_passages_cost_what_they_cost_alone():
    score, relevance = random_rows()
    relevance[0, 2:] = -INF
    relevance[2, 3:] = -INF
    counts = [2, 4, 3]
    expected = [by_hand(s, r) for s, r in zip(score.tolist(), relevance.tolist(), strict=True)]
    assert kl_divergence(score, relevance).item() == pytest.approx(sum(expected) / 3, abs=1e-6)
    shares = [value / count for value, count in zip(expected, counts, strict=True)]
    assert kl_divergence(score, relevance, reduction="reference").item() == pytest.approx(sum(shares) / 3, abs=1e-6)


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_a_question_without_passages_costs_nothing_and_spoils_nothing(reduction: Reduction):
    score, relevance = random_rows()
    relevance[1] = -INF
    score.requires_grad_()
    loss = kl_divergence(score, relevance, reduction=reduction)
    loss.backward()
    rest = kl_divergence(score[[0, 2]], relevance[[0, 2]], reduction=reduction)
    torch.testing.assert_close(loss, rest * 2 / 3)
    assert score.grad[1].tolist() == [0.0] * 4
    assert torch.isfinite(score.grad).all()


def test_a_hot_teacher_is_uniform_and_a_cold_one_sees_its_best_alone():
    score, relevance = random_rows()
    uniform = kl_divergence(score, torch.zeros_like(score))
    torch.testing.assert_close(kl_divergence(score, relevance, teacher_temperature=1e6), uniform, rtol=0, atol=1e-4)
    best = -score.log_softmax(1).gather(1, relevance.argmax(1, keepdim=True)).mean()
    torch.testing.assert_close(kl_divergence(score, relevance, teacher_temperature=1e-4), best)


def test_temperatures_divide():
    score, relevance = random_rows()
    loss = kl_divergence(score, relevance, student_temperature=0.25, teacher_temperature=2.0)
    torch.testing.assert_close(loss, kl_divergence(score * 4, relevance / 2))


def test_scores_far_apart_stay_finite():
    score = torch.tensor([[900.0, -900.0]], requires_grad=True)
    loss = kl_divergence(score, torch.tensor([[-900.0, 900.0]]))
    loss.backward()
    assert loss.item() == pytest.approx(1800.0)
    assert score.grad.tolist() == [[1.0, -1.0]]


@settings(deadline=None)
@given(
    st.integers(2, 6).flatmap(
        lambda n: st.tuples(*[st.lists(st.floats(-20, 20, width=32), min_size=n, max_size=n)] * 2)
    )
)
def test_it_is_never_negative_and_equals_the_formula(rows: tuple[list[float], list[float]]):
    loss = kl_divergence(torch.tensor([rows[0]]), torch.tensor([rows[1]])).item()
    assert loss >= -1e-5
    assert loss == pytest.approx(by_hand(*rows), abs=1e-4)


def test_a_teacher_of_another_shape_is_refused_in_tests():
    """Broadcast, a (2, 1) teacher would give a plausible number."""
    with pytest.raises(TypeError, match="relevance"):
        kl_divergence(torch.zeros(2, 3), torch.zeros(2, 1))
