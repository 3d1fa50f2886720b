"""What came out of a run, in words, and how numbers are written.

A gain is claimed only where selection found one on dev questions; where nothing beat the start, that is the first thing
said. Numbers between 0 and 1 are written in percent with one decimal.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dogeared.pipeline.config import Experiment
from dogeared.pipeline.selection import Name
from dogeared.reporting.contenders import Contender

__all__ = ["Figure", "Verdict", "closest_to_best", "duration", "percent", "points", "verdict"]

_DASH, _MINUS = "\u2013", "\u2212"


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A number before and after, to be shown large."""

    title: str
    before: float
    after: float


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What came out.

    Attributes:
        headline: A short sentence.
        reasons: By which numbers it was decided, on dev questions.
        end: Why there was no further round.
        figures: The first retrieval and the result; empty where they are the same.
    """

    headline: str
    reasons: str
    end: str
    figures: Sequence[Figure]


def verdict(
    results: Mapping[str, Any], experiment: Experiment, contenders: Sequence[Contender], *, split: str
) -> Verdict:
    """Say what came out.

    Args:
        results: What the run wrote for programs.
        experiment: For the measure that selected.
        contenders: The first retrieval, the untouched student, then the rounds.
        split: On which the figures are.
    """
    first, untouched, *rounds = contenders
    best = next(contender for contender in contenders if contender.is_best)
    return Verdict(
        headline=_headline(best.name, num_rounds=len(rounds)),
        reasons=_reasons(first, untouched, rounds, best, experiment),
        end=f"The run ended here: {results['stopped']}." if results["stopped"] else "The run has not ended yet.",
        figures=_figures(first, best, split),
    )


def closest_to_best(contenders: Sequence[Contender], experiment: Experiment) -> Contender:
    """Return the result; or what came closest to it, rounds before the untouched student, where that is the start."""
    best = next(contender for contender in contenders if contender.is_best)
    if best.name != 0:
        return best
    return max(contenders[2:] or contenders[1:], key=lambda contender: _selection(contender, experiment) or 0.0)


def percent(value: float | None) -> str:
    """Write a number between 0 and 1 in percent, without the sign; a dash where there is none.

    >>> percent(0.7031)
    '70.3'
    """
    return _DASH if value is None else f"{100 * value:.1f}"


def points(value: float) -> str:
    """Write a difference of two such numbers, with its sign.

    >>> points(0.05), points(0.0)
    ('+5.0', '0.0')
    """
    text = f"{abs(100 * value):.1f}"
    return text if text == "0.0" else f"{'+' if value > 0 else _MINUS}{text}"


def duration(seconds: float) -> str:
    """Write seconds as a person says them.

    >>> [duration(seconds) for seconds in (0.04, 9.26, 75.0, 500.0, 7500.0)]
    ['0.04 s', '9.3 s', '75 s', '8 min 20 s', '2 h 5 min']
    """
    if seconds < 1:
        return f"{seconds:.2f} s"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 120:
        return f"{whole} s"
    if whole < 7200:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def _headline(best: Name, *, num_rounds: int) -> str:
    if num_rounds == 0:
        return f"No round was done; the {'untouched student' if best == 'untouched' else 'first retrieval'} leads."
    if best == 0:
        return "Nothing beat the start, so the first retrieval is kept."
    if best == "untouched":
        return "No round beat the untouched student, so it is kept as it was."
    return f"Round {best} is the result."


def _reasons(
    first: Contender, untouched: Contender, rounds: Sequence[Contender], best: Contender, experiment: Experiment
) -> str:
    k = experiment.rounds.select_by.rpartition("@")[2]
    where = "first" if k == "1" else f"among its first {k}"
    others = [contender for contender in (first, untouched) if contender is not best]
    if rounds and not (isinstance(best.name, int) and best.name > 0):
        others.append(max(rounds, key=lambda contender: _selection(contender, experiment) or 0.0))
    listed = [f"{_called(one)} {percent(_selection(one, experiment))} %" for one in others]
    subject = _called(best)
    return (
        f"{subject[0].upper()}{subject[1:]} puts a passage with the answer {where} for "
        f"{percent(_selection(best, experiment))} % of the dev questions, on which results are selected; "
        f"{', '.join(listed[:-1])}{' and ' if listed[:-1] else ''}{listed[-1]}."
    )


def _called(contender: Contender) -> str:
    if contender.name == 0 or contender.name == "untouched":
        return f"the {contender.title.lower()} ({contender.retriever_name})"
    return contender.title.lower()


def _figures(first: Contender, best: Contender, split: str) -> list[Figure]:
    figures = []
    named = [("retriever", f"success@{k}", f"Success@{k}") for k in (1, 5, 20)] + [("reader", "em", "Exact match")]
    for part, key, title in named if best is not first else ():
        before, after = (
            ((one.reader if part == "reader" else one.retriever).get(split) or {}).get(key) for one in (first, best)
        )
        if before is not None and after is not None:
            figures.append(Figure(title=title, before=before, after=after))
    return figures


def _selection(contender: Contender, experiment: Experiment) -> float | None:
    return (contender.retriever.get("dev") or {}).get(experiment.rounds.select_by)
