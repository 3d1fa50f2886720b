"""Every teacher as a step on the artifacts of a finished run, and a run with another teacher than the reader's eyes."""

import json
import logging

import pytest
import torch
from typer.testing import CliRunner

from dogeared import api
from dogeared.artifacts import read_manifest
from dogeared.cli import app
from dogeared.data.rankings import read_likelihoods, read_rankings, read_relevance
from dogeared.errors import ArtifactError, ConfigError, TrainingError
from dogeared.pipeline import steps
from dogeared.pipeline.config import load_experiment
from dogeared.pipeline.dataset import Dataset
from dogeared.pipeline.layout import RunFolder
from dogeared.pipeline.scoring import LIKELIHOODS_FILE, RANKINGS_FILE, RELEVANCE_FILE
from dogeared.retrieval.dual_encoder import DualEncoder, RetrieverSettings
from tiny_causal import save_tiny_causal


@pytest.fixture
def run(tiny_run):
    return RunFolder(tiny_run)


@pytest.fixture
def score(run, tiny_settings):
    """Scores the training questions of round 0 with a teacher into a folder, and returns what is in its file."""

    def of(out, *overrides, reader=True, splits=("train",)):
        steps.score_passages(
            out,
            data=run.data,
            ranking=run.round(0).ranking,
            reader=run.round(0).reader if reader else None,
            experiment=load_experiment(overrides=[*tiny_settings, *overrides]),
            splits=splits,
        )
        return read_relevance(out / RELEVANCE_FILE)

    return of


def ranked(run):
    return read_rankings(run.round(0).ranking / RANKINGS_FILE)


@pytest.mark.parametrize("kind", ["perplexity", "leave_one_out", "perplexity_reduction", "likelihood"])
def test_likelihoods_of_training_questions_are_written(run, score, tmp_path, kind):
    found = score(tmp_path / "relevance", f"teacher.kind={kind}")
    questions = Dataset.open(run.data).split("train")
    assert list(found) == [question.id for question in questions]
    for question in questions:
        item = found[question.id]
        assert item.passage_ids == ranked(run)[question.id].passage_ids[:4]
        assert len(set(item.relevance)) > 1
    assert read_manifest(tmp_path / "relevance").facts["num_silent"] == 0
    likelihoods = tmp_path / "relevance" / LIKELIHOODS_FILE
    assert likelihoods.is_file() == (kind == "likelihood")
    if kind == "likelihood":
        for name, item in read_likelihoods(likelihoods).items():
            assert found[name].relevance == pytest.approx([sum(row) for row in item.log_likelihood])


def test_gold_labels_and_the_answers_string_need_no_reader(run, score, tmp_path):
    questions = {question.id: question for question in Dataset.open(run.data).split("train")}
    gold = score(tmp_path / "gold", "teacher.kind=gold", reader=False)
    assert any(item.passage_ids for item in gold.values())
    for name, item in gold.items():
        own = questions[name]
        marks = [float(passage in (*own.gold, *own.near_gold)) for passage in ranked(run)[name].passage_ids[:4]]
        assert list(item.relevance) == (marks if any(marks) else [])
    string = score(tmp_path / "string", "teacher.kind=answer_string", reader=False)
    corpus = Dataset.open(run.data).corpus
    for name, item in string.items():
        for passage_id, mark in zip(item.passage_ids, item.relevance, strict=True):
            text = corpus.passage(corpus.row_of(passage_id)).text
            assert mark == float(any(answer in text for answer in questions[name].answers))
    # Neither depends on the reader, so with one it is the same artifact.
    score(tmp_path / "gold", "teacher.kind=gold", reader=True)


def test_a_file_is_an_input_by_its_content(run, score, tmp_path):
    file = tmp_path / "given.jsonl"
    name = Dataset.open(run.data).split("train")[0].id
    passages = ranked(run)[name].passage_ids

    def write(value):
        rows = [{"question_id": name, "passage_id": p, "relevance": value + i} for i, p in enumerate(passages[:3])]
        file.write_text("\n".join(map(json.dumps, rows)))

    write(0.5)
    settings = ("teacher.kind=file", f"teacher.file={file}")
    found = score(tmp_path / "relevance", *settings, reader=False)
    assert (found[name].passage_ids, found[name].relevance) == (passages[:3], (0.5, 1.5, 2.5))
    facts = read_manifest(tmp_path / "relevance").facts
    assert {**facts, "cost": None, "made_with": None} == {
        "num_questions": 6,
        "num_silent": 5,
        "cost": None,
        "made_with": None,
    }
    score(tmp_path / "relevance", *settings, reader=False)
    write(2.0)
    with pytest.raises(ArtifactError, match=r"other settings: teacher\.file"):
        score(tmp_path / "relevance", *settings, reader=False)


def test_a_teacher_with_nothing_to_say_is_refused(score, tmp_path):
    (tmp_path / "given.trec").write_text("nobody Q0 nothing 1 2.0 x\n")
    with pytest.raises(TrainingError, match=r"GivenRelevance says nothing of any of the 6, the first of which is"):
        score(tmp_path / "relevance", "teacher.kind=file", f"teacher.file={tmp_path / 'given.trec'}", reader=False)


def test_a_teacher_that_reads_needs_a_reader(score, tmp_path):
    with pytest.raises(ConfigError, match='the teacher "cross_attention" asks a trained reader, and none is given'):
        score(tmp_path / "relevance", reader=False)


def test_the_default_is_the_papers_and_its_artifact_is_what_it_was(run, score, tmp_path):
    found = score(tmp_path / "relevance")
    assert found == read_relevance(run.round(1).relevance / RELEVANCE_FILE)
    settings = read_manifest(tmp_path / "relevance").settings
    assert sorted(settings) == ["dogeared", "num_passages", "relevance"]
    assert sorted(read_manifest(tmp_path / "relevance").inputs) == ["data", "ranking", "reader"]


def test_a_run_with_another_teacher(tiny_data, tiny_settings, tmp_path, caplog):
    """The student learns from it, the check is of it, and agreement stays with the reader's attention."""
    with caplog.at_level(logging.INFO):
        results = api.run(
            questions=tiny_data / "questions.jsonl",
            passages=tiny_data / "passages.jsonl",
            out=tmp_path / "run",
            preset=None,
            overrides=[*tiny_settings, "teacher.kind=answer_string"],
        )
    run = RunFolder(tmp_path / "run")
    first = json.loads((run.round(0).measures / "measures.json").read_text())
    judged = read_relevance(run.round(0).teacher_eval / RELEVANCE_FILE)
    dev = [question.id for question in Dataset.open(run.data).split("dev")]
    assert list(judged) == dev
    compared = [item for item in judged.values() if 0.0 in item.relevance and 1.0 in item.relevance]
    assert first["teacher_check"]["num_compared"] == len(compared)
    assert first["teacher_check"].get("mrr_teacher", 1.0) == 1.0  # it marks by what the check looks at
    assert first["agreement"]["num_questions"] == len(dev)
    assert set(run.round(1).path.iterdir()) >= {run.round(1).relevance, run.round(1).teacher_eval}
    trained = read_relevance(run.round(1).relevance / RELEVANCE_FILE)
    assert {value for item in trained.values() for value in item.relevance} <= {0.0, 1.0}
    assert not (run.untouched.path / "teacher-eval").exists()
    assert results["rounds"][1]["steps"]["score_passages_teacher"]["seconds"] >= 0


def test_models_of_others_need_no_reader(score, tmp_path):
    save_tiny_causal("llama", tmp_path / "lm")
    for kind in ("causal_likelihood", "causal_attention"):
        found = score(tmp_path / kind, f"teacher.kind={kind}", f"teacher.model={tmp_path / 'lm'}", reader=False)
        assert [len(item.relevance) for item in found.values()] == [4] * 6
        assert all(len(set(item.relevance)) > 1 for item in found.values())


def test_a_teacher_that_tells_nothing_apart_fails_the_check(run, tiny_data, tiny_settings, tmp_path):
    rows = [
        {"question_id": name, "passage_id": passage, "relevance": 1.0}
        for name, ranking in ranked(run).items()
        for passage in ranking.passage_ids
    ]
    (tmp_path / "flat.jsonl").write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(TrainingError, match=r"teacher check of round 0 failed: .*the teacher's softmax .* is flat"):
        api.run(
            questions=tiny_data / "questions.jsonl",
            passages=tiny_data / "passages.jsonl",
            out=tmp_path / "run",
            preset=None,
            overrides=[*tiny_settings, "teacher.kind=file", f"teacher.file={tmp_path / 'flat.jsonl'}"],
            strict=True,
        )


def test_a_student_learns_from_the_likelihoods_of_single_tokens(run, tiny_data, tiny_settings, tmp_path):
    """The first loss is that of the untouched student, put together by hand from what the artifacts hold."""
    settings = [*tiny_settings, "retriever_training.loss=emdr2_tokens", "teacher.kind=likelihood"]
    settings += ["retriever_training.questions_per_step=6", "retriever_training.precision=fp32"]
    where = {"questions": tiny_data / "questions.jsonl", "passages": tiny_data / "passages.jsonl"}
    api.run(**where, out=tmp_path / "run", preset=None, overrides=settings)
    made = RunFolder(tmp_path / "run").round(1)
    likelihoods = read_likelihoods(made.relevance / LIKELIHOODS_FILE)
    questions = {question.id: question for question in Dataset.open(run.data).split("train")}
    encoder = DualEncoder.load(RetrieverSettings(model=str(run.untouched.retriever), max_length_tokens=64)).eval()
    corpus, costs = Dataset.open(run.data).corpus, []
    for name, item in likelihoods.items():
        with torch.no_grad():
            query = encoder.embed(encoder.query_chunks([questions[name].text]))
            passages = encoder.embed(encoder.passage_chunks(corpus.passages(corpus.rows_of(item.passage_ids))))
            prior = (passages @ query[0] / encoder.dim**0.5).softmax(0).double()
        chance = (prior[:, None] * torch.tensor(item.log_likelihood).double().exp()).sum(0)
        costs.append(-chance.log().mean().item())
    losses = read_manifest(made.retriever).facts["losses"]
    assert losses[0] == pytest.approx(sum(costs) / len(costs), rel=1e-3)
    assert losses[-1] != losses[0]


def test_heads_found_by_the_command_are_a_setting(run, score, tmp_path):
    model = save_tiny_causal("llama", tmp_path / "model")
    chosen = ["--set", "teacher.kind=causal_attention", "--set", f"teacher.model={model}"]
    chosen += ["--set", "retriever_training.num_passages=8", "--num-heads", "2", "--split", "train"]
    where = ["--data", str(run.data), "--ranking", str(run.round(0).ranking)]
    done = CliRunner().invoke(app, ["choose-heads", *where, *chosen])
    assert done.exit_code == 0, done.output
    other = CliRunner().invoke(app, ["choose-heads", *where, "--num-heads", "2", "--split", "train"])
    assert other.exit_code != 0
    assert 'expected "causal_attention", whose heads can be chosen, got "cross_attention"' in other.output
    key, _, value = done.stdout.strip().partition("=")
    assert key == "teacher.heads"
    assert len(json.loads(value)) == 2
    teacher = ("teacher.kind=causal_attention", f"teacher.model={model}")
    named = score(tmp_path / "named", *teacher, f"teacher.heads={value}", reader=False)
    asked = score(
        tmp_path / "asked", *teacher, "teacher.num_heads=2", "retriever_training.num_passages=8", reader=False
    )
    name = next(name for name, item in asked.items() if item.passage_ids)
    assert named[name].relevance != asked[name].relevance[:4], "eight passages in one prompt are not four"
    assert read_manifest(tmp_path / "named").settings["teacher"]["heads"] == json.loads(value)
    with pytest.raises(ConfigError, match="give one of the two"):
        load_experiment(overrides=[*teacher, f"teacher.heads={value}", "teacher.num_heads=2"])


def test_gold_labels_are_mixed_into_what_is_learned_and_never_into_what_is_measured(run, score, tmp_path):
    plain = score(tmp_path / "plain", "teacher.kind=perplexity", splits=("train", "dev"))
    mixed = score(tmp_path / "mixed", "teacher.kind=perplexity", "teacher.gold_weight=0.5", splits=("train", "dev"))
    dataset = Dataset.open(run.data)
    changed = [question for question in dataset.questions if mixed.get(question.id) != plain.get(question.id)]
    assert changed
    for question in changed:
        assert question.split == "train"
        assert {*question.gold, *question.near_gold} & {*mixed[question.id].passage_ids}
    said = read_manifest(tmp_path / "mixed").settings["supervised_gold"]
    assert said == {"weight": 0.5, "temperature": 1.0}
    assert "supervised_gold" not in read_manifest(tmp_path / "plain").settings
    for refused in (
        ["teacher.kind=gold", "teacher.gold_weight=0.5"],
        ["leave_out_source=true", "teacher.gold_weight=0.5"],
        ["retriever_training.loss=emdr2", "teacher.kind=likelihood", "teacher.gold_weight=0.5"],
        ["retriever_training.teacher_entropy=0.1", "teacher.gold_weight=0.5"],
    ):
        with pytest.raises(ConfigError, match="gold_weight"):
            load_experiment(overrides=refused)
