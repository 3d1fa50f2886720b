"""What the field's own tools write is read, and what is written they read: BEIR's loader, ir_measures' readers."""

import json

import ir_measures
import pytest

from dogeared.data.formats import iter_passages, iter_questions
from dogeared.exchange.convert import Sources, convert
from exchange.samples import CURIE, SUN, TEA, write_sample


def converted(tmp_path, target):
    questions, passages = write_sample("jsonl", tmp_path / "in")
    sources = Sources(questions=questions, passages=passages)
    convert(tmp_path / "out", sources, source="jsonl", target=target, skip_bad_rows=False)
    return tmp_path / "out"


@pytest.mark.filterwarnings("ignore")
def test_beir_loads_what_is_written(tmp_path):
    loader = pytest.importorskip("beir.datasets.data_loader", reason="beir is not installed")
    out = converted(tmp_path, "beir")
    corpus, queries, judgments = loader.GenericDataLoader(str(out)).load(split="train")
    assert corpus == {
        "p1": {"title": "Curie", "text": CURIE},
        "p2": {"title": "", "text": TEA},
        "p3": {"title": "Sun", "text": SUN},
    }
    assert (queries, judgments) == ({"7": "Where was she born?"}, {"7": {"p1": 1}})
    _, queries, judgments = loader.GenericDataLoader(str(out)).load(split="dev")
    assert (queries, judgments) == ({"q2": "What is tea?"}, {"q2": {"p2": 1}})


@pytest.mark.filterwarnings("ignore")
def test_what_beir_writes_is_read(tmp_path):
    util = pytest.importorskip("beir.util", reason="beir is not installed")
    folder = tmp_path / "in"
    (folder / "qrels").mkdir(parents=True)
    corpus = {"p1": {"title": "Curie", "text": CURIE}, "é/2": {"title": "", "text": "\u8336 \"tea\"\t'hot'"}}
    util.write_to_json(str(folder / "corpus.jsonl"), corpus)
    util.write_to_json(str(folder / "queries.jsonl"), {"1": "Where was she born?", "2": "What is it?"})
    util.write_to_tsv(str(folder / "qrels/test.tsv"), {"1": {"p1": 1, "é/2": 0}, "2": {"é/2": 2}})
    convert(tmp_path / "out", Sources(questions=[str(folder)]), source="beir", target="jsonl", skip_bad_rows=False)
    found = {p.id: {"title": p.title, "text": p.text} for p in iter_passages(tmp_path / "out/passages.jsonl")}
    assert found == corpus
    asked = [one.question for one in iter_questions(tmp_path / "out/questions.jsonl")]
    assert [(q.id, q.text, q.split, q.gold) for q in asked] == [
        ("1", "Where was she born?", "test", ("p1",)),
        ("2", "What is it?", "test", ("é/2",)),
    ]


def test_ir_measures_reads_runs_and_judgments(tmp_path):
    out = converted(tmp_path, "trec")
    run = list(ir_measures.read_trec_run(str(out / "run.trec")))
    judgments = list(ir_measures.read_trec_qrels(str(out / "qrels.txt")))
    assert [(one.query_id, one.doc_id, one.score) for one in run] == [("7", "p1", 2.5), ("7", "p3", 1.0)]
    assert [(one.query_id, one.doc_id, one.relevance) for one in judgments] == [("7", "p1", 1), ("q2", "p2", 1)]
    # One of two judged questions has its passage first; the other was not searched for.
    assert ir_measures.calc_aggregate([ir_measures.P @ 1], judgments, run) == {ir_measures.P @ 1: 0.5}


def test_flashrags_own_corpus_and_items_are_read(tmp_path):
    """As its scripts write them: whole numbers for ids, title and text beside contents, more keys than are needed."""
    corpus = [
        {"id": 0, "title": "Curie", "text": CURIE, "contents": f"Curie\n{CURIE}"},
        {"id": 1, "contents": f"Sun\n{SUN}"},
    ]
    item = {
        "id": "test_0", "question": "Where?", "golden_answers": ["Warsaw"], "choices": [], "output": {},
        "metadata": {"supporting_facts": {}},
    }  # fmt: skip
    for name, rows in (("corpus.jsonl", corpus), ("test.jsonl", [item])):
        (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    sources = Sources(questions=[f"test={tmp_path / 'test.jsonl'}"], passages=str(tmp_path / "corpus.jsonl"))
    convert(tmp_path / "out", sources, source="flashrag", target="jsonl", skip_bad_rows=False)
    assert [(p.id, p.title, p.text) for p in iter_passages(tmp_path / "out/passages.jsonl")] == [
        ("0", "Curie", CURIE),
        ("1", "Sun", SUN),
    ]
    (one,) = [one.question for one in iter_questions(tmp_path / "out/questions.jsonl")]
    assert (one.id, one.text, one.answers, one.split) == ("test_0", "Where?", ("Warsaw",), "test")
