"""The demo's own preset and models, on a smaller encyclopedia and with fewer steps."""

import pytest

from dogeared.api import load, run
from dogeared.data.encyclopedia import generate, write_encyclopedia


@pytest.mark.slow
def test_the_demo_runs_end_to_end(tmp_path):
    files, out = tmp_path / "files", tmp_path / "run"
    write_encyclopedia(generate(num_people=40, num_dev_people=6, num_test_people=8), files)
    results = run(
        passages=files / "passages.jsonl",
        questions=files / "questions.jsonl",
        out=out,
        preset="tiny",
        overrides=["reader_training.steps=15", "retriever_training.steps=15"],
    )
    first = results["rounds"][0]
    # The shipped reader reads before it is trained any further, and its attention knows where the answer stands.
    assert first["reader"]["test"]["em"] > 0.4
    assert first["teacher_check"]["first_teacher"] > first["teacher_check"]["first_retrieval"] + 0.2
    assert [entry["round"] for entry in results["rounds"]] == list(range(len(results["rounds"])))
    assert (out / "report.html").stat().st_size > 10_000
    answered = load(out).ask("Where was anyone born?", rerank=True)
    assert len(answered.passages) == 10
