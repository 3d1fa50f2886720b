"""Where lines and labels of a chart lie."""

from itertools import pairwise

import pytest

from dogeared.reporting.charts import Reference, Series, line_chart, sparkline


def chart(values, references=()):
    return line_chart(
        "Success@1",
        x_names=["start", "1", "2"],
        best="2",
        series=[Series(name="test", kind="main", values=values)],
        references=references,
    )


def test_values_lie_between_the_ticks_of_their_percent():
    found = chart([0.0, 0.5, 1.0])
    ticks = {name: y for y, name in found.y_ticks}
    assert [(y, words) for _, y, words in found.lines[0].points] == [
        (ticks["0"], "test, start: 0.0 %"),
        (ticks["50"], "test, 1: 50.0 %"),
        (ticks["100"], "test, 2: 100.0 %"),
    ]
    assert [x for x, _, _ in found.lines[0].points] == [x for x, _, _ in found.x_ticks]
    assert [is_best for _, _, is_best in found.x_ticks] == [False, False, True]


def test_a_missing_value_is_left_out():
    assert len(chart([0.1, None, 0.3]).lines[0].points) == 2
    assert chart([None, None, None]).lines == []


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_labels_of_equal_lines_do_not_touch_and_stay_on_the_chart(value):
    references = [Reference(name=name, kind=name, value=value) for name in ("first", "untouched")]
    found = chart([value] * 3, references)
    ys = [label.y for label in found.labels]
    assert len(ys) == 3
    assert all(lower - upper >= 12.9 for upper, lower in pairwise(ys))
    assert min(ys) >= 0 and max(ys) <= found.height


def test_a_sparkline_averages_what_is_too_fine_to_see():
    found = sparkline([4.0, 2.0] * 75, low=0.0, high=6.0)
    assert found is not None
    assert (found.first, found.last, found.num_values) == (3.0, 3.0, 150)
    places = [tuple(map(float, point.split(","))) for point in found.points.split()]
    assert len(places) == 75
    assert {y for _, y in places} == {found.height / 2}
    assert places[0][0] == 0.0 and places[-1][0] == pytest.approx(found.width, abs=0.1)


def test_a_sparkline_of_nothing_is_none():
    assert sparkline([], low=0.0, high=1.0) is None
