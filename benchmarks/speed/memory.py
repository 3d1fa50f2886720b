"""Memory of a training step of a reader, with activations kept and with them computed anew.

One question of 100 passages of 250 tokens. Each way runs in a process of its own, because memory that a process once
held says nothing of what it needs now. What is counted begins above the weights and their gradients.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.process_memory import bytes_held
from benchmarks.speed.rows import Options, Row, multiplies_bfloat16

__all__ = ["measure"]

_PASSAGES, _TOKENS = 100, 250


def measure(options: Options) -> dict[str, Row]:
    """Measure both ways: what is held when the loss is known, the most that is held, and the time."""
    if not options.wants("memory"):
        return {}
    plain, twice = (_in_its_own_process(way, quick=options.quick) for way in ("plain", "checkpointing"))
    megabytes = {
        f"{name}_megabytes_{way}": figures[name] / 1e6
        for way, figures in (("plain", plain), ("checkpointing", twice))
        for name in ("kept", "peak")
    }
    return {
        "memory": Row(
            unit=f"step of one question of {_PASSAGES} passages of {_TOKENS} tokens, activation checkpointing",
            seconds=twice["seconds"],
            textbook_seconds=plain["seconds"],
            figures={**megabytes, "peak_over_kept_checkpointing": twice["peak"] / max(1, twice["kept"])},
        )
    }


def _in_its_own_process(way: str, *, quick: bool) -> dict[str, float]:
    call = [sys.executable, "-m", "benchmarks.speed.memory", way, "quick" if quick else "whole"]
    done = subprocess.run(call, check=True, capture_output=True, text=True)
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures


def _step(way: str, folder: Path, *, quick: bool) -> dict[str, float]:
    import torch

    from benchmarks.speed.subject import make_subject
    from dogeared.compute import autocast
    from dogeared.reader.fid import FusionInDecoder, ReaderSettings

    subject = make_subject(
        folder / "memory",
        quick=quick,
        num_questions=1,
        num_passages=4 if quick else _PASSAGES,
        tokens=(_TOKENS, _TOKENS),
        padded=_TOKENS,
    )
    reader = FusionInDecoder(subject.model(), subject.tokenizer, ReaderSettings(max_length_tokens=_TOKENS))
    reader.encodes_twice = way == "checkpointing"
    question, precision = subject.readings.questions[0], "bf16" if multiplies_bfloat16() else "fp32"

    def batch_of(count: int):  # noqa: ANN202 - a batch
        found = subject.readings.passages(0)[:count]
        return reader.batch([question.text], [found], answers=[question.answers[0]])

    small, whole = batch_of(1), batch_of(_PASSAGES)
    with autocast(precision, torch.device("cpu")):
        reader(small).backward()  # gradients have their room, and threads their own
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")  # the peak is counted from here
    before, began = bytes_held("VmRSS"), time.perf_counter()
    with autocast(precision, torch.device("cpu")):
        loss = reader(whole)
    kept = bytes_held("VmRSS") - before
    loss.backward()
    return {"kept": kept, "peak": bytes_held("VmHWM") - before, "seconds": time.perf_counter() - began}


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        print(json.dumps(_step(sys.argv[1], Path(scratch), quick=sys.argv[2] == "quick")))
