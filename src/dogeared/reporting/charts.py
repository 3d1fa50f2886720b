"""Small line charts and sparklines, as coordinates for a template to draw.

Only geometry is here: where lines, marks, ticks and labels lie. What they look like is the template's. Lines are told
apart by their marks, dashes and names, never by colour alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Chart", "Label", "Line", "Reference", "Series", "Sparkline", "line_chart", "sparkline"]

WIDTH, HEIGHT = 300, 190
_LEFT, _RIGHT, _TOP, _BOTTOM = 28, 78, 10, 24
_LABEL_GAP = 13.0
_SPARK_WIDTH, _SPARK_HEIGHT, _SPARK_POINTS = 150, 28, 75


@dataclass(frozen=True, kw_only=True)
class Series:
    """What to draw as a line.

    Attributes:
        name: Stands at its end.
        kind: The template's word for its looks.
        values: One for each place on the x axis, between 0 and 1; None leaves a gap.
    """

    name: str
    kind: str
    values: Sequence[float | None]


@dataclass(frozen=True, kw_only=True)
class Reference:
    """A level to compare with, drawn from side to side."""

    name: str
    kind: str
    value: float


@dataclass(frozen=True, kw_only=True)
class Label:
    """A name at the right end of a line."""

    text: str
    kind: str
    y: float


@dataclass(frozen=True, kw_only=True)
class Line:
    """A line with a mark at each of its points; a point is x, y and what it stands for."""

    kind: str
    points: Sequence[tuple[float, float, str]]


@dataclass(frozen=True, kw_only=True)
class Chart:
    """A chart of values between 0 and 1 over the rounds.

    Attributes:
        title: Above it.
        description: The same in words, for those who do not see it.
        x_ticks: Place, name and whether it is the result's.
        y_ticks: Place and name.
        levels: References, each as kind and place.
        lines: Over the levels.
        labels: Names of both, moved apart where they would touch.
    """

    title: str
    description: str
    x_ticks: Sequence[tuple[float, str, bool]]
    y_ticks: Sequence[tuple[float, str]]
    levels: Sequence[tuple[str, float]]
    lines: Sequence[Line]
    labels: Sequence[Label]
    width: int = WIDTH
    height: int = HEIGHT
    left: int = _LEFT
    right: int = WIDTH - _RIGHT


@dataclass(frozen=True, kw_only=True)
class Sparkline:
    """A curve the size of a word: an SVG path's points, and the first and last values."""

    points: str
    first: float
    last: float
    num_values: int
    width: int = _SPARK_WIDTH
    height: int = _SPARK_HEIGHT


def line_chart(
    title: str, *, x_names: Sequence[str], best: str | None, series: Sequence[Series], references: Sequence[Reference]
) -> Chart:
    """Lay out a chart whose y axis goes from 0 to 100 %, so that all charts of a page compare.

    Args:
        title: Above it.
        x_names: The places of the x axis, left to right.
        best: Which of them is the result; None where none is.
        series: At least one.
        references: Levels to compare with.
    """
    right = WIDTH - _RIGHT
    step = (right - _LEFT - 16) / max(1, len(x_names) - 1)
    xs = [_LEFT + 8 + step * index for index in range(len(x_names))]
    lines, ends = [], []
    for one in series:
        points = [
            (round(x, 1), _y(value), f"{one.name}, {name}: {100 * value:.1f} %")
            for x, name, value in zip(xs, x_names, one.values, strict=True)
            if value is not None
        ]
        if points:
            lines.append(Line(kind=one.kind, points=points))
            ends.append(Label(text=one.name, kind=one.kind, y=points[-1][1]))
    ends += [Label(text=one.name, kind=one.kind, y=_y(one.value)) for one in references]
    return Chart(
        title=title,
        description="; ".join(
            [point[2] for line in lines for point in line.points]
            + [f"{one.name}: {100 * one.value:.1f} %" for one in references]
        ),
        x_ticks=[(round(x, 1), name, name == best) for x, name in zip(xs, x_names, strict=True)],
        y_ticks=[(_y(value), f"{100 * value:.0f}") for value in (0.0, 0.25, 0.5, 0.75, 1.0)],
        levels=[(one.kind, _y(one.value)) for one in references],
        lines=lines,
        labels=_moved_apart(ends),
    )


def sparkline(values: Sequence[float], *, low: float, high: float) -> Sparkline | None:
    """Lay out a curve between two levels, averaged down to what can be seen; None where there is nothing to see."""
    if not values:
        return None
    size = -(-len(values) // _SPARK_POINTS)
    means = [sum(part) / len(part) for start in range(0, len(values), size) if (part := values[start : start + size])]
    span = (high - low) or 1.0
    step = _SPARK_WIDTH / max(1, len(means) - 1)
    points = (
        f"{step * index:.1f},{1.5 + (_SPARK_HEIGHT - 3) * (1 - (value - low) / span):.1f}"
        for index, value in enumerate(means)
    )
    return Sparkline(points=" ".join(points), first=means[0], last=means[-1], num_values=len(values))


def _y(value: float) -> float:
    return round(_TOP + (HEIGHT - _TOP - _BOTTOM) * (1 - value), 1)


def _moved_apart(labels: Sequence[Label]) -> list[Label]:
    """Move labels that would touch, as little as keeps them on the chart and in their order."""
    ordered = sorted(labels, key=lambda label: label.y)
    ys = [label.y for label in ordered]
    for index in range(1, len(ys)):
        ys[index] = max(ys[index], ys[index - 1] + _LABEL_GAP)
    lowest = HEIGHT - _BOTTOM + 4.0
    for index in reversed(range(len(ys))):
        ys[index] = min(ys[index], lowest)
        lowest = ys[index] - _LABEL_GAP
    return [Label(text=label.text, kind=label.kind, y=round(y, 1)) for label, y in zip(ordered, ys, strict=True)]
