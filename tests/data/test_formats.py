"""Readers and writers of files: what they take, and for each defect its error with file, line and field."""

import gzip
import json
import lzma
import os
from pathlib import Path

import ir_measures
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dogeared.data.formats import GivenQuestion, iter_passages, iter_questions, question_line
from dogeared.data.json_list import iter_json_list
from dogeared.data.trec import iter_trec_run, read_trec_judgments, write_trec_judgments, write_trec_run
from dogeared.errors import DataError
from dogeared.records import Passage, Question, Ranking

SHARED = Path(os.environ.get("DOGEARED_SHARED", Path(__file__).parents[3] / "shared")) / "data"
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason=f"the real data sets are not at {SHARED}")

ONE = Passage(id="1", title="A title", text="Some text")


def write(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def only_error(reader, path):
    """The one error of a file, which must be the same whether it is raised or handed over."""
    handed = []
    rest = list(reader(path, on_error=handed.append))
    with pytest.raises(DataError) as raised:
        list(reader(path))
    assert [str(error) for error in handed] == [str(raised.value)]
    assert handed[0].file == str(path)
    return handed[0], rest


def file_error(reader, path):
    """The error of a whole file, which is raised even where rows may be left out."""
    with pytest.raises(DataError) as raised:
        list(reader(path, on_error=lambda error: None))
    assert raised.value.file == str(path)
    return raised.value


# ---- passages


@pytest.mark.parametrize(
    "content",
    [
        '{"id": "1", "title": "A title", "text": "Some text", "source": null}\n',
        '{"id": 1, "title": "A title", "text": "Some text"}',
        '\ufeff{"id": "1", "title": "A title", "text": "Some text"}\r\n\r\n',
        '\n  \n [\n{"id": "1", "title": "A title", "text": "Some text"}\n]\n',
    ],
    ids=["plain", "integer id", "byte order mark and CRLF", "list"],
)
@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".jsonl.gz", ".json.xz"])
def test_json_passages_are_read_from_lines_and_lists_plain_and_compressed(tmp_path, content, suffix):
    pack = {".gz": gzip.compress, ".xz": lzma.compress}.get(Path(suffix).suffix, bytes)
    assert list(iter_passages(write(tmp_path / f"p{suffix}", pack(content.encode())))) == [ONE]


def test_title_is_optional_and_texts_are_kept_as_written(tmp_path):
    path = write(
        tmp_path / "p.jsonl", '{"id": "a", "text": " two\\nlines\\u2028 "}\n{"id": "b", "title": null, "text": "x"}'
    )
    assert list(iter_passages(path)) == [
        Passage(id="a", title="", text=" two\nlines\u2028 "),
        Passage(id="b", title="", text="x"),
    ]


def test_table_takes_its_columns_from_the_header_and_undoes_csv_quoting(tmp_path):
    content = (
        "\ufeffid\ttext\ttitle\r\n"
        "1\tSome text\tA title\r\n"
        '2\t"He said ""no""\tand left"\tA "quoted" title\r\n'
        '\r\n3\t"two\nlines"\t\r\n'
        "4\tlast\tone"
    )
    expected = [
        ONE,
        Passage(id="2", title='A "quoted" title', text='He said "no"\tand left'),
        Passage(id="3", title="", text="two\nlines"),
        Passage(id="4", title="one", text="last"),
    ]
    assert list(iter_passages(write(tmp_path / "p.tsv", content))) == expected
    swapped = "title\tid\ttext\nA title\t1\tSome text\n"
    assert list(iter_passages(write(tmp_path / "q.tsv", swapped))) == [ONE]


GOOD_ROWS = ['{"id": "g1", "text": "first"}', '{"id": "g2", "text": "last"}']


@pytest.mark.parametrize(
    ("row", "field", "reason"),
    [
        ('{"id": "x", "text": ', None, "broken JSON"),
        ("[1, 2]", None, "expected a JSON object, found a list"),
        ("null", None, "expected a JSON object, found nothing"),
        ('{"text": "no id"}', "id", "expected an id, as text or as an integer; found nothing"),
        ('{"id": 1.5, "text": "t"}', "id", "found the number 1.5"),
        ('{"id": true, "text": "t"}', "id", "found true"),
        ('{"id": " ", "text": "t"}', "id", "nothing but blanks"),
        ('{"id": "a\\tb", "text": "t"}', "id", "without tabs and line ends, found 'a\\tb'"),
        ('{"id": "a\\nb", "text": "t"}', "id", "without tabs and line ends"),
        ('{"id": "a\\u0000b", "text": "t"}', "id", "NUL"),
        ('{"id": "g1", "text": "t"}', "id", "found 'g1' a second time"),
        ('{"id": "x"}', "text", "expected text, found nothing"),
        ('{"id": "x", "text": ""}', "text", "nothing but blanks"),
        ('{"id": "x", "text": " \\n\\u3000"}', "text", "nothing but blanks"),
        ('{"id": "x", "text": ["t"]}', "text", "expected text, found a list"),
        ('{"id": "x", "text": {}}', "text", "expected text, found a JSON object"),
        ('{"id": "x", "text": 3}', "text", "expected text, found the number 3"),
        ('{"id": "x", "text": "a\\u0000"}', "text", "NUL"),
        ('{"id": "x", "text": "a\\ud800b"}', "text", "half of a surrogate pair (U+D800)"),
        ('{"id": "x", "text": "t", "title": 7}', "title", "expected text, found the number 7"),
        (b'{"id": "x", "text": "caf\xe9"}', None, "expected text in UTF-8, found the byte 0xe9"),
        ('{"id": ' + "1" * 5000 + ', "text": "t"}', None, "broken JSON"),
        ("[" * 100_000, None, "nested too deep"),
    ],
)
def test_each_defect_of_a_line_is_named_with_its_place_and_costs_that_row_alone(tmp_path, row, field, reason):
    row = row if isinstance(row, bytes) else row.encode()
    path = write(tmp_path / "p.jsonl", b"\n".join([GOOD_ROWS[0].encode(), b"", row, GOOD_ROWS[1].encode()]))
    error, rest = only_error(iter_passages, path)
    assert (error.line, error.field) == (3, field)
    assert reason in error.reason
    assert [passage.id for passage in rest] == ["g1", "g2"]


def test_message_is_file_line_field_and_reason(tmp_path):
    path = write(tmp_path / "p.jsonl", '{"id": "x", "text": ""}')
    error, _ = only_error(iter_passages, path)
    assert str(error) == f"{path}:1: text: expected text, found nothing but blanks; fill it in or take the row out"


@pytest.mark.parametrize(
    ("row", "field", "reason"),
    [
        ("x\tonly two", None, "expected 3 fields between tabs (id, text, title), found 2"),
        ("x\ta\tb\tc", None, "found 4"),
        ('x\t"a" b\tc', None, "quoted as in csv"),
        ("\ttext\ttitle", "id", "nothing but blanks"),
        ("x\t \ttitle", "text", "nothing but blanks"),
        ("x\ta\0b\ttitle", "text", "NUL"),
        ("g1\ttext\ttitle", "id", "a second time"),
        (b"x\tcaf\xe9\ttitle", None, "expected text in UTF-8"),
        (b"x\t\xed\xa0\x80\ttitle", None, "expected text in UTF-8"),
    ],
)
def test_each_defect_of_a_table_row_is_named_with_its_place(tmp_path, row, field, reason):
    row = row if isinstance(row, bytes) else row.encode()
    path = write(tmp_path / "p.tsv", b'id\ttext\ttitle\ng1\t"two\nlines"\t\n' + row + b"\ng2\tlast\t\n")
    error, rest = only_error(iter_passages, path)
    assert (error.line, error.field) == (4, field)
    assert reason in error.reason
    assert [passage.id for passage in rest] == ["g1", "g2"]


def test_quote_that_is_never_closed_is_an_error_and_not_a_long_passage(tmp_path):
    error, rest = only_error(
        iter_passages, write(tmp_path / "p.tsv", 'id\ttext\ttitle\n1\t"never closed\ta\n2\tb\tc\n')
    )
    assert error.line == 2
    assert "quoted as in csv" in error.reason
    assert rest == []


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("p.jsonl", b"", "found an empty file"),
        ("p.json", b"\n \n", "the file holds none"),
        ("p.json", b" [ ] ", "the file holds none"),
        ("p.tsv", b"id\ttext\ttitle\n", "the file holds none"),
        ("p.tsv", b"1\tSome text\tA title\n2\tmore\t\n", "expected a header with id, text and title"),
        ("p.tsv", b'"id\ttext\ttitle\n', "quoted as in csv"),
        ("p.txt", b"anything", "expected passages in a file named .jsonl, .json or .tsv"),
        ("p.csv.gz", b"anything", "found '.csv'"),
        ("p", b"anything", "found ''"),
        ("p.jsonl.gz", gzip.compress(b'{"id": "1", "text": "t"}\n' * 999)[:-10], "gz data to the file's end"),
        ("p.jsonl.gz", b"not packed at all", "gz data to the file's end"),
        ("p.jsonl.xz", lzma.compress(b'{"id": "1", "text": "t"}\n' * 999)[:-10], "xz data to the file's end"),
        ("p.json.xz", b"not packed at all", "xz data to the file's end"),
    ],
)
def test_fault_of_the_whole_file_is_raised_even_where_bad_rows_are_left_out(tmp_path, name, content, reason):
    assert reason in file_error(iter_passages, write(tmp_path / name, content)).reason


@pytest.mark.parametrize("reader", [iter_passages, iter_questions, iter_trec_run])
def test_missing_file_and_directory_are_errors(tmp_path, reader):
    assert "there is none of this name" in file_error(reader, tmp_path / "absent.jsonl").reason
    (tmp_path / "folder.jsonl").mkdir()
    assert "found a directory" in file_error(reader, tmp_path / "folder.jsonl").reason


# ---- one long JSON list


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_list_is_the_same_however_the_text_is_cut(size):
    values = [{"a": "é😀\\", "b": [1, -2.5e3, None, True]}, "]", 12345, 1.25, [], {"c": "x" * 50}]
    text = "\n" + json.dumps(values, indent=1) + "\n "
    chunks = (text[start : start + size] for start in range(0, len(text), size))
    assert list(iter_json_list(chunks, "f")) == list(zip([3, 12, 13, 14, 15, 16], values, strict=True))


@pytest.mark.parametrize("size", [1, 1000])
@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ('[{"a": 1},\n{"a": ]', 2, "found it broken here: Expecting value"),
        ('[{"a": 1},\n{"a": 2}', 2, "expected ',' or ']' after an element of the list, found 'the end'"),
        ('[{"a": 1}\n{"a": 2}]', 2, "found '{'"),
        ("[1]\n[2]", 2, "expected the end of the file"),
        ('["never closed', 1, "Unterminated string"),
        ("[1,]", 1, "Expecting value"),
        ("[", 1, "Expecting value"),
    ],
)
def test_broken_list_names_the_line_of_the_fault(text, line, reason, size):
    with pytest.raises(DataError) as raised:
        list(iter_json_list((text[start : start + size] for start in range(0, len(text), size)), "f"))
    assert (raised.value.file, raised.value.line) == ("f", line)
    assert reason in raised.value.reason


def test_list_with_a_byte_that_is_not_utf8_names_its_line(tmp_path):
    error = file_error(iter_passages, write(tmp_path / "p.json", b'[{"id": "1",\n"text": "caf\xe9"}]'))
    assert error.line == 2
    assert "UTF-8" in error.reason


def test_list_whose_last_character_is_cut_off_is_an_error(tmp_path):
    error = file_error(iter_passages, write(tmp_path / "p.json", '[{"id": "1",\n"text": "café'.encode()[:-1]))
    assert error.line == 2
    assert "the last character is cut off" in error.reason


# ---- questions


def test_question_fields_are_read_and_other_fields_ignored(tmp_path):
    row = {
        "id": 7,
        "question": "Who?",
        "answers": ["Ann", 3],
        "split": "dev",
        "gold": [1, "p2"],
        "near_gold": ["p3"],
        "target": "Ann",
        "article": 9,
    }
    path = write(tmp_path / "q.jsonl", json.dumps(row))
    assert list(iter_questions(path)) == [
        GivenQuestion(
            question=Question(
                id="7",
                text="Who?",
                answers=("Ann", "3"),
                split="dev",
                gold=("1", "p2"),
                near_gold=("p3",),
                target="Ann",
            ),
            split_given=True,
        )
    ]


def test_answers_may_be_missing_and_numbers_keep_the_way_they_were_written(tmp_path):
    rows = [
        '{"question": "a"}',
        '{"question": "b", "answers": []}',
        '{"question": "c", "answers": [3.10, 1e2, -5, 12345678901234567890]}',
        '{"question": "d", "answer": ["14 December"]}',
        '{"question": "e", "answers": null, "answer": null}',
    ]
    found = list(iter_questions(write(tmp_path / "q.jsonl", "\n".join(rows))))
    assert [one.question.answers for one in found] == [
        (),
        (),
        ("3.10", "1e2", "-5", "12345678901234567890"),
        ("14 December",),
        (),
    ]
    assert [one.question.id for one in found] == ["0", "1", "2", "3", "4"]
    assert not any(one.split_given for one in found)


def test_numbers_of_a_list_in_pythons_way_keep_the_way_they_were_written(tmp_path):
    rows = ["a\t[3.10, 1e3, 007.50, -5, - 0.50, +1.]", "b\t['é', [3.10]]", "c\t['3.1', -'x']", "d\t[1.5+2j]"]
    errors = []
    (one,) = iter_questions(write(tmp_path / "q.tsv", "\n".join(rows)), on_error=errors.append)
    assert one.question.answers == ("3.10", "1e3", "007.50", "-5", "-0.50", "+1.")
    assert [(error.line, error.field) for error in errors] == [(2, "answers[1]"), (3, "answers"), (4, "answers")]


def test_whether_the_file_gives_ids_is_said(tmp_path):
    for row, is_given in (({"id": "0", "question": "a"}, True), ({"question": "a"}, False)):
        (one,) = iter_questions(write(tmp_path / "q.jsonl", json.dumps(row)))
        assert (one.question.id, one.id_given) == ("0", is_given)


def test_fields_of_megabytes_are_read_from_tables(tmp_path):
    """The library that reads them stops at 131,072 characters if nothing else is said."""
    text = "word " * 1_000_000
    (passage,) = iter_passages(write(tmp_path / "p.tsv", f'id\ttext\ttitle\n1\t"{text}"\t\n'))
    (asked,) = iter_questions(write(tmp_path / "q.tsv", f"{text}\t['a']\n"))
    assert passage.text == asked.question.text == text


def test_row_left_out_does_not_shift_the_made_up_ids(tmp_path):
    rows = ['{"question": "a"}', "broken", '{"question": ""}', '{"question": "d"}']
    found = list(iter_questions(write(tmp_path / "q.jsonl", "\n".join(rows)), on_error=lambda error: None))
    assert [(one.question.id, one.question.text) for one in found] == [("0", "a"), ("3", "d")]


def fid(*passages, **fields):
    return {"id": "q", "question": "Who?", "answers": ["Ann"], "ctxs": list(passages), **fields}


def test_passages_brought_along_are_ordered_by_score_and_ties_keep_the_order_of_the_file(tmp_path):
    rows = fid(
        {"id": "a", "title": "T", "text": "aa", "score": "1.5", "hasanswer": True},
        {"id": "b", "title": "T", "text": "bb", "score": 2},
        {"id": 3, "text": "cc", "score": 1.5, "has_answer": False},
        {"id": "d", "title": "", "text": "dd", "score": "-1e-2"},
    )
    (one,) = iter_questions(write(tmp_path / "fid.json", json.dumps([rows])))
    assert one.passages == (
        Passage(id="b", title="T", text="bb"),
        Passage(id="a", title="T", text="aa"),
        Passage(id="3", title="", text="cc"),
        Passage(id="d", title="", text="dd"),
    )
    assert one.scores == (2.0, 1.5, 1.5, -0.01)


def test_passages_without_scores_keep_their_order_and_get_none(tmp_path):
    row = fid({"id": "b", "text": "bb"}, {"id": "a", "text": "aa", "score": None})
    (one,) = iter_questions(write(tmp_path / "fid.jsonl", json.dumps(row)))
    assert [passage.id for passage in one.passages] == ["b", "a"]
    assert one.scores is None


def test_no_list_of_passages_is_not_an_empty_list(tmp_path):
    rows = [json.dumps({"question": "a"}), json.dumps({"question": "b", "ctxs": []})]
    found = list(iter_questions(write(tmp_path / "q.jsonl", "\n".join(rows))))
    assert [(one.passages, one.scores) for one in found] == [(None, None), ((), None)]


P = {"id": "a", "text": "aa", "score": 1}


@pytest.mark.parametrize(
    ("row", "field", "reason"),
    [
        ({"id": "x"}, "question", "expected text, found nothing"),
        ({"id": "x", "question": "  "}, "question", "nothing but blanks"),
        ({"question": "q"}, "id", "the first has an id, this has none"),
        ({"id": "g1", "question": "q"}, "id", "found 'g1' a second time"),
        ({"id": "x", "question": "q", "answers": "Ann"}, "answers", "expected a list, found the text 'Ann'"),
        ({"id": "x", "question": "q", "answer": {"a": 1}}, "answer", "expected a list, found a JSON object"),
        ({"id": "x", "question": "q", "answers": ["a", None]}, "answers[1]", "expected text, found nothing"),
        ({"id": "x", "question": "q", "answers": [["a"]]}, "answers[0]", "expected text, found a list"),
        ({"id": "x", "question": "q", "answers": [True]}, "answers[0]", "expected text, found true"),
        ({"id": "x", "question": "q", "answers": [float("nan")]}, "answers[0]", "expected text, found the number nan"),
        ({"id": "x", "question": "q", "answers": ["a", ""]}, "answers[1]", "nothing but blanks"),
        ({"id": "x", "question": "q", "target": 3}, "target", "expected text, found the number 3"),
        ({"id": "x", "question": "q", "split": "validation"}, "split", "expected one of train, dev, test"),
        ({"id": "x", "question": "q", "gold": "p1"}, "gold", "expected a list"),
        ({"id": "x", "question": "q", "gold": ["p1", ""]}, "gold[1]", "nothing but blanks"),
        ({"id": "x", "question": "q", "near_gold": [1.5]}, "near_gold[0]", "found the number 1.5"),
        (fid(id="x", ctxs={}), "ctxs", "expected a list, found a JSON object"),
        (fid(P, "b", id="x"), "ctxs[1]", "expected a JSON object, found the text 'b'"),
        (fid(P, {"id": "b", "score": 1}, id="x"), "ctxs[1].text", "expected text, found nothing"),
        (fid(P, {"text": "b", "score": 1}, id="x"), "ctxs[1].id", "expected an id"),
        (fid(P, P, id="x"), "ctxs[1].id", "each passage once in a ranking, found 'a'"),
        (
            fid(P, {"id": "b", "text": "b"}, id="x"),
            "ctxs[1].score",
            "all passages of a question to have a score or none",
        ),
        (
            fid({"id": "b", "text": "b"}, P, id="x"),
            "ctxs[1].score",
            "all passages of a question to have a score or none",
        ),
        (fid({**P, "score": float("nan")}, id="x"), "ctxs[0].score", "found the number nan"),
        (fid({**P, "score": float("-inf")}, id="x"), "ctxs[0].score", "found the number -inf"),
        (fid({**P, "score": "Infinity"}, id="x"), "ctxs[0].score", "found the text 'Infinity'"),
        (fid({**P, "score": "high"}, id="x"), "ctxs[0].score", "expected a finite number"),
        (fid({**P, "score": True}, id="x"), "ctxs[0].score", "found true"),
        (fid({**P, "score": 10**400}, id="x"), "ctxs[0].score", "expected a finite number"),
    ],
)
@pytest.mark.parametrize("form", ["lines", "list"])
def test_each_defect_of_a_question_is_named_with_its_place(tmp_path, row, field, reason, form):
    rows = [{"id": "g1", "question": "a"}, row, {"id": "g2", "question": "b"}]
    lines = [json.dumps(one) for one in rows]
    if form == "list":
        path, field = write(tmp_path / "q.json", "[\n" + ",\n".join(lines) + "]"), f"[1].{field}"
    else:
        path = write(tmp_path / "q.jsonl", "\n" + "\n".join(lines))
    error, rest = only_error(iter_questions, path)
    assert (error.line, error.field) == (3, field)
    assert reason in error.reason
    assert [one.question.id for one in rest] == ["g1", "g2"]


def test_id_in_a_file_without_ids_is_an_error(tmp_path):
    path = write(tmp_path / "q.jsonl", '{"question": "a"}\n{"question": "b", "id": "0"}')
    error, _ = only_error(iter_questions, path)
    assert (error.line, error.field) == (2, "id")
    assert "the first has no id, this has one" in error.reason


@pytest.mark.parametrize("name", ["q.tsv", "q.csv", "q.txt.gz"])
def test_question_set_of_dpr_is_read(tmp_path, name):
    content = b"who?\t['Ann', \"Bo's\"]\r\nwhat \"is\" it\t['\\\\s?(32|40)', '\\d', 3.5]\n"
    path = write(tmp_path / name, gzip.compress(content) if name.endswith("gz") else content)
    assert [one.question for one in iter_questions(path)] == [
        Question(id="0", text="who?", answers=("Ann", "Bo's")),
        Question(id="1", text='what "is" it', answers=(r"\s?(32|40)", r"\d", "3.5")),
    ]


@pytest.mark.parametrize(
    "answers", ["__import__('os').abort()", "['a', open('x')]", "('a',)", "Ann", "[", "[" * 9999, "{[]: 1}"]
)
def test_answers_of_dpr_are_never_run(tmp_path, answers):
    error, rest = only_error(iter_questions, write(tmp_path / "q.tsv", f"good\t['a']\nwho?\t{answers}\n"))
    assert (error.line, error.field) == (2, "answers")
    assert "expected a list" in error.reason
    assert len(rest) == 1


def test_questions_of_an_unknown_kind_of_file_are_an_error(tmp_path):
    assert "found '.parquet'" in file_error(iter_questions, write(tmp_path / "q.parquet", "x")).reason


TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1).filter(str.strip)
IDS = TEXTS.filter(lambda text: not set(text) & set("\t\n\r"))


@given(
    question=st.builds(
        Question,
        id=IDS,
        text=TEXTS,
        answers=st.lists(TEXTS).map(tuple),
        split=st.sampled_from(["train", "dev", "test"]),
        gold=st.lists(IDS).map(tuple),
        near_gold=st.lists(IDS).map(tuple),
    )
)
@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_written_question_is_read_back_unchanged(tmp_path, question):
    path = write(tmp_path / "q.jsonl", question_line(question) + "\n")
    assert list(iter_questions(path)) == [GivenQuestion(question=question, split_given=True)]


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["id", "question", "text", "title", "answers", "ctxs", "score", "split", "gold", "x"]),
            inner,
        )
    ),
    max_leaves=12,
)


@given(
    content=st.binary(max_size=80)
    | st.lists(JSON_VALUES, max_size=3).map(lambda values: json.dumps(values).encode())
    | st.lists(JSON_VALUES, max_size=3).map(lambda values: "\n".join(map(json.dumps, values)).encode())
    | st.text("id\ttextle\n\"'[],", max_size=60).map(lambda text: b"id\ttext\ttitle\n" + text.encode()),
    name=st.sampled_from(["f.jsonl", "f.json", "f.tsv", "f.txt", "f.json.gz", "f.tsv.xz"]),
    packed=st.booleans(),
)
@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_whatever_the_bytes_are_nothing_but_data_errors_come_out(tmp_path, content, name, packed):
    pack = {".gz": gzip.compress, ".xz": lzma.compress}.get(Path(name).suffix)
    path = write(tmp_path / name, pack(content) if pack and packed else content)
    for reader in (iter_passages, iter_questions, iter_trec_run):
        handed = []
        try:
            rows = list(reader(path, on_error=handed.append))
        except DataError as error:
            assert error.file == str(path)
        else:
            assert rows or handed or reader is iter_trec_run
        assert all(error.file == str(path) for error in handed)


# ---- TREC runs


def test_run_is_ordered_by_score_and_ties_by_passage_id_from_high_to_low(tmp_path):
    content = "q2 Q0 a 1 0.5 t\nq1 Q0 a 1 1.0 t\nq1 Q0 c 9 2.5e0 t\r\n\nq1\tQ0\tb\t3\t1.0\tt\nq2 Q0 b 2 -3 t"
    assert list(iter_trec_run(write(tmp_path / "run.txt", content))) == [
        Ranking(question_id="q2", passage_ids=("a", "b"), scores=(0.5, -3.0)),
        Ranking(question_id="q1", passage_ids=("c", "b", "a"), scores=(2.5, 1.0, 1.0)),
    ]


@pytest.mark.parametrize(
    ("line", "field", "reason"),
    [
        (b"q1 Q0 b 1 1.0", None, "expected 6 columns (question Q0 passage rank score tag), found 5"),
        (b"q1 Q0 b 1 1.0 two words", None, "found 7"),
        (b"q1 Q0 b 1 high t", "score", "expected a finite number, or text that is one; found the text 'high'"),
        (b"q1 Q0 b 1 nan t", "score", "finite"),
        (b"q1 Q0 a 1 2.0 t", "passage", "found 'a' a second time for question 'q1'"),
        (b"q1 Q0 \xe9 1 2.0 t", None, "UTF-8"),
    ],
)
def test_each_defect_of_a_run_is_named_with_its_place(tmp_path, line, field, reason):
    path = write(tmp_path / "run.txt", b"q1 Q0 a 1 1.0 t\n" + line + b"\nq2 Q0 a 1 1.0 t\n")
    error, rest = only_error(iter_trec_run, path)
    assert (error.line, error.field) == (2, field)
    assert reason in error.reason
    assert [ranking.question_id for ranking in rest] == ["q1", "q2"]


def test_written_run_is_read_back_with_exact_scores(tmp_path):
    rankings = [
        Ranking(question_id="q1", passage_ids=("b", "a", "c"), scores=(1.1, 0.1, -1e-30)),
        Ranking(question_id="q2", passage_ids=("x",), scores=(12345678.123456789,)),
    ]
    write_trec_run(rankings, tmp_path / "run.txt")
    assert list(iter_trec_run(tmp_path / "run.txt")) == rankings
    assert (tmp_path / "run.txt").read_text().splitlines()[0] == "q1 Q0 b 1 1.1 dogeared"


def test_tied_scores_are_written_so_that_other_tools_keep_the_order(tmp_path):
    order = ("a", "c", "b", "d")
    ranking = Ranking(question_id="q", passage_ids=order, scores=(1.0, 1.0, 1.0 - 1e-12, 1.0 - 1e-12))
    write_trec_run([ranking], tmp_path / "run.txt")
    (found,) = iter_trec_run(tmp_path / "run.txt")
    assert found.passage_ids == order
    assert found.scores == (1.0, 1 - 2**-24, 1 - 2**-23, 1 - 3 * 2**-24)
    run = list(ir_measures.read_trec_run(str(tmp_path / "run.txt")))
    for rank, passage_id in enumerate(order, start=1):
        qrels = [ir_measures.Qrel("q", passage_id, 1)]
        assert ir_measures.calc_aggregate([ir_measures.RR], qrels, run)[ir_measures.RR] == pytest.approx(1 / rank)


@pytest.mark.parametrize(
    ("ranking", "tag", "field"),
    [
        (Ranking(question_id="q", passage_ids=("two words",), scores=(1.0,)), "t", "passage"),
        (Ranking(question_id="", passage_ids=("a",), scores=(1.0,)), "t", "question"),
        (Ranking(question_id="q", passage_ids=("a",), scores=(1.0,)), "my tag", "tag"),
        (Ranking(question_id="q", passage_ids=("a",), scores=(float("nan"),)), "t", None),
    ],
)
def test_run_that_could_not_be_read_back_is_not_written(tmp_path, ranking, tag, field):
    with pytest.raises(DataError) as raised:
        write_trec_run([ranking], tmp_path / "run.txt", tag=tag)
    assert raised.value.field == field


# ---- judgments


def test_judgments_are_read_by_question_and_written_as_tools_read_them(tmp_path):
    path = write(tmp_path / "qrels", "1 0 a 1\n2 0 a 0\n\n1 Q0 b 2\n")
    assert read_trec_judgments(path) == {"1": {"a": 1.0, "b": 2.0}, "2": {"a": 0.0}}
    write_trec_judgments([("1", "a", 1), ("1", "b", 2)], tmp_path / "again")
    again = [(one.query_id, one.doc_id, one.relevance) for one in ir_measures.read_trec_qrels(str(tmp_path / "again"))]
    assert again == [("1", "a", 1), ("1", "b", 2)]


@pytest.mark.parametrize(
    ("line", "field", "reason"),
    [
        ("1 0 a", None, "4 columns"),
        ("1 0 a x", "relevance", "finite number"),
        ("1 0 a nan", "relevance", "finite number"),
        ("1 0 b 0", "passage", "two that differ"),
        (b"1 0 \xff 0", None, "UTF-8"),
    ],
)
def test_each_defect_of_a_judgment_is_named_with_its_place(tmp_path, line, field, reason):
    path = write(tmp_path / "qrels", b"1 0 b 1\n" + (line if isinstance(line, bytes) else line.encode()) + b"\n")
    handed = []
    assert read_trec_judgments(path, on_error=handed.append) == {"1": {"b": 1.0}}
    with pytest.raises(DataError, match=reason) as raised:
        read_trec_judgments(path)
    assert (raised.value.file, raised.value.line, raised.value.field) == (str(path), 2, field)
    assert [str(error) for error in handed] == [str(raised.value)]


def test_judgment_that_could_not_be_read_back_is_not_written(tmp_path):
    with pytest.raises(DataError, match="expected a word"):
        write_trec_judgments([("1", "a b", 1)], tmp_path / "qrels")


# ---- real files


@needs_shared
@pytest.mark.parametrize("name", ["xquad_zh", "xquad_en", "wiki_en"])
def test_real_passages_are_read_as_json_reads_them(name):
    path = SHARED / name / "passages.jsonl"
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    expected = [Passage(id=row["id"], title=row["title"], text=row["text"]) for row in rows]
    assert list(iter_passages(path)) == expected


@needs_shared
def test_real_fid_file_is_read_as_json_reads_it():
    path = SHARED / "formats" / "fid_bm25_300q_top20.json"
    rows = json.loads(path.read_text(encoding="utf-8"))
    found = list(iter_questions(path))
    assert len(found) == len(rows) == 300
    for one, row in zip(found, rows, strict=True):
        assert (one.question.id, list(one.question.answers), one.target) == (row["id"], row["answers"], row["target"])
        best_first = sorted(row["ctxs"], key=lambda inner: -float(inner["score"]))
        assert [passage.text for passage in one.passages] == [inner["text"] for inner in best_first]


@needs_shared
def test_real_question_set_with_patterns_as_answers_is_read():
    found = list(iter_questions(SHARED / "formats" / "topics.dpr.curated.test.txt"))
    assert len(found) == 694
    assert found[2].question == Question(
        id="2", text="What is the most populated country in the world?", answers=("China",)
    )
