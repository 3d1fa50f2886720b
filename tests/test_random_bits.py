"""Random bits: each number as likely, the same from the same seed on however many threads, and in a forked process."""

import multiprocessing

import pytest
import torch

from dogeared.random_bits import random_bits

SEVERAL_PIECES = (3, 500_007)  # three pieces of 65,536 words of eight numbers, the last one cut short


@pytest.fixture
def threads():
    """Set how many threads there are, for the time of the test."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def drawn(shape, seed=5):
    torch.manual_seed(seed)
    return random_bits(shape)


@pytest.mark.parametrize("shape", [(), (0, 3), (1,), (5, 7), SEVERAL_PIECES])
def test_the_same_comes_of_a_seed_on_any_number_of_threads(shape, threads):
    results = []
    for number in (1, 2, 3):
        threads(number)
        results.append(drawn(shape))
    assert results[0].dtype == torch.int8
    assert results[0].shape == shape
    assert all(torch.equal(results[0], other) for other in results[1:])


def test_torchs_generator_goes_on():
    torch.manual_seed(5)
    first, second = random_bits((50,)), random_bits((50,))
    assert not torch.equal(first, second)
    assert not torch.equal(first, drawn((50,), seed=6))
    state = torch.get_rng_state()
    third = random_bits((50,))
    torch.set_rng_state(state)
    assert torch.equal(random_bits((50,)), third)


def test_each_number_is_as_likely_in_each_piece():
    numbers = drawn(SEVERAL_PIECES).flatten()
    for piece in numbers.split(8 << 16):
        of_each = torch.bincount(piece.int() + 128, minlength=256).double()
        expected = len(piece) / 256
        chi_square = ((of_each - expected) ** 2 / expected).sum().item()
        assert abs(chi_square - 255) < 4 * (2 * 255) ** 0.5
    pieces = torch.stack([piece for piece in numbers.split(8 << 16) if len(piece) == 8 << 16]).double()
    assert abs(torch.corrcoef(pieces)[0, 1].item()) < 0.01  # 7 deviations of 1 / sqrt(524,288)


def test_a_forked_process_draws_too(threads):
    threads(2)
    expected = drawn(SEVERAL_PIECES).numpy().sum()  # the pool has its threads
    context = multiprocessing.get_context("fork")
    results = context.SimpleQueue()
    # By numpy: torch's own threads do not survive a fork either.
    process = context.Process(target=lambda: results.put(drawn(SEVERAL_PIECES).numpy().sum()), daemon=True)
    process.start()
    process.join(60)
    assert process.exitcode == 0
    assert results.get() == expected
