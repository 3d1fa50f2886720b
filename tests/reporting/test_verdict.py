"""How numbers are written, and what is claimed of them."""

from pathlib import Path

import pytest

from dogeared.pipeline.config import Experiment
from dogeared.pipeline.layout import RoundFolder
from dogeared.reporting.contenders import Contender
from dogeared.reporting.verdict import closest_to_best, duration, percent, points, verdict

NAMES = {0: ("First retrieval", "bm25"), "untouched": ("Untouched student", "some/encoder")}


def contenders(best, **success):
    """From ``r0=0.5, untouched=0.3, r1=0.6``."""
    made = []
    for key, value in success.items():
        name = key if key == "untouched" else int(key[1:])
        title, retriever_name = NAMES.get(name, (f"Round {name}", "some/encoder"))
        measured = {"answer_success@5": value, "success@1": value, "success@5": value, "success@20": value}
        made.append(
            Contender(
                name=name,
                title=title,
                retriever_name=retriever_name,
                is_best=name == best,
                folder=RoundFolder(Path()),
                retriever={"dev": measured, "test": measured},
                reader={} if name == "untouched" else {"test": {"em": value / 2}},
                by_question={},
            )
        )
    return made


def said(best, stopped="all rounds asked for are done", **success):
    return verdict({"stopped": stopped}, Experiment(), contenders(best, **success), split="test")


def test_a_gain_is_told_with_what_it_is_compared_with():
    found = said(2, r0=0.5, untouched=0.3, r1=0.6, r2=0.7)
    assert found.headline == "Round 2 is the result."
    assert found.reasons == (
        "Round 2 puts a passage with the answer among its first 5 for 70.0 % of the dev questions, on which results "
        "are selected; the first retrieval (bm25) 50.0 % and the untouched student (some/encoder) 30.0 %."
    )
    assert [(figure.title, figure.before, figure.after) for figure in found.figures] == [
        ("Success@1", 0.5, 0.7),
        ("Success@5", 0.5, 0.7),
        ("Success@20", 0.5, 0.7),
        ("Exact match", 0.25, 0.35),
    ]


def test_where_nothing_was_gained_the_best_that_failed_is_named():
    found = said(0, r0=0.5, untouched=0.3, r1=0.2, r2=0.4)
    assert found.headline == "Nothing beat the start, so the first retrieval is kept."
    assert found.reasons.endswith("the untouched student (some/encoder) 30.0 % and round 2 40.0 %.")
    assert found.figures == []


def test_the_untouched_student_has_no_exact_match_to_show():
    found = said("untouched", r0=0.5, untouched=0.8, r1=0.2)
    assert "so it is kept as it was" in found.headline
    assert [figure.title for figure in found.figures] == ["Success@1", "Success@5", "Success@20"]


def test_without_rounds_none_is_said_to_have_failed():
    assert said(0, r0=0.5, untouched=0.3).headline == "No round was done; the first retrieval leads."
    assert said("untouched", r0=0.5, untouched=0.6).headline == "No round was done; the untouched student leads."


def test_why_it_ended_is_told():
    assert said(0, r0=0.5, untouched=0.3).end == "The run ended here: all rounds asked for are done."
    assert said(0, stopped=None, r0=0.5, untouched=0.3).end == "The run has not ended yet."


@pytest.mark.parametrize(("best", "closest"), [(0, 2), ("untouched", "untouched"), (1, 1)])
def test_the_closest_is_the_result_or_the_best_round(best, closest):
    found = closest_to_best(contenders(best, r0=0.9, untouched=0.8, r1=0.2, r2=0.4), Experiment())
    assert found.name == closest


def test_the_closest_of_no_rounds_is_the_untouched_student():
    assert closest_to_best(contenders(0, r0=0.9, untouched=0.8), Experiment()).name == "untouched"


def test_numbers_are_written_in_percent():
    assert [percent(value) for value in (0.0, 0.70312, 1.0, None)] == ["0.0", "70.3", "100.0", "\u2013"]
    assert [points(value) for value in (0.05, -0.125, 0.0, -0.0001)] == ["+5.0", "\u221212.5", "0.0", "0.0"]


def test_durations_are_written_as_people_say_them():
    assert [duration(seconds) for seconds in (0.04, 9.26, 9.96, 75.0, 500.0, 7500.0)] == [
        "0.04 s",
        "9.3 s",
        "10 s",
        "75 s",
        "8 min 20 s",
        "2 h 5 min",
    ]
