"""The result fused with BM25: measured beside the rounds, and never a candidate among them.

A distilled retriever and words often miss different passages. What fusing the two is worth is told in ``results.json``
for the untouched student and for the best round where that is made by vectors; selection, stopping and the rounds do
not look at it. Only rankings that are there already are fused, so this costs next to nothing.
"""

import json
from pathlib import Path
from typing import Any

from dogeared.artifacts import read_manifest
from dogeared.errors import ArtifactError
from dogeared.pipeline.config import Experiment
from dogeared.pipeline.dataset import Dataset
from dogeared.pipeline.language import settle_language
from dogeared.pipeline.layout import RoundFolder, RunFolder
from dogeared.pipeline.making import Facts, make_from
from dogeared.pipeline.measure import MEASURES_FILE, measure
from dogeared.pipeline.selection import Name
from dogeared.pipeline.starts import bm25_ranking, fuse_all, load_bm25
from dogeared.retrieval.base import Retriever
from dogeared.retrieval.hybrid import HybridRetriever
from dogeared.storage import write_atomically

__all__ = ["evaluate_hybrid", "is_by_vectors", "load_hybrid", "measure_hybrid", "measure_hybrids"]


def measure_hybrids(run: RunFolder, experiment: Experiment, results: dict[str, Any]) -> dict[str, Any]:
    """Measure the untouched student and the best round fused with BM25, and add that to ``results.json``.

    Args:
        run: The directory of a run whose rounds are done.
        experiment: For how the two count.
        results: What the run has come to.

    Returns:
        The results with ``hybrid``: for each of the two whose vectors can be fused ``of``, its round or ``untouched``,
        and ``name``, ``dev`` and ``test``.
    """
    best: Name = results["best"]
    names: list[Name] = ["untouched"]
    if best != "untouched" and is_by_vectors(best, experiment):
        names.append(best)
    for name in names:
        measure_hybrid(run, name, experiment)
    entries = [{"of": name, **_read(run.hybrid(name))} for name in names]
    results = {**results, "hybrid": entries}
    write_atomically(run.results, json.dumps(results, indent=1))
    return results


def measure_hybrid(run: RunFolder, name: Name, experiment: Experiment) -> None:
    """Measure a round, or the untouched student, fused with BM25, unless that was done."""
    dense, out = run.untouched if name == "untouched" else run.round(name), run.hybrid(name).measures
    words = bm25_ranking(run, experiment)
    evaluate_hybrid(out, data=run.data, lexical=words, dense=dense.ranking, experiment=experiment)


def evaluate_hybrid(out: Path, *, data: Path, lexical: Path, dense: Path, experiment: Experiment) -> None:
    """Measure two rankings fused, on dev and test; no reader is asked."""
    experiment = settle_language(experiment, data)

    def work(folder: Path, facts: Facts) -> None:
        facts["retriever"] = " + ".join(read_manifest(one).facts["retriever"] for one in (dense, lexical))
        rankings = fuse_all(lexical, dense, experiment.num_passages, experiment.hybrid)
        measure(
            folder,
            dataset=Dataset.open(data),
            rankings=rankings,
            reader=None,
            relevance={},
            experiment=experiment,
        )

    settings = {
        "language": experiment.settled_language,
        "num_passages": experiment.num_passages,
        "hybrid": experiment.hybrid.model_dump(),
    }
    make_from(out, "evaluate_hybrid", settings, {"data": data, "lexical": lexical, "dense": dense}, work)


def is_by_vectors(name: Name, experiment: Experiment) -> bool:
    """Tell whether a round's passages are found by vectors alone, so that words can be added to them."""
    return name != 0 or experiment.start == "dense"


def load_hybrid(run: RunFolder, name: Name, dense: Retriever, experiment: Experiment) -> HybridRetriever:
    """Fuse a loaded retriever with the BM25 index of its run, as it was measured.

    Args:
        run: The directory of a finished run.
        name: Which of its retrievers ``dense`` is.
        dense: The retriever.
        experiment: For how the two count.

    Raises:
        ArtifactError: It does not retrieve by vectors, or the run has no index.
    """
    if not is_by_vectors(name, experiment):
        raise ArtifactError(
            f"{run.path}: expected a retriever by vectors to fuse with BM25, but the result of this run is its first "
            f'retrieval (start = "{experiment.start}"), which no round beat; there is nothing to add words to. Search '
            "without hybrid"
        )
    return HybridRetriever(load_bm25(run, experiment), dense, experiment.hybrid, depth=experiment.num_passages)


def _read(folder: RoundFolder) -> dict[str, Any]:
    measured = json.loads((folder.measures / MEASURES_FILE).read_text(encoding="utf-8"))["retriever"]
    name = read_manifest(folder.measures).facts["retriever"]
    return {"name": name, **{split: measured.get(split) for split in ("dev", "test")}}
