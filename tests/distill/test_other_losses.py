"""The losses that the divergence is compared with, and what all of them have in common."""

import math
from itertools import product
from typing import get_args

import numpy as np
import pytest
import torch

from dogeared.distill.losses import (
    LossName,
    cross_entropy,
    distillation_loss,
    graded_infonce,
    kl_divergence,
    max_margin,
    squared_error,
)

INF = math.inf
LOSSES: tuple[LossName, ...] = get_args(LossName)


def random_rows(*, questions: int = 3, passages: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(0)
    score = torch.randn(questions, passages, generator=draw, dtype=torch.float64)
    return score, torch.randn(questions, passages, generator=draw, dtype=torch.float64) * 2


def ragged_rows() -> tuple[torch.Tensor, torch.Tensor]:
    """Five passages, two, one, none; and two that the teacher finds equal."""
    score, relevance = random_rows(questions=5)
    relevance[1, 2:] = -INF
    relevance[2, 1:] = -INF
    relevance[3] = -INF
    relevance[4, 1] = relevance[4, 3]
    return score, relevance


def softmax(values: list[float]) -> list[float]:
    weights = [math.exp(value - max(values)) for value in values]
    return [weight / sum(weights) for weight in weights]


def by_hand(loss: LossName, score: list[float], relevance: list[float], margin: float = 1.0) -> float:
    """One question, passage by passage."""
    score = [s for s, r in zip(score, relevance, strict=True) if r > -INF]
    relevance = [r for r in relevance if r > -INF]
    if not score:
        return 0.0
    places = range(len(score))
    teacher, student = softmax(relevance), softmax(score)
    if loss == "kl":
        return sum(p * math.log(p / q) for p, q in zip(teacher, student, strict=True))
    if loss == "mse":
        return sum((s - r) ** 2 for s, r in zip(score, relevance, strict=True)) / len(score)
    if loss == "max_margin":
        costs = [
            max(0.0, margin - math.copysign(1.0, relevance[a] - relevance[b]) * (score[a] - score[b]))
            for a, b in product(places, places)
            if a < b and relevance[a] != relevance[b]
        ]
        return sum(costs) / len(costs) if costs else 0.0
    if loss == "cross_entropy":
        return -math.log(student[relevance.index(max(relevance))])
    cost = 0.0
    for a in places:
        rivals = [math.exp(score[b]) for b in places if relevance[b] < relevance[a]]
        cost -= teacher[a] * math.log(math.exp(score[a]) / (math.exp(score[a]) + sum(rivals)))
    return cost


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("margin", [0.2, 1.0])
def test_each_is_its_formula_averaged_over_questions(loss: LossName, margin: float):
    score, relevance = ragged_rows()
    expected = [by_hand(loss, s, r, margin) for s, r in zip(score.tolist(), relevance.tolist(), strict=True)]
    assert len({round(value, 4) for value in expected}) >= 4
    assert distillation_loss(score, relevance, loss=loss, margin=margin).item() == pytest.approx(sum(expected) / 5)
    if margin == 1.0:  # where none is named
        assert distillation_loss(score, relevance, loss=loss).item() == pytest.approx(sum(expected) / 5)


def test_hand_numbers():
    score, relevance = torch.tensor([[1.0, 3.0, 2.0]]), torch.tensor([[5.0, 4.0, 0.0]])
    assert squared_error(score, relevance).item() == pytest.approx((16 + 1 + 4) / 3)
    # Wanted 1 > 2 > 3: the first pair is wrong by 2, the second wrong by 1, the third right by 1.
    assert max_margin(score, relevance, margin=1.0).item() == pytest.approx((3 + 2 + 0) / 3)
    assert max_margin(score, relevance, margin=0.1).item() == pytest.approx((2.1 + 1.1 + 0) / 3)
    e = math.e
    assert cross_entropy(score, relevance).item() == pytest.approx(-math.log(e / (e + e**3 + e**2)))
    teacher = torch.tensor([[0.5, 0.3, 0.2]]).log()
    expected = 0.5 * math.log(1 + e**2 + e) + 0.3 * math.log(1 + 1 / e)
    assert graded_infonce(score, teacher).item() == pytest.approx(expected)


@pytest.mark.parametrize("loss", LOSSES)
def test_the_gradient_equals_finite_differences(loss: LossName):
    score, relevance = ragged_rows()

    def value(score: torch.Tensor) -> torch.Tensor:
        return distillation_loss(
            score, relevance, loss=loss, student_temperature=0.7, teacher_temperature=2.0, margin=0.4
        )

    score.requires_grad_()
    value(score).backward()
    step = 1e-6
    for place in np.ndindex(score.shape):
        moved = torch.zeros_like(score)
        moved[place] = step
        with torch.no_grad():
            slope = (value(score + moved) - value(score - moved)) / (2 * step)
        assert score.grad[place].item() == pytest.approx(slope.item(), abs=1e-7)
    assert score.grad.abs().max() > 0.01


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("junk", [0.0, 1e4, -1e4])
def test_absent_passages_change_nothing_and_get_no_gradient(loss: LossName, junk: float):
    score, relevance = ragged_rows()
    narrow = score.clone().requires_grad_()
    expected = distillation_loss(narrow, relevance, loss=loss)
    expected.backward()
    wide = torch.cat([score, torch.full((5, 2), junk)], dim=1)
    wide = torch.where(torch.cat([relevance, torch.full((5, 2), -INF)], dim=1) == -INF, junk, wide).requires_grad_()
    found = distillation_loss(wide, torch.cat([relevance, torch.full((5, 2), -INF)], dim=1), loss=loss)
    found.backward()
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(wide.grad[:, :5], narrow.grad)
    assert torch.isfinite(wide.grad).all()
    absent = torch.cat([relevance, torch.full((5, 2), -INF)], dim=1) == -INF
    assert not wide.grad[absent].any()


@pytest.mark.parametrize("loss", LOSSES)
def test_the_order_of_passages_and_of_questions_does_not_matter(loss: LossName):
    score, relevance = ragged_rows()
    for questions, passages in (([4, 2, 0, 1, 3], [0, 1, 2, 3, 4]), ([0, 1, 2, 3, 4], [3, 1, 4, 0, 2])):
        moved = distillation_loss(score[questions][:, passages], relevance[questions][:, passages], loss=loss)
        torch.testing.assert_close(moved, distillation_loss(score, relevance, loss=loss))


@pytest.mark.parametrize("loss", LOSSES)
def test_questions_in_several_batches_cost_what_they_cost_in_one(loss: LossName):
    score, relevance = (rows.clone() for rows in ragged_rows())
    score.requires_grad_()
    whole = distillation_loss(score, relevance, loss=loss)
    (wanted,) = torch.autograd.grad(whole, score)
    parts = sum(
        distillation_loss(score[part], relevance[part], loss=loss) * len(part) / 5 for part in ([0, 3], [1, 2], [4])
    )
    (found,) = torch.autograd.grad(parts, score)
    torch.testing.assert_close(parts, whole)
    torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("loss", LOSSES)
def test_temperatures_divide(loss: LossName):
    score, relevance = ragged_rows()
    loss_of = distillation_loss(score, relevance, loss=loss, student_temperature=0.25, teacher_temperature=2.0)
    torch.testing.assert_close(loss_of, distillation_loss(score * 4, relevance / 2, loss=loss))


def test_a_hot_student_is_uniform():
    score, relevance = random_rows()
    hot = {"student_temperature": 1e9, "teacher_temperature": 1e9}
    assert distillation_loss(score, relevance, loss="kl", **hot).item() == pytest.approx(0.0, abs=1e-8)
    assert distillation_loss(score, relevance, loss="cross_entropy", **hot).item() == pytest.approx(math.log(5))
    # Uniform weights, and of two to five candidates each is as likely as any other.
    expected = sum(math.log(count) for count in range(1, 6)) / 5
    assert distillation_loss(score, relevance, loss="graded_infonce", **hot).item() == pytest.approx(expected)


def test_only_the_order_of_the_teacher_bears_on_margins():
    score, relevance = random_rows()
    loss = max_margin(score, relevance, margin=1.0)
    torch.testing.assert_close(max_margin(score, relevance.exp() * 7 - 3, margin=1.0), loss)
    torch.testing.assert_close(max_margin(score + 100, relevance, margin=1.0), loss)
    assert max_margin(relevance * 1e3, relevance, margin=1.0).item() == 0.0


def test_all_passages_as_negatives_would_have_the_gradient_of_the_divergence():
    """Why graded InfoNCE leaves out what ranks above: with it, there would be nothing new."""
    score, relevance = random_rows(questions=1)
    score.requires_grad_()
    soft = -(relevance.softmax(1) * score.log_softmax(1)).sum()
    (one,) = torch.autograd.grad(soft, score)
    (other,) = torch.autograd.grad(kl_divergence(score, relevance), score)
    torch.testing.assert_close(one, other)
    (graded,) = torch.autograd.grad(graded_infonce(score, relevance), score)
    assert (graded - other).abs().max() > 0.01


def test_the_reduction_is_of_the_divergence_alone():
    score, relevance = random_rows()
    for loss in LOSSES:
        ratio = distillation_loss(score, relevance, loss=loss) / distillation_loss(
            score, relevance, loss=loss, reduction="reference"
        )
        assert ratio.item() == pytest.approx(5.0 if loss == "kl" else 1.0)
