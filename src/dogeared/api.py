"""The library in two calls: ``run`` makes a better retriever and a reader, ``load`` uses them.

Everything else that a program may want is a function of the modules below this one.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dogeared.errors import ConfigError
from dogeared.locks import hold
from dogeared.pipeline.config import Experiment, load_experiment
from dogeared.pipeline.dataset import prepare_data
from dogeared.pipeline.editing import complete_edited
from dogeared.pipeline.layout import RunFolder
from dogeared.pipeline.plan import Plan, make_plan
from dogeared.pipeline.rounds import run_rounds
from dogeared.pipeline.store import share as share_artifacts
from dogeared.report import write_report
from dogeared.service import QuestionAnswering

__all__ = ["load", "plan_experiment", "run", "run_experiment"]


def run(
    *,
    questions: Path | str,
    out: Path | str,
    passages: Path | str | None = None,
    ranking: Path | str | None = None,
    preset: str | None = "cpu",
    config: Path | str | None = None,
    overrides: Sequence[str] = (),
    skip_bad_rows: bool = False,
    strict: bool = False,
    share: Path | str | None = None,
) -> dict[str, Any]:
    """Do all rounds of the method and return the results, which are also in ``out/results.json``.

    Run again with the same arguments after an interruption, it goes on where it was.

    Args:
        questions: A file of questions with answers; formats are in docs/formats.md.
        out: The directory of the run.
        passages: A file of passages; None where the questions bring theirs along.
        ranking: A TREC run to start from, with ``start = "given"``.
        preset: The name of a preset; None for plain defaults.
        config: A TOML file whose settings win over the preset's.
        overrides: ``key=value`` settings that win over both.
        skip_bad_rows: Leave bad rows out and count them, instead of stopping at the first.
        strict: Stop where the teacher check fails.
        share: A folder where runs that have steps in common leave finished steps for each other.

    Raises:
        DogearedError: With what was expected, what came and what to do.
    """
    experiment = load_experiment(preset=preset, config=None if config is None else Path(config), overrides=overrides)
    return run_experiment(
        experiment,
        questions=Path(questions),
        out=Path(out),
        passages=None if passages is None else Path(passages),
        ranking=None if ranking is None else Path(ranking),
        skip_bad_rows=skip_bad_rows,
        strict=strict,
        share=None if share is None else Path(share),
    )


def run_experiment(
    experiment: Experiment,
    *,
    questions: Path,
    out: Path,
    passages: Path | None = None,
    ranking: Path | None = None,
    skip_bad_rows: bool = False,
    strict: bool = False,
    share: Path | None = None,
) -> dict[str, Any]:
    """Do what ``run`` does, with settings that are loaded already."""
    _refuse_unread_ranking(experiment, ranking)
    folder = RunFolder(out)
    with hold(out), share_artifacts(share):
        prepare_data(
            folder.data,
            questions=questions,
            passages=passages,
            ranking=ranking,
            seed=experiment.seed,
            skip_bad_rows=skip_bad_rows,
        )
        results = run_rounds(folder, experiment, strict=strict)
        complete_edited(folder)
        write_report(folder)
    return results


def plan_experiment(
    experiment: Experiment,
    *,
    questions: Path,
    passages: Path | None = None,
    ranking: Path | None = None,
    skip_bad_rows: bool = False,
) -> Plan:
    """Estimate what ``run_experiment`` will cost, and refuse the settings that it refuses."""
    _refuse_unread_ranking(experiment, ranking)
    return make_plan(experiment, questions=questions, passages=passages, skip_bad_rows=skip_bad_rows)


def load(out: Path | str, *, hybrid: bool = False) -> QuestionAnswering:
    """Open the best round of a run, ready to answer.

    Args:
        out: The directory of the run.
        hybrid: Fuse its retriever with BM25.

    Raises:
        ArtifactError: There is no run with results, or its result cannot be fused.
    """
    return QuestionAnswering.open(Path(out), hybrid=hybrid)


def _refuse_unread_ranking(experiment: Experiment, ranking: Path | None) -> None:
    if ranking is not None and experiment.start != "given":
        raise ConfigError(
            f'start: expected "given" for a run that comes with a ranking, got "{experiment.start}", which would not '
            f'look at {ranking}; set start = "given", or leave the ranking out'
        )
