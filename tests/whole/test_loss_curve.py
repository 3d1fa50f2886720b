"""The losses of the ``tiny`` preset as they were stored: a change that moves one of them is a change of the method.

Compared to the bit where processor and torch are of the kind that the curve was stored on, and within a thousandth
elsewhere: other instructions add up in another order. A change that is meant is stored by
``python tests/whole/test_loss_curve.py``, and begins a new series of releases (docs/decisions/0003-versions.md).
"""

import json
import platform
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch

from dogeared import api
from dogeared.artifacts import read_manifest
from dogeared.data.encyclopedia import generate, write_encyclopedia

STORED = Path(__file__).with_name("loss_curve.json")
MODELS = ("round-0/reader", "round-1/retriever", "round-1/reader")
OVERRIDES = (
    "num_passages=12",
    "reader.num_passages=4",
    "reader_training.steps=6",
    "reader_training.warmup_steps=2",
    "reader_training.questions_per_step=4",
    "retriever_training.steps=6",
    "retriever_training.warmup_steps=2",
    "retriever_training.questions_per_step=4",
    "retriever_training.num_passages=8",
    "rounds.max=1",
    "rounds.keep=all",
    *(f"{part}.precision=fp32" for part in ("reader_training", "retriever_training", "encoding")),
)


def kind_of_machine() -> dict[str, str]:
    return {
        "machine": platform.machine(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "torch": torch.__version__.partition("+")[0],
    }


def curve(folder: Path) -> dict[str, Any]:
    """Run the preset on a few people, and return what was lost at each step and what came of it."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        write_encyclopedia(generate(num_people=4, num_dev_people=1, num_test_people=1), folder / "data")
        results = api.run(
            questions=folder / "data/questions.jsonl",
            passages=folder / "data/passages.jsonl",
            out=folder / "run",
            preset="tiny",
            overrides=OVERRIDES,
        )
    finally:
        torch.set_num_threads(threads)
    made = {name: read_manifest(folder / "run" / name) for name in MODELS}
    return {
        "losses": {name: manifest.facts["losses"] for name, manifest in made.items()},
        "weights": {name: manifest.files["model.safetensors"] for name, manifest in made.items()},
        "mrr": [entry["retriever"]["dev"]["mrr@10"] for entry in results["rounds"]],
    }


def test_the_losses_are_those_that_were_stored(tmp_path: Path) -> None:
    stored, found = json.loads(STORED.read_text()), curve(tmp_path)
    assert all(len(losses) == 6 for losses in found["losses"].values())
    if stored["kind"] == kind_of_machine():
        assert found == stored["curve"]
    else:
        for name, losses in stored["curve"]["losses"].items():
            assert found["losses"][name] == pytest.approx(losses, rel=1e-3), name


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        made = {"kind": kind_of_machine(), "curve": curve(Path(temporary))}
    STORED.write_text(json.dumps(made, indent=1) + "\n")
