"""Which round is best and when to stop, on cases made by hand."""

import pytest

from dogeared.pipeline.selection import Candidate, choose_best, reason_to_stop


def rounds(*measures, first=1):
    """Candidates from pairs of success and exact match, or triples with the overlap."""
    return [
        Candidate(name=number, success=values[0], em=values[1], overlap=values[2] if len(values) > 2 else None)
        for number, values in enumerate(measures, start=first)
    ]


START = Candidate(name="untouched", success=0.5)


@pytest.mark.parametrize(
    ("candidates", "best"),
    [
        ([START, *rounds((0.4, 0.9), first=0)], "untouched"),
        ([START, *rounds((0.6, 0.1), (0.7, 0.2), (0.65, 0.9), first=0)], 1),  # the last is worse, its reader better
        ([START, *rounds((0.6, 0.1), (0.7, 0.2), (0.8, 0.1), first=0)], 2),
        ([START, *rounds((0.6, 0.1), (0.7, 0.2), (0.7, 0.3), first=0)], 2),  # equal success: exact match decides
        ([START, *rounds((0.6, 0.3), (0.6, 0.3), first=0)], 0),  # equal in all: the earlier
        ([START, *rounds((0.5, 0.0), first=0)], 0),  # any reader is better than none
        ([START], "untouched"),
    ],
)
def test_the_best_is_chosen_by_success_then_exact_match_then_age(candidates, best):
    assert choose_best(candidates) == best


@pytest.mark.parametrize(
    ("done", "patience", "stops"),
    [
        ([(0.5, 0.1)], 1, False),
        ([(0.5, 0.1), (0.6, 0.1)], 1, False),
        ([(0.5, 0.1), (0.5, 0.1)], 1, True),
        ([(0.5, 0.1), (0.5, 0.2)], 1, False),
        ([(0.5, 0.1), (0.4, 0.1)], 2, False),
        ([(0.5, 0.1), (0.4, 0.1), (0.45, 0.1)], 2, True),
        ([(0.5, 0.1), (0.4, 0.1), (0.6, 0.1)], 2, False),
        ([(0.5, 0.1), (0.4, 0.1), (0.6, 0.1), (0.3, 0.1)], 2, False),
        ([], 1, False),
    ],
)
def test_rounds_stop_when_dev_has_not_improved_for_long_enough(done, patience, stops):
    reason = reason_to_stop(rounds(*done), patience=patience, enough_overlap=0.95)
    assert (reason is not None) == stops
    if stops:
        assert "(best is round 1)" in reason
        assert f"for {patience} round" in reason


@pytest.mark.parametrize(
    ("overlaps", "stops"),
    [
        ((0.96, 0.96), True),
        ((0.97, 0.96), True),
        ((0.96, 0.97), False),  # still growing
        ((0.94, 0.94), False),  # not enough
        ((None, 0.96), False),
        ((0.96, None), False),
    ],
)
def test_rounds_stop_when_retriever_and_reader_agree_and_no_more_than_before(overlaps, stops):
    done = rounds((0.5, 0.1, overlaps[0]), (0.6, 0.1, overlaps[1]))
    reason = reason_to_stop(done, patience=1, enough_overlap=0.95)
    assert reason == (
        "retriever and reader agree on 0.96 of their first five passages, and no more than a round before"
        if stops
        else None
    )
