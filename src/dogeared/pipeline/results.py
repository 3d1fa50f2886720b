"""What a run has come to: its measures put together, its best round named, and what is no longer needed removed."""

import json
import logging
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from dogeared.artifacts import discard_content, is_discarded, read_manifest
from dogeared.errors import ArtifactError
from dogeared.pipeline.config import Experiment
from dogeared.pipeline.layout import RoundFolder, RunFolder
from dogeared.pipeline.measure import MEASURES_FILE
from dogeared.pipeline.selection import Candidate, Name, choose_best
from dogeared.storage import write_atomically

__all__ = ["candidate", "clean_up", "collect", "read_experiment", "read_measures", "read_results"]

logger = logging.getLogger(__name__)


def read_measures(folder: RoundFolder) -> dict[str, Any]:
    """Read the measures of a finished round."""
    return json.loads((folder.measures / MEASURES_FILE).read_text(encoding="utf-8"))


def read_results(run: RunFolder) -> dict[str, Any]:
    """Read what ``collect`` wrote.

    Raises:
        ArtifactError: The directory holds no run with a finished round, or the file is not what was written.
    """
    if not run.results.is_file():
        raise ArtifactError(
            f"{run.path}: expected the directory of a run with results.json, found none; make one with dogeared run"
        )
    try:
        results = json.loads(run.results.read_text(encoding="utf-8"))
    except ValueError:
        results = None
    if not isinstance(results, dict) or not {"untouched", "rounds", "best"} <= results.keys():
        raise ArtifactError(
            f"{run.results}: expected the results of a run, as dogeared run writes them, found others; delete it "
            "and run again, and it is written anew from what was measured"
        )
    return results


def read_experiment(run: RunFolder) -> Experiment:
    """Read the settings that a run was made with.

    Raises:
        ArtifactError: They are not there, or are not settings of this version.
    """
    try:
        return Experiment.model_validate_json(run.experiment.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        faults = (
            "; ".join(fault["msg"] for fault in error.errors()) if isinstance(error, ValidationError) else str(error)
        )
        raise ArtifactError(
            f"{run.experiment}: expected the settings of a run, as dogeared run writes them: {faults}; run again with "
            "the same settings, and it is written anew"
        ) from error


def candidate(run: RunFolder, experiment: Experiment, name: Name) -> Candidate:
    """Return what selection may know of a round: dev measures by answer string, and agreement."""
    measures = read_measures(_folder(run, name))
    # Of five passages or fewer, the first five are the same in any order: agreement that says nothing stops nothing.
    tells = experiment.reader.num_passages > 5
    return Candidate(
        name=name,
        success=measures["retriever"]["dev"][experiment.rounds.select_by],
        em=measures["reader"].get("dev", {}).get("em"),
        overlap=measures.get("agreement", {}).get("overlap@5") if tells else None,
    )


def collect(run: RunFolder, experiment: Experiment, *, last_round: int, stopped: str | None) -> dict[str, Any]:
    """Write ``results.json`` and return what it holds; ``experiment.json`` is written with it.

    Args:
        run: The directory.
        experiment: The settings by which all rounds were made, and by which the best is selected.
        last_round: The last finished round.
        stopped: Why there is no further one; None while there may be.

    Raises:
        ArtifactError: The best round is one whose models were removed, when another setting selected.
    """
    best = _best_that_is_kept(run, experiment, last_round=last_round)
    results = {
        "untouched": {**_split_measures(run.untouched), "name": experiment.retriever.model},
        "rounds": [_round(run.round(number), number) for number in range(last_round + 1)],
        "best": best,
        "improved": isinstance(best, int) and best > 0,
        "selected_by": f"dev {experiment.rounds.select_by}, then dev em",
        "stopped": stopped,
        "hybrid": [],
    }
    # Only here is it known that no step refuses these settings: a refused change must not be written down as made.
    write_atomically(run.experiment, experiment.model_dump_json(indent=1))
    write_atomically(run.results, json.dumps(results, indent=1))
    if stopped is not None and last_round and not results["improved"]:
        logger.warning(
            "no round beat both the first retrieval and the untouched student on dev (%s); the result is the start: %s",
            experiment.rounds.select_by,
            "the untouched student" if best == "untouched" else "the first retrieval",
        )
    return results


def clean_up(run: RunFolder, experiment: Experiment, *, last_round: int) -> None:
    """Remove models and vectors of rounds that are neither best so far nor last; manifests and measures stay."""
    if experiment.rounds.keep == "all":
        return
    best = choose_best(_candidates(run, experiment, last_round))
    needed = {best, last_round, 0 if best == "untouched" else best}
    if best == 0 and experiment.starts_untouched:
        needed.add("untouched")
    for name in ("untouched", *range(last_round + 1)):
        if name not in needed:
            for artifact in _models(_folder(run, name)):
                discard_content(artifact)


def _best_that_is_kept(run: RunFolder, experiment: Experiment, *, last_round: int) -> Name:
    """Return the name of the best of all rounds so far, and of the untouched student, whose models are there.

    Raises:
        ArtifactError: They were removed, when by other settings another round was best.
    """
    best = choose_best(_candidates(run, experiment, last_round))
    folders = [_folder(run, best), run.round(0 if best == "untouched" else best)]
    if best == 0 and experiment.starts_untouched:
        folders.append(run.untouched)
    for artifact in [artifact for folder in folders for artifact in _models(folder)]:
        if is_discarded(artifact):
            raise ArtifactError(
                f"{artifact}: by {_changed(run, experiment)} {_called(best)} is best, and its models were removed when "
                f"another was. Go back to the settings of {run.experiment}, or choose another run directory and "
                'rounds.keep = "all"'
            )
    return best


def _changed(run: RunFolder, experiment: Experiment) -> str:
    """Name the settings of rounds that are others than when models were removed."""
    before = read_experiment(run).rounds.model_dump()
    changed = {key: value for key, value in experiment.rounds.model_dump().items() if value != before[key]}
    return ", ".join(f"rounds.{key} = {value}" for key, value in changed.items()) or "what was measured"


def _candidates(run: RunFolder, experiment: Experiment, last_round: int) -> list[Candidate]:
    names: list[Name] = ["untouched", *range(last_round + 1)]
    return [candidate(run, experiment, name) for name in names]


def _called(name: Name) -> str:
    return "the untouched student" if name == "untouched" else f"round {name}"


def _models(folder: RoundFolder) -> list[Path]:
    """Return what of a round takes space: its models, and the vectors that one of them made."""
    return [artifact for artifact in (folder.retriever, folder.vectors, folder.reader) if artifact.exists()]


def _folder(run: RunFolder, name: Name) -> RoundFolder:
    return run.untouched if name == "untouched" else run.round(name)


def _split_measures(folder: RoundFolder) -> dict[str, Any]:
    measures = read_measures(folder)["retriever"]
    return {split: measures.get(split) for split in ("dev", "test")}


def _round(folder: RoundFolder, number: int) -> dict[str, Any]:
    measures = read_measures(folder)
    manifests = {path.name: read_manifest(path) for path in folder.artifacts()}
    return {
        "round": number,
        "retriever": {"name": manifests["ranking"].facts["retriever"], **_split_measures(folder)},
        **({"reranked": measures["reranked"]} if "reranked" in measures else {}),
        "reader": {split: measures["reader"].get(split) for split in ("dev", "test")},
        "teacher_check": measures["teacher_check"],
        "agreement": measures["agreement"],
        "steps": {_step_name(name): manifest.facts["cost"] for name, manifest in manifests.items()},
    }


def _step_name(artifact: str) -> str:
    """Name the step that made an artifact as the documents do."""
    return {
        "relevance": "score_passages",
        "relevance-eval": "score_passages_eval",
        "teacher-eval": "score_passages_teacher",
        "retriever": "train_retriever",
        "vectors": "encode_corpus",
        "ranking": "retrieve",
        "reranker-relevance": "score_passages_reranker",
        "reranked": "rerank",
        "reader": "train_reader",
        "measures": "evaluate",
    }[artifact]
