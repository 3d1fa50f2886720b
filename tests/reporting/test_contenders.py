"""The table of before and after, from measures written down by hand."""

from pathlib import Path

from dogeared.pipeline.layout import RoundFolder
from dogeared.reporting.contenders import Contender, compare

KEYS = ("success@1", "success@5", "success@20", "success@100", "mrr@10", "ndcg@10")


def contender(name, values, *, em=None, is_best=False, num_by_gold=0):
    """A contender whose measures on two test questions are all the same two values."""
    mean = sum(values) / len(values)
    counts = {"num_questions": len(values), "num_by_gold": num_by_gold}
    measured = dict.fromkeys(KEYS, mean) | {f"answer_{key}": mean for key in KEYS[:4]} | counts
    lines = {
        f"q{index}": {"split": "test", "retriever": dict.fromkeys(measured, value)} | ({} if em is None else {"em": em})
        for index, value in enumerate(values)
    }
    return Contender(
        name=name,
        title=str(name),
        retriever_name="r",
        is_best=is_best,
        folder=RoundFolder(Path()),
        retriever={"test": measured, "dev": None},
        reader={} if em is None else {"test": {"em": em, "f1": em}},
        by_question=lines,
    )


def test_the_highest_of_each_column_is_known():
    table = compare([contender(0, [0, 1], em=0.25), contender("untouched", [1, 1], is_best=True)], "test")
    assert [cell.value for cell in table.rows[1].cells] == [1.0] * 6 + [None, None]
    assert [cell.is_highest for cell in table.rows[0].cells] == [False] * 6 + [True, True]
    assert [cell.is_highest for cell in table.rows[1].cells] == [True] * 6 + [False, False]


def test_columns_by_answer_string_stand_apart_where_there_is_gold():
    plain = compare([contender(0, [0, 1], is_best=True)], "test")
    with_gold = compare([contender(0, [0, 1], is_best=True, num_by_gold=2)], "test")
    assert [column.group for column in plain.columns if column.starts_group] == [
        "Retriever, by answer string",
        "Reader",
    ]
    assert [column.group for column in with_gold.columns if column.starts_group] == [
        "Retriever, by gold passage",
        "Retriever, by answer string",
        "Reader",
    ]
    assert len(with_gold.columns) == 12


def test_a_change_is_a_mean_difference_with_its_interval():
    first = contender(0, [0.0] * 40)
    always = compare([first, contender(1, [0.5] * 40, is_best=True)], "test")
    assert always.changes == [(0.5, 0.5, 0.5)] * 6 + [None, None]
    mixed = compare([first, contender(1, [0.0, 1.0] * 20, is_best=True)], "test")
    mean, low, high = mixed.changes[0]
    # The mean of 40 fair coins has a standard deviation of 0.079; 1.96 of them on either side.
    assert mean == 0.5
    assert abs(low - 0.345) < 0.031 and abs(high - 0.655) < 0.031
    assert mixed.changes == compare([first, contender(1, [0.0, 1.0] * 20, is_best=True)], "test").changes


def test_there_is_no_change_where_the_first_retrieval_is_the_result():
    assert compare([contender(0, [1, 1], is_best=True), contender(1, [0, 1])], "test").changes == []


def test_a_split_without_questions_has_no_table():
    assert compare([contender(0, [1, 1], is_best=True)], "dev") is None
