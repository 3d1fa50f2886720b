"""A table as Markdown: means over questions and seeds, and how sure each difference is.

The first column's difference from the line that a line is compared with is written out, with its interval; in every
column an arrow says that the line is significantly above or below that one. Questions are what is drawn anew: how much
models of other seeds differ is seen only where a table has several.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from benchmarks.reproduce.runs import Measured, Values
from benchmarks.reproduce.tables import Table
from dogeared.evaluation.significance import PairedComparison, compare_paired
from dogeared.storage import write_atomically

__all__ = ["insert", "render"]

_HEADINGS = {
    "success@1": "Success@1",
    "success@5": "Success@5",
    "success@20": "Success@20",
    "mrr@10": "MRR@10",
    "em": "EM",
}
_SURE = 0.05


def render(number: int, table: Table, measured: Mapping[str, Sequence[Measured]], *, about: str) -> str:
    """Write a table down.

    Args:
        number: The table's.
        table: Its lines.
        measured: For each label that was run, what each seed measured.
        about: How the runs were made.
    """
    columns = [*table.columns, *(["em"] if table.has_reader else [])]
    first = table.columns[0] if len(table.columns) > 1 else columns[-1]
    beside = [f"{_HEADINGS[columns[0]]}, dev"]
    if table.has_agreement:
        beside += ["same first passage", "pairs in other order"]
    headings = " | ".join([*(_HEADINGS[column] for column in columns), *beside])
    references = {table.reference_of(row).label for row in table.rows}
    compared = table.reference.label if len(references) == 1 else "its start"
    lines = [
        f"### {number}. {table.title}",
        "",
        about,
        "",
        f"| | {headings} | {_HEADINGS[first]} against {compared} |",
        "|" + "---|" * (len(columns) + len(beside) + 2),
    ]
    for row in table.rows:
        if row.label not in measured:
            continue
        seeds, reference = measured[row.label], table.reference_of(row)
        before = measured.get(reference.label) if reference is not row else None
        tests = [seed.test for seed in seeds]
        pairs = {column: compare([one.test for one in before], tests, column) if before else None for column in columns}
        cells = [_mean(tests, column) + _arrow(pairs[column]) for column in columns]
        cells.append(_mean([seed.dev for seed in seeds], columns[0]))
        if table.has_agreement:
            cells += [_agreement(seeds, name) for name in ("overlap@1", "inversion_rate")]
        label = f"{row.label} (supervised)" if row.supervised else row.label
        lines.append(f"| {label} | {' | '.join(cells)} | {_change(pairs[first])} |")
    return "\n".join([*lines, "", table.paper, ""])


def insert(text: str, number: int, into: Path) -> None:
    """Put a table into a document, in the place of its older version, or at the end."""
    begin, end = f"<!-- table {number} -->", f"<!-- end of table {number} -->"
    block = f"{begin}\n{text.strip()}\n{end}"
    document = into.read_text(encoding="utf-8")
    pattern = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.DOTALL)
    if pattern.search(document):
        document = pattern.sub(lambda _: block, document)
    else:
        document = f"{document.rstrip()}\n\n{block}\n"
    write_atomically(into, document)


def by_question(seeds: Sequence[Values], column: str) -> dict[str, float]:
    """Average a measure of each question over seeds."""
    names = [name for name, values in seeds[0].items() if all(column in one.get(name, {}) for one in seeds)]
    return {name: float(np.mean([one[name][column] for one in seeds])) for name in names}


def compare(before: Sequence[Values], after: Sequence[Values], column: str) -> PairedComparison | None:
    """Compare two lines question by question; None where they have no measured question in common."""
    old, new = by_question(before, column), by_question(after, column)
    names = sorted(old.keys() & new.keys())
    return compare_paired([old[name] for name in names], [new[name] for name in names]) if names else None


def _mean(seeds: Sequence[Values], column: str) -> str:
    means = [float(np.mean(list(by_question([one], column).values() or [np.nan]))) for one in seeds]
    if np.isnan(means[0]):
        return ""
    spread = f" ({min(means):.3f}-{max(means):.3f})" if len(means) > 1 else ""
    return f"{np.mean(means):.3f}{spread}"


def _arrow(paired: PairedComparison | None) -> str:
    if paired is None or paired.p >= _SURE:
        return ""
    return " ↑" if paired.difference > 0 else " ↓"


def _change(paired: PairedComparison | None) -> str:
    if paired is None:
        return ""
    sure = "p < 0.001" if paired.p < 0.001 else f"p = {paired.p:.3f}"
    return f"{paired.difference:+.3f} [{paired.low:+.3f}, {paired.high:+.3f}], {sure}"


def _agreement(seeds: Sequence[Measured], name: str) -> str:
    found = [seed.agreement[name] for seed in seeds if name in seed.agreement]
    return f"{np.mean(found):.2f}" if found else ""
