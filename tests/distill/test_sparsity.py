"""What sparse vectors cost to search, by hand."""

import pytest
import torch

from dogeared.distill.sparsity import search_cost


def test_by_hand_the_mean_number_of_each_word_is_squared():
    vectors = torch.tensor([[1.0, 0.0, -4.0], [3.0, 0.0, 0.0], [2.0, 0.0, 1.0], [0.0, 0.0, 1.0]])
    assert search_cost(vectors).item() == pytest.approx((6 / 4) ** 2 + 0 + (6 / 4) ** 2)


def test_words_that_stand_everywhere_cost_more_than_as_many_that_stand_apart():
    together, apart = torch.tensor([[1.0, 0.0], [1.0, 0.0]]), torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    assert (search_cost(together).item(), search_cost(apart).item()) == (1.0, 0.5)
