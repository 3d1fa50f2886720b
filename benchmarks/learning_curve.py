"""How many questions does one need? The same run with more and more training questions, as a Markdown table.

    python -m benchmarks.learning_curve --out runs/curve
    python -m benchmarks.learning_curve --out runs/curve --data FOLDER --preset cpu --set reader.model=...

Without ``--data`` the questions are the demo's. Each smaller set of training questions is part of each larger one; dev
and test questions, and the number of training steps, are the same for all, so that what changes is how many different
questions a model sees, and how often each. Measured are the reader of the first retrieval, and the student that learned
from it; no second reader is trained. What was done before is not done again.
"""

import argparse
import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dogeared.api import run_experiment
from dogeared.artifacts import write_atomically
from dogeared.data.encyclopedia import generate, write_encyclopedia
from dogeared.pipeline import steps
from dogeared.pipeline.config import Experiment, load_experiment
from dogeared.pipeline.layout import RunFolder
from dogeared.pipeline.results import read_experiment, read_measures

__all__ = ["draw", "main", "measure", "table"]

COUNTS = (60, 120, 240, 480, 960)
COLUMNS = {"success@1": "Success@1", "success@5": "Success@5", "success@20": "Success@20", "mrr@10": "MRR@10"}


def draw(questions: Path, count: int, out: Path, *, seed: int) -> int:
    """Write all dev and test questions and some of the training questions, and return how many those are.

    A larger ``count`` draws the same questions and more.
    """
    rows = [json.loads(line) for line in questions.read_text(encoding="utf-8").splitlines()]
    training = [number for number, row in enumerate(rows) if row["split"] == "train"]
    random.Random(seed).shuffle(training)
    left_out = set(training[count:])
    lines = [json.dumps(row, ensure_ascii=False) for number, row in enumerate(rows) if number not in left_out]
    text = "\n".join(lines) + "\n"
    if not out.is_file() or out.read_text(encoding="utf-8") != text:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(out, text)
    return len(training) - len(left_out)


def measure(data: Path, counts: Sequence[int], experiment: Experiment, out: Path) -> list[tuple[int, dict[str, Any]]]:
    """Train a reader and a student for each number of training questions, and return what was measured of them."""
    measured: list[tuple[int, dict[str, Any]]] = []
    for count in counts:
        questions = out / f"questions-{count}.jsonl"
        number = draw(data / "questions.jsonl", count, questions, seed=experiment.seed)
        run = RunFolder(out / f"run-{count}")
        results = run_experiment(experiment, questions=questions, passages=data / "passages.jsonl", out=run.path)
        measured.append((number, {**results, "taught": _teach(run, read_experiment(run))}))
    return measured


def _teach(run: RunFolder, experiment: Experiment) -> dict[str, Any]:
    """Let the student learn from the reader of round 0, and measure what it then finds."""
    here, before, data = run.round(1), run.round(0), run.data
    told = {"data": data, "experiment": experiment}
    steps.score_passages(here.relevance, ranking=before.ranking, reader=before.reader, splits=["train"], **told)
    steps.train_retriever(
        here.retriever, relevance=here.relevance, start=run.untouched.retriever, round_number=1, **told
    )
    steps.encode(here.vectors, retriever=here.retriever, **told)
    steps.retrieve(here.ranking, retriever=here.retriever, vectors=here.vectors, **told)
    steps.evaluate(here.measures, ranking=here.ranking, reader=None, relevance=None, **told)
    return read_measures(here)["retriever"]


def table(measured: Sequence[tuple[int, dict[str, Any]]]) -> str:
    """Show what test questions say of each student and reader, and of the search where nothing was trained."""
    lines = [
        f"| training questions | reader's EM | reader puts an answer first (dev) | {' | '.join(COLUMNS.values())} |",
        "|" + "---|" * (len(COLUMNS) + 3),
    ]
    _, first = measured[0]
    starts = {"untouched student": first["untouched"], "first retrieval": first["rounds"][0]["retriever"]}
    for name, measures in starts.items():
        lines.append(f"| none: {name} | | | {_cells(measures)} |")
    for number, results in measured:
        first_round = results["rounds"][0]
        em, order = first_round["reader"]["test"]["em"], first_round["teacher_check"]["first_teacher"]
        lines.append(f"| {number:,} | {em:.3f} | {order:.3f} | {_cells(results['taught'])} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Do the runs that the command line asks for, and print the table."""
    parser = argparse.ArgumentParser(description="The same run with more and more training questions.")
    parser.add_argument("--out", type=Path, required=True, help="where the runs stand")
    parser.add_argument("--data", type=Path, help="a folder with passages.jsonl and questions.jsonl; else the demo's")
    parser.add_argument("--counts", type=int, nargs="+", default=COUNTS, help="numbers of training questions")
    parser.add_argument("--preset", default="tiny")
    parser.add_argument("--set", dest="settings", action="append", default=[], metavar="KEY=VALUE")
    options = parser.parse_args(arguments)
    data = options.data
    if data is None:
        data = options.out / "encyclopedia"
        if not (data / "questions.jsonl").is_file():
            write_encyclopedia(generate(), data)
    experiment = load_experiment(preset=options.preset, overrides=["rounds.max=0", *options.settings])
    print(table(measure(data, sorted(options.counts), experiment, options.out)))


def _cells(measures: dict[str, Any]) -> str:
    return " | ".join(f"{measures['test'][name]:.3f}" for name in COLUMNS)


if __name__ == "__main__":
    main()
