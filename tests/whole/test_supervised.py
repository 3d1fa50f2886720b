"""The baseline as a step and a command, and as a run's start: a student like any other, that refuses other settings."""

import json
import re
import shlex
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from dogeared.artifacts import read_manifest
from dogeared.cli import app
from dogeared.data.rankings import read_rankings
from dogeared.errors import ArtifactError, ConfigError
from dogeared.pipeline import steps, supervised
from dogeared.pipeline.config import load_experiment
from dogeared.pipeline.dataset import Dataset, prepare_data
from dogeared.pipeline.layout import RunFolder
from dogeared.pipeline.supervised import train_dpr
from dogeared.retrieval.dual_encoder import DualEncoder, RetrieverSettings
from dogeared.retrieval.encoder_models import routes
from dogeared.training.train_supervised import find_examples

RECIPES = Path(__file__).parents[2] / "docs" / "recipes.md"
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


def sides(folder):
    """The weights of the encoder of questions and of that of passages."""
    encoders = routes(DualEncoder.load(RetrieverSettings(model=str(folder))).model)
    return [encoders[task].state_dict() for task in ("query", "document")]


def test_a_run_starts_from_a_baseline_trained_here_as_the_recipe_says(tiny_data, tiny_settings, tmp_path, monkeypatch):
    """The recipe's own commands, with tiny models and few steps."""
    (recipe,) = [code for code in re.findall(r"```\n(.*?)```", RECIPES.read_text(), re.DOTALL) if "train-dpr" in code]
    monkeypatch.setattr("dogeared.cli._set_up_output", lambda **_: None)
    monkeypatch.chdir(tmp_path)
    for name in ("passages.jsonl", "questions.jsonl"):
        shutil.copy(tiny_data / name, name)
    # What a recipe sets wins over a file.
    values = (one.split("=", 1) for one in tiny_settings)
    lines = [f"{key} = {value if value[0].isdigit() else json.dumps(value)}" for key, value in values]
    Path("tiny.toml").write_text("\n".join(lines))
    for line in recipe.replace("\\\n", " ").splitlines():
        _, command, *told = shlex.split(line)
        few = ["--config", "tiny.toml", *(part for one in SUPERVISED for part in ("--set", one))]
        done = CliRunner().invoke(app, [command, *told, *(few if command != "prepare" else [])])
        assert done.exit_code == 0, done.output
    run = RunFolder(Path("runs/dpr-here"))
    results, dataset = json.loads(run.results.read_text()), Dataset.open(run.data)
    assert results["rounds"][0]["retriever"]["name"] == "dpr-here"

    before, trained, student, taught = map(
        sides, ("dpr-here-untouched", "dpr-here", run.untouched.retriever, run.round(1).retriever)
    )
    for side in (0, 1):
        assert all(torch.equal(student[side][name], value) for name, value in trained[side].items())
        for name in (name for name in trained[side] if name.endswith("weight") and "pooler" not in name):
            assert not torch.equal(before[side][name], trained[side][name]), name
            assert not torch.equal(trained[side][name], taught[side][name]), name

    encoder = DualEncoder.load(RetrieverSettings(model="dpr-here")).eval()
    passages = dataset.corpus.passages(range(len(dataset.corpus)))
    with torch.inference_mode():
        queries = encoder.embed(encoder.query_chunks([question.text for question in dataset.split("test")]))
        scores = encoder.score_all(queries, encoder.embed(encoder.passage_chunks(passages)))
    ranking = read_rankings(run.round(0).ranking / "rankings.parquet")
    for question, row in zip(dataset.split("test"), scores, strict=True):
        best = dataset.corpus.ids(row.argsort(descending=True)[:3].tolist())
        assert list(ranking[question.id].passage_ids[:3]) == list(best)


def test_no_question_has_its_source_for_a_positive_where_that_is_left_out(
    tmp_path, tiny_data, tiny_settings, monkeypatch
):
    done = CliRunner().invoke(
        app, ["cloze", "--passages", str(tiny_data / "passages.jsonl"), "--out", str(tmp_path / "cloze.jsonl")]
    )
    assert done.exit_code == 0, done.output
    experiment = load_experiment(overrides=[*tiny_settings, *SUPERVISED, "leave_out_source=true"])
    prepare_data(tmp_path / "data", questions=tmp_path / "cloze.jsonl", passages=tiny_data / "passages.jsonl")
    steps.index_words(tmp_path / "words", data=tmp_path / "data", experiment=experiment)
    steps.retrieve_first(tmp_path / "ranking", data=tmp_path / "data", words=tmp_path / "words", experiment=experiment)
    steps.untouched_retriever(tmp_path / "student", experiment=experiment)
    seen = []
    monkeypatch.setattr(
        supervised, "find_examples", lambda *given, **named: seen.extend(find_examples(*given, **named)) or seen
    )
    of_all = {"data": tmp_path / "data", "ranking": tmp_path / "ranking", "start": tmp_path / "student"}
    train_dpr(tmp_path / "dpr", **of_all, experiment=experiment)
    assert seen
    for example in seen:
        used = {example.positive.id, *(passage.id for passage in example.negatives)}
        assert not used & set(example.question.gold)
    assert read_manifest(tmp_path / "dpr").settings["leave_out_source"] is True
    with pytest.raises(ConfigError, match=r'leave_out_source: expected false with supervised\.positives = "gold"'):
        gold = load_experiment(overrides=[*tiny_settings, "leave_out_source=true", "supervised.positives=gold"])
        train_dpr(tmp_path / "gold", **of_all, experiment=gold)
