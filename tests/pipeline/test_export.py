"""Scores go out as FiD's JSON, each number under its own name."""

import json

import pytest
from typer.testing import CliRunner

from dogeared.artifacts import write_artifact
from dogeared.cli import app
from dogeared.data.formats import iter_questions
from dogeared.data.rankings import write_rankings, write_relevance
from dogeared.errors import ArtifactError, ConfigError
from dogeared.pipeline.dataset import prepare_data
from dogeared.pipeline.export import export_fid
from dogeared.records import PassageRelevance, Ranking


@pytest.fixture
def artifacts(tmp_path):
    passages = [{"id": name, "title": name.upper(), "text": f"text {name}"} for name in "abc"]
    questions = [
        {"id": "1", "question": "Q1?", "answers": ["x"], "split": "train"},
        {"id": "2", "question": "Q2?", "answers": ["y"], "split": "dev", "target": "why"},
    ]
    for name, rows in (("p", passages), ("q", questions)):
        (tmp_path / f"{name}.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    prepare_data(tmp_path / "data", questions=tmp_path / "q.jsonl", passages=tmp_path / "p.jsonl")
    with write_artifact(tmp_path / "ranking", kind="retrieve", settings={}, inputs={}) as (folder, _):
        ranked = [
            Ranking(question_id="1", passage_ids=("a", "b", "c"), scores=(3.0, 2.0, 1.0)),
            Ranking(question_id="2", passage_ids=("c",), scores=(0.5,)),
        ]
        write_rankings(ranked, folder / "rankings.parquet")
    with write_artifact(tmp_path / "relevance", kind="score", settings={}, inputs={}) as (folder, _):
        said = [PassageRelevance(question_id="1", passage_ids=("a", "b"), relevance=(-1.5, 0.25))]
        write_relevance(said, folder / "relevance.parquet")
    return tmp_path


def exported(folder, **options):
    out = folder / "out.json"
    num = export_fid(out, data=folder / "data", ranking=folder / "ranking", relevance=[folder / "relevance"], **options)
    rows = json.loads(out.read_text(encoding="utf-8"))
    assert num == len(rows)
    return rows


def test_both_numbers_are_written_under_their_names(artifacts):
    first, second = exported(artifacts)
    assert first == {
        "id": "1",
        "question": "Q1?",
        "answers": ["x"],
        "ctxs": [
            {"id": "a", "title": "A", "text": "text a", "score": 3.0, "retriever_score": 3.0, "relevance": -1.5},
            {"id": "b", "title": "B", "text": "text b", "score": 2.0, "retriever_score": 2.0, "relevance": 0.25},
            {"id": "c", "title": "C", "text": "text c", "score": 1.0, "retriever_score": 1.0},
        ],
    }
    assert [row["id"] for row in second["ctxs"]] == ["c"]


def test_the_readers_number_takes_the_place_of_the_score_where_asked(artifacts, caplog):
    first, second = exported(artifacts, score="reader")
    assert [(row["id"], row["score"], row["retriever_score"]) for row in first["ctxs"]] == [
        ("a", -1.5, 3.0),
        ("b", 0.25, 2.0),
    ]
    assert second["ctxs"] == []
    assert "2 ranked passages have no relevance" in caplog.text


def test_one_split_may_be_written(artifacts):
    assert [row["id"] for row in exported(artifacts, split="dev")] == ["2"]


def test_a_split_that_is_not_there_is_an_error_that_names_those_that_are(artifacts):
    for name in ("tset", "test"):
        with pytest.raises(ConfigError, match=rf"--split: expected one .*, which are train, dev; got '{name}'"):
            exported(artifacts, split=name)
    assert not (artifacts / "out.json").exists()


def test_the_one_answer_to_train_on_is_written_and_read_back(artifacts):
    first, second = exported(artifacts)
    assert "target" not in first
    assert second["target"] == "why"
    assert [one.target for one in iter_questions(artifacts / "out.json")] == [None, "why"]


def test_a_question_that_was_not_ranked_has_no_passages(artifacts):
    with write_artifact(artifacts / "half", kind="retrieve", settings={}, inputs={}) as (folder, _):
        write_rankings([Ranking(question_id="2", passage_ids=("c",), scores=(0.5,))], folder / "rankings.parquet")
    export_fid(artifacts / "half.json", data=artifacts / "data", ranking=artifacts / "half")
    first, second = json.loads((artifacts / "half.json").read_text(encoding="utf-8"))
    assert (first["ctxs"], [row["id"] for row in second["ctxs"]]) == ([], ["c"])


def test_what_is_written_is_read_back(artifacts):
    exported(artifacts, score="reader", split="train")
    (one,) = iter_questions(artifacts / "out.json")
    assert ([p.id for p in one.passages], one.scores) == (["b", "a"], (0.25, -1.5))


def test_relevance_of_nothing_here_is_an_error(artifacts):
    with pytest.raises(ArtifactError, match="expected relevance"):
        export_fid(artifacts / "x.json", data=artifacts / "data", ranking=artifacts / "ranking", score="reader")
    assert not (artifacts / "x.json").exists()


def test_the_command_writes_the_file(artifacts):
    options = {"--data": "data", "--ranking": "ranking", "--relevance": "relevance", "--out": "cli.json"}
    arguments = [part for name, value in options.items() for part in (name, str(artifacts / value))]
    done = CliRunner().invoke(app, ["export-fid", *arguments, "--score", "reader", "--split", "train"])
    assert done.exit_code == 0, done.output
    assert "1 questions" in done.output
    assert [row["score"] for row in json.loads((artifacts / "cli.json").read_text())[0]["ctxs"]] == [-1.5, 0.25]
