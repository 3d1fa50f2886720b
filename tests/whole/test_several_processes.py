"""One run in two processes: it ends with the models of a run in one, and nobody does anything twice."""

import os
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file

from dogeared.artifacts import read_manifest

pytestmark = pytest.mark.slow

DROPOUT_AND_ROUNDING = [
    setting
    for training in ("reader_training", "retriever_training")
    for setting in (f"{training}.dropout=0.0", f"{training}.precision=fp32", f"{training}.questions_per_batch=1")
]


def run(tiny_data, settings, out, *, num_processes):
    launched = [
        "-m",
        "torch.distributed.run",
        "--standalone",
        f"--nproc-per-node={num_processes}",
        "-m",
        "dogeared.cli",
    ]
    program = launched if num_processes > 1 else ["-m", "dogeared.cli"]
    files = ["--questions", str(tiny_data / "questions.jsonl"), "--passages", str(tiny_data / "passages.jsonl")]
    chosen = [part for setting in settings for part in ("--set", setting)]
    command = [sys.executable, *program, "--verbose", "run", *files, "--out", str(out), *chosen]
    return subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, timeout=300
    )


def losses(out):
    return {
        str(path.parent.relative_to(out)): read_manifest(path.parent).facts["losses"]
        for path in sorted(out.rglob("manifest.json"))
        if path.parent.name in ("reader", "retriever") and "untouched" not in path.parts
    }


def test_two_processes_do_one_run(tmp_path, tiny_data, tiny_settings):
    settings = (*tiny_settings, *DROPOUT_AND_ROUNDING)
    alone = run(tiny_data, settings, tmp_path / "one", num_processes=1)
    both = run(tiny_data, settings, tmp_path / "two", num_processes=2)
    assert (alone.returncode, both.returncode) == (0, 0), both.stderr
    assert both.stdout == alone.stdout.replace("/one", "/two"), "one of them tells the results"
    assert both.stderr.count("train_reader") == alone.stderr.count("train_reader"), "and what it does"

    expected, found = losses(tmp_path / "one"), losses(tmp_path / "two")
    assert found.keys() == expected.keys() == {"round-0/reader", "round-1/reader", "round-1/retriever"}
    for name, of_one in expected.items():
        assert found[name] == pytest.approx(of_one, abs=1e-3), name
    for name in expected:
        facts = [read_manifest(tmp_path / side / name).facts.get("num_processes") for side in ("one", "two")]
        assert facts == [None, 2], name
        one, two = (load_file(tmp_path / side / name / "model.safetensors") for side in ("one", "two"))
        difference = torch.cat([(two[key] - one[key]).flatten() for key in one])
        assert difference.abs().mean() < 1e-4, name

    again = run(tiny_data, settings, tmp_path / "two", num_processes=2)
    assert again.returncode == 0
    assert "done before" in again.stderr
    assert losses(tmp_path / "two") == found


def test_fewer_batches_than_processes_are_refused_and_nobody_waits(tmp_path, tiny_data, tiny_settings):
    ended = run(tiny_data, tiny_settings, tmp_path / "run", num_processes=2)
    assert ended.returncode != 0
    assert "expected a batch for each of 2 processes, got 1 in a step; lower questions_per_batch" in ended.stderr
