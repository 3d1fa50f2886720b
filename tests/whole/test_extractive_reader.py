"""A run whose reader marks spans, from the first retrieval to an answer, a report and an export."""

import json

import pytest

from dogeared import api
from dogeared.artifacts import read_manifest
from dogeared.data.rankings import read_relevance
from dogeared.pipeline.dataset import Dataset
from dogeared.pipeline.export import export_fid
from dogeared.pipeline.layout import RunFolder
from dogeared.pipeline.scoring import RELEVANCE_FILE


@pytest.mark.parametrize("kept", ["fresh", "kept"])
def test_an_extractive_reader_goes_the_whole_way(tmp_path, tiny_data, tiny_settings, tiny_models, kept):
    overrides = [
        *tiny_settings,
        # All there are: the student of three steps finds what it finds, and a question must have its answer.
        "num_passages=30",
        "reader.num_passages=30",
        "reader.kind=extractive",
        f"reader.model={tiny_models / 'encoder'}",
        "teacher.kind=passage_posterior",
        f"rounds.reader={kept}",
    ]
    arguments = {"questions": tiny_data / "questions.jsonl", "passages": tiny_data / "passages.jsonl", "preset": None}
    results = api.run(out=tmp_path / "run", overrides=overrides, **arguments)
    run = RunFolder(tmp_path / "run")
    dataset = Dataset.open(run.data)
    for number in (0, 1):
        measures = json.loads((run.round(number).measures / "measures.json").read_text())
        assert {"em", "f1", "num_questions"} == set(measures["reader"]["test"])
        assert measures["agreement"]["num_questions"] == len(dataset.split("dev"))
        assert not run.round(number).teacher_eval.exists()  # the reader's own judgement is the teacher's
        lines = (run.round(number).measures / "predictions.jsonl").read_text().splitlines()
        everything = " ".join(p.text for batch in dataset.corpus.iter_batches(100) for p in batch)
        assert all(json.loads(line)["prediction"] in everything for line in lines)
    learned = read_relevance(run.round(1).relevance / RELEVANCE_FILE)
    assert all(value <= 0 for item in learned.values() for value in item.relevance)
    assert read_manifest(run.round(0).reader).settings["reader"]["kind"] == "extractive"
    assert ("start" in read_manifest(run.round(1).reader).inputs) == (kept == "kept")
    assert run.report.is_file()
    assert len(results["rounds"]) == 2
    # Done again, nothing is made anew.
    before = (run.round(1).reader / "manifest.json").stat().st_mtime_ns
    api.run(out=tmp_path / "run", overrides=overrides, **arguments)
    assert (run.round(1).reader / "manifest.json").stat().st_mtime_ns == before

    asked = api.load(run.path)
    answered = asked.ask("who was she ?", k=3, rerank=True)
    assert answered.answer in " ".join(found.passage.text for found in answered.passages)
    order = [found.relevance for found in answered.passages]
    assert order == sorted(order, reverse=True)
    number = 0 if asked.round == "untouched" else asked.round
    number = export_fid(
        tmp_path / "fid.json",
        data=run.data,
        ranking=run.round(number).ranking,
        relevance=[run.round(number).relevance_eval],
        score="reader",
        split="test",
    )
    assert number == len(dataset.split("test"))
