"""First retrievals of every kind, and the result fused with BM25: what they leave, refuse, and answer by."""

import json
import shutil

import pytest
import torch
from transformers import BertConfig, BertModel

from dogeared import api
from dogeared.artifacts import is_discarded, read_manifest
from dogeared.data.rankings import read_rankings
from dogeared.errors import ArtifactError
from dogeared.evaluation.ranking import evaluate_retrieval
from dogeared.pipeline.dataset import Dataset
from dogeared.pipeline.layout import RunFolder
from dogeared.pipeline.lexical import load_words
from dogeared.retrieval.dual_encoder import DualEncoder, RetrieverSettings
from dogeared.retrieval.hybrid import HybridSettings, fuse
from dogeared.retrieval.tfidf import TfidfRetriever


@pytest.fixture
def go(tiny_data, tiny_settings, tmp_path):
    def run(*overrides, out=tmp_path / "run"):
        files = {name: tiny_data / f"{name}.jsonl" for name in ("questions", "passages")}
        return api.run(**files, out=out, preset=None, overrides=[*tiny_settings, "rounds.max=0", *overrides])

    return run


@pytest.fixture
def other_encoder(tiny_models, tmp_path):
    """An encoder that was never trained to retrieve, and is not the student."""
    shutil.copytree(tiny_models / "encoder", tmp_path / "other")
    config = BertConfig.from_pretrained(tmp_path / "other", hidden_size=16, num_hidden_layers=1)
    torch.manual_seed(7)
    BertModel(config).save_pretrained(tmp_path / "other")
    return tmp_path / "other"


def rankings(folder):
    return read_rankings(folder / "rankings.parquet")


def times(out):
    return {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.name not in ("report.html", ".lock")}


def assert_searches_as_it_ranked(out, ranking, **arguments):
    """A question asked anew finds what was retrieved for it in the run."""
    system = api.load(out, **arguments)
    for question in Dataset.open(RunFolder(out).data).split("test")[:3]:
        found = [one.passage.id for one in system.search(question.text, k=8)]
        assert found == list(ranking[question.id].passage_ids)[:8]


def test_a_run_starts_from_tf_idf(go, tmp_path):
    results, run = go("start=tfidf"), RunFolder(tmp_path / "run")
    assert results["rounds"][0]["retriever"]["name"] == "tfidf"
    dataset = Dataset.open(run.data)
    passages = [passage for batch in dataset.corpus.iter_batches(100) for passage in batch]
    made = TfidfRetriever.build(passages).retrieve(dataset.questions, 8)
    found = rankings(run.round(0).ranking)
    assert [found[one.question_id].passage_ids for one in made] == [one.passage_ids for one in made]
    assert any(one.passage_ids for one in made)
    assert read_manifest(run.words).settings["tfidf"] == {"language": "en", "num_bucket_bits": 24}
    assert isinstance(load_words(run.words), TfidfRetriever)
    before = times(run.path)
    go("start=tfidf")
    assert {path: time for path, time in times(run.path).items() if "data" in path.parts} == {
        path: time for path, time in before.items() if "data" in path.parts
    }
    with pytest.raises(ArtifactError, match=r"tfidf\.num_bucket_bits: 24 -> 20"):
        go("start=tfidf", "tfidf.num_bucket_bits=20")
    with pytest.raises(ArtifactError, match='kind: "index_tfidf" -> "index_words"'):
        go("start=bm25")


def test_a_run_starts_from_the_student_as_it_is(go, tmp_path):
    results, run = go("start=dense", "rounds.max=1", "rounds.keep=best"), RunFolder(tmp_path / "run")
    assert rankings(run.round(0).ranking) == rankings(run.untouched.ranking)
    assert results["rounds"][0]["retriever"]["dev"] == results["untouched"]["dev"]
    assert not run.words.exists() and not run.start.path.exists()
    if results["best"] == 0:
        assert not is_discarded(run.untouched.retriever), "round 0 searches with it"
    best = results["best"]
    assert_searches_as_it_ranked(run.path, rankings(run.round(best).ranking))


def test_a_run_starts_from_an_encoder_that_is_not_the_student(go, other_encoder, tmp_path):
    run = RunFolder(tmp_path / "run")
    results = go("start=dense", f"start_model={other_encoder}")
    assert results["rounds"][0]["retriever"]["name"] == str(other_encoder)
    assert rankings(run.round(0).ranking) != rankings(run.untouched.ranking)
    assert read_manifest(run.start.retriever).settings["retriever"]["model"] == str(other_encoder)
    if results["best"] == 0:
        assert_searches_as_it_ranked(run.path, rankings(run.round(0).ranking))
    assert '<th scope="col">Start</th>' in run.report.read_text(), "its cost is told"
    before = times(run.path)
    go("start=dense", f"start_model={other_encoder}")
    changed = {path for path, time in times(run.path).items() if before.get(path) != time}
    assert {path.name for path in changed} <= {"run", "results.json", "experiment.json"}
    with pytest.raises(ArtifactError, match=r"retriever .*model"):
        go("start=dense", f"start_model={other_encoder / '..' / 'other'}")


@pytest.fixture
def student_of(tiny_models, tiny_language_model):
    """The settings of a student whose vectors are of some kind."""
    models = {"sparse": tiny_language_model, "multi": tiny_models / "encoder"}
    return lambda vectors: (f"retriever.vectors={vectors}", f"retriever.model={models[vectors]}")


@pytest.mark.parametrize("vectors", ["sparse", "multi"])
def test_an_encoder_to_start_from_is_dense_whatever_the_student_is(go, other_encoder, student_of, tmp_path, vectors):
    start = ("start=dense", f"start_model={other_encoder}")
    go(*start, out=tmp_path / "dense")
    results, run = go(*start, *student_of(vectors)), RunFolder(tmp_path / "run")
    opened = [DualEncoder.load(RetrieverSettings(model=str(one.retriever))) for one in (run.start, run.untouched)]
    assert [one.is_sparse for one in opened] == [False, vectors == "sparse"]
    assert [one.is_multi for one in opened] == [False, vectors == "multi"]
    assert rankings(run.round(0).ranking) == rankings(RunFolder(tmp_path / "dense").round(0).ranking)
    if results["best"] == 0:
        assert_searches_as_it_ranked(run.path, rankings(run.round(0).ranking))


@pytest.mark.parametrize("vectors", ["sparse", "multi"])
def test_a_start_with_other_vectors_is_what_its_folder_says(go, student_of, tmp_path, vectors):
    go(*student_of(vectors), out=tmp_path / "other")
    saved = RunFolder(tmp_path / "other").untouched
    results, run = go("start=dense", f"start_model={saved.retriever}"), RunFolder(tmp_path / "run")
    assert rankings(run.round(0).ranking) == rankings(saved.ranking)
    if results["best"] == 0:
        assert_searches_as_it_ranked(run.path, rankings(run.round(0).ranking))


@pytest.mark.parametrize("method", ["rank", "score"])
def test_a_run_starts_from_words_and_vectors_together(go, tmp_path, method):
    settings = HybridSettings(method=method, dense_weight=0.25)
    results = go("start=hybrid", f"hybrid.method={method}", "hybrid.dense_weight=0.25")
    run = RunFolder(tmp_path / "run")
    words, vectors, found = map(rankings, (run.hybrid_ranking, run.start.ranking, run.round(0).ranking))
    assert vectors == rankings(run.untouched.ranking)
    for name, ranking in found.items():
        assert ranking.passage_ids == fuse(words[name], vectors[name], 8, settings).passage_ids
    assert found != vectors
    assert results["rounds"][0]["retriever"]["name"].endswith(" + bm25")
    assert read_manifest(run.round(0).ranking).settings["hybrid"] == settings.model_dump()
    if results["best"] == 0:
        assert_searches_as_it_ranked(run.path, found)
    with pytest.raises(ArtifactError, match=r"hybrid\.dense_weight: 0\.25 -> 0\.5"):
        go("start=hybrid", f"hybrid.method={method}", "hybrid.dense_weight=0.5")


def test_the_untouched_student_and_the_best_round_are_measured_with_bm25_beside_the_rounds(tiny_run):
    run = RunFolder(tiny_run)
    results, dataset = json.loads(run.results.read_text()), Dataset.open(run.data)
    wanted = ["untouched"] + ([results["best"]] if results["best"] not in ("untouched", 0) else [])
    assert [entry["of"] for entry in results["hybrid"]] == wanted
    words = rankings(run.round(0).ranking)
    for entry in results["hybrid"]:
        dense = rankings((run.untouched if entry["of"] == "untouched" else run.round(entry["of"])).ranking)
        questions = dataset.split("test")
        fused = [fuse(words[q.id], dense[q.id], 8, HybridSettings()) for q in questions]
        assert entry["test"] == evaluate_retrieval(questions, fused, dataset.passage_texts)
        assert entry["name"].endswith(" + bm25")
    page = run.report.read_text()
    assert page.count("no candidate") == 2 * len(wanted)
    assert "Untouched student with BM25" in page


def test_a_result_by_vectors_is_searched_with_words_too(go, tmp_path):
    results, run = go("start=dense"), RunFolder(tmp_path / "run")
    assert results["best"] == 0, "the student's equal, and with a reader"
    dense, words = rankings(run.round(0).ranking), rankings(run.hybrid_ranking)
    fused = {q: fuse(words[q], dense[q], 8, HybridSettings()) for q in dense}
    assert_searches_as_it_ranked(run.path, fused, hybrid=True)
    assert fused != dense
    answered = api.load(run.path, hybrid=True).ask("Where was she born?")
    assert len(answered.passages) == 4


def test_a_result_by_words_has_nothing_to_be_fused_with(tiny_run, tmp_path):
    copy = shutil.copytree(tiny_run, tmp_path / "run")
    results = json.loads((copy / "results.json").read_text())
    (copy / "results.json").write_text(json.dumps({**results, "best": 0}))
    with pytest.raises(ArtifactError, match=r'start = "bm25".*there is nothing to add words to'):
        api.load(copy, hybrid=True)


def test_what_is_fused_at_the_end_bears_on_no_choice(go, tmp_path):
    chosen = {}
    for weight in ("0.0", "1.0"):
        chosen[weight] = go("rounds.max=1", f"hybrid.dense_weight={weight}", out=tmp_path / weight)
    alone = [{key: value for key, value in one.items() if key not in ("hybrid", "rounds")} for one in chosen.values()]
    assert alone[0] == alone[1]
    words, vectors = (one["hybrid"][0]["test"] for one in chosen.values())
    assert words == chosen["0.0"]["rounds"][0]["retriever"]["test"], "weight 0 is BM25"
    assert vectors == chosen["1.0"]["untouched"]["test"], "weight 1 is the student"
