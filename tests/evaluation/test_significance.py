"""Paired tests: counted out by hand and by brute force, and right as often as they say."""

import itertools

import numpy as np
import pytest

from dogeared.errors import DataError
from dogeared.evaluation import significance
from dogeared.evaluation.significance import bootstrap_interval, compare_paired, randomization_p


def by_brute_force(differences):
    """Every way in which the signs can fall, one after the other."""
    observed = abs(sum(differences))
    ways = list(itertools.product((1, -1), repeat=len(differences)))
    as_large = sum(
        abs(sum(sign * value for sign, value in zip(signs, differences, strict=True))) >= observed - 1e-9
        for signs in ways
    )
    return as_large / len(ways)


@pytest.mark.parametrize("seed", range(5))
def test_ten_questions_agree_with_every_flip_of_signs(seed):
    draw = np.random.default_rng(seed)
    for values in (draw.normal(0.4, 1, size=10), draw.integers(-1, 2, size=10) / 4, draw.integers(0, 2, size=10) / 2):
        assert randomization_p(values) == pytest.approx(by_brute_force(values.tolist()), abs=1e-12)
        # Questions without a difference are left out of the tosses, and so change nothing.
        assert randomization_p(np.concatenate([values, np.zeros(5)])) == randomization_p(values)


@pytest.mark.parametrize("seed", range(5))
def test_drawn_signs_come_near_to_all_signs(seed):
    values = np.random.default_rng(seed).normal(0.5, 1, size=10)
    drawn = randomization_p(values, seed=seed, num_draws=1000)
    wanted = by_brute_force(values.tolist())
    assert drawn != wanted
    assert drawn == pytest.approx(wanted, abs=4 * (wanted * (1 - wanted) / 1000) ** 0.5 + 1 / 1000)


def test_all_ways_are_counted_where_they_are_no_more_than_draws():
    values = np.random.default_rng(0).normal(0.5, 1, size=10)
    assert randomization_p(values, num_draws=1024) == pytest.approx(by_brute_force(values.tolist()), abs=1e-12)
    assert randomization_p(values, num_draws=1023) != randomization_p(values, num_draws=1024)


def test_by_hand_a_sum_of_nothing_is_never_larger_than_chance():
    """Differences that cancel out sum to 0, and every way in which signs fall sums to as much or more."""
    assert randomization_p(np.array([1.0, -1.0])) == 1.0
    assert randomization_p(np.tile([1.0, -1.0], 20)) == 1.0  # drawn: 2 to the 40 ways


def test_by_hand_a_sum_that_no_draw_reaches_counts_itself_alone():
    """Forty signs that are all the same fall so once in 2 to the 39: in none of the draws."""
    assert randomization_p(np.ones(40), num_draws=99) == 1 / 100


def test_drawing_in_parts_changes_nothing(monkeypatch):
    values = np.random.default_rng(0).normal(0.1, 1, size=200)
    whole = [randomization_p(values, num_draws=99), *bootstrap_interval(values, num_draws=99)]
    for size in (5000, 10):
        monkeypatch.setattr(significance, "_VALUES_AT_ONCE", size)
        parts = [randomization_p(values, num_draws=99), *bootstrap_interval(values, num_draws=99)]
        assert parts == pytest.approx(whole)


def test_values_of_known_variance_have_the_interval_of_a_normal_mean():
    """400 values of which half are 1 and half -1, about a mean of 0.1: the mean's standard deviation is 1/20."""
    values = np.tile([1.0, -1.0], 200) + 0.1
    low, high = bootstrap_interval(values)
    assert low == pytest.approx(0.1 - 1.96 / 20, abs=0.006)
    assert high == pytest.approx(0.1 + 1.96 / 20, abs=0.006)
    # Two standard deviations from 0: by the normal law 0.0455.
    assert randomization_p(values) == pytest.approx(0.0455, abs=0.01)


def test_chance_alone_is_found_significant_as_often_as_said():
    """Of 400 pairs of systems that differ by chance alone, 5 % have a p of at most 0.05, give or take."""
    draw = np.random.default_rng(1)
    ps = np.array([randomization_p(draw.normal(size=30), num_draws=999) for _ in range(400)])
    assert (ps <= 0.05).mean() == pytest.approx(0.05, abs=0.044)
    assert (ps <= 0.5).mean() == pytest.approx(0.5, abs=0.1)
    covered = []
    for _ in range(400):
        low, high = bootstrap_interval(draw.normal(size=60), num_draws=500)
        covered.append(low <= 0 <= high)
    assert np.mean(covered) == pytest.approx(0.94, abs=0.05)


def test_a_comparison_counts_wins_and_losses_and_points_from_first_to_second():
    found = compare_paired([0.0, 0.5, 1.0, 0.25], [1.0, 0.5, 0.5, 0.75])
    assert (found.num_questions, found.wins, found.losses) == (4, 2, 1)
    assert (found.mean_a, found.mean_b, found.difference) == (0.4375, 0.6875, 0.25)
    # The differences 1, -0.5 and 0.5 sum to 1. With signs they sum to 2, 1, 1 or 0, and to the same below 0.
    assert found.p == 0.75
    assert found.low <= found.difference <= found.high
    assert found == compare_paired([0.0, 0.5, 1.0, 0.25], [1.0, 0.5, 0.5, 0.75])
    turned = compare_paired([1.0, 0.5, 0.5, 0.75], [0.0, 0.5, 1.0, 0.25])
    assert (turned.p, turned.difference, turned.wins) == (found.p, -found.difference, found.losses)


def test_a_comparison_draws_by_its_seed_and_by_0_where_none_is_named():
    draw = np.random.default_rng(0)
    before, after = draw.normal(size=30), draw.normal(0.3, size=30)
    differences = after - before
    before, after = before.tolist(), after.tolist()
    for seed in (0, 7):
        found = compare_paired(before, after, seed=seed)
        assert (found.low, found.high) == bootstrap_interval(differences, seed=seed)
        assert found.p == randomization_p(differences, seed=seed)
    assert (
        compare_paired(before, after, seed=0) == compare_paired(before, after) != compare_paired(before, after, seed=7)
    )
    assert randomization_p(differences) == randomization_p(differences, seed=0)
    assert bootstrap_interval(differences) == bootstrap_interval(differences, seed=0)


def test_right_and_wrong_are_values_too():
    assert compare_paired([True, False, False], [True, True, True]) == compare_paired([1, 0, 0], [1.0, 1.0, 1.0])


def test_no_difference_is_no_sign_of_one():
    found = compare_paired([0.5] * 30, [0.5] * 30)
    assert (found.p, found.low, found.high, found.wins, found.losses) == (1.0, 0.0, 0.0, 0, 0)
    with pytest.raises(DataError, match="at least one question"):
        compare_paired([], [])
