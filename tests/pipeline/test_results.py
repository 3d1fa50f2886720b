"""What a run has come to: the best named, what is not needed removed, and nothing taken from gold."""

import json

import pytest

from dogeared.artifacts import is_discarded, write_artifact
from dogeared.errors import ArtifactError
from dogeared.pipeline.config import load_experiment
from dogeared.pipeline.layout import RunFolder
from dogeared.pipeline.results import candidate, clean_up, collect, read_experiment, read_results

EXPERIMENT = load_experiment()


@pytest.fixture
def run(tmp_path):
    return RunFolder(tmp_path)


def add(run, name, success, em=0.0, *, overlap=0.5, by_one=0.0):
    """A round in which nothing is real but its dev measures."""
    folder = run.untouched if name == "untouched" else run.round(name)
    steps = {"retriever", "vectors", "ranking", "measures"} | ({"reader"} if name != "untouched" else set())
    for step in steps - ({"retriever", "vectors"} if name == 0 else set()):
        with write_artifact(folder.path / step, kind=step, settings={}, inputs={}) as (inner, facts):
            (inner / "content.bin").write_text("content")
            facts |= {"cost": {"seconds": 1.0, "peak_mb": 2.0}, "retriever": "some"}
            if step == "measures":
                dev = {"success@5": 1.0 - success, "answer_success@1": by_one, "answer_success@5": success}
                measures = {"retriever": {"dev": dev}, "reader": {} if name == "untouched" else {"dev": {"em": em}}}
                measures |= {"teacher_check": {"warnings": []}, "agreement": {"overlap@5": overlap}}
                (inner / "measures.json").write_text(json.dumps(measures))


def removed(run, last_round):
    folders = {"untouched": run.untouched} | {number: run.round(number) for number in range(last_round + 1)}
    artifacts = {
        (name, path.name): is_discarded(path) for name, folder in folders.items() for path in folder.artifacts()
    }
    return {name for name, gone in artifacts.items() if gone}


def test_a_round_whose_last_is_worse_returns_the_earlier(run):
    for name, success in (("untouched", 0.3), (0, 0.4), (1, 0.7), (2, 0.6)):
        add(run, name, success, em=0.1)
    results = collect(run, EXPERIMENT, last_round=2, stopped="enough")
    assert (results["best"], results["improved"], results["stopped"]) == (1, True, "enough")
    assert results["selected_by"] == "dev answer_success@5, then dev em"
    assert results == read_results(run)
    assert read_experiment(run) == EXPERIMENT


def test_a_run_that_gained_nothing_says_so(run, caplog):
    for name, success in (("untouched", 0.8), (0, 0.4), (1, 0.7)):
        add(run, name, success)
    results = collect(run, EXPERIMENT, last_round=1, stopped="enough")
    assert (results["best"], results["improved"]) == ("untouched", False)
    assert "no round beat both the first retrieval and the untouched student" in caplog.text
    assert "the result is the start: the untouched student" in caplog.text


def test_gold_is_not_what_is_chosen_by(run):
    add(run, 0, 0.4, em=0.2)
    found = candidate(run, EXPERIMENT, 0)
    assert (found.success, found.em, found.overlap) == (0.4, 0.2, 0.5)
    by_one = load_experiment(overrides=["rounds.select_by=answer_success@1"])
    assert candidate(run, by_one, 0).success == 0.0


def test_agreement_over_five_passages_or_fewer_tells_nothing(run):
    add(run, 0, 0.4, overlap=1.0)
    assert candidate(run, load_experiment(overrides=["reader.num_passages=5"]), 0).overlap is None
    assert candidate(run, load_experiment(overrides=["reader.num_passages=6"]), 0).overlap == 1.0


@pytest.mark.parametrize(
    ("successes", "wanted"),
    [
        # Round 1 is best, round 2 the last: all others lose their models.
        ((0.3, 0.4, 0.7, 0.6), {("untouched", "retriever"), ("untouched", "vectors"), (0, "reader")}),
        # The last is best.
        (
            (0.3, 0.4, 0.5, 0.6),
            {("untouched", "retriever"), ("untouched", "vectors"), (0, "reader")}
            | {(1, "retriever"), (1, "vectors"), (1, "reader")},
        ),
        # The untouched student is best; it is read by the reader of round 0.
        ((0.9, 0.4, 0.5, 0.6), {(1, "retriever"), (1, "vectors"), (1, "reader")}),
        # The first retrieval is best.
        (
            (0.3, 0.8, 0.5, 0.6),
            {("untouched", "retriever"), ("untouched", "vectors")} | {(1, "retriever"), (1, "vectors"), (1, "reader")},
        ),
    ],
)
def test_models_of_rounds_neither_best_nor_last_are_removed_and_all_else_stays(run, successes, wanted):
    for name, success in zip(("untouched", 0, 1, 2), successes, strict=True):
        add(run, name, success)
    clean_up(run, load_experiment(overrides=["rounds.keep=all"]), last_round=2)
    assert removed(run, 2) == set()
    for _ in range(2):
        clean_up(run, EXPERIMENT, last_round=2)
        assert removed(run, 2) == wanted


def test_a_first_retrieval_by_the_untouched_student_keeps_its_models(run):
    for name, success in zip(("untouched", 0, 1, 2), (0.8, 0.8, 0.5, 0.6), strict=True):
        add(run, name, success)
    for start, gone in (("dense", False), ("hybrid", False), ("bm25", True)):
        clean_up(run, load_experiment(overrides=[f"start={start}"]), last_round=2)
        assert (("untouched", "retriever") in removed(run, 2)) is gone, start
    collect(run, EXPERIMENT, last_round=2, stopped="enough")
    with pytest.raises(ArtifactError, match=r"untouched/retriever: by what was measured round 0 is best"):
        collect(run, load_experiment(overrides=["start=dense"]), last_round=2, stopped="enough")


def test_a_best_round_whose_models_are_gone_is_an_error(run):
    for name, success, by_one in (("untouched", 0.3, 0.0), (0, 0.4, 0.9), (1, 0.7, 0.0), (2, 0.6, 0.0)):
        add(run, name, success, by_one=by_one)
    clean_up(run, EXPERIMENT, last_round=2)
    collect(run, EXPERIMENT, last_round=2, stopped="enough")
    other = load_experiment(overrides=["rounds.select_by=answer_success@1"])
    for stopped in ("enough", None):
        with pytest.raises(
            ArtifactError, match=r"by rounds\.select_by = answer_success@1 round 0 is best, and its mod"
        ):
            collect(run, other, last_round=2, stopped=stopped)
    assert read_results(run)["best"] == 1
    assert read_experiment(run) == EXPERIMENT


def test_a_directory_without_results_is_an_error_that_says_what_to_do(run):
    with pytest.raises(ArtifactError, match="found none; make one with dogeared run"):
        read_results(run)
    with pytest.raises(ArtifactError, match="expected the settings of a run"):
        read_experiment(run)
