"""Few rows are multiplied as the library does, by another way; many rows and gradients are left to the library."""

import copy

import pytest
import torch
from torch import nn

from dogeared import few_rows
from dogeared.few_rows import FEW_ROWS, is_plain_linear, times_transposed, use_few_rows


@pytest.fixture(params=[1, 2, 3])
def threads(request):
    """So many threads for the time of the test."""
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("few", [0, 1, 2, 7, FEW_ROWS + 1])
@pytest.mark.parametrize("many", [1, 2, 50, 997])  # fewer than threads, and no multiple of them
def test_products_are_those_of_the_library(few, many):
    left, right = torch.randn(few, 33).double(), torch.randn(many, 33).double()
    product = times_transposed(left, right)
    assert product.shape == (few, many)
    torch.testing.assert_close(product, left @ right.T)
    torch.testing.assert_close(times_transposed(left[:, ::2], right[:, ::2]), left[:, ::2] @ right[:, ::2].T)


@pytest.fixture
def taken(monkeypatch):
    """How many rows were multiplied in our way, time after time."""
    rows, product = [], times_transposed
    monkeypatch.setattr(few_rows, "times_transposed", lambda few, many: rows.append(len(few)) or product(few, many))
    return rows


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(8,), (1, 8), (1, 1, 8), (2, 3, 8), (0, 8), (FEW_ROWS, 8), (FEW_ROWS + 1, 8)])
def test_a_layer_gives_what_the_librarys_gives(bias, shape, taken):
    library = nn.Sequential(nn.Linear(8, 31, bias=bias))
    ours = copy.deepcopy(library)
    use_few_rows(ours)
    assert is_plain_linear(ours[0])
    assert ours.state_dict().keys() == library.state_dict().keys()
    rows = torch.randn(shape)
    with torch.inference_mode():
        torch.testing.assert_close(ours(rows), library(rows))
    number = rows.numel() // 8
    assert taken == ([number] if 0 < number <= FEW_ROWS else [])


def test_gradients_and_other_precisions_are_the_librarys(taken):
    layer = nn.Linear(8, 5)
    use_few_rows(layer)
    layer(torch.randn(2, 8)).sum().backward()
    assert layer.weight.grad.abs().sum() > 0
    with torch.inference_mode():
        assert copy.deepcopy(layer).bfloat16()(torch.randn(2, 8).bfloat16()).dtype == torch.bfloat16
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert layer(torch.randn(2, 8)).dtype == torch.bfloat16
    assert taken == []


def test_what_is_more_than_a_linear_layer_is_left_alone():
    class Other(nn.Linear):
        pass

    other = Other(2, 2)
    use_few_rows(other)
    assert type(other) is Other
    assert not is_plain_linear(other)
