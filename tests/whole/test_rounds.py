"""The whole method with tiny models: what it leaves behind, what bears on it, and what it refuses."""

import json
import os
import re
import shutil

import pytest

from dogeared import api
from dogeared.artifacts import discard_content, is_discarded, read_manifest
from dogeared.errors import ArtifactError, ConfigError, ModelError, TrainingError
from dogeared.locks import hold
from dogeared.pipeline.layout import RunFolder

LONGER = ("rounds.max=2", "rounds.keep=best", "num_passages=12", "reader.num_passages=6")
MEASURES = {"success@1", "success@5", "success@20", "success@100", "mrr@10", "ndcg@10"}
MEASURES |= {f"answer_success@{k}" for k in (1, 5, 20, 100)}


def go(data, out, settings, *overrides, **arguments):
    return api.run(
        questions=data / "questions.jsonl",
        passages=data / "passages.jsonl",
        out=out,
        preset=None,
        overrides=[*settings, *overrides],
        **arguments,
    )


@pytest.fixture(scope="module")
def longer_run(tmp_path_factory, tiny_data, tiny_settings):
    """A run with two rounds that keeps what is best."""
    out = tmp_path_factory.mktemp("longer") / "run"
    return out, go(tiny_data, out, tiny_settings, *LONGER)


@pytest.fixture
def copy(tiny_run, tmp_path):
    return shutil.copytree(tiny_run, tmp_path / "run")


def artifacts(out):
    folders = sorted(path.parent for path in out.rglob("manifest.json"))
    return {str(folder.relative_to(out)): read_manifest(folder) for folder in folders}


def test_results_have_the_shape_that_is_documented(longer_run):
    out, results = longer_run
    assert json.loads((out / "results.json").read_text()) == results
    assert results.keys() == {"untouched", "rounds", "best", "improved", "selected_by", "stopped", "hybrid"}
    assert results["best"] in ("untouched", 0, 1, 2)
    assert [entry["round"] for entry in results["rounds"]] == list(range(len(results["rounds"])))
    for measures in (results["untouched"], *(entry["retriever"] for entry in results["rounds"])):
        assert measures.keys() == {"name", "dev", "test"}
        for split in ("dev", "test"):
            assert measures[split].keys() >= MEASURES
            assert measures[split]["num_questions"] == 6
            assert all(0.0 <= measures[split][name] <= 1.0 for name in MEASURES)
    common = {"retrieve", "train_reader", "score_passages_eval", "evaluate"}
    for entry in results["rounds"]:
        assert entry.keys() == {"round", "retriever", "reader", "teacher_check", "agreement", "steps"}
        assert entry["reader"].keys() == {"dev", "test"}
        assert entry["reader"]["test"].keys() == {"em", "f1", "num_questions"}
        assert entry["teacher_check"].keys() >= {"entropy", "warnings"}
        assert entry["agreement"].keys() >= {"inversions", "overlap@5"}
        wanted = common | ({"score_passages", "train_retriever", "encode_corpus"} if entry["round"] else set())
        assert entry["steps"].keys() == wanted
        for cost in entry["steps"].values():
            assert cost.keys() == {"seconds", "peak_mb"}
            assert cost["seconds"] > 0 and cost["peak_mb"] > 50
    assert [entry["retriever"]["name"] for entry in results["rounds"]][:2] == ["bm25", results["untouched"]["name"]]


def test_a_run_leaves_nothing_half_done_behind(longer_run):
    out, _ = longer_run
    assert not [path for path in out.rglob("*") if path.name.endswith((".partial", ".work", ".stale"))]
    assert (out / "report.html").is_file()
    assert (out / "experiment.json").is_file()


def test_models_of_rounds_neither_best_nor_last_are_gone_and_the_result_can_be_used(longer_run, tiny_data):
    out, results = longer_run
    last, best, run = len(results["rounds"]) - 1, results["best"], RunFolder(out)
    kept = {last, best, 0 if best == "untouched" else best}
    for name, folder in {"untouched": run.untouched, **{n: run.round(n) for n in range(last + 1)}}.items():
        for path in folder.artifacts():
            is_model = path.name in ("retriever", "vectors", "reader")
            assert is_discarded(path) == (is_model and name not in kept), path
    asked = json.loads((tiny_data / "questions.jsonl").read_text().splitlines()[0])["question"]
    assert len(api.load(out).ask(asked).passages) == 6


def test_gold_bears_on_no_weight_no_choice_and_no_stop(longer_run, tiny_data, tiny_settings, tmp_path):
    """Every other question loses its gold passage, and every other is given a wrong one."""
    rows = [json.loads(line) for line in (tiny_data / "questions.jsonl").read_text().splitlines()]
    wrong = rows[-1]["gold"]
    for number, row in enumerate(rows):
        row["gold"] = [] if number % 2 else wrong
    shutil.copytree(tiny_data, tmp_path / "data")
    (tmp_path / "data" / "questions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    out, results = longer_run
    others = go(tmp_path / "data", tmp_path / "run", tiny_settings, *LONGER)
    for key in ("best", "stopped", "improved"):
        assert others[key] == results[key]
    assert others["untouched"]["dev"]["success@5"] != results["untouched"]["dev"]["success@5"], "gold is measured by"
    with_gold, without = artifacts(out), artifacts(tmp_path / "run")
    assert with_gold.keys() == without.keys()
    made = [name for name in with_gold if name != "data" and not name.endswith("measures")]
    assert len(made) == 3 + 1 + 3 + 6 * (len(results["rounds"]) - 1)
    for name in made:
        assert with_gold[name].files == without[name].files, name
        assert with_gold[name].facts.get("losses") == without[name].facts.get("losses")


def test_a_reader_that_is_kept_goes_on_from_round_to_round(longer_run, tiny_data, tiny_settings, tmp_path):
    go(tiny_data, tmp_path / "run", tiny_settings, *LONGER, "rounds.reader=kept", "rounds.patience=9")
    kept, fresh = artifacts(tmp_path / "run"), artifacts(longer_run[0])
    assert all("start" not in fresh[name].inputs for name in fresh if name.endswith("reader"))
    assert kept["round-0/reader"].files == fresh["round-0/reader"].files
    for number in (1, 2):
        assert kept[f"round-{number}/reader"].inputs["start"] == kept[f"round-{number - 1}/reader"].fingerprint
    assert kept["round-1/retriever"].files == fresh["round-1/retriever"].files
    assert kept["round-1/reader"].files != fresh["round-1/reader"].files
    with pytest.raises(ArtifactError, match=r"round-1/reader .* input start"):
        go(tiny_data, tmp_path / "run", tiny_settings, *LONGER, "rounds.patience=9")


def test_running_again_does_nothing(copy, tiny_data, tiny_settings):
    before = {path: path.stat().st_mtime_ns for name in artifacts(copy) for path in (copy / name).rglob("*")}
    results = json.loads((copy / "results.json").read_text())
    assert go(tiny_data, copy, tiny_settings) == results
    after = {path: path.stat().st_mtime_ns for name in artifacts(copy) for path in (copy / name).rglob("*")}
    assert after == before


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("seed=1", r"data was made with other settings: seed: 0 -> 1\."),
        ("retriever.max_length_tokens=32", r"untouched/retriever .* retriever\.max_length_tokens: 64 -> 32\."),
        ("num_passages=7", r"untouched/ranking .* num_passages: 8 -> 7\."),
        ("bm25.k1=1.0", r"words .* bm25\.k1: .* -> 1\.0\."),
        ("reader_training.steps=4", r"round-0/reader .* reader_training\.steps: 3 -> 4\."),
        ("retriever_training.teacher_temperature=2.0", r"teacher_temperature: 1\.0 -> 2\.0\."),
        ("retriever_training.learning_rate=0.02", r"round-1/retriever .*learning_rate: 0\.01 -> 0\.02\."),
    ],
)
def test_a_changed_setting_that_matters_is_an_error_that_names_it(copy, tiny_data, tiny_settings, override, named):
    settings = (copy / "experiment.json").read_text()
    with pytest.raises(ArtifactError, match=named):
        go(tiny_data, copy, tiny_settings, override)
    assert (copy / "experiment.json").read_text() == settings, "a refused change is not written down"


def test_settings_that_change_no_artifact_may_change(copy, tiny_data, tiny_settings):
    changes = ("rounds.patience=3", "reader_training.save_every_seconds=1", "encoding.shard_passages=5", "rounds.max=1")
    go(tiny_data, copy, tiny_settings, *changes)
    assert json.loads((copy / "experiment.json").read_text())["rounds"]["patience"] == 3


def test_a_second_process_is_told_who_holds_the_directory(copy, tiny_data, tiny_settings):
    with hold(copy), pytest.raises(ArtifactError, match=f"process {os.getpid()} is working in this directory"):
        go(tiny_data, copy, tiny_settings)


def test_a_teacher_not_worth_learning_from_is_said_aloud_and_stops_a_strict_run(copy, tiny_data, tiny_settings, caplog):
    file = copy / "round-0" / "measures" / "measures.json"
    measures = json.loads(file.read_text())
    measures["teacher_check"]["warnings"] = ["it cannot read"]
    file.write_text(json.dumps(measures))
    go(tiny_data, copy, tiny_settings)
    assert "teacher check of round 0: it cannot read" in caplog.text
    with pytest.raises(TrainingError, match="the teacher check of round 0 failed: it cannot read"):
        go(tiny_data, copy, tiny_settings, strict=True)


def test_a_run_can_start_from_a_ranking_that_was_given(tiny_run, tiny_data, tiny_settings, tmp_path):
    from dogeared.data.rankings import read_rankings
    from dogeared.data.trec import write_trec_run

    given = read_rankings(tiny_run / "round-0" / "ranking" / "rankings.parquet")
    write_trec_run(given.values(), tmp_path / "start.run")
    with pytest.raises(ConfigError, match=r'start: expected "given" for a run that comes with a ranking, got "bm25"'):
        go(tiny_data, tmp_path / "run", tiny_settings, ranking=tmp_path / "start.run")
    results = go(
        tiny_data, tmp_path / "run", tiny_settings, "start=given", "rounds.max=0", ranking=tmp_path / "start.run"
    )
    assert results["rounds"][0]["retriever"]["name"] == "given"
    taken = read_rankings(tmp_path / "run" / "round-0" / "ranking" / "rankings.parquet")
    assert {name: ranking.passage_ids for name, ranking in taken.items()} == {
        name: ranking.passage_ids for name, ranking in given.items()
    }
    assert not (tmp_path / "run" / "words").exists()
    # The same passages in the same order make the same reader.
    readers = [read_manifest(out / "round-0" / "reader").files for out in (tiny_run, tmp_path / "run")]
    assert readers[0] == readers[1]


def test_a_run_whose_old_rounds_were_removed_goes_on(copy, tiny_data, tiny_settings):
    """Another round needs nothing of the rounds before the last but their measures."""
    run, best = RunFolder(copy), json.loads((copy / "results.json").read_text())["best"]
    models = {"untouched": [run.untouched.retriever, run.untouched.vectors], 0: [run.round(0).reader]}
    for path in [path for name in models.keys() - {best} for path in models[name]]:
        discard_content(path)
    results = go(tiny_data, copy, tiny_settings, "rounds.max=2", "rounds.patience=9")
    assert len(results["rounds"]) == 3


def test_settings_by_which_a_removed_round_is_best_are_refused_and_nothing_is_lost(tiny_data, tiny_settings, tmp_path):
    """Neither another measure nor fewer rounds may cost the models of the round that was best."""
    out, longer = tmp_path / "run", (*LONGER, "rounds.max=3", "rounds.patience=9")
    go(tiny_data, out, tiny_settings, *longer, "rounds.keep=all")
    run = RunFolder(out)
    folders = [run.untouched, *map(run.round, range(4))]
    for folder, by_one, by_five in zip(folders, (0.1, 0.2, 0.6, 0.5, 0.4), (0.2, 0.3, 0.5, 0.7, 0.6), strict=True):
        file = folder.measures / "measures.json"
        measures = json.loads(file.read_text())
        measures["retriever"]["dev"] |= {"answer_success@1": by_one, "answer_success@5": by_five}
        file.write_text(json.dumps(measures))
    assert go(tiny_data, out, tiny_settings, *longer)["best"] == 2
    assert is_discarded(run.round(1).retriever)
    assert not is_discarded(run.round(2).retriever)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file() and path.suffix != ".html"}
    for change in ("rounds.select_by=answer_success@1", "rounds.max=1"):
        named = re.escape(change.replace("=", " = "))
        with pytest.raises(ArtifactError, match=rf"round-1/\w+: by {named} round 1 is best, and its models were rem"):
            go(tiny_data, out, tiny_settings, *longer, change)
        assert before == {path: path.read_bytes() for path in before}
        assert api.load(out).retriever_name
    with pytest.raises(ArtifactError, match="round 1 is best, and its models were removed"):
        go(tiny_data, out, tiny_settings, *longer, "rounds.max=4", "rounds.select_by=answer_success@1")
    assert not run.round(4).path.exists(), "it is refused before the work, not after"
    assert go(tiny_data, out, tiny_settings, *longer)["best"] == 2, "the settings it was made with are as good as ever"


def test_test_questions_that_cannot_be_judged_are_said_and_left_unmeasured(tiny_data, tiny_settings, tmp_path, caplog):
    data = tmp_path / "data"
    data.mkdir()
    shutil.copy(tiny_data / "passages.jsonl", data)
    rows = [json.loads(line) for line in (tiny_data / "questions.jsonl").read_text(encoding="utf-8").splitlines()]
    for row in rows:
        if row["split"] == "test":
            row |= {"answers": [], "gold": []}
    (data / "questions.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n", encoding="utf-8")
    results = go(data, tmp_path / "run", tiny_settings, "rounds.max=0")
    assert "none of the 6 test questions has an answer" in caplog.text
    assert results["untouched"]["test"] is None
    assert results["untouched"]["dev"]["num_questions"] == 6
    assert (tmp_path / "run" / "report.html").is_file()


def test_a_reader_that_does_not_exist_is_said_before_any_work(tiny_data, tiny_settings, tmp_path):
    with pytest.raises(ModelError, match="nowhere"):
        go(tiny_data, tmp_path / "run", tiny_settings, "reader.model=./nowhere")
    assert not (tmp_path / "run" / "untouched").exists()


def test_four_rounds_each_go_on_from_the_one_before(tiny_data, tiny_settings, tmp_path):
    many = ("rounds.max=4", "rounds.patience=9", "num_passages=12", "reader.num_passages=8")
    results = go(tiny_data, tmp_path / "run", tiny_settings, *many)
    assert len(results["rounds"]) == 5
    assert results["stopped"] == "all rounds asked for are done"
    made, before = artifacts(tmp_path / "run"), "untouched"
    for number in range(1, 5):
        here, reader = f"round-{number}", f"round-{number - 1}/reader"
        assert made[f"{here}/relevance"].inputs["reader"] == made[reader].fingerprint
        assert made[f"{here}/retriever"].inputs["start"] == made[f"{before}/retriever"].fingerprint
        assert made[f"{here}/retriever"].inputs["relevance"] == made[f"{here}/relevance"].fingerprint
        assert made[f"{here}/retriever"].files != made[f"{before}/retriever"].files
        assert made[f"{here}/reader"].inputs["ranking"] == made[f"{here}/ranking"].fingerprint
        before = here


def test_a_run_ends_where_retriever_and_reader_agree_enough_and_no_more_than_before(tiny_data, tiny_settings, tmp_path):
    low = ("rounds.max=6", "rounds.enough_overlap=0.01", "rounds.patience=9")
    go(tiny_data, tmp_path / "run", tiny_settings, *low, "num_passages=12", "reader.num_passages=8")
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    shares = [entry["agreement"]["overlap@5"] for entry in results["rounds"]]
    last = next(number for number in range(2, 6) if shares[number] <= shares[number - 1])
    assert len(shares) == last + 1
    agreed = f"retriever and reader agree on {shares[last]:.2f} of their first five passages"
    assert results["stopped"] == f"{agreed}, and no more than a round before"


def test_a_reader_without_passages_answers_by_heart_and_is_no_teacher(tiny_data, tiny_settings, tmp_path):
    closed_book = (*tiny_settings, "reader.num_passages=0")
    results = go(tiny_data, tmp_path / "run", closed_book, "rounds.max=0")
    (entry,) = results["rounds"]
    assert entry["reader"]["test"]["num_questions"] == 6
    assert entry["agreement"] == {}
    assert "the reader judged no two passages" in entry["teacher_check"]["warnings"][0]
    assert api.load(tmp_path / "run").ask("where was she born ?").passages == ()
    with pytest.raises(TrainingError, match=r"check of round 0 failed: .* raise reader\.num_passages"):
        go(tiny_data, tmp_path / "run", closed_book, "rounds.max=1", strict=True)
