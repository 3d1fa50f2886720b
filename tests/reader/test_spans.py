"""Spans that compete over all passages, against sums written out one by one."""

import math

import pytest
import torch

from dogeared.reader.spans import best_spans, marginal_loss, passage_log_posterior, span_scores

PASSAGES = torch.tensor([[-1, 0, 0, -1, 1, 1, 1, -1], [-1, 0, 0, 0, -1, -1, -1, -1]])


def logits(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(seed)
    return torch.randn(2, 8), torch.randn(2, 8)


def all_spans(start, end, row, max_tokens):
    """Every span that may be an answer, with its score, by trying all pairs of tokens."""
    of = PASSAGES[row].tolist()
    return {
        (i, j): float(start[row, i] + end[row, j])
        for i in range(8)
        for j in range(i, min(8, i + max_tokens))
        if of[i] >= 0 and of[i] == of[j]
    }


@pytest.mark.parametrize("max_tokens", [1, 2, 3, 50])
def test_scores_are_those_of_all_spans_within_a_passage(max_tokens):
    start, end = logits()
    scores = span_scores(start, end, PASSAGES, max_tokens=max_tokens)
    for row in range(2):
        found = {
            (i, i + lag): float(scores[row, i, lag])
            for i in range(8)
            for lag in range(scores.shape[2])
            if scores[row, i, lag] > -math.inf
        }
        assert found == pytest.approx(all_spans(start, end, row, max_tokens))
    best = [max(spans, key=spans.get) for spans in (all_spans(start, end, row, max_tokens) for row in range(2))]
    assert best_spans(scores) == best


def test_a_span_does_not_reach_into_the_next_passage_however_well_it_scores():
    start, end = torch.zeros(1, 8), torch.zeros(1, 8)
    start[0, 2], end[0, 4] = 9.0, 9.0
    (best,) = best_spans(span_scores(start, end, PASSAGES[:1], max_tokens=8))
    assert best in {(2, 2), (4, 4)}


def test_where_nothing_can_be_read_there_is_no_span():
    nothing = torch.full((1, 3), -1)
    assert best_spans(span_scores(torch.zeros(1, 3), torch.zeros(1, 3), nothing, max_tokens=2)) == [None]


def test_the_loss_adds_up_all_occurrences_and_normalises_over_all_passages():
    start, end = logits(1)
    readable = PASSAGES >= 0
    loss = marginal_loss(start, end, readable, torch.tensor([[0, 1, 2], [0, 4, 4]]))

    def probability(values, row, token):
        return math.exp(values[row, token]) / sum(math.exp(value) for value in values[row][readable[row]])

    likely = probability(start, 0, 1) * probability(end, 0, 2) + probability(start, 0, 4) * probability(end, 0, 4)
    assert loss.item() == pytest.approx(-math.log(likely) / 2, rel=1e-5)  # the second question has no occurrence


def test_a_better_passage_lowers_the_likelihood_of_the_others():
    start, end = logits(2)
    here = torch.tensor([[0, 1, 1]])
    before = marginal_loss(start, end, PASSAGES >= 0, here)
    start[0, 5] += 3
    assert marginal_loss(start, end, PASSAGES >= 0, here) > before


def test_without_any_occurrence_the_loss_is_nothing_and_has_a_gradient():
    start = torch.zeros(2, 8, requires_grad=True)
    loss = marginal_loss(start, torch.zeros(2, 8), PASSAGES >= 0, torch.zeros(0, 3, dtype=torch.long))
    loss.backward()
    assert loss.item() == 0
    assert start.grad.abs().sum() == 0


def test_the_posterior_is_each_passages_share_of_all_spans():
    start, end = logits(3)
    scores = span_scores(start, end, PASSAGES, max_tokens=2)
    found = passage_log_posterior(scores, PASSAGES, num_passages=torch.tensor([2, 1]), width=2)
    spans = all_spans(start, end, 0, 2)
    shares = [
        sum(math.exp(score) for (i, _), score in spans.items() if PASSAGES[0, i] == passage) for passage in (0, 1)
    ]
    assert found[0].exp().tolist() == pytest.approx([share / sum(shares) for share in shares], rel=1e-5)
    assert found[1].tolist() == [0.0, -math.inf]  # all of what there is; and no second passage


def test_a_passage_of_which_nothing_is_read_counts_as_the_worst():
    start, end = logits(4)
    scores = span_scores(start, end, PASSAGES, max_tokens=2)
    found = passage_log_posterior(scores, PASSAGES, num_passages=torch.tensor([3, 2]), width=3)
    assert found[0, 2] == found[0, :2].min()
    assert found[1].tolist() == pytest.approx([math.log(0.5), math.log(0.5), -math.inf])
    nothing = torch.full_like(scores, -torch.inf)
    flat = passage_log_posterior(nothing, PASSAGES, num_passages=torch.tensor([2, 1]), width=2)
    assert flat[0].tolist() == pytest.approx([math.log(0.5)] * 2)
    assert passage_log_posterior(nothing, PASSAGES, num_passages=torch.tensor([0, 0]), width=0).shape == (2, 0)
