"""What a person sees in the terminal: progress bars, warnings, and the tables at the end of a command.

Only drawing is here. Bars go to the error stream, so that what a command prints can be piped.
"""

import io
import logging
import os
import sys
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.logging import RichHandler
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from dogeared import progress

__all__ = ["print_answer", "print_comparison", "print_passages", "print_plan", "print_results", "set_up"]

_out = Console(highlight=False)
_err = Console(stderr=True, highlight=False)


def set_up(*, quiet: bool) -> None:
    """Send our log and progress to the terminal, and keep the libraries' own out of it."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal that knows no é gets \\xe9, and not an error
            stream.reconfigure(errors="backslashreplace")
    handler = RichHandler(console=_err, show_time=False, show_path=False, show_level=True, markup=False)
    logging.getLogger("dogeared").handlers[:] = [handler]
    # The libraries below draw bars and reports of their own, some as soon as they are imported.
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    warnings.simplefilter("ignore")
    if not quiet:
        progress.report_to(_Bars())


class _Bars:
    """Draws one bar for each piece of work, with its rate and the time left."""

    def start(self, name: str, total: int, unit: str) -> "_Bar":
        bars = Progress(
            TextColumn("{task.description:<24}"),
            BarColumn(bar_width=28),
            MofNCompleteColumn(),
            TextColumn("{task.fields[unit]}"),
            TextColumn("{task.fields[rate]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
            console=_err,
        )
        bars.start()
        return _Bar(bars, bars.add_task(name, total=total, unit=unit, rate="", note=""))

    def stop(self, bar: progress.Bar) -> None:
        assert isinstance(bar, _Bar)
        bar.bars.stop()


class _Bar:
    def __init__(self, bars: Progress, task: Any) -> None:
        self.bars = bars
        self.task = task

    def advance(self, amount: int = 1, note: str = "") -> None:
        speed = self.bars.tasks[0].speed
        self.bars.update(self.task, advance=amount, note=note, rate=f"{speed:,.1f}/s" if speed else "")


def print_passages(passages: Sequence[Mapping[str, Any]]) -> None:
    """List passages, as the service gives them, with a bar for each number and words shaded by relevance.

    Bars go from the least to the greatest of the list. A word is as dark as the most that any answer token gave it.
    """
    for passage in passages:
        _out.print(Text(f"{passage['rank']:>3}  {passage['title'] or passage['id']}", style="bold"), end="")
        _out.print(Text(f"  [{passage['id']}]", style="dim"))
        for name in ("score", "relevance"):
            if name in passage:
                values = [one[name] for one in passages]
                line = f"     {name:<10}{_bar(passage[name], values):<20} {passage[name]:.3f}"
                _out.print(Text(line, style="cyan" if name == "score" else "magenta"))
        _out.print(_shaded(passage, _most(passages)))


def print_answer(shown: Mapping[str, Any]) -> None:
    """Print an answer as the service gives it, and what it was read from."""
    least = shown["threshold"]
    sure = f"confidence {shown['confidence']:.3f}" + ("" if least is None else f", shown from {least:.3f}")
    if shown["found"]:
        _out.print(Text(shown["answer"], style="bold"), end="")
    else:
        _out.print(Text("not found", style="bold"), end="")
        sure += f"; the reader's guess: {shown['candidate']!r}" if shown["candidate"] else "; the reader wrote nothing"
    _out.print(Text(f"  ({sure})", style="dim"))
    print_passages(shown["passages"])


def _bar(value: float, values: Sequence[float], width: int = 20) -> str:
    low, high = min(values), max(values)
    share = (value - low) / (high - low) if high > low else 1.0
    return "█" * max(1, round(share * width))


def _most(passages: Sequence[Mapping[str, Any]]) -> float:
    """Return the most that any word of the list got."""
    rows = [row for passage in passages for row in passage.get("token_relevance", ())]
    return max((value for row in rows for value in row), default=0.0)


def _shaded(passage: Mapping[str, Any], most: float) -> Text:
    text = Text(passage["text"])
    rows = passage.get("token_relevance") or ()
    for word, (start, end) in enumerate(passage.get("words", ())):
        got = max((row[word] for row in rows), default=0.0)
        if most > 0 and got >= most / 4:
            text.stylize("black on yellow" if got >= most / 2 else "yellow", start, end)
    return Text("     ").append_text(text)


def print_results(results: dict[str, Any], out: Path) -> None:
    """Print the table of rounds on test questions, and where the report is."""
    split = "test" if results["untouched"]["test"] else "dev"
    table = Table(title=f"on {split} questions", title_justify="left", box=None, pad_edge=False)
    table.add_column("", no_wrap=True)
    for heading in ("Success@1", "@5", "@20", "MRR@10", "EM", "F1"):
        table.add_column(heading, justify="right")
    rows = [("untouched student", results["untouched"][split], None)]
    for entry in results["rounds"]:
        name = "first retrieval" if entry["round"] == 0 else f"round {entry['round']}"
        rows.append((f"{name} ({entry['retriever']['name']})", entry["retriever"][split], entry["reader"][split]))
    for index, (name, retriever, reader) in enumerate(rows):
        is_best = results["best"] == ("untouched" if index == 0 else index - 1)
        values = [retriever[key] for key in ("success@1", "success@5", "success@20", "mrr@10")]
        values += [(reader or {}).get(key) for key in ("em", "f1")]
        cells = ["" if value is None else f"{value:.3f}" for value in values]
        table.add_row(f"{name}{' *' if is_best else ''}", *cells, style="bold" if is_best else None)
    _out.print(table)
    _out.print(f"* best on dev: {_deciding(results)}", soft_wrap=True)
    if not results["improved"]:
        _out.print("No round beat the start on dev questions; the result is the start.")
    _out.print(f"report: {out / 'report.html'}", soft_wrap=True)


def _deciding(results: dict[str, Any]) -> str:
    """Say by which numbers the best was chosen."""
    measure = results["selected_by"].split(",")[0].removeprefix("dev ")
    values = [results["untouched"]["dev"], *(entry["retriever"]["dev"] for entry in results["rounds"])]
    names = ["untouched", "first retrieval", *(f"round {entry['round']}" for entry in results["rounds"][1:])]
    each = ", ".join(f"{name} {value[measure]:.3f}" for name, value in zip(names, values, strict=True))
    return f"{measure} of {each}, then EM"


def print_comparison(found: Any) -> None:
    """Print each measure of two systems with its paired test, and the questions that changed most."""
    num_questions = max(one.num_questions for one in found.measures.values())
    counted = f"{num_questions:,} {f'{found.split} ' if found.split else ''}questions"
    _out.print(Text(f"{found.title_a} -> {found.title_b}, on {counted}", style="italic"))
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for heading in ("measure", "before", "after", "change", "95 % interval", "p", "wins", "losses"):
        table.add_column(heading, justify="left" if heading == "measure" else "right", no_wrap=True)
    for name, one in found.measures.items():
        cells = (f"{one.mean_a:.3f}", f"{one.mean_b:.3f}", f"{one.difference:+.3f}", f"{one.low:+.3f} {one.high:+.3f}")
        table.add_row(name, *cells, f"{one.p:.4f}", str(one.wins), str(one.losses))
    _out.print(table)
    if found.changed:
        _out.print(f"most changed by {found.changed_by}:")
    for one in found.changed:
        _out.print(Text(f"  {one.value_a:.2f} -> {one.value_b:.2f}  {one.question}  [{one.id}]"))
        if one.prediction_a is not None and one.prediction_b is not None:
            _out.print(Text(f"                {one.prediction_a!r} -> {one.prediction_b!r}", style="dim"))


def print_plan(plan: Any) -> None:
    """Print what each step will cost."""
    counts = ", ".join(f"{count:,} {split}" for split, count in plan.num_questions.items())
    table = Table(title=f"{plan.num_passages:,} passages, {counts} questions, on {plan.device}", title_justify="left")
    for heading in ("step", "times", "each", "disk", "memory"):
        table.add_column(heading, justify="left" if heading == "step" else "right")
    for step in plan.steps:
        cells = (_duration(step.seconds), f"{step.disk_mb:,.0f} MB", f"{step.memory_mb:,.0f} MB")
        table.add_row(step.name, str(step.times), *cells)
    _out.print(table)
    peak = max(step.memory_mb for step in plan.steps)
    _out.print(f"in all about {_duration(plan.seconds)}, {plan.disk_mb:,.0f} MB of disk, {peak:,.0f} MB of memory;")
    _out.print("measured on a sample of these questions and passages, if no round ends the run early")


def _duration(seconds: float) -> str:
    minutes, hours = seconds / 60, seconds / 3600
    return f"{seconds:.0f} s" if minutes < 2 else f"{minutes:.0f} min" if hours < 2 else f"{hours:.1f} h"
