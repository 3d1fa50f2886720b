"""Two systems side by side: from runs, rounds and TREC runs, with the numbers that measuring gives."""

import json
import shutil

import pytest
from typer.testing import CliRunner

from dogeared.cli import app
from dogeared.errors import ConfigError, DataError
from dogeared.records import Question
from dogeared.reporting.comparison import compare_sides
from dogeared.reporting.sides import Measured, Side, read_side


def side(title, values, *, split="test", **changes):
    return Side(
        title=title,
        measured={
            name: Measured(
                question=Question(id=name, text=f"{name}?", **changes),
                split=split,
                values={"mrr@10": value, "success@1": float(value == 1)},
                prediction=None,
            )
            for name, value in values.items()
        },
    )


def test_means_wins_and_changes_are_of_the_questions_in_common():
    a = side("a", {"x": 1.0, "y": 0.5, "z": 0.25, "only": 1.0})
    b = side("b", {"z": 1.0, "y": 0.5, "x": 0.5, "other": 0.0})
    found = compare_sides(a, b)
    assert (found.title_a, found.title_b, found.split) == ("a", "b", "test")
    by = found.measures["mrr@10"]
    assert (by.num_questions, by.wins, by.losses) == (3, 1, 1)
    assert (by.mean_a, by.mean_b) == pytest.approx((1.75 / 3, 2.0 / 3))
    assert [(one.id, one.value_a, one.value_b) for one in found.changed] == [("z", 0.25, 1.0), ("x", 1.0, 0.5)]
    assert [one.id for one in compare_sides(a, b, num_changed=1).changed] == ["z"]
    with pytest.raises(ConfigError, match=r"--by: expected one of mrr@10, success@1, got 'em'"):
        compare_sides(a, b, by="em")


def test_what_cannot_be_compared_is_refused():
    a = side("a", {"x": 1.0})
    with pytest.raises(DataError, match="expected questions in common, found none"):
        compare_sides(a, side("b", {"y": 1.0}))
    with pytest.raises(DataError, match=r"question 'x' has different gold on the two sides: \(\) and \('p',\)"):
        compare_sides(a, side("b", {"x": 1.0}, gold=("p",)))
    with pytest.raises(DataError, match="none of both is in dev"):
        compare_sides(a, a, split="dev")


def test_a_side_without_splits_follows_the_other():
    a = side("a", {"x": 1.0, "y": 0.0}, split="dev")
    b = side("b", {"x": 0.5, "y": 0.5, "z": 0.5}, split=None)
    assert (compare_sides(a, b).split, compare_sides(a, b).measures["mrr@10"].num_questions) == ("dev", 2)
    assert compare_sides(b, b).split is None


def test_a_run_is_its_best_round_and_has_the_means_of_its_results(tiny_run):
    results = json.loads((tiny_run / "results.json").read_text())
    first, untouched, last = (read_side(tiny_run / name) for name in ("round-0", "untouched", "round-1"))
    whole = read_side(tiny_run)
    best = results["best"]
    assert whole.title == f"run/{best if best == 'untouched' else f'round-{best}'}"
    for side_b, expected in ((untouched, results["untouched"]), (last, results["rounds"][1]["retriever"])):
        found = compare_sides(first, side_b)
        assert found.split == "test"
        for name in ("success@5", "mrr@10", "answer_success@1"):
            assert found.measures[name].mean_a == pytest.approx(results["rounds"][0]["retriever"]["test"][name])
            assert found.measures[name].mean_b == pytest.approx(expected["test"][name])
    assert "em" in compare_sides(first, last).measures
    assert "em" not in compare_sides(first, untouched).measures, "the untouched student has no reader"
    assert compare_sides(first, last, split="dev").measures["mrr@10"].num_questions == 6
    assert read_side(tiny_run / "hybrid" / "untouched").title == "hybrid/untouched"


@pytest.fixture
def trec_run(tiny_run, tmp_path):
    from dogeared.data.rankings import read_rankings
    from dogeared.data.trec import write_trec_run

    rankings = read_rankings(tiny_run / "round-0" / "ranking" / "rankings.parquet")
    write_trec_run(rankings.values(), tmp_path / "words.run")
    return tmp_path / "words.run"


def test_a_trec_run_has_the_numbers_of_the_run_it_comes_from(tiny_run, tiny_data, trec_run):
    questions, passages = tiny_data / "questions.jsonl", tiny_data / "passages.jsonl"
    first = read_side(tiny_run / "round-0")
    by_gold = read_side(trec_run, questions=questions)
    found = compare_sides(first, by_gold)
    assert found.measures.keys() == {"success@1", "success@5", "success@20", "success@100", "mrr@10", "ndcg@10"}
    assert all((one.difference, one.p, one.wins) == (0, 1, 0) for one in found.measures.values())
    assert found.changed == []
    with_texts = compare_sides(first, read_side(trec_run, questions=questions, passages=passages))
    assert with_texts.measures["answer_success@5"].difference == 0
    assert with_texts.measures["answer_success@5"].num_questions == 6


def test_by_answer_string_where_there_is_no_gold(tiny_data, trec_run, tmp_path):
    rows = [json.loads(line) for line in (tiny_data / "questions.jsonl").read_text().splitlines()]
    for row in rows:
        row.pop("gold")
        row.pop("near_gold", None)
    (tmp_path / "questions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(DataError, match="give the passages too, to judge by answer string"):
        read_side(trec_run, questions=tmp_path / "questions.jsonl")
    found = read_side(trec_run, questions=tmp_path / "questions.jsonl", passages=tiny_data / "passages.jsonl")
    assert all(one.values["success@1"] == one.values["answer_success@1"] for one in found.measured.values())


def test_what_is_no_side_is_refused(tiny_data, trec_run, tmp_path):
    with pytest.raises(DataError, match="found nothing"):
        read_side(tmp_path / "absent")
    with pytest.raises(DataError, match="give the questions it is of"):
        read_side(trec_run)
    (tmp_path / "other.run").write_text("nobody Q0 p 1 1.0 t\n")
    with pytest.raises(DataError, match="is in this TREC run"):
        read_side(tmp_path / "other.run", questions=tiny_data / "questions.jsonl")
    few = tmp_path / "few.jsonl"
    few.write_text((tiny_data / "passages.jsonl").read_text().splitlines()[0] + "\n")
    with pytest.raises(DataError, match="do ranking and passages belong together"):
        read_side(trec_run, questions=tiny_data / "questions.jsonl", passages=few)


def test_the_command_prints_a_table_or_json(tiny_run, monkeypatch, tmp_path):
    monkeypatch.setattr("dogeared.cli._set_up_output", lambda **_: None)
    copy = shutil.copytree(tiny_run, tmp_path / "other")
    done = CliRunner().invoke(app, ["compare", str(tiny_run / "round-0"), str(copy / "round-1"), "--json"])
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["measures"]["mrr@10"]["num_questions"] == 6
    assert len(found["changed"]) <= 10
    done = CliRunner().invoke(app, ["compare", str(tiny_run / "round-0"), str(copy / "round-1"), "--by", "success@5"])
    assert "most changed by success@5" in done.stdout or not found["changed"]
    done = CliRunner().invoke(app, ["compare", str(tiny_run), str(tmp_path / "absent")])
    assert (done.exit_code, "found nothing" in done.stderr) == (2, True)
    done = CliRunner().invoke(app, ["compare", str(tiny_run), str(copy), "--language", "tlh"])
    assert (done.exit_code, "'tlh' is not one of" in done.stderr) == (2, True)
