"""What a run cost: each step has its row, and the rows add up."""

import inspect

import pytest

from dogeared.artifacts import write_artifact
from dogeared.pipeline.layout import RoundFolder, RunFolder
from dogeared.reporting.history import list_costs


def test_every_artifact_of_a_round_has_a_row_and_rows_add_up_to_the_sums(tmp_path):
    run = RunFolder(tmp_path)
    names = [name for name, _ in inspect.getmembers(RoundFolder, lambda member: isinstance(member, property))]
    for number, name in enumerate(names, start=1):
        with write_artifact(getattr(run.round(0), name), kind=name, settings={}, inputs={}) as (_, facts):
            facts["cost"] = {"seconds": 2.0**number, "peak_mb": float(number)}
    table = list_costs(run, 1)
    place = table.columns.index("Round 0")
    assert len(names) == len(table.rows) >= 9
    assert {row[1][place].seconds for row in table.rows} == {2.0**number for number in range(1, len(names) + 1)}
    assert table.sums[place].seconds == table.total.seconds == pytest.approx(2.0 ** (len(names) + 1) - 2)
    assert table.total.peak_mb == len(names)
    titles = [title for title, _ in table.rows]
    before, asked, ordered, after = map(titles.index, ("Retrieve", "Ask the re-ranker", "Re-rank", "Train reader"))
    assert before < asked < ordered < after
