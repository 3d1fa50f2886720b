"""Relevance made elsewhere is read as it was written, or refused with its line."""

import gzip

import pytest

from dogeared.data.relevance_files import read_relevance_file
from dogeared.errors import DataError

ROWS = (
    '{"question_id": "q1", "passage_id": "p2", "relevance": -0.5}\n'
    '{"question_id": "q2", "passage_id": 7, "relevance": "1e3", "by": "someone"}\n'
    "\n"
    '{"question_id": "q1", "passage_id": "p1", "relevance": 2}\n'
)


def test_json_lines(tmp_path):
    (tmp_path / "a.jsonl").write_text(ROWS)
    with gzip.open(tmp_path / "a.jsonl.gz", "wt") as stream:
        stream.write(ROWS)
    expected = {"q1": {"p2": -0.5, "p1": 2.0}, "q2": {"7": 1000.0}}
    assert read_relevance_file(tmp_path / "a.jsonl") == read_relevance_file(tmp_path / "a.jsonl.gz") == expected


@pytest.mark.parametrize("name", ["a.trec", "a.run", "a.txt"])
def test_a_trec_run(tmp_path, name):
    (tmp_path / name).write_text("q1 Q0 p2 1 0.25 x\nq2 Q0 p2 1 3 x\nq1 Q0 p1 2 -4.5 x\n")
    assert read_relevance_file(tmp_path / name) == {"q1": {"p2": 0.25, "p1": -4.5}, "q2": {"p2": 3.0}}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ('{"question_id": "q", "passage_id": "p"}', "a.jsonl:1: relevance: expected a number, found nothing"),
        (
            '{"question_id": "q", "passage_id": "p", "relevance": "high"}',
            "a.jsonl:1: relevance: expected a finite number",
        ),
        (
            '{"question_id": "q", "passage_id": "p", "relevance": NaN}',
            "a.jsonl:1: relevance: expected a finite number",
        ),
        ('{"question_id": "q", "relevance": 1}', "a.jsonl:1: passage_id: expected an id"),
        ("nonsense", "a.jsonl:1: expected one JSON object a line"),
        (
            '{"question_id": "q", "passage_id": "p", "relevance": 1}\n' * 2,
            "a.jsonl:2: passage_id: expected each passage once for a question, found 'p' a second time for 'q'",
        ),
        ("", "a.jsonl: expected rows"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(tmp_path, rows, message):
    (tmp_path / "a.jsonl").write_text(rows)
    with pytest.raises(DataError) as raised:
        read_relevance_file(tmp_path / "a.jsonl")
    assert message in str(raised.value)


def test_an_unknown_kind_of_file_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"expected relevance in a file named \.jsonl .* found '\.csv'"):
        read_relevance_file(tmp_path / "a.csv")
    with pytest.raises(DataError, match="there is none of this name"):
        read_relevance_file(tmp_path / "a.jsonl")
