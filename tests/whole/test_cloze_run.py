"""The whole loop on bare passages: questions are made of them, and read without the passage that each was made from."""

import json

import pytest
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


@pytest.mark.parametrize("leave_out", [True, False])
def test_a_run_on_passages_alone(tmp_path, tiny_data, tiny_settings, leave_out):
    questions, passages = tmp_path / "cloze.jsonl", tiny_data / "passages.jsonl"
    done = CliRunner().invoke(app, ["cloze", "--passages", str(passages), "--out", str(questions)])
    assert done.exit_code == 0, done.output
    sources = {row["id"]: row["id"].rpartition("-cloze-")[0] for row in map(json.loads, questions.open())}
    flag = str(leave_out).lower()
    results = api.run(
        questions=questions,
        passages=passages,
        out=tmp_path / "run",
        preset=None,
        overrides=[*tiny_settings, f"leave_out_source={flag}"],
    )
    assert len(results["rounds"]) == 2
    run = RunFolder(tmp_path / "run")
    train = {question.id for question in Dataset.open(run.data).split("train")}
    assert train
    ranked = read_rankings(run.round(0).ranking / RANKINGS_FILE)
    assert sum(sources[name] in ranked[name].passage_ids for name in train) > len(train) / 2
    judged = read_relevance(run.round(1).relevance / RELEVANCE_FILE)
    assert judged.keys() == train
    taught = [name for name, item in judged.items() if sources[name] in item.passage_ids]
    assert bool(taught) != leave_out
    for item in judged.values():
        kept = [name for name in ranked[item.question_id].passage_ids if name != sources[item.question_id]]
        if leave_out:
            assert list(item.passage_ids) == kept[: len(item.passage_ids)]
    measured = read_relevance(run.round(0).relevance_eval / RELEVANCE_FILE)
    assert any(sources[name] in item.passage_ids for name, item in measured.items())
    for made in (run.round(0).reader, run.round(1).relevance):
        assert read_manifest(made).settings.get("leave_out_source", False) == leave_out
    assert "leave_out_source" not in read_manifest(run.round(0).relevance_eval).settings


def test_what_would_teach_nothing_is_refused():
    with pytest.raises(ConfigError, match=r'leave_out_source: expected false with teacher\.kind = "gold"'):
        load_experiment(overrides=["leave_out_source=true", "teacher.kind=gold"])
