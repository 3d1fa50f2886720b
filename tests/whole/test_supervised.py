"""The baseline as a step and a command: it leaves a student like any other, and refuses other settings."""

import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from dogeared.artifacts import read_manifest
from dogeared.cli import app
from dogeared.data.rankings import read_rankings
from dogeared.errors import ArtifactError
from dogeared.pipeline import steps
from dogeared.pipeline.config import load_experiment
from dogeared.pipeline.layout import RunFolder
from dogeared.pipeline.supervised import train_dpr

SUPERVISED = ("supervised.steps=3", "supervised.questions_per_step=4", "supervised.learning_rate=0.01")


@pytest.fixture
def run(tiny_run):
    return RunFolder(tiny_run)


def test_a_baseline_is_a_student_like_any_other(run, tiny_settings, tmp_path):
    experiment = load_experiment(overrides=[*tiny_settings, *SUPERVISED])

    def make(experiment):
        train_dpr(
            tmp_path / "dpr",
            data=run.data,
            ranking=run.round(0).ranking,
            start=run.untouched.retriever,
            experiment=experiment,
        )

    make(experiment)
    manifest = read_manifest(tmp_path / "dpr")
    assert (manifest.kind, len(manifest.facts["losses"])) == ("train_dpr", 3)
    assert 0 < manifest.facts["num_examples"] <= 6
    assert manifest.settings["supervised"]["positives"] == "answer"
    start, made = (load_file(one / "model.safetensors") for one in (run.untouched.retriever, tmp_path / "dpr"))
    assert not all(torch.equal(start[name], made[name]) for name in start)
    folders = {"data": run.data, "retriever": tmp_path / "dpr"}
    steps.encode(tmp_path / "vectors", **folders, experiment=experiment)
    steps.retrieve(tmp_path / "ranking", **folders, vectors=tmp_path / "vectors", experiment=experiment)
    assert len(read_rankings(tmp_path / "ranking" / "rankings.parquet")) == 18
    make(experiment)
    with pytest.raises(ArtifactError, match=r'supervised\.positives: "answer" -> "gold"'):
        make(load_experiment(overrides=[*tiny_settings, *SUPERVISED, "supervised.positives=gold"]))


def test_the_command_makes_the_same_and_fuses_and_indexes(run, tiny_settings, tmp_path, monkeypatch):
    monkeypatch.setattr("dogeared.cli._set_up_output", lambda **_: None)
    settings = [part for one in (*tiny_settings, *SUPERVISED) for part in ("--set", one)]

    def invoke(command, **folders):
        options = [part for name, path in folders.items() for part in (f"--{name}", str(path))]
        done = CliRunner().invoke(app, [command, *options, *settings])
        assert done.exit_code == 0, done.output
        return read_manifest(folders["out"])

    made = invoke("train-dpr", data=run.data, ranking=run.round(0).ranking, out=tmp_path / "dpr")
    assert made.kind == "train_dpr"
    assert read_manifest(tmp_path / "dpr-untouched").kind == "untouched_retriever"
    assert invoke("index-tfidf", data=run.data, out=tmp_path / "tfidf").kind == "index_tfidf"
    assert (
        invoke("retrieve", data=run.data, words=tmp_path / "tfidf", out=tmp_path / "words").facts["retriever"]
        == "tfidf"
    )
    fused = invoke("fuse", lexical=tmp_path / "words", dense=run.untouched.ranking, out=tmp_path / "fused")
    assert fused.facts["retriever"].endswith(" + tfidf")
