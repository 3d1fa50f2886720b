"""A plan says what will be done how often, and measures the rest on this machine."""

import json

import pytest
from typer.testing import CliRunner

from dogeared.cli import app
from dogeared.data.encyclopedia import generate, write_encyclopedia
from dogeared.errors import DataError
from dogeared.pipeline.config import load_experiment
from dogeared.pipeline.plan import make_plan
from tiny_causal import save_tiny_causal

NUM_PEOPLE = 12


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    write_encyclopedia(generate(num_people=NUM_PEOPLE, num_dev_people=2, num_test_people=2), folder)
    return folder


def plan_of(files, *overrides):
    experiment = load_experiment(preset="tiny", overrides=["rounds.max=3", *overrides])
    return make_plan(experiment, questions=files / "questions.jsonl", passages=files / "passages.jsonl")


@pytest.fixture
def tiny_plan(tiny_data, tiny_settings):
    def plan(*overrides, **files):
        experiment = load_experiment(overrides=[*tiny_settings, *overrides])
        given = {name: tiny_data / f"{name}.jsonl" for name in ("questions", "passages")}
        return make_plan(experiment, **{**given, **files})

    return plan


def test_a_plan_counts_what_the_rounds_will_do(files):
    plan = plan_of(files)
    steps = {step.name: step for step in plan.steps}
    assert {name: step.times for name, step in steps.items()} == {
        "prepare_data": 1,
        "train_reader": 4,  # one for round 0, one for each of three rounds
        "score_passages": 3,
        "evaluate": 4,
        "train_retriever": 3,
        "encode_corpus": 4,  # the untouched student's too
    }
    assert plan.num_questions == {"train": 8 * 6, "dev": 2 * 6, "test": 2 * 6}
    num_passages = len((files / "passages.jsonl").read_text(encoding="utf-8").splitlines())
    assert plan.num_passages == num_passages
    # 128 numbers of four bytes for each passage.
    assert steps["encode_corpus"].disk_mb == pytest.approx(num_passages * 128 * 4 / 2**20, rel=0.01)
    assert all(step.seconds > 0 for step in plan.steps)
    assert plan.seconds == pytest.approx(sum(step.times * step.seconds for step in plan.steps))


def test_the_cost_of_training_grows_with_its_steps_and_not_with_the_corpus(files):
    short, long = (
        {step.name: step.seconds for step in plan_of(files, f"reader_training.steps={steps}").steps}
        for steps in (10, 1000)
    )
    assert 20 < long["train_reader"] / short["train_reader"] < 500  # a hundred, on a machine that does nothing else
    assert sorted(path.name for path in files.iterdir()) == ["passages.jsonl", "questions.jsonl"]


def test_nothing_to_measure_on_is_an_error(tmp_path, files):
    empty = tmp_path / "questions.jsonl"
    empty.write_text('{"id": "q", "question": "Who?", "answers": []}\n', encoding="utf-8")
    with pytest.raises(DataError, match="questions with answers"):
        make_plan(load_experiment(preset="tiny"), questions=empty, passages=files / "passages.jsonl")


def test_a_plan_refuses_the_ranking_that_a_run_refuses(tmp_path, files):
    arguments = ["run", "--questions", files / "questions.jsonl", "--passages", files / "passages.jsonl"]
    arguments += ["--ranking", tmp_path / "start.run", "--out", tmp_path / "run", "--preset", "tiny"]
    refused = [CliRunner().invoke(app, ["-q", *map(str, arguments), *more]) for more in ([], ["--plan"])]
    assert [one.exit_code for one in refused] == [2, 2]
    assert refused[0].stderr == refused[1].stderr
    assert 'set start = "given", or leave the ranking out' in refused[1].stderr


def test_a_reader_that_marks_spans_is_planned_for_too(files):
    extractive = ["reader.kind=extractive", "reader.model=demo:encoder", "teacher.kind=passage_posterior"]
    steps = {step.name: step for step in plan_of(files, *extractive).steps}
    assert (steps["train_reader"].times, steps["score_passages"].times) == (4, 3)
    assert steps["train_reader"].seconds > 0
    assert steps["score_passages"].seconds > 0


@pytest.mark.parametrize(
    "overrides",
    [
        ["retriever.encoders=query_only"],
        ["retriever_training.contrastive_weight=0.5"],
        ["retriever_training.loss=emdr2_tokens", "teacher.kind=likelihood"],
    ],
)
def test_students_of_every_kind_are_planned_for(tiny_plan, overrides):
    steps = {step.name: step for step in tiny_plan(*overrides).steps}
    assert steps["train_retriever"].seconds > 0


def test_heads_need_not_be_found_to_know_what_they_cost(tmp_path, tiny_plan, tiny_data):
    """In the sample a question may have no passage that holds its answer."""
    language_model = save_tiny_causal("gpt2", tmp_path)
    filler = tmp_path / "filler.jsonl"
    filler.write_text(
        "".join(json.dumps({"id": f"x{i}", "title": "t", "text": f"filler number {i}"}) + "\n" for i in range(300))
        + (tiny_data / "passages.jsonl").read_text(encoding="utf-8"),
        encoding="utf-8",
    )
    of_heads = ["teacher.kind=causal_attention", f"teacher.model={language_model}", "teacher.num_heads=1"]
    plan = tiny_plan(*of_heads, "teacher.max_length_tokens=200", passages=filler)
    assert next(step for step in plan.steps if step.name == "score_passages").seconds > 0


def test_small_numbers_take_less_of_the_disk(tiny_plan):
    sizes = [
        next(step.disk_mb for step in tiny_plan(f"index.vectors={kind}").steps if step.name == "encode_corpus")
        for kind in ("float32", "int8")
    ]
    assert sizes[1] == pytest.approx(sizes[0] * (32 + 4) / (32 * 4), rel=0.2)  # files so small are a quarter head


def test_a_passage_that_comes_with_several_questions_is_counted_once(tmp_path, tiny_plan, tiny_data):
    rows = [json.loads(line) for line in (tiny_data / "questions.jsonl").read_text(encoding="utf-8").splitlines()]
    passages = [
        json.loads(line) for line in (tiny_data / "passages.jsonl").read_text(encoding="utf-8").splitlines()[:20]
    ]
    for row in rows:
        row["ctxs"] = passages
        row.pop("gold", None)
    (tmp_path / "fid.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    plan = tiny_plan(questions=tmp_path / "fid.jsonl", passages=None)
    assert plan.num_passages == 20
