"""A run whose readers read what a cross-encoder puts first: retrieval by words, re-ranking, reader."""

import json
import re

import pytest
import torch
from sentence_transformers import CrossEncoder
from torch import nn
from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification
from typer.testing import CliRunner

from dogeared import api
from dogeared.artifacts import read_manifest
from dogeared.cli import app
from dogeared.data.rankings import read_rankings, read_relevance
from dogeared.errors import ConfigError
from dogeared.pipeline.config import load_experiment
from dogeared.pipeline.dataset import Dataset
from dogeared.pipeline.layout import RunFolder
from dogeared.pipeline.scoring import RANKINGS_FILE, RELEVANCE_FILE
from dogeared.service import QuestionAnswering
from dogeared.serving.schemas import RoundsResponse
from dogeared.serving.shapes import rounds_json


@pytest.fixture(scope="module")
def model(tiny_models, tmp_path_factory):
    """A folder with a random cross-encoder over the words of ``tiny_data``."""
    folder = tmp_path_factory.mktemp("cross")
    tokenizer = AutoTokenizer.from_pretrained(tiny_models / "encoder")
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    config = BertConfig(vocab_size=len(tokenizer), **sizes, num_labels=1, initializer_range=0.5)
    BertForSequenceClassification(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def run(tiny_data, tiny_settings, model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("reranked") / "run"
    changes = ["reranker.kind=cross_encoder", f"reranker.model={model}", "reranker.num_passages=6"]
    api.run(
        questions=tiny_data / "questions.jsonl",
        passages=tiny_data / "passages.jsonl",
        out=folder,
        preset=None,
        overrides=[*tiny_settings, *changes, "reader_training.precision=fp32"],
    )
    return RunFolder(folder)


def order_by_hand(model, question, passages):
    judge = CrossEncoder(str(model), device="cpu", activation_fn=nn.Identity())
    scores = judge.predict([(question, f"{passage.title} {passage.text}") for passage in passages])
    return [passages[place].id for place in (-scores).argsort(kind="stable")]


def test_every_reader_reads_what_the_cross_encoder_puts_first(run, model):
    dataset = Dataset.open(run.data)
    for number in (0, 1):
        here = run.round(number)
        before, after = (read_rankings(place / RANKINGS_FILE) for place in (here.ranking, here.reranked))
        question = dataset.split("dev")[0]
        found = before[question.id].passage_ids
        judged = dataset.corpus.passages(dataset.corpus.rows_of(found[:6]))
        expected = (*order_by_hand(model, question.text, judged), *found[6:])
        assert after[question.id].passage_ids == expected
        assert expected != found
        # The reader is trained on it, judges it and answers from it; the retriever is measured by its own.
        made = {name: read_manifest(here.path / name) for name in ("reader", "relevance-eval", "measures", "reranked")}
        for name, role in (("reader", "ranking"), ("relevance-eval", "ranking"), ("measures", "read")):
            assert made[name].inputs[role] == made["reranked"].fingerprint
        assert made["measures"].inputs["ranking"] == read_manifest(here.ranking).fingerprint
        assert read_relevance(here.relevance_eval / RELEVANCE_FILE)[question.id].passage_ids == expected[:4]
    # What is distilled is about the retriever's own passages.
    taught = read_manifest(run.round(1).relevance)
    assert taught.inputs["ranking"] == read_manifest(run.round(0).ranking).fingerprint


def test_the_order_that_is_read_is_measured_beside_the_retriever_s(run):
    results = json.loads(run.results.read_text(encoding="utf-8"))
    for one in results["rounds"]:
        assert one["reranked"]["dev"].keys() == one["retriever"]["dev"].keys() - {"name"}
        assert one["reranked"]["dev"] != one["retriever"]["dev"]
        assert {"rerank", "score_passages_reranker"} <= one["steps"].keys()


def test_the_report_shows_both_orders(run, model):
    html, results = run.report.read_text(encoding="utf-8"), json.loads(run.results.read_text(encoding="utf-8"))
    rows = [re.sub(r"<[^>]+>|\s+", " ", row) for row in re.findall(r"<tr.*?</tr>", html, flags=re.DOTALL)]
    for title, one in zip(("First retrieval", "Round 1"), results["rounds"], strict=True):
        wanted = [" ".join(row.split()) for row in rows if f"{title}, re-ranked" in row]
        assert len(wanted) == 2  # test and dev
        for row, split in zip(wanted, ("test", "dev"), strict=True):
            assert model.name in row
            told = [f"{100 * one['reranked'][split][f'success@{k}']:.1f}" for k in (1, 5, 20)]
            assert row.split(model.name)[1].split()[:3] == told
    assert "the 6 best passages of that retriever in the order of the re-ranker" in html


def test_the_page_gets_both_orders(run):
    told = rounds_json(run, QuestionAnswering.open(run.path), None)
    assert told["rounds"][0]["reranked"] is None
    results = json.loads(run.results.read_text(encoding="utf-8"))
    assert [one["reranked"] for one in told["rounds"][1:]] == [one["reranked"] for one in results["rounds"]]
    assert RoundsResponse.model_validate(told).rounds[1].reranked.dev == results["rounds"][0]["reranked"]["dev"]


def test_a_new_question_is_read_as_the_run_was(run, model):
    asked = QuestionAnswering.open(run.path)
    plain = [one.passage for one in asked.search("who was she ?", k=6)]
    expected = order_by_hand(model, "who was she ?", plain)
    assert [one.passage.id for one in asked.ask("who was she ?", k=3).passages] == expected[:3]
    assert [one.passage.id for one in asked.search_reranked("who was she ?", k=3)] == expected[:3]
    shown = CliRunner().invoke(app, ["search", str(run.path), "who was she ?", "-k", "3", "--rerank", "--json"])
    assert [one["id"] for one in json.loads(shown.stdout)["passages"]] == expected[:3]


def test_without_a_re_ranker_the_reader_orders(tiny_run):
    asked = QuestionAnswering.open(tiny_run)
    found = asked.search_reranked("who was she ?", k=4)
    assert sorted(one.passage.id for one in found) == sorted(
        one.passage.id for one in asked.search("who was she ?", k=4)
    )
    values = asked.judge("who was she ?", [one.passage for one in found])
    assert [one.score for one in found] == pytest.approx(values, abs=1e-4)
    assert values == sorted(values, reverse=True)


def test_half_a_re_ranker_is_refused():
    for override in ("reranker.kind=cross_encoder", "reranker.model=some/model"):
        with pytest.raises(ConfigError, match=r"reranker\.kind and reranker\.model, or neither"):
            load_experiment(overrides=[override])
    assert "reranker" not in load_experiment().model_dump(), "older runs stay the same"
