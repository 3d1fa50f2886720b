"""Write a run down for a person: one HTML file that opens from disk and asks nothing of any network.

Here the parts of the page are put together; ``reporting/`` makes them, and ``templates/report.html.j2`` is what they
look like. Every word that came from a file is escaped.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from pydantic import BaseModel

from dogeared import __version__
from dogeared.artifacts import read_manifest
from dogeared.pipeline.config import setting_keys
from dogeared.pipeline.dataset import Dataset
from dogeared.pipeline.layout import RunFolder
from dogeared.pipeline.results import read_experiment, read_results
from dogeared.pipeline.selection import Name
from dogeared.reporting.charts import Chart, Reference, Series, line_chart
from dogeared.reporting.contenders import Contender, compare, read_contenders, read_hybrids, read_reranked
from dogeared.reporting.examples import find_examples
from dogeared.reporting.history import list_costs, list_trainings
from dogeared.reporting.verdict import closest_to_best, duration, percent, points, verdict
from dogeared.storage import write_atomically

__all__ = ["write_report"]

_TEMPLATE = "report.html.j2"
_KINDS = ("main", "second")
"""The template's words for the looks of a line; where there are two splits, test is the main one."""


def write_report(run: RunFolder) -> Path:
    """Write ``report.html`` into a run's directory, in place of an older one, and return where it is.

    Models and vectors are not needed; the report of a run whose old rounds were removed is whole.

    Raises:
        ArtifactError: The directory holds no run with results.
    """
    results, experiment = read_results(run), read_experiment(run)
    contenders, num_rounds = read_contenders(run, results), len(results["rounds"])
    hybrids, reranked = read_hybrids(run, results), read_reranked(run, results, experiment.reranker.model or "")
    beside = [*reranked, *hybrids]
    tables = [table for split in ("test", "dev") if (table := compare(contenders, split, beside)) is not None]
    splits = [table.split for table in tables]
    shown = closest_to_best(contenders, experiment)
    page = {
        "version": __version__,
        "name": run.path.absolute().name,
        "experiment": experiment,
        "facts": read_manifest(run.data).facts,
        "results": results,
        "contenders": contenders,
        "verdict": verdict(results, experiment, contenders, split=splits[0]),
        "tables": tables,
        "has_hybrids": bool(hybrids),
        "has_reranked": bool(reranked),
        "charts": list(_charts(results, contenders, splits, num_passages=experiment.num_passages)),
        "trainings": list_trainings(run, num_rounds),
        "costs": list_costs(run, num_rounds),
        "examples": find_examples(Dataset.open(run.data), experiment, contenders[0], shown, splits[0]),
        "settings": _settings(experiment),
    }
    write_atomically(run.report, _environment().get_template(_TEMPLATE).render(page))
    return run.report


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("dogeared"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": percent, "points": points, "duration": duration}
    return environment


def _charts(
    results: Mapping[str, Any], contenders: Sequence[Contender], splits: Sequence[str], *, num_passages: int
) -> Iterator[Chart]:
    """Draw the rounds; nothing where there is none, for a curve wants two points."""
    first, untouched, *rounds = contenders
    if rounds:
        for k in (1, 5, 20, 100) if num_passages > 20 else (1, 5, 20):
            yield _success_chart(results["best"], first, [untouched, *rounds], splits, k)
        yield from _reader_charts(results, [first, *rounds], splits)


def _success_chart(best: Name, first: Contender, students: Sequence[Contender], splits: Sequence[str], k: int) -> Chart:
    """Draw how the student finds more, from untouched to the last round."""
    key = f"success@{k}"
    references = [
        Reference(name=name, kind=name, value=value)
        for name, one in (("first", first), ("untouched", students[0]))
        if (value := _measure(one.retriever, splits[0], key)) is not None
    ]
    return line_chart(
        f"Success@{k}",
        x_names=["start", *(str(one.name) for one in students[1:])],
        best={"untouched": "start", 0: None}.get(best, str(best)),
        series=[
            Series(name=split, kind=kind, values=[_measure(one.retriever, split, key) for one in students])
            for split, kind in zip(splits, _KINDS, strict=False)
        ],
        references=references,
    )


def _reader_charts(results: Mapping[str, Any], rounds: Sequence[Contender], splits: Sequence[str]) -> Iterator[Chart]:
    """Draw how the readers answer, and how far retriever and reader agree, from round 0 on."""
    x_names = [str(one.name) for one in rounds]
    best = None if results["best"] == "untouched" else str(results["best"])
    matches = {split: [_measure(one.reader, split, "em") for one in rounds] for split in splits}
    start = matches[splits[0]][0]
    yield line_chart(
        "Exact match",
        x_names=x_names,
        best=best,
        series=[
            Series(name=split, kind=kind, values=matches[split]) for split, kind in zip(splits, _KINDS, strict=False)
        ],
        references=[] if start is None else [Reference(name="first", kind="first", value=start)],
    )
    agreement = [entry["agreement"] for entry in results["rounds"]]
    named = zip(("overlap@5", "inversions"), ("overlap@5", "inversion_rate"), _KINDS, strict=True)
    yield line_chart(
        "Retriever against reader, dev",
        x_names=x_names,
        best=best,
        series=[Series(name=name, kind=kind, values=[one.get(key) for one in agreement]) for name, key, kind in named],
        references=[],
    )


def _measure(measures: Mapping[str, Mapping[str, float] | None], split: str, key: str) -> float | None:
    return (measures.get(split) or {}).get(key)


def _settings(experiment: BaseModel) -> list[tuple[str, Any, str]]:
    """List every setting with its value and what it means."""
    meanings = setting_keys(type(experiment))

    def walk(values: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any, str]]:
        for name, value in values.items():
            if isinstance(value, Mapping):
                yield from walk(value, f"{prefix}{name}.")
            else:
                yield prefix + name, value, meanings[prefix + name].replace("``", "")

    return list(walk(experiment.model_dump(), ""))
