"""Two processes train as one does: each reads its share of the batches, and both end with the same weights."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from dogeared.data.corpus import build_corpus
from dogeared.data.formats import iter_passages

PROGRAM = Path(__file__).with_name("two_processes.py")

pytestmark = pytest.mark.slow


CHANGES = [
    {"retriever": {}, "retriever_training": {}},
    # By cosine: what is added to every passage alike changes no softmax over dot products, so that the last bias of an
    # encoder of passages alone would follow nothing but rounding.
    {"retriever": {"encoders": "separate", "similarity": "cosine"}, "retriever_training": {"chunk_tokens": 20}},
]


def run(folder, encoder, tiny_data, num_processes, changes):
    folder.mkdir()
    build_corpus(iter_passages(tiny_data / "passages.jsonl"), folder / "corpus")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    processes = []
    for rank in range(num_processes):
        environment = {**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
        if num_processes > 1:
            environment |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(num_processes)}
            environment |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        command = [sys.executable, str(PROGRAM), str(folder), str(encoder), json.dumps(changes)]
        processes.append(subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True))
    try:
        messages = [process.communicate(timeout=120)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0] * num_processes, messages
    found = [json.loads((folder / f"found-{rank}.json").read_text()) for rank in range(num_processes)]
    return found, [load_file(folder / f"student-{rank}.safetensors") for rank in range(num_processes)]


@pytest.mark.parametrize("changes", CHANGES, ids=["plain", "two encoders and cached gradients"])
def test_two_processes_train_as_one(tmp_path, tiny_models, tiny_data, changes):
    (alone,), (wanted,) = run(tmp_path / "one", tiny_models / "encoder", tiny_data, 1, changes)
    both, weights = run(tmp_path / "two", tiny_models / "encoder", tiny_data, 2, changes)

    # Of three batches with 2, 2 and 1 questions the first process takes the first and the last, the second the other.
    assert alone["scored"] == [2, 2, 1] * 4
    assert [found["scored"] for found in both] == [[2, 1] * 4, [2] * 4]
    for found in both:
        assert found["losses"] == pytest.approx(alone["losses"], abs=1e-5)
        assert found["best_step"] == alone["best_step"] == 2
    for one in weights:
        assert one.keys() == wanted.keys()
        for name, value in wanted.items():
            torch.testing.assert_close(one[name], value, atol=1e-5, rtol=0)
    assert [path.name for path in (tmp_path / "two" / "work").glob("*.partial")] == []

    # A request that reaches one process stops both after the same step, and there must be a batch for each.
    assert [found["stopped"] for found in both] == ["toy was stopped after step 3 and saved"] * 2
    assert (tmp_path / "two" / "toy" / "checkpoint-00000003").is_dir()
    for found in both:
        assert found["too_few"].startswith("expected a batch for each of 2 processes, got 1 in a step; lower")
