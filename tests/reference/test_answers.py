"""Answers are judged as the reference implementation judges them."""

import json

import pytest

from dogeared.evaluation.answers import exact_match, has_answer, normalize_answer


@pytest.fixture(scope="module")
def rows(reference_folder):
    return json.loads((reference_folder / "answers.json").read_text(encoding="utf-8"))


def test_the_table_holds_both_verdicts_and_no_blank_answer(rows):
    assert len(rows) == 36
    assert {row["exact_match"] for row in rows} == {row["has_answer"] for row in rows} == {True, False}
    assert all(answer.strip() for row in rows for answer in row["answers"])


def test_normalization_equals_the_reference(rows):
    assert [normalize_answer(row["prediction"]) for row in rows] == [row["normalized"] for row in rows]


def test_exact_match_equals_the_reference(rows):
    assert [exact_match(row["prediction"], row["answers"]) for row in rows] == [row["exact_match"] for row in rows]


def test_has_answer_equals_the_reference(rows):
    assert [has_answer(row["answers"], row["passage"]) for row in rows] == [row["has_answer"] for row in rows]
