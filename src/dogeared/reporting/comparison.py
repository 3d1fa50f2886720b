"""Two systems, question by question: which is better, how sure that is, and where they differ.

Only questions that both were measured on are compared, and only if both were judged by the same; each measure gets a
paired test of its own. That many measures are looked at makes it likelier that one of them seems sure by chance; the
table is read with the measure in mind that was chosen beforehand.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from dogeared.errors import ConfigError, DataError
from dogeared.evaluation.significance import PairedComparison, compare_paired
from dogeared.reporting.sides import Measured, Side

__all__ = ["ChangedQuestion", "SideBySide", "compare_sides"]


@dataclass(frozen=True, kw_only=True)
class ChangedQuestion:
    """A question on which two systems differ.

    Attributes:
        id: The question's.
        question: Its text.
        value_a: The measure, of the first system.
        value_b: Of the second.
        prediction_a: What the first one answered; None where it has no reader.
        prediction_b: What the second one answered.
    """

    id: str
    question: str
    value_a: float
    value_b: float
    prediction_a: str | None
    prediction_b: str | None


@dataclass(frozen=True, kw_only=True)
class SideBySide:
    """Two systems compared.

    Attributes:
        title_a: What to call the first one.
        title_b: The second.
        split: Whose questions were compared; None for all.
        measures: The paired comparison of each measure that both have, by its name.
        changed_by: The measure by which questions changed.
        changed: Those that changed most, the largest difference first.
    """

    title_a: str
    title_b: str
    split: str | None
    measures: dict[str, PairedComparison]
    changed_by: str
    changed: list[ChangedQuestion]


def compare_sides(
    a: Side, b: Side, *, split: str | None = None, by: str = "mrr@10", num_changed: int = 10, seed: int = 0
) -> SideBySide:
    """Compare two systems on the questions that both were measured on.

    Args:
        a: The one to compare with.
        b: The one whose gain is asked for.
        split: Whose questions; where None, ``test`` if both were measured on it, else ``dev``, else all.
        by: The measure by which to list questions that changed.
        num_changed: How many of them to list.
        seed: Of the tests.

    Raises:
        DataError: They have no question in common, or do not mean the same by one.
        ConfigError: ``by`` is no measure that both have.
    """
    pairs = [(one, b.measured[name]) for name, one in a.measured.items() if name in b.measured]
    for one, other in pairs:
        _check_same(one, other)
    split, pairs = _of_split(pairs, split)
    if not pairs:
        raise DataError(
            f"expected questions in common, found none: {a.title} was measured on {len(a.measured)}, {b.title} on "
            f"{len(b.measured)}{f', and none of both is in {split}' if split else ''}"
        )
    measures = {}
    for name in dict.fromkeys(name for one, _ in pairs for name in one.values):
        both = [
            (one.values[name], other.values[name])
            for one, other in pairs
            if name in one.values and name in other.values
        ]
        if both:
            measures[name] = compare_paired([x for x, _ in both], [y for _, y in both], seed=seed)
    if by not in measures:
        raise ConfigError(f"--by: expected one of {', '.join(measures)}, got {by!r}")
    return SideBySide(
        title_a=a.title,
        title_b=b.title,
        split=split,
        measures=measures,
        changed_by=by,
        changed=_changed(pairs, by)[:num_changed],
    )


def _check_same(one: Measured, other: Measured) -> None:
    for field in ("text", "gold", "near_gold", "answers"):
        left, right = getattr(one.question, field), getattr(other.question, field)
        if left != right:
            raise DataError(
                f"question {one.question.id!r} has different {field} on the two sides: {left!r} and {right!r}. What is "
                "right for one would be wrong for the other; compare systems that were measured on the same questions"
            )


def _of_split(
    pairs: Sequence[tuple[Measured, Measured]], split: str | None
) -> tuple[str | None, list[tuple[Measured, Measured]]]:
    """Keep the questions of a split; a side that says nothing of splits follows the other."""
    for wanted in ("test", "dev") if split is None else (split,):
        kept = [
            (one, other)
            for one, other in pairs
            if {one.split, other.split} <= {wanted, None} and (one.split or other.split)
        ]
        if kept or split is not None:
            return wanted, kept
    return None, list(pairs)


def _changed(pairs: Sequence[tuple[Measured, Measured]], by: str) -> list[ChangedQuestion]:
    differing = [
        (one, other)
        for one, other in pairs
        if by in one.values and by in other.values and one.values[by] != other.values[by]
    ]
    differing.sort(key=lambda pair: -abs(pair[1].values[by] - pair[0].values[by]))
    return [
        ChangedQuestion(
            id=one.question.id,
            question=one.question.text,
            value_a=one.values[by],
            value_b=other.values[by],
            prediction_a=one.prediction,
            prediction_b=other.prediction,
        )
        for one, other in differing
    ]
