"""Everything that was measured in a run, side by side: the two starts and each round.

A contender is a retriever that might have been the result: the first retrieval, the untouched student, and each
distilled round, with the reader that belongs to it where there is one. Their measures become the table of before and
after, with the change and how sure it is. Nothing is measured anew here, but for that last: a paired bootstrap over
questions, with a fixed seed.

Source: Efron 1979 (bootstrap); percentile intervals.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dogeared.evaluation.significance import bootstrap_interval
from dogeared.pipeline.layout import RoundFolder, RunFolder
from dogeared.pipeline.measure import read_predictions
from dogeared.pipeline.selection import Name

__all__ = [
    "Cell",
    "Column",
    "Comparison",
    "Contender",
    "Row",
    "compare",
    "read_contenders",
    "read_hybrids",
    "read_reranked",
]

_DEPTHS = (1, 5, 20, 100)
_NUM_RESAMPLES = 2000


@dataclass(frozen=True, kw_only=True)
class Contender:
    """A retriever that might have been the result.

    Attributes:
        name: Its round, or ``untouched``.
        title: What to call it.
        retriever_name: The retriever's own name.
        is_best: Whether it is the result.
        folder: Where its artifacts stand.
        retriever: Its measures by split; None where a split has no questions.
        reader: The same of its reader; empty where it has none.
        by_question: What was measured and answered for each question, by its id.
    """

    name: Name
    title: str
    retriever_name: str
    is_best: bool
    folder: RoundFolder
    retriever: Mapping[str, Mapping[str, float] | None]
    reader: Mapping[str, Mapping[str, float] | None]
    by_question: Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Column:
    """A measure of the table.

    Attributes:
        part: ``retriever`` or ``reader``.
        key: The measure's name in ``measures.json``.
        group: The heading over it and its neighbours.
        heading: Its own.
        starts_group: Whether it is the first of its group.
    """

    part: str
    key: str
    group: str
    heading: str
    starts_group: bool


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One number of the table; None where it was not measured.

    Attributes:
        value: Between 0 and 1.
        is_highest: Whether no contender has a higher one.
    """

    value: float | None
    is_highest: bool = False


@dataclass(frozen=True, kw_only=True)
class Row:
    """A contender's line of the table."""

    contender: Contender
    cells: Sequence[Cell]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The table of one split.

    Attributes:
        split: ``dev`` or ``test``.
        columns: What is measured.
        rows: The first retrieval, the untouched student, then the rounds.
        beside: What is no candidate: retrievers fused with BM25, and lists in a re-ranker's order. None of their
            numbers counts as the highest.
        num_questions: Measured.
        num_by_gold: Of them, those whose right passages are known; the others go by answer string.
        changes: For each column the difference between the result and the first retrieval, and the ends of its 95 %
            interval; None where either was not measured. Empty where the first retrieval is the result.
    """

    split: str
    columns: Sequence[Column]
    rows: Sequence[Row]
    beside: Sequence[Row]
    num_questions: int
    num_by_gold: int
    changes: Sequence[tuple[float, float, float] | None]


def read_contenders(run: RunFolder, results: Mapping[str, Any]) -> list[Contender]:
    """Read all contenders of a run, the first retrieval first, then the untouched student, then the rounds."""
    first, *rounds = [
        Contender(
            name=entry["round"],
            title=f"Round {entry['round']}" if entry["round"] else "First retrieval",
            retriever_name=entry["retriever"]["name"],
            is_best=results["best"] == entry["round"],
            folder=run.round(entry["round"]),
            retriever=entry["retriever"],
            reader=entry["reader"],
            by_question=_read_lines(run.round(entry["round"])),
        )
        for entry in results["rounds"]
    ]
    untouched = Contender(
        name="untouched",
        title="Untouched student",
        retriever_name=results["untouched"]["name"],
        is_best=results["best"] == "untouched",
        folder=run.untouched,
        retriever=results["untouched"],
        reader={},
        by_question=_read_lines(run.untouched),
    )
    return [first, untouched, *rounds]


def read_hybrids(run: RunFolder, results: Mapping[str, Any]) -> list[Contender]:
    """Read what was measured of retrievers fused with BM25; nothing where a run was made before that was done."""
    return [
        Contender(
            name=entry["of"],
            title=f"{'Untouched student' if entry['of'] == 'untouched' else 'Round ' + str(entry['of'])} with BM25",
            retriever_name=entry["name"],
            is_best=False,
            folder=run.hybrid(entry["of"]),
            retriever=entry,
            reader={},
            by_question=_read_lines(run.hybrid(entry["of"])),
        )
        for entry in results.get("hybrid", [])
    ]


def read_reranked(run: RunFolder, results: Mapping[str, Any], reranker: str) -> list[Contender]:
    """Read what was measured of each round's list in the order of a re-ranker; nothing where a run has none."""
    return [
        Contender(
            name=entry["round"],
            title=f"{'Round ' + str(entry['round']) if entry['round'] else 'First retrieval'}, re-ranked",
            retriever_name=reranker,
            is_best=False,
            folder=run.round(entry["round"]),
            retriever=entry["reranked"],
            reader={},
            by_question={},
        )
        for entry in results["rounds"]
        if entry.get("reranked")
    ]


def compare(contenders: Sequence[Contender], split: str, beside: Sequence[Contender] = ()) -> Comparison | None:
    """Put the measures of all contenders on one split into a table; None where the split has no questions.

    Args:
        contenders: The first retrieval, the untouched student, then the rounds.
        split: ``dev`` or ``test``.
        beside: What is shown below them and is no candidate.
    """
    measured = contenders[0].retriever.get(split)
    if not measured:
        return None
    columns = _columns(measured)
    values = [[_value(contender, column, split) for column in columns] for contender in contenders]
    highest = [max((v for v in column if v is not None), default=None) for column in zip(*values, strict=True)]
    rows = [
        Row(
            contender=contender,
            cells=[Cell(value=v, is_highest=v is not None and v == top) for v, top in zip(line, highest, strict=True)],
        )
        for contender, line in zip(contenders, values, strict=True)
    ]
    best = next(contender for contender in contenders if contender.is_best)
    return Comparison(
        split=split,
        columns=columns,
        rows=rows,
        beside=[
            Row(contender=one, cells=[Cell(value=_value(one, column, split)) for column in columns]) for one in beside
        ],
        num_questions=int(measured["num_questions"]),
        num_by_gold=int(measured["num_by_gold"]),
        changes=[] if best.name == 0 else [_change(contenders[0], best, column, split) for column in columns],
    )


def _columns(measured: Mapping[str, float]) -> list[Column]:
    k_headings = [(f"success@{k}", f"S@{k}") for k in _DEPTHS]
    has_gold = bool(measured["num_by_gold"])
    groups = {
        f"Retriever, by {'gold passage' if has_gold else 'answer string'}": [
            ("retriever", key, heading) for key, heading in (*k_headings, ("mrr@10", "MRR@10"), ("ndcg@10", "nDCG@10"))
        ]
    }
    if has_gold and "answer_success@1" in measured:
        groups["Retriever, by answer string"] = [("retriever", f"answer_{key}", heading) for key, heading in k_headings]
    groups["Reader"] = [("reader", "em", "EM"), ("reader", "f1", "F1")]
    return [
        Column(part=part, key=key, group=group, heading=heading, starts_group=place == 0)
        for group, members in groups.items()
        for place, (part, key, heading) in enumerate(members)
    ]


def _value(contender: Contender, column: Column, split: str) -> float | None:
    measured = (contender.reader if column.part == "reader" else contender.retriever).get(split)
    return None if measured is None else measured.get(column.key)


def _change(before: Contender, after: Contender, column: Column, split: str) -> tuple[float, float, float] | None:
    """Return the mean difference over questions that both measured, and its 95 % interval."""
    differences = []
    for question, line in after.by_question.items():
        old, new = (
            (one if column.part == "reader" else one.get("retriever", {})).get(column.key)
            for one in (before.by_question.get(question, {}), line)
        )
        if line["split"] == split and old is not None and new is not None:
            differences.append(new - old)
    if not differences:
        return None
    array = np.array(differences)
    return float(array.mean()), *bootstrap_interval(array, num_draws=_NUM_RESAMPLES)


def _read_lines(folder: RoundFolder) -> dict[str, dict[str, Any]]:
    return {row["id"]: row for row in read_predictions(folder.measures)}
