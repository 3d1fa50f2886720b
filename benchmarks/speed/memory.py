"""Memory of a training step, of a reader and of a student, with activations kept and with them computed anew.

The reader has one question of 100 passages of 250 tokens. Each of its ways runs in a process of its own, because memory
that a process once held says nothing of what it needs now. What is counted begins above the weights and their
gradients: once what the process holds, by the system's count, and once the tensors alone, by torch's. Between the two
lies what was freed and not given back. Of the student's step, over ever more passages, tensors alone are counted.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.process_memory import bytes_held
from benchmarks.speed.rows import Options, Row, multiplies_bfloat16

if TYPE_CHECKING:
    import torch

__all__ = ["measure"]

_PASSAGES, _TOKENS = 100, 250
_EACH = (8, 32)  # passages of each of a student's 4 questions
_CHUNK_TOKENS = 1024  # of a student whose gradients are cached


def measure(options: Options) -> dict[str, Row]:
    """Measure both ways of a reader, and of a student over few and over more passages."""
    rows: dict[str, Row] = {}
    if options.wants("memory"):
        rows |= _of_reader(options)
    if options.wants("memory_student") and (options.data / "wiki_en" / "passages.jsonl").is_file():
        rows |= _of_student(options)
    return rows


def _of_reader(options: Options) -> dict[str, Row]:
    """Measure what is held when the loss is known, the most that is held, and the time."""
    plain, twice = (_in_its_own_process(way, "held", quick=options.quick) for way in ("plain", "checkpointing"))
    tensors = _in_its_own_process("checkpointing", "tensors", quick=options.quick)
    megabytes = {
        f"{name}_megabytes_{way}": figures[name] / 1e6
        for way, figures in (("plain", plain), ("checkpointing", twice), ("checkpointing_tensors", tensors))
        for name in ("kept", "peak")
    }
    return {
        "memory": Row(
            unit=f"step of one question of {_PASSAGES} passages of {_TOKENS} tokens, activation checkpointing",
            seconds=twice["seconds"],
            textbook_seconds=plain["seconds"],
            figures={
                **megabytes,
                "peak_over_kept_checkpointing": twice["peak"] / max(1, twice["kept"]),
                "peak_over_kept_checkpointing_tensors": tensors["peak"] / max(1, tensors["kept"]),
            },
        )
    }


def _of_student(options: Options) -> dict[str, Row]:
    """Measure the most that tensors hold in a step, with all activations kept and with cached gradients."""
    from benchmarks.speed.student import Lesson

    figures: dict[str, float] = {}
    seconds: dict[int, float] = {}
    for each in _EACH:
        lesson = Lesson.make(replace(options, scratch=options.scratch / str(each)), each=each)
        for way, chunk_tokens in (("plain", 0), ("cached", _CHUNK_TOKENS)):
            step = lesson.step(0.0, chunk_tokens)
            step()  # the optimizer's states have their room
            began = options.clock()
            step()
            seconds[chunk_tokens] = options.clock() - began
            figures[f"peak_megabytes_{way}_{each}_passages"] = _held(step)[1] / 1e6
    return {
        "memory_student": Row(
            unit=f"step of 4 questions of {_EACH[-1]} passages, cached gradients",
            seconds=seconds[_CHUNK_TOKENS],
            textbook_seconds=seconds[0],
            figures=figures,
        )
    }


def _in_its_own_process(way: str, counted: str, *, quick: bool) -> dict[str, float]:
    call = [sys.executable, "-m", "benchmarks.speed.memory", way, counted, "quick" if quick else "whole"]
    done = subprocess.run(call, check=True, capture_output=True, text=True)
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures


def _step(way: str, counted: str, folder: Path, *, quick: bool) -> dict[str, float]:
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

    def go_forward() -> torch.Tensor:
        with autocast(precision, torch.device("cpu")):
            return reader(whole)

    if counted == "tensors":
        return _tensors(go_forward)
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")  # the peak is counted from here
    before, began = bytes_held("VmRSS"), time.perf_counter()
    loss = go_forward()
    kept = bytes_held("VmRSS") - before
    loss.backward()
    return {"kept": kept, "peak": bytes_held("VmHWM") - before, "seconds": time.perf_counter() - began}


def _tensors(go_forward: Callable[[], torch.Tensor]) -> dict[str, float]:
    """Add up what torch's allocator hands out and gets back."""
    losses: list[torch.Tensor] = []
    kept, most = _held(lambda: losses.append(go_forward()))
    return {"kept": kept, "peak": max(most, kept + _held(lambda: losses[0].backward())[1])}


def _held(run: Callable[[], object]) -> tuple[float, float]:
    """Return how many bytes tensors hold when something is done, and at most, beyond those of the beginning."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        run()
    events = seen.profiler.kineto_results.events()  # type: ignore[union-attr]
    changes = sorted((event.start_ns(), event.nbytes()) for event in events if event.name() == "[memory]")
    held = list(accumulate((change for _, change in changes), initial=0))
    return held[-1], max(held)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        print(json.dumps(_step(*sys.argv[1:3], Path(scratch), quick=sys.argv[3] == "quick")))
