"""A step that cannot fit says what it needs before it begins; one that runs out says what to change."""

from pathlib import Path

import pytest
import torch
from torch import nn

from dogeared import memory
from dogeared.errors import ResourceError
from dogeared.memory import explain_exhaustion, free_mb, require_mb
from dogeared.training.loop import LoopSettings, train

CPU = torch.device("cpu")


def test_work_that_cannot_fit_is_refused_with_both_numbers(monkeypatch):
    monkeypatch.setattr(memory, "free_mb", lambda device: 1000.0)
    require_mb("training", 1000.0, CPU, advice="Use less")
    with pytest.raises(
        ResourceError, match=r"training needs 2,500 MB at the least, and 1,000 MB are free on cpu"
    ) as one:
        require_mb("training", 2500.0, CPU, advice="Use less")
    assert "It was not begun. Use less; dogeared run --plan" in str(one.value)


@pytest.mark.parametrize(
    ("files", "left"),
    [
        ({"memory.max": "104857600", "memory.current": "62914560", "memory.stat": "anon 1\nfile 20971520\n"}, 60.0),
        ({"memory.max": "max", "memory.current": "5", "memory.stat": "file 0\n"}, float("inf")),
        ({}, float("inf")),
    ],
)
def test_a_control_group_bounds_what_is_free(tmp_path: Path, monkeypatch, files, left):
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    monkeypatch.setattr(memory, "_CONTROL_GROUP", tmp_path)
    assert free_mb(CPU) <= left
    assert memory._left_to_group(tmp_path) == left


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB\nmore"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
    ],
)
def test_running_out_is_explained(error):
    refused = pytest.raises(ResourceError, match=r"a step ran out of memory \(.*\). Take fewer")
    with refused, explain_exhaustion("a step", advice="Take fewer"):
        raise error


def test_other_errors_are_left_as_they_are():
    with pytest.raises(RuntimeError, match="shapes"), explain_exhaustion("a step", advice=""):
        raise RuntimeError("shapes do not fit")


def test_a_training_whose_optimizer_cannot_fit_is_not_begun(tmp_path, monkeypatch):
    """Gradients and two moments of a million weights in 32 bits: 12 MB."""
    monkeypatch.setattr(memory, "free_mb", lambda device: 11.0)
    asked = []
    with pytest.raises(ResourceError, match=r"toy: the optimizer of 1,048,576 weights needs 12 MB"):
        train(
            nn.Linear(1024, 1024, bias=False),
            asked.append,
            LoopSettings(steps=1, precision="fp32"),
            seed=1,
            folder=tmp_path,
            name="toy",
        )
    assert asked == []
    assert list(tmp_path.iterdir()) == []
