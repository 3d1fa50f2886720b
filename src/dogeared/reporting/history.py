"""What a run did, step by step: what each cost, how the losses fell, and what the teacher check said.

All of it is read from manifests and measures, which stay when models and vectors of old rounds are removed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dogeared.artifacts import MANIFEST, read_manifest
from dogeared.pipeline.layout import RunFolder
from dogeared.reporting.charts import Sparkline, sparkline

__all__ = ["Cost", "CostTable", "Training", "list_costs", "list_trainings"]

_STEPS = {
    "data": "Prepare data",
    "words": "Index words",
    "relevance": "Score passages",
    "student": "Load student",
    "retriever": "Train retriever",
    "vectors": "Encode passages",
    "ranking": "Retrieve",
    "reranker-relevance": "Ask the re-ranker",
    "reranked": "Re-rank",
    "reader": "Train reader",
    "relevance-eval": "Score dev and test",
    "teacher-eval": "Ask the teacher about dev",
    "measures": "Evaluate",
}
"""The steps in their order, by the folder that each leaves behind."""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What one step took."""

    seconds: float
    peak_mb: float


@dataclass(frozen=True, kw_only=True)
class CostTable:
    """What all steps took.

    Attributes:
        columns: The parts of the run.
        rows: For each step its name and its cost in each part; None where it was not done there.
        sums: For each part all its seconds and its highest memory.
        total: The same of the whole run.
    """

    columns: Sequence[str]
    rows: Sequence[tuple[str, Sequence[Cost | None]]]
    sums: Sequence[Cost]
    total: Cost


@dataclass(frozen=True, kw_only=True)
class Training:
    """How one model was trained in one round; None where there was no such training."""

    title: str
    reader: Sparkline | None
    retriever: Sparkline | None


def list_costs(run: RunFolder, num_rounds: int) -> CostTable:
    """Gather what the manifests say of seconds and memory.

    Args:
        run: The directory.
        num_rounds: The number of finished rounds, round 0 among them.
    """
    parts: dict[str, dict[str, Path]] = {
        "Data": {"data": run.data, "words": run.words},
        # What stands in the place of a trained retriever there was only loaded.
        "Untouched": {path.name.replace("retriever", "student"): path for path in run.untouched.artifacts()},
    }
    if begun := run.start.artifacts():
        parts["Start"] = {path.name.replace("retriever", "student"): path for path in begun}
    for number in range(num_rounds):
        parts[f"Round {number}"] = {path.name: path for path in run.round(number).artifacts()}
    costs = {title: {name: _cost(path) for name, path in part.items()} for title, part in parts.items()}
    rows = [(title, [part.get(step) for part in costs.values()]) for step, title in _STEPS.items()]
    sums = [_sum([cost for cost in part.values() if cost is not None]) for part in costs.values()]
    return CostTable(columns=list(costs), rows=[row for row in rows if any(row[1])], sums=sums, total=_sum(sums))


def list_trainings(run: RunFolder, num_rounds: int) -> list[Training]:
    """Draw the losses of all trainings; those of one kind of model share a scale."""
    losses = [
        {kind: _losses(path) for kind, path in (("reader", here.reader), ("retriever", here.retriever))}
        for here in map(run.round, range(num_rounds))
    ]
    scales = {kind: [loss for one in losses for loss in one[kind]] for kind in ("reader", "retriever")}
    trainings = []
    for number, one in enumerate(losses):
        curves = {kind: sparkline(values, low=0.0, high=max(scales[kind], default=1.0)) for kind, values in one.items()}
        trainings.append(Training(title=f"Round {number}", **curves))
    return trainings


def _cost(artifact: Path) -> Cost | None:
    facts = _facts(artifact)
    return Cost(**facts["cost"]) if "cost" in facts else None


def _losses(artifact: Path) -> list[float]:
    return list(_facts(artifact).get("losses", ()))


def _facts(artifact: Path) -> Mapping[str, Any]:
    return read_manifest(artifact).facts if (artifact / MANIFEST).is_file() else {}


def _sum(costs: Sequence[Cost]) -> Cost:
    return Cost(seconds=sum(cost.seconds for cost in costs), peak_mb=max((cost.peak_mb for cost in costs), default=0.0))
