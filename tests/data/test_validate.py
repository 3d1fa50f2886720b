"""Reports on files: every error at once, and warnings from holding the files against each other."""

import json

import pytest

from dogeared.data.occurrence import AnswerSearch
from dogeared.data.validate import validate
from dogeared.evaluation.answers import has_answer

PASSAGES = [
    {"id": "p1", "title": "Paris", "text": "The Eiffel Tower stands in Paris."},
    {"id": "p2", "title": "Bonn", "text": "Beethoven was born in Bonn."},
]


def lines(path, rows):
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows) + "\n")
    return path


def test_good_files_have_clean_reports_in_the_order_given(tmp_path):
    questions = lines(
        tmp_path / "q.jsonl",
        [
            {"id": "a", "question": "Where is it?", "answers": ["paris", "Paris"], "gold": ["p1"], "split": "dev"},
            {"id": "b", "question": "Who?", "answers": ["Beethoven"], "near_gold": ["p1"], "split": "train"},
        ],
    )
    passages = lines(tmp_path / "p.jsonl", PASSAGES)
    reports = validate([questions, passages])
    assert [(report.file, report.kind, report.num_rows) for report in reports] == [
        (questions, "questions", 2),
        (passages, "passages", 2),
    ]
    assert all((report.errors, report.num_errors, report.warnings) == ((), 0, {}) for report in reports)


def test_all_errors_of_a_file_are_counted_and_the_first_ones_kept(tmp_path):
    path = lines(tmp_path / "p.jsonl", ["broken", *PASSAGES, {"id": "p1", "text": "x"}, {"id": "p3"}, {"text": "y"}])
    (report,) = validate([path], num_shown=3)
    assert (report.kind, report.num_rows, report.num_errors) == ("passages", 2, 4)
    assert [(error.line, error.field) for error in report.errors] == [(1, None), (4, "id"), (5, "text")]


def test_oddities_of_questions_are_counted(tmp_path):
    rows = [
        {"id": "a", "question": "Where?", "answers": ["Paris", "Lutetia"], "gold": ["p1", "p8"], "near_gold": ["p9"]},
        {"id": "b", "question": "Where?", "answers": ["Lyon", "the Eif"]},
        {"id": "c", "question": "Who?", "answers": []},
        {"id": "d", "question": "Who else?"},
    ]
    rows = [{**row, "split": "train"} for row in rows]
    questions = lines(tmp_path / "q.json", rows)
    alone = {"questions without an answer": 2, "questions whose text stands in an earlier row": 1}
    alone["splits without a question, of which a run wants some (train, dev)"] = 1
    assert validate([questions])[0].warnings == alone
    assert validate([questions, lines(tmp_path / "p.jsonl", PASSAGES)])[0].warnings == {
        **alone,
        "gold and near-gold ids that no passage has": 2,
        "answers that occur in no passage": 3,
        "questions none of whose answers occurs in a passage": 1,
    }


def test_passages_may_be_spread_over_files(tmp_path):
    row = {"question": "Who?", "answers": ["Bonn", "Paris"], "gold": ["p1", "p2"]}
    questions = lines(tmp_path / "q.jsonl", [{**row, "split": split} for split in ("train", "dev")])
    parts = [lines(tmp_path / f"p{at}.jsonl", [row]) for at, row in enumerate(PASSAGES)]
    repeated = {"questions whose text stands in an earlier row": 1}
    assert validate([parts[0], questions, parts[1]])[1].warnings == repeated


def test_repeated_passages_are_counted_by_title_and_text(tmp_path):
    rows = [
        *PASSAGES,
        {**PASSAGES[0], "id": "p3"},
        {**PASSAGES[0], "id": "p4", "title": "Lutetia"},
    ]
    (report,) = validate([lines(tmp_path / "p.jsonl", rows)])
    assert report.warnings == {"passages whose title and text stand in an earlier row": 1}
    assert report.num_errors == 0


def test_splits_of_some_questions_only_are_an_error_of_the_file(tmp_path):
    rows = [{"id": "a", "question": "Where?", "split": "dev"}, {"id": "b", "question": "Who?"}]
    path = lines(tmp_path / "q.jsonl", rows)
    (report,) = validate([path])
    (error,) = report.errors
    assert (report.num_errors, error.file, error.field) == (1, str(path), "split")
    assert "'b' is the first that does not" in error.reason


@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [
        ("a.tsv", "title\tid\ttext\nT\t1\tx\n", "passages"),
        ("a.tsv", '\ufeff"id"\t"text"\r\n1\tx\r\n', "passages"),
        ("a.tsv", "who?\t['Ann']\n", "questions"),
        ("a.csv", "who?\t['Ann']\n", "questions"),
        ("a.txt", '{"question": "who?", "answer": ["Ann"]}\n', "questions"),
        ("a.json", '[{"question": "who?", "ctxs": [{"id": 1, "text": "x"}]}]', "questions"),
        ("a.jsonl", '{"id": 1, "text": "x"}', "passages"),
    ],
)
def test_kind_is_told_from_the_name_and_the_first_rows(tmp_path, name, content, kind):
    (tmp_path / name).write_text(content)
    (report,) = validate([tmp_path / name])
    assert (report.kind, report.num_rows, report.num_errors) == (kind, 1, 0)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.jsonl", '{"id": 1, "body": "x"}', "found no row of either kind"),
        ("a.parquet", "x", "found '.parquet'"),
        ("a.jsonl", "", "found an empty file"),
        ("a.tsv", "", "found an empty file"),
        ("a.json", '[{"id": 1}', "expected ',' or ']'"),
        ("a.json.gz", "not packed", "gz data"),
    ],
)
def test_file_that_cannot_be_told_or_read_has_a_report_that_says_why(tmp_path, name, content, reason):
    (tmp_path / name).write_text(content)
    good = lines(tmp_path / "p.jsonl", PASSAGES)
    bad, other = validate([tmp_path / name, good])
    assert (bad.kind, bad.num_rows, bad.num_errors) == (None, 0, 1)
    assert reason in bad.errors[0].reason
    assert (other.num_rows, other.num_errors) == (2, 0)


def test_missing_file_has_a_report(tmp_path):
    (report,) = validate([tmp_path / "absent.jsonl"])
    assert "there is none of this name" in report.errors[0].reason


def test_file_that_breaks_off_is_reported_with_the_rows_before(tmp_path):
    path = tmp_path / "q.json"
    path.write_text('[{"question": "a"}, {"question": "b"}, {"quest')
    (report,) = validate([path])
    assert (report.kind, report.num_rows, report.num_errors) == ("questions", 2, 1)


def test_passages_that_break_off_are_reported_with_the_rows_before(tmp_path):
    path = tmp_path / "p.json"
    path.write_text('[{"id": 1, "text": "a"}, {"id": 2, "te')
    (report,) = validate([path])
    assert (report.kind, report.num_rows, report.num_errors) == ("passages", 1, 1)


def test_broken_rows_of_a_file_that_cannot_be_told_are_reported_after_that(tmp_path):
    (report,) = validate([lines(tmp_path / "a.json", ["{", '"body": 1', "}"])])
    assert (report.kind, report.num_errors) == (None, 4)
    assert [error.line for error in report.errors] == [None, 1, 2, 3]


def test_answers_are_found_as_the_judge_of_passages_finds_them():
    texts = ["Im Jahr 1990 fiel U.S. Steel.", "The  Beatles' café, New-York", "他传球136 次。在北京。", "AC/DC 🚁 100%"]
    answers = [
        "1990", "199", "u.s.", "US", "us", "steel", "beatles", "The Beatles' cafe", "the beatles' café", "new york",
        "New-York", "york", "🚁", "ac/dc", "ac", "100 %", "%", "teel", "U.S. Steel .", "fiel U.S. Steel",
    ]  # fmt: skip
    search = AnswerSearch([*answers, "北京", "136 次", "136次", "传球136", "上海", "北京"])
    for text in texts:
        search.look_in(text)
    expected = {answer for answer in answers if not any(has_answer([answer], text) for text in texts)}
    assert {"199", "US", "new york", "teel", "The Beatles' cafe"} <= expected
    assert search.absent == {*expected, "上海"}
