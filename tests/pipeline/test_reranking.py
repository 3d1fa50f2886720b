"""A ranking in a teacher's order, by hand and on the artifacts of a finished run."""

import json

import pytest
from typer.testing import CliRunner

from dogeared.artifacts import read_manifest
from dogeared.cli import app
from dogeared.data.rankings import read_rankings, read_relevance
from dogeared.errors import ArtifactError
from dogeared.pipeline import steps
from dogeared.pipeline.config import load_experiment
from dogeared.pipeline.dataset import Dataset
from dogeared.pipeline.layout import RunFolder
from dogeared.pipeline.reranking import rerank, reranked
from dogeared.pipeline.scoring import RANKINGS_FILE, RELEVANCE_FILE
from dogeared.records import PassageRelevance, Ranking


def test_judged_passages_come_first_by_relevance_and_the_others_follow():
    ranking = Ranking(question_id="q", passage_ids=("a", "b", "c", "d", "e"), scores=(9.0, 8.0, 7.0, 6.0, 5.0))
    judged = PassageRelevance(question_id="q", passage_ids=("a", "b", "d"), relevance=(-2.0, 3.5, -2.0))
    found = reranked(ranking, judged)
    assert found.passage_ids == ("b", "a", "d", "c", "e")  # equals keep their order
    assert found.scores == (3.5, -2.0, -2.0, -3.0, -4.0)
    nothing = PassageRelevance(question_id="q", passage_ids=(), relevance=())
    assert reranked(ranking, nothing) == ranking


def test_gold_labels_put_gold_first_and_it_is_measured_so(tiny_run, tiny_settings, tmp_path):
    """With a teacher that knows, Success@1 is the share of questions whose gold passage was read at all."""
    run, experiment = RunFolder(tiny_run), load_experiment(overrides=[*tiny_settings, "teacher.kind=gold"])
    ranking, data = run.round(0).ranking, run.data
    steps.score_passages(
        tmp_path / "gold", data=data, ranking=ranking, reader=None, experiment=experiment, splits=["dev", "test"]
    )
    arguments = ["rerank", "--ranking", str(ranking), "--relevance", str(tmp_path / "gold")]
    done = CliRunner().invoke(app, [*arguments, "--out", str(tmp_path / "new")])
    assert done.exit_code == 0, done.output
    before, after = (read_rankings(one / RANKINGS_FILE) for one in (ranking, tmp_path / "new"))
    judged = read_relevance(tmp_path / "gold" / RELEVANCE_FILE)
    assert before.keys() == after.keys()
    for question in Dataset.open(data).questions:
        old, new = before[question.id], after[question.id]
        assert sorted(old.passage_ids) == sorted(new.passage_ids)
        if question.split == "train":
            assert new == old
        elif judged[question.id].passage_ids:
            assert new.passage_ids[0] in (*question.gold, *question.near_gold)
    steps.evaluate(
        tmp_path / "measures",
        data=data,
        ranking=tmp_path / "new",
        reader=None,
        relevance=None,
        experiment=experiment,
    )
    measures = json.loads((tmp_path / "measures" / "measures.json").read_text())["retriever"]["test"]
    asked = Dataset.open(data).split("test")
    share = sum(bool(judged[question.id].passage_ids) for question in asked) / len(asked)
    assert share > 0
    assert measures["success@1"] == pytest.approx(share)
    facts = read_manifest(tmp_path / "new").facts
    assert facts["num_reranked"] == sum(bool(item.passage_ids) for item in judged.values())
    assert facts["retriever"].endswith(", re-ranked")


def test_relevance_of_another_ranking_is_refused(tiny_run, tiny_settings, tmp_path):
    run, experiment = RunFolder(tiny_run), load_experiment(overrides=list(tiny_settings))
    with pytest.raises(ArtifactError):
        rerank(tmp_path / "new", ranking=run.round(0).ranking, relevance=[tmp_path / "nowhere"])
    nobody = experiment.model_copy(
        update={"teacher": experiment.teacher.model_copy(update={"kind": "file", "file": str(tmp_path / "given.trec")})}
    )
    (tmp_path / "given.trec").write_text("nobody Q0 nothing 1 2.0 x\n")
    steps.score_passages(
        tmp_path / "said",
        data=run.data,
        ranking=run.round(0).ranking,
        reader=None,
        experiment=nobody,
        splits=["dev"],
    )
    with pytest.raises(ArtifactError, match="expected relevance of its passages to put them in order by, found none"):
        rerank(tmp_path / "new", ranking=run.round(0).ranking, relevance=[tmp_path / "said"])
