"""Answers from a finished run, by parts and by threads."""

import json
import shutil
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from dogeared.data.rankings import read_rankings
from dogeared.data.readings import Readings
from dogeared.distill.relevance import Aggregation
from dogeared.distill.teachers import CrossAttention
from dogeared.errors import ArtifactError, DataError
from dogeared.pipeline.dataset import Dataset
from dogeared.pipeline.layout import RunFolder
from dogeared.pipeline.results import read_experiment, read_results
from dogeared.pipeline.steps import load_reader
from dogeared.reader.answering import answer_questions
from dogeared.records import Question, Ranking
from dogeared.service import Answered, Found, QuestionAnswering


class Fixed:
    """Finds the same passages for every question."""

    name = "fixed"

    def __init__(self, passage_ids):
        self.passage_ids = passage_ids

    def retrieve(self, questions, k):
        ids = tuple(self.passage_ids[:k])
        scores = tuple(float(-rank) for rank in range(len(ids)))
        return [Ranking(question_id=question.id, passage_ids=ids, scores=scores) for question in questions]


@pytest.fixture(scope="module")
def corpus(tiny_run):
    return Dataset.open(tiny_run / "data").corpus


@pytest.fixture(scope="module")
def reader(tiny_run):
    run = RunFolder(tiny_run)
    return load_reader(run.round(1).reader, read_experiment(run))


@pytest.fixture
def service(corpus, reader):
    return QuestionAnswering(retriever=Fixed(corpus.ids(range(12))), reader=reader, corpus=corpus, round=1)


@pytest.fixture
def run_copy(tiny_run, tmp_path):
    return shutil.copytree(tiny_run, tmp_path / "run")


def set_best(folder, best):
    file = folder / "results.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"best": best}))


def test_search_lists_passages_as_the_retriever_ranks_them(service, corpus):
    assert service.search("Who?", k=3) == [
        Found(passage=corpus.passage(row), score=float(-row), relevance=None) for row in range(3)
    ]
    assert len(service.search("Who?")) == 10


def test_ask_reads_as_many_passages_as_the_reader_was_trained_with(service, reader):
    assert [found.score for found in service.ask("Who?").passages] == [0.0, -1.0, -2.0, -3.0]
    assert reader.settings.num_passages == 4
    assert len(service.ask("Who?", k=7).passages) == 7


def test_answer_and_relevance_are_those_of_the_pipeline(tiny_run, service, corpus, reader):
    question = Question(id="q", text="Which instrument did the painter play?")
    readings = Readings(
        questions=[question],
        rankings={"q": Fixed(corpus.ids(range(12))).retrieve([question], 4)[0]},
        corpus=corpus,
        num_passages=4,
    )
    answered = service.ask(f"  {question.text}\n")
    assert answered.question == question.text
    assert [answered.answer] == answer_questions(reader, readings)
    (expected,) = CrossAttention(reader).relevance(readings)
    assert [found.passage.id for found in answered.passages] == list(expected.passage_ids)
    assert [found.relevance for found in answered.passages] == pytest.approx(expected.relevance, rel=1e-5)


def test_who_opens_a_run_keeps_the_memory_that_answering_frees(run_copy, monkeypatch):
    kept = []
    monkeypatch.setattr("dogeared.service.keep_freed_memory", lambda: kept.append(True))
    QuestionAnswering.open(run_copy)
    assert kept == [True]


def test_passages_are_encoded_once(service, reader, monkeypatch):
    fuse, calls = type(reader).fuse, []
    monkeypatch.setattr(type(reader), "fuse", lambda self, *given: calls.append(given) or fuse(self, *given))
    service.ask("Who?")
    assert len(calls) == 1


def test_rerank_orders_by_relevance_and_changes_no_answer(service):
    plain, reranked = service.ask("Who was it?", k=6), service.ask("Who was it?", k=6, rerank=True)
    assert reranked.answer == plain.answer
    assert reranked.passages == tuple(sorted(plain.passages, key=lambda found: -found.relevance))
    assert reranked.passages != plain.passages


def test_where_nothing_is_found_the_question_is_read_alone(corpus, reader):
    service = QuestionAnswering(retriever=Fixed([]), reader=reader, corpus=corpus, round=0)
    answered = service.ask("Who?")
    assert answered.passages == ()
    alone = reader.generate(reader.batch(["Who?"], [[]]))
    assert [answered.answer] == [text.strip() for text in alone]


@pytest.mark.parametrize(
    "chosen", [{"input_tokens": "passage"}, {"output_tokens": "generated", "quantity": "probability"}]
)
def test_relevance_is_put_together_as_the_run_does(corpus, reader, chosen):
    aggregation = Aggregation(**chosen)
    service = QuestionAnswering(
        retriever=Fixed(corpus.ids(range(12))), reader=reader, corpus=corpus, round=1, aggregation=aggregation
    )
    answered = service.ask("Who?")
    readings = Readings(
        questions=[Question(id="0", text="Who?")],
        rankings={"0": Ranking(question_id="0", passage_ids=tuple(corpus.ids(range(4))), scores=(0.0,) * 4)},
        corpus=corpus,
        num_passages=4,
    )
    (expected,) = CrossAttention(reader, aggregation).relevance(readings)
    assert [found.relevance for found in answered.passages] == pytest.approx(expected.relevance, abs=1e-5)
    (plain,) = CrossAttention(reader).relevance(readings)
    assert list(plain.relevance) != pytest.approx(expected.relevance, abs=1e-5)


def test_many_threads_get_what_one_gets(service):
    questions = [f"Who was number {number}?" for number in range(12)]
    alone = [service.ask(question) for question in questions]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(service.ask, questions))
    assert together == alone
    assert all(isinstance(answered, Answered) for answered in together)


@pytest.mark.parametrize("question", ["", "  \n\t"])
def test_a_blank_question_is_refused(service, question):
    for call in (service.ask, service.search):
        with pytest.raises(DataError, match="question: expected a question, got blank text"):
            call(question)


@pytest.mark.parametrize("k", [0, -1])
def test_fewer_than_one_passage_is_refused(service, k):
    for call in (service.ask, service.search):
        with pytest.raises(DataError, match=f"k: expected at least 1 passage, got {k}"):
            call("Who?", k=k)


def test_open_finds_again_what_the_run_found(run_copy):
    run = RunFolder(run_copy)
    for best, name in ((0, "bm25"), (1, read_experiment(run).retriever.model)):
        set_best(run_copy, best)
        service = QuestionAnswering.open(run_copy)
        assert (service.round, service.retriever_name) == (best, name)
        rankings = read_rankings(run.round(best).ranking / "rankings.parquet")
        for question in Dataset.open(run.data).questions[:4]:
            found = service.search(question.text, k=8)
            assert tuple(one.passage.id for one in found) == rankings[question.id].passage_ids
            assert [one.score for one in found] == pytest.approx(rankings[question.id].scores, rel=1e-5)
    predictions = (run.round(1).measures / "predictions.jsonl").read_text().splitlines()
    questions = {question.id: question for question in Dataset.open(run.data).questions}
    for line in map(json.loads, predictions[:3]):
        assert service.ask(questions[line["id"]].text).answer == line["prediction"]


def test_the_untouched_student_is_read_by_the_first_reader(run_copy):
    set_best(run_copy, "untouched")
    service = QuestionAnswering.open(run_copy)
    assert service.round == "untouched"
    first = load_reader(run_copy / "round-0" / "reader", read_experiment(RunFolder(run_copy)))
    weights = service._reader.state_dict()
    assert all(torch.equal(weights[name], value) for name, value in first.state_dict().items())


def test_a_ranking_that_came_with_the_questions_cannot_be_searched(run_copy):
    file = run_copy / "experiment.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"start": "given"}))
    set_best(run_copy, 0)
    with pytest.raises(ArtifactError, match="that ranking holds nothing for new ones"):
        QuestionAnswering.open(run_copy)


def test_open_says_what_is_missing(tmp_path, run_copy):
    with pytest.raises(ArtifactError, match=r"found none; make one with dogeared run"):
        QuestionAnswering.open(tmp_path)
    (run_copy / "experiment.json").unlink()
    with pytest.raises(ArtifactError, match=r"expected the settings of a run"):
        QuestionAnswering.open(run_copy)
    assert read_results(RunFolder(run_copy))
