"""The table of odd inputs in docs/formats.md says what happens: each row is tried here, and nothing is missing."""

import gzip
import json
import re
from pathlib import Path

import pytest

from dogeared.data.formats import iter_passages, iter_questions
from dogeared.data.validate import validate
from dogeared.errors import DataError
from dogeared.records import Passage, Question
from dogeared.retrieval.bm25 import BM25Retriever

DOCUMENT = Path(__file__).parents[2] / "docs/formats.md"


def passage(**changes) -> bytes:
    return json.dumps({"id": "p1", "title": "t", "text": "a text"} | changes).encode("utf-8", "surrogatepass") + b"\n"


def question(**changes) -> bytes:
    return json.dumps({"id": "q1", "question": "who?", "answers": ["a"]} | changes).encode() + b"\n"


def with_ctxs(*ctxs) -> bytes:
    return question(ctxs=[{"id": f"p{place}", "title": "", "text": "a"} | one for place, one in enumerate(ctxs)])


# By the first column of the table: the file's name, its content, and the field that the error names, if any does.
CASES: dict[str, tuple[str, bytes, str | None]] = {
    "an id that is an integer": ("p.jsonl", passage(id=7), None),
    "a score that is text": ("q.jsonl", with_ctxs({"score": "2.5"}, {"score": 1}), None),
    "an answer that is a number": ("q.jsonl", question(answers=[1903]), None),
    "a byte-order mark": ("p.jsonl", b"\xef\xbb\xbf" + passage(), None),
    "CRLF, blank lines, no line end at the end": (
        "p.jsonl",
        passage()[:-1] + b"\r\n\r\n" + passage(id="p2", text="b")[:-1],
        None,
    ),
    "a line of megabytes": ("p.jsonl", passage(text="word " * 1_000_000), None),
    "a passage or question longer than any model reads": ("q.jsonl", question(question="who " * 100_000), None),
    "unknown fields": ("p.jsonl", passage(url="x", vector=[1, 2]), None),
    "a question without answers": ("q.jsonl", question(answers=[]), None),
    "a text that stands in an earlier row": ("p.jsonl", passage() + passage(id="p2"), None),
    "a question that stands in an earlier row": ("q.jsonl", question() + question(id="q2"), None),
    "broken JSON": ("p.jsonl", b'{"id": "p1", \n', None),
    "a row that is no object": ("p.jsonl", b"[1]\n".replace(b"[1]", b"3"), None),
    "a missing id": ("p.jsonl", b'{"text": "a"}\n', "id"),
    "a missing text": ("p.jsonl", b'{"id": "p1"}\n', "text"),
    "a missing question": ("q.jsonl", b'{"id": "q1"}\n', "question"),
    "an id that is twice there": ("p.jsonl", passage() + passage(), "id"),
    "an id with a tab or a line end": ("p.jsonl", passage(id="a\tb"), "id"),
    "an id that is true, a fraction or a list": ("p.jsonl", passage(id=1.5), "id"),
    "NUL in a text": ("p.jsonl", passage(text="a\0b"), "text"),
    "half a surrogate pair": ("p.jsonl", passage(text="\ud800").replace(b"\xed\xa0\x80", b"\\ud800"), "text"),
    "bytes that are not UTF-8": ("p.jsonl", b'{"id": "p1", "text": "\xff"}\n', None),
    "a text that is a number or a list": ("p.jsonl", passage(text=3), "text"),
    "an empty or blank passage": ("p.jsonl", passage(text=" \n"), "text"),
    "an empty or blank question": ("q.jsonl", question(question=""), "question"),
    "an empty answer": ("q.jsonl", question(answers=["a", " "]), "answers[1]"),
    "an answer that is neither text nor number": ("q.jsonl", question(answers=[["a"]]), "answers[0]"),
    "answers that are no list": ("q.jsonl", question(answers="a"), "answers"),
    "a score that is NaN or infinite": ("q.jsonl", with_ctxs({"score": float("nan")}), "ctxs[0].score"),
    "scores for some passages of a question": ("q.jsonl", with_ctxs({"score": 1}, {}), "ctxs[1].score"),
    "a passage twice in a ranking": ("q.jsonl", with_ctxs({}, {"id": "p0"}), "ctxs[1].id"),
    "a split that is none": ("q.jsonl", question(split="valid"), "split"),
    "ids in some rows": ("q.jsonl", question() + b'{"question": "what?"}\n', "id"),
    "an answer list that is an expression": ("q.tsv", b"who?\t[__import__('os').getcwd()]\n", "answers"),
    "a table row of too few or too many fields": ("p.tsv", b"id\ttext\ttitle\np1\ta\n", None),
    "an empty file": ("p.jsonl", b"", None),
    "a file that is cut off": ("p.jsonl.gz", gzip.compress(passage() * 100)[:-20], None),
    "a list that is cut off": ("p.json", b'[{"id": "p1", "text": "a"},', None),
    "a name that tells no format": ("p.parquet", passage(), None),
}
TAKEN, WARNED, REFUSED = "accepted", "accepted, and counted in a warning", "`DataError`"


def table() -> dict[str, str]:
    part = DOCUMENT.read_text(encoding="utf-8").partition("# Odd inputs\n")[2].partition("\n#")[0]
    rows = re.findall(r"^\| (.+?) \| (.+?) \|", part, flags=re.MULTILINE)
    return {name: outcome for name, outcome in rows if name not in ("input", "---")}


def outcome(file: Path) -> tuple[str, DataError | None]:
    """Read a file as a run does, and as ``dogeared validate`` does; both must agree."""
    read = iter_questions if file.name.startswith("q") else iter_passages
    (report,) = validate([file])
    try:
        for _ in read(file):
            pass
    except DataError as error:
        assert report.num_errors
        return REFUSED, error
    assert report.num_errors == 0, report.errors
    of_rows = [text for text in report.warnings if not text.startswith("splits without a question")]
    return (WARNED if of_rows else TAKEN), None


@pytest.mark.parametrize("name", sorted(CASES))
def test_an_odd_input_gets_what_the_table_says(name: str, tmp_path: Path) -> None:
    file, content, field = CASES[name]
    (tmp_path / file).write_bytes(content)
    found, error = outcome(tmp_path / file)
    assert table()[name].partition(":")[0] == found
    if error is not None:
        assert error.file == str(tmp_path / file)
        assert error.reason.startswith(("expected", "found"))
        if field is not None:
            assert (error.field or "").removeprefix("[1].") == field
            assert error.line


def test_a_ranking_longer_than_the_corpus_is_as_long_as_it_can_be() -> None:
    assert table()["more passages asked for than there are"].startswith(TAKEN)
    index = BM25Retriever.build([Passage(id=f"p{number}", title="", text="tea") for number in range(3)])
    (ranking,) = index.retrieve([Question(id="q1", text="tea")], 100)
    assert len(ranking.passage_ids) == 3


def test_the_table_names_every_case_and_no_other() -> None:
    assert set(table()) == {*CASES, "more passages asked for than there are"}
